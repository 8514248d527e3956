"""Quota, latency, fault plans and the names of results, with a clock of the test's own."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.protocol.fault_plan import FaultPlan
from eechips_local.protocol.request_errors import InvalidError, NotFoundError
from eechips_local.protocol.service import ResultNames
from eechips_local.quota.latency import Latency
from eechips_local.quota.quota import Quota, QuotaConfig, TooManyRequestsError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def admitted(quota: Quota, kind: str) -> Iterator[None]:
    quota.enter(kind)
    try:
        yield
    finally:
        quota.leave()


def test_requests_in_flight_are_limited() -> None:
    quota = Quota(QuotaConfig(concurrency=2, rate=None), Clock())
    with (
        admitted(quota, "a"),
        admitted(quota, "b"),
        pytest.raises(TooManyRequestsError, match="Too Many Requests"),
        admitted(quota, "c"),
    ):
        pass
    with admitted(quota, "c"):
        pass
    report = quota.report()
    assert report["requests"] == {"a": 1, "b": 1, "c": 2}
    assert report["rejected"] == {"concurrency": 1, "rate": 0, "minute": 0}
    assert report["in_flight"]["peak"] == 2


def test_a_place_is_given_back_when_a_request_fails() -> None:
    quota = Quota(QuotaConfig(concurrency=1, rate=None), Clock())
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), admitted(quota, "a"):
            raise ValueError("x")
    assert quota.report()["in_flight"]["now"] == 0


@given(st.lists(st.floats(0.001, 0.2), min_size=50, max_size=200))
def test_never_more_than_the_rate_allows(pauses: list[float]) -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(concurrency=None, rate=10), clock)
    start, count = clock.now, 0
    for pause in pauses:
        clock.now += pause
        try:
            with admitted(quota, "a"):
                count += 1
        except TooManyRequestsError:
            pass
    assert count <= 10 + 10 * (clock.now - start) + 1e-6
    assert count >= min(len(pauses), 10)


def test_the_mean_in_flight_is_over_time() -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(None, None), clock)
    with admitted(quota, "a"):
        clock.now += 3
        with admitted(quota, "a"):
            clock.now += 1
    assert quota.report()["in_flight"]["mean"] == pytest.approx((3 * 1 + 1 * 2) / 4)


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=2, max_size=60), st.integers(0, 58))
def test_the_mean_between_two_looks_is_the_integral_s_difference(steps: list[tuple[float, bool]], at: int) -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(None, None), clock)
    first, by_hand, in_flight = quota.report(), 0.0, 0
    for number, (pause, comes) in enumerate(steps):
        clock.now += pause
        by_hand += in_flight * pause
        if number == min(at, len(steps) - 1):
            first, by_hand = quota.report(), 0.0
        if comes or not in_flight:
            quota.enter("a")
            in_flight += 1
        else:
            quota.leave()
            in_flight -= 1
    clock.now += 1.5
    by_hand += in_flight * 1.5
    last = quota.report()
    assert last["in_flight"]["now"] == in_flight
    assert last["in_flight"]["busy"] - first["in_flight"]["busy"] == pytest.approx(by_hand, abs=1e-9)


def test_a_minute_has_its_own_limit() -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(concurrency=None, rate=None, minute=5), clock)
    for _ in range(5):
        quota.enter("a")
    clock.now += 59.9
    with pytest.raises(TooManyRequestsError):
        quota.enter("a")
    clock.now += 0.1
    quota.enter("a")
    assert quota.report()["rejected"] == {"concurrency": 0, "rate": 0, "minute": 1}
    assert QuotaConfig().most_a_minute == 6000
    assert QuotaConfig(rate=None).most_a_minute == math.inf


def test_rejected_requests_do_not_use_the_rate() -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(concurrency=1, rate=2), clock)
    quota.enter("a")
    for rejected in (0, 1, 2):
        with pytest.raises(TooManyRequestsError):
            quota.enter("a")
        assert quota.report()["rejected"] == {"concurrency": 1, "rate": rejected, "minute": 0}
    quota.leave()
    clock.now += 0.5
    quota.enter("a")


def test_limits_change_under_way() -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(concurrency=2, rate=None), clock)
    quota.enter("a")
    quota.enter("a")
    quota.config = quota.config.changed({"concurrency": 1, "restricted": True})
    quota.leave()
    with pytest.raises(TooManyRequestsError):
        quota.enter("a")
    quota.config = quota.config.changed({"concurrency": None, "rate": 10})
    for _ in range(10):
        quota.enter("a")
    with pytest.raises(TooManyRequestsError):
        quota.enter("a")
    assert quota.report()["quota"] == {
        "concurrency": None,
        "rate": 10,
        "minute": "auto",
        "restricted": True,
        "eecu_hours": None,
    }


@pytest.mark.parametrize(
    "wrong",
    [[], {"concurrency": 0}, {"concurrency": 1.5}, {"rate": -1}, {"rate": "fast"}, {"rate": float("nan")},
     {"restricted": 1}, {"minute": 0}, {"speed": 1}, {"concurrency": True}],
)  # fmt: skip
def test_malformed_quotas(wrong: object) -> None:
    with pytest.raises(InvalidError):
        QuotaConfig().changed(wrong)


def test_latency_has_the_median_asked_for_and_a_seed() -> None:
    latency = Latency.parse("lognormal:0.9,0.5")
    drawn = [latency.draw("a") for _ in range(4001)]
    assert statistics.median(drawn) == pytest.approx(0.9, rel=0.05)
    again = Latency.parse("lognormal:0.9,0.5")
    assert drawn[:5] == [again.draw("b") for _ in range(5)]
    assert Latency.parse("0.25").draw("a") == pytest.approx(0.25)


def test_latency_by_kind() -> None:
    latency = Latency.parse("thumbnails:create=0.15; thumbnails:*=lognormal:0.9,0 ;value:compute=2")
    drawn = [latency.draw(k) for k in ("thumbnails:create", "thumbnails:getPixels", "value:compute", "algorithms")]
    assert drawn == pytest.approx([0.15, 0.9, 2, 0])
    assert str(Latency.parse("a=lognormal:1,0.5;3")) == "a=lognormal:1,0.5;*=3"
    for wrong in ("", "=1", "a=", "a=1;", "a=lognormal:1", "normal:1,2", "a=-1"):
        with pytest.raises(ValueError, match=r".+"):
            Latency.parse(wrong)


def test_latency_by_the_size_of_a_response() -> None:
    latency = Latency.parse("image:*=0.5+4mp+0.1band+0.25mb;thumbnails:*=1+64mp^2;2")
    million = 1 << 20
    assert [latency.draw(kind) for kind in ("image:computePixels", "thumbnails:getPixels")] == pytest.approx([0.5, 1])
    assert latency.of_size("image:computePixels", million // 2, 3, 2 * million) == pytest.approx(2.8)
    assert latency.of_size("thumbnails:getPixels", million // 8, 3, million) == pytest.approx(1)
    assert [latency.of_size(*size) for size in (("value:compute", million, 1, 1), ("image:x", 0, 0, 1))] == [0, 0]
    assert str(latency) == "image:*=0.5+4mp+0.1band+0.25mb;thumbnails:*=1+64mp^2;*=2"
    for wrong in ("1+", "1+4", "1+4mpx", "1+-4mp", "4mp", "1+4band^2", "1+4mb^2"):
        with pytest.raises(ValueError, match=r".+"):
            Latency.parse(wrong)


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
    names = ResultNames(clock)
    name = names.create("projects/p", "thumbnails", b'{"a": 1}')
    assert name.startswith("projects/p/thumbnails/")
    clock.now += 3 * 3600 - 1
    assert names.find(name) == (b'{"a": 1}', None)
    clock.now += 2
    with pytest.raises(NotFoundError):
        names.find(name)


def test_memory_of_result_names_is_limited() -> None:
    clock = Clock()
    names = ResultNames(clock, most=20_000)
    made = [names.create("projects/p", "tables", bytes(str(n), "ascii") * 100) for n in range(500)]
    assert names._size <= 20_000
    assert names.find(made[-1]) == (b"499" * 100, None)
    with pytest.raises(NotFoundError):
        names.find(made[0])
    clock.now += 4 * 3600
    last = names.create("projects/p", "tables", b"x")
    assert list(names._kept) == [last]
