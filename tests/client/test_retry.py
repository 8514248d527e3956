"""Retries: counted, bounded, only for transient errors."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from eechips.client.retry import RetryPolicy, call
from eechips.errors import PermanentError, ProjectUnavailableError, TransientError, ValidationError
from local_tests.support.stopped_clock import StoppedClock

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
def test_transient_errors_are_retried(error: Exception) -> None:
    attempt, calls = failing(2, error)
    assert call(attempt, QUICK) == "done"
    assert len(calls) == 3


@pytest.mark.parametrize("error", [PermanentError("no"), ValueError("bug")])
def test_other_errors_are_not_retried(error: Exception) -> None:
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
    clock = StoppedClock()
    assert call(attempt, QUICK, pause=clock.sleep, clock=clock.monotonic) == "done"
    assert len(calls) == 2
    assert clock.waits == [0.3]


def test_a_long_retry_after_is_waited_for_and_the_request_succeeds() -> None:
    attempt, calls = failing(1, TransientError("x", status=429, retry_after=3600.0))
    waits: list[float] = []
    assert call(attempt, QUICK, pause=waits.append) == "done"
    assert len(calls) == 2
    assert 3600.0 in waits


@pytest.mark.parametrize(("asked", "times"), [(86400.0, 1), (1e30, 1), (3600.0, 3)])
def test_a_service_that_asks_to_wait_too_long_stops_the_run_until_then(asked: float, times: int) -> None:
    attempt, calls = failing(99, TransientError("Busy.", status=429, retry_after=asked))
    with pytest.raises(
        ProjectUnavailableError, match=r"Earth Engine asks to wait .*Busy.*same command again"
    ) as caught:
        call(attempt, QUICK, pause=lambda _: None, clock=lambda: 0.0)
    assert len(calls) == times
    assert caught.value.until is not None


def test_one_of_many_hosts_that_asks_to_wait_too_long_fails_its_request_alone() -> None:
    attempt, calls = failing(99, TransientError("Busy.", status=503, retry_after=86400.0))
    with pytest.raises(TransientError, match=r"Busy\.: the host asks to wait 24\.0 h") as caught:
        call(attempt, RetryPolicy(is_of_run=False), pause=lambda _: None)
    assert (len(calls), caught.value.status, caught.value.retry_after) == (1, 503, 86400.0)


def test_repeated_short_retry_afters_are_bounded_by_the_total_time() -> None:
    attempt, _ = failing(10**6, TransientError("x", status=429, retry_after=1.0))
    waits: list[float] = []
    with pytest.raises(TransientError):
        call(attempt, RetryPolicy(total=30.0, longest_wait=5.0), pause=waits.append, clock=lambda: sum(waits))
    assert 30.0 <= sum(waits) < 40.0


def test_a_full_queue_of_tasks_is_waited_for_until_the_total_time_with_growing_pauses() -> None:
    attempt, _ = failing(10**6, TransientError("x", status=400, is_queue_full=True))
    waits: list[float] = []
    with pytest.raises(TransientError):
        call(attempt, RetryPolicy(retries=1, total=300.0), pause=waits.append, clock=lambda: sum(waits))
    assert 300.0 <= sum(waits) < 330.0
    assert waits == sorted(waits)
    assert waits[-1] == 30.0


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


def test_waits_grow_with_jitter() -> None:
    """All of them through ``pause``, which may end them."""
    policy = RetryPolicy(retries=6, delay=0.04, max_delay=0.5)
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
