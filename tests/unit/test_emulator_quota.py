"""Quota, latency, fault plans and the names of results, with a clock of the test's own."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.emulator.errors import InvalidError, NotFoundError
from eechips.emulator.faults import FaultPlan
from eechips.emulator.protocol.service import Names
from eechips.emulator.quota import Latency, Quota, QuotaConfig, TooManyRequestsError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_so_many_in_flight_and_no_more() -> None:
    quota = Quota(QuotaConfig(concurrency=2, rate=None), Clock())
    with (
        quota.admitted("a"),
        quota.admitted("b"),
        pytest.raises(TooManyRequestsError, match="Too Many Requests"),
        quota.admitted("c"),
    ):
        pass
    with quota.admitted("c"):
        pass
    assert quota.statistics.report()["requests"] == {"a": 1, "b": 1, "c": 2}
    assert quota.statistics.report()["in_flight"]["peak"] == 2


def test_a_place_is_given_back_when_a_request_fails() -> None:
    quota = Quota(QuotaConfig(concurrency=1, rate=None), Clock())
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), quota.admitted("a"):
            raise ValueError("x")
    assert quota.statistics.report()["in_flight"]["now"] == 0


@given(st.lists(st.floats(0.001, 0.2), min_size=50, max_size=200))
def test_never_more_than_the_rate_allows(pauses: list[float]) -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(concurrency=None, rate=10), clock)
    start, admitted = clock.now, 0
    for pause in pauses:
        clock.now += pause
        try:
            with quota.admitted("a"):
                admitted += 1
        except TooManyRequestsError:
            pass
    assert admitted <= 10 + 10 * (clock.now - start) + 1e-6
    assert admitted >= min(len(pauses), 10)


def test_the_mean_in_flight_is_over_time() -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(None, None), clock)
    with quota.admitted("a"):
        clock.now += 3
        with quota.admitted("a"):
            clock.now += 1
    assert quota.statistics.report()["in_flight"]["mean"] == pytest.approx((3 * 1 + 1 * 2) / 4)


def test_latency_has_the_median_asked_for_and_a_seed() -> None:
    latency = Latency.parse("lognormal:0.9,0.5")
    drawn = [latency.draw() for _ in range(4001)]
    assert statistics.median(drawn) == pytest.approx(0.9, rel=0.05)
    again = Latency.parse("lognormal:0.9,0.5")
    assert drawn[:5] == [again.draw() for _ in range(5)]
    assert Latency.parse("0.25").draw() == pytest.approx(0.25)


def test_a_plan_strikes_as_often_as_it_says() -> None:
    plan = FaultPlan.parse(
        {"seed": 1, "faults": [{"type": "reject", "on": "thumbnails:*", "times": 2, "after": 1}, {"type": "gzip"}]}
    )
    kinds = ["thumbnails:create", "value:compute", "thumbnails:create", "thumbnails:getPixels", "thumbnails:getPixels"]
    struck = [fault.type if fault else None for fault in map(plan.strike, kinds)]
    assert struck == ["gzip", "gzip", "reject", "reject", "gzip"]
    report = plan.report()
    assert [(row["seen"], row["struck"]) for row in report["faults"]] == [(4, 2), (3, 3)]
    assert report["consumed"]


@pytest.mark.parametrize(
    "wrong",
    [[], {}, {"faults": 1}, {"faults": [1]}, {"faults": [{"type": "status", "status": 200}]},
     {"faults": [], "seed": "x"}, {"faults": [{"probability": 1}]},
     {"faults": [{"type": "reject", "times": -1}]}, {"faults": [{"type": "stall", "seconds": "x"}]},
     {"faults": [{"type": "reject", "probability": None}]}, {"faults": [{"type": "gzip", "on": 3}]},
     {"faults": [{"type": ["gzip"]}]}, {"faults": [{"type": "stall", "seconds": float("nan")}]}],
)  # fmt: skip
def test_malformed_plans(wrong: object) -> None:
    with pytest.raises(InvalidError):
        FaultPlan.parse(wrong)


def test_names_live_three_hours() -> None:
    clock = Clock()
    names = Names(clock)
    name = names.create("projects/p", "thumbnails", b'{"a": 1}')
    assert name.startswith("projects/p/thumbnails/")
    clock.now += 3 * 3600 - 1
    assert names.find(name) == b'{"a": 1}'
    clock.now += 2
    with pytest.raises(NotFoundError):
        names.find(name)


def test_names_take_no_more_memory_than_allowed() -> None:
    clock = Clock()
    names = Names(clock, most=20_000)
    made = [names.create("projects/p", "tables", bytes(str(n), "ascii") * 100) for n in range(500)]
    assert names._size <= 20_000
    assert names.find(made[-1]) == b"499" * 100
    with pytest.raises(NotFoundError):
        names.find(made[0])
    clock.now += 4 * 3600
    last = names.create("projects/p", "tables", b"x")
    assert list(names._kept) == [last]
