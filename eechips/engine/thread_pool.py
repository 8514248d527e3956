"""The threads of a worker."""

from __future__ import annotations

import _thread
import queue
import threading
import traceback
from typing import TYPE_CHECKING

from eechips.manifest.record import WorkUnit

if TYPE_CHECKING:
    from collections.abc import Callable

    from eechips.engine.outcome import Outcome
    from eechips.engine.worker import Worker


class Crew:
    """The threads of a worker: as many as there ever were tasks at once.

    Args:
        worker: what they share.
        send: receives every outcome; one thread at a time.
        fail: called, after its traceback was shown, when a thread can work no more, whatever the reason: one that
            ended quietly would leave its unit unfinished for ever.
    """

    def __init__(self, worker: Worker, send: Callable[[Outcome], None], fail: Callable[[], None]) -> None:
        self._worker, self._dispatch, self._fail = worker, send, fail
        self._tasks: queue.SimpleQueue[WorkUnit] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._counting = threading.Lock()
        self._idle = 0
        self._threads = 0

    def take(self, task: WorkUnit) -> None:
        """Has a thread execute a task and send its outcome."""
        with self._counting:
            needs_thread = self._idle <= 0
            self._idle -= not needs_thread
        self._tasks.put(task)
        if needs_thread:
            self._start_thread()

    def _start_thread(self) -> None:
        """Start a thread. If there is no memory for one, those that run take its task when they are done with theirs.

        Raises:
            RuntimeError: if no thread runs.
        """
        try:
            # threading.Thread.start() waits forever for a thread that lacks the memory to begin.
            _thread.start_new_thread(self._work, ())
        except (RuntimeError, MemoryError):
            with self._counting:
                if not self._threads:
                    raise
                self._idle -= 1  # the next thread that is done has a task

    def _work(self) -> None:
        try:
            with self._counting:
                self._threads += 1
            threading.current_thread().name = "eechips-unit"
            while True:
                outcome = self._worker.execute(self._tasks.get())
                with self._counting:  # before the other side hears of it and sends the next
                    self._idle += 1
                with self._sending:
                    self._dispatch(outcome)
        except BaseException:  # noqa: BLE001 - whatever it is, it is told
            traceback.print_exc()
            self._fail()
