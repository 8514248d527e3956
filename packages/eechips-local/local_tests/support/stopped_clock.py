"""A clock for tests of what waits: its waits are noted, and take no time."""

from __future__ import annotations

import time
from collections.abc import Callable

from eechips_local.archives.archive_clock import Clock


class StoppedClock(Clock):
    """A clock that stands still but for waits. A pickled copy goes on by itself.

    Args:
        start: seconds since 1970 at which it stands; now by default.
        step: seconds by which each look at it moves it.

    Attributes:
        start: seconds since 1970 when no wait was taken; later ones set the clock forward, or back.
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
        """Move the clock, and do what is due."""
        self._moves.append(seconds)
        due = [action for action in self._actions if action[0] <= sum(self._moves)]
        for action in due:
            self._actions.remove(action)
            action[1]()

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Do something once so many seconds have passed since the start."""
        self._actions.append((moment, action))
