"""Keep tasks, and run a few of them at a time: the highest priority first, then the oldest; repeated request ids, full
queues, cancellation, attempts.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Protocol

from eechips_local.exports.destinations import (
    AssetDestination,
    Destination,
    ExportConfig,
    check_description,
    check_request_id,
    find_destination,
)
from eechips_local.exports.tasks import (
    CANCELLED_CODE,
    DEFAULT_PRIORITY,
    GREATEST_PRIORITY,
    INTERNAL_CODE,
    MOST_ATTEMPTS,
    ExportTask,
    TaskResult,
    TaskState,
)
from eechips_local.protocol.field_checks import unwrapped_integer
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError, NotFoundError

MOST_PENDING = 3000
"""Tasks in the queue of a project: https://developers.google.com/earth-engine/guides/usage#task_queue_length."""
_MOST_KEPT = 10_000  # finished tasks that are listed
_ANY_PROJECT = "earthengine-legacy"


class TaskExistsError(EarthEngineError):
    """Another request had the same request ID (HTTP 409). Code 52967904863 quotes the message."""

    code = 409
    status = "ALREADY_EXISTS"

    def __init__(self) -> None:
        super().__init__("A different Operation was already started with the given request_id.")


class QueueFullError(EarthEngineError):
    """Too many tasks wait (HTTP 400: the client would repeat a 429)."""

    code = 400
    status = "RESOURCE_EXHAUSTED"


class ActiveTaskError(EarthEngineError):
    """A task that has not ended cannot be deleted (HTTP 400)."""

    code = 400
    status = "FAILED_PRECONDITION"


class TaskRun(Protocol):
    """One attempt at a task."""

    def execute(self, report: Callable[[float, float], None]) -> TaskResult:
        """Compute and write the files.

        Args:
            report: called with the shares of files that are computed and written.
        """
        ...

    def cancel(self) -> None:
        """Make ``execute`` return soon. Files that are in place stay."""
        ...


def _usual_description(method: str, destination: Destination | AssetDestination) -> str:
    """Return the description of a task that has none: those of ingestions name their asset."""
    kind = {"image:import": "image", "table:import": "table"}.get(method)
    return "" if kind is None or isinstance(destination, Destination) else f'Ingest {kind}: "{destination.uri}"'


class TaskQueue:
    """The tasks of a server, in memory. Its threads run attempts, which use processes.

    Args:
        config: where exports go, and how many run. Without folders, all are rejected.
        start: makes an attempt at a task.
        charge: called with the workload tag and EECU-seconds of attempts, and the datasets whose stubs they load.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        config: ExportConfig,
        start: Callable[[ExportTask], TaskRun],
        charge: Callable[[str | None, float, Iterable[str]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self._start = start
        self._charge = charge
        self._clock = clock
        self._tasks: dict[tuple[str, str], ExportTask] = {}  # by project and id, in the order of their creation
        self._refused: set[tuple[str, str]] = set()
        self._runs: dict[str, TaskRun] = {}
        self._threads: set[threading.Thread] = set()
        self._is_stopped = False
        self._lock = threading.RLock()

    def submit(self, project: str, method: str, body: Mapping[str, Any], content: bytes) -> dict[str, Any]:
        """Put a task into the queue, and return its operation. The same request again returns the same operation.

        A request that was refused as too many tasks wait has used up its ID, too (code 57160282156).

        Args:
            method: a key of ``tasks.TYPES``.
            body: the checked request.
            content: the request as it was sent.

        Raises:
            InvalidError: if the request is invalid.
            TaskExistsError: if another request had its request ID.
            QueueFullError: if too many tasks wait.
        """
        request_id = str(body.get("requestId") or "")
        if request_id:
            check_request_id(request_id)
        priority = unwrapped_integer(body.get("priority"), DEFAULT_PRIORITY)
        if not 0 <= priority <= GREATEST_PRIORITY:
            raise InvalidError(f"Invalid priority {priority}: it must be between 0 and {GREATEST_PRIORITY}.")
        check_description(str(body.get("description") or ""))
        task_id = base64.b32encode(secrets.token_bytes(15)).decode()
        destination = find_destination(body, self.config, task_id)
        description = str(body.get("description") or _usual_description(method, destination))
        digest = hashlib.sha256(content).digest()
        with self._lock:
            known = self._find_request(project, request_id)
            if known is not None:
                if (known.method, known.digest) != (method, digest):
                    raise TaskExistsError
                return known.operation()
            if (project, request_id) in self._refused:
                raise TaskExistsError
            if sum(task.state is TaskState.PENDING for task in self._of(project)) >= MOST_PENDING:
                if request_id:
                    self._refused.add((project, request_id))
                raise QueueFullError(
                    f"Too many tasks already in the queue ({MOST_PENDING}). Please wait for some of them to complete."
                )
            now = self._clock()
            task = ExportTask(
                task_id, project, method, content, request_id, digest, description, destination,
                priority, now, now, workload_tag=body.get("workloadTag"),
            )  # fmt: skip
            self._tasks[project, task_id] = task
            self._forget()
            self._start_next()
            return task.operation()

    def operations(self, project: str) -> list[dict[str, Any]]:
        """Return the operations of a project, newest first."""
        with self._lock:
            return [task.operation() for task in reversed(self._of(project))]

    def latest(self, count: int) -> list[dict[str, Any]]:
        """Return the latest operations of all projects, newest first."""
        with self._lock:
            return [task.operation() for task in islice(reversed(self._tasks.values()), count)]

    def operation(self, project: str, id: str) -> dict[str, Any]:
        """Return an operation.

        Raises:
            NotFoundError: if there is none.
        """
        with self._lock:
            return self._find(project, id).operation()

    def cancel(self, project: str, id: str) -> None:
        """Cancel a task. One that has ended stays as it is.

        Raises:
            NotFoundError: if there is none.
        """
        with self._lock:
            task = self._find(project, id)
            if task.state is TaskState.PENDING:
                self._end(task, TaskState.CANCELLED, (CANCELLED_CODE, "Cancelled."))
            elif task.state is TaskState.RUNNING:
                self._change(task, TaskState.CANCELLING)
                if task.id in self._runs:  # else its thread has not made the attempt yet, and looks at the state
                    self._runs[task.id].cancel()

    def delete(self, project: str, id: str) -> None:
        """Forget a task that has ended.

        Raises:
            NotFoundError: if there is none.
            ActiveTaskError: if it has not ended.
        """
        with self._lock:
            task = self._find(project, id)
            if not task.is_done:
                raise ActiveTaskError(f"Operation {id} has not ended: cancel it first.")
            del self._tasks[task.project, id]

    def stop(self) -> None:
        """Cancel all tasks, and wait until nothing runs."""
        with self._lock:
            self._is_stopped = True
            active = [task for task in self._tasks.values() if not task.is_done]
        for task in active:
            self.cancel(task.project, task.id)
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _of(self, project: str) -> list[ExportTask]:
        return [task for task in self._tasks.values() if task.project == project]

    def _find(self, project: str, id: str) -> ExportTask:
        """Return a task. The project ``earthengine-legacy`` has the tasks of all projects.

        Google's JavaScript client asks so by an id alone (``ee.rpc_convert.taskIdToOperationName``), and programs that
        export in projects of their own rely on it (openforis/sepal, ``getTaskStatus$``).
        """
        task = self._tasks.get((project, id))
        if task is None and project == _ANY_PROJECT:
            task = next((task for task in self._tasks.values() if task.id == id), None)
        if task is None:
            raise NotFoundError(f"Operation not found: {id[:200]}.")
        return task

    def _find_request(self, project: str, request_id: str) -> ExportTask | None:
        if not request_id:
            return None
        return next((task for task in self._of(project) if task.request_id == request_id), None)

    def _forget(self) -> None:
        """Forget the oldest tasks that have ended, past a number."""
        if len(self._tasks) <= _MOST_KEPT:
            return
        done = [key for key, task in self._tasks.items() if task.is_done]
        for key in done[: max(0, len(done) - _MOST_KEPT)]:
            del self._tasks[key]

    def _start_next(self) -> None:
        """Start threads for pending tasks while there is room. The lock is held."""
        while not self._is_stopped and len(self._threads) < self.config.running:
            pending = [task for task in self._tasks.values() if task.state is TaskState.PENDING]
            if not pending:
                return
            task = max(pending, key=lambda task: task.priority)  # the first of several, which is the oldest
            task.started = self._clock()
            self._change(task, TaskState.RUNNING)
            thread = threading.Thread(target=self._run, args=(task,), name=f"export-{task.id}")
            self._threads.add(thread)
            thread.start()

    def _run(self, task: ExportTask) -> None:
        """Make attempts at a task until it ends."""
        while True:
            try:
                result = self._attempt(task)
            except Exception as error:  # noqa: BLE001 - a bug must reach the client as the task's failure
                traceback.print_exception(error, file=sys.stderr)
                result = TaskResult((INTERNAL_CODE, "An internal error has occurred."))
            with self._lock:
                is_cancelled = task.state is TaskState.CANCELLING
                if result.error is None or is_cancelled or not result.is_intermittent or task.attempt >= MOST_ATTEMPTS:
                    self._threads.discard(threading.current_thread())
                    self._finish(task, result)
                    self._start_next()
                    return

    def _attempt(self, task: ExportTask) -> TaskResult:
        run = self._start(task)
        with self._lock:
            if task.state is TaskState.CANCELLING:
                return TaskResult((CANCELLED_CODE, "Cancelled."))
            self._runs[task.id] = run
            task.attempt += 1
            self._report(task, 0.0, 0.0)
        try:
            result = run.execute(lambda created, written: self._report(task, created, written))
        finally:
            with self._lock:
                del self._runs[task.id]
        with self._lock:
            task.eecu_seconds += result.eecu_seconds
        self._charge(result.workload_tag or task.workload_tag, result.eecu_seconds, result.stubs)
        return result

    def _report(self, task: ExportTask, created: float, written: float) -> None:
        with self._lock:
            task.created_share, task.written_share = created, written
            task.updated = self._clock()

    def _finish(self, task: ExportTask, result: TaskResult) -> None:
        if result.error is None:
            task.created_share = task.written_share = 1.0
            self._end(task, TaskState.SUCCEEDED, None)  # also if it was to be cancelled too late
        elif task.state is TaskState.CANCELLING:
            self._end(task, TaskState.CANCELLED, (CANCELLED_CODE, "Cancelled."))
        else:
            self._end(task, TaskState.FAILED, result.error)

    def _end(self, task: ExportTask, state: TaskState, error: tuple[int, str] | None) -> None:
        task.error = error
        task.content = b""
        self._change(task, state)
        task.ended = task.updated

    def _change(self, task: ExportTask, state: TaskState) -> None:
        task.state = state
        task.updated = self._clock()
