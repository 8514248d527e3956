"""End a script's own retries at once if the error is permanent."""

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


class RetryAborted(BaseException):
    """Carry an error past the retry handlers of a script."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


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
    """Return whether a retry may succeed: only after a transient error."""
    return isinstance(classify_error(error), TransientError)


@contextlib.contextmanager
def guard_retries(
    may_help: Callable[[BaseException], bool] = is_transient, wait: Callable[[float], None] | None = None
) -> Iterator[None]:
    """Stop retry handlers that sleep after a permanent error, inside the block.

    This affects the packages ``retry`` and ``backoff``, and loops of the script. The block raises the error itself.
    ``tenacity``, which sleeps differently, is patched separately.

    Args:
        may_help: returns whether a retry may succeed after an error.
        wait: waits in place of ``time.sleep``, which it may use; None for ``time.sleep``.
    """
    original = present_function(time, "sleep")

    def sleep(seconds: float) -> None:
        if _is_ours():
            original(seconds)
            return
        handled = sys.exc_info()[1]
        if isinstance(handled, Exception) and not may_help(handled):
            raise RetryAborted(handled)
        is_of_run = str(sys._getframe(2).f_globals.get("__name__")).startswith("eechips.")
        (original if wait is None or is_of_run else wait)(seconds)

    try:
        with replace_names(time, sleep=stand_in(time, "sleep", sleep)), _tenacity(may_help):
            yield
    except RetryAborted as hopeless:
        context = hopeless.error.__context__  # names the response of the service
        try:
            raise hopeless.error
        finally:
            hopeless.error.__context__ = context


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
        def once(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except Exception as error:  # any exception of the script's function is raised again
                if may_help(error):
                    raise
                raise RetryAborted(error) from error

        return original(self, once, *args, **options)

    with replace_names(kind, __call__=call):
        yield
