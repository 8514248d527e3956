"""Values that users measured of the real service by probes of their own, of images and lists that need no scene.

A source is the number of a public script or of its notes, of which no repository is known. Other values are in
``test_type_values`` and ``test_notebook_values``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from local_tests.support.local_earth_engine import Server, initialize
from local_tests.test_printed_values import Example
from local_tests.test_recorded_values import check_examples


def _series(ee: Any, values: Sequence[float]) -> Any:
    """Images of a year and a value."""
    images = [ee.Image.constant([x, y]).toDouble().rename("fit_x", "fit_y") for x, y in enumerate(values)]
    return ee.ImageCollection(images)


_LINE = [10 + 2 * x for x in range(12)]
_TWELVE = [1, 3, 2, 4, 5, 6, 8, 7, 9, 10, 12, 11]  # three pairs of 66 are the wrong way round


def _at_origin(image: Any, ee: Any) -> Any:
    return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([0, 0]), 1000)


def _half_masked(ee: Any) -> Any:
    """Six columns of pixels of 0.02 degrees: the eastern half holds 1 and 2, the western is masked."""
    east = ee.Image.pixelLonLat().select("longitude").multiply(50).floor().toInt()
    return east.where(east.gte(5), 2).where(east.lt(5), 1).updateMask(east.gte(3)).rename("class")


def _counts(ee: Any, reducer: Any) -> Any:
    box = ee.Geometry.Rectangle([0, 0, 0.12, 0.04], None, False)
    counts = _half_masked(ee).reduceRegion(reducer, box, crs="EPSG:4326", crsTransform=[0.02, 0, 0, 0, 0.02, 0])
    return counts.get("class")


# fmt: off
MEASURED: dict[str, list[Example]] = {
    "code 60287229598": [
        (lambda ee: _series(ee, _LINE).reduce(ee.Reducer.sensSlope()).bandNames(), ["slope", "offset"]),
        (lambda ee: _at_origin(_series(ee, _LINE).reduce(ee.Reducer.sensSlope()), ee), {"slope": 2, "offset": 10}),
        (lambda ee: _series(ee, _LINE).reduce(ee.Reducer.kendallsCorrelation(2)).bandNames(), ["tau", "p-value"]),
        (lambda ee: _series(ee, _LINE).select("fit_y").reduce(ee.Reducer.kendallsCorrelation(1)).bandNames(),
            ["fit_y_tau", "fit_y_p-value"]),
        (lambda ee: _at_origin(_series(ee, _TWELVE).reduce(ee.Reducer.kendallsCorrelation(2)), ee),
            {"tau": 0.9090909090909091, "p-value": None}),
        (lambda ee: ee.List([list(range(12)), _TWELVE]).reduce(ee.Reducer.kendallsCorrelation(2)),
            {"tau": 1, "p-value": "NaN"}),
    ],
    "code 55098955523": [
        (lambda ee: _at_origin(_series(ee, _TWELVE).reduce(ee.Reducer.kendallsCorrelation(2)).select("p-value"), ee),
            {"p-value": None}),
    ],
    "codes 5966719043, 6003708402, 32638006470, 68381836948": [
        (lambda ee: _counts(ee, ee.Reducer.frequencyHistogram().unweighted()), {"1": 4, "2": 2, "null": 6}),
    ],
    "https://gis.stackexchange.com/questions/328010": [
        (lambda ee: _counts(ee, ee.Reducer.frequencyHistogram()), {"1": 4, "2": 2}),
    ],
}
# fmt: on


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


@pytest.mark.parametrize("source", MEASURED)
def test_values_are_those_that_users_measured(ee: Any, source: str) -> None:
    check_examples(ee, source, MEASURED[source])
