"""``ee.Terrain`` (``slope``, ``aspect``, ``hillshade``, ``products``, ``fillMinima``) and ``Image.gradient``: slopes,
light and sinks of elevations.

Gradients are central differences between the four neighbours of a pixel, over the metres between their centres (as
``gdaldem -alg ZevenbergenThorne``), so pixels at the edge of the data are masked (apidocs/ee-terrain-slope).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.images.image_bands import unique_names
from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.pixel_size import spherical_edges, spherical_turn
from eechips_local.pixels.grids.tiles import TILE, Tile, Tiled
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, bands_from
from eechips_local.pixels.neighborhood import Margins, Neighborhood, cropped, shift
from eechips_local.pixels.pixelwise_rasters import both
from eechips_local.pixels.types import BYTE, DOUBLE, dtype_of, ranged, union_type
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SLOPE = PixelType("float", 0, 90)
_ASPECT = PixelType("float", 0, 360)
_MOST_REACH = 512
_STRETCH = 1 << 14
"""Pixels after which the time is looked at."""
_BESIDE = Margins.around(1)


def elevation_band(image: Image) -> ImageBand:
    """Return the only band, or the one called "elevation".

    Raises:
        InvalidError: if there is none, or if it holds arrays.
    """
    named = image.bands if len(image.bands) == 1 else [band for band in image.bands if band.name == "elevation"]
    if not named:
        raise InvalidError("The image must have a single band, or one named 'elevation'.")
    return scalar(named[0])


def scalar(band: ImageBand) -> ImageBand:
    """Return the band itself.

    Raises:
        InvalidError: if it holds arrays.
    """
    if band.type.dimensions:
        raise InvalidError(f"The band '{band.name}' holds arrays; only scalar bands are supported.")
    return band


def _gradient(pixels: Pixels, grid: PixelGrid) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return rise along the grid's east and north in metres per metre, and where it is known."""
    values, valid, shape = pixels.values.astype(np.float64), pixels.valid, grid.shape
    across, down = spherical_edges(grid)
    west, east = shift(values, 1, 0, shape), shift(values, 1, 2, shape)
    above, below = shift(values, 0, 1, shape), shift(values, 2, 1, shape)
    known = shift(valid, 1, 1, shape).copy()
    for row, column in ((1, 0), (1, 2), (0, 1), (2, 1)):
        known &= shift(valid, row, column, shape)
    known &= np.broadcast_to(np.isfinite(across) & np.isfinite(down), shape)
    with np.errstate(all="ignore"):
        to_east = (east - west) / (2 * across) * (1 if grid.transform.a >= 0 else -1)
        to_north = (above - below) / (2 * down) * (1 if grid.transform.e <= 0 else -1)
    return np.where(known, to_east, 0.0), np.where(known, to_north, 0.0), known


def _slope(east: Floats, north: Floats, _: PixelGrid) -> Floats:
    """Return degrees from the horizontal."""
    degrees: Floats = np.degrees(np.arctan(np.hypot(east, north)))
    return degrees


def _aspect(east: Floats, north: Floats, grid: PixelGrid) -> Floats:
    """Return degrees clockwise from north in which the ground falls, less the grid's turn; 0 where it is level."""
    angle = (np.degrees(np.arctan2(-east, -north)) - spherical_turn(grid)) % 360.0
    return np.where((east == 0) & (north == 0), 0.0, np.where(angle >= 360.0, 0.0, angle))


def _hillshade(azimuth: float, elevation: float) -> Callable[[Floats, Floats, PixelGrid], Floats]:
    """Return 0 to 255 by the cosine between the ground's normal and the light (guides/tutorial_api_04)."""
    light, zenith = np.radians(azimuth), np.radians(90.0 - elevation)

    def shade(east: Floats, north: Floats, _: PixelGrid) -> Floats:
        slope, aspect = np.arctan(np.hypot(east, north)), np.arctan2(-east, -north)
        cosine = np.cos(light - aspect) * np.sin(slope) * np.sin(zenith) + np.cos(zenith) * np.cos(slope)
        brightness: Floats = np.floor(np.clip(cosine, 0, 1) * 255)
        return brightness

    return shade


_Measure = tuple[str, PixelType, Callable[[Floats, Floats, PixelGrid], Floats]]


def _measured(band: ImageBand, measures: Sequence[_Measure]) -> list[ImageBand]:
    """Return bands computed from the gradient of one."""

    def compute(pixels: Sequence[Pixels], _: Margins, grid: PixelGrid) -> list[Pixels]:
        east, north, known = _gradient(pixels[0], grid)
        centre = both(shift(pixels[0].mask, 1, 1, grid.shape), known)
        return [Pixels(measure(east, north, grid).astype(dtype_of(kind)), centre) for _name, kind, measure in measures]

    raster = Neighborhood((band,), lambda _: _BESIDE, compute)
    return bands_from(raster, band, [name for name, *_ in measures], [kind for _, kind, _ in measures])


@function("Terrain.slope")
def slope(input: Image) -> Image:
    """Return the slope in degrees."""
    return input.computed(_measured(elevation_band(input), [("slope", _SLOPE, _slope)]))


@function("Terrain.aspect")
def aspect(input: Image) -> Image:
    """Return the aspect in degrees clockwise from north."""
    return input.computed(_measured(elevation_band(input), [("aspect", _ASPECT, _aspect)]))


@function("Terrain.hillshade")
def hillshade(input: Image, azimuth: float, elevation: float) -> Image:
    """Return a hillshade from 0 to 255."""
    return input.computed(_measured(elevation_band(input), [("hillshade", BYTE, _hillshade(azimuth, elevation))]))


@function("Image.gradient")
def gradient(input: Image) -> Image:
    """Return the rise to the east and to the north of the first band, per metre, in the bands x and y."""
    if not input.bands:
        raise InvalidError("Image has no bands.")
    measures: list[_Measure] = [("x", DOUBLE, lambda east, _, __: east), ("y", DOUBLE, lambda _, north, __: north)]
    return input.computed(_measured(scalar(input.bands[0]), measures))


@function("Terrain", "Terrain.products")
def products(input: Image) -> Image:
    """Return the image with slope, aspect and hillshade added."""
    measures: list[_Measure] = [
        ("slope", _SLOPE, _slope), ("aspect", _ASPECT, _aspect), ("hillshade", BYTE, _hillshade(270.0, 45.0)),
    ]  # fmt: skip
    added = _measured(elevation_band(input), measures)
    names = unique_names([band.name for band in added], [band.name for band in input.bands])
    return input.with_bands([*input.bands, *(replace(b, name=n) for b, n in zip(added, names, strict=True))])


def filled(values: Floats, valid: Bools, border: float | None, check_time: Callable[[], None]) -> Floats:
    """Return values with minima raised until each pixel has a way downwards to the border, over eight neighbours.

    Barnes, Lehman and Mulla (2014), "Priority-flood: an optimal depression-filling and watershed-labeling algorithm
    for digital elevation models", Computers & Geosciences 62, 117-127: algorithm 1.

    Args:
        values: shape (height, width).
        valid: other pixels belong to the border.
        border: value of the border; None for that of the pixels beside it.
        check_time: called from time to time.
    """
    height, width = values.shape
    stride = width + 2
    padded = np.full((height + 2, stride), np.nan)
    padded[1:-1, 1:-1] = np.where(valid, values, np.nan)
    outside = np.isnan(padded)
    beside = np.zeros(outside.shape, dtype=bool)
    steps = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]
    for row, column in steps:
        beside[1:-1, 1:-1] |= outside[1 + row : height + 1 + row, 1 + column : width + 1 + column]
    beside &= ~outside
    levels: list[float] = padded.ravel().tolist()
    done: list[bool] = (outside | beside).ravel().tolist()
    queue: list[tuple[float, int]] = []
    for at in np.flatnonzero(beside.ravel()).tolist():
        if border is not None and levels[at] < border:
            levels[at] = border
        queue.append((levels[at], at))
    heapify(queue)
    jumps = [row * stride + column for row, column in steps]
    for count in itertools.count():
        if not queue:
            break
        if not count % _STRETCH:
            check_time()
        level, at = heappop(queue)
        for jump in jumps:
            other = at + jump
            if not done[other]:
                done[other] = True
                if levels[other] < level:
                    levels[other] = level
                heappush(queue, (levels[other], other))
    raised = np.array(levels).reshape(height + 2, stride)[1:-1, 1:-1]
    return np.where(valid, raised, 0.0)


@function("Terrain.fillMinima", "FMask.fillMinima")
def fill_minima(image: Image, borderValue: int | None, neighborhood: int) -> Image:
    """Return bands of whole numbers without local minima.

    https://developers.google.com/earth-engine/apidocs/ee-terrain-fillminima. The border, which masked pixels belong
    to, has ``borderValue``, so that lower pixels are raised to it, as the clouds' shadows of Fmask need it (Zhu and
    Woodcock 2012, "Object-based cloud and cloud shadow detection in Landsat imagery", RSE 118, 83-94). It is computed
    on tiles of 256 pixels, with the neighborhood around.
    """
    if not image.bands:
        raise InvalidError("Image has no bands.")
    if any(scalar(band).type.precision != "int" for band in image.bands):
        raise InvalidError("Only bands of integer types can be filled.")
    if neighborhood < 0:
        raise InvalidError(f"The neighborhood must not be negative; found {neighborhood}.")
    if neighborhood > _MOST_REACH:
        raise MemoryLimitError()

    def compute(pixels: Sequence[Pixels], tile: Tile) -> list[Pixels]:
        shape = tile.grid.shape
        return [
            Pixels(
                cropped(
                    filled(p.values.astype(np.float64), p.valid, borderValue, tile.check_time), tile.margins, shape
                ),
                cropped(p.mask, tile.margins, shape),
            )
            for p in pixels
        ]

    raster = Tiled(image.bands, TILE, neighborhood, compute)
    ends = () if borderValue is None else (borderValue, borderValue)
    return image.with_bands(
        [
            replace(
                band,
                raster=raster,
                index=i,
                type=union_type(band.type, ranged(PixelType("int"), ends)) if ends else band.type,
            )
            for i, band in enumerate(image.bands)
        ]
    )
