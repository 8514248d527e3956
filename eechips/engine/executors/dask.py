"""Execute units in the workers of a Dask cluster, on one machine or many; wait for lost connections and workers; send
no secrets without encryption.

Every worker has a share of the project's slots and of its rate, which travels with each assignment. Together the slots
are the limit that the parent has learned from the reports that accompany each result. Assignments are sent to a chosen
worker and leave Dask's own pool of threads at once (``distributed.secede``), so that a worker with a single thread can
use its whole share. Each worker finds credentials where it runs, as connections of Dask may not be encrypted.

The client reconnects when its connection breaks, and units that were under way are sent again. If the scheduler ends or
restarts, or the cluster has no workers, the run ends; it can be resumed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import math
import queue
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import distributed

from eechips.client.access.discovery import Discovery
from eechips.client.quota.permits import QuotaShare, UsageDelta
from eechips.engine.executors.dask_cluster import (
    CONNECT_SECONDS,
    REPLY_SECONDS,
    ClosedClientError,
    connect_cluster,
    is_private,
    open_log,
    request_scheduler,
    was_disconnected,
)
from eechips.engine.executors.dask_worker import LOG_NAME, DaskWorker
from eechips.engine.executors.executor import Executor, ExecutorContext, WorkerHandle, lost
from eechips.engine.executors.threads import drain
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import ClusterLostError, ConfigurationError
from eechips.manifest.manifest_columns import WorkUnit
from eechips.text import library_log
from eechips.text.formatting import format_duration
from eechips.web.redaction import collect_secrets

_UPDATE_SECONDS = 1.0  # seconds between two updates of the list of workers
_MAX_BROKEN = 3
_RESTART = 30.0  # seconds that a worker may take to come back
_WORKERLESS = 300.0  # likewise, that a cluster may be without workers
_RESUMABLE = "; the results so far are kept, and the same command resumes the run"


@dataclass(slots=True, eq=False)
class _DaskHandle(WorkerHandle):
    address: str
    number: int
    """Its number at the throttle."""
    futures: dict[int, Any] = field(default_factory=dict)


class DaskExecutor(Executor[_DaskHandle]):
    """Execute units in a Dask cluster: that of the scheduler in the context, or one that is started on this machine.

    Entering it raises ConfigurationError if the scheduler cannot be reached, or secrets of the recipe would be sent
    without encryption.
    """

    is_remote = True

    def __init__(self, context: ExecutorContext) -> None:
        super().__init__(context.throttle, context.assignment_timeout)
        self._spec, self._discovery = context.spec, context.connection.discovery
        self._probe = context.discovery.path  # a file that exists where the results are stored
        self._scheduler, self._size, self._log = context.scheduler, context.processes, context.folder / LOG_NAME
        self._stack = contextlib.ExitStack()
        self._client: Any = None
        self._done: queue.SimpleQueue[tuple[_DaskHandle, int, Any]] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._free_numbers = list(range(self._size, 0, -1))
        self._slots = 0
        self._is_exclusive = False
        self._updated, self._broken = 0.0, 0
        self._reply_timeout = min(REPLY_SECONDS, context.assignment_timeout)
        self._scheduler_id = ""  # id of the scheduler's process
        self._last_seen = 0.0  # time when the cluster last had a worker

    @classmethod
    def create(cls, context: ExecutorContext) -> DaskExecutor:
        """Make the executor of a run."""
        return cls(context)

    def __enter__(self) -> DaskExecutor:
        with contextlib.ExitStack() as stack:
            stack.enter_context(library_log.redirect_loggers(library_log.DASK, open_log(self._log)))
            try:
                self._client = stack.enter_context(connect_cluster(self._scheduler, self._size, self._log))
                self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
                scheduler_info = self._client.scheduler_info(n_workers=-1)
                self._check_encryption([self._client.scheduler.address, *scheduler_info["workers"]])
                self._client.register_plugin(Membership(self._spec, self._discovery, self._probe))
            except (OSError, asyncio.TimeoutError, ValueError, TypeError) as error:
                # A TLS address without certificates raises TypeError.
                where = f"at {self._scheduler}" if self._scheduler else "on this machine"
                raise ConfigurationError(f"no Dask cluster {where}: {error}") from error
            stack.callback(self._unregister)
            self._scheduler_id = scheduler_info["id"]
            self._stack = stack.pop_all()
        self._update_workers()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        self._stack.close()

    def scale(self, slots: int, assignments: int, *, exclusive: bool) -> bool:
        """Divide the slots among the workers, which come and go by themselves."""
        self._slots, self._is_exclusive = slots, exclusive
        return False

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Wait until an assignment is finished, for ``timeout`` seconds at most.

        Raises:
            ConfigurationError: if no worker can start.
            ClusterLostError: if the scheduler is gone, or the cluster has had no workers for minutes.
        """
        completed = drain(self._done, timeout)
        is_broken = self._client.status != "running" or any(was_disconnected(future) for _, _, future in completed)
        events = self._take_assignments_back() if is_broken else self._collect(completed)
        if is_broken or time.monotonic() - self._updated >= _UPDATE_SECONDS:
            events += self._update_workers()
        return events + self._replace_overdue()

    def kill(self) -> None:
        """Cancel everything that is under way."""
        self._cancel([future for handle in self._handles for future in handle.futures.values()])
        for handle in self._handles:
            handle.assignments.clear()
            handle.futures.clear()

    def submit(self, assignment: WorkUnit, *, alone: bool = False) -> None:
        """Send an assignment to a worker of the cluster, with the worker's share of the quota."""
        handle = self._assign(assignment, alone=alone)
        try:
            future = self._client.submit(
                execute,
                self._plugin_name,
                assignment,
                self._share(handle),
                key=f"{self._plugin_name}-{assignment.position}-{next(self._numbers)}",
                workers=[handle.address],
                pure=False,
            )
        except distributed.client.ClosedClientError:
            return  # wait() notices
        handle.futures[assignment.position] = future
        position = assignment.position
        future.add_done_callback(lambda done: self._done.put((handle, position, done)))

    def _capacity(self, handle: _DaskHandle) -> int:
        if self._is_exclusive:
            return 1
        return math.ceil(self._slots * self._share(handle).slots / max(1, self.throttle.limit))

    def _share(self, handle: _DaskHandle) -> QuotaShare:
        """Return the share of a worker: an equal part of the slots and of the rate."""
        whole, rest = divmod(self.throttle.limit, len(self._handles))
        rate = None if self._spec.rate is None else self._spec.rate / len(self._handles)
        return QuotaShare(whole + (self._handles.index(handle) < rest), rate, self.throttle.rejected_of(handle.number))

    @property
    def _plugin_name(self) -> str:
        return Membership.name_of(self._spec)

    def _collect(self, completed: list[tuple[_DaskHandle, int, Any]]) -> list[Finished | Lost]:
        events: list[Finished | Lost] = []
        present = [entry for entry in completed if entry[0].futures.get(entry[1]) is entry[2]]
        good = [(handle, future) for handle, _, future in present if future.status == "finished"]
        results = {outcome.position: (outcome, usage) for outcome, usage in self._gather_results(good)}
        under_way = sum(len(handle.assignments) for handle in self._handles)
        for handle, position, future in present:
            del handle.futures[position]
            if position in results:
                outcome, usage = results[position]
                self._broken = 0
                self.throttle.absorb(handle.number, usage, under_way)
                finished = self._finish(handle, outcome)
                if finished is not None:
                    events.append(finished)
            elif position in handle.assignments:
                assignment, _ = handle.assignments.pop(position)
                events.append(Lost(assignment, self._failure_reason(future), blame=None))
        return events

    def _gather_results(self, good: list[tuple[_DaskHandle, Any]]) -> list[tuple[Outcome, UsageDelta]]:
        """Return the results of finished assignments, without those that were lost with their worker.

        Dask waits until a lost result has been computed again, which never happens, as no other worker may do that.
        """
        if not good:
            return []
        gathering = asyncio.run_coroutine_threadsafe(
            self._client.gather([future for _, future in good], errors="skip", asynchronous=True),
            self._client.loop.asyncio_loop,
        )
        while not concurrent.futures.wait([gathering], _UPDATE_SECONDS).done:
            known = self._identity()
            there = set() if known is None else set(known["workers"])
            self._cancel([future for handle, future in good if handle.address not in there])
        try:
            gathered: list[tuple[Outcome, UsageDelta]] = gathering.result()
        except (OSError, concurrent.futures.CancelledError, distributed.client.ClosedClientError):
            return []  # the connection broke
        return gathered

    def _cancel(self, futures: list[Any]) -> None:
        """Cancel futures; those of a closed client are cancelled already."""
        if futures:
            with contextlib.suppress(distributed.client.ClosedClientError):
                self._client.cancel(futures, force=True)

    def _identity(self) -> dict[str, Any] | None:
        """Return the scheduler's description of itself and its workers; None while the connection is broken."""
        known: dict[str, Any] | None = self._ask("identity", self._reply_timeout, n_workers=-1)
        if known is not None and known["id"] != self._scheduler_id:
            raise ClusterLostError(
                f"the Dask scheduler{self._place} was started again and knows nothing of the run{_RESUMABLE}"
            )
        return known

    def _ask(self, operation: str, patience: float, **arguments: Any) -> Any:
        """Send a request to the scheduler; return None if the connection is broken."""
        if self._client.status == "connecting":
            return None
        asking = asyncio.run_coroutine_threadsafe(
            request_scheduler(self._client, operation, arguments), self._client.loop.asyncio_loop
        )
        if not concurrent.futures.wait([asking], patience).done:
            asking.cancel()
            raise ClusterLostError(f"the Dask scheduler{self._place} has not answered for {patience:g} s{_RESUMABLE}")
        try:
            return asking.result()
        except OSError:
            return None
        except ClosedClientError:
            raise ClusterLostError(f"the Dask scheduler{self._place} is gone{_RESUMABLE}") from None

    @property
    def _place(self) -> str:
        return f" at {self._scheduler}" if self._scheduler else ""

    def _check_encryption(self, addresses: list[str]) -> None:
        """Raise an error if secrets of the recipe would be sent over a connection without encryption."""
        parameters = self._spec.recipe.parameters
        names = sorted(name for name, value in parameters.items() if collect_secrets({name: value}))
        clear = next((address for address in addresses if not is_private(address)), None)
        if names and clear is not None:
            raise ConfigurationError(
                f"{', '.join(names)} of the recipe would be sent to {clear} over a connection that is not encrypted:"
                " use a tls:// scheduler, or have the recipe read it from a file or a variable of each worker"
            )

    def _failure_reason(self, future: Any) -> str:
        """Return why an assignment has no result."""
        error = future.exception() if future.status == "error" else None
        if error is None:
            return "its worker has left the cluster"
        if isinstance(error, ConfigurationError):
            raise error
        self._broken += 1
        if self._broken >= _MAX_BROKEN and self._identity() is not None:
            raise ConfigurationError(f"workers of the cluster fail: {type(error).__name__}: {error}")
        return f"{type(error).__name__}: {error}"

    def _update_workers(self) -> list[Finished | Lost]:
        """Update the list of workers."""
        self._updated = time.monotonic()
        known = self._identity()
        if known is None:
            self.notice = f"The connection to the Dask scheduler{self._place} is broken: connecting again."
            return self._take_assignments_back()
        there = set(known["workers"])
        events: list[Finished | Lost] = []
        for handle in [handle for handle in self._handles if handle.address not in there]:
            events += self._remove(handle, "its worker has left the cluster", set())
        for address in sorted(there - {handle.address for handle in self._handles}):
            if self._free_numbers:
                self._handles.append(_DaskHandle(address, self._free_numbers.pop(), is_ready=True))
        if there:
            self._last_seen, self.notice = self._updated, None
            return events
        patience = min(_WORKERLESS, self._timeout)
        if self._updated - self._last_seen > patience:
            gone = f"the Dask cluster{self._place} has had no workers for {format_duration(patience)}"
            raise ClusterLostError(f"{gone}{_RESUMABLE}")
        self.notice = f"The Dask cluster{self._place} has no workers: waiting {format_duration(patience)} for one."
        return events

    def _take_assignments_back(self) -> list[Finished | Lost]:
        """Take all assignments back: without its connection the scheduler has forgotten them."""
        reason = "the connection to the Dask scheduler broke"
        events = [event for handle in list(self._handles) for event in self._remove(handle, reason, set())]
        return [replace(event, blame=False) for event in events]

    def _replace_overdue(self) -> list[Finished | Lost]:
        events: list[Finished | Lost] = []
        for handle in list(self._handles):
            if late := self._late(handle):
                events += self._remove(handle, f"it was not done after {self._timeout:g} s", late)
                self._ask(
                    "restart_workers",
                    _RESTART + REPLY_SECONDS,
                    workers=[handle.address],
                    timeout=_RESTART,
                    on_error="return",
                    stimulus_id=f"{self._plugin_name}-overdue-{next(self._numbers)}",
                )
        return events

    def _remove(self, handle: _DaskHandle, reason: str, late: set[int]) -> list[Lost]:
        self._handles.remove(handle)
        self._free_numbers.append(handle.number)
        self.throttle.reclaim(handle.number)
        futures = list(handle.futures.values())
        handle.futures.clear()  # their results are ignored from now on: other workers get the assignments
        self._cancel(futures)
        return lost(handle, reason, late)

    def _unregister(self) -> None:
        with contextlib.suppress(ClusterLostError):
            if self._identity() is not None:
                self._ask("unregister_worker_plugin", self._reply_timeout, name=self._plugin_name)


def execute(plugin: str, assignment: WorkUnit, share: QuotaShare) -> tuple[Outcome, UsageDelta]:
    """Execute an assignment in a worker of the cluster, by the plugin of the run."""
    membership = cast(Membership, distributed.get_worker().plugins[plugin])
    distributed.secede()
    return membership.host().execute(assignment, share)


class Membership(distributed.WorkerPlugin):
    """The plugin that connects a worker of a cluster to a run.

    Args:
        probe: a file that exists where the results are stored.
    """

    idempotent = False

    def __init__(self, spec: WorkerSpec, discovery: Discovery, probe: Path) -> None:
        self.name = self.name_of(spec)
        self._spec, self._discovery, self._probe = spec, discovery, probe
        self._host: DaskWorker | None = None

    @staticmethod
    def name_of(spec: WorkerSpec) -> str:
        """Return the name of the plugin."""
        return f"eechips-{spec.token}"

    def setup(self, worker: distributed.Worker) -> None:
        """Set the plugin up; called by the worker."""
        self._opening = threading.Lock()
        self._others = [p for p in worker.plugins.values() if isinstance(p, Membership) and p is not self]

    def teardown(self, worker: distributed.Worker) -> None:
        """Close the worker when the run is over; called by the worker."""
        if self._host is not None:
            self._host.close()

    def host(self) -> DaskWorker:
        """Return the worker of the run, which is started on first use.

        Raises:
            ConfigurationError: if it cannot work here.
        """
        with self._opening:
            if self._host is None:
                if any(other._host is not None for other in self._others):
                    raise ConfigurationError("the cluster works for another run: wait for its end")
                self._host = DaskWorker(self._spec, self._discovery, self._probe)
            return self._host
