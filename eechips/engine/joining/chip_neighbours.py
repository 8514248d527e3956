"""Find the units of a plan that are near enough to another one to share a request."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import shapely

from eechips.client.chip_groups import MOST_WASTE
from eechips.geo.grid import Grid

_DEGREE = 111_320.0
"""Metres of a degree of latitude, approximately."""


class ChipBox(NamedTuple):
    """The place of a chip in the coordinates of ``key``, such as a CRS: its corner, and its size."""

    key: Hashable
    x: float
    y: float
    width: float
    height: float

    @classmethod
    def of(cls, grid: Grid) -> ChipBox:
        """Return the place of a grid."""
        a, b, x, d, e, y = grid.transform
        return cls(grid.crs, x, y, grid.width * (abs(a) + abs(b)), grid.height * (abs(d) + abs(e)))


def place_boxes(points: Sequence[tuple[float, float]], grid: Grid) -> Iterator[ChipBox]:
    """Yield the boxes of chips at some places, by the pixels of one of them."""
    size = max(abs(cell) for cell in grid.transform[:2]) * max(grid.width, grid.height)
    height = size / _DEGREE if size > 1.0 else size  # metres, or degrees
    for longitude, latitude in points:
        row = round(latitude)
        yield ChipBox(row, longitude, latitude, height / max(0.01, math.cos(math.radians(row))), height)


def count_neighbours(boxes: Sequence[ChipBox]) -> int:
    """Return the number of units that have a neighbour.

    Two chips may share a request if the window of both has at most 1.2 pixels for each pixel of theirs
    (:data:`eechips.client.chip_groups.MOST_WASTE`). Whether they show the same images is not compared.
    """
    if not boxes:
        return 0
    numbers: dict[Hashable, int] = {}
    key = np.array([numbers.setdefault(box.key, len(numbers)) for box in boxes])
    x, y, width, height = np.array([box[1:] for box in boxes]).T
    tree = shapely.STRtree(shapely.box(x, y, x + width, y + height))
    first, second = tree.query(shapely.box(x - width, y - height, x + 2 * width, y + 2 * height))
    widest, highest = np.maximum(width[first], width[second]), np.maximum(height[first], height[second])
    window = (abs(x[first] - x[second]) + widest) * (abs(y[first] - y[second]) + highest)
    area = width * height
    fit = (first != second) & (key[first] == key[second]) & (window <= MOST_WASTE * (area[first] + area[second]))
    return len(np.union1d(first[fit], second[fit]))
