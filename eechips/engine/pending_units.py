"""Hold the units that a scheduler has to submit, and those that are under way, in the memory of a run.

Units that go to other machines are items of :mod:`eechips.engine.queues.queue_items`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from eechips.engine.executors.executor import Executor
from eechips.manifest.sqlite.unit_record import WorkUnit

_MAX_HELD = 5
"""Workers at most that are kept free for units alone."""


class PendingUnits:
    """The units to settle: first units that are fetched again or replace others, then units of the plan.

    Attributes:
        units: units of the plan; None while the next one is not planned yet.
        again: units that come before the next one of the plan.
        suspects: units that may have ended their worker; each gets a worker of its own.
        under_way: positions of the units that an executor has.
        is_exhausted: no unit of the plan is left.
    """

    def __init__(self, count: int) -> None:
        self.units: Iterator[WorkUnit | None] = iter(())
        self.count, self.settled = count, 0
        self.again: deque[WorkUnit] = deque()
        self.suspects: deque[WorkUnit] = deque()
        self.under_way: set[int] = set()
        self.is_exhausted = False

    @property
    def is_empty(self) -> bool:
        """Return whether no unit is left to submit, as far as they are planned."""
        return (self.is_exhausted or self.settled == self.count) and not self.again and not self.suspects

    def take(self, executor: Executor[Any], most: float = math.inf) -> tuple[WorkUnit, bool] | None:
        """Take the next unit for which an executor has room.

        Args:
            most: units of an assignment.

        Returns:
            The unit, and whether it gets a worker of its own; None if there is no room, or no unit at present.
        """
        if self.suspects and executor.has_idle:
            assignment, is_alone = self.suspects.popleft(), True
        else:
            executor.held = min(len(self.suspects), _MAX_HELD)
            next_unit = self._take_next(executor) if executor.has_room else None
            if next_unit is None:
                return None
            assignment, is_alone = self._limit(next_unit, most), False
        self.under_way.update(unit.position for unit in assignment.units)
        return assignment, is_alone

    def _limit(self, assignment: WorkUnit, most: float) -> WorkUnit:
        """Return an assignment with the first units of another; the rest comes next."""
        if len(assignment.units) <= most:
            return assignment
        units, most = assignment.units, int(most)
        self.again.appendleft(replace(units[most], joined=units[most + 1 :]))
        return replace(units[0], joined=units[1:most])

    def _take_next(self, executor: Executor[Any]) -> WorkUnit | None:
        if self.again:
            return self.again.popleft()
        try:
            return next(self.units)
        except StopIteration:
            self.is_exhausted = True
            return None


def fetched_alone(unit: WorkUnit) -> WorkUnit:
    """Return a unit that shares no request any longer."""
    return replace(unit, attempts=max(1, unit.attempts))
