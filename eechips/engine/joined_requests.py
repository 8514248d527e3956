"""Estimate how many requests the units of a run share: join its units, or a sample of them, as the run will."""

from __future__ import annotations

import copy
import json
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from eechips.client.chip_parts import PIXEL_LIMITS, count_requests
from eechips.client.shared_requests import share_chips
from eechips.engine.chip_neighbours import ChipNeighbours, place_boxes
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
_SECONDS = 25.0
"""Seconds after which no further neighbourhood is planned."""
_PRECISION = 0.05
"""Standard error, as a part of the mean, at which no further neighbourhood is planned."""
_NORMAL = 1.96


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
            requests: requests of each cluster.
            assignments: likewise, assignments.
            units: likewise, units.
        """
        count, total = len(units), sum(units)
        mean = sum(requests) / total
        error = math.inf
        if count > 1:
            squares = sum((own - mean * its) ** 2 for own, its in zip(requests, units, strict=True))
            error = math.sqrt(squares * count / (count - 1)) / total
        assigned = total / max(sum(assignments), 1e-9)
        return cls(mean, max(0.0, mean - _NORMAL * error), mean + _NORMAL * error, assigned)

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
    """The places of a plan of which only the first units are made.

    Attributes:
        preview: the places.
        alone: requests of a unit that shares none.
        grid: pixels of a unit; None if it shares no requests.
        neighbours: part of the units that have a neighbour near enough to share a request, from 0 to 1.
    """

    preview: PlanPreview
    alone: int
    grid: Grid | None
    neighbours: float


class RequestJoining:
    """Joins units as a run does.

    Args:
        recipe: recipe of the run.
        config: configuration of the run.
        request_window: returns the pixels of a unit.
        costs: costs of requests, as far as they are measured.
        slots: requests that may be in flight.
    """

    def __init__(
        self, recipe: Recipe, config: RunConfig, request_window: RequestWindow, costs: RequestCosts, slots: int
    ) -> None:
        self._recipe, self._config = recipe, config
        self._request_window, self._costs, self._slots = request_window, costs, max(1, slots)

    def of_ledger(self, ledger: Ledger, left: int) -> JoinedRequests | None:
        """Estimate from open units of a whole plan: up to 4,096 are joined.

        Args:
            ledger: ledger of the run.
            left: open units.
        """
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
        """Find out how many units of a plan have a neighbour, by some parts of it.

        Args:
            preview: size of the plan.
            first: first unit of the plan, which has the size of all.
        """
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

    def of_places(
        self,
        places: PlanPlaces,
        plan: Callable[[Sequence[int]], Sequence[Unit]],
        *,
        by_batch: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> JoinedRequests:
        """Estimate from a sample of neighbourhoods, which are planned here.

        Units without a neighbour near enough share no request. Of the others some are drawn, and planned with the units
        around them: a unit of an assignment of n units takes an n-th of its requests.

        Args:
            places: places of the plan.
            plan: returns the units at some positions of the plan.
            by_batch: whether the run joins only units that are planned by the same requests, as it fetches them sooner
                than the next ones are planned.
            clock: seconds, monotonic.
        """
        points, grid, alone = places.preview.points, places.grid, places.alone
        unshared = JoinedRequests(alone, alone, alone, 1.0)
        if grid is None or not places.neighbours:
            return unshared
        began, draw = clock(), random.Random(0)
        size = min(places.preview.batch if by_batch else _HELD, len(points))
        starts = draw.sample(range(0, len(points), size), min(_CHUNKS, math.ceil(len(points) / size)))
        chunks = [ChipNeighbours(list(place_boxes(points[start : start + size], grid))) for start in starts]
        near = [(k, number) for k, chunk in enumerate(chunks) for number in chunk.list_neighbours()]
        compared = sum(len(chunk) for chunk in chunks)
        draw.shuffle(near)
        clusters: list[tuple[float, float, int]] = []
        units: dict[int, Unit] = {}
        joined = None
        for first in range(0, len(near), _AT_ONCE):
            balls = [
                [starts[k] + other for other in chunks[k].nearest(number, _NEAREST)]
                for k, number in near[first : first + _AT_ONCE]
            ]
            positions = sorted({position for ball in balls for position in ball} - units.keys())
            units |= zip(positions, plan(positions) if positions else (), strict=True)
            clusters += [self._divide({position: units[position] for position in ball}, size) for ball in balls]
            joined = JoinedRequests.from_clusters(*zip(*clusters, strict=True))
            is_precise = first > 0 and joined.high - joined.mean <= _NORMAL * _PRECISION * joined.mean
            if is_precise or len(units) > max(_FEWEST, _SAMPLED * len(points)) or clock() - began > _SECONDS:
                break
        return unshared if joined is None else joined.mixed(len(near) / compared, alone)

    def count(self, units: Sequence[Unit]) -> int:
        """Count the requests of the first units of a plan, which are joined."""
        works = [_as_unit(position, unit) for position, unit in enumerate(units)]
        return sum(self._count(assignment) for assignment in self._join(works, len(works), copy.deepcopy(self._costs)))

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
