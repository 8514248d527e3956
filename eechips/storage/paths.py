"""Make the output folder, and check paths in folders that other users have made: no links that lead out, no devices."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from eechips.errors import StorageError, UsageError


def is_inside(path: str | Path, root: Path) -> bool:
    """Return whether a path, which need not exist, is inside a folder after links are resolved."""
    real = os.path.realpath(root)
    resolved = os.path.realpath(path)
    return resolved == real or resolved.startswith(real.rstrip("/") + "/")


def is_device(path: Path) -> bool:
    """Return whether an absolute path is that of a device or an open file, not of a file in memory (``/dev/shm``)."""
    return path.is_relative_to("/dev") and not path.is_relative_to("/dev/shm")


def resolve_inside(path: str | Path, root: Path) -> Path:
    """Resolve the path of a file in a folder that another user may have made.

    Args:
        path: path of the file, which need not exist; its folder is inside ``root``.
        root: folder that contains the file after links are resolved.

    Raises:
        UsageError: if a link leads out of the root, or the path is not a regular file, but a pipe or a device.
    """
    path = Path(path)
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            if not is_inside(path, root):
                raise UsageError(f"{path} is a link that leads out of {root}: it is not followed")
            mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is not a regular file: it is not read")
    return path


def make_folder(path: Path) -> bool:
    """Make the output folder.

    Returns:
        Whether this call made it: of several processes that start at once, only one makes it.

    Raises:
        StorageError: if it cannot be made.
    """
    try:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            path.mkdir(exist_ok=True)  # raises for a file
            return False
        return True
    except OSError as error:
        raise StorageError.of_output(path, error) from error
