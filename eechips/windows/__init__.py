"""Windows of big rasters, in object stores or anywhere else that GDAL reads: planned, read, and put together again.

A recipe plans with :func:`plan_windows`, reads each with :func:`read_window`, returns what it made of it through
:func:`window_file`, and puts all of them together with :func:`join_windows`; ``recipes/cog_ndvi.py`` is the example.
No Earth Engine is asked: such a recipe says ``NEEDS_SERVICE = False``.
"""

from __future__ import annotations

from eechips.windows.blocks import Blocks, tile
from eechips.windows.budget import Budget, parse_memory
from eechips.windows.raster import Raster, describe, read_window
from eechips.windows.results import join_windows, window_file
from eechips.windows.units import plan_windows

__all__ = [
    "Blocks",
    "Budget",
    "Raster",
    "describe",
    "join_windows",
    "parse_memory",
    "plan_windows",
    "read_window",
    "tile",
    "window_file",
]
