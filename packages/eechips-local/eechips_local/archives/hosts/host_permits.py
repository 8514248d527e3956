"""Bound the requests that all processes together have in work at a host."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class HostPermits:
    """A number of permits for each host, as locked files, which a process that is killed gives back.

    Threads and processes may share it; it pickles. Where files cannot be written or locked, each process has permits
    of its own.

    Args:
        folder: folder of the files; it is created.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self._lock = threading.Lock()
        self._own: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(most))

    def __reduce__(self) -> tuple[Any, ...]:
        return HostPermits, (self.folder, self.most)

    @contextmanager
    def hold(self, host: str) -> Iterator[None]:
        """Wait for a permit, and hold it."""
        try:
            handle = self._wait(host)
        except OSError:
            handle = None
        if handle is None:
            with self._lock:
                own = self._own[host]
            with own:
                yield
            return
        try:
            yield
        finally:
            os.close(handle)

    def _wait(self, host: str) -> int:
        """Return the handle of a locked file.

        Raises:
            OSError: if there can be none.
        """
        place = self.folder / hashlib.sha256(host.encode()).hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        first = random.randrange(self.most)
        for i in range(self.most):
            with contextlib.suppress(BlockingIOError):
                return _lock(place / str((first + i) % self.most), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _lock(place / str(first), fcntl.LOCK_EX)


def _lock(path: Path, operation: int) -> int:
    """Return the handle of a file that is locked until it is closed.

    Raises:
        BlockingIOError: if another has locked it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, operation)
    except BaseException:
        os.close(handle)
        raise
    return handle
