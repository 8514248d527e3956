"""What a result must look like, and how it is written: one module per format.

Every module of an image format has ``receive`` (bytes as they came → bytes to save and their facts), ``assemble``
(what was received of parts → one file) and ``validate`` (a saved file → its facts); all raise ValidationError. Table
modules have ``encode`` and ``validate``. The modules are imported when they are needed: some need rasterio or pyarrow.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from eechips.writers.facts import Expectation, Facts, Written

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


__all__ = ["Expectation", "Facts", "Written", "sniff", "validate", "writer"]
