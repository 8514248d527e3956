"""Join neighbouring units to assignments that may be fetched in shared requests."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from eechips.client.chip_groups import MOST_WASTE
from eechips.engine.joining.shared_request_size import MOST_UNITS, RequestCosts
from eechips.engine.outcome import Finished, Lost
from eechips.engine.run_context import RunFeature
from eechips.errors import EechipsError
from eechips.geo.grid import Grid
from eechips.geo.shared_windows import GroupLimits, group_grids, halve_grids
from eechips.manifest.sqlite.unit_record import WorkUnit
from eechips.recipe import RequestWindow, unit_value

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
            self._assignments = deque(
                self._join(
                    [*(placed_unit for assignment in self._assignments for placed_unit in assignment.members), *new],
                    most,
                )
            )
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
