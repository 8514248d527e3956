"""Make scratch folders, and sweep the temporary files of writers that have ended."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from eechips.files.abandoned_files import is_abandoned_path
from eechips.files.removal import NamedPath, TemporaryName, remove, remove_tree
from eechips.files.temporary_names import RUN_FILES, SCRATCH_PREFIX, Writer, new_writer, scratch_name


@contextlib.contextmanager
def scratch_folder(parent: Path, writer: Writer | None = None) -> Iterator[Path]:
    """Make a scratch folder for the duration of the block.

    Args:
        writer: its writer; None for a new writer of this process.

    Raises:
        OSError: if it cannot be made.
    """
    folder = make_scratch(parent, writer)
    try:
        yield folder
    finally:
        remove_tree(folder, NamedPath(writer))


def make_scratch(parent: Path, writer: Writer | None = None) -> Path:
    """Make a scratch folder that the caller removes; see :func:`scratch_folder`."""
    folder = parent / scratch_name(writer)
    folder.mkdir(mode=0o700)
    return folder


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a scratch folder in the system's folder of temporary files; remove scratch folders of killed processes.

    Raises:
        OSError: if it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    _sweep_flat(parent)
    with scratch_folder(parent) as folder:
        yield folder


def temporary_folder_of(owner: object) -> Path:
    """Make a folder as :func:`temporary_folder` does, for the lifetime of an object, or of the process.

    Raises:
        OSError: if it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    _sweep_flat(parent)
    folder = make_scratch(parent)
    weakref.finalize(owner, remove_tree, folder, NamedPath())
    return folder


def find_abandoned(root: Path, asking: Writer, *, own: bool = False) -> Iterator[Path]:
    """Yield abandoned files and scratch folders; the folders of other runs below are not entered.

    Args:
        asking: as of :func:`eechips.files.abandoned_files.is_abandoned`.
        own: as of :func:`eechips.files.abandoned_files.is_abandoned`.
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


def _sweep_flat(root: Path) -> None:
    """Remove the abandoned scratch folders directly in a folder."""
    asking = new_writer()
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(SCRATCH_PREFIX)]
        for name in names:
            if is_abandoned_path(root / name, asking):
                with contextlib.suppress(OSError):
                    remove_tree(root / name, TemporaryName())
