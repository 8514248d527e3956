"""What an answer of Earth Engine means for the unit that asked.

The messages are those of the service, collected from its documentation and from users' reports. They are
looked at before the status, because the service sends the same status for different matters.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone

from eechips.client.scrub import scrub
from eechips.errors import (
    ConfigurationError,
    EechipsError,
    PermanentError,
    TooLargeError,
    TransientError,
    ValidationError,
)

_MAX_MESSAGE = 600  # characters: some messages repeat the whole expression

_TRANSIENT = re.compile(
    r"too many requests|quota exceeded for quota metric|too many concurrent aggregations"
    r"|earth engine capacity exceeded|rate ?limit ?exceeded|user rate limit exceeded",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(
    r"total request size \(.*\) must be less than or equal to|pixel grid dimensions \(.*\) must be less"
    r"|user memory limit exceeded|computation timed out|request payload size exceeds"
    r"|collection query aborted after accumulating over|too many pixels in the region"
    r"|output of image computation is too large|reprojection output too large|object too large \("
    r"|response size exceeds limit|computed value is too large",
    re.IGNORECASE,
)
# These are as large for a part as for the whole: the expression travels with every request, and the pixels are those of
# a reduction inside it.
_INDIVISIBLE = re.compile(r"request payload size exceeds|too many pixels in the region", re.IGNORECASE)
_PROJECT = re.compile(
    r"is not registered to use earth engine|has not been used in project|(?:api|service) (?:is|has been) disabled"
    r"|not signed up for earth engine",
    re.IGNORECASE,
)
_PERMISSION = re.compile(r"caller does not have required permission", re.IGNORECASE)

_REGISTER = (
    "register the project at https://code.earthengine.google.com/register, give another with --project"
    " (or EECHIPS_PROJECT), or try without an account: --local"
)
_AUTHENTICATE = "run `earthengine authenticate`, give a key with --credentials, or try without an account: --local"


def classify_response(status: int, message: str, retry_after: float | None = None) -> EechipsError:
    """The error that a response stands for.

    Args:
        status: HTTP status, not 2xx.
        message: the service's message; see :func:`response_message`.
        retry_after: seconds that the response asks to wait.

    Returns:
        A TransientError, TooLargeError, PermanentError or ConfigurationError, not raised.
    """
    text = scrub(message).strip()[:_MAX_MESSAGE] or f"HTTP {status} without a message"
    if _TRANSIENT.search(message):
        return TransientError(text, status=status, retry_after=retry_after)
    if _TOO_LARGE.search(message):
        return TooLargeError(text, status=status)
    if _PROJECT.search(message):
        return ConfigurationError(f"{text} To go on: {_REGISTER}.")
    if _PERMISSION.search(message):
        return ConfigurationError(f"{text} To go on: use a project in which you may use Earth Engine: {_REGISTER}.")
    if status == 401:
        return ConfigurationError(f"Earth Engine refused the credentials ({text}). To go on: {_AUTHENTICATE}.")
    if is_passing(status) or 300 <= status < 400:
        return TransientError(text, status=status, retry_after=retry_after)
    return PermanentError(text, status=status)


def is_passing(status: int) -> bool:
    """Whether an HTTP status says that the same request may succeed later (RFC 9110, RFC 6585, RFC 8470)."""
    return status in (408, 425, 429) or status >= 500


def can_split(error: TooLargeError) -> bool:
    """Whether a part of what was too large may be small enough."""
    return not _INDIVISIBLE.search(str(error))


def classify_exception(error: BaseException) -> EechipsError | None:
    """The error that an exception of the transport, or of the Earth Engine client, stands for.

    Args:
        error: what was raised while a request was made, or by code that made requests.

    Returns:
        None if the exception has nothing to do with a request: the code that raised it is at fault.
    """
    if isinstance(error, EechipsError):
        return error
    for known in (_classify_client, _classify_auth, _classify_transport):
        found = known(error)
        if found is not None:
            return found
    return None


@contextlib.contextmanager
def raising_too_large() -> Iterator[None]:
    """Raises TooLargeError for an exception of the Earth Engine client that stands for one; others pass as they are."""
    from ee.ee_exception import EEException

    try:
        yield
    except EEException as error:
        found = classify_exception(error)
        if isinstance(found, TooLargeError):
            raise found from None
        raise


def response_message(body: bytes) -> str:
    """The message in an error body ``{"error": {"message": …}}``; the beginning of the text of any other."""
    try:
        document = json.loads(body)
    except ValueError:
        text = re.sub(r"<[^>]*>|\s+", " ", body[:2000].decode("utf-8", "replace"))
        return re.sub(r" +", " ", text).strip()[:200]
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(error, dict):
        message = str(error.get("message", error.get("status", "")))
        reasons = [str(e.get("reason", "")) for e in error.get("errors", []) if isinstance(e, dict)]
        return " ".join([message, *(r for r in reasons if "imit" in r and r not in message)])
    return str(error)


def parse_retry_after(headers: Mapping[str, str], now: Callable[[], datetime] | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait (RFC 9110, 10.2.3), or None.

    Args:
        headers: with lower-case names.
        now: the present time, for headers that name a date; the server's ``Date`` by default, as its clock and ours
            need not agree, and else our own.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    date = _http_date(value)
    if date is None:
        return None
    present = now() if now is not None else _http_date(headers.get("date", "")) or datetime.now(timezone.utc)
    return max(0.0, (date - present).total_seconds())


def _http_date(value: str) -> datetime | None:
    """The moment of a header (RFC 9110, 5.6.7), aware; None if it is none."""
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


def _classify_client(error: BaseException) -> EechipsError | None:
    """An EEException that wraps an HTTP error: the status is in its context (there is no public way to it)."""
    import googleapiclient.errors
    from ee.ee_exception import EEException

    cause = error.__context__ if isinstance(error, EEException) else error
    if not isinstance(cause, googleapiclient.errors.HttpError):
        return None
    headers = {str(k).lower(): str(v) for k, v in cause.resp.items()}
    return classify_response(int(cause.resp.status), response_message(cause.content), parse_retry_after(headers))


def _classify_auth(error: BaseException) -> EechipsError | None:
    import google.auth.exceptions

    if isinstance(error, google.auth.exceptions.TransportError):
        return TransientError(f"could not refresh the credentials: {scrub(str(error))[:_MAX_MESSAGE]}")
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        text = scrub(str(error.args[0] if error.args else error))[:_MAX_MESSAGE]
        return ConfigurationError(f"the credentials do not work ({text}). To go on: {_AUTHENTICATE}.")
    return None


def _classify_transport(error: BaseException) -> EechipsError | None:
    import http.client
    import ssl

    import requests
    import urllib3.exceptions

    chain = [error, *(a for a in error.args if isinstance(a, BaseException))]
    if any(isinstance(e, http.client.IncompleteRead) for e in chain):
        return ValidationError("truncated: the connection ended before the whole answer was there")
    if any("CERTIFICATE_VERIFY_FAILED" in str(e) for e in chain):
        text = "the server's certificate is not trusted: check the clock, and REQUESTS_CA_BUNDLE behind a proxy"
        return ConfigurationError(text)
    timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    transport = (
        requests.ConnectionError,
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
        urllib3.exceptions.ProtocolError,
        urllib3.exceptions.SSLError,
        http.client.HTTPException,
        ConnectionError,
        ssl.SSLError,
    )
    if isinstance(error, timeouts):
        return TransientError(f"time-out: {_name(error)}")
    if isinstance(error, transport):
        return TransientError(f"connection failed: {_name(error)}")
    return None


def _name(error: BaseException) -> str:
    """Class and reason of a transport error, without the address that libraries put into its text."""
    reason = error
    while reason.args and isinstance(reason.args[-1], BaseException):
        reason = reason.args[-1]
    nested = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(nested, BaseException):
        reason = nested
    text = re.sub(r"<[^>]*>:? ?|HTTPS?ConnectionPool\([^)]*\):? ?", "", scrub(str(reason)))
    return f"{type(reason).__name__}: {text}"[:300] if text else type(reason).__name__
