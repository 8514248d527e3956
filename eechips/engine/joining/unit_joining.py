"""Join neighbouring units to assignments for shared requests, of as many units as the times of requests suggest."""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from statistics import fmean
from typing import Any

import numpy as np

from eechips.client.chip_groups import MOST_PIXELS, MOST_WASTE
from eechips.engine.outcome import Finished, Lost
from eechips.engine.run_context import RunFeature
from eechips.errors import EechipsError
from eechips.geo.grid import Grid
from eechips.geo.shared_windows import GroupLimits, group_grids, halve_grids
from eechips.manifest.manifest_columns import WorkUnit
from eechips.recipe import RequestWindow, unit_value

MOST_UNITS = 256
"""Units of an assignment: each is written by the thread that fetches it."""
_MEGAPIXEL = 1 << 20
_PRIOR = (1.0, 4.0, 0.0)
"""Seconds of a request, for each megapixel, and for each squared megapixel, until the run has measured its own."""
_PRIOR_SIZES = (1 / 256, 1 / 16)  # megapixels at which the prior counts as measured
_PRIOR_WEIGHT = 0.5  # of each of these, in measurements
_KEPT = 0.97  # weight of earlier measurements after each new one: the last 30 count
_FIRST_PIXELS = 1 << 18
"""Pixels of a request before any is measured: 64 chips of 64x64. They double at most at a time."""
_FIRST_SHARE = 0.5
"""Part of the units that requests may have together before one that large is measured: if pixels cost more than
expected, the other units are requested as these say."""
_VARIATION = 0.5
"""Part of its mean time by which the last request of a run takes longer than the mean."""
_FINISHING = 0.005
"""Seconds to cut out, encode and write a unit."""
_INDIFFERENT = 1.5
"""Ratio of times within which fewer requests are preferred: each costs quota."""
_PATIENCE = 20
"""Requests that work at a lowered size before a larger one is tried again; twice as many after each failure."""


class RequestCosts:
    """The time that shared requests of a run take, by their pixels.

    The seconds of a request are ``a + b * megapixels + c * megapixels ** 2``, with coefficients of 0 or more, fitted to
    the last 30 or so requests by least squares of the relative errors. The square describes a service that takes
    disproportionately long for large windows.

    Attributes:
        most_pixels: pixels that a request may have at present.
    """

    def __init__(self) -> None:
        self.most_pixels = min(_FIRST_PIXELS, MOST_PIXELS)
        self._measured_pixels = 0  # of the largest request that worked
        self._left = 0  # requests that have to work until a lowered size is raised
        self._patience = _PATIENCE
        self._gram, self._sums = np.zeros((3, 3)), np.zeros(3)  # the normal equations of the fit
        self._fitted: np.ndarray[Any, Any] | None = None
        for size in _PRIOR_SIZES:
            self._add(size, float(_powers(size) @ _PRIOR), _PRIOR_WEIGHT)

    def note(self, pixels: int, seconds: float) -> None:
        """Note how long a request took that worked at once."""
        self._measured_pixels = max(self._measured_pixels, pixels)
        self._gram, self._sums = _KEPT * self._gram, _KEPT * self._sums
        self._add(pixels / _MEGAPIXEL, max(seconds, 1e-3), 1.0)
        if self._left:
            self._left -= 2 * pixels >= self.most_pixels
            if not self._left:
                self.most_pixels = min(MOST_PIXELS, 2 * self.most_pixels)
        else:
            self.most_pixels = min(MOST_PIXELS, max(self.most_pixels, 2 * pixels))

    def note_too_large(self, pixels: int, worked: int) -> None:
        """Note that a request was too large for the service.

        Requests that were sent before the size was lowered say nothing new: they lower it at most.

        Args:
            worked: number of pixels that was not too large, or may not be.
        """
        if pixels <= self.most_pixels:
            self._patience *= 2 if self._left else 1
            self._left = self._patience
        self.most_pixels = max(1, min(self.most_pixels, worked))

    def estimate_seconds(self, pixels: int) -> float:
        """Return the seconds that a request for so many pixels takes."""
        if self._fitted is None:
            self._fitted = _fit(self._gram, self._sums)
        return float(_powers(pixels / _MEGAPIXEL) @ self._fitted)

    def choose_units(self, left: int, slots: int, pixels: int) -> int:
        """Return how many units to fetch in one request, so that the run ends soonest.

        With k units in a request, the slots take ``left / (k * slots)`` rounds, of which the last may be partly idle.
        Large requests spend less time on what every request costs; small ones leave less to wait for at the end.
        The result is never expected to take longer than requests of one unit.

        Args:
            left: units that are not requested yet.
            slots: requests that may be in flight.
        """
        first = left if slots <= 1 else math.ceil(_FIRST_SHARE * left / slots)  # a single slot waits for no other
        tried = max(first, 2 * self._measured_pixels // pixels)
        most = max(1, min(MOST_UNITS, self.most_pixels // pixels, left, tried))
        times = {}
        units = 1
        while True:
            seconds = self.estimate_seconds(units * pixels)
            rounds = math.ceil(left / (units * max(1, slots)))
            times[units] = (rounds + _VARIATION) * seconds + units * _FINISHING
            if units == most:
                break
            units = min(most, units + math.ceil(units / 8))
        longest = min(_INDIFFERENT * min(times.values()), times[1])
        return max(units for units, time in times.items() if time <= longest)

    def _add(self, size: float, seconds: float, weight: float) -> None:
        features = _powers(size) / seconds
        self._gram = self._gram + weight * np.outer(features, features)
        self._sums = self._sums + weight * features
        self._fitted = None


def _powers(megapixels: float) -> np.ndarray[Any, Any]:
    return np.array([1.0, megapixels, megapixels * megapixels])


def _fit(gram: np.ndarray[Any, Any], sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the coefficients of 0 or more with the least squared error, of the normal equations.

    The best solution has some coefficients of 0, and solves the equations of the others: all choices are tried.
    """
    solutions = []
    for chosen in map(list, chain.from_iterable(combinations(range(3), count) for count in (1, 2, 3))):
        solution = np.zeros(3)
        solution[chosen] = np.linalg.lstsq(gram[np.ix_(chosen, chosen)], sums[chosen], rcond=None)[0]
        if (solution >= 0).all():  # always so of a single coefficient, as sums are positive
            solutions.append(solution)
    return min(solutions, key=lambda solution: float(solution @ gram @ solution - 2 * solution @ sums))


_MOST_HELD = 4_096
"""Units among which neighbours are looked for."""
_FEWEST_HELD = _MOST_HELD // 2
"""Units below which further ones are taken from the plan."""
_CHANGED = 1.5
"""Ratio by which the number of held units, or of units of an assignment, changes until held units are joined anew."""


_FULLER = 1.25
"""Units that an assignment may have for each that it should have: groups by place fill 80% of their limit as a rule."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A unit, what it must have in common with others to share a request, and its pixels; no grid if it is alone.

    Attributes:
        number: number of the unit, in the order in which units were received.
    """

    unit: WorkUnit
    number: int
    key: Hashable = None
    grid: Grid | None = None

    @property
    def pixels(self) -> int:
        return 1 if self.grid is None else self.grid.width * self.grid.height


@dataclass(frozen=True, slots=True)
class _Assignment:
    """Units of one assignment, and the pixels of the window that covers them."""

    members: tuple[_Placed, ...]
    pixels: int


@dataclass(slots=True)
class _Division:
    """The halves of an assignment whose request failed, and how many of these failed as well."""

    failures: int = 0


class UnitJoining(RunFeature):
    """Join the units of a plan: those that lie on the same pixels near each other are one assignment.

    Args:
        costs: costs of requests, as far as they are measured; further ones are noted here.
        units: open units in the order of the plan; None while the next one is not planned yet.
            A run passes its own to :meth:`divert`.
    """

    def __init__(
        self, request_window: RequestWindow, costs: RequestCosts, units: Iterable[WorkUnit | None] = ()
    ) -> None:
        self._request_window, self._costs, self._units = request_window, costs, iter(units)
        self._assignments: deque[_Assignment] = deque()
        self._held = 0  # units of these
        self._joined = 0  # units of these when they were joined
        self._most = 0  # units of an assignment when they were joined
        self._pixels: dict[int, int] = {}  # of assignments under way, by the position of their first unit
        self._divisions: dict[int, _Division] = {}  # of assignments under way that are halves of others
        self._is_exhausted = False
        self._received = 0

    def divert(self, units: Iterator[WorkUnit | None]) -> Iterator[WorkUnit | None]:
        """Yield assignments of neighbouring units."""
        self._units = units
        while True:
            try:
                yield self.take(max(1, self.run.throttle.expected_limit), self.run.left)
            except StopIteration:
                return

    def take(self, slots: int, left: int) -> WorkUnit | None:
        """Return the next assignment; None while the next unit is not planned yet.

        Args:
            slots: requests that may be in flight.
            left: units that are not submitted yet, as far as they are planned.

        Raises:
            StopIteration: if no unit is left.
        """
        new = self._receive() if self._held <= _FEWEST_HELD else []
        if not self._assignments and not new:
            if self._is_exhausted:
                raise StopIteration
            return None
        held = self._held + len(new)
        some = new or self._assignments[0].members
        pixels = max(1, round(fmean(placed_unit.pixels for placed_unit in some)))
        most = self._costs.choose_units(max(left, held), slots, pixels)
        is_changed = not self._most / _CHANGED < most < self._most * _CHANGED or held > _CHANGED * self._joined
        if is_changed or not self._assignments:
            waiting = [placed_unit for assignment in self._assignments for placed_unit in assignment.members]
            self._assignments = deque(self._join([*waiting, *new], most))
            self._joined, self._most = held, most
        elif new:
            self._assignments.extend(self._join(new, most))
        assignment = self._assignments.popleft()
        self._held = held - len(assignment.members)
        first, *others = (placed_unit.unit for placed_unit in assignment.members)
        self._pixels[first.position] = assignment.pixels
        return replace(first, joined=tuple(others))

    def note(self, events: Iterable[Finished | Lost]) -> None:
        """Learn from assignments that have ended how long requests take, and how large they may be."""
        for event in events:
            pixels = self._pixels.pop(event.assignment.position, None)
            if pixels is None or isinstance(event, Lost):
                continue
            division = self._divisions.pop(event.assignment.position, None)
            if event.outcome.pixels_that_worked is not None:
                self._costs.note_too_large(pixels, event.outcome.pixels_that_worked)
            elif event.assignment.joined and any(outcome.failed_request for outcome in event.outcome.each):
                if division is not None:
                    division.failures += 1
                if division is None or division.failures > 1:  # of both halves the size is the cause, not one unit
                    self._costs.note_too_large(pixels, pixels // 4)
            elif event.outcome.request_seconds is not None:
                self._costs.note(pixels, event.outcome.request_seconds)

    def expect(self, assignment: WorkUnit) -> None:
        """Learn from an assignment as if it had worked in the time that is expected."""
        pixels = self._pixels.pop(assignment.position)
        self._costs.note(pixels, self._costs.estimate_seconds(pixels))

    def divide(self, units: Sequence[WorkUnit]) -> list[WorkUnit] | None:
        """Return assignments of two halves of the units of a request that failed, by their place; None for one."""
        if len(units) == 1:
            return None
        placed = [self._place(unit) for unit in units]
        grids = [member.grid for member in placed if member.grid is not None]
        assert len(grids) == len(placed), "only units with pixels share requests"
        division = _Division()
        assignments = []
        for half in halve_grids(grids):
            members = sorted((placed[index] for index in half), key=lambda member: member.unit.position)
            first, *others = (member.unit for member in members)
            self._pixels[first.position] = sum(member.pixels for member in members)
            self._divisions[first.position] = division
            assignments.append(replace(first, joined=tuple(others)))
        return assignments

    def _receive(self) -> list[_Placed]:
        """Take units from the plan, as far as they are planned and may be held."""
        received: list[_Placed] = []
        while self._held + len(received) < _MOST_HELD:
            try:
                unit = next(self._units)
            except StopIteration:
                self._is_exhausted = True
                break
            if unit is None:
                break
            received.append(self._place(unit))
        return received

    def _place(self, unit: WorkUnit) -> _Placed:
        """Return a unit with its pixels, if it may share requests."""
        try:
            place = self._request_window(unit_value(json.loads(unit.unit))) if not unit.attempts else None
        except EechipsError:
            raise
        except Exception:  # noqa: BLE001 - a unit of a queue may have any values: it fails by itself, in its worker
            place = None
        self._received += 1
        return _Placed(unit, self._received) if place is None else _Placed(unit, self._received, *place)

    def _join(self, placed: Iterable[_Placed], most: int) -> list[_Assignment]:
        """Join units to assignments of ``most`` units at most, in the order in which their first units came."""
        alike: dict[Hashable, list[tuple[_Placed, Grid]]] = defaultdict(list)
        assignments: list[_Assignment] = []
        for placed_unit in sorted(placed, key=lambda placed_unit: placed_unit.number):
            if placed_unit.grid is None:
                assignments.append(_Assignment((placed_unit,), placed_unit.pixels))
            else:
                alike[placed_unit.key].append((placed_unit, placed_unit.grid))
        limits = GroupLimits(self._costs.most_pixels, min(MOST_UNITS, round(_FULLER * most)), MOST_WASTE)
        for some in alike.values():
            for group in group_grids([grid for _, grid in some], limits):
                members = tuple(some[member.content][0] for member in group.members)
                # Units of the same pixels are bands of one request.
                pixels = max(group.grid.width * group.grid.height, sum(placed_unit.pixels for placed_unit in members))
                assignments.append(_Assignment(members, pixels))
        return sorted(assignments, key=lambda assignment: assignment.members[0].number)
