"""Execute units in the threads of a process."""

from __future__ import annotations

import _thread
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from eechips.engine.outcome import Outcome
from eechips.manifest.unit_record import WorkUnit

T = TypeVar("T")


class UnitThreadPool:
    """Daemon threads, as many as units were ever executed at once. Leaving a ``with`` block ends idle threads.

    Args:
        execute: executes a unit; called by several threads.
        deliver: receives each outcome; called by one thread at a time.
        fail: receives an exception that ended a thread. The unit of that thread has no outcome.
    """

    def __init__(
        self,
        execute: Callable[[WorkUnit], Outcome],
        deliver: Callable[[Outcome], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._execute, self._deliver, self._fail = execute, deliver, fail
        self._tasks: queue.SimpleQueue[WorkUnit | None] = queue.SimpleQueue()
        self._delivering = threading.Lock()
        self._counting = threading.Lock()
        self._starts = 0  # of threads, by submit()
        self._threads = 0  # that run
        self._idle = 0

    def __enter__(self) -> UnitThreadPool:
        return self

    def __exit__(self, *_: object) -> None:
        for _start in range(self._starts):
            self._tasks.put(None)

    def submit(self, task: WorkUnit) -> None:
        """Have a thread execute a unit.

        Raises:
            RuntimeError: if no thread runs, and none can be started.
        """
        with self._counting:
            needs_thread = self._idle <= 0
            self._idle -= not needs_thread
        self._tasks.put(task)
        if needs_thread:
            self._start_thread()

    def _start_thread(self) -> None:
        """Start a thread. If there is no memory for it, the running threads execute its task after their own."""
        try:
            # threading.Thread.start() waits forever for a thread that lacks the memory to begin.
            _thread.start_new_thread(self._run, ())
            self._starts += 1
        except (RuntimeError, MemoryError):
            with self._counting:
                if not self._threads:
                    raise
                self._idle -= 1  # the next thread that finishes has a task already

    def _run(self) -> None:
        try:
            with self._counting:
                self._threads += 1
            threading.current_thread().name = "eechips-unit"
            while (task := self._tasks.get()) is not None:
                outcome = self._execute(task)
                with self._counting:  # before the receiver of the outcome can submit the next unit
                    self._idle += 1
                with self._delivering:
                    self._deliver(outcome)
        except BaseException as error:  # noqa: BLE001 - a thread that ended silently would leave its unit unfinished
            self._fail(error)


def drain(items: queue.SimpleQueue[T], timeout: float) -> list[T]:
    """Return everything in a queue; wait up to ``timeout`` seconds for the first item."""
    found: list[T] = []
    with contextlib.suppress(queue.Empty):
        found.append(items.get(timeout=timeout))
        while True:
            found.append(items.get_nowait())
    return found
