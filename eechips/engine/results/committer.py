"""Commit the files of units, and record the units in the ledger; refuse two units of one name, and files that were in
the folder before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eechips.engine.outcome import Finished
from eechips.engine.results.outcome_records import unit_failure
from eechips.errors import UsageError
from eechips.manifest.exclusions import COMMITTING
from eechips.manifest.folder_lock import check_lock
from eechips.manifest.manifest_columns import Record, WorkUnit
from eechips.manifest.metadata_keys import PLANS_GRADUALLY
from eechips.manifest.reserved_names import FOREIGN_FILES
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import read_digest
from eechips.manifest.withheld_files import forget
from eechips.storage import StagedFile, Store


class Committer:
    """Commit files under their final names, each of which belongs to one unit, and write the ledger."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger, self._store, self._folder = ledger, store, ledger.folder
        self._ambiguous_names: set[str] = set()
        meta = ledger.meta() if ledger.has_plan else {}
        self._foreign = frozenset(meta.get(FOREIGN_FILES, ()))
        self._is_of_script = bool(meta.get(PLANS_GRADUALLY))

    def commit(self, settled: Sequence[Finished], reopened: Iterable[Record] = ()) -> list[Record]:
        """Commit the files of units, then record the units: a record never precedes its file.

        Args:
            settled: units with a record.
            reopened: records that replace earlier records of units, settled now or before.

        Returns:
            The records of the settled units; records of failures for units whose files cannot be committed.

        Raises:
            StorageError: if a file cannot be committed, the ledger cannot be written, or the folder was moved.
        """
        check_lock(self._folder)
        self._note_files(settled)
        owners: dict[str, tuple[int, str]] = {}  # of the files that are committed now, and digests of these
        replaced = {record.position: record for record in reopened}
        records = [self._commit_files(event, owners, replaced) for event in settled]
        # The unit of an overwritten result may be among these, or in the ledger.
        records = [replaced.pop(record.position, record) for record in records]
        if records or replaced:
            self._ledger.record([*records, *replaced.values()])
        return records

    def _commit_files(self, event: Finished, owners: dict[str, tuple[int, str]], replaced: dict[int, Record]) -> Record:
        """Commit the files of a unit, unless another owns one of their names; return the record.

        Files of a script that equal those of an earlier call, such as a legend beside the chips, remain that call's.

        Args:
            replaced: receives the failure of a unit whose file was overwritten.
        """
        record = event.outcome.record
        assert record is not None  # the unit is settled
        unit, files = event.assignment, event.outcome.staged
        shared: set[str] = set()
        for file in files:
            other = self._claim_name(file.name, unit, owners)
            if other is not None and self._is_of_script and self._digest(file.name, owners) == file.sha256:
                shared.add(file.name)
            elif other is not None or file.name in self._ambiguous_names:
                error = UsageError(self._ambiguity(file.name))
                self.discard(files)
                if self._store.is_overwritten and other is not None:
                    self._ambiguous_names.add(file.name)  # it is unknown which of the results was written last
                    replaced[other] = unit_failure(other, error, 1, 0)
                return unit_failure(unit.position, error, record.attempts, record.requests)
        try:
            for file in files:  # before the first is committed: a unit has all of its files, or none
                self._check_foreign(file.name)
            for file in files:
                self._store.commit(file)
        except UsageError as error:  # an error of the unit, not of the disk
            self.discard(files)
            return unit_failure(unit.position, error, record.attempts, record.requests)
        for file in files:
            if file.name not in shared:
                owners[file.name] = unit.position, file.sha256
        return record.without(shared) if shared else record

    def _claim_name(self, name: str, unit: WorkUnit, owners: Mapping[str, tuple[int, str]]) -> int | None:
        """Return the position of another unit that keeps a name; None if the unit may have it.

        A name that the other unit no longer needs is released.
        """
        if name in owners:
            owner: int | None = owners[name][0]
        else:
            owner = self._ledger.owner(name)
            if owner is not None and owner != unit.position and self._is_free(name, owner, unit):
                self._ledger.release(name)
                forget(self._folder, name)
                return None
        return None if owner == unit.position else owner

    def _digest(self, name: str, owners: Mapping[str, tuple[int, str]]) -> str | None:
        """Return the digest of a file that another unit has."""
        return owners[name][1] if name in owners else read_digest(self._ledger.database, name)

    def _ambiguity(self, name: str) -> str:
        if self._is_of_script:
            return (
                f"another call has written {name}, with other content: give each call a file of its own, or return the"
                " values and let the script write them"
            )
        return f"two units have the same name, {name}: results must be named apart"

    def _is_free(self, name: str, owner: int, unit: WorkUnit) -> bool:
        """Return whether a script has removed the file of an earlier unit, or repeats one whose name a later one has.

        A script that makes and removes files in a loop gives them the same names each time.
        """
        if not self._is_of_script:
            return False
        is_gone = self._store.size(name) is None
        return is_gone or (owner > unit.position and self._use(owner) != self._use(unit.position))

    def _use(self, position: int) -> Any:
        """Return the number of the use of a pool that a unit of a script belongs to."""
        ((content,),) = self._ledger.rows(("unit",), [position])
        return json.loads(content)["value"]["use"]

    def discard(self, files: Iterable[StagedFile]) -> None:
        """Remove files that are not recorded, unless they have taken the place of others already."""
        if not self._store.is_overwritten:
            for file in files:
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

    def _note_files(self, settled: Iterable[Finished]) -> None:
        """Record the files that are about to be committed, as a script may look for them when it is run again."""
        if not self._is_of_script:
            return
        files = [file for event in settled for file in event.outcome.staged]
        if files:
            self._ledger.note(COMMITTING, [(file.name, file.size, file.sha256) for file in files])
