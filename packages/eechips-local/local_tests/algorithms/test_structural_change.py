"""Breakpoints of models: all partitions of short series, series whose breaks are known, and the real client."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.harmonic_models import harmonic_design
from eechips_local.algorithms.structural_change import find_breakpoints, segment_squares
from local_tests.support.local_earth_engine import Server, initialize

YEARS = 30 + np.arange(0, 8, 1 / 12)


def residual_squares(design: Any, values: Any) -> float:
    found = np.linalg.lstsq(design, values, rcond=None)[0]
    return float(((values - design @ found) ** 2).sum())


def test_sums_of_squares_are_those_of_numpy() -> None:
    random = np.random.default_rng(0)
    design = harmonic_design(YEARS, 2 * np.pi * YEARS, 2)
    values = random.normal(0, 1, len(YEARS)) + 3 * YEARS
    found = segment_squares(design, values, 10)
    for start, end in ((0, 9), (0, 95), (3, 40), (80, 95)):
        assert found[start, end] == pytest.approx(residual_squares(design[start : end + 1], values[start : end + 1]))
    assert np.isinf(found[5, 13])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("breaks", [1, 2])
def test_the_least_squares_of_all_partitions(breaks: int, seed: int) -> None:
    """With a break that is worth its parameters."""
    random = np.random.default_rng(seed)
    count, spacing = 26, 4
    design = np.stack([np.ones(count), np.arange(count)], axis=1)
    values = random.normal(0, 1, count) + np.repeat([0, 30, -20], [8, 9, 9])[:count] * (1 if breaks == 2 else 0)
    if breaks == 1:
        values += np.where(np.arange(count) < 11, 0, 40)
    found = find_breakpoints(design, values, spacing, breaks)

    def cost(ends: tuple[int, ...]) -> float:
        bounds = [0, *(end + 1 for end in ends), count]
        if min(np.diff(bounds)) < spacing:
            return np.inf
        return sum(residual_squares(design[a:b], values[a:b]) for a, b in itertools.pairwise(bounds))

    assert tuple(found) == min(itertools.combinations(range(count), breaks), key=cost)


def test_no_break_is_found_in_noise() -> None:
    random = np.random.default_rng(1)
    design = harmonic_design(YEARS, 2 * np.pi * YEARS, 1)
    assert find_breakpoints(design, random.normal(0, 1, len(YEARS)), 14) == []


def test_a_short_series_has_no_breaks() -> None:
    design = harmonic_design(YEARS[:10], 2 * np.pi * YEARS[:10], 1)
    assert find_breakpoints(design, np.arange(10.0) ** 2, 6) == []


class TestServed:
    @pytest.fixture
    def ee(self, stack_server: Server) -> Any:
        return initialize(stack_server)

    def collection(self, ee: Any, **bands: Any) -> Any:
        images = []
        for position, year in enumerate(YEARS.tolist()):
            values = [float(values[position]) for values in bands.values()]
            image = ee.Image.constant(values).rename(list(bands)).double()
            images.append(image.set("system:time_start", round(year * 365.25 * 86_400_000)))
        return ee.ImageCollection(images)

    def at_point(self, ee: Any, image: Any) -> Any:
        return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 1).getInfo()

    def test_segments_of_a_series(self, ee: Any) -> None:
        random = np.random.default_rng(2)
        late = YEARS >= 34
        level = np.where(late, 900 - 20 * YEARS, 100 + 5 * YEARS)
        values = level + 50 * np.cos(2 * np.pi * YEARS) + random.normal(0, 3, len(YEARS))
        collection = self.collection(ee, ndvi=values, other=2 * values + 7)
        run = ee.Algorithms.TemporalSegmentation.StructuralChangeBreakpoints
        image = run(collection, "ndvi", seasonalModelOrder=1)
        names = ["tStart", "tEnd", "coefs_ndvi", "coefs_other", "rmse_ndvi", "rmse_other"]
        assert image.bandNames().getInfo() == names
        found = self.at_point(ee, image)
        assert found["tStart"] == pytest.approx([30, 34], abs=1e-6)
        assert found["tEnd"] == pytest.approx([34 - 1 / 12, 38 - 1 / 12], abs=1e-6)
        coefficients = np.array(found["coefs_ndvi"])
        assert coefficients.shape == (2, 4)
        np.testing.assert_allclose(coefficients[:, 1], [5, -20], atol=1.5)
        np.testing.assert_allclose(coefficients[:, 2], 50, atol=2)
        fitted = coefficients[0] @ harmonic_design(YEARS, 2 * np.pi * YEARS, 1)[~late].T
        error = np.sqrt(((fitted - values[~late]) ** 2).mean())
        assert found["rmse_ndvi"][0] == pytest.approx(error, rel=1e-4)
        assert found["rmse_other"][0] == pytest.approx(2 * error, rel=1e-4)
        # In milliseconds, the same model: its trend is that of a millisecond.
        millis = self.at_point(ee, run(collection, "ndvi", 1, dateFormat=2))
        assert millis["tStart"] == pytest.approx(np.array([30, 34]) * 365.25 * 86_400_000, abs=1)
        slopes = np.array(millis["coefs_ndvi"])[:, 1] * 365.25 * 86_400_000
        np.testing.assert_allclose(slopes, coefficients[:, 1], rtol=1e-4)

    @pytest.mark.slow
    def test_breaks_are_limited(self, ee: Any) -> None:
        values = np.repeat([0.0, 100, 30, 200], 24) + np.random.default_rng(3).normal(0, 1, 96)
        collection = self.collection(ee, b=values)
        run = ee.Algorithms.TemporalSegmentation.StructuralChangeBreakpoints
        counts = [len(self.at_point(ee, run(collection, None, 1, maxBreaks=most))["tStart"]) for most in (0, 1, 2, 3)]
        assert counts == [4, 2, 3, 4]
        assert len(self.at_point(ee, run(collection, None, 1, minSpacing=40))["tStart"]) == 2

    def test_pixels_with_few_observations_are_masked(self, ee: Any) -> None:
        collection = self.collection(ee, b=YEARS).limit(5)
        run = ee.Algorithms.TemporalSegmentation.StructuralChangeBreakpoints
        assert set(self.at_point(ee, run(collection)).values()) == {None}
        assert len(self.at_point(ee, run(collection, seasonalModelOrder=1))["tStart"]) == 1

    def test_errors(self, ee: Any) -> None:
        run = ee.Algorithms.TemporalSegmentation.StructuralChangeBreakpoints
        collection = self.collection(ee, a=YEARS, b=YEARS)
        with pytest.raises(ee.EEException, match="breakpointBand is required for images of several bands: a, b"):
            run(collection).getInfo()
        with pytest.raises(ee.EEException, match="has no band 'c'; found a, b"):
            run(collection, "c").getInfo()
        with pytest.raises(ee.EEException, match="minSpacing must be positive"):
            run(collection, "a", minSpacing=0).getInfo()
        with pytest.raises(ee.EEException, match="dateFormat must be 1 or 2"):
            run(collection, "a", dateFormat=0).getInfo()
