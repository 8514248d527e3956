"""A clock for tests: waits take no time, and are recorded."""

from __future__ import annotations

import time
from collections.abc import Callable

from eechips_local.archives.archive_clock import Clock


class StoppedClock(Clock):
    """A clock whose time changes only by waits and by ``advance``. A pickled copy has a time of its own.

    Args:
        start: its first time, in seconds since 1970; now by default.
        step: seconds by which each reading advances it.

    Attributes:
        start: seconds since 1970 without the waits; a change sets the clock forward, or back.
        waits: seconds of each wait that was taken.
    """

    def __init__(self, start: float | None = None, step: float = 0.0) -> None:
        self.start, self._step = time.time() if start is None else start, step
        self.waits: list[float] = []
        self._moves: list[float] = []
        self._actions: list[tuple[float, Callable[[], object]]] = []

    @property
    def pauses(self) -> list[float]:
        """The waits without those between the requests of a fast throttle."""
        return [wait for wait in self.waits if wait > 0.01]

    def monotonic(self) -> float:
        if self._step:
            self.advance(self._step)
        return sum(self._moves)

    def time(self) -> float:
        return self.start + self.monotonic()

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Advance the clock, and call the actions that are due."""
        self._moves.append(seconds)
        due = [action for action in self._actions if action[0] <= sum(self._moves)]
        for action in due:
            self._actions.remove(action)
            action[1]()

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Call an action when a number of seconds has passed since the start."""
        self._actions.append((moment, action))
