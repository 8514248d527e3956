"""Decide whether and when a failed request is repeated: backoff, Retry-After, number and time of the repeats.

The ``retry`` package repeats. This module adds a bound on the total time, ``Retry-After``, jitter on the first wait,
and waits that end when the run stops. Three failures do not use up attempts, as the request does not cause them: a full
quota, a full queue of batch tasks, and a network that is away. A request that is too large is sent again only where the
load of the moment may be the cause, once for all its parts, and some times if it cannot be divided.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from eechips.client.error_classification import unavailable_until
from eechips.errors import TooLargeError, TransientError, UnreachableError
from eechips.processes.context_values import context_value
from eechips.text.formatting import format_duration

T = TypeVar("T")

_JITTER = random.SystemRandom()  # a repeat leaves the generator of a script or recipe as it is


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds on the repetition of one request.

    Attributes:
        retries: repeats at most, after the first attempt.
        delay: first wait in seconds, drawn from half of it to all of it; each further one is twice as long.
        max_delay: longest wait in seconds; a longer Retry-After is obeyed.
        total: seconds after the first attempt began when no further one is started; the time that the network
            was away does not count.
        offline: seconds to wait for a network that is away.
        longest_wait: seconds that Retry-After headers may make one request wait in all; if the service asks for more,
            the run stops.
        is_of_run: whether the run needs the service; a request to one of many hosts, which asks for more, fails alone.
    """

    retries: int = 10
    delay: float = 1.0
    max_delay: float = 30.0
    total: float = 600.0
    offline: float = 0.0
    longest_wait: float = 7200.0
    is_of_run: bool = True


class _RetriesExhaustedError(Exception):
    """A transient error that the ``retry`` package must not repeat."""

    def __init__(self, error: TransientError) -> None:
        super().__init__(str(error))
        self.error = error


_LONGEST_SHOWN = 366 * 86400.0
"""Longest Retry-After in seconds that is shown as a date."""
_CROWDED_DELAY = 0.5
"""First wait in seconds after a 429. The throttle has already lowered its limit, so a longer one would only idle."""


@dataclass(slots=True)
class _SplitRepeats:
    """Repeats of requests that were too large, so far."""

    count: int = 0


_SPLIT_REPEATS: ContextVar[_SplitRepeats | None] = ContextVar("split_repeats", default=None)
"""Those of the surrounding :func:`splitting`; None outside of one."""

_IS_ALONE: ContextVar[bool] = ContextVar("is_alone", default=False)
"""Whether the requests of this context cannot be divided."""


def splitting() -> AbstractContextManager[None]:
    """Count the requests inside the block as parts of one, which share the repeats of what is too large.

    Where the load of the moment is not the cause, the parts of a request are refused as well: a repeat of each would
    double the requests of a split.
    """
    return context_value(_SPLIT_REPEATS, _SplitRepeats())


def alone(is_alone: bool = True) -> AbstractContextManager[None]:
    """Send the requests inside the block again more often if they are too large and cannot be divided."""
    return context_value(_IS_ALONE, is_alone)


def call(
    attempt: Callable[[], T],
    policy: RetryPolicy,
    *,
    pause: Callable[[float], None] = time.sleep,
    await_service: Callable[[float], bool] = lambda _: False,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Call ``attempt`` until it returns, or fails for good.

    Args:
        attempt: sends the request once; raises TransientError where repeating can help.
        pause: waits for so many seconds before a repeat; may raise to stop.
        await_service: waits, for so many seconds at most, until the service can be reached again; returns whether
            to try.

    Raises:
        TransientError: the last one, when the bounds are reached.
        TooLargeError: if ``attempt`` raises it, and has been repeated as often as it says.
        ProjectUnavailableError: if the service asks to wait longer than the policy allows.
    """
    from retry.api import retry_call

    waits = _RetryWaits(policy, pause, await_service, clock)
    try:
        outcome: T = retry_call(
            lambda: waits.attempt(attempt),
            exceptions=TransientError,
            tries=policy.retries + 1,
            logger=None,  # its messages would name addresses; attempts are recorded in the ledger
        )
        return outcome
    except _RetriesExhaustedError as stop:
        raise stop.error from None


def _delays(policy: RetryPolicy) -> Iterator[float]:
    """Yield seconds to wait before each repeat."""
    delay = policy.delay * _JITTER.uniform(0.5, 1.0)
    while True:
        yield delay
        delay = min(delay * 2 + _JITTER.uniform(0.0, policy.delay / 2), policy.max_delay)


class _RetryWaits:
    """Wait between attempts: as long as the service requests, and while it cannot be reached."""

    def __init__(
        self,
        policy: RetryPolicy,
        pause: Callable[[float], None],
        await_service: Callable[[float], bool],
        clock: Callable[[], float],
    ) -> None:
        self._policy, self._pause, self._await_service, self._clock = policy, pause, await_service, clock
        self._end = clock() + policy.total
        self._asked: float | None = None
        self._waited = 0.0
        self._delays = _delays(policy)
        self._rejections = 0
        self._split_repeats = _SPLIT_REPEATS.get() or _SplitRepeats()
        self._away = 0.0

    def attempt(self, attempt: Callable[[], T]) -> T:
        if self._asked is not None:
            self._pause(max(next(self._delays), self._asked))
        while True:
            try:
                return attempt()
            except UnreachableError as error:
                self._wait_for_service(error)
            except TooLargeError as error:
                repeats = error.repeats_alone if _IS_ALONE.get() else error.repeats
                most = min(repeats, self._policy.retries)
                if self._split_repeats.count >= most or self._clock() >= self._end:
                    raise
                self._split_repeats.count += 1
                self._pause(next(self._delays))
            except TransientError as error:
                if self._clock() >= self._end:
                    raise _RetriesExhaustedError(error) from error
                self._asked = self._granted(error)
                if error.status != 429 and not error.is_queue_full:
                    raise
                delay = next(self._delays) if error.is_queue_full else self._crowded_delay()
                self._pause(max(self._asked, delay))

    def _granted(self, error: TransientError) -> float:
        """Return the seconds that the service requests to wait, if the policy allows them."""
        asked = error.retry_after or 0.0
        self._waited += asked if asked > self._policy.max_delay else 0.0  # shorter ones count towards the total
        if self._waited > self._policy.longest_wait:
            if not self._policy.is_of_run:
                message = f"{error}: the host asks to wait {format_duration(asked)}"
                last = TransientError(message, status=error.status, retry_after=asked)
                raise _RetriesExhaustedError(last) from error
            moment = datetime.now(timezone.utc) + timedelta(seconds=min(asked, _LONGEST_SHOWN))
            what = f"Earth Engine asks to wait {format_duration(asked)} ({str(error).rstrip('.')})"
            raise unavailable_until(what, moment) from error
        return asked

    def _wait_for_service(self, error: UnreachableError) -> None:
        if not self._policy.offline:  # an attempt like any other
            if self._clock() >= self._end:
                raise _RetriesExhaustedError(error) from error
            self._asked = error.retry_after or 0.0
            raise error
        began = self._clock()
        if error.retry_after is not None:  # not the service itself, whose answers to others would say nothing of it
            if self._away >= self._policy.offline:
                raise _RetriesExhaustedError(error) from error
            self._pause(error.retry_after)
            self._away += self._clock() - began
        elif not self._await_service(self._policy.offline):
            raise _RetriesExhaustedError(error) from error
        self._end += self._clock() - began

    def _crowded_delay(self) -> float:
        longest = min(self._policy.max_delay, self._policy.delay, _CROWDED_DELAY) * 2.0**self._rejections
        self._rejections = min(self._rejections + 1, 3)
        return min(longest, self._policy.max_delay) * _JITTER.uniform(0.5, 1.0)
