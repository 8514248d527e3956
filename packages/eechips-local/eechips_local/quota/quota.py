"""Enforce a project's quota of requests (concurrency, rate, a minute; HTTP 429), and count requests."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from eechips_local.protocol.field_checks import checked_fields
from eechips_local.protocol.request_errors import EarthEngineError

REJECTION = "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."
"""Earth Engine's message with HTTP 429."""

RESTRICTED: Mapping[str, str] = {"x-earth-engine-quota-status": "parallelism_restricted=true"}
"""Header of every response to a project in restricted mode (its EECU-hours of the month are used up)."""


class TooManyRequestsError(EarthEngineError):
    """The quota is exceeded (HTTP 429)."""

    code = 429
    status = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """The limits of a project: https://developers.google.com/earth-engine/guides/usage, read 2026-11.

    Attributes:
        concurrency: requests in flight, None for any number.
        rate: requests a second, None for any number.
        minute: requests a minute, counted anew each minute; None for any number, ``auto`` for 60 times the rate.
        restricted: whether responses say that the project is in restricted mode. How many requests that leaves in
            flight is up to ``concurrency``: Earth Engine does not publish it.
        eecu_hours: compute a month, in EECU-hours; None for any amount.
    """

    concurrency: int | None = 40
    rate: float | None = 100.0
    minute: int | Literal["auto"] | None = "auto"
    restricted: bool = False
    eecu_hours: float | None = None

    @property
    def most_a_minute(self) -> float:
        """``minute`` as a number; infinite for any number."""
        if self.minute == "auto":
            return math.inf if self.rate is None else 60.0 * self.rate
        return math.inf if self.minute is None else self.minute

    def changed(self, settings: Any) -> QuotaConfig:
        """Return a copy with what JSON says: ``{"concurrency": 10, "rate": null, "restricted": true}``; the rest stays
        as it is.

        Raises:
            InvalidError: if it is malformed.
        """
        return replace(self, **checked_fields(settings, _CHECKS, "quota"))


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "concurrency": lambda v: v is None or _count(v),
    "rate": lambda v: v is None or _count(v) or (isinstance(v, float) and 0 < v < math.inf),
    "minute": lambda v: v is None or v == "auto" or _count(v),
    "restricted": lambda v: isinstance(v, bool),
    "eecu_hours": lambda v: v is None or _count(v) or (isinstance(v, float) and 0 < v < math.inf),
}


@dataclass(slots=True)
class QuotaStatistics:
    """Counts of the server's requests so far.

    Attributes:
        requests: count by kind.
        answers: responses by kind and status, counted when they are ready to be sent.
        rejected: requests that the quota rejected, by the limit: concurrency, rate or minute.
        peak: most requests in flight at once.
        in_flight: now; from the request's head until the last byte of the response is sent.
        busy: seconds spent in flight, of all requests together, until the last change. Between two moments, its
            difference divided by the time is the mean in flight.
    """

    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    in_flight: int = 0
    busy: float = 0.0
    _since: float | None = None
    _first: float | None = None

    def change(self, by: int, now: float) -> None:
        """Count a request that comes (1) or goes (-1)."""
        if self._first is None:
            self._first = now
        self._advance(now)
        self.in_flight += by
        self.peak = max(self.peak, self.in_flight)

    def _advance(self, now: float) -> None:
        if self._since is not None:
            self.busy += self.in_flight * (now - self._since)
        self._since = now

    def report(self, now: float) -> dict[str, Any]:
        """Return the figures as JSON. The mean in flight is over the time since the first request.

        Args:
            now: seconds on the clock of :meth:`change`; they come along as ``time``.
        """
        if self._first is not None:
            self._advance(now)
        span = now - (now if self._first is None else self._first)
        statuses: Counter[int] = Counter()
        answers: dict[str, dict[str, int]] = {}
        for (kind, status), count in sorted(self.answers.items()):
            statuses[status] += count
            answers.setdefault(kind, {})[str(status)] = count
        return {
            "time": now,
            "requests": dict(sorted(self.requests.items())),
            "statuses": {str(k): v for k, v in sorted(statuses.items())},
            "answers": answers,
            "rejected": {name: self.rejected[name] for name in ("concurrency", "rate", "minute")},
            "in_flight": {
                "now": self.in_flight,
                "peak": self.peak,
                "mean": self.busy / span if span > 0 else 0.0,
                "busy": self.busy,
            },
        }


class Quota:
    """Admits requests, or rejects them.

    The limits are checked in the order minute, rate, concurrency. As with Google's rate quotas, a request that
    exceeds a rate does not count against it; one that exceeds the concurrency counts against both rates.

    Attributes:
        config: the limits; may be replaced at any time. Requests in flight beyond a new limit finish normally.
        statistics: counts of requests.
    """

    def __init__(self, config: QuotaConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.statistics = QuotaStatistics()
        self._clock = clock
        self._tokens = math.inf  # as many as the rate allows at first
        self._filled = clock()
        self._minute = -math.inf
        self._in_minute = 0

    def enter(self, kind: str) -> None:
        """Take a place in flight, until :meth:`leave`.

        Raises:
            TooManyRequestsError: if there is none, or too many came this second or minute.
        """
        self.statistics.requests[kind] += 1
        now = self._clock()
        reached = self._limit_reached(now)
        if reached is not None:
            self.statistics.rejected[reached] += 1
            raise TooManyRequestsError(REJECTION)
        self.statistics.change(1, now)

    def leave(self) -> None:
        """Return a place back."""
        self.statistics.change(-1, self._clock())

    def report(self) -> dict[str, Any]:
        """Return the statistics and the limits, as JSON."""
        return {**self.statistics.report(self._clock()), "quota": asdict(self.config)}

    def _limit_reached(self, now: float) -> str | None:
        """Return the first limit that a request would exceed; it uses up some of the rates otherwise."""
        config = self.config
        if now - self._minute >= 60.0:
            self._minute, self._in_minute = now, 0
        if self._in_minute >= config.most_a_minute:
            return "minute"
        if config.rate is not None:
            # A second's worth of tokens, filled up at the rate; one at least, for rates below one.
            capacity = max(1.0, config.rate)
            self._tokens = min(capacity, self._tokens + (now - self._filled) * config.rate)
            self._filled = now
            if self._tokens < 1.0:
                return "rate"
            self._tokens -= 1.0
        self._in_minute += 1
        if config.concurrency is not None and self.statistics.in_flight >= config.concurrency:
            return "concurrency"
        return None
