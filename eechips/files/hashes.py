"""Hash files by SHA-256, and numbers by the finalizer of SplitMix64."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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


def mix_bits(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix the bits of numbers by the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    import numpy as np  # not for those who hash files only: the command line does not import numpy

    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
