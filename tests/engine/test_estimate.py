"""Estimates of the rest of a run, from figures of tried units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from eechips.client.quota.usage import RequestLog
from eechips.engine.config import RunConfig
from eechips.engine.costs.compute_sample import ComputeSample
from eechips.engine.costs.cost_descriptions import PlanningCost, describe_bytes, forecast_traffic
from eechips.engine.costs.forecast import Machine, Meter, UnitRequests, forecast_rest
from eechips.engine.costs.unit_costs import cost_of
from eechips.engine.outcome import Finished, Outcome
from eechips.engine.plans.plan import draw_spread
from eechips.formats.geotiff import encode
from eechips.geo.grid import Grid
from eechips.manifest.data_source import ArchiveTraffic
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger_queries import Totals
from eechips.recipe import Chip
from eechips.recipe.results import Template


def config(**options: Any) -> RunConfig:
    return RunConfig(**{"out": Path("out"), "rate": None, **options})


def metered(ends: list[float], seconds: float, repeated: int = 0) -> Meter:
    """Units that ended at some moments, each after one request of so many seconds, some after two."""
    moments = iter(ends)
    meter = Meter(lambda: next(moments))
    log = RequestLog("image:computePixels", 200, seconds, 100, 1, "2026-01-01T00:00:00.000Z")
    unit, record = WorkUnit(0, "0" * 64, "0", "0"), Record(position=0, state=State.DONE, attempts=1, requests=1)
    for number, _ in enumerate(ends):
        meter.note([Finished(unit, Outcome(0, record, request_logs=(log,) * (2 if number < repeated else 1)))])
    return meter


def test_traffic_of_units_that_end_together_is_counted_once() -> None:
    counts = iter([ArchiveTraffic(5, 100), ArchiveTraffic(9, 700), ArchiveTraffic(9, 700)])
    meter = Meter(traffic=lambda: next(counts))
    record = Record(position=0, state=State.DONE, attempts=1, requests=1)
    meter.note([Finished(WorkUnit(0, "0" * 64, "0", "0"), Outcome(0, record))] * 2)
    assert meter.taken == [ArchiveTraffic(4, 600), ArchiveTraffic()]
    meter.note([])
    assert len(meter.taken) == 2


def test_the_forecast_of_an_archive_s_traffic_has_the_range_of_what_units_took() -> None:
    tried = [ArchiveTraffic(2, 100, 30), ArchiveTraffic(4, 300, 90)]
    foreseen = forecast_traffic(10, tried)
    assert foreseen is not None
    assert foreseen.mean == ArchiveTraffic(30, 2000)
    assert foreseen.shared_bytes == 10 * 60 - (400 - 120)  # what was taken and not used serves others
    assert foreseen.most is not None
    assert foreseen.most.bytes == 2000 + round(12.71 * (10 * 20_000 * 6) ** 0.5)  # t, units, variance, 1 + 10 / 2
    assert f"(95%: up to {foreseen.most.describe()})" in foreseen.describe()
    assert forecast_traffic(10, [ArchiveTraffic(), ArchiveTraffic()]) is None  # all was kept on this machine


def test_requests_to_archives_take_the_time_of_their_units() -> None:
    """The log of a worker has requests to Earth Engine only, and so none of scenes."""
    record, moments = Record(position=0, state=State.DONE, attempts=1, requests=1), iter([10.0, 20.0])
    meter = Meter(lambda: next(moments))
    for number in range(2):
        meter.note([Finished(WorkUnit(number, "0" * 64, "0", "0"), Outcome(number, record))])
    totals = Totals(units=2, requests=2, bytes=2_000_000, seconds=20.0, dropped=0)
    foreseen = forecast_rest(totals, 40, meter, Machine(slots=4), config())
    assert (foreseen.requests, foreseen.least_requests, foreseen.most_requests) == (40, 40, 40)
    assert foreseen.seconds == (40 / 4 + 0.5) * 10.0


def test_the_range_of_a_sum_is_that_of_a_prediction() -> None:
    """Of the sum of m further draws, the variance is m s² (1 + m / n)."""
    assert ComputeSample.of([100, 300]).margin(10) == pytest.approx(12.71 * (10 * 20_000 * 6) ** 0.5)
    fractions = ComputeSample.of([1 / 7, 2 / 7, 3 / 7], [1, 2, 3])
    assert fractions.mean_margin < 1e-6 * (fractions.mean or 0.0)


def test_the_forecast_of_one_unit_s_traffic_has_no_range() -> None:
    foreseen = forecast_traffic(10, [ArchiveTraffic(2, 100, 100)])
    assert foreseen is not None
    assert foreseen.most is None
    assert foreseen.describe() == "about 20 requests, 1.0 kB. About 1.0 kB if units share all blocks of files"


def test_units_whose_traffic_is_not_known_are_counted_when_it_is() -> None:
    """As of a server that does not respond once, or not at first."""
    record = Record(position=0, state=State.DONE, attempts=1, requests=1)
    ended = [Finished(WorkUnit(0, "0" * 64, "0", "0"), Outcome(0, record))]
    for counts, taken in (
        ((ArchiveTraffic(5, 100), None, ArchiveTraffic(9, 700)), [ArchiveTraffic(4, 600), ArchiveTraffic()]),
        ((None, ArchiveTraffic(5, 100), ArchiveTraffic(9, 700)), []),
    ):
        meter = Meter(traffic=iter(counts).__next__)
        meter.note(ended)
        meter.note(ended)
        assert meter.taken == taken
        assert forecast_traffic(1, meter.taken[2:]) is None


def test_the_slots_bound_the_estimate_of_few_units() -> None:
    """Ten units at once, a second each: 1,000 more take 100 s with ten slots, not none."""
    found = forecast_rest(Totals(10, 12, 5000, 30.0, 0), 1000, metered([1.0] * 10, 1.0), Machine(10), config())
    assert (found.tried, found.left, found.requests, found.bytes) == (10, 1000, 1200, 500_000)
    assert (found.seconds, found.request_seconds, found.slots) == (
        pytest.approx(100.0 + 0.5 / 1.2),
        pytest.approx(1000.0),
        10,
    )


def test_the_sizes_of_the_tried_files_give_a_range() -> None:
    totals, at = Totals(4, 4, 400, 4.0, 0), (metered([1.0] * 4, 1.0), Machine(10), config())
    even = forecast_rest(totals, 100, *at, sizes=[100] * 4)
    assert (even.bytes, even.least_bytes, even.most_bytes) == (10_000, None, None)
    uneven = forecast_rest(totals, 100, *at, sizes=[50, 60, 140, 150])
    assert uneven.least_bytes is not None
    assert uneven.most_bytes is not None
    assert 0 <= uneven.least_bytes < 5_000 < 15_000 < uneven.most_bytes
    assert (
        describe_bytes(uneven)
        == f"about 10.0 kB (95%: {uneven.least_bytes / 1000:.1f} to {uneven.most_bytes / 1000:.1f} kB)"
    )


def _no_image(*values: Any) -> Any:
    """Build the image of a chip, which an estimate does not need."""
    raise AssertionError


CHIPS = (
    ("landcover/nlcd2011_zion.tif", (1,), "uint8", True),
    ("landcover/usda_cdl_2021_kansas.tif", (1,), "uint8", True),
    ("naip/m_4709963_se_14_1_20180716.tif", (1, 2, 3), "uint8", False),
    ("optical/s2_l1c_va_eastern_shore_10m.tif", (1, 2, 3), "uint16", False),
    ("optical/s2_l1c_va_eastern_shore_10m.tif", (1, 2, 3), "float32", False),
    ("dem/srtm_zion.tif", (1,), "int16", False),
    ("dem/co_elevation_roi.tif", (1,), "float32", False),
)


@pytest.mark.parametrize(("name", "bands", "dtype", "is_map"), CHIPS, ids=str)
@pytest.mark.parametrize("edge", [64, 256])
def test_files_of_real_pixels_have_the_bytes_of_the_estimate(
    real_data: Path, name: str, bands: tuple[int, ...], dtype: str, is_map: bool, edge: int
) -> None:
    """Chips of classes were estimated at ten times their size."""
    with rasterio.open(real_data / name) as file:
        pixels = file.read(bands, window=((0, edge), (0, edge))).astype(dtype)
    names = tuple(f"B{band}" for band in bands)
    grid = Grid("EPSG:32612", (30.0, 0.0, 0.0, 0.0, -30.0, 0.0), edge, edge)
    data = encode(pixels, np.ones((edge, edge), bool), names, CRS.from_epsg(32612), grid.transform)
    chip = Chip(Template(_no_image), grid=grid, format="tif", bands=names, dtype=dtype)
    cost = cost_of(chip, config(), names if is_map else ())
    assert cost.bytes is not None
    assert cost.bytes.low <= len(data) <= cost.bytes.high
    assert 0.4 < cost.bytes.usual / len(data) < 2.5


def test_an_array_has_the_bytes_of_its_pixels_and_their_mask() -> None:
    grid = Grid("EPSG:32612", (30.0, 0.0, 0.0, 0.0, -30.0, 0.0), 64, 64)
    chip = Chip(Template(_no_image), grid=grid, format="npy", bands=("B1",), dtype="int16")
    assert cost_of(chip, config()).bytes == (64 * 64 * 3,) * 3


def test_a_slower_throughput_raises_the_estimate() -> None:
    """Decoding takes longer than the service: a unit every half second, whatever the slots."""
    ends = [0.5 * n for n in range(100)]
    assert forecast_rest(
        Totals(100, 100, 1, 1.0, 0), 400, metered(ends, 0.1), Machine(40), config()
    ).seconds == pytest.approx(200)


def test_the_rate_bounds_the_time() -> None:
    totals = Totals(100, 200, 1, 1.0, 0)
    assert forecast_rest(
        totals, 1000, metered([0.0] * 100, 0.01), Machine(40), config(rate=100.0)
    ).seconds == pytest.approx(20.0)


def test_without_units_of_this_command_the_ledger_is_used() -> None:
    found = forecast_rest(Totals(50, 50, 1000, 100.0, 0), 100, Meter(), Machine(4), config())
    assert (found.request_seconds, found.seconds) == (200.0, 51.0)


def test_bytes_are_unknown_if_no_unit_that_was_tried_has_a_file() -> None:
    assert forecast_rest(Totals(5, 20, 0, 1.0, 0), 100, Meter(), Machine(4), config()).bytes is None


def test_units_that_share_requests_take_as_many_as_their_sample() -> None:
    """Of the tried units, 4 requests took 5 as one was repeated; a request of two units computes one more."""
    totals, meter = Totals(5, 5, 1, 1.0, 0), metered([1.0] * 5, 2.0)
    sample = ComputeSample().add(5, 15.0)  # 3 EECU-seconds a unit
    joined = UnitRequests(mean=0.5, low=0.4, high=0.6, units=2.0).times(5 / 4)
    found = forecast_rest(totals, 100, meter, Machine(10), config(), sample, joined=joined)
    assert (found.requests, found.least_requests, found.most_requests) == (62, 50, 75)
    assert found.request_seconds == pytest.approx(62.5 * (2.0 + 3.0))
    alone = forecast_rest(totals, 100, meter, Machine(10), config())
    assert alone.least_requests == alone.requests == alone.most_requests == 100


def test_requests_are_a_range_if_some_units_take_more_than_others() -> None:
    """Of ten chips three may be masked, and took two requests: 50 more take 65, give or take chance."""
    totals, meter = Totals(10, 13, 1, 1.0, 0), metered([1.0] * 10, 1.0, repeated=3)
    found = forecast_rest(totals, 50, meter, Machine(10), config())
    assert (found.requests, found.least_requests, found.most_requests) == (65, 50, 84)


@pytest.mark.parametrize(("planning", "seconds"), [(40.0, 10.0 + 100.5), (400.0, 100.0 + 300.0 + 100.5 / 4)])
def test_units_are_fetched_while_the_next_ones_are_planned(planning: float, seconds: float) -> None:
    """A quarter is planned first; the last quarter is fetched at the end unless fetching takes longer."""
    totals, cost = Totals(10, 10, 1, 1.0, 0), PlanningCost(4, 1, planning, first_seconds=planning / 4)
    found = forecast_rest(totals, 1000, metered([1.0] * 10, 1.0), Machine(10), config(), planning=cost)
    assert found.seconds == pytest.approx(seconds)


def test_a_service_on_this_machine_computes_with_its_cores() -> None:
    totals, sample = Totals(10, 10, 1, 1.0, 0), ComputeSample().add(5, 20.0).add(5, 20.0)
    here = forecast_rest(totals, 100, metered([1.0] * 10, 1.0), Machine(40, cores=2), config(), sample)
    assert here.seconds == pytest.approx(200.0)


@given(units=st.integers(1, 10_000), share=st.floats(0, 1), left=st.integers(0, 100_000))
def test_each_empty_unit_is_replaced_at_most_ten_times(units: int, share: float, left: int) -> None:
    totals = Totals(units, units, 0, 1.0, round(share * units))
    kept = forecast_rest(totals, left, Meter(), Machine(1), config(on_empty="skip")).left
    redrawn = forecast_rest(totals, left, Meter(), Machine(1), config(on_empty="redraw")).left
    assert kept == left <= redrawn <= 11 * left
    if totals.dropped * 2 == units:
        assert redrawn == 2 * left


@given(count=st.integers(1, 60), total=st.integers(0, 500), every=st.integers(1, 3))
def test_units_are_drawn_from_each_part_of_a_plan(count: int, total: int, every: int) -> None:
    positions = range(0, every * total, every)
    drawn = draw_spread(positions, count)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == min(count, total)
    assert set(drawn) <= set(positions)
    if 4 * count < total:
        halves = [sum(position < every * total / 2 for position in drawn), len(drawn)]
        assert abs(halves[0] - halves[1] / 2) <= 4


def test_a_larger_unit_has_more_bytes() -> None:
    totals, sample = Totals(10, 10, 1000, 1.0, 0), ComputeSample().add(5, 20.0).add(5, 20.0)
    found = forecast_rest(totals, 100, Meter(), Machine(4), config(), sample, pixels=1.5)
    assert (found.bytes, found.requests) == (15_000, 100)
    assert found.compute is not None
    assert found.compute.seconds == pytest.approx(400.0)
