"""Read one image that is made of many files, each found when its place is looked at; refuse a window of more than 64
files.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import Item
from eechips_local.archives.archive_record import TiledGrid
from eechips_local.archives.items.item_bands import ArchiveRaster
from eechips_local.archives.items.item_conditions import meets_bounds
from eechips_local.evaluation.asset_model import Bounds, PixelWindow
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer

MOST_FILES = 64
"""Files of which one window may be made."""

_CELLS = 4096  # remembered
_SAMPLES = 9  # along each edge of a window
_INSIDE = 1e-6  # degrees by which a search stays within its squares: their neighbours touch them
_ROUNDING = 1e-6  # pixels

Integers = npt.NDArray[np.int64]
Cell = tuple[int, int]


class TileFinder:
    """Finds the items that show a place, and remembers them. Threads may share it.

    Args:
        search: returns the items that meet bounds.
        cell: edge of the squares in degrees that are searched.
    """

    def __init__(self, search: Callable[[Bounds], Iterable[Item]], cell: float) -> None:
        self.cell = cell
        self._search = search
        self._lock = threading.Lock()
        self._known: OrderedDict[Cell, tuple[Item, ...]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return TileFinder, (self._search, self.cell)

    def items_in(self, grid: PixelGrid) -> list[Item]:
        """Return the items that may show a part of a grid.

        Raises:
            ArchiveError: if the archive does not answer.
            ArchiveRefusedError: if the grid covers too many squares.
        """
        return self.items(cells_of(grid, self.cell))

    def items(self, cells: Iterable[Cell]) -> list[Item]:
        """Return the items of some squares (column, row from 180 W, 90 S), each once, in the order of their ids.

        Raises:
            ArchiveError: if the archive does not answer.
        """
        wanted = sorted(set(cells))
        with self._lock:
            known = {cell: self._known[cell] for cell in wanted if cell in self._known}
        missing = [cell for cell in wanted if cell not in known]
        if missing:
            known.update(self._found(missing))
        items = {str(item["id"]): item for cell in wanted for item in known[cell]}
        return [items[name] for name in sorted(items)]

    def _found(self, missing: Sequence[Cell]) -> dict[Cell, tuple[Item, ...]]:
        """Search the squares together."""
        columns, rows = [column for column, _ in missing], [row for _, row in missing]
        boxes = {
            (column, row): self._bounds(column, row, column, row)
            for column in range(min(columns), max(columns) + 1)
            for row in range(min(rows), max(rows) + 1)
        }
        items = list(self._search(self._bounds(min(columns), min(rows), max(columns), max(rows))))
        cell_items = {cell: tuple(item for item in items if meets_bounds(item, box)) for cell, box in boxes.items()}
        with self._lock:
            self._known.update(cell_items)
            while len(self._known) > _CELLS:
                self._known.popitem(last=False)
        return cell_items

    def _bounds(self, west: int, south: int, east: int, north: int) -> Bounds:
        return (
            max(-180.0, west * self.cell - 180.0 + _INSIDE),
            max(-90.0, south * self.cell - 90.0 + _INSIDE),
            min(180.0, (east + 1) * self.cell - 180.0 - _INSIDE),
            min(90.0, (north + 1) * self.cell - 90.0 - _INSIDE),
        )


@dataclass(frozen=True, slots=True)
class ListedTiles:
    """Items that are all known."""

    listed: tuple[Item, ...]

    def items_in(self, grid: PixelGrid) -> list[Item]:
        """Return the items."""
        return list(self.listed)


@dataclass(frozen=True, slots=True, eq=False)
class TileMosaic:
    """A ``RasterSource`` over the files of one asset of many items.

    A pixel of a level is the file's pixel at its centre, of the coarsest level of the file that is no coarser.

    Attributes:
        tiles: grid of the whole.
        finder: finder of the items.
        open_tile: returns the raster of an item, whose CRS is that of the whole; None for an item without the asset.
        dtype: data type of the values.
    """

    tiles: TiledGrid
    finder: TileFinder | ListedTiles
    open_tile: Callable[[Item], ArchiveRaster | None]
    dtype: str

    @property
    def levels(self) -> tuple[int, ...]:
        """See ``RasterSource``."""
        return self.tiles.levels

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Read a window from the files that show it; masked where none does.

        Raises:
            ArchiveError: if the archive does not answer.
            ArchiveRefusedError: if the window needs too many files.
        """
        factor = self.tiles.levels[level]
        grid = self.tiles.grid.level(factor, keeps_extent=False).window(
            window.column, window.row, window.width, window.height
        )
        values: npt.NDArray[Any] = np.zeros((len(bands), window.height, window.width), dtype=self.dtype)
        valid = np.zeros(values.shape, dtype=bool)
        rasters = list(self._rasters(grid))
        for raster in rasters:
            raster.prefetch_header()
        for raster in rasters:
            _paste(raster, bands, grid, factor, values, valid)
        return values, valid

    def _rasters(self, grid: PixelGrid) -> Iterator[ArchiveRaster]:
        items = self.finder.items_in(grid)
        rasters = [
            raster for raster in map(self.open_tile, items) if raster is not None and _overlap(raster.grid, grid)
        ]
        if len(rasters) > MOST_FILES:
            raise ArchiveRefusedError(
                f"A window of this image needs {len(rasters)} files of the archive, more than {MOST_FILES}: ask for a "
                "smaller region. The archive has no overview of the whole image."
            )
        return iter(rasters)


def cells_of(grid: PixelGrid, cell: float) -> list[Cell]:
    """Return the squares of an edge in degrees that a grid lies in: column, row from 180 W, 90 S.

    Raises:
        ArchiveRefusedError: if there are too many.
    """
    across, down = np.linspace(0.0, grid.width, _SAMPLES), np.linspace(0.0, grid.height, _SAMPLES)
    columns, rows = (mesh.ravel() for mesh in np.meshgrid(across, down))
    t = Projection(grid.crs, grid.transform).transform
    x, y = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
    if grid.crs != "EPSG:4326":
        x, y = transformer(grid.crs, "EPSG:4326").transform(x, y)
    seen = np.isfinite(x) & np.isfinite(y)
    if not seen.any():
        return []
    most = (math.ceil(360.0 / cell) - 1, math.ceil(180.0 / cell) - 1)
    west, east = (_at(float(value) + 180.0, cell, most[0]) for value in (x[seen].min(), x[seen].max()))
    south, north = (_at(float(value) + 90.0, cell, most[1]) for value in (y[seen].min(), y[seen].max()))
    if (east - west + 1) * (north - south + 1) > _CELLS // 4:
        raise ArchiveRefusedError(
            "A window of this image covers too large a part of the Earth: ask for a smaller region. The archive has "
            "no overview of the whole image."
        )
    return [(column, row) for column in range(west, east + 1) for row in range(south, north + 1)]


def _at(degrees: float, cell: float, most: int) -> int:
    return min(max(math.floor(degrees / cell), 0), most)


def _overlap(one: PixelGrid, other: PixelGrid) -> bool:
    a, b = one.bounds, other.bounds
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _paste(
    raster: ArchiveRaster,
    bands: Sequence[int],
    grid: PixelGrid,
    factor: int,
    values: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
) -> None:
    """Fill the pixels of a grid that are masked yet with those of a file, in place."""
    if raster.grid.crs != grid.crs:
        raise ArchiveRefusedError(
            f"Item {raster.item_id}: asset {raster.asset} is in {raster.grid.crs[:40]}, but the image in {grid.crs}."
        )
    levels = raster.levels
    level = max(position for position, scale in enumerate(levels) if scale <= factor)
    own = raster.grid.stretched(*raster.level_sizes[level])
    columns = _positions(grid.transform.c, grid.transform.a, grid.width, own.transform.c, own.transform.a)
    rows = _positions(grid.transform.f, grid.transform.e, grid.height, own.transform.f, own.transform.e)
    across = np.flatnonzero((columns >= 0) & (columns < own.width))
    down = np.flatnonzero((rows >= 0) & (rows < own.height))
    if not (across.size and down.size):
        return
    every = np.arange(len(bands))
    place = np.ix_(every, down, across)
    if valid[place].all():
        return
    columns, rows = columns[across], rows[down]
    west, north = int(columns.min()), int(rows.min())
    window = PixelWindow(west, north, int(columns.max()) - west + 1, int(rows.max()) - north + 1)
    pixels, seen = raster.read(bands, window, level)
    picked = np.ix_(every, rows - north, columns - west)
    new = seen[picked] & ~valid[place]
    values[place] = np.where(new, pixels[picked], values[place])
    valid[place] |= new


def _positions(start: float, step: float, count: int, own_start: float, own_step: float) -> Integers:
    """Return positions in a file of the centres of pixels along an axis."""
    centres = start + (np.arange(count) + 0.5) * step
    positions: Integers = np.floor((centres - own_start) / own_step + _ROUNDING).astype(np.int64)
    return positions
