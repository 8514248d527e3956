"""Send a few trivial requests to the service, to learn whether and how it answers."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from eechips.client.access.access_token import Authorizer
from eechips.client.access.connection import ServiceTarget
from eechips.client.error_classification import classify_exception, classify_response, parse_error
from eechips.client.http.http_sessions import check_proxy
from eechips.errors import EechipsError, PermanentError
from eechips.storage.untrusted_files import parse_json
from eechips.text.timestamps import parse_http_date, present
from eechips.web.redaction import redact
from eechips.web.retry_after import parse_retry_after
from eechips.web.urls import is_loopback

REQUESTS = 3
_CONNECT_TIMEOUT, _READ_TIMEOUT = 10.0, 30.0  # seconds
_EXPRESSION = {"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}}


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to a request.

    Attributes:
        headers: names in lower case.
        seconds: from sending the request to the end of the response.
        local: time of this machine, half-way between both.
        error: error of the service, or of the connection.
    """

    headers: Mapping[str, str]
    seconds: float
    local: datetime
    error: EechipsError | None = None
    status: int | None = None

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the server's; None if the response has no date."""
        date = parse_http_date(self.headers.get("date", ""))
        if date is None:
            return None
        half_a_second = timedelta(seconds=0.5)  # the header is cut to whole seconds
        return (self.local - date.replace(tzinfo=timezone.utc) - half_a_second).total_seconds()  # it is always in UTC


def send_trials(target: ServiceTarget, now: Callable[[], datetime] = present) -> list[Answer]:
    """Send the same small request several times, up to the first error.

    Args:
        target: service and credentials; without a project, the API description is requested, which needs no account.
        now: the present time, UTC.

    Returns:
        The answers; at least one.

    Raises:
        ConfigurationError: if the environment names a proxy that cannot be used.
    """
    import requests

    if not is_loopback(target.endpoint):
        check_proxy(target.endpoint)
    answers: list[Answer] = []
    with requests.Session() as session:
        session.trust_env = not is_loopback(target.endpoint)  # proxies
        session.auth = _unchanged  # else a password in ~/.netrc would replace the token
        while len(answers) < REQUESTS and not (answers and answers[-1].error):
            answers.append(_exchange(session, target, now))
    return answers


def _exchange(session: Any, target: ServiceTarget, now: Callable[[], datetime]) -> Answer:
    """Send a request once; errors are part of the answer."""
    headers: dict[str, str] = {}
    method, url, body = "GET", f"{target.endpoint}/$discovery/rest?version=v1", None
    if target.project:
        method, url = "POST", f"{target.endpoint}/v1/projects/{target.project}/value:compute"
        body, headers = json.dumps(_EXPRESSION), {"content-type": "application/json"}
        if target.credentials is not None:
            headers["x-goog-user-project"] = target.project
    sent, began = now(), time.monotonic()
    send = functools.partial(session.request, timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT), allow_redirects=False)
    try:
        if target.credentials is not None:  # it has a token
            Authorizer(target.credentials).authorize(headers)
        response = send(method, url, data=body, headers=headers)
    except Exception as raised:  # what the network raises is the finding; all else is raised again
        classified = classify_exception(raised)
        if classified is None:
            raise
        return Answer({}, time.monotonic() - began, sent, classified)
    seconds = time.monotonic() - began
    fields = {name.lower(): value for name, value in response.headers.items()}
    error = _error_of(response.status_code, response.content, fields, describes=not target.project)
    return Answer(fields, seconds, sent + timedelta(seconds=seconds / 2), error, response.status_code)


def _unchanged(request: Any) -> Any:
    return request


def _error_of(status: int, body: bytes, headers: Mapping[str, str], *, describes: bool) -> EechipsError | None:
    if not 200 <= status < 300:
        return classify_response(status, parse_error(body, headers.get("content-type", "")), parse_retry_after(headers))
    try:
        content = parse_json(body)
    except ValueError:
        content = None
    if not isinstance(content, dict) or ("resources" if describes else "result") not in content:
        return PermanentError(f"an answer it cannot have written: {redact(body[:80].decode(errors='replace'))!r}")
    return None
