"""Find states and manifests of a run that contradict its ledger; reopen units whose files are wrong, and write the
manifest anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.errors import StorageError
from eechips.manifest.export import LAYERS_NAME, PARQUET_NAME
from eechips.manifest.failures import rewrite_manifest
from eechips.manifest.file_checks import Problem
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.manifest_columns import State
from eechips.manifest.metadata_keys import ASSEMBLED
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import has_layers, read_files, read_unit_files
from eechips.manifest.withheld_files import is_withheld
from eechips.storage.untrusted_files import open_parquet
from eechips.text.formatting import short_digest

MANIFEST = "manifest"
"""Instead of the id of a unit, in a problem of a file that describes the run."""

_BATCH = 10_000  # rows
_COLUMNS = ("position", "id", "file", "sha256")
_Row = tuple[int, str, str | None, str | None]
"""A row of a manifest, in the order of ``_COLUMNS``."""

_PLANNED = State.PLANNED.value
_FAILED = f"('{State.FAILED_TRANSIENT.value}', '{State.FAILED_PERMANENT.value}')"
_WITH_RESULT = f"('{State.DONE.value}', '{State.EMPTY.value}')"
_CONTRADICTIONS = {
    "has a file": f"state NOT IN {_WITH_RESULT} AND file IS NOT NULL",
    "has no error": f"state IN {_FAILED} AND error_class IS NULL OR state = '{State.SKIPPED.value}' AND error IS NULL",
    "has an error": f"state IN {_WITH_RESULT} AND error_class IS NOT NULL",
}
"""What no unit of a state has, as conditions of SQL."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done for a run with problems.

    Attributes:
        units: number of units that the run's command fetches again.
        assembled: number of files that it assembles again.
        manifests: names of the files that were written anew.
    """

    units: int = 0
    assembled: int = 0
    manifests: tuple[str, ...] = ()


def find_state_problems(run: Run) -> list[Problem]:
    """Find units whose state is not that which the run has recorded.

    Returns:
        A problem, of the ledger, for each unit whose state contradicts the rest of its row, or differs from that in the
        manifest of a finished run. Those that are planned are to be fetched again.
    """
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        reasons = {
            identifier: f"it is {_shown(state)}, and {what}"
            for what, condition in _CONTRADICTIONS.items()
            for identifier, state in ledger.database.execute(
                f"SELECT lower(hex(id)), state FROM units WHERE {condition} ORDER BY position"
            )
        }
        if _has_manifest(run, ledger):
            states = dict(ledger.rows(("lower(hex(id))", "state")))
            for identifier, before in _recorded_states(run.path / PARQUET_NAME):
                state = states.get(identifier, before)
                if state not in (before, _PLANNED):
                    reasons.setdefault(
                        identifier, f"it is {_shown(state)}, and was {_shown(before)} when the run ended"
                    )
    return [
        Problem(identifier, LEDGER_NAME, f"the row of unit {short_digest(identifier)} was changed: {reason}")
        for identifier, reason in reasons.items()
    ]


def find_manifest_problems(run: Run) -> list[Problem]:
    """Compare the manifest of a finished run with its ledger.

    Returns:
        A problem for each of ``manifest.parquet`` and ``layers.parquet`` that is missing, damaged or different; none
        for a run that is not finished, whose manifest is not written yet. Planned units may differ.
    """
    problems = []
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        if not _has_manifest(run, ledger):
            return []
        planned = {position for position, state in ledger.rows(("position", "state")) if state == _PLANNED}
        wanted: dict[str, Iterator[Any]] = {PARQUET_NAME: ledger.rows(("position", "lower(hex(id))", "file", "sha256"))}
        if has_layers(ledger.database):
            wanted[LAYERS_NAME] = ((row[0], row[1], row[3], row[5]) for row in read_unit_files(ledger.database))
        for name, rows in wanted.items():
            reason = _difference(run.path / name, rows, planned)
            problems += [] if reason is None else [Problem(MANIFEST, name, reason)]
    return problems


def _shown(state: str) -> str:
    return state.replace("_", " ")


def _recorded_states(manifest: Path) -> Iterator[tuple[str, str]]:
    """Yield id and state of each unit of a manifest; none if it is missing or damaged: that is another problem."""
    with contextlib.suppress(StorageError, FileNotFoundError), open_parquet(manifest) as file:
        for batch in file.iter_batches(_BATCH, columns=["id", "state"]):
            yield from zip(*(batch[name].to_pylist() for name in ("id", "state")), strict=True)


def _has_manifest(run: Run, ledger: Ledger) -> bool:
    """Return whether the manifest of a run is that of its ledger: a run that begins again is not finished."""
    return bool(run.info.get("finished")) and not ledger.is_partial


def _difference(path: Path, wanted: Iterator[_Row], planned: Collection[int]) -> str | None:
    """Return how ids and checksums of a manifest differ from those of the ledger; None if they do not."""
    if not path.is_file():
        return "the file is missing"
    settled = (row for row in wanted if row[0] not in planned)
    try:
        for row in _stored(path):
            if row[0] not in planned and row != next(settled, None):
                return "it differs from the ledger"
    except StorageError as error:
        return str(error).removeprefix(f"{path} ")
    return None if next(settled, None) is None else "it differs from the ledger"


def _stored(path: Path) -> Iterator[_Row]:
    """Yield each row, that of a file with several frames once. All columns are read: their pages have checksums."""
    with open_parquet(path) as file:
        before = None
        for batch in file.iter_batches(_BATCH):
            for row in zip(*(batch[name].to_pylist() for name in _COLUMNS), strict=True):
                if row != before or path.name == PARQUET_NAME:
                    yield row
                before = row


def repair(run: Run, problems: Sequence[Problem]) -> Repair:
    """Have the command of a run fetch or assemble again what is wrong, and write manifests anew.

    Files are not removed: what is fetched again replaces them.

    Raises:
        RunLockedError: if a process is running in its folder.
        StorageError: if the ledger or a manifest cannot be written.
    """
    if not problems:
        return Repair()
    of_files = {
        problem.file
        for problem in problems
        if problem.id not in (ASSEMBLED, MANIFEST) and not is_withheld(run.path, problem.file)
    }
    assembled_count = sum(problem.id == ASSEMBLED for problem in problems)
    with lock_folder(run.path), Ledger(run.path / LEDGER_NAME) as ledger:
        changed = {problem.id for problem in problems if problem.file == LEDGER_NAME}
        positions = {file.position for file in read_files(ledger.database) if file.name in of_files}
        positions |= {position for position, unit in ledger.rows(("position", "lower(hex(id))")) if unit in changed}
        ledger.reopen(positions)
        if assembled_count:
            ledger.note(ASSEMBLED, None)
        manifests = tuple(problem.file for problem in problems if problem.id == MANIFEST)
        if manifests:
            rewrite_manifest(ledger, run.path)
    return Repair(len(positions), assembled_count, manifests)


def awaits_assembly(folder: Path) -> bool:
    """Return whether the files that a run assembles of its results are to be assembled again."""
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        meta = ledger.meta()
    return ASSEMBLED in meta and meta[ASSEMBLED] is None
