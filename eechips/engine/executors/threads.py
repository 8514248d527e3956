"""Execute units in threads of a process. The executor is for debugging, and for recipes that cannot be pickled."""

from __future__ import annotations

import _thread
import contextlib
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from eechips.client.http.throttled_requests import throttle_requests_library
from eechips.client.quota.throttle import Throttle
from eechips.engine.executors.executor import Executor, ExecutorContext, WorkerHandle, lost
from eechips.engine.outcome import AssignmentProgress, Finished, Lost, Outcome
from eechips.engine.worker import Worker
from eechips.manifest.manifest_columns import WorkUnit

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


class ThreadExecutor(Executor[WorkerHandle]):
    """One worker with many threads.

    A thread that hangs cannot be ended: its unit is given up, and another worker executes the others again, which may
    wait for a lock that it holds.

    Args:
        worker: may be shared with other executors.
        replace: returns another worker in the place of one with a unit that hangs.
        restore: called at the end.
    """

    reports_progress = True

    def __init__(
        self,
        throttle: Throttle,
        assignment_timeout: float,
        worker: Worker,
        replace: Callable[[Worker], Worker],
        restore: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(throttle, assignment_timeout)
        self._worker, self._replace, self._restore = worker, replace, restore
        self._start_threads()
        self._handles.append(WorkerHandle(is_ready=True))
        self._assignments_at_once = 1

    @classmethod
    def create(cls, context: ExecutorContext) -> ThreadExecutor:
        """Make the executor of a run."""
        # First: a script routes these requests itself.
        restore = throttle_requests_library(context.connection.transport)

        def make_worker(_: Worker | None = None) -> Worker:
            return Worker(context.spec, context.connection, context.discovery)

        try:
            return cls(context.throttle, context.assignment_timeout, make_worker(), make_worker, restore)
        except BaseException:
            restore()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        self.close()

    def close(self) -> None:
        """End the threads that wait for assignments."""
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
                self._start_threads()
            elif isinstance(outcome, AssignmentProgress):
                self._note_progress(handle, outcome)
            elif (finished := self._finish(handle, outcome)) is not None:
                events.append(finished)
        if late := self._late(handle):
            reason = f"it was not done after {self._timeout:g} s"
            for position in sorted(late & self._worker.in_recipe or late):
                events.append(Lost(handle.assignments.pop(position)[0], reason, blame=True))
            self._assignments.put(None)
            self._worker = self._replace(self._worker)
            self._start_threads()
            for assignment, _ in list(handle.assignments.values()):
                handle.assignments[assignment.position] = assignment, self._working_time
                self._assignments.put(assignment)
        return events

    def kill(self) -> None:
        """Start no further request, and forget what is under way: threads cannot be ended."""
        self.throttle.stop()
        self._handles[0].assignments.clear()

    def _capacity(self, handle: WorkerHandle) -> int:
        return self._assignments_at_once

    def _start_threads(self) -> None:
        """Start threads that receive assignments from now on; outcomes of earlier ones are ignored."""
        self._assignments: queue.SimpleQueue[WorkUnit | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome | AssignmentProgress | None] = queue.SimpleQueue()
        receive, report = self._assignments.get, self._outcomes.put

        def fail(error: BaseException) -> None:
            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
            report(None)

        UnitThreadPool(receive, partial(self._worker.execute, report=report), report, fail).start()
