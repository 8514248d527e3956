"""Keep a worker process within its share of the quota, and report what it uses."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from eechips.client.permits import UsageDelta
from eechips.client.throttle import Throttle


class LocalQuota:
    """The slots of a process, which are those of the work that it does at the moment. Threads may share it.

    Args:
        throttle: throttle of the process; it learns how many of the slots the service accepts.
        rate: requests per second for each slot; None for no limit.
    """

    def __init__(self, throttle: Throttle, rate: float | None) -> None:
        self._throttle, self._rate = throttle, rate
        self._lock = threading.Lock()
        self._reserved = 0

    @contextlib.contextmanager
    def reserve(self, slots: int) -> Iterator[None]:
        """Add slots to the process for the duration of the block."""
        self._resize(slots)
        try:
            yield
        finally:
            self._resize(-slots)

    def limit_of(self, slots: int) -> float:
        """Return the part of the throttle's current limit that belongs to some of the slots."""
        return self._throttle.limit * slots / max(1, self._reserved)

    def _resize(self, slots: int) -> None:
        with self._lock:
            self._reserved += slots
            most = max(1, self._reserved)
            self._throttle.resize(most, None if self._rate is None else self._rate * most)


class UsageMeter:
    """Report the use of a throttle since the previous report. Threads may share it.

    Args:
        throttle: throttle of the process.
    """

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._lock = threading.Lock()
        self._reported = (0, 0, 0)

    def report(self) -> UsageDelta:
        """Return the requests since the previous call, and the present state of the throttle."""
        throttle = self._throttle
        with self._lock:
            now = (throttle.sent, throttle.rejected, throttle.received)
            sent, rejected, received = (new - old for new, old in zip(now, self._reported, strict=True))
            self._reported = now
            return UsageDelta(sent, rejected, received, throttle.in_flight, throttle.limit, throttle.is_restricted)
