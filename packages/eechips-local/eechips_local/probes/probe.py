"""Probes: questions to the service, expected answers, and verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

Ask = Callable[[Any], Any]
"""Asks the service by a :class:`eechips_local.probes.probe_client.ProbeClient`, and returns the answer."""

_TOLERANCE = 1e-6  # of the value: results are computed in another order by another service


class ProbeOutcome(str, Enum):
    """What came of a probe."""

    VALUE = "value"
    ERROR = "error"
    UNANSWERED = "unanswered"


class Verdict(str, Enum):
    """What an answer says of the expectation."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    ANSWERED = "answered"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the service has answered.

    Attributes:
        outcome: a value, an error of the request, or none of both (credentials, quota, network).
        status: status of the last response, 0 without one.
        value: JSON; descriptions of files instead of their content.
        message: message of the error, whole.
        received: bytes of the responses.
        seconds: from the first request to the last response.
        eecu_seconds: compute that the service reports; None if it reports none.
    """

    outcome: ProbeOutcome
    status: int = 0
    value: Any = None
    message: str = ""
    requests: int = 0
    received: int = 0
    seconds: float = 0.0
    eecu_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ExpectedResult:
    """The expected class of an answer.

    Attributes:
        outcome: outcome of the answer; None for an open question, whose answer is only recorded.
        value: value that is expected, a dictionary by those of its keys that it has here; None for any.
        pattern: regular expression that the error's message matches somewhere.
    """

    outcome: ProbeOutcome | None
    value: Any = None
    pattern: str = ""

    def judge(self, answer: ProbeResult) -> Verdict:
        """Return what an answer says of the expectation."""
        if answer.outcome is ProbeOutcome.UNANSWERED:
            return Verdict.UNANSWERED
        if self.outcome is None:
            return Verdict.ANSWERED
        holds = answer.outcome is self.outcome and (
            re.search(self.pattern, answer.message) is not None
            if self.outcome is ProbeOutcome.ERROR
            else self.value is None or _is_equal(self.value, answer.value)
        )
        return Verdict.CONFIRMED if holds else Verdict.CONTRADICTED

    def describe(self) -> str:
        """Return the expectation in words."""
        if self.outcome is None:
            return "open"
        if self.outcome is ProbeOutcome.ERROR:
            return f"error: {self.pattern}" if self.pattern else "an error"
        return "a value" if self.value is None else f"value: {self.value}"


OPEN = ExpectedResult(None)
"""Nobody knows the answer yet."""

ANY_VALUE = ExpectedResult(ProbeOutcome.VALUE)
"""An answer without an error."""


def value(expected: Any) -> ExpectedResult:
    """Expect a value; numbers within a millionth of it."""
    return ExpectedResult(ProbeOutcome.VALUE, expected)


def error(pattern: str = "") -> ExpectedResult:
    """Expect an error whose message matches a regular expression."""
    return ExpectedResult(ProbeOutcome.ERROR, pattern=pattern)


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to the service.

    Attributes:
        name: unique, such as ``types/constant-first``; the part before the slash is the group.
        question: in words; a question mark ends it.
        fact: key of the fact that the answer settles; see :mod:`eechips_local.probes.statements`.
        ask: sends the requests, and returns the answer as JSON; errors of the service pass through.
        expected: class of the answer.
        needs_consent: whether it writes something to the user's project.
        is_replayed: whether a recording has its requests; it has no profiles and no exports.
    """

    name: str
    question: str
    fact: str
    ask: Ask
    expected: ExpectedResult = OPEN
    needs_consent: bool = False
    is_replayed: bool = True


Build = Callable[[Any], Any]
"""Returns an object of the client; its argument is the module ``ee``."""


def info(build: Build) -> Ask:
    """Ask for an object by ``getInfo``."""
    return lambda client: build(client.ee).getInfo()


def first(build: Build) -> Ask:
    """Ask for the values of an image in one pixel, by ``reduceRegion``."""

    def ask(client: Any) -> Any:
        ee = client.ee
        place = ee.Geometry.Point([500005, 4400005], "EPSG:32613")
        return build(ee).reduceRegion(ee.Reducer.first(), place, 10, "EPSG:32613").getInfo()

    return ask


def _is_equal(expected: Any, actual: Any) -> bool:
    """Return whether a value has all that is expected of it."""
    if isinstance(expected, Mapping):
        return isinstance(actual, Mapping) and all(
            name in actual and _is_equal(item, actual[name]) for name, item in expected.items()
        )
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(actual, (list, tuple)) and len(expected) == len(actual) and all(map(_is_equal, expected, actual))
        )
    if isinstance(expected, bool) or not isinstance(expected, (int, float)):
        return bool(expected == actual) and isinstance(expected, bool) == isinstance(actual, bool)
    is_number = isinstance(actual, (int, float)) and not isinstance(actual, bool)
    return is_number and math.isclose(expected, actual, rel_tol=_TOLERANCE, abs_tol=1e-9)
