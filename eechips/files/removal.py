"""Remove and replace files, each by a right that is checked against the file; no other module removes files. Set files
of other programs aside (``.kept-1``).

The rights:

- :class:`NamedPath`: a temporary file or scratch folder, whose name has its writer
  (:mod:`eechips.files.temporary_names`). The writer must be this process, a given writer, or a process that has ended.
- :class:`LockedFolder`: a file with a fixed name below a folder whose lock this process holds; not below the folder of
  another run, and not behind a symbolic link out of the folder.
- :class:`RecordedFile`: a result whose content equals the record, so that files of other programs with the same name
  are kept.
- :class:`ReservedName`: a file named by a unit, in a folder reserved for such files; :class:`ListedFile`: a folder
  named by the token of a writer, which is in a ledger.
- :class:`TemporaryName`: a file that its writer has handed over, or that is known to be abandoned. It must have a
  temporary name.

:func:`replace` gives a complete file its final name. :func:`set_aside` renames a file of another program that has the
name of a file to write.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from eechips.files.hashes import hash_file
from eechips.files.temporary_names import (
    RUN_FILES,
    Writer,
    is_numbered_token,
    is_running,
    is_temporary,
    new_writer,
    writer_of,
)

_held: Counter[str] = Counter()
_turn = Lock()


class RemovalRight(Protocol):
    """The right to remove a file."""

    def covers(self, path: Path) -> bool:
        """Return whether this right permits the removal of an existing file or folder."""


class NotOwnedError(Exception):
    """A removal without a right to the file, which is a fault of eechips."""


@dataclass(frozen=True, slots=True)
class NamedPath:
    """The right to temporary files of this process, and of processes that have ended.

    Attributes:
        writer: a writer whose files the right covers, too: the run of this process. None for no other.
    """

    writer: Writer | None = None

    def covers(self, path: Path) -> bool:
        """Return whether the name of a file or folder, or of a folder above, has such a writer."""
        writer = next(filter(None, map(writer_of, (path.name, *(parent.name for parent in path.parents)))), None)
        if writer is None:
            return False
        here = new_writer()
        is_own = (writer.place, writer.pid, writer.started) == (here.place, here.pid, here.started)
        return is_own or writer == self.writer or is_running(writer) is False


@dataclass(frozen=True, slots=True)
class LockedFolder:
    """The right to the files of a folder whose lock this process holds."""

    folder: Path

    def covers(self, path: Path) -> bool:
        """Return whether a path is below the folder, but not in the folder of another run."""
        home = Path(os.path.realpath(self.folder))
        if not _held[str(home)]:
            return False
        place = Path(os.path.realpath(path.parent), path.name)
        if home not in place.parents:
            return False
        between = [parent for parent in place.parents if home in parent.parents]
        return not any(os.path.lexists(parent / name) for parent in between for name in RUN_FILES)


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """The right to a file whose content was recorded.

    Attributes:
        size: bytes.
        sha256: SHA-256 digest of the content, hexadecimal; None if it was not recorded: then the size decides.
    """

    size: int | None
    sha256: str | None

    def covers(self, path: Path) -> bool:
        """Return whether the content of a file equals the record; links are not followed."""
        if path.is_symlink() or not path.is_file() or (self.size is None and self.sha256 is None):
            return False
        if self.size is not None and path.stat().st_size != self.size:
            return False
        return self.sha256 is None or hash_file(path) == self.sha256


@dataclass(frozen=True, slots=True)
class TemporaryName:
    """The right to a temporary file or scratch folder that its writer has handed over, or that is abandoned."""

    def covers(self, path: Path) -> bool:
        """Return whether the file has a temporary name."""
        return is_temporary(path.name)


@dataclass(frozen=True, slots=True)
class ReservedName:
    """The right to files named by units, in a folder of the run that is reserved for them.

    Attributes:
        folder: name of the folder, such as ``quarantine`` or ``.calls``.
    """

    folder: str

    def covers(self, path: Path) -> bool:
        """Return whether a file is in such a folder."""
        return any(parent.name == self.folder for parent in path.parents)


@dataclass(frozen=True, slots=True)
class ListedFile:
    """The right to a folder that is in a ledger, and whose name is the token of a writer with a number."""

    def covers(self, path: Path) -> bool:
        """Return whether the name of the folder has this form."""
        return is_numbered_token(path.name)


@contextlib.contextmanager
def register_lock(folder: Path) -> Iterator[None]:
    """Record that this process holds the lock of a folder, inside the block."""
    key = os.path.realpath(folder)
    with _turn:
        _held[key] += 1
    try:
        yield
    finally:
        with _turn:
            _held[key] -= 1


def remove(path: Path, right: RemovalRight) -> bool:
    """Remove a file.

    Returns:
        Whether it was removed: False if it does not exist, or its content differs from the record.

    Raises:
        NotOwnedError: if the right does not cover the file.
        OSError: if the file system refuses.
    """
    if not os.path.lexists(path) or not _is_covered(path, right):
        return False
    path.unlink(missing_ok=True)
    return True


def remove_tree(path: Path, right: RemovalRight) -> bool:
    """Remove a folder with its content. Files that cannot be removed are kept.

    Returns:
        Whether it existed.

    Raises:
        NotOwnedError: if the right does not cover the folder.
    """
    if not os.path.lexists(path) or not _is_covered(path, right):
        return False
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
    return True


def remove_link(path: Path) -> None:
    """Remove a symbolic link, not its target.

    Raises:
        NotOwnedError: if the path is not a link.
        OSError: if the file system refuses.
    """
    if not path.is_symlink():
        raise NotOwnedError(f"{path} is not a symbolic link")
    path.unlink()


def remove_empty(path: Path) -> bool:
    """Remove a folder if it is empty; return whether it was removed."""
    try:
        path.rmdir()
    except OSError:
        return False
    return True


def replace(source: Path | str, target: Path | str) -> None:
    """Give a complete file its final name atomically, and replace an existing file.

    Args:
        source: the file, under a temporary name or in a scratch folder.
        target: the final name, on the same file system.

    Raises:
        OSError: if the file system refuses.
    """
    about = os.lstat(source)
    try:
        os.replace(source, target)  # noqa: PTH105 - texts as well: paths cost time for each of a million results
    except FileNotFoundError:
        if not _is_same(about, target):  # NFS may repeat a request that has succeeded (rename(2), BUGS)
            raise


def place_new(source: Path, target: Path) -> bool:
    """Give a complete file its final name atomically, unless a file with this name exists.

    Returns:
        Whether it has the name. If not, ``source`` is unchanged.

    Raises:
        OSError: if the file system refuses.
    """
    try:
        target.hardlink_to(source)
    except FileExistsError:
        if not _is_same(os.lstat(source), target):  # as in `replace`
            return False
        if _is_one_entry(source, target):
            return True
    except OSError:  # no hard links: FAT, some network file systems
        if os.path.lexists(target):
            return _is_one_entry(source, target)
        replace(source, target)
        return True
    source.unlink(missing_ok=True)
    return True


def _is_same(about: os.stat_result, target: Path | str) -> bool:
    """Return whether a path is that of a file whose status is given; links are not followed."""
    try:
        return os.path.samestat(about, os.lstat(target))
    except OSError:
        return False


def _is_one_entry(source: Path, target: Path) -> bool:
    """Return whether two paths name the same entry of a folder, in upper or lower case where the disk ignores it."""
    if not source.parent.samefile(target.parent):
        return False
    if source.name == target.name:
        return True
    if not _is_same(os.lstat(source), target):
        return False
    names = {path.name for path in source.parent.iterdir()}
    return not {source.name, target.name} <= names  # hard links are two entries


def set_aside(path: Path) -> Path:
    """Rename a file of another program that has the name of a file to write; no file is overwritten.

    Args:
        path: path of the file, such as ``run.json``.

    Returns:
        Its new path, such as ``run.kept-1.json``.

    Raises:
        OSError: if the file system refuses.
    """
    number = 1
    while True:
        kept = path.with_name(f"{path.stem}.kept-{number}{path.suffix}")
        if not os.path.lexists(kept) and place_new(path, kept):
            return kept
        number += 1


def _is_covered(path: Path, right: RemovalRight) -> bool:
    if right.covers(path):
        return True
    if isinstance(right, RecordedFile):
        return False
    raise NotOwnedError(f"{path} is not known to be a file of this process: {right}")
