"""Kriging against a worked example of a textbook and PyKrige, and inverse distances against Shepard's formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import Geod

from local_tests.support.served_arrays import read_pixels

SPHERE = Geod(a=6_378_137.0, b=6_378_137.0)
DEGREE = math.radians(1) * 6_378_137.0

# Isaaks and Srivastava 1989, "An introduction to applied geostatistics", chapter 12: x, y and V of seven samples of the
# Walker Lake data. With the covariance 10 exp(-0.3 h), ordinary kriging estimates 592.7 ppm at (65, 137).
WALKER_LAKE = (
    (61, 139, 477), (63, 140, 696), (64, 129, 227), (68, 128, 646), (71, 140, 606), (73, 141, 791), (75, 128, 783),
)  # fmt: skip
ESTIMATE = 592.7
METRE = 1 / DEGREE


def points(ee: Any, samples: Any, scale: float = METRE) -> Any:
    """Points near where the equator meets Greenwich, in steps of some degrees."""
    return ee.FeatureCollection(
        [ee.Feature(ee.Geometry.Point(x * scale, y * scale), {"V": value}) for x, y, value in samples]
    )


def at(ee: Any, image: Any, x: float, y: float) -> float | None:
    """The value of the only band at a place."""
    (name,) = image.bandNames().getInfo()
    grid = Affine(1e-7, 0, x - 5e-8, 0, -1e-7, y + 5e-8)
    pixels = read_pixels(ee, image, 0, 0, 1, 1, "EPSG:4326", grid)
    mask = read_pixels(ee, image.mask(), 0, 0, 1, 1, "EPSG:4326", grid)
    return float(pixels[name][0, 0]) if mask[name][0, 0] else None


class TestKriging:
    def test_the_textbook_s_estimate(self, demo_ee: Any) -> None:
        image = points(demo_ee, WALKER_LAKE).kriging("V", "exponential", 10, 10, 0, 1000)
        assert image.bandNames().getInfo() == ["V"]
        found = at(demo_ee, image, 65 * METRE, 137 * METRE)
        assert found == pytest.approx(ESTIMATE, abs=0.05)

    @pytest.mark.parametrize(("shape", "model"), [("spherical", "spherical"), ("exponential", "exponential")])
    def test_estimates_are_those_of_pykrige(self, demo_ee: Any, shape: str, model: str) -> None:
        ok = pytest.importorskip("pykrige.ok")
        x, y, values = np.array(WALKER_LAKE, dtype=float).T
        parameters = {"range": 30.0, "nugget": 2.0, "sill": 12.0}
        kriged = ok.OrdinaryKriging(x, y, values, variogram_model=model, variogram_parameters=parameters)
        image = points(demo_ee, WALKER_LAKE).kriging("V", shape, 30, 12, 2, 1000)
        grid = Affine(4 * METRE, 0, 58 * METRE, 0, -4 * METRE, 144 * METRE)
        found = read_pixels(demo_ee, image, 0, 0, 5, 5, "EPSG:4326", grid)["V"]
        expected, _ = kriged.execute("grid", 60.0 + 4 * np.arange(5), 142.0 - 4 * np.arange(5))
        assert np.allclose(found, expected, rtol=1e-5)

    def test_gaussian_semivariograms_by_their_covariances(self, demo_ee: Any) -> None:
        """The system of Isaaks and Srivastava, solved for the weights, which the server does not compute."""
        x, y, values = np.array(WALKER_LAKE, dtype=float).T

        def covariance(h: Any) -> Any:
            return 10 * np.exp(-3 * (h / 9) ** 2) + np.where(h == 0, 2, 0)

        system = np.ones((8, 8))
        system[:7, :7] = covariance(np.hypot(x - x[:, None], y - y[:, None]))
        system[7, 7] = 0
        weights = np.linalg.solve(system, np.append(covariance(np.hypot(x - 65, y - 137)), 1))[:7]
        image = points(demo_ee, WALKER_LAKE).kriging("V", "gaussian", 9, 12, 2, 1000)
        assert at(demo_ee, image, 65 * METRE, 137 * METRE) == pytest.approx(weights @ values, rel=1e-6)

    def test_only_points_within_reach_count(self, demo_ee: Any) -> None:
        samples = [(0, 0, 10.0), (30, 0, 20.0)]
        image = points(demo_ee, samples).kriging("V", "spherical", 20, 1, 0)
        assert at(demo_ee, image, 5 * METRE, 0) == pytest.approx(10)
        assert at(demo_ee, image, 0, 21 * METRE) is None
        wide = points(demo_ee, samples).kriging("V", "spherical", 20, 1, 0, 100)
        assert at(demo_ee, wide, 15 * METRE, 0) == pytest.approx(15)

    def test_points_in_one_place_are_collapsed(self, demo_ee: Any) -> None:
        """As the guide's example does it, by the name of a reducer."""
        samples = [(0, 0, 10.0), (0, 0, 30.0), (30, 0, 20.0)]
        for reducer, expected in (("mean", 20.0), ("max", 30.0), (None, 20.0)):
            image = points(demo_ee, samples).kriging("V", "exponential", 50, 1, 0, 50, reducer)
            assert at(demo_ee, image, 0, 0) == pytest.approx(expected)

    def test_what_cannot_be_is_refused(self, demo_ee: Any) -> None:
        ee, samples = demo_ee, points(demo_ee, WALKER_LAKE)
        for options, message in (
            (("V", "linear", 10, 10, 0), "Unknown shape 'linear'"),
            (("V", "gaussian", 0, 10, 0), "range must be positive"),
            (("V", "gaussian", 10, 1, 2), "nugget must lie between 0 and the sill"),
            (("V", "gaussian", 10, 1, 0, None, ee.Reducer.minMax()), "one input and one output"),
        ):
            with pytest.raises(ee.EEException, match=message):
                samples.kriging(*options).getInfo()
        with pytest.raises(ee.EEException, match="Property 'V' must be a number"):
            at(ee, points(ee, [(0, 0, "high")]).kriging("V", "gaussian", 10, 1, 0), 0, 0)
        square = ee.FeatureCollection([ee.Feature(ee.Geometry.Rectangle(-1, -1, 1, 1), {"V": 1})])
        with pytest.raises(ee.EEException, match="Only points can be interpolated"):
            at(ee, square.kriging("V", "gaussian", 1000, 1, 0), 0, 0)


class TestInverseDistance:
    SAMPLES = ((0, 0, 10.0), (0.1, 0, 30.0), (0.02, 0.07, 22.0))

    def test_without_gamma_it_is_the_modified_method_of_shepard(self, demo_ee: Any) -> None:
        """Franke and Nielson 1980: weights ((R - d) / (R d))². Points beyond the range have none."""
        reach = 12_000.0
        x, y, values = np.array(self.SAMPLES).T
        image = points(demo_ee, self.SAMPLES, 1).inverseDistance(reach, "V", 20, 10, 0)
        assert image.bandNames().getInfo() == ["V"]
        for place in ((0.03, 0.01), (0.05, 0.05), (0.09, -0.04)):
            count = len(x)
            far = SPHERE.inv(np.full(count, place[0]), np.full(count, place[1]), x, y)[2]
            weights = np.where(far < reach, ((reach - far) / (reach * far)) ** 2, 0)
            assert at(demo_ee, image, *place) == pytest.approx((weights * values).sum() / weights.sum(), rel=1e-6)

    def test_it_is_exact_at_points_and_tends_to_the_mean(self, demo_ee: Any) -> None:
        """guides/interpolation: valid up to the range; gamma determines how quickly it tends to the mean."""
        samples = points(demo_ee, [(0, 0, 10.0)], 1)
        slow, quick = (samples.inverseDistance(10_000, "V", 50, 5, gamma) for gamma in (0.5, 4))
        for image in (slow, quick):
            assert at(demo_ee, image, 0, 0) == pytest.approx(10, abs=1e-4)
            assert at(demo_ee, image, 9_999 / DEGREE, 0) == pytest.approx(50, abs=1)
            assert at(demo_ee, image, 10_001 / DEGREE, 0) is None
        nearer, farther = (at(demo_ee, image, 3_000 / DEGREE, 0) for image in (slow, quick))
        assert nearer is not None
        assert farther is not None
        assert 10 < nearer < farther < 50

    def test_the_example_of_the_guide_runs(self, demo_ee: Any) -> None:
        """guides/interpolation, with points at random and their longitude for methane."""
        ee = demo_ee
        area = ee.Geometry.Rectangle(-95.7, 37.4, -94.7, 38.4)
        samples = ee.FeatureCollection.randomPoints(area, 60, 3).map(
            lambda sample: sample.set("ch4", sample.geometry().coordinates().get(0))
        )
        both = ee.Reducer.mean().combine(reducer2=ee.Reducer.stdDev(), sharedInputs=True)
        stats = samples.reduceColumns(reducer=both, selectors=["ch4"])
        image = samples.inverseDistance(
            range=7e4, propertyName="ch4", mean=stats.get("mean"), stdDev=stats.get("stdDev"), gamma=0.3
        )
        grid = Affine(0.1, 0, -95.7, 0, -0.1, 38.4)
        found = read_pixels(ee, image, 0, 0, 10, 10, "EPSG:4326", grid)["ch4"]
        assert np.corrcoef(found.mean(axis=0), np.arange(10))[0, 1] > 0.95
        assert found.min() > -95.7
        assert found.max() < -94.7

    def test_what_cannot_be_is_refused(self, demo_ee: Any) -> None:
        samples = points(demo_ee, self.SAMPLES)
        for options, message in (
            ((0, "V", 1, 1), "range must be positive"),
            ((10, "V", 1, 1, -1), "gamma must not be negative"),
            ((10, "V", 1, -1), "stdDev must not be negative"),
        ):
            with pytest.raises(demo_ee.EEException, match=message):
                samples.inverseDistance(*options).getInfo()
