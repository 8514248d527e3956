"""Execute units in the threads of a process."""

from __future__ import annotations

import _thread
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from eechips.engine.outcome import Outcome
from eechips.manifest.sqlite.unit_record import WorkUnit

T = TypeVar("T")


class UnitThreadPool:
    """Daemon threads that receive units, execute them, and deliver their outcomes.

    A thread that has received a unit starts another one to receive the next, unless one waits already. If there is no
    memory for it, units wait until a running thread has finished its own.

    Attributes:
        delivering: held while an outcome is delivered.

    Args:
        receive: waits for the next unit and returns it; None if no other follows. Called by one thread at a time.
        deliver: receives each outcome; called by one thread at a time.
        fail: receives an exception that ended a thread. The unit of that thread has no outcome.
    """

    def __init__(
        self,
        receive: Callable[[], WorkUnit | None],
        execute: Callable[[WorkUnit], Outcome],
        deliver: Callable[[Outcome], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._receive, self._execute, self._deliver, self._fail = receive, execute, deliver, fail
        self._receiving, self.delivering, self._counting = threading.Lock(), threading.Lock(), threading.Lock()
        self._waiting = 0  # threads that wait for a unit
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the first thread; raise RuntimeError if it cannot be started."""
        self._waiting += 1
        # threading.Thread.start() waits forever for a thread that lacks the memory to begin.
        _thread.start_new_thread(self._work, ())

    def wait(self) -> None:
        """Wait until no other unit follows. Those that were received may still be executed."""
        self._ended.wait()

    def _work(self) -> None:
        try:
            threading.current_thread().name = "eechips-unit"
            while (assignment := self._receive_next()) is not None:
                outcome = self._execute(assignment)
                with self.delivering:  # may block until the other side has sent a unit, which another thread receives
                    self._deliver(outcome)
                with self._counting:
                    self._waiting += 1
        except BaseException as error:  # noqa: BLE001 - a thread that ended silently would leave its unit unfinished
            self._fail(error)

    def _receive_next(self) -> WorkUnit | None:
        """Receive a unit, and see that another thread waits for the next one."""
        with self._receiving:
            assignment = None if self._ended.is_set() else self._receive()
            if assignment is None:
                self._ended.set()
                return None
            with self._counting:
                self._waiting -= 1
                is_last = not self._waiting
                self._waiting += is_last
            if is_last:
                try:
                    _thread.start_new_thread(self._work, ())
                except (RuntimeError, MemoryError):
                    with self._counting:
                        self._waiting -= 1
        return assignment


def drain(items: queue.SimpleQueue[T], timeout: float) -> list[T]:
    """Return everything in a queue; wait up to ``timeout`` seconds for the first item."""
    received: list[T] = []
    with contextlib.suppress(queue.Empty):
        received.append(items.get(timeout=timeout))
        while True:
            received.append(items.get_nowait())
    return received
