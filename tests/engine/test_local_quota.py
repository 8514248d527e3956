"""A worker's share of the quota: slots that are lent to it, and fewer while the service rejects requests."""

from __future__ import annotations

import contextlib
import multiprocessing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import LocalQuota, Throttle


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def throttle_of(clock: Clock) -> Throttle:
    context = multiprocessing.get_context("spawn")
    return Throttle(context, QuotaLimits(in_flight=1, start=1), clients=1, clock=clock)


def ask(throttle: Throttle, *, rejected: bool = False, restricted: bool = False) -> None:
    """One request while all other slots are in use, and its answer."""
    quota = throttle.client(0)
    with contextlib.ExitStack() as others:
        for _ in range(throttle.limit - 1):
            others.enter_context(quota.permit())
        with quota.permit() as permit:
            permit.status, permit.is_restricted = 429 if rejected else 200, restricted


def test_permits_are_reserved_and_released(clock: Clock) -> None:
    throttle = throttle_of(clock)
    quota = LocalQuota(throttle, None)
    with quota.reserve(3):
        assert throttle.limit == 3
        with quota.reserve(5):
            assert throttle.limit == 8
            assert quota.limit_of(5) == 5.0
        assert throttle.limit == 3
    with quota.reserve(2):
        assert throttle.limit == 2
    for slots in range(1, 60):
        with quota.reserve(slots):
            assert throttle.limit == slots
            with quota.reserve(7):
                assert throttle.limit == slots + 7


@given(st.lists(st.tuples(st.integers(1, 9), st.lists(st.booleans(), max_size=12)), min_size=1, max_size=6))
def test_permits_never_exceed_the_reserved_slots(rounds: list[tuple[int, list[bool]]]) -> None:
    clock = Clock()
    throttle = throttle_of(clock)
    quota = LocalQuota(throttle, None)
    with quota.reserve(4):
        for slots, answers in rounds:
            with quota.reserve(slots):
                for rejected in answers:
                    clock.now += 0.3
                    ask(throttle, rejected=rejected)
                    assert 1 <= throttle.limit <= 4 + slots
            assert 1 <= throttle.limit <= 4


def test_rejections_lower_the_limit_and_successes_raise_it(clock: Clock) -> None:
    throttle = throttle_of(clock)
    with LocalQuota(throttle, None).reserve(20):
        for _ in range(60):
            clock.now += 0.1
            ask(throttle, rejected=True)
        low = throttle.limit
        assert low < 10
        for _ in range(400):
            clock.now += 0.1
            ask(throttle)
        assert throttle.limit == 20


def test_restricted_mode_is_recognised_after_three_announcements(clock: Clock) -> None:
    throttle = throttle_of(clock)
    quota = LocalQuota(throttle, None)
    with quota.reserve(16):
        for _ in range(3):
            assert not throttle.is_restricted
            assert throttle.limit == 16
            clock.now += 0.01
            ask(throttle, restricted=True)
        assert throttle.is_restricted
        assert throttle.limit == 8
        with quota.reserve(16):
            assert throttle.limit == 16
            assert throttle.is_restricted
        for _ in range(3):
            ask(throttle)
        assert not throttle.is_restricted
