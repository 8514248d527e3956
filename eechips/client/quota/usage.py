"""Count the requests and bytes of a piece of work, and log each request."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from eechips.client.quota.permits import Permit
from eechips.text.timestamps import utc_now


@dataclass(frozen=True, slots=True)
class RequestLog:
    """A request and its outcome, for the log. It has no URL, which may be a secret.

    Attributes:
        kind: kind of the request, such as ``thumbnails:getPixels`` or ``image:computePixels``.
        status: HTTP status; None if there was no response.
        seconds: from the permit to the last byte.
        bytes: number of bytes of the response, as received.
        attempt: 1 for the first.
        ended: time of the last byte, ISO 8601, UTC.
    """

    kind: str
    status: int | None
    seconds: float
    bytes: int
    attempt: int
    ended: str


@dataclass(slots=True)
class Usage:
    """Requests and bytes of a piece of work.

    Attributes:
        requests: HTTP requests sent, repeats included.
        repeats: attempts after a transient failure.
        received: bytes of response bodies, as received.
        seconds: for which requests were in flight.
        request_logs: one for each request; None if they are not wanted.
        kinds: kinds of the requests that succeeded, in the order of the first of each.
        profiles: ids of the profiles of requests; None if requests are not profiled.
    """

    requests: int = 0
    repeats: int = 0
    received: int = 0
    seconds: float = 0.0
    request_logs: list[RequestLog] | None = None
    kinds: dict[str, None] = field(default_factory=dict)
    profiles: list[str] | None = None

    def add(self, other: Usage) -> None:
        """Add the requests and bytes of another piece of work."""
        self.kinds.update(other.kinds)
        self.requests += other.requests
        self.repeats += other.repeats
        self.received += other.received
        self.seconds += other.seconds
        if other.request_logs:
            self.request_logs = [*(self.request_logs or ()), *other.request_logs]

    @contextlib.contextmanager
    def count(self, permit: Permit) -> Iterator[None]:
        """Count the request that is sent inside the block, which records the received bytes in its permit."""
        self.requests += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self.received += permit.received
            if self.profiles is not None and permit.profile is not None:
                self.profiles.append(permit.profile)
            self.seconds += time.monotonic() - began

    @contextlib.contextmanager
    def log(self, url: str, permit: Permit, attempt: int) -> Iterator[None]:
        """Count and log the request that is sent inside the block.

        Args:
            permit: permit of the request, in which the block records the outcome.
            attempt: 1 for the first.
        """
        began = time.monotonic()
        try:
            with self.count(permit):
                yield
        finally:
            kind = _kind(url)
            if permit.status is not None and 200 <= permit.status < 300:
                self.kinds[kind] = None
            if self.request_logs is not None:
                seconds = round(time.monotonic() - began, 4)
                self.request_logs.append(RequestLog(kind, permit.status, seconds, permit.received, attempt, utc_now()))


def _kind(url: str) -> str:
    """Return the kind of a request without the names in its URL: ``thumbnails:getPixels``, ``value:compute``."""
    parts = urlsplit(url).path.strip("/").split("/")
    last, _, verb = parts[-1].partition(":")
    resource = parts[3] if len(parts) > 4 else last
    return f"{resource}:{verb}" if verb else resource
