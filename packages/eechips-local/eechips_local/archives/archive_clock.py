"""Tell the time to what asks archives, and wait for them."""

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
        """Wait."""
        time.sleep(seconds)


CLOCK = Clock()
