"""Estimate how many requests the units of a run share: by their places, or by joining some as the run will."""

from __future__ import annotations

import copy
import json
import math
import random
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import shapely

from eechips.client.chip_groups import MOST_WASTE, share_chips
from eechips.client.chip_parts import PIXEL_LIMITS, count_requests
from eechips.engine.config import RunConfig
from eechips.engine.costs.compute_sample import ComputeSample
from eechips.engine.fetch_result import chips_of, empty_file
from eechips.engine.joining.unit_joining import MOST_UNITS, RequestCosts, UnitJoining
from eechips.errors import EechipsError
from eechips.geo.grid import Grid
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.unit_record import WorkUnit
from eechips.recipe import Recipe, RequestWindow, Unit, canonical_json, unit_value

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


_HELD = 4_096
"""Units of a plan that are joined for an estimate: as many as a run holds."""
_COUNTED = 64
"""Assignments whose requests are counted."""


@dataclass(frozen=True, slots=True)
class UnitRequests:
    """Requests of units, without repeats of those that are joined.

    Attributes:
        mean: requests for each unit.
        low: lower end of the 95% confidence range.
        high: upper end.
        units: units of an assignment, mean.
    """

    mean: float
    low: float
    high: float
    units: float = 1.0

    def times(self, factor: float) -> UnitRequests:
        """Return the same units with more requests for each."""
        return UnitRequests(factor * self.mean, factor * self.low, factor * self.high, self.units)


class JoiningEstimate:
    """Joins units as a run does."""

    def __init__(
        self, recipe: Recipe, config: RunConfig, request_window: RequestWindow, costs: RequestCosts, slots: int
    ) -> None:
        self._recipe, self._config = recipe, config
        self._request_window, self._costs, self._slots = request_window, costs, max(1, slots)

    def of_ledger(self, ledger: Ledger, left: int) -> UnitRequests | None:
        """Estimate from open units of a whole plan, ``left`` of them: up to 4,096 are joined."""
        units = list(islice(ledger.open_units(), _HELD))
        if not units:
            return None
        joined = self._join(units, max(left, len(units)), copy.deepcopy(self._costs))
        counted = random.Random(0).sample(joined, min(_COUNTED, len(joined)))
        requests = [self._count(assignment) for assignment in counted]
        share = len(joined) / len(units)  # assignments of a unit: they are known, their requests are a sample
        mean = share * sum(requests) / len(requests)
        margin = share * ComputeSample.of(requests).mean_margin if len(counted) < len(joined) else 0.0
        return UnitRequests(mean, max(0.0, mean - margin), mean + margin, 1.0 / share)

    def of_places(self, points: Sequence[tuple[float, float]], first: Unit) -> UnitRequests:
        """Bound the requests of a plan of which only some units are made.

        Units with a neighbour near enough may share requests with as many as a run joins, or with none: which images
        they show is not known yet.

        Args:
            first: a unit; all have its size.
        """
        window, alone = self._request_window(unit_value(first)), self._count([_as_unit(0, first)])
        start = random.Random(0).randrange(max(1, len(points) - _HELD + 1))
        held = [] if window is None else list(place_boxes(points[start : start + _HELD], window[1]))
        near = count_neighbours(held) / max(1, len(held))
        return UnitRequests(alone, alone * (1.0 - near * (1.0 - 1.0 / MOST_UNITS)), alone)

    def count(self, units: Sequence[Unit]) -> int:
        """Count the requests of some units, which are joined."""
        works = [_as_unit(position, unit) for position, unit in enumerate(units)]
        return sum(self._count(assignment) for assignment in self._join(works, len(works), copy.deepcopy(self._costs)))

    def _join(self, units: Sequence[WorkUnit], left: int, costs: RequestCosts) -> list[tuple[WorkUnit, ...]]:
        """Return the units of each assignment; the costs learn from each, as in a run, whose later ones are larger."""
        joiner = UnitJoining(self._request_window, costs, iter(units))
        assignments: list[tuple[WorkUnit, ...]] = []
        under_way: deque[WorkUnit] = deque()
        while True:
            if len(under_way) == self._slots:
                joiner.expect(under_way.popleft())
            try:
                assignment = joiner.take(self._slots, max(1, left))
            except StopIteration:
                break
            assert assignment is not None  # all units are there
            under_way.append(assignment)
            assignments.append(assignment.units)
            left -= len(assignment.units)
        for assignment in under_way:
            joiner.expect(assignment)
        return assignments

    def _count(self, assignment: Sequence[WorkUnit]) -> int:
        """Count the requests of an assignment; a unit that has no result takes none."""
        chips = []
        for unit in assignment:
            try:
                result = self._recipe.get_result(unit.position, unit_value(json.loads(unit.unit)))
            except EechipsError:  # it fails by itself, in its worker
                continue
            chips += [chip for chip in chips_of(result) if empty_file(chip) is None]
        shared = share_chips(chips)
        members = {member.index for group in shared for member in group.members}
        limits = PIXEL_LIMITS[self._config.pixel_method]
        others = sum(count_requests(chip, limits) for index, chip in enumerate(chips) if index not in members)
        return len(shared) + others


def _as_unit(position: int, unit: Unit) -> WorkUnit:
    return WorkUnit(position, "", canonical_json(unit), "")
