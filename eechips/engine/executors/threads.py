"""Execute units in threads of this process: for debugging, and for recipes that cannot be pickled."""

from __future__ import annotations

import queue
import sys
import traceback
from collections.abc import Callable
from functools import partial

from eechips.client.connection import Connection
from eechips.client.discovery import DiscoveryFile
from eechips.client.http_sessions import throttle_requests_library
from eechips.client.throttle import Throttle
from eechips.engine.executors.executor import Executor, ExecutorContext, WorkerHandle, lost
from eechips.engine.outcome import Finished, Lost, Outcome, TaskProgress
from eechips.engine.thread_pool import UnitThreadPool, drain
from eechips.engine.worker import Worker
from eechips.engine.worker_spec import WorkerSpec
from eechips.manifest.unit_record import WorkUnit


class ThreadExecutor(Executor[WorkerHandle]):
    """One worker with many threads. A thread that hangs cannot be ended; its unit is given up.

    Args:
        spec: specification of the run.
        connection: connection of this process.
        discovery: API description that the client was initialised with.
        throttle: throttle of the run.
        task_timeout: seconds after which a task is given up.
    """

    reports_progress = True

    def __init__(
        self,
        spec: WorkerSpec,
        connection: Connection,
        discovery: DiscoveryFile,
        throttle: Throttle,
        task_timeout: float,
    ) -> None:
        super().__init__(throttle, task_timeout)
        self._outcomes: queue.SimpleQueue[Outcome | TaskProgress | None] = queue.SimpleQueue()
        self._worker, self._connection = Worker(spec, connection, discovery), connection
        self._tasks = self._start_threads()
        self._handles.append(WorkerHandle(is_ready=True))
        self._tasks_at_once = 1
        self._restore: Callable[[], None] | None = None

    @classmethod
    def create(cls, context: ExecutorContext) -> ThreadExecutor:
        """Make the executor of a run."""
        return cls(context.spec, context.connection, context.discovery, context.throttle, context.task_timeout)

    def __enter__(self) -> ThreadExecutor:
        self._restore = throttle_requests_library(self.throttle.client(0), self._connection.target.endpoint)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        self._tasks.put(None)
        if self._restore is not None:
            self._restore()

    def scale(self, slots: int, tasks: int, *, exclusive: bool) -> bool:
        """Set the number of threads; each starts when there is a task for it."""
        self._tasks_at_once = 1 if exclusive else min(slots, tasks)
        return False

    def submit(self, task: WorkUnit, *, alone: bool = False) -> None:
        """Queue a task for a thread."""
        self._assign(task, alone=alone)
        self._tasks.put(task)

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Wait until a task is finished, for ``timeout`` seconds at most."""
        (handle,) = self._handles
        events: list[Finished | Lost] = []
        for outcome in drain(self._outcomes, timeout):
            if outcome is None:  # a thread failed, and it is unknown with which task
                events += lost(handle, "its thread broke", set())
                self._tasks = self._start_threads()
            elif isinstance(outcome, TaskProgress):
                self._note_progress(handle, outcome)
            elif (finished := self._finish(handle, outcome)) is not None:
                events.append(finished)
        for position in self._late(handle):
            task, _ = handle.tasks.pop(position)
            events.append(Lost(task, f"it was not done after {self._timeout:g} s", blame=True))
        return events

    def kill(self) -> None:
        """Start no further request, and forget what is under way: threads cannot be ended."""
        self.throttle.stop()
        self._handles[0].tasks.clear()

    def _capacity(self, handle: WorkerHandle) -> int:
        return self._tasks_at_once

    def _start_threads(self) -> queue.SimpleQueue[WorkUnit | None]:
        """Start threads; return the queue from which they receive tasks."""
        tasks: queue.SimpleQueue[WorkUnit | None] = queue.SimpleQueue()
        report = self._outcomes.put
        UnitThreadPool(tasks.get, partial(self._worker.execute, report=report), report, self._fail).start()
        return tasks

    def _fail(self, error: BaseException) -> None:
        traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
        self._outcomes.put(None)
