"""The quota of a project: requests in flight and requests a second."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from eechips.emulator.errors import EarthEngineError

REJECTION = "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."
"""What Earth Engine says with 429."""


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
    """

    concurrency: int | None = 40
    rate: float | None = 100.0


@dataclass(slots=True)
class Statistics:
    """What was asked of the server so far.

    Attributes:
        requests: by kind.
        statuses: of the responses.
        peak: most requests in flight at once.
    """

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    peak: int = 0
    in_flight: int = 0
    busy: float = 0.0
    _since: float | None = None
    _first: float | None = None

    def change(self, by: int, now: float) -> None:
        """Counts a request that comes (1) or goes (-1)."""
        if self._first is None:
            self._first = now
        if self._since is not None:
            self.busy += self.in_flight * (now - self._since)
        self._since = now
        self.in_flight += by
        self.peak = max(self.peak, self.in_flight)

    def report(self) -> dict[str, Any]:
        """The figures as JSON. The mean in flight is over the time from the first to the last change."""
        span = (self._since or 0.0) - (self._first or 0.0)
        return {
            "requests": dict(sorted(self.requests.items())),
            "statuses": {str(k): v for k, v in sorted(self.statuses.items())},
            "in_flight": {"now": self.in_flight, "peak": self.peak, "mean": self.busy / span if span > 0 else 0.0},
        }


class Quota:
    """Lets requests in, or turns them away."""

    def __init__(self, config: QuotaConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._tokens = config.rate or 0.0
        self._filled = clock()
        self.statistics = Statistics()

    @contextmanager
    def admitted(self, kind: str) -> Iterator[None]:
        """Holds a place in flight while the request lasts.

        Raises:
            TooManyRequestsError: if there is none, or too many came this second.
        """
        self.statistics.requests[kind] += 1
        if not self._take() or self._full():
            raise TooManyRequestsError(REJECTION)
        self.statistics.change(1, self._clock())
        try:
            yield
        finally:
            self.statistics.change(-1, self._clock())

    def _full(self) -> bool:
        return self._config.concurrency is not None and self.statistics.in_flight >= self._config.concurrency

    def _take(self) -> bool:
        """Takes one of the tokens, which fill up at the rate, to as many as a second gives."""
        rate = self._config.rate
        if rate is None:
            return True
        now = self._clock()
        self._tokens = min(rate, self._tokens + (now - self._filled) * rate)
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Latency:
    """Extra seconds before each answer, drawn from a lognormal distribution with a seed."""

    def __init__(self, median: float, sigma: float, seed: int = 0) -> None:
        if not (0 < median < math.inf and 0 <= sigma < math.inf):
            raise ValueError("the median must be positive, and sigma not negative")
        self._mu, self._sigma = math.log(median), sigma
        self._random = random.Random(seed)

    @classmethod
    def parse(cls, text: str) -> Latency:
        """From "lognormal:MEDIAN,SIGMA" in seconds, or a plain number of seconds.

        Raises:
            ValueError: for any other text.
        """
        name, _, numbers = text.partition(":")
        if not numbers:
            return cls(float(name), 0.0)
        if name != "lognormal":
            raise ValueError(f"Unknown distribution: {name!r}; use lognormal:MEDIAN,SIGMA.")
        median, sigma = (float(n) for n in numbers.split(","))
        return cls(median, sigma)

    def draw(self) -> float:
        """The next number of seconds."""
        return self._random.lognormvariate(self._mu, self._sigma)
