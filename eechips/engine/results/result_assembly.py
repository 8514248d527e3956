"""Assemble the results of a run: one table from many cells, one raster from many windows; never over files that were
there before.

The files are made in a local folder. Results in an object store are downloaded once for that, and the assembled files
are uploaded; they remain in the folder as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.client import retry
from eechips.client.retry import RetryPolicy
from eechips.engine.plans.resumed_files import ResumedFiles
from eechips.engine.progress import Progress, say
from eechips.errors import StorageError, UsageError
from eechips.files.hashes import hash_file
from eechips.files.removal import LockedFolder, remove_tree
from eechips.files.temporary_names import Writer, new_writer
from eechips.manifest.manifest_columns import ROW, Record, State
from eechips.manifest.metadata_keys import ASSEMBLED, ASSEMBLY
from eechips.manifest.reserved_names import FOREIGN_FILES, result_name
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import FilesAhead, read_unit_files
from eechips.processes.parallel_map import parallel_map
from eechips.recipe import Recipe, SupportsAssembly, SupportsAssemblySettings, unit_value
from eechips.storage import LocalStore, ObjectStore, Store, atomic_path

_PARTS = ".parts"
"""Folder of the results that were fetched back from an object store, until all is made of them."""
_DOWNLOADS = 8  # concurrent downloads
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class CompletedUnit:
    """A unit with its outcome.

    Attributes:
        name: path of its result below the output folder, without suffix.
        record: its columns of the manifest.
        path: path of its file, or of a local copy if results are in an object store; None if it has no file. Of a unit
            with several files, the first.
        paths: paths of all its files by layer, likewise; empty if its file has no layer.
    """

    unit: Any
    name: str
    record: Record
    path: Path | None
    paths: Mapping[str, Path]


_UnitFiles = tuple[CompletedUnit, Sequence[tuple[str, str | None]]]
"""A unit, with path and SHA-256 of each of its files."""


class Results:
    """The results of a run whose units are all settled. Iterating yields them in the order of the plan.

    Attributes:
        folder: folder of the assembled files.
        made: the files made so far: ``file`` (path below the output folder), ``bytes`` and ``sha256`` of each.

    Args:
        folder: folder of the ledger, and of the results unless they are remote.
        remote: the object store of the results; None for the folder.
    """

    def __init__(self, ledger: Ledger, folder: Path, *, remote: ObjectStore | None = None, quiet: bool = False) -> None:
        self._ledger, self.folder, self._remote, self._quiet = ledger, folder, remote, quiet
        self._store = LocalStore(folder)
        self._parts = self._store if remote is None else LocalStore(folder / _PARTS)
        self.made: list[dict[str, Any]] = []

    @property
    def writer(self) -> Writer:
        """A writer of this process for the run, whose lock is held."""
        return new_writer(self._ledger.writer_name)

    @property
    def counts(self) -> dict[State, int]:
        """Units by state; states without units are left out."""
        return self._ledger.counts()

    @property
    def failed(self) -> int:
        """Number of units without a result because they failed."""
        return sum(count for state, count in self.counts.items() if state.is_failure)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[CompletedUnit]:
        layers = FilesAhead(row for row in read_unit_files(self._ledger.database) if row[2])
        with Progress(len(self), 0, None, quiet=self._quiet, unit="assembled") as progress:
            for rows in self._ledger.batches(("unit", "name", *ROW)):
                # They are read one by one: parsed, thousands take several times the memory of their texts.
                for unit in self._download_all(self._read(row, layers) for row in rows):
                    yield unit
                    progress.step()

    def _read(self, row: tuple[Any, ...], layers: FilesAhead[Any]) -> _UnitFiles:
        text, name, *values = row
        record = Record.of_row(values)
        files = {layer: (file, sha256) for _, _, layer, file, _, sha256, _ in layers.of(record.position)}
        path = None if record.file is None else self._parts.path(record.file)
        paths = {layer: self._parts.path(file) for layer, (file, _) in files.items()}
        first = [] if record.file is None else [(record.file, record.sha256)]
        return CompletedUnit(unit_value(json.loads(text)), name, record, path, paths), list(files.values()) or first

    def _download_all(self, units: Iterable[_UnitFiles]) -> Iterator[CompletedUnit]:
        """Yield units, each as soon as its files are local."""

        def download(unit_files: _UnitFiles) -> CompletedUnit:
            unit, files = unit_files
            if self._remote is not None:
                for file, sha256 in files:
                    self._download(self._remote, file, sha256)
            return unit

        return map(download, units) if self._remote is None else parallel_map(download, units, _DOWNLOADS)

    def _download(self, remote: ObjectStore, file: str, sha256: str | None) -> None:
        """Download a result, unless it is local, and verify its checksum."""
        if self._parts.size(file) is not None and self._parts.sha256(file) == sha256:
            return  # downloaded by an assembly that was killed
        try:
            data = retry.call(lambda: remote.read(file), RetryPolicy())
        except FileNotFoundError:
            raise StorageError(f"{remote.url}/{file} is missing: the same command fetches it again") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StorageError(
                f"{remote.url}/{file} has changed since it was recorded: remove it, and the same command fetches it"
            )
        self._parts.commit(self._parts.stage(file, data, str(new_writer())))

    def progress(self, total: int, unit: str) -> Progress:
        """Return a progress bar for a part of the work; use it in a ``with`` block."""
        return Progress(total, 0, None, quiet=self._quiet, unit=unit)

    def say(self, text: str) -> None:
        """Show a line to the user."""
        say(text, quiet=self._quiet)

    @contextlib.contextmanager
    def make(self, name: str) -> Iterator[Path]:
        """Write a file.

        Args:
            name: its path below the output folder.

        Yields:
            Where to write it. When the block ends without an error it is uploaded, if results are in an object
            store; it gets its name, and is noted in the ledger.

        Raises:
            UsageError: if the name leads out of the output folder, or is that of a result or of the run's own files.
            StorageError: if it cannot be written.
            TransientError: if it cannot be uploaded at present.
        """
        name = result_name(name)
        if self._ledger.owner(name) is not None or any(file_record["file"] == name for file_record in self.made):
            raise UsageError(f"assemble() cannot make {name}: there is a result of that name already")
        final = self._store.path(name)
        foreign = self._ledger.meta().get(FOREIGN_FILES, [])
        if final.exists() and name in foreign:
            raise UsageError(
                f"{name} was in the output folder before the run and is not replaced: move it away, and run the same"
                " command again"
            )
        with atomic_path(final, self.writer) as temporary:
            final.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            file_record = {"file": name, "bytes": temporary.stat().st_size, "sha256": hash_file(temporary)}
            if self._remote is not None:
                self._upload(self._remote, name, temporary)
            if name in foreign:  # its owner has moved it away: the name is free
                self._ledger.note(FOREIGN_FILES, [foreign_file for foreign_file in foreign if foreign_file != name])
        self.made.append(file_record)

    def _upload(self, remote: ObjectStore, name: str, path: Path) -> None:
        with self.progress(math.ceil(path.stat().st_size / _MEGABYTE), "MB uploaded") as progress:

            def report(count: int) -> None:
                progress.settle_up_to(count // _MEGABYTE)

            retry.call(lambda: remote.upload(name, path, report), RetryPolicy())

    def remove_parts(self) -> None:
        """Remove the downloaded results."""
        if self._remote is not None:
            remove_tree(self._parts.root, LockedFolder(self._parts.root.parent))


def keep_part(folder: Path, file: str, data: bytes) -> None:
    """Store a result of an object store that was downloaded anyway, so that an assembly need not download it again.

    Args:
        file: path below the output folder.
    """
    parts = LocalStore(folder / _PARTS)
    parts.commit(parts.stage(file, data, str(new_writer())))


def is_assembled(recipe: Recipe, ledger: Ledger, files: ResumedFiles) -> bool:
    """Return whether there is nothing to assemble, or all assembled files still exist."""
    if assembler(recipe) is None:
        return True
    meta = ledger.meta()
    assembled = meta.get(ASSEMBLED)
    return assembled is not None and meta.get(ASSEMBLY) == assembly_of(recipe) and files.is_assembled(assembled)


def assemble(recipe: Recipe, ledger: Ledger, folder: Path, store: Store, *, quiet: bool = False) -> None:
    """Have a recipe assemble its results, and record the files in the ledger; raise EechipsError if it cannot.

    Args:
        folder: folder of the ledger; what is assembled is put there.
    """
    function = assembler(recipe)
    if function is None:
        return
    ledger.note(ASSEMBLED, None)
    results = Results(ledger, folder, remote=store if isinstance(store, ObjectStore) else None, quiet=quiet)
    function(results)
    results.remove_parts()
    ledger.note(ASSEMBLY, assembly_of(recipe))
    ledger.note(ASSEMBLED, results.made)


def assembler(recipe: Recipe) -> Callable[[Results], None] | None:
    """Return the function of a recipe that assembles its results; None if there is none."""
    return recipe.assemble if isinstance(recipe, SupportsAssembly) else None


def assembly_of(recipe: Recipe) -> dict[str, Any] | None:
    """Return the options of the assembly, as JSON; None if there are none. If they change, the files are made again."""
    return recipe.assembly if isinstance(recipe, SupportsAssemblySettings) else None
