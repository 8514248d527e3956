"""End a script's own retries as after their last try, if the error is permanent."""

from __future__ import annotations

import contextlib
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from eechips.client.error_classification import classify_exception, classify_response
from eechips.errors import EechipsError, TransientError
from eechips.scripts.replaced_names import present_function, replace_names, stand_in

_RETRY_PACKAGES = frozenset({"retry", "backoff"})
"""Packages that wait while they handle the error of a try, and raise it after the last one."""


def classify_error(error: BaseException) -> EechipsError | None:
    """Return the error of eechips for an exception of a request; None for an exception of the script's own code."""
    import requests

    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, requests.HTTPError) and cause.response is not None:
            return classify_response(cause.response.status_code, cause.response.reason or "")
        if isinstance(cause, urllib.error.HTTPError):
            return classify_response(cause.code, str(cause.reason))
        classified = classify_exception(cause)
        if classified is not None:
            return classified
        cause = cause.__cause__ or cause.__context__
    return None


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may succeed: not after a permanent error of a request, nor after one of the script's code.

    Errors of files and of libraries may pass: requests of aiohttp, for instance, are not retried by the run.
    """
    classified = classify_error(error)
    if classified is None:
        return isinstance(error, OSError) or type(error).__module__ != "builtins"
    return isinstance(classified, TransientError)


@contextlib.contextmanager
def guard_retries(
    may_help: Callable[[BaseException], bool] = is_transient,
    wait: Callable[[float], None] | None = None,
    waits_left_out: int = 0,
) -> Iterator[None]:
    """End retries of the packages retry, backoff and tenacity after a permanent error, inside the block.

    The script receives the error as after the last try, and continues. Its own loops may retry a step or leave it out:
    they wait as they say, or not at all.

    Args:
        may_help: returns whether a retry may succeed after an error.
        wait: waits in place of ``time.sleep``, which it may use; None for ``time.sleep``.
        waits_left_out: waits of the script's own loops that are left out after errors for which no retry helps; the
            next such error ends its loop. Zero to wait always.
    """
    original, left_out = present_function(time, "sleep"), 0

    def sleep(seconds: float) -> None:
        nonlocal left_out
        if _is_ours():
            original(seconds)
            return
        handled = sys.exc_info()[1]
        package = str(sys._getframe(2).f_globals.get("__name__")).partition(".")[0]
        if isinstance(handled, Exception) and not may_help(handled):
            if package in _RETRY_PACKAGES or 0 < waits_left_out <= left_out:
                raise handled
            if waits_left_out:
                left_out += 1
                return
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
    tenacity = sys.modules.get("tenacity")
    kind = getattr(tenacity, "Retrying", None)
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
