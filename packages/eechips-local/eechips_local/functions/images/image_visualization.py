"""``Image.visualize`` and ``randomVisualizer``: bands to 8-bit red, green and blue: stretch, gamma, palettes, default
ranges, colours of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eechips_local.functions.images.image_array import dimensions_of_type, where_valid
from eechips_local.functions.images.image_bands import named, unique_names
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, bands_from
from eechips_local.pixels.pixelwise_rasters import Joint, PerPixel, PixelFunction, mapped
from eechips_local.pixels.types import BYTE, Numbers, dtype_of
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.colors import parse_color
from eechips_local.values.randomness import random_words, uniform


def _listed(value: Any) -> list[Any] | None:
    """Return a list from a list, a single value, or text with commas."""
    if value is None:
        return None
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return list(value) if isinstance(value, list) else [value]


def _floats(value: Any, count: int, name: str) -> list[float] | None:
    items = _listed(value)
    if items is None:
        return None
    try:
        numbers = [float(item) for item in items]
    except (TypeError, ValueError):
        raise InvalidError(f"'{name}' must be a number or a list of numbers.") from None
    if len(numbers) == 1:
        return numbers * count
    if len(numbers) != count:
        raise InvalidError(f"'{name}' has {len(numbers)} values for {count} bands.")
    return numbers


@function("Image.visualize")
def visualize(
    image: Image, bands: Any, gain: Any, bias: Any, min: Any, max: Any, gamma: Any, opacity: float | None,
    palette: Any, forceRgbOutput: bool,
) -> Image:  # fmt: skip
    """Return an 8-bit image to look at, with the bands vis-red, vis-green and vis-blue, or vis-gray.

    A band of classes whose colours the image states has them, unless a stretch or a palette is given.
    """
    if opacity is not None and not 0 < opacity <= 1:
        raise InvalidError(f"Scale must be greater than zero and less than or equal to one, but was {opacity:.1f}.")
    chosen = _chosen(image, _listed(bands))
    colors = _listed(palette)
    if colors is not None and len(chosen) != 1:
        raise InvalidError("Cannot provide a palette when visualizing more than one band.")
    if colors is not None and gamma is not None:  # github.com/gee-community/geemap/pull/2044; its words are not known
        raise InvalidError("Cannot provide both a palette and gamma.")
    low, high = _stretch(chosen, gain, bias, min, max)
    powers = _floats(gamma, len(chosen), "gamma") or [1.0] * len(chosen)
    stretches = [_Stretch(a, b, g) for a, b, g in zip(low, high, powers, strict=True)]
    is_plain = all(option is None for option in (gain, bias, min, max, palette))
    legend = class_colours(image, chosen[0].name) if is_plain and len(chosen) == 1 else None
    if legend is not None:
        levels: Sequence[_Levels] = [_Classes(legend[0], legend[1][:, channel]) for channel in range(3)]
    elif colors is not None:
        levels = _palette_levels(colors, stretches[0])
    elif len(chosen) == 1:
        levels = [_Gray(stretches[0])] * (3 if forceRgbOutput else 1)
    else:
        levels = [_Gray(stretch) for stretch in stretches]
    inputs = chosen * 3 if len(chosen) < len(levels) else chosen
    names = ["vis-gray"] if len(levels) == 1 else ["vis-red", "vis-green", "vis-blue"]
    raster = PerPixel(tuple((band,) for band in inputs), tuple(_painter(level, opacity) for level in levels))
    return image.computed(bands_from(raster, inputs, names, BYTE))


def class_colours(image: Image, band: str) -> tuple[Numbers, Numbers] | None:
    """Return the values of a band's classes in ascending order, and their colours of shape (n, 3), or None.

    Images have them as ``<band>_class_values`` and ``<band>_class_palette``, which "make the default visualization show
    a specified color for each class": https://developers.google.com/earth-engine/guides/image_visualization
    """
    values, palette = (_listed(image.properties.get(f"{band}_class_{name}")) for name in ("values", "palette"))
    if not values or not palette or len(values) != len(palette):
        return None
    codes = np.array(_floats(values, len(values), "class_values"))
    order = np.argsort(codes, kind="stable")
    table = np.array([parse_color(str(color)) for color in palette], dtype=np.float64)
    return codes[order], table[order]


def _chosen(image: Image, selectors: list[Any] | None) -> list[ImageBand]:
    """Return the bands to show: the selected ones, else the first three, or the first where there are fewer."""
    if selectors:
        if not all(isinstance(selector, str) for selector in selectors):
            raise InvalidError("Expected a string or list of strings for field 'bands'.")
        chosen = [named(image, selector) for selector in selectors]
        if len(chosen) not in (1, 3):
            raise InvalidError(f"Must specify 1 or 3 bands to visualize; found {len(chosen)}.")
    else:
        chosen = list(image.bands[: 3 if len(image.bands) >= 3 else 1])
    if not chosen:
        raise InvalidError("Image has no bands.")
    return [_first_elements(band) if band.type.dimensions else band for band in chosen]


def _first_elements(band: ImageBand) -> ImageBand:
    """Return the first elements of arrays, 0 of empty ones: Google's release notes of 28 August 2014.

    The notes speak of array images; no value of arrays of several dimensions is recorded.
    """

    def first(pixels: Sequence[Pixels]) -> Pixels:
        values = pixels[0].values.reshape(*pixels[0].values.shape[:2], -1)
        elements = values[..., 0] if values.shape[2] else np.zeros(values.shape[:2], values.dtype)
        return Pixels(elements, pixels[0].mask)

    return mapped([band], where_valid(first), dimensions_of_type(0))[0]


def _stretch(bands: Sequence[ImageBand], gain: Any, bias: Any, low: Any, high: Any) -> tuple[list[float], list[float]]:
    count = len(bands)
    if gain is not None or bias is not None:
        if low is not None or high is not None:
            raise InvalidError("Cannot specify both gain or bias and min or max.")
        gains = _floats(gain, count, "gain") or [1.0] * count
        offsets = _floats(bias, count, "bias") or [0.0] * count
        if 0 in gains:
            raise InvalidError("'gain' must not be zero.")
        lows = [-b / g for g, b in zip(gains, offsets, strict=True)]
        return lows, [255.0 / g + a for g, a in zip(gains, lows, strict=True)]
    ends = [_default_ends(band) for band in bands]
    lows = _floats(low, count, "min") or [a for a, _ in ends]
    return lows, _floats(high, count, "max") or [b for _, b in ends]


def _default_ends(band: ImageBand) -> tuple[float, float]:
    """Return 0 to 1 for floats, all possible values of the type for integers (guides/image_visualization).

    A comparison is 0 or 1: examples of Google's catalogue draw land and sea in two colours without a stretch.
    """
    kind = band.type
    if kind.precision != "int":
        return 0.0, 1.0
    limits = np.iinfo(dtype_of(kind))
    low, high = (
        float(end if known is None else known)
        for known, end in ((kind.minimum, limits.min), (kind.maximum, limits.max))
    )
    return (low, high) if low < high else (float(limits.min), float(limits.max))


@function("Image.randomVisualizer")
def random_visualizer(image: Image) -> Image:
    """Return red, green and blue at random for each value of the first band, then the bands of the image.

    The same value has the same colour everywhere. The colours are not Earth Engine's.
    """
    if not image.bands:
        raise InvalidError("Image has no bands.")
    first = image.bands[0]
    if first.type.dimensions:
        raise InvalidError("Array images cannot be visualized.")

    def paint(pixels: Sequence[Pixels]) -> list[Pixels]:
        bits = pixels[0].values.astype(np.float64).view(np.int64)
        return [
            Pixels((uniform(random_words(channel, bits)) * 256).astype(np.uint8), pixels[0].mask)
            for channel in range(3)
        ]

    raster = Joint((first,), paint)
    names = unique_names(["viz-red", "viz-green", "viz-blue"], [band.name for band in image.bands])
    colors = bands_from(raster, first, names, BYTE)
    return image.with_bands([*colors, *image.bands])


class _Stretch:
    """Values to the range from 0 to 1.

    Where both ends are one value, it and what is greater are 1, and the rest 0: Google's records of presence maps show
    them so, in one colour or in white (UMD/GLAD/PRIMARY_HUMID_TROPICAL_FORESTS/v1, DLR/WSF/WSF2015/v1).
    """

    def __init__(self, low: float, high: float, gamma: float) -> None:
        if not gamma > 0:
            raise InvalidError("'gamma' must be greater than zero.")
        self.low, self.high, self.gamma = low, high, gamma

    def __call__(self, values: Numbers) -> Numbers:
        if self.high == self.low:
            return np.where(values >= self.low, 1.0, 0.0)
        # fmin and fmax also take what is not a number, under the mask, to an end.
        unit = np.fmin(np.fmax((values.astype(np.float64) - self.low) / (self.high - self.low), 0.0), 1.0)
        stretched: Numbers = unit if self.gamma == 1 else unit ** (1 / self.gamma)
        return stretched


_Levels = Callable[[Numbers], Numbers]
"""From values to bytes."""


class _Gray:
    """Levels of one channel."""

    def __init__(self, stretch: _Stretch) -> None:
        self.stretch = stretch

    def __call__(self, values: Numbers) -> Numbers:
        levels: Numbers = np.floor(self.stretch(values) * 255 + 0.5).astype(np.uint8)
        return levels


class _Palette:
    """Levels of one channel of a palette, interpolated between its colours."""

    def __init__(self, stretch: _Stretch, levels: Numbers) -> None:
        self.stretch, self.levels = stretch, levels

    def __call__(self, values: Numbers) -> Numbers:
        position = self.stretch(values) * (len(self.levels) - 1)
        interpolated: Numbers = np.interp(position, np.arange(len(self.levels)), self.levels)
        return np.floor(interpolated + 0.5).astype(np.uint8)


def _palette_levels(colors: Sequence[Any], stretch: _Stretch) -> list[_Palette]:
    if not colors:
        raise InvalidError("The palette has no colors.")
    table = np.array([parse_color(str(color)) for color in colors], dtype=np.float64)
    return [_Palette(stretch, table[:, channel]) for channel in range(3)]


class _Classes:
    """Levels of one channel of the colours of classes; black for a value that is none of them."""

    def __init__(self, codes: Numbers, levels: Numbers) -> None:
        self.codes, self.levels = codes, levels

    def __call__(self, values: Numbers) -> Numbers:
        place = np.minimum(np.searchsorted(self.codes, values), len(self.codes) - 1)
        return np.where(self.codes[place] == values, self.levels[place], 0.0).astype(np.uint8)


def _painter(levels: _Levels, opacity: float | None) -> PixelFunction:
    """Return a pixel function; for bytes all levels are computed once and looked up."""
    table = levels(np.arange(256, dtype=np.uint8))

    def paint(pixels: Sequence[Pixels]) -> Pixels:
        values, mask = pixels[0].values, pixels[0].mask
        shown = table[values] if values.dtype == np.uint8 else levels(values)
        faded = mask if opacity is None or opacity == 1 else mask.astype(np.float64) * opacity
        return Pixels(shown, faded)

    return paint
