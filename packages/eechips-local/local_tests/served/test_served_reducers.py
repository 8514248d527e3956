"""Every reducer in every place through the real client: each is answered or refused, none ends in an internal error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from local_tests.support.local_earth_engine import Server, initialize


@pytest.fixture(scope="module")
def server(serve: Callable[..., Server]) -> Server:
    return serve("--rate", "none", "--minute", "none", "--concurrency", "none")


@pytest.fixture(scope="module")
def ee(server: Server) -> Any:
    return initialize(server)


def reducers(ee: Any) -> Iterator[tuple[str, Any, int]]:
    """Names, reducers, and how many inputs they take."""
    make = ee.Reducer
    plain = (
        "allNonZero anyNonZero bitwiseAnd bitwiseOr circularMean circularStddev circularVariance count countDistinct "
        "countDistinctNonNull countEvery countRuns first firstNonNull frequencyHistogram histogram autoHistogram "
        "kurtosis last lastNonNull max mean median min minMax mode product sampleStdDev sampleVariance skew stdDev sum "
        "toList variance covariance centeredCovariance"
    )
    for name in plain.split():
        yield name, getattr(make, name)(), 1
    for name in ["linearFit", "pearsonsCorrelation", "sensSlope", "spearmansCorrelation"]:
        yield name, getattr(make, name)(), 2
    yield "percentile", make.percentile([5, 50, 95]), 1
    yield "intervalMean", make.intervalMean(10, 90), 1
    yield "fixedHistogram", make.fixedHistogram(0, 10, 5), 1
    yield "fixed2DHistogram", make.fixed2DHistogram(0, 10, 5, 0, 4, 2), 2
    yield "toList1", make.toList(1, 1), 1
    yield "toCollection", make.toCollection(["x", "y"]), 2
    yield "toList2", make.toList(2), 2
    yield "kendallsCorrelation", make.kendallsCorrelation(2), 2
    yield "linearRegression", make.linearRegression(1, 1), 2
    yield "ridgeRegression", make.ridgeRegression(1, 1), 2
    yield "robustLinearRegression", make.robustLinearRegression(1, 1), 2
    yield "geometricMedian", make.geometricMedian(2), 2
    yield "max2", make.max(2), 2


def variants(ee: Any, name: str, reducer: Any, inputs: int) -> Iterator[tuple[str, Any, int]]:
    """The reducer alone, and as a part of others."""
    yield name, reducer, inputs
    yield f"{name}.unweighted", reducer.unweighted(), inputs
    yield f"{name}.repeat", reducer.repeat(2), 2 * inputs
    yield f"{name}.combine", reducer.combine(ee.Reducer.fixedHistogram(0, 5, 2), "h_", False), inputs + 1
    yield f"{name}.forEach", reducer.forEach(["u", "v"]), 2 * inputs
    yield f"{name}.forEachElement", reducer.forEachElement(), inputs
    yield f"{name}.group", reducer.group(inputs, "key"), inputs + 1
    yield f"{name}.splitWeights", reducer.splitWeights(), 2 * inputs
    yield f"{name}.disaggregate", reducer.disaggregate(0), inputs


def places(ee: Any, reducer: Any, inputs: int) -> Iterator[tuple[str, Any]]:
    """Names of places, and the reducer there."""
    point = ee.Geometry.Point(10, 45)
    region = point.buffer(2000).bounds()
    base = ee.Image.pixelLonLat().multiply(100).toInt().mod(7)
    bands = [f"b{index}" for index in range(inputs)]
    image = ee.Image.cat([base.select(index % 2).add(index) for index in range(inputs)]).rename(bands)
    masked = image.toFloat().updateMask(image.select(0).mod(2).multiply(0.5))
    names = [f"c{index}" for index in range(inputs)]

    def at_point(made: Any) -> Any:
        return made.reduceRegion(ee.Reducer.first(), point, 500)

    def table(values: list[Any]) -> Any:
        return ee.FeatureCollection(
            [
                ee.Feature(None, {name: values[(row + index) % len(values)] for index, name in enumerate(names)})
                for row in range(5)
            ]
        )

    grid = ee.Array([[float(row + column) for column in range(inputs)] for row in range(4)])
    yield "array", grid.reduce(reducer, [0], 1)
    yield "array of no field axis", ee.Array([[1, 2, 3], [4, 5, 6]]).reduce(reducer, [0])
    yield "accumulated array", ee.Array([1, 2, 3]).accum(0, reducer)
    for name, items in {"numbers": [1, 2.5, None, 2], "texts": ["a", "b"], "huge": [2**53 + 1, 1e300, -1e300]}.items():
        yield f"list of {name}", ee.List(items if inputs == 1 else [[i] * inputs for i in items]).reduce(reducer)
        yield f"columns of {name}", table(items).reduceColumns(reducer, names)
    yield "columns of lists", table([[1, 2], [3, 4]]).reduceColumns(reducer, names)
    yield "weighted columns", table([1, 2, 3]).reduceColumns(reducer, names, names)
    yield "empty list", ee.List([]).reduce(reducer)
    yield "region", masked.reduceRegion(reducer, region, 500)
    yield "masked region", image.updateMask(0).reduceRegion(reducer, region, 500)
    yield "image", at_point(image.reduce(reducer))
    yield "collection", at_point(ee.ImageCollection([image, masked.toInt(), image.add(1)]).reduce(reducer))
    yield "neighborhood", at_point(masked.reduceNeighborhood(reducer, ee.Kernel.square(1)))
    fine, coarse = (image.reproject("EPSG:4326", None, scale) for scale in (100, 500))
    yield "resolution", at_point(fine.reduceResolution(reducer, False, 500).reproject(coarse.projection()))
    yield "components", at_point(fine.addBands(fine, None, False).reduceConnectedComponents(reducer, "b0", 16))
    arrays = ee.Image(grid)
    yield "array image", at_point(arrays.arrayReduce(reducer, [0], 1))
    yield "accumulated array image", at_point(ee.Image(ee.Array([1, 2, 3])).arrayAccum(0, reducer))
    feature = ee.Feature(region, {name: index for index, name in enumerate(names)})
    yield "burnt features", at_point(ee.FeatureCollection([feature]).reduceToImage(names, reducer))


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_reducer_in_every_place_is_answered_or_refused(ee: Any) -> None:
    asked = [
        (f"{name}: {place}", made)
        for base in reducers(ee)
        for name, reducer, inputs in variants(ee, *base)
        for place, made in places(ee, reducer, inputs)
    ]

    def fault(item: tuple[str, Any]) -> str | None:
        try:
            item[1].getInfo()
        except ee.EEException as error:
            return f"{item[0]}: {error}" if "internal error" in str(error) else None
        return None

    with ThreadPoolExecutor(4) as pool:
        faults = [found for found in pool.map(fault, asked) if found]
    assert not faults, faults[:20]


def test_a_reducer_whose_output_is_an_array_does_not_reduce_arrays(ee: Any) -> None:
    histogram = ee.Reducer.fixedHistogram(0, 10, 5)
    array = ee.Array([[1, 2], [3, 4]])
    for made in (
        array.reduce(histogram, [0]),
        array.accum(0, histogram),
        array.reduce(ee.Reducer.mean().repeat(2), [0], 1),
        ee.Image(array).arrayReduce(histogram, [0]).reduceRegion("first", ee.Geometry.Point(0, 0), 1),
        ee.Image(array).arrayAccum(0, histogram).reduceRegion("first", ee.Geometry.Point(0, 0), 1),
    ):
        with pytest.raises(ee.EEException, match="The reducer's outputs must be numbers"):
            made.getInfo()


def test_histograms_of_features_at_a_pixel_are_numpys(ee: Any) -> None:
    region = ee.Geometry.Rectangle([10, 45, 10.1, 45.1])
    values = [0, 1, 2.5, 2.5, 9.9, 10]
    burnt = ee.FeatureCollection([ee.Feature(region, {"v": v}) for v in values]).reduceToImage(
        ["v"], ee.Reducer.fixedHistogram(0, 10, 4)
    )
    (found,) = burnt.reduceRegion("first", ee.Geometry.Point(10.05, 45.05), 100).values().getInfo()
    counts, edges = np.histogram([v for v in values if v < 10], 4, (0, 10))  # the last bucket does not hold 10
    np.testing.assert_array_equal(found, np.column_stack([edges[:-1], counts]))


@pytest.mark.slow
def test_histograms_of_two_inputs_are_numpys(ee: Any) -> None:
    """Of columns with values outside the buckets, and of each pixel of a collection; the first axis is that of x."""
    random = np.random.default_rng(4)
    x, y = random.uniform(-2, 12, 500), random.uniform(-1, 6, 500)
    counts, lower, left = np.histogram2d(x, y, (5, 3), ((0, 10), (0, 4.5)))
    reducer = ee.Reducer.fixed2DHistogram(0, 10, 5, 0, 4.5, 3)
    features = ee.FeatureCollection([ee.Feature(None, {"x": a, "y": b}) for a, b in zip(x, y, strict=True)])
    found = features.reduceColumns(reducer, ["x", "y"]).getInfo()
    assert found == {"histogram": counts.tolist(), "xAxis": lower[:-1].tolist(), "yAxis": left[:-1].tolist()}
    images = ee.ImageCollection(
        [ee.Image([a, b]).double() for a, b in zip(x[:40].tolist(), y[:40].tolist(), strict=True)]
    )
    image = images.reduce(reducer)
    assert image.bandNames().getInfo() == ["histogram", "xAxis", "yAxis"]
    first = image.select("histogram").reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 1000).getInfo()
    assert first["histogram"] == np.histogram2d(x[:40], y[:40], (5, 3), ((0, 10), (0, 4.5)))[0].tolist()
    with pytest.raises(ee.EEException, match="minimum must be less than the maximum"):
        ee.Reducer.fixed2DHistogram(1, 1, 5, 0, 1, 2).getInfo()


def test_bands_of_different_shapes_are_reprojected_together(ee: Any) -> None:
    """Numbers and arrays; and whole numbers beyond 2**53 beside fractions."""
    great = 2**53 + 1
    image = ee.Image.constant([0.5]).addBands(ee.Image(great).int64().rename("great"))
    image = image.addBands(ee.Image(ee.Array([[1, 2], [3, 4]])).rename("array"))
    for made in (image.reproject("EPSG:32632", None, 100), image.translate(100, 0, "meters", "EPSG:32632")):
        found = made.reduceRegion("first", ee.Geometry.Point(10.05, 45.05), 77).getInfo()
        assert found == {"constant": 0.5, "great": great, "array": [[1, 2], [3, 4]]}


def test_bits_of_numbers_beyond_64_bits_are_those_of_the_nearest(ee: Any) -> None:
    """As Java narrows a double: docs.oracle.com/javase/specs/jls/se17/html/jls-5.html#jls-5.1.3."""
    assert ee.List([1e300, -1]).reduce(ee.Reducer.bitwiseAnd()).getInfo() == 2**63 - 1


def test_weights_that_are_no_numbers_are_refused(ee: Any) -> None:
    table = ee.FeatureCollection([ee.Feature(None, {"v": 1, "w": "a"})])
    with pytest.raises(ee.EEException, match="not a number"):
        table.reduceColumns(ee.Reducer.mean().splitWeights(), ["v", "w"]).getInfo()


def test_arrays_of_different_shapes_are_not_composited(ee: Any) -> None:
    point = ee.Geometry.Point(10, 45)
    east = ee.Image.pixelLonLat().select(0).gt(10)
    long, short = (ee.Image(ee.Array(values)).rename("x") for values in ([1, 2, 3], [1, 2]))
    both = ee.ImageCollection([long, short])
    made = [both.reduce(ee.Reducer.last()), both.max(), both.toArrayPerBand(0), both.qualityMosaic("x")]
    made += [long.blend(short.updateMask(east)), ee.ImageCollection([long, short.updateMask(east)]).mosaic()]
    for image in made:
        with pytest.raises(ee.EEException, match=r"Array shapes must match; found \[[23]\] and \[[23]\]"):
            image.reduceRegion(ee.Reducer.toList(), point.buffer(1500), 1000).getInfo()
    with pytest.raises(ee.EEException, match="Arrays cannot be resampled by the method 'bilinear'"):
        long.reproject("EPSG:32632", None, 100).resample("bilinear").reduceRegion("first", point, 70).getInfo()


def test_an_array_image_that_does_not_reach_a_place_is_no_part_of_its_composite(ee: Any) -> None:
    array = ee.Image(ee.Array([1, 2])).rename("x")
    away = array.clip(ee.Geometry.Rectangle([20, 45, 21, 46]))
    for images in ([array, away], [away, array]):
        collection = ee.ImageCollection(images)
        for made in (collection.mosaic(), collection.reduce(ee.Reducer.mean().forEachElement())):
            (found,) = made.reduceRegion("first", ee.Geometry.Point(10, 45), 100).values().getInfo()
            assert found == [1, 2]


def test_a_group_without_values_has_no_keys_for_them(ee: Any) -> None:
    """Code 68389982771 ran this against the service: ``get("max")`` of such a group is refused."""
    rows = [{"g": 1}, {"g": 2, "v": 3}, {"g": 2}]
    table = ee.FeatureCollection([ee.Feature(None, row) for row in rows])
    reducer = ee.Reducer.mean().combine(ee.Reducer.max(), "", True).group(1, "g")
    groups = ee.List(table.reduceColumns(reducer, ["v", "g"]).get("groups"))
    assert groups.getInfo() == [{"g": 1}, {"g": 2, "mean": 3, "max": 3}]
    with pytest.raises(ee.EEException, match=r"Dictionary\.get: Dictionary does not contain key: 'max'\."):
        ee.Dictionary(groups.get(0)).get("max").getInfo()


def test_a_group_of_pixels_without_values_is_left_out(ee: Any) -> None:
    image = ee.Image.pixelArea().updateMask(0).addBands(ee.Image(3))
    region = ee.Geometry.Rectangle([0, 0, 1, 1])
    found = image.reduceRegion(ee.Reducer.sum().group(1, "g"), region, 10_000)
    assert found.getInfo() == {"groups": []}


def test_values_that_are_not_null_are_found_by_a_comparison_with_null(ee: Any) -> None:
    """As in the guide: https://developers.google.com/earth-engine/guides/reducers_grouping."""
    rows = [{"g": 1, "a": 1, "b": 2}, {"g": 1, "a": 5}, {"g": 2, "a": 3, "b": 4}, {"g": 2, "b": 6}]
    table = ee.FeatureCollection([ee.Feature(None, row) for row in rows])
    whole = table.filter(ee.Filter.And(ee.Filter.neq("a", None), ee.Filter.neq("b", None)))
    sums = whole.reduceColumns(ee.Reducer.sum().repeat(2).group(2, "g"), ["a", "b", "g"])
    assert sums.getInfo() == {"groups": [{"g": 1, "sum": [1, 2]}, {"g": 2, "sum": [3, 4]}]}
    assert table.filter(ee.Filter.neq("a", None).Not()).aggregate_array("b").getInfo() == [6]
