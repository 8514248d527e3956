"""Classification of every known message of Earth Engine."""

from __future__ import annotations

import http.client
import json
from datetime import datetime, timezone

import google.auth.exceptions
import pytest
import requests
import urllib3.exceptions

from eechips.client.error_classification import classify_exception, classify_response, parse_error, response_message
from eechips.client.http.response_framing import make_strict
from eechips.errors import (
    ConfigurationError,
    PermanentError,
    RecipeError,
    ResponseTimeoutError,
    TooLargeError,
    TransientError,
    ValidationError,
)
from eechips.web.retry_after import parse_retry_after

TRANSIENT = [
    (429, "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."),
    (429, "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute' of service"),
    (403, "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute' of service"),
    (400, "Earth Engine capacity exceeded."),
    (503, "Earth Engine capacity exceeded."),
    (500, "An internal error has occurred"),
    (502, ""),
    (503, "The service is currently unavailable."),
    (504, "Deadline exceeded."),
    (599, "whatever"),
    (408, "Request timeout"),
    (302, "moved to a captive portal"),
    (429, ""),
]
TOO_LARGE = [
    (400, "Total request size (56623104 bytes) must be less than or equal to 50331648 bytes."),
    (400, "Pixel grid dimensions (12000x12000) must be less than or equal to 10000."),
    (400, "User memory limit exceeded."),
    (400, "Computation timed out."),
    (500, "Computation timed out."),
    (400, "Too many concurrent aggregations."),
    (429, "Quota exceeded: Too many concurrent aggregations."),
    (400, "Request payload size exceeds the limit: 10485760 bytes."),
    (413, "Request payload size exceeds the limit: 10485760 bytes."),
    (400, "Collection query aborted after accumulating over 5000 elements."),
    (400, "Image.reduceRegion: Too many pixels in the region. Found 105000000, but maxPixels allows only 10000000."),
]
PERMANENT = [
    (400, "Image.load: Image asset 'NO/SUCH' not found (does not exist or caller does not have access)."),
    (400, "Image.select: Band pattern 'B99' did not match any bands. Available bands: [R, G, B, N]"),
    (400, "Unrecognized argument type"),
    (404, "Not found."),
    (403, "Permission 'earthengine.assets.get' denied on resource 'projects/x/assets/y'."),
]
CONFIGURATION = [
    (401, "Request had invalid authentication credentials."),
    (403, "Project my-project is not registered to use Earth Engine. Visit https://console.cloud.google.com/"),
    (403, "Caller does not have required permission to use project my-project. Grant the caller the role"),
    (403, "Google Earth Engine API has not been used in project 123 before or it is disabled."),
]


@pytest.mark.parametrize(("status", "message"), TRANSIENT)
def test_transient_messages_are_transient(status: int, message: str) -> None:
    error = classify_response(status, message, 3.0)
    assert type(error) is TransientError
    assert (error.status, error.retry_after) == (status, 3.0)


@pytest.mark.parametrize("message", ["", "302 Found"])
def test_a_redirection_says_what_helps(message: str) -> None:
    """As of a network that asks for a login: nothing else was said of it than its number."""
    assert str(classify_response(302, message)).endswith("What helps: log in to the network, or check the proxy.")
    assert str(classify_response(503, "busy")) == "busy"


@pytest.mark.parametrize(("status", "message"), TOO_LARGE)
def test_size_messages_are_too_large(status: int, message: str) -> None:
    assert type(classify_response(status, message)) is TooLargeError


@pytest.mark.parametrize(("status", "message"), PERMANENT)
def test_permanent_messages_are_permanent(status: int, message: str) -> None:
    error = classify_response(status, message)
    assert type(error) is PermanentError
    assert message[:40] in str(error)


@pytest.mark.parametrize(("status", "message"), CONFIGURATION)
def test_configuration_errors_say_what_to_do(status: int, message: str) -> None:
    error = classify_response(status, message)
    assert type(error) is ConfigurationError
    assert "`local`" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError("reset"),
        requests.ConnectTimeout("slow"),
        requests.exceptions.ChunkedEncodingError("short"),
        requests.exceptions.ContentDecodingError("gzip"),
        urllib3.exceptions.ProtocolError("Connection broken", ConnectionResetError(104, "reset")),
        http.client.RemoteDisconnected("gone"),
        ConnectionResetError(104, "reset"),
        BrokenPipeError(32, "pipe"),
        TimeoutError("slow"),
        google.auth.exceptions.TransportError("no network"),
    ],
)
def test_failures_of_the_transport_are_transient(error: Exception) -> None:
    assert type(classify_exception(error)) is TransientError


@pytest.mark.parametrize(
    "error",
    [
        requests.ReadTimeout("slow"),
        urllib3.exceptions.ReadTimeoutError(None, "http://x", "slow"),  # type: ignore[arg-type]
    ],
)
def test_a_response_that_takes_too_long_is_transient_too(error: Exception) -> None:
    assert type(classify_exception(error)) is ResponseTimeoutError


@pytest.mark.parametrize(
    "error",
    [
        urllib3.exceptions.IncompleteRead(5, 10),
        http.client.IncompleteRead(b"", 10),
        urllib3.exceptions.ProtocolError("Connection broken", http.client.IncompleteRead(b"", 10)),
    ],
)
def test_a_truncated_body_is_invalid(error: Exception) -> None:
    assert type(classify_exception(error)) is ValidationError


def test_refused_credentials_are_a_matter_of_configuration() -> None:
    found = classify_exception(google.auth.exceptions.RefreshError("invalid_grant: Token has been expired"))
    assert type(found) is ConfigurationError
    assert str(found).startswith("the credentials do not work (invalid_grant: Token has been expired). To resume: run")


def test_an_untrusted_certificate_is_a_matter_of_configuration() -> None:
    error = requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    assert type(classify_exception(error)) is ConfigurationError


def test_errors_of_other_code_are_not_request_errors() -> None:
    assert classify_exception(ValueError("x")) is None
    assert classify_exception(KeyError("x")) is None
    known = RecipeError("x")
    assert classify_exception(known) is known


def test_messages_never_name_the_address() -> None:
    secret = "projects/p/thumbnails/5ecre7-5ecre7"
    connection = make_strict(urllib3.HTTPConnectionPool("127.0.0.1", 1)).ConnectionCls("127.0.0.1", 1)
    reason = urllib3.exceptions.NewConnectionError(connection, "Connection refused")
    pool = urllib3.exceptions.MaxRetryError(None, f"/v1/{secret}:getPixels", reason)  # type: ignore[arg-type]
    found = classify_exception(requests.ConnectionError(pool))
    assert "5ecre7" not in str(found)
    assert str(found) == "connection failed: NewConnectionError: Connection refused"


def test_messages_are_read_from_bodies() -> None:
    body = json.dumps({"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT"}}).encode()
    assert response_message(body) == "No."
    assert response_message(b"[" + body + b"]") == "No."
    assert response_message(b"<html><h1>Bad  gateway</h1></html>") == "Bad gateway"
    assert response_message(b"") == ""
    assert response_message(b'"text"') == "text"
    limited = {"error": {"message": "Slow down.", "errors": [{"reason": "userRateLimitExceeded"}]}}
    assert type(classify_response(403, parse_error(json.dumps(limited).encode()))) is TransientError


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=timezone.utc)
    assert parse_retry_after({}) is None
    assert parse_retry_after({"retry-after": "7"}) == 7.0
    assert parse_retry_after({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, lambda: now) == 30.0
    assert parse_retry_after({"retry-after": "Thu, 01 Jan 2026 11:00:30 GMT"}, lambda: now) == 0.0
    for meaningless in ("soon", "9" * 29, "Thu, 01 Jan 9999 12:00:30 GMT"):
        assert parse_retry_after({"retry-after": meaningless}, lambda: now) is None
    told = {"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT", "date": "Thu, 01 Jan 2026 12:00:10 GMT"}
    assert parse_retry_after(told) == 20.0  # by the clock of the server, whatever ours says


def test_of_a_long_message_both_ends_are_read() -> None:
    """One of five million characters took half a minute each time that it came."""
    for message in ("User memory limit exceeded." + "x" * 5_000_000, "x" * 5_000_000 + " User memory limit exceeded."):
        body = parse_error(json.dumps({"error": {"code": 400, "message": message}}).encode())
        assert len(body.message) < 50_000
        assert isinstance(classify_response(400, body), TooLargeError)
