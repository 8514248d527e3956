"""Send units to workers, and record their outcomes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from eechips.engine.breaker import Breaker
from eechips.engine.estimate import Meter
from eechips.engine.executors.executor import Executor
from eechips.engine.interrupt import Interrupt
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.planner import Planner
from eechips.engine.progress import Progress, how_to_stop
from eechips.engine.replacement import Replacements
from eechips.engine.run_log import RunLog
from eechips.engine.slow_units import SlowUnits
from eechips.engine.unit_records import unit_failure
from eechips.errors import EechipsError, InternalError, ProjectUnavailableError, UsageError, WorkerLostError
from eechips.manifest.exclusions import COMMITTING
from eechips.manifest.ledger import Ledger
from eechips.manifest.reserved_names import FOREIGN_FILES
from eechips.manifest.run import PLANS_GRADUALLY
from eechips.manifest.unit_record import Record, State, WorkUnit
from eechips.storage import Store
from eechips.text import format_duration

_TICK = 0.5  # seconds between two looks at the clock, if nothing happens
_SHORT_TICK = 0.05  # while replacements are drawn, which end without an event
_MAX_LOSSES = 3
_MOST_AGAIN = 500
"""Units that are held in memory before those that replace empty ones have to wait."""
_MAX_HELD = 5
"""Workers at most that are kept free for units alone."""
_THROUGHPUT_SECONDS = 5.0  # between two events of the throughput in the log
_WAIT_SECONDS = 600.0  # between two messages on a wait that the service asks for
_FINISHING = (ProjectUnavailableError, InternalError)
"""Errors that stop a run once what is in flight is done."""
_SPARE = 1.3
"""Units under way for every slot: those beyond one are being decoded and written, or wait to be repeated."""


class Dispatcher:
    """Send open units to the workers, commit their files and record them.

    Args:
        ledger: of the run; this is its only writer.
        store: where results are committed.
        executor: executes units.
        progress: counts settled units.
        log: of the run.
        check: called at least twice a second; raises an error if the run cannot continue.
        deadline: no unit starts after this time, on the clock.
        replacements: of empty units; None to keep these.
        planner: makes the rest of the plan; None if it is complete.
        meter: records the cost of every unit; None if it is not needed.
        verbose: also show failures, and log requests.
        slow: reports units that take long; None for no reports.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        executor: Executor[Any],
        progress: Progress,
        log: RunLog,
        *,
        check: Callable[[], None],
        deadline: float = math.inf,
        replacements: Replacements | None = None,
        planner: Planner | None = None,
        meter: Meter | None = None,
        verbose: bool = False,
        slow: SlowUnits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._store, self._executor = ledger, store, executor
        self._progress, self._log, self._check, self._verbose = progress, log, check, verbose
        self._replacements, self._meter, self._slow = replacements, meter, slow
        self._planner = planner
        self._clock, self._end = clock, deadline
        self._again: deque[WorkUnit] = deque()
        self._suspects: deque[WorkUnit] = deque()
        self._mismatched: set[int] = set()  # positions of units with the executor whose results are to be discarded
        self._outstanding: set[int] = set()  # positions of the units that are with the executor
        self._losses: Counter[int] = Counter()
        self._ambiguous_names: set[str] = set()
        self._count = self._settled = 0
        self._breaker = Breaker(clock)
        self._stop: Exception | None = None
        self._is_exhausted = False
        self._foreign = frozenset(ledger.meta().get(FOREIGN_FILES, ())) if ledger.has_plan else frozenset()
        self._notes_files = bool(ledger.meta().get(PLANS_GRADUALLY)) if ledger.has_plan else False
        self._is_exclusive = False
        self._is_offline = self._is_restricted = False
        self._wait_reported: float | None = None
        self._shown_notice: str | None = None
        self._rate_logged = clock()

    def run(self, units: Iterator[WorkUnit | None], count: int, interrupt: Interrupt) -> bool:
        """Work until every unit and its replacements are settled, or the user asks to stop.

        Args:
            units: to settle; None while the next one is not planned yet.
            count: number of units, so far.
            interrupt: requests a stop.

        Returns:
            Whether all units were settled; False if the user stopped it.

        Raises:
            ConfigurationError: if no unit can succeed.
            InternalError: if consecutive units fail with internal errors.
            RecipeError: if the first units all fail in the same place of the recipe, or it cannot redraw.
            RequestError: if the service refuses a request of the redraw.
            StorageError: if results cannot be written.
        """
        self._count = count
        try:
            with interrupt.patient():
                return self._loop(units, interrupt)
        except KeyboardInterrupt:
            self._executor.kill()
            self._log.write("killed")
            return False

    def _loop(self, units: Iterator[WorkUnit | None], interrupt: Interrupt) -> bool:
        while True:
            self._take_plan()
            draining, is_starting = self._is_draining(interrupt), False
            self._redraw(draining=draining)
            if not draining:
                is_starting = self._scale()
                self._feed(units)
            if not self._executor.is_busy and not self._is_asking and (draining or self._is_through):
                if self._stop is not None:
                    raise self._stop
                return self._is_settled
            self._settle(self._executor.wait(0.0 if is_starting else self._tick))
            self._watch()
            self._check()

    def _scale(self) -> bool:
        """Adapt the workers to the slots; return whether more are being started."""
        slots = math.ceil(_SPARE * self._executor.throttle.limit)
        return self._executor.scale(slots, self._count - self._settled, exclusive=self._is_exclusive)

    @property
    def _is_through(self) -> bool:
        is_redrawing = self._replacements is not None and self._replacements.is_busy
        is_dry = self._is_exhausted or self._settled == self._count
        return is_dry and not self._is_planning and not self._again and not self._suspects and not is_redrawing

    @property
    def _is_settled(self) -> bool:
        """Whether nothing is left to do, once nothing is under way."""
        if self._replacements is not None:
            self._replacements.check()
        is_whole = self._planner is None or self._planner.is_whole
        return (
            is_whole and self._settled == self._count and (self._replacements is None or self._replacements.is_settled)
        )

    @property
    def _is_asking(self) -> bool:
        return self._replacements is not None and self._replacements.is_asking

    @property
    def _tick(self) -> float:
        is_waiting = self._is_planning and not self._executor.is_busy
        return _SHORT_TICK if self._is_asking or is_waiting else _TICK

    @property
    def _is_planning(self) -> bool:
        return self._planner is not None and not self._planner.is_done

    def _take_plan(self) -> None:
        """Add the units that were planned meanwhile."""
        if self._planner is None or self._planner.is_done:
            return
        added = self._planner.advance()
        if added:
            self._count += added
            self._progress.grow(added)
        failure = self._planner.failure
        if failure is not None:  # requests in flight are finished first
            self._stop = self._stop or failure
            self._log.write("stopped", error_class=type(failure).__name__, error=str(failure))
            self._executor.throttle.stop()

    def _redraw(self, *, draining: bool) -> None:
        """Request replacements of empty units, and queue those that are ready before the rest of the plan."""
        if self._replacements is None:
            return
        # Only when the plan is complete: its units have the first positions.
        asks = not draining and not self._is_planning and len(self._again) < _MOST_AGAIN
        added = self._replacements.advance(asks=asks)
        if added:
            self._count += len(added)
            self._again.extend(added)
            self._progress.grow(len(added))
            self._log.write("replaced", units=len(added))

    def _is_draining(self, interrupt: Interrupt) -> bool:
        """Return whether no further unit is to be started."""
        throttle = self._executor.throttle
        if throttle.is_stopped:
            return True
        reason = None
        if interrupt.requested:
            reason = "interrupted"
            self._progress.say(f"Stopping: finishing the requests in flight. {how_to_stop()} again stops at once.")
        elif throttle.is_spent:
            reason = "budget exhausted"
            self._progress.say("Stopping: the limit of requests or bytes is reached.")
        elif self._clock() >= self._end:
            reason = "time limit reached"
            self._progress.say("Stopping: the time limit is reached; finishing the requests in flight.")
        elif self._clock() + throttle.asked_left > self._end:
            reason = "time limit reached"
            self._progress.say(
                f"Stopping: Earth Engine asks to wait {format_duration(throttle.asked_left)}, longer than the time"
                " limit allows."
            )
        if reason is None:
            return False
        throttle.stop()
        self._log.write(reason)
        return True

    def _feed(self, units: Iterator[WorkUnit | None]) -> None:
        """Submit units. A unit that may have killed its worker gets a worker of its own."""
        while self._suspects and self._executor.has_idle:
            self._submit(self._suspects.popleft(), alone=True)
        self._executor.held = min(len(self._suspects), _MAX_HELD)
        while self._executor.has_room:
            task = self._again.popleft() if self._again else next(units, None)
            if task is None:
                self._is_exhausted = not self._is_planning
                return
            self._submit(task)

    def _submit(self, task: WorkUnit, *, alone: bool = False) -> None:
        self._outstanding.add(task.position)
        self._executor.submit(task, alone=alone)
        if self._slow is not None:
            self._slow.begin(task)

    def _expected(self, events: list[Finished | Lost]) -> Iterator[Finished | Lost]:
        """Yield the first event of each outstanding unit. Others are duplicates, of units that are settled or open
        again.

        A duplicate's temporary file stays until the run sweeps its own.
        """
        for event in events:
            if event.task.position in self._outstanding:
                self._outstanding.remove(event.task.position)
                if self._slow is not None:
                    self._slow.end(event.task.position)
                yield event
            else:
                self._log.write("duplicate", id=event.task.id, kind=type(event).__name__.lower())

    def _watch(self) -> None:
        """Report the state of the run to the user and the log."""
        throttle = self._executor.throttle
        self._progress.show(throttle.in_flight, throttle.limit)
        if throttle.is_restricted != self._is_restricted:
            self._is_restricted = throttle.is_restricted
            self._log.write("restricted" if self._is_restricted else "unrestricted")
            self._progress.say(
                "Earth Engine announces restricted mode: the project's compute of this month is used up, and fewer"
                " requests run at once."
                if self._is_restricted
                else "Earth Engine has lifted restricted mode."
            )
        if (throttle.offline_since is not None) != self._is_offline:
            self._is_offline = not self._is_offline
            self._log.write("offline" if self._is_offline else "online")
            self._progress.say(
                "No connection to the service: waiting for it. Nothing is lost; Ctrl-C stops."
                if self._is_offline
                else "The service is reachable again."
            )
        if self._executor.notice != self._shown_notice:
            self._shown_notice = self._executor.notice
            self._log.write("notice", text=self._shown_notice)
            if self._shown_notice is not None:
                self._progress.say(self._shown_notice)
        self._watch_wait(throttle.asked_left)
        self._watch_slow()
        if self._clock() - self._rate_logged >= _THROUGHPUT_SECONDS:
            self._rate_logged = self._clock()
            self._log.write(
                "throughput",
                settled=self._settled,
                in_flight=throttle.in_flight,
                limit=throttle.limit,
                sent=throttle.sent,
                rejected=throttle.rejected,
            )

    def _watch_slow(self) -> None:
        """Report slow units to the user, if no unit finishes."""
        if self._slow is None:
            return
        if self._is_offline or self._wait_reported is not None:
            self._slow.wait()
        elif (text := self._slow.message()) is not None:
            self._log.write("slow", text=text)
            self._progress.say(text)

    def _watch_wait(self, left: float) -> None:
        """Report a long Retry-After to the user: when it begins, every ten minutes, and when it ends."""
        now, reported = self._clock(), self._wait_reported
        if left > 0.0 and (reported is None or now - reported >= _WAIT_SECONDS):
            until = datetime.now(timezone.utc) + timedelta(seconds=left)
            self._wait_reported = now
            self._log.write("waiting", seconds=round(left))
            self._progress.say(
                f"Earth Engine asks to wait: the run resumes in {format_duration(left)}, at {until:%H:%M} UTC."
                " Nothing is lost; Ctrl-C stops."
            )
        elif left <= 0.0 and reported is not None:
            self._wait_reported = None
            self._log.write("wait over")
            self._progress.say("The wait that Earth Engine asked for is over: the run resumes.")

    def _settle(self, events: list[Finished | Lost]) -> None:
        """Commit files, then record their units: a record never precedes its file."""
        self._reopen_mismatched(events)
        self._note_files(events)
        records: list[Record] = []
        dropped: list[int] = []
        files: dict[str, int] = {}
        failure: EechipsError | None = None
        further: list[tuple[int, str, int, str]] = []
        layers: list[tuple[int, str, str, str]] = []
        revoked: dict[int, Record] = {}
        for event in self._expected(events):
            if self._is_discarded(event):
                continue
            if isinstance(event, Lost):
                record = self._lost(event)
            else:
                self._note_exchanges(event)
                self._is_exclusive = self._is_exclusive or event.outcome.is_exclusive
                record = self._commit(event.task, event.outcome, files, revoked)
                stop = self._breaker.note(event.task, event.outcome)
                failure = failure or event.outcome.fatal or stop
                further += _further(record, event.outcome)
                layers += _layers(record, event.outcome)
            if record is not None:
                records.append(record)
                if record.state is State.EMPTY and record.file is None:
                    dropped.append(record.position)
        again = {record.position: record for record in self._breaker.reopened} if failure is not None else {}
        if records or again:
            records = [again.pop(record.position, record) for record in records]
            # The unit of an overwritten result may be among these, or in the ledger.
            records = [revoked.pop(record.position, record) for record in records]
            kept = {record.position for record in records if record.file is not None}
            self._ledger.record(
                [*records, *revoked.values(), *again.values()],
                [row for row in further if row[0] in kept],
                [row for row in layers if row[0] in kept],
            )
        if self._replacements is not None:
            for position in dropped:
                self._replacements.want(position)
        for record in records:
            self._report(record)
        if failure is not None and (self._stop is None or not isinstance(failure, _FINISHING)):
            self._log.write("stopped", error_class=type(failure).__name__, error=str(failure))
            if not isinstance(failure, _FINISHING):
                raise failure
            self._stop = failure  # requests in flight are finished, as repeating them would cost twice
            self._executor.throttle.stop()

    def _reopen_mismatched(self, events: Iterable[Finished | Lost]) -> None:
        """Reopen units whose requests turned out to be wrong, as their template depends on more than its values."""
        for mismatch in (mismatch for e in events if isinstance(e, Finished) for mismatch in e.outcome.mismatches):
            in_flight = self._outstanding.intersection(mismatch.positions)
            settled = [position for position in mismatch.positions if position not in in_flight]
            # Replacements of empty units have been drawn already.
            done = self._ledger.with_results(settled, or_empty=self._replacements is None)
            self._mismatched |= in_flight
            self._ledger.reopen(done)
            self._again.extend(map(self._ledger.unit, done))
            self._settled -= len(done)
            self._progress.reopen(len(done))
            self._log.write("reopened", template=mismatch.template, positions=[*done, *sorted(in_flight)])
            self._progress.say(
                f"The function {mismatch.template} of a Template decides by its values, or depends on more than these:"
                f" {len(done) + len(in_flight):,} units whose requests may be wrong are fetched again. Give Chip the"
                " image itself, or pass what it decides by in 'fixed'."
            )

    def _is_discarded(self, event: Finished | Lost) -> bool:
        """Return whether to discard an outcome, and to fetch its unit again."""
        if event.task.position not in self._mismatched:
            return False
        self._mismatched.discard(event.task.position)
        if isinstance(event, Lost) or event.outcome.record is None:
            return False
        staged = event.outcome.staged
        if staged is not None and not self._store.is_overwritten:
            for each in (staged, *event.outcome.further):
                self._store.discard(each)
        self._again.append(replace(event.task, attempts=max(1, event.task.attempts)))
        return True

    def _check_foreign(self, name: str) -> None:
        """Raise an error if a file of this name existed before the run.

        Raises:
            UsageError: if it still exists.
        """
        if name in self._foreign and self._store.size(name) is not None:
            raise UsageError(
                f"{name} was in the output folder before the run and is not replaced: move it away and run eechips"
                " retry, or choose another --out"
            )
        if name in self._foreign:  # its owner has moved it away: from now on it is the run's
            self._foreign -= {name}
            self._ledger.note(FOREIGN_FILES, sorted(self._foreign))

    def _note_files(self, events: Iterable[Finished | Lost]) -> None:
        """Record the files that are about to be committed, as a script may look for them when it is run again."""
        if not self._notes_files:
            return
        outcomes = [event.outcome for event in events if isinstance(event, Finished)]
        files = [each for outcome in outcomes if outcome.staged for each in (outcome.staged, *outcome.further)]
        if files:
            self._ledger.note(COMMITTING, [(each.name, each.size, each.sha256) for each in files])

    def _commit(
        self, task: WorkUnit, outcome: Outcome, files: dict[str, int], revoked: dict[int, Record]
    ) -> Record | None:
        record, staged = outcome.record, outcome.staged
        if record is None:
            return None
        record = replace(record, attempts=record.attempts + self._losses[task.position])
        if staged is None:
            return record
        every = (staged, *outcome.further)
        for each in every:
            owner = files.get(each.name, self._ledger.owner(each.name))
            if owner not in (None, task.position) or each.name in self._ambiguous_names:
                error = UsageError(f"two units have the same name, {each.name}: results must be named apart")
                if not self._store.is_overwritten:
                    for unwanted in every:
                        self._store.discard(unwanted)
                elif owner not in (None, task.position):
                    self._ambiguous_names.add(each.name)  # it is unknown which of the results was written last
                    revoked[owner] = unit_failure(self._ledger.unit(owner), error, 1, 0)
                return unit_failure(task, error, record.attempts, record.requests)
        for number, each in enumerate(every):
            try:
                self._check_foreign(each.name)
                self._store.commit(each)
            except UsageError as error:  # such as a folder of that name: an error of the unit, not of the disk
                for unwanted in every[number:]:
                    self._store.discard(unwanted)
                return unit_failure(task, error, record.attempts, record.requests)
            files[each.name] = task.position
        return record

    def _lost(self, event: Lost) -> Record | None:
        """Requeue a unit whose worker ended. A unit that ended three workers fails."""
        self._losses[event.task.position] += bool(event.blame)
        losses = self._losses[event.task.position]
        self._log.write("worker lost", id=event.task.id, reason=event.reason, losses=losses)
        if event.blame is False:
            self._again.append(event.task)
            return None
        if losses < _MAX_LOSSES:
            self._suspects.append(event.task)
            return None
        error = WorkerLostError(f"given up after {losses} workers: {event.reason}")
        return unit_failure(event.task, error, losses, 0)

    def _note_exchanges(self, event: Finished) -> None:
        if self._meter is not None and event.outcome.record is not None:
            self._meter.note(event.outcome.request_logs)
        if self._verbose:
            for exchange in event.outcome.request_logs:
                self._log.write("request", id=event.task.id, **dataclasses.asdict(exchange))

    def _report(self, record: Record) -> None:
        self._settled += 1
        self._progress.settle(failed=record.state.is_failure)
        if record.state.is_failure:
            fields = {"position": record.position, "error_class": record.error_class, "error": record.error}
            self._log.write("unit failed", **fields)
            if self._verbose:
                self._progress.say(f"unit {record.position}: {record.error_class}: {record.error}")


def _further(record: Record | None, outcome: Outcome) -> list[tuple[int, str, int, str]]:
    """Return position, path, size and SHA-256 of the files of a unit beyond the first, if they are committed."""
    if record is None or record.file is None:
        return []
    return [(record.position, staged.name, staged.size, staged.sha256) for staged in outcome.further]


def _layers(record: Record | None, outcome: Outcome) -> list[tuple[int, str, str, str]]:
    """Return position, path, layer and metadata of the files of a unit with layers, if they are committed."""
    if record is None or record.file is None:
        return []
    return [(record.position, *layer) for layer in outcome.layers]
