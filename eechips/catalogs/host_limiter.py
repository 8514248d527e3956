"""What hosts bear: so many requests at once, fewer after one has said that these are too many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_FIRST = 4
"""Requests at once before any has ended. Each that ends allows one more: a server keeps few connections waiting (five,
if it is one of Python's ``http.server``), and what else arrives at once is lost on its way, for half a minute."""


class HostLimiter:
    """Requests to a host, which wait for their turn.

    A host that refuses requests (429, or 503 with ``Retry-After``) gets none for as long as it says, and then half as
    many at once; each answer allows it a little more, up to what it was at first. Connections are opened as fast as it
    answers, not all at once.

    Attributes:
        answered: requests that the host has not refused; whether it came to more says whether it serves anybody.

    Args:
        most: requests at once, at most.
        limit: what it has borne before; None if nobody knows.
    """

    def __init__(self, most: int, limit: float | None = None) -> None:
        self.answered = 0
        self._most, self._limit = most, float(most) if limit is None else min(limit, most)
        self._busy = self._ended = 0
        self._free = asyncio.Event()
        self._closed_until = self._refused = float("-inf")  # of the loop's clock

    @property
    def limit(self) -> int:
        """Requests at once, for now."""
        return int(min(self._limit, _FIRST + self._ended))

    @property
    def borne(self) -> float:
        """What it bears, for :class:`HostLimiter` the next time."""
        return self._limit

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Waits until the host may be asked; yields the moment, for :meth:`refuse`."""
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
        """Notes that the host has answered a request."""
        self.answered += 1
        self._limit = min(self._most, self._limit + 1.0 / self._limit)

    def refuse(self, began: float, wait: float) -> None:
        """Notes that the host has refused a request.

        Args:
            began: when the request was sent. What was sent before the last refusal says nothing new.
            wait: seconds for which it wants no others.
        """
        now = asyncio.get_running_loop().time()
        if began >= self._refused:
            self._limit = max(1.0, self._limit / 2)
            self._refused = now
        self._closed_until = max(self._closed_until, now + wait)
