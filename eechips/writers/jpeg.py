"""JPEG pictures: 8 bits, grey or colour, lossy; masked pixels are black and cannot be told apart."""

from __future__ import annotations

from eechips.errors import ValidationError
from eechips.writers.facts import Expectation, Facts, Written

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_NAMES = {1: ("gray",), 3: ("red", "green", "blue")}


def receive(data: bytes, expectation: Expectation) -> Written:
    """Checks a JPEG that came back; it is saved as it is.

    Raises:
        ValidationError: if it is not whole, or not of the size or bands asked for.
    """
    return Written(data, "jpg", validate(data, expectation))


def validate(data: bytes, expectation: Expectation) -> Facts:
    """The facts of a JPEG, decoded to the last row.

    Raises:
        ValidationError: if it is not whole, or not of the size or bands asked for.
    """
    from eechips.writers.raster import decoding

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
