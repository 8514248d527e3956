"""Sending one request again while that can help.

The ``retry`` package does the backoff. What it lacks is added around it: a bound on the total time,
``Retry-After``, jitter on the first wait too, and giving up at once when the run stops.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from eechips.errors import TransientError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patiently one request is repeated.

    Attributes:
        retries: repeats at most, after the first attempt.
        delay: first wait in seconds; drawn from half of it to all of it.
        backoff: factor from one wait to the next.
        max_delay: longest wait in seconds; a longer Retry-After is obeyed nevertheless.
        total: seconds after the first attempt began when no further one is started.
    """

    retries: int = 10
    delay: float = 1.0
    backoff: float = 2.0
    max_delay: float = 30.0
    total: float = 600.0


class _GivenUpError(Exception):
    """Carries a transient error past the ``retry`` package, which would repeat it."""

    def __init__(self, error: TransientError) -> None:
        super().__init__(str(error))
        self.error = error


def call(
    attempt: Callable[[], T],
    policy: RetryPolicy,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Calls ``attempt`` until it returns, or fails for good.

    Args:
        attempt: sends the request once; raises TransientError where repeating can help.
        policy: bounds.
        pause: waits for so many seconds before a repeat, on top of the backoff; may raise to stop.
        clock: seconds, monotonic.

    Raises:
        TransientError: the last one, when the bounds are reached.
    """
    from retry.api import retry_call

    began = clock()
    not_before: float | None = None

    def guarded() -> T:
        nonlocal not_before
        if not_before is not None:
            pause(max(0.0, not_before - clock()))
        try:
            return attempt()
        except TransientError as error:
            not_before = clock() + (error.retry_after or 0.0)
            if max(clock(), not_before) - began >= policy.total:
                raise _GivenUpError(error) from error
            raise

    try:
        return retry_call(  # type: ignore[no-any-return]
            guarded,
            exceptions=TransientError,
            tries=policy.retries + 1,
            delay=policy.delay * random.uniform(0.5, 1.0),
            backoff=policy.backoff,
            jitter=(0.0, policy.delay / 2),
            max_delay=policy.max_delay,
            logger=None,  # its messages would name addresses; attempts are recorded in the ledger
        )
    except _GivenUpError as stop:
        raise stop.error from None
