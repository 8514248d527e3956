"""Retries of a script after errors for which no retry helps: the script receives the error, and continues."""

from __future__ import annotations

import time
from collections.abc import Callable
from zipfile import BadZipFile

import aiohttp
import pytest
import requests
from retry import retry

from eechips.scripts.retry_guard import guard_retries


def refused() -> requests.HTTPError:
    """Return the error of a request that the service has refused."""
    response = requests.Response()
    response.status_code, response.reason = 400, "Bad Request"
    return requests.HTTPError("no such band", response=response)


PERMANENT = refused()


def raising(*errors: Exception) -> Callable[[], str]:
    """Return a function that raises the errors, one at each call, and then returns how often it was called."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return f"after {len(errors)} errors"

    return work


@pytest.mark.parametrize("error", [PERMANENT, KeyError("count"), Exception("no images")])
def test_the_retry_package_raises_an_error_for_which_no_retry_helps_to_the_script(error: Exception) -> None:
    waits: list[float] = []
    done = []
    with guard_retries(wait=waits.append):
        for work in (raising(), raising(error, error), raising()):
            try:
                done.append(retry(tries=3, delay=100)(work)())
            except type(error):
                done.append("left out")
    assert done == ["after 0 errors", "left out", "after 0 errors"]
    assert waits == []


@pytest.mark.parametrize(
    "error",
    [aiohttp.ServerDisconnectedError(), FileNotFoundError("not yet"), BadZipFile("half"), TimeoutError()],
)
def test_errors_that_may_pass_are_retried(error: Exception) -> None:
    waits: list[float] = []
    with guard_retries(wait=waits.append, waits_left_out=5):
        assert retry(tries=3, delay=1, backoff=2)(raising(error, error))() == "after 2 errors"
    assert waits == [1, 2]


def leave_out(*works: Callable[[], str]) -> list[str]:
    """Call functions as a script does that waits after each failure, and goes on."""
    done = []
    for work in works:
        try:
            done.append(work())
        except (requests.HTTPError, KeyError):
            done.append("left out")
            time.sleep(7)
    return done


def test_a_loop_that_leaves_out_failures_continues() -> None:
    works = raising(), raising(PERMANENT), raising(KeyError("count")), raising()
    expected = ["after 0 errors", "left out", "left out", "after 0 errors"]
    waits: list[float] = []
    with guard_retries(wait=waits.append):
        assert leave_out(*works) == expected
    assert waits == [7, 7]
    works = raising(), raising(PERMANENT), raising(KeyError("count")), raising()
    with guard_retries(wait=waits.append, waits_left_out=2):
        assert leave_out(*works) == expected
    assert waits == [7, 7]


def retry_for_ever(calls: list[int]) -> None:
    while True:
        try:
            calls.append(len(calls))
            raising(PERMANENT)()
        except requests.HTTPError:
            time.sleep(7)


def test_a_loop_of_a_call_without_an_end_stops_with_its_error() -> None:
    calls: list[int] = []
    with guard_retries(waits_left_out=5), pytest.raises(requests.HTTPError, match="no such band"):
        retry_for_ever(calls)
    assert calls == [0, 1, 2, 3, 4, 5]
