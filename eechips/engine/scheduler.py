"""Send units to workers, and have their outcomes recorded, until every unit is settled."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eechips.engine.executors.executor import Executor
from eechips.engine.features.circuit_breaker import Breaker
from eechips.engine.interrupt import Interrupt
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.progress import Progress, how_to_stop
from eechips.engine.results.committer import Committer
from eechips.engine.results.outcome_records import unit_failure
from eechips.engine.run_context import PendingUnits, RunControl, RunFeature, StopReason, fetched_alone
from eechips.engine.run_log import RunLog
from eechips.errors import EechipsError, InternalError, ProjectUnavailableError, WorkerLostError
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.unit_record import Record, WorkUnit
from eechips.storage import Store

_TICK = 0.5  # seconds between two looks at the clock, if nothing happens
_SHORT_TICK = 0.05  # while something is expected that comes without an event
_FINISHING = (ProjectUnavailableError, InternalError)
"""Errors that stop a run once what is in flight is done."""
_SPARE = 1.3
"""Units under way for every slot: those beyond one are being decoded and written, or wait to be repeated."""
_MAX_LOSSES = 3
"""Workers that a unit may end until it fails."""


class Scheduler(RunControl):
    """Keep the workers busy until every unit is settled, or the run is stopped.

    Args:
        units: to settle; None while the next one is not planned yet.
        ledger: ledger of the run; the scheduler is its only writer.
        check: called at least twice a second; raises an error if the run cannot continue.
        features: what takes part in the run beside fetching its units, in the order of calls.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        units: Iterator[WorkUnit | None],
        count: int,
        *,
        ledger: Ledger,
        store: Store,
        executor: Executor[Any],
        progress: Progress,
        log: RunLog,
        interrupt: Interrupt,
        check: Callable[[], None] = lambda: None,
        features: Sequence[RunFeature] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(executor, log, progress, count)
        self._interrupt, self._check, self._features = interrupt, check, features
        self._outcomes = OutcomeHandler(Committer(ledger, store), Breaker(clock), log, features, self._queue)
        self._stop: Exception | None = None
        self._has_reason = False
        for feature in self._features:
            feature.start(self)
            units = feature.divert(units)
        self._queue.units = units

    def run(self) -> bool:
        """Submit units while workers have room, wait for events, and have them recorded.

        Returns:
            Whether all units were settled; False if the user stopped the run, or a budget is spent.

        Raises:
            ConfigurationError: if no unit can succeed.
            InternalError: if consecutive units fail with internal errors.
            RecipeError: if the first units all fail in the same place of the recipe, or it cannot redraw.
            RequestError: if the service refuses a request of the redraw.
            StorageError: if results cannot be written.
        """
        executor, features = self._executor, self._features
        try:
            with self._interrupt.patient():
                while True:
                    is_draining = self._is_draining()
                    for feature in features:
                        feature.advance(is_draining=is_draining)
                    is_draining = self.throttle.is_stopped
                    is_starting = not is_draining and self._scale()
                    if not is_draining:
                        self._submit()
                    if self._is_over(is_draining=is_draining):
                        return self._finish()
                    is_expecting = any(feature.is_expecting for feature in features)
                    events = executor.wait(0.0 if is_starting else _SHORT_TICK if is_expecting else _TICK)
                    for feature in features:
                        feature.note(events)
                    self.settle(events)
                    for feature in features:
                        feature.watch()
                    self._check()
        except KeyboardInterrupt:
            executor.kill()
            self.log.write("killed")
            return False

    def settle(self, events: Sequence[Finished | Lost]) -> None:
        """Record the outcomes of units; end the run if one of them concerns all units."""
        failure = self._outcomes.settle(events)
        if failure is None:
            return
        if not isinstance(failure, _FINISHING):
            self.log.write("stopped", error_class=type(failure).__name__, error=str(failure))
            raise failure
        if self._stop is None:
            self.end_with(failure)

    def end_with(self, error: Exception) -> None:
        """Start no further unit, and end the run with an error; repeating the requests in flight would cost twice."""
        self._stop = self._stop or error
        self.log.write("stopped", error_class=type(error).__name__, error=str(error))
        self.throttle.stop()

    def _is_draining(self) -> bool:
        """Return whether no further unit is to be started."""
        reason = None if self._has_reason or self._stop else self._stop_reason()
        if reason is not None:  # a script's request past the time limit may have stopped the throttle before
            self._has_reason = True
            self.progress.say(reason.text)
            self.throttle.stop()
            self.log.write(reason.event)
        return self.throttle.is_stopped

    def _stop_reason(self) -> StopReason | None:
        """Return why no further unit is to be started, if there is a reason."""
        for feature in self._features:
            if (reason := feature.stop_reason()) is not None:
                return reason
        if self._interrupt.requested:  # last, as one of the above may have stopped a thread, which asks for it
            text = f"Stopping: finishing the requests in flight. {how_to_stop()} again stops at once."
            return StopReason("interrupted", text)
        return None

    def _scale(self) -> bool:
        """Adapt the workers to the slots; return whether more are being started."""
        slots = math.ceil(_SPARE * self.throttle.expected_limit)
        return self._executor.scale(slots, self.count - self.settled, exclusive=self._outcomes.is_exclusive)

    def _submit(self) -> None:
        """Submit assignments while the executor and the features have room for them."""
        while (room := min((feature.room() for feature in self._features), default=math.inf)) >= 1:
            queued = self._queue.take(self._executor, room)
            if queued is None:
                return
            assignment, is_alone = queued
            for feature in self._features:
                assignment = feature.prepare(assignment)
            self._executor.submit(assignment, alone=is_alone)
            self._outcomes.begin(assignment)

    def _is_over(self, *, is_draining: bool) -> bool:
        """Return whether nothing is under way, and no unit is to be submitted any more."""
        if self.is_busy or any(feature.is_engaged for feature in self._features):
            return False
        return is_draining or (self._queue.is_empty and not any(feature.is_busy for feature in self._features))

    def _finish(self) -> bool:
        """End the features; return whether nothing is left to do."""
        for feature in self._features:
            feature.finish()
        if self._stop is not None:
            raise self._stop
        settled = [feature.is_settled() for feature in self._features]  # each may raise
        return all(settled) and self.settled == self.count


class OutcomeHandler:
    """Decide what becomes of the outcome of a unit: committed, discarded, or fetched again, as after a lost worker.

    Attributes:
        is_exclusive: the recipe fetches by itself, so that a process executes one unit at a time.
    """

    def __init__(
        self, committer: Committer, breaker: Breaker, log: RunLog, features: Sequence[RunFeature], queue: PendingUnits
    ) -> None:
        self._committer, self._breaker, self._log = committer, breaker, log
        self._features, self._queue = features, queue
        self._losses: Counter[int] = Counter()
        self.is_exclusive = False

    def begin(self, assignment: WorkUnit) -> None:
        """Note units that are submitted."""
        self._breaker.begin(assignment)

    def settle(self, events: Sequence[Finished | Lost]) -> EechipsError | None:
        """Decide what becomes of units, and have those committed that are settled.

        Returns:
            The error of a unit that concerns all of them, if there is one.

        Raises:
            StorageError: if a file cannot be committed.
        """
        events = [finished for event in events for finished in event.each()]
        settled, failure = self._decide(events)
        records = self._committer.commit(settled, self._breaker.reopened if failure is not None else ())
        if records:
            self._queue.settled += len(records)
            for feature in self._features:
                feature.settle(records)
        return failure

    def _decide(self, events: Iterable[Finished | Lost]) -> tuple[list[Finished], EechipsError | None]:
        """Return the units that are settled, and the error that concerns all; queue those that are fetched again."""
        settled: list[Finished] = []
        failure: EechipsError | None = None
        divided: dict[int, list[WorkUnit]] = defaultdict(list)
        for event in self._expected(events):
            if isinstance(event, Lost):
                record, outcome = self._requeue(event), Outcome(event.assignment.position)
            elif self._is_fetched_again(event, divided) or any(feature.claim(event) for feature in self._features):
                continue
            else:
                record, outcome = self._charged(event), event.outcome
                self.is_exclusive = self.is_exclusive or outcome.is_exclusive
                stop = self._breaker.note(event.assignment, outcome)
                failure = failure or outcome.fatal or stop
            if record is not None:
                charged = outcome if record is outcome.record else replace(outcome, record=record)
                settled.append(Finished(event.assignment, charged))
        for units in divided.values():
            halves = (feature.divide(units) for feature in self._features)
            self._queue.again.extend(next(filter(None, halves), list(map(fetched_alone, units))))
        return settled, failure

    def _expected(self, events: Iterable[Finished | Lost]) -> Iterator[Finished | Lost]:
        """Yield the first event of each unit under way; the run sweeps the temporary files of duplicates."""
        for event in events:
            left = [unit for unit in event.assignment.units if unit.position in self._queue.under_way]
            for unit in left:
                self._queue.under_way.remove(unit.position)
            if not left:
                self._log.write("duplicate", id=event.assignment.id, kind=type(event).__name__.lower())
            elif len(left) == len(event.assignment.units):
                yield event
            else:
                yield replace(event, assignment=replace(left[0], joined=tuple(left[1:])))

    def _charged(self, event: Finished) -> Record | None:
        """Return the record of a unit, with what its lost workers and features cost."""
        record = event.outcome.record
        if record is None:
            return None
        if losses := self._losses[event.assignment.position]:
            record = replace(record, attempts=record.attempts + losses)
        for feature in self._features:
            record = feature.charge(record)
        return record

    def _requeue(self, event: Lost) -> Record | None:
        """Requeue a unit whose worker ended, or an assignment of several. A unit that ended three workers fails."""
        self._losses[event.assignment.position] += bool(event.blame)
        losses = self._losses[event.assignment.position]
        self._log.write("worker lost", id=event.assignment.id, reason=event.reason, losses=losses)
        if event.blame is False:
            self._queue.again.append(event.assignment)
            return None
        if losses < _MAX_LOSSES:
            self._queue.suspects.append(event.assignment)
            return None
        error = WorkerLostError(f"given up after {losses} workers: {event.reason}")
        return unit_failure(event.assignment.position, error, losses, 0)

    def _is_fetched_again(self, event: Finished, divided: Mapping[int, list[WorkUnit]]) -> bool:
        """Return whether a unit is fetched again, as its request failed for all units that share it."""
        failed = event.outcome.failed_request
        if failed is None:
            return False
        self._log.write("shared request failed", id=event.assignment.id, error=failed.error)
        if failed.is_divisible:
            divided[failed.first].append(event.assignment)
        else:
            self._queue.again.append(fetched_alone(event.assignment))
        return True
