"""Process units in a worker process of a Beam pipeline, within a share of the quota.

The parent cannot send messages to these workers. Each bundle that a worker processes adds its partitions to the slots
of the worker, so the slots of all workers together never exceed the quota. Within its slots a worker uses a throttle of
its own: it sends fewer requests at once while the service rejects some.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning

from eechips.client.connection import NO_SERVICE, Connection, ServiceTarget, connect
from eechips.client.credentials import find_credentials
from eechips.client.http_sessions import throttle_requests_library
from eechips.client.throttle import QuotaLimits, Throttle, UsageDelta
from eechips.engine.executors.executor import Finished, Lost
from eechips.engine.file_queue import StopMode
from eechips.engine.outcome import Outcome
from eechips.engine.worker import Worker, WorkerSetup
from eechips.engine.worker_spec import Duty
from eechips.errors import ConfigurationError
from eechips.manifest.record import WorkUnit
from eechips.removal import temporary_folder
from eechips.staging import new_writer
from eechips.storage import LocalStore, Staged
from eechips.warning_filters import ignore

_SPARE = 1.3
"""Units under way for every slot: those beyond one are being decoded and written, or wait to be repeated."""
_TICK = 0.5  # seconds between two looks at the clock, if nothing happens


class ImmediateStore(LocalStore):
    """A folder in which a result has its name as soon as it is whole, as in an object store: nobody commits it later.

    Two that write the same result at the same time do not meet: each has a temporary file of its own.
    """

    is_overwritten = True

    def stage(self, name: str, data: bytes, token: str) -> Staged:
        """As :meth:`LocalStore.stage`, and gives the file its name."""
        # Of this process, not of the run: whoever goes on with the run may find this worker still writing.
        staged = super().stage(name, data, str(new_writer()))
        super().commit(staged)
        return replace(staged, temporary=name)

    def commit(self, staged: Staged) -> None:
        """It is there already."""


class LocalQuota:
    """The slots of a process: as many as the work that it is at has at the moment. One lock guards it.

    Args:
        throttle: of the process; it learns how many of the slots the service bears.
        rate: requests a second, for each slot; None for no limit.
    """

    def __init__(self, throttle: Throttle, rate: float | None) -> None:
        self._throttle, self._rate = throttle, rate
        self._lock = threading.Lock()
        self._reserved = 0

    @contextlib.contextmanager
    def reserve(self, slots: int) -> Iterator[None]:
        """Has so many slots more for the duration of the block."""
        self._resize(slots)
        try:
            yield
        finally:
            self._resize(-slots)

    def limit_of(self, slots: int) -> float:
        """The limit_of of the throttle's limit that so many of the slots are."""
        return self._throttle.limit * slots / max(1, self._reserved)

    def _resize(self, slots: int) -> None:
        with self._lock:
            self._reserved += slots
            most = max(1, self._reserved)
            self._throttle.resize(most, None if self._rate is None else self._rate * most)


@dataclass(frozen=True, slots=True)
class Posting:
    """What workers on other machines are told. Picklable; it holds no credentials: workers find them where they are.

    Attributes:
        duty: what to do with units; its store is one in which results have their names at once.
        endpoint: base URL of the service.
        project: whose quota is used.
        key_file: key of a service account, where the workers have it; None for the credentials that the client finds.
        send_credentials: send them to an endpoint that is not Google's.
        rate: requests a second, for each slot; None for no limit.
        unit_timeout: seconds after which a unit is given up.
        version: of eechips, which workers must have as well.
    """

    duty: Duty
    endpoint: str
    project: str
    key_file: Path | None
    send_credentials: bool
    rate: float | None
    unit_timeout: float
    version: str = field(default_factory=lambda: version("eechips"))

    def check_version(self) -> None:
        """Raise ConfigurationError if this process has another version of eechips."""
        if version("eechips") != self.version:
            here = f"workers have eechips {version('eechips')}"
            raise ConfigurationError(f"{here}, this is {self.version}: install the same")

    def find_target(self) -> ServiceTarget:
        """Find the credentials of this machine, and say whom to ask with them.

        Raises:
            ConfigurationError: if there are none, or those there are do not work.
        """
        if not self.endpoint:
            return NO_SERVICE
        credentials = find_credentials(self.endpoint, self.key_file, send_anywhere=self.send_credentials)
        return ServiceTarget(self.endpoint, self.project, credentials)


@dataclass(slots=True)
class _Desk:
    """What a station works with while somebody uses it."""

    setup: WorkerSetup
    connection: Connection
    throttle: Throttle
    quota: LocalQuota
    worker: Worker


class BeamWorker:
    """A worker process. Several bundles may use it at once; it is connected from the first to the last.

    Args:
        posting: what to do.
        clock: seconds, monotonic.
    """

    def __init__(self, posting: Posting, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = uuid.uuid4().hex
        self._posting, self._clock = posting, clock
        self._lock = threading.Lock()
        self._users = 0
        self._numbers = itertools.count()
        self._stack = contextlib.ExitStack()
        self._desk: _Desk | None = None
        self._tallied = (0, 0, 0)

    def enter(self) -> None:
        """Connects, if nobody else has.

        Raises:
            ConfigurationError: if credentials, project or endpoint do not work here.
        """
        with self._lock:
            if self._desk is None:
                with contextlib.ExitStack() as stack:
                    self._desk = self._set_up(stack)
                    self._stack = stack.pop_all()
            self._users += 1

    def leave(self) -> None:
        """Puts everything back as it was, if nobody else works here."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._desk = None
                self._tallied = (0, 0, 0)
                self._stack.close()

    def work(
        self,
        slots: int,
        tasks: Iterable[WorkUnit],
        take: Callable[[Finished | Lost], object],
        pulse: Callable[[], StopMode | None] = lambda: None,
    ) -> None:
        """Executes units, several at once, with further slots for as long.

        Args:
            slots: requests that may be in flight for them, beside those of other bundles.
            tasks: the units.
            take: told what became of each, by the calling thread. Units that are given back, because the work stops,
                are not told of.
            pulse: called now and then; says whether to stop.
        """
        handle = self._desk
        assert handle is not None, "enter() comes first"
        left = iter(tasks)
        under_way: dict[int, tuple[WorkUnit, float]] = {}
        is_exclusive = is_dry = is_stopping = False
        with handle.quota.reserve(slots), contextlib.ExitStack() as stack:
            worker = handle.worker
            hands = stack.enter_context(_Hands(worker.execute))
            while True:
                how = pulse()
                if how is not None and not is_stopping:
                    is_stopping = is_dry = True
                    handle.throttle.stop()
                depth = 1 if is_exclusive else math.ceil(_SPARE * handle.quota.limit_of(slots))
                while not is_dry and len(under_way) < depth:
                    task = next(left, None)
                    is_dry = task is None
                    if task is not None:
                        under_way[task.position] = task, self._clock()
                        hands.take(task)
                if not under_way or how == "now":
                    return
                done = hands.done(_TICK)
                for outcome in done:
                    found = under_way.pop(outcome.position, None)
                    if found is None or (outcome.record is None and outcome.fatal is None):
                        continue
                    is_exclusive = is_exclusive or outcome.is_exclusive
                    take(Finished(found[0], outcome))
                if late := self._overdue(under_way, worker):
                    for lost in late:
                        take(lost)
                    # The others may wait for what it holds: they are given to a new worker.
                    worker = self._renewed(handle, worker)
                    hands = stack.enter_context(_Hands(worker.execute))
                    for position, (task, _) in under_way.items():
                        under_way[position] = task, self._clock()
                        hands.take(task)

    def number(self) -> int:
        """A position that no other unit has here, for units without a plan."""
        return next(self._numbers)

    def tally(self) -> UsageDelta | None:
        """What was sent since the last time, and how it stands."""
        with self._lock:
            if self._desk is None:
                return None
            throttle = self._desk.throttle
            now = (throttle.sent, throttle.rejected, throttle.received)
            sent, rejected, received = (new - old for new, old in zip(now, self._tallied, strict=True))
            self._tallied = now
            return UsageDelta(sent, rejected, received, throttle.in_flight, throttle.limit, throttle.is_restricted)

    def _renewed(self, handle: _Desk, worker: Worker) -> Worker:
        """Return a worker that replaces one with a unit that hangs."""
        with self._lock:
            if handle.worker is worker:  # else another bundle has replaced it
                handle.worker = Worker(handle.setup, handle.connection)
            return handle.worker

    def _overdue(self, under_way: dict[int, tuple[WorkUnit, float]], worker: Worker) -> list[Lost]:
        """Gives up what takes too long: what the recipe is at, else all that does. What hangs cannot be ended."""
        limit = self._posting.unit_timeout
        late = {position for position, (_, since) in under_way.items() if self._clock() - since > limit}
        guilty = [under_way.pop(position)[0] for position in sorted(late & worker.in_recipe or late)]
        return [Lost(task, f"it was not done after {limit:g} s", blame=True) for task in guilty]

    def _set_up(self, stack: contextlib.ExitStack) -> _Desk:
        posting = self._posting
        posting.check_version()
        ignore(NotGeoreferencedWarning)
        target = posting.find_target()
        throttle = Throttle(None, QuotaLimits(in_flight=1, start=1), clients=1)
        seat = throttle.client(0)
        connection = stack.enter_context(connect(target, seat, posting.duty.policy, posting.duty.timeouts))
        stack.callback(throttle_requests_library(seat, posting.endpoint))
        folder = stack.enter_context(temporary_folder())
        duty = replace(posting.duty, token=str(new_writer()))  # of this process, which commits what it stages
        setup = WorkerSetup(duty, target, connection.discovery.save(folder / "discovery.json"))
        quota = LocalQuota(throttle, posting.rate)
        return _Desk(setup, connection, throttle, quota, Worker(setup, connection))


class _Hands:
    """Threads that execute units: as many as there ever were at once. Leaving the block ends those that are idle.

    Args:
        execute: what they do.
    """

    def __init__(self, execute: Callable[[WorkUnit], Outcome]) -> None:
        self._execute = execute
        self._tasks: queue.SimpleQueue[WorkUnit | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0

    def __enter__(self) -> _Hands:
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in range(self._threads):
            self._tasks.put(None)

    def take(self, task: WorkUnit) -> None:
        """Has a thread execute a unit."""
        self._busy += 1
        if self._busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._run, daemon=True, name="eechips-unit").start()
        self._tasks.put(task)

    def done(self, timeout: float) -> list[Outcome]:
        """What was done meanwhile; waits for so many seconds if there is nothing.

        Raises:
            BaseException: what a thread broke with.
        """
        found: list[Outcome] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._received(self._done.get(timeout=timeout)))
            while True:
                found.append(self._received(self._done.get_nowait()))
        return found

    def _received(self, outcome: Outcome | BaseException) -> Outcome:
        self._busy -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._done.put(self._execute(task))
            except BaseException as error:  # noqa: BLE001 - raised again where it is seen
                self._done.put(error)
