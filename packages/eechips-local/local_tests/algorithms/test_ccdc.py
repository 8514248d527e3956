"""CCDC: series whose changes are known, the lasso of scikit-learn, and the real client."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.ccdc import TERMS, CcdcOptions, find_segments
from eechips_local.algorithms.harmonic_models import fit_lasso, harmonic_design
from eechips_local.values.time_formats import fractional_years
from local_tests.support.local_earth_engine import Server, initialize

OPTIONS = CcdcOptions((0, 1), (), 6, 0.99, 1.33, 0, 0, 1.0)
TIMES = 2000 + np.arange(0, 12, 16 / 365.25)


def series(change: float | None = 2006.5, seed: int = 0, size: float = 20.0) -> Any:
    """Two bands with seasons and noise; both change at a time."""
    random = np.random.default_rng(seed)
    season = np.cos(2 * np.pi * TIMES)
    bands = np.stack([1000 + 200 * season, 3000 - 400 * season], axis=1)
    if change is not None:
        bands[change <= TIMES] += [500, -800]
    return bands + random.normal(0, size, bands.shape)


class TestSegments:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("change", [2003.2, 2006.5, 2009.0])
    def test_a_change_is_found_at_its_observation(self, change: float, seed: int) -> None:
        before, after = find_segments(TIMES, series(change, seed), OPTIONS)
        first = TIMES[np.searchsorted(TIMES, change)]
        assert before.change == first
        assert (before.start, before.probability) == (TIMES[0], 1)
        assert before.end == TIMES[np.searchsorted(TIMES, change) - 1]
        np.testing.assert_allclose(before.magnitude, [500, -800], atol=60)
        assert (after.start, after.end, after.change) == (first, TIMES[-1], 0)
        assert after.probability == 0
        assert after.magnitude.tolist() == [0, 0]
        assert before.count + after.count == len(TIMES)

    def test_coefficients_are_those_of_the_season(self) -> None:
        (found,) = find_segments(TIMES, series(None, size=5), OPTIONS)
        assert found.coefficients.shape == (2, TERMS)
        np.testing.assert_allclose(found.coefficients[:, 2], [200, -400], atol=4)
        np.testing.assert_allclose(found.coefficients[:, 3:], 0, atol=4)
        level = found.coefficients[:, 0] + found.coefficients[:, 1] * 2006
        np.testing.assert_allclose(level, [1000, 3000], atol=4)
        np.testing.assert_allclose(found.rmse, 5, rtol=0.2)

    @pytest.mark.parametrize("unit", [365.25, 365.25 * 86_400_000])
    def test_the_unit_of_time_changes_nothing(self, unit: float) -> None:
        values = series()
        options = replace(OPTIONS, penalty=20, iterations=1000)
        expected = find_segments(TIMES, values, options)
        found = find_segments(TIMES * unit, values, replace(options, year=unit))
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose([a.start, a.end, a.change], np.array([b.start, b.end, b.change]) * unit)
            np.testing.assert_allclose(a.coefficients[:, 1] * unit, b.coefficients[:, 1], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(a.coefficients[:, 2:], b.coefficients[:, 2:], rtol=1e-4, atol=1e-3)

    def test_one_strange_observation_is_left_out(self) -> None:
        values = series(None)
        values[150] += 2000
        (found,) = find_segments(TIMES, values, OPTIONS)
        assert found.count == len(TIMES) - 1

    def test_fewer_deviations_than_needed_are_no_change(self) -> None:
        """At the end, their share of those needed is the probability of a change."""
        values = series(None)
        values[-4:] += [300, -500]
        (found,) = find_segments(TIMES, values, OPTIONS)
        assert found.probability == pytest.approx(4 / 6)
        assert found.change == TIMES[-4]
        assert found.end == TIMES[-5]

    def test_more_observations_may_be_demanded(self) -> None:
        values = series(None)
        values[150:155] += [300, -500]
        assert len(find_segments(TIMES, values, OPTIONS)) == 1
        assert len(find_segments(TIMES, values, replace(OPTIONS, observations=4))) > 1

    def test_changes_in_other_bands_do_not_matter(self) -> None:
        values = series(None)
        values[TIMES >= 2006.5, 1] += 800
        assert len(find_segments(TIMES, values, replace(OPTIONS, detection=(0,)))) == 1
        assert len(find_segments(TIMES, values, replace(OPTIONS, detection=(1,)))) == 2

    def test_clouds_at_the_beginning_are_removed(self) -> None:
        values = series(None)
        values[[3, 8, 12]] += 3000
        (found,) = find_segments(TIMES, values, replace(OPTIONS, clouds=(0, 1)))
        assert found.count == len(TIMES) - 3
        np.testing.assert_allclose(found.coefficients[:, 2], [200, -400], atol=15)

    @pytest.mark.parametrize("clouds", [(), (0, 1)])
    def test_scenes_that_overlap_in_an_orbit_are_one_observation(self, clouds: tuple[int, ...]) -> None:
        """LCMAP's program leaves out all but one observation of a date. Rows of Landsat follow by 24 seconds."""
        values, options = series(), replace(OPTIONS, clouds=clouds)
        times = np.stack([TIMES, TIMES + 24 / 86_400 / 365.25], axis=1).ravel()
        alike = np.stack([values, values + 1], axis=1).reshape(-1, 2)
        expected, found = (find_segments(*made, options) for made in ((TIMES, values), (times, alike)))
        assert len(found) == len(expected) == 2
        for one, other in zip(found, expected, strict=True):
            assert (one.start, one.end, one.change, one.count) == (other.start, other.end, other.change, other.count)

    def test_observations_a_few_days_apart_do_not_tell_the_noise(self) -> None:
        """LCMAP's program compares those more than 30 days apart: close ones are alike, as in weeks of haze."""
        times = np.stack([TIMES, TIMES + 1 / 365.25], axis=1).ravel()
        haze = np.repeat(np.random.default_rng(0).normal(0, 60, len(TIMES)), 2)
        values = 1000 + np.stack([haze, haze], axis=1) + np.random.default_rng(1).normal(0, 1, (len(times), 2))
        (found,) = find_segments(times, values, replace(OPTIONS, clouds=(0, 1)))
        assert found.count > 0.9 * len(times)

    @pytest.mark.parametrize("count", [0, 1, 4])
    def test_few_observations_make_no_segment(self, count: int) -> None:
        assert find_segments(TIMES[:count], series()[:count], OPTIONS) == []

    def test_less_than_a_year_is_a_small_model(self) -> None:
        (found,) = find_segments(TIMES[:15], series()[:15], OPTIONS)
        assert (found.count, found.change) == (15, 0)
        assert not found.coefficients[:, 4:].any()


class TestLasso:
    @pytest.mark.slow
    def test_against_scikit_learn(self) -> None:
        linear = pytest.importorskip("sklearn.linear_model")
        preprocessing = pytest.importorskip("sklearn.preprocessing")
        values = series()
        design = harmonic_design(TIMES, 2 * np.pi * TIMES, 3)
        found = fit_lasso(design, values, 20, 25_000)
        scaler = preprocessing.StandardScaler().fit(design[:, 1:])
        for band in range(2):
            model = linear.Lasso(20, tol=1e-10, max_iter=100_000).fit(scaler.transform(design[:, 1:]), values[:, band])
            np.testing.assert_allclose(found.coefficients[1:, band], model.coef_ / scaler.scale_, atol=1e-5)
            predicted = model.predict(scaler.transform(design[:, 1:]))
            np.testing.assert_allclose(values[:, band] - found.residuals[:, band], predicted, atol=1e-5)

    def test_without_a_penalty_it_is_least_squares(self) -> None:
        values = series(None)
        design = harmonic_design(TIMES - 2006, 2 * np.pi * TIMES, 3)
        expected = np.linalg.lstsq(design, values, rcond=None)[0]
        for penalty, iterations in ((0, 100), (20, 0)):
            np.testing.assert_allclose(fit_lasso(design, values, penalty, iterations).coefficients, expected, atol=1e-8)

    def test_a_great_penalty_leaves_the_mean(self) -> None:
        values = series(None)
        found = fit_lasso(harmonic_design(TIMES, 2 * np.pi * TIMES, 1), values, 1e6, 100).coefficients
        np.testing.assert_allclose(found[0], values.mean(axis=0))
        assert not found[1:].any()


def test_fractional_years() -> None:
    """2019-10-01 is day 273 of 365, as https://github.com/parevalo/gee-ccdc-tools prints it."""
    time = datetime(2019, 10, 1, tzinfo=timezone.utc).timestamp() * 1000
    assert fractional_years(np.array([time]))[0] == pytest.approx(2019.7479452054795, abs=1e-9)


class TestServed:
    @pytest.fixture
    def ee(self, stack_server: Server) -> Any:
        return initialize(stack_server)

    def collection(self, ee: Any, values: Any, count: int = 180) -> Any:
        images = []
        for time, row in zip(TIMES[:count], values, strict=False):
            image = ee.Image.constant([float(v) for v in row]).rename(["green", "swir"]).double()
            since = round((time - 2000) * 365.25 * 86_400_000)
            images.append(image.set("system:time_start", 946_684_800_000 + since))
        return ee.ImageCollection(images)

    def at_point(self, ee: Any, image: Any) -> Any:
        return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 1).getInfo()

    @pytest.mark.slow
    def test_bands_and_values(self, ee: Any) -> None:
        given = {"dateFormat": 1, "lambda": 20}
        image = ee.Algorithms.TemporalSegmentation.Ccdc(self.collection(ee, series(2003.2)), **given)
        assert image.bandNames().getInfo() == [
            "tStart", "tEnd", "tBreak", "numObs", "changeProb", "green_coefs", "swir_coefs", "green_rmse", "swir_rmse",
            "green_magnitude", "swir_magnitude",
        ]  # fmt: skip
        found = self.at_point(ee, image)
        assert found["tBreak"] == pytest.approx([TIMES[np.searchsorted(TIMES, 2003.2)], 0], abs=0.005)
        assert sum(found["numObs"]) == 180
        assert found["changeProb"] == [1, 0]
        assert np.array(found["green_coefs"]).shape == (2, TERMS)
        assert found["swir_magnitude"] == pytest.approx([-800, 0], abs=60)

    @pytest.mark.slow
    def test_dates(self, ee: Any) -> None:
        collection = self.collection(ee, series(None))
        days = self.at_point(ee, ee.Algorithms.TemporalSegmentation.Ccdc(collection).select("tStart"))
        assert days["tStart"] == [730_120]  # 2000-01-01, where 0001-01-01 is day 1
        millis = self.at_point(ee, ee.Algorithms.TemporalSegmentation.Ccdc(collection, dateFormat=2).select("tStart"))
        assert millis["tStart"] == [946_684_800_000]

    @pytest.mark.slow
    def test_masked_observations_are_left_out(self, ee: Any) -> None:
        collection = self.collection(ee, series(None))
        masked = collection.map(lambda i: i.updateMask(i.date().get("month").lt(12)))
        found = self.at_point(ee, ee.Algorithms.TemporalSegmentation.Ccdc(masked).select("numObs"))
        months = [datetime.fromtimestamp((t - 1970) * 31_557_600, timezone.utc).month for t in TIMES[:180]]
        assert found["numObs"][0] == pytest.approx(sum(month < 12 for month in months), abs=3)
        nothing = collection.map(lambda i: i.updateMask(0))
        assert set(self.at_point(ee, ee.Algorithms.TemporalSegmentation.Ccdc(nothing)).values()) == {None}

    def test_errors(self, ee: Any) -> None:
        collection = self.collection(ee, series(None), 3)
        run = ee.Algorithms.TemporalSegmentation.Ccdc
        with pytest.raises(
            ee.EEException, match="breakpointBands: the collection has no band 'red'; found green, swir"
        ):
            run(collection, ["red"]).getInfo()
        with pytest.raises(ee.EEException, match="tmaskBands must be included in the breakpointBands"):
            run(collection, ["green"], ["swir"]).getInfo()
        with pytest.raises(ee.EEException, match="dateFormat must be 0, 1 or 2; found 3"):
            run(collection, dateFormat=3).getInfo()
        with pytest.raises(ee.EEException, match="chiSquareProbability must be from 0 to 1"):
            run(collection, chiSquareProbability=99).getInfo()
        assert self.at_point(ee, run(collection, [1]).select("numObs")) == {"numObs": None}
