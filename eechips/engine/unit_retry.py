"""Decide what becomes of the outcome of a unit, and commit it: recorded, discarded, or fetched again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from eechips.engine.breaker import Breaker
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.outcome_records import unit_failure
from eechips.engine.run_context import SchedulerContext
from eechips.engine.unit_queue import UnitQueue, fetched_alone
from eechips.errors import EechipsError, UsageError, WorkerLostError
from eechips.manifest.exclusions import COMMITTING
from eechips.manifest.ledger import Ledger
from eechips.manifest.reserved_names import FOREIGN_FILES
from eechips.manifest.run import PLANS_GRADUALLY
from eechips.manifest.unit_record import Record, WorkUnit
from eechips.storage import StagedFile, Store
from eechips.text.formatting import format_count


class Settled(NamedTuple):
    """A unit that is to be recorded.

    Attributes:
        outcome: outcome of the unit, with the files to commit.
        record: record of the unit, if its files can be committed.
    """

    assignment: WorkUnit
    outcome: Outcome
    record: Record


@dataclass(slots=True)
class _Batch:
    """Records that are written in one transaction.

    Attributes:
        further: position, path, size and SHA-256 of the files of a unit beyond the first.
        layers: position, path, layer and metadata of the files of a unit with layers.
        owners: position of the unit of each committed file.
        revoked: new records of units whose file was overwritten by that of another unit, by position.
    """

    records: list[Record] = field(default_factory=list)
    further: list[tuple[int, str, int, str]] = field(default_factory=list)
    layers: list[tuple[int, str, str, str]] = field(default_factory=list)
    owners: dict[str, int] = field(default_factory=dict)
    revoked: dict[int, Record] = field(default_factory=dict)

    def add(self, record: Record, outcome: Outcome) -> None:
        """Add the record of a unit, and its files if they are committed."""
        self.records.append(record)
        if record.file is not None:
            self.further += [(record.position, file.name, file.size, file.sha256) for file in outcome.further]
            self.layers += [(record.position, *layer) for layer in outcome.layers]


class Committer:
    """Commit files under their final names, each of which belongs to one unit, and write the ledger."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger, self._store = ledger, store
        self._ambiguous_names: set[str] = set()
        meta = ledger.meta() if ledger.has_plan else {}
        self._foreign = frozenset(meta.get(FOREIGN_FILES, ()))
        self._notes_files = bool(meta.get(PLANS_GRADUALLY))

    def commit(self, settled: Iterable[Settled], reopened: Iterable[Record] = ()) -> list[Record]:
        """Commit the files of units, then record the units: a record never precedes its file.

        Args:
            reopened: records that replace those of units, of these or of earlier ones.

        Returns:
            The records of the units that are settled: those of failures if their files cannot be committed.

        Raises:
            StorageError: if a file cannot be committed, or the ledger cannot be written.
        """
        batch = _Batch()
        for unit in settled:
            batch.add(self._commit_files(unit, batch), unit.outcome)
        again = {record.position: record for record in reopened}
        if not batch.records and not again:
            return []
        records = [again.pop(record.position, record) for record in batch.records]
        # The unit of an overwritten result may be among these, or in the ledger.
        records = [batch.revoked.pop(record.position, record) for record in records]
        kept = {record.position for record in records if record.file is not None}
        self._ledger.record(
            [*records, *batch.revoked.values(), *again.values()],
            [row for row in batch.further if row[0] in kept],
            [row for row in batch.layers if row[0] in kept],
        )
        return records

    def _commit_files(self, unit: Settled, batch: _Batch) -> Record:
        """Commit the files of a unit, unless another owns one of their names; return the record."""
        assignment, outcome, record = unit
        files = files_of(outcome)
        for file in files:
            owner = batch.owners.get(file.name, self._ledger.owner(file.name))
            if owner not in (None, assignment.position) or file.name in self._ambiguous_names:
                error = UsageError(f"two units have the same name, {file.name}: results must be named apart")
                self.discard(outcome)
                if self._store.is_overwritten and owner not in (None, assignment.position):
                    self._ambiguous_names.add(file.name)  # it is unknown which of the results was written last
                    batch.revoked[owner] = unit_failure(self._ledger.unit(owner), error, 1, 0)
                return unit_failure(assignment, error, record.attempts, record.requests)
        for number, file in enumerate(files):
            try:
                self._check_foreign(file.name)
                self._store.commit(file)
            except UsageError as error:  # such as a folder of that name: an error of the unit, not of the disk
                for unwanted in files[number:]:
                    self._store.discard(unwanted)
                return unit_failure(assignment, error, record.attempts, record.requests)
            batch.owners[file.name] = assignment.position
        return record

    def discard(self, outcome: Outcome) -> None:
        """Remove the files of an outcome that is not recorded, unless they have taken the place of others already."""
        if not self._store.is_overwritten:
            for file in files_of(outcome):
                self._store.discard(file)

    def _check_foreign(self, name: str) -> None:
        """Raise an error if a file of this name existed before the run."""
        if name in self._foreign and self._store.size(name) is not None:
            raise UsageError(
                f"{name} was in the output folder before the run and is not replaced: move it away and run eechips"
                " retry, or choose another `out`"
            )
        if name in self._foreign:  # its owner has moved it away: from now on it is the run's
            self._foreign -= {name}
            self._ledger.note(FOREIGN_FILES, sorted(self._foreign))

    def note_files(self, events: Iterable[Finished | Lost]) -> None:
        """Record the files that are about to be committed, as a script may look for them when it is run again."""
        if not self._notes_files:
            return
        outcomes = [event.outcome for event in events if isinstance(event, Finished)]
        files = [file for outcome in outcomes for file in files_of(outcome)]
        if files:
            self._ledger.note(COMMITTING, [(file.name, file.size, file.sha256) for file in files])


def files_of(outcome: Outcome) -> tuple[StagedFile, ...]:
    """Return the files of an outcome that are to be committed."""
    return () if outcome.staged is None else (outcome.staged, *outcome.further)


_MAX_LOSSES = 3
"""Workers that a unit may end until it fails."""


class OutcomeHandler:
    """Decide which outcomes are committed; queue units again whose workers were lost.

    Attributes:
        is_exclusive: the recipe fetches by itself, so that a process executes one unit at a time.
    """

    def __init__(self, context: SchedulerContext, queue: UnitQueue) -> None:
        self._context, self._queue = context, queue
        self._ledger, self._log = context.ledger, context.log
        self._features = context.features
        self._breaker = Breaker(context.clock)
        self._mismatched: set[int] = set()  # positions of units under way whose results are to be discarded
        self._losses: Counter[int] = Counter()
        self._committer = Committer(context.ledger, context.store)
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
        self._reopen_mismatched(events)
        self._committer.note_files(events)
        settled, failure = self._decide(events)
        records = self._committer.commit(settled, self._breaker.reopened if failure is not None else ())
        if records:
            self._queue.settled += len(records)
            for feature in self._features:
                feature.settle(records)
        return failure

    def _decide(self, events: Iterable[Finished | Lost]) -> tuple[list[Settled], EechipsError | None]:
        """Return the units that are settled, and the error that concerns all; queue those that are fetched again."""
        settled: list[Settled] = []
        failure: EechipsError | None = None
        divided: dict[int, list[WorkUnit]] = defaultdict(list)
        for event in self._expected(events):
            if self._is_discarded(event) or self._is_fetched_again(event, divided):
                continue
            if isinstance(event, Lost):
                record, outcome = self._requeue(event), Outcome(event.assignment.position, None)
            elif any(feature.claim(event) for feature in self._features):
                continue
            else:
                record, outcome = self._charged(event), event.outcome
                self.is_exclusive = self.is_exclusive or outcome.is_exclusive
                stop = self._breaker.note(event.assignment, outcome)
                failure = failure or outcome.fatal or stop
            if record is not None:
                settled.append(Settled(event.assignment, outcome, record))
        for units in divided.values():
            halves = (feature.divide(units) for feature in self._features)
            self._queue.again.extend(next(filter(None, halves), list(map(fetched_alone, units))))
        return settled, failure

    def _expected(self, events: Iterable[Finished | Lost]) -> Iterator[Finished | Lost]:
        """Yield the first event of each unit under way. Others are duplicates, of units that are settled or open
        again.

        The temporary file of a duplicate stays until the run sweeps its own.
        """
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
        record = replace(record, attempts=record.attempts + self._losses[event.assignment.position])
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
        return unit_failure(event.assignment, error, losses, 0)

    def _reopen_mismatched(self, events: Iterable[Finished | Lost]) -> None:
        """Reopen units whose requests turned out to be wrong, as their template depends on more than its values."""
        for mismatch in (mismatch for e in events if isinstance(e, Finished) for mismatch in e.outcome.mismatches):
            under_way = self._queue.under_way.intersection(mismatch.positions)
            settled = [position for position in mismatch.positions if position not in under_way]
            has_replaced = any(feature.has_replaced for feature in self._features)
            done = self._ledger.with_results(settled, or_empty=not has_replaced)
            self._mismatched |= under_way
            self._ledger.reopen(done)
            self._queue.again.extend(map(self._ledger.unit, done))
            self._queue.settled -= len(done)
            self._context.progress.reopen(len(done))
            self._log.write("reopened", template=mismatch.template, positions=[*done, *sorted(under_way)])
            count = len(done) + len(under_way)
            verb = "is" if count == 1 else "are"
            self._context.progress.say(
                f"The function {mismatch.template} of a Template branches on its values, or depends on more than these:"
                f" {format_count(count, 'unit')} whose requests may be wrong {verb} fetched again. Give"
                " Chip the image itself, or pass what it branches on in 'fixed'."
            )

    def _is_discarded(self, event: Finished | Lost) -> bool:
        """Return whether to discard an outcome, and to fetch its unit again."""
        mismatched = self._mismatched.intersection(unit.position for unit in event.assignment.units)
        if not mismatched:
            return False
        self._mismatched -= mismatched
        if isinstance(event, Lost) or event.outcome.record is None:
            return False
        self._committer.discard(event.outcome)
        self._queue.again.append(fetched_alone(event.assignment))
        return True

    def _is_fetched_again(self, event: Finished | Lost, divided: Mapping[int, list[WorkUnit]]) -> bool:
        """Return whether the request that a unit shared has failed, and have the unit fetched again."""
        if isinstance(event, Lost) or event.outcome.failed_request is None:
            return False
        failed = event.outcome.failed_request
        self._log.write("shared request failed", id=event.assignment.id, error=failed.error)
        if failed.is_divisible:
            divided[failed.first].append(event.assignment)
        else:
            self._queue.again.append(fetched_alone(event.assignment))
        return True
