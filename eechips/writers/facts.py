"""What is expected of a result, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

from eechips.errors import ValidationError

MOST_DECODED = 2 << 30
"""Bytes of pixels of a file that is decoded as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What was asked for; None where the request leaves it open.

    Attributes:
        width: columns.
        height: rows.
        bands: names of the bands, in order, without the mask band.
        dtype: numpy name of the type of all bands.
        crs: code or WKT.
        transform: pixel corners to coordinates, (a, b, c, d, e, f).
        has_mask_band: whether the data carries ``MASK_BAND`` as its last band.
    """

    width: int | None = None
    height: int | None = None
    bands: tuple[str, ...] | None = None
    dtype: str | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    has_mask_band: bool = False

    def check_size(self, width: int, height: int) -> None:
        """Raises ValidationError unless the size is the one asked for."""
        if (self.width is not None and width != self.width) or (self.height is not None and height != self.height):
            raise ValidationError(f"{width}x{height} pixels came back, asked were {self.width}x{self.height}")

    def check_dtype(self, dtype: str) -> None:
        """Raises ValidationError unless the type is the one asked for."""
        if self.dtype is not None and dtype != self.dtype:
            raise ValidationError(f"pixels of type {dtype} came back, asked was {self.dtype}")

    def check_bands(self, count: int) -> None:
        """Raises ValidationError unless there are as many bands as asked for."""
        if self.bands is not None and count != len(self.bands):
            raise ValidationError(f"{count} bands came back, asked were {len(self.bands)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a file holds; None where its format has no such thing.

    Attributes:
        width: columns of pixels.
        height: rows of pixels.
        bands: names of bands (of columns, in a table).
        dtype: numpy name of the pixels' type.
        crs: code, or WKT.
        transform: pixel corners to coordinates, (a, b, c, d, e, f).
        valid_fraction: share of pixels that are not masked, 0 to 1.
        rows: rows of a table.
    """

    width: int | None = None
    height: int | None = None
    bands: tuple[str, ...] | None = None
    dtype: str | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    valid_fraction: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A result that is ready to be saved.

    Attributes:
        data: content of the file.
        suffix: of its name, without the dot.
        facts: what it holds.
    """

    data: bytes
    suffix: str
    facts: Facts
