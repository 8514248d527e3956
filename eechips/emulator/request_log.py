"""Keep the latest requests, so that tests can look at them."""

from __future__ import annotations

import json
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any

_MOST_BYTES = 64 << 20
"""Bytes of all bodies that are kept, compressed; past it the oldest requests are forgotten."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request that was answered.

    Attributes:
        kind: of the request, as statistics name it ("image:computePixels").
        path: of its URL, without the query.
        status: of its response.
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
