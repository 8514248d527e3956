"""Rules that Google states in its release notes and in the signatures of functions, through the real client.

``RULES`` has values by the day of the release note at developers.google.com/earth-engine/docs/server/release-notes.
``LIMITS`` has what a signature, or a note, excludes: the service's words are not documented, so only the name of the
function is compared. ``MESSAGES`` has further messages that users quote; ``test_refused_expressions`` has the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from local_tests.published.test_printed_values import Example
from local_tests.published.test_recorded_values import check_examples
from local_tests.published.test_refused_expressions import none, null, raw, rows
from local_tests.support.local_earth_engine import Server, initialize


def first(ee: Any, image: Any) -> Any:
    """The values of a pixel."""
    return ee.Image(image).reduceRegion("first", ee.Geometry.Point([7, 46]), 1000)


def box(ee: Any) -> Any:
    """A region of some 1.5 by 2.2 km."""
    return ee.Geometry.Rectangle([7, 46, 7.02, 46.02])


def pixels_of(ee: Any, values: Any) -> Any:
    """An image whose pixels are an array."""
    return ee.Image(ee.Array(values))


def reduced(ee: Any, reducer: str, values: list[Any]) -> Any:
    return ee.List(values).reduce(getattr(ee.Reducer, reducer)())


def left(ee: Any, condition: Any) -> Any:
    """How many of two rows pass, of which the second lacks the property."""
    return rows(ee, {"a": 1}, {}).filter(condition).size()


def trained(ee: Any, classifier: Any, *bands: str) -> Any:
    samples = rows(ee, {"a": 1, "b": 2, "c": 0}, {"a": 3, "b": 4, "c": 1})
    return ee.Image.constant([1] * len(bands)).rename(bands).classify(classifier.train(samples, "c", ["a", "b"]))


def clustered(ee: Any, clusterer: Any) -> Any:
    samples = rows(ee, {"a": 1, "b": 2}, {"a": 3, "b": 4})
    return first(ee, ee.Image([1, 2]).rename("a", "b").cluster(clusterer.train(samples)))


def without_property(ee: Any) -> Any:
    """A collection whose mapped function multiplies a property that no row has."""
    return rows(ee, {"a": 1}).map(lambda row: row.set("b", ee.Number(row.get("q")).multiply(2)))


def kept(ee: Any, use: Callable[[Any], Any]) -> Any:
    return use(ee.Image(1).set("p", 1)).get("p")


# fmt: off
RULES: dict[str, list[Example]] = {
    "2020-12-03": [(lambda ee: ee.List([1, 2, 3, 4, 5]).slice(0, 5, 2), [1, 3, 5])],
    "2020-11-05": [(lambda ee: rows(ee, {"a": 1}).randomColumn("r", 0, "normal").aggregate_array("r").size(), 1)],
    "2020-01-09": [(lambda ee: reduced(ee, "countRuns", [1, 1, 2, 2, 1]), 3)],
    "2021-08-31": [(lambda ee: reduced(ee, "circularMean", [0, 1.5707963267948966]), 0.7853981633974483)],
    "2021-04-15": [(lambda ee: ee.List([[1, 2], [3, 4]]).unzip(), [[1, 3], [2, 4]])],
    "2021-05-19": [(lambda ee: rows(ee, {"a": 1}, {"a": "x"}).filter(ee.Filter.hasType("a", "String")).size(), 1)],
    "2021-02-12": [(lambda ee: ee.Number(-3.5).signum(), -1), (lambda ee: ee.Array([-3.5]).signum(), [-1])],
    "2019-09-13": [(lambda ee: kept(ee, lambda image: image.reproject("EPSG:4326", None, 30)), 1)],
    "2019-08-09": [
        (lambda ee: ee.Image(3).expression("ndvi = (nir - 1) / (nir + 1)", {"nir": ee.Image(3)}).bandNames(), ["ndvi"]),
    ],
    "2018-05-18": [(lambda ee: left(ee, ee.Filter.notNull(["a"])), 1)],
    "2018-01-03": [(lambda ee: none(ee).median().paint(ee.FeatureCollection([box(ee)]), 1).bandNames(), [])],
    "2017-10-26": [
        (lambda ee: reduced(ee, "last", [1, 2]), 2), (lambda ee: reduced(ee, "lastNonNull", [1, 2, None]), 2),
    ],
    "2016-09-02": [(lambda ee: ee.Dictionary({"a": 1, "b": 2}).remove(["a"]), {"b": 2})],
    "2016-07-13": [
        (lambda ee: ee.Image(1).updateMask(0).reduceRegion(ee.Reducer.countDistinct(), box(ee), 1000), {"constant": 0}),
        (lambda ee: reduced(ee, "firstNonNull", [None, 2, 3]), 2),
    ],
    "2016-07-01": [
        (lambda ee: ee.Number(1).format("%.2f"), "1.00"),
        (lambda ee: ee.Image(1).set("p", 1).where(ee.Image(1).set("q", 2), 3).toDictionary(), {"p": 1}),
        (lambda ee: rows(ee, {"a": 1.5, "g": 0.5}, {"a": 2, "g": 0.7})
            .reduceColumns(ee.Reducer.sum().group(1, "g"), ["a", "g"]).get("groups"),
            [{"g": 0.5, "sum": 1.5}, {"g": 0.7, "sum": 2}]),
    ],
    "2016-06-13": [
        (lambda ee: ee.String("abc123").match("([a-z]+)([0-9]+)"), ["abc123", "abc", "123"]),
        (lambda ee: ee.String("a1b2").match("[a-z]", "g"), ["a", "b"]),
    ],
    "2016-02-08": [(lambda ee: ee.Number(7).bitCount(), 3)],
    "2016-01-21": [
        (lambda ee: ee.Dictionary(), {}), (lambda ee: ee.Dictionary(["a", 1, "b", 2]), {"a": 1, "b": 2}),
    ],
    "2016-01-11": [
        (lambda ee: rows(ee, {"a": "x"}, {"a": "y"}).remap(["x", "y"], [1, 2], "a").aggregate_array("a"), [1, 2]),
    ],
    "2015-11-19": [
        (lambda ee: reduced(ee, "stdDev", [0.1] * 7), 0),
        (lambda ee: ee.Image(0.1).reduceRegion(ee.Reducer.stdDev(), box(ee), 300), {"constant": 0}),
        (lambda ee: ee.Algorithms.If(ee.Number.parse("NaN"), 1, 0), 0),
    ],
    "2015-11-13": [(lambda ee: first(ee, none(ee).median()), {})],
    "2015-11-05": [
        (lambda ee: reduced(ee, "bitwiseOr", [1, 2, 4]), 7), (lambda ee: reduced(ee, "bitwiseAnd", [7, 3]), 3),
    ],
    "2015-08-27": [
        (lambda ee: first(ee, ee.Image(1).visualize(palette=["aquamarine"], min=0, max=1)),
            {"vis-red": 127, "vis-green": 255, "vis-blue": 212}),
    ],
    "2015-06-04": [
        (lambda ee: ee.Geometry.Point(ee.Number(1).add(2), 3), {"type": "Point", "coordinates": [3, 3]}),
        (lambda ee: first(ee, ee.Image(5).toFloat().updateMask(0).mask(1)), {"constant": 0}),
    ],
    "2015-05-30": [(lambda ee: first(ee, pixels_of(ee, [[1, 2]]).arraySlice(0, 1, 1).arrayProject([1])),
        {"constant": None})],
    "2015-05-15": [
        (lambda ee: left(ee, ee.Filter.gt("a", 0)), 1), (lambda ee: left(ee, ee.Filter.lt("a", 5)), 1),
        (lambda ee: left(ee, ee.Filter.inList("a", [1])), 1),
        (lambda ee: left(ee, ee.Filter.listContains("a", 1)), 0),
        (lambda ee: left(ee, ee.Filter.stringStartsWith("a", "x")), 0),
    ],
    "2015-04-10": [
        (lambda ee: rows(ee, {"a": "z"}, {"a": 1}).remap([1], [5], "a").aggregate_array("a"), [5]),
    ],
    "2014-09-24": [
        (lambda ee: ee.Image(1).geometry().coordinates(),
            [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]),
        (lambda ee: ee.Image(1).geometry().isUnbounded(), True),
    ],
    "2014-08-28": [
        (lambda ee: ee.ImageCollection([ee.Image([1, 2]).updateMask(ee.Image([1, 0]))])
            .getRegion(ee.Geometry.Point([7, 46]), 1000).get(1),
            ["0", 7.002367639711669, 45.99823412334009, None, 1, None]),
        (lambda ee: first(ee, ee.ImageCollection([pixels_of(ee, [1, 2])]).mosaic()), {"constant": [1, 2]}),
        (lambda ee: first(ee, pixels_of(ee, [7, 2]).visualize(min=0, max=255)), {"vis-gray": 7}),
        (lambda ee: first(ee, pixels_of(ee, [7, 2]).arraySlice(0, 0, 0).visualize(min=0, max=255)), {"vis-gray": 0}),
        (lambda ee: ee.Image(1).reduceRegion("mean", box(ee), crs=ee.Projection("EPSG:3857").atScale(1000)),
            {"constant": 1}),
    ],
    "2014-05-16": [(lambda ee: ee.Algorithms.IsEqual(1, 1.0), True)],
    "2014-03-14": [(lambda ee: first(ee, ee.Image(1).add(0.5)), {"constant": 1.5})],
    "2014-02-24": [
        (lambda ee: ee.Date("2020-07-01").getFraction("year"), 182 / 366),
        (lambda ee: ee.Date("2019-07-01").getFraction("year"), 181 / 365),
    ],
    "2014-02-13": [(lambda ee: ee.Image(1).connectedPixelCount(1024).bandNames(), ["constant"])],
    "2014-01-09": [
        (lambda ee: rows(ee, {"a": "x"}, {"a": "y"}).reduceColumns(ee.Reducer.max(), ["a"]), {"max": "y"}),
        (lambda ee: reduced(ee, "min", ["b", "a"]), "a"),
        (lambda ee: ee.DateRange("2020-01-02", "2020-01-01").getInfo()["dates"], [1577923200000, 1577836800000]),
    ],
    "2013-10-24": [(lambda ee: rows(ee, {"a": 1}).map(lambda row: null(ee), True).size(), 0)],
    "2013-10-14": [(lambda ee: rows(ee, {"a": 1}).limit(0).size(), 0)],
    "2013-09-19": [(lambda ee: kept(ee, lambda image: image.clip(box(ee))), 1)],
    "2013-09-13": [(lambda ee: kept(ee, lambda image: image.mask(ee.Image(1))), 1)],
    "2013-08-30": [(lambda ee: raw(ee, "String", input=1), "1")],
    "2013-07-31": [
        (lambda ee: first(ee, ee.Image(1).expression("0x12AB + 0b0110")), {"constant": 0x12AB + 0b0110}),
        (lambda ee: first(ee, ee.Image(1).divide(2)), {"constant": 0.5}),
    ],
    "2013-07-24": [(lambda ee: rows(ee, {"a": 1}, {}).aggregate_array("a"), [1])],
    "2013-03-14": [
        (lambda ee: raw(ee, "PixelType", precision="double", minValue=3).getInfo()["min"], 3),
        (lambda ee: ee.Projection(ee.Projection("EPSG:32632").wkt()).nominalScale(), 1),
    ],
}

LIMITS: dict[str, Callable[[Any], Any]] = {
    "ErrorMargin, 2016-10-03": lambda ee: raw(ee, "ErrorMargin"),
    "Image.reduceRegion, 2014-08-28": lambda ee: ee.Image(1).reduceRegion("mean", box(ee), crs="EPSG:4326"),
    "Image.reduceRegion, in metres": lambda ee: ee.Image(1).reduceRegion("mean", box(ee), crs="EPSG:3857"),
    "Image.reduceRegions, 2014-08-28": lambda ee: ee.Image(1).reduceRegions(
        ee.FeatureCollection([box(ee)]), "mean", crs="EPSG:3857"),
    "Array.project, 2015-04-30": lambda ee: ee.Array([[1, 2]]).slice(0, 1, 1).project([1]),
    "Array.matrixSolve, 2015-08-27": lambda ee: ee.Array([[1, 2], [2, 4]]).matrixSolve(ee.Array([[1], [1]])),
    "Image.connectedPixelCount, 2014-02-13": lambda ee: ee.Image(1).connectedPixelCount(1025).bandNames(),
    "Collection.remap, values": lambda ee: rows(ee, {"a": 1}).remap([1.5], [2], "a").size(),
    "Collection.randomColumn": lambda ee: rows(ee, {"a": 1}).randomColumn("r", 0, "foo").first(),
    "Geometry.transform, 2018-03-01": lambda ee: ee.Geometry.Point([1e13, 0], "EPSG:25832").transform("EPSG:4326", 1),
    "ConfusionMatrix": lambda ee: raw(ee, "ConfusionMatrix", array=[[1, 2], [3, 4]]),
    "Clusterer.wekaLVQ": lambda ee: clustered(ee, ee.Clusterer.wekaLVQ(2, 2.0)),
    "Clusterer.wekaLVQ, epochs": lambda ee: clustered(ee, ee.Clusterer.wekaLVQ(2, 0.5, 0)),
    "Classifier.spectralRegion": lambda ee: ee.Image([1, 2, 3]).rename("a", "b", "c").classify(
        ee.Classifier.spectralRegion([[0, 0], [4, 0], [4, 4]], ["a", "b", "c"])),
    "Feature.select": lambda ee: ee.Feature(None, {"a": 1, "b": 2}).select(["a", "b"], ["x"]),
    "Element.copyProperties": lambda ee: ee.Feature(None).copyProperties(ee.Feature(None, {"a": 1}), ["a"], ["a"]),
    "Collection.remap": lambda ee: rows(ee, {"a": 1}).remap([1, 2], [1], "a"),
    "Filter.dateRangeContains": lambda ee: ee.Filter.dateRangeContains(
        leftValue=ee.DateRange("2020-01-01", "2021-01-01"), leftField="a", rightField="b"),
    "Filter.equals": lambda ee: ee.Filter.equals(leftField="a", rightValue=1, rightField="b"),
    "Image.cast": lambda ee: ee.Image([1, 2]).rename("a", "b").cast({"a": "int8", "b": "int8"}, ["a"]),
    "Image.constant": lambda ee: raw(ee, "Image.constant", value="a"),
    "Image.fastDistanceTransform": lambda ee: ee.Image(1).fastDistanceTransform(10, "meters"),
    "Image.directionalDistanceTransform": lambda ee: ee.Image([1, 0]).directionalDistanceTransform(0, 10),
    "Image.glcmTexture": lambda ee: ee.Image(1.5).glcmTexture(),
    "Image.interpolate": lambda ee: ee.Image(1).interpolate([0, 0], [1, 2]),
    "Image.neighborhoodToArray": lambda ee: ee.Image(1).neighborhoodToArray(ee.Kernel.circle(2)),
    "Image.parseExpression": lambda ee: raw(
        ee, "Image.parseExpression", expression="a+b", argName="image", vars=["image", "a"]),
    "Image.reduceRegion: The optimization 'boxcar' requires a homogeneous kernel": lambda ee: first(
        ee, ee.Image(1).reduceNeighborhood(
        ee.Reducer.mean(), ee.Kernel.circle(1), optimization="boxcar")),
    "Image.reduceNeighborhood, maximum": lambda ee: ee.Image(1).reduceNeighborhood(
        ee.Reducer.max(), ee.Kernel.square(1), optimization="boxcar"),
    "Image.reduceNeighborhood, inputs": lambda ee: ee.Image([1, 2, 3]).reduceNeighborhood(
        ee.Reducer.linearFit(), ee.Kernel.square(1)),
    "Image.reduce": lambda ee: ee.Image([1, 2, 3]).reduce(ee.Reducer.linearFit()),
    "Image.reduceRegion": lambda ee: ee.Image(1).reduceRegion(
        "mean", box(ee), 30, "EPSG:4326", [1, 0, 0, 0, -1, 0]),
    "Image.reduceToVectors": lambda ee: ee.Image(1.5).reduceToVectors(geometry=box(ee), scale=500),
    "Image.remap": lambda ee: ee.Image(1).remap([1, 2], [3]),
    "Image.reproject": lambda ee: ee.Image(1).reproject("EPSG:4326", [1, 0, 0, 0, -1, 0], 30),
    "Image.sample": lambda ee: ee.Image(1).sample(box(ee), 500, factor=0.5, numPixels=5).size(),
    "Image.sample, tileScale": lambda ee: ee.Image(1).sample(box(ee), 1000, tileScale=32),
    "Image.sampleRegions": lambda ee: ee.Image(1).sampleRegions(
        ee.FeatureCollection([box(ee)]), None, 1000, tileScale=0.05),
    "Image.stratifiedSample, tileScale": lambda ee: ee.Image(1).stratifiedSample(
        1, region=box(ee), scale=1000, tileScale=32),
    "Image.reduceToVectors, tileScale": lambda ee: ee.Image(1).reduceToVectors(
        geometry=box(ee), scale=1000, tileScale=17),
    "Image.reduceRegions": lambda ee: ee.Image(1).reduceRegions(
        ee.FeatureCollection([box(ee)]), "mean", 1000, tileScale=17),
    "Image.visualize, palette": lambda ee: ee.Image(1).visualize(palette=["red"], gamma=2),
    "Image.select": lambda ee: ee.Image([1, 2, 3]).select([0, 1], ["a"]),
    "Image.stratifiedSample": lambda ee: ee.Image(1).stratifiedSample(
        5, region=box(ee), scale=500, classValues=[1, 2], classPoints=[3]),
    "Image.retile": lambda ee: raw(ee, "Image.retile", image=ee.Image(1), size=40000),
    "Image.updateMask": lambda ee: ee.Image([1, 2, 3]).updateMask(ee.Image([1, 0])),
    "Image.visualize": lambda ee: ee.Image([1, 2, 3]).visualize(min=[0, 1], max=[3, 4]),
    "Image.clipToBoundsAndScale": lambda ee: ee.Image(1).clipToBoundsAndScale(box(ee), width=3),
    "Image.clipToBoundsAndScale, scale": lambda ee: ee.Image(1).clipToBoundsAndScale(box(ee), maxDimension=3, scale=30),
    "Image.spectralDistance": lambda ee: ee.Image([1, 2]).spectralDistance(ee.Image([1, 2, 3])),
    "ImageCollection.cast": lambda ee: ee.ImageCollection([ee.Image(1)]).cast({"constant": "int8"}, ["constant", "b"]),
    "ImageCollection.getRegion": lambda ee: ee.ImageCollection([ee.Image(1)]).getRegion(
        ee.Geometry.Point([7, 46]), 30, "EPSG:4326", [1, 0, 0, 0, -1, 0]),
    "ImageCollection.reduce": lambda ee: ee.ImageCollection([ee.Image([1, 2, 3])]).reduce(ee.Reducer.linearFit()),
    "List.sequence": lambda ee: ee.List.sequence(1),
    "List.sort": lambda ee: ee.List([1, 2, 3]).sort([1, 2]),
    "Dictionary": lambda ee: ee.Dictionary([1, 2]),
    "Dictionary.remove": lambda ee: ee.Dictionary({"a": 1}).remove(["b"]),
    "Dictionary.rename": lambda ee: ee.Dictionary({"a": 1, "b": 2}).rename(["a", "b"], ["c"]),
    "Dictionary.rename, taken": lambda ee: ee.Dictionary({"a": 1, "b": 2}).rename(["a"], ["b"]),
    "Number.format": lambda ee: ee.Number(1).format("%d %d"),
    "Number.parse": lambda ee: ee.Number.parse("1.5", 16),
    "Projection": lambda ee: raw(
        ee, "Projection", crs="EPSG:4326", transform=[1, 0, 0, 0, 1, 0], transformWkt='PARAM_MT["Affine"]'),
    "Feature.toArray": lambda ee: ee.Feature(None, {"a": "x"}).toArray(["a"]),
    "Image.arrayGet": lambda ee: pixels_of(ee, [[1, 2], [3, 4]]).arrayGet(ee.Image(0)),
    "Image.arrayPad": lambda ee: ee.Image(1).arrayPad([2]),
    "Image.arrayReduce": lambda ee: pixels_of(ee, [[1, 2], [3, 4]]).arrayReduce(ee.Reducer.minMax(), [0]),
    "Image.arraySlice": lambda ee: pixels_of(ee, [1, 2]).arraySlice(0, 0, 2, 0),
    "ImageCollection.toArray": lambda ee: ee.ImageCollection([pixels_of(ee, [1, 2])]).toArray(),
    "Array": lambda ee: raw(ee, "Array", values=[[1, 2], [3]]),
    "Array, depths": lambda ee: raw(ee, "Array", values=[[1, 2], 3]),
    "Array.cat": lambda ee: ee.Array.cat([ee.Array([[1, 2]]), ee.Array([[1]])], 0),
    "Array.dotProduct": lambda ee: ee.Array([[1, 2]]).dotProduct(ee.Array([[1, 2]])),
    "Array.project": lambda ee: ee.Array([[1, 2], [3, 4]]).project([0]),
    "Array.reshape": lambda ee: ee.Array([1, 2, 3]).reshape([-1, -1]),
    "Array.slice": lambda ee: ee.Array([1, 2, 3]).slice(0, 0, 2, 0),
    "Array.matrixCholeskyDecomposition": lambda ee: ee.Array([[1, 2], [3, 4]]).matrixCholeskyDecomposition(),
    "Array.matrixLUDecomposition": lambda ee: ee.Array([[1, 2, 3], [3, 4, 5]]).matrixLUDecomposition(),
    "Array.reduce": lambda ee: ee.Array([[1, 2]]).reduce(ee.Reducer.minMax(), [0]),
    "Reducer.percentile": lambda ee: ee.Reducer.percentile([101]),
    "Reducer.combine": lambda ee: ee.Reducer.mean().combine(ee.Reducer.linearFit(), "", True),
}

MESSAGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "github.com/openforis/sepal, exportTaskCleanup.test.js; code 55075517084 (geeViz)": (
        lambda ee: ee.Image(1).reduceRegion(ee.Reducer.frequencyHistogram().setOutputs(["a", "b"]), box(ee), 1000),
        "Reducer.setOutputs: Need 1 output names"),
    "code 65885561473": (
        lambda ee: first(ee, ee.Image(1).reproject("EPSG:4326", None, 1).reduceResolution("mean", True, 65535)
            .reproject("EPSG:4326", None, 200_000)),
        "Reprojection output too large ("),
    "code 27453715862": (
        lambda ee: raw(ee, "String.cat", string1="cos_", string2=ee.Number(1).int()),
        "String.cat, argument 'string2': Invalid type.\nExpected type: String.\nActual type: Long.\nActual value: 1"),
    "code 57872032782": (
        lambda ee: ee.Image(1).rename(f"m{ee.String('0').cat('1')}"), "Image.rename: Invalid band name: 'mee.String({"),
    "code 69485518694": (
        lambda ee: ee.Image(1).rename("2026-01-02 03:04"), "Image.rename: Invalid band name: '2026-01-02 03:04'"),
    "github.com/victor-m-olsen/earth-engine, Classification.js": (
        lambda ee: first(ee, trained(ee, ee.Classifier.smileRandomForest(2), "a")),
        "Image.classify: The image to be classified does not contain all the bands which the classifier expects."),
    "github.com/openforis/pysepal/issues/246": (
        lambda ee: ee.Image(1).remap(["a"], [2]),
        "Image.remap: Unrecognized type in 'from' list at position 0: expected a number or array, found Type<String>."),
    "github.com/wouellette/ee-dynamic-time-warping/issues/4": (
        lambda ee: ee.Array(ee.List.repeat(ee.List.repeat(1, 40), 268)).reshape([-1, 8, 6]),
        "Array.reshape: Shape incompatible with array's existing dimensions: [-1, 8, 6] vs. [268, 40]."),
    "github.com/gee-community/qgis-earthengine-plugin/issues/102": (
        lambda ee: raw(ee, "GeometryConstructors.Point", coordinates=[1, 2], crs="EPSG:32620"),
        "GeometryConstructors.Point, argument 'crs': Invalid type.\nExpected type: Projection.\nActual type: String.\n"
        "Actual value: EPSG:32620"),
    "github.com/IndigoWizard/wildfire-burn-severity/pull/19": (
        lambda ee: raw(ee, "GeometryConstructors.MultiPolygon", coordinates=[[box(ee)]]),
        "GeometryConstructors.MultiPolygon: Inputs must be Number, List, or Geometry. Found type 'List<Geometry>'."),
    "github.com/eMapR/LT-GEE/issues/38": (
        lambda ee: ee.List(ee.Feature(None, {"a": -110.438}).get("a")).map(lambda each: each),
        "List.map, argument 'list': Invalid type.\nExpected type: List<Object>.\nActual type: Float.\n"
        "Actual value: -110.438"),
    "github.com/google/earthengine-community/issues/971": (
        lambda ee: first(ee, ee.Image(1).reproject("EPSG:6933", None, 9000)),
        "Projection: The CRS of a map projection could not be parsed."),
    "github.com/KMarkert/cartoee/issues/4": (
        lambda ee: ee.Image(1).reproject("EPSG:4326", [1 / 1200, 0, -180, 0, -1 / 1200, 60]).clipToBoundsAndScale(
            ee.Geometry.Rectangle([-180, -60, 180, 60], None, False), width=432000, height=144000)
            .getDownloadURL({"format": "NPY"}),
        "Pixel grid dimensions (432000x144000) must be less than or equal to"),
    "github.com/miqbalf/GEE_notebook_Forestry, osi/arcpy": (
        lambda ee: ee.Image(1).rename("classification").select("pixel"),
        "Image.select: Band pattern 'pixel' did not match any bands. Available bands: [classification]"),
    "code 58409521042": (
        lambda ee: without_property(ee).aggregate_mean("b"),
        "Collection.reduceColumns: Error in map(ID=0):\nNumber.multiply: Parameter 'left' is required and may not be"
        " null."),
    "code 58409521042, by the function that the message names": (
        lambda ee: without_property(ee).reduceColumns(ee.Reducer.sum(), ["b"]),
        "Collection.reduceColumns: Error in map(ID=0):\nNumber.multiply: Parameter 'left' is required and may not be"
        " null."),
}
# fmt: on


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


@pytest.mark.parametrize("day", RULES)
def test_values_follow_the_release_notes(ee: Any, day: str) -> None:
    check_examples(ee, day, RULES[day])


@pytest.mark.parametrize("case", LIMITS)
def test_what_is_excluded_is_refused(ee: Any, case: str) -> None:
    with pytest.raises(ee.EEException) as caught:
        LIMITS[case](ee).getInfo()
    assert str(caught.value).startswith(case.partition(",")[0])


@pytest.mark.parametrize("case", MESSAGES)
def test_the_message_is_the_services(ee: Any, case: str) -> None:
    make, message = MESSAGES[case]
    with pytest.raises(ee.EEException) as caught:
        make(ee).getInfo()
    assert str(caught.value).startswith(message)


def test_other_names_of_bands_are_taken(ee: Any) -> None:
    names = ["a b", 'say "x"', "{x}", "0_B4", "1999"]
    assert ee.Image([1, 2, 3, 4, 5]).rename(names).bandNames().getInfo() == names


def test_an_equal_area_map_is_known_by_its_text(ee: Any) -> None:
    """github.com/openforis/sepal, ``samplingGridCrs.js``: the service takes the WKT, and not the code."""
    wkt = (
        'PROJCS["WGS 84 / NSIDC EASE-Grid 2.0 Global",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,'
        '298.257223563]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Cylindrical_Equal_Area"],'
        'PARAMETER["standard_parallel_1",30],PARAMETER["central_meridian",0],UNIT["metre",1]]'
    )
    area = ee.Image.pixelArea().reproject(wkt, None, 1000)
    assert first(ee, area).getInfo()["area"] == pytest.approx(1e6, rel=1e-3)


@pytest.mark.parametrize(
    ("image", "lists", "expected"),
    [
        ([1, 2], [[[9, 9], [1, 2]], [[0, 0], [3, 4]]], [3, 4]),
        ([1, 2], [[[1, 2]], [7]], 7),
        ([1, 2], [[[1, 2, 3]], [7]], None),
        (5, [[5], [[1.5, 2]]], [1.5, 2]),
        (5, [[6], [[1, 2]], [8, 9]], [8, 9]),
        (5, [[6], [[1, 2]]], None),
    ],
)
def test_values_of_remap_may_be_arrays(ee: Any, image: Any, lists: list[Any], expected: Any) -> None:
    """The source and the destination values are "numbers or ee.Array" (the signature of Image.remap)."""
    made = [[ee.Array(v) if isinstance(v, list) else v for v in values] for values in lists[:2]]
    pixels = pixels_of(ee, image) if isinstance(image, list) else ee.Image(image)
    remapped = pixels.remap(*made, *(ee.Array(default) for default in lists[2:]))
    assert remapped.bandTypes().get("remapped").getInfo().get("dimensions", 0) == np.ndim(lists[1][0])
    assert first(ee, remapped).getInfo() == {"remapped": expected}


def test_arrays_of_remap_have_one_shape(ee: Any) -> None:
    with pytest.raises(
        ee.EEException, match=r"^Image\.remap: The arrays in 'to', and 'defaultValue', must have the same"
    ):
        ee.Image(5).remap([5, 6], [ee.Array([1]), ee.Array([1, 2])]).getInfo()
