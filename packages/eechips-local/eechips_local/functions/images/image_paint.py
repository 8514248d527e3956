"""``Image.paint``, ``blend``, ``rgbToHsv`` and ``hsvToRgb``: features painted onto images, images laid over each other,
and colour spaces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from eechips_local.evaluation.asset_model import Bounds, PixelType
from eechips_local.evaluation.type_conversion import type_name
from eechips_local.functions.images.image_math import paired
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, Pixels, bands_from
from eechips_local.pixels.painted import Painted
from eechips_local.pixels.pixelwise_rasters import Joint, PerPixel, all_of
from eechips_local.pixels.types import DOUBLE, FLOAT, Numbers, dtype_of, ranged, union_type
from eechips_local.pixels.vector_image import number_of
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Collection, Feature

# Pixels: a wider line covers any grid that its middle comes near to.
_WIDEST = 1e6


def _by_feature(value: Any, name: str) -> Callable[[Feature], float | None]:
    """Return a number for each feature: the same for all, or the value of a property."""
    if value is None:
        return lambda feature: None
    if isinstance(value, (bool, int, float)):
        number = value
        return lambda feature: number
    if not isinstance(value, str):
        raise InvalidError(f"'{name}' must be a number or the name of a property; found {type_name(value)}.")
    key = value
    return lambda feature: number_of(feature, key)


def _painted_type(band: PixelType, color: Any) -> PixelType:
    """Return the type of a band that is painted: it also holds the colour, where that is known."""
    if isinstance(color, (bool, int, float)):
        kind = DOUBLE if isinstance(color, float) and not color.is_integer() else PixelType("int")
        return union_type(band, ranged(kind, [color]))
    # The value of a property may be any number; a band that was cast keeps its type.
    return DOUBLE if band.minimum == band.maximum and band.precision == "int" else band


@function("Image.paint")
def paint(image: Image, featureCollection: Collection, color: Any, width: Any) -> Image:
    """Return the image with another value in every band where geometries lie, or where their outlines do."""
    colors, width_of = _by_feature(color, "color"), _by_feature(width, "width")

    def widths(feature: Feature) -> float | None:
        line_width = width_of(feature)
        return None if line_width is None else min(line_width, _WIDEST)

    @cache
    def reach() -> int:
        """Return pixels by which lines may reach into a grid from beside it; one, if they have no width."""
        some = featureCollection if isinstance(width, str) else [Feature(None, {})]
        return 1 + math.ceil(max((line for line in map(widths, some) if line is not None), default=0.0) / 2)

    def features(bounds: Bounds | None) -> Iterator[Feature]:
        from eechips_local.pixels.vector_image import outlined, within_bounds

        chosen = featureCollection if bounds is None else featureCollection.filtered(within_bounds(bounds))
        return map(outlined, chosen)

    types = [_painted_type(band.type, color) for band in image.bands]
    if any(kind.dimensions for kind in types):
        raise InvalidError("Array images cannot be painted.")
    raster = Painted(image.bands, tuple(map(dtype_of, types)), features, colors, widths, reach)
    return image.with_bands(bands_from(raster, image.bands, kinds=types))


@function("Image.blend")
def blend(bottom: Image, top: Image) -> Image:
    """Return one image over another, with the top's mask as its opacity."""
    pairs, like = paired(bottom, top)
    raster = PerPixel(tuple(pairs), (_blended,) * len(pairs))
    return bottom.with_bands(bands_from(raster, like, kinds=[union_type(a.type, b.type) for a, b in pairs]))


def _blended(pixels: Sequence[Pixels]) -> Pixels:
    below, above = pixels
    if above.mask.dtype == bool:
        from eechips_local.pixels.composite import underlay

        return underlay(above, below)
    opacity = above.mask.astype(np.float64)
    rest = below.mask.astype(np.float64) * (1 - opacity)
    mask = opacity + rest
    total = above.values * opacity + below.values * rest
    values: Numbers = np.divide(total, mask, out=np.zeros(total.shape), where=mask > 0)
    if above.values.dtype.kind in "biu" and below.values.dtype.kind in "biu":
        values = np.floor(values + 0.5).astype(np.int64)
    return Pixels(values, mask)


def _colors(image: Image, names: Sequence[str], change: Callable[[Numbers], Numbers]) -> Image:
    if len(image.bands) != 3:
        raise InvalidError(f"The image must have 3 bands; it has {len(image.bands)}.")

    def convert(pixels: Sequence[Pixels]) -> list[Pixels]:
        mask = all_of(pixels)
        channels = change(np.stack([p.values.astype(np.float64) for p in pixels]))
        return [Pixels(channel, mask) for channel in channels]

    raster = Joint(image.bands, convert)
    kind = DOUBLE if any(band.type.precision == "double" for band in image.bands) else FLOAT
    return image.computed(bands_from(raster, image.bands, names, kind))


def _hsv(rgb: Numbers) -> Numbers:
    """Return hue, saturation and value of red, green and blue, each 0 to 1 (Smith 1978, "Color gamut transform
    pairs").
    """
    red, green, blue = rgb
    value = rgb.max(axis=0)
    range_ = value - rgb.min(axis=0)
    colored = range_ > 0
    divisor = np.where(colored, range_, 1.0)
    hue = np.where(
        value == red,
        ((green - blue) / divisor) % 6,
        np.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    saturation = np.divide(range_, value, out=np.zeros(value.shape), where=value != 0)
    return np.stack([np.where(colored, hue / 6, 0.0), saturation, value])


def _rgb(hsv: Numbers) -> Numbers:
    """Return the inverse of _hsv."""
    hue, saturation, value = hsv
    turn = np.array([5.0, 3.0, 1.0])[:, None, None]
    k = (turn + hue * 6) % 6
    channel: Numbers = value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)
    return channel


@function("Image.rgbToHsv")
def rgb_to_hsv(image: Image) -> Image:
    """Return hue, saturation and value of an image of red, green and blue."""
    return _colors(image, ("hue", "saturation", "value"), _hsv)


@function("Image.hsvToRgb")
def hsv_to_rgb(image: Image) -> Image:
    """Return red, green and blue of an image of hue, saturation and value."""
    return _colors(image, ("red", "green", "blue"), _rgb)
