"""VeRDET: pixels that the authors' program divided, series whose slopes are known, and the real client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.verdet import VerdetOptions, find_slopes, fit_lines, smoothed
from local_tests.support.local_earth_engine import Server, initialize

DEFAULTS = VerdetOptions(tolerance=1e-4, alpha=1 / 30, runs=100)

PUBLISHED: dict[tuple[int, int], tuple[list[int], list[tuple[int, int]]]] = {
    (23, 37): (
        [
            32343,
            32333,
            32663,
            31280,
            33155,
            33111,
            33199,
            32698,
            33868,
            34506,
            34365,
            32945,
            34490,
            35442,
            35292,
            35820,
            34262,
            35467,
            35279,
            35812,
            34578,
            35804,
            35523,
            36581,
            34800,
            36347,
            32508,
            32647,
            32877,
            31685,
        ],
        [(61451, 23), (45916, 6)],
    ),
    (34, 54): (
        [
            30591,
            30721,
            30229,
            31126,
            31312,
            31642,
            31326,
            31650,
            31496,
            32600,
            33399,
            33645,
            34502,
            36407,
            35819,
            33097,
            31495,
            32644,
            32525,
            33358,
            32873,
            34493,
            34087,
            35645,
            34398,
            35799,
            35936,
            36419,
            37246,
            36063,
        ],
        [(62333, 13), (48508, 4), (65534, 11), (65535, 1)],
    ),
    (89, 62): (
        [
            35595,
            35590,
            35678,
            34778,
            36997,
            35790,
            36657,
            36485,
            37997,
            38551,
            37993,
            36877,
            37140,
            38039,
            38648,
            38039,
            38057,
            39618,
            34089,
            33620,
            31376,
            32246,
            31913,
            32795,
            31818,
            33138,
            33180,
            33353,
            33569,
            32366,
        ],
        [(62245, 17), (294, 2), (59527, 10)],
    ),
    (36, 66): (
        [
            30970,
            31055,
            30921,
            30871,
            31977,
            32105,
            32334,
            32442,
            32348,
            33843,
            34243,
            33841,
            35058,
            36399,
            35750,
            33456,
            31875,
            33243,
            33141,
            33922,
            33252,
            34619,
            34073,
            35790,
            34335,
            35894,
            36115,
            36443,
            37266,
            36096,
        ],
        [(63116, 13), (43826, 3), (64451, 13)],
    ),
    (88, 62): (
        [
            35509,
            35477,
            35769,
            34315,
            36443,
            35790,
            36525,
            36111,
            37409,
            37647,
            37647,
            36366,
            37128,
            37771,
            38287,
            38025,
            37230,
            38543,
            34089,
            33620,
            31376,
            32246,
            31913,
            32795,
            31818,
            33138,
            33180,
            33353,
            33569,
            32366,
        ],
        [(62213, 15), (49934, 2), (28099, 3), (60471, 9)],
    ),
}
"""By row and column: NDMI of 30 years, and scores with the number of years that have them.

From ``NDMI_Z_Stack.tif`` and ``verdet_output_score.tif``, which the authors' MATLAB program wrote, of
https://github.com/c11/lcms/tree/master/test/test_verdet (Apache License 2.0), with the scales of its readme.
"""
_SCORE, _LEAST_SCORE = 0.10414045959466088 / 65535, -0.092938733186154518


@pytest.mark.parametrize("pixel", PUBLISHED)
def test_slopes_are_those_of_the_authors_program(pixel: tuple[int, int]) -> None:
    stored, runs = PUBLISHED[pixel]
    found = find_slopes(np.array(stored) / 65535 * 2 - 1, DEFAULTS)
    expected = np.repeat([score * _SCORE + _LEAST_SCORE for score, _ in runs], [years for _, years in runs])
    assert found[0] == 0
    np.testing.assert_allclose(found[1:], expected, rtol=0, atol=1.01 * _SCORE)


def test_exact_lines_have_their_own_slopes() -> None:
    years = np.arange(30)
    values = np.interp(years, [0, 12, 14, 29], [0.6, 0.6, 0.1, 0.5])
    found = find_slopes(values, DEFAULTS)
    np.testing.assert_allclose(found[1:], np.diff(values), atol=1e-9)


def test_smoothing_minimises_its_sum() -> None:
    """Any small change of the slopes makes the sum of squares and steps larger."""
    random = np.random.default_rng(1)
    values = np.interp(np.arange(20), [0, 9, 19], [0.2, 0.6, 0.3]) + random.normal(0, 0.03, 20)
    found = smoothed(values, VerdetOptions(1e-12, 0.05, 1000))

    def total(slopes: Any) -> float:
        rest = np.cumsum(slopes) - (values - values[0])
        return float((rest**2).sum() / 2 + 0.05 * np.abs(np.diff(slopes)).sum())

    slopes = np.diff(found, prepend=values[0])
    least = total(slopes)
    assert all(total(slopes + random.normal(0, 0.01, 20)) > least for _ in range(200))


def test_more_weight_leaves_fewer_segments() -> None:
    values = np.array(PUBLISHED[88, 62][0]) / 65535 * 2 - 1
    counts = [len(np.unique(find_slopes(values, VerdetOptions(1e-4, alpha, 100))[1:].round(9))) for alpha in (0, 1)]
    assert counts[0] > counts[1]


def test_nodes_that_come_back_end_the_turns() -> None:
    """Fits may have the nodes of an earlier one in turns, for which the authors' program has no end."""
    random = np.random.default_rng(5)
    for _ in range(300):
        values = random.uniform(0, 1, 12)
        assert np.isfinite(fit_lines(values, values)).all()


def test_short_series_and_negative_values() -> None:
    assert find_slopes(np.array([]), DEFAULTS).tolist() == []
    assert find_slopes(np.array([3.0]), DEFAULTS).tolist() == [0]
    assert find_slopes(np.array([1.0, 3.0]), DEFAULTS).tolist() == pytest.approx([0, 2])
    np.testing.assert_allclose(find_slopes(np.full(9, -0.4), DEFAULTS), 0, atol=1e-12)


class TestServed:
    @pytest.fixture
    def ee(self, stack_server: Server) -> Any:
        return initialize(stack_server)

    def collection(self, ee: Any, values: Any) -> Any:
        return ee.ImageCollection([ee.Image.constant(float(value)).double().rename("NDMI") for value in values])

    def scores(self, ee: Any, image: Any) -> Any:
        return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 1).getInfo()

    def test_an_array_of_slopes(self, ee: Any) -> None:
        values = np.array(PUBLISHED[88, 62][0]) / 65535 * 2 - 1
        image = ee.Algorithms.TemporalSegmentation.Verdet(self.collection(ee, values))
        assert image.getInfo()["bands"][0]["data_type"] == {"type": "PixelType", "precision": "double", "dimensions": 1}
        found = self.scores(ee, image)
        assert list(found) == ["score"]
        np.testing.assert_allclose(found["score"], find_slopes(values, DEFAULTS), atol=1e-12)
        assert len(self.scores(ee, image.arraySlice(0, 1, None))["score"]) == 29

    def test_images_are_in_the_order_of_the_collection(self, ee: Any) -> None:
        later = ee.Image.constant(0.2).double().rename("NDMI").set("system:time_start", 2)
        earlier = ee.Image.constant(0.5).double().rename("NDMI").set("system:time_start", 1)
        image = ee.Algorithms.TemporalSegmentation.Verdet(ee.ImageCollection([later, earlier]))
        assert self.scores(ee, image) == {"score": pytest.approx([0, 0.3])}

    def test_pixels_masked_in_any_image_are_masked(self, ee: Any) -> None:
        images = self.collection(ee, [0.1, 0.2]).merge(
            ee.ImageCollection([ee.Image(0.3).double().rename("NDMI").selfMask()])
        )
        hidden = images.merge(ee.ImageCollection([ee.Image(0.3).double().rename("NDMI").updateMask(0)]))
        segment = ee.Algorithms.TemporalSegmentation.Verdet
        assert self.scores(ee, segment(images))["score"] is not None
        assert self.scores(ee, segment(hidden)) == {"score": None}

    def test_refusals(self, ee: Any) -> None:
        segment = ee.Algorithms.TemporalSegmentation.Verdet
        with pytest.raises(ee.EEException, match="VeRDET only operates on collections of images of one band"):
            segment(ee.ImageCollection([ee.Image([1, 2])])).getInfo()
        with pytest.raises(ee.EEException, match="nRuns must be positive"):
            segment(self.collection(ee, [1, 2]), nRuns=0).getInfo()
        assert segment(ee.ImageCollection([])).bandNames().getInfo() == []
