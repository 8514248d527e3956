"""How a catalogue is laid out: which partition an item belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from eechips.catalogs.grids import CellGrid, chosen, grid_of
from eechips.errors import UsageError

Period = Literal["year", "month", "day", "none"]
"""The time that a partition spans."""

FILE = "items.parquet"
MOST_CELLS = 10
"""Cells that an item may meet, unless the caller says otherwise: a Landsat scene meets five of resolution 2."""

_LEVELS: Mapping[str, int] = {"none": 0, "year": 1, "month": 2, "day": 3}
_TIMES = ("year", "month", "day")
_NONE = "none"  # in the place of a collection
_KEY = re.compile(r"collection=([^/]+)/cell=([^/]+)((?:/(?:year|month|day)=-?\d+)*)/items\.parquet")


@dataclass(frozen=True, slots=True)
class Layout:
    """What all items of a catalogue are stored by. Fixed when it is made.

    Attributes:
        grid: of the cells.
        period: of time.
        most_cells: items that meet more cells than this are ``global``.
    """

    grid: CellGrid
    period: Period = "month"
    most_cells: int = MOST_CELLS

    def __post_init__(self) -> None:
        if self.period not in get_args(Period):
            raise UsageError(f"there is no period '{self.period}': there are {', '.join(get_args(Period))}")
        if self.most_cells < 1:
            raise UsageError(f"an item meets one cell at least: most cells cannot be {self.most_cells}")

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, which :meth:`from_json` reads."""
        return {"grid": self.grid.to_json(), "period": self.period, "most_cells": self.most_cells}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layout:
        """The layout that ``to_json`` wrote."""
        return cls(grid_of(value["grid"]), value["period"], value["most_cells"])

    def paths(
        self, collections: Sequence[str | None], cells: Sequence[str], starts: npt.NDArray[np.datetime64]
    ) -> list[str]:
        """The files that items belong to, below the catalogue, with forward slashes.

        Args:
            collections: their ids.
            cells: that the items are stored under.
            starts: when the items begin, ``datetime64[us]``.
        """
        times = _times(starts, _LEVELS[self.period])
        folders = {name: collection_folder(name) for name in set(collections)}
        return [
            f"{folders[collection]}/cell={cell}{time}/{FILE}"
            for collection, cell, time in zip(collections, cells, times, strict=True)
        ]


def chooser(
    grid: str | None = None,
    resolution: int | None = None,
    tiles: str | Path | None = None,
    period: Period | None = None,
    most_cells: int | None = None,
) -> Callable[[Layout | None], Layout]:
    """What a caller wants of a catalogue's layout; None for what the catalogue has, or new ones usually have."""

    def choose(known: Layout | None) -> Layout:
        cells = chosen(grid, resolution, tiles, known.grid if known else None)
        most = most_cells if most_cells is not None else known.most_cells if known else MOST_CELLS
        return Layout(cells, period or (known.period if known else "month"), most)

    return choose


def collection_folder(collection: str | None) -> str:
    """The folder of a collection: what engines read as its id, from ``collection=``."""
    return f"collection={quote(collection, safe='') if collection else _NONE}"


def fields(path: str) -> dict[str, str | int]:
    """What a partition's path says: collection, cell, year, month, day, as far as there are.

    Raises:
        UsageError: if it is the path of no partition.
    """
    found = _KEY.fullmatch(path)
    if found is None:
        raise UsageError(f"'{path}' is no partition of a catalogue")
    times = (part.partition("=") for part in found[3].split("/") if part)
    return {
        "collection": unquote(found[1]),
        "cell": unquote(found[2]),
        **{name: int(value) for name, _, value in times},
    }


def _times(starts: npt.NDArray[np.datetime64], levels: int) -> list[str]:
    """``/year=2020/month=6`` for each of the moments."""
    if not levels:
        return [""] * len(starts)
    units = np.array(["Y", "M", "D"])[levels - 1]
    cut = starts.astype(f"datetime64[{units}]")
    texts = {}
    for moment in np.unique(cut):
        numbers = (int(part) for part in str(moment).rsplit("-", levels - 1))
        texts[moment] = "".join(f"/{name}={number}" for name, number in zip(_TIMES, numbers, strict=False))
    return [texts[moment] for moment in cut]
