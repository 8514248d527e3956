"""The controller of slots, against a simulated service that rejects what exceeds its quota."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from eechips.client.quota.congestion import START, USUAL, CongestionController
from eechips.client.quota.process_memory import CongestionCells


@dataclass
class Simulation:
    """A client that always has more to send, and a service with a quota. Time is simulated.

    Attributes:
        quota: quota of the service, by time in seconds.
        latency: draws the seconds that a request takes.
        transit: seconds, on average, that a slot is held while the service does not have the request.
        accidents: share of requests that are rejected for no reason of ours.
        restricted: whether answers announce the restricted mode, by time.
    """

    quota: Callable[[float], int]
    latency: Callable[[random.Random], float]
    transit: float = 0.008
    accidents: float = 0.0
    start: float = 10.0
    ceiling: float = 1000.0
    free: float | None = None
    ramps: bool = True
    restricted: Callable[[float], bool] = lambda _: False
    now: float = 0.0
    held: int = 0
    serving: int = 0
    sent: int = 0
    rejected: int = 0
    busy: float = 0.0
    _events: list[tuple[float, int, str]] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.cells = CongestionCells()
        self.controller = CongestionController(self.cells)
        self.controller.begin(self.start, self.ceiling, 0.0, ramps=self.ramps, free=self.free)
        self._number = itertools.count()
        self._later(0.01, "wait")

    @property
    def limit(self) -> int:
        return int(self.cells.limit)

    def run(self, until: float) -> None:
        self._fill()
        while self._events[0][0] < until:
            at, _, kind = heapq.heappop(self._events)
            self.busy += self.serving * (at - self.now)
            self.now = at
            getattr(self, f"_{kind}")()
            self._fill()

    def mean(self, since: float, until: float) -> tuple[float, float]:
        """Mean in flight at the service, and the share of requests that it rejected."""
        self.run(since)
        busy, sent, rejected, began = self.busy, self.sent, self.rejected, self.now
        self.run(until)
        return (self.busy - busy) / (self.now - began), (self.rejected - rejected) / (self.sent - sent)

    def _fill(self) -> None:
        while self.held < self.limit:
            self.held += 1
            self._later(self.transit * self._random.uniform(0.1, 0.9), "arrive")

    def _later(self, seconds: float, kind: str) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._number), kind))

    def _wait(self) -> None:
        """More requests wait than there are permits."""
        self.controller.waited(self.held, self.now)
        self._later(0.01, "wait")

    def _arrive(self) -> None:
        self.sent += 1
        if self.serving >= self.quota(self.now) or self._random.random() < self.accidents:
            self._later(self.transit / 2.0, "reject")
        else:
            self.serving += 1
            self._later(self.latency(self._random), "leave")

    def _leave(self) -> None:
        self.serving -= 1
        self._later(self.transit * self._random.uniform(0.1, 0.9), "answer")

    def _answer(self) -> None:
        self.controller.answered(self.held, self.now, restricted=self.restricted(self.now))
        self.held -= 1

    def _reject(self) -> None:
        self.rejected += 1
        self.held -= 1
        self.controller.rejected(self.held, self.now, restricted=self.restricted(self.now))


def by_url(rng: random.Random) -> float:
    """Of the two requests of a chip, one is quick."""
    return rng.lognormvariate(-1.9, 0.5) if rng.random() < 0.5 else rng.lognormvariate(-0.1, 0.5)


def by_pixels(rng: random.Random) -> float:
    return rng.lognormvariate(0.05, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("latency", [by_url, by_pixels])
@pytest.mark.parametrize(("quota", "filled"), [(3, 0.95), (10, 0.97), (40, 0.98), (200, 0.95)])
def test_any_quota_is_filled_at_the_price_of_few_rejections(
    latency: Callable[[random.Random], float], quota: int, filled: float
) -> None:
    simulation = Simulation(lambda _: quota, latency)
    mean, share = simulation.mean(20.0, 120.0)
    assert mean >= filled * quota
    assert share < (0.03 if quota in (10, 40) else 0.06)


@pytest.mark.parametrize(
    ("latency", "transit", "most"),
    [(by_url, 0.01, 0.03), (by_pixels, 0.01, 0.03), (by_pixels, 0.05, 0.03), (by_pixels, 0.1, 0.04)],
)
@pytest.mark.parametrize("quota", [3, 5, 10, 20, 40, 100, 500])
def test_a_first_run_learns_any_quota_within_a_second_and_few_of_its_requests_are_rejected(
    latency: Callable[[random.Random], float], transit: float, most: float, quota: int
) -> None:
    """A rejection takes ``transit`` seconds, an accepted request about one."""
    simulation = Simulation(lambda _: quota, latency, transit=transit, start=START, free=USUAL)
    simulation.run(1.5)
    assert simulation.limit >= 0.9 * min(quota, 40)
    assert simulation.limit <= max(quota, 40) + 1
    assert simulation.rejected <= 12  # of the 400 requests of a small run, 3%
    while simulation.sent < 400:
        simulation.run(simulation.now + 0.1)
    assert simulation.rejected <= most * simulation.sent


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_rejections_that_have_nothing_to_do_with_the_limit_do_not_lower_it(share: float) -> None:
    simulation = Simulation(lambda _: 40, by_url, accidents=share, start=40.0, ramps=False)
    mean, _ = simulation.mean(20.0, 120.0)
    assert mean >= 0.85 * 40


def test_a_quota_that_changes_is_followed_both_ways() -> None:
    simulation = Simulation(lambda now: 10 if 30 <= now < 60 else 40, by_url)
    simulation.run(30.0)
    before = simulation.rejected
    simulation.run(45.0)
    assert 8 <= simulation.limit <= 11
    assert simulation.rejected - before < 100
    simulation.run(75.0)
    assert 38 <= simulation.limit <= 42


def test_restricted_mode_halves_the_limit_at_once_and_ends() -> None:
    simulation = Simulation(lambda _: 40, by_url, restricted=lambda now: 30 <= now < 60)
    simulation.run(29.9)
    before = simulation.limit
    simulation.run(31.0)
    assert simulation.limit <= before / 2 + 1
    simulation.run(75.0)
    assert 38 <= simulation.limit <= 42


def test_a_stray_announcement_changes_nothing() -> None:
    cells = CongestionCells()
    controller = CongestionController(cells)
    controller.begin(40.0, 40.0, 0.0, ramps=False)
    for step in range(1000):
        controller.answered(40, step * 0.01, restricted=step % 100 == 50)
    assert (cells.limit, cells.restricted) == (40.0, 0.0)


@pytest.mark.slow
def test_without_a_quota_the_limit_stays_where_more_would_bring_nothing() -> None:
    busy_until = 0.0

    def one_at_a_time(_: random.Random) -> float:
        """A service of one core: what it takes longer for is only the queue."""
        nonlocal busy_until
        busy_until = max(busy_until, simulation.now) + 0.004
        return busy_until - simulation.now

    simulation = Simulation(lambda _: 10**6, one_at_a_time, free=40.0)
    simulation.run(60.0)
    assert simulation.rejected == 0
    assert simulation.limit <= 80


@pytest.mark.slow
def test_a_prompt_service_is_not_asked_by_more_than_the_usual() -> None:
    simulation = Simulation(lambda _: 10**6, lambda rng: rng.uniform(0.01, 0.03), free=40.0)
    simulation.run(20.0)
    assert simulation.limit == 40


@pytest.mark.slow
def test_a_large_quota_is_found_by_doublings_that_pay() -> None:
    simulation = Simulation(lambda _: 1000, lambda rng: rng.lognormvariate(-1.2, 0.5), free=40.0, ceiling=2000.0)
    simulation.run(20.0)
    assert simulation.limit >= 950


def test_slots_that_are_not_used_do_not_grow() -> None:
    cells = CongestionCells()
    controller = CongestionController(cells)
    controller.begin(10.0, 100.0, 0.0, ramps=True)
    for step in range(100):
        controller.answered(3, step * 0.1, restricted=False)
    assert cells.limit == 10.0
