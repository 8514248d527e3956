"""Hold permits for the requests of one process of a run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from eechips.client.permit_issuer import MAX_NAP, NO_PERMIT, SPENT, PermitIssuer
from eechips.client.permits import Permit, Stopped


class QuotaClient:
    """One process's access to a throttle. Threads of the process use it together.

    Args:
        throttle: throttle of the run.
        number: number of the process.
    """

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
                time.sleep(min(wait, MAX_NAP))
        permit = Permit()
        try:
            if wait > 0.0:
                time.sleep(wait)
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
            time.sleep(min(left, MAX_NAP))
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
