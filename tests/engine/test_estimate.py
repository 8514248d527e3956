"""Estimates of the rest of a run, from figures of its first units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.usage import RequestLog
from eechips.engine.config import RunConfig
from eechips.engine.estimate import Meter, forecast_rest
from eechips.engine.outcome import Finished, Outcome
from eechips.manifest.ledger import Totals
from eechips.manifest.unit_record import Record, State, WorkUnit


def config(**options: Any) -> RunConfig:
    return RunConfig(**{"out": Path("out"), "rate": None, **options})


def metered(ends: list[float], seconds: float) -> Meter:
    """Units that ended at some moments, each after one request of so many seconds."""
    moments = iter(ends)
    meter = Meter(lambda: next(moments))
    log = RequestLog("image:computePixels", 200, seconds, 100, 1, "2026-01-01T00:00:00.000Z")
    unit, record = WorkUnit(0, "0" * 64, "0", "0"), Record(position=0, state=State.DONE, attempts=1, requests=1)
    for _ in ends:
        meter.note([Finished(unit, Outcome(0, record, request_logs=(log,)))])
    return meter


def test_the_slots_bound_the_estimate_of_few_units() -> None:
    """Ten units at once, a second each: 1,000 more take 100 s with ten slots, not none."""
    found = forecast_rest(Totals(10, 12, 5000, 30.0, 0), 1000, metered([1.0] * 10, 1.0), 10, config())
    assert (found.tried, found.left, found.requests, found.bytes) == (10, 1000, 1200, 500_000)
    assert (found.seconds, found.request_seconds, found.slots) == (100.0, 1000.0, 10)


def test_a_slower_throughput_raises_the_estimate() -> None:
    """Decoding takes longer than the service: a unit every half second, whatever the slots."""
    ends = [0.5 * n for n in range(100)]
    assert forecast_rest(Totals(100, 100, 1, 1.0, 0), 400, metered(ends, 0.1), 40, config()).seconds == pytest.approx(
        200
    )


def test_the_rate_bounds_the_time() -> None:
    totals = Totals(100, 200, 1, 1.0, 0)
    assert forecast_rest(totals, 1000, metered([0.0] * 100, 0.01), 40, config(rate=100.0)).seconds == pytest.approx(
        20.0
    )


def test_without_units_of_this_command_the_ledger_is_used() -> None:
    found = forecast_rest(Totals(50, 50, 1000, 100.0, 0), 100, Meter(), 4, config())
    assert (found.request_seconds, found.seconds) == (200.0, 50.0)


def test_bytes_are_unknown_if_no_unit_that_was_tried_has_a_file() -> None:
    assert forecast_rest(Totals(5, 20, 0, 1.0, 0), 100, Meter(), 4, config()).bytes is None


def test_requests_are_a_range_only_if_units_may_share_them() -> None:
    totals = Totals(3, 4, 1, 1.0, 0)
    alone, shared = (forecast_rest(totals, 10, Meter(), 4, config(), shared_part=part) for part in (0.0, 0.5))
    assert (alone.least_requests, alone.requests) == (13, 13)
    assert (shared.least_requests, shared.requests) == (7, 13)


@given(units=st.integers(1, 10_000), share=st.floats(0, 1), left=st.integers(0, 100_000))
def test_each_empty_unit_is_replaced_at_most_ten_times(units: int, share: float, left: int) -> None:
    totals = Totals(units, units, 0, 1.0, round(share * units))
    kept = forecast_rest(totals, left, Meter(), 1, config(on_empty="skip")).left
    redrawn = forecast_rest(totals, left, Meter(), 1, config(on_empty="redraw")).left
    assert kept == left <= redrawn <= 11 * left
    if totals.dropped * 2 == units:
        assert redrawn == 2 * left
