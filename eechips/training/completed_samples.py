"""Join the files of datasets that were added to a run with those of their samples: they are units of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from eechips.manifest.extensions import first_layer
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.unit_record import State
from eechips.training.sample import ONLY

SampleRow = tuple[tuple[Any, ...], list[tuple[Any, ...]]]
"""Values of a unit, and those of each of its files: see ``UNIT_VALUES`` and ``FILE_VALUES``."""

UNIT_VALUES = ("position", "id", "unit", "state", "valid_fraction", "sources", "dates", "finished")
FILE_VALUES = ("layer", "file", "bytes", "sha256", "metadata")

_SERIES = "series"


def name_files(rows: Iterable[SampleRow], ledger: Ledger) -> Iterator[SampleRow]:
    """Yield samples whose files have the name of their dataset, also files of the time when it was the only one."""
    name = first_layer(ledger.meta())
    for unit, files in rows:
        yield unit, files if name is None else [_named(file, name) for file in files]


def _named(file: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    layer, *own, metadata = file
    values: dict[str, Any] = json.loads(metadata)
    if layer != ONLY and values.get(_SERIES) != "":
        return file
    if values.get(_SERIES) == "":
        values[_SERIES] = name
    return (name if layer == ONLY else f"{name}-{layer}", *own, json.dumps(values))


def complete(row: SampleRow, further: Iterable[SampleRow]) -> SampleRow:
    """Return a sample with the files of further units: as one unit with all of them has it."""
    unit, files = dict(zip(UNIT_VALUES, row[0], strict=True)), list(row[1])
    for values, more in further:
        other = dict(zip(UNIT_VALUES, values, strict=True))
        files += more
        unit |= {
            "state": other["state"] if other["state"] == State.EMPTY else unit["state"],
            "valid_fraction": _least(unit, other),
            "sources": _union(unit["sources"], other["sources"]),
            "dates": _union(unit["dates"], other["dates"]),
            "finished": max(filter(None, (unit["finished"], other["finished"])), default=None),
        }
    return tuple(unit.values()), files


def _least(*units: Mapping[str, Any]) -> float | None:
    fractions = [unit["valid_fraction"] for unit in units if unit["valid_fraction"] is not None]
    return min(fractions, default=None)


def _union(*lists: str | None) -> str | None:
    values = dict.fromkeys(value for text in lists if text for value in json.loads(text))
    return json.dumps(list(values)) if values else None
