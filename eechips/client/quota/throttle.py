"""Have requests of a process wait for their permits; leave other runs their part of the quota.

The throttle of one run learns the limit of all runs together (:mod:`eechips.client.quota.shared_quota`), and leaves the
slots of the others unused. The throttles of the others have shares of it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from eechips.client.quota.permit_issuer import MAX_NAP, NO_PERMIT, SPENT, PermitIssuer
from eechips.client.quota.permits import Permit, QuotaShare, QuotaUse, UsageDelta
from eechips.errors import Stopped


class QuotaClient:
    """One process's access to a throttle. Threads of the process use it together."""

    def __init__(self, throttle: PermitIssuer, number: int) -> None:
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
            is_taken, wait = throttle.try_take(self._number, is_next=is_next)
            if is_taken:
                break
            if wait == SPENT or (wait > MAX_NAP and throttle.is_stopped):
                raise Stopped
            if wait == NO_PERMIT:
                throttle.await_slot(self._number, is_next=is_next)
            else:
                throttle.sleep(min(wait, MAX_NAP))
        permit = Permit()
        try:
            if wait > 0.0:
                throttle.sleep(wait)
                throttle.depart(self._number)
            yield permit
        finally:
            throttle.give_back(self._number, permit)

    def pause(self, seconds: float) -> None:
        """Wait, without a permit, before a request is repeated.

        Raises:
            Stopped: if the run is stopping: nothing is repeated then.
        """
        end = self.throttle.clock() + seconds
        while not self.throttle.is_stopped:
            left = end - self.throttle.clock()
            if left <= 0:
                return
            self.throttle.sleep(min(left, MAX_NAP))
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
            if throttle.clock() - since > seconds:
                return False
            if throttle.try_probe():
                break
            self.pause(MAX_NAP)
        return True


_MOST_LEARNED = 1000
"""Responses of another run, at most, that one report adds to what is learned."""


class Throttle(PermitIssuer):
    """The limit on the requests of a run, and the part of the quota that other runs have.

    A run that shares its quota leads, and :meth:`reserve` leaves permits to the others, or it follows, and has a
    :meth:`share`.
    """

    def client(self, number: int) -> QuotaClient:
        """Return the client for one process."""
        if not 0 <= number < self._clients:
            raise ValueError(f"client {number} of {self._clients}")
        return QuotaClient(self, number)

    @property
    def own_most(self) -> int:
        """Permits that this run may have at most."""
        return int(self._run.own_most)

    def rejected_of(self, number: int) -> int:
        """Return the requests of one client that the service rejected with 429."""
        return int(self._of_clients[number].rejected)

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
                self._controller.resume(limit, self.clock())
            else:
                self._congestion.limit = limit
            self._wake_some()

    def refute(self, limit: int) -> None:
        """Return to a limit of all runs that was accepted: another run's requests were rejected since."""
        with self._locked():
            self._controller.refute(float(limit), self.clock())

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
        """Learn from the requests of another run that shares the quota."""
        with self._locked():
            now = self.clock()
            # How many requests were in flight at that moment is unknown: the limit falls step by step. More rejections
            # than slots are repeats.
            for _ in range(min(delta.rejected, delta.slots + 1)):
                self._controller.rejected(self.total_limit - 1, now, restricted=delta.is_restricted)
            for _ in range(min(delta.sent - delta.rejected, _MOST_LEARNED)):
                self._controller.answered(self._all_in_flight, now, restricted=delta.is_restricted)

    def measure(self) -> QuotaUse:
        """Return the use of the quota since the previous call."""
        with self._locked() as cells:
            held = self._sum("held")
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

    def absorb(self, number: int, delta: UsageDelta, wanted: int) -> None:
        """Learn from the requests of a process on another machine, as if they had passed here.

        Args:
            number: number of the client that represents it.
            wanted: permits that all such processes together can use. The requests in flight when a process reports
                are slightly fewer than it could have.
        """
        client = self._of_clients[number]
        with self._locked() as cells:
            now = self.clock()
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
                if self._sum("share") >= self.limit:  # else the limit is not in force yet, and proves nothing
                    in_flight = min(wanted + others, self.total_limit)
                    self._controller.answered(in_flight, now, restricted=delta.is_restricted)


class LocalQuota:
    """Slots of one process: the sum of what its current work reserves. Threads may share it.

    Args:
        throttle: throttle of the process; it learns how many of the slots the service accepts.
        rate: requests per second for each slot; None for no limit.
    """

    def __init__(self, throttle: Throttle, rate: float | None) -> None:
        self._throttle, self._rate = throttle, rate
        self._lock = threading.Lock()
        self._reserved = 0

    @contextlib.contextmanager
    def reserve(self, slots: int) -> Iterator[None]:
        """Add slots to the process for the duration of the block."""
        self._resize(slots)
        try:
            yield
        finally:
            self._resize(-slots)

    def limit_of(self, slots: int) -> float:
        """Return the part of the throttle's current limit that belongs to some of the slots."""
        return self._throttle.limit * slots / max(1, self._reserved)

    def _resize(self, slots: int) -> None:
        with self._lock:
            self._reserved += slots
            most = max(1, self._reserved)
            self._throttle.resize(most, None if self._rate is None else self._rate * most)


class UsageMeter:
    """Report the use of a throttle since the previous report. Threads may share it."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._lock = threading.Lock()
        self._reported = (0, 0, 0)

    def report(self) -> UsageDelta:
        """Return the requests since the previous call, and the present state of the throttle."""
        throttle = self._throttle
        with self._lock:
            now = (throttle.sent, throttle.rejected, throttle.received)
            sent, rejected, received = (new - old for new, old in zip(now, self._reported, strict=True))
            self._reported = now
            return UsageDelta(sent, rejected, received, throttle.in_flight, throttle.limit, throttle.is_restricted)
