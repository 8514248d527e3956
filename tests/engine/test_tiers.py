"""Compare the compute of a run with what a noncommercial project has in a month."""

from __future__ import annotations

import pytest

from eechips.engine.costs.compute_sample import ComputeRange
from eechips.engine.costs.cost_descriptions import (
    Estimate,
    PlanningCost,
    describe_compute,
    describe_range,
    describe_start,
    is_much,
)


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (ComputeRange(8.951, 8.84, 9.06), "about 8.95 EECU-seconds (95%: 8.84 to 9.06)"),
        (ComputeRange(360.0, 300.0, 420.0), "about 0.1 EECU-hours (95%: 300 EECU-seconds to 0.117 EECU-hours)"),
        (ComputeRange(7200.0, 3600.0, 10800.0), "about 2 EECU-hours (95%: 1 to 3)"),
        (ComputeRange(2.0, 2.0, 2.0), "2 EECU-seconds"),
        (ComputeRange(0.794, 0.79399, 0.79401), "about 0.794 EECU-seconds"),
        (ComputeRange(2.0, None, None), "about 2 EECU-seconds"),
    ],
)
def test_compute_is_told_with_its_range(compute: ComputeRange, text: str) -> None:
    assert describe_compute(compute) == text


def test_a_range_whose_ends_read_alike_is_one_quantity() -> None:
    assert describe_range(0.79399, 0.79401) == "0.794 EECU-seconds"


@pytest.mark.parametrize(("high", "expected"), [(14.9, False), (15.1, True)])
def test_a_tenth_of_the_month_is_much(high: float, expected: bool) -> None:
    assert is_much(ComputeRange(3600.0, 60.0, 3600.0 * high)) is expected
    assert not is_much(None)


def test_what_a_run_will_cost_is_told_beside_the_month() -> None:
    foreseen = Estimate(
        units=238_000,
        requests=238_000,
        bytes=60_000_000_000,
        seconds=5400.0,
        least_requests=237_000,
        most_requests=476_000,
        repeats=frozenset({"an empty table", "a chip that may be masked"}),
        planning=PlanningCost(480, 480, 60.0),
        compute=ComputeRange(36_000.0, 7_200.0, 684_000.0),
        compute_source="assumed",
    )
    requests, compute = describe_start(foreseen, is_local=False)
    assert requests == (
        "Expected: 237,000 to 476,000 requests for 238,000 units (units that are near each other may share one; a chip"
        " that may be masked or an empty table takes two), 480 for planning, about 60.0 GB, about 1.5 h"
    )
    assert compute == (
        "Expected compute: 2 to 190 EECU-hours, at most 126.7% of a month of the community tier (150 EECU-hours; the"
        " default); assumed, planning not included"
    )
    (alone,) = describe_start(foreseen, is_local=True)
    assert "h" not in alone.partition("60.0 GB")[2]


@pytest.mark.parametrize(
    ("most", "text"), [(1, "1 request for 1 unit"), (2, "1 to 2 requests for 1 unit (an empty table takes two)")]
)
def test_one_request_is_told_in_the_singular(most: int, text: str) -> None:
    foreseen = Estimate(
        units=1, requests=1, bytes=0, seconds=None, most_requests=most, repeats=frozenset({"an empty table"})
    )
    assert describe_start(foreseen, is_local=True) == [f"Expected: {text}"]
