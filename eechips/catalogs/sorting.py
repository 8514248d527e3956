"""A chunk of what should be items becomes shards: parsed, checked, mended, sorted. In any process, on any machine."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.catalogs.columns import json_reader, table_of
from eechips.catalogs.job import Counts, Failure, Sharded
from eechips.catalogs.layout import Layout
from eechips.catalogs.mending import judged
from eechips.catalogs.update import shard


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entries of lists.

    Attributes:
        number: of the chunk.
        places: file and line, and address if there is one, of each entry.
        bodies: the text of each; None where there is none.
        failures: number, kind and reason of entries that brought no text.
        requests: sent for them, by host.
    """

    number: int
    places: tuple[tuple[str, str | None], ...]
    bodies: tuple[bytes | None, ...]
    failures: tuple[tuple[Any, ...], ...]
    requests: dict[str, int]


def sort(chunk: Chunk, folder: Path, layout: Layout, collection: str | None, strict: bool) -> Sharded:
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
    values, indices, loads = [], [], json_reader()
    for index, body in enumerate(chunk.bodies):
        if body is None:
            continue
        try:
            values.append(loads(body))
            indices.append(index)
        except ValueError as error:
            failed.append((index, "no JSON", str(error)))
    verdict = judged(values, collection=collection, strict=strict)
    failed += [(indices[number], kind, reason) for number, kind, reason in verdict.refused]
    groups: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for item in verdict.items:
        groups[item.get("collection")].append(item)
    shards = [
        shard(folder / f"{chunk.number:06d}-{part:03d}.shard", table_of(items), layout)
        for part, items in enumerate(groups.values())
    ]
    counts = Counts(
        entries=len(chunk.places),
        addresses=sum(address is not None for _, address in chunk.places),
        items=len(verdict.items),
        failures=Counter(kind for _, kind, _ in failed),
        mended=verdict.mended,
        requests=Counter(chunk.requests),
        bytes=sum(len(body) for body in chunk.bodies if body is not None),
    )
    told = (Failure(*chunk.places[index], kind, reason) for index, kind, reason in sorted(failed))
    return Sharded(counts, tuple(told), tuple(shards))
