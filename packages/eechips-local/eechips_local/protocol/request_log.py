"""Keep the latest requests: with their bodies for tests, without them for the page of the server."""

from __future__ import annotations

import json
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_MOST_BYTES = 64 << 20
"""Bytes of all bodies that are kept, compressed; past it the oldest requests are forgotten."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request that was answered.

    Attributes:
        kind: kind of the request, as statistics name it ("image:computePixels").
        path: path of its URL, without the query.
        status: status of its response.
        body: compressed.
    """

    kind: str
    path: str
    status: int
    body: bytes

    def report(self) -> dict[str, Any]:
        """Return its description, with the body as JSON; None for a body that is empty or no JSON."""
        content = zlib.decompress(self.body)
        try:
            body = json.loads(content) if content else None
        except ValueError:
            body = None
        return {"kind": self.kind, "path": self.path, "status": self.status, "body": body}


class RequestLog:
    """The latest requests, in the order of their responses.

    Args:
        most: number of requests that are kept; 0 for none.
    """

    def __init__(self, most: int = 0) -> None:
        self._kept: deque[LoggedRequest] = deque()
        self._most = most
        self._size = 0

    @property
    def is_on(self) -> bool:
        """Return whether requests are kept."""
        return self._most > 0

    def restart(self, most: int) -> None:
        """Forget all requests, and keep so many from now on."""
        self._kept.clear()
        self._most, self._size = most, 0

    def add(self, kind: str, path: str, status: int, body: bytes) -> None:
        """Keep a request, if requests are kept."""
        if not self.is_on:
            return
        request = LoggedRequest(kind, path, status, zlib.compress(body, 1))
        self._kept.append(request)
        self._size += len(request.body)
        while len(self._kept) > self._most or self._size > _MOST_BYTES:
            self._size -= len(self._kept.popleft().body)

    def report(self) -> list[dict[str, Any]]:
        """Return the descriptions of all, the oldest first."""
        return [request.report() for request in self._kept]


@dataclass(slots=True)
class ObservedRequest:
    """A request from its head to the last byte of its response.

    Attributes:
        number: number of the server's requests, from 1.
        kind: as statistics name it.
        asset: name of the asset in its path; empty for none.
        begun: seconds on the clock of its :class:`LatestRequests`.
        status: status of its response; None until there is one.
        ended: seconds on that clock; None while it is in flight.
        tag: its workload tag, as soon as it is known.
    """

    number: int
    kind: str
    asset: str
    begun: float
    status: int | None = None
    ended: float | None = None
    tag: str | None = None

    def report(self, now: float) -> dict[str, Any]:
        """Return its description as JSON, with its age and its duration so far in seconds."""
        return {
            "number": self.number,
            "kind": self.kind,
            "asset": self.asset,
            "age": now - self.begun,
            "seconds": (now if self.ended is None else self.ended) - self.begun,
            "status": self.status,
            "is_in_flight": self.ended is None,
            "tag": self.tag,
        }


class LatestRequests:
    """The requests in flight and the latest ones, without their bodies.

    Args:
        most: number of requests that are kept.
        clock: seconds.
    """

    def __init__(self, most: int = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept: deque[ObservedRequest] = deque(maxlen=most)
        self._clock = clock
        self._count = 0

    def begin(self, kind: str, asset: str) -> ObservedRequest:
        """Keep a request that arrives."""
        self._count += 1
        request = ObservedRequest(self._count, kind, asset, self._clock())
        self._kept.append(request)
        return request

    def end(self, request: ObservedRequest) -> None:
        """Record the end of a request."""
        request.ended = self._clock()

    def report(self) -> list[dict[str, Any]]:
        """Return their descriptions, the newest first."""
        now = self._clock()
        return [request.report(now) for request in reversed(self._kept)]
