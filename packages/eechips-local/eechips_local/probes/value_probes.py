"""Probes: bands, values and what getInfo answers."""

from __future__ import annotations

from typing import Any

from eechips_local.probes.probe import OPEN, Build, ExpectedResult, Probe, error, first, info, value


def _probe(name: str, question: str, fact: str, build: Build, expected: ExpectedResult = OPEN) -> Probe:
    return Probe(name, question, fact, info(build), expected)


def _empty(ee: Any) -> Any:
    """Return the mosaic of no images."""
    return ee.ImageCollection([ee.Image(0)]).filter(ee.Filter.eq("none", 1)).mosaic()


_BANDS = (
    _probe(
        "bands/missing", "What says select() of a missing band?", "missing-band",
        lambda ee: ee.Image([1, 2]).rename(["DEM", "EDM"]).select("elevation"),
        error(r"Image.select: Band pattern 'elevation' did not match any bands\. Available bands: \[DEM, EDM\]"),
    ),
    _probe(
        "bands/missing-in-map", "And in a mapped function?", "missing-band",
        lambda ee: ee.ImageCollection([ee.Image(1)]).map(lambda image: image.select("B2")).first(),
        error(r"Error in map\(ID=0\):\s+Image.select: Band pattern 'B2' did not match any bands"),
    ),
    _probe(
        "bands/missing-in-one", "And where only the second image of a collection lacks it?", "missing-band",
        lambda ee: ee.ImageCollection([ee.Image([1, 2]).rename(["a", "b"]), ee.Image(1).rename("b")])
        .select("a").aggregate_array("system:index"),
    ),
    Probe(
        "bands/missing-in-one-mosaic", "And once the pixels of its mosaic are computed?", "missing-band",
        first(
            lambda ee: ee.ImageCollection([ee.Image([1, 2]).rename(["a", "b"]), ee.Image(1).rename("b")])
            .select("a").mosaic()
        ),
        error("did not match any bands"),
    ),
    _probe(
        "bands/of-nothing", "What says select() of a composite of no images?", "no-bands",
        lambda ee: _empty(ee).select("B2"), error("was applied to an Image with no bands"),
    ),
    _probe("bands/names-of-nothing", "Has it an empty list of bands?", "no-bands", lambda ee: _empty(ee).bandNames(),
           value([])),
    Probe("bands/reduced-nothing", "Does reduceRegion take an image without bands?", "no-bands", first(_empty),
          value({})),
    _probe(
        "bands/compared-with-nothing", "What says gt() of one band and none?", "no-bands",
        lambda ee: _empty(ee).gt(1).bandNames(),
        error(r"Image.gt: If one image has no bands, the other must also have no bands\. Got 0 and 1"),
    ),
    _probe(
        "bands/of-null", "What says select() of the first of no images?", "null-input",
        lambda ee: ee.ImageCollection([ee.Image(0)]).filter(ee.Filter.eq("none", 1)).first().select("B2"),
        error(r"Image.select: Parameter 'input' is required"),
    ),
    _probe(
        "bands/added-to-null", "What says addBands() to it?", "null-input",
        lambda ee: ee.Image(ee.ImageCollection([ee.Image(0)]).filter(ee.Filter.eq("none", 1)).first()).addBands(1),
        error(r"Image.addBands: Parameter 'dstImg' is required"),
    ),
    _probe(
        "bands/added-collection", "What says addBands() of a collection?", "null-input",
        lambda ee: ee.Image(1).addBands(ee.ComputedObject(
            ee.ApiFunction.lookup("ImageCollection.fromImages"), {"images": [ee.Image(1)]})),
        error(r"Image.addBands, argument 'srcImg': Invalid type"),
    ),
    _probe(
        "bands/renamed-wrong", "What says rename() with too few names?", "band-names",
        lambda ee: ee.Image([1, 2]).rename(["a"]),
        error(r"Image.rename: The number of names \(1\) must match the number of bands \(2\)"),
    ),
    _probe(
        "bands/taken", "How is a band called whose name is taken?", "band-names",
        lambda ee: ee.Image(1).rename("foo").addBands(ee.Image(2).rename("foo")).addBands(ee.Image(3).rename("foo"))
        .bandNames(),
        value(["foo", "foo_1", "foo_2"]),
    ),
    _probe("bands/underscore", "Is '_label' refused as a name?", "band-names",
           lambda ee: ee.Image(1).rename("_label").bandNames(), error("Invalid band name: '_label'")),
    _probe("bands/blank", "Is 'a b' refused as a name?", "band-names",
           lambda ee: ee.Image(1).rename("a b").bandNames()),
    _probe(
        "bands/missing-asset", "What says a missing image?", "missing-asset",
        lambda ee: ee.Image("COPERNICUS/S2/no_such_image"),
        error(r"Image asset 'COPERNICUS/S2/no_such_image' not found \(does not exist or caller does not have access\)"),
    ),
    _probe("bands/missing-collection", "What says a missing collection?", "missing-asset",
           lambda ee: ee.ImageCollection("COPERNICUS/NO_SUCH").size(), error("not found")),
)  # fmt: skip

_ENCODINGS: tuple[tuple[str, Build, ExpectedResult], ...] = (
    ("filter", lambda ee: ee.Filter.eq("foo", "bar"),
     value({"type": "Filter.eq", "leftField": "foo", "rightValue": "bar"})),
    ("date-filter", lambda ee: ee.Filter.date("2020-01-01", "2021-01-01"), OPEN),
    ("and-filter", lambda ee: ee.Filter.And(ee.Filter.eq("a", 1), ee.Filter.lt("b", 2)), OPEN),
    ("reducer", lambda ee: ee.Reducer.max(5), value({"type": "Reducer.max", "numInputs": 5})),
    ("combined-reducer", lambda ee: ee.Reducer.mean().combine(ee.Reducer.count(), "n_"), OPEN),
    ("fixed-kernel", lambda ee: ee.Kernel.fixed(3, 3, [[1, 2, 1], [0, 0, 0], [1, 2, 1]]), OPEN),
    ("classifier", lambda ee: ee.Classifier.smileKNN(), OPEN),
    ("clusterer", lambda ee: ee.Clusterer.wekaKMeans(2), OPEN),
    ("projection", lambda ee: ee.Projection("EPSG:4326").atScale(100),
     value({"type": "Projection", "crs": "EPSG:4326"})),
    ("date", lambda ee: ee.Date("2020-01-01"), value({"type": "Date", "value": 1577836800000})),
    ("date-range", lambda ee: ee.DateRange("2020-01-01", "2020-01-02"),
     value({"type": "DateRange", "dates": [1577836800000, 1577923200000]})),
    ("array", lambda ee: ee.Array([[1, 2], [3, 4]]), value([[1, 2], [3, 4]])),
    ("confusion-matrix", lambda ee: ee.ConfusionMatrix(ee.Array([[5, 1], [0, 4]])), value([[5, 1], [0, 4]])),
    ("error-margin", lambda ee: ee.ErrorMargin(10), OPEN),
    ("join", lambda ee: ee.Join.simple(), OPEN),
    ("pixel-type", lambda ee: ee.PixelType.int16(), OPEN),
    ("blob", lambda ee: ee.Blob("gs://earthengine-public/none.txt"), OPEN),
    ("collection-of-images", lambda ee: ee.ImageCollection([ee.Image(1)]), value({"type": "ImageCollection"})),
    ("collection-of-features", lambda ee: ee.FeatureCollection([ee.Feature(None, {"foo": "x"})]),
     value({"type": "FeatureCollection", "columns": {"foo": "String", "system:index": "String"}})),
    ("collection-in-list", lambda ee: ee.List([ee.FeatureCollection([ee.Feature(None, {"foo": 1})])]), OPEN),
    ("image", lambda ee: ee.Image(1).set("foo", 2), value({"type": "Image"})),
    ("geometry", lambda ee: ee.Geometry.Point([1, 2]), value({"type": "Point", "coordinates": [1, 2]})),
    ("null-in-dictionary", lambda ee: ee.Dictionary({"a": 1}).set("b", None), OPEN),
    ("not-a-number", lambda ee: ee.Number(0).divide(0), OPEN),
    ("infinite", lambda ee: ee.Number(1).divide(0), OPEN),
    ("long-integer", lambda ee: ee.Number(9007199254740993), OPEN),
)  # fmt: skip

_VALUES: tuple[tuple[str, str, str, Build, ExpectedResult], ...] = (
    ("gaussian", "How large is Kernel.gaussian(3)?", "gaussian-kernel", lambda ee: ee.Kernel.gaussian(3),
     value({"center": [3, 3], "radius": 3})),
    ("cut-number", "Does Number.toInt cut decimals?", "casts-of-values",
     lambda ee: ee.List([ee.Number(x).toInt() for x in (2.7, -2.7, 2.5)]), value([2, -2, 2])),
    ("clamped-number", "Does Number.toByte clamp?", "casts-of-values",
     lambda ee: ee.List([ee.Number(300).toByte(), ee.Number(-5).toByte()]), value([255, 0])),
    ("number-to-float", "Does Number.toFloat round to 32 bits?", "casts-of-values",
     lambda ee: ee.Number(0.1).toFloat(), value(0.1)),
    ("half-rounded", "How does Number.round round halves?", "casts-of-values",
     lambda ee: ee.List([ee.Number(0.5).round(), ee.Number(1.5).round(), ee.Number(-0.5).round(),
                         ee.Number(-1.5).round()]), OPEN),
    ("object-type", "What is the type of 1?", "object-types", lambda ee: ee.Algorithms.ObjectType(1),
     value("Integer")),
    ("object-type-byte", "What is the type of Number(-3).int8()?", "object-types",
     lambda ee: ee.Algorithms.ObjectType(ee.Number(-3).int8()), value("Long")),
    ("object-type-geometry", "What is the type of a point?", "object-types",
     lambda ee: ee.Algorithms.ObjectType(ee.Geometry.Point([0, 0])), OPEN),
    ("object-type-others", "What are the types of others?", "object-types",
     lambda ee: ee.List([ee.Algorithms.ObjectType(x) for x in (
         1.5, "a", ee.List([1]), ee.Dictionary({"a": 1}), ee.Date(0), ee.Image(1), ee.ImageCollection([ee.Image(1)]),
         ee.Feature(None), ee.FeatureCollection([ee.Feature(None)]), ee.Geometry.Rectangle([0, 0, 1, 1]),
         ee.Array([1]), ee.Reducer.max(), ee.Filter.eq("a", 1), ee.Projection("EPSG:4326"), ee.Number(1).toByte())]),
     OPEN),
    ("bad-date", "What says an invalid date?", "invalid-dates", lambda ee: ee.Date("2019-02-29"),
     error(r"Date: Bad date/time '2019-02-29'")),
    ("given-index", "Is system:index of a given feature kept?", "given-index",
     lambda ee: ee.FeatureCollection([ee.Feature(None, {"system:index": "foo"})]).aggregate_array("system:index"),
     value(["foo"])),
    ("missing-key", "What says Dictionary.get of a missing key?", "error-bodies",
     lambda ee: ee.Dictionary({"min": 1}).get("max"), error("Dictionary does not contain key: 'max'")),
    ("bitwise-decimals", "What says bitwiseAnd of decimals?", "error-bodies",
     lambda ee: ee.Number(1.5).bitwiseAnd(1), error("Bitwise operands must be integer only")),
    ("null-divided", "What says divide of null?", "null-input",
     lambda ee: ee.List([ee.Feature(None)]).map(lambda each: ee.Number(ee.Feature(each).get("a")).divide(2)),
     error(r"Parameter 'left' is required")),
    ("mapped-number", "What says a mapped function of a collection that returns a number?", "error-bodies",
     lambda ee: ee.FeatureCollection([ee.Feature(None)]).map(lambda each: ee.Number(1), True).size(),
     error("A mapped algorithm must return a Feature or Image")),
)  # fmt: skip


def _cast_pixels(ee: Any) -> Any:
    image = ee.Image([2.7, -2.7, 300, -5]).toDouble()
    return ee.Image.cat(
        image.select([0]).toInt16().rename("up"), image.select([1]).toInt16().rename("down"),
        image.select([2]).toByte().rename("high"), image.select([3]).toByte().rename("low"),
    )  # fmt: skip


_OF_USERS = (
    _probe(
        "values/percentile-of-ten", "What is the 90th percentile of 1 to 10?", "percentiles",
        lambda ee: ee.List.sequence(1, 10).reduce(ee.Reducer.percentile([90])), value(9.5),
    ),
    _probe(
        "values/percentile-between", "And the 33rd?", "percentiles",
        lambda ee: ee.List.sequence(1, 10).reduce(ee.Reducer.percentile([33])), value(3.8),
    ),
    _probe(
        "values/calendar-without-time", "What says calendarRange of a feature without a time?", "calendar-times",
        lambda ee: ee.FeatureCollection([ee.Feature(None, {"doy": 3})]).filter(ee.Filter.calendarRange(2, 5)),
        error("Can't apply calendarRange filter to objects without a timestamp"),
    ),
    _probe(
        "values/negative-calendar", "And with a negative day?", "calendar-times",
        lambda ee: ee.ImageCollection([ee.Image(1)]).filter(ee.Filter.calendarRange(-3, 5, "day_of_year")),
        error("Start and end date values must be >= 0"),
    ),
    _probe("values/empty-array", "What says an array of nothing?", "empty-arrays", lambda ee: ee.Array([]),
           error("No numbers in 'values', must provide a type")),
    _probe(
        "values/tile-scale", "What says reduceRegion with a tileScale of 32?", "tile-scales",
        lambda ee: ee.Image(1).reduceRegion("mean", ee.Geometry.Rectangle([0, 0, 1, 1]), 1000, tileScale=32),
        error(r"Valid tileScales are 0\.1 to 16"),
    ),
    Probe(
        "values/class-colours", "Have classes their stated colours?", "class-colours",
        first(lambda ee: ee.Image(1).rename("c").set(
            {"c_class_values": [0, 1], "c_class_palette": ["000000", "0a141e"]}).visualize()),
        value({"vis-red": 10, "vis-green": 20, "vis-blue": 30}),
    ),
)  # fmt: skip

_PIXELS = (
    Probe("values/cast-pixels", "Do casts of pixels cut and clamp?", "casts-of-values", first(_cast_pixels),
          value({"up": 2, "down": -2, "high": 255, "low": 0})),
    Probe(
        "values/visualized-halves", "How does visualize round 0.5 of 255, and a quarter?", "picture-rounding",
        first(lambda ee: ee.Image([0.5, 0.25, 0.1]).visualize(min=0, max=1)),
    ),
    Probe(
        "values/visualized-palette", "Which of two colours has the middle?", "picture-rounding",
        first(lambda ee: ee.Image(0.5).visualize(min=0, max=1, palette=["000000", "ffffff"])),
    ),
)  # fmt: skip

PROBES = (
    *_BANDS,
    *(
        Probe(f"encodings/{name}", f"How is a {name.replace('-', ' ')} printed?", "encodings", info(build), expected)
        for name, build, expected in _ENCODINGS
    ),
    *(Probe(f"values/{name}", question, fact, info(build), expected)
      for name, question, fact, build, expected in _VALUES),
    *_OF_USERS,
    *_PIXELS,
)  # fmt: skip
"""Probes of bands, encodings and values."""
