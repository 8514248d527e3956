"""``eechips catalog ingest``: lists of STAC items become a catalogue, or a part of one."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eechips.catalogs.catalog import Catalog
from eechips.catalogs.commit import Change
from eechips.catalogs.fetch import PACE, Maker, Pace, fetch
from eechips.catalogs.hooks import hook_of
from eechips.catalogs.job import Counts, Failure, Job, Sharded
from eechips.catalogs.layout import Layout, Period, chooser
from eechips.catalogs.lists import Entry, chunks, find
from eechips.catalogs.merge import Outcome
from eechips.catalogs.schema import SCHEMA_NAME
from eechips.catalogs.shards import Shard
from eechips.catalogs.sorting import Chunk, sort
from eechips.catalogs.update import changing, progress, put, schema_of, stage
from eechips.catalogs.workers import Promise, Workers, workers
from eechips.errors import UsageError

REPORT_NAME = "_ingest.json"
"""What the latest ingest has done, in the catalogue's folder."""

FAILURES_NAME = "_failures.csv"
"""Entries of its lists that brought no item; only if there are any."""

_MARK = "merge.mark"
_SMALL = 100_000_000  # bytes of lists
_MOST_PROCESSES = 4


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest has done.

    Attributes:
        catalog: as it is now.
        outcome: of the items that were merged.
        counts: of the entries of the lists.
        resumed: entries that an earlier command, which was interrupted, had dealt with.
        seconds: by phase: fetch, shard, merge.
    """

    catalog: Catalog
    outcome: Outcome
    counts: Counts
    resumed: int
    seconds: dict[str, float]


def ingest(
    lists: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    column: str | None = None,
    hook: str | None = None,
    collection: str | None = None,
    strict: bool = False,
    in_flight: int = PACE.in_flight,
    per_host: int = PACE.per_host,
    retries: int = PACE.retries,
    timeout: float = PACE.timeout,
    grid: str | None = None,
    resolution: int | None = None,
    tiles: str | Path | None = None,
    period: Period | None = None,
    most_cells: int | None = None,
    give_up_unreadable: bool = False,
    processes: int = 1,
    scheduler: str | None = None,
    quiet: bool = False,
) -> Ingested:
    """Brings lists of STAC items, or of their addresses, into a catalogue.

    Items are checked, and mended where that is possible; what brings no item is counted and listed. Interrupted, the
    same call goes on where it stopped: what was fetched is not fetched again.

    Args:
        lists: paths, addresses that fsspec knows, or patterns of either: Parquet, CSV, TSV, NDJSON, JSON, text.
        out: folder of the catalogue.
        column: that has the addresses, in lists with columns; None for ``url``, ``href`` or the like.
        hook: ``module:function`` or ``script:COMMAND``, which makes an item from an address.
        collection: id for items that name none.
        strict: whether items that would have to be mended are refused.
        in_flight: requests at once.
        per_host: of them to one host.
        retries: of a request.
        timeout: seconds that an answer may take.
        grid: of the partitions' cells: ``h3``, ``s2``, ``mgrs``, ``utm`` or ``tiles``; None for the catalogue's, or H3.
        resolution: of H3 and S2; None for the catalogue's, or 2 and 5.
        tiles: GeoJSON file of named polygons, for ``tiles``.
        period: of the partitions; None for the catalogue's, or ``month``.
        most_cells: items that meet more cells go to ``global``; None for the catalogue's, or 10.
        give_up_unreadable: whether partitions that cannot be read are removed, with what was in them.
        processes: that check and sort items; with more than one, a program that calls this needs a main guard.
        scheduler: address of a Dask cluster whose workers do that instead; they must see the catalogue's folder.
        quiet: show no progress.

    Raises:
        UsageError: if there is no list, or none with entries, no hook, or the catalogue is laid out otherwise.
        ConfigurationError: if a list cannot be read.
        RunLockedError: if another process works in the catalogue.
        StorageError: if something cannot be written.

    Example:
        >>> ingested = eechips.catalogs.ingest.ingest("s3://bucket/2020_*.ndjson", "outputs/catalog")
    """
    patterns = [str(pattern) for pattern in ([lists] if isinstance(lists, (str, Path)) else lists)]
    files = find(patterns)
    make = None if hook is None else hook_of(hook)
    pace = Pace(in_flight, per_host, retries, timeout)
    folder = Path(out)
    with changing(folder) as change:
        schema = schema_of(folder, chooser(grid, resolution, tiles, period, most_cells))
        identity = [
            [[known.address, known.size, known.stamp] for known in files],
            [column, hook, collection, strict, schema.layout.to_json()],
        ]
        job = Job(folder, identity)
        with progress(None, "entries", is_shown=not quiet) as bar, workers(processes, scheduler) as pool:
            work = _Work(job, schema.layout, make, pace, collection, strict, pool, bar.update)
            for number, entries in enumerate(chunks(files, column)):
                work.begin(number, entries)
            work.settle()
        if not work.counts.entries:
            raise UsageError(f"there is nothing in {', '.join(patterns)}")
        began = time.monotonic()
        _prepare(change, folder, work.job.identity)
        _report(change, work, patterns)
        schema, outcome = put(
            folder, schema, work.shards, change, lambda _: [], give_up=give_up_unreadable, is_shown=not quiet
        )
        work.job.remove()
        if not work.failures:
            (folder / FAILURES_NAME).unlink(missing_ok=True)
    seconds = {**work.seconds, "merge": round(time.monotonic() - began, 3)}
    return Ingested(Catalog(folder, schema), outcome, work.counts, work.resumed, seconds)


def processes_for(lists: Sequence[str]) -> int:
    """How many processes are worth their start: one for what takes seconds, else as many as there are cores."""
    size = sum(known.size or 0 for known in find(lists))
    return min(_MOST_PROCESSES, os.cpu_count() or 1) if size > _SMALL else 1


@dataclass(slots=True)
class _Work:
    """Entries become shards, chunk by chunk."""

    job: Job
    layout: Layout
    make: Maker | None
    pace: Pace
    collection: str | None
    strict: bool
    pool: Workers
    advance: Callable[[int], object]
    counts: Counts = field(default_factory=Counts)
    failures: list[Failure] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    resumed: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"fetch": 0.0, "shard": 0.0})
    _waiting: deque[tuple[int, Promise | Sharded]] = field(default_factory=deque)

    def begin(self, number: int, entries: Sequence[Entry]) -> None:
        """Sees to it that a chunk will have its shards; waits for earlier ones if there are many."""
        sharded = self.job.sharded(number)
        if sharded is not None:
            self.resumed += sharded.counts.entries
            self._waiting.append((number, sharded))
            self.advance(len(entries))
        else:
            began = time.monotonic()
            bodies, failures, requests = self._bodies(number, entries)
            self.seconds["fetch"] += time.monotonic() - began
            places = tuple((entry.place, entry.address) for entry in entries)
            chunk = Chunk(number, places, tuple(bodies), tuple(map(tuple, failures)), requests)
            began = time.monotonic()
            future = self.pool.submit(sort, chunk, self.job.folder, self.layout, self.collection, self.strict)
            self.seconds["shard"] += time.monotonic() - began
            self._waiting.append((number, future))
        self.settle(self.pool.ahead)

    def settle(self, left: int = 0) -> None:
        """Takes the shards of the oldest chunks until no more than so many are left."""
        began = time.monotonic()
        while len(self._waiting) > left:
            number, made = self._waiting.popleft()
            if isinstance(made, Sharded):
                sharded = made
            else:
                sharded = made.result()
                self.job.keep_sharded(number, sharded)
            self.counts.add(sharded.counts)
            self.failures += sharded.failures
            self.shards += sharded.shards
        self.seconds["shard"] += time.monotonic() - began

    def _bodies(self, number: int, entries: Sequence[Entry]) -> tuple[list[bytes | None], list[Any], dict[str, int]]:
        """What should be items, as text; of those that failed number, kind and reason; requests by host."""
        places = [index for index, entry in enumerate(entries) if entry.address is not None]
        self.advance(len(entries) - len(places))
        if not places:
            return [entry.item for entry in entries], [], {}
        found = self.job.fetched(number)
        if found is None:
            addresses = [str(entries[index].address) for index in places]
            fetched = fetch(addresses, self.pace, make=self.make, advance=self.advance, seed=number)
            bodies = [entry.item for entry in entries]
            for index, body in zip(places, fetched.bodies, strict=True):
                bodies[index] = body
            failures = [[places[index], kind, reason] for index, kind, reason in fetched.failures]
            found = bodies, failures, dict(fetched.requests)
            self.job.keep_fetched(number, *found)
        else:
            self.advance(len(places))
        return found


def _prepare(change: Change, folder: Path, identity: str) -> None:
    """Leaves what an interrupted merge of the same shards into the same catalogue has made; removes all else."""
    schema = folder / SCHEMA_NAME
    there = schema.read_bytes() if schema.exists() else b""
    mark = hashlib.sha256(identity.encode() + there).hexdigest()
    note = change.scratch / _MARK
    if not note.exists() or note.read_text() != mark:
        shutil.rmtree(change.scratch, ignore_errors=True)
        change.scratch.mkdir()
        note.write_text(mark)


def _report(change: Change, work: _Work, lists: Sequence[str]) -> None:
    """Counts, and entries that failed, for people: parts of the change."""
    seconds = {name: round(value, 3) for name, value in work.seconds.items()}
    value = {"lists": list(lists), **work.counts.to_json(), "resumed": work.resumed, "seconds": seconds}
    stage(change, "report.staged", REPORT_NAME, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
    if work.failures:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(("place", "address", "kind", "reason"))
        writer.writerows((f.place, f.address or "", f.kind, f.reason) for f in work.failures)
        stage(change, "failures.staged", FAILURES_NAME, buffer.getvalue().encode())
