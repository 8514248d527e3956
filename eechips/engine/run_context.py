"""Describe a run to its scheduler, and to what takes part in it: recipes and features.

Features do everything except fetch units: planning, exports, budgets, replacements, reports. The scheduler knows none
by name. It calls all of them, in their order, at the events of a run:

1. ``start``: once, before anything is submitted.
2. In each turn: ``stop_reason``, ``advance``; for each assignment ``room`` and ``prepare``; once events have come
   ``note``; for each outcome ``claim`` or, before it is recorded, ``charge``; then ``settle`` and ``watch``.
3. ``finish``: once nothing is under way and no unit is to be submitted any more.
"""

from __future__ import annotations

import abc
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eechips.client.access.connection import Connection
from eechips.client.http.transport import Transport
from eechips.engine.config import RunConfig
from eechips.engine.executors.executor import Executor
from eechips.engine.outcome import Finished, Lost
from eechips.engine.progress import Progress, say
from eechips.engine.run_log import RunLog
from eechips.manifest.manifest_columns import Record, WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.registry import Registry
from eechips.storage import Store

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


class RunControl(abc.ABC):
    """What a feature may see of a run, and do to it."""

    def __init__(self, executor: Executor[Any], log: RunLog, progress: Progress, count: int) -> None:
        self.log, self.progress, self.throttle = log, progress, executor.throttle
        self._executor, self._queue = executor, PendingUnits(count)

    @property
    def is_busy(self) -> bool:
        """Whether the executor has units."""
        return self._executor.is_busy

    @property
    def waiting(self) -> int:
        """Number of units that come before the next one of the plan."""
        return len(self._queue.again)

    @property
    def count(self) -> int:
        """Number of units to settle, so far."""
        return self._queue.count

    @property
    def settled(self) -> int:
        """Number of units that are settled."""
        return self._queue.settled

    @property
    def left(self) -> int:
        """Number of units that are planned and not under way yet."""
        return self._queue.count - self._queue.settled - len(self._queue.under_way)

    def grow(self, count: int) -> None:
        """Note that units were added to the plan."""
        self._queue.count += count
        self.progress.grow(count)

    def add(self, units: Sequence[WorkUnit]) -> None:
        """Add units to the plan that are submitted next."""
        self._queue.again.extend(units)
        self.grow(len(units))

    def hold(self, unit: WorkUnit) -> None:
        """Note a unit that a feature has: it is under way."""
        self._queue.under_way.add(unit.position)

    def release(self, unit: WorkUnit) -> None:
        """Submit a unit that a feature had."""
        self._queue.under_way.discard(unit.position)
        self._queue.again.append(unit)

    @abc.abstractmethod
    def settle(self, events: Sequence[Finished | Lost]) -> None:
        """Record the outcomes of units; end the run if one of them concerns all units."""

    @abc.abstractmethod
    def end_with(self, error: Exception) -> None:
        """Start no further unit, and end the run with an error; repeating the requests in flight would cost twice."""


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why no further unit starts: an event for the log, and a sentence for the user."""

    event: str
    text: str


class RunFeature:
    """A part of a run that is no step of fetching a unit. A subclass overrides the events that it needs.

    All methods are called by the thread of the scheduler.

    Attributes:
        run: set by :meth:`start`.
    """

    run: RunControl

    def start(self, run: RunControl) -> None:
        """Take part in a run."""
        self.run = run

    def divert(self, units: Iterator[WorkUnit | None]) -> Iterator[WorkUnit | None]:
        """Yield the units of the plan that are to be submitted; None while the next one is not planned yet."""
        return units

    def stop_reason(self) -> StopReason | None:
        """Return why no further unit may start; None if units may."""
        return None

    def advance(self, *, is_draining: bool) -> None:
        """Go on with what the feature does beside the units, without waiting; no unit starts while draining."""

    def room(self) -> float:
        """Return how many units the next assignment may have; 0 if none may start now."""
        return math.inf

    def prepare(self, assignment: WorkUnit) -> WorkUnit:
        """Return an assignment that is about to be submitted, perhaps changed."""
        return assignment

    def note(self, events: Sequence[Finished | Lost]) -> None:
        """Note the events of an executor, before they are recorded; some may be duplicates."""

    def divide(self, units: Sequence[WorkUnit]) -> Sequence[WorkUnit] | None:
        """Return smaller assignments of units whose shared request has failed; None to leave that to other features."""
        return None

    def claim(self, event: Finished) -> bool:
        """Return whether the feature takes over a unit, whose outcome is not recorded now."""
        return False

    def charge(self, record: Record) -> Record:
        """Return the record of a unit, with the cost that the feature had for it."""
        return record

    def settle(self, records: Sequence[Record]) -> None:
        """Note records that were written to the ledger."""

    def watch(self) -> None:
        """Report to the user what has changed; called at least twice a second."""

    @property
    def is_busy(self) -> bool:
        """Whether the run has to go on for this feature, even if all planned units are settled."""
        return False

    @property
    def is_engaged(self) -> bool:
        """Whether even a run that stops has to wait for this feature."""
        return False

    @property
    def is_expecting(self) -> bool:
        """Whether something will come soon that no event announces."""
        return False

    def is_settled(self) -> bool:
        """Return whether the feature has left nothing undone, once the run is over.

        Raises:
            EechipsError: why it has.
        """
        return True

    def finish(self) -> None:
        """End what the feature does."""


RUN_FEATURES: Registry[Callable[[RunConfig], RunFeature | None]] = Registry("run feature", "eechips.run_features", {})
"""Features of other packages by name: functions that return the feature of a run; None for none."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of a recipe with a lifespan, which fetches its results in threads of the parent.

    Attributes:
        transport: provides slots, the pauses between retries, and the retry policy.
        config: settings of the run; the recipe enforces its ``unit_timeout``.
        token: token of the run's writer, in the names of temporary files.
    """

    transport: Transport
    config: RunConfig
    store: Store
    log: RunLog
    token: str

    def say(self, text: str) -> None:
        """Show a line to the user."""
        say(text, quiet=self.config.quiet)


@dataclass(frozen=True, slots=True)
class RecipeContext:
    """The context of a recipe that adds units to the plan while it runs.

    Attributes:
        ledger: ledger of the run, with a plan that is empty at first.
        settle: fetches the open units between two positions of the plan; returns False if the run was stopped.
        connection: connection of this process.
        deadline: no request of the recipe's own is sent after this time, on the monotonic clock.
    """

    config: RunConfig
    ledger: Ledger
    log: RunLog
    settle: Callable[[int, int], bool]
    connection: Connection
    deadline: float

    def say(self, text: str) -> None:
        """Show a line to the user."""
        say(text, quiet=self.config.quiet)
