"""Rasters made from other rasters, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.emulator.pixels.coverage import centres_inside
from eechips.emulator.pixels.grid import Grid
from eechips.emulator.pixels.image import Band, Mask, Pixels, Render
from eechips.emulator.values import Geometry


def both(first: Mask, second: Mask) -> Mask:
    """The mask of a result that needs two inputs: the lesser of theirs."""
    if first.dtype == bool and second.dtype == bool:
        return first & second
    return np.minimum(first.astype(np.float64), second.astype(np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value everywhere; for array bands, an array at each pixel."""

    value: npt.NDArray[Any]

    def read(self, bands: Sequence[int], grid: Grid, render: Render) -> list[Pixels]:
        """Broadcasts the value; nothing is copied."""
        shape = (*grid.shape, *self.value.shape)
        mask = np.broadcast_to(np.True_, grid.shape)
        return [Pixels(np.broadcast_to(self.value, shape), mask) for _ in bands]


@dataclass(frozen=True, slots=True, eq=False)
class PerPixel:
    """Bands each computed from some inputs at the same pixel.

    Attributes:
        inputs: for each band, what its function needs.
        functions: for each band, from the inputs' pixels to its own.
    """

    inputs: tuple[tuple[Band, ...], ...]
    functions: tuple[Callable[[Sequence[Pixels]], Pixels], ...]

    def read(self, bands: Sequence[int], grid: Grid, render: Render) -> list[Pixels]:
        """Reads all inputs of the bands at once, then computes."""
        flat = [band for b in bands for band in self.inputs[b]]
        pixels = iter(render.read(flat, grid))
        return [self.functions[b]([next(pixels) for _ in self.inputs[b]]) for b in bands]


@dataclass(frozen=True, slots=True, eq=False)
class Clipped:
    """Bands masked where pixel centres lie outside a geometry."""

    inputs: tuple[Band, ...]
    geometry: Geometry

    def read(self, bands: Sequence[int], grid: Grid, render: Render) -> list[Pixels]:
        """Masks what is outside; reads nothing if all is."""
        inside: Mask = render.note(("inside", self.geometry, grid), lambda: centres_inside(self.geometry, grid))
        if not inside.any():
            return [Pixels(np.zeros(grid.shape, dtype=np.uint8), inside) for _ in bands]
        pixels = render.read([self.inputs[b] for b in bands], grid)
        if inside.all():
            return pixels
        return [Pixels(p.values, both(p.mask, inside)) for p in pixels]


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """Bands computed from the grid alone: coordinates, areas, random numbers."""

    function: Callable[[Grid, int], Pixels]

    def read(self, bands: Sequence[int], grid: Grid, render: Render) -> list[Pixels]:
        """Calls the function for each band."""
        return [self.function(grid, band) for band in bands]
