"""Atomic changes of several files of a catalogue.

New files are written into a scratch folder. When all of them are there, a commit list of what is to be moved and
removed is written: from then on the change counts as made, and the next command that writes into the catalogue, or
``eechips catalog repair``, completes it. Without a commit list the change has not been made, and the scratch folder is
removed. Commands that only read never complete a change.

A commit list is not trusted, since a catalogue may have been received from elsewhere: its paths are those of a
catalogue's files, inside the catalogue also after symbolic links are followed, and it names the schema file that it
belongs to.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from eechips.errors import StorageError
from eechips.removal import LockedFolder, remove, remove_empty, remove_tree, replace
from eechips.staging import SCRATCH_PREFIX

SCRATCH = f"{SCRATCH_PREFIX}merge"
"""The folder, below the catalogue, that holds what is not committed yet."""

SCHEMA_NAME = "_schema.json"
"""The schema file, which engines that read folders ignore since its name begins with an underscore."""

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
        """Give a file in the scratch folder a path below the folder, replacing the file there.

        Later moves happen later.
        """
        self._moves.append((staged, path))

    def remove(self, path: str) -> None:
        """Remove a file below the folder."""
        self._removals.append(path)

    def commit(self) -> None:
        """Make the change.

        Raises:
            StorageError: if the file system refuses. A change whose list was written can be completed later.
        """
        with _errors_of(self._folder):
            for staged, path in self._moves:
                _flush(self.scratch / staged)
                (self._folder / path).parent.mkdir(parents=True, exist_ok=True)  # fails here rather than half-way
            before = _digest(self._folder / SCHEMA_NAME)
            after = next((_digest(self.scratch / s) for s, path in self._moves if path == SCHEMA_NAME), before)
            value = {"schema": [before, after], "moves": self._moves, "removals": self._removals}
            prepared = self.scratch / _PREPARED
            prepared.write_text(json.dumps(value))
            _flush(prepared)
            replace(prepared, self.scratch / _LIST)
            _flush(self.scratch)
        finish(self._folder)


def is_pending(folder: Path) -> bool:
    """Whether a change has been committed of which not all files are in place."""
    return os.path.lexists(folder / SCRATCH / _LIST)


def finish(folder: Path) -> bool:
    """Complete a change that was committed and then interrupted. Hold the folder's lock.

    Returns:
        Whether there was one.

    Raises:
        StorageError: if its commit list is not that of this catalogue, or the file system refuses.
    """
    if not is_pending(folder):
        return False
    scratch = folder / SCRATCH
    with _errors_of(folder):
        listed = _read(folder)
        for staged, path in listed.moves:
            with contextlib.suppress(FileNotFoundError):  # it has been moved
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                replace(scratch / staged, target)
        _flush_folders(folder, [path for _, path in listed.moves])
        for path in listed.removals:
            remove(folder / path, LockedFolder(folder))
            _prune(folder, (folder / path).parent)
        remove(scratch / _LIST, LockedFolder(folder))
        remove_tree(scratch, LockedFolder(folder))
    return True


@dataclass(frozen=True, slots=True)
class _CommitList:
    """A commit list that has been checked.

    Attributes:
        moves: name in the scratch folder, and path below the catalogue.
        removals: paths below the catalogue.
    """

    moves: list[tuple[str, str]]
    removals: list[str]


def _read(folder: Path) -> _CommitList:
    """Read the commit list of a catalogue, and check that it concerns nothing but this catalogue.

    Raises:
        StorageError: if it does not, or is damaged.
        OSError: if it cannot be read.
    """
    file = folder / SCRATCH / _LIST

    def refused(reason: str) -> StorageError:
        return StorageError(
            f"{file} is not a commit list of this catalogue ({reason}), and nothing was changed: if you trust the"
            f" catalogue as it is, remove {folder / SCRATCH}"
        )

    if (folder / SCRATCH).is_symlink() or not stat.S_ISREG(file.lstat().st_mode):
        raise refused("it is a symbolic link")
    try:
        value: Any = json.loads(file.read_bytes())
        moves = [(str(staged), str(path)) for staged, path in value["moves"]]
        removals = [str(path) for path in value["removals"]]
        schemas = list(value["schema"])
        if not all(
            isinstance(name, str) for name in (*value["removals"], *(n for pair in value["moves"] for n in pair))
        ):
            raise TypeError("a path is not a text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise refused(f"it cannot be read: {type(error).__name__}") from None
    if _digest(folder / SCHEMA_NAME) not in schemas:
        raise refused(f"it was written for another {SCHEMA_NAME}")
    home = folder.resolve()
    for path in (*(path for _, path in moves), *removals):
        if not _is_inside(home, path):
            raise refused(f"it names {path!r}")
    for staged, _ in moves:
        source = folder / SCRATCH / staged
        if not _is_name(staged) or (os.path.lexists(source) and not stat.S_ISREG(source.lstat().st_mode)):
            raise refused(f"it names {staged!r}")
    return _CommitList(moves, removals)


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..", _LIST) and not {"/", "\\", "\0"} & set(name)


def _is_inside(home: Path, path: str) -> bool:
    """Whether a path is normalised, relative, of no hidden file, and inside a folder once links are followed."""
    parts = path.split("/")
    if not all(_is_name(part) and not part.startswith(".") for part in parts):
        return False
    parent = (home / PurePosixPath(*parts)).parent.resolve()
    return parent == home or home in parent.parents


def _digest(path: Path) -> str | None:
    """Sha256 of a file, hexadecimal; None if there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"could not write the catalogue {folder}: {error.strerror or error}") from error


def _flush_folders(folder: Path, paths: list[str]) -> None:
    """Write the entries of the folders of files to the disk, up to the catalogue's own.

    Otherwise, after a power failure, the commit list might be gone and a rename not yet on the disk.
    """
    parents = {parent for path in paths for parent in (folder / path).parents if parent.is_relative_to(folder)}
    for parent in sorted({folder, *parents}):
        if parent.is_dir():
            _flush(parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(folder: Path, emptied: Path) -> None:
    """Remove folders that have become empty."""
    while emptied != folder and remove_empty(emptied):
        emptied = emptied.parent
