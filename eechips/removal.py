"""Remove and replace files. No other module removes files: each removal states the right to it.

The caller names its right to the file, and the right is checked against the file itself:

- :class:`NamedPath`: a temporary file or scratch folder, whose name carries its writer (:mod:`eechips.staging`). It
  must be of this process, of the given writer, or of a process that has ended.
- :class:`LockedFolder`: a file of a fixed name below a folder whose lock this process holds, and not below the folder
  of another run, nor behind a symbolic link that leads out of the folder.
- :class:`RecordedFile`: a result. Its content must be what was recorded of it: a file that another program has put in
  its place stays.
- :class:`ReservedName`: a file named by a unit, in a folder kept for such files; :class:`ListedFile`: a folder named by
  the token of a writer, which a ledger names.
- :class:`TemporaryName`: a file that was handed over by its writer. It must have a temporary name.

A file gets its final name by :func:`replace`, when it is complete. :func:`set_aside` keeps a file of another program
that is in the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from eechips.staging import (
    RUN_FILES,
    SCRATCH_PREFIX,
    Writer,
    is_abandoned,
    is_numbered_token,
    is_running,
    is_temporary,
    new_writer,
    scratch_name,
    writer_of,
)

_BLOCK = 1 << 20
_held: Counter[str] = Counter()
_turn = Lock()


class RemovalRight(Protocol):
    """By which right a file is removed."""

    def covers(self, path: Path) -> bool:
        """Return whether a file or folder, which is there, may be removed by this right."""


class NotOwnedError(Exception):
    """A fault of eechips: a file was to be removed that is not known to be its own."""


@dataclass(frozen=True, slots=True)
class NamedPath:
    """The right to temporary files of this process, and of processes that have ended.

    Attributes:
        writer: whose files the right covers as well: the run that this process works for.
    """

    writer: Writer | None = None

    def covers(self, path: Path) -> bool:
        """Return whether the name of a file or folder, or of a folder above, carries such a writer."""
        found = next(filter(None, map(writer_of, (path.name, *(parent.name for parent in path.parents)))), None)
        if found is None:
            return False
        here = new_writer()
        is_own = (found.place, found.pid, found.started) == (here.place, here.pid, here.started)
        return is_own or found == self.writer or is_running(found) is False


@dataclass(frozen=True, slots=True)
class LockedFolder:
    """The right to the files of a folder whose lock this process holds.

    Attributes:
        folder: that is locked.
    """

    folder: Path

    def covers(self, path: Path) -> bool:
        """Return whether a path is below the folder, in no folder of another run."""
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
        sha256: of the content, hexadecimal; None if it was not recorded: then the size decides.
    """

    size: int | None
    sha256: str | None

    def covers(self, path: Path) -> bool:
        """Return whether the content of a file is what was recorded; never through a link."""
        if path.is_symlink() or not path.is_file() or (self.size is None and self.sha256 is None):
            return False
        if self.size is not None and path.stat().st_size != self.size:
            return False
        return self.sha256 is None or _sha256(path) == self.sha256


@dataclass(frozen=True, slots=True)
class TemporaryName:
    """The right to a file that its writer has handed over before it had its name."""

    def covers(self, path: Path) -> bool:
        """Return whether the file has a temporary name."""
        return is_temporary(path.name)


@dataclass(frozen=True, slots=True)
class ReservedName:
    """The right to files named by units, in a folder of the run that is kept for such files.

    Attributes:
        folder: name of the folder, such as ``quarantine`` or ``.calls``.
    """

    folder: str

    def covers(self, path: Path) -> bool:
        """Return whether a file is in such a folder."""
        return any(parent.name == self.folder for parent in path.parents)


@dataclass(frozen=True, slots=True)
class ListedFile:
    """The right to a folder whose name is the token of a writer, with a number, and which a ledger names."""

    def covers(self, path: Path) -> bool:
        """Return whether the name of the folder is of that form."""
        return is_numbered_token(path.name)


@contextlib.contextmanager
def register_lock(folder: Path) -> Iterator[None]:
    """Note that this process holds the lock of a folder, inside the block."""
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

    Args:
        path: of the file.
        right: to the file.

    Returns:
        Whether it was removed: False if it is not there, or its content is not what was recorded.

    Raises:
        NotOwnedError: if the right does not cover the file.
        OSError: if the file system refuses.
    """
    if not os.path.lexists(path) or not _is_covered(path, right):
        return False
    path.unlink(missing_ok=True)
    return True


def remove_tree(path: Path, right: RemovalRight) -> bool:
    """Remove a folder and all that is in it. What cannot be removed stays.

    Returns:
        Whether it was there.

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
    """Remove a symbolic link, and never what it leads to.

    Raises:
        NotOwnedError: if it is something else.
        OSError: if the file system refuses.
    """
    if not path.is_symlink():
        raise NotOwnedError(f"{path} is no symbolic link")
    path.unlink()


def remove_empty(path: Path) -> bool:
    """Remove a folder if nothing is in it. Returns whether it was removed."""
    try:
        path.rmdir()
    except OSError:
        return False
    return True


def replace(source: Path | str, target: Path | str) -> None:
    """Give a complete file its final name, in the place of a file that is there; atomic.

    Args:
        source: the file, under a temporary name or in a scratch folder.
        target: the final name, on the same file system.

    Raises:
        OSError: if the file system refuses.
    """
    os.replace(source, target)  # noqa: PTH105 - texts as well: paths cost time for each of a million results


def place_new(source: Path, target: Path) -> bool:
    """Give a complete file its final name, unless there is a file of that name; atomic.

    Returns:
        Whether it has the name now. If not, ``source`` is still there.

    Raises:
        OSError: if the file system refuses.
    """
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return False
    except OSError:  # no hard links: FAT, some network file systems
        if os.path.lexists(target):
            return False
        source.replace(target)
        return True
    source.unlink()
    return True


def set_aside(path: Path) -> Path:
    """Rename a file of another program that is in the way of one of eechips; nothing is overwritten.

    Args:
        path: of the file, such as ``run.json``.

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


@contextlib.contextmanager
def scratch_folder(parent: Path, writer: Writer | None = None) -> Iterator[Path]:
    """A folder for the duration of the block.

    Args:
        parent: where it is made.
        writer: whose it is; None for a new one of this process.

    Raises:
        OSError: if it cannot be made.
    """
    folder = make_scratch(parent, writer)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_scratch(parent: Path, writer: Writer | None = None) -> Path:
    """Make a scratch folder that the caller removes; see :func:`scratch_folder`."""
    folder = parent / scratch_name(writer)
    folder.mkdir(mode=0o700)
    return folder


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A scratch folder in the system's folder of temporary files. Those of processes that were killed are removed.

    Raises:
        OSError: if it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    _sweep_flat(parent)
    with scratch_folder(parent) as folder:
        yield folder


def temporary_folder_of(owner: object) -> Path:
    """Return a folder as of :func:`temporary_folder`, for as long as an object lives, or the process.

    Raises:
        OSError: if it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    _sweep_flat(parent)
    folder = make_scratch(parent)
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


def sweep_folder(root: Path, asking: Writer, *, own: bool = False) -> int:
    """Remove abandoned files and scratch folders; the folders of other runs below are not entered.

    Args:
        root: the folder.
        asking: as of :func:`eechips.staging.is_abandoned`.
        own: as of :func:`eechips.staging.is_abandoned`.

    Returns:
        How many were removed.
    """
    count = 0
    for directory, folders, files in os.walk(root):
        if Path(directory) != root and not set(RUN_FILES).isdisjoint(files):
            folders.clear()
            continue
        for name in [each for each in folders if each.startswith(SCRATCH_PREFIX)]:
            folders.remove(name)
            if is_abandoned(name, asking, own=own):
                shutil.rmtree(Path(directory, name), ignore_errors=True)
                count += 1
        for name in files:
            if is_abandoned(name, asking, own=own):
                with contextlib.suppress(FileNotFoundError, PermissionError):  # removed, or another user's
                    Path(directory, name).unlink()
                    count += 1
    return count


def _sweep_flat(root: Path) -> None:
    """Remove the abandoned scratch folders directly in a folder."""
    asking = new_writer()
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(SCRATCH_PREFIX)]
        for name in names:
            if is_abandoned(name, asking):
                shutil.rmtree(root / name, ignore_errors=True)


def _is_covered(path: Path, right: RemovalRight) -> bool:
    if right.covers(path):
        return True
    if isinstance(right, RecordedFile):
        return False
    raise NotOwnedError(f"{path} is not known to be a file of this process: {right}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
