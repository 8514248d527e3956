"""Find the images of a stub that a query by ``system:index`` wants, where names begin with the time, without listing
all.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import datetime

from eechips_local.evaluation.asset_model import Query

_ASCENDING = re.compile(r"[^%{]*%Y(?:[^%{]*%m(?:[^%{]*%d(?:[^%{]*%H(?:[^%{]*%M)?)?)?)?")
"""Formats in whose order, that of texts, later times come later."""


def numbers_named(numbers: range, time_of: Callable[[int], datetime], pattern: str, query: Query) -> range:
    """Return the numbers whose images may have a name in the span of a query.

    Args:
        numbers: numbers of images, in the order of time.
        time_of: when an image begins.
        pattern: format of the names, as of ``strftime``.
        query: says which names are asked for.
    """
    start = _ASCENDING.match(pattern)
    if start is None or (not query.first_index and query.last_index is None):
        return numbers

    def dated(number: int) -> str:
        return time_of(number).strftime(start[0])

    width = len(dated(0))
    first = bisect_left(numbers, query.first_index[:width], key=dated)
    last = len(numbers) if query.last_index is None else bisect_right(numbers, query.last_index[:width], key=dated)
    return numbers[first : max(first, last)]
