"""Classify responses of Earth Engine and errors of the connection, certificates and memory; word them, and say when a
quota is renewed (Pacific time).

The errors of the service are in :mod:`eechips.client.service_errors`; those of the connection are here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from eechips.client.service_errors import find_error
from eechips.client.service_errors.error_row import (
    ErrorAction,
    ErrorBody,
    Period,
    QuotaWindow,
    ServiceError,
    quota_window,
)
from eechips.errors import (
    ConfigurationError,
    EechipsError,
    InternalError,
    PermanentError,
    ProjectUnavailableError,
    RecipeError,
    ResponseTimeoutError,
    Stopped,
    TooLargeError,
    TransientError,
    UnknownServiceError,
    ValidationError,
    describe_shortage,
)
from eechips.text.formatting import describe_exception, replace_control_characters
from eechips.web.redaction import redact, redact_beginning
from eechips.web.retry_after import parse_retry_after

_MAX_MESSAGE = 600  # characters: some messages repeat the whole expression
_MOST_READ = 20_000  # characters at each end of a message that are compared with known ones, each of which takes time
_AUTHENTICATE = "run `earthengine authenticate`, name a key file (`credentials`), or run without an account (`local`)"
RESUME = "The run stops; its results are kept. To resume: run the same command again"
"""What a message says of a run that stops."""
_RESULT = "a result came back with the status of an error"
_FOREIGN = "an answer came back that is no error of Earth Engine, as from a proxy or gateway in between"
WEB_PAGE = "a web page came back"
"""How the messages of errors begin if a proxy or a login page has answered."""
_PAGE = f"{WEB_PAGE}, as from a proxy or a login page in between. Log in there, or send requests past it"
_OF_SERVICE = (ErrorAction.PERMANENT, ErrorAction.UNAVAILABLE, ErrorAction.CONFIGURATION)
"""What only an answer of the service itself can say."""
_OF_GOOGLE = b"!!1"
"""End of the titles of Google's own pages, such as ``Error 413 (Request Entity Too Large)!!1``
(https://github.com/widop/WidopGoogleAnalyticsBundle/issues/24)."""
_FEWER_UNITS = "fetch fewer units at once (`processes`, `in_flight`)"
_PACIFIC = "America/Los_Angeles"


def classify_response(status: int, body: ErrorBody | str, retry_after: float | None = None) -> EechipsError:
    """Classify a response of the service.

    Args:
        status: HTTP status, not 2xx.
        body: what its body says, see :func:`parse_error`; or only the message.
        retry_after: seconds that the response asks to wait.

    Returns:
        A TransientError, TooLargeError, PermanentError or ConfigurationError, not raised. It is an UnknownServiceError
        if no row of :mod:`eechips.client.service_errors` matches; a ValidationError, unless a row says that it is
        transient, too large or without credentials, if the service has not sent the body.
    """
    if isinstance(body, str):
        body = ErrorBody(replace_control_characters(body))
    text = redact_beginning(body.message.strip(), _MAX_MESSAGE) or f"HTTP {status} without a message"
    row = find_error(status, body)
    if body.damage and (row is None or row.kind in _OF_SERVICE):
        return ValidationError(f"{body.damage}: {text}", status=status, retry_after=retry_after)
    if row is None:
        return UnknownServiceError(text, status=status)
    if row.kind is ErrorAction.TRANSIENT:
        return TransientError(
            _advised(text, row), status=status, retry_after=retry_after, is_queue_full=row.is_queue_full
        )
    if row.kind in (ErrorAction.TOO_LARGE, ErrorAction.INDIVISIBLE):
        return TooLargeError(
            _advised(text, row) if row.kind is ErrorAction.INDIVISIBLE else text,
            status=status,
            is_divisible=row.kind is ErrorAction.TOO_LARGE,
            batch=row.batch,
            repeats=row.repeats,
            repeats_alone=row.repeats_alone,
            advice=row.cure,
        )
    if row.kind is ErrorAction.UNAVAILABLE:
        return _unavailable(row, text)
    if row.kind is ErrorAction.CREDENTIALS and body.damage:
        refusal = f"HTTP {status}: {body.damage}: {text.rstrip('.')}"
        return ConfigurationError(f"{refusal}. If Earth Engine itself refuses the credentials: {row.cure}.")
    if row.kind is ErrorAction.CREDENTIALS:
        return ConfigurationError(f"Earth Engine refused the credentials ({text}). To resume: {row.cure}.")
    if row.kind is ErrorAction.CONFIGURATION:
        return ConfigurationError(f"{text} To resume: {row.cure}.")
    return PermanentError(_advised(text, row), status=status, fault=row.name)


def _advised(text: str, row: ServiceError) -> str:
    return f"{text.rstrip('.')}. What helps: {row.cure}." if row.cure else text


def next_renewal(period: Period, now: datetime) -> datetime:
    """Compute when a quota is renewed.

    A quota of a day is renewed at midnight Pacific time: "the day ends at midnight Pacific time"
    (https://developers.google.com/android-publisher/quotas), and so say the messages themselves ("The quota will be
    reset at midnight Pacific Time (PT)"). Earth Engine's compute quota of a month "resets every month"
    (https://developers.google.com/earth-engine/guides/noncommercial_tiers); no hour is documented, so the
    first of the month in the same time zone is taken.

    Args:
        now: the present time, aware.
    """
    day = _pacific(now).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return (day + timedelta(days=1)).astimezone(timezone.utc)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1).astimezone(timezone.utc)


def quota_month(now: datetime) -> str:
    """Return the month of a quota in which an aware moment lies, such as ``2026-11``; see :func:`next_renewal`."""
    return f"{_pacific(now):%Y-%m}"


def _pacific(now: datetime) -> datetime:
    try:
        zone: tzinfo = ZoneInfo(_PACIFIC)
    except ZoneInfoNotFoundError:  # a system without a database: in summer this is an hour late
        zone = timezone(timedelta(hours=-8))
    return now.astimezone(zone)


def unavailable_until(message: str, moment: datetime, cure: str = "") -> ProjectUnavailableError:
    """Make the error of a run that can resume at a known time.

    Args:
        message: what happened, without a full stop.
        moment: when the same command can resume, time zone aware.
    """
    when = moment.astimezone(timezone.utc)
    shown = when.strftime("%Y-%m-%d %H:%M UTC")
    other = f", {cure}" if cure else ""
    until = when.isoformat(timespec="seconds").replace("+00:00", "Z")
    return ProjectUnavailableError(f"{message}. {RESUME} after {shown}{other}.", until=until)


def _unavailable(row: ServiceError, text: str) -> ProjectUnavailableError:
    what = f"{row.cause[0].upper()}{row.cause[1:]} ({text.rstrip('.')})"
    if row.period is None:
        return ProjectUnavailableError(f"{what}. {RESUME} when that has changed: {row.cure.removeprefix('or ')}.")
    moment = next_renewal(row.period, datetime.now(timezone.utc))
    name = "midnight Pacific time" if row.period == "day" else "the first of the month, Pacific time"
    return unavailable_until(f"{what}, until {name}", moment, row.cure)


def is_transient_status(status: int) -> bool:
    """Return whether an HTTP status says that the same request may succeed later (RFC 9110, RFC 6585, RFC 8470).

    304 answers a condition, and requests of eechips have none for it: a cache has confused two requests.
    """
    return status in (304, 408, 425, 429) or status >= 500


def classify_exception(error: BaseException) -> EechipsError | None:
    """Classify an exception of the transport, or of the Earth Engine client.

    Args:
        error: what was raised while a request was made, or by code that made requests.

    Returns:
        None if the exception has nothing to do with a request: the code that raised it is at fault.
    """
    if isinstance(error, EechipsError):
        return error
    for known in (_classify_client, _classify_auth, _classify_transport):
        classified = known(error)
        if classified is not None:
            return classified
    return None


def internal_error(error: BaseException) -> EechipsError:
    """Classify an exception that code of eechips has raised.

    Args:
        error: what was raised. An EechipsError, or what :func:`classify_exception` knows, stays what it is.

    Returns:
        An InternalError for everything else.
    """
    classified = classify_exception(error)
    if classified is not None:
        return classified
    what = describe_exception(error)
    shortage = describe_shortage(error, "the unit", _FEWER_UNITS)
    text = f"a bug in eechips, please report it: {what}" if shortage is None else shortage
    return InternalError(text, traceback="".join(traceback.format_exception(error)))


@contextlib.contextmanager
def raising_recipe_errors(of_eechips: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Mark the recipe's own code: what it raises inside the block is the recipe's error.

    What the service answered stays what it is.

    Args:
        of_eechips: exceptions that the recipe is not to blame for, besides a lack of memory.

    Raises:
        RequestError, ConfigurationError: classified, if a request of the recipe failed.
        RecipeError: for every other exception but those of eechips.
    """
    try:
        yield
    except (EechipsError, Stopped, KeyboardInterrupt):
        raise
    except BaseException as error:  # as of asyncio, gevent and func_timeout; it would end the worker
        classified = classify_exception(error)
        if classified is not None:
            raise classified from error
        if isinstance(error, of_eechips) or describe_shortage(error, "the unit", _FEWER_UNITS) is not None:
            raise
        raise RecipeError(describe_exception(error), traceback="".join(traceback.format_exception(error))) from error


@contextlib.contextmanager
def raising_too_large() -> Iterator[None]:
    """Raise TooLargeError for exceptions of the Earth Engine client that mean it; let others pass."""
    from ee.ee_exception import EEException

    try:
        yield
    except EEException as error:
        classified = classify_exception(error)
        if isinstance(classified, TooLargeError):
            raise classified from None
        raise


def response_message(body: bytes) -> str:
    """Return the message of an error body ``{"error": {"message": …}}``, or the beginning of any other text."""
    return parse_error(body).message


def parse_error(body: bytes, media_type: str = "") -> ErrorBody:
    """Parse the error body of a response; of a body without an error, take the beginning.

    The structure is documented at https://cloud.google.com/apis/design/errors#error_model.

    Args:
        body: decoded; it may be anything.
        media_type: media type of the response, its ``Content-Type``. What is announced as JSON and is not was damaged
            on its way. A page that is not of Google is of a proxy, which may open later; pixels are no error.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        damage = _damage(body, media_type.lower())
        return ErrorBody("" if damage == _RESULT else _beginning(body), damage=damage)
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, dict) and document and not {"error", "message", "status"} & document.keys():
        return ErrorBody(_beginning(body), damage=_FOREIGN)
    error = document.get("error", document) if isinstance(document, dict) else document
    if not isinstance(error, dict):
        return ErrorBody(_said(error))
    details = [entry for name in ("errors", "details") for entry in _dicts(error.get(name))]
    return ErrorBody(
        message=_said(error.get("message") or error.get("status", "")),
        reasons=tuple(str(entry["reason"]) for entry in details if entry.get("reason")),
        window=_window(details),
    )


def _said(message: Any) -> str:
    """Return the text of a message; of a long one, both ends."""
    text = str(message)
    if len(text) > 2 * _MOST_READ:
        text = f"{text[:_MOST_READ]} … {text[-_MOST_READ:]}"
    return replace_control_characters(text)


def _beginning(body: bytes) -> str:
    """Return the beginning of a text, without tags; secrets are removed while they are whole."""
    text = re.sub(r"<[^>]*>|\s+", " ", redact(body[:2000].decode("utf-8", "replace")))
    return replace_control_characters(re.sub(r" +", " ", text).strip()[:200])


def _damage(body: bytes, media_type: str) -> str:
    """Return why a body that is no JSON is none that the service has sent; empty if it may have."""
    start = body.lstrip()
    if start.startswith(b"{") or media_type.startswith("application/json"):
        return "the error was damaged on its way"
    if media_type.startswith(("image/", "application/octet-stream")):
        return _RESULT
    is_page = media_type.startswith("text/html") or start[:14].lower().startswith((b"<!doctype html", b"<html"))
    return _PAGE if is_page and _OF_GOOGLE not in body else ""


def _window(details: Sequence[Mapping[str, Any]]) -> QuotaWindow:
    """Find the period of the quota that ``google.rpc.ErrorInfo`` or ``google.rpc.QuotaFailure`` names."""
    for entry in details:
        for quota_details in (*_dicts([entry.get("metadata")]), *_dicts(entry.get("violations"))):
            names = ("quota_limit", "quotaId", "quota_metric", "quotaMetric", "subject")
            window = quota_window(
                str(quota_details.get("quota_unit", "")), [str(quota_details[n]) for n in names if n in quota_details]
            )
            if window:
                return window
    return ""


def _dicts(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _classify_client(error: BaseException) -> EechipsError | None:
    """Classify an EEException by the HTTP error in its context; there is no public way to the status."""
    import googleapiclient.errors
    from ee.ee_exception import EEException

    cause = error.__context__ if isinstance(error, EEException) else error
    if not isinstance(cause, googleapiclient.errors.HttpError):
        return None
    headers = {str(k).lower(): str(v) for k, v in cause.resp.items()}
    body = parse_error(cause.content, headers.get("content-type", ""))
    return classify_response(int(cause.resp.status), body, parse_retry_after(headers))


def _classify_auth(error: BaseException) -> EechipsError | None:
    import google.auth.exceptions

    if isinstance(error, google.auth.exceptions.TransportError):
        return TransientError(f"could not refresh the credentials: {redact_beginning(str(error), _MAX_MESSAGE)}")
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        text = redact_beginning(str(error.args[0] if error.args else error), _MAX_MESSAGE)
        return ConfigurationError(f"the credentials do not work ({text}). To resume: {_AUTHENTICATE}.")
    return None


def _classify_transport(error: BaseException) -> EechipsError | None:
    import requests
    import urllib3.exceptions

    chain = [error, *(a for a in error.args if isinstance(a, BaseException))]
    if any(isinstance(e, http.client.IncompleteRead) for e in chain):
        return ValidationError("truncated: the connection ended before the whole answer was there")
    if any("CERTIFICATE_VERIFY_FAILED" in describe_exception(e) for e in chain):
        text = "the server's certificate is not trusted: check the clock, and REQUESTS_CA_BUNDLE behind a proxy"
        return ConfigurationError(text)
    timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    transport = (
        requests.ConnectionError,
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
        urllib3.exceptions.HTTPError,  # a length that is no number, for one
        http.client.HTTPException,
        ConnectionError,
        ssl.SSLError,
    )
    if any(isinstance(e, (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError)) for e in chain):
        return ResponseTimeoutError(f"time-out: {_name(error)}")
    # A refused connection is a kind of time-out for urllib3.
    if isinstance(error, timeouts) and not isinstance(error, urllib3.exceptions.NewConnectionError):
        return TransientError(f"time-out: {_name(error)}")
    if isinstance(error, transport):
        is_of_proxy = isinstance(error, (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError))
        return TransientError(f"connection{' to the proxy' if is_of_proxy else ''} failed: {_name(error)}")
    return None


def _name(error: BaseException) -> str:
    """Return the class and the reason of a transport error, without the address that libraries put into its text."""
    reason = error
    while reason.args and isinstance(reason.args[-1], BaseException):
        reason = reason.args[-1]
    nested = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(nested, BaseException):
        reason = nested
    text = re.sub(r"<[^>]*>:? ?|\w*Connection(?:Pool)?\([^)]*\):? ?", "", redact(str(reason)))
    text = replace_control_characters(" ".join(text.split()))
    return f"{type(reason).__name__}: {text}"[:300] if text else type(reason).__name__
