"""Limit transfers: the bytes per second of all together (``max_rate``), how long a host may be silent or send
next to nothing, and the disk space that must stay free.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from eechips.errors import StorageError, TransientError
from eechips.text.formatting import format_bytes

_BURST = 0.25  # seconds of the rate that may arrive at once
_SPARE = 64_000_000  # bytes of the disk kept free for the ledger and the log

MIN_PROGRESS = 1 << 16
"""Bytes that a request must bring to count as progress. As many must arrive within the read timeout: a host that sends
a byte now and then would never end."""


class BandwidthLimiter:
    """A token bucket of bytes that threads share. Bytes are accounted after they arrive: a thread in debt waits.

    Args:
        bytes_per_second: None for no limit.
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
        """Return the number of bytes to read at a time, which keeps the rate even."""
        return largest if self._rate is None else max(4096, min(largest, int(self._full)))

    def consume(self, count: int) -> None:
        """Account for received bytes, and wait until the rate allows them."""
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
    read: Callable[[], bytes], timeout: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """Yield a body as it arrives. Only the time spent waiting for bytes counts against the timeout.

    Args:
        read: waits for the next bytes; empty at the end.
        timeout: seconds within which ``MIN_PROGRESS`` bytes must arrive.

    Raises:
        TransientError: if the body arrives too slowly.
    """
    waited, came = 0.0, 0
    while True:
        began = clock()
        piece = read()
        if not piece:
            return
        waited, came = waited + clock() - began, came + len(piece)
        yield piece
        if came >= MIN_PROGRESS:
            waited, came = 0.0, 0
        elif waited > timeout:
            raise TransientError(f"only {came:,} bytes arrived in {waited:.0f} s")


def check_free(folder: Path, count: int = 0) -> None:
    """Check that a disk has so many free bytes beside those for the ledger and the log.

    Raises:
        StorageError: if it has fewer.
    """
    free = shutil.disk_usage(folder).free
    if count + _SPARE > free:
        needed = f"{format_bytes(count)} are needed, and {format_bytes(_SPARE)} must stay free"
        raise StorageError(f"the disk of {folder} has {format_bytes(free)} left: {needed}")
