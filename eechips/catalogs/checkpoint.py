"""What an ingest has done so far, on the disk: killed, the same command goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eechips.catalogs.sorted_runs import SortedRun
from eechips.removal import LockedFolder, remove, remove_tree
from eechips.staging import SCRATCH_PREFIX
from eechips.storage import write_file

FOLDER = f"{SCRATCH_PREFIX}ingest"
"""The folder of a job, below the catalogue."""

_JOB = "job.json"


@dataclass(slots=True)
class IngestCounts:
    """What became of entries of lists.

    Attributes:
        entries: lines or rows.
        addresses: of them addresses.
        items: that were merged, as far as they were the newest of their ids.
        failures: entries that brought no item, by kind.
        mended: items by what was mended.
        requests: by host.
        bytes: of items as they came.
    """

    entries: int = 0
    addresses: int = 0
    items: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    bytes: int = 0

    def add(self, other: IngestCounts) -> None:
        """Adds what became of further entries."""
        self.entries += other.entries
        self.addresses += other.addresses
        self.items += other.items
        self.bytes += other.bytes
        self.failures.update(other.failures)
        self.mended.update(other.mended)
        self.requests.update(other.requests)

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, which :meth:`from_json` reads; most frequent first."""
        counters = {name: dict(getattr(self, name).most_common()) for name in ("failures", "mended", "requests")}
        return {
            "entries": self.entries, "addresses": self.addresses, "items": self.items, "bytes": self.bytes, **counters
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> IngestCounts:
        """What ``to_json`` wrote."""
        counters = {name: Counter(value[name]) for name in ("failures", "mended", "requests")}
        return cls(**{**value, **counters})


@dataclass(frozen=True, slots=True)
class FailedEntry:
    """An entry that brought no item.

    Attributes:
        place: list and line.
        address: of the item, if the list has addresses.
        kind: ``HTTP 404``, ``no geometry``, …
        reason: what happened.
    """

    place: str
    address: str | None
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class SortedChunk:
    """What was made of a chunk of entries.

    Attributes:
        counts: of its entries.
        failures: of its entries.
        shards: of its items.
    """

    counts: IngestCounts
    failures: tuple[FailedEntry, ...]
    shards: tuple[SortedRun, ...]


class Checkpoint:
    """The folder of a job.

    A folder of another job (other lists, or other options that matter) is removed.

    Attributes:
        folder: of the job.
        identity: what tells this job from others.

    Args:
        folder: of the catalogue.
        identity: JSON value that tells this job from others.

    What is kept is of a part of a chunk of entries, under its name. It counts for these entries only, whose digest is
    kept with it: a list on the web may change while nobody can tell.
    """

    def __init__(self, folder: Path, identity: Any) -> None:
        self.folder = folder / FOLDER
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        note = self.folder / _JOB
        if not note.exists() or json.loads(note.read_text())["identity"] != digest:
            remove_tree(self.folder, LockedFolder(folder))
            self.folder.mkdir()
            write_file(note, json.dumps({"identity": digest}).encode())
        self.identity = digest

    def keep_fetched(
        self, name: str, digest: str, bodies: Sequence[bytes | None], failures: Sequence[Any], requests: Any
    ) -> None:
        """Keeps what came of addresses."""
        lengths = [None if body is None else len(body) for body in bodies]
        write_file(self.folder / f"{name}.bodies", b"".join(body for body in bodies if body is not None))
        self._write(
            f"{name}.fetched", {"digest": digest, "lengths": lengths, "failures": failures, "requests": requests}
        )

    def fetched(self, name: str, digest: str) -> tuple[list[bytes | None], list[Any], dict[str, int]] | None:
        """What came of addresses: bodies, failures, requests; None if they have not been fetched."""
        value = self._read(f"{name}.fetched", digest)
        if value is None:
            return None
        data = (self.folder / f"{name}.bodies").read_bytes()
        bodies: list[bytes | None] = []
        start = 0
        for length in value["lengths"]:
            bodies.append(None if length is None else data[start : start + length])
            start += length or 0
        return bodies, value["failures"], value["requests"]

    def keep_sharded(self, name: str, digest: str, sharded: SortedChunk) -> None:
        """Keeps what was made of entries; what was fetched for them is not needed any more."""
        value = {
            "digest": digest,
            "counts": sharded.counts.to_json(),
            "failures": [[f.place, f.address, f.kind, f.reason] for f in sharded.failures],
            "shards": [
                {
                    "file": shard.file.name,
                    "paths": shard.paths,
                    "counts": shard.counts,
                    "batch": shard.batch,
                    "bytes": shard.bytes,
                }
                for shard in sharded.shards
            ],
        }
        self._write(f"{name}.sharded", value)
        for suffix in ("fetched", "bodies"):
            remove(self.folder / f"{name}.{suffix}", LockedFolder(self.folder.parent))

    def sharded(self, name: str, digest: str) -> SortedChunk | None:
        """What was made of entries; None if nothing has been."""
        value = self._read(f"{name}.sharded", digest)
        if value is None:
            return None
        return SortedChunk(
            IngestCounts.from_json(value["counts"]),
            tuple(FailedEntry(*failure) for failure in value["failures"]),
            tuple(
                SortedRun(
                    self.folder / shard["file"],
                    tuple(shard["paths"]),
                    tuple(shard["counts"]),
                    shard["batch"],
                    shard["bytes"],
                )
                for shard in value["shards"]
            ),
        )

    def _write(self, name: str, value: Any) -> None:
        write_file(self.folder / name, json.dumps(value).encode())

    def _read(self, name: str, digest: str) -> Any:
        """What was written for these entries; None if nothing was."""
        note = self.folder / name
        value = json.loads(note.read_text()) if note.exists() else None
        return value if value is not None and value["digest"] == digest else None

    def remove(self) -> None:
        """Removes the folder: the job is through.

        What says whose folder it is goes first: killed here, nobody goes on with half of it.
        """
        remove(self.folder / _JOB, LockedFolder(self.folder.parent))
        remove_tree(self.folder, LockedFolder(self.folder.parent))
