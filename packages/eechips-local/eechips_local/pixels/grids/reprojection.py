"""Compute images on a lattice of their own, or on a level of its pyramid, and take pixels from there:
``Image.reproject`` and ``resample``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.location import EDGE, Location, around_globe, locate_once
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.resampling import Method, read_computed
from eechips_local.pixels.lazy_image import ImageBand, Pixels, Render


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """Bands computed on their own lattice, or a level of its pyramid, and interpolated: ``Image.resample``."""

    inputs: Sequence[ImageBand]
    lattice: Projection
    method: Method

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Compute the inputs on the level whose pixels are no larger than the output's."""
        chosen = [self.inputs[b] for b in bands]
        location = locate_once(self.lattice, grid, render)
        factor = level_factor(location.scale)
        level = self.lattice.scaled(factor)
        if factor > 1:
            location = locate_once(level, grid, render)
        return read_lattice(chosen, level, location, grid, render, self.method)


@dataclass(frozen=True, slots=True, eq=False)
class Reprojected:
    """Bands computed on a lattice of their own, then resampled: ``Image.reproject``."""

    inputs: Sequence[ImageBand]
    lattice: Projection
    method: Method = "nearest"

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Compute the inputs on the lattice under the grid, and take the output from there."""
        chosen = [self.inputs[b] for b in bands]
        location = locate_once(self.lattice, grid, render)
        return read_lattice(chosen, self.lattice, location, grid, render, self.method)


def read_lattice(
    bands: Sequence[ImageBand], lattice: Projection, location: Location, grid: PixelGrid, render: Render, method: Method
) -> list[Pixels]:
    """Compute what a location needs of bands on the pixels of a lattice, and take the pixels of a grid from there."""

    def read(window: PixelWindow) -> list[Pixels]:
        return render.read(bands, lattice.window(window.column, window.row, window.width, window.height))

    def held(window: PixelWindow) -> npt.NDArray[np.bool_]:
        pixels = lattice.window(window.column, window.row, window.width, window.height)
        return np.stack([held_by(band, pixels, render) for band in bands])

    return read_computed(read, len(bands), location, grid.shape, method, held)


def held_by(band: ImageBand, grid: PixelGrid, render: Render) -> npt.NDArray[np.bool_]:
    """Return which pixels of a grid have their centre within the extent of a band; all if it has none."""
    extent = band.extent
    if extent is None:
        return np.ones(grid.shape, dtype=bool)
    location = around_globe(locate_once(band.projection, grid, render), band.projection, extent)
    columns, rows = location.columns + EDGE - extent.column, location.rows + EDGE - extent.row
    within = (columns >= 0) & (columns < extent.width) & (rows >= 0) & (rows < extent.height)
    return np.broadcast_to(within, grid.shape)


def level_factor(scale: float) -> int:
    """Return the factor of the coarsest level of a pyramid whose pixels are at most ``scale`` times the lattice's."""
    return 1 << max(0, math.floor(math.log2(max(scale, 1.0) * 1.001)))
