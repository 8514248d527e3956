"""Find the format of a file by its name in a request, its suffix, or its first bytes, and its media type; check files
of any format, also ZIP.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import zipfile
import zlib
from types import ModuleType
from typing import Literal

from eechips.errors import ValidationError
from eechips.formats.chip_format import MAX_DECODED_BYTES, ChipFormat, Expectation, FileMetadata
from eechips.registry import Registry

TableFormat = Literal["csv", "parquet"]

CHIP_FORMATS: Registry[ChipFormat] = Registry(
    "chip format",
    "eechips.formats",
    {
        "png": "eechips.formats.png:PNG",
        "jpg": "eechips.formats.jpeg:JPEG",
        "tif": "eechips.formats.geotiff:GEOTIFF",
        "npy": "eechips.formats.npy:NPY",
    },
    ChipFormat,
    "eechips.formats.ChipFormat",
)
"""Formats of chips by name. ``Chip.format`` and ``--format`` take one of its names."""

TABLE_FORMATS: tuple[TableFormat, ...] = ("csv", "parquet")
"""Formats of tables by name, which is also their suffix."""

_PARQUET_MAGIC = b"PAR1"  # https://parquet.apache.org/docs/file-format/
_DAMAGES: tuple[type[Exception], ...] = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError)
"""Errors of reading a damaged ZIP archive."""
with contextlib.suppress(ImportError):  # a Python may be built without it
    import lzma

    _DAMAGES += (lzma.LZMAError,)
_ZIP_MAGIC = b"PK\3\4"
_MEDIA_TYPES = {
    "csv": "text/csv",
    "geojson": "application/geo+json",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
"""Media types of files that are not chips (https://www.iana.org/assignments/media-types)."""


def table_format(name: TableFormat) -> ModuleType:
    """Import the module of a table format, which has ``encode`` and ``validate``."""
    return importlib.import_module(f"eechips.formats.{name}")


def chip_format_of(suffix: str) -> ChipFormat | None:
    """Find the chip format of a file by its suffix.

    Args:
        suffix: without the dot, in any case; ``jpeg`` and ``tiff`` are known as well.

    Returns:
        None if the suffix belongs to no chip format.
    """
    suffix = suffix.lower()
    return next((known for known in _chip_formats() if suffix in known.suffixes), None)


def chip_suffixes() -> frozenset[str]:
    """Return the suffixes of all chip formats, without the dot."""
    return frozenset(suffix for known in _chip_formats() for suffix in known.suffixes)


def picture_suffixes() -> frozenset[str]:
    """Return the suffixes of the chip formats that hold pictures of 8 bits, without the dot."""
    return frozenset(suffix for known in _chip_formats() if known.is_picture for suffix in known.suffixes)


def stack_formats() -> tuple[str, ...]:
    """Return the names of the chip formats that hold several frames of a time series in one file."""
    return tuple(known.name for known in _chip_formats() if known.stack is not None)


def media_type_of(suffix: str) -> str | None:
    """Return the media type of files with a suffix; None if it is unknown."""
    known = chip_format_of(suffix)
    return _MEDIA_TYPES.get(suffix.lower()) if known is None else known.media_type


def sniff(data: bytes) -> str:
    """Return the name of the format that data begins like; ``bin`` if none matches."""
    for known in _chip_formats():
        if data.startswith(known.magic):
            return known.name
    return "parquet" if data.startswith(_PARQUET_MAGIC) else "bin"


def validate(data: bytes, suffix: str) -> FileMetadata:
    """Decode a saved file to its last byte.

    Args:
        suffix: suffix of its name, without the dot. Files of unknown suffixes are not checked.

    Returns:
        The metadata of the file.

    Raises:
        ValidationError: if the file does not decode.
    """
    if suffix in TABLE_FORMATS:
        metadata: FileMetadata = table_format(suffix).validate(data, Expectation())
        return metadata
    known = chip_format_of(suffix)
    return FileMetadata() if known is None else known.validate(data, Expectation())


def inspect(data: bytes, suffix: str) -> FileMetadata:
    """Decode a file that a script has written, whose suffix may be wrong.

    The first bytes take precedence over the suffix, since Earth Engine returns PNG, JPEG or a zipped GeoTIFF if a
    script requests no format. Text that is not a table with a header is accepted with the suffix ``csv``.

    Args:
        suffix: suffix of its name, without the dot.

    Raises:
        ValidationError: if the file does not decode.
    """
    suffix = suffix.lower()
    if data.startswith(_ZIP_MAGIC):
        return _inspect_zip(data)
    sniffed = sniff(data)
    try:
        return validate(data, suffix if sniffed == "bin" else sniffed)
    except ValidationError:
        if suffix == "csv" and data:
            return FileMetadata()
        raise


@functools.cache
def _chip_formats() -> tuple[ChipFormat, ...]:
    return tuple(CHIP_FORMATS.get(name) for name in CHIP_FORMATS.names)


def _inspect_zip(data: bytes) -> FileMetadata:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_DECODED_BYTES or sum(member.compress_size for member in archive.infolist()) > len(data):
                raise ValidationError(f"the ZIP archive of {len(data):,} bytes claims to hold {size:,}")
            damaged = archive.testzip()
    except _DAMAGES as error:
        raise ValidationError(f"the ZIP archive is damaged or truncated: {error}") from None
    if damaged is not None:
        raise ValidationError(f"the ZIP archive is damaged: {damaged} has a wrong checksum")
    return FileMetadata()
