"""The clock of requests to archives: the time, and waits."""

from __future__ import annotations

import time


class Clock:
    """The machine's time. Threads may share it; it pickles."""

    def monotonic(self) -> float:
        """Return seconds, which never go back."""
        return time.monotonic()

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        time.sleep(seconds)


CLOCK = Clock()
