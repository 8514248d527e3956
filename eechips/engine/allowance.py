"""The slots of one worker process of many: it uses fewer while the service rejects requests, by itself."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from eechips.client.congestion import Cell, Controller
from eechips.client.throttle import Share, Throttle


class Allowance:
    """The slots of a process, of which it uses fewer while the service rejects requests. One lock guards it.

    Args:
        throttle: of the process; it does not learn by itself.
        rate: requests a second, for each slot; None for no limit.
        clock: seconds, monotonic.
    """

    def __init__(self, throttle: Throttle, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._throttle, self._rate, self._clock = throttle, rate, clock
        self._cells = memoryview(bytearray(8 * len(Cell))).cast("d")
        self._controller = Controller(self._cells)
        self._lock = threading.Lock()
        self._lent = self._sent = self._rejected = 0

    @contextlib.contextmanager
    def lent(self, slots: int) -> Iterator[None]:
        """Has so many slots more for the duration of the block."""
        self._lend(slots)
        try:
            yield
        finally:
            self._lend(-slots)

    @property
    def limit(self) -> int:
        """Requests that may be in flight at present."""
        return int(self._cells[Cell.LIMIT])

    def part(self, slots: int) -> float:
        """The part of the limit that so many of the slots are."""
        return self.limit * slots / max(1, self._lent)

    def learn(self) -> None:
        """Takes note of what the service has answered since the last time."""
        with self._lock:
            now, throttle = self._clock(), self._throttle
            sent, rejected = throttle.sent, throttle.rejected
            refused, answered = rejected - self._rejected, sent - self._sent - (rejected - self._rejected)
            self._sent, self._rejected = sent, rejected
            for _ in range(refused):
                self._controller.rejected(
                    min(throttle.in_flight, self.limit - 1), now, restricted=throttle.is_restricted
                )
            for _ in range(answered):
                self._controller.answered(self.limit, now, restricted=throttle.is_restricted)
            self._apply()

    def _lend(self, slots: int) -> None:
        with self._lock:
            before, self._lent = self._lent, self._lent + slots
            if not before:
                self._controller.begin(self._lent, self._lent, self._clock(), ramps=False)
            elif self._lent:
                self._cells[Cell.CEILING] = self._cells[Cell.FREE] = float(self._lent)
                self._cells[Cell.LIMIT] = max(1.0, self._cells[Cell.LIMIT] * self._lent / before)
            self._apply()

    def _apply(self) -> None:
        rate = None if self._rate is None else self._rate * max(1, self._lent)
        self._throttle.share(Share(max(1, self.limit), rate, self._rejected))
