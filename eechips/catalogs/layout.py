"""Grids that cut the Earth into cells: which cell an item is stored under.

A grid only decides where items lie. What a partition's items really cover is recorded, and queries go by that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.catalogs.extents import centres, diameters
from eechips.catalogs.grid_systems import GLOBAL_CELL, H3, S2, Mgrs, Tiles, Utm
from eechips.errors import UsageError

GRIDS = (H3.name, S2.name, Mgrs.name, Utm.name, Tiles.name)
"""How grids are called."""

RESOLUTIONS = {H3.name: 2, S2.name: 5}
"""What is usual, of those that have resolutions: cells of 86,800 and of 83,000 km²."""


class CellGrid(Protocol):
    """A grid of cells."""

    name: str
    """How it is called on the command line."""

    def max_cells(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return how many cells items of these diameters can meet at most, shape (n,).

        The number is ``UNBOUNDED_CELLS`` where it is unknown.
        """

    def to_json(self) -> dict[str, Any]:
        """What the grid is, as a JSON value: ``{"name": …, …}``."""

    def locate(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """The cells that places lie in, ``global`` for places in none."""

    def exceeds(self, geometry: BaseGeometry, cells: int) -> bool:
        """Whether a geometry meets more than so many cells."""


def grid_of(value: dict[str, Any]) -> CellGrid:
    """The grid that ``to_json`` wrote.

    Raises:
        UsageError: if there is no such grid.
    """
    name = value.get("name")
    if name == H3.name:
        return H3(int(value["resolution"]))
    if name == S2.name:
        return S2(int(value["resolution"]))
    if name == Mgrs.name:
        return Mgrs()
    if name == Utm.name:
        return Utm()
    if name == Tiles.name:
        return Tiles(tuple(value["tiles"].items()))
    raise UsageError(f"there is no grid '{name}': there are {', '.join(GRIDS)}")


def choose_grid(name: str | None, resolution: int | None, tiles: str | Path | None, known: CellGrid | None) -> CellGrid:
    """The grid that a caller wants, given that of the catalogue, if there is one.

    Raises:
        UsageError: if what is wanted does not fit together.
    """
    wanted = name or (Tiles.name if tiles is not None else known.name if known else H3.name)
    if (tiles is not None) != (wanted == Tiles.name) and not (known and known.name == Tiles.name == wanted):
        raise UsageError("--tiles goes with --grid tiles: it names the GeoJSON file of the tiles")
    if resolution is not None and wanted not in RESOLUTIONS:
        raise UsageError(f"--resolution is of {' and '.join(RESOLUTIONS)}: {wanted} has none")
    if tiles is not None:
        return Tiles.read(Path(tiles))
    if known is not None and known.name == wanted and resolution is None:
        return known
    return grid_of({"name": wanted, "resolution": RESOLUTIONS.get(wanted) if resolution is None else resolution})


def assign_cells(
    grid: CellGrid, boxes: npt.NDArray[np.float64], geometries: pa.ChunkedArray, most_cells: int
) -> list[str]:
    """The cells that items are stored under: those of their boxes' middles; ``global`` if they meet too many.

    Args:
        grid: of the cells.
        boxes: of the items, (n, 4): west, south, east, north.
        geometries: of the items, as WKB.
        most_cells: so many cells may an item meet.
    """
    found = grid.locate(*centres(boxes))
    for index in np.flatnonzero(grid.max_cells(diameters(boxes)) > most_cells):
        if grid.exceeds(shapely.from_wkb(geometries[int(index)].as_py()), most_cells):
            found[index] = GLOBAL_CELL
    return found


By = Literal["collection", "mission"]
"""What partitions are named by first. Whichever it is, no partition has items of two collections: columns differ."""

Period = Literal["year", "month", "day", "none"]
"""The time that a partition spans."""

MISSION = ("mission", "constellation", "platform")
"""Properties that say whose an item is: the first that it has (https://github.com/radiantearth/stac-spec, common
metadata, instrument)."""

FILE = "items.parquet"
MOST_CELLS = 10
"""Cells that an item may meet, unless the caller says otherwise: a Landsat scene meets five of resolution 2."""

_LEVELS: Mapping[str, int] = {"none": 0, "year": 1, "month": 2, "day": 3}
_TIMES = ("year", "month", "day")
_NONE = "none"  # in the place of a collection or mission
_LONGEST = 200  # characters of a name in a path: file systems have 255 bytes
_DIGITS = 16  # of the hash of a longer one
_KEY = re.compile(
    r"(?:mission=([^/]+)/)?collection=([^/]+)/cell=([^/]+)((?:/(?:year|month|day)=-?\d+)*)/items\.parquet"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What all items of a catalogue are stored by. Fixed when it is made.

    Attributes:
        grid: of the cells.
        period: of time.
        most_cells: items that meet more cells than this are ``global``.
        by: what partitions are named by first.
    """

    grid: CellGrid
    period: Period = "month"
    most_cells: int = MOST_CELLS
    by: By = "collection"

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise UsageError(f"catalogues are not by '{self.by}': they are by {' or '.join(get_args(By))}")
        if self.period not in get_args(Period):
            raise UsageError(f"there is no period '{self.period}': there are {', '.join(get_args(Period))}")
        if self.most_cells < 1:
            raise UsageError(f"an item meets one cell at least: most cells cannot be {self.most_cells}")

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, which :meth:`from_json` reads."""
        return {"by": self.by, "grid": self.grid.to_json(), "period": self.period, "most_cells": self.most_cells}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layout:
        """The layout that ``to_json`` wrote."""
        return cls(grid_of(value["grid"]), value["period"], value["most_cells"], value.get("by", "collection"))

    def paths(
        self,
        missions: Sequence[str | None],
        collections: Sequence[str | None],
        cells: Sequence[str],
        starts: npt.NDArray[np.datetime64],
    ) -> list[str]:
        """The files that items belong to, below the catalogue, with forward slashes.

        Args:
            missions: of the items.
            collections: their ids.
            cells: that the items are stored under.
            starts: when the items begin, ``datetime64[us]``.
        """
        times = _times(starts, _LEVELS[self.period])
        firsts = missions if self.by == "mission" else [None] * len(collections)
        folders = {pair: self._folder(*pair) for pair in set(zip(firsts, collections, strict=True))}
        return [
            f"{folders[mission, collection]}/cell={cell}{time}/{FILE}"
            for mission, collection, cell, time in zip(firsts, collections, cells, times, strict=True)
        ]

    def _folder(self, mission: str | None, collection: str | None) -> str:
        first = f"mission={_component(mission)}/" if self.by == "mission" else ""
        return f"{first}{collection_folder(collection)}"


def collection_folder(collection: str | None) -> str:
    """The folder of a collection: what engines read as its id, from ``collection=``."""
    return f"collection={_component(collection)}"


def owner(path: str) -> str:
    """The folder, in a partition's path, of the collection whose items it has: an id is there once.

    Raises:
        UsageError: if it is the path of no partition.
    """
    found = next((part for part in path.split("/") if part.startswith("collection=")), None)
    if found is None:
        raise UsageError(f"{path!r} is the path of no partition: it names no collection")
    return found


def fields(path: str) -> dict[str, str | int]:
    """What a partition's path says: mission, collection, cell, year, month, day, as far as there are.

    Raises:
        UsageError: if it is the path of no partition.
    """
    found = _KEY.fullmatch(path)
    if found is None:
        raise UsageError(f"'{path}' is no partition of a catalogue")
    times = (part.partition("=") for part in found[4].split("/") if part)
    return {
        **({} if found[1] is None else {"mission": unquote(found[1])}),
        "collection": unquote(found[2]),
        "cell": unquote(found[3]),
        **{name: int(value) for name, _, value in times},
    }


def name_in_path(name: str) -> str:
    """What a collection or mission is called by those who read its name in a path: a very long one is cut short."""
    return unquote(_component(name))


def _component(name: str | None) -> str:
    """A name as the part of a path, in which a slash is none; of each name another."""
    if not name:
        return _NONE
    if name == _NONE:
        return f"%{ord(name[0]):X}{name[1:]}"
    found = quote(name, safe="")
    if len(found) <= _LONGEST:
        return found
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    first = name[: _LONGEST - _DIGITS - 1]
    while len(quote(first, safe="")) > _LONGEST - _DIGITS - 1:
        first = first[:-1]
    return f"{quote(first, safe='')}-{digest}"


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
