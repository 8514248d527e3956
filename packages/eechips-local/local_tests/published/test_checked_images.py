"""What programs of openforis/sepal find on the real service, in images that do not depend on the Earth.

They are in ``modules/gee/verify``, at 44e6ec0e and, for ``classChangeConfidence.mjs``, 312e3861.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from local_tests.support.local_earth_engine import Server, initialize


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


def _named(bands: dict[str, int], prefix: str = "probability_") -> list[int]:
    return sorted(int(name.removeprefix(prefix)) for name in bands if name.startswith(prefix))


def _chosen(ee: Any, values: Any, keys: Any, key: Any) -> Any:
    """The value of an array whose key equals a pixel's; masked where there is none."""
    found = values.arrayMask(keys.eq(key))
    return found.updateMask(found.arrayLength(0)).arrayGet([0])


def _confidence(ee: Any, first: Any, second: Any, before: list[int], after: list[int]) -> tuple[Any, Any, Any]:
    """Return the confidence of a change, and the probabilities of the class before and of the class after it."""
    size = max(len(before), len(after))

    def probability(image: Any, classes: list[int], wanted: Any) -> Any:
        bands = [image.select(f"probability_{number}").rename("probability") for number in classes]
        values = ee.ImageCollection(bands).toBands().toArray().arrayPad([size], -1)
        return _chosen(ee, values, ee.Image(ee.Array(classes)).arrayPad([size], -1), wanted)

    old, new = first.select("class"), second.select("landcover")
    was, becomes = probability(first, before, old), probability(second, after, new)
    gains = [becomes.subtract(probability(second, after, old)), was.subtract(probability(first, before, new))]
    return ee.ImageCollection(gains).mean().float().rename("confidence"), was, becomes


def _change(
    ee: Any, bands: tuple[dict[str, int], dict[str, int]], legends: tuple[Sequence[int], Sequence[int]], least: float
) -> Any:
    """The code of a change of classes and its confidence, as ``classChange.js`` computes them."""
    region = ee.Geometry.Rectangle([10, 10, 10.01, 10.01])
    first, second = (ee.Image.constant([*of.values()]).rename([*of]).toInt().clip(region) for of in bands)
    old, new = first.select("class"), second.select("landcover")
    before, after = map(_named, bands)
    confidence = ee.Image(0).float().updateMask(0).rename("confidence")
    if before and after:
        confidence, was, becomes = _confidence(ee, first, second, before, after)
        likely = new.where(becomes.gt(was), new).where(becomes.lte(was), old)
        old, new = (image.where(confidence.lt(least), likely) for image in (old, new))

    def position(image: Any, legend: Sequence[int]) -> Any:
        return _chosen(ee, ee.Image(ee.Array([*range(len(legend))])), ee.Image(ee.Array([*legend])), image)

    code = position(old, legends[0]).multiply(len(legends[1])).add(position(new, legends[1])).add(1)
    return code.int16().rename("transition").addBands(confidence).clip(first.geometry())


def _at_a_point(ee: Any, image: Any) -> Any:
    return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([10.005, 10.005]), 30).getInfo()


_FROM = {"class": 1, "probability_1": 80, "probability_2": 20}
_TO = {"landcover": 2, "probability_1": 30, "probability_2": 70}
_PARTIAL = {"landcover": 2, "probability_1": 30}
_DIFFERING = {**_PARTIAL, "probability_3": 70}


@pytest.mark.parametrize(
    ("bands", "least", "expected"),
    [
        ((_FROM, _TO), 0, (2, 50)),
        ((_FROM, _TO), 60, (1, 50)),
        ((_FROM, _PARTIAL), 0, (2, 60)),
        ((_FROM, _PARTIAL), 60, (2, 60)),
        ((_FROM, _DIFFERING), 0, (2, 60)),
        ((_FROM, _DIFFERING), 60, (2, 60)),
        ((_FROM, {"landcover": 2}), 0, (2, None)),
        (({"class": 1}, _TO), 60, (2, None)),
        (({"class": 1}, {"landcover": 2}), 60, (2, None)),
    ],
)
def test_the_confidence_of_a_change(
    ee: Any, bands: tuple[dict[str, int], dict[str, int]], least: float, expected: tuple[int, float | None]
) -> None:
    found = _at_a_point(ee, _change(ee, bands, ((1, 2), (1, 2)), least))
    assert found == {"transition": expected[0], "confidence": expected[1]}


@pytest.mark.parametrize(
    ("legend", "old", "new", "code"),
    [
        ((2, 10), 2, 2, 1), ((2, 10), 2, 10, 2), ((2, 10), 10, 2, 3), ((2, 10), 10, 10, 4),
        ((3, 1, 2), 3, 3, 1), ((3, 1, 2), 3, 1, 2), ((3, 1, 2), 3, 2, 3),
        ((3, 1, 2), 1, 3, 4), ((3, 1, 2), 1, 1, 5), ((3, 1, 2), 1, 2, 6),
        ((3, 1, 2), 2, 3, 7), ((3, 1, 2), 2, 1, 8), ((3, 1, 2), 2, 2, 9),
    ],
)  # fmt: skip
def test_the_code_of_a_change(ee: Any, legend: tuple[int, ...], old: int, new: int, code: int) -> None:
    change = _change(ee, ({"class": old}, {"landcover": new}), (legend, legend), 0)
    assert change.bandNames().getInfo() == ["transition", "confidence"]
    assert _at_a_point(ee, change) == {"transition": code, "confidence": None}


def _arrays(ee: Any) -> Any:
    array = ee.Image([1, 2, 3]).toArray().rename("a")
    return ee.Image.cat([array, array.rename("b")])


@pytest.mark.parametrize("name", ["mean", "median", "mode", "stdDev"])
def test_reducers_of_numbers_refuse_arrays_by_type(ee: Any, name: str) -> None:
    """``assetCollectionSchema.mjs``: reading the bands alone fails so."""
    double = _arrays(ee).toDouble()
    message = rf"Input to Reducer\.{name} must be a numeric scalar, not Type<Double<dimensions=1>>"
    for reduced in (double.reduce(f"{name}"), ee.ImageCollection([double]).reduce(getattr(ee.Reducer, name)())):
        with pytest.raises(ee.EEException, match=message):
            reduced.bandNames().getInfo()


@pytest.mark.parametrize(("name", "dimensions"), [("max", 1), ("min", 1), ("first", 1), ("last", 1), ("count", 0)])
def test_other_reducers_keep_or_count_arrays(ee: Any, name: str, dimensions: int) -> None:
    """``bandMathOutputBands.mjs``, and ``docs/recipes/band-math.md`` of the same project."""
    (band,) = _arrays(ee).reduce(getattr(ee.Reducer, name)()).getInfo()["bands"]
    assert band["data_type"].get("dimensions", 0) == dimensions


def test_a_cast_and_an_expression_keep_arrays(ee: Any) -> None:
    """``bandMathOutputBands.mjs``."""
    array = ee.Image([1, 2, 3]).toArray().rename("a")
    product = ee.Image().expression("i1.a * i2.s", {"i1": array, "i2": ee.Image(5).rename("s")})
    for image in (array.cast({"a": "int16"}), product):
        assert [band["data_type"]["dimensions"] for band in image.getInfo()["bands"]] == [1]


def test_no_bands_cannot_be_reduced_or_matched(ee: Any) -> None:
    """``classificationOutputBands.mjs`` and ``bandMathOutputBands.mjs``."""
    nothing = ee.ApiFunction.call_("Image.constant", [])  # Google's client for JavaScript makes ee.Image([]) so
    with pytest.raises(ee.EEException, match="Unable to reduce an image with 0 bands"):
        nothing.reduce(ee.Reducer.max()).bandNames().getInfo()
    with pytest.raises(ee.EEException, match="did not match any bands"):
        nothing.select(".*").bandNames().getInfo()


def test_equal_names_are_numbered(ee: Any) -> None:
    """``bandMathOutputBands.mjs`` and ``stackOutputBands.mjs``."""
    bands = ee.Image.cat([ee.Image(1).rename("x"), ee.Image(2).rename("x"), ee.Image(3).rename("extent")])
    assert bands.bandNames().getInfo() == ["x", "x_1", "extent"]


_SPECTRAL = ("blue", "green", "red", "nir")
_DECLARED = ("blue", "green", "red", "nir", "ndvi", "ndwi", "evi", "evi2", "savi", "kndvi")


def test_a_mosaic_of_eight_and_four_bands_is_refused_where_pixels_are_asked_for(ee: Any) -> None:
    """``planetMosaicOutputBands.mjs``: "refused once a pixel is computed, whatever its band metadata says"."""
    four = ee.Image.constant([500, 700, 600, 3000]).rename(_SPECTRAL).int16()
    eight = four.addBands(ee.Image.constant([400, 650]).rename("aerosol", "green1").int16())
    mosaic = ee.ImageCollection([four, eight]).median()
    with pytest.raises(ee.EEException, match="Expected a homogeneous image collection"):
        _at_a_point(ee, mosaic)


def test_indices_are_those_of_the_sampled_bands(ee: Any) -> None:
    """``planetMosaicOutputBands.mjs``: within one of the index of the sampled bands, times ten thousand."""
    bands = ee.Image.constant([500, 700, 600, 3000]).rename(_SPECTRAL).int16()
    stored = [
        bands.expression(text, {name: bands.select(name).divide(10_000) for name in _SPECTRAL}) for text in _INDEX
    ]
    image = bands.addBands(ee.Image.cat(stored).multiply(10_000).rename(_DECLARED[4:])).int16().select(_DECLARED)
    assert image.bandNames().getInfo() == list(_DECLARED)
    assert image.select(["kndvi", "red", "ndvi"]).bandNames().getInfo() == ["kndvi", "red", "ndvi"]
    expected = (500, 700, 600, 3000, 6666.67, -6216.22, 4669.26, 4155.12, 4186.05, 3451.96)
    found = _at_a_point(ee, image)
    assert [found[name] for name in _DECLARED] == pytest.approx(expected, abs=1)


_INDEX = (
    "(nir - red) / (nir + red)",
    "(green - nir) / (green + nir)",
    "2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)",
    "2.5 * (nir - red) / (nir + 2.4 * red + 1)",
    "1.5 * (nir - red) / (nir + red + 0.5)",
    "(1 - exp(-((nir - red) ** 2) / 0.08)) / (1 + exp(-((nir - red) ** 2) / 0.08))",
)


def test_images_of_a_collection_that_lack_bands_fail_only_where_they_are_used(ee: Any) -> None:
    """``filteredCollectionEvidence.mjs`` asks all of these, and takes the filtered collection for valid."""

    def dated(image: Any, date: str) -> Any:
        return image.set("system:time_start", ee.Date(date).millis())

    first = dated(ee.Image.constant([1, 2]).rename("red", "nir"), "2020-01-01")
    collection = ee.ImageCollection([first, dated(ee.Image.constant([3]).rename("red"), "2021-01-01")])
    later = collection.filterDate("2021-01-01", "2022-01-01")
    assert later.select(later.first().bandNames()).mosaic().bandNames().getInfo() == ["red"]
    assert collection.first().bandNames().getInfo() == ["red", "nir"]
    assert collection.toDictionary().getInfo() == {}


def test_the_even_odd_rule_needs_a_geographic_crs_for_geodesic_edges(ee: Any) -> None:
    """github.com code 68514003847 quotes the message."""
    with pytest.raises(ee.EEException, match="Even/odd interiors currently only supported in geographic coordinates"):
        ee.Geometry.Polygon([[[0, 0], [9, 0], [9, 9]]], "EPSG:32631", True, evenOdd=True).area(1).getInfo()
