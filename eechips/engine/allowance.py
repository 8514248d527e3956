"""The slots of one worker process of many: those that are lent to it, of which its throttle learns how many to use."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from eechips.client.throttle import Throttle


class Allowance:
    """The slots of a process: as many as the work that it is at has at the moment. One lock guards it.

    Args:
        throttle: of the process; it learns how many of the slots the service bears.
        rate: requests a second, for each slot; None for no limit.
    """

    def __init__(self, throttle: Throttle, rate: float | None) -> None:
        self._throttle, self._rate = throttle, rate
        self._lock = threading.Lock()
        self._lent = 0

    @contextlib.contextmanager
    def lent(self, slots: int) -> Iterator[None]:
        """Has so many slots more for the duration of the block."""
        self._lend(slots)
        try:
            yield
        finally:
            self._lend(-slots)

    def part(self, slots: int) -> float:
        """The part of the throttle's limit that so many of the slots are."""
        return self._throttle.limit * slots / max(1, self._lent)

    def _lend(self, slots: int) -> None:
        with self._lock:
            self._lent += slots
            most = max(1, self._lent)
            self._throttle.resize(most, None if self._rate is None else self._rate * most)
