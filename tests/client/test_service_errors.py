"""The table of the service's errors: every row, by real bodies over HTTP."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from eechips.client.error_classification import classify_response, next_renewal, parse_error
from eechips.client.http.http_messages import HttpRequest, Timeouts
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.client.service_errors import SERVICE_ERRORS, find_error
from eechips.client.service_errors.error_row import ErrorAction, ServiceError
from eechips.errors import (
    ConfigurationError,
    EechipsError,
    PermanentError,
    ProjectUnavailableError,
    TooLargeError,
    TransientError,
    UnknownServiceError,
    ValidationError,
)
from local_tests.support.function_server import Answer, serve_function
from tests.support.service_examples import EXAMPLES, Example

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
CLASSES: Mapping[ErrorAction, type[EechipsError]] = {
    ErrorAction.TRANSIENT: TransientError,
    ErrorAction.TOO_LARGE: TooLargeError,
    ErrorAction.INDIVISIBLE: TooLargeError,
    ErrorAction.PERMANENT: PermanentError,
    ErrorAction.UNAVAILABLE: ProjectUnavailableError,
    ErrorAction.CONFIGURATION: ConfigurationError,
    ErrorAction.CREDENTIALS: ConfigurationError,
}


def body_of(example: Example) -> bytes:
    """A body as Google's API gateway writes it."""
    error: dict[str, object] = {"code": example.code, "message": example.message, "status": example.status}
    if example.reason.isupper():
        metadata = {"service": "earthengine.googleapis.com", "consumer": "projects/123"}
        if example.quota_limit:
            metadata["quota_limit"] = example.quota_limit
        if example.quota_unit:
            metadata["quota_unit"] = example.quota_unit
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        info = {"@type": kind, "reason": example.reason, "domain": "googleapis.com", "metadata": metadata}
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.Help", "links": []}, info]
    elif example.reason:
        error["errors"] = [{"domain": "usageLimits", "reason": example.reason, "message": example.message}]
    return json.dumps({"error": error}).encode()


def asked(answer: Answer) -> EechipsError:
    """Return the error that the transport raises for a response of a real server."""
    with serve_function(lambda *_: answer) as url:
        quota = Throttle(multiprocessing.get_context(), QuotaLimits(in_flight=1, start=1), clients=1).client(0)
        transport = Transport(url, quota, RetryPolicy(retries=0, total=0.001), Timeouts())
        try:
            with pytest.raises(EechipsError) as caught:
                transport.post(HttpRequest("POST", f"{url}/v1/projects/p/value:compute", "{}", {}), lambda body: body)
        finally:
            transport.close()
    return caught.value


@pytest.mark.parametrize("row", SERVICE_ERRORS, ids=lambda row: row.name)
def test_every_row_is_found_by_its_example_and_has_its_class_over_http(row: ServiceError) -> None:
    example = EXAMPLES[row.name]
    body = body_of(example)
    assert find_error(example.code, parse_error(body)) is row
    error = asked((example.code, {"Content-Type": "application/json"}, body))
    assert type(error) is CLASSES[row.kind]
    assert example.message.rstrip(".")[:150] in str(error)
    assert row.source.startswith("https://")
    if isinstance(error, ProjectUnavailableError):
        assert "run the same command again" in str(error)
        assert (error.until is not None) is (row.period is not None)
    if isinstance(error, ConfigurationError):
        assert row.cure.removeprefix("or ") in str(error)


@pytest.mark.parametrize("row", [row for row in SERVICE_ERRORS if EXAMPLES[row.name].reason], ids=lambda row: row.name)
def test_a_reason_counts_whatever_the_message_says(row: ServiceError) -> None:
    """Messages change; reasons do not. Rows whose message says more are found by that message alone."""
    changed = replace(EXAMPLES[row.name], message="Nein.", quota_unit="")
    assert type(classify_response(changed.code, parse_error(body_of(changed)))) is CLASSES[row.kind]


@pytest.mark.parametrize("status", [400, 403, 429])
def test_a_quota_of_a_day_is_the_same_whatever_its_status(status: int) -> None:
    assert type(classify_response(status, EXAMPLES["daily compute"].message)) is ProjectUnavailableError


@pytest.mark.parametrize(("status", "message"), [(400, "Oh no."), (403, "No."), (409, ""), (451, "Not here")])
def test_unlisted_errors_are_unknown_and_keep_their_message(status: int, message: str) -> None:
    error = asked((status, {}, json.dumps({"error": {"code": status, "message": message}}).encode()))
    assert type(error) is UnknownServiceError
    assert error.status == status
    assert str(error) == (message or f"HTTP {status} without a message")


@pytest.mark.parametrize(
    "message",
    [
        "ImageCollection.limit: the daily limit was exceeded by a property.",
        "Image.load: Image asset 'me/quota_exceeded_per_month' not found.",
    ],
)
def test_quota_words_inside_an_expression_are_ignored(message: str) -> None:
    assert type(classify_response(400, message)) is PermanentError


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"null",
        b"[]",
        b'{"error": {"details": {"reason": 1}, "errors": 5, "message": ["x"]}}',
        b'{"error": {"details": [null, {"metadata": [1], "reason": {"a": 1}}]}}',
        b"\xff\xfe",
    ],
)
def test_bodies_of_any_shape_are_read(body: bytes) -> None:
    assert isinstance(parse_error(body).message, str)
    assert isinstance(classify_response(400, parse_error(body)), PermanentError)


@pytest.mark.parametrize("length", [1, 20, 60])
def test_a_truncated_error_is_transient(length: int) -> None:
    body = b'{"error": {"code": 400, "message": "Image.load: Image asset a/b not found."}}'
    assert isinstance(classify_response(400, parse_error(body)), PermanentError)
    assert isinstance(classify_response(400, parse_error(body[:length])), ValidationError)


@pytest.mark.parametrize("body", [b"", b"\0" * 90, b"%PDF", b"502 Bad Gateway"])
def test_an_error_that_is_announced_as_json_and_is_not_is_transient(body: bytes) -> None:
    error = parse_error(body, "application/json; charset=UTF-8")
    assert isinstance(classify_response(400, error), ValidationError)
    assert isinstance(classify_response(400, parse_error(body, "text/plain")), UnknownServiceError)


PAGE = b"<!DOCTYPE html>\n<html><head><title>Login</title></head><body>Please log in</body></html>"


@pytest.mark.parametrize("status", [400, 403, 404, 407, 999])
@pytest.mark.parametrize(
    ("body", "media_type", "message"),
    [
        (
            PAGE,
            "text/html; charset=utf-8",
            "a web page came back, as from a proxy .* Log in there, or .*: Login Please",
        ),
        (PAGE, "", "a web page came back"),
        (b"\x89PNG\r\n\x1a\n" + bytes(90), "image/png", "^a result came back with the status of an error: HTTP"),
        (b"II*\0" + bytes(90), "application/octet-stream", "^a result came back"),
        (b'{"detail": "quota of the gateway"}', "application/json", "no error of Earth Engine.*quota of the gateway"),
        (b'{"errors": [{"message": "Blocked."}]}', "", "no error of Earth Engine.*: .*Blocked"),
        (PAGE.replace(b"log in", b"log in: your project is not registered"), "text/html", "web page.*not registered"),
        (PAGE.replace(b"log in", b"wait: daily limit exceeded"), "text/html", "web page.*daily limit exceeded"),
    ],
)
def test_what_no_service_sends_with_an_error_is_transient(
    status: int, body: bytes, media_type: str, message: str
) -> None:
    error = asked((status, {"Content-Type": media_type}, body))
    assert type(error) is ValidationError
    assert error.status == status
    assert re.search(message, str(error))


@pytest.mark.parametrize(
    ("body", "said"), [(PAGE, "a web page came back.*Please log in"), (b'{"detail": "No pass."}', "gateway.*No pass")]
)
def test_a_proxy_that_asks_for_credentials_is_not_earth_engine(body: bytes, said: str) -> None:
    error = asked((401, {}, body))
    assert type(error) is ConfigurationError
    assert re.search(f"^HTTP 401: .*{said}.*If Earth Engine itself.*earthengine authenticate", str(error))


@pytest.mark.slow
def test_answers_of_others_are_shown_without_secrets_and_briefly() -> None:
    """A gateway may send back what it received; what is shown may end within a secret."""
    for before in range(120, 240, 3):
        sent = {
            "path": "x" * before,
            "headers": {"Authorization": "Bearer ya29.5ecre75ecre75ecre7"},
            "more": "y" * 5000,
        }
        shown = str(asked((403, {"Content-Type": "application/json"}, json.dumps(sent).encode())))
        assert "5ecre7" not in shown
        assert "xxx" in shown
        assert len(shown) < 400


def test_a_page_of_google_is_the_service_s_own() -> None:
    """Body: https://github.com/widop/WidopGoogleAnalyticsBundle/issues/24."""
    body = b"<!DOCTYPE html>\n<html lang=en>\n  <title>Error 405 (Method Not Allowed)!!1</title>\n"
    assert type(classify_response(405, parse_error(body, "text/html"))) is UnknownServiceError
    assert type(classify_response(503, parse_error(PAGE, "text/html"))) is TransientError


@pytest.mark.parametrize("title", ["Error 413 (Request Entity Too Large)!!1", "413 Request Entity Too Large"])
def test_a_request_that_is_too_large_for_a_front_is_not_repeated(title: str) -> None:
    """Titles: https://github.com/widop/WidopGoogleAnalyticsBundle/issues/24, and nginx's own page."""
    body = f"<html><head><title>{title}</title></head></html>".encode()
    error = classify_response(413, parse_error(body, "text/html"))
    assert isinstance(error, TooLargeError)
    assert "send less with each request" in str(error)


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [
        ("2026-11-21T14:00", "2026-11-22T08:00", "2026-12-01T08:00"),  # standard time
        ("2026-07-01T06:59", "2026-07-01T07:00", "2026-07-01T07:00"),  # June still, in California
        ("2026-12-31T20:00", "2027-01-01T08:00", "2027-01-01T08:00"),
        ("2026-03-08T09:00", "2026-03-09T07:00", "2026-04-01T07:00"),  # the day on which summer time begins
    ],
)
def test_quotas_are_renewed_at_midnight_pacific_time(now: str, day: str, month: str) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=timezone.utc)
    assert next_renewal("day", moment).strftime("%Y-%m-%dT%H:%M") == day
    assert next_renewal("month", moment).strftime("%Y-%m-%dT%H:%M") == month


def test_the_documentation_lists_every_row() -> None:
    text = DOCS.read_text()
    for row in SERVICE_ERRORS:
        assert f"| {row.name} |" in text, f"docs/reference/errors.md lacks {row.name!r}"
        assert row.source in text


QUOTA = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "RATE_LIMIT_EXCEEDED",
    "domain": "googleapis.com",
}
OF_DETAILS = [
    ("day", {**QUOTA, "metadata": {"quota_unit": "1/d/{project}", "quota_limit": "defaultPerDayPerProject"}}),
    ("day", {**QUOTA, "metadata": {"quota_unit": "1/d/{project}/{user}", "quota_limit": "x"}}),
    ("day", {**QUOTA, "metadata": {"quota_limit": "ForecastHoursQueriesPerDay"}}),
    ("day", {**QUOTA, "metadata": {"quota_metric": "earthengine.googleapis.com/daily_eecu_usage_time"}}),
    ("month", {**QUOTA, "metadata": {"quota_metric": "earthengine.googleapis.com/monthly_eecu_usage_time"}}),
    ("month", {**QUOTA, "metadata": {"quota_unit": "1/mo/{project}"}}),
    ("month", {**QUOTA, "reason": "RESOURCE_QUOTA_EXCEEDED", "metadata": {"quota_limit": "EecuSeconds-per-month"}}),
    (
        "day",
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaMetric": "a/b", "quotaId": "GenerateRequestsPerDayPerProject"}],
        },
    ),
    ("", {**QUOTA, "metadata": {"quota_unit": "1/min/{project}/{user}", "quota_limit": "ReadsPerMinutePerUser"}}),
    ("", {**QUOTA, "metadata": {"quota_unit": "1/min/{project}", "quota_limit": "defaultPerDayPerProject"}}),
    ("", {**QUOTA, "metadata": {"quota_limit": "QueriesPer100secondsPerUser"}}),
    ("", {**QUOTA, "metadata": {"quota_limit": "perhaps", "quota_unit": "1/{region}"}}),
]


@pytest.mark.parametrize("message", ["Nein.", "", "Quota exceeded; see the limits per day, and those per month."])
def test_the_details_of_an_error_say_how_long_a_quota_lasts_whatever_its_words(message: str) -> None:
    for period, detail in OF_DETAILS:
        check_period(period, detail, message)


def check_period(period: str, detail: dict[str, object], message: str) -> None:
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message, "details": [detail]}
    body = parse_error(json.dumps({"error": error}).encode())
    row = find_error(429, body)
    assert row is not None
    if body.window:
        assert (row.period or "") == period
    found = classify_response(429, body)
    assert isinstance(found, ProjectUnavailableError if row.period else TransientError)
