"""SHA-256 of files."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

_BLOCK = 1 << 20


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal, read in blocks of 1 MiB.

    Raises:
        OSError: if it cannot be read, or is no regular file: to open a pipe would wait for its writer.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
