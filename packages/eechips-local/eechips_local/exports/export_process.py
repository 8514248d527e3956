"""Run attempts at exports, each in a process of its own, which is killed when its task is cancelled; the limits of
exports.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from eechips_local.evaluation.evaluation_pool import kill_process, run_in_worker, start_process, worker_context
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.exports.destinations import AssetDestination, Destination
from eechips_local.exports.process_messages import ExportJob, ExportOutcome
from eechips_local.exports.tasks import CODES, RESOURCE_CODE, ExportTask, TaskResult
from eechips_local.stores import StoreConfig

BATCH_SECONDS = 10 * 86_400.0
"""Greatest time of a task: https://developers.google.com/earth-engine/guides/processing_environments#batch_environment."""
_MOST_FEATURES = 100_000_000  # https://developers.google.com/earth-engine/guides/exporting_tables#to-asset
_MOST_BYTES = 1 << 40


def batch_limits(limits: ServiceLimits) -> ServiceLimits:
    """Return the limits of exports: the limits of requests, without the limits of interactive computations."""
    return replace(limits, seconds=BATCH_SECONDS, elements=_MOST_FEATURES, response=_MOST_BYTES)


class ExportStarter:
    """Makes attempts at tasks.

    Args:
        store: the assets.
        limits: limits of requests.
    """

    def __init__(self, store: StoreConfig, limits: ServiceLimits) -> None:
        self._store = store
        self._limits = batch_limits(limits)

    def __call__(self, task: ExportTask) -> ExportRun:
        """Return an attempt at a task, which has not begun."""
        return ExportRun(task, self._store, self._limits)


class ExportRun:
    """One attempt at a task.

    Args:
        task: task of the queue.
        store: the assets.
        limits: limits of the computation.
    """

    def __init__(self, task: ExportTask, store: StoreConfig, limits: ServiceLimits) -> None:
        self._task = task
        self._store = store
        self._limits = limits
        self._lock = threading.Lock()
        self._process: Any = None
        self._is_cancelled = False

    def execute(self, report: Callable[[float, float], None]) -> TaskResult:
        """Compute in a process, then give the files their names."""
        # It brings the libraries of assets along, which a server without exports has no use for.
        from eechips_local.exports import file_names

        destination = self._task.destination
        try:
            with file_names.workspace(destination.root) as place:
                asset = destination if isinstance(destination, AssetDestination) else None
                outcome = self._compute(ExportJob(self._task.method, self._task.content, place, asset), report)
                if outcome.result.error is None and isinstance(destination, Destination):
                    with self._lock:
                        self._process = None  # from here on the task can no longer be cancelled
                    file_names.put_in_place(place, outcome.files, destination, report)
        except file_names.AssetWriteError as error:
            return TaskResult((CODES["INTERNAL"], str(error)))
        return outcome.result

    def cancel(self) -> None:
        """Kill the process, or keep it from being started."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None:
                kill_process(self._process)

    def _compute(self, job: ExportJob, report: Callable[[float, float], None]) -> ExportOutcome:
        try:
            with self._lock:
                if self._is_cancelled:
                    return _died()
                context = worker_context(self._store)
                connection, self._process = start_process(context, _main, job, self._store, self._limits)
            process = self._process
            with contextlib.closing(connection):
                while not isinstance(message := connection.recv(), ExportOutcome):
                    report(message, 0.0)
            process.join()
        except (EOFError, OSError):  # the process was killed, by the system most likely for its memory
            return _died()
        return message


def _died() -> ExportOutcome:
    return ExportOutcome((), TaskResult((RESOURCE_CODE, "Execution failed; out of memory."), is_intermittent=True))


def _main(connection: Connection, job: ExportJob, store: StoreConfig, limits: ServiceLimits) -> None:
    threading.Thread(target=_watch, args=(connection,), daemon=True).start()
    run_in_worker(limits, _run, connection, job, store, limits)


def _watch(connection: Connection) -> None:
    """End the process when the server has died: nothing would use its files."""
    with contextlib.suppress(OSError):
        connection.poll(None)  # the server sends nothing, so this is the end of the pipe
    os._exit(1)


def _run(connection: Connection, job: ExportJob, store: StoreConfig, limits: ServiceLimits) -> None:
    from eechips_local.exports.computation import compute

    connection.send(compute(job, store, limits, connection.send))
