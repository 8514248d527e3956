"""Read a run: its units, failures, files and status; show it in a notebook."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eechips.errors import UsageError
from eechips.manifest.audit_records import Audit, read_audits
from eechips.manifest.export import PARQUET_NAME, file_rows
from eechips.manifest.extensions import read_named_files
from eechips.manifest.file_checks import Problem, check_files
from eechips.manifest.folder_lock import is_held
from eechips.manifest.manifest_columns import FAILURES, LISTS, MANIFEST, State, names_of
from eechips.manifest.metadata_keys import ASSEMBLED
from eechips.manifest.run_signature import is_own
from eechips.manifest.run_status import Status, read_status
from eechips.manifest.sqlite.database import NO_CONTENT, damaged, has_content
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import layer_columns, read_failures, read_files, sample_files
from eechips.manifest.untrusted_run import INFO_NAME as INFO_NAME
from eechips.manifest.untrusted_run import check_paths, check_values, read_info
from eechips.storage import LocalStore, ObjectStore, Store, local_path
from eechips.storage.local_copies import local_copies
from eechips.text.formatting import escape_html, format_bytes

if TYPE_CHECKING:
    import pandas as pd

    import eechips

_JSON = LISTS | {"unit"}


@dataclass(frozen=True, slots=True)
class Run:
    """A run in its output folder.

    Attributes:
        path: the folder.
        interrupted: whether the command that returned this run was stopped early.
        paused: whether it ended after the units of its estimate, because it was not confirmed.
        results: address of the results, as named by the caller; None for the one in run.json, if this user wrote it.
    """

    path: Path
    interrupted: bool = False
    paused: bool = False
    results: str | None = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        return f"<eechips run in {self.path}: {counts or 'not planned yet'}>"

    def _repr_html_(self) -> str:
        """Show the run in a notebook: its status, some chips, the head of a table."""
        from eechips.manifest.pictures.display_styles import display_styles
        from eechips.manifest.pictures.run_preview import CHIP_COUNT, render_preview

        if not self.counts:
            return f"<div>{escape_html(repr(self))}</div>"
        with self._local_files(CHIP_COUNT) as files:
            return render_preview(self._summary(), files, display_styles(self.info))

    @property
    def info(self) -> dict[str, Any]:
        """run.json: command, versions, endpoint, project, seed, parameters, datasets."""
        return read_info(self.path)

    @property
    def counts(self) -> dict[str, int]:
        """Units by state; states without units are left out. Empty if planning was interrupted."""
        with Ledger(self.path / LEDGER_NAME, readonly=True) as ledger:
            counts = ledger.counts() if ledger.has_plan else {}
        return {state.value: counts[state] for state in State if state in counts}

    @property
    def is_complete(self) -> bool:
        """Return whether every unit has its result; False if planning was interrupted."""
        with Ledger(self.path / LEDGER_NAME, readonly=True) as ledger:
            if not ledger.has_plan or ledger.is_partial:
                return False
        return all(State(state).has_result or state == State.SKIPPED for state in self.counts)

    @property
    def units(self) -> pd.DataFrame:
        """Every unit, in the order of the plan; columns as in manifest.parquet, but its fields in the dict ``unit``."""
        with self._ledger() as ledger:
            rows = list(ledger.rows([column.selection for column in MANIFEST]))
        return _frame(names_of(MANIFEST), rows)

    @property
    def layers(self) -> pd.DataFrame:
        """Every file of units that have several, such as a sample of several datasets; empty for other runs.

        A file with several frames has a row for each frame. The columns are those of layers.parquet.
        """
        import pandas as pd

        with self._ledger() as ledger:
            columns = layer_columns(ledger.database)
            rows = [file_row for row in read_named_files(ledger) for file_row in file_rows(row, columns)]
        return pd.DataFrame(rows, columns=list(names_of(columns))).set_index(["position", "layer"])

    @property
    def failures(self) -> pd.DataFrame:
        """Units that were tried and have no result, with class and message of their error."""
        with self._ledger() as ledger:
            return _frame(names_of(FAILURES), list(read_failures(ledger.database)))

    @property
    def address(self) -> str | None:
        """Address of the object store that has the results; None for the run folder."""
        with self._ledger() as ledger:
            store_address: str | None = ledger.meta().get("results")
        return store_address

    @property
    def store(self) -> Store:
        """Store of the results: this folder, or the object store that was named when the run was started.

        Raises:
            UsageError: if they are in an object store that another user has named.
        """
        address = self.address
        if address is None:
            return LocalStore(self.path)
        info = self.info
        if address != self.results and not (is_own(info, self.path) and info.get("results") == address):
            raise UsageError(
                f"{self.path} was made by another user, or moved, and its results are at {address}. To read and change"
                f" them there with your credentials: eechips trust {shlex.quote(str(self.path))}"
            )
        return ObjectStore(address)

    @property
    def audits(self) -> list[Audit]:
        """Random samples of the units that were fetched again and compared, the first one first."""
        return read_audits(self.path)

    @property
    def file_count(self) -> int:
        """Number of files of all units, assembled files included."""
        with self._ledger() as ledger:
            return sum(1 for _ in read_files(ledger.database)) + len(ledger.meta().get(ASSEMBLED) or ())

    @property
    def assembled(self) -> list[Path]:
        """The files that were assembled from all results, such as a mosaic or a table; most runs have none.

        If the results are in an object store, these are in the run's folder as well.
        """
        with self._ledger() as ledger:
            return [
                LocalStore(self.path).file(assembled_file["file"])
                for assembled_file in ledger.meta().get(ASSEMBLED) or ()
            ]

    def sample_files(self, count: int) -> list[Path]:
        """Return the paths of up to ``count`` files with data, spread over the plan."""
        with self._ledger() as ledger:
            return [LocalStore(self.path).file(file) for file in sample_files(ledger.database, count)]

    def status(self, *, intervals: int = 60, clock: Callable[[], float] = time.time) -> Status:
        """Read the status of the run.

        Args:
            intervals: intervals of the history, at most.
            clock: seconds since 1970.
        """
        with self._ledger() as ledger:
            return read_status(self.path, ledger, self.info, clock(), intervals)

    def verify(self, tell: Callable[[], object] = lambda: None) -> list[Problem]:
        """Check every file against the ledger: present, same sha256, decodes to the last byte.

        Args:
            tell: called after every file.

        Returns:
            The problems in the order of the plan.

        Raises:
            TransientError, StorageError: if the object store of the files fails.
        """
        with self._ledger() as ledger:
            return check_files(self.path, ledger, self.store, tell)

    def explore(self, **options: Any) -> eechips.Explorer:
        """Explore the run in a notebook: map, chips, filters, marks of bad chips, a region.

        Args:
            **options: options of :func:`eechips.explore`.
        """
        import eechips

        return eechips.explore(self, **options)

    @contextlib.contextmanager
    def _local_files(self, count: int) -> Iterator[list[Path]]:
        """Yield paths of the assembled files, or of some results; those of an object store are copies."""
        assembled = self.assembled
        if assembled:
            yield [path for path in assembled if path.is_file()]
            return
        with local_copies(self.store) as fetched, self._ledger() as ledger:
            yield [path for path in fetched(sample_files(ledger.database, count)) if path.is_file()]

    def _summary(self) -> str:
        """Return the status of the run as HTML."""
        status = self.status(intervals=1)
        counts = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in status.counts.items())
        text = f"<b>{escape_html(self.info.get('recipe') or 'run')}</b>: {counts or 'not planned yet'}"
        text += f"; {format_bytes(status.bytes)} in <code>{escape_html(self.address or str(self.path))}</code>"
        if self.interrupted:
            text += "; interrupted: run the cell again to resume"
        elif status.failures:
            text += "; what failed: <code>.failures</code>"
        notes = [escape_html(note) for note in self.info.get("notes") or ()]
        return "<br>".join([text, *notes])

    def _ledger(self) -> Ledger:
        ledger = Ledger(self.path / LEDGER_NAME, readonly=True)
        if not ledger.has_plan:
            ledger.close()
            why = "it is being planned" if is_held(self.path) else "it was interrupted while it was planned"
            raise UsageError(f"{self.path} holds no run yet: {why}")
        return ledger


def open_run(path: str | Path | Run) -> Run:
    """Open the folder of a run, finished or not. One that is open already is returned.

    Raises:
        UsageError: if the folder holds no run, or its ledger has paths that lead out of it.
        StorageError: if the ledger or run.json is damaged, or a run has lost its ledger.
    """
    if isinstance(path, Run):
        return path
    folder = local_path(path)
    if not has_content(folder / LEDGER_NAME) and (folder / PARQUET_NAME).is_file() and (folder / INFO_NAME).is_file():
        raise damaged(folder / LEDGER_NAME, NO_CONTENT)
    if not (folder / LEDGER_NAME).is_file():
        inside = sorted(str(path.parent) for path in folder.glob(f"*/{LEDGER_NAME}"))
        hint = f"; name one in it: {', '.join(inside[:5])}{' …' if len(inside) > 5 else ''}" if inside else ""
        lack = f"there is no {LEDGER_NAME}" if folder.exists() else "the folder does not exist"
        raise UsageError(f"{folder} holds no run: {lack}{hint}")
    run = Run(folder)
    with run._ledger() as ledger:
        check_paths(ledger)
        if not is_own(run.info, folder):
            check_values(ledger)
    return run


@contextlib.contextmanager
def reading_chips(run: Run) -> Iterator[None]:
    """Read chips of a run in the block.

    Raises:
        UsageError: if one is damaged; says how to list all that are.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        cure = f"to list damaged files, eechips verify {shlex.quote(str(run.path))}"
        raise UsageError(f"a chip of {run.path} is damaged ({error}): {cure}") from error


def _frame(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return rows of the ledger by position, with JSON values parsed."""
    import pandas as pd

    values = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    frame = pd.DataFrame(
        {
            name: pd.Series([None if v is None else json.loads(v) for v in column], dtype=object)
            if name in _JSON
            else list(column)
            for name, column in values.items()
        }
    )
    return frame.set_index("position")
