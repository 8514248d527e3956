"""Workers of a Dask cluster, on this machine or on many.

Every worker has a share of the project's slots and of its rate, which travels with each task. Together the slots are
the limit that the parent has learned from what the workers tell with every result. Tasks are sent to a worker of our
choice and leave Dask's own pool of threads at once (``distributed.secede``), so that a worker with a single thread can
use its whole share. Credentials travel with the plugin that makes a worker ours, not with the tasks.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, cast

import distributed

from eechips.client.throttle import Share, Tally, Throttle
from eechips.engine.executors.executor import Desk, Executor, Finished, Lost, lost
from eechips.engine.executors.host import Host, Orders
from eechips.engine.outcome import Outcome
from eechips.errors import ConfigurationError
from eechips.manifest.record import Planned

_GLANCE = 1.0  # seconds between two looks at who is in the cluster
_MAX_BROKEN = 3
_CONNECT = 10.0  # seconds to reach a scheduler, or until it has a worker
_RESTART = 30.0  # seconds that a worker may take to come back
_LOCAL_WORKERS = 4


@dataclass(slots=True, eq=False)
class _Seat(Desk):
    address: str
    number: int
    """Of the seat at the throttle that stands for it."""
    futures: dict[int, Any] = field(default_factory=dict)


class Dask(Executor[_Seat]):
    """A Dask cluster. Use it in a ``with`` block.

    Args:
        orders: what every worker is told.
        throttle: of the run.
        scheduler: its address; None to start a cluster on this machine.
        size: workers of a cluster on this machine, at most; seats at the throttle for those of any other.
        task_timeout: seconds after which a worker that is still at the same task is restarted.
        clock: seconds, monotonic.

    Raises:
        ConfigurationError: if Dask is not installed, or the scheduler cannot be reached.
    """

    def __init__(
        self,
        orders: Orders,
        throttle: Throttle,
        scheduler: str | None,
        size: int,
        task_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(throttle, task_timeout, clock)
        self._orders, self._scheduler, self._size = orders, scheduler, size
        self._stack = contextlib.ExitStack()
        self._client: Any = None
        self._done: queue.SimpleQueue[tuple[_Seat, int, Any]] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._free_seats = list(range(size, 0, -1))
        self._slots = 0
        self._is_exclusive = False
        self._looked, self._broken = 0.0, 0

    def __enter__(self) -> Dask:
        try:
            self._client = self._stack.enter_context(_connect(self._scheduler, self._size))
            self._client.register_plugin(Membership(self._orders))
            self._stack.callback(self._leave)
            self._client.wait_for_workers(1, timeout=_CONNECT)
        except (OSError, TimeoutError) as error:
            self._stack.close()
            where = f"at {self._scheduler}" if self._scheduler else "on this machine"
            raise ConfigurationError(f"no Dask cluster {where}: {error}") from error
        self._look()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        self._stack.close()

    def staff(self, slots: int, tasks: int, *, exclusive: bool) -> bool:
        """Divides the slots; workers come and go by themselves."""
        self._slots, self._is_exclusive = slots, exclusive
        return False

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Waits until a task is done, or for so many seconds.

        Raises:
            ConfigurationError: if no worker can begin.
        """
        found: list[tuple[_Seat, int, Any]] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._done.get(timeout=timeout))
            while True:
                found.append(self._done.get_nowait())
        events = self._collect(found)
        if self._clock() - self._looked >= _GLANCE:
            events += self._look()
        return events + self._overdue()

    def kill(self) -> None:
        """Cancels what is under way."""
        futures = [future for seat in self._desks for future in seat.futures.values()]
        if futures:
            self._client.cancel(futures, force=True)
        for seat in self._desks:
            seat.tasks.clear()
            seat.futures.clear()

    def _send(self, desk: _Seat, task: Planned) -> None:
        future = self._client.submit(
            execute,
            self._plugin_name,
            task,
            self._share(desk),
            key=f"eechips-{self._orders.setup.duty.token}-{task.position}-{next(self._numbers)}",
            workers=[desk.address],
            pure=False,
        )
        desk.futures[task.position] = future
        position = task.position
        future.add_done_callback(lambda done: self._done.put((desk, position, done)))

    def _depth(self, desk: _Seat) -> int:
        if self._is_exclusive:
            return 1
        return math.ceil(self._slots * self._share(desk).slots / max(1, self.throttle.limit))

    def _share(self, desk: _Seat) -> Share:
        """The share of a worker: as many slots as every other's, or one more, and its part of the rate."""
        whole, rest = divmod(self.throttle.limit, len(self._desks))
        rate = None if self._orders.rate is None else self._orders.rate / len(self._desks)
        return Share(whole + (self._desks.index(desk) < rest), rate, self.throttle.rejected_of(desk.number))

    @property
    def _plugin_name(self) -> str:
        return Membership.name_of(self._orders)

    def _collect(self, found: list[tuple[_Seat, int, Any]]) -> list[Finished | Lost]:
        events: list[Finished | Lost] = []
        present = [each for each in found if each[0].futures.get(each[1]) is each[2]]
        good = [(seat, future) for seat, _, future in present if future.status == "finished"]
        results = {outcome.position: (outcome, tally) for outcome, tally in self._gathered(good)}
        under_way = sum(len(seat.tasks) for seat in self._desks)
        for seat, position, future in present:
            del seat.futures[position]
            if position in results:
                outcome, tally = results[position]
                self._broken = 0
                self.throttle.absorb(seat.number, tally, under_way)
                finished = self._finish(seat, outcome)
                if finished is not None:
                    events.append(finished)
            elif position in seat.tasks:
                task, _ = seat.tasks.pop(position)
                events.append(Lost(task, self._reason(future), blame=None))
        return events

    def _gathered(self, good: list[tuple[_Seat, Any]]) -> list[tuple[Outcome, Tally]]:
        """The results of tasks that are done. One that was lost with its worker is left out: each says whose it is.

        Dask waits for such a result until it has been computed again: for ever, as no other worker may do that.
        """
        gathering = asyncio.run_coroutine_threadsafe(
            self._client.gather([future for _, future in good], errors="skip", asynchronous=True),
            self._client.loop.asyncio_loop,
        )
        while not concurrent.futures.wait([gathering], _GLANCE).done:
            there = self._addresses()
            self._client.cancel([future for seat, future in good if seat.address not in there], force=True)
        found: list[tuple[Outcome, Tally]] = gathering.result()
        return found

    def _addresses(self) -> set[str]:
        """Of the workers that are in the cluster now."""
        return set(self._client.scheduler_info(n_workers=-1)["workers"])

    def _reason(self, future: Any) -> str:
        """Why a task has no result.

        Raises:
            ConfigurationError: if the workers are to blame, not the task.
        """
        error = future.exception() if future.status == "error" else None
        if error is None:
            return "its worker has left the cluster"
        if isinstance(error, ConfigurationError):
            raise error
        self._broken += 1
        if self._broken >= _MAX_BROKEN:
            raise ConfigurationError(f"workers of the cluster cannot work: {type(error).__name__}: {error}")
        return f"{type(error).__name__}: {error}"

    def _look(self) -> list[Finished | Lost]:
        """Takes note of who has come and who has gone."""
        self._looked = self._clock()
        there = self._addresses()
        events: list[Finished | Lost] = []
        for seat in [seat for seat in self._desks if seat.address not in there]:
            events += self._bury(seat, "its worker has left the cluster", set())
        for address in sorted(there - {seat.address for seat in self._desks}):
            if self._free_seats:
                self._desks.append(_Seat(address, self._free_seats.pop(), is_ready=True))
        return events

    def _overdue(self) -> list[Finished | Lost]:
        events: list[Finished | Lost] = []
        for seat in list(self._desks):
            late = self._late(seat)
            if late:
                address = seat.address
                events += self._bury(seat, f"it was not done after {self._timeout:g} s", late)
                self._client.restart_workers([address], timeout=_RESTART, raise_for_error=False)
        return events

    def _bury(self, seat: _Seat, reason: str, late: set[int]) -> list[Finished | Lost]:
        self._desks.remove(seat)
        self._free_seats.append(seat.number)
        self.throttle.reclaim(seat.number)
        futures = list(seat.futures.values())
        seat.futures.clear()  # what they report from now on is of nobody: the tasks are given to other workers
        self._client.cancel(futures, force=True)
        return lost(seat, reason, late)

    def _leave(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # the cluster may be gone
            self._client.unregister_worker_plugin(self._plugin_name)


def execute(plugin: str, task: Planned, share: Share) -> tuple[Outcome, Tally]:
    """Executes a task in a worker of the cluster.

    Args:
        plugin: name of the :class:`Membership` that made it ours.
        task: the task.
        share: of the quota, of the worker.
    """
    membership = cast(Membership, distributed.get_worker().plugins[plugin])
    distributed.secede()
    return membership.host().execute(task, share)


class Membership(distributed.WorkerPlugin):
    """The plugin that makes a worker of a cluster one of a run.

    Args:
        orders: what to do.
    """

    idempotent = False

    def __init__(self, orders: Orders) -> None:
        self.name = self.name_of(orders)
        self._orders, self._version = orders, version("eechips")
        self._host: Host | None = None

    @staticmethod
    def name_of(orders: Orders) -> str:
        """The name by which workers know it."""
        return f"eechips-{orders.setup.duty.token}"

    def setup(self, worker: distributed.Worker) -> None:
        """Called by the worker."""
        self._opening = threading.Lock()
        self._others = [p for p in worker.plugins.values() if isinstance(p, Membership) and p is not self]

    def teardown(self, worker: distributed.Worker) -> None:
        """Called by the worker when the run is over."""
        if self._host is not None:
            self._host.close()

    def host(self) -> Host:
        """What works, made when it is needed first.

        Raises:
            ConfigurationError: if it cannot work here.
        """
        with self._opening:
            if self._host is None:
                if version("eechips") != self._version:
                    here = f"workers of the cluster have eechips {version('eechips')}"
                    raise ConfigurationError(f"{here}, this is {self._version}: install the same")
                if any(other._host is not None for other in self._others):
                    raise ConfigurationError("the cluster works for another run: wait for its end")
                self._host = Host(self._orders)
            return self._host


@contextlib.contextmanager
def _connect(scheduler: str | None, size: int) -> Iterator[distributed.Client]:
    """A client of a scheduler, or of a cluster that is started for the duration of the block."""
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            # Threads do not matter, as tasks leave Dask's pool; processes do, for what decodes and writes.
            cluster = distributed.LocalCluster(
                n_workers=min(size, _LOCAL_WORKERS),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",  # None would serve the whole network
                worker_dashboard_address="127.0.0.1:0",
                host="127.0.0.1",
                silence_logs=logging.ERROR,
            )
            stack.enter_context(cluster)
            yield stack.enter_context(distributed.Client(cluster, timeout=_CONNECT, set_as_default=False))
        else:
            yield stack.enter_context(distributed.Client(scheduler, timeout=_CONNECT, set_as_default=False))
