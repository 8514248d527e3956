"""Divide rasters that are too large for one request into windows aligned to the blocks of the source."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.geo.crs import parse_crs, project, unproject
from eechips.geo.ellipsoid import Floats
from eechips.geo.grid import TURN, Grid, Window, antimeridian_columns

BLOCK = 256
"""Pixels a side of the tiles in which Earth Engine stores and computes images.

https://developers.google.com/earth-engine/guides/best_practices and /guides/ee_arch. Windows with edges on tile
boundaries share no tiles.
"""

SLOTS = 40
"""Minimum number of windows, unless they become too small: requests that a project may have in flight."""

USUAL_BYTES = 16_000_000
"""Bytes of a window, as the service counts: a third of its limit, to bound the memory while windows are checked."""

_MOST_BYTES = 32_000_000  # of a window that cannot be smaller than a block; computePixels and URLs accept it
_LEAST_EDGE = 16
_SMALL_BLOCKS = 2  # blocks a side of the smallest windows
_SAMPLES = 17  # points along a side of a window that are converted to degrees
_ROOM = 0.2  # margin as a share of height and width, which exceeds the curvature between those points
_POLAR = 80.0  # degrees of latitude beyond which a pole may be within a window


@dataclass(frozen=True, slots=True)
class Tiling:
    """The windows of a grid; every pixel is in exactly one.

    Attributes:
        columns: first column and number of columns of each column of windows.
        rows: first row and number of rows of each row of windows.
    """

    columns: tuple[tuple[int, int], ...]
    rows: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.columns) * len(self.rows)

    def __iter__(self) -> Iterator[Window]:
        """Yield the windows, in row-major order."""
        for row, height in self.rows:
            for column, width in self.columns:
                yield Window(column, row, width, height)

    @property
    def largest(self) -> tuple[int, int]:
        """Maximum width and height of the windows, in pixels."""
        return max(width for _, width in self.columns), max(height for _, height in self.rows)


def divide_grid(
    grid: Grid, base_grid: Grid, bands: int, dtype: npt.DTypeLike, edge: int | None = None, *, least: int = SLOTS
) -> Tiling:
    """Divide a grid into windows, one for each request.

    Edges of windows are at multiples of ``BLOCK`` pixels of the base grid, and where a grid in degrees crosses the
    antimeridian. Windows are as large as ``USUAL_BYTES`` allows, but down to 512 pixels smaller if there would be fewer
    than ``least`` of them.

    Args:
        grid: the whole; a window of the base grid.
        base_grid: base grid of the source; its pixel 0, 0 is the corner of a block.
        bands: number of bands of the data; the mask, which is transferred with them, is added.
        edge: maximum pixels a side of a window; None to choose.
        least: number of windows that are wanted, if they do not become too small for it.
    """
    first = [round(place) for place in base_grid.pixel(grid.transform[2], grid.transform[5])]
    breaks = antimeridian_columns(grid)
    edges = (edge,) if edge is not None else edges_for(bands, dtype)
    for length in edges:
        columns = tuple(_cut(grid.width, first[0], length, breaks))
        rows = tuple(_cut(grid.height, first[1], length))
        if len(columns) * len(rows) >= least:
            break
    return Tiling(columns, rows)


def edges_for(bands: int, dtype: npt.DTypeLike) -> tuple[int, ...]:
    """Return possible edges of windows, largest first: multiples of a block, or fractions of it for many bands."""

    def size(edge: int) -> int:
        return Window(0, 0, edge, edge).estimate_bytes(bands + 1, dtype)

    blocks = math.isqrt(USUAL_BYTES // size(1)) // BLOCK
    if blocks > 1:
        return tuple(range(blocks * BLOCK, (_SMALL_BLOCKS - 1) * BLOCK, -BLOCK))
    edge = BLOCK
    while size(edge) > _MOST_BYTES and edge > _LEAST_EDGE:
        edge //= 2
    return (edge,)


def bounding_box(grid: Grid) -> tuple[float, float, float, float]:
    """Return west, south, east, north in degrees around all pixels of a window, with a margin.

    Around a pole, and across the antimeridian, the box extends from -180 to 180.
    """
    steps = np.linspace(0.0, 1.0, _SAMPLES)
    places = np.stack(np.meshgrid(steps * grid.width, steps * grid.height), axis=-1).reshape(-1, 2)
    a, b, c, d, e, f = grid.transform
    xy = places @ np.array([[a, d], [b, e]]) + np.array([c, f])
    lonlat = unproject(grid.crs, xy)
    lonlat = lonlat[np.isfinite(lonlat).all(axis=1)]
    if not len(lonlat):
        return -180.0, -90.0, 180.0, 90.0
    (west, south), (east, north) = lonlat.min(axis=0).tolist(), lonlat.max(axis=0).tolist()
    room = max(north - south, 1e-6) * _ROOM
    wide = max(east - west, 1e-6) * _ROOM
    west, east = west - wide, east + wide
    if east - west > 180.0 or west < -180.0 or east > 180.0:
        west, east = -180.0, 180.0
    south, north = max(south - room, -90.0), min(north + room, 90.0)
    return west, -90.0 if south < -_POLAR else south, east, 90.0 if north > _POLAR else north


def project_region(grid: Grid, region: BaseGeometry) -> BaseGeometry:
    """Return a region in the coordinates of a grid's CRS.

    Args:
        grid: a window that holds the region.
        region: in longitude and latitude, with its parts joined at the antimeridian. Edges are straight in that plane,
            and follow the projection in the grid's CRS.
    """
    west, south, east, north = shapely.bounds(region)
    fine = shapely.segmentize(region, max(east - west, north - south) / 200)
    is_geographic = parse_crs(grid.crs).is_geographic

    def to_grid(xy: Floats) -> Floats:
        turns = np.floor((xy[:, 0] + 180.0) / TURN) * TURN
        projected = project(grid.crs, np.column_stack([xy[:, 0] - turns, xy[:, 1]]))
        return projected + np.column_stack([turns, np.zeros(len(turns))]) if is_geographic else projected

    return shapely.make_valid(shapely.transform(fine, to_grid))


def _cut(length: int, first: int, edge: int, breaks: Sequence[int] = ()) -> Iterator[tuple[int, int]]:
    """Divide a range of pixels into parts of whole blocks, as equal as possible.

    Args:
        length: number of pixels.
        first: position of the first pixel in the base grid, in which blocks are counted.
        edge: maximum pixels of a part.
        breaks: pixels before which a part ends in any case.

    Yields:
        First pixel and length of each part.
    """
    block = next(size for size in (BLOCK, BLOCK // 2, BLOCK // 4, BLOCK // 8, 1) if size <= edge)
    for start, end in pairwise((0, *breaks, length)):
        begin = start - (first + start) % block
        count = math.ceil((end - begin) / block)
        pieces = math.ceil(count / (edge // block))
        cuts = [begin + block * (piece * count // pieces) for piece in range(1, pieces)]
        yield from ((low, high - low) for low, high in pairwise((start, *cuts, end)))
