"""Units whose results are not wanted: they lose their files, and the next run draws others in their place."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from eechips.errors import UsageError
from eechips.manifest.export import COPIED, export_failures, export_layers, export_parquet
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.lock import locked
from eechips.manifest.record import RECORD_COLUMNS, State
from eechips.manifest.run import AS_IT_GOES, ASSEMBLED, INFO_NAME, open_run
from eechips.objects import ObjectStore
from eechips.storage import LocalStore, Store, write_file

DROPPED = "dropped"
"""In the ledger: whether units that were dropped are still to be replaced."""

OPEN, SETTLED = "open", "settled"

_KEPT = ("state", "error", "attempts", "requests", "seconds", "finished")


class _DropLedger(Ledger):
    """The ledger, as far as dropping goes."""

    def __enter__(self) -> _DropLedger:
        return self

    def drop(self, reasons: Mapping[int, str]) -> list[str]:
        """Makes units skipped, for a reason each, all or none; returns the paths of their files."""
        files = [file for position, file, _ in self.files() if position in reasons]
        cleared = ", ".join(f"{column} = NULL" for column in RECORD_COLUMNS if column not in _KEPT)
        rows = [(reason, position) for position, reason in reasons.items()]
        with self._transaction():
            self._db.executemany(
                f"UPDATE units SET state = '{State.SKIPPED.value}', error = ?, {cleared} WHERE position = ?", rows
            )
            for table in ("further_files", "layers"):
                if self._has_table(table):
                    positions = ((position,) for position in reasons)
                    self._db.executemany(f"DELETE FROM {table} WHERE position = ?", positions)
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (DROPPED, json.dumps(OPEN)))
        return files


def drop(folder: str | Path, reasons: Mapping[str, str], again: Collection[str] = ()) -> tuple[int, int]:
    """Drops units: they are ``skipped`` in the manifest, for a reason that stands there as their error.

    Their files are removed once the ledger says so. The next run in the folder draws others in their place, of the
    same strata, if its recipe can: ``eechips retry`` is enough.

    Args:
        folder: of the run.
        reasons: why, by id of the unit.
        again: ids of units that are to be fetched again instead, as only their files are wrong.

    Returns:
        How many were dropped, and how many were planned again: units that have no files are left alone.

    Raises:
        UsageError: if the folder holds no run, a process is running in it, or something counts on every result: a
            script, or what was made of them all.
        StorageError: if the manifest cannot be written.
    """
    run = open_run(folder)
    folder, store = run.path, run.store
    with locked(folder), _DropLedger(folder / LEDGER_NAME) as ledger:
        meta = ledger.meta()
        if meta.get(AS_IT_GOES) or meta.get(ASSEMBLED):
            what = (
                "its script" if meta.get(AS_IT_GOES) else f"{meta[ASSEMBLED][0]['file']}, which was made of them all,"
            )
            raise UsageError(f"no result of {folder} can be dropped: {what} counts on every one")
        by_id = {
            identifier: position
            for batch in ledger.batches(("position", "lower(hex(id))", "file"))
            for position, identifier, file in batch
            if file is not None
        }
        reopened = [by_id[identifier] for identifier in again if identifier in by_id]
        chosen = {by_id[identifier]: reason for identifier, reason in reasons.items() if identifier in by_id}
        if not chosen and not reopened:
            return 0, 0
        files = ledger.drop(chosen) if chosen else []
        ledger.reopen(reopened)
        _remove(store, files)
        export_failures(ledger, folder)
        export_parquet(ledger, folder)
        export_layers(ledger, folder)
        if meta.get("results"):
            ledger.note(COPIED, False)  # the next run puts it beside the results again
        _tell(ledger, folder)
    return len(chosen), len(reopened)


def has_dropped(folder: str | Path) -> bool:
    """Whether units were dropped, in whose place the next run is to draw others."""
    with Ledger(Path(folder) / LEDGER_NAME, readonly=True) as ledger:
        return bool(ledger.meta().get(DROPPED) == OPEN)


def _remove(store: Store, files: Iterable[str]) -> None:
    for file in files:
        if isinstance(store, LocalStore):
            store.path(file).unlink(missing_ok=True)
        else:
            assert isinstance(store, ObjectStore)
            store.remove(file)


def _tell(ledger: Ledger, folder: Path) -> None:
    """Counts in run.json what there is now."""
    path = folder / INFO_NAME
    if not path.exists():
        return
    counts = ledger.counts()
    info = json.loads(path.read_text()) | {"units": {state.value: counts[state] for state in State if state in counts}}
    write_file(path, (json.dumps(info, indent=2, ensure_ascii=False) + "\n").encode())
