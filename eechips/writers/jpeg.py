"""JPEG pictures: 8 bits, grey or colour, lossy; masked pixels are black and cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips.errors import ValidationError
from eechips.geo.grid import Part
from eechips.writers import png
from eechips.writers.facts import Expectation, Facts, Written
from eechips.writers.raster import decoding, encode_picture

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_NAMES = {1: ("gray",), 3: ("red", "green", "blue")}

_QUALITY = 90
"""Of pictures that are compressed here, 1 to 100. What the service itself uses is not documented."""


def receive(data: bytes, expectation: Expectation) -> Written:
    """Checks a JPEG that came back; it is saved as it is.

    Raises:
        ValidationError: if it is not whole, or not of the size or bands asked for.
    """
    return Written(data, "jpg", validate(data, expectation))


def assemble(parts: Sequence[Part[Written]], expectation: Expectation) -> Written:
    """One JPEG of parts that are PNGs: pixels lose to compression once, and blocks do not show where parts meet.

    Args:
        parts: what the PNG writer's ``receive`` made of each.
        expectation: what was asked for as a whole.

    Raises:
        ValidationError: if they are not parts of one picture, or that is not as expected.
    """
    colours, alpha = png.merge(parts)
    data = encode(colours, alpha)
    return Written(data, "jpg", validate(data, expectation))


def encode(colours: Any, alpha: Any | None) -> bytes:
    """A JPEG.

    Args:
        colours: (bands, rows, columns), uint8, 1 band or 3.
        alpha: (rows, columns); where it is 0 the picture is black. None if every pixel is valid.
    """
    shown = colours if alpha is None else np.where(alpha == 0, np.uint8(0), colours)
    return encode_picture(shown, "JPEG", QUALITY=_QUALITY)


def validate(data: bytes, expectation: Expectation) -> Facts:
    """The facts of a JPEG, decoded to the last row.

    Raises:
        ValidationError: if it is not whole, or not of the size or bands asked for.
    """
    if not data.startswith(_START):
        raise ValidationError(f"not a JPEG: it begins with {data[:8]!r}")
    if not data.endswith(_END):
        raise ValidationError("truncated JPEG: no end mark")
    # libjpeg fills what is missing with grey and only warns; a warning must be an error here.
    with decoding(data, "JPEG", GDAL_ERROR_ON_LIBJPEG_WARNING=True) as source:
        source.read()
        width, height, count = source.width, source.height, source.count
    expectation.check_size(width, height)
    if count not in _NAMES:
        raise ValidationError(f"{count} channels came back in a JPEG")
    if count != 3:
        expectation.check_bands(count)
    named = expectation.bands if len(expectation.bands or ()) == count else _NAMES[count]
    return Facts(width=width, height=height, bands=named, dtype="uint8")
