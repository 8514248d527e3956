"""``ee.Terrain.hillShadow``: the shadows that terrain casts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from eechips_local.functions.neighborhoods.image_components import CORNERS, SIDES, components
from eechips_local.functions.neighborhoods.image_terrain import elevation_band
from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.pixel_size import pixel_edges
from eechips_local.pixels.grids.tiles import TILE, Tile, Tiled
from eechips_local.pixels.lazy_image import Image, Pixels, bands_from
from eechips_local.pixels.neighborhood import cropped, pairs_at
from eechips_local.pixels.types import BOOLEAN
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MOST_MARGIN = 1024


def _step(grid: PixelGrid, azimuth: float) -> tuple[float, float, float]:
    """Return rows and columns of a step towards the light, the greater of which is 1 or -1, and its metres.

    Rays are parallel, as in Mercator's projection: a pixel has the same size all over the grid.
    """
    edges = [float(np.nanmean(edge)) for edge in pixel_edges(grid)]
    east, north = math.sin(math.radians(azimuth)), math.cos(math.radians(azimuth))
    column = east / edges[0] * (1 if grid.transform.a >= 0 else -1)
    row = north / edges[1] * (1 if grid.transform.e >= 0 else -1)
    size = max(abs(row), abs(column))
    return row / size, column / size, 1 / size


def shadow_depths(elevation: Floats, row: float, column: float, fall: float, check_time: Callable[[], None]) -> Floats:
    """Return how far each pixel lies below the lowest ray that reaches it, in metres; at most 0 where it is lit.

    A ray is followed towards the light, step by step; between two pixels the terrain is interpolated.

    Args:
        elevation: metres, -inf where it is unknown; shape (height, width).
        row: rows of a step towards the light, from -1 to 1.
        column: columns of a step.
        fall: metres by which the light falls with each step.
        check_time: called after each step.
    """
    height, width = elevation.shape
    known = elevation[np.isfinite(elevation)]
    depth = np.full(elevation.shape, -np.inf)
    if not known.size:
        return depth
    span = float(known.max() - known.min())
    far = max(height, width)
    for count in range(1, far):
        if fall * count > span:
            break
        check_time()
        down, across = row * count, column * count
        # One of both is whole: there are two pixels to interpolate between, or one.
        first, second = (math.floor(down), math.floor(across)), (math.ceil(down), math.ceil(across))
        part = (down - first[0]) + (across - first[1])
        low, high = _moved(elevation, *first), _moved(elevation, *second)
        with np.errstate(invalid="ignore"):
            terrain = low if part == 0 else low * (1 - part) + high * part
        np.maximum(depth, np.where(np.isnan(terrain), -np.inf, terrain) - fall * count, out=depth)
    with np.errstate(invalid="ignore"):
        depths: Floats = depth - elevation
    return np.where(np.isnan(depths), -np.inf, depths)


def _moved(values: Floats, row: int, column: int) -> Floats:
    """Return each pixel's neighbour at an offset, -inf beyond the edge."""
    height, width = values.shape
    neighbours = np.full(values.shape, -np.inf)
    if abs(row) < height and abs(column) < width:
        here, there = pairs_at(row, column, values.shape)
        neighbours[here] = values[there]
    return neighbours


def _with_hysteresis(depths: Floats, deep: float) -> Bools:
    """Return pixels in shadow that are connected to one that lies deep in it."""
    dark = depths > 0
    labels = components(np.ones(dark.shape, dtype=np.uint8), dark, (*SIDES, *CORNERS))
    kept = np.zeros(dark.size, dtype=bool)
    kept[labels[depths > deep]] = True
    return dark & kept[labels]


@function("Terrain.hillShadow", "HillShadow")
def hill_shadow(image: Image, azimuth: float, zenith: float, neighborhoodSize: int, hysteresis: bool) -> Image:
    """Return the band "shadow": 1 where light reaches the ground, and 0 where terrain is in its way.

    https://developers.google.com/earth-engine/apidocs/ee-terrain-hillshadow. Terrain casts shadows within a tile of 256
    pixels and ``neighborhoodSize`` pixels around it. Google does not say what the hysteresis does: here, shadows are
    kept that have a pixel which lies deeper than the light falls over one pixel. Light from below the horizon reaches
    nothing.
    """
    if neighborhoodSize < 0:
        raise InvalidError(f"The neighborhoodSize must not be negative; found {neighborhoodSize}.")
    if neighborhoodSize > _MOST_MARGIN:
        raise MemoryLimitError()
    if not (math.isfinite(azimuth) and math.isfinite(zenith)):
        raise InvalidError("Azimuth and zenith must be finite.")
    band = elevation_band(image)

    def compute(pixels: Sequence[Pixels], tile: Tile) -> list[Pixels]:
        mask = cropped(pixels[0].mask, tile.margins, tile.grid.shape)
        if abs(zenith) >= 90:
            return [Pixels(np.zeros(tile.grid.shape, dtype=np.uint8), mask)]
        row, column, length = _step(tile.margins.padded(tile.grid), azimuth)
        fall = length / math.tan(math.radians(zenith)) if zenith else math.inf
        elevation = np.where(pixels[0].valid, pixels[0].values.astype(np.float64), -np.inf)
        depths = shadow_depths(elevation, row, column, fall, tile.check_time)
        dark = _with_hysteresis(depths, fall) if hysteresis else depths > 0
        return [Pixels((~cropped(dark, tile.margins, tile.grid.shape)).astype(np.uint8), mask)]

    raster = Tiled((band,), TILE, neighborhoodSize, compute)
    return image.computed(bands_from(raster, band, ["shadow"], BOOLEAN))
