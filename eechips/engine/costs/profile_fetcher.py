"""Fetch the profiles of requests in a thread of their own, many by one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from eechips.client.http.transport import Transport
from eechips.client.profile_requests import MOST_PROFILES, fetch_profiles
from eechips.client.quota.permits import Stopped
from eechips.engine.run_log import RunLog
from eechips.errors import PermanentError, TransientError

_WAIT_SECONDS = 5.0
"""Seconds for which profiles are collected before they are fetched by one request."""
_NAP = 0.5
_REPEATS = 6
"""Repeats of a request that failed after the transport's own repeats, which end when the run stops."""
_FIRST_PAUSE = 0.25
"""Seconds before the first repeat; doubled for each further one."""


class ProfileFetcher:
    """Fetches profiles. Its requests pass the throttle and are counted like all others.

    A request that fails is repeated, also while the run is stopping: the compute of its last units counts.
    Profiles that do not come are recorded in the log of the run.

    Args:
        transport: transport of this process, whose client is initialised.
    """

    def __init__(self, transport: Transport, log: RunLog) -> None:
        self._transport, self._log = transport, log
        self._changed = threading.Condition()
        self._waiting: dict[str, float] = {}
        self._fetched: dict[str, float | None] = {}
        self._is_urgent = self._is_closed = False
        self._in_request: list[str] = []
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Return whether profiles are still to be fetched, or to be taken."""
        with self._changed:
            return bool(self._waiting or self._in_request or self._fetched)

    def add(self, profiles: Iterable[str], *, is_urgent: bool = False) -> None:
        """Have profiles fetched.

        Args:
            profiles: ids.
            is_urgent: whether to fetch all that wait at once.
        """
        now = time.monotonic()
        with self._changed:
            for profile in profiles:
                self._waiting.setdefault(profile, now)
            self._is_urgent = self._is_urgent or is_urgent
            if self._waiting and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="eechips-profiles", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def take(self) -> dict[str, float | None]:
        """Return the EECU-seconds of the profiles that were fetched since the last call; None for those that could not
        be.
        """
        with self._changed:
            fetched, self._fetched = self._fetched, {}
            return fetched

    def finish(self, seconds: float) -> None:
        """Fetch all that wait, for some seconds at most; what has not come by then is given up."""
        end = time.monotonic() + seconds
        self.add((), is_urgent=True)
        with self._changed:
            while (self._waiting or self._in_request) and (left := end - time.monotonic()) > 0:
                self._changed.wait(min(left, _NAP))
            late = [*self._waiting, *self._in_request]
            self._waiting, self._in_request = {}, []
            if late:
                self._fetched.update(self._give_up(late, TimeoutError(f"not fetched within {seconds:g} s")))

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (batch := self._take_batch()):
                    if self._is_closed:
                        return
                    self._changed.wait(_NAP)
                self._in_request = batch
            try:
                fetched = self._fetch(batch)
            except Exception as error:  # noqa: BLE001 - a run with a budget would wait for these profiles for ever
                fetched = self._give_up(batch, error)
            with self._changed:
                if self._in_request is batch:  # else they were given up meanwhile
                    self._fetched.update(fetched)
                    self._in_request = []
                self._changed.notify_all()

    def _take_batch(self) -> list[str]:
        """Return the profiles that are due, the oldest first, and forget them."""
        oldest = next(iter(self._waiting.values()), None)
        if oldest is None:
            self._is_urgent = False
            return []
        is_due = self._is_urgent or len(self._waiting) >= MOST_PROFILES or time.monotonic() - oldest >= _WAIT_SECONDS
        batch = list(self._waiting)[:MOST_PROFILES] if is_due else []
        for profile in batch:
            del self._waiting[profile]
        return batch

    def _fetch(self, batch: list[str]) -> dict[str, float | None]:
        """Fetch profiles; those that the service refuses are found by halving."""
        pause = _FIRST_PAUSE
        for left in range(_REPEATS, -1, -1):
            try:
                return dict(zip(batch, fetch_profiles(self._transport, batch), strict=True))
            except PermanentError as error:
                half = len(batch) // 2
                if half:
                    return self._fetch(batch[:half]) | self._fetch(batch[half:])
                return self._give_up(batch, error)
            except (TransientError, Stopped) as error:
                if not left or self._transport.is_spent:
                    return self._give_up(batch, error)
            if not self._wait(pause):
                return dict.fromkeys(batch)
            pause *= 2.0
        raise AssertionError  # the last repeat returns

    def _wait(self, seconds: float) -> bool:
        """Wait before a repeat; return False if the profiles were given up meanwhile."""
        end = time.monotonic() + seconds
        with self._changed:
            while self._is_wanted and (left := end - time.monotonic()) > 0:
                self._changed.wait(min(left, _NAP))
            return self._is_wanted

    @property
    def _is_wanted(self) -> bool:
        return bool(self._in_request) and not self._is_closed

    def _give_up(self, batch: Sequence[str], error: BaseException) -> dict[str, float | None]:
        """Record profiles that do not come; return them as unknown."""
        if self._is_closed:  # the run has ended, and its log with it
            return dict.fromkeys(batch)
        reason = str(error) or "the run is stopping, or its budget of requests is spent"
        self._log.write("profiles unknown", profiles=len(batch), error_class=type(error).__name__, error=reason)
        return dict.fromkeys(batch)
