"""Imported by the fork server before it forks: whatever workers share costs memory and time only once."""

from __future__ import annotations

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


def preload(digest: str, path: Path) -> None:
    """Loads what every worker needs, and the client with its algorithms."""
    for name in _SHARED:
        importlib.import_module(name)
    prepare(DocumentsFile(path, digest))
    gc.collect()
    gc.freeze()  # the collector would write to the shared pages


# All that multiprocessing can do with a module is to import it.
if DOCUMENTS_VARIABLE in os.environ:
    _digest, _, _path = os.environ.pop(DOCUMENTS_VARIABLE).partition(":")
    preload(_digest, Path(_path))
