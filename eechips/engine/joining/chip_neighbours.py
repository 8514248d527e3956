"""Find the units of a plan that are near enough to another one to share a request."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

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


class ChipNeighbours:
    """Units with neighbours, by the cells of a grid of twice their own size.

    Two chips may share a request if the window of both has at most 1.2 pixels for each pixel of theirs
    (:data:`eechips.client.chip_groups.MOST_WASTE`). Whether they show the same images is not compared.
    """

    def __init__(self, boxes: Sequence[ChipBox]) -> None:
        self._boxes = boxes
        self._cells: dict[tuple[Hashable, int, int], list[int]] = {}
        for number, box in enumerate(boxes):
            self._cells.setdefault(_cell(box), []).append(number)

    def list_neighbours(self) -> list[int]:
        """Return the numbers of the units that have a neighbour."""
        return [number for number in range(len(self._boxes)) if self._has_neighbour(number)]

    def _has_neighbour(self, number: int) -> bool:
        box = self._boxes[number]
        key, column, row = _cell(box)
        for i, j in product((-1, 0, 1), (-1, 0, 1)):
            near = self._cells.get((key, column + i, row + j), ())
            if any(other != number and _fit(box, self._boxes[other]) for other in near):
                return True
        return False


def _cell(box: ChipBox) -> tuple[Hashable, int, int]:
    return box.key, math.floor(box.x / (2.0 * box.width)), math.floor(box.y / (2.0 * box.height))


def _fit(first: ChipBox, second: ChipBox) -> bool:
    """Return whether one window holds both chips without much else."""
    width, height = max(first.width, second.width), max(first.height, second.height)
    window = (abs(first.x - second.x) + width) * (abs(first.y - second.y) + height)
    return window <= MOST_WASTE * (first.width * first.height + second.width * second.height)
