"""Pixels of demo images: any grid, any window, any level of the pyramid, painted when they are asked for.

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
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pyproj import CRS

from eechips.emulator.demo import mercator
from eechips.emulator.demo.mercator import Floats, Rect
from eechips.emulator.model import Window
from eechips.emulator.pixels.grid import Grid, parse_crs, transformer

_BLOCK = 256
"""Pixels along the edge of the pieces that are painted at a time."""

_PIECE = 512
"""The same where all rows are painted at one pitch: a chip is then one piece."""

_ERROR = 0.005
"""Pixels by which a centre may be off where it is carried linearly."""

SINUSOIDAL = "SR-ORG:6974"
_SPHERE = 6_371_007.181


class Scene(Protocol):
    """What a sensor sees; picklable."""

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Values of bands on a rectangle's cells, shape (bands, height, width), and where valid (None: everywhere)."""
        ...

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[Any]:
        """Stored values, whole numbers unless the band has fractions, of what was read from the cells."""
        ...


def pyramid(width: int, height: int) -> tuple[int, ...]:
    """Factors 1, 2, 4, … until the image is a pixel."""
    return tuple(1 << k for k in range(max(1, math.ceil(math.log2(max(width, height, 2))) + 1)))


@lru_cache(maxsize=4096)
def _level(grid: Grid, factor: int) -> Grid:
    return grid.level(factor)


@dataclass(frozen=True, slots=True)
class PaintedSource:
    """A ``RasterSource`` that paints its pixels.

    Attributes:
        grid: of level 0.
        scene: what is seen.
        dtype: of the stored values.
        smooth: read linearly between cells; else take the cell that holds the pixel's centre (for classes).
        outline: corners of the convex part of the grid that is seen, clockwise in the CRS; None for all of it.
    """

    grid: Grid
    scene: Scene
    dtype: str
    smooth: bool = True
    outline: tuple[tuple[float, float], ...] | None = None

    @property
    def levels(self) -> tuple[int, ...]:
        """Powers of two up to the whole image in one pixel."""
        return pyramid(self.grid.width, self.grid.height)

    def read(self, bands: Sequence[int], window: Window, level: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
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
                x, y = positions(grid, left, top, right - left, bottom - top)
                rect = around(x, y, pitch_of(grid, top))
                painted, mask = self.scene.paint(rect, bands)
                read = between if self.smooth else inside
                values[part] = self.scene.encode(read(painted, rect, x, y), bands)
                if mask is not None:
                    valid[part] = inside(mask, rect, x, y)
                if self.outline is not None:
                    valid[part] &= _within(self.outline, grid, left, top, right - left, bottom - top)
        return values, valid


def _within(
    outline: tuple[tuple[float, float], ...], grid: Grid, column: int, row: int, width: int, height: int
) -> npt.NDArray[np.bool_]:
    """Which centres of a window's pixels lie in a convex outline whose corners go clockwise."""
    t = grid.transform
    x = t.c + t.a * (np.arange(column, column + width) + 0.5)[None, :]
    y = t.f + t.e * (np.arange(row, row + height) + 0.5)[:, None]
    result = np.ones((height, width), dtype=bool)
    for (ax, ay), (bx, by) in zip(outline, (*outline[1:], outline[0]), strict=True):
        result &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) <= 0.0
    return result


def _pieces(first: int, count: int, aligned: bool) -> list[tuple[int, int]]:
    """Cuts a range into pieces of at most the block size; ``aligned`` ones end at its multiples: one pitch each."""
    size = _BLOCK if aligned else _PIECE
    begin = (first // size + 1) * size if aligned else first + size
    cuts = [first, *range(begin, first + count, size), first + count]
    return list(itertools.pairwise(cuts)) if count else []


@lru_cache(maxsize=4096)
def _shape_of(crs: str) -> tuple[str, CRS]:
    """How a CRS is carried to the plane: "geographic", "sinusoidal" or "projected"."""
    parsed = parse_crs(crs)
    if parsed.is_geographic:
        return "geographic", parsed
    if crs == SINUSOIDAL:
        return "sinusoidal", parsed
    return "projected", parsed


def pitch_of(grid: Grid, row: int) -> int:
    """Units between the cells to paint for a row of pixels: the power of two nearest to the pixel, at least 1."""
    kind, _ = _shape_of(grid.crs)
    block = row // _BLOCK
    if kind == "projected":
        return _projected_pitch(grid)
    middle = grid.transform.f + grid.transform.e * min((block + 0.5) * _BLOCK, (block * _BLOCK + grid.height) / 2.0)
    latitude = middle if kind == "geographic" else math.degrees(middle / _SPHERE)
    return _pitch(grid.nominal_scale, latitude)


@lru_cache(maxsize=4096)
def _projected_pitch(grid: Grid) -> int:
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


def positions(grid: Grid, column: int, row: int, width: int, height: int) -> tuple[Floats, Floats]:
    """Units of the centres of a window's pixels, each of shape (height, width) or broadcasting to it."""
    kind, _ = _shape_of(grid.crs)
    t = grid.transform
    if kind == "geographic":
        x = mercator.x_of(t.c + t.a * (np.arange(column, column + width) + 0.5))
        y = mercator.y_of(t.f + t.e * (np.arange(row, row + height) + 0.5))
        return x[None, :], y[:, None]
    if kind == "sinusoidal":
        angle = (t.f + t.e * (np.arange(row, row + height) + 0.5)) / _SPHERE
        angle = np.clip(angle, -math.pi / 2 + 1e-9, math.pi / 2 - 1e-9)
        longitude = np.degrees((t.c + t.a * (np.arange(column, column + width) + 0.5)) / _SPHERE)
        # Beyond the antimeridian there is no planet: such pixels stay on its edge.
        longitude = np.clip(longitude[None, :] / np.cos(angle)[:, None], -180.0, 180.0)
        across = mercator.x_of(longitude)
        return across, np.broadcast_to(mercator.y_of(np.degrees(angle))[:, None], across.shape)
    step = _step(grid)
    first_i, last_i = column // step, (column + width - 1) // step + 1
    first_j, last_j = row // step, (row + height - 1) // step + 1
    x, y = _nodes(grid, step, first_i, first_j, last_i, last_j)
    place_i = (np.arange(column, column + width) * (1.0 / step)) - first_i
    place_j = (np.arange(row, row + height) * (1.0 / step)) - first_j
    i, j = np.floor(place_i).astype(np.int64), np.floor(place_j).astype(np.int64)
    f, g = place_i - i, (place_j - j)[:, None]
    result = []
    for lattice in (x, y):
        lines = lattice[:, i] + (lattice[:, i + 1] - lattice[:, i]) * f
        result.append(lines[j] + (lines[j + 1] - lines[j]) * g)
    return result[0], result[1]


def _nodes(grid: Grid, step: int, west: int, north: int, east: int, south: int) -> tuple[Floats, Floats]:
    """Units of the centres of the pixels (step i, step j) for i from west to east, j from north to south, inclusive."""
    t = grid.transform
    i, j = np.meshgrid(np.arange(west, east + 1) * step + 0.5, np.arange(north, south + 1) * step + 0.5)
    longitude, latitude = to_degrees(grid.crs)(t.c + t.a * i + t.b * j, t.f + t.d * i + t.e * j)
    middle = _middle(grid)
    longitude = longitude - np.rint((longitude - middle) * (1.0 / 360.0)) * 360.0
    return mercator.x_of(longitude), mercator.y_of(latitude)


@lru_cache(maxsize=4096)
def _middle(grid: Grid) -> float:
    west, south, east, north = grid.bounds
    return float(to_degrees(grid.crs)((west + east) / 2.0, (south + north) / 2.0)[0])


@lru_cache(maxsize=4096)
def _step(grid: Grid) -> int:
    """Pixels between nodes: a power of two up to 256 that keeps the error of linear interpolation within bounds.

    The second derivative of a map projection is of the order of tan(latitude) / radius of the Earth.
    """
    west, south, east, north = grid.bounds
    _, latitude = to_degrees(grid.crs)((west + east) / 2.0, max(abs(south), abs(north)))
    bend = grid.nominal_scale * (0.5 + abs(math.tan(math.radians(min(85.0, abs(latitude)))))) / 6.37e6
    return 1 << max(0, min(8, int(math.log2(math.sqrt(8.0 * _ERROR / bend)))))


def around(x: Floats, y: Floats, pitch: int) -> Rect:
    """The rectangle of cells that surrounds positions, with the neighbours that linear reading needs."""
    west, east = math.floor(float(x.min()) / pitch - 0.5), math.floor(float(x.max()) / pitch - 0.5) + 1
    north, south = math.floor(float(y.min()) / pitch - 0.5), math.floor(float(y.max()) / pitch - 0.5) + 1
    return Rect(pitch, west, north, east - west + 1, south - north + 1)


def between(values: npt.NDArray[Any], rect: Rect, x: Floats, y: Floats) -> npt.NDArray[np.float32]:
    """Values at positions, read linearly between the centres of cells; shape (bands, height, width)."""
    px, py = x * (1.0 / rect.pitch) - (rect.column + 0.5), y * (1.0 / rect.pitch) - (rect.row + 0.5)
    ix, iy = np.floor(px), np.floor(py)
    fx, fy = (px - ix).astype(np.float32), (py - iy).astype(np.float32)
    if x.shape[0] == 1 and y.shape[1] == 1:
        i, j = ix[0].astype(np.int64), iy[:, 0].astype(np.int64)
        lines = values[:, :, i] + (values[:, :, i + 1] - values[:, :, i]) * fx
        straight: npt.NDArray[np.float32] = (lines[:, j] + (lines[:, j + 1] - lines[:, j]) * fy).astype(np.float32)
        return straight
    count = values.shape[0]
    flat = (iy * rect.width + ix).astype(np.int64)
    cells = np.ascontiguousarray(values.reshape(count, -1).T, dtype=np.float32)
    upper, right = cells.take(flat, axis=0), cells.take(flat + 1, axis=0)
    fx3, fy3 = fx[..., None], fy[..., None]
    right -= upper
    right *= fx3
    upper += right
    flat += rect.width
    lower, right = cells.take(flat, axis=0), cells.take(flat + 1, axis=0)
    right -= lower
    right *= fx3
    lower += right
    lower -= upper
    lower *= fy3
    upper += lower
    return np.moveaxis(upper, -1, 0)


def inside(values: npt.NDArray[Any], rect: Rect, x: Floats, y: Floats) -> npt.NDArray[Any]:
    """Values of the cells that hold positions; shape (bands, height, width)."""
    ix = np.floor(x * (1.0 / rect.pitch)).astype(np.int64) - rect.column
    iy = np.floor(y * (1.0 / rect.pitch)).astype(np.int64) - rect.row
    result: npt.NDArray[Any] = values.reshape(values.shape[0], -1)[:, iy * rect.width + ix]
    return result
