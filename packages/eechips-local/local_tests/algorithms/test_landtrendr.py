"""LandTrendr: series whose breaks are known, the paper's rules, and the real client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.distributions import chi_square_below, chi_square_quantile, exceeding_f
from eechips_local.algorithms.landtrendr import LandTrendrOptions, Segmentation, despike, fit_vertices, segment
from local_tests.support.local_earth_engine import Server, initialize

YEARS = np.arange(1990.0, 2020.0)
EARTH_ENGINE = LandTrendrOptions(6, 0.9, 3, True, 0.25, 0.05, 0.75, 6)
"""The parameters of Kennedy et al. (2018), table 1."""


def options(**changes: Any) -> LandTrendrOptions:
    from dataclasses import replace

    return replace(EARTH_ENGINE, **changes)


def noise(seed: int, size: float = 8.0) -> Any:
    return np.random.default_rng(seed).normal(0, size, len(YEARS))


def cut(year: int, high: float = 600.0, end: float = 250.0) -> Any:
    """A stable forest that is cut in a year, and grows again."""
    after = year <= YEARS
    return np.where(after, high + (end - high) * (YEARS - year) / (YEARS[-1] - year), 100.0)


def check(found: Segmentation, segments: int = 6) -> None:
    assert found.vertices[0] == 0
    assert found.vertices[-1] == len(YEARS) - 1
    assert list(found.vertices) == sorted(set(found.vertices))
    assert len(found.vertices) <= segments + 1


class TestSegmentation:
    @pytest.mark.parametrize("year", [1996, 2003, 2011])
    @pytest.mark.parametrize("seed", range(5))
    def test_the_years_around_a_cut_are_vertices(self, year: int, seed: int) -> None:
        found = segment(YEARS, cut(year) + noise(seed), EARTH_ENGINE)
        check(found)
        years = YEARS[list(found.vertices)].tolist()
        assert year - 1 in years
        assert year in years
        fitted = dict(zip(years, found.values, strict=True))
        assert fitted[year] - fitted[year - 1] == pytest.approx(500, abs=40)
        assert np.abs(found.fitted(YEARS) - cut(year)).mean() < 15

    def test_exact_lines_have_their_own_vertices_only(self) -> None:
        values = np.interp(YEARS, [1990, 2000, 2001, 2019], [100, 120, 700, 300])
        found = segment(YEARS, values, EARTH_ENGINE)
        assert YEARS[list(found.vertices)].tolist() == [1990, 2000, 2001, 2019]
        np.testing.assert_allclose(found.values, [100, 120, 700, 300])

    def test_a_line_is_one_segment(self) -> None:
        found = segment(YEARS, 3 * YEARS - 5900, EARTH_ENGINE)
        assert found.vertices == (0, 29)
        np.testing.assert_allclose(found.values, [70, 157])

    @pytest.mark.parametrize("seed", range(6))
    def test_noise_without_a_trend_is_a_flat_line_at_its_mean(self, seed: int) -> None:
        values = despike(500 + noise(seed), 0.9)
        found = segment(YEARS, 500 + noise(seed), options(p_value=1e-9))
        assert found.vertices == (0, 29)
        np.testing.assert_allclose(found.values, [values.mean()] * 2)

    def test_constants_are_flat(self) -> None:
        assert segment(YEARS, np.full(30, 7.0), EARTH_ENGINE) == Segmentation((0, 29), (7.0, 7.0))

    @pytest.mark.parametrize("segments", [1, 2, 3, 5, 8])
    def test_there_are_at_most_so_many_segments(self, segments: int) -> None:
        random = np.random.default_rng(segments)
        for _ in range(20):
            values = np.cumsum(random.normal(0, 50, 30)) + random.normal(0, 5, 30)
            check(segment(YEARS, values, options(segments=segments)), segments)

    def test_recoveries_that_are_too_steep_are_not_fitted(self) -> None:
        """Falls are limited to a share of the range of the fit a year; the same as a rise is found."""
        fall = 700 - cut(2005)
        steep, gentle = (
            segment(YEARS, fall + noise(1), EARTH_ENGINE),
            segment(YEARS, fall + noise(1), options(recovery=1)),
        )
        slopes = np.diff(steep.fitted(YEARS)) / np.ptp(steep.fitted(YEARS))
        assert slopes.min() >= -0.25 - 1e-9
        assert np.diff(gentle.fitted(YEARS)).min() < -400

    def test_a_fall_in_the_last_year_is_no_segment_if_that_is_prevented(self) -> None:
        values = 100 + 10 * (YEARS - 1990) + noise(2, 1)
        values[-1] -= 150
        prevented = segment(YEARS, values, options(recovery=10))
        allowed = segment(YEARS, values, options(recovery=10, has_no_late_recovery=False))
        assert 28 not in prevented.vertices
        assert 28 in allowed.vertices

    def test_years_may_be_missing(self) -> None:
        kept = ~np.isin(YEARS, [1991, 1992, 2006, 2015])
        found = segment(YEARS[kept], (cut(2003) + noise(3))[kept], EARTH_ENGINE)
        assert {2002, 2003} <= set(YEARS[kept][list(found.vertices)])


class TestSpikes:
    def test_a_spike_between_equal_values_goes(self) -> None:
        assert despike(np.array([1.0, 1, 9, 1, 1]), 0.9).tolist() == [1, 1, 1, 1, 1]

    def test_steps_and_lines_stay(self) -> None:
        for values in ([1.0, 1, 1, 9, 9, 9], [1.0, 2, 3, 4, 5]):
            assert despike(np.array(values), 0.9).tolist() == values

    def test_nothing_is_dampened_at_one(self) -> None:
        values = np.array([1.0, 9, 1, 9, 1])
        assert despike(values, 1).tolist() == values.tolist()

    def test_a_partial_spike_is_moved_by_its_share(self) -> None:
        """The neighbours of 9 differ by 1 and are 8 and 7 away: its share is 1 - 1 / 8."""
        found = despike(np.array([0.0, 1, 9, 2, 3]), 0.87)
        assert found[2] == pytest.approx(9 + 7 / 8 * (1.5 - 9))


class TestFits:
    def test_another_series_follows_the_same_vertices(self) -> None:
        values = np.interp(YEARS, [1990, 2000, 2001, 2019], [5, 6, 1, 4])
        years, found = fit_vertices(YEARS, values, [1990, 2000, 2001, 2019], 1)
        assert years.tolist() == [1990, 2000, 2001, 2019]
        np.testing.assert_allclose(found, [5, 6, 1, 4])

    def test_vertices_outside_move_to_the_ends(self) -> None:
        kept = YEARS >= 1995
        years, found = fit_vertices(YEARS[kept], YEARS[kept] * 2, [1990, 2000, 2019], 1)
        assert years.tolist() == [1995, 2000, 2019]
        np.testing.assert_allclose(found, [3990, 4000, 4038])

    def test_a_year_without_a_value_may_be_a_vertex(self) -> None:
        kept = YEARS != 2001
        values = np.interp(YEARS, [1990, 2001, 2019], [0, 11, -7])[kept]
        _, found = fit_vertices(YEARS[kept], values, [1990, 2001, 2019], 1)
        assert found[1] == pytest.approx(10, abs=1)


@pytest.mark.slow
def test_distributions_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for above, below in ((2, 20), (8, 12), (12, 5)):
        for f in (0.1, 1, 3.3, 40):
            assert exceeding_f(f, above, below) == pytest.approx(stats.f.sf(f, above, below), rel=1e-10)
    for probability in (0.1, 0.5, 0.9, 0.99, 0.999, 1 - 1e-6):
        for degrees in (1, 2, 5, 7):
            expected = stats.chi2.ppf(probability, degrees)
            assert chi_square_quantile(probability, degrees) == pytest.approx(expected, rel=1e-8)
            assert chi_square_below(expected, degrees) == pytest.approx(probability)
    assert (chi_square_quantile(0, 3), chi_square_quantile(1, 3)) == (0, np.inf)


class TestServed:
    @pytest.fixture
    def ee(self, stack_server: Server) -> Any:
        return initialize(stack_server)

    def collection(self, ee: Any, *series: Any, years: Any = YEARS) -> Any:
        """Yearly images of constants; NaN is masked."""
        images = []
        for position, year in enumerate(years.tolist()):
            bands = []
            for band, values in enumerate(series):
                value = float(values[position])
                masked = ee.Image.constant(0.0 if np.isnan(value) else value).double()
                bands.append(masked.updateMask(0 if np.isnan(value) else 1).rename(f"b{band}"))
            images.append(ee.Image.cat(bands).set("system:time_start", ee.Date.fromYMD(int(year), 8, 1).millis()))
        return ee.ImageCollection(images)

    def segments(self, ee: Any, collection: Any, **changes: Any) -> Any:
        given = {
            "maxSegments": 6, "spikeThreshold": 0.9, "vertexCountOvershoot": 3, "preventOneYearRecovery": True,
            "recoveryThreshold": 0.25, "pvalThreshold": 0.05, "bestModelProportion": 0.75, "minObservationsNeeded": 6,
        } | changes  # fmt: skip
        return ee.Algorithms.TemporalSegmentation.LandTrendr(timeSeries=collection, **given)

    def at_point(self, ee: Any, image: Any) -> Any:
        return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 1).getInfo()

    def test_rows_columns_and_error(self, ee: Any) -> None:
        values = cut(2003) + noise(4)
        image = self.segments(ee, self.collection(ee, values))
        assert image.bandNames().getInfo() == ["LandTrendr", "rmse"]
        found = self.at_point(ee, image)
        years, source, fitted, vertex = np.array(found["LandTrendr"])
        expected = segment(YEARS, values, EARTH_ENGINE)
        assert years.tolist() == YEARS.tolist()
        np.testing.assert_allclose(source, values)
        np.testing.assert_allclose(fitted, expected.fitted(YEARS))
        assert np.flatnonzero(vertex).tolist() == list(expected.vertices)
        # Between vertices, the fit is straight.
        at = np.flatnonzero(vertex)
        np.testing.assert_allclose(np.interp(YEARS, YEARS[at], fitted[at]), fitted)
        assert found["rmse"] == pytest.approx(np.sqrt(((fitted - source) ** 2).mean()))

    def test_masked_years_have_no_column_and_other_bands_are_fitted_in_all(self, ee: Any) -> None:
        first, second = cut(2003) + noise(5), 900 - cut(2003)
        first[[4, 20]], second[7] = np.nan, np.nan
        found = self.at_point(ee, self.segments(ee, self.collection(ee, first, second)))
        years = np.array(found["LandTrendr"])[0]
        assert years.tolist() == np.delete(YEARS, [4, 20]).tolist()
        assert len(found["b1_fit"]) == len(YEARS)
        assert np.abs(np.array(found["b1_fit"]) - (900 - cut(2003))).max() < 20

    def test_fits_to_vertices_of_another_run(self, ee: Any) -> None:
        """As scripts do: vertices are the years whose fourth row is 1."""
        lt = self.segments(ee, self.collection(ee, cut(2003) + noise(6))).select("LandTrendr")
        vertices = lt.arraySlice(0, 0, 1).arrayMask(lt.arraySlice(0, 3, 4)).arrayProject([1])
        other = self.collection(ee, 1000 - cut(2003), cut(2003) / 10)
        fit = ee.Algorithms.TemporalSegmentation.LandTrendrFit(other, vertices, 0.9, 6)
        assert fit.bandNames().getInfo() == ["b0_fit", "b1_fit"]
        names = [f"y{year:.0f}" for year in YEARS]
        flat = self.at_point(ee, fit.select("b0_fit").arrayFlatten([names]))
        np.testing.assert_allclose([flat[name] for name in names], 1000 - cut(2003), atol=25)

    def test_pixels_with_too_few_years_are_masked(self, ee: Any) -> None:
        values = np.full(30, np.nan)
        values[:5] = [1, 2, 3, 4, 5]
        image = self.segments(ee, self.collection(ee, values))
        assert self.at_point(ee, image) == {"LandTrendr": None, "rmse": None}
        few = self.segments(ee, self.collection(ee, values), minObservationsNeeded=5)
        assert np.array(self.at_point(ee, few)["LandTrendr"]).shape == (4, 5)

    def test_pixels_of_a_picture_differ(self, ee: Any) -> None:
        """The year of the cut depends on the longitude."""
        longitude = ee.Image.pixelLonLat().select(0)
        images = [
            longitude.multiply(3).add(1995).lte(year).multiply(500).add(year % 7).toInt16()
            .set("system:time_start", ee.Date.fromYMD(int(year), 6, 1).millis())
            for year in range(1990, 2020)
        ]  # fmt: skip
        lt = self.segments(ee, ee.ImageCollection(images)).select("LandTrendr")
        fitted = lt.arraySlice(0, 2, 3).arrayProject([1])
        step = fitted.arraySlice(0, 1).subtract(fitted.arraySlice(0, 0, -1)).arrayArgmax().arrayGet([0])
        found = step.add(1991).reduceRegion(ee.Reducer.toList(), ee.Geometry.Rectangle([0, 0, 5, 1]), crs="EPSG:4326",
                                            crsTransform=[1, 0, 0, 0, -1, 1]).getInfo()  # fmt: skip
        assert list(found.values()) == [[1997, 2000, 2003, 2006, 2009]]

    def test_segments_are_sorted_as_scripts_do(self, ee: Any) -> None:
        """As in LT-GEE: vertices by a mask of columns, segments between neighbours, the greatest rise first."""
        values = cut(2003) + noise(7)
        lt = self.segments(ee, self.collection(ee, values))
        segments = lt.select("LandTrendr")
        vertices = segments.arrayMask(segments.arraySlice(0, 3, 4))
        left, right = vertices.arraySlice(1, 0, -1), vertices.arraySlice(1, 1, None)
        rise = right.arraySlice(0, 2, 3).subtract(left.arraySlice(0, 2, 3))
        table = ee.Image.cat(
            left.arraySlice(0, 0, 1), right.arraySlice(0, 0, 1), rise, rise.divide(lt.select("rmse"))
        ).toArray(0)
        greatest = table.arraySort(rise.multiply(-1)).arraySlice(1, 0, 1)
        flat = greatest.arrayProject([0]).arrayFlatten([["start", "end", "rise", "ratio"]])
        found = self.at_point(ee, flat)
        assert (found["start"], found["end"]) == (2002, 2003)
        assert found["rise"] == pytest.approx(500, abs=40)
        assert found["ratio"] == pytest.approx(found["rise"] / self.at_point(ee, lt)["rmse"])

    def test_huge_values_and_times_are_no_internal_errors(self, ee: Any) -> None:
        """Their squares are infinite."""
        values = np.where(YEARS < 2003, 1e200, -1e300) * (1 + YEARS % 3)
        collection = self.collection(ee, values, -values)
        segmentation = ee.Algorithms.TemporalSegmentation
        for image in (
            self.segments(ee, collection),
            segmentation.Ccdc(collection, minObservations=2, maxIterations=100),
            segmentation.C2c(collection),
            segmentation.StructuralChangeBreakpoints(collection, "b0", 1),
        ):
            assert set(self.at_point(ee, image)) == set(image.bandNames().getInfo())
        late = ee.ImageCollection([ee.Image(1).set("system:time_start", 1e300)])
        with pytest.raises(ee.EEException, match="must be in the years 1 to 9999"):
            self.at_point(ee, self.segments(ee, late))

    def test_errors(self, ee: Any) -> None:
        twice = self.collection(ee, [1, 2, 3], years=np.array([2000, 2000, 2001]))
        with pytest.raises(ee.EEException, match="one image for each year; found two of 2000"):
            self.at_point(ee, self.segments(ee, twice))
        with pytest.raises(ee.EEException, match="has no property 'system:time_start'"):
            self.at_point(ee, self.segments(ee, ee.ImageCollection([ee.Image(1), ee.Image(1)])))
        with pytest.raises(ee.EEException, match="maxSegments must be positive"):
            self.segments(ee, twice, maxSegments=0).getInfo()
        with pytest.raises(ee.EEException, match="spikeThreshold must be from 0 to 1"):
            self.segments(ee, twice, spikeThreshold=1.5).getInfo()
        with pytest.raises(ee.EEException, match="vertices must be an image of one array band"):
            ee.Algorithms.TemporalSegmentation.LandTrendrFit(twice, ee.Image(1)).getInfo()
