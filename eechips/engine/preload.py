"""Imported by the fork server before it forks: whatever workers share costs memory and time only once."""

from __future__ import annotations

import base64
import gc
import importlib
import os
from pathlib import Path

from eechips.client.connection import prepare
from eechips.client.documents import DocumentsFile

DOCUMENTS_VARIABLE = "EECHIPS_PRELOAD"
"""Tells the fork server of the documents: ``digest:path``. Its presence is what makes this module act."""

_SHARED = (
    "numpy",
    "rasterio",
    "retry.api",
    "eechips.engine.worker",
    *(f"eechips.writers.{name}" for name in ("png", "jpeg", "geotiff", "npy", "csv", "table")),
)


# A PNG of one transparent pixel.
_TRANSPARENT_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR42mNgAAIAAAUAAen63NgAAAAASUVORK5CYII="
)


def preload(digest: str, path: Path) -> None:
    """Loads what every worker needs, and the client with its algorithms."""
    for name in _SHARED:
        importlib.import_module(name)
    prepare(DocumentsFile(path, digest))
    _warm_up()
    gc.collect()
    gc.freeze()  # the collector would write to the shared pages


def _warm_up() -> None:
    """Has GDAL and PROJ load their drivers and tables (15 MB), which every worker would do for itself.

    Both know about forks (``pthread_atfork``), and no file stays open.
    """
    import numpy as np
    from rasterio.crs import CRS
    from rasterio.transform import from_origin

    from eechips.writers import Expectation, geotiff, png

    pixels, mask = np.zeros((3, 8, 8), dtype="uint8"), np.ones((8, 8), dtype=bool)
    utm = CRS.from_epsg(32613)
    file = geotiff.encode(pixels, mask, ("R", "G", "B"), utm, from_origin(5e5, 4e6, 1.0, 1.0))
    geotiff.receive(file, Expectation(crs=utm.to_string()))
    png.validate(_TRANSPARENT_PIXEL, Expectation())


# All that multiprocessing can do with a module is to import it.
if DOCUMENTS_VARIABLE in os.environ:
    _digest, _, _path = os.environ.pop(DOCUMENTS_VARIABLE).partition(":")
    preload(_digest, Path(_path))
