"""Execute units in threads of this process: for debugging, and for recipes that cannot be pickled."""

from __future__ import annotations

import queue
import sys
import traceback
from functools import partial

from eechips.client.http.throttled_requests import throttle_requests_library
from eechips.engine.executors.executor import Executor, ExecutorContext, WorkerHandle, lost
from eechips.engine.executors.thread_pool import UnitThreadPool, drain
from eechips.engine.outcome import AssignmentProgress, Finished, Lost, Outcome
from eechips.engine.worker import Worker
from eechips.manifest.sqlite.unit_record import WorkUnit


class ThreadExecutor(Executor[WorkerHandle]):
    """One worker with many threads. A thread that hangs cannot be ended; its unit is given up."""

    reports_progress = True

    def __init__(self, context: ExecutorContext) -> None:
        super().__init__(context.throttle, context.assignment_timeout)
        self._outcomes: queue.SimpleQueue[Outcome | AssignmentProgress | None] = queue.SimpleQueue()
        # First: a script routes these requests itself.
        self._restore = throttle_requests_library(context.connection.transport)
        try:
            self._worker = Worker(context.spec, context.connection, context.discovery)
            self._assignments = self._start_threads()
        except BaseException:
            self._restore()
            raise
        self._handles.append(WorkerHandle(is_ready=True))
        self._assignments_at_once = 1

    @classmethod
    def create(cls, context: ExecutorContext) -> ThreadExecutor:
        """Make the executor of a run."""
        return cls(context)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        self._assignments.put(None)
        self._restore()

    def scale(self, slots: int, assignments: int, *, exclusive: bool) -> bool:
        """Set the number of threads; each starts when there is an assignment for it."""
        self._assignments_at_once = 1 if exclusive else min(slots, assignments)
        return False

    def submit(self, assignment: WorkUnit, *, alone: bool = False) -> None:
        """Queue an assignment for a thread."""
        self._assign(assignment, alone=alone)
        self._assignments.put(assignment)

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Wait until an assignment is finished, for ``timeout`` seconds at most."""
        (handle,) = self._handles
        events: list[Finished | Lost] = []
        for outcome in drain(self._outcomes, timeout):
            if outcome is None:  # a thread failed, and it is unknown with which assignment
                events += lost(handle, "its thread broke", set())
                self._assignments = self._start_threads()
            elif isinstance(outcome, AssignmentProgress):
                self._note_progress(handle, outcome)
            elif (finished := self._finish(handle, outcome)) is not None:
                events.append(finished)
        for position in self._late(handle):
            assignment, _ = handle.assignments.pop(position)
            events.append(Lost(assignment, f"it was not done after {self._timeout:g} s", blame=True))
        return events

    def kill(self) -> None:
        """Start no further request, and forget what is under way: threads cannot be ended."""
        self.throttle.stop()
        self._handles[0].assignments.clear()

    def _capacity(self, handle: WorkerHandle) -> int:
        return self._assignments_at_once

    def _start_threads(self) -> queue.SimpleQueue[WorkUnit | None]:
        """Start threads; return the queue from which they receive assignments."""
        assignments: queue.SimpleQueue[WorkUnit | None] = queue.SimpleQueue()
        report = self._outcomes.put
        UnitThreadPool(assignments.get, partial(self._worker.execute, report=report), report, self._fail).start()
        return assignments

    def _fail(self, error: BaseException) -> None:
        traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
        self._outcomes.put(None)
