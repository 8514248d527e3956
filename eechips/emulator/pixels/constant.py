"""Images that are the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eechips.emulator.model import PixelType
from eechips.emulator.pixels.compute import Constant
from eechips.emulator.pixels.image import Band, Image
from eechips.emulator.pixels.types import ranged
from eechips.emulator.projection import WGS84
from eechips.emulator.values import WHOLE_EARTH, Array


def constant_image(values: Sequence[bool | int | float | Array], names: Sequence[str] | None = None) -> Image:
    """An image with one constant band for each value.

    Args:
        values: numbers, or arrays for array bands.
        names: of the bands; by default "constant", or "constant_0", "constant_1", … for several, which is how
            Earth Engine names them.
    """
    if names is None:
        names = ["constant"] if len(values) == 1 else [f"constant_{i}" for i in range(len(values))]
    bands = tuple(_band(name, value) for name, value in zip(names, values, strict=True))
    return Image(bands, {}, WHOLE_EARTH)


def _band(name: str, value: bool | int | float | Array) -> Band:
    """A constant band; its type has the range of its values."""
    array = value.values if isinstance(value, Array) else np.asarray(int(value) if isinstance(value, bool) else value)
    kind = PixelType("double" if array.dtype.kind == "f" else "int", dimensions=array.ndim)
    ends = (array.min().item(), array.max().item()) if array.size else ()
    return Band(name, ranged(kind, ends), WGS84, Constant(array), fixed=False)
