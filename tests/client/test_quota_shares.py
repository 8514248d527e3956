"""Shares of a quota for processes on other machines, and limits learned from their reports."""

from __future__ import annotations

import contextlib
import multiprocessing
from dataclasses import dataclass, field

import pytest

from eechips.client.quota.permits import Permit, QuotaLimits, QuotaShare, UsageDelta
from eechips.client.quota.throttle import Throttle

CONTEXT = multiprocessing.get_context("spawn")


def host(slots: int) -> Throttle:
    throttle = Throttle(CONTEXT, QuotaLimits(in_flight=1, start=1, learns=False), clients=1)
    throttle.share(QuotaShare(slots, None, 0))
    return throttle


def take(throttle: Throttle, held: contextlib.ExitStack, count: int) -> list[Permit]:
    return [held.enter_context(throttle.client(0).permit()) for _ in range(count)]


def reject(throttle: Throttle) -> None:
    with throttle.client(0).permit() as permit:
        permit.status = 429


def test_after_a_rejection_the_limit_is_the_accepted_count_until_the_next_share() -> None:
    throttle = host(4)
    with contextlib.ExitStack() as held:
        take(throttle, held, 2)
        reject(throttle)
        assert throttle.limit == 2
    throttle.share(QuotaShare(5, None, rejected=1))
    assert throttle.limit == 5


def test_a_share_from_before_the_last_rejection_raises_nothing() -> None:
    throttle = host(4)
    with contextlib.ExitStack() as held:
        take(throttle, held, 3)
        reject(throttle)
    throttle.share(QuotaShare(4, None, rejected=0))
    assert throttle.limit == 3
    throttle.share(QuotaShare(2, None, rejected=0))  # but it may lower
    assert throttle.limit == 2


def test_a_host_keeps_one_slot() -> None:
    throttle = host(1)
    reject(throttle)
    assert throttle.limit == 1


def answer(throttle: Throttle, *, restricted: bool) -> None:
    with throttle.client(0).permit() as permit:
        permit.status, permit.is_restricted = 200, restricted


def test_restricted_mode_seen_by_a_host_reaches_the_shared_throttle() -> None:
    throttle = host(10)
    parent = Throttle(CONTEXT, QuotaLimits(in_flight=40, start=10, is_known=True), clients=2)
    for _ in range(5):
        answer(throttle, restricted=True)
    assert throttle.is_restricted
    assert throttle.limit == 10  # its share is the other's business
    parent.absorb(1, UsageDelta(5, 0, 0, 10, throttle.limit, throttle.is_restricted), wanted=100)
    assert parent.is_restricted
    assert parent.limit == 5
    for _ in range(5):
        answer(throttle, restricted=False)
    assert not throttle.is_restricted


@dataclass
class Fleet:
    """Hosts at a service with a quota, simulated: every request takes as long, results are told with a delay."""

    quota: int
    parent: Throttle
    hosts: int
    clock: float = 0.0
    shares: list[QuotaShare] = field(default_factory=list)
    told: list[list[int]] = field(default_factory=list)
    rejected: int = 0
    answered: int = 0

    def __post_init__(self) -> None:
        self.shares = [self.share(number) for number in range(self.hosts)]
        self.told = [[0, 0] for _ in range(self.hosts)]  # rejections known to the host, and its own limit
        for number, share in enumerate(self.shares):
            self.told[number][1] = share.slots

    def share(self, number: int) -> QuotaShare:
        whole, rest = divmod(self.parent.limit, self.hosts)
        return QuotaShare(whole + (number < rest), None, self.parent.rejected_of(number + 1))

    def turn(self, number: int) -> None:
        """One request of a host is over; if all together use more than the quota, the next is rejected."""
        rejections = 0
        known, limit = self.told[number]
        if sum(each[1] for each in self.told) > self.quota:
            rejections, limit = 1, max(1, limit - 1)
            self.rejected += 1
        self.answered += 1
        tally = UsageDelta(1 + rejections, rejections, 0, limit, limit, is_restricted=False)
        self.parent.absorb(number + 1, tally, wanted=1000)
        share, self.shares[number] = self.shares[number], self.share(number)  # it comes with the next task
        known += rejections
        self.told[number] = [known, share.slots if share.rejected >= known else min(limit, share.slots)]


def fleet(quota: int, start: int, hosts: int) -> tuple[Fleet, list[int]]:
    seconds = [0.0]
    limits = QuotaLimits(in_flight=200, start=start, is_known=True)
    parent = Throttle(CONTEXT, limits, clients=hosts + 1, clock=lambda: seconds[0])
    made = Fleet(quota, parent, hosts)
    course = []
    for turn in range(6000):
        seconds[0] += 1.0 / 40.0
        made.turn(turn % hosts)
        course.append(parent.limit)
    return made, course


@pytest.mark.slow
def test_hosts_together_learn_the_quota_with_few_rejections() -> None:
    for hosts in (1, 2, 4, 10):
        made, course = fleet(quota=40, start=40, hosts=hosts)
        settled = course[1000:]
        assert sum(settled) / len(settled) > 0.96 * 40, hosts
        assert max(settled) <= 43, hosts
        assert made.rejected < 0.02 * made.answered, hosts
