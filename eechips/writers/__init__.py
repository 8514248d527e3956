"""What a result must look like, and how it is written: one module per format.

Every module of an image format has ``receive`` (bytes as they came → bytes to save and their facts), ``assemble``
(what was received of parts → one file) and ``validate`` (a saved file → its facts); all raise ValidationError. Table
modules have ``encode`` and ``validate``. The modules are imported when they are needed: some need rasterio or pyarrow.
"""

from __future__ import annotations

import importlib
import io
import zipfile
import zlib
from types import ModuleType

from eechips.errors import ValidationError
from eechips.writers.facts import MOST_DECODED, Expectation, Facts, Written

_MODULES = {"png": "png", "jpg": "jpeg", "tif": "geotiff", "npy": "npy", "csv": "csv", "parquet": "parquet"}
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpg",
    b"II*\0": "tif",
    b"MM\0*": "tif",
    b"II+\0": "tif",
    b"MM\0+": "tif",
    b"\x93NUMPY": "npy",
    b"PAR1": "parquet",
}
_SUFFIXES = {"jpeg": "jpg", "tiff": "tif"}
_ZIP = b"PK\3\4"


def writer(suffix: str) -> ModuleType:
    """The module that writes and checks a format, named by its suffix (``png``, ``tif``, …)."""
    return importlib.import_module(f"eechips.writers.{_MODULES[suffix]}")


def sniff(data: bytes) -> str:
    """The suffix of the format that data begins like; ``bin`` if none of ours."""
    return next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), "bin")


def validate(data: bytes, suffix: str) -> Facts:
    """The facts of a saved file.

    Args:
        data: its content.
        suffix: of its name; files of formats that are not ours are taken as they are.

    Raises:
        ValidationError: if it does not decode, to the last byte.
    """
    if suffix not in _MODULES:
        return Facts()
    facts: Facts = writer(suffix).validate(data, Expectation())
    return facts


def inspect(data: bytes, suffix: str) -> Facts:
    """The facts of a file that somebody else may have written, and called what they liked.

    What it begins like counts for more than its name: the service sends PNG or JPEG, and zipped GeoTIFFs, to who does
    not say what they want. Text that is no table of ours may be called ``csv`` nevertheless.

    Args:
        data: its content.
        suffix: of its name, without the dot.

    Raises:
        ValidationError: if it does not decode, to the last byte.
    """
    suffix = _SUFFIXES.get(suffix.lower(), suffix.lower())
    if data.startswith(_ZIP):
        return _zipped(data)
    found = sniff(data)
    try:
        return validate(data, suffix if found == "bin" else found)
    except ValidationError:
        if suffix == "csv" and data:
            return Facts()
        raise


def _zipped(data: bytes) -> Facts:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MOST_DECODED or sum(member.compress_size for member in archive.infolist()) > len(data):
                raise ValidationError(f"the ZIP archive of {len(data):,} bytes claims to hold {size:,}")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValidationError(f"not a whole ZIP archive: {error}") from None
    if damaged is not None:
        raise ValidationError(f"damaged ZIP archive: {damaged}")
    return Facts()


__all__ = ["Expectation", "Facts", "Written", "inspect", "sniff", "validate", "writer"]
