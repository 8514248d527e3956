"""Compute images on a lattice of their own, then resample or interpolate them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from affine import Affine

from eechips_local.evaluation.model import PixelWindow
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.lazy_image import ImageBand, Pixels, Render
from eechips_local.pixels.location import locate_once
from eechips_local.pixels.pixel_grid import PixelGrid
from eechips_local.pixels.resampling import Method, read_computed


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
        factor = 1 << max(0, math.floor(math.log2(max(location.scale, 1.0) * 1.001)))
        level = Projection(self.lattice.crs, self.lattice.transform @ Affine.scale(factor))
        if factor > 1:
            location = locate_once(level, grid, render)
        whole = PixelGrid(level.crs, level.transform, 0, 0)

        def read(window: PixelWindow) -> list[Pixels]:
            return render.read(chosen, whole.window(window.column, window.row, window.width, window.height))

        return read_computed(read, len(chosen), location, grid.shape, self.method)


@dataclass(frozen=True, slots=True, eq=False)
class Reprojected:
    """Bands computed on a lattice of their own, then resampled: ``Image.reproject``."""

    inputs: Sequence[ImageBand]
    lattice: Projection
    method: Method = "nearest"

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Compute the inputs on the lattice under the grid, and take the output from there."""
        chosen = [self.inputs[b] for b in bands]
        lattice = PixelGrid(self.lattice.crs, self.lattice.transform, 0, 0)
        location = locate_once(self.lattice, grid, render)

        def read(window: PixelWindow) -> list[Pixels]:
            return render.read(chosen, lattice.window(window.column, window.row, window.width, window.height))

        return read_computed(read, len(chosen), location, grid.shape, self.method)
