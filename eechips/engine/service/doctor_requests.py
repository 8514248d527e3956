"""Send a few trivial requests for ``eechips doctor``, to learn whether and how fast the service answers, and by which
clock.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from eechips.client.access.access_token import Authorizer
from eechips.client.access.connection import ServiceTarget
from eechips.client.http.connection_pool import ConnectionPool
from eechips.client.http.http_messages import HttpRequest, HttpResponse, Timeouts
from eechips.client.quota.permits import Permit
from eechips.errors import EechipsError, PermanentError
from eechips.text.timestamps import parse_http_date, present
from eechips.web.redaction import redact

REQUESTS = 3
_TIMEOUTS = Timeouts(connect=10.0, read=30.0, total=60.0)
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
    answers: list[Answer] = []
    with contextlib.closing(ConnectionPool(target.endpoint)) as pool:
        while len(answers) < REQUESTS and not (answers and answers[-1].error):
            answers.append(_exchange(pool, target, now))
    return answers


def _exchange(pool: ConnectionPool, target: ServiceTarget, now: Callable[[], datetime]) -> Answer:
    """Send a request once; errors are part of the answer."""
    headers: dict[str, str] = {}
    method, url, body = "GET", f"{target.endpoint}/$discovery/rest?version=v1", None
    if target.project:
        method, url = "POST", f"{target.endpoint}/v1/projects/{target.project}/value:compute"
        body, headers = json.dumps(_EXPRESSION), {"content-type": "application/json"}
        if target.credentials is not None:
            headers["x-goog-user-project"] = target.project
    sent, began = now(), time.monotonic()
    try:
        if target.credentials is not None:  # it has a token
            Authorizer(target.credentials).authorize(headers)
        response = pool.exchange(HttpRequest(method, url, body, headers), _TIMEOUTS, Permit())
    except EechipsError as raised:
        return Answer({}, time.monotonic() - began, sent, raised)
    seconds = time.monotonic() - began
    error = response.error or _find_fault(response, url)
    return Answer(response.headers, seconds, sent + timedelta(seconds=seconds / 2), error, response.status)


def _find_fault(response: HttpResponse, url: str) -> EechipsError | None:
    """Return an error if the service cannot have written a response."""
    try:
        response.decoded().refuse_fragment(url)
    except EechipsError:
        return PermanentError(
            f"an answer it cannot have written: {redact(response.body[:80].decode(errors='replace'))!r}"
        )
    return None
