"""What is made of all results of a run together: one table of many cells, one raster of many windows."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.engine.progress import Progress
from eechips.errors import StorageError
from eechips.manifest.ledger import Ledger
from eechips.manifest.record import Record, State
from eechips.manifest.run import ASSEMBLED, ASSEMBLY
from eechips.recipe import Recipe, unit_value
from eechips.storage import LocalStore, sha256_of


@dataclass(frozen=True, slots=True)
class Settled:
    """A settled unit.

    Attributes:
        unit: as the recipe gave it.
        name: path of its result below the output folder, without suffix.
        record: what became of it; the columns of the manifest.
        path: of its file, if it has one.
    """

    unit: Any
    name: str
    record: Record
    path: Path | None


class Results:
    """The results of a run whose units are all settled. Iterating gives them in the order of the plan.

    Args:
        ledger: of the run.
        folder: where the results are.
        quiet: show no progress.
    """

    def __init__(self, ledger: Ledger, folder: Path, *, quiet: bool = False) -> None:
        self._ledger, self._folder, self._quiet = ledger, folder, quiet
        self._store = LocalStore(folder)
        self._made: list[dict[str, Any]] = []

    @property
    def folder(self) -> Path:
        """Where the results are."""
        return self._folder

    @property
    def counts(self) -> dict[State, int]:
        """Units by state; states without units are left out."""
        return self._ledger.counts()

    @property
    def failed(self) -> int:
        """Units that have no result because they failed."""
        return sum(count for state, count in self.counts.items() if state.is_failure)

    @property
    def made(self) -> list[dict[str, Any]]:
        """What was made so far: ``file`` (path below the output folder), ``bytes`` and ``sha256`` of each."""
        return list(self._made)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[Settled]:
        columns = Record.__slots__
        with Progress(len(self), 0, None, quiet=self._quiet, unit="assembled") as progress:
            for rows in self._ledger.batches(("unit", "name", *columns)):
                for unit, name, *values in rows:
                    given = dict(zip(columns, values, strict=True))
                    record = Record(**{**given, "state": State(given["state"])})
                    path = None if record.file is None else self._store.path(record.file)
                    yield Settled(unit_value(json.loads(unit)), name, record, path)
                    progress.settle(failed=False)
                    progress.show(0, 0)

    def progress(self, total: int, unit: str) -> Progress:
        """Shows how far a part of the work is; use it in a ``with`` block.

        Args:
            total: of what is counted.
            unit: its name.
        """
        return Progress(total, 0, None, quiet=self._quiet, unit=unit)

    def say(self, text: str) -> None:
        """Shows the user a line."""
        Progress(0, 0, None, quiet=self._quiet).say(text)

    @contextlib.contextmanager
    def make(self, name: str) -> Iterator[Path]:
        """A file in the making.

        Args:
            name: its path below the output folder.

        Yields:
            Where to write it. When the block ends without an error it gets its name, and is noted in the ledger.

        Raises:
            UsageError: if the name leads out of the output folder.
            StorageError: if it cannot be written.
        """
        final = self._store.path(name)
        temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            made = {"file": name, "bytes": temporary.stat().st_size, "sha256": sha256_of(temporary)}
            temporary.replace(final)
        except OSError as error:
            raise StorageError(f"could not write {final}: {error.strerror or error}") from error
        finally:
            temporary.unlink(missing_ok=True)
        self._made.append(made)


def is_assembled(recipe: Recipe, ledger: Ledger, folder: Path) -> bool:
    """Whether there is nothing to assemble, or all that was assembled is still there."""
    if assembler(recipe) is None:
        return True
    meta = ledger.meta()
    made = meta.get(ASSEMBLED)
    if made is None or meta.get(ASSEMBLY) != assembly_of(recipe):
        return False
    return all(_size(folder / found["file"]) == found["bytes"] for found in made)


def assemble(recipe: Recipe, ledger: Ledger, folder: Path, *, quiet: bool = False) -> None:
    """Has a recipe make what it makes of all results together, and notes it in the ledger.

    Raises:
        EechipsError: if it cannot.
    """
    function = assembler(recipe)
    if function is None:
        return
    ledger.note(ASSEMBLED, None)
    results = Results(ledger, folder, quiet=quiet)
    function(results)
    ledger.note(ASSEMBLY, assembly_of(recipe))
    ledger.note(ASSEMBLED, results.made)


def assembler(recipe: Recipe) -> Callable[[Results], None] | None:
    """What a recipe makes of all results together, if it makes anything."""
    found: Callable[[Results], None] | None = getattr(recipe, "assemble", None)
    return found


def assembly_of(recipe: Recipe) -> dict[str, Any] | None:
    """How a recipe makes it, as JSON: if that changes, it is made again, of the same results."""
    found: dict[str, Any] | None = getattr(recipe, "assembly", None)
    return found


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
