"""Import rasterio where it is first used, by several threads at once."""

from __future__ import annotations

import importlib


def import_rasterio() -> None:
    """Import the package rasterio; call this in a function of threads before it imports modules of rasterio.

    Python lets a thread import a module of a package that another thread has imported in part. Modules of rasterio
    import each other in a circle, so that two such threads wait for each other, and one of them gets a
    ``_DeadlockError``. A thread that imports the package itself waits until all of it is imported.
    """
    importlib.import_module("rasterio")
