"""``Image.visualize``: bands to 8-bit red, green and blue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eechips.emulator.errors import InvalidError
from eechips.emulator.functions.image import choose
from eechips.emulator.functions.registry import function
from eechips.emulator.model import PixelType
from eechips.emulator.pixels.compute import PerPixel
from eechips.emulator.pixels.image import Band, Image, Pixels

_BYTE = PixelType("int", 0, 255)
_HEX = re.compile(r"#?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")
# Names of https://www.w3.org/TR/css-color-4/#named-colors that examples use.
_NAMED = {
    "black": "000000", "white": "ffffff", "red": "ff0000", "green": "008000", "blue": "0000ff", "yellow": "ffff00",
    "cyan": "00ffff", "aqua": "00ffff", "magenta": "ff00ff", "fuchsia": "ff00ff", "gray": "808080", "grey": "808080",
    "orange": "ffa500", "purple": "800080", "brown": "a52a2a", "pink": "ffc0cb", "lime": "00ff00", "navy": "000080",
    "teal": "008080", "olive": "808000", "maroon": "800000", "silver": "c0c0c0", "gold": "ffd700", "tan": "d2b48c",
    "darkgreen": "006400", "darkblue": "00008b", "darkred": "8b0000", "lightgreen": "90ee90", "lightblue": "add8e6",
    "limegreen": "32cd32", "indigo": "4b0082", "violet": "ee82ee", "beige": "f5f5dc", "coral": "ff7f50",
}  # fmt: skip


def parse_color(text: str) -> tuple[int, int, int]:
    """Red, green and blue (0 to 255) of a colour's hexadecimal code or CSS name.

    Raises:
        InvalidError: if it is neither.
    """
    code = _NAMED.get(text.strip().lower(), text.strip())
    match = _HEX.fullmatch(code)
    if not match:
        raise InvalidError(f"Invalid color: '{text}'.")
    digits = match.group(1)
    if len(digits) == 3:
        digits = "".join(2 * d for d in digits)
    red, green, blue = (int(digits[i : i + 2], 16) for i in (0, 2, 4))
    return red, green, blue


def _listed(value: Any) -> list[Any] | None:
    """A list from a list, a single value, or text with commas."""
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
    image: Image,
    bands: Any,
    gain: Any,
    bias: Any,
    min: Any,
    max: Any,
    gamma: Any,
    opacity: float | None,
    palette: Any,
    forceRgbOutput: bool,
) -> Image:
    """An 8-bit image to look at, with the bands vis-red, vis-green and vis-blue, or vis-gray."""
    chosen = choose(image, _listed(bands) or []) if bands is not None else list(image.bands)
    if len(chosen) not in (1, 3):
        if bands is not None:
            raise InvalidError(f"Must specify 1 or 3 bands to visualize; found {len(chosen)}.")
        chosen = chosen[: 3 if len(chosen) > 3 else 1]
    if palette is not None and len(chosen) != 1:
        raise InvalidError("Cannot provide a palette when visualizing more than one band.")
    low, high = _stretch(chosen, gain, bias, min, max)
    powers = _floats(gamma, len(chosen), "gamma") or [1.0] * len(chosen)
    scaled = [_Stretch(a, b, g) for a, b, g in zip(low, high, powers, strict=True)]
    if palette is not None:
        colors = np.array([parse_color(str(c)) for c in _listed(palette) or []], dtype=np.float64)
        functions = [_Palette(scaled[0], colors[:, channel], opacity) for channel in range(3)]
        inputs, names = chosen * 3, ["vis-red", "vis-green", "vis-blue"]
    elif len(chosen) == 1 and not forceRgbOutput:
        functions, inputs, names = [_Gray(scaled[0], opacity)], chosen, ["vis-gray"]
    else:
        inputs = chosen * 3 if len(chosen) == 1 else chosen
        stretches = scaled * 3 if len(chosen) == 1 else scaled
        functions = [_Gray(s, opacity) for s in stretches]
        names = ["vis-red", "vis-green", "vis-blue"]
    raster = PerPixel(tuple((band,) for band in inputs), tuple(functions))
    return image.computed(
        [
            replace(band, name=name, type=_BYTE, raster=raster, index=i)
            for i, (band, name) in enumerate(zip(inputs, names, strict=True))
        ]
    )


def _stretch(bands: Sequence[Band], gain: Any, bias: Any, low: Any, high: Any) -> tuple[list[float], list[float]]:
    count = len(bands)
    if gain is not None or bias is not None:
        if low is not None or high is not None:
            raise InvalidError("Cannot specify both gain or bias and min or max.")
        gains = _floats(gain, count, "gain") or [1.0] * count
        offsets = _floats(bias, count, "bias") or [0.0] * count
        lows = [-b / g for g, b in zip(gains, offsets, strict=True)]
        return lows, [255.0 / g + a for g, a in zip(gains, lows, strict=True)]
    default_high = [1.0 if b.type.precision != "int" else 255.0 for b in bands]
    return _floats(low, count, "min") or [0.0] * count, _floats(high, count, "max") or default_high


class _Stretch:
    """Values to the range from 0 to 1."""

    def __init__(self, low: float, high: float, gamma: float) -> None:
        if high == low:
            raise InvalidError("'min' and 'max' must differ.")
        if not gamma > 0:
            raise InvalidError("'gamma' must be greater than zero.")
        self.low, self.high, self.gamma = low, high, gamma

    def __call__(self, values: Any) -> Any:
        unit = np.clip((values.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)
        return unit if self.gamma == 1 else unit ** (1 / self.gamma)


def _faded(mask: Any, opacity: float | None) -> Any:
    return mask if opacity is None or opacity == 1 else mask.astype(np.float64) * opacity


class _Gray:
    """One channel of grey."""

    def __init__(self, stretch: _Stretch, opacity: float | None) -> None:
        self.stretch, self.opacity = stretch, opacity

    def __call__(self, pixels: Sequence[Pixels]) -> Pixels:
        levels = np.floor(self.stretch(pixels[0].values) * 255 + 0.5).astype(np.uint8)
        return Pixels(levels, _faded(pixels[0].mask, self.opacity))


class _Palette:
    """One channel of a palette, interpolated between its colours."""

    def __init__(self, stretch: _Stretch, levels: Any, opacity: float | None) -> None:
        self.stretch, self.levels, self.opacity = stretch, levels, opacity

    def __call__(self, pixels: Sequence[Pixels]) -> Pixels:
        position = self.stretch(pixels[0].values) * (len(self.levels) - 1)
        found = np.interp(position, np.arange(len(self.levels)), self.levels)
        return Pixels(np.floor(found + 0.5).astype(np.uint8), _faded(pixels[0].mask, self.opacity))
