"""Define what takes part in a run beside fetching its units: planning, exports, budgets, replacements, reports.

The scheduler knows no feature by name. It calls all of them, in their order, at the events of a run:

1. ``start``: once, before anything is submitted.
2. In each turn: ``stop_reason``, ``advance``; for each assignment ``room`` and ``prepare``; once events have come
   ``note``; for each outcome ``claim`` or, before it is recorded, ``charge``; then ``settle`` and ``watch``.
3. ``finish``: once nothing is under way and no unit is to be submitted any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from eechips.client.throttle import Throttle
from eechips.engine.config import RunConfig
from eechips.engine.outcome import Finished, Lost
from eechips.engine.progress import Progress
from eechips.engine.run_log import RunLog
from eechips.manifest.unit_record import Record, WorkUnit
from eechips.registry import Registry


class RunControl(Protocol):
    """What a feature may see of a run, and do to it."""

    @property
    def log(self) -> RunLog:
        """Log of the run."""

    @property
    def progress(self) -> Progress:
        """Progress that the user sees."""

    @property
    def throttle(self) -> Throttle:
        """Throttle of the run."""

    @property
    def is_busy(self) -> bool:
        """Whether an executor has units."""

    @property
    def waiting(self) -> int:
        """Number of units that come before the next one of the plan."""

    @property
    def count(self) -> int:
        """Number of units to settle, so far."""

    @property
    def settled(self) -> int:
        """Number of units that are settled."""

    @property
    def left(self) -> int:
        """Number of units that are planned and not under way yet."""

    def grow(self, count: int) -> None:
        """Note that units were added to the plan."""

    def add(self, units: Sequence[WorkUnit]) -> None:
        """Add units to the plan that are submitted next."""

    def hold(self, unit: WorkUnit) -> None:
        """Note a unit that a feature has: it is under way."""

    def release(self, unit: WorkUnit) -> None:
        """Submit a unit that a feature had."""

    def settle(self, events: Sequence[Finished | Lost]) -> None:
        """Record the outcomes of units that a feature had."""

    def end_with(self, error: Exception) -> None:
        """Start no further unit, and end the run with an error."""


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
        has_replaced: units that turn out to be empty have been replaced, and must not be opened again.
    """

    run: RunControl
    has_replaced = False

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
        """Return whether the feature goes on with a unit: its outcome is not recorded now."""
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


def each_unit(events: Iterable[Finished | Lost]) -> Iterator[WorkUnit]:
    """Yield the units of the assignments of events."""
    for event in events:
        yield from event.assignment.units
