"""EWMACD: scores by the program for Earth Engine, series whose models are known, and the real client."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eechips_local.algorithms.ewmacd import EwmacdOptions, chart, harmonics
from local_tests.support.local_earth_engine import Server, initialize

Floats = npt.NDArray[np.float64]

PROGRAM: list[tuple[EwmacdOptions, list[tuple[int, int]]]] = [
    (
        EwmacdOptions(-1, 2000, 2003, 2, 1.5, 20, 0.3, 3.0, True, 3),
        [
            (0, 39),
            (-5, 1),
            (-3, 1),
            (-2, 2),
            (-1, 1),
            (0, 6),
            (-2, 1),
            (-4, 5),
            (-10, 1),
            (-8, 1),
            (-7, 1),
            (-6, 1),
            (-5, 1),
            (-4, 4),
            (-3, 1),
            (-2, 4),
            (-3, 1),
            (-2, 2),
            (-7, 1),
            (-5, 1),
            (-3, 1),
            (-2, 2),
            (-1, 3),
            (0, 9),
            (-5, 1),
            (-4, 1),
            (-2, 2),
            (-1, 2),
        ],
    ),
    (
        EwmacdOptions(0.2, 2000, 2003, 1, 1.5, 20, 0.3, 3.0, True, 3),
        [(0, 50), (-1, 1), (-2, 14), (-1, 5), (-2, 1), (-1, 5), (0, 14), (-2, 2), (-1, 4)],
    ),
    (
        EwmacdOptions(0.2, 2000, 2003, 2, 2.0, 5, 0.1, 2.0, True, 6),
        [
            (0, 50),
            (-2, 1),
            (-4, 1),
            (-5, 1),
            (-6, 1),
            (-7, 3),
            (-8, 3),
            (-9, 6),
            (-8, 5),
            (-7, 4),
            (-6, 1),
            (-5, 2),
            (-4, 4),
            (-3, 4),
            (-2, 1),
            (-3, 1),
            (-2, 2),
            (-7, 1),
            (-6, 1),
            (-5, 2),
            (-4, 2),
        ],
    ),
    (
        EwmacdOptions(0.2, 2000, 2004, 2, 1.5, 20, 0.5, 3.0, True, 1),
        [
            (0, 50),
            (-2, 1),
            (-4, 1),
            (-3, 9),
            (-2, 4),
            (-1, 4),
            (-2, 2),
            (-1, 4),
            (0, 15),
            (-6, 1),
            (-3, 1),
            (-1, 2),
            (0, 2),
        ],
    ),
    (
        EwmacdOptions(-1000, 2000, 2003, 2, 1.5, 20, 0.3, 3.0, False, 3),
        [
            (0, 38),
            (-1, 1),
            (-13, 1),
            (-10, 1),
            (-6, 1),
            (-5, 1),
            (-3, 1),
            (-1, 4),
            (-2, 1),
            (-1, 1),
            (-7, 1),
            (-10, 1),
            (-11, 1),
            (-12, 3),
            (-26, 1),
            (-21, 1),
            (-18, 1),
            (-16, 1),
            (-15, 1),
            (-12, 2),
            (-11, 2),
            (-9, 1),
            (-7, 1),
            (-6, 1),
            (-7, 2),
            (-8, 1),
            (-6, 1),
            (-5, 1),
            (-18, 1),
            (-14, 1),
            (-10, 1),
            (-6, 2),
            (-4, 1),
            (-3, 2),
            (-2, 2),
            (-1, 1),
            (-2, 2),
            (-1, 1),
            (-2, 1),
            (-1, 1),
            (-2, 1),
            (-14, 1),
            (-10, 1),
            (-7, 1),
            (-6, 1),
            (-4, 1),
            (-2, 1),
        ],
    ),
]
"""Options, and the scores of ``series`` with the number of observations that have them.

By ``Ewmacd.java`` of https://github.com/c11/lcms, commit 8342486 (Apache License 2.0), with Commons Math 2.2.
"""


def series() -> tuple[Floats, Floats, Floats]:
    """Years, days and values of eight years of a forest that is disturbed in the fifth, with clouds."""
    place = np.arange(96)
    years = 2000.0 + place // 12
    days = 8.0 + 30 * (place % 12) + (7 * (place // 12)) % 11
    phase = 2 * np.pi * days / 365
    values = 0.6 + 0.15 * np.sin(phase + 4) + 0.04 * np.cos(2 * phase) + 0.03 * np.sin(place**2)
    values[place % 17 == 5] -= 0.45
    values[place >= 50] -= 0.2 * np.exp(-(place[place >= 50] - 50) / 15)
    return years, days, np.round(values, 4)


@pytest.mark.parametrize(("options", "runs"), PROGRAM)
def test_scores_are_those_of_the_program(options: EwmacdOptions, runs: list[tuple[int, int]]) -> None:
    years, days, values = series()
    found = chart(years, days, values if options.is_rounded else values * 100, options)
    assert found is not None
    expected = np.repeat([score for score, _ in runs], [count for _, count in runs])
    assert found.scores.tolist() == expected.tolist()


def test_models_of_exact_harmonics() -> None:
    """The coefficients are a constant, then sine and cosine of each harmonic; a fall by one is seen in residuals."""
    years, days, _ = series()
    wanted = [0.5, 0.2, -0.1, 0.05, 0.03]
    phase = 2 * np.pi * days / 365
    values = 0.5 + 0.2 * np.sin(phase) - 0.1 * np.cos(phase) + 0.05 * np.sin(2 * phase) + 0.03 * np.cos(2 * phase)
    values[years >= 2005] -= 1
    found = chart(years, days, values, EwmacdOptions(-9, 2000, 2003, 2, 1.5, 20, 0.3, 3, True, 3))
    assert found is not None
    assert found.coefficients.tolist() == pytest.approx(wanted)
    assert (found.rmse, found.r_squared) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
    np.testing.assert_allclose(found.residuals, np.where(years >= 2005, -1, 0), atol=1e-12)


@pytest.mark.slow
def test_models_are_fitted_again_without_outliers() -> None:
    """R squared and error by scikit-learn, over the training observations within 1.5 standard deviations."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    years, days, values = series()
    found = chart(years, days, values, PROGRAM[0][0])
    assert found is not None
    training = years < 2003
    design, known = harmonics(days, 2)[training, 1:], values[training]
    first = linear_model.LinearRegression().fit(design, known)
    rest = known - first.predict(design)
    kept = np.abs(rest) <= 1.5 * rest.std(ddof=1)
    assert 0 < (~kept).sum() < 5
    second = linear_model.LinearRegression().fit(design[kept], known[kept])
    assert found.coefficients.tolist() == pytest.approx([second.intercept_, *second.coef_])
    assert found.r_squared == pytest.approx(second.score(design[kept], known[kept]))
    assert found.rmse == pytest.approx(np.sqrt(((known - second.predict(design))[kept] ** 2).mean()))


def test_training_years_may_be_in_the_middle() -> None:
    """Years before them are charted with the limit of other years."""
    years, days, values = series()
    found = chart(years, days, values[::-1].copy(), EwmacdOptions(-1, 2005, 2008, 2, 1.5, 20, 0.3, 3, True, 3))
    assert found is not None
    assert found.scores[:46].min() < -3


def test_too_few_training_observations_have_no_model() -> None:
    years, days, values = series()
    five = EwmacdOptions(-1, 2000, 2001, 2, 9, 20, 0.3, 3, True, 3)
    assert chart(years[:5], days[:5], values[:5], five) is None
    assert chart(years[:6], days[:6], values[:6], five) is not None
    assert chart(years, np.full(96, 200.0), values, five) is None
    assert chart(years[:0], days[:0], values[:0], five) is None


class TestServed:
    @pytest.fixture
    def ee(self, stack_server: Server) -> Any:
        return initialize(stack_server)

    def collection(self, ee: Any, hidden: int | None = None) -> Any:
        images = []
        for place, (year, day, value) in enumerate(zip(*series(), strict=True)):
            time = datetime(int(year), 1, 1) + timedelta(days=day - 1)
            image = ee.Image.constant(float(value)).double().rename("NDVI").updateMask(0 if place == hidden else 1)
            images.append(image.set("system:time_start", ee.Date(time).millis()))
        return ee.ImageCollection(images[::-1])

    def at_point(self, ee: Any, image: Any) -> Any:
        return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 1).getInfo()

    def test_bands_of_the_reference(self, ee: Any) -> None:
        image = ee.Algorithms.TemporalSegmentation.Ewmacd(self.collection(ee), -1, 2000, 2003)
        names = ["ewma", "harmonicCoefficients", "rmse", "rSquared", "residuals"]
        assert image.bandNames().getInfo() == names
        found = self.at_point(ee, image)
        expected = chart(*series(), PROGRAM[0][0])
        assert expected is not None
        assert found["ewma"] == expected.scores.tolist()
        assert found["harmonicCoefficients"] == pytest.approx(expected.coefficients.tolist())
        assert (found["rmse"], found["rSquared"]) == pytest.approx((expected.rmse, expected.r_squared))
        assert found["residuals"] == pytest.approx(expected.residuals.tolist())

    def test_arrays_have_an_element_for_each_image_that_is_not_masked(self, ee: Any) -> None:
        """As geeViz's ``runEWMACD`` has it: it joins the scores to the array of these images' years."""
        collection = self.collection(ee, hidden=40)
        ewma = ee.Algorithms.TemporalSegmentation.Ewmacd(collection, -1, 2000, 2003, 1).select("ewma")
        years = collection.sort("system:time_start").map(
            lambda image: ee.Image.constant(image.date().get("year")).float().updateMask(image.mask())
        )
        joined = self.at_point(ee, ewma.arrayCat(years.toArray().arrayProject([0]), 1).rename("both"))["both"]
        assert len(joined) == 95
        assert joined[0] == [0, 2000]

    def test_pixels_without_a_model_are_masked(self, ee: Any) -> None:
        image = ee.Algorithms.TemporalSegmentation.Ewmacd(self.collection(ee), -1, 1990, 1995)
        assert set(self.at_point(ee, image).values()) == {None}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"lambda": 0}, "lambda must be above 0"),
            ({"lambdasigs": 0}, "lambdasigs must be positive"),
            ({"harmonicCount": -1}, "harmonicCount must be from 0 to 50"),
        ],
    )
    def test_refused_options(self, ee: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ee.EEException, match=message):
            ee.Algorithms.TemporalSegmentation.Ewmacd(self.collection(ee), -1, 2000, 2003, **options).getInfo()

    def test_several_bands_are_refused(self, ee: Any) -> None:
        two = ee.ImageCollection([ee.Image([1, 2])])
        with pytest.raises(ee.EEException, match="images of one band"):
            ee.Algorithms.TemporalSegmentation.Ewmacd(two, -1, 2000, 2003).getInfo()
