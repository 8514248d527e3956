"""Change several files of a catalogue atomically; complete an interrupted change, but refuse a commit list that names
files outside the catalogue.

New files are written into a scratch folder. When all are there, a commit list of the moves and removals is written:
from then on the change is made, and the next command that writes the catalogue, or ``eechips catalog repair``,
completes it after an interruption. Without a commit list the scratch folder is removed. Commands that only read never
complete a change.

A commit list is not trusted, since a catalogue may come from elsewhere: its paths must be those of a catalogue's files,
inside the catalogue also after symbolic links are resolved, and it must name the digest of the schema file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from eechips.errors import StorageError
from eechips.files.removal import LockedFolder, remove, remove_empty, remove_tree, replace
from eechips.files.temporary_names import SCRATCH_PREFIX

SCRATCH = f"{SCRATCH_PREFIX}merge"
"""Folder of uncommitted files, below the catalogue."""

SCHEMA_NAME = "_schema.json"
"""Name of the schema file; engines that read folders ignore names with an underscore."""

_LIST = "commit.json"
_PREPARED = f"{_LIST}.part"


class Change:
    """A pending change of files in a folder, by one process at a time: hold the folder's lock.

    Attributes:
        folder: folder of the catalogue.
        scratch: folder for new files; the caller chooses their names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = folder / SCRATCH
        self._moves: list[tuple[str, str]] = []
        self._staged: dict[str, str] = {}
        self._removals: list[str] = []

    def move(self, staged: str, path: str) -> None:
        """Plan to move a file from the scratch folder to a path below the folder, replacing the file there.

        Moves happen in the order of the calls.
        """
        self._moves.append((staged, path))
        self._staged[path] = staged

    def remove(self, path: str) -> None:
        """Plan to remove a file below the folder."""
        self._removals.append(path)

    def is_staged(self, path: str) -> bool:
        """Return whether a file is planned to be moved to a path below the folder."""
        return path in self._staged

    def file(self, path: str) -> Path:
        """Return where the file is now that is at a path below the folder after the change."""
        staged = self._staged.get(path)
        return self.folder / path if staged is None else self.scratch / staged

    def commit(self) -> None:
        """Make the change.

        Raises:
            StorageError: if the file system fails. A change with a written commit list can be completed later.
        """
        with _errors_of(self.folder):
            for staged, path in self._moves:
                _flush(self.scratch / staged)
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)  # fails before the commit
            before = _digest(self.folder / SCHEMA_NAME)
            after = next((_digest(self.scratch / s) for s, path in self._moves if path == SCHEMA_NAME), before)
            value = {"schema": [before, after], "moves": self._moves, "removals": self._removals}
            prepared = self.scratch / _PREPARED
            prepared.write_text(json.dumps(value))
            _flush(prepared)
            replace(prepared, self.scratch / _LIST)
            _flush(self.scratch)
        finish(self.folder)


def is_pending(folder: Path) -> bool:
    """Return whether a committed change is incomplete."""
    return os.path.lexists(folder / SCRATCH / _LIST)


def finish(folder: Path) -> bool:
    """Complete an interrupted commit. Hold the folder's lock.

    Returns:
        Whether there was one.

    Raises:
        StorageError: if the commit list belongs to another catalogue, or the file system fails.
    """
    if not is_pending(folder):
        return False
    scratch = folder / SCRATCH
    with _errors_of(folder):
        moves, removals = _read(folder)
        for staged, path in moves:
            with contextlib.suppress(FileNotFoundError):  # it was already moved
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                replace(scratch / staged, target)
        _flush_folders(folder, [path for _, path in moves])
        for path in removals:
            remove(folder / path, LockedFolder(folder))
            emptied = (folder / path).parent
            while emptied != folder and remove_empty(emptied):
                emptied = emptied.parent
        remove(scratch / _LIST, LockedFolder(folder))
        remove_tree(scratch, LockedFolder(folder))
    return True


def _read(folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the moves and removals of a commit list, checked to affect only this catalogue."""
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
            raise TypeError("a path is not a string")
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
    return moves, removals


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..", _LIST) and not {"/", "\\", "\0"} & set(name)


def _is_inside(home: Path, path: str) -> bool:
    """Return whether a path is normalised, relative, not hidden, and inside a folder after links are resolved."""
    parts = path.split("/")
    if not all(_is_name(part) and not part.startswith(".") for part in parts):
        return False
    parent = (home / PurePosixPath(*parts)).parent.resolve()
    return parent == home or home in parent.parents


def _digest(path: Path) -> str | None:
    """Return the sha256 of a file, hexadecimal; None if it does not exist."""
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
    """Flush the folders of files to the disk, up to the catalogue's own.

    Otherwise a power failure could lose a rename after the commit list was removed.
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
