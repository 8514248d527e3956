"""Computations of pixels of small grids, which the images of a series share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eechips_local.evaluation.context import Context
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, Pixels, Render

# Grids of no more pixels are shared.
_SMALL_GRID = 1 << 16
# Bytes of pixels that are kept for the next images, at most, and the part of the request's memory.
_MOST_KEPT = 64 << 20
_PART_KEPT = 16
_OBJECT = 500  # bytes of the objects around the pixels of a band


def series_render(context: Context, grid: PixelGrid) -> Render:
    """Return a computation of pixels on a grid.

    On a small grid, it has what the evaluation has read before: the images of a series often are computed from those
    before them, or all from one composite.
    """
    if grid.width * grid.height > _SMALL_GRID:
        return Render(context.limits.memory)
    kept: _KeptRenders = context.note(("series",), _KeptRenders)
    if kept.held > min(_MOST_KEPT, context.limits.memory // _PART_KEPT):
        kept.renders.clear()
        kept.held = 0
    if grid not in kept.renders:
        kept.renders[grid] = _SeriesRender(context.limits.memory, kept)
    return kept.renders[grid]


@dataclass(slots=True)
class _KeptRenders:
    """Computations by their grids, and the bytes that they hold."""

    renders: dict[PixelGrid, Render] = field(default_factory=dict)
    held: int = 0


class _SeriesRender(Render):
    """A computation of pixels that is kept for the next images."""

    def __init__(self, budget: int, kept: _KeptRenders) -> None:
        super().__init__(budget)
        self._kept = kept

    def note(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Return what a key has, and count the bytes of what is new."""
        is_new = key not in self._notes
        value = super().note(key, make)
        if is_new:
            self._kept.held += _bytes_of(value) + _OBJECT
        return value

    def _release(self, key: tuple[int, int, PixelGrid]) -> None:
        before = self.held
        super()._release(key)
        self._kept.held -= before - self.held

    def _hold(self, pixels: Pixels) -> None:
        self._kept.held += _bytes_of(pixels) + _OBJECT
        super()._hold(pixels)


def _bytes_of(value: Any) -> int:
    """Return the bytes of the arrays of a value.

    Images are not looked into: their pixels are counted as they are read, and images can share others many times.
    """
    if isinstance(value, Image):
        return 0
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, (tuple, list)):
        return sum(map(_bytes_of, value))
    if dataclasses.is_dataclass(value):
        return sum(_bytes_of(getattr(value, field.name)) for field in dataclasses.fields(value))
    return 0
