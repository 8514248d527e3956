"""End a script's own retries as after their last try, if the error is permanent."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from eechips.client.error_classification import classify_exception, classify_response
from eechips.errors import EechipsError, TransientError
from eechips.scripts.replacements.name_replacement import present_function, replace_names, stand_in

_RETRY_PACKAGES = frozenset({"retry", "backoff"})
"""Packages that wait while they handle the error of a try, and raise it after the last one."""


def classify_error(error: BaseException) -> EechipsError | None:
    """Return the error of eechips for an exception of a request; None for an exception of the script's own code."""
    import requests

    for cause in causes(error):
        if isinstance(cause, requests.HTTPError) and cause.response is not None:
            return classify_response(cause.response.status_code, cause.response.reason or "")
        if isinstance(cause, urllib.error.HTTPError):
            return classify_response(cause.code, str(cause.reason))
        classified = classify_exception(cause)
        if classified is not None:
            return classified
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and those by which it was caused."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may succeed: not after a permanent error of a request, nor after one of the script's code.

    Errors of files and of libraries may pass: requests of aiohttp, for instance, are not retried by the run. What the
    Earth Engine client raises without a request, and a ValueError, such as requests' InvalidURL, are of an argument.
    """
    from ee.ee_exception import EEException

    classified = classify_error(error)
    if classified is not None:
        return isinstance(classified, TransientError)
    if isinstance(error, (EEException, ValueError)) and not isinstance(error, json.JSONDecodeError):
        return False
    return isinstance(error, OSError) or type(error).__module__ != "builtins"


@contextlib.contextmanager
def guard_retries(
    may_help: Callable[[BaseException], bool] = is_transient,
    wait: Callable[[float], None] | None = None,
    ends_loop: Callable[[BaseException], bool] = lambda _: False,
) -> Iterator[None]:
    """End retries of the packages retry, backoff and tenacity after a permanent error, inside the block.

    The script receives the error as after the last try, and continues. Its own loops may retry a step or leave it out:
    they wait as they say.

    Args:
        may_help: returns whether a retry may succeed after an error.
        wait: waits in place of ``time.sleep``, which it may use; None for ``time.sleep``.
        ends_loop: returns whether a loop of the script's own that waits after an error for which no retry helps ends
            with it.
    """
    original = present_function(time, "sleep")

    def sleep(seconds: float) -> None:
        if _is_ours():
            original(seconds)
            return
        handled = sys.exc_info()[1]
        package = str(sys._getframe(2).f_globals.get("__name__")).partition(".")[0]
        is_of_package = package in _RETRY_PACKAGES
        if isinstance(handled, Exception) and not may_help(handled) and (is_of_package or ends_loop(handled)):
            raise handled
        (original if wait is None or package == "eechips" else wait)(seconds)

    with replace_names(time, sleep=stand_in(time, "sleep", sleep)), _tenacity(may_help):
        yield


def _is_ours() -> bool:
    """Return whether the client of the run is waiting."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.startswith("eechips.client."):
            return True
        if name == __name__:
            return False
        frame = frame.f_back
    return False


@contextlib.contextmanager
def _tenacity(may_help: Callable[[BaseException], bool]) -> Iterator[None]:
    kind = getattr(sys.modules.get("tenacity"), "Retrying", None)
    if kind is None:
        yield
        return
    original = kind.__call__

    def call(self: Any, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        def is_last(state: Any) -> bool:
            error = state.outcome.exception()
            return (isinstance(error, Exception) and not may_help(error)) or bool(self.stop(state))

        ending = self.copy(stop=is_last)
        try:
            return original(ending, function, *args, **options)
        finally:
            self.statistics.update(ending.statistics)

    with replace_names(kind, __call__=call):
        yield
