"""Lay out a catalogue: the grid and its default resolution, the cell of an item (``global`` if it meets too many), the
period and path of its partition.

The grid only decides where items are stored. Queries use the recorded extents of partitions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from eechips.archive.catalogs.extents import centres, diameters
from eechips.archive.catalogs.partitions.grid_systems import GLOBAL_CELL, H3, S2, Mgrs, Tiles, Utm
from eechips.errors import UsageError
from eechips.geo.ellipsoid import Floats

GRIDS = (H3.name, S2.name, Mgrs.name, Utm.name, Tiles.name)
"""Names of grids."""

RESOLUTIONS = {H3.name: 2, S2.name: 5}
"""Default resolutions: cells of 86,800 and of 83,000 km²."""


CellGrid = H3 | S2 | Mgrs | Utm | Tiles
"""A grid of cells: its name as an option, how many cells items can meet, and the cells of points and geometries."""


def grid_json(grid: CellGrid) -> dict[str, Any]:
    """Return a grid as a JSON value, for :func:`grid_of`: its name, and the resolution or the tiles, by their names."""
    if isinstance(grid, Tiles):
        return {"name": grid.name, "tiles": dict(grid.tiles)}
    return {"name": grid.name, **({"resolution": grid.resolution} if isinstance(grid, (H3, S2)) else {})}


def grid_of(value: dict[str, Any]) -> CellGrid:
    """Read the grid that :func:`grid_json` returned.

    Raises:
        UsageError: if the grid is unknown.
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
    """Return the requested grid; defaults come from the catalogue, if there is one.

    Raises:
        UsageError: if the arguments contradict each other.
    """
    wanted = name or (Tiles.name if tiles is not None else known.name if known else H3.name)
    if (tiles is not None) != (wanted == Tiles.name) and not (known and known.name == Tiles.name == wanted):
        raise UsageError("tiles is the GeoJSON file of grid='tiles': set both")
    if resolution is not None and wanted not in RESOLUTIONS:
        raise UsageError(f"resolution is only for {' and '.join(RESOLUTIONS)}: {wanted} has none")
    if tiles is not None:
        return Tiles.read(Path(tiles))
    if known is not None and known.name == wanted and resolution is None:
        return known
    return grid_of({"name": wanted, "resolution": RESOLUTIONS.get(wanted) if resolution is None else resolution})


def assign_cells(grid: CellGrid, boxes: Floats, geometries: pa.ChunkedArray, most_cells: int) -> list[str]:
    """Return the cells of items: those of the centres of their boxes; ``global`` if they meet too many.

    Args:
        boxes: shape (n, 4): west, south, east, north.
        geometries: as WKB.
    """
    cells = grid.locate(*centres(boxes))
    for index in np.flatnonzero(grid.max_cells(diameters(boxes)) > most_cells):
        if grid.exceeds(shapely.from_wkb(geometries[int(index)].as_py()), most_cells):
            cells[index] = GLOBAL_CELL
    return cells


By = Literal["collection", "mission"]
"""First level of the partitions. In either case a partition has items of one collection: columns differ."""

Period = Literal["year", "month", "day", "none"]
"""Time span of a partition."""

MISSION = ("mission", "constellation", "platform")
"""Properties that name the mission of an item, in order of precedence (https://github.com/radiantearth/stac-spec,
common metadata, instrument)."""

FILE = "items.parquet"
MOST_CELLS = 10
"""Default maximum of cells that an item meets: a Landsat scene meets five of resolution 2."""

_LEVELS: Mapping[str, int] = {"none": 0, "year": 1, "month": 2, "day": 3}
_TIMES = ("year", "month", "day")
_NONE = "none"  # replaces a missing collection or mission
_LONGEST = 200  # characters of a name in a path: file systems allow 255 bytes
_DIGITS = 16  # of the hash of a longer name
_KEY = re.compile(
    r"(?:mission=([^/]+)/)?collection=([^/]+)/cell=([^/]+)((?:/(?:year|month|day)=-?\d+)*)/items\.parquet"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of a catalogue, fixed when it is created.

    Attributes:
        period: time span of a partition.
        most_cells: items that meet more cells are ``global``.
        by: first level of the partitions.
    """

    grid: CellGrid
    period: Period = "month"
    most_cells: int = MOST_CELLS
    by: By = "collection"

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise UsageError(f"catalogues cannot be by '{self.by}', only by {' or '.join(get_args(By))}")
        if self.period not in get_args(Period):
            raise UsageError(f"there is no period '{self.period}': there are {', '.join(get_args(Period))}")
        if self.most_cells < 1:
            raise UsageError(f"most_cells must be at least 1, not {self.most_cells}")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for :meth:`from_json`."""
        return {"by": self.by, "grid": grid_json(self.grid), "period": self.period, "most_cells": self.most_cells}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layout:
        """Read the layout that ``to_json`` returned."""
        return cls(grid_of(value["grid"]), value["period"], value["most_cells"], value.get("by", "collection"))

    def paths(
        self,
        missions: Sequence[str | None],
        collections: Sequence[str | None],
        cells: Sequence[str],
        starts: npt.NDArray[np.datetime64],
    ) -> list[str]:
        """Return the files of items, below the catalogue, with forward slashes."""
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
    """Return the folder of a collection, ``collection=…``, which engines read as its id."""
    return f"collection={_component(collection)}"


def owner(path: str) -> str:
    """Return the folder of the collection in a partition's path; an id is unique in it.

    Raises:
        UsageError: if it is not the path of a partition.
    """
    folder = next((part for part in path.split("/") if part.startswith("collection=")), None)
    if folder is None:
        raise UsageError(f"{path!r} is not the path of a partition: it names no collection")
    return folder


def fields(path: str) -> dict[str, str | int]:
    """Parse a partition's path into mission, collection, cell, year, month and day, if it has them.

    Raises:
        UsageError: if it is not the path of a partition.
    """
    match = _KEY.fullmatch(path)
    if match is None:
        raise UsageError(f"'{path}' is not a partition of a catalogue")
    times = (part.partition("=") for part in match[4].split("/") if part)
    return {
        **({} if match[1] is None else {"mission": unquote(match[1])}),
        "collection": unquote(match[2]),
        "cell": unquote(match[3]),
        **{name: int(value) for name, _, value in times},
    }


def name_in_path(name: str) -> str:
    """Return the name of a collection or mission as read from a path; very long ones are shortened."""
    return unquote(_component(name))


def _component(name: str | None) -> str:
    """Encode a name as a component of a path, without slashes and unique."""
    if not name:
        return _NONE
    if name == _NONE:
        return f"%{ord(name[0]):X}{name[1:]}"
    encoded = quote(name, safe="")
    if len(encoded) <= _LONGEST:
        return encoded
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    first = name[: _LONGEST - _DIGITS - 1]
    while len(quote(first, safe="")) > _LONGEST - _DIGITS - 1:
        first = first[:-1]
    return f"{quote(first, safe='')}-{digest}"


def _times(starts: npt.NDArray[np.datetime64], levels: int) -> list[str]:
    """Return ``/year=2020/month=6`` for each moment."""
    if not levels:
        return [""] * len(starts)
    units = np.array(["Y", "M", "D"])[levels - 1]
    cut = starts.astype(f"datetime64[{units}]")
    texts = {}
    for moment in np.unique(cut):
        numbers = (int(part) for part in str(moment).rsplit("-", levels - 1))
        texts[moment] = "".join(f"/{name}={number}" for name, number in zip(_TIMES, numbers, strict=False))
    return [texts[moment] for moment in cut]
