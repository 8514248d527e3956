"""Decide what becomes of the outcome of a unit: committed, discarded, or fetched again, as after a lost worker."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.results.committer import Committer
from eechips.engine.results.outcome_records import unit_failure
from eechips.engine.run_context import PendingUnits, RunFeature, fetched_alone
from eechips.engine.run_features.circuit_breaker import Breaker
from eechips.engine.run_log import RunLog
from eechips.errors import EechipsError, WorkerLostError
from eechips.manifest.manifest_columns import Record, WorkUnit

_MAX_LOSSES = 3
"""Workers that a unit may end until it fails."""


class OutcomeHandler:
    """Decide what becomes of units whose outcomes arrive.

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
            elif self._requeue_failed_request(event, divided) or any(
                feature.claim(event) for feature in self._features
            ):
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

    def _requeue_failed_request(self, event: Finished, divided: Mapping[int, list[WorkUnit]]) -> bool:
        """Queue a unit again if its request failed for all units that share it; return whether it did."""
        failed = event.outcome.failed_request
        if failed is None:
            return False
        self._log.write("shared request failed", id=event.assignment.id, error=failed.error)
        if failed.is_divisible:
            divided[failed.first].append(event.assignment)
        else:
            self._queue.again.append(fetched_alone(event.assignment))
        return True
