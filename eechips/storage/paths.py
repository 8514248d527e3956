"""Check, make and hash files and folders that users name or that others have made."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from eechips.errors import StorageError, UsageError

_BLOCK = 1 << 20  # bytes that are hashed at a time


def is_inside(path: str | Path, root: Path) -> bool:
    """Return whether a path lies in a folder once all links are followed; it need not exist."""
    real = os.path.realpath(root)
    found = os.path.realpath(path)
    return found == real or found.startswith(real.rstrip("/") + "/")


def resolve_inside(path: str | Path, root: Path) -> Path:
    """Resolve the path of a file in a folder that another user may have made.

    Args:
        path: of the file, which need not exist; the folder that it is in lies inside ``root``.
        root: that no link may lead out of.

    Raises:
        UsageError: if a link leads out of the root, or it is no regular file, such as a pipe or a device.
    """
    path = Path(path)
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            if not is_inside(path, root):
                raise UsageError(f"{path} is a link that leads out of {root}: it is not followed")
            mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is no regular file: it is not read")
    return path


def make_folder(path: Path) -> bool:
    """Make the output folder.

    Returns:
        Whether it was made by this call: of several processes that begin at once, one has made it.

    Raises:
        StorageError: if that is impossible.
    """
    try:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            path.mkdir(exist_ok=True)  # refuses a file
            return False
        return True
    except OSError as error:
        raise StorageError(f"cannot use {path} as output folder: {error.strerror or error}") from error


def hash_file(path: Path) -> str:
    """Return sha256 of a file, hexadecimal, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
