"""Send units to workers, and have their outcomes recorded, until every unit is settled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eechips.engine.executors.executor import Executor
from eechips.engine.interrupt import Interrupt
from eechips.engine.outcome import Finished, Lost
from eechips.engine.progress import Progress, is_notebook
from eechips.engine.results.committer import Committer
from eechips.engine.run_context import RunControl, RunFeature, StopReason
from eechips.engine.run_features.circuit_breaker import Breaker
from eechips.engine.run_log import RunLog
from eechips.engine.unit_retry import OutcomeHandler
from eechips.errors import InternalError, ProjectUnavailableError
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.storage import Store

_TICK = 0.5  # seconds between two looks at the clock, if nothing happens
_SHORT_TICK = 0.05  # while something is expected that comes without an event
_FINISHING = (ProjectUnavailableError, InternalError)
"""Errors that stop a run once what is in flight is done."""
_SPARE = 1.3
"""Units under way for every slot: those beyond one are being decoded and written, or wait to be repeated."""


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
                    is_draining = self._stop_if_due()
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

    def _stop_if_due(self) -> bool:
        """Stop the throttle if there is a reason; return whether it is stopped, so that no further unit starts."""
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
            action = "Interrupting the kernel" if is_notebook() else "Ctrl-C"
            text = f"Stopping: finishing the requests in flight. {action} again stops at once."
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
