"""``Image.pixelLonLat``, ``pixelCoordinates``, ``pixelArea`` and ``random``: coordinates and areas of pixels, and
random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.pixels.grids.location import locate
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.pixel_size import pixel_areas
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels
from eechips_local.pixels.pixelwise_rasters import Generated, everywhere
from eechips_local.pixels.types import DOUBLE
from eechips_local.protocol.request_errors import check_choice
from eechips_local.values.randomness import normal, random_words, uniform
from eechips_local.values.values import WHOLE_EARTH

Floats = npt.NDArray[np.float64]


def _generated(names: Sequence[str], kind: PixelType, make: Callable[[PixelGrid, int], Pixels]) -> Image:
    """Return an unbounded image in the default projection whose bands are computed from the grid alone."""
    raster = Generated(make)
    bands = tuple(ImageBand(name, kind, WGS84, raster, index, fixed=False) for index, name in enumerate(names))
    return Image(bands, {}, WHOLE_EARTH)


def _coordinate(projection: Projection, grid: PixelGrid, axis: int) -> Pixels:
    """Return columns (0) or rows (1) of a projection at the centres of pixels; masked where there are none."""
    location = locate(grid, projection, exact=True)
    values = np.broadcast_to((location.columns, location.rows)[axis], grid.shape)
    known = np.isfinite(values)
    if known.all():
        return Pixels(values, everywhere(grid))
    return Pixels(np.where(known, values, 0.0), known)


@function("Image.pixelLonLat")
def pixel_lonlat() -> Image:
    """Return longitude and latitude of each pixel's centre, in degrees; longitudes within -180 to 180."""
    return _generated(("longitude", "latitude"), DOUBLE, _degrees)


def _degrees(grid: PixelGrid, axis: int) -> Pixels:
    coordinates = _coordinate(WGS84, grid, axis)
    if axis or not np.abs(coordinates.values).max(initial=0.0) > 180.0:
        return coordinates
    return Pixels((coordinates.values + 180.0) % 360.0 - 180.0, coordinates.mask)


@function("Image.pixelCoordinates")
def pixel_coordinates(projection: Projection) -> Image:
    """Return the coordinates x and y of each pixel's centre in a projection: pixels of its transform, where it has
    one.
    """
    image = _generated(("x", "y"), DOUBLE, partial(_coordinate, projection))
    return image.with_bands([replace(band, projection=projection, fixed=True) for band in image.bands])


@function("Image.pixelArea")
def pixel_area() -> Image:
    """Return the area of each pixel on the WGS84 ellipsoid, in square metres."""

    def make(grid: PixelGrid, _: int) -> Pixels:
        areas = pixel_areas(grid)
        known = np.isfinite(areas)
        return Pixels(np.where(known, areas, 0.0), everywhere(grid) if known.all() else known)

    return _generated(("area",), DOUBLE, make)


# Positions are distinguished to this part of a pixel, so that rounding does not change a pixel's random number.
_SAME_PLACE = 1e-3


def _random(seed: int, distribution: str, grid: PixelGrid, _: int) -> Pixels:
    """Return numbers that depend on the seed and the centre of the pixel only: the same in every request that meets
    it.
    """
    columns, rows = _pixel_numbers(grid)
    first = random_words(seed, columns[None, :], rows[:, None])
    if distribution == "uniform":
        values = uniform(first)
    else:
        values = normal(first, random_words(seed, columns[None, :], rows[:, None], 1))
    return Pixels(values, everywhere(grid))


def _pixel_numbers(grid: PixelGrid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return numbers of a grid's columns and rows on the lattice through the origin of its CRS.

    Windows of one grid agree in them. Where the grid is turned or does not lie on whole pixels from the origin, what
    is left over goes in as well.
    """
    t = grid.transform
    origin = ~t @ (0.0, 0.0)
    columns = np.arange(grid.width, dtype=np.float64) - origin[0]
    rows = np.arange(grid.height, dtype=np.float64) - origin[1]
    return _numbered(columns), _numbered(rows)


def _numbered(positions: Floats) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = np.round(positions / _SAME_PLACE).astype(np.int64)
    return numbers


@function("Image.random")
def random(seed: int, distribution: str) -> Image:
    """Return a random number at each pixel. The numbers are not Earth Engine's, whose generator is not published."""
    check_choice("distribution", distribution, ("uniform", "normal"))
    kind = PixelType("double", 0, 1) if distribution == "uniform" else DOUBLE
    return _generated(("random",), kind, partial(_random, seed, distribution))
