"""Send units to workers, and have their outcomes recorded, until every unit is settled."""

from __future__ import annotations

import math
from collections.abc import Iterator

from eechips.engine.progress import how_to_stop
from eechips.engine.recorder import Recorder
from eechips.engine.run_context import SchedulerContext
from eechips.engine.run_monitor import RunMonitor
from eechips.engine.unit_joiner import UnitJoiner
from eechips.engine.unit_queue import UnitQueue
from eechips.errors import InternalError, ProjectUnavailableError
from eechips.manifest.unit_record import WorkUnit
from eechips.text import format_compute, format_count, format_duration

_TICK = 0.5  # seconds between two looks at the clock, if nothing happens
_SHORT_TICK = 0.05  # while replacements are drawn, which end without an event
_MOST_AGAIN = 500
"""Units that are held in memory before those that replace empty ones have to wait."""
_FINISHING = (ProjectUnavailableError, InternalError)
"""Errors that stop a run once what is in flight is done."""
_SPARE = 1.3
"""Units under way for every slot: those beyond one are being decoded and written, or wait to be repeated."""


class Scheduler:
    """Keep the workers busy until every unit and its replacements are settled, or the run is stopped.

    Args:
        context: the parts of the run.
        units: to settle; None while the next one is not planned yet.
        count: number of units, so far.
    """

    def __init__(self, context: SchedulerContext, units: Iterator[WorkUnit | None], count: int) -> None:
        self._context, self._executor, self._log = context, context.executor, context.log
        self._planner, self._replacements = context.planner, context.replacements
        self._exports = context.exports
        if self._exports is not None:
            units = self._exports.divert(units, self._note_exported)
        self._joiner = None if context.joins is None else UnitJoiner(context.joins, units)
        self._queue = UnitQueue(units, count, self._joiner)
        self._recorder = Recorder(context, self._queue)
        self._stop: Exception | None = None

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
        context, executor = self._context, self._executor
        monitor = RunMonitor(
            executor, context.progress, context.log, context.slow, context.sharing, context.exports, context.clock
        )
        try:
            with context.interrupt.patient():
                while True:
                    self._take_plan()
                    is_draining = self._is_draining()
                    self._take_replacements(asks=not is_draining)
                    if not is_draining:
                        self._take_exports()
                    is_starting = not is_draining and self._scale()
                    while not is_draining and (found := self._take()) is not None:
                        task, is_alone = found
                        executor.submit(task, alone=is_alone)
                        self._recorder.begin(task)
                        if context.slow is not None:
                            for unit in task.units:
                                context.slow.begin(unit)
                    if self._is_over(is_draining=is_draining):
                        self._say_exports()
                        return self._is_settled
                    events = executor.wait(0.0 if is_starting else self._tick)
                    if context.compute is not None:
                        context.compute.note(events)
                    if self._joiner is not None:
                        self._joiner.note(events)
                    self._note_failure(self._recorder.settle(events))
                    self._watch_compute()
                    monitor.watch(self._queue.settled)
                    context.check()
        except KeyboardInterrupt:
            executor.kill()
            self._log.write("killed")
            return False

    def _take_plan(self) -> None:
        """Add the units that were planned meanwhile."""
        if self._planner is None or self._planner.is_done:
            return
        added = self._planner.advance()
        if added:
            self._queue.count += added
            self._context.progress.grow(added)
        if self._planner.failure is not None:
            self._end_with(self._planner.failure)

    def _take_replacements(self, *, asks: bool) -> None:
        """Request replacements of empty units, and queue those that are ready before the rest of the plan."""
        if self._replacements is None:
            return
        # Only when the plan is complete: its units have the first positions.
        asks = asks and not self._is_planning and len(self._queue.again) < _MOST_AGAIN
        added = self._replacements.advance(asks=asks)
        if added:
            self._queue.add(added)
            self._context.progress.grow(len(added))
            self._log.write("replaced", units=len(added))

    def _note_exported(self, unit: WorkUnit) -> None:
        """Note a unit whose export was started by an earlier run."""
        self._queue.under_way.add(unit.position)

    def _say_exports(self) -> None:
        """Show how many units wait for batch tasks at the end of the run, if there are any."""
        if self._exports is not None and self._exports.is_busy:
            self._context.progress.say(
                f"Batch tasks of Earth Engine continue, for {format_count(self._exports.count, 'unit')}. The same"
                " command fetches their files."
            )

    def _take_exports(self) -> None:
        """Queue the units whose exported files are ready, and have those recorded whose export failed."""
        if self._exports is None:
            return
        ended = self._exports.advance()
        for unit in ended.ready:
            self._queue.under_way.discard(unit.position)
            self._queue.again.append(unit)
        if self._context.compute is not None and ended.eecu_seconds:
            self._context.compute.note_exports(ended.eecu_seconds)
        if ended.failures:
            self._note_failure(self._recorder.settle(ended.failures))

    def _is_draining(self) -> bool:
        """Return whether no further unit is to be started."""
        throttle, say = self._executor.throttle, self._context.progress.say
        now, deadline = self._context.clock(), self._context.deadline
        if throttle.is_stopped:
            return True
        reason = None
        if self._context.interrupt.requested:
            reason = "interrupted"
            say(f"Stopping: finishing the requests in flight. {how_to_stop()} again stops at once.")
        elif throttle.is_spent:
            reason = "budget exhausted"
            say("Stopping: the limit of requests or bytes is reached.")
        elif self._context.compute is not None and self._context.compute.is_spent:
            reason = "compute budget exhausted"
            say(
                "Stopping: the service reports no compute, so that `max_eecu_hours` cannot be kept."
                if self._context.compute.is_unanswered
                else "Stopping: the limit of EECU-hours is reached."
            )
        elif now >= deadline:
            reason = "time limit reached"
            say("Stopping: the time limit is reached; finishing the requests in flight.")
        elif now + throttle.asked_left > deadline:
            reason = "time limit reached"
            say(
                f"Stopping: Earth Engine asks to wait {format_duration(throttle.asked_left)}, longer than the time"
                " limit allows."
            )
        if reason is None:
            return False
        throttle.stop()
        self._log.write(reason)
        return True

    def _watch_compute(self) -> None:
        """Record the profiles that have come, and show what the whole run will use."""
        compute = self._context.compute
        if compute is not None and compute.advance():
            total = compute.account.total(self._queue.count - self._queue.settled)
            if total is not None:
                self._context.progress.note(f"about {format_compute(total.seconds)} in all")

    def _take(self) -> tuple[WorkUnit, bool] | None:
        """Take the next task, as far as the budget of compute allows; it is marked if it is to be profiled."""
        compute = self._context.compute
        if compute is None:
            return self._queue.take(self._executor)
        found = self._queue.take(self._executor, compute.most_units) if compute.may_start else None
        return None if found is None else (compute.prepare(found[0]), found[1])

    def _scale(self) -> bool:
        """Adapt the workers to the slots; return whether more are being started."""
        slots = math.ceil(_SPARE * self._executor.throttle.expected_limit)
        left = self._queue.count - self._queue.settled
        return self._executor.scale(slots, left, exclusive=self._recorder.is_exclusive)

    def _is_over(self, *, is_draining: bool) -> bool:
        """Return whether nothing is under way, and no unit is to be submitted any more.

        Raises:
            EechipsError: that ended the run.
        """
        if self._executor.is_busy or self._is_asking:
            return False
        is_redrawing = self._replacements is not None and self._replacements.is_busy
        is_exporting = self._exports is not None and self._exports.is_busy
        is_through = self._queue.is_empty and not (self._is_planning or is_redrawing or is_exporting)
        if (is_draining or is_through) and self._context.compute is not None:
            self._context.compute.finish()
        if (is_draining or is_through) and self._stop is not None:
            raise self._stop
        return is_draining or is_through

    @property
    def _is_settled(self) -> bool:
        """Return whether nothing is left to do, once nothing is under way."""
        if self._replacements is not None:
            self._replacements.check()
        is_whole = self._planner is None or self._planner.is_whole
        is_filled = self._replacements is None or self._replacements.is_settled
        return is_whole and is_filled and self._queue.settled == self._queue.count

    @property
    def _is_asking(self) -> bool:
        return self._replacements is not None and self._replacements.is_asking

    @property
    def _is_planning(self) -> bool:
        return self._planner is not None and not self._planner.is_done

    @property
    def _tick(self) -> float:
        is_waiting = self._is_planning and not self._executor.is_busy
        compute = self._context.compute
        is_held = compute is not None and compute.is_waiting and not compute.may_start
        return _SHORT_TICK if self._is_asking or is_waiting or is_held else _TICK

    def _note_failure(self, failure: Exception | None) -> None:
        """Raise the error of a unit that stops the run, or end the run with it once requests in flight are finished."""
        if failure is None:
            return
        if not isinstance(failure, _FINISHING):
            self._log.write("stopped", error_class=type(failure).__name__, error=str(failure))
            raise failure
        if self._stop is None:
            self._end_with(failure)

    def _end_with(self, failure: Exception) -> None:
        """Start no further unit, and end the run with an error; repeating the requests in flight would cost twice."""
        self._stop = self._stop or failure
        self._log.write("stopped", error_class=type(failure).__name__, error=str(failure))
        self._executor.throttle.stop()
