"""Composite2Change: series whose changes are known, rules of the authors' program, and the real client."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.composite2change import C2cOptions, find_changes
from local_tests.support.local_earth_engine import Server, initialize

YEARS = [float(year) for year in range(1990, 2020)]
OPTIONS = C2cOptions(
    error=20, segments=6, has_infill=True, tolerance=0.85, spike=100, has_post=True, has_regrowth=False,
    interpolates=True, is_relative=False, losses_only=False,
)  # fmt: skip


def cut() -> list[float]:
    """600 until 2003, 100 in 2004, and 500 in 2019."""
    return np.interp(YEARS, [1990, 2003, 2004, 2019], [600, 600, 100, 500]).tolist()


def changes(values: list[float], **options: Any) -> Any:
    found = find_changes(YEARS, values, replace(OPTIONS, **options))
    assert found is not None
    return found


class TestChanges:
    def test_breakpoints_are_where_lines_meet(self) -> None:
        found = changes(cut())
        assert [c.date for c in found] == [1990, 2003, 2004, 2019]
        assert [c.value for c in found] == pytest.approx([600, 600, 100, 500])
        assert [c.magnitude for c in found[1:]] == pytest.approx([0, -500, 400])
        assert [c.duration for c in found[1:]] == [13, 1, 15]
        assert [c.rate for c in found[1:]] == pytest.approx([0, -500, 400 / 15])
        assert [c.post_magnitude for c in found[:-1]] == pytest.approx([0, -500, 400])
        assert [c.post_duration for c in found[:-1]] == [13, 1, 15]
        assert math.isnan(found[0].magnitude)
        assert math.isnan(found[-1].post_rate)

    def test_each_segment_is_near_enough_to_its_line(self) -> None:
        random = np.random.default_rng(0)
        values = [v + float(n) for v, n in zip(cut(), random.normal(0, 8, 30), strict=True)]
        found = changes(values, tolerance=1, has_infill=False)
        for before, after in pairwise(found):
            part = slice(before.place, after.place + 1)
            line = np.interp(YEARS[part], [before.date, after.date], [before.value, after.value])
            mean = ((np.array(values[part]) - line) ** 2).sum() / (after.place - before.place)
            assert math.sqrt(mean) < 20
        assert {2003, 2004} <= {c.date for c in found}

    @pytest.mark.parametrize("segments", [1, 2, 3, 5])
    def test_there_are_at_most_so_many_segments(self, segments: int) -> None:
        values = np.random.default_rng(segments).normal(500, 100, 30).tolist()
        assert len(changes(values, segments=segments)) == segments + 1
        assert len(changes(values, segments=40, error=0, tolerance=1)) == 30

    def test_spikes_are_removed(self) -> None:
        values = [500.0] * 30
        values[12] = 900
        assert [c.date for c in changes(values)] == [1990, 2019]
        assert len(changes(values, tolerance=1)) > 2
        assert len(changes(values, spike=500)) > 2

    def test_zeros_are_filled(self) -> None:
        values = cut()
        values[5] = values[6] = values[20] = 0
        dates = [c.date for c in changes(values)]
        assert {1990, 2003, 2004, 2019} <= set(dates)
        assert len(changes(values, has_infill=False, tolerance=1)) > 4

    def test_less_than_three_values_are_no_series(self) -> None:
        assert find_changes(YEARS, [5.0, 7.0] + [0.0] * 28, OPTIONS) is None

    def test_losses_only(self) -> None:
        assert [c.date for c in changes(cut(), losses_only=True)] == [2004]


class TestRegrowth:
    def test_years_until_shares_of_the_value_before(self) -> None:
        """From 100 in 2004 by 26.7 a year: 360 after 10 years, 480 after 15."""
        loss = next(c for c in changes(cut(), has_regrowth=True) if c.date == 2004)
        assert loss.index_regrowth == pytest.approx(5 * 400 / 15)
        assert loss.recovery == pytest.approx(5 * 400 / 15 / -500)
        assert loss.regrowth[:2] == (10, 15)
        assert math.isnan(loss.regrowth[2])

    def test_relative_regrowth_is_of_the_magnitude(self) -> None:
        """60% of 500 are 300, reached after 12 years; 80% are 400."""
        loss = next(c for c in changes(cut(), has_regrowth=True, is_relative=True) if c.date == 2004)
        assert loss.regrowth[:2] == (12, 15)

    def test_ends_have_none(self) -> None:
        found = changes(cut(), has_regrowth=True)
        assert math.isnan(found[0].index_regrowth)
        assert math.isnan(found[-1].index_regrowth)

    def test_regrowth_is_that_of_the_lines_if_asked_for(self) -> None:
        values = cut()
        values[19] += 15  # 2009, five years after the loss
        straight, raw = (
            next(c for c in changes(values, has_regrowth=True, interpolates=flag) if c.date == 2004)
            for flag in (True, False)
        )
        assert raw.index_regrowth - straight.index_regrowth == pytest.approx(15)


class TestServed:
    @pytest.fixture
    def ee(self, stack_server: Server) -> Any:
        return initialize(stack_server)

    def collection(self, ee: Any, *series: list[float], missing: int | None = None) -> Any:
        images = []
        for position, year in enumerate(YEARS):
            image = ee.Image.constant([values[position] for values in series]).rename(["NBR", "other"][: len(series)])
            image = image.double().updateMask(0 if position == missing else 1)
            images.append(image.set("system:time_start", ee.Date.fromYMD(int(year), 1, 1).millis()))
        return ee.ImageCollection(images)

    def at_point(self, ee: Any, image: Any) -> Any:
        return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 1).getInfo()

    @pytest.mark.slow
    def test_bands_and_values(self, ee: Any) -> None:
        given = {"dateFormat": 1, "maxError": 20, "spikeRemovalMagnitude": 100}
        image = ee.Algorithms.TemporalSegmentation.C2c(self.collection(ee, cut(), missing=5), **given)
        names = ["changeDate", "value", "magnitude", "duration", "rate", "postMagnitude", "postDuration", "postRate"]
        assert image.bandNames().getInfo() == [f"NBR_{name}" for name in names]
        found = self.at_point(ee, image.select(["NBR_changeDate", "NBR_value"]))
        assert found == {"NBR_changeDate": [1990, 2003, 2004, 2019], "NBR_value": pytest.approx([600, 600, 100, 500])}

    def test_errors_differ_by_band(self, ee: Any) -> None:
        random = np.random.default_rng(1)
        noisy = random.normal(500, 30, 30).tolist()
        collection = self.collection(ee, noisy, noisy)
        given = {"dateFormat": 1, "maxErrorList": [500, 0], "maxSegments": 12, "includePostMetrics": False}
        image = ee.Algorithms.TemporalSegmentation.C2c(collection, includeRegrowth=True, **given)
        assert image.bandNames().size().getInfo() == 20
        found = self.at_point(ee, image.select(".*changeDate"))
        assert [len(found["NBR_changeDate"]), len(found["other_changeDate"])] == [2, 13]
        with pytest.raises(ee.EEException, match="maxErrorList must have a value for each of the 2 bands; found 1"):
            ee.Algorithms.TemporalSegmentation.C2c(collection, maxErrorList=[1]).getInfo()

    def test_pixels_without_a_series_are_masked(self, ee: Any) -> None:
        image = ee.Algorithms.TemporalSegmentation.C2c(self.collection(ee, [0.0] * 30))
        assert set(self.at_point(ee, image).values()) == {None}
