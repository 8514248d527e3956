"""Values that users measured of the real service by probes of their own, of images and lists that need no scene.

A source is the number of a public script or of its notes, of which no repository is known. Other values are in
``test_type_values`` and ``test_notebook_values``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from local_tests.published.test_printed_values import Example
from local_tests.published.test_recorded_values import check_examples
from local_tests.support.local_earth_engine import Server, initialize


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


def _reflectance(ee: Any) -> Any:
    bands = ["blue", "green", "red", "red_edge", "nir", "swir1", "swir2"]
    return ee.Image.constant([0.10, 0.20, 0.30, 0.40, 0.50, 0.25, 0.15]).rename(bands)


def _index_value(expression: str) -> Callable[[Any], Any]:
    """Value of an expression of the bands of a constant image."""

    def value(ee: Any) -> Any:
        image = _reflectance(ee)
        return _at_origin(image.expression(expression, {"i": image}), ee).values().get(0)

    return value


def _fraction_of_light(ee: Any, image: Any) -> Any:
    ndvi = image.normalizedDifference(["nir", "red"])
    return _at_origin(ndvi.subtract(0.15).divide(0.80 - 0.15).clamp(0, 1).multiply(0.95), ee).values().get(0)


def _flag(quality: int, saturation: int) -> Callable[[Any], Any]:
    """Whether one of the first five bits is set, or a band saturated."""

    def value(ee: Any) -> Any:
        image = ee.Image.constant([quality, saturation]).toInt().rename("QA_PIXEL", "QA_RADSAT")
        flags = image.select("QA_PIXEL").bitwiseAnd(0b11111).neq(0).Or(image.select("QA_RADSAT").neq(0))
        return _at_origin(flags, ee).values().get(0)

    return value


def _kept(band: float, keep: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A band under a mask made of it."""

    def value(ee: Any) -> Any:
        image = ee.Image.constant(band).rename("b")
        return _at_origin(image.updateMask(keep(image)), ee).get("b")

    return value


def _is_dry(ee: Any, mndwi: float, ndvi: float, nir: float) -> Any:
    """Whether a pixel of the median of a collection is no water."""
    names = ["MNDWI", "NDVI", "SR_B5"]
    image = ee.Image.cat([ee.Image.constant(v).rename(n) for n, v in zip(names, (mndwi, ndvi, nir), strict=True)])
    median = ee.ImageCollection([image]).median()
    water = median.select("MNDWI").gt(0.1).And(median.select("NDVI").lt(0.2)).And(median.select("SR_B5").lt(0.15))
    return _at_origin(water.Not(), ee).values().get(0)


def _similarity(ee: Any, one: Sequence[float], other: Sequence[float]) -> Any:
    first, second = (ee.Image.constant(list(v)).toFloat().rename("A00", "A01") for v in (one, other))
    return _at_origin(first.multiply(second).reduce(ee.Reducer.sum()).rename("similarity"), ee).get("similarity")


_KWALE = [39.20, -4.30, 39.25, -4.25]


def _with_properties(ee: Any, value: float) -> Any:
    """Properties of an image together with its mean."""
    region = ee.Geometry.Rectangle(_KWALE)
    image = ee.Image.constant(value).rename("b").clip(region).set("year", 2022)
    mean = image.reduceRegion(ee.Reducer.mean(), region, 100, maxPixels=1e13, tileScale=4)
    return ee.Feature(None, image.toDictionary(["year"]).combine(mean)).toDictionary()


def _least_and_greatest(ee: Any) -> Any:
    image = ee.Image.constant(0.42).rename("b").clip(ee.Geometry.Rectangle([36.8, -3.4, 36.81, -3.39]))
    return image.reduceRegion(ee.Reducer.minMax(), None, 100)


def _statistics_names(ee: Any) -> Any:
    reducer = ee.Reducer.mean().combine(ee.Reducer.percentile([10, 90]), "", True)
    reducer = reducer.combine(ee.Reducer.stdDev(), "", True)
    return ee.ImageCollection([ee.Image.constant(v).rename("b") for v in (1, 3)]).reduce(reducer).bandNames()


def _bucket_edges(ee: Any) -> Any:
    counts = _at_origin_of(ee, ee.Image.constant(0.5).rename("ndvi"), ee.Reducer.fixedHistogram(-0.2, 1.0, 12))
    return ee.Array(counts.get("ndvi")).slice(1, 0, 1).project([0])


def _at_origin_of(ee: Any, image: Any, reducer: Any) -> Any:
    return image.reduceRegion(reducer, ee.Geometry.Point([0, 0]), 1000)


def _names_of_two_inputs(ee: Any) -> Any:
    """Outputs of a reducer of two inputs over an image of two bands: they carry no band's name."""
    shared = ee.Reducer.mean()
    for reducer in (ee.Reducer.stdDev(), ee.Reducer.minMax(), ee.Reducer.fixedHistogram(-1, 1, 20)):
        shared = shared.combine(reducer, "", True)
    both = shared.combine(ee.Reducer.count(), "", False)
    return _at_origin_of(ee, ee.Image.constant([0.5, 1]).rename("index", "raw"), both).keys().sort()


def _zone(ee: Any, image: Any, reducer: Any) -> Any:
    """Names of what a zone gets of an image, without its index."""
    zone = ee.Feature(ee.Geometry.Rectangle([0, 0, 0.02, 0.02], None, False), {"pid": 1})
    return image.reduceRegions([zone], reducer, 100).first().propertyNames().remove("system:index")


def _of_three(ee: Any) -> Any:
    mean = ee.Reducer.mean().combine(ee.Reducer.percentile([90]), "", True)
    return mean.combine(ee.Reducer.count(), "", True)


def _placeholder(ee: Any) -> Any:
    """A collection that would be empty but for a masked image."""
    masked = ee.Image.constant(0).rename("NDVI").updateMask(ee.Image.constant(0))
    return ee.ImageCollection([]).merge(ee.ImageCollection([masked]))


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
    "codes 57964191279, 58268750122 (eetools)": [
        (_index_value("(i.nir - i.red) / (i.nir + i.red)"), 0.25),
        (_index_value("(i.green - i.nir) / (i.green + i.nir)"), (0.20 - 0.50) / (0.20 + 0.50)),
        (_index_value("(i.nir - i.red) / (i.nir + i.red + 0.5) * 1.5"), (0.50 - 0.30) / (0.50 + 0.30 + 0.5) * 1.5),
        (_index_value("2.5 * ((i.nir - i.red) / (i.nir + 6 * i.red - 7.5 * i.blue + 1))"),
            2.5 * ((0.50 - 0.30) / (0.50 + 6 * 0.30 - 7.5 * 0.10 + 1))),
        (_index_value("i.nir * (i.nir - i.red) / (i.nir + i.red)"), 0.50 * 0.25),
        (_index_value("((i.swir1 + i.red) - (i.nir + i.blue)) / ((i.swir1 + i.red) + (i.nir + i.blue))"), -0.05 / 1.15),
        (lambda ee: _fraction_of_light(ee, _reflectance(ee)), (0.25 - 0.15) / (0.80 - 0.15) * 0.95),
        (lambda ee: _fraction_of_light(ee, ee.Image.constant([0.9, 0.01]).rename("nir", "red")), 0.95),
        (lambda ee: _reflectance(ee).normalizedDifference(["nir", "red"]).rename("ndvi_x").bandNames(), ["ndvi_x"]),
        (lambda ee: _reflectance(ee).select(["red", "nir"], ["RED", "NIR"]).bandNames(), ["RED", "NIR"]),
    ],
    "code 58267542357 (eetools)": [
        (_flag(0, 0), 0), (_flag(1, 0), 1), (_flag(0b10000, 0), 1), (_flag(0b100000, 0), 0), (_flag(0, 1), 1),
        (lambda ee: _is_dry(ee, 0.5, 0.1, 0.05), 0), (lambda ee: _is_dry(ee, -0.2, 0.6, 0.4), 1),
        (_kept(0.5, lambda image: image.lt(0)), None),
    ],
    "codes 58290662561, 58305882487, 58489858964 (eetools)": [
        (_kept(253, lambda image: image.lte(252)), None), (_kept(251, lambda image: image.lte(252)), 251),
        (_kept(251, lambda image: image.lte(250)), None), (_kept(-40, lambda image: image.gte(-30)), None),
        (_kept(-12, lambda image: image.gte(-30)), -12),
        (_kept(0, lambda image: image.remap([0], [1], 0)), 0),
        (_kept(0, lambda image: image.remap([1, 2], [1, 1], 0)), None),
    ],
    "code 58431998165 (eetools)": [
        (lambda ee: _similarity(ee, [0.6, 0.8], [0.6, 0.8]), 1), (lambda ee: _similarity(ee, [1, 0], [0, 1]), 0),
    ],
    "codes 57947095365, 58118497034, 57912233401 (eetools)": [
        (lambda ee: _with_properties(ee, 0.3), {"year": 2022, "b": 0.3}),
        (_least_and_greatest, {"b_min": 0.42, "b_max": 0.42}),
        (_statistics_names, ["b_mean", "b_p10", "b_p90", "b_stdDev"]),
        (lambda ee: ee.Date(ee.Date("2023-06-15").millis()).get("month"), 6),
        (lambda ee: ee.Terrain.products(ee.Image.constant(100).rename("elevation")).bandNames(),
            ["elevation", "slope", "aspect", "hillshade"]),
    ],
    "code 68564114700": [
        (lambda ee: _bucket_edges(ee).get([4]).eq(0.19999999999999996), 1),
        (lambda ee: _bucket_edges(ee).get([6]).eq(0.39999999999999997), 1),
        (lambda ee: _bucket_edges(ee).get([8]).eq(0.5999999999999999), 1),
    ],
    "codes 61380186763, 70427496343, 41550099266": [
        (lambda ee: ee.List([None, 0]).reduce(ee.Reducer.firstNonNull()), 0),
        (lambda ee: ee.List([None, -9999]).reduce(ee.Reducer.firstNonNull()), -9999),
        (lambda ee: ee.List([3.5, 1]).reduce(ee.Reducer.firstNonNull()), 3.5),
    ],
    "codes 68859022454, 63275039799, 60388459090": [
        (lambda ee: _zone(ee, ee.Image(5).rename("x"), _of_three(ee)), ["pid", "mean", "p90", "count"]),
        (lambda ee: _zone(ee, ee.Image(5).updateMask(0), ee.Reducer.mean()), ["pid"]),
    ],
    "codes 69756345805, 68810856569": [
        (lambda ee: ee.FeatureCollection([ee.Feature(None, {"v": v}) for v in (1, None, 3)]).aggregate_array("v"),
            [1, 3]),
    ],
    "code 57788508588": [
        (lambda ee: _at_origin(_placeholder(ee).count(), ee), {"NDVI": 0}),
        (lambda ee: _at_origin(_placeholder(ee).median(), ee), {"NDVI": None}),
    ],
    "code 57927252231": [(_names_of_two_inputs, ["count", "histogram", "max", "mean", "min", "stdDev"])],
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


def _mean_of_nothing(ee: Any) -> Any:
    return ee.Image(1).updateMask(0).reduceRegion("mean", ee.Geometry.Point([0, 0]), 10)


def _lacking_a_band(ee: Any) -> Any:
    images = ee.ImageCollection([ee.Image(1).rename("t").set("system:index", "2024092718F000")])
    return images.map(lambda image: image.select("precipitation_rate")).toList(5)


@pytest.mark.parametrize(
    ("source", "ask", "message"),
    [
        ("code 70074494059", lambda ee: ee.Image(list(range(40))).select(40),
            "Image.select: Invalid band number (40) specified to select. Input only contains 40 bands."),
        ("code 46201024820", lambda ee: ee.ImageCollection([]).mean().normalizedDifference(["B8", "B4"]),
            "Image.normalizedDifference: No band named 'B8'. Available band names: []."),
        ("code 17392254032", lambda ee: ee.ImageCollection([]).mean().gt(1),
            "Image.gt: If one image has no bands, the other must also have no bands. Got 0 and 1."),
        ("code 52426950986", lambda ee: _at_origin(ee.ImageCollection([]).mean(), ee).get("NDVI"),
            "Dictionary.get: Dictionary does not contain key: 'NDVI'."),
        ("code 67262190913", lambda ee: ee.Image(1).updateMask(0).sample(ee.Geometry.Point([0, 0]), 10).first()
            .toDictionary(), "Element.toDictionary: Parameter 'element' is required and may not be null."),
        ("code 69864136411", _lacking_a_band, "Collection.toList: Error in map(ID=2024092718F000):\nImage.select: Band "
            "pattern 'precipitation_rate' did not match any bands. Available bands: [t]"),
        ("code 70422669251", lambda ee: ee.Number(_mean_of_nothing(ee).get("constant")).multiply(2),
            "Number.multiply: Parameter 'left' is required and may not be null."),
    ],
)  # fmt: skip
def test_errors_are_those_that_users_quote(ee: Any, source: str, ask: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ee.EEException) as caught:
        ask(ee).getInfo()
    assert str(caught.value) == message, source
