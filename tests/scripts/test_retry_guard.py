"""Retries of a script after errors for which no retry helps: the script receives the error, and continues."""

from __future__ import annotations

import time
from collections.abc import Callable
from zipfile import BadZipFile

import aiohttp
import ee
import pytest
import requests
from retry import retry

from eechips.scripts.replacements.retry_guard import guard_retries


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


def client_error() -> Exception:
    """Return what the client raises of an argument, without a request."""
    with pytest.raises(ee.EEException) as caught:
        ee.Geometry.Point(["nowhere"])
    return caught.value


def address_error() -> Exception:
    with pytest.raises(requests.exceptions.InvalidURL) as caught:
        requests.get("http://:80/")
    return caught.value


@pytest.mark.parametrize(
    "error", [PERMANENT, KeyError("count"), Exception("no images"), client_error(), address_error()], ids=repr
)
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
    "error", [aiohttp.ServerDisconnectedError(), FileNotFoundError("not yet"), BadZipFile("half"), TimeoutError()]
)
def test_errors_that_may_pass_are_retried(error: Exception) -> None:
    waits: list[float] = []
    with guard_retries(wait=waits.append):
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


def test_a_loop_that_leaves_out_failures_continues_and_waits() -> None:
    waits: list[float] = []
    with guard_retries(wait=waits.append):
        works = raising(), raising(PERMANENT), raising(KeyError("count")), raising()
        assert leave_out(*works) == ["after 0 errors", "left out", "left out", "after 0 errors"]
    assert waits == [7, 7]


def test_a_loop_that_repeats_a_request_ends_with_its_error() -> None:
    waits: list[float] = []
    with (
        guard_retries(wait=waits.append, ends_loop=lambda _: len(waits) == 3),
        pytest.raises(requests.HTTPError, match="no such band"),
    ):
        leave_out(*[raising(PERMANENT)] * 2, *(raising(PERMANENT) for _ in range(5)))
    assert waits == [7, 7, 7]
