"""Expressions that Earth Engine refuses, in its words, by the real client over HTTP.

A number such as "code 57534891031" is a public script or note that quotes the message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rasterio
import requests

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


def rows(ee: Any, *properties: Any) -> Any:
    """A table without geometries."""
    return ee.FeatureCollection([ee.Feature(None, each) for each in properties])


def nested(ee: Any) -> Any:
    """A collection of collections, as before ``flatten()``."""
    return ee.FeatureCollection([ee.FeatureCollection([ee.Geometry.Point([7, 46])])])


def null(ee: Any) -> Any:
    """A property that is missing."""
    return ee.Feature(None).get("x")


def classified(ee: Any, features: Any, *, is_probable: bool = False) -> Any:
    """Two bands, classified by samples of them."""
    classifier = ee.Classifier.smileRandomForest(3)
    if is_probable:
        classifier = classifier.setOutputMode("PROBABILITY")
    return ee.Image([1, 2]).rename("a", "b").classify(classifier.train(features, "cls", ["a", "b"]))


def raw(ee: Any, name: str, **arguments: Any) -> Any:
    """A call whose arguments the client does not convert."""
    return ee.ComputedObject(ee.ApiFunction.lookup(name), arguments)


def unlisted(ee: Any, geometry: Any) -> Any:
    """Images by a geometry that is not made a feature first."""
    condition = raw(ee, "Filter.intersects", leftField=".all", rightValue=geometry)
    return ee.ImageCollection([ee.Image(1).rename("nd")]).filter(ee.Filter(condition))


_TREE = "1) root 9 9 9 (9)\n2) a <= 1.0 1 1 1\n4) b <= 2.0 1 1 1\n3) a > 1.0 1 1 1 *"

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
    "code 70311455079": (
        lambda ee: none(ee).count().unmask(0),
        "Image.unmask: If one image has no bands, the other must also have no bands. Got 0 and 1."),
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
    "github.com/sepal-contrib/sepal_mgci": (
        lambda ee: ee.FeatureCollection([]).reduceColumns(
            ee.Reducer.sum().forEach(["a", "b"]).group(2, "class"), ["a", "b"]),
        "Collection.reduceColumns: Need 3 inputs for Reducer.group(Reducer.forEach(Reducer.sum)), got 2."),
    "codes 66623946087, 66507257755": (
        lambda ee: ee.Reducer.mean().group(2), "Reducer.group: Reducer.group groupField out of range."),
    "github.com/aazuspan/wxee/issues/56": (
        lambda ee: ee.Image(1).clipToBoundsAndScale(width=3, height=3),
        "Image.clipToBoundsAndScale: The geometry for image clipping must be bounded."),
    "codes 62185830633, 62000296028": (
        lambda ee: ee.ImageCollection([ee.Image(1)]).mosaic().reduceResolution(ee.Reducer.mean()),
        "Image.reduceResolution: The input to reduceResolution does not have a valid default projection."),
    "codes 71308916033, 70945374528": (
        lambda ee: ee.Image(1).setDefaultProjection("EPSG:3857", None, 10).reduceResolution("mean", maxPixels=1),
        "Image.reduceResolution: Bad maxPixels arg."),
    "codes 57931465869, 69691952456": (
        lambda ee: ee.Image(ee.Array([[1, 2], [3, 4]])).arraySort(ee.Image(ee.Array([2, 1]))),
        "Image.arraySort: Image and keys must have same dimensions."),
    "codes 68859541651, 70936437101": (
        lambda ee: ee.Image(1).rename("biome_type").select(ee.Image(1).rename("biome_type").bandNames().get(0)),
        "Image.select, argument 'bandSelectors': Invalid type.\nExpected type: List<Object>.\nActual type: String.\n"
        "Actual value: biome_type"),
    "code 42043865956": (
        lambda ee: ee.Image(1).setDefaultProjection("EPSG:4326", [0.01, 0, 0, 0, -0.01, 10]).sampleRectangle(
            ee.Geometry.Rectangle([0, 0, 6, 6], None, False)),
        "Image.sampleRectangle: Too many pixels in sample; must be <= 262144. Got 360000."),
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
    "codes 9966601439, 10069436574": (
        lambda ee: ee.Image(1).clip(ee.FeatureCollection([]).geometry()),
        "Image.clip: The geometry for image clipping must not be empty."),
    "github.com/aazuspan/sankee, sampling.py": (
        lambda ee: ee.FeatureCollection.randomPoints(ee.FeatureCollection([]).geometry(), 3),
        "FeatureCollection.randomPoints: Region must not be empty."),
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
    "codes 42749409509, 42518864168": (
        lambda ee: ee.List.sequence(1, 100).get(115),
        "List.get: List index must be between 0 and 99, or -100 and -1. Found 115."),
    "github.com/gee-community/geetools/issues/384": (
        lambda ee: ee.List([]).get(0), "List.get: List is empty (index is 0)."),
    "code 52426950986": (
        lambda ee: ee.Dictionary({}).get("NDVI"), "Dictionary.get: Dictionary does not contain key: 'NDVI'."),
    "github.com/mapbiomas/user-toolkit/pull/1": (
        lambda ee: ee.FeatureCollection([ee.Feature(None, {"system:index": "0_20"})]).map(
            lambda row: row.set("name", ee.Dictionary({}).get("203"))),
        "Error in map(ID=0_20):\nDictionary.get: Dictionary does not contain key: '203'."),
    "codes 68323301816, 70422669251": (
        lambda ee: ee.Number(null(ee)).multiply(100),
        "Number.multiply: Parameter 'left' is required and may not be null."),
    "codes 61160235588, 60856635042": (
        lambda ee: ee.Number(null(ee)).neq(2), "Number.neq: Parameter 'left' is required and may not be null."),
    "code 61802373475": (
        lambda ee: rows(ee, {"system:index": "4"}).map(lambda row: row.set("b", ee.Number(row.get("q")).gt(1))),
        "Error in map(ID=4):\nNumber.gt: Parameter 'left' is required and may not be null."),
    "developers.google.com/earth-engine/guides/debugging, map": (
        lambda ee: rows(ee, {"system:index": "2"}).map(
            lambda row: row.set("result", ee.Number(row.get("B5")).divide(row.get("B4")))),
        "Error in map(ID=2):\nNumber.divide: Parameter 'left' is required"),
    "code 37792053663, map": (
        lambda ee: dated(ee).map(lambda image: image.set("t", ee.Number(image.get("LST")).multiply(0.02))),
        "Error in map(ID=0):\nNumber.multiply: Parameter 'left' is required and may not be null."),
    "github.com/aazuspan/wxee/issues/43, code 30222561546": (
        lambda ee: ee.Date(ee.Image(1).get("system:time_start")).millis(), "Date: Parameter 'value' is required"),
    "code 54190346042": (lambda ee: ee.Date("2019-02-29"), "Date: Bad date/time '2019-02-29'."),
    "codes 6887269567, 34896963455": (
        lambda ee: dated(ee).map(lambda image: image.date()),
        "Collection.map: A mapped algorithm must return a Feature or Image."),
    "codes 67262190913, 55205388388": (
        lambda ee: ee.Feature(rows(ee).first()).toDictionary(),
        "Element.toDictionary: Parameter 'element' is required and may not be null."),
    "codes 70706208744, 68714838101": (
        lambda ee: ee.Image(none(ee).first()).bandNames(),
        "Image.bandNames: Parameter 'image' is required and may not be null."),
    "github.com/google/earthengine-api/issues/141, code 70659614480": (
        lambda ee: ee.Image(none(ee).first()).get("date"),
        "Element.get: Parameter 'object' is required and may not be null."),
    "codes 68933489842, 69081389999": (
        lambda ee: ee.Image(none(ee).first()).remap([1], [2]), "Image.remap: Parameter 'image' is required"),
    "codes 56498514137, 63194703732": (
        lambda ee: raw(ee, "Element.geometry", feature=rows(ee).first()),
        "Element.geometry: Parameter 'feature' is required and may not be null."),
    "github.com/samsammurphy/gee-atmcorr-S2/issues/11, code 66590921396": (
        lambda ee: raw(ee, "Image.constant", value=null(ee)), "Image.constant: Parameter 'value' is required"),
    "code 35278017196": (
        lambda ee: rows(ee, {"a": 1}).filter(ee.Filter.inList("a", 71)).size(),
        "Filter.inList: Cannot filter using 'ListContains' with '71' as a left operand."),
    "code 70868923316, number": (
        lambda ee: raw(ee, "Image.gte", image1=ee.Image(1), image2=21),
        "Image.gte, argument 'image2': Invalid type.\nExpected type: Image<unknown bands>.\nActual type: Integer.\n"
        "Actual value: 21"),
    "code 44278975314": (
        lambda ee: ee.Image(1).multiply(ee.Dictionary({"wL": 0.5}).get("wL")),
        "Image.multiply, argument 'image2': Invalid type.\nExpected type: Image<unknown bands>.\nActual type: Float."),
    "code 70868923316, geometry": (
        lambda ee: unlisted(ee, ee.Geometry.Rectangle([0, 0, 1, 1])).median(),
        "reduce.median: Property '.all' with value '<Image<[nd]>>' is not a valid operand for"
        " Intersects<e:ErrorMargin(0.1 METERS)>"),
    "code 54859584213": (
        lambda ee: raw(ee, "Image.reduceRegion", image=ee.Image(1), reducer=ee.Reducer.mean(),
            geometry={"type": "Point", "coordinates": [1, 2]}, scale=10),
        "Image.reduceRegion, argument 'geometry': Invalid type.\nExpected type: Geometry.\n"
        "Actual type: Dictionary<Object>."),
    "code 65724646786": (
        lambda ee: raw(ee, "Image.sampleRegions", image=ee.Image(1),
            collection={"type": "FeatureCollection", "features": []}, scale=10),
        "Image.sampleRegions, argument 'collection': Invalid type.\nExpected type: FeatureCollection.\n"
        "Actual type: Dictionary<Object>."),
    "github.com/gee-community/geemap/issues/1058": (
        lambda ee: ee.ImageCollection([
            ee.Image(1).toInt16().rename("Blue"),
            ee.Image(1).toUint16().multiply(0.0000275).add(-0.2).rename("Blue").set("system:index", "1"),
        ]).median().reduceRegion("first", ee.Geometry.Point([7, 46]), 30),
        "Expected a homogeneous image collection, but an image with an incompatible band was encountered. Mismatched"
        " type for band 'Blue':\nExpected type: Short.\n  Actual type: Float<-0.2, 1.6022125>.\n     Image ID: 1\n"
        "This band might require an explicit cast."),
    "github.com/leftfield-geospatial/geedim/issues/16": (
        lambda ee: ee.ImageCollection([
            ee.Image([1, 2, 3]).rename("B1", "B2", "MSK"), ee.Image([1, 2]).rename("B1", "B2"),
        ]).median().reduceRegion("first", ee.Geometry.Point([7, 46]), 30),
        "Expected a homogeneous image collection, but an image with incompatible bands was encountered: First image"
        " type: 3 bands ([B1, B2, MSK]). Current image type: 2 bands ([B1, B2])."),
    "code 45134458286, classes": (
        lambda ee: classified(ee, rows(ee, {"a": 1, "b": 2, "cls": 1}, {"a": 2, "b": 2, "cls": 1}), is_probable=True),
        "Image.classify: Expected 2 classes for PROBABILITY, found 1."),
    "codes 45134458286, 1274870699": (
        lambda ee: classified(ee, rows(ee)), "Image.classify: No valid training data were found."),
    "code 66785829747": (
        lambda ee: ee.Image(1).reduceToVectors(ee.Reducer.mean(), ee.Geometry.BBox(7, 46, 7.1, 46.1), 1000),
        "Image.reduceToVectors: Need 1+1 bands for Reducer.mean"),
    "code 52469348606": (
        lambda ee: ee.Image([1, 2]).reduceToVectors(geometry=ee.Geometry.BBox(7, 46, 7.1, 46.1), scale=1000),
        "Image.reduceToVectors: Need 1+0 bands for Reducer.countEvery, image has 2"),
    "codes 57178086307, 53755605705": (
        lambda ee: ee.Reducer.sum().group(0), "Reducer.group: Group input must come after weighted inputs."),
    "codes 58996254457, 58788292431": (
        lambda ee: ee.Reducer.frequencyHistogram().group(), "Reducer.group: Group input must come after weighted"),
    "codes 5883628706, 43470140848": (
        lambda ee: ee.Image(1).reduceRegion(ee.Reducer.sum().group(1), ee.Geometry.BBox(7, 46, 7.1, 46.1), 1000),
        "Image.reduceRegion: Need 2 bands for Reducer.group"),
    "code 55649286766": (
        lambda ee: ee.Image([1, 2, 3]).reduceRegion(
            ee.Reducer.sum().combine(ee.Reducer.mean()), ee.Geometry.BBox(7, 46, 7.1, 46.1), 1000),
        "Image.reduceRegion: Need 2 bands for Reducer.combine"),
    "developers.google.com/earth-engine/guides/reducers_reduce_columns": (
        lambda ee: rows(ee).reduceColumns(ee.Reducer.sum(), ["a", "b"]),
        "Collection.reduceColumns: Need 1 inputs for Reducer.sum, got 2."),
    "code 71213263875": (
        lambda ee: rows(ee, {"a": 0}, {"a": "10"}).reduceColumns(ee.Reducer.max(), ["a"]),
        "Collection.reduceColumns: Cannot compare values '0' (Type:Integer) and '10' (Type:String)."),
    "codes 31816553617, 66470362804": (
        lambda ee: ee.FeatureCollection("users/a/none").size(),
        "Collection.loadTable: Collection asset 'users/a/none' not found"),
    "codes 56795019754, 68945507490": (
        lambda ee: ee.ImageCollection("projects/x/assets/y").size(),
        "ImageCollection.load: ImageCollection asset 'projects/x/assets/y' not found (does not exist or caller does not"
        " have access)."),
    "codes 56903949484, 6717466064": (
        lambda ee: none(ee).mean().reduceRegions(
            ee.FeatureCollection([ee.Geometry.Point([7, 46])]), ee.Reducer.mean(), 30),
        "Image.reduceRegions: Image has no bands."),
    "codes 49280322177, 6810967280": (
        lambda ee: ee.Image(1).addBands(ee.Image(2).reproject("EPSG:32632", None, 30)).projection(),
        "Image.projection: The bands of the specified image contain"),
    "github.com/gee-community/geemap/issues/2297": (
        lambda ee: ee.Image([1, 2]).rename("a", "b").classify(ee.Classifier.decisionTreeEnsemble([_TREE])),
        "Classifier.decisionTreeEnsemble: Error parsing line 4: expected 8, got 3."),
    "code 60840792740": (
        lambda ee: none(ee).mean().remap([1], [2]), "Image.remap: Image has no bands."),
    "code 71444591370": (
        lambda ee: ee.Geometry.Rectangle([0, 0, 1, 1]).transform("EPSG:3857").area(0),
        "Geometry.area: Unable to perform this geometry operation. Please specify a non-zero error margin."),
    "code 61120703080": (
        lambda ee: ee.Geometry.Rectangle([0, 0, 1, 1]).transform("EPSG:3857").centroid(0),
        "Geometry.centroid: Unable to perform this geometry operation. Please specify a non-zero error margin."),
    "github.com/r-spatial/rgee/issues/162": (
        lambda ee: raw(ee, "GeometryConstructors.Rectangle", coordinates=ee.Geometry.Point([7, 46]).bounds()),
        "GeometryConstructors.Rectangle, argument 'coordinates': Invalid type.\nExpected type: "),
    "github.com/r-spatial/rgee/issues/167": (
        lambda ee: none(ee).mean().multiply(ee.Image(1)),
        "Image.multiply: If one image has no bands, the other must also have no bands. Got 0 and 1."),
    "code 41617220612": (
        lambda ee: nested(ee).geometry(), "Collection.geometry: Unable to use a collection in an algorithm that"),
    "code 41617220612, regions": (
        lambda ee: ee.Image(1).reduceRegions(nested(ee), "mean", 30), "Unable to use a collection in an algorithm"),
    "code 69864136411": (
        lambda ee: dated(ee).map(lambda image: image.select("precipitation_rate")).toList(1),
        "Collection.toList: Error in map(ID=0):\nImage.select: Band pattern 'precipitation_rate' did not match any"
        " bands. Available bands: [constant]"),
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
    (github.com/google/earthengine-api, python/ee/data.py), and downloads one type for all, as MMEarth's have
    (github.com/vishalned/MMEarth-data).
    """
    image = ee.Image([1, 0.5]).rename("a", "b")
    grid = {"dimensions": {"width": 2, "height": 2}, "crsCode": "EPSG:4326",
            "affineTransform": {"scaleX": 1, "scaleY": -1, "translateX": 7, "translateY": 46}}  # fmt: skip
    with pytest.raises(ee.EEException, match="found inconsistent types: Byte and Float64"):
        ee.data.computePixels({"expression": image, "fileFormat": "GEO_TIFF", "grid": grid})
    assert ee.data.computePixels({"expression": image.toFloat(), "fileFormat": "GEO_TIFF", "grid": grid})[:2] == b"II"
    pixels = ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    assert pixels.dtype == np.dtype([("a", "u1"), ("b", "f8")])
    options = {"region": ee.Geometry.Rectangle([7, 45, 8, 46]), "scale": 50_000, "bands": ["a", "b"]}
    downloaded = requests.get(image.getDownloadURL({**options, "format": "GeoTIFF"}), timeout=60)
    with rasterio.MemoryFile(downloaded.content) as memory, memory.open() as file:
        assert file.dtypes == ("float64", "float64")
        assert [np.unique(band).tolist() for band in file.read()] == [[1], [0.5]]


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
