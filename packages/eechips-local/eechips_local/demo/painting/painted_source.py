"""Paint pixels of demo images on request: any grid, any window, any level of the pyramid.

A pixel is looked up on the plane of ``mercator``: its centre is carried there, and the picture that was painted on the
plane's own cells is read between them. Centres are carried exactly on a lattice that belongs to the image, and between
its nodes linearly, so they depend on nothing but the pixel's place in the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS

from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.pixels.grids.pixel_grid import PixelGrid, parse_crs, transformer

_BLOCK = 256
"""Pixels along the edge of the pieces that are painted at a time."""

_LINES = 128
"""Rows of pixels that are read at a time."""

_ERROR = 0.005
"""Pixels by which a centre may be off where it is carried linearly."""

Integers = npt.NDArray[np.int64]

SINUSOIDAL = "SR-ORG:6974"
_SPHERE = 6_371_007.181


class PaintedScene(Protocol):
    """Scene as a sensor sees it. Can be pickled."""

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return values of bands on a rectangle's cells, shape (bands, height, width), and where valid (None:
        everywhere).
        """
        ...

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[Any]:
        """Return stored values, whole numbers unless the band has fractions, of what was read from the cells."""
        ...


class AsPainted:
    """A scene whose values are stored as they are painted."""

    __slots__ = ()

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[Any]:
        """See ``PaintedScene``."""
        return values


class Rounded:
    """A scene whose values are stored as multiples of a power of two, so that machines agree."""

    __slots__ = ()
    PARTS: ClassVar[float] = 1024.0
    """Into how many steps a unit of a value is divided."""

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.float64]:
        """See ``PaintedScene``."""
        rounded: npt.NDArray[np.float64] = np.rint(np.asarray(values, dtype=np.float64) * self.PARTS)
        return rounded * (1.0 / self.PARTS)


def nothing(bands: int, rect: Rect) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return what a scene paints on cells of which it shows none."""
    shape = (bands, rect.height, rect.width)
    return np.broadcast_to(np.float32(0.0), shape), np.broadcast_to(np.False_, shape)


def pyramid(width: int, height: int) -> tuple[int, ...]:
    """Return factors 1, 2, 4, … until the image is a pixel."""
    return tuple(1 << k for k in range(max(1, math.ceil(math.log2(max(width, height, 2))) + 1)))


@lru_cache(maxsize=4096)
def _level(grid: PixelGrid, factor: int) -> PixelGrid:
    return grid.level(factor)


@dataclass(frozen=True, slots=True)
class PaintedSource:
    """A ``RasterSource`` that paints its pixels.

    Attributes:
        grid: grid of level 0.
        scene: what is seen.
        dtype: data type of the stored values.
        smooth: read linearly between cells; else take the cell that holds the pixel's centre (for classes).
        outline: corners of the convex part of the grid that is seen, clockwise in the CRS; None for all of it.
    """

    grid: PixelGrid
    scene: PaintedScene
    dtype: str
    smooth: bool = True
    outline: tuple[tuple[float, float], ...] | None = None

    @property
    def levels(self) -> tuple[int, ...]:
        """Powers of two up to the whole image in one pixel."""
        return pyramid(self.grid.width, self.grid.height)

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``RasterSource.read``.

        Raises:
            IndexError: for a level that does not exist.
        """
        grid = _level(self.grid, self.levels[level])
        shape = (len(bands), window.height, window.width)
        values: npt.NDArray[Any] = np.zeros(shape, dtype=self.dtype)
        valid = np.ones(shape, dtype=bool)
        aligned = _shape_of(grid.crs)[0] != "projected"
        for top, bottom in _pieces(window.row, window.height, aligned):
            for left, right in _pieces(window.column, window.width, False):
                part = (
                    slice(None),
                    slice(top - window.row, bottom - window.row),
                    slice(left - window.column, right - window.column),
                )
                columns, rows = np.arange(left, right)[None, :], np.arange(top, bottom)[:, None]
                self._paint(bands, grid, columns, rows, values[part], valid[part])
        return values, valid

    def pick(
        self, bands: Sequence[int], columns: Integers, rows: Integers, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
        """See ``stored_image.PixelSource``: single pixels cost less than the window around them.

        Not where the pitch at which a pixel is painted depends on its row.
        """
        grid = _level(self.grid, self.levels[level])
        if _shape_of(grid.crs)[0] != "projected":
            return None
        height, width = np.broadcast_shapes(columns.shape, rows.shape)
        values: npt.NDArray[Any] = np.zeros((len(bands), height, width), dtype=self.dtype)
        valid = np.ones(values.shape, dtype=bool)
        # Pixels may lie up to two apart: pieces half as wide as those of a window need no more memory.
        for top, bottom in _pieces(0, height, True):
            for left, right in _pieces(0, width, True):
                place = (slice(top, bottom), slice(left, right))
                part = (slice(None), *place)
                self._paint(bands, grid, _part(columns, place), _part(rows, place), values[part], valid[part])
        return values, valid

    def shows(self, columns: Integers, rows: Integers, level: int) -> npt.NDArray[np.bool_]:
        """Return whether pixels lie in the outline; columns and rows broadcast to two dimensions."""
        if self.outline is None:
            return np.ones(np.broadcast_shapes(columns.shape, rows.shape), dtype=bool)
        return _within(self.outline, _level(self.grid, self.levels[level]), columns, rows)

    def _paint(
        self,
        bands: Sequence[int],
        grid: PixelGrid,
        columns: Integers,
        rows: Integers,
        values: npt.NDArray[Any],
        valid: npt.NDArray[np.bool_],
    ) -> None:
        """Paint the pixels at columns and rows, which broadcast to each other, into arrays; of an outline, its box."""
        if self.outline is not None:
            valid &= _within(self.outline, grid, columns, rows)
            place = _box(valid[0])
            part = (slice(None), *place)
            values, valid, columns, rows = values[part], valid[part], _part(columns, place), _part(rows, place)
            if not valid.size:
                return
        x, y = positions(grid, columns, rows)
        rect = around(x, y, pitch_of(grid, int(rows.min())))
        painted, mask = self.scene.paint(rect, bands)
        if mask is not None and not mask.any():
            valid[...] = False
            return
        read = between if self.smooth else inside
        values[...] = self.scene.encode(read(painted, rect, x, y), bands)
        if mask is not None:
            valid &= inside(mask, rect, x, y)


def _box(shown: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns between which there is anything."""
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _part(indices: Integers, place: tuple[slice, slice]) -> Integers:
    """Return a part of indices that may be broadcast along an axis."""
    rows, columns = (slice(None) if size == 1 else part for size, part in zip(indices.shape, place, strict=True))
    return indices[rows, columns]


def _within(
    outline: tuple[tuple[float, float], ...], grid: PixelGrid, columns: Integers, rows: Integers
) -> npt.NDArray[np.bool_]:
    """Return whether each centre of a pixel lies in a convex outline whose corners go clockwise."""
    t = grid.transform
    x, y = t.c + t.a * (columns + 0.5), t.f + t.e * (rows + 0.5)
    result = np.ones(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
    for (ax, ay), (bx, by) in zip(outline, (*outline[1:], outline[0]), strict=True):
        result &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) <= 0.0
    return result


def _pieces(first: int, count: int, aligned: bool) -> list[tuple[int, int]]:
    """Cut a range into pieces of at most the block size; ``aligned`` ones end at its multiples: one pitch each."""
    begin = (first // _BLOCK + 1) * _BLOCK if aligned else first + _BLOCK
    cuts = [first, *range(begin, first + count, _BLOCK), first + count]
    return list(itertools.pairwise(cuts)) if count else []


@lru_cache(maxsize=4096)
def _shape_of(crs: str) -> tuple[str, CRS]:
    """Return the kind of a CRS: "geographic", "sinusoidal" or "projected"."""
    parsed = parse_crs(crs)
    if parsed.is_geographic:
        return "geographic", parsed
    if crs == SINUSOIDAL:
        return "sinusoidal", parsed
    return "projected", parsed


def pitch_of(grid: PixelGrid, row: int) -> int:
    """Return units between the cells to paint for a row of pixels: the power of two nearest to the pixel, at least
    1.
    """
    kind, _ = _shape_of(grid.crs)
    block = row // _BLOCK
    if kind == "projected":
        return _projected_pitch(grid)
    middle = grid.transform.f + grid.transform.e * min((block + 0.5) * _BLOCK, (block * _BLOCK + grid.height) / 2.0)
    latitude = middle if kind == "geographic" else math.degrees(middle / _SPHERE)
    return _pitch(grid.nominal_scale, latitude)


@lru_cache(maxsize=4096)
def _projected_pitch(grid: PixelGrid) -> int:
    west, south, east, north = grid.bounds
    _, latitude = to_degrees(grid.crs)((west + east) / 2.0, (south + north) / 2.0)
    return _pitch(grid.nominal_scale, latitude)


def _pitch(metres: float, latitude: float) -> int:
    cosine = max(0.087, math.cos(math.radians(min(85.0, abs(latitude)))))
    return 1 << max(0, round(math.log2(metres / (mercator.EQUATOR_UNIT * cosine))))


@lru_cache(maxsize=256)
def to_degrees(crs: str) -> Any:
    """From a CRS to its own geographic coordinates.

    The datum is left as it is: shifts between datums depend on which grids a machine has, and the planet must not.
    """
    geodetic = parse_crs(crs).geodetic_crs
    if geodetic is None:
        raise ValueError(f"No longitudes and latitudes belong to {crs}")
    return transformer(crs, geodetic.to_wkt()).transform


def outline_around(crs: str, points: Sequence[tuple[float, float]], longitude: float) -> shapely.Polygon:
    """Return a polygon in degrees whose longitudes continue across the antimeridian.

    Args:
        crs: CRS of the points.
        points: corners, x and y.
        longitude: longitude of a place inside; no corner is more than 180 degrees from it.
    """
    xs, ys = zip(*points, strict=True)
    longitudes, latitudes = to_degrees(crs)(xs, ys)
    return shapely.Polygon(
        [(v - round((v - longitude) / 360.0) * 360.0, w) for v, w in zip(longitudes, latitudes, strict=True)]
    )


def positions(grid: PixelGrid, columns: Integers, rows: Integers) -> tuple[Floats, Floats]:
    """Return units of the centres of pixels.

    Args:
        grid: whose pixels.
        columns: columns of the pixels, of two dimensions that broadcast with those of ``rows``.
        rows: likewise. In projections that are not known in closed form all must lie within the grid.

    Returns:
        x and y; each broadcasts to the shape of the pixels.
    """
    kind, _ = _shape_of(grid.crs)
    t = grid.transform
    if kind == "geographic":
        return mercator.x_of(t.c + t.a * (columns + 0.5)), mercator.y_of(t.f + t.e * (rows + 0.5))
    if kind == "sinusoidal":
        angle = (t.f + t.e * (rows + 0.5)) / _SPHERE
        angle = np.clip(angle, -math.pi / 2 + 1e-9, math.pi / 2 - 1e-9)
        longitude = np.degrees((t.c + t.a * (columns + 0.5)) / _SPHERE)
        # Beyond the antimeridian there is no planet: such pixels stay on its edge.
        longitude = np.clip(longitude / np.cos(angle), -180.0, 180.0)
        across = mercator.x_of(longitude)
        return across, np.broadcast_to(mercator.y_of(np.degrees(angle)), across.shape)
    step = _step(grid)
    west, east = int(columns.min()), int(columns.max())
    first_i, first_j = west // step, int(rows.min()) // step
    lattices = _nodes(grid, step, first_i, first_j, east // step + 1, int(rows.max()) // step + 1)
    place_i = np.arange(west, east + 1) * (1.0 / step) - first_i
    i = place_i.astype(np.int64)
    # A power of two: shifts are several times as fast as divisions.
    j, share = (rows >> (step.bit_length() - 1)) - first_j, (rows & (step - 1)) * (1.0 / step)
    flat = j * len(i) + (columns - west)
    places = []
    for lattice in lattices:
        # From node to node along every column, then between the nodes' rows only where a pixel is asked for.
        lines = lattice[:, i] + (lattice[:, i + 1] - lattice[:, i]) * (place_i - i)
        place = (lines[1:] - lines[:-1]).take(flat)
        place *= share
        place += lines.take(flat)
        places.append(place)
    return places[0], places[1]


def _nodes(grid: PixelGrid, step: int, west: int, north: int, east: int, south: int) -> tuple[Floats, Floats]:
    """Return units of the centres of the pixels (step i, step j) for i from west to east, j from north to south,
    inclusive.
    """
    t = grid.transform
    i, j = np.meshgrid(np.arange(west, east + 1) * step + 0.5, np.arange(north, south + 1) * step + 0.5)
    longitude, latitude = to_degrees(grid.crs)(t.c + t.a * i + t.b * j, t.f + t.d * i + t.e * j)
    middle = _middle(grid)
    longitude = longitude - np.rint((longitude - middle) * (1.0 / 360.0)) * 360.0
    return mercator.x_of(longitude), mercator.y_of(latitude)


@lru_cache(maxsize=4096)
def _middle(grid: PixelGrid) -> float:
    west, south, east, north = grid.bounds
    return float(to_degrees(grid.crs)((west + east) / 2.0, (south + north) / 2.0)[0])


@lru_cache(maxsize=4096)
def _step(grid: PixelGrid) -> int:
    """Return pixels between nodes: a power of two up to 256 that keeps the error of linear interpolation within bounds.

    The second derivative of a map projection is of the order of tan(latitude) / radius of the Earth.
    """
    west, south, east, north = grid.bounds
    _, latitude = to_degrees(grid.crs)((west + east) / 2.0, max(abs(south), abs(north)))
    bend = grid.nominal_scale * (0.5 + abs(math.tan(math.radians(min(85.0, abs(latitude)))))) / 6.37e6
    return 1 << max(0, min(8, int(math.log2(math.sqrt(8.0 * _ERROR / bend)))))


def around(x: Floats, y: Floats, pitch: int) -> Rect:
    """Return the rectangle of cells that surrounds positions, with the neighbours that linear reading needs."""
    west, east = math.floor(float(x.min()) / pitch - 0.5), math.floor(float(x.max()) / pitch - 0.5) + 1
    north, south = math.floor(float(y.min()) / pitch - 0.5), math.floor(float(y.max()) / pitch - 0.5) + 1
    return Rect(pitch, west, north, east - west + 1, south - north + 1)


def between(values: npt.NDArray[Any], rect: Rect, x: Floats, y: Floats) -> npt.NDArray[np.float32]:
    """Return values at positions, read linearly between the centres of cells; shape (bands, height, width)."""
    if x.shape[0] == 1 and y.shape[1] == 1:
        return _straight(values, rect, x, y)
    x, y = np.broadcast_arrays(x, y)
    result = np.empty((len(values), *x.shape), dtype=np.float32)
    planes = values.reshape(len(values), -1).astype(np.float32, copy=False)
    # Some rows at a time fit into the processor's cache, with all that is computed of them.
    for first in range(0, x.shape[0], _LINES):
        some = slice(first, first + _LINES)
        upper, across, down = _places(rect, x[some], y[some])
        lower = upper + rect.width
        upper_right, lower_right = upper + 1, lower + 1
        for plane, into in zip(planes, result[:, some], strict=True):
            north = _mixed(plane, upper, upper_right, across)
            south = _mixed(plane, lower, lower_right, across)
            south -= north
            south *= down
            np.add(north, south, out=into)
    return result


def _straight(values: npt.NDArray[Any], rect: Rect, x: Floats, y: Floats) -> npt.NDArray[np.float32]:
    """Return what ``between`` does for positions at the crossings of columns and rows."""
    px, py = _cells_of(rect, x, y)
    # Neither is negative: cutting off the fraction is rounding down.
    i, j = px.astype(np.int64)[0], py.astype(np.int64)[:, 0]
    fx, fy = (px - i).astype(np.float32), (py - j[:, None]).astype(np.float32)
    lines = values[:, :, i] + (values[:, :, i + 1] - values[:, :, i]) * fx
    result: npt.NDArray[np.float32] = (lines[:, j] + (lines[:, j + 1] - lines[:, j]) * fy).astype(np.float32)
    return result


def _cells_of(rect: Rect, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return positions in cells, from the centre of a rectangle's first one on."""
    if rect.pitch > 1:
        x, y = x * (1.0 / rect.pitch), y * (1.0 / rect.pitch)
    return x - (rect.column + 0.5), y - (rect.row + 0.5)


def _places(rect: Rect, x: Floats, y: Floats) -> tuple[Integers, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return indices of the cells north-west of positions, and the shares of the way from there to the next ones."""
    px, py = _cells_of(rect, x, y)
    i, j = np.floor(px), np.floor(py)
    px -= i
    py -= j
    # numpy rounds down faster than it makes integers; these numbers are exact as they are.
    j *= rect.width
    j += i
    return j.astype(np.int64), px.astype(np.float32), py.astype(np.float32)


def _mixed(
    plane: npt.NDArray[Any], left: Integers, right: Integers, share: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Interpolate linearly between the values of two cells, at a share of the way from the left to the right one."""
    left_values: npt.NDArray[np.float32] = plane.take(left)
    step = plane.take(right)
    step -= left_values
    step *= share
    left_values += step
    return left_values


def inside(values: npt.NDArray[Any], rect: Rect, x: Floats, y: Floats) -> npt.NDArray[Any]:
    """Return values of the cells that hold positions; shape (bands, height, width)."""
    ix = np.floor(x * (1.0 / rect.pitch)).astype(np.int64) - rect.column
    iy = np.floor(y * (1.0 / rect.pitch)).astype(np.int64) - rect.row
    result: npt.NDArray[Any] = values.reshape(values.shape[0], -1)[:, iy * rect.width + ix]
    return result
