"""Ingest lists of STAC items into a catalogue, as ``eechips catalog ingest`` does; write its report ``_ingest.json``
and the failed entries ``_failures.csv``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from eechips.archive.catalogs.catalog import Catalog
from eechips.archive.catalogs.ingestion.checkpoint import Checkpoint, FailedEntry, IngestCounts, SortedChunk
from eechips.archive.catalogs.ingestion.fetch import FetchConfig, ItemFetcher
from eechips.archive.catalogs.ingestion.item_hooks import parse_hook
from eechips.archive.catalogs.ingestion.item_lists import ItemList, find_lists
from eechips.archive.catalogs.ingestion.list_readers import FAILURE_COLUMNS, ListEntry, chunks
from eechips.archive.catalogs.ingestion.sorted_runs import SortedRun
from eechips.archive.catalogs.ingestion.sorting import Chunk, Workers, choose_processes, sort, workers
from eechips.archive.catalogs.options import IngestOptions
from eechips.archive.catalogs.partitions.commit import Change
from eechips.archive.catalogs.partitions.layout import Layout
from eechips.archive.catalogs.partitions.merge_plan import MergeResult
from eechips.archive.catalogs.update import changing, folder_of, put, schema_of, stage
from eechips.errors import UsageError
from eechips.files.removal import LockedFolder, remove
from eechips.option_fields import filled, takes
from eechips.text.formatting import format_spreadsheet
from eechips.text.progress_bar import progress_bar
from eechips.web.redaction import redact

REPORT_NAME = "_ingest.json"
"""Report of the latest ingest, in the catalogue's folder."""

FAILURES_NAME = "_failures.csv"
"""Entries of its lists without an item; only if there are any."""

_ENOUGH = 64_000_000  # bytes fetched at a time, plus the requests in flight then
_PART = 32_000_000  # bytes sorted at a time


@dataclass(frozen=True, slots=True)
class IngestResult:
    """Result of an ingest.

    Attributes:
        resumed: entries that an earlier, interrupted command had processed.
        seconds: by phase: fetch, shard, merge.
        processes: processes that sorted; 1 for this process.
    """

    catalog: Catalog
    outcome: MergeResult
    counts: IngestCounts
    resumed: int
    seconds: dict[str, float]
    processes: int


def _identity(files: Sequence[ItemList], options: IngestOptions, layout: Layout) -> list[Any]:
    """Return what two ingestions have in common of which one continues the other."""
    return [
        [[known.address, known.size, known.stamp] for known in files],
        [options.column, options.hook, options.collection, options.strict, layout.to_json()],
    ]


@takes(IngestOptions)
def ingest(lists: Sequence[str | Path] | str | Path, out: str | Path, **options: Any) -> IngestResult:
    """Ingest lists of STAC items, or of their URLs, into a catalogue.

    Items are validated, and repaired where possible; entries without an item are counted and listed. After an
    interruption the same call resumes: fetched items are not fetched again.

    Args:
        lists: paths, URLs of fsspec, or patterns of either: Parquet, CSV, TSV, NDJSON, JSON, text.
        options: fields of ``IngestOptions``.

    Raises:
        UsageError: if there is no list, or none with entries, no such hook, an option is wrong, or the catalogue has
            another layout.
        ConfigurationError: if a list cannot be read, or the workers fail.
        RunLockedError: if another process writes the catalogue.
        StorageError: if a file cannot be written.

    Example:
        >>> ingested = eechips.archive.catalogs.ingestion.ingest.ingest("s3://bucket/2020_*.ndjson", "outputs/catalog")
    """
    patterns = [str(pattern) for pattern in ([lists] if isinstance(lists, (str, Path)) else lists)]
    wanted = filled(IngestOptions, {"out": out, **options})
    files = find_lists(patterns)
    make = None if wanted.hook is None else parse_hook(wanted.hook)
    config = FetchConfig(wanted.in_flight, wanted.per_host, wanted.retries, wanted.timeout)
    folder = folder_of(out)
    processes = choose_processes(sum(known.size or 0 for known in files), wanted.processes)
    with changing(folder) as change:
        schema = schema_of(folder, wanted.layout)
        job = Checkpoint(folder.absolute(), _identity(files, wanted, schema.layout))
        with (
            progress_bar(None, "entries", quiet=wanted.quiet) as bar,
            workers(processes) as pool,
            ItemFetcher(config, make) as fetcher,
        ):
            work = _Work(job, schema.layout, fetcher, wanted.collection, wanted.strict, pool, bar.update)
            for number, entries in enumerate(chunks(files, wanted.column)):
                work.begin(number, entries)
            work.settle()
        if not work.counts.entries:
            job.remove()
            raise UsageError(f"there are no entries in {redact(', '.join(patterns))}")
        began = time.monotonic()
        _report(change, work, patterns, processes)
        schema, outcome = put(
            folder,
            schema,
            work.shards,
            change,
            lambda _: [],
            give_up=wanted.give_up_unreadable,
            mixed=wanted.mixed,
            is_shown=not wanted.quiet,
        )
        work.job.remove()
        if not work.counts.failures:
            remove(folder / FAILURES_NAME, LockedFolder(folder))
    seconds = {**work.seconds, "merge": round(time.monotonic() - began, 3)}
    return IngestResult(Catalog(folder, schema), outcome, work.counts, work.resumed, seconds, processes)


@dataclass(slots=True)
class _Work:
    """Turn entries into sorted runs, chunk by chunk."""

    job: Checkpoint
    layout: Layout
    fetcher: ItemFetcher
    collection: str | None
    strict: bool
    pool: Workers
    advance: Callable[[int], object]
    counts: IngestCounts = field(default_factory=IngestCounts)
    shards: list[SortedRun] = field(default_factory=list)
    resumed: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"fetch": 0.0, "shard": 0.0})
    _waiting: deque[tuple[str, str, Future[Any] | SortedChunk]] = field(default_factory=deque)
    _failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def failures(self) -> Iterator[FailedEntry]:
        """Yield entries without an item; there may be too many for the memory."""
        for name, digest in self._failed:
            sharded = self.job.sharded(name, digest)
            yield from () if sharded is None else sharded.failures

    def begin(self, number: int, entries: Sequence[ListEntry]) -> None:
        """Start the sorting of a chunk; wait for earlier chunks if there are many.

        Fetched items may be larger than estimated: then the chunk is split into parts.
        """
        whole = _digest(entries)
        first = part = 0
        while first < len(entries):
            name, digest = f"{number:06d}.{part}", f"{whole}:{first}"
            pending: Future[Any] | SortedChunk | None = self.job.sharded(name, digest)
            if isinstance(pending, SortedChunk):
                taken = pending.counts.entries
                self.resumed += taken
                self.advance(taken)
            else:
                began = time.monotonic()
                bodies, failures, requests = self._bodies(number, part, entries, first, whole)
                self.seconds["fetch"] += time.monotonic() - began
                taken = len(bodies)
                places = tuple(
                    (entry.place, entry.address and redact(entry.address)) for entry in entries[first : first + taken]
                )
                failed = tuple(map(tuple, failures))
                chunk = Chunk(name, places, tuple(bodies), failed, requests, are_homes=not self.fetcher.has_hook)
                began = time.monotonic()
                pending = self.pool.submit(sort, chunk, self.job.folder, self.layout, self.collection, self.strict)
                self.seconds["shard"] += time.monotonic() - began
            self._waiting.append((name, digest, pending))
            self.settle(self.pool.ahead)
            first += taken
            part += 1

    def settle(self, left: int = 0) -> None:
        """Collect the sorted runs of the oldest chunks until only ``left`` remain."""
        began = time.monotonic()
        while len(self._waiting) > left:
            name, digest, pending = self._waiting.popleft()
            if isinstance(pending, SortedChunk):
                sharded = pending
            else:
                sharded = pending.result()
                self.job.keep_sharded(name, digest, sharded)
            self.counts.add(sharded.counts)
            if sharded.failures:
                self._failed.append((name, digest))
            self.shards += sharded.shards
        self.seconds["shard"] += time.monotonic() - began

    def _bodies(
        self, number: int, part: int, entries: Sequence[ListEntry], first: int, whole: str
    ) -> tuple[list[bytes | None], list[Any], dict[str, int]]:
        """Return the texts of items from an entry on, the index, kind and reason of failures, and requests by host."""
        if all(entry.address is None for entry in entries[first:]):
            self.advance(len(entries) - first)
            return [entry.item for entry in entries[first:]], [], {}
        name, digest = f"{number:06d}.{part}", f"{whole}:{first}"
        fetched = self.job.fetched(name, digest)
        if fetched is None:
            self._fetch(number, part, entries, first, whole)
            fetched = self.job.fetched(name, digest)
            assert fetched is not None
        else:
            self.advance(len(fetched[0]))
        return fetched

    def _fetch(self, number: int, part: int, entries: Sequence[ListEntry], first: int, whole: str) -> None:
        """Fetch URLs from an entry on, up to enough bytes, and keep the results in parts."""
        places = [index for index in range(first, len(entries)) if entries[index].address is not None]
        fetched = self.fetcher.fetch(
            [str(entries[index].address) for index in places],
            [entries[index].is_foreign for index in places],
            self.advance,
            _ENOUGH,
        )
        through = len(fetched.bodies)
        end = len(entries) if through == len(places) else places[through]
        self.advance(end - first - through)
        bodies = [entry.item for entry in entries[first:end]]
        for index, body in zip(places, fetched.bodies, strict=False):
            bodies[index - first] = body
        failures = [(places[index], kind, reason) for index, kind, reason in fetched.failures]
        requests = dict(fetched.requests)
        begin = first
        for last in (first + cut for cut in _cuts(bodies)):
            own = [[index - begin, kind, reason] for index, kind, reason in failures if begin <= index < last]
            taken = bodies[begin - first : last - first]
            self.job.keep_fetched(f"{number:06d}.{part}", f"{whole}:{begin}", taken, own, requests)
            begin, part, requests = last, part + 1, {}


def _cuts(bodies: Sequence[bytes | None]) -> Iterator[int]:
    """Yield the ends of parts that are small enough to be sorted at once."""
    size = 0
    for number, body in enumerate(bodies):
        size += len(body or b"")
        if size >= _PART or number == len(bodies) - 1:
            yield number + 1
            size = 0


def _digest(entries: Sequence[ListEntry]) -> str:
    """Return the digest of entries."""
    digest = hashlib.sha256()
    for entry in entries:
        for text in (
            entry.place.encode(errors="surrogatepass"),
            (entry.address or "").encode(errors="surrogatepass"),
            entry.item or b"",
        ):
            digest.update(len(text).to_bytes(8, "little"))
            digest.update(text)
    return digest.hexdigest()


def _report(change: Change, work: _Work, lists: Sequence[str], processes: int) -> None:
    """Write counts and failed entries for people, as parts of the change."""
    seconds = {name: round(value, 3) for name, value in work.seconds.items()}
    statistics = {
        "resumed": work.resumed,
        "seconds": seconds,
        "sorted_by": "this process" if processes == 1 else f"{processes} processes",
    }
    value = {"lists": [redact(address) for address in lists], **work.counts.to_json(), **statistics}
    stage(change, "report.staged", REPORT_NAME, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
    if work.counts.failures:
        with (change.scratch / "failures.staged").open("w", encoding="utf-8", newline="") as file:
            rows = ((f.place, f.address or "", f.kind, f.reason) for f in work.failures)
            file.write(format_spreadsheet(chain([FAILURE_COLUMNS], rows)))
        change.move("failures.staged", FAILURES_NAME)
