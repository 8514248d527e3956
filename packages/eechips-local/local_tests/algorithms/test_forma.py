"""FORMA's trends: the series and numbers that its authors publish, and the real client.

https://github.com/wri/forma-clj, ``test/clj/forma/trends/data.clj`` and ``analysis_test.clj``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.forma import find_trends
from local_tests.support.local_earth_engine import Server, initialize

NDVI = [
    6217, 8599, 7074, 8437, 8471, 8285, 8342, 9035, 8356, 7612, 8538, 6439, 8232, 7277, 8588, 7651, 8824, 4981,
    7251, 7332, 6179, 4618, 6506, 8188, 8320, 6262, 8094, 8129, 6773, 7230, 6417, 6791, 6285, 6013, 5786, 8020,
    7588, 6423, 5734, 6522, 6481, 7924, 8067, 7328, 4249, 8490, 8591, 4472, 6335, 8706, 8076, 8376, 8861, 8183,
    8712, 6426, 8314, 8441, 6643, 7673, 5193, 8813, 7902, 7275, 4480, 7004, 5691, 5630, 7540, 8610, 8981, 5181,
    8947, 8681, 9072, 8931, 8879, 8770, 8702, 6578, 9027, 8846, 8530, 6927, 9128, 5984, 6133, 4775, 6707, 6707,
    3392, 7081, 5806, 6580, 9108, 5748, 6784, 8520, 8597, 9130, 7585, 6531, 6768, 7249, 4992, 4048, 7988, 8088,
    7418, 4082, 8056, 2715, 1899, 8579, 8852, 8896, 3010, 8063, 7985, 8377, 5503, 8139, 8672, 8319, 5995, 8252,
    8835, 8593, 8909, 6817, 8488, 7206, 8561, 8549, 4261, 5659, 5924, 8601, 7302, 2610, 7610, 7416, 8978, 8704,
    8528, 8236, 5400, 6372, 8387, 9279, 9175, 8652, 4637, 4167, 5624, 5707, 5404, 4369, 8607, 2557, 7840, 9053,
    9502, 8350, 5512, 8692, 8274, 4387, 8192, 8341, 8042, 6401, 6284, 7568, 8354, 7423, 7064, 4733, 8441, 5717,
    6456, 4626, 8160, 7142, 7135, 5727, 6847, 8186, 8179, 8377, 6998, 6936, 6722, 5768, 8552, 6355, 7360, 7270,
    6069, 3242, 4972, 5147, 3720, 6407, 3887, 6666, 4915, 5367, 7383, 5451, 7442, 7432, 7807, 7115, 8622, 7946,
    8488, 7488, 5482, 4718, 8206, 8280, 8822, 8530, 7810, 8141, 3207, 5628, 7737, 7662, 8606, 8226, 6252, 8267,
    8668, 8808, 4407, 8330, 7473, 8432, 9038, 7924, 8581, 9452, 8347, 5745, 8741, 5246, 7643, 6559, 7669, 3969,
    7377, 4248, 3973, 8415, 8031, 8867, 8481, 4967, 8804, 8598, 7935, 8080, 5842, 8896, 8789, 7931, 5019, 8511,
    5378,
]  # fmt: skip


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


def series(ee: Any, values: list[float]) -> Any:
    images = ee.List(values).map(lambda value: ee.Image.constant(ee.Number(value)).double())
    return ee.ImageCollection.fromImages(images)


def trends(ee: Any, images: Any, window: int = 6) -> dict[str, float]:
    found = images.formaTrend(windowSize=window).reduceRegion("first", ee.Geometry.Point([7, 46]), 1000)
    values: dict[str, float] = found.getInfo()
    return values


def test_numbers_are_those_of_the_authors() -> None:
    found = find_trends(np.arange(len(NDVI), dtype=np.float64), np.array(NDVI, dtype=np.float64), 30)
    assert found.long == pytest.approx(-1.1430015917806315)
    assert found.t_statistic == pytest.approx(-0.918260660209)
    assert found.break_statistic == pytest.approx(0.9113170920764445)
    slopes = [np.polyfit(range(30), NDVI[start : start + 30], 1)[0] for start in range(len(NDVI) - 29)]
    assert found.short == pytest.approx(min(slopes))


@pytest.mark.slow
def test_bands_have_the_numbers(ee: Any) -> None:
    found = find_trends(np.arange(9.0), np.array(NDVI[:9], dtype=np.float64), 6)
    assert trends(ee, series(ee, NDVI[:9])) == pytest.approx({
        "long-trend": found.long, "short-trend": found.short, "long-tstat": found.t_statistic,
        "break-stat": found.break_statistic,
    })  # fmt: skip


def test_masked_values_are_left_out(ee: Any) -> None:
    images = series(ee, [1, 5, 2, 9, 4, 100, 3]).map(lambda image: image.updateMask(image.lt(50)))
    steps, values = [0, 1, 2, 3, 4, 6], [1, 5, 2, 9, 4, 3]
    assert trends(ee, images)["long-trend"] == pytest.approx(np.polyfit(steps, values, 1)[0], rel=1e-6)


def test_numbers_that_a_series_does_not_have_are_masked(ee: Any) -> None:
    assert trends(ee, series(ee, [1, 2, 3])) == {
        "long-trend": 1, "short-trend": None, "long-tstat": None, "break-stat": None,
    }  # fmt: skip
    assert set(trends(ee, series(ee, [1, 2])).values()) == {None}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda ee: ee.ImageCollection([ee.Image([1, 2])]).formaTrend(), "The images must have one band; found 2."),
        (lambda ee: series(ee, NDVI).formaTrend(windowSize=1), "The windowSize must be at least 2; found 1."),
        (lambda ee: series(ee, NDVI).formaTrend(series(ee, NDVI)), "The local Earth Engine has no covariates"),
    ],
)
def test_what_is_not_computed_is_refused(ee: Any, make: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ee.EEException, match=message):
        make(ee).bandNames().getInfo()
