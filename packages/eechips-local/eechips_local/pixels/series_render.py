"""Computations of pixels of small grids, which the images of a series share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eechips_local.evaluation.context import Context
from eechips_local.pixels.lazy_image import Pixels, Render
from eechips_local.pixels.pixel_grid import PixelGrid

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
        kept.renders[grid] = _SeriesRender(context, kept)
    return kept.renders[grid]


@dataclass(slots=True)
class _KeptRenders:
    """Computations by their grids, and the bytes that they hold."""

    renders: dict[PixelGrid, Render] = field(default_factory=dict)
    held: int = 0


class _SeriesRender(Render):
    """A computation of pixels that is kept for the next images."""

    def __init__(self, context: Context, kept: _KeptRenders) -> None:
        super().__init__(context.limits.memory)
        self._context = context
        self._kept = kept

    def note(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Cache the places of grids for the whole evaluation, the rest as long as the computation is kept."""
        is_place = key[0] in ("location", "lonlat") and isinstance(key[1], PixelGrid)
        if is_place and key[1].width * key[1].height <= _SMALL_GRID:
            return self._context.note(("series", *key), make)
        return super().note(key, make)

    def _hold(self, pixels: Pixels) -> None:
        self._kept.held += pixels.values.nbytes + pixels.mask.nbytes + _OBJECT
        super()._hold(pixels)
