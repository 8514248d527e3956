"""Grids that cut the Earth into cells: which cell an item is stored under.

A grid only decides where items lie. What a partition's items really cover is recorded, and queries go by that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.catalogs.extents import centres, diameters
from eechips.catalogs.hexagons import H3
from eechips.catalogs.names import GLOBAL
from eechips.catalogs.quads import S2
from eechips.catalogs.tiles import Tiles
from eechips.catalogs.zones import Mgrs, Utm
from eechips.errors import UsageError

GRIDS = (H3.name, S2.name, Mgrs.name, Utm.name, Tiles.name)
"""How grids are called."""

RESOLUTIONS = {H3.name: 2, S2.name: 5}
"""What is usual, of those that have resolutions: cells of 86,800 and of 83,000 km²."""

_SPREAD = (
    2.0  # the largest cells of H3 have less than twice the mean area (https://h3geo.org/docs/core-library/restable)
)
_SHRINK = 0.5  # and no edge is half as short as the mean edge
_RADIUS = 6_371_008.0  # metres, the mean
_WIDEST = 60.0  # degrees of longitude


class CellGrid(Protocol):
    """A grid of cells."""

    name: str
    """How it is called on the command line."""

    def most(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """How many cells items can meet, at most, that are so large across, shape (n,); ``MANY`` if nobody knows."""

    def to_json(self) -> dict[str, Any]:
        """What the grid is, as a JSON value: ``{"name": …, …}``."""

    def homes(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """The cells that places lie in, ``global`` for places in none."""

    def is_over(self, geometry: BaseGeometry, cells: int) -> bool:
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


def chosen(name: str | None, resolution: int | None, tiles: str | Path | None, known: CellGrid | None) -> CellGrid:
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


def assign(grid: CellGrid, boxes: npt.NDArray[np.float64], geometries: pa.ChunkedArray, most_cells: int) -> list[str]:
    """The cells that items are stored under: those of their boxes' middles; ``global`` if they meet too many.

    Args:
        grid: of the cells.
        boxes: of the items, (n, 4): west, south, east, north.
        geometries: of the items, as WKB.
        most_cells: so many cells may an item meet.
    """
    found = grid.homes(*centres(boxes))
    for index in np.flatnonzero(grid.most(diameters(boxes)) > most_cells):
        if grid.is_over(shapely.from_wkb(geometries[int(index)].as_py()), most_cells):
            found[index] = GLOBAL
    return found
