"""A chunk of what should be items becomes shards: parsed, checked, mended, sorted. In any process, on any machine."""

from __future__ import annotations

import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from eechips.catalogs.checkpoint import FailedEntry, IngestCounts, SortedChunk
from eechips.catalogs.columns import table_of
from eechips.catalogs.item_validation import parse_item, validate_items
from eechips.catalogs.layout import Layout
from eechips.catalogs.update import shard
from eechips.errors import UsageError
from eechips.urls import REDACTED_PART

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_NO_ROW = (pa.ArrowException, RecursionError, UsageError)  # of items that are like no other


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entries of lists.

    Attributes:
        name: of the chunk, for files.
        places: file and line, and address if there is one, of each entry.
        bodies: the text of each; None where there is none.
        failures: number, kind and reason of entries that brought no text.
        requests: sent for them, by host.
        are_homes: whether the addresses are those of items, so that what is relative in these counts from them.
    """

    name: str
    places: tuple[tuple[str, str | None], ...]
    bodies: tuple[bytes | None, ...]
    failures: tuple[tuple[Any, ...], ...]
    requests: dict[str, int]
    are_homes: bool = True


def sort(chunk: Chunk, folder: Path, layout: Layout, collection: str | None, strict: bool) -> SortedChunk:
    """Makes the shards of a chunk.

    Args:
        chunk: what should be items.
        folder: where shards are written.
        layout: of the catalogue.
        collection: id for items that name none.
        strict: whether items that would have to be mended are refused.

    Raises:
        OSError: if shards cannot be written.
    """
    failed = [(int(index), str(kind), str(reason)) for index, kind, reason in chunk.failures]
    values: list[Any] = []
    indices: list[int] = []
    mended: dict[int, tuple[str, ...]] = {}
    for index, body in enumerate(chunk.bodies):
        if body is None:
            continue
        try:
            value, mended[len(values)] = parse_item(body)
        except ValueError as error:
            failed.append((index, "no JSON", str(error)))
        else:
            values.append(value)
            indices.append(index)
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
    # Whoever was at this chunk for a command that was killed may still be: nobody writes to another's files.
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
    """Sees to it that an item says where it was, if it has references that count from there; whether it had to."""
    if address is None or not any(_is_relative(asset.get("href")) for asset in item["assets"].values()):
        return False
    if any(link.get("rel") == "self" for link in item["links"]):
        return False
    home = address.partition("?")[0] if REDACTED_PART in address else address
    if REDACTED_PART in home:
        return False
    item["links"] = [*item["links"], {"rel": "self", "href": home, "type": "application/geo+json"}]
    return True


def _is_relative(reference: Any) -> bool:
    return isinstance(reference, str) and not (reference.startswith("/") or _SCHEME.match(reference))


def _table(items: Sequence[tuple[int, Mapping[str, Any]]], failed: list[tuple[int, str, str]]) -> pa.Table | None:
    """The rows of items, which have numbers; None if there are none. Notes items of which no row can be made."""
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
