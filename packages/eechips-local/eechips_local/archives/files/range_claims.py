"""Let one process fetch what several need: the others wait, and find it on disk."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 5.0  # seconds to wait for other processes; what is fetched twice harms less than a longer wait
_ALONE = 60.0  # seconds in which no other process is waited for, after a wait that was of no use
_FIRST_LOOK, _LAST_LOOK = 0.005, 0.05  # seconds between attempts


class RangeClaims:
    """Names of what processes are about to fetch. Threads and processes may share it; it pickles.

    A claim is the lock of one byte of a file (fcntl(2)), which ends with its process. It keeps no thread of the same
    process out, and ends at the first release there, or when another object of the same file is deleted there. If the
    file cannot be written or locked, no process waits.

    Args:
        path: path of the file; it is created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._process = 0
        self._handle: int | None = None
        self._alone_until = 0.0

    def __reduce__(self) -> tuple[type[RangeClaims], tuple[Path]]:
        return RangeClaims, (self.path,)

    @contextmanager
    def hold(self, name: str) -> Iterator[bool]:
        """Claim a name until the end of the block, and yield whether another process had it; see :meth:`claim`."""
        try:
            yield self.claim([name])
        finally:
            self.release([name])

    def claim(self, names: Iterable[str], longest: float = _LONGEST) -> bool:
        """Claim names. Wait until other processes release theirs, but for some seconds at most.

        Those that have waited for the same name go on together: if it is not on disk, all of them fetch it.

        Returns:
            Whether it has waited. Call :meth:`wait_for_nobody` if what was waited for is not on disk.
        """
        end = time.monotonic() + longest
        has_waited = False
        for place in sorted(map(_place, names)):  # in one order: no two processes wait for each other
            pause, is_claimed = _FIRST_LOOK, self._lock_byte(place, fcntl.LOCK_EX)
            while not is_claimed and time.monotonic() >= self._alone_until:
                if time.monotonic() >= end:
                    self.wait_for_nobody()  # other threads neither: the other process may be stuck
                    break
                has_waited = True
                time.sleep(pause)
                pause = min(2 * pause, _LAST_LOOK)
                is_claimed = self._lock_byte(place, fcntl.LOCK_SH)
        return has_waited

    def wait_for_nobody(self) -> None:
        """Claim without a wait for a minute, as waiting is of no use."""
        self._alone_until = time.monotonic() + _ALONE

    def release(self, names: Iterable[str]) -> None:
        """Release names: the other processes look on disk first."""
        handle = self._open()
        for place in map(_place, names):
            if handle is not None:
                fcntl.lockf(handle, fcntl.LOCK_UN, 1, place)

    def _lock_byte(self, place: int, kind: int) -> bool:
        """Return whether no other process has locked a byte."""
        handle = self._open()
        if handle is None:
            return True
        try:
            fcntl.lockf(handle, kind | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: lockf(3)
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def _open(self) -> int | None:
        """Return the file's handle of this process; None if it cannot be written to."""
        with self._lock:
            if self._process != os.getpid():
                self._process, self._handle = os.getpid(), None
                try:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
                except OSError:
                    return None
                weakref.finalize(self, os.close, self._handle)
            return self._handle


def _place(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:7], "big")
