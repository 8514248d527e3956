"""Limit the requests in flight and the requests per second of a run, across its processes and threads; pause as
Retry-After asks; stop when the budget is spent.

The state is a page of shared memory guarded by a POSIX record lock. Both belong to an unlinked file, so they
vanish with the run, and the kernel drops the lock of a process that dies: a killed worker cannot block the
others. The parent reclaims its permits, because every process counts its own. Threads that wait for a permit sleep on a
semaphore. Tokens are reserved in advance: the holder of a permit knows when to send, so that no thread polls. The
number of permits is learned from the requests that the service rejects (:mod:`eechips.client.quota.congestion`).

Limits of the service, per project (https://developers.google.com/earth-engine/guides/usage, 2025-11): 40
requests in flight, 6,000 requests a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from multiprocessing.reduction import DupFd
from operator import attrgetter
from typing import Any

from eechips.client.quota.congestion import START, USUAL, CongestionController
from eechips.client.quota.permits import Permit, QuotaLimits
from eechips.client.quota.process_memory import RunCells, SharedCells, allocate_shared_memory, make_semaphore
from eechips.errors import ConfigurationError

_BURST_SECONDS = 0.1
"""The bucket holds this many seconds of the rate: enough to start, too little to break a limit per second."""
_MINUTE = 60.0
MAX_NAP = 0.25
"""Longest sleep, in seconds: the cost of a wake-up that is lost when its process dies."""
_STALE = 4 * MAX_NAP
"""Seconds after which a waiting process that has not tried again counts as paused."""
_MAX_CLOSED = 7200.0
"""Longest time, in seconds, for which the Retry-After of one response closes the throttle."""
LONG_WAIT = 30.0
"""Retry-After in seconds above which the run pauses: the time does not count for the unit."""
_UNLEASED = 1
"""Permits of a run that shares a quota, after the end of its lease: few enough that the others hardly notice."""
NO_PERMIT = -1.0
"""Wait of a thread that has no permit yet: until one is returned."""
SPENT = -2.0
"""Wait of a thread that never gets one, as the budget of the run is spent."""
_PROBE_SECONDS = 2.0
"""Seconds between two requests that test whether the service can be reached again."""
_PICKLED = ("clock", "_clients", "_is_shared", "_lease_clock", "_wakes")
"""Attributes that the issuer has in every process."""


def read_lease_clock() -> float:
    """Return seconds on a clock that processes of a machine share, and that continues while the machine sleeps.

    Linux: ``CLOCK_BOOTTIME`` (clock_gettime(2)); elsewhere the monotonic clock.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class PermitIssuer:
    """Issue permits and tokens to the processes of a run.

    The parent makes it and hands it to the workers when it starts them (it can only be pickled then). Each
    process is a client: the parent number 0, workers 1 to ``clients - 1``.

    Attributes:
        clock: seconds, monotonic, the same in all processes.
        sleep: waits for a number of seconds; ``time.sleep`` in workers.

    Args:
        context: the multiprocessing context of the workers; None if only threads of this process take part. Semaphores
            of processes need ``/dev/shm``, which AWS Lambda does not have.
        limits: what the run may use.
        clients: number of processes that can take part.
        lease_clock: as ``clock``, for the end of a lease.

    Raises:
        ConfigurationError: if processes take part, and the system has no memory or no locks for them.
    """

    def __init__(
        self,
        context: BaseContext | None,
        limits: QuotaLimits,
        *,
        clients: int,
        clock: Callable[[], float] = time.monotonic,
        lease_clock: Callable[[], float] = read_lease_clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clients = clients
        self.clock, self._lease_clock, self.sleep = clock, lease_clock, sleep
        self._wakes = [make_semaphore(context) for _ in range(2)]  # of threads that begin a unit, and that continue one
        self._is_shared = context is not None
        self._attach(allocate_shared_memory(SharedCells.size(clients)))
        self._check_locks()
        usual = USUAL if limits.is_known else START
        start = limits.start if limits.start is not None else min(usual, limits.in_flight)
        free = None if limits.is_known else max(USUAL, start)
        self._controller.begin(start, limits.in_flight, clock(), ramps=limits.start is None, free=free)
        self._run.rate = limits.rate or 0.0
        self._run.tokens = self._capacity
        self._run.refilled = clock()
        self._run.most_requests = limits.requests if limits.requests is not None else float("inf")
        self._run.learns = float(limits.learns)
        self._run.most_bytes = limits.received if limits.received is not None else float("inf")
        self._run.own_most = float(limits.in_flight)
        self._run.lease_end = float("inf")

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _PICKLED} | {"descriptor": DupFd(self._descriptor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        descriptor = state.pop("descriptor")
        self.__dict__ |= state
        self.sleep = time.sleep
        self._attach(descriptor.detach())

    def _attach(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor).atexit = False  # threads may still take permits at exit
        cells = SharedCells(descriptor, self._clients)
        self._run, self._congestion, self._of_clients = cells.run, cells.congestion, cells.clients
        self._controller = CongestionController(cells.congestion)
        self._threads = threading.Lock()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[RunCells]:
        with self._threads:  # record locks belong to processes: they do not keep threads apart
            if not self._is_shared:
                yield self._run
                return
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield self._run
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _check_locks(self) -> None:
        """Lock the shared memory once: where that fails, it would fail at every request."""
        try:
            with self._locked():
                pass
        except OSError as error:
            raise ConfigurationError(
                f"the processes of a run cannot share the quota: record locks (fcntl) fail in {tempfile.gettempdir()}"
                f" ({error.strerror or error}). Set TMPDIR to a folder on a local disk, or use executor='threads'"
            ) from error

    @property
    def _capacity(self) -> float:
        return max(1.0, self._run.rate * _BURST_SECONDS)

    @property
    def _refill(self) -> float:
        """Tokens a second: a little less than the rate, so that with the burst no minute has more than its sixty."""
        rate = self._run.rate
        return max(rate * 0.5, rate - self._capacity / _MINUTE)

    @property
    def semaphores(self) -> list[str]:
        """Name of the system's semaphores that it holds."""
        locks = (getattr(semaphore, "_semlock", None) for semaphore in self._wakes)
        return [semaphore.name for semaphore in locks if semaphore is not None and semaphore.name is not None]

    def close(self) -> None:
        """Release the system's semaphores, once no process waits; the state can still be read."""
        self._wakes = [threading.Semaphore(0) for _ in self._wakes]

    @property
    def limit(self) -> int:
        """Number of permits of this run at present."""
        cells = self._run
        if cells.lease_end != float("inf") and self._lease_clock() > cells.lease_end:
            return _UNLEASED
        if not cells.reserved:
            return int(self._congestion.limit)
        return max(0, int(min(int(self._congestion.limit) - cells.reserved, cells.own_most)))

    @property
    def expected_limit(self) -> int:
        """Number of permits for which work should be ready: while the limit is unknown, the number that is usual."""
        if not self.is_ramping or not self._run.learns:
            return self.limit
        return max(self.limit, int(min(USUAL - self._run.reserved, self._congestion.ceiling)))

    @property
    def total_limit(self) -> int:
        """Number of permits at present, with those reserved for other runs."""
        return int(self._congestion.limit)

    @property
    def is_restricted(self) -> bool:
        """Return whether the last response of the service announced its restricted mode."""
        return self._congestion.restricted != 0.0

    @property
    def in_flight(self) -> int:
        """Requests that are with the service."""
        return self._sum("held") - self._sum("paced")

    @property
    def sent(self) -> int:
        """Requests sent since the beginning, of every kind, repeats included."""
        return self._sum("sent")

    @property
    def rejected(self) -> int:
        """Requests that the service rejected with 429."""
        return self._sum("rejected")

    @property
    def received(self) -> int:
        """Bytes of responses since the beginning."""
        return self._sum("received")

    @property
    def is_stopped(self) -> bool:
        """Return whether :meth:`stop` was called."""
        return self._run.stopped != 0.0

    @property
    def is_spent(self) -> bool:
        """Return whether all the requests, or bytes, that the run may use are used."""
        return self.sent >= self._run.most_requests or self.received >= self._run.most_bytes

    @property
    def offline_since(self) -> float | None:
        """Time at which the service became unreachable, on the monotonic clock; None if it is reachable."""
        return self._run.offline or None

    @property
    def pause_left(self) -> float:
        """Seconds left in which nothing is sent, as the service has requested by Retry-After; 0 if there are none."""
        return max(0.0, self._run.closed_until - self.clock())

    @property
    def asked_left(self) -> float:
        """Seconds left of a long pause that the service has requested by Retry-After; 0 if there is none."""
        return max(0.0, self._run.asked_until - self.clock())

    @property
    def asked_so_far(self) -> float:
        """Seconds of such pauses since the beginning."""
        return self._run.asked - self.asked_left

    def stop(self) -> None:
        """Stop the run in every process: requests are not repeated."""
        self._run.stopped = 1.0
        with self._locked():
            self._wake_everybody()

    def reclaim(self, number: int) -> None:
        """Reclaim the permits of a process that died."""
        client = self._of_clients[number]
        with self._locked():
            client.held = client.paced = client.share = 0.0
            client.waiting[:] = (0.0, 0.0)
            self._wake_everybody()  # it may have died of a wake-up that was meant for others

    @property
    def is_ramping(self) -> bool:
        """Return whether the limit still doubles, as nothing has been rejected since the beginning."""
        return self._congestion.ramping != 0.0

    @property
    def _all_in_flight(self) -> int:
        """Requests that are with the service, or could be, of all runs that share the quota."""
        return self.in_flight + int(self._run.reserved - self._run.reserved_idle)

    def _lower_to(self, in_flight: int) -> None:
        """Issue no more permits than the service accepts, until a share comes that takes the rejection into account."""
        cells = self._run
        least = 1.0 if cells.lease_end == float("inf") else 0.0  # a run with a lease receives its share again soon
        self._congestion.limit = min(self._congestion.limit, max(least, float(in_flight)))

    def _sum(self, cell: str) -> int:
        return int(sum(map(attrgetter(cell), self._of_clients)))

    def _count_waiting(self, *, is_next: bool, since: float = -math.inf) -> int:
        """Count the threads that wait for a permit, of the processes that have tried since a time."""
        return int(sum(client.waiting[is_next] for client in self._of_clients if client.seen >= since))

    def _wake_everybody(self) -> None:
        for is_next in (True, False):
            for _ in range(self._count_waiting(is_next=is_next)):
                self._wakes[is_next].release()
            self._run.woken[is_next] = 0.0

    def _wake_some(self) -> None:
        """Wake one thread for each free permit; first those that wait for the next request of a unit."""
        woken, since = self._run.woken, self.clock() - _STALE
        free = int(self.limit - self._sum("held") - sum(woken))
        for is_next in (True, False):
            count = max(0, min(free, self._count_waiting(is_next=is_next, since=since) - int(woken[is_next])))
            free -= count
            woken[is_next] += count
            for _ in range(count):
                self._wakes[is_next].release()

    def try_take(self, number: int, *, is_next: bool) -> tuple[bool, float]:
        """Take a permit and a token for a client.

        Args:
            is_next: see :meth:`eechips.client.quota.throttle.QuotaClient.permit`.

        Returns:
            Whether both were taken, and the seconds to wait: before sending, or else before trying again;
            ``NO_PERMIT`` until a permit is returned, and ``SPENT`` for never.
        """
        client = self._of_clients[number]
        with self._locked() as cells:
            now = self.clock()
            if self.is_spent:
                return False, SPENT
            if cells.closed_until > now:
                return False, cells.closed_until - now
            # A unit under way has priority: its names expire, and finishing it frees a slot.
            queued = 0 if is_next else self._count_waiting(is_next=True, since=now - _STALE)
            held = self._sum("held")
            if held + queued >= self.limit:
                self._note_waiting(now)
            if held + queued >= self.limit:
                client.waiting[is_next] += 1.0
                client.seen = now
                return False, NO_PERMIT
            client.held += 1.0
            client.sent += 1.0
            cells.peak = max(cells.peak, held + 1.0)
            wait = self._reserve(now)
            if wait > 0.0:
                client.paced += 1.0
            return True, wait

    def _note_waiting(self, now: float) -> None:
        """Raise a limit that is unknown: requests wait, and none was rejected."""
        if self._run.learns:
            self._controller.waited(self._all_in_flight, now)

    def _reserve(self, now: float) -> float:
        """Take the next token; return the seconds until it is there."""
        cells = self._run
        if cells.rate <= 0:
            return 0.0
        refill = self._refill
        elapsed = max(0.0, now - cells.refilled)
        cells.tokens = min(self._capacity, cells.tokens + elapsed * refill) - 1.0
        cells.refilled = now
        return max(0.0, -cells.tokens / refill)

    def depart(self, number: int) -> None:
        """Note that a request whose token was not there yet is sent now."""
        client = self._of_clients[number]
        with self._locked():
            client.paced = max(0.0, client.paced - 1.0)

    def give_back(self, number: int, permit: Permit) -> None:
        """Take a permit back, and learn from the response that it records."""
        client = self._of_clients[number]
        with self._locked() as cells:
            now = self.clock()
            client.received += permit.received
            client.sent -= float(permit.is_unused)
            if permit.status is not None:
                cells.offline = 0.0
            elif permit.is_unreachable and not cells.offline:
                cells.offline = now
            if permit.status is not None and not cells.learns:
                self._controller.announced(permit.is_restricted)  # a throttle that learns is notified below
            elif permit.status is not None and permit.status != 429:
                self._controller.answered(self._all_in_flight, now, restricted=permit.is_restricted)
            client.held = max(0.0, client.held - 1.0)
            if permit.status == 429:
                client.rejected += 1.0
                if cells.learns:
                    in_flight = min(self._all_in_flight, self.total_limit - 1) if cells.reserved else self.in_flight
                    self._controller.rejected(in_flight, now, restricted=permit.is_restricted)
                else:  # what waits would be rejected as well
                    self._lower_to(self.in_flight)
            if permit.retry_after:
                self._close(now, min(permit.retry_after, _MAX_CLOSED))
            self._wake_some()

    def _close(self, now: float, seconds: float) -> None:
        """Send nothing for so many seconds, as the service requests."""
        cells = self._run
        until = now + seconds
        cells.closed_until = max(cells.closed_until, until)
        before = max(cells.asked_until, now)
        if seconds > LONG_WAIT and until > before:
            cells.asked += until - before
            cells.asked_until = until

    def await_slot(self, number: int, *, is_next: bool) -> None:
        """Sleep until a permit is returned, or for a short time; :meth:`try_take` has answered ``NO_PERMIT``."""
        client = self._of_clients[number]
        was_woken = self._wakes[is_next].acquire(timeout=MAX_NAP)
        with self._locked() as cells:
            client.waiting[is_next] = max(0.0, client.waiting[is_next] - 1.0)
            cells.woken[is_next] = max(0.0, cells.woken[is_next] - was_woken)

    def try_probe(self) -> bool:
        """Return whether the caller is the one to find out whether the service can be reached again."""
        with self._locked() as cells:
            now = self.clock()
            if cells.closed_until > now:
                return False
            cells.closed_until = now + _PROBE_SECONDS
            return True
