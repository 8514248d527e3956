"""Expressions that Earth Engine refuses, in its words, by the real client over HTTP.

A number such as "code 57534891031" is a public script or note that quotes the message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from local_tests.support.local_earth_engine import Server, initialize


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


def none(ee: Any) -> Any:
    """A collection of which nothing is left."""
    return ee.ImageCollection([ee.Image(1)]).filter(ee.Filter.eq("year", 1900))


def dated(ee: Any) -> Any:
    """A collection of one image with a date."""
    return ee.ImageCollection([ee.Image(1).set("system:time_start", 1_500_000_000_000, "n", 1)])


def lacking(ee: Any) -> Any:
    """A collection whose second image lacks a band."""
    whole, part = ee.Image([1, 2]).rename("R", "N").toUint8(), ee.Image(3).rename("R").toUint8()
    return ee.ImageCollection([whole, part.set("system:index", "n_1")])


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "codes 34606363994, 34772779050, 11849859255, 34452274430": (
        lambda ee: ee.Array([]), "Array: No numbers in 'values', must provide a type."),
    "code 68771988975": (
        lambda ee: ee.FeatureCollection([ee.Feature(None, {"doy": 3})]).filter(ee.Filter.calendarRange(2, 5)),
        "Collection.filter: Can't apply calendarRange filter to objects without a timestamp."),
    "code 68771988975, negative": (
        lambda ee: ee.ImageCollection([ee.Image(1)]).filter(ee.Filter.calendarRange(-3, 5, "day_of_year")),
        "Filter.calendarRange: Start and end date values must be >= 0"),
    "codes 25380665346, 65950608118": (
        lambda ee: ee.Image(1).reduceRegion("mean", ee.Geometry.Rectangle([0, 0, 1, 1]), 1000, tileScale=32),
        "ReduceRegion.AggregationContainer: Valid tileScales are 0.1 to 16"),
    "code 60901439212": (
        lambda ee: ee.ApiFunction.call_("Projection", True),
        "Projection: Argument 'crs': Invalid type.\nExpected type: String.\nActual type: Boolean.\n"
        "Actual value: true"),
    "developers.google.com/earth-engine/guides/debugging, number of pixels": (
        lambda ee: ee.Image(1).reduceRegion("count", ee.Geometry.Rectangle([-180, -90, 180, 90], None, False), 100),
        "Image.reduceRegion: Too many pixels in the region. Found 80300348117, but"),
    "code 57534891031": (
        lambda ee: ee.Image([1, 2]).rename("DEM", "EDM").select("elevation"),
        "Image.select: Band pattern 'elevation' did not match any bands. Available bands: [DEM, EDM]"),
    "github.com/kaust-halo/geeet/issues/26": (
        lambda ee: lacking(ee).filter(ee.Filter.eq("system:index", "n_1")).map(lambda i: i.select("N")).first(),
        "Collection.first: Error in map(ID=n_1):\nImage.select: Band pattern 'N' did not match any bands. Available"
        " bands: [R]"),
    "developers.google.com/earth-engine/guides/debugging, code 71430585003": (
        lambda ee: none(ee).median().select("B2"),
        "Image.select: Band pattern 'B2' was applied to an Image with no bands."),
    "code 17392254032": (
        lambda ee: none(ee).median().gt(1),
        "Image.gt: If one image has no bands, the other must also have no bands. Got 0 and 1."),
    "code 70862344032": (
        lambda ee: ee.Image(none(ee).first()).select("B2"),
        "Image.select: Parameter 'input' is required and may not be null."),
    "github.com/ageller/EarthEngineToGeoTIFF/issues/1": (
        lambda ee: ee.Image(none(ee).first()).addBands(1), "Image.addBands: Parameter 'dstImg' is required"),
    "github.com/google/earthengine-api/issues/159": (
        lambda ee: ee.Image(1).addBands(none(ee)),
        "Image.addBands, argument 'srcImg': Invalid type.\nExpected type: Image<unknown bands>.\nActual type:"
        " ImageCollection."),
    "code 27453715852": (
        lambda ee: ee.Image([1, 2]).rename("a"),
        "Image.rename: The number of names (1) must match the number of bands (2)."),
    "code 60803222952": (lambda ee: ee.Image(1).rename("_label"), "Image.rename: Invalid band name: '_label'"),
    "codes 55093647780, 55165767097": (
        lambda ee: ee.Image(1.5).bitwiseAnd(1), "Image.bitwiseAnd: Bitwise operands must be integer only."),
    "Number.bitwiseAnd": (
        lambda ee: ee.Number(1.5).bitwiseAnd(1), "Number.bitwiseAnd: Bitwise operands must be integer only."),
    "github.com/gee-community/geemap/issues/1830": (
        lambda ee: ee.Date("2023-02-32"), "Date: Bad date/time '2023-02-32'."),
    "github.com/rfernand387/LEAF-Toolbox/issues/16": (
        lambda ee: ee.Date.parse("DD/MM/yy", "2021-01-01"),
        "Date.parse: Date/time '2021-01-01' cannot be parsed with format 'DD/MM/yy'."),
    "code 37792053663": (
        lambda ee: ee.Image("users/a/none"),
        "Image.load: Image asset 'users/a/none' not found (does not exist or caller does not have access)."),
    "developers.google.com/earth-engine/guides/projections": (
        lambda ee: ee.ImageCollection([ee.Image(1)]).mosaic().reduceRegion("mean", ee.Geometry.BBox(7, 46, 8, 47)),
        "Image.reduceRegion: The default WGS84 projection is invalid for aggregations. Specify a scale or crs &"
        " crs_transform."),
    "developers.google.com/earth-engine/apidocs/ee-image-reduceregion, code 3553391632": (
        lambda ee: ee.Image(1).reduceRegion("mean", None, 30),
        "Image.reduceRegion: Provide 'geometry' parameter when aggregating over an unbounded image."),
    "geetools, issue 73": (
        lambda ee: ee.Image(1).reduceRegion("mean", ee.Geometry.BBox(0, 0, 10, 10), 30),
        "Image.reduceRegion: Too many pixels in the region. Found "),
    "code 24144442284": (
        lambda ee: none(ee).getRegion(ee.Geometry.Point([7, 46]), 30),
        "ImageCollection.getRegion: No bands in collection."),
    "developers.google.com/earth-engine/apidocs/ee-imagecollection-getregion": (
        lambda ee: ee.ImageCollection([ee.Image(1)]).getRegion(ee.Geometry.BBox(7, 46, 8, 47), 60),
        "ImageCollection.getRegion: Too many values: "),
    "developers.google.com/earth-engine/apidocs/ee-imagecollection-tobands": (
        lambda ee: ee.ImageCollection(ee.List.repeat(ee.Image.constant([1] * 10), 501)).toBands(),
        "ImageCollection.toBands: The maximum number of bands is 5000."),
    "code 56155825210": (
        lambda ee: ee.Image(1.5).stratifiedSample(1, "constant", ee.Geometry.BBox(7, 46, 8, 47), 1000),
        "Image.stratifiedSample: The class band must be integer typed"),
    "github.com/gee-community/geemap/issues/904": (
        lambda ee: ee.ImageCollection([ee.Image([1, 2]).rename("red", "green")]).map(
            lambda image: image.normalizedDifference(["NIR", "red"])).first(),
        "Collection.first: Error in map(ID=0):\nImage.normalizedDifference: No band named 'NIR'. Available band names: "
        "[red, green]."),
    "codes 46201024820, 53208539387, 68832654650": (
        lambda ee: none(ee).median().normalizedDifference(["B8", "B4"]),
        "Image.normalizedDifference: No band named 'B8'. Available band names: []."),
    "code 52651367810": (
        lambda ee: ee.Image(1).visualize(bands=["x"]), "Image.visualize: No band named 'x'. Available band names: "),
    "code 70074494059": (
        lambda ee: ee.Image([0] * 40).select(40),
        "Image.select: Invalid band number (40) specified to select. Input only contains 40 bands."),
    "github.com/r-spatial/rgee/issues/153": (
        lambda ee: none(ee).mean().reduceRegions(ee.FeatureCollection([]), ee.Reducer.mean(), 30),
        "Image.reduceRegions: Need 1 bands for Reducer.mean, image has 0."),
    "github.com/sepal-contrib/sepal_mgci": (
        lambda ee: ee.FeatureCollection([]).reduceColumns(
            ee.Reducer.sum().forEach(["a", "b"]).group(2, "class"), ["a", "b"]),
        "Collection.reduceColumns: Need 3 inputs for Reducer.group(Reducer.forEach(Reducer.sum)), got 2."),
    "codes 66623946087, 66507257755": (
        lambda ee: ee.Reducer.mean().group(2), "Reducer.group: Reducer.group groupField out of range."),
    "github.com/aazuspan/wxee/issues/56": (
        lambda ee: ee.Image(1).clipToBoundsAndScale(width=3),
        "Image.clipToBoundsAndScale: The geometry for image clipping must be bounded."),
    "codes 62185830633, 62000296028": (
        lambda ee: ee.ImageCollection([ee.Image(1)]).mosaic().reduceResolution(ee.Reducer.mean()),
        "Image.reduceResolution: The input to reduceResolution does not have a valid default projection."),
    "github.com/google/earthengine-api/issues/38": (
        lambda ee: ee.FeatureCollection([]).toList(0),
        "Collection.toList: The value of 'count' must be positive. Got: 0."),
    "code 52719653290": (
        lambda ee: dated(ee).filterDate("2020-01-01", "2020-01-01").toList(5),
        "Collection.toList: Empty date ranges not supported for the current operation."),
    "code 58042129318": (
        lambda ee: dated(ee).filterDate("2020-01-02", "2020-01-01").reduceColumns(ee.Reducer.count(), ["n"]),
        "Collection.reduceColumns: Empty date ranges not supported"),
    "code 43069406993": (
        lambda ee: ee.Image([1, 2, 3]).visualize(palette=["blue", "red"]),
        "Image.visualize: Cannot provide a palette when visualizing more than one band."),
    "code 70809832762": (
        lambda ee: ee.Image(1).visualize(opacity=0),
        "Image.visualize: Scale must be greater than zero and less than or equal to one, but was 0.0."),
    "code 4816123002": (
        lambda ee: ee.Image([1, 2, 3]).visualize(bands=[[0, 1, 2]]),
        "Image.visualize: Expected a string or list of strings for field 'bands'."),
    "github.com/ConservationInternational/trends.earth/issues/153": (
        lambda ee: ee.Image(1).remap(ee.List([]), ee.List([])),
        "Image.remap: List of values to remap must not be empty."),
    "code 45134458286": (
        lambda ee: none(ee).mean().sampleRegions(ee.FeatureCollection([]), None, 30),
        "Image.sampleRegions: Invalid numInputs: 0."),
    "github.com/r-spatial/rgee/issues/232": (
        lambda ee: ee.List(ee.Image(1).rename("precipitation")).get(0),
        "List.get, argument 'list': Invalid type.\nExpected type: List<Object>.\nActual type: Image<[precipitation]>."),
    "github.com/r-spatial/rgee/issues/198": (
        lambda ee: ee.ImageCollection([ee.Image(1)]).map(
            lambda image: ee.Image(none(ee).first()).addBands(image)).mean(),
        "reduce.mean: Error in map(ID=0):\nImage.addBands: Parameter 'dstImg' is required"),
    "code 55955437640": (
        lambda ee: ee.Dictionary({}).set("VV", ee.Feature(None).get("VV")),
        "Dictionary.set: Parameter 'value' is required and may not be null."),
    "code 54037061909": (
        lambda ee: ee.Image([1, 2, 3]).rename("HH", "HV", "angle").select("VV"),
        "Image.select: Band pattern 'VV' did not match any bands. Available bands: [HH, HV, angle]"),
    "code 23260481852": (
        lambda ee: ee.List.sequence(0, 18).get(19),
        "List.get: List index must be between 0 and 18, or -19 and -1. Found 19."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_the_message_is_the_services(ee: Any, case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(ee.EEException) as caught:
        make(ee).getInfo()
    assert str(caught.value).startswith(message)


def test_what_lacks_a_band_is_refused_where_it_is_read(ee: Any) -> None:
    images = lacking(ee)
    assert images.size().getInfo() == 2
    assert images.select(["N"]).first().bandNames().getInfo() == ["N"]
    point = ee.Geometry.Point([7.0, 46.0])
    with pytest.raises(ee.EEException, match=r"Error in map\(ID=n_1\):\nImage\.select: Band pattern 'N'"):
        images.select(["N"]).mosaic().reduceRegion("first", point, 30).getInfo()
    assert images.select(["R"]).mosaic().reduceRegion("first", point, 30).getInfo() == {"R": 3}


def test_names_that_are_taken_are_numbered(ee: Any) -> None:
    """developers.google.com/earth-engine/apidocs/ee-image-addbands."""
    foo = ee.Image(1).rename("foo")
    assert foo.addBands(foo).addBands(foo).bandNames().getInfo() == ["foo", "foo_1", "foo_2"]
    assert foo.addBands(ee.Image(2).rename("foo"), None, True).bandNames().getInfo() == ["foo"]


def test_an_image_without_bands_is_reduced_to_nothing(ee: Any) -> None:
    """Code 68323301816: a month without images gives a dictionary without keys, and the series goes on."""
    assert none(ee).mean().reduceRegion("mean", ee.Geometry.Point([7, 46]), 30).getInfo() == {}


def test_files_of_several_types(ee: Any) -> None:
    """GeoTIFFs are refused as exports are (github.com/gee-community/geemap/issues/87), arrays have a field each
    (github.com/google/earthengine-api, python/ee/data.py).
    """
    image = ee.Image([1, 0.5]).rename("a", "b")
    grid = {"dimensions": {"width": 2, "height": 2}, "crsCode": "EPSG:4326",
            "affineTransform": {"scaleX": 1, "scaleY": -1, "translateX": 7, "translateY": 46}}  # fmt: skip
    with pytest.raises(ee.EEException, match="found inconsistent types: Byte and Float64"):
        ee.data.computePixels({"expression": image, "fileFormat": "GEO_TIFF", "grid": grid})
    assert ee.data.computePixels({"expression": image.toFloat(), "fileFormat": "GEO_TIFF", "grid": grid})[:2] == b"II"
    pixels = ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    assert pixels.dtype == np.dtype([("a", "u1"), ("b", "f8")])


@pytest.mark.parametrize("use", ["paint", "style", "distance", "reduceToImage", "clip", "join"])
def test_coordinates_beyond_a_projection_are_refused(ee: Any, use: str) -> None:
    """Coordinates of millions of kilometres: degrees in a projection in metres, multiplied, are the usual mistake."""
    far = ee.Geometry.LineString([[1e13, 0], [0, 3e12]], "EPSG:25832", False)
    near, features = ee.Geometry.Point([7, 46]), ee.FeatureCollection([ee.Feature(far, {"n": 1})])
    condition = ee.Filter.intersects(leftField=".geo", rightField=".geo")

    def seen(image: Any) -> Any:
        return image.reduceRegion("first", near, 30)

    uses: dict[str, Callable[[], Any]] = {
        "paint": lambda: seen(ee.Image(0).paint(features, 1)),
        "style": lambda: seen(features.style(color="red")),
        "distance": lambda: seen(features.distance(1000)),
        "reduceToImage": lambda: seen(features.reduceToImage(["n"], ee.Reducer.first())),
        "clip": lambda: seen(ee.Image(1).clip(far)),
        "join": lambda: ee.Join.simple().apply(features, features, condition).size(),
    }
    with pytest.raises(ee.EEException, match=r"Unable to transform the geometry"):
        uses[use]().getInfo()
