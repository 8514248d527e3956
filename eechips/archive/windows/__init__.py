"""Plan, read and join windows of big rasters, in object stores or anywhere else that GDAL reads.

This package contains functions for recipes that process rasters without Earth Engine: :func:`plan_windows`,
:func:`read_window`, :func:`window_file` and :func:`join_windows` for whole rasters, as in ``recipes/cog_ndvi.py``, and
:func:`plan_chip` and :func:`read_chip` for places, as in ``recipes/embedding_cogs.py``. Downloads of whole files belong
to :mod:`eechips.archive.downloads`, chips of Earth Engine images to :mod:`eechips.builtin_recipes`.
"""

from __future__ import annotations

from eechips.archive.windows.raster import Raster as Raster
from eechips.archive.windows.raster import describe as describe
from eechips.archive.windows.raster import read_window as read_window
from eechips.archive.windows.results import join_windows as join_windows
from eechips.archive.windows.results import window_file as window_file
from eechips.archive.windows.window_plan import plan_chip as plan_chip
from eechips.archive.windows.window_plan import plan_windows as plan_windows
from eechips.archive.windows.window_plan import read_chip as read_chip
from eechips.archive.windows.window_size import BlockLayout as BlockLayout
from eechips.archive.windows.window_size import MemoryBudget as MemoryBudget
from eechips.archive.windows.window_size import tile as tile
