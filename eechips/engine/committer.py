"""Commit the files of units, and record the units in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.outcome_records import unit_failure
from eechips.errors import UsageError
from eechips.manifest.exclusions import COMMITTING
from eechips.manifest.ledger import Ledger
from eechips.manifest.reserved_names import FOREIGN_FILES
from eechips.manifest.run import PLANS_GRADUALLY
from eechips.manifest.unit_record import Record, WorkUnit
from eechips.storage import StagedFile, Store


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
