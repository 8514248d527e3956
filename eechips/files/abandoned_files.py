"""Find the temporary files of writers that have ended, and remove them.

- Names of any other form belong to other programs; their files are never removed.
- Files of a process of this machine are removed when the process has ended.
- Files of earlier processes of the same run are removed, since the asking process holds the lock of the run.
- Files of processes that are not visible from here (another host, another container) are removed after a week, by the
  clock of the file system: that of this machine may be days ahead.
"""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from eechips.files.removal import TemporaryName, remove, remove_tree
from eechips.files.temporary_names import (
    NO_RUN,
    RUN_FILES,
    SCRATCH_PREFIX,
    Writer,
    is_running,
    new_writer,
    writer_and_time_of,
)

ABANDONED_AFTER = 7 * 86_400.0
"""Seconds after which a temporary file counts as abandoned if its writer is not visible from here."""


def is_abandoned(name: str, asking: Writer, *, own: bool = False, now: Callable[[], float] = time.time) -> bool:
    """Return whether a file or folder is temporary and abandoned, so that it may be removed.

    Args:
        name: name of the file or folder, without folders.
        asking: the writer that asks. If it works for a run, it holds the lock of that run.
        own: whether its own files are abandoned, too, since it does not write any longer.
        now: as of :func:`has_ended`.
    """
    parsed = writer_and_time_of(name)
    if parsed is None:
        return False
    writer, written = parsed
    return own if writer == asking else has_ended(writer, asking, written, now)


def is_abandoned_path(path: Path, asking: Writer, *, own: bool = False) -> bool:
    """Return whether a file or folder of a file system is abandoned, by the clock of that file system.

    Args:
        asking: as of :func:`is_abandoned`.
        own: as of :func:`is_abandoned`.
    """
    return is_abandoned(path.name, asking, own=own, now=lambda: file_system_time(path.parent))


def file_system_time(folder: Path) -> float:
    """Return the time by the clock of a folder's file system, which may be that of a server, in seconds since 1970.

    A folder in which nothing can be written returns 0: nothing is old there, and nothing can be removed.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return 0.0


def has_ended(writer: Writer, asking: Writer, written: float, now: Callable[[], float] = time.time) -> bool:
    """Return whether a writer has ended, so that its files stay incomplete.

    Args:
        asking: the writer that asks. If it works for a run, it holds the lock of that run.
        written: time of the file, in seconds since 1970.
        now: clock of the place of the file, in seconds since 1970. It is read only for files that are old by the
            clock of this machine, and whose writer is not visible from here.
    """
    running = is_running(writer)
    if running is None and writer.run == asking.run != NO_RUN:
        return True  # a run has one process at a time, now the asking one
    if running is None:
        return time.time() - written > ABANDONED_AFTER and now() - written > ABANDONED_AFTER
    return not running


def choose_abandoned(names: Iterator[str], asking: Writer, *, own: bool = False) -> list[str]:
    """Return the abandoned files of a listing of a whole tree, without those in folders of other runs.

    Args:
        names: paths below the root, with forward slashes.
        asking: as of :func:`is_abandoned`.
        own: as of :func:`is_abandoned`.
    """
    abandoned: list[str] = []
    others: set[str] = set()
    for name in names:
        folder, _, last = name.rpartition("/")
        if folder and last in RUN_FILES:
            others.add(folder)
        elif is_abandoned(last, asking, own=own):
            abandoned.append(name)
    return [name for name in abandoned if not any(name.startswith(f"{folder}/") for folder in others)]


def find_abandoned(root: Path, asking: Writer, *, own: bool = False) -> Iterator[Path]:
    """Yield abandoned files and scratch folders; the folders of other runs below are not entered.

    Args:
        asking: as of :func:`is_abandoned`.
        own: as of :func:`is_abandoned`.
    """
    for directory, folders, files in os.walk(root):
        if Path(directory) != root and not set(RUN_FILES).isdisjoint(files):
            folders.clear()
            continue
        scratch = [folder for folder in folders if folder.startswith(SCRATCH_PREFIX)]
        folders[:] = [folder for folder in folders if folder not in scratch]
        paths = (Path(directory, name) for name in (*scratch, *files))
        yield from (path for path in paths if is_abandoned_path(path, asking, own=own))


def sweep_folder(root: Path, asking: Writer, *, own: bool = False) -> int:
    """Remove the files and folders of :func:`find_abandoned`; return their number."""
    count, right = 0, TemporaryName()
    for path in find_abandoned(root, asking, own=own):
        with contextlib.suppress(PermissionError):  # another user's
            is_scratch = path.name.startswith(SCRATCH_PREFIX) and path.is_dir()
            count += remove_tree(path, right) if is_scratch else remove(path, right)
    return count


def sweep_beside(path: Path, asking: Writer) -> None:
    """Remove what killed processes have left of one file, beside it: no command sweeps the folder of just any file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if is_abandoned_path(left, asking):
            with contextlib.suppress(PermissionError):  # another user's
                remove(left, TemporaryName())


def sweep_scratch(root: Path) -> None:
    """Remove the abandoned scratch folders directly in a folder."""
    asking = new_writer()
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(SCRATCH_PREFIX)]
        for name in names:
            if is_abandoned_path(root / name, asking):
                with contextlib.suppress(OSError):
                    remove_tree(root / name, TemporaryName())
