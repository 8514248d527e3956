"""Bytes a second of all transfers together, and the room that they need on the disk."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from eechips.errors import StorageError, TransientError
from eechips.text import format_bytes

_BURST = 0.25  # seconds of the rate that may come at once
_STEP = 1 << 22  # bytes of a file that are written before all others learn of it
_SPARE = 64_000_000  # bytes of the disk that are left alone: the ledger and the log need some


class BandwidthLimiter:
    """A bucket of bytes that threads share. What has come is paid for afterwards: a thread that owes waits.

    Args:
        bytes_per_second: None for no limit.
        clock: seconds, monotonic.
        sleep: waits.
    """

    def __init__(
        self,
        bytes_per_second: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = bytes_per_second, clock, sleep
        self._full = (bytes_per_second or 0.0) * _BURST
        self._left, self._filled = self._full, clock()
        self._counting = threading.Lock()

    def read_size(self, largest: int) -> int:
        """Bytes to ask for at a time: few enough for the rate to be kept smoothly."""
        return largest if self._rate is None else max(4096, min(largest, int(self._full)))

    def consume(self, count: int) -> None:
        """Takes note of so many bytes, and waits until they may have come."""
        if self._rate is None:
            return
        with self._counting:
            now = self._clock()
            self._left = min(self._full, self._left + (now - self._filled) * self._rate) - count
            self._filled = now
            owed = -self._left / self._rate
        if owed > 0:
            self._sleep(owed)


def read_with_timeout(
    read: Callable[[], bytes], timeout: float, least: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """What comes of a body. Only the time in which nothing is here counts, not what others do with what came.

    Args:
        read: waits for what comes next; empty at the end.
        timeout: seconds in which some must come.
        least: bytes that must come in that time.
        clock: seconds, monotonic.

    Raises:
        TransientError: if it comes too slowly.
    """
    waited, came = 0.0, 0
    while True:
        began = clock()
        piece = read()
        if not piece:
            return
        waited, came = waited + clock() - began, came + len(piece)
        yield piece
        if came >= least:
            waited, came = 0.0, 0
        elif waited > timeout:
            raise TransientError(f"only {came:,} bytes came in {waited:.0f} s")


class DiskBudget:
    """What transfers may still write. Threads share it.

    Args:
        folder: on the disk.
        free: bytes that are free there.
    """

    def __init__(self, folder: Path, free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> None:
        self._folder, self._free = folder, free
        self._wanted = 0
        self._counting = threading.Lock()

    @contextlib.contextmanager
    def reserve(self, count: int) -> Iterator[Callable[[int], None]]:
        """Holds so many bytes for the duration of the block.

        Yields:
            What is written how many were written. It raises StorageError if the disk becomes full by more than these.

        Raises:
            StorageError: if there are not as many.
        """
        with self._counting:
            self.check_free(self._wanted + count)
            self._wanted += count
        held, written = count, 0

        def release() -> None:
            nonlocal held, written
            some = min(written, held)  # a server that has not written its size holds nothing
            held, written = held - some, 0
            with self._counting:
                self._wanted -= some

        def record(some: int) -> None:
            nonlocal written
            written += some
            if written >= _STEP:
                is_more = written > held
                release()
                if is_more:  # a server that tells no size may send for ever
                    with self._counting:
                        self.check_free(self._wanted)

        try:
            yield record
        finally:
            written = held
            release()

    def check_free(self, count: int) -> None:
        """Raises StorageError unless so many bytes fit on the disk."""
        free = self._free(self._folder)
        if count + _SPARE > free:
            needed = f"{format_bytes(count)} are needed, and {format_bytes(_SPARE)} to spare"
            raise StorageError(f"the disk of {self._folder} has {format_bytes(free)} left: {needed}")
