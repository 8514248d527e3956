"""Make scratch folders, in a folder of the run or in the system's for temporary files, and remove them at the end of a
block.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from eechips.files.abandoned_files import sweep_scratch
from eechips.files.removal import NamedPath, remove_tree
from eechips.files.temporary_names import Writer, scratch_name


@contextlib.contextmanager
def scratch_folder(parent: Path, writer: Writer | None = None) -> Iterator[Path]:
    """Make a scratch folder for the duration of the block. A fork that leaves the block keeps it.

    Args:
        writer: its writer; None for a new writer of this process.

    Raises:
        OSError: if it cannot be made.
    """
    folder, process = make_scratch(parent, writer), os.getpid()
    try:
        yield folder
    finally:
        _remove_of(process, folder, writer)


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
    sweep_scratch(parent)
    with scratch_folder(parent) as folder:
        yield folder


def temporary_folder_of(owner: object) -> Path:
    """Make a folder as :func:`temporary_folder` does, for the lifetime of an object, or of the process that makes it.

    Raises:
        OSError: if it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    sweep_scratch(parent)
    folder = make_scratch(parent)
    weakref.finalize(owner, _remove_of, os.getpid(), folder)
    return folder


def _remove_of(process: int, folder: Path, writer: Writer | None = None) -> None:
    """Remove a folder of a process, unless this is a fork of it: the process still uses the folder."""
    if os.getpid() == process:
        remove_tree(folder, NamedPath(writer))
