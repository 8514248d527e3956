"""Process units in a worker process of a Beam pipeline, within a share of the quota.

The parent cannot send messages to these workers. Each bundle that a worker processes adds its partitions to the slots
of the worker, so the slots of all workers together never exceed the quota. Within its slots a worker uses a throttle of
its own: it sends fewer requests at once while the service rejects some.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rasterio.errors import NotGeoreferencedWarning

from eechips.client.access.connection import NO_SERVICE, connect, connect_to_nothing
from eechips.client.http.throttled_requests import throttle_requests_library
from eechips.client.quota.permits import QuotaLimits, UsageDelta
from eechips.client.quota.throttle import LocalQuota, Throttle, UsageMeter
from eechips.engine.executors.threads import ThreadExecutor
from eechips.engine.outcome import Finished, Lost
from eechips.engine.queues.beam_queue import BeamQueue, OutcomeBatch, StopMode
from eechips.engine.worker import Worker
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import ConfigurationError
from eechips.files.scratch_folders import temporary_folder
from eechips.files.temporary_names import new_writer
from eechips.manifest.manifest_columns import WorkUnit
from eechips.processes.warning_filters import ignore_warning

_SPARE = 1.3
"""Units under way for every slot: those beyond one are being decoded and written, or wait to be retried."""
_TICK = 0.5  # seconds between two looks at the clock, if nothing happens
_WRITE_SECONDS = 2.0  # seconds between two batches of a worker
_MOST_EVENTS = 1000  # events in a batch


@dataclass(slots=True)
class _Session:
    """The parts of a connected worker process."""

    throttle: Throttle
    quota: LocalQuota
    meter: UsageMeter
    make_worker: Callable[[], Worker]
    worker: Worker


class BeamWorker:
    """A worker process. Several bundles may use it at once; it is connected from the first to the last of them.

    Args:
        rate: requests per second for each slot; None for no limit.
    """

    def __init__(self, spec: WorkerSpec, rate: float | None = None) -> None:
        self.name = uuid.uuid4().hex
        self._spec, self._rate = spec, rate
        self._lock = threading.Lock()
        self._users = 0
        self._numbers = itertools.count()
        self._stack = contextlib.ExitStack()
        self._session: _Session | None = None

    def enter(self) -> None:
        """Connect, unless another bundle has done so.

        Raises:
            ConfigurationError: if credentials, project or endpoint do not work here.
        """
        with self._lock:
            if self._session is None:
                with contextlib.ExitStack() as stack:
                    self._session = self._connect(stack)
                    self._stack = stack.pop_all()
            self._users += 1

    def leave(self) -> None:
        """Disconnect and restore the process, unless another bundle is being processed."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._session = None
                self._stack.close()

    def process(
        self,
        slots: int,
        assignments: Iterable[WorkUnit],
        receive: Callable[[Finished | Lost], object],
        stop_mode: Callable[[], StopMode | None] = lambda: None,
    ) -> None:
        """Execute units concurrently, with additional slots in the meantime.

        Args:
            slots: requests that may be in flight for them, in addition to those of other bundles.
            receive: receives the event of each unit, in the calling thread. Units that were abandoned because the run
                stops have none.
            stop_mode: called at least every half second; returns whether and how to stop.
        """
        session = self._session
        assert session is not None, "enter() comes first"
        left = iter(assignments)
        threads = ThreadExecutor(
            session.throttle, self._spec.unit_timeout, session.worker, partial(self._replace, session)
        )
        is_exclusive = is_dry = is_stopping = False
        with session.quota.reserve(slots), contextlib.closing(threads):
            while True:
                mode = stop_mode()
                if mode is not None and not is_stopping:
                    is_stopping = is_dry = True
                    session.throttle.stop()
                depth = math.ceil(_SPARE * session.quota.limit_of(slots))
                threads.scale(depth, depth, exclusive=is_exclusive)
                while not is_dry and threads.has_room:
                    assignment = next(left, None)
                    is_dry = assignment is None
                    if assignment is not None:
                        threads.submit(assignment)
                if not threads.is_busy or mode == "now":
                    return
                for event in threads.wait(_TICK):
                    if isinstance(event, Finished):
                        if event.outcome.record is None and event.outcome.fatal is None:
                            continue
                        is_exclusive = is_exclusive or event.outcome.is_exclusive
                    receive(event)

    def next_position(self) -> int:
        """Return a position that is unique in this process, for units without a plan."""
        return next(self._numbers)

    def usage(self) -> UsageDelta | None:
        """Return the use of the quota since the previous call; None if the worker is not connected."""
        with self._lock:
            return None if self._session is None else self._session.meter.report()

    def _replace(self, session: _Session, worker: Worker) -> Worker:
        """Return a worker in the place of one with a unit that hangs."""
        with self._lock:
            if session.worker is worker:  # else another bundle has replaced it
                session.worker = session.make_worker()
            return session.worker

    def _connect(self, stack: contextlib.ExitStack) -> _Session:
        self._spec.check_version()
        ignore_warning(NotGeoreferencedWarning)
        target = self._spec.find_target()
        throttle = Throttle(None, QuotaLimits(in_flight=1, start=1), clients=1)
        quota_client = throttle.client(0)
        how = (quota_client, self._spec.policy, self._spec.timeouts)
        needs_service = target != NO_SERVICE
        connection = stack.enter_context(connect(target, *how)) if needs_service else connect_to_nothing(*how)
        stack.callback(throttle_requests_library(connection.transport))
        folder = stack.enter_context(temporary_folder())
        discovery = connection.discovery.save(folder / "discovery.json")
        spec = replace(self._spec, token=str(new_writer()))  # of this process, which commits what it stages
        make_worker = partial(Worker, spec, connection, discovery)
        return _Session(throttle, LocalQuota(throttle, self._rate), UsageMeter(throttle), make_worker, make_worker())


def process_partitions(worker: BeamWorker, beam_queue: BeamQueue, partitions: Sequence[int]) -> None:
    """Execute the units of some partitions that have no reported outcome, and report theirs.

    Raises:
        ConfigurationError: if this process cannot access the Beam queue.
    """
    try:
        every = [beam_queue.read_units(partition) for partition in partitions]
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"a worker on {platform.node()} does not see the folder of the results ({error}): pass as `out` a folder"
            " that all machines share, or the URL of an object store, such as s3://bucket/folder"
        ) from None
    settled = beam_queue.completed_ids(partitions)  # of a worker that ended before it had processed them all
    assignments = [
        assignment
        for assignment in heapq.merge(*every, key=lambda assignment: assignment.position)
        if assignment.id not in settled
    ]
    writer = _BatchWriter(worker, beam_queue, partitions)
    try:
        worker.process(len(partitions), assignments, writer.add, writer.write_if_due)
    finally:
        writer.write()


class _BatchWriter:
    """Collect events, and write them every few seconds."""

    def __init__(self, worker: BeamWorker, beam_queue: BeamQueue, partitions: Sequence[int]) -> None:
        self._worker, self._queue, self._partitions = worker, beam_queue, partitions
        self._events: list[Finished | Lost] = []
        self._written = time.monotonic()
        self._stop: StopMode | None = None

    def add(self, event: Finished | Lost) -> None:
        """Add an event. One that concerns every unit stops the work."""
        self._events.append(event)
        if isinstance(event, Finished) and event.outcome.fatal is not None:
            self._stop = "finish"
        if len(self._events) >= _MOST_EVENTS:
            self.write()

    def write_if_due(self) -> StopMode | None:
        """Write the events, if it is time; return whether and how to stop."""
        if time.monotonic() - self._written >= _WRITE_SECONDS:
            self.write()
            self._stop = self._queue.stop_mode or self._stop
        return self._stop

    def write(self) -> None:
        """Write the collected events."""
        self._written = time.monotonic()
        events, self._events = self._events, []
        usage = self._worker.usage()
        if events or (usage is not None and usage.sent):
            self._queue.write_batch(self._partitions, OutcomeBatch(self._worker.name, tuple(events), usage))
