"""Load what workers share, once, in the fork server; see :mod:`eechips.engine.executors.fork_server`."""

from __future__ import annotations

import base64
import contextlib
import gc
import importlib
import json
import os
import time
from pathlib import Path

from eechips.client.access.connection import initialize_client
from eechips.client.access.discovery import ClientInit
from eechips.processes.deferred_imports import defer_imports
from eechips.recipe import Recipe, traits_of

_GLANCE = 0.005  # seconds between two looks for the client_init
VARIABLE = "EECHIPS_PRELOAD"
"""Environment variable with what the fork server loads, as JSON. It has the value of a run only in the fork server."""

_SHARED = (
    "numpy",
    "rasterio",
    "rasterio.io",
    "retry.api",
    "eechips.engine.executors.worker_process",
    *(f"eechips.formats.{name}" for name in ("png", "jpeg", "geotiff", "npy", "csv", "table")),
)
# Packages that scripts often import, that take long to import, and that start no threads when imported.
_FORKABLE = frozenset(
    {"PIL", "geopandas", "numpy", "pandas", "pyarrow", "pyogrio", "pyproj", "rasterio", "requests", "scipy", "shapely"}
)


def encode_instructions(recipe: Recipe, client_init: Path) -> str:
    """Return the instructions for the fork server that this process starts, for its environment.

    Args:
        recipe: the workers will import its code.
        client_init: file that appears once the parent has connected, in a folder that exists until then.
    """
    modules = [name for name in traits_of(recipe).imports if name in _FORKABLE]
    if type(recipe).__module__ != "__main__":
        modules.append(type(recipe).__module__)
    return json.dumps({"client_init": str(client_init), "modules": modules, "parent": os.getpid()})


# A PNG of one transparent pixel.
_TRANSPARENT_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR42mNgAAIAAAUAAen63NgAAAAASUVORK5CYII="
)


def preload(instructions: str) -> None:
    """Load what every worker needs, and the client with its algorithms; see :func:`encode_instructions`."""
    gc.disable()  # nearly all that is loaded stays
    defer_imports()
    wanted = json.loads(instructions)
    for name in (*_SHARED, *wanted["modules"]):
        # A failed import fails in the worker as well, which reports it with the unit.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    _warm_up()
    _prepare(Path(wanted["client_init"]), wanted["parent"])
    gc.collect()
    gc.freeze()  # the collector would write to the shared pages
    gc.enable()


def _prepare(path: Path, parent: int) -> None:
    """Initialise the client as soon as the parent, which connects meanwhile, has written how.

    Args:
        parent: process id of the parent, which may have been killed while this process was importing.
    """
    while not path.exists():
        if not path.parent.exists() or os.getppid() != parent:
            return  # the parent could not connect, or has ended
        time.sleep(_GLANCE)
    with contextlib.suppress(FileNotFoundError):  # removed by a run whose plan failed
        client_init = ClientInit.load(path)
        if client_init.endpoint:  # else the recipe needs no service
            initialize_client(client_init)


def _warm_up() -> None:
    """Have GDAL and PROJ, which know about forks (``pthread_atfork``), load drivers and tables once: 15 MB."""
    import numpy as np
    from affine import Affine
    from rasterio.crs import CRS

    from eechips.formats import Expectation, geotiff, png

    pixels, mask = np.zeros((3, 8, 8), dtype="uint8"), np.ones((8, 8), dtype=bool)
    utm = CRS.from_epsg(32613)
    file = geotiff.encode(pixels, mask, ("R", "G", "B"), utm, Affine(1.0, 0.0, 5e5, 0.0, -1.0, 4e6))
    geotiff.receive(file, Expectation(crs=utm.to_string()))
    png.validate(_TRANSPARENT_PIXEL, Expectation())
