"""Threads of this process: for a debugger, for recipes that cannot be sent anywhere, and as the simplest of all."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable

from eechips.client.connection import Connection
from eechips.client.http_sessions import throttle_requests_library
from eechips.client.throttle import Throttle
from eechips.engine.executors.executor import Executor, Finished, Lost, WorkerHandle, lost
from eechips.engine.outcome import Outcome
from eechips.engine.thread_pool import Crew
from eechips.engine.worker import Worker, WorkerSetup
from eechips.manifest.record import WorkUnit


class Threads(Executor[WorkerHandle]):
    """One handle, at which the threads of this process work. What hangs cannot be ended, only be given up.

    Args:
        setup: what to do.
        connection: of this process.
        throttle: of the run.
        task_timeout: seconds after which a task is given up.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        connection: Connection,
        throttle: Throttle,
        task_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(throttle, task_timeout, clock)
        self._outcomes: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._worker, self._connection = Worker(setup, connection), connection
        self._crew = self._hire()
        self._handles.append(WorkerHandle(is_ready=True))
        self._tasks_at_once = 1
        self._restore: Callable[[], None] | None = None

    def __enter__(self) -> Threads:
        self._restore = throttle_requests_library(self.throttle.client(0), self._connection.target.endpoint)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        if self._restore is not None:
            self._restore()

    def scale(self, slots: int, tasks: int, *, exclusive: bool) -> bool:
        """Sets how many threads there may be; one begins when there is a task for it."""
        self._tasks_at_once = 1 if exclusive else min(slots, tasks)
        return False

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Waits until a task is done, or for so many seconds."""
        (handle,) = self._handles
        events: list[Finished | Lost] = []
        with contextlib.suppress(queue.Empty):
            self._receive(handle, self._outcomes.get(timeout=timeout), events)
            while True:
                self._receive(handle, self._outcomes.get_nowait(), events)
        for position in self._late(handle):
            task, _ = handle.tasks.pop(position)
            events.append(Lost(task, f"it was not done after {self._timeout:g} s", blame=True))
        return events

    def kill(self) -> None:
        """Has nothing more begun, and forgets what is under way: nobody can end a thread."""
        self.throttle.stop()
        self._handles[0].tasks.clear()

    def _dispatch(self, handle: WorkerHandle, task: WorkUnit) -> None:
        self._crew.take(task)

    def _capacity(self, handle: WorkerHandle) -> int:
        return self._tasks_at_once

    def _hire(self) -> Crew:
        return Crew(self._worker, self._outcomes.put, lambda: self._outcomes.put(None))

    def _receive(self, handle: WorkerHandle, outcome: Outcome | None, events: list[Finished | Lost]) -> None:
        if outcome is None:  # a thread broke, and nobody knows at which task
            events += lost(handle, "its thread broke", set())
            self._crew = self._hire()
        elif (finished := self._finish(handle, outcome)) is not None:
            events.append(finished)
