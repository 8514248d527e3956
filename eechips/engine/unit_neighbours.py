"""Count units that lie so near each other that they may share requests."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import product

from eechips.client.shared_requests import MOST_WASTE
from eechips.geo.grid import Grid

_DEGREE = 111_320.0
"""Metres of a degree of latitude, approximately."""
_Chip = tuple[float, float, float, float]


class NeighbourCount:
    """Count of units with a neighbour, by the cells of a grid of twice their own size.

    Two chips may share a request if the window of both has at most 1.2 pixels for each pixel of theirs
    (:data:`eechips.client.shared_requests.MOST_WASTE`). Whether they show the same images is not compared.
    """

    def __init__(self) -> None:
        self._cells: dict[tuple[Hashable, int, int], list[_Chip]] = {}

    @property
    def count(self) -> int:
        """Number of units with a neighbour."""
        return sum(self._has_neighbour(cell, chip) for cell, chips in self._cells.items() for chip in chips)

    def add(self, grid: Grid) -> None:
        """Count a unit by its pixels."""
        a, b, x, d, e, y = grid.transform
        width, height = grid.width * (abs(a) + abs(b)), grid.height * (abs(d) + abs(e))
        self._add(grid.crs, (x, y, width, height))

    def add_points(self, points: Sequence[tuple[float, float]], grid: Grid) -> int:
        """Count places by the pixels of one unit, and return how many have a neighbour."""
        size = max(abs(cell) for cell in grid.transform[:2]) * max(grid.width, grid.height)
        height = size / _DEGREE if size > 1.0 else size  # metres, or degrees
        for longitude, latitude in points:
            row = round(latitude)
            width = height / max(0.01, math.cos(math.radians(row)))
            self._add(row, (longitude, latitude, width, height))
        return self.count

    def _add(self, key: Hashable, chip: _Chip) -> None:
        x, y, width, height = chip
        self._cells.setdefault((key, math.floor(x / (2.0 * width)), math.floor(y / (2.0 * height))), []).append(chip)

    def _has_neighbour(self, cell: tuple[Hashable, int, int], chip: _Chip) -> bool:
        key, column, row = cell
        for i, j in product((-1, 0, 1), (-1, 0, 1)):
            near = self._cells.get((key, column + i, row + j), ())
            if any(other is not chip and _fit(chip, other) for other in near):
                return True
        return False


def _fit(first: _Chip, second: _Chip) -> bool:
    """Return whether one window holds both chips without much else."""
    x, y, width, height = first
    window = (abs(x - second[0]) + max(width, second[2])) * (abs(y - second[1]) + max(height, second[3]))
    return window <= MOST_WASTE * (width * height + second[2] * second[3])
