"""Forecast the cost of the rest of a run from the units that ``--estimate`` tries, and how many requests they share."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import shapely

from eechips.client.chip_groups import MOST_WASTE, share_chips
from eechips.client.chip_parts import PIXEL_LIMITS, count_requests
from eechips.engine.config import RunConfig
from eechips.engine.costs.compute_sample import ComputeSample
from eechips.engine.costs.cost_descriptions import Forecast, PlanningCost, forecast_traffic
from eechips.engine.fetch_result import chips_of, empty_file
from eechips.engine.joining.unit_joining import MOST_UNITS, RequestCosts, UnitJoining
from eechips.engine.outcome import Finished, Lost
from eechips.engine.run_context import RunFeature
from eechips.engine.run_features.replacement import MOST_REPLACEMENTS
from eechips.engine.service.session import Session
from eechips.errors import EechipsError
from eechips.geo.grid import Grid
from eechips.manifest.data_source import ArchiveTraffic
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import Totals
from eechips.recipe import Recipe, RequestWindow, Unit, canonical_json, unit_value
from eechips.web.urls import is_loopback

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


_LAST = 0.5
"""Part of the time of a request for which the slots wait for the last ones of a run."""
_TELLING = 2
"""Units that tell the rate of a run, for each slot: fewer end at the same time."""


class Meter(RunFeature):
    """Measure the cost of units while they are fetched.

    Attributes:
        positions: their positions in the plan.
        requests: number of requests of each.
        request_seconds: total duration of their requests at the service.
        taken: what they have taken from open archives, by their ends; that of units that end together is the first's.
            A unit is here when it is known.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, traffic: Callable[[], ArchiveTraffic | None] = lambda: None
    ) -> None:
        self._clock, self._traffic = clock, traffic
        self._before = traffic()
        self.taken: list[ArchiveTraffic] = []
        self._ends: list[float] = []
        self.requests: list[int] = []
        self.positions: list[int] = []
        self.request_seconds = 0.0

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self._ends)

    def note(self, events: Sequence[Finished | Lost]) -> None:
        """Count the units that are finished."""
        for outcome in (outcome for event in events if isinstance(event, Finished) for outcome in event.outcome.each):
            if outcome.record or outcome.failed_request or outcome.exports:
                self._ends.append(self._clock())
                self.positions.append(outcome.position)
                self.requests.append(len(outcome.request_logs))
                self.request_seconds += sum(exchange.seconds for exchange in outcome.request_logs)
        added = self.units - len(self.taken)
        if self._before is not None and added and (now := self._traffic()) is not None:
            self.taken += [now - self._before, *[ArchiveTraffic()] * (added - 1)]
            self._before = now

    def pace(self) -> float | None:
        """Return units per second, without the first and the last quarter, when not all slots are in use; None if
        unknown.
        """
        first, last = self.units // 4, 3 * self.units // 4
        if last == first:
            return None
        elapsed = self._ends[last] - self._ends[first]
        return (last - first) / elapsed if elapsed > 0 else None


@dataclass(frozen=True, slots=True)
class Machine:
    """What bounds the speed of a run besides the quota.

    Attributes:
        slots: requests in flight at once, as far as is known.
        cores: cores that compute all requests; None for a service elsewhere.
    """

    slots: int
    cores: int | None = None

    @classmethod
    def of(cls, config: RunConfig, session: Session) -> Machine:
        """Return the slots that a run may use, and the cores of this machine if the service is here."""
        slots = session.throttle.expected_limit if config.in_flight == "auto" else config.in_flight
        is_here = config.is_local or is_loopback(session.connection.target.endpoint)
        return cls(max(1, slots), os.cpu_count() if is_here else None)


def _requests_of(totals: Totals, left: int, meter: Meter) -> tuple[UnitRequests, float]:
    """Return the requests of units that share none, and the seconds of a request."""
    mean = totals.requests / totals.units
    margin = ComputeSample.of(meter.requests).margin(left) / max(1, left)
    fewest = min(1.0, mean)  # a unit without data needs none
    # A unit's own time, which the ledger has, includes waiting for a slot: it is more, but better than nothing.
    # Requests to archives, as for scenes, have no other.
    seconds = meter.request_seconds / meter.units if any(meter.requests) else totals.seconds / totals.units
    return UnitRequests(mean, max(fewest, mean - margin), mean + margin), seconds / (mean or 1.0)


def _shared_seconds(seconds: float, joined: UnitRequests, meter: Meter, sample: ComputeSample | None) -> float:
    """Return the seconds of a request that several units share.

    Args:
        seconds: seconds of a request of one unit, where the meter has measured none.
    """
    sent = sum(meter.requests)
    if sent:
        seconds = meter.request_seconds / sent
    if sample is not None and sample.mean is not None:
        # A request for several units computes each of them, one after the other at most.
        seconds += max(0.0, joined.units - meter.units / max(1, sent)) * sample.mean
    return seconds


def forecast_rest(
    totals: Totals,
    left: int,
    meter: Meter,
    machine: Machine,
    config: RunConfig,
    sample: ComputeSample | None = None,
    *,
    unplanned: int = 0,
    planning: PlanningCost | None = None,
    joined: UnitRequests | None = None,
    pixels: float = 1.0,
    sizes: Sequence[int] = (),
) -> Forecast:
    """Extrapolate the cost of the units that are left.

    Args:
        totals: totals of the units that were tried, by this command or earlier ones; at least one.
        sample: the profiled units; None if there are none.
        unplanned: units that are left and not planned yet.
        planning: cost of planning; None if it is unknown, or if all units are planned.
        joined: requests of units that share some, with repeats; None if none does.
        pixels: mean pixels of the remaining units, divided by that of the tried units.
        sizes: bytes of the files of each tried unit; empty for no range of bytes.
    """
    if config.on_empty == "redraw":  # each draw is empty as often as those before
        kept_units = max(totals.units - totals.dropped, totals.units / (MOST_REPLACEMENTS + 1))
        left = round(left * totals.units / kept_units)
    expected, request_seconds = _requests_of(totals, left, meter)
    if joined is not None:
        expected, request_seconds = joined, _shared_seconds(request_seconds, joined, meter, sample)
    requests = left * expected.mean
    # Few units overlap more than many would: their rate counts only where it is lower than what the slots allow.
    pace = meter.pace() if meter.units >= _TELLING * machine.slots else None
    rate = config.requests_per_second
    fetching = max(
        (requests / machine.slots + _LAST) * request_seconds,
        left / pace if pace else 0.0,
        requests / rate if rate else 0.0,
    )
    compute = None if sample is None else sample.estimate(left)
    spread = pixels * ComputeSample.of(sizes).margin(left)
    size = left * pixels * totals.bytes / totals.units
    return Forecast(
        tried=totals.units,
        left=left,
        requests=round(requests),
        bytes=round(size) if totals.bytes else None,
        seconds=_overlap(fetching, planning, machine, 0.0 if compute is None else compute.seconds),
        request_seconds=requests * request_seconds,
        slots=machine.slots,
        compute=compute,
        unplanned=unplanned,
        planning=planning,
        least_requests=round(left * expected.low),
        most_requests=round(left * expected.high),
        shares_requests=joined is not None and (joined.units > 1.0 or joined.low < joined.mean),
        archives=forecast_traffic(left, meter.taken, pixels),
        least_bytes=round(max(0.0, size - spread)) if spread else None,
        most_bytes=round(size + spread) if spread else None,
    )


def _overlap(fetching: float, planning: PlanningCost | None, machine: Machine, compute: float) -> float:
    """Return the seconds until units are planned and fetched, the first of them while the others are planned.

    A service on this machine computes one after the other what its cores cannot compute at once.
    """
    seconds = fetching
    if planning is not None:
        rest = max(0.0, planning.seconds - planning.first_seconds)
        last = fetching * planning.first_seconds / max(planning.seconds, 1e-9)  # of the units that are planned last
        seconds = planning.first_seconds + max(fetching, rest + last)
        if planning.compute is not None:
            compute += planning.compute.seconds
    return max(seconds, compute / machine.cores if machine.cores else 0.0)
