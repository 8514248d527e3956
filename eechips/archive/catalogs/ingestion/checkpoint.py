"""Keep the progress of an ingest on the disk, so that the same command resumes it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

from eechips.archive.catalogs.ingestion.sorted_runs import SortedRun
from eechips.files.removal import LockedFolder, remove, remove_tree
from eechips.files.temporary_names import SCRATCH_PREFIX
from eechips.storage import write_file

FOLDER = f"{SCRATCH_PREFIX}ingest"
"""Folder of the checkpoint, below the catalogue."""

_JOB = "job.json"


@dataclass(slots=True)
class IngestCounts:
    """Counts of the entries of lists.

    Attributes:
        entries: lines or rows.
        addresses: entries that are URLs.
        items: merged items, the newest of each id.
        bytes: number of bytes of the items as received.
        failures: entries without an item, by kind.
        mended: repaired items, by repair.
        requests: by host.
    """

    entries: int = 0
    addresses: int = 0
    items: int = 0
    bytes: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)

    def add(self, other: IngestCounts) -> None:
        """Add the counts of further entries."""
        for counted in fields(self):
            setattr(self, counted.name, getattr(self, counted.name) + getattr(other, counted.name))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for :meth:`from_json`; most frequent first."""
        counters = {name: dict(getattr(self, name).most_common()) for name in ("failures", "mended", "requests")}
        return {counted.name: getattr(self, counted.name) for counted in fields(self)} | counters

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> IngestCounts:
        """Read the value that ``to_json`` returned."""
        counters = {name: Counter(value[name]) for name in ("failures", "mended", "requests")}
        return cls(**{**value, **counters})


@dataclass(frozen=True, slots=True)
class FailedEntry:
    """An entry without an item.

    Attributes:
        place: list and line.
        address: address of the item, if the list has URLs.
        kind: ``HTTP 404``, ``no geometry``, …
        reason: for people.
    """

    place: str
    address: str | None
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class SortedChunk:
    """Result of a sorted chunk of entries."""

    counts: IngestCounts
    failures: tuple[FailedEntry, ...]
    shards: tuple[SortedRun, ...]


class Checkpoint:
    """The folder with the progress of an ingest.

    The folder of another ingest (other lists, or other relevant options) is removed. Results are kept for parts of
    chunks of entries, with the digest of the entries: a remote list may change between two commands.

    Args:
        identity: JSON value that identifies the ingest.
    """

    def __init__(self, folder: Path, identity: Any) -> None:
        self.folder = folder / FOLDER
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        note = self.folder / _JOB
        if not note.exists() or json.loads(note.read_text())["identity"] != digest:
            remove_tree(self.folder, LockedFolder(folder))
            self.folder.mkdir()
            write_file(note, json.dumps({"identity": digest}).encode())

    def keep_fetched(
        self, name: str, digest: str, bodies: Sequence[bytes | None], failures: Sequence[Any], requests: Any
    ) -> None:
        """Keep the fetched items of URLs."""
        lengths = [None if body is None else len(body) for body in bodies]
        content = b"".join(body for body in bodies if body is not None)
        write_file(self.folder / f"{name}.bodies", content, is_one_of_many=True)
        self._write(
            f"{name}.fetched", {"digest": digest, "lengths": lengths, "failures": failures, "requests": requests}
        )

    def fetched(self, name: str, digest: str) -> tuple[list[bytes | None], list[Any], dict[str, int]] | None:
        """Return bodies, failures and requests of URLs; None if they were not fetched."""
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
        """Keep the result of a part, and remove its fetched items."""
        value = {
            "digest": digest,
            "counts": sharded.counts.to_json(),
            "failures": list(map(astuple, sharded.failures)),
            "shards": [{**asdict(shard), "file": shard.file.name} for shard in sharded.shards],
        }
        self._write(f"{name}.sharded", value)
        for suffix in ("fetched", "bodies"):
            remove(self.folder / f"{name}.{suffix}", LockedFolder(self.folder.parent))

    def sharded(self, name: str, digest: str) -> SortedChunk | None:
        """Return the result of a part; None if there is none."""
        value = self._read(f"{name}.sharded", digest)
        if value is None:
            return None
        return SortedChunk(
            IngestCounts.from_json(value["counts"]),
            tuple(FailedEntry(*failure) for failure in value["failures"]),
            tuple(
                SortedRun(
                    **{
                        **run,
                        "file": self.folder / run["file"],
                        "paths": tuple(run["paths"]),
                        "counts": tuple(run["counts"]),
                    }
                )
                for run in value["shards"]
            ),
        )

    def _write(self, name: str, value: Any) -> None:
        write_file(self.folder / name, json.dumps(value).encode(), is_one_of_many=True)

    def _read(self, name: str, digest: str) -> Any:
        """Read what was kept for these entries; None if there is nothing."""
        note = self.folder / name
        value = json.loads(note.read_text()) if note.exists() else None
        return value if value is not None and value["digest"] == digest else None

    def remove(self) -> None:
        """Remove the folder after the ingest.

        The note that identifies it goes first: after a kill here, nothing resumes from an incomplete folder.
        """
        remove(self.folder / _JOB, LockedFolder(self.folder.parent))
        remove_tree(self.folder, LockedFolder(self.folder.parent))
