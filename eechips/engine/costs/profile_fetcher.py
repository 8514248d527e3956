"""Fetch the profiles of many requests in one; a run fetches the profiles of its requests in a separate thread."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from eechips.client.compute_profiles import parse_profile
from eechips.client.http.marked_requests import call_node
from eechips.client.http.transport import Transport
from eechips.engine.run_log import RunLog
from eechips.errors import PermanentError, Stopped, TransientError, ValidationError

MOST_PROFILES = 100
"""Profiles that are fetched by one request: some 40 kB of a body, of the 10 MB that a request may have."""

_GET_PROFILES = "Profile.getProfiles"


def fetch_profiles(transport: Transport, profiles: Sequence[str]) -> list[float]:
    """Return the EECU-seconds of profiled requests, in one request that is not profiled itself.

    Args:
        transport: transport of this process, whose client is initialised.
        profiles: ids, :data:`MOST_PROFILES` at most.

    Raises:
        RequestError: if the service refuses; it may have forgotten one of them.
        Stopped: if the run is stopping.
    """
    import ee

    def send() -> None:
        with contextlib.suppress(KeyError):  # the captured request has no result
            ee.data.computeValue(ee.Number(1))

    request = transport.capture(send)  # the client forms the URL, the headers and the workload tag
    body = {**json.loads(request.text), "expression": _expression(profiles)}

    def accept(content: bytes) -> list[float]:
        try:
            texts = json.loads(content)["result"]
            if not isinstance(texts, list) or len(texts) != len(profiles):
                raise ValueError("another number of profiles")
            return [parse_profile(text) for text in texts]
        except (ValueError, KeyError, TypeError) as error:
            raise ValidationError(f"no profiles came back: {error}") from None

    with transport.metered():
        return transport.post(replace(request, body=json.dumps(body)), accept)


def fetch_all_profiles(transport: Transport, profiles: Sequence[str]) -> list[float]:
    """Return the EECU-seconds of any number of profiled requests; see :func:`fetch_profiles`."""
    parts = (profiles[first : first + MOST_PROFILES] for first in range(0, len(profiles), MOST_PROFILES))
    return [seconds for part in parts for seconds in fetch_profiles(transport, part)]


def _expression(profiles: Sequence[str]) -> dict[str, Any]:
    """Return an expression of a list of profiles as texts. Each is merged to one row, so that it is rounded once."""
    one = {"constantValue": 1}
    calls = [call_node(_GET_PROFILES, ids={"constantValue": [profile]}, maxEntries=one) for profile in profiles]
    return {"result": "0", "values": {"0": {"arrayValue": {"values": calls}}}}


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
        self.add((), is_urgent=True)
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._in_request), seconds)
            late = [*self._waiting, *self._in_request]
            self._waiting, self._in_request = {}, []
            if late:
                self._fetched.update(self._give_up(late, TimeoutError(f"not fetched within {seconds:g} s")))
                self._changed.notify_all()

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
                return self._fetch(batch[:half]) | self._fetch(batch[half:]) if half else self._give_up(batch, error)
            except (TransientError, Stopped) as error:
                if not left or self._transport.is_spent:
                    return self._give_up(batch, error)
            with self._changed:  # it is notified if the profiles are given up meanwhile
                if self._changed.wait_for(lambda: self._is_closed or not self._in_request, pause):
                    return dict.fromkeys(batch)
            pause *= 2.0
        raise AssertionError  # the last repeat returns

    def _give_up(self, batch: Sequence[str], error: BaseException) -> dict[str, float | None]:
        """Record profiles that do not come; return them as unknown."""
        if self._is_closed:  # the run has ended, and its log with it
            return dict.fromkeys(batch)
        reason = str(error) or "the run is stopping, or its budget of requests is spent"
        self._log.write("profiles unknown", profiles=len(batch), error_class=type(error).__name__, error=reason)
        return dict.fromkeys(batch)
