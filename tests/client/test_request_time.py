"""Measure how long a request takes on average."""

from __future__ import annotations

import heapq
import random

import pytest

from eechips.client.quota.quota_members import RequestTime


@pytest.mark.parametrize("seconds", [0.2, 2.0, 20.0])
@pytest.mark.parametrize("step", [0.5, 2.0])
def test_the_average_is_found_from_what_is_in_flight_and_what_has_ended(seconds: float, step: float) -> None:
    chance = random.Random(5)
    time = RequestTime(0, 0.0)
    ends = [chance.expovariate(1 / seconds) for _ in range(12)]
    heapq.heapify(ends)
    ended = 0
    found = []
    for number in range(1, round(50 * max(1.0, seconds) / step)):
        while ends[0] <= number * step:
            heapq.heapreplace(ends, ends[0] + chance.expovariate(1 / seconds))
            ended += 1
        time.measure(ended, len(ends), number * step)
        found.append(time.seconds)
    later = found[len(found) // 2 :]
    assert sum(later) / len(later) == pytest.approx(seconds, rel=0.2)


def test_the_average_is_unknown_before_a_request_has_ended() -> None:
    time = RequestTime(0, 0.0)
    time.measure(0, 5, 10.0)
    assert time.seconds == 0.0
