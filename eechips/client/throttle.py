"""Limit the requests in flight and the requests per second of a run, across its processes and threads.

The state is a page of shared memory guarded by a POSIX record lock. Both belong to an unlinked file, so they
vanish with the run, and the kernel drops the lock of a process that dies: a killed worker cannot block the
others. The parent reclaims its permits (:meth:`Throttle.reclaim`), because every process counts its own. Threads that
wait for a permit sleep on a semaphore. Tokens are reserved in advance: the holder of a permit knows when to send, so
that no thread polls. The number of permits is learned from the requests that the service rejects
(:mod:`eechips.client.congestion`).

Other runs may use the same quota (:mod:`eechips.client.shared_quota`). The throttle of one run then learns the limit of
all runs together, and leaves the slots of the others unused. The throttles of the others have shares of it.

Limits of the service, per project (https://developers.google.com/earth-engine/guides/usage, 2025-11): 40
requests in flight, 6,000 requests a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from multiprocessing.reduction import DupFd
from operator import attrgetter
from typing import Any

from eechips.client.congestion import START, USUAL, CongestionController
from eechips.client.permits import Permit, QuotaLimits, QuotaShare, QuotaUse, Stopped, UsageDelta
from eechips.client.shared_cells import ClientCells, RunCells, SharedCells
from eechips.client.shared_memory import allocate_shared_memory, make_semaphore
from eechips.errors import ConfigurationError

_BURST_SECONDS = 0.1
"""The bucket holds this many seconds of the rate: enough to start, too little to break a limit per second."""
_MINUTE = 60.0
_MAX_NAP = 0.25
"""Longest sleep, in seconds: the cost of a wake-up that is lost when its process dies."""
_STALE = 4 * _MAX_NAP
"""Seconds after which a waiting process that has not tried again counts as paused."""
_MAX_CLOSED = 7200.0
"""Longest time, in seconds, for which the Retry-After of one response closes the throttle."""
_MOST_LEARNED = 1000
"""Responses of another run, at most, that one report adds to what is learned."""
LONG_WAIT = 30.0
"""Retry-After in seconds above which the run pauses: the time does not count for the unit."""
_UNLEASED = 1
"""Permits of a run that shares a quota, after the end of its lease: few enough that the others hardly notice."""
_NO_PERMIT = -1.0
_SPENT = -2.0
_PROBE_SECONDS = 2.0
"""Seconds between two requests that test whether the service can be reached again."""

_held = attrgetter("held")
_paced = attrgetter("paced")
_waiting = attrgetter("waiting")
_waiting_next = attrgetter("waiting_next")
_sent = attrgetter("sent")
_rejected = attrgetter("rejected")
_received = attrgetter("received")
_share = attrgetter("share")


def read_lease_clock() -> float:
    """Return seconds on a clock that processes of a machine share, and that continues while the machine sleeps.

    Linux: ``CLOCK_BOOTTIME`` (clock_gettime(2)); elsewhere the monotonic clock.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Throttle:
    """Issue permits and tokens for the requests of a run.

    The parent makes it and hands it to the workers when it starts them (it can only be pickled then). Each
    process is a client: the parent number 0, workers 1 to ``clients - 1``.

    Args:
        context: the multiprocessing context of the workers; None if only threads of this process take part. Semaphores
            of processes need ``/dev/shm``, which AWS Lambda does not have.
        limits: what the run may use.
        clients: number of processes that can take part.
        clock: seconds, monotonic, the same in all processes.
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
    ) -> None:
        self._clients = clients
        self._clock, self._lease_clock = clock, lease_clock
        self._wake = make_semaphore(context)
        self._wake_next = make_semaphore(context)
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
        return {
            "descriptor": DupFd(self._descriptor),
            "clients": self._clients,
            "is_shared": self._is_shared,
            "clock": self._clock,
            "lease_clock": self._lease_clock,
            "wake": self._wake,
            "wake_next": self._wake_next,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._clients, self._is_shared = state["clients"], state["is_shared"]
        self._clock, self._lease_clock = state["clock"], state["lease_clock"]
        self._wake, self._wake_next = state["wake"], state["wake_next"]
        self._attach(state["descriptor"].detach())

    def _attach(self, descriptor: int) -> None:
        self._descriptor = descriptor
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
        """Lock the shared memory once: where that fails, it would fail at every request.

        Raises:
            ConfigurationError: if the system has no record locks for it.
        """
        try:
            with self._locked():
                pass
        except OSError as error:
            raise ConfigurationError(
                f"the processes of a run cannot keep the quota together: record locks (fcntl) fail in"
                f" {tempfile.gettempdir()} ({error.strerror or error}). Set TMPDIR to a folder on a local disk, or take"
                " executor='threads'"
            ) from error

    @property
    def _capacity(self) -> float:
        return max(1.0, self._run.rate * _BURST_SECONDS)

    @property
    def _refill(self) -> float:
        """Tokens a second: a little less than the rate, so that with the burst no minute has more than its sixty."""
        rate = self._run.rate
        return max(rate * 0.5, rate - self._capacity / _MINUTE)

    def client(self, number: int) -> QuotaClient:
        """Return the client for one process."""
        if not 0 <= number < self._clients:
            raise ValueError(f"client {number} of {self._clients}")
        return QuotaClient(self, number)

    @property
    def semaphores(self) -> list[str]:
        """Name of the system's semaphores that it holds."""
        locks = (getattr(semaphore, "_semlock", None) for semaphore in (self._wake, self._wake_next))
        return [semaphore.name for semaphore in locks if semaphore is not None and semaphore.name is not None]

    def close(self) -> None:
        """Release the system's semaphores, once no process waits; the state can still be read."""
        self._wake, self._wake_next = threading.Semaphore(0), threading.Semaphore(0)

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
        return self._sum(_held) - self._sum(_paced)

    @property
    def sent(self) -> int:
        """Requests sent since the beginning, of every kind, repeats included."""
        return self._sum(_sent)

    @property
    def rejected(self) -> int:
        """Requests that the service rejected with 429."""
        return self._sum(_rejected)

    @property
    def received(self) -> int:
        """Bytes of responses since the beginning."""
        return self._sum(_received)

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
    def asked_left(self) -> float:
        """Seconds left of a long pause that the service has requested by Retry-After; 0 if there is none."""
        return max(0.0, self._run.asked_until - self._clock())

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
            client.held = client.paced = client.waiting = client.waiting_next = client.share = 0.0
            self._wake_everybody()  # it may have died of a wake-up that was meant for others

    def share(self, share: QuotaShare) -> None:
        """Set what may be used, of a throttle that does not learn it.

        A share that was made before the last rejection was known raises nothing: it would be rejected again.
        """
        with self._locked() as cells:
            is_known = share.rejected >= self.rejected
            self._congestion.limit = float(share.slots if is_known else min(share.slots, self.total_limit))
            cells.rate = share.rate or 0.0
            self._wake_some()

    def resize(self, slots: int, rate: float | None) -> None:
        """Set what may be used at most, of a throttle that learns how much of it may be used.

        Args:
            slots: requests in flight at most; the limit is scaled with it.
            rate: requests a second; None for no limit.
        """
        with self._locked() as cells:
            self._controller.resize(float(slots))
            cells.rate = rate or 0.0
            self._wake_some()

    def lead(self, limit: float, *, is_learned: bool) -> None:
        """Learn the limit of all runs that share the quota.

        Args:
            limit: permits of all runs to begin with.
            is_learned: whether another run has learned them; else this throttle learns from its own first requests.
        """
        with self._locked() as cells:
            cells.learns = 1.0
            if is_learned:
                self._controller.resume(limit, self._clock())
            else:
                self._congestion.limit = limit
            self._wake_some()

    def refute(self, limit: int) -> None:
        """Return to a limit of all runs that was accepted, because another run's requests were rejected since.

        Args:
            limit: permits.
        """
        with self._locked():
            self._controller.refute(float(limit), self._clock())

    def follow(self) -> None:
        """Issue the permits of :meth:`share` only: another run learns the limit. There are none until then."""
        with self._locked() as cells:
            cells.learns = self._congestion.limit = cells.reserved = cells.reserved_idle = 0.0

    def reserve(self, slots: int, idle: int, rate: float | None, *, ceiling: float, bound: float) -> None:
        """Leave permits to other runs.

        Args:
            slots: permits of the other runs.
            idle: permits among them that the other runs could not use.
            rate: requests a second of this run; None for no limit.
            ceiling: permits that all runs together may have at most.
            bound: permits of all runs to which the limit may grow before the next call.
        """
        with self._locked() as cells:
            cells.reserved, cells.reserved_idle = float(slots), float(min(idle, slots))
            self._controller.bound(ceiling, bound)
            cells.rate = rate or 0.0
            self._wake_some()

    def renew_lease(self, end: float) -> None:
        """Keep the permits until a time on the lease clock; few remain from then on. Infinity for ever."""
        with self._locked() as cells:
            cells.lease_end = end
            self._wake_some()

    def learn_from(self, delta: UsageDelta) -> None:
        """Learn from the requests of another run that shares the quota.

        Args:
            delta: delta of its requests since its previous report.
        """
        with self._locked():
            now = self._clock()
            # How many requests were in flight at that moment is unknown: the limit falls step by step. More rejections
            # than slots are repeats.
            for _ in range(min(delta.rejected, delta.slots + 1)):
                self._controller.rejected(self.total_limit - 1, now, restricted=delta.is_restricted)
            for _ in range(min(delta.sent - delta.rejected, _MOST_LEARNED)):
                self._controller.answered(self._all_in_flight, now, restricted=delta.is_restricted)

    def measure(self) -> QuotaUse:
        """Return the use of the quota since the previous call."""
        with self._locked() as cells:
            held = self._sum(_held)
            peak, cells.peak = max(held, int(cells.peak)), float(held)
            return QuotaUse(
                limit=self.limit,
                held=held,
                peak=peak,
                in_flight=self.in_flight,
                sent=self.sent,
                rejected=self.rejected,
                is_restricted=self.is_restricted,
            )

    @property
    def is_ramping(self) -> bool:
        """Return whether the limit still doubles, as nothing has been rejected since the beginning."""
        return self._congestion.ramping != 0.0

    @property
    def own_most(self) -> int:
        """Permits that this run may have at most."""
        return int(self._run.own_most)

    @property
    def _all_in_flight(self) -> int:
        """Requests that are with the service, or could be, of all runs that share the quota."""
        return self.in_flight + int(self._run.reserved - self._run.reserved_idle)

    def rejected_of(self, number: int) -> int:
        """Return the requests of one client that the service rejected with 429."""
        return int(self._of_clients[number].rejected)

    def absorb(self, number: int, delta: UsageDelta, wanted: int) -> None:
        """Learn from the requests of a process on another machine, as if they had passed here.

        Args:
            number: number of the client that represents it.
            delta: requests since its last message.
            wanted: permits that all such processes together can use. The requests in flight when a process reports
                are slightly fewer than it could have.
        """
        client = self._of_clients[number]
        with self._locked() as cells:
            now = self._clock()
            client.sent += delta.sent
            client.rejected += delta.rejected
            client.received += delta.received
            client.held, client.share = delta.in_flight, delta.slots
            if not cells.learns:
                self._controller.announced(delta.is_restricted)
                if delta.rejected:
                    self._lower_to(self.in_flight)
                return
            others = int(cells.reserved - cells.reserved_idle)
            for _ in range(delta.rejected):
                in_flight = min(self._all_in_flight, self.total_limit - 1)
                self._controller.rejected(in_flight, now, restricted=delta.is_restricted)
            for _ in range(delta.sent - delta.rejected):
                if self._sum(_share) >= self.limit:  # else the limit is not in force yet, and proves nothing
                    in_flight = min(wanted + others, self.total_limit)
                    self._controller.answered(in_flight, now, restricted=delta.is_restricted)

    def _lower_to(self, in_flight: int) -> None:
        """Issue no more permits than the service accepts, until a share comes that takes the rejection into account."""
        cells = self._run
        least = 1.0 if cells.lease_end == float("inf") else 0.0  # a run with a lease receives its share again soon
        self._congestion.limit = min(self._congestion.limit, max(least, float(in_flight)))

    def _sum(self, cell: Callable[[ClientCells], float]) -> int:
        return int(sum(map(cell, self._of_clients)))

    def _count_waiting(self, cell: Callable[[ClientCells], float], now: float) -> int:
        """Count the threads that wait for a permit, without those of paused processes."""
        return int(sum(cell(client) for client in self._of_clients if now - client.seen <= _STALE))

    def _wake_everybody(self) -> None:
        for _ in range(self._sum(_waiting_next)):
            self._wake_next.release()
        for _ in range(self._sum(_waiting)):
            self._wake.release()
        self._run.woken = self._run.woken_next = 0.0

    def _wake_some(self) -> None:
        """Wake one thread for each free permit; first those that wait for the next request of a unit."""
        cells, now = self._run, self._clock()
        free = int(self.limit - self._sum(_held) - cells.woken - cells.woken_next)
        continuing = max(0, min(free, self._count_waiting(_waiting_next, now) - int(cells.woken_next)))
        beginning = max(0, min(free - continuing, self._count_waiting(_waiting, now) - int(cells.woken)))
        cells.woken_next += continuing
        cells.woken += beginning
        for _ in range(continuing):
            self._wake_next.release()
        for _ in range(beginning):
            self._wake.release()

    def _try_take(self, number: int, *, is_next: bool) -> tuple[bool, float]:
        """Take a permit and a token.

        Returns:
            Whether both were taken, and the seconds to wait: before sending, or else before trying again;
            ``_NO_PERMIT`` until a permit is returned, and ``_SPENT`` for never.
        """
        client = self._of_clients[number]
        with self._locked() as cells:
            now = self._clock()
            if self.is_spent:
                return False, _SPENT
            if cells.closed_until > now:
                return False, cells.closed_until - now
            # A unit under way has priority: its names expire, and finishing it frees a slot.
            queued = 0 if is_next else self._count_waiting(_waiting_next, now)
            held = self._sum(_held)
            if held + queued >= self.limit:
                self._note_waiting(now)
            if held + queued >= self.limit:
                if is_next:
                    client.waiting_next += 1.0
                else:
                    client.waiting += 1.0
                client.seen = now
                return False, _NO_PERMIT
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

    def _depart(self, number: int) -> None:
        client = self._of_clients[number]
        with self._locked():
            client.paced = max(0.0, client.paced - 1.0)

    def _give_back(self, number: int, permit: Permit) -> None:
        client = self._of_clients[number]
        with self._locked() as cells:
            now = self._clock()
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

    def _await_slot(self, number: int, *, is_next: bool) -> None:
        client = self._of_clients[number]
        semaphore = self._wake_next if is_next else self._wake
        was_woken = semaphore.acquire(timeout=_MAX_NAP)
        with self._locked() as cells:
            if is_next:
                client.waiting_next = max(0.0, client.waiting_next - 1.0)
                cells.woken_next = max(0.0, cells.woken_next - was_woken)
            else:
                client.waiting = max(0.0, client.waiting - 1.0)
                cells.woken = max(0.0, cells.woken - was_woken)

    def _try_probe(self) -> bool:
        """Return whether the caller is the one to find out whether the service can be reached again."""
        with self._locked() as cells:
            now = self._clock()
            if cells.closed_until > now:
                return False
            cells.closed_until = now + _PROBE_SECONDS
            return True


class QuotaClient:
    """One process's share of a throttle. Threads of the process use it together."""

    def __init__(self, throttle: Throttle, number: int) -> None:
        self.throttle = throttle
        self._number = number

    @contextlib.contextmanager
    def permit(self, *, is_next: bool = False) -> Iterator[Permit]:
        """Hold a permit for the duration of one request, and count it.

        A run that is stopping still issues permits, so that units under way finish, but not after a long wait.

        Args:
            is_next: whether the request continues a unit: it has priority over those that begin one.

        Yields:
            The permit, in which the caller records the response.

        Raises:
            Stopped: if the run is stopping and no permit is available soon, or if its budget is spent.
        """
        throttle = self.throttle
        while True:
            is_taken, wait = throttle._try_take(self._number, is_next=is_next)
            if is_taken:
                break
            if wait == _SPENT or (wait > _MAX_NAP and throttle.is_stopped):
                raise Stopped
            if wait == _NO_PERMIT:
                throttle._await_slot(self._number, is_next=is_next)
            else:
                time.sleep(min(wait, _MAX_NAP))
        permit = Permit()
        try:
            if wait > 0.0:
                time.sleep(wait)
                throttle._depart(self._number)
            yield permit
        finally:
            throttle._give_back(self._number, permit)

    def pause(self, seconds: float) -> None:
        """Wait, without a permit, before a request is repeated.

        Raises:
            Stopped: if the run is stopping: nothing is repeated then.
        """
        end = self.throttle._clock() + seconds
        while not self.throttle.is_stopped:
            left = end - self.throttle._clock()
            if left <= 0:
                return
            time.sleep(min(left, _MAX_NAP))
        raise Stopped

    def await_service(self, seconds: float) -> bool:
        """Wait while the service cannot be reached, or until it is this caller's turn to try.

        Args:
            seconds: to wait at most, from when the service went away.

        Returns:
            Whether to try; False if the time is up.

        Raises:
            Stopped: if the run is stopping.
        """
        throttle = self.throttle
        while (since := throttle.offline_since) is not None:
            if throttle._clock() - since > seconds:
                return False
            if throttle._try_probe():
                break
            self.pause(_MAX_NAP)
        return True
