"""Keep what is computed of rectangles for the next date of the same place."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

from eechips_local.demo.painting.mercator import Rect

_T = TypeVar("_T")


def kept_for_places(cells: int, *, small: int, large: int) -> Callable[[Callable[[Rect], _T]], Callable[[Rect], _T]]:
    """Return a decorator of functions of a rectangle that keeps the last results.

    Args:
        cells: the most cells of a small rectangle.
        small: how many results of small rectangles are kept.
        large: how many of larger ones.
    """

    def decorate(compute: Callable[[Rect], _T]) -> Callable[[Rect], _T]:
        of_small, of_large = (lru_cache(maxsize=count)(compute) for count in (small, large))

        @wraps(compute)
        def kept(rect: Rect) -> _T:
            return (of_small if rect.width * rect.height <= cells else of_large)(rect)

        return kept

    return decorate
