"""Messages of Earth Engine and of Google's API gateway as users have reported them, each with its source.

``service_messages.csv`` has the row of the table that a message is to match, the HTTP status where the source tells it,
the message with … for what the source leaves out, and the source: an issue as ``owner/repository#number``, a page, or
the number of a file in an index of public code.
"""

from __future__ import annotations

import csv
import itertools
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from eechips.client.http.http_messages import HttpRequest, Timeouts
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.client.service_errors import SERVICE_ERRORS, find_error
from eechips.client.service_errors.error_row import ErrorAction, ErrorBody, ServiceError
from eechips.errors import EechipsError, PermanentError, TooLargeError, TransientError
from local_tests.support.function_server import Answer, serve_function
from tests.client.test_service_errors import CLASSES

ROWS: Mapping[str, ServiceError] = {row.name: row for row in SERVICE_ERRORS}
STATUSES = (400, 403, 429, 500)
"""Under which a message is tried if its source does not tell the status."""
ONLY_BAD_REQUEST = ("expression",)
"""Rows that any function of Earth Engine may match, and hence the status must agree."""


@dataclass(frozen=True)
class Message:
    """A message.

    Attributes:
        row: name of the row.
        status: status of HTTP; None if the source does not tell.
        text: text of the message.
        source: where it was reported.
    """

    row: str
    status: int | None
    text: str
    source: str

    @property
    def statuses(self) -> tuple[int, ...]:
        if self.status is not None:
            return (self.status,)
        return (400,) if self.row in ONLY_BAD_REQUEST else STATUSES


def read_messages() -> list[Message]:
    with (Path(__file__).parent / "service_messages.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return [Message(x["row"], int(x["status"]) if x["status"] else None, x["message"], x["source"]) for x in lines]


MESSAGES = read_messages()
CASES = [(message, status) for message in MESSAGES for status in message.statuses]


@dataclass(frozen=True)
class Service:
    """A server that answers each path with the message of that number."""

    transport: Transport
    url: str
    received: Counter[int]

    def ask(self, case: int) -> tuple[EechipsError, int]:
        """Return the error of a request for a case, and how often it was sent."""
        before = self.received[case]
        with pytest.raises(EechipsError) as caught:
            self.transport.post(HttpRequest("POST", f"{self.url}/{case}", "{}", {}), lambda body: body)
        return caught.value, self.received[case] - before


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    received: Counter[int] = Counter()

    def answer(path: str, _: Mapping[str, str], __: bytes) -> Answer:
        number = int(path.strip("/"))
        received[number] += 1
        message, status = CASES[number]
        body = json.dumps({"error": {"code": status, "message": message.text}}).encode()
        return status, {"Content-Type": "application/json"}, body

    ticks = itertools.count()
    with serve_function(answer) as url:
        quota = Throttle(multiprocessing.get_context(), QuotaLimits(in_flight=1, start=1), clients=1).client(0)
        policy = RetryPolicy(retries=3, delay=0.0001, max_delay=0.001, total=8.0)
        transport = Transport(url, quota, policy, Timeouts(), clock=lambda: float(next(ticks)))
        yield Service(transport, url, received)
        transport.close()


def test_there_are_150_messages_with_their_sources() -> None:
    assert len({message.text for message in MESSAGES}) == len(MESSAGES) >= 150
    assert all(message.source for message in MESSAGES)
    assert {message.row for message in MESSAGES} <= set(ROWS)


def test_a_message_matches_its_row_under_any_status() -> None:
    for message, status in CASES:
        found = find_error(status, ErrorBody(message.text))
        assert found is not None, (status, message)
        assert found.name == message.row, (status, message)


@pytest.mark.slow
def test_each_message_has_its_class_and_is_sent_again_only_as_often_as_that_helps(service: Service) -> None:
    """None that passes is permanent; none that does not is repeated more often than a split needs."""
    for number, (message, status) in enumerate(CASES):
        row = ROWS[message.row]
        error, requests = service.ask(number)
        seen = f"HTTP {status}: {message.text} -> {type(error).__name__}, {requests} requests"
        assert type(error) is CLASSES[row.kind], seen
        if isinstance(error, TransientError):
            assert requests > 2, seen
        elif isinstance(error, TooLargeError):
            assert requests == 1 + row.repeats <= 2, seen
        else:
            assert requests == 1, seen


@pytest.mark.parametrize("row", [row for row in SERVICE_ERRORS if row.kind is ErrorAction.PERMANENT])
def test_a_fault_of_the_data_says_what_helps(row: ServiceError, service: Service) -> None:
    number = next((n for n, (message, _) in enumerate(CASES) if message.row == row.name), None)
    assert number is not None, f"service_messages.csv has no message for {row.name!r}"
    error, _ = service.ask(number)
    assert isinstance(error, PermanentError)
    assert error.fault == row.name
    assert str(error).endswith(f". What helps: {row.cure}.") if row.cure else "What helps" not in str(error)
