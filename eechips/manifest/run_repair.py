"""Repair a run: reopen units whose files are wrong, and write its manifest anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eechips.errors import StorageError
from eechips.manifest.export import COPIED, LAYERS_NAME, PARQUET_NAME, export_layers, export_parquet
from eechips.manifest.failures import export_failures
from eechips.manifest.folder_lock import lock_run
from eechips.manifest.run import ASSEMBLED, Problem, Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import read_unit_files
from eechips.manifest.withheld_files import is_withheld
from eechips.storage.untrusted_files import open_parquet

MANIFEST = "manifest"
"""Instead of the id of a unit, in a problem of a file that describes the run."""

_BATCH = 10_000  # rows
_COLUMNS = ("id", "file", "sha256")
_Row = tuple[str, str | None, str | None]
"""A row of a manifest, in the order of ``_COLUMNS``."""


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


def find_manifest_problems(run: Run) -> list[Problem]:
    """Compare the manifest of a finished run with its ledger.

    Returns:
        A problem for each of ``manifest.parquet`` and ``layers.parquet`` that is missing, damaged or different; none
        for a run that is not finished, whose manifest is not written yet.
    """
    if not run.info.get("finished") or not run.is_complete:
        return []
    problems = []
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        units = ledger.batches(("lower(hex(id))", "file", "sha256"))
        wanted: dict[str, Iterator[_Row]] = {PARQUET_NAME: (row for rows in units for row in rows)}
        if ledger.has_layers:
            wanted[LAYERS_NAME] = ((row[1], row[3], row[5]) for row in read_unit_files(ledger.database))
        for name, rows in wanted.items():
            reason = _difference(run.path / name, rows)
            problems += [] if reason is None else [Problem(MANIFEST, name, reason)]
    return problems


def _difference(path: Path, wanted: Iterator[_Row]) -> str | None:
    """Return how ids and checksums of a manifest differ from those of the ledger; None if they do not."""
    if not path.is_file():
        return "the file is missing"
    try:
        for row in _stored(path):
            if row != next(wanted, None):
                return "it differs from the ledger"
    except StorageError as error:
        return str(error).removeprefix(f"{path} ")
    return None if next(wanted, None) is None else "it differs from the ledger"


def _stored(path: Path) -> Iterator[_Row]:
    """Yield each row, that of a file with several frames once."""
    with open_parquet(path) as file:
        before = None
        for batch in file.iter_batches(_BATCH, columns=list(_COLUMNS)):
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
    with lock_run(run.path), Ledger(run.path / LEDGER_NAME) as ledger:
        positions = {position for position, file, _ in ledger.files() if file in of_files}
        ledger.reopen(positions)
        if assembled_count:
            ledger.note(ASSEMBLED, None)
        manifests = tuple(problem.file for problem in problems if problem.id == MANIFEST)
        if manifests:
            export_failures(ledger, run.path)
            export_parquet(ledger, run.path)
            export_layers(ledger, run.path)
            if run.address is not None:
                ledger.note(COPIED, False)  # the next run puts it beside the results again
    return Repair(len(positions), assembled_count, manifests)


def awaits_assembly(folder: Path) -> bool:
    """Return whether the files that a run assembles of its results are to be assembled again."""
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        meta = ledger.meta()
    return ASSEMBLED in meta and meta[ASSEMBLED] is None
