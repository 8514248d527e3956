"""Changes of several files that happen together or not at all.

New files are written into a scratch folder. When all are there, a list of what is to be moved and removed is written;
from then on the change has happened: whoever opens the catalogue next finishes what the list says. Without the list, it
has not: the scratch folder is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from eechips.errors import StorageError
from eechips.storage import SCRATCH_PREFIX

SCRATCH = f"{SCRATCH_PREFIX}merge"
"""The folder, below the catalogue, that holds what is not committed yet."""

_LIST = "commit.json"
_PREPARED = f"{_LIST}.part"


class Change:
    """Files of a folder that are about to change. One process at a time: hold the folder's lock.

    Attributes:
        scratch: where new files are written, under names of the caller's choice.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.scratch = folder / SCRATCH
        self._moves: list[tuple[str, str]] = []
        self._removals: list[str] = []

    def move(self, staged: str, path: str) -> None:
        """A file in the scratch folder is to be at a path below the folder, in the place of what is there.

        Later moves happen later.
        """
        self._moves.append((staged, path))

    def remove(self, path: str) -> None:
        """A file below the folder is to be removed."""
        self._removals.append(path)

    def commit(self) -> None:
        """Makes the change.

        Raises:
            StorageError: if the file system refuses. What the list names is then finished by whoever opens the folder.
        """
        with _told(self._folder):
            for staged, path in self._moves:
                _flush(self.scratch / staged)
                (self._folder / path).parent.mkdir(parents=True, exist_ok=True)  # what cannot be is found out now
            prepared = self.scratch / _PREPARED
            prepared.write_text(json.dumps({"moves": self._moves, "removals": self._removals}))
            _flush(prepared)
            prepared.replace(self.scratch / _LIST)
            _flush(self.scratch)
        finish(self._folder)


def is_pending(folder: Path) -> bool:
    """Whether a change has happened of which not all files are in place."""
    return (folder / SCRATCH / _LIST).exists()


def finish(folder: Path) -> bool:
    """Puts in place what is left of a change that has happened. Hold the folder's lock.

    Returns:
        Whether there was one.

    Raises:
        StorageError: if the file system refuses.
    """
    scratch = folder / SCRATCH
    if not is_pending(folder):
        return False
    with _told(folder):
        change = json.loads((scratch / _LIST).read_text())
        for staged, path in change["moves"]:
            with contextlib.suppress(FileNotFoundError):  # it has been moved
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                (scratch / staged).replace(target)
        for path in change["removals"]:
            (folder / path).unlink(missing_ok=True)
            _prune(folder, (folder / path).parent)
        (scratch / _LIST).unlink()
        shutil.rmtree(scratch)
    return True


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"could not write the catalogue {folder}: {error.strerror or error}") from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(folder: Path, emptied: Path) -> None:
    """Removes folders that have become empty."""
    while emptied != folder:
        try:
            emptied.rmdir()
        except OSError:
            return
        emptied = emptied.parent
