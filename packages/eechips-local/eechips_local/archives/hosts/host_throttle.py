"""Adapt the rate and the number of simultaneous requests to what each host accepts; count requests and bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from eechips_local.archives.archive_clock import CLOCK, Clock

_LEAST_RATE = 1.0 / 60.0  # requests a second
_RATE_STEP = 0.25  # requests a second, more after each response
_DECREASE = 0.5  # of rate and number, at a refusal
_HIGHEST_WAIT = 600.0  # seconds; a host cannot stop a server for longer


@dataclass(frozen=True, slots=True)
class HostCounts:
    """Numbers of what was sent to a host.

    Attributes:
        requests: requests that were sent, repeated ones too.
        refusals: refusals that the host rejected for their number (429, 503).
        failures: other ones without a whole response.
        received: bytes of the bodies of responses, as they came over the network.
    """

    requests: int = 0
    refusals: int = 0
    failures: int = 0
    received: int = 0


@runtime_checkable
class CountsRequests(Protocol):
    """Something that sends requests and counts them."""

    def counts(self) -> Mapping[str, HostCounts]:
        """Return what this process has sent to each host so far."""
        ...


def sum_counts(senders: Iterable[object]) -> HostCounts:
    """Return what some objects have sent together, those that count nothing left out."""
    counts = [count for sender in senders if isinstance(sender, CountsRequests) for count in sender.counts().values()]
    return HostCounts(
        *(sum(getattr(count, name) for count in counts) for name in ("requests", "refusals", "failures", "received"))
    )


class HostThrottle:
    """The rate and the number of simultaneous requests to one host. Threads share it.

    Additive increase, multiplicative decrease: each response allows a little more, a refusal half of it, and none for
    as long as the host demands. Refusals of requests that were sent before the last decrease do not decrease it again.

    Args:
        most: highest number of simultaneous requests.
        rate: highest number of requests a second.
    """

    def __init__(self, most: int, rate: float, clock: Clock = CLOCK) -> None:
        self._most, self._fastest, self._clock = most, rate, clock
        self._number, self._rate = float(most), rate
        self._busy = 0
        self._next = self._refused = float("-inf")
        self._counts = HostCounts()
        self._free = threading.Condition()

    @property
    def number(self) -> int:
        """Simultaneous requests that are allowed now."""
        return int(self._number)

    @property
    def rate(self) -> float:
        """Requests a second that are allowed now."""
        return self._rate

    @property
    def counts(self) -> HostCounts:
        """What was sent so far."""
        return self._counts

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Wait until a request may be sent; yield the time at which it is."""
        while (sent := self._take()) is None:
            self._clock.sleep(max(0.001, self.wait()))
        try:
            yield sent
        finally:
            with self._free:
                self._busy -= 1
                self._free.notify_all()

    def _take(self) -> float | None:
        """Wait for a free request, and return the time at which it is sent; None if the rate does not allow it yet."""
        with self._free:
            self._free.wait_for(lambda: self._busy < int(self._number))
            now = self._clock.monotonic()
            if now < self._next:
                return None
            self._next = now + 1.0 / self._rate
            self._busy += 1
            self._counts = replace(self._counts, requests=self._counts.requests + 1)
            return now

    def wait(self) -> float:
        """Return the seconds for which no request may be sent."""
        with self._free:
            return max(0.0, self._next - self._clock.monotonic())

    def accept(self, received: int) -> None:
        """Record a response and the bytes of its body."""
        with self._free:
            self._number = min(self._most, self._number + 1.0 / self._number)
            self._rate = min(self._fastest, self._rate + _RATE_STEP)
            self._counts = replace(self._counts, received=self._counts.received + received)
            self._free.notify_all()

    def fail(self, received: int = 0) -> None:
        """Record a request without a whole response, and the bytes that came of it."""
        with self._free:
            counts = self._counts
            self._counts = replace(counts, failures=counts.failures + 1, received=counts.received + received)

    def refuse(self, sent: float, wait: float) -> None:
        """Record a refusal.

        Args:
            sent: time at which the request was sent, of :meth:`turn`.
            wait: seconds for which the host wants no request.
        """
        with self._free:
            now = self._clock.monotonic()
            if sent >= self._refused:
                self._number = max(1.0, self._number * _DECREASE)
                self._rate = max(_LEAST_RATE, self._rate * _DECREASE)
                self._refused = now
            self._next = max(self._next, now + min(wait, _HIGHEST_WAIT))
            self._counts = replace(self._counts, refusals=self._counts.refusals + 1)


class HostThrottles:
    """The throttles of several hosts. Threads share it.

    Args:
        most: highest number of simultaneous requests to each.
        rate: highest number of requests a second to each.

    Attributes:
        clock: their clock.
    """

    def __init__(self, most: int = 4, rate: float = 10.0, clock: Clock = CLOCK) -> None:
        self._most, self._rate, self.clock = most, rate, clock
        self._throttles: dict[str, HostThrottle] = {}
        self._lock = threading.Lock()

    def of(self, host: str) -> HostThrottle:
        """Return the throttle of a host, by name and port."""
        with self._lock:
            if host not in self._throttles:
                self._throttles[host] = HostThrottle(self._most, self._rate, self.clock)
            return self._throttles[host]

    def counts(self) -> dict[str, HostCounts]:
        """Return what was sent to each host so far."""
        with self._lock:
            return {host: throttle.counts for host, throttle in self._throttles.items()}
