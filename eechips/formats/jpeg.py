"""Receive, assemble and validate JPEG pictures: 8 bits, grey or colour, lossy; masked pixels are black."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips.errors import ValidationError
from eechips.formats import png
from eechips.formats.interface import ChipFormat, EncodedFile, Expectation, FileMetadata
from eechips.formats.raster import decoding, encode_picture
from eechips.geo.grid import Part

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_NAMES = {1: ("gray",), 3: ("red", "green", "blue")}

_QUALITY = 90
"""Of pictures that are compressed here, 1 to 100. What the service itself uses is not documented."""


def receive(data: bytes, expectation: Expectation) -> EncodedFile:
    """Check a JPEG that came back; it is saved as it is.

    Raises:
        ValidationError: if it is not whole, or not of the size or bands asked for.
    """
    return EncodedFile(data, "jpg", validate(data, expectation))


def assemble(parts: Sequence[Part[EncodedFile]], expectation: Expectation) -> EncodedFile:
    """Return one JPEG of parts that are PNGs: pixels lose to compression once, and blocks do not show where parts meet.

    Args:
        parts: what the PNG writer's ``receive`` made of each.
        expectation: what was asked for as a whole.

    Raises:
        ValidationError: if they are not parts of one picture, or that is not as expected.
    """
    colours, alpha = png.merge(parts)
    data = encode(colours, alpha)
    return EncodedFile(data, "jpg", validate(data, expectation))


def encode(colours: Any, alpha: Any | None) -> bytes:
    """Encode a JPEG.

    Args:
        colours: (bands, rows, columns), uint8, 1 band or 3.
        alpha: (rows, columns); where it is 0 the picture is black. None if every pixel is valid.
    """
    shown = colours if alpha is None else np.where(alpha == 0, np.uint8(0), colours)
    return encode_picture(shown, "JPEG", QUALITY=_QUALITY)


def validate(data: bytes, expectation: Expectation) -> FileMetadata:
    """Return the metadata of a JPEG, decoded to the last row.

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
    return FileMetadata(width=width, height=height, bands=named, dtype="uint8")


JPEG = ChipFormat(
    name="jpg",
    suffixes=("jpg", "jpeg"),
    magic=(_START,),
    media_type="image/jpeg",
    is_picture=True,
    has_mask=False,
    request_format="jpg",
    part_format="png",  # without loss: the picture is compressed once, when its parts are put together
    gdal_driver="JPEG",
    compression=0.1,
    receive=receive,
    assemble=assemble,
    validate=validate,
)
