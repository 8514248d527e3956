"""Estimate how many requests the units of a run share: join its units, or a sample of them, as the run will."""

from __future__ import annotations

import copy
import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from eechips.client.chip_parts import PIXEL_LIMITS, count_requests
from eechips.client.shared_requests import share_chips
from eechips.engine.chip_neighbours import ChipNeighbours, place_boxes
from eechips.engine.compute_sample import ComputeSample
from eechips.engine.config import RunConfig
from eechips.engine.fetch_result import chips_of, empty_file
from eechips.engine.request_costs import RequestCosts
from eechips.engine.request_sharing import RequestSharing
from eechips.errors import EechipsError
from eechips.manifest.ledger import Ledger
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import Recipe, RequestWindow, Unit, canonical_json, unit_value

_HELD = 4_096
"""Units of a plan that are joined for an estimate: as many as a run holds."""
_COUNTED = 64
"""Assignments whose requests are counted."""
_NEAREST = 24
"""Units of a neighbourhood: those around one that is drawn."""
_CORE = 8
"""Units in the middle of a neighbourhood, whose assignments its edge does not cut."""
_NEIGHBOURHOODS = (4, 10)
"""Neighbourhoods that are planned: a tenth of the plan, but so many at least and at most."""
_PARTS_LEFT = (5 / 6, 3 / 6, 1 / 6)
"""Fractions of the units that remain at the beginning, middle and end of a run: a neighbourhood is joined at each."""


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

    @classmethod
    def from_clusters(
        cls, requests: Sequence[float], assignments: Sequence[float], units: Sequence[int]
    ) -> UnitRequests:
        """Estimate from requests, assignments and units of a random sample of clusters of units.

        Raises:
            ValueError: if there are fewer than two, of which no range follows.
        """
        if len(units) < 2:
            raise ValueError("one cluster of units tells nothing of the others")
        sample = ComputeSample.of(requests, units)
        mean, margin = sample.seconds / sample.units, sample.mean_margin
        return cls(mean, max(0.0, mean - margin), mean + margin, sample.units / max(sum(assignments), 1e-9))

    def times(self, factor: float) -> UnitRequests:
        """Return the same units with more requests for each."""
        return UnitRequests(factor * self.mean, factor * self.low, factor * self.high, self.units)

    def mixed(self, part: float, alone: float) -> UnitRequests:
        """Return the requests of a plan of which only a part of the units is like these.

        Args:
            part: this part, from 0 to 1.
            alone: requests of each other unit.
        """
        mean, low, high = (part * own + (1.0 - part) * alone for own in (self.mean, self.low, self.high))
        return UnitRequests(mean, low, high, 1.0 / (part / self.units + 1.0 - part))


class RequestJoining:
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

    def of_places(
        self, points: Sequence[tuple[float, float]], first: Unit, plan: Callable[[Sequence[int]], Sequence[Unit]]
    ) -> UnitRequests:
        """Estimate from some neighbourhoods of a plan of which only some units are made.

        Units without a neighbour near enough share no request. A unit of an assignment of n units takes an n-th of its
        requests.

        Args:
            points: places of all units.
            first: a unit; all have its size.
            plan: returns the units at some positions of the plan.
        """
        window, alone = self._request_window(unit_value(first)), self._count([_as_unit(0, first)])
        draw = random.Random(0)
        start = draw.randrange(max(1, len(points) - _HELD + 1))
        held = [] if window is None else list(place_boxes(points[start : start + _HELD], window[1]))
        chips = ChipNeighbours(held)
        near = chips.list_neighbours()
        if not near:
            return UnitRequests(alone, alone, alone)
        fewest, most = _NEIGHBOURHOODS
        middles = draw.sample(near, min(len(near), max(fewest, min(most, len(points) // (10 * _NEAREST)))))
        neighbourhoods = [[start + other for other in chips.nearest(middle, _NEAREST)] for middle in middles]
        positions = sorted(set[int]().union(*neighbourhoods))
        units = dict(zip(positions, plan(positions), strict=True))
        clusters = [self._divide({number: units[number] for number in some}, len(held)) for some in neighbourhoods]
        joined = UnitRequests.from_clusters(*zip(*clusters, strict=True))
        return joined.mixed(len(near) / len(held), alone)

    def count(self, units: Sequence[Unit]) -> int:
        """Count the requests of some units, which are joined."""
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
        joiner = RequestSharing(self._request_window, costs, iter(units))
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
