"""Estimate how many requests the units of a run share: join its units, or a sample of them, as the run will."""

from __future__ import annotations

import copy
import json
import math
import random
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import NamedTuple

import numpy as np

from eechips.client.chip_parts import PIXEL_LIMITS, count_requests
from eechips.client.shared_requests import MOST_WASTE, share_chips
from eechips.engine.compute_sample import student_quantile
from eechips.engine.config import RunConfig
from eechips.engine.fetch_result import empty_file
from eechips.engine.request_costs import RequestCosts
from eechips.engine.request_sharing import UnitJoiner
from eechips.engine.shared_results import chips_of
from eechips.errors import EechipsError
from eechips.geo.grid import Grid
from eechips.manifest.ledger import Ledger
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import PlanPreview, Recipe, RequestWindow, Unit, canonical_json, unit_value

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
    (:data:`eechips.client.shared_requests.MOST_WASTE`). Whether they show the same images is not compared.
    """

    def __init__(self, boxes: Sequence[ChipBox]) -> None:
        self._boxes = boxes
        self._cells: dict[tuple[Hashable, int, int], list[int]] = {}
        for number, box in enumerate(boxes):
            self._cells.setdefault(_cell(box), []).append(number)

    def __len__(self) -> int:
        return len(self._boxes)

    def list_neighbours(self) -> list[int]:
        """Return the numbers of the units that have a neighbour."""
        return [number for number in range(len(self._boxes)) if self._has_neighbour(number)]

    def nearest(self, number: int, count: int) -> list[int]:
        """Return the numbers of the units that are nearest to one, which is the first, by their sizes."""
        own = self._boxes[number]
        alike = [other for other, box in enumerate(self._boxes) if box.key == own.key]
        places = np.array([(self._boxes[other].x, self._boxes[other].y) for other in alike])
        apart = np.abs(places - (own.x, own.y)) / (own.width, own.height)
        return [alike[index] for index in np.argsort(apart.max(axis=1), kind="stable")[:count].tolist()]

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


_HELD = 4_096
"""Units of a plan that are joined for an estimate: as many as a run holds."""
_COUNTED = 64
"""Assignments whose requests are counted."""
_CHUNKS = 8
"""Parts of a plan whose places are compared."""
_NEAREST = 24
"""Units of a neighbourhood: those around one that is drawn."""
_CORE = 8
"""Units in the middle of a neighbourhood, whose assignments its edge does not cut."""
_PARTS_LEFT = (5 / 6, 3 / 6, 1 / 6)
"""Fractions of the units that remain at the beginning, middle and end of a run: a neighbourhood is joined at each."""
_AT_ONCE = 4
"""Neighbourhoods that are planned by the same requests."""
_SAMPLED = 0.1
"""Part of the units of a plan that are planned for an estimate."""
_FEWEST = 96
"""Units that may be planned for an estimate of any plan."""
_SECONDS = 15.0
"""Seconds after which no further neighbourhood is planned."""
_PRECISION = 0.1
"""Half of the 95% confidence range, as a part of the mean, at which no further neighbourhood is planned."""


@dataclass(frozen=True, slots=True)
class JoinedRequests:
    """Requests of units that are joined, without repeats.

    Attributes:
        mean: requests for each unit.
        low: lower end of the 95% confidence range.
        high: upper end.
        units: units of an assignment, mean.
    """

    mean: float
    low: float
    high: float
    units: float

    @classmethod
    def from_clusters(
        cls, requests: Sequence[float], assignments: Sequence[float], units: Sequence[int]
    ) -> JoinedRequests:
        """Estimate from a random sample of clusters of units, by the ratio of two sums.

        The error is that of a ratio in cluster sampling (Cochran, Sampling Techniques, 1977, chapter 6).

        Args:
            assignments: likewise, assignments.
            units: likewise, units.
        """
        count, total = len(units), sum(units)
        mean = sum(requests) / total
        error = math.inf
        if count > 1:
            squares = sum((own - mean * its) ** 2 for own, its in zip(requests, units, strict=True))
            error = math.sqrt(squares * count / (count - 1)) / total
        margin = error * (student_quantile(count - 1) if count > 1 else 1.0)
        return cls(mean, max(0.0, mean - margin), mean + margin, total / max(sum(assignments), 1e-9))

    @property
    def is_precise(self) -> bool:
        """Whether the range is narrow enough for an estimate."""
        return self.high - self.mean <= _PRECISION * self.mean

    def mixed(self, part: float, alone: float) -> JoinedRequests:
        """Return the requests of a plan of which only a part of the units is like these.

        Args:
            part: this part, from 0 to 1.
            alone: requests of each other unit.
        """
        mean, low, high = (part * own + (1.0 - part) * alone for own in (self.mean, self.low, self.high))
        return JoinedRequests(mean, low, high, 1.0 / (part / self.units + 1.0 - part))


@dataclass(frozen=True, slots=True)
class PlanPlaces:
    """The places of a plan of which only some units are made.

    Attributes:
        alone: requests of a unit that shares none.
        grid: pixels of a unit; None if it shares no requests.
        neighbours: part of the units that have a neighbour near enough to share a request, from 0 to 1.
    """

    preview: PlanPreview
    alone: int
    grid: Grid | None
    neighbours: float


class Neighbourhoods:
    """Units of a plan that have a neighbour near enough to share a request: some are drawn, each with those around it.

    Attributes:
        size: units that the run joins together.
        part: part of the units that have a neighbour among these, from 0 to 1.
        planned: positions of the units of each neighbourhood that is planned, the nearest to its middle first.
        units: units of these, by position.

    Args:
        plan: returns the units at some positions of the plan.
        by_batch: whether the run joins only units that are planned by the same requests, as it fetches them sooner
            than the next ones are planned.
    """

    def __init__(self, places: PlanPlaces, plan: Callable[[Sequence[int]], Sequence[Unit]], *, by_batch: bool) -> None:
        self.places, self._plan = places, plan
        self.planned: list[list[int]] = []
        self.units: dict[int, Unit] = {}
        points, grid, draw = places.preview.points, places.grid, random.Random(0)
        self.size, self.part = min(places.preview.batch if by_batch else _HELD, len(points)), 0.0
        self._near: list[tuple[int, int]] = []  # number of a chunk, and a unit in it
        if grid is None or not places.neighbours:
            return
        chunks = min(_CHUNKS, math.ceil(len(points) / self.size))
        self._starts = draw.sample(range(0, len(points), self.size), chunks)
        self._chunks = [ChipNeighbours(list(place_boxes(points[s : s + self.size], grid))) for s in self._starts]
        self._near = [(k, unit) for k, chunk in enumerate(self._chunks) for unit in chunk.list_neighbours()]
        self.part = len(self._near) / sum(map(len, self._chunks))
        draw.shuffle(self._near)

    @property
    def is_large(self) -> bool:
        """Whether as many units are planned as an estimate may plan."""
        return len(self.units) > max(_FEWEST, _SAMPLED * len(self.places.preview.points))

    def plan_more(self) -> bool:
        """Plan some further neighbourhoods by the same requests; return whether there were any."""
        drawn = [
            [self._starts[k] + other for other in self._chunks[k].nearest(unit, _NEAREST)]
            for k, unit in self._near[len(self.planned) : len(self.planned) + _AT_ONCE]
        ]
        positions = sorted({position for ball in drawn for position in ball} - self.units.keys())
        if positions:
            self.units |= zip(positions, self._plan(positions), strict=True)
        self.planned += drawn
        return bool(drawn)


class RequestJoining:
    """Joins units as a run does."""

    def __init__(
        self, recipe: Recipe, config: RunConfig, request_window: RequestWindow, costs: RequestCosts, slots: int
    ) -> None:
        self._recipe, self._config = recipe, config
        self._request_window, self._costs, self._slots = request_window, costs, max(1, slots)

    def of_ledger(self, ledger: Ledger, left: int) -> JoinedRequests | None:
        """Estimate from open units of a whole plan, ``left`` of them: up to 4,096 are joined."""
        units = list(islice(ledger.open_units(), _HELD))
        if not units:
            return None
        joined = self._join(units, max(left, len(units)), copy.deepcopy(self._costs))
        counted = random.Random(0).sample(joined, min(_COUNTED, len(joined)))
        requests = [self._count(assignment) for assignment in counted]
        counts = JoinedRequests.from_clusters(requests, requests, [1] * len(counted))
        share = len(joined) / len(units)  # assignments of a unit: they are known, their requests are a sample
        if len(counted) == len(joined):
            return JoinedRequests(counts.mean * share, counts.mean * share, counts.mean * share, 1.0 / share)
        return JoinedRequests(counts.mean * share, counts.low * share, counts.high * share, 1.0 / share)

    def compare_places(self, preview: PlanPreview, first: Unit) -> PlanPlaces:
        """Find out, by some parts of a plan, how many units have a neighbour; all have the size of the first."""
        window = self._request_window(unit_value(first))
        alone = self._count([_as_unit(0, first)])
        if window is None:
            return PlanPlaces(preview, alone, None, 0.0)
        compared = preview.points[: _HELD * _CHUNKS]
        near = sum(
            len(ChipNeighbours(list(place_boxes(compared[start : start + _HELD], window[1]))).list_neighbours())
            for start in range(0, len(compared), _HELD)
        )
        return PlanPlaces(preview, alone, window[1], near / max(1, len(compared)))

    def of_neighbourhoods(
        self, drawn: Neighbourhoods, *, clock: Callable[[], float] = time.monotonic
    ) -> JoinedRequests:
        """Estimate from a sample of neighbourhoods; further ones are planned until the range is narrow.

        Units without a neighbour near enough share no request. A unit of an assignment of n units takes an n-th of its
        requests.
        """
        alone, began = drawn.places.alone, clock()
        clusters: list[tuple[float, float, int]] = []
        joined = JoinedRequests(alone, alone, alone, 1.0)
        while len(drawn.planned) > len(clusters) or drawn.plan_more():
            for positions in drawn.planned[len(clusters) :]:
                units = {position: drawn.units[position] for position in positions}
                clusters.append(self._divide(units, drawn.size))
            joined = JoinedRequests.from_clusters(*zip(*clusters, strict=True)).mixed(drawn.part, alone)
            if joined.is_precise or drawn.is_large or clock() - began > _SECONDS:
                break
        return joined

    def count(self, units: Sequence[Unit]) -> int:
        """Count the requests of some units, which are joined."""
        works = [_as_unit(position, unit) for position, unit in enumerate(units)]
        return sum(self._count(assignment) for assignment in self._join(works, len(works), copy.deepcopy(self._costs)))

    def expect_seconds(self, requests: int, grid: Grid) -> float:
        """Return the seconds that single requests take, by the costs so far."""
        return requests * self._costs.estimate_seconds(grid.width * grid.height) / self._slots

    def _divide(self, units: dict[int, Unit], size: int) -> tuple[float, float, int]:
        """Return requests, assignments and number of the units in the middle of a neighbourhood.

        Args:
            units: units of the neighbourhood by their positions, the nearest to its middle first.
            size: units that the run joins together. Assignments have fewer units the fewer of these are left.
        """
        core = set(islice(units, _CORE))
        works = [_as_unit(position, units[position]) for position in sorted(units)]
        requests, assignments, costs = 0.0, 0.0, copy.deepcopy(self._costs)
        for part in _PARTS_LEFT:
            for assignment in self._join(works, round(part * size), costs):
                share = sum(unit.position in core for unit in assignment) / len(assignment)
                if share:
                    requests += share * self._count(assignment)
                    assignments += share
        return requests / len(_PARTS_LEFT), assignments / len(_PARTS_LEFT), len(core)

    def _join(self, units: Sequence[WorkUnit], left: int, costs: RequestCosts) -> list[tuple[WorkUnit, ...]]:
        """Return the units of each assignment; the costs learn from each, as in a run, whose later ones are larger."""
        joiner = UnitJoiner(self._request_window, iter(units), costs)
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
