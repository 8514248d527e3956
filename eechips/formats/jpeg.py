"""Receive, assemble and validate JPEG pictures: 8 bits, grey or colour, lossy; masked pixels are black."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips.errors import ValidationError
from eechips.formats import png
from eechips.formats.chip_format import ChipFormat, EncodedFile, Expectation, FileMetadata
from eechips.formats.raster import decoding, encode_picture
from eechips.geo.grid import Part

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"

_QUALITY = 90
"""Quality of pictures that are compressed here, 1 to 100; the service's own quality is not documented."""


def receive(data: bytes, expectation: Expectation) -> EncodedFile:
    """Check a JPEG from Earth Engine, which is saved unchanged."""
    return EncodedFile(data, "jpg", validate(data, expectation))


def assemble(parts: Sequence[Part[EncodedFile]], expectation: Expectation) -> EncodedFile:
    """Assemble one JPEG from parts in PNG, so that pixels are compressed once, without visible edges between parts."""
    colours, alpha = png.merge(parts)
    data = encode(colours, alpha)
    return EncodedFile(data, "jpg", validate(data, expectation))


def encode(colours: Any, alpha: Any | None) -> bytes:
    """Encode a JPEG.

    Args:
        colours: (bands, rows, columns), uint8, 1 band or 3.
        alpha: (rows, columns), 0 for pixels that become black; None if every pixel is valid.
    """
    shown = colours if alpha is None else np.where(alpha == 0, np.uint8(0), colours)
    return encode_picture(shown, "JPEG", QUALITY=_QUALITY)


def validate(data: bytes, expectation: Expectation) -> FileMetadata:
    """Decode a JPEG to the last row, and return its metadata."""
    if not data.startswith(_START):
        raise ValidationError(f"not a JPEG: it begins with {data[:8]!r}")
    if not data.endswith(_END):
        raise ValidationError("truncated JPEG: no end mark")
    # libjpeg fills missing rows with grey and only warns, so warnings are errors here.
    with decoding(data, "JPEG", GDAL_ERROR_ON_LIBJPEG_WARNING=True) as source:
        width, height, count = source.width, source.height, source.count
        expectation.check_size(width, height)
        source.read()
    if count not in png.CHANNEL_NAMES:
        raise ValidationError(f"the response is a JPEG with {count} channels")
    if count != 3:
        expectation.check_bands(count)
    named = expectation.bands if len(expectation.bands or ()) == count else png.CHANNEL_NAMES[count]
    return FileMetadata(width=width, height=height, bands=named, dtype="uint8")


JPEG = ChipFormat(
    name="jpg",
    suffixes=("jpg", "jpeg"),
    magic=(_START,),
    media_type="image/jpeg",
    is_picture=True,
    has_mask=False,
    request_format="jpg",
    part_format="png",  # lossless: the picture is compressed once, when its parts are joined
    gdal_driver="JPEG",
    compression=0.1,
    receive=receive,
    assemble=assemble,
    validate=validate,
)
