"""One throttle for a whole run: requests in flight, and requests per second, across processes.

The state is a page of shared memory guarded by a POSIX record lock. Both belong to an unlinked file, so they
vanish with the run, and the kernel drops the lock of a process that dies: a killed worker cannot block the
others. Its slots are given back by the parent (:meth:`Throttle.reclaim`), because every process counts its
own. Who waits for a slot sleeps on a semaphore; who waits for a token knows how long.

Limits of the service, per project (https://developers.google.com/earth-engine/guides/usage, 2025-11): 40
requests in flight, 6,000 requests a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from multiprocessing.reduction import DupFd
from typing import Any

# Cells of the shared page: doubles, all times on the monotonic clock, which processes of one machine share.
_LIMIT, _RATE, _TOKENS, _REFILLED, _CLOSED_UNTIL, _STOPPED, _HEADER = range(7)
_HELD, _WAITING, _SENT, _REJECTED, _SEAT_SIZE = range(5)

_BURST_SECONDS = 0.1
"""The bucket holds this many seconds of the rate: enough to start, too little to break a limit per second."""
_MAX_NAP = 0.25
"""Longest sleep, in seconds: a wake-up that died with its process costs no more than this."""
_MAX_CLOSED = 300.0
"""Longest time, in seconds, that one answer's Retry-After can close the throttle for all."""
_NO_SLOT = -1.0


class Throttle:
    """Slots and tokens for the requests of a run.

    The parent makes it and hands it to the workers when it starts them (it can only be pickled then). Each
    process takes a seat: the parent 0, workers 1 to ``seats - 1``.

    Args:
        context: the multiprocessing context of the workers.
        in_flight: slots at the start; :meth:`set_limit` changes them at any time.
        rate: tokens per second; None for no limit.
        seats: how many processes can take part.
        clock: seconds, monotonic, the same in all processes.
    """

    def __init__(
        self,
        context: BaseContext,
        *,
        in_flight: int,
        rate: float | None,
        seats: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seats = seats
        self._clock = clock
        self._wake = context.Semaphore(0)
        with tempfile.TemporaryFile(prefix="eechips-throttle-") as file:
            size = 8 * (_HEADER + seats * _SEAT_SIZE)
            file.truncate(size)
            self._attach(os.dup(file.fileno()))
        self._cells[_LIMIT] = in_flight
        self._cells[_RATE] = rate or 0.0
        self._cells[_TOKENS] = self._capacity
        self._cells[_REFILLED] = clock()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "descriptor": DupFd(self._descriptor),
            "seats": self._seats,
            "clock": self._clock,
            "wake": self._wake,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._seats, self._clock, self._wake = state["seats"], state["clock"], state["wake"]
        self._attach(state["descriptor"].detach())

    def _attach(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._cells = memoryview(mmap.mmap(descriptor, 8 * (_HEADER + self._seats * _SEAT_SIZE))).cast("d")
        self._threads = threading.Lock()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[memoryview[float]]:
        with self._threads:  # record locks belong to processes: they do not keep threads apart
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield self._cells
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    @property
    def _capacity(self) -> float:
        return max(1.0, self._cells[_RATE] * _BURST_SECONDS)

    def seat(self, number: int) -> Seat:
        """The seat of one process."""
        if not 0 <= number < self._seats:
            raise ValueError(f"seat {number} of {self._seats}")
        return Seat(self, number)

    @property
    def limit(self) -> int:
        """Slots in all."""
        return int(self._cells[_LIMIT])

    def set_limit(self, in_flight: int) -> None:
        """Changes the number of slots; requests in flight beyond it finish undisturbed."""
        with self._locked() as cells:
            cells[_LIMIT] = max(1, in_flight)
        self._wake_all()

    @property
    def in_flight(self) -> int:
        """Slots in use."""
        return self._sum(_HELD)

    @property
    def sent(self) -> int:
        """Requests sent since the beginning, of every kind, repeats included."""
        return self._sum(_SENT)

    @property
    def rejected(self) -> int:
        """Requests that the server answered with 429."""
        return self._sum(_REJECTED)

    @property
    def is_stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._cells[_STOPPED] != 0.0

    def stop(self) -> None:
        """Tells every process that the run is stopping: nothing is repeated any more."""
        self._cells[_STOPPED] = 1.0
        self._wake_all()

    def reclaim(self, number: int) -> None:
        """Gives back the slots of a process that died."""
        with self._locked() as cells:
            cells[_HEADER + number * _SEAT_SIZE + _HELD] = 0.0
            cells[_HEADER + number * _SEAT_SIZE + _WAITING] = 0.0
        self._wake_all()

    def _sum(self, cell: int) -> int:
        return int(sum(self._cells[_HEADER + n * _SEAT_SIZE + cell] for n in range(self._seats)))

    def _wake_all(self) -> None:
        for _ in range(self._sum(_WAITING)):
            self._wake.release()

    def _try_take(self, base: int) -> float:
        """Takes a slot and a token.

        Returns:
            0.0 if taken; else the seconds after which to try again, or ``_NO_SLOT``: when one is given back.
        """
        with self._locked() as cells:
            now = self._clock()
            if cells[_CLOSED_UNTIL] > now:
                return cells[_CLOSED_UNTIL] - now
            if self.in_flight >= cells[_LIMIT]:
                cells[base + _WAITING] += 1.0
                return _NO_SLOT
            rate = cells[_RATE]
            if rate > 0:
                elapsed = max(0.0, now - cells[_REFILLED])
                tokens = min(self._capacity, cells[_TOKENS] + elapsed * rate)
                cells[_REFILLED] = now
                cells[_TOKENS] = tokens
                if tokens < 1.0:
                    return (1.0 - tokens) / rate
                cells[_TOKENS] = tokens - 1.0
            cells[base + _HELD] += 1.0
            cells[base + _SENT] += 1.0
        return 0.0

    def _give_back(self, base: int) -> None:
        with self._locked() as cells:
            cells[base + _HELD] = max(0.0, cells[base + _HELD] - 1.0)
            somebody_waits = self._sum(_WAITING) > 0
        if somebody_waits:
            self._wake.release()

    def _await_slot(self, base: int) -> None:
        try:
            self._wake.acquire(timeout=_MAX_NAP)
        finally:
            with self._locked() as cells:
                cells[base + _WAITING] = max(0.0, cells[base + _WAITING] - 1.0)


class Seat:
    """One process's share of a throttle. Threads of the process may use it together."""

    def __init__(self, throttle: Throttle, number: int) -> None:
        self.throttle = throttle
        self._base = _HEADER + number * _SEAT_SIZE

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Holds a slot for the duration of one request, and counts it.

        A run that is stopping still gives slots: what has begun is to be finished, but not after a long wait.

        Raises:
            Stopped: if the run is stopping and no slot is to be had soon.
        """
        throttle = self.throttle
        while True:
            wait = throttle._try_take(self._base)
            if wait == 0.0:
                break
            if wait > _MAX_NAP and throttle.is_stopped:
                raise Stopped
            if wait == _NO_SLOT:
                throttle._await_slot(self._base)
            else:
                time.sleep(min(wait, _MAX_NAP))
        try:
            yield
        finally:
            throttle._give_back(self._base)

    def rejected(self, retry_after: float | None) -> None:
        """Notes a 429; nobody sends until ``retry_after`` seconds have passed, if the server said so."""
        with self.throttle._locked() as cells:
            cells[self._base + _REJECTED] += 1.0
            if retry_after:
                until = self.throttle._clock() + min(retry_after, _MAX_CLOSED)
                cells[_CLOSED_UNTIL] = max(cells[_CLOSED_UNTIL], until)

    def pause(self, seconds: float) -> None:
        """Waits, without a slot, before a request is repeated.

        Raises:
            Stopped: if the run is stopping: nothing is repeated then.
        """
        end = self.throttle._clock() + seconds
        while not self.throttle.is_stopped:
            left = end - self.throttle._clock()
            if left <= 0:
                return
            time.sleep(min(left, _MAX_NAP))
        raise Stopped


class Stopped(BaseException):
    """The run is stopping: the unit was not finished and stays planned.

    Not an Exception, so that no recipe's ``except Exception`` takes it for a failure.
    """
