"""Exclude units from a run: remove their files, let the next run draw replacements; mark units as bad."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.files.removal import RecordedFile, remove
from eechips.manifest.extensions import read_completions
from eechips.manifest.failures import rewrite_manifest
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.manifest_columns import RECORD_COLUMNS, State
from eechips.manifest.metadata_keys import ASSEMBLED, PLANS_GRADUALLY
from eechips.manifest.run import INFO_NAME, open_run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import read_files
from eechips.storage import LocalStore, Store, write_file

EXCLUSIONS = "dropped"
"""In the ledger: whether dropped units await replacement."""

OPEN, REPLACED = "open", "settled"
COMMITTING = "committing"
"""In the ledger of a script: path, bytes and sha256 of the files that are being renamed."""
REMOVALS = "removals"
"""In the ledger: path, bytes and sha256 of files of dropped units that await removal."""
_log = logging.getLogger(__name__)

_KEPT = ("state", "error", "attempts", "requests", "seconds", "eecu_seconds", "finished")


def _drop(ledger: Ledger, reasons: Mapping[int, str]) -> None:
    """Set units to skipped with a reason each, all or none, and record that their files await removal."""
    database = ledger.database
    files = _removals(ledger, reasons)
    cleared = ", ".join(f"{column} = NULL" for column in RECORD_COLUMNS if column not in _KEPT)
    rows = [(reason, position) for position, reason in reasons.items()]
    with ledger.transaction():
        database.executemany(
            f"UPDATE units SET state = '{State.SKIPPED.value}', error = ?, {cleared} WHERE position = ?", rows
        )
        ledger.forget_files(reasons)
        ledger.set_meta({EXCLUSIONS: OPEN, REMOVALS: files})


def _removals(ledger: Ledger, positions: Collection[int]) -> list[list[Any]]:
    """Return the files that already await removal, and the files of some units."""
    files = [[file.name, file.size, file.sha256] for file in read_files(ledger.database, positions)]
    return [*ledger.meta().get(REMOVALS, []), *files]


def exclude_units(folder: str | Path, reasons: Mapping[str, str], again: Collection[str] = ()) -> tuple[int, int]:
    """Drop units: they are ``skipped`` in the manifest, with the reason as their error.

    Their files are removed once the ledger says so. The next run in the folder draws others in their place, of the
    same strata, if its recipe can: ``eechips retry`` is enough. Units of one sample, which have the files of different
    datasets, are dropped together.

    Args:
        reasons: why, by id of the unit.
        again: ids of units that are to be fetched again instead, as only their files are wrong.

    Returns:
        How many were dropped, and how many were planned again, counted by sample: units that have no files are left
        alone.

    Raises:
        UsageError: if the folder holds no run, a process is running in it, or something counts on every result: a
            script, or what was made of them all.
        StorageError: if the manifest cannot be written.
    """
    run = open_run(folder)
    folder, store = run.path, run.store
    with lock_folder(folder), Ledger(folder / LEDGER_NAME) as ledger:
        meta = ledger.meta()
        if meta.get(PLANS_GRADUALLY) or meta.get(ASSEMBLED):
            what = (
                "its script"
                if meta.get(PLANS_GRADUALLY)
                else f"{meta[ASSEMBLED][0]['file']}, which was made of them all,"
            )
            raise UsageError(f"no result of {folder} can be dropped: {what} counts on every one")
        samples = _Samples.read(ledger)
        remove_excluded_files(ledger, store)
        reopened = samples.find(again)
        chosen = {position: reasons[identifier] for position, identifier in samples.find(reasons).items()}
        if not chosen and not reopened:
            return 0, 0
        finished = _tell(ledger, folder, None)  # the next run writes the manifest if this process is killed before
        if chosen:
            _drop(ledger, samples.with_further(chosen))
        ledger.reopen(samples.with_further(reopened))
        remove_excluded_files(ledger, store)
        rewrite_manifest(ledger, folder)
        _tell(ledger, folder, finished)
    return len(chosen), len(reopened)


@dataclass(frozen=True, slots=True)
class _Samples:
    """The units of a run that have files, with those that have further files of the same samples.

    Attributes:
        by_id: positions of units with files, by id.
        further: positions of units with further files, by that of the unit that they complete.
    """

    by_id: Mapping[str, int]
    further: Mapping[int, Sequence[int]]

    @classmethod
    def read(cls, ledger: Ledger) -> _Samples:
        """Read the units of a ledger."""
        by_id = {
            identifier: position
            for position, identifier, file in ledger.rows(("position", "lower(hex(id))", "file"))
            if file is not None
        }
        return cls(by_id, read_completions(ledger))

    def find(self, ids: Iterable[str]) -> dict[int, str]:
        """Return the ids of units with files, by position; of one that completes another, by that of the other."""
        first_of = {position: first for first, positions in self.further.items() for position in positions}
        there = {self.by_id[identifier]: identifier for identifier in ids if identifier in self.by_id}
        return {first_of.get(position, position): identifier for position, identifier in there.items()}

    def with_further(self, chosen: Mapping[int, str]) -> dict[int, str]:
        """Return the same for all units of the samples of some."""
        further = {p: text for position, text in chosen.items() for p in self.further.get(position, ())}
        return {**chosen, **further}


def release_units(ledger: Ledger, store: Store, positions: Sequence[int]) -> None:
    """Set units back to planned, and remove their files once the ledger says so. The run is locked."""
    ledger.note(REMOVALS, _removals(ledger, positions))
    ledger.reopen(positions)
    remove_excluded_files(ledger, store)


def has_excluded_units(folder: str | Path) -> bool:
    """Return whether dropped units await replacement by the next run."""
    with Ledger(Path(folder) / LEDGER_NAME, readonly=True) as ledger:
        return bool(ledger.meta().get(EXCLUSIONS) == OPEN)


def remove_excluded_files(ledger: Ledger, store: Store) -> None:
    """Remove the files of dropped units, also those left by a killed command.

    A file that has become the result of another unit, or is not as it was recorded, stays.

    Args:
        ledger: ledger of the run, whose lock is held.
    """
    for file in _remove_noted(ledger, store, REMOVALS):
        _log.warning("%s is not as it was recorded: it stays, although its unit was dropped", file)


def remove_uncommitted_files(ledger: Ledger, store: Store) -> None:
    """Remove files that were renamed just before the run was killed, and are not in the ledger.

    A script that is run again would take their units for done. Files that are not as they were written stay.

    Args:
        ledger: ledger of the run, whose lock is held.
    """
    _remove_noted(ledger, store, COMMITTING)


def _remove_noted(ledger: Ledger, store: Store, name: str) -> list[str]:
    """Remove the files that the ledger lists, except results; return those that were changed since, and stay."""
    files = ledger.meta().get(name)
    if not files:
        return []
    left = [
        file for file, size, sha256 in files if ledger.owner(file) is None and not _remove(store, file, size, sha256)
    ]
    ledger.note(name, [])
    return left


def _remove(store: Store, file: str, size: int | None, sha256: str | None) -> bool:
    """Remove a file if it is as recorded; return whether it is gone."""
    if isinstance(store, LocalStore):
        path = store.file(file)
        return remove(path, RecordedFile(size, sha256)) or not path.exists()
    try:
        is_same = store.size(file) in (size, None) and store.sha256(file) == sha256
    except FileNotFoundError:
        return True
    if is_same:
        store.remove(file)
    return is_same


def _tell(ledger: Ledger, folder: Path, finished: str | None) -> str | None:
    """Update the counts in run.json, and when the run has finished; return when it had before."""
    path = folder / INFO_NAME
    if not path.exists():
        return None
    counts = ledger.counts()
    info = json.loads(path.read_text())
    before: str | None = info.get("finished")
    info |= {"units": {state.value: counts[state] for state in State if state in counts}, "finished": finished}
    write_file(path, (json.dumps(info, indent=2, ensure_ascii=False) + "\n").encode())
    return before


MARKS = "marks"
"""In the ledger: ids of units that are marked as bad."""

REASON = "dropped: marked as bad"
"""Error of units that were excluded since they were marked."""


def mark_units(folder: Path, ids: Collection[str], *, is_bad: bool = True) -> list[str]:
    """Mark units as bad, or remove their marks. The files stay; samples of the run are without them.

    Args:
        ids: ids of the units; others than those of the run with a file are ignored.
        is_bad: False to remove the marks.

    Returns:
        Ids of all units that are marked now, in the order of the plan.

    Raises:
        RunLockedError: if a process is running in the folder.
        StorageError: if the ledger cannot be written.
    """
    with lock_folder(folder), Ledger(folder / LEDGER_NAME) as ledger:
        before = set(read_marks(ledger))
        ledger.note(MARKS, sorted(before | set(ids) if is_bad else before - set(ids)))
        return read_marks(ledger)


def exclude_marked(folder: Path) -> int:
    """Exclude the marked units: see :func:`eechips.manifest.exclusions.exclude_units`. Their files are removed.

    Returns:
        How many were excluded.

    Raises:
        UsageError: if units of this run cannot be excluded.
        RunLockedError: if a process is running in the folder.
        StorageError: if the manifest cannot be written.
    """
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        marks = read_marks(ledger)
    return exclude_units(folder, dict.fromkeys(marks, REASON))[0]


def marked_ids(ledger: Ledger) -> frozenset[str]:
    """Return the ids that are marked as bad, of units with or without a file."""
    noted = ledger.meta().get(MARKS)
    return frozenset(entry for entry in (noted if isinstance(noted, list) else ()) if isinstance(entry, str))


def read_marks(ledger: Ledger) -> list[str]:
    """Return ids of the units that are marked as bad and have a file, in the order of the plan."""
    wanted = marked_ids(ledger)
    if not wanted:
        return []
    rows = ledger.rows(("lower(hex(id))", "file"))
    return [identifier for identifier, file in rows if file is not None and identifier in wanted]
