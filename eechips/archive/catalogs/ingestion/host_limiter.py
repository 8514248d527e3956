"""Limit the concurrent requests to a host, and adapt the limit to its rejections."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_FIRST = 4
"""Concurrent requests before the first response. Each response allows one more: a server queues few connections (five
with Python's ``http.server``), and others that arrive at once are lost for half a minute."""


class HostLimiter:
    """Limit the concurrent requests to one host. Threads share it.

    A host that rejects requests (429, or 503 with ``Retry-After``) receives none for as long as it demands, and then
    half as many at once; each response raises the limit a little, up to the first one. Connections are opened as fast
    as the host responds, not all at once.

    Attributes:
        answered: requests that were not rejected; grows while the host serves requests.

    Args:
        most: maximum number of concurrent requests.
    """

    def __init__(self, most: int) -> None:
        self.answered = 0
        self._most, self._borne = most, float(most)
        self._busy = self._ended = 0
        self._changed = threading.Condition()
        self._closed_until = self._refused = -math.inf  # moments of the monotonic clock

    @property
    def limit(self) -> int:
        """Present limit of concurrent requests."""
        return int(min(self._borne, _FIRST + self._ended))

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Wait until a request may be sent; yield the moment, for :meth:`refuse`."""
        with self._changed:
            while (wait := self._closed_until - time.monotonic()) > 0 or self._busy >= self.limit:
                self._changed.wait(wait if wait > 0 else None)
            self._busy += 1
        try:
            yield time.monotonic()
        finally:
            with self._changed:
                self._busy -= 1
                self._ended += 1
                self._changed.notify_all()

    def answer(self) -> None:
        """Record a response."""
        with self._changed:
            self.answered += 1
            self._borne = min(self._most, self._borne + 1.0 / self._borne)

    def refuse(self, began: float, wait: float) -> None:
        """Record a rejection.

        Args:
            began: when the request was sent. A request sent before the last rejection does not lower the limit again.
            wait: seconds without further requests.
        """
        with self._changed:
            now = time.monotonic()
            if began >= self._refused:
                self._borne = max(1.0, self._borne / 2)
                self._refused = now
            self._closed_until = max(self._closed_until, now + wait)
