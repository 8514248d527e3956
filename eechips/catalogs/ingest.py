"""``eechips catalog ingest``: lists of STAC items become a catalogue, or a part of one."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eechips.catalogs.addresses import told
from eechips.catalogs.catalog import Catalog
from eechips.catalogs.commit import Change
from eechips.catalogs.fetch import PACE, Maker, Pace, fetch
from eechips.catalogs.hooks import hook_of
from eechips.catalogs.job import Counts, Failure, Job, Sharded
from eechips.catalogs.layout import Layout
from eechips.catalogs.lists import FAILURE_COLUMNS, Entry, chunks, find
from eechips.catalogs.merge import Outcome
from eechips.catalogs.options import CatalogOptions
from eechips.catalogs.schema import SCHEMA_NAME
from eechips.catalogs.shards import Shard
from eechips.catalogs.sorting import Chunk, sort
from eechips.catalogs.update import changing, folder_of, progress, put, schema_of, stage
from eechips.catalogs.workers import Crew, Promise, Workers, crew, workers
from eechips.errors import UsageError
from eechips.signature import filled, takes

REPORT_NAME = "_ingest.json"
"""What the latest ingest has done, in the catalogue's folder."""

FAILURES_NAME = "_failures.csv"
"""Entries of its lists that brought no item; only if there are any."""

_MARK = "merge.mark"


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest has done.

    Attributes:
        catalog: as it is now.
        outcome: of the items that were merged.
        counts: of the entries of the lists.
        resumed: entries that an earlier command, which was interrupted, had dealt with.
        seconds: by phase: fetch, shard, merge.
        crew: who sorted.
    """

    catalog: Catalog
    outcome: Outcome
    counts: Counts
    resumed: int
    seconds: dict[str, float]
    crew: Crew


@takes(CatalogOptions)
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
    processes: int | None = None,
    scheduler: str | None = None,
    quiet: bool = False,
    **options: Any,
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
        processes: that check and sort items, on this machine; None for one, or as many as there are cores if the lists
            are large.
        scheduler: address of a Dask cluster whose workers do that instead; they must see the catalogue's folder. None
            for the one that Dask's configuration names, if the lists are large and ``processes`` is None; else none.
        quiet: show no progress.
        options: those of ``CatalogOptions``.

    Raises:
        UsageError: if there is no list, or none with entries, no hook, an option is wrong, or the catalogue is laid out
            otherwise.
        ConfigurationError: if a list cannot be read, or who should sort cannot.
        RunLockedError: if another process works in the catalogue.
        StorageError: if something cannot be written.

    Example:
        >>> ingested = eechips.catalogs.ingest.ingest("s3://bucket/2020_*.ndjson", "outputs/catalog")
    """
    patterns = [str(pattern) for pattern in ([lists] if isinstance(lists, (str, Path)) else lists)]
    wanted = filled(CatalogOptions, options)
    files = find(patterns)
    make = None if hook is None else hook_of(hook)
    pace = Pace(in_flight, per_host, retries, timeout)
    folder = folder_of(out)
    who = crew(sum(known.size or 0 for known in files), processes, scheduler)
    with changing(folder) as change:
        schema = schema_of(folder, wanted.layout)
        identity = [
            [[known.address, known.size, known.stamp] for known in files],
            [column, hook, collection, strict, schema.layout.to_json()],
        ]
        job = Job(folder.absolute(), identity)  # workers may be elsewhere
        with progress(None, "entries", is_shown=not quiet) as bar, workers(who, job.folder) as pool:
            work = _Work(job, schema.layout, make, pace, collection, strict, pool, bar.update)
            for number, entries in enumerate(chunks(files, column)):
                work.begin(number, entries)
            work.settle()
        if not work.counts.entries:
            job.remove()
            raise UsageError(f"there is nothing in {told(', '.join(patterns))}")
        began = time.monotonic()
        _prepare(change, folder, work.job.identity)
        _report(change, work, patterns, who)
        schema, outcome = put(
            folder, schema, work.shards, change, lambda _: [], give_up=wanted.give_up_unreadable, is_shown=not quiet
        )
        work.job.remove()
        if not work.failures:
            (folder / FAILURES_NAME).unlink(missing_ok=True)
    seconds = {**work.seconds, "merge": round(time.monotonic() - began, 3)}
    return Ingested(Catalog(folder, schema), outcome, work.counts, work.resumed, seconds, who)


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
            places = tuple((entry.place, entry.address and told(entry.address)) for entry in entries)
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
            foreign = [entries[index].is_foreign for index in places]
            fetched = fetch(addresses, self.pace, make=self.make, foreign=foreign, advance=self.advance, seed=number)
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


def _report(change: Change, work: _Work, lists: Sequence[str], who: Crew) -> None:
    """Counts, and entries that failed, for people: parts of the change."""
    seconds = {name: round(value, 3) for name, value in work.seconds.items()}
    found = {"resumed": work.resumed, "seconds": seconds, "sorted_by": str(who)}
    value = {"lists": [told(address) for address in lists], **work.counts.to_json(), **found}
    stage(change, "report.staged", REPORT_NAME, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
    if work.failures:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(FAILURE_COLUMNS)
        writer.writerows((f.place, f.address or "", f.kind, f.reason) for f in work.failures)
        stage(change, "failures.staged", FAILURES_NAME, buffer.getvalue().encode())
