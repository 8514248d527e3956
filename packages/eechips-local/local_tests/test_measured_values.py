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
}
# fmt: on


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


@pytest.mark.parametrize("source", MEASURED)
def test_values_are_those_that_users_measured(ee: Any, source: str) -> None:
    check_examples(ee, source, MEASURED[source])
