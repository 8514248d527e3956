"""Turn a chunk of entries into sorted runs (parse, validate, repair, sort) in any process on any machine; choose the
number of processes.
"""

from __future__ import annotations

import os
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from eechips.archive.catalogs.ingestion.checkpoint import FailedEntry, IngestCounts, SortedChunk
from eechips.archive.catalogs.ingestion.item_geometry import InvalidItemError
from eechips.archive.catalogs.ingestion.item_validation import parse_item, validate_items
from eechips.archive.catalogs.partitions.columns import table_of
from eechips.archive.catalogs.partitions.layout import Layout
from eechips.archive.catalogs.update import shard
from eechips.errors import ConfigurationError, UsageError
from eechips.processes.child_processes import end_with_parent, hide_main
from eechips.web.redaction import REDACTED

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_NO_ROW = (pa.ArrowException, RecursionError, UsageError)  # raised for single extraordinary items


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entries of lists with their fetched texts.

    Attributes:
        name: name of the chunk, for files.
        places: file and line, and URL if there is one, of each entry.
        bodies: text of each; None for failures.
        failures: index, kind and reason of entries without a text.
        requests: sent for them, by host.
        are_homes: whether relative references in the items are relative to the URLs.
    """

    name: str
    places: tuple[tuple[str, str | None], ...]
    bodies: tuple[bytes | None, ...]
    failures: tuple[tuple[Any, ...], ...]
    requests: dict[str, int]
    are_homes: bool = True


def _parse(
    bodies: Sequence[bytes | None], failed: list[tuple[int, str, str]]
) -> tuple[list[Any], list[int], dict[int, tuple[str, ...]]]:
    """Return items, their positions in the chunk, and what was mended in them; failures are added."""
    values: list[Any] = []
    indices: list[int] = []
    mended: dict[int, tuple[str, ...]] = {}
    for index, body in enumerate(bodies):
        if body is None:
            continue
        try:
            value, mended[len(values)] = parse_item(body)
        except InvalidItemError as error:
            failed.append((index, error.kind, str(error)))
        except ValueError as error:
            failed.append((index, "no JSON", str(error)))
        else:
            values.append(value)
            indices.append(index)
    return values, indices, mended


def sort(chunk: Chunk, folder: Path, layout: Layout, collection: str | None, strict: bool) -> SortedChunk:
    """Write the sorted runs of a chunk into a folder.

    Args:
        collection: id for items without one.
        strict: reject items that need repairs.

    Raises:
        OSError: if a run cannot be written.
    """
    failed = [(int(index), str(kind), str(reason)) for index, kind, reason in chunk.failures]
    values, indices, mended = _parse(chunk.bodies, failed)
    verdict = validate_items(values, collection=collection, strict=strict, mended=mended)
    failed += [(indices[number], kind, reason) for number, kind, reason in verdict.refused]
    if chunk.are_homes:
        addresses = [chunk.places[indices[number]][1] for number in verdict.numbers]
        homeless = sum(map(_settled, verdict.items, addresses))
        verdict.mended.update({"self": homeless} if homeless else {})
    groups: dict[str | None, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for number, item in zip(verdict.numbers, verdict.items, strict=True):
        groups[item.get("collection")].append((indices[number], item))
    tables = [_table(group, failed) for group in groups.values()]
    # A worker of a killed command may still be writing: every worker has file names of its own.
    token = secrets.token_hex(4)
    shards = [
        shard(folder / f"{chunk.name}-{part:03d}-{token}.shard", table, layout)
        for part, table in enumerate(tables)
        if table is not None
    ]
    counts = IngestCounts(
        entries=len(chunk.places),
        addresses=sum(address is not None for _, address in chunk.places),
        items=sum(len(table) for table in tables if table is not None),
        failures=Counter(kind for _, kind, _ in failed),
        mended=verdict.mended,
        requests=Counter(chunk.requests),
        bytes=sum(len(body) for body in chunk.bodies if body is not None),
    )
    failures = (FailedEntry(*chunk.places[index], kind, reason) for index, kind, reason in sorted(failed))
    return SortedChunk(counts, tuple(failures), tuple(shards))


def _settled(item: dict[str, Any], address: str | None) -> bool:
    """Record where an item was, if it has relative references; return whether that was needed."""
    if address is None or not any(_is_relative(asset.get("href")) for asset in item["assets"].values()):
        return False
    if any(link.get("rel") == "self" for link in item["links"]):
        return False
    home = address.partition("?")[0] if REDACTED in address else address
    if REDACTED in home:
        return False
    item["links"] = [*item["links"], {"rel": "self", "href": home, "type": "application/geo+json"}]
    return True


def _is_relative(reference: Any) -> bool:
    return isinstance(reference, str) and not (reference.startswith("/") or _SCHEME.match(reference))


def _table(items: Sequence[tuple[int, Mapping[str, Any]]], failed: list[tuple[int, str, str]]) -> pa.Table | None:
    """Return the rows of numbered items; None if there are none. Items that cannot be rows are noted."""
    try:
        return table_of([item for _, item in items])
    except _NO_ROW:
        kept = []
        for number, item in items:
            try:
                table_of([item])
            except _NO_ROW as error:
                failed.append((number, "no row", f"{type(error).__name__}: {error}"[:200]))
            else:
                kept.append(item)
        if len(kept) == len(items):
            raise
        return table_of(kept) if kept else None


SMALL = 100_000_000
"""Bytes of lists that are sorted in this process."""

_MOST_PROCESSES = 4  # processes at most: one parent cannot keep more of them busy


@dataclass(frozen=True, slots=True)
class Workers:
    """What calls are submitted to.

    Attributes:
        submit: submits a call of a function with arguments, and returns its pending result.
        ahead: maximum number of pending calls.
    """

    submit: Callable[..., Future[Any]]
    ahead: int


def choose_processes(size: int, processes: int | None) -> int:
    """Return the number of processes for lists of so many bytes; 1 for this process, None to choose by size.

    Raises:
        UsageError: if the number of processes is not positive.
    """
    if processes is None:
        return 1 if size <= SMALL else min(_MOST_PROCESSES, os.cpu_count() or 1)
    if processes < 1:
        raise UsageError(f"processes must be at least 1, not {processes}")
    return processes


@contextmanager
def workers(processes: int) -> Iterator[Workers]:
    """Start so many processes, and end them at the end of the block; 1 for this process, which calls at once.

    Raises:
        ConfigurationError: if a process dies.
    """
    if processes == 1:
        yield Workers(_call, 0)
        return
    try:
        with ProcessPoolExecutor(processes, get_context("spawn"), initializer=end_with_parent) as pool:

            def submit(*call: Any) -> Future[Any]:
                with hide_main():
                    return pool.submit(*call)

            yield Workers(submit, processes + 1)
    except BrokenExecutor as error:
        raise ConfigurationError(
            "a process that sorted items has died, perhaps for lack of memory: run the same command to"
            " resume; processes=1 needs less memory"
        ) from error


def _call(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    done: Future[Any] = Future()
    done.set_result(function(*arguments))
    return done
