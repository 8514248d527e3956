"""How many bytes GDAL has fetched from stores and servers, as it counts them itself.

Neither rasterio nor an option of GDAL tells: they are asked of the library that rasterio has loaded
(https://gdal.org/en/stable/api/cpl.html, ``VSINetworkStatsGetAsSerializedJSON``), and not counted where it is none that
can be asked.
"""

from __future__ import annotations

import ctypes
import functools
import json
from typing import Any

import rasterio._base

ENABLED = {"CPL_VSIL_NETWORK_STATS_ENABLED": "YES"}
"""The setting of GDAL with which it counts."""


@functools.cache
def _library() -> Any:
    """GDAL, told to look once more whether it is to count; None if it cannot be asked."""
    try:
        library = ctypes.CDLL(rasterio._base.__file__)  # whose symbols are also those of what it is linked with
        library.VSINetworkStatsGetAsSerializedJSON.restype = ctypes.c_void_p
        library.VSINetworkStatsGetAsSerializedJSON.argtypes = [ctypes.c_void_p]
        library.VSIFree.argtypes = [ctypes.c_void_p]
        library.VSIFree.restype = None
        library.VSINetworkStatsReset.restype = None
        library.VSINetworkStatsReset()
    except (AttributeError, OSError):
        return None
    return library


def begin() -> None:
    """Has GDAL count from now on, for good; call it where ``ENABLED`` is set."""
    _library()


def fetched() -> int:
    """Bytes of bodies that this process has fetched through GDAL since it counts; 0 if nobody counts."""
    library = _library()
    text = None if library is None else library.VSINetworkStatsGetAsSerializedJSON(None)
    if not text:
        return 0
    try:
        told = json.loads(ctypes.string_at(text))
    finally:
        library.VSIFree(text)
    methods: dict[str, dict[str, int]] = told.get("methods", {})
    return sum(method.get("downloaded_bytes", 0) for method in methods.values())
