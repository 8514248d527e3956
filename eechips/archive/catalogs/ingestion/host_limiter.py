"""Limit the concurrent requests to a host, and adapt the limit to its rejections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_FIRST = 4
"""Concurrent requests before the first response. Each response allows one more: a server queues few connections (five
with Python's ``http.server``), and others that arrive at once are lost for half a minute."""


class HostLimiter:
    """Limit the concurrent requests to one host.

    A host that rejects requests (429, or 503 with ``Retry-After``) receives none for as long as it demands, and then
    half as many at once; each response raises the limit a little, up to the first one. Connections are opened as fast
    as the host responds, not all at once.

    Attributes:
        answered: requests that were not rejected; grows while the host serves requests.
        borne: limit that the host has accepted, for the next use.

    Args:
        most: maximum number of concurrent requests.
        limit: concurrent requests that the host accepted before; None if unknown.
    """

    def __init__(self, most: int, limit: float | None = None) -> None:
        self.answered = 0
        self._most, self.borne = most, float(most) if limit is None else min(limit, most)
        self._busy = self._ended = 0
        self._free = asyncio.Event()
        self._closed_until = self._refused = float("-inf")  # times of the event loop's clock

    @property
    def limit(self) -> int:
        """Present limit of concurrent requests."""
        return int(min(self.borne, _FIRST + self._ended))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait until a request may be sent; yield the moment, for :meth:`refuse`."""
        clock = asyncio.get_running_loop().time
        while (wait := self._closed_until - clock()) > 0 or self._busy >= self.limit:
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                self._free.clear()
                await self._free.wait()
        self._busy += 1
        try:
            yield clock()
        finally:
            self._busy -= 1
            self._ended += 1
            self._free.set()

    def answer(self) -> None:
        """Record a response."""
        self.answered += 1
        self.borne = min(self._most, self.borne + 1.0 / self.borne)

    def refuse(self, began: float, wait: float) -> None:
        """Record a rejection.

        Args:
            began: when the request was sent. A request sent before the last rejection does not lower the limit again.
            wait: seconds without further requests.
        """
        now = asyncio.get_running_loop().time()
        if began >= self._refused:
            self.borne = max(1.0, self.borne / 2)
            self._refused = now
        self._closed_until = max(self._closed_until, now + wait)
