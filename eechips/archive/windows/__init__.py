"""Plan, read and join windows of big rasters, in object stores or anywhere else that GDAL reads.

This package contains functions for recipes that process rasters without Earth Engine: :func:`plan_windows`,
:func:`read_window`, :func:`window_file` and :func:`join_windows` for whole rasters, as in ``recipes/cog_ndvi.py``, and
:func:`plan_chip` and :func:`read_chip` for places, as in ``recipes/embedding_cogs.py``. Downloads of whole files belong
to :mod:`eechips.archive.downloads`, chips of Earth Engine images to :mod:`eechips.builtin_recipes`.
"""

from __future__ import annotations

from eechips.archive.windows.raster import Raster, describe, read_window
from eechips.archive.windows.results import join_windows, window_file
from eechips.archive.windows.window_plan import plan_chip, plan_windows, read_chip
from eechips.archive.windows.window_size import BlockLayout, MemoryBudget, tile

__all__ = [
    "BlockLayout",
    "MemoryBudget",
    "Raster",
    "describe",
    "join_windows",
    "plan_chip",
    "plan_windows",
    "read_chip",
    "read_window",
    "tile",
    "window_file",
]
