"""Define the interface of chip formats, with the properties and functions of each; compare size, type and number of
bands of a response with the request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from eechips.errors import ValidationError
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from eechips.geo.grid import Part, Window

MASK_BAND = "eechips_mask"
"""Name of the band that is requested with data: 1 where a pixel is valid, 0 where it is masked."""

MAX_DECODED_BYTES = 2 << 30
"""Maximum bytes of decoded pixels or values of a file that is decoded as a whole."""

ServiceFormat = Literal["png", "jpg", "tif", "npy"]
"""Formats of Earth Engine's responses."""


class UncertainMaskError(Exception):
    """A response without a mask has pixels that may be masked: zero, nodata, the lowest of their type, not finite."""


_PLAIN_TYPES = frozenset({"uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"})
"""Types that a response has as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Properties that a response must have; None for those that the request leaves open.

    Attributes:
        width: columns of pixels.
        height: rows of pixels.
        bands: names of the bands, in order, without the mask band.
        dtype: numpy name of the type of all bands.
        crs: code or WKT.
        transform: pixel corners to coordinates, (a, b, c, d, e, f).
        has_mask_band: whether ``MASK_BAND`` is the last band of the data.
        is_unmasked: whether the data have no mask band, and every pixel must be valid beyond doubt: see
            :class:`UncertainMaskError`.
    """

    width: int | None = None
    height: int | None = None
    bands: tuple[str, ...] | None = None
    dtype: str | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    has_mask_band: bool = False
    is_unmasked: bool = False

    def empty_fields(self, types: Sequence[str]) -> list[tuple[str, str]]:
        """Return name and type of each band of a chip without a valid pixel; none if a response is needed to tell them.

        Args:
            types: numpy names of the types of the bands.
        """
        chosen = [self.dtype] * len(self.bands or ()) if self.dtype is not None else list(types)
        is_known = None not in (self.bands, self.width, self.height) and _PLAIN_TYPES.issuperset(chosen)
        return list(zip(self.bands or (), chosen, strict=True)) if is_known else []

    def check_size(self, width: int, height: int) -> None:
        """Raise ValidationError unless the size is the requested one."""
        if (self.width is not None and width != self.width) or (self.height is not None and height != self.height):
            raise ValidationError(f"the response has {width}x{height} pixels instead of {self.width}x{self.height}")

    def check_dtype(self, dtype: str) -> None:
        """Raise ValidationError unless the type is the requested one."""
        if self.dtype is not None and dtype != self.dtype:
            raise ValidationError(f"the response has pixels of type {dtype} instead of {self.dtype}")

    def check_bands(self, count: int) -> None:
        """Raise ValidationError unless the number of bands is the requested one."""
        if self.bands is not None and count != len(self.bands):
            raise ValidationError(f"the response has {format_count(count, 'band')} instead of {len(self.bands)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMetadata:
    """Properties of a file; None for those that its format does not have.

    Attributes:
        width: columns of pixels.
        height: rows of pixels.
        bands: names of the bands, in a file with several frames of one frame; of a table, names of the columns.
        dtype: numpy name of the pixels' type.
        crs: code, or WKT.
        transform: pixel corners to coordinates, (a, b, c, d, e, f).
        valid_fraction: fraction of pixels that are not masked, 0 to 1.
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
class EncodedFile:
    """A result that is ready to be saved.

    Attributes:
        suffix: suffix of its name, without the dot.
        frame_fractions: valid fraction of each frame of a file with several.
    """

    data: bytes
    suffix: str
    metadata: FileMetadata
    frame_fractions: tuple[float, ...] = ()


def stacked_name(number: int, band: str) -> str:
    """Return the name of a band of one of several chips of a response."""
    return f"c{number}_{band}"


@dataclass(frozen=True, slots=True)
class DecodedChip:
    """The decoded response for data, before it is encoded as a file.

    Attributes:
        values: values of the bands, (…, rows, columns).
        mask: (rows, columns), true where a pixel is valid.
        crs: as the format's library has it; None if the format has none.
        transform: pixel corners to coordinates, (a, b, c, d, e, f); None if the format has none.
    """

    values: Any
    mask: Any
    names: tuple[str, ...]
    crs: Any = None
    transform: tuple[float, ...] | None = None

    def cut(self, window: Window, transform: tuple[float, ...] | None) -> DecodedChip:
        """Return a window of the pixels."""
        where = (..., *window.slices)
        return replace(self, values=self.values[where], mask=self.mask[where], transform=transform)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipFormat:
    """A file format of chips.

    Chips that are too large for one request are requested in parts of the format ``part_format``. The parts pass
    ``receive`` of that format, and ``assemble`` of this one.

    Attributes:
        name: value of ``Chip.format`` and ``--format``; also the suffix of new files.
        suffixes: all suffixes of such files, in lower case, without the dot.
        magic: byte strings of which a file has one at its beginning.
        media_type: media type of the file (https://www.iana.org/assignments/media-types).
        is_picture: whether the format holds a rendered picture: 8 bits, 1 or 3 bands, no CRS. Otherwise it holds data,
            which is requested with ``MASK_BAND``.
        has_mask: whether masked pixels differ from valid ones in the file.
        request_format: format that is requested from Earth Engine, and that ``receive`` decodes.
        part_format: name of the chip format in which parts are requested.
        gdal_driver: driver that reads the format; empty if GDAL does not.
        compression: bytes of a file for one byte of pixels, to estimate disk space. Those of eechips are medians over
            NAIP and MODIS chips, to one digit.
        receive: check a response of ``request_format`` and encode the file: (data, expectation) → file.
        decode: check a response as ``receive`` does, and return its pixels: (data, expectation of each chip in it) →
            pixels of each. None if files have the bytes of the response, so that no request is shared. The bands of
            several chips, and the mask of each, follow each other and have names by :func:`stacked_name`.
        encode: encode the file of decoded pixels, the same as ``receive``: (pixels, expectation) → file.
        encode_empty: encode the file of a chip without a valid pixel, the same as ``receive`` of such a response:
            (expectation, numpy names of the types of its bands) → file; None if the types or the CRS do not say which
            file that is. None if a response is always needed.
        assemble: make one file of the parts of a chip: (parts in row-major order, expectation of the whole) → file.
        validate: decode a file of this format to its last byte: (data, expectation) → metadata.
        stack: make one file of the frames of a time series: (files in their order, time of each) → file. Band b of
            frame t is band t * bands + b of the file. None if the format cannot hold several frames.

    All functions raise :class:`~eechips.errors.ValidationError` if the data are incomplete, damaged or not as
    expected; the request is then repeated. ``receive`` raises :class:`UncertainMaskError` if a response has no mask,
    and a pixel may be masked.
    """

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...]
    media_type: str
    is_picture: bool
    has_mask: bool
    request_format: ServiceFormat
    part_format: str
    gdal_driver: str = ""
    compression: float = 1.0
    receive: Callable[[bytes, Expectation], EncodedFile]
    decode: Callable[[bytes, Sequence[Expectation]], list[DecodedChip]] | None = None
    encode: Callable[[DecodedChip, Expectation], EncodedFile] | None = None
    encode_empty: Callable[[Expectation, Sequence[str]], EncodedFile | None] | None = None
    assemble: Callable[[Sequence[Part[EncodedFile]], Expectation], EncodedFile]
    validate: Callable[[bytes, Expectation], FileMetadata]
    stack: Callable[[Sequence[EncodedFile], Sequence[str]], EncodedFile] | None = None
