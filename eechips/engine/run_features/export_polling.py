"""Wait for the batch tasks that export results: the part of the parent.

A unit whose results are exported occupies neither a worker nor a slot. The ledger has its tasks, so that a run that is
resumed waits for the same ones. When they have ended, a worker reads the files.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from eechips.client.exports.export_tasks import ExportTask, TaskStatus, fetch_statuses
from eechips.engine.config import RunConfig
from eechips.engine.outcome import Finished, StartedExports
from eechips.engine.results.outcome_records import failed
from eechips.engine.run_context import RunFeature
from eechips.engine.run_log import RunLog
from eechips.errors import EechipsError, PermanentError, Stopped, TooLargeError, TransientError, UsageError
from eechips.manifest.manifest_columns import Record, WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import read_exports
from eechips.recipe import Recipe, SupportsInteractiveRun, traits_of
from eechips.text.formatting import format_count
from eechips.text.timestamps import utc_now

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
"""Seconds between two requests for the states of tasks, which take minutes or hours."""
_WAIT_SHARE = 0.25
"""Share of the time since the last change after which the states are requested again."""
_MESSAGE_SECONDS = 600.0
_MOST_UNKNOWN = 4
"""Responses, one after the other, that the service does not know a task, until it has ended: one may be of a proxy."""


def check_exports(recipe: Recipe, config: RunConfig) -> None:
    """Raise UsageError if the config asks for exports, and the results of a recipe may not be exported."""
    if config.export_to is None:
        return
    traits = traits_of(recipe)
    obstacle = traits.export_obstacle
    if obstacle is None and isinstance(recipe, SupportsInteractiveRun):
        obstacle = "its calls fetch their results themselves"
    if obstacle is None and not traits.needs_service:
        obstacle = "it sends no requests to Earth Engine"
    if obstacle is not None:
        raise UsageError(f"`export_to` is not for {recipe.name}: {obstacle}")


@dataclass(slots=True)
class _Pending:
    """A unit whose results are exported.

    Attributes:
        unit: without joined units.
        statuses: statuses of those that have ended, by operation.
    """

    unit: WorkUnit
    exports: StartedExports
    statuses: dict[str, TaskStatus]


def _task_error(name: str, error: EechipsError) -> PermanentError:
    """Return the error of a failed task's unit: permanent, since units that failed otherwise keep their tasks."""
    advice = f" What helps: {error.advice}." if isinstance(error, TooLargeError) and error.is_divisible else ""
    return PermanentError(
        f"the export task '{name}' failed: {str(error).rstrip('.')}.{advice} eechips retry starts another one",
        fault=error.fault if isinstance(error, PermanentError) else "",
    )


class ExportMonitor(RunFeature):
    """Wait for batch tasks while other units are fetched; a thread of its own requests the states of the tasks.

    Args:
        ledger: ledger of the run, with a plan.
        note_compute: receives the compute of tasks that have ended, in EECU-seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        log: RunLog,
        note_compute: Callable[[float], None],
        fetch: Callable[[set[str]], dict[str, TaskStatus]] = lambda names: dict(fetch_statuses(names)),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._log, self._note_compute = ledger, log, note_compute
        self._fetch, self._clock = fetch, clock
        self._stored = {
            position: StartedExports(tuple(ExportTask(*task) for task in tasks), requests, seconds)
            for position, (tasks, requests, seconds) in read_exports(ledger.database).items()
        }
        self._pending: dict[int, _Pending] = {}
        self._costs: dict[int, tuple[StartedExports, float]] = {}
        self._changed = threading.Condition()
        self._watched: set[str] = set()
        self._ended: dict[str, TaskStatus] = {}
        self._failure: EechipsError | None = None
        self._unknown = ""
        self._denials: Counter[str] = Counter()
        self._last_change = clock()
        self._shown: float | None = None
        self._is_closed = False
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether tasks have not ended."""
        return bool(self._pending)

    def watch(self) -> None:
        """Report that the run waits."""
        if (text := self.message()) is not None:
            self.run.progress.say(text)

    def message(self) -> str | None:
        """Return the message that is due, if any: when the first unit waits, and every ten minutes from then on."""
        now = self._clock()
        if not self._pending or (self._shown is not None and now - self._shown < _MESSAGE_SECONDS):
            return None
        is_first, self._shown = self._shown is None, now
        count = format_count(len(self._pending), "unit")
        if is_first:
            return (
                "Batch tasks of Earth Engine export results that take too long for a request. The run waits for them:"
                f" {count} so far."
            )
        unknown = f" Their states are unknown: {self._unknown}" if self._unknown else ""
        return f"Waiting for batch tasks of Earth Engine: {count}.{unknown}"

    def divert(self, units: Iterator[WorkUnit | None]) -> Iterator[WorkUnit | None]:
        """Yield the units of the plan but those whose tasks an earlier run has started; wait for these tasks."""
        for unit in units:
            stored = None if unit is None else self._stored.pop(unit.position, None)
            if unit is None or stored is None:
                yield unit
                continue
            self._log.write("export resumed", id=unit.id, tasks=[task.operation for task in stored.tasks])
            self.run.hold(unit)
            self._watch(unit, stored)

    def claim(self, event: Finished) -> bool:
        """Wait for the tasks that a worker has started for a unit."""
        unit, exports = event.assignment, event.outcome.exports
        if exports is None:
            return False
        self.run.hold(unit)
        self._ledger.add_exports(
            unit.position,
            [(task.operation, task.url) for task in exports.tasks],
            exports.requests,
            exports.seconds,
            utc_now(),
        )
        self._log.write("export started", id=unit.id, tasks=[task.operation for task in exports.tasks])
        self._watch(unit, exports)
        return True

    def advance(self, *, is_draining: bool) -> None:
        """Submit the units whose exported files are ready, and record those whose export failed.

        Raises:
            EechipsError: if the service refuses to give the states of tasks.
        """
        if is_draining:
            return
        with self._changed:
            ended, self._ended = self._ended, {}
            if self._failure is not None:
                raise self._failure
        failures: list[Finished] = []
        seconds = 0.0
        for pending in list(self._pending.values()) if ended else ():
            pending.statuses |= {t.operation: ended[t.operation] for t in pending.exports.tasks if t.operation in ended}
            errors = [
                _task_error(name, status.error) for name, status in pending.statuses.items() if status.error is not None
            ]
            if not errors and len(pending.statuses) < len({task.operation for task in pending.exports.tasks}):
                continue
            unit, spent = pending.unit, sum(status.eecu_seconds for status in pending.statuses.values())
            del self._pending[unit.position]
            self._costs[unit.position] = pending.exports, spent
            seconds += spent
            self._log.write("export ended", id=unit.id, errors=[*map(str, errors)], eecu_seconds=spent)
            if errors:
                failures.append(Finished(unit, failed(unit, errors[0])))
            else:
                self.run.release(replace(unit, exported=tuple(task.url for task in pending.exports.tasks)))
        if seconds:
            self._note_compute(seconds)
        if failures:
            self.run.settle(failures)

    def charge(self, record: Record) -> Record:
        """Return the record of a unit with the cost of its export, if it has one: requests, seconds, compute."""
        if record.position not in self._costs:
            return record
        exports, spent = self._costs.pop(record.position)
        return replace(
            record,
            attempts=record.attempts + 1,
            requests=record.requests + exports.requests,
            seconds=round((record.seconds or 0.0) + exports.seconds, 3),
            eecu_seconds=(record.eecu_seconds or 0.0) + spent,
        )

    def finish(self) -> None:
        """Show how many units wait for batch tasks at the end of the run, if there are any."""
        if self._pending:
            self.run.progress.say(
                f"Batch tasks of Earth Engine continue, for {format_count(len(self._pending), 'unit')}. The same"
                " command fetches their files."
            )

    def close(self) -> None:
        """End the thread. Tasks that have not ended continue; the next run waits for them."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _watch(self, unit: WorkUnit, exports: StartedExports) -> None:
        self._pending[unit.position] = _Pending(unit, exports, {})
        with self._changed:
            self._watched.update(task.operation for task in exports.tasks)
            self._last_change = self._clock()
            if self._thread is None:
                run = contextvars.copy_context().run  # with the transport of this run: the process may have others
                self._thread = threading.Thread(target=run, args=(self._run,), name="eechips-exports", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _run(self) -> None:
        while (names := self._next()) is not None:
            try:
                self._note(self._fetch(names))
            except (EechipsError, Stopped) as error:
                with self._changed:
                    if self._is_closed:  # the run has ended, and its log with it
                        return
                    if not isinstance(error, (TransientError, Stopped)):
                        self._failure = error
                        return
                    self._unknown = str(error)
                    self._log.write("tasks unknown", tasks=len(names), error=str(error) or "the run is stopping")

    def _next(self) -> set[str] | None:
        """Wait until states are due, and return the tasks; None when the monitor is closed."""
        with self._changed:
            began = self._clock()
            while not self._is_closed:
                since = began - self._last_change
                left = began + min(max(_WAIT_SHARE * since, _FIRST_WAIT), _LONGEST_WAIT) - self._clock()
                if left <= 0 and self._watched:
                    return set(self._watched)
                self._changed.wait(left if left > 0 else None)
            return None

    def _note(self, statuses: dict[str, TaskStatus]) -> None:
        self._unknown = ""
        self._denials = Counter({n: self._denials[n] + 1 for n, status in statuses.items() if not status.is_known})
        doubtful = {name for name, count in self._denials.items() if count < _MOST_UNKNOWN}
        done = {name: status for name, status in statuses.items() if status.is_done and name not in doubtful}
        if not done:
            return
        with self._changed:
            self._ended |= done
            self._watched -= done.keys()
            self._last_change = self._clock()
