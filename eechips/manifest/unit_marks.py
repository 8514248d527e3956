"""Mark units of a run as bad: training sets are without them, until the marks are removed or the units excluded."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from eechips.errors import StorageError
from eechips.manifest.exclusions import exclude_units
from eechips.manifest.folder_lock import lock_run
from eechips.manifest.ledger import LEDGER_NAME, Ledger

MARKS = "marks"
"""In the ledger: ids of units that are marked as bad."""

REASON = "dropped: marked as bad"
"""Error of units that were excluded since they were marked."""


def mark_units(folder: Path, ids: Collection[str], *, is_bad: bool = True) -> list[str]:
    """Mark units as bad, or remove their marks. The files stay; samples of the run are without them.

    Args:
        folder: folder of the run.
        ids: ids of the units; others than those of the run with a file are ignored.
        is_bad: False to remove the marks.

    Returns:
        Ids of all units that are marked now, in the order of the plan.

    Raises:
        RunLockedError: if a process is running in the folder.
        StorageError: if the ledger cannot be written.
    """
    with lock_run(folder), Ledger(folder / LEDGER_NAME) as ledger:
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
    row = ledger.database.execute("SELECT value FROM meta WHERE key = ?", (MARKS,)).fetchone()
    if row is None:
        return frozenset()
    try:
        noted = json.loads(row[0])
    except (ValueError, TypeError, RecursionError) as error:
        raise StorageError(f"{ledger.path} is damaged: {error}") from error
    return (
        frozenset(identifier for identifier in noted if isinstance(identifier, str))
        if isinstance(noted, list)
        else frozenset()
    )


def read_marks(ledger: Ledger) -> list[str]:
    """Return ids of the units that are marked as bad and have a file, in the order of the plan."""
    wanted = marked_ids(ledger)
    if not wanted:
        return []
    rows = (row for batch in ledger.batches(("lower(hex(id))", "file")) for row in batch)
    return [identifier for identifier, file in rows if file is not None and identifier in wanted]
