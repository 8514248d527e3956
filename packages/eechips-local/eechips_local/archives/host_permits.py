"""Bound the requests that all processes together have in work at a host."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HostPermits:
    """A number of permits for each host, as locked files, which a process that is killed gives back.

    Threads and processes may share it; it pickles.

    Args:
        folder: of the files; it is created.
        most: permits of a host.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most

    @contextmanager
    def hold(self, host: str) -> Iterator[None]:
        """Wait for a permit, and hold it.

        Raises:
            OSError: if the folder cannot be written.
        """
        place = self.folder / hashlib.sha256(host.encode()).hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        first = random.randrange(self.most)
        handle = next(filter(None, (_lock(place / str((first + i) % self.most)) for i in range(self.most))), None)
        if handle is None:
            handle = _lock(place / str(first), waits=True)
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)


def _lock(path: Path, *, waits: bool = False) -> int | None:
    """Return the handle of a file that is locked until it is closed; None if another has locked it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle
