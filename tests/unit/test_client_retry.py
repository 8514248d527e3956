"""Retries: counted, bounded, only where they can help."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from eechips.client.retry import RetryPolicy, call
from eechips.errors import PermanentError, TransientError, ValidationError

QUICK = RetryPolicy(retries=3, delay=0.01, max_delay=0.02)


def failing(times: int, error: Exception) -> tuple[Callable[[], str], list[float]]:
    calls: list[float] = []

    def attempt() -> str:
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise error
        return "done"

    return attempt, calls


@pytest.mark.parametrize("error", [TransientError("x"), ValidationError("short")])
def test_transient_failures_are_repeated(error: Exception) -> None:
    attempt, calls = failing(2, error)
    assert call(attempt, QUICK) == "done"
    assert len(calls) == 3


@pytest.mark.parametrize("error", [PermanentError("no"), ValueError("bug")])
def test_nothing_else_is(error: Exception) -> None:
    attempt, calls = failing(9, error)
    with pytest.raises(type(error)):
        call(attempt, QUICK)
    assert len(calls) == 1


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_the_number_of_repeats_is_bounded(retries: int) -> None:
    attempt, calls = failing(99, TransientError("x"))
    with pytest.raises(TransientError):
        call(attempt, RetryPolicy(retries=retries, delay=0.001))
    assert len(calls) == retries + 1


def test_the_total_time_is_bounded() -> None:
    attempt, calls = failing(10**6, TransientError("x", status=503))
    waits: list[float] = []
    with pytest.raises(TransientError) as caught:
        call(
            attempt,
            RetryPolicy(retries=10**6, delay=2.0, max_delay=5.0, total=30.0),
            pause=waits.append,
            clock=lambda: sum(waits),
        )
    assert caught.value.status == 503
    assert 30.0 <= sum(waits) < 35.0  # the last wait began in time
    assert len(calls) == len(waits) + 1


def test_retry_after_is_obeyed() -> None:
    attempt, calls = failing(1, TransientError("x", retry_after=0.3))
    assert call(attempt, QUICK) == "done"
    assert calls[1] - calls[0] >= 0.29


def test_a_retry_after_beyond_the_total_is_not_waited_for() -> None:
    attempt, calls = failing(9, TransientError("x", retry_after=3600.0))
    began = time.monotonic()
    with pytest.raises(TransientError):
        call(attempt, QUICK)
    assert time.monotonic() - began < 600
    assert len(calls) == 1


def test_the_first_attempt_does_not_wait_and_a_pause_may_end_it() -> None:
    class EnoughError(Exception):
        pass

    def pause(seconds: float) -> None:
        raise EnoughError

    assert call(lambda: "done", QUICK, pause=pause) == "done"
    attempt, calls = failing(9, TransientError("x"))
    with pytest.raises(EnoughError):
        call(attempt, QUICK, pause=pause)
    assert len(calls) == 1


def test_waits_grow_and_are_spread() -> None:
    """All of them through ``pause``, which may end them."""
    policy = RetryPolicy(retries=6, delay=0.04, backoff=2.0, max_delay=0.5)
    every = []
    for _ in range(5):
        attempt, calls = failing(6, TransientError("x"))
        waits: list[float] = []
        assert call(attempt, policy, pause=waits.append) == "done"
        assert (len(calls), len(waits)) == (7, 6)
        assert 0.02 <= waits[0] <= 0.04
        assert all(later == 0.5 or 2 * first <= later <= 2 * first + 0.02 for first, later in itertools.pairwise(waits))
        assert waits[-1] == 0.5
        every.append(waits[0])
    assert len(set(every)) > 1
