"""Values that the programs and notes of others check on the real service, through the real client.

openforis/sepal@1b83d8673d has programs (``modules/gee/verify``) that run on the service, tests whose values were
compared with it, and notes (``docs/recipes/sampling-design.md``) of what was measured there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from local_tests.support.local_earth_engine import Server, initialize

_EASE = (
    'PROJCS["WGS 84 / NSIDC EASE-Grid 2.0 Global",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,'
    '298.257223563]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Cylindrical_Equal_Area"],'
    'PARAMETER["standard_parallel_1",30],PARAMETER["central_meridian",0],UNIT["metre",1]]'
)


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


def _level(ee: Any, i: int, j: int) -> Any:
    """The level of a cell of a nested lattice: ``levelBand`` of ``systematicSampling.js``."""
    column, row = ee.Image.constant(i), ee.Image.constant(j)

    def is_multiple(value: Any, of: Any) -> Any:
        return value.mod(of).abs().eq(0)

    def added(step: Any, levels: Any) -> Any:
        step = ee.Number(step).byte()
        size = ee.Number(2).pow(step.subtract(1))
        fourth = is_multiple(row, size.multiply(4))
        nested = is_multiple(column, size.multiply(2)).And(fourth)
        nested = nested.Or(is_multiple(column.subtract(size), size.multiply(2)).And(fourth.Not()))
        nested = nested.And(is_multiple(row, size.multiply(2))).Or(size.eq(0)).byte()
        half = is_multiple(row, ee.Number(2).pow(step.add(1))).multiply(0.5)
        return ee.Image(levels).addBands(nested.multiply(step).add(half))

    nothing = ee.ApiFunction.call_("Image.constant", [])  # Google's client for JavaScript makes ee.Image([]) so
    levels = ee.Image(ee.List.sequence(0, 4).iterate(added, nothing)).reduce(ee.Reducer.max())
    return levels.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([0, 0]), 10).get("max")


@pytest.mark.parametrize(
    ("cell", "level"),
    [
        ((0, 0), 4.5), ((1, 0), 0.5), ((0, 1), 0), ((1, 1), 0), ((2, 2), 0.5), ((3, 4), 0.5), ((4, 8), 3),
        ((7, 12), 0.5), ((16, 32), 4.5), ((-1, 0), 0.5), ((0, -1), 0), ((-1, -1), 0), ((-2, -3), 0), ((-3, -4), 0.5),
        ((5, -11), 0), ((-8, -11), 0), ((-16, -32), 4.5),
    ],
)  # fmt: skip
def test_levels_are_those_of_the_services_band(ee: Any, cell: tuple[int, int], level: float) -> None:
    """``systematicLatticeMath.test.js``: compared with the band on the service, negative cells included."""
    assert _level(ee, *cell).getInfo() == level


def test_an_image_of_nothing_has_no_bands(ee: Any) -> None:
    nothing = ee.ApiFunction.call_("Image.constant", [])
    assert nothing.getInfo() == {"type": "Image", "bands": []}
    assert nothing.addBands(ee.Image(1)).bandNames().getInfo() == ["constant"]


def test_a_projection_that_wkt_defines_has_no_code(ee: Any) -> None:
    """``sampling-design.md``: ``crs()`` is null, ``transform()`` a text, and ``wkt()`` compares."""
    projection = ee.Projection(_EASE).atScale(10)
    assert projection.crs().getInfo() is None
    assert projection.transform().getInfo().startswith('PARAM_MT["Affine"')
    assert projection.wkt().compareTo(ee.Projection(_EASE).wkt()).getInfo() == 0
    assert projection.nominalScale().getInfo() == pytest.approx(10, abs=1e-4)


@cache
def _groups(ee: Any) -> list[dict[str, float]]:
    """Sums of a strip from the equator to 60 degrees: ``proportionsAreaWeighting.mjs``."""
    place, area = ee.Image.pixelLonLat(), ee.Image.pixelArea()
    is_east = place.select("longitude").gt(30.25)
    is_above = place.select("latitude").gt(is_east.multiply(-15).add(45))
    sums = ee.Reducer.sum().setOutputs(["weighted"]).combine(ee.Reducer.sum().setOutputs(["area"]), "", False)
    image = (
        is_above.multiply(area).addBands(area).addBands(is_east.add(1).toInt()).rename("weighted", "area", "stratum")
    )
    strip = ee.Geometry.Rectangle([30, 0, 30.5, 60], "EPSG:4326", False)
    sums = image.reduceRegion(sums.group(2, "stratum"), strip, crs=ee.Projection("EPSG:4326").atScale(10_000))
    found: list[dict[str, float]] = sums.get("groups").getInfo()
    return found


@pytest.mark.parametrize(("position", "south"), [(0, 45), (1, 30)])
def test_named_sums_of_groups_are_weighted_by_area(ee: Any, position: int, south: float) -> None:
    """The program asserts the names, and that a share is the integral's to within one per cent."""
    group = _groups(ee)[position]
    assert sorted(group) == ["area", "stratum", "weighted"]
    assert group["stratum"] == position + 1
    north = math.sin(math.radians(60))
    expected = (north - math.sin(math.radians(south))) / north
    assert group["weighted"] / group["area"] == pytest.approx(expected, rel=0.01)


def test_a_repeated_sum_has_one_output(ee: Any) -> None:
    """``weightedAreaSums.js``: a task that names two fails when its reducer runs."""
    sums = ee.Reducer.sum().repeat(2).setOutputs(["weighted", "area"])
    box = ee.Geometry.Rectangle([0, 0, 0.01, 0.01], None, False)
    with pytest.raises(ee.EEException, match=r"Need 1 output names"):
        ee.Image([1, 2]).reduceRegion(sums, box, 100).getInfo()


def test_a_point_on_the_edge_of_a_box_meets_it(ee: Any) -> None:
    """``sampling-design.md``, the frame at edges: a spatial filter keeps such points."""
    points = ee.FeatureCollection([ee.Feature(ee.Geometry.Point([1, 1])), ee.Feature(ee.Geometry.Point([1.001, 1]))])
    assert points.filterBounds(ee.Geometry.Rectangle([0, 0, 1, 2], None, False)).size().getInfo() == 1


def test_a_default_projection_pins_nothing(ee: Any) -> None:
    """``sampling-design.md``: only ``reproject`` evaluates an image on another grid."""
    longitude = ee.Image.pixelLonLat().select("longitude")
    ten_degrees = ee.Projection("EPSG:4326", [10, 0, 0, 0, -10, 0])
    place = ee.Geometry.Point([12.25, 3.25])

    def at(image: Any) -> Any:
        return image.reduceRegion(ee.Reducer.first(), place, crs="EPSG:4326", crsTransform=[0.5, 0, 0, 0, -0.5, 0])

    assert at(longitude.setDefaultProjection(ten_degrees)).getInfo() == {"longitude": 12.25}
    assert at(longitude.reproject(ten_degrees)).getInfo() == {"longitude": 15}


_STATED = (
    ("Collection.reduceColumns: Cannot compare values '0' (Type:Integer) and '10' (Type:String).", "code 71213263875"),
    ("Collection.reduceColumns: Need 1 inputs for Reducer.mean, got 2.", "guides/reducers_reduce_columns"),
    ("Image.classify: Expected 2 classes for PROBABILITY, found 1.", "code 45134458286"),
    ("Image.classify: No valid training data were found.", "codes 1274870699, 45134458286"),
)


def _refused(ee: Any) -> tuple[Any, ...]:
    def rows(*values: Any) -> Any:
        return ee.FeatureCollection([ee.Feature(None, {"a": value, "b": 1}) for value in values])

    def classified(classifier: Any, features: Any) -> Any:
        image = ee.Image(1).rename("b").classify(classifier.train(features, "a", ["b"]))
        return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([0, 0]), 10)

    forest = ee.Classifier.smileRandomForest(2)
    return (
        rows(0, "10").reduceColumns(ee.Reducer.minMax(), ["a"]),
        rows(1, 2).reduceColumns(ee.Reducer.mean(), ["a", "b"]),
        classified(forest.setOutputMode("PROBABILITY"), rows(1, 1)),
        classified(forest, ee.FeatureCollection([])),
    )


@pytest.mark.parametrize("number", range(len(_STATED)), ids=[source for _, source in _STATED])
def test_the_message_is_the_one_that_users_quote(ee: Any, number: int) -> None:
    with pytest.raises(ee.EEException) as caught:
        _refused(ee)[number].getInfo()
    assert str(caught.value) == _STATED[number][0]


def test_columns_are_weighted(ee: Any) -> None:
    """developers.google.com/earth-engine/guides/reducers_reduce_columns: "mean: 2.333333333333333"."""
    rows = ee.FeatureCollection([ee.Feature(None, {"foo": number, "weight": number}) for number in (1, 2, 3)])
    mean = rows.reduceColumns(ee.Reducer.mean(), ["foo"], ["weight"])
    assert mean.getInfo() == {"mean": pytest.approx(7 / 3, rel=1e-15)}
