"""Values of the real service that notebooks, tests and guides of other projects print, through the real client.

They were read by hand; each source names the commit and the file. ``recorded_values.jsonl.gz`` has those that were
collected by a program. What is left out or differs:

- EEwPython (2019) prints ``{'type': 'DataDictionary', 'values': …}`` for ``aggregate_stats``, of a table that is gone.
- The values of openet-landsat-lst, Xee, pygaul and the rest of gee_tools are of datasets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from local_tests.published.test_recorded_values import check_examples, read_rows

Example = tuple[Callable[[Any], Any], Any]


def _fixed_kernel(ee: Any) -> Any:
    rows = [[1] * 9 for _ in range(9)]
    rows[4] = [1, 1, 1, 1, 0, 1, 1, 1, 1]
    return ee.Kernel.fixed(9, 9, rows, -4, -4, False)


def _polygon(ee: Any) -> Any:
    return ee.Geometry.Polygon([[[-5, 40], [65, 40], [65, 60], [-5, 60], [-5, 60]]])


_RING = [[-35, -10], [-35, 10], [35, 10], [35, -10], [-35, -10]]


def _hole(ee: Any, even_odd: bool) -> Any:
    return ee.Geometry({"type": "Polygon", "coordinates": [_RING]}, "EPSG:4326", True, even_odd)


def _named(ee: Any) -> Any:
    return ee.FeatureCollection(
        [
            ee.Feature(ee.Geometry.Rectangle(30.01, 59.80, 30.59, 60.15), {"name": "Voronoi"}),
            ee.Feature(ee.Geometry.Point(-73.96, 40.781), {"name": "Thiessen"}),
            ee.Feature(ee.Geometry.Point(6.4806, 50.8012), {"name": "Dirichlet"}),
        ]
    )


def _feature(name: str, position: int, geometry: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "id": str(position), "properties": {"name": name}}


def _sequoia(ee: Any) -> Any:
    feature = ee.Feature(ee.Geometry.Point([-122.22599, 37.17605]))
    feature = feature.set("genus", "Sequoia").set("species", "sempervirens").set("presence", 1)
    return feature.set({"genus": "Brachyramphus", "species": "marmoratus"})


def _pixel_type(precision: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    bounds = {} if low is None else {"min": low, "max": high}
    return {"type": "PixelType", "precision": precision, **bounds}


def _zero_band(value: int) -> dict[str, Any]:
    return {
        "id": "constant",
        "crs": "EPSG:4326",
        "crs_transform": [1, 0, 0, 0, 1, 0],
        "data_type": _pixel_type("int", value, value),
    }


def _triangles(ee: Any) -> Any:
    return ee.Geometry.MultiPolygon([[[0, 0], [1, 1], [2, 2], [0, 0]], [[4, 6], [3, 2], [1, 2], [4, 6]]])


def _days(ee: Any, *dates: str) -> Any:
    return ee.FeatureCollection([ee.Feature(None, {"system:time_start": ee.Date(date).millis()}) for date in dates])


_TURN_OF_YEAR = [f"2019-12-{day}" for day in range(27, 32)] + [f"2020-01-{day:02}" for day in range(1, 11)]


def _of_wards(ee: Any, *rows: tuple[str, float]) -> Any:
    table = ee.FeatureCollection([ee.Feature(None, {"ward": ward, "value": value}) for ward, value in rows])
    reducer = ee.Reducer.percentile([90]).group(1, "ward")
    return table.reduceColumns(reducer, ["value", "ward"]).get("groups")


def _wards(ee: Any, image: Any) -> Any:
    """Means of circles around 7 degrees north, as a project reduces its wards."""
    wards = [ee.Feature(ee.Geometry.Point([lon, 7.0]).buffer(20_000), {"lon": lon}) for lon in (3.0, 8.0)]
    return image.reduceRegions(ee.FeatureCollection(wards), ee.Reducer.mean(), 11132)


def _rectangle(ee: Any) -> Any:
    """The region of a question about areas: sums of weights show how parts of pixels are counted."""
    west, south, east, north = 12.124393381085076, 42.28788783747578, 12.241123117413201, 42.35185853899329
    return ee.Geometry.Polygon([[[west, north], [west, south], [east, south], [east, north]]], None, False)


def _parcel(ee: Any) -> Any:
    west, east, south, north = -97.59238135821987, -97.59185396090983, 43.47456565304017, 43.47962728271748
    ring = [[west, south], [-97.59244690469288, 43.47962399877412], [-97.59191951546768, north], [east, south]]
    return ee.Geometry.Polygon([[*ring, ring[0]]])


def _donut(ee: Any) -> Any:
    rings = [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]], [[4, 4], [6, 4], [6, 6], [4, 6], [4, 4]]]
    return ee.Geometry.Polygon(rings)


def _runs(ee: Any, flags: Sequence[int]) -> Any:
    """Number runs of ones, from 1; others are -1."""

    def step(flag: Any, state: Any) -> Any:
        flag, state = ee.Number(flag), ee.List(state)
        last, number, tags = ee.Number(state.get(0)), ee.Number(state.get(1)), ee.List(state.get(2))
        number = ee.Number(ee.Algorithms.If(flag.eq(1).And(last.eq(0)), number.add(1), number))
        return ee.List([flag, number, tags.add(ee.Algorithms.If(flag.eq(1), number, -1))])

    return ee.List(ee.List(list(flags)).iterate(step, ee.List([0, 0, ee.List([])]))).get(2)


def _fake(ee: Any, values: Mapping[str, int], date: str | None = None) -> Any:
    image = ee.Dictionary(values).toImage().int64()
    return image.set("system:time_start", ee.Date(date).millis()) if date else image


def _pixel(ee: Any, image: Any) -> Any:
    return ee.Image(image).reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 1)


def _medoid(ee: Any, images: Any, bands: Any) -> Any:
    median = images.select(bands).median()

    def scored(image: Any) -> Any:
        distance = image.select(bands).spectralDistance(median, "sed").multiply(-1.0).rename("score")
        return image.addBands(distance)

    mosaic = images.map(scored).qualityMosaic("score")
    return mosaic.select(mosaic.bandNames().remove("score"))


def _monthly(ee: Any) -> Any:
    """The means of the months from January to March 2016, of which each has two images."""
    days = [
        f"{month}-{day}" for month in ("2015-12", "2016-01", "2016-02", "2016-03", "2016-04") for day in ("01", "15")
    ]
    images = ee.ImageCollection([_fake(ee, {"value": 100 + 50 * i}, day) for i, day in enumerate(days)])

    def mean(month: Any) -> Any:
        begin = ee.Date("2016-01-01").advance(ee.Number(month), "month")
        return images.filterDate(begin, begin.advance(1, "month")).reduce(ee.Reducer.mean()).rename("value")

    means = ee.ImageCollection.fromImages(ee.List.sequence(0, 2).map(mean))
    return means.toList(15).map(lambda image: _pixel(ee, image))


_TEST_VALUES = {f"B{i}": 1000 * i for i in range(1, 12)}
_TASSELED_CAP = [
    [0.3029, 0.2786, 0.4733, 0.5599, 0.5080, 0.1872],
    [-0.2941, -0.2430, -0.5424, 0.7276, 0.0713, -0.160],
    [0.1511, 0.1973, 0.3283, 0.3407, -0.7117, -0.4559],
    [-0.8239, 0.0849, 0.4396, -0.0580, 0.2013, -0.2773],
    [-0.3294, 0.0557, 0.1056, 0.1855, -0.4349, 0.8085],
    [0.1079, -0.9023, 0.4119, 0.0575, -0.0259, 0.0252],
]


def _multiplied(ee: Any, image: Any, coefficients: list[list[float]], names: list[str]) -> Any:
    vector = image.toArray().toArray(1)
    product = ee.Image(ee.Array(coefficients)).matrixMultiply(vector).arrayProject([0]).arrayFlatten([names])
    return _pixel(ee, product)


def _clear(ee: Any, flag: int) -> Any:
    def mask(image: Any) -> Any:
        qa = image.select("pixel_qa")
        return image.updateMask(qa.bitwiseAnd(1 << 3).eq(0).And(qa.bitwiseAnd(1 << 5).eq(0)))

    images = [_fake(ee, {"pixel_qa": 0, "B4": 12}), _fake(ee, {"pixel_qa": flag, "B4": 100})]
    return _pixel(ee, ee.ImageCollection(images).map(mask).mosaic()).get("B4")


def _index(ee: Any, formula: str) -> Any:
    return _pixel(ee, _fake(ee, _TEST_VALUES).expression(formula).rename("index")).get("index")


def _identity_joined(ee: Any, one: Any, other: Any) -> Any:
    """Both lists without what both have: gee_tools' difference."""
    return one.removeAll(other).cat(other.removeAll(one))


# fmt: off
PRINTED: dict[str, list[Example]] = {
    "csaybar/EEwPython@a13b32018059:4_features.ipynb": [
        (lambda ee: _polygon(ee).area().divide(1e6), 9918985.748240016),
        (lambda ee: _polygon(ee).type(), "Polygon"),
        (lambda ee: _polygon(ee).geodesic(), True),
        (lambda ee: _polygon(ee).coordinates(), [[[-5, 40], [65, 40], [65, 60], [-5, 60], [-5, 60], [-5, 40]]]),
        (lambda ee: _hole(ee, False).contains(ee.Geometry.Point([1.5, 1.5])), False),
        (lambda ee: _hole(ee, True).contains(ee.Geometry.Point([1.5, 1.5])), True),
        (lambda ee: ee.Feature(ee.Geometry.Polygon([_RING[::-1]]), {"foo": 42, "bar": "tart"}), {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [_RING[::-1]]},
            "properties": {"bar": "tart", "foo": 42},
        }),
        (_sequoia, {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [-122.22599, 37.17605]},
            "properties": {"genus": "Brachyramphus", "presence": 1, "species": "marmoratus"},
        }),
        (lambda ee: ee.Feature(None, {}).set("species", "sempervirens").get("species"), "sempervirens"),
        (_named, {
            "type": "FeatureCollection",
            "columns": {"name": "String", "system:index": "String"},
            "features": [
                _feature("Voronoi", 0, {"type": "Polygon", "coordinates": [
                    [[30.01, 59.8], [30.59, 59.8], [30.59, 60.15], [30.01, 60.15], [30.01, 59.8]],
                ]}),
                _feature("Thiessen", 1, {"type": "Point", "coordinates": [-73.96, 40.781]}),
                _feature("Dirichlet", 2, {"type": "Point", "coordinates": [6.4806, 50.8012]}),
            ],
        }),
        (lambda ee: ee.FeatureCollection(ee.Geometry.Point(16.37, 48.225)), {
            "type": "FeatureCollection",
            "columns": {"system:index": "String"},
            "features": [{
                "type": "Feature", "id": "0", "properties": {},
                "geometry": {"type": "Point", "coordinates": [16.37, 48.225]},
            }],
        }),
    ],
    "csaybar/EEwPython@a13b32018059:2_eeImage.ipynb": [
        (_fixed_kernel, {
            "type": "Kernel.fixed", "center": [4, 4], "width": 9, "height": 9, "x": 4, "y": 4,
            "weights": "".join(
                f"\n  [1.0, 1.0, 1.0, 1.0, {'0.0' if row == 4 else '1.0'}, 1.0, 1.0, 1.0, 1.0]" for row in range(9)
            ),
        }),
    ],
    "davemlz/eemont@959c2b8007ee:docs/tutorials/020-Overloaded-Operators-Number.ipynb": [
        (lambda ee: ee.Number(0.64).subtract(0.20).divide(ee.Number(0.64).add(0.20)), 0.5238095238095237),
        (lambda ee: ee.Number(0.58).subtract(0.12).divide(ee.Number(0.58).add(0.12)), 0.6571428571428571),
    ],
    "davemlz/eemont@959c2b8007ee:docs/tutorials/022-Overloaded-Operators-List.ipynb": [
        (lambda ee: ee.List.sequence(0, 4).cat(ee.List.sequence(5, 9)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (lambda ee: ee.List.repeat(10, 5), [10, 10, 10, 10, 10]),
        (lambda ee: ee.List.repeat(ee.List.sequence(0, 9), 2).flatten(), [*range(10), *range(10)]),
    ],
    "aazuspan/eerepr@eb480ecfc19e:tests/data/test_regression_objects_*.yml": [
        (lambda ee: ee.Array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (lambda ee: ee.ConfusionMatrix(ee.Array([[1, 2], [3, 4]])), [[1, 2], [3, 4]]),
        (lambda ee: ee.Classifier.smileKNN(), {"type": "Classifier.smileKNN"}),
        (lambda ee: ee.Clusterer.wekaKMeans(2), {"type": "Clusterer.wekaKMeans", "nClusters": 2}),
        (lambda ee: ee.Filter.eq("foo", "bar"), {"type": "Filter.eq", "leftField": "foo", "rightValue": "bar"}),
        (lambda ee: ee.Reducer.max(5), {"type": "Reducer.max", "numInputs": 5}),
        (lambda ee: ee.Image.constant(0).set("system:id", "foo"),
            {"type": "Image", "id": "foo", "bands": [_zero_band(0)]}),
        (lambda ee: ee.Date("2021-03-27T14:01:07"), {"type": "Date", "value": 1616853667000}),
        (lambda ee: ee.DateRange("2020-01-01T21:01:10", "2022-03-01T14:32:11"),
            {"type": "DateRange", "dates": [1577912470000, 1646145131000]}),
        (lambda ee: ee.Dictionary({"foo": "bar"}), {"foo": "bar"}),
        (lambda ee: ee.Dictionary({"type": "Foo", "id": "bar"}), {"type": "Foo", "id": "bar"}),
        (lambda ee: ee.Feature(ee.Geometry.Point([0, 0]), {"foo": "bar"}), {
            "type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}, "properties": {"foo": "bar"},
        }),
        (lambda ee: ee.Feature(None), {"type": "Feature", "geometry": None, "properties": {}}),
        (lambda ee: ee.FeatureCollection([ee.Feature(ee.Geometry.Point([0, 0]), {"foo": "bar"})]), {
            "type": "FeatureCollection",
            "columns": {"foo": "String", "system:index": "String"},
            "features": [{
                "type": "Feature", "id": "0", "properties": {"foo": "bar"},
                "geometry": {"type": "Point", "coordinates": [0, 0]},
            }],
        }),
        (lambda ee: ee.List.sequence(0, 20, 1), list(range(21))),
        (lambda ee: ee.Geometry.Point([1.112312, 2]), {"type": "Point", "coordinates": [1.112312, 2]}),
        (lambda ee: ee.Geometry.MultiPoint([[1, 1], [2, 2]]), {"type": "MultiPoint", "coordinates": [[1, 1], [2, 2]]}),
        (lambda ee: ee.Geometry.LineString([[1, 1], [2, 2], [3, 3]]),
            {"type": "LineString", "coordinates": [[1, 1], [2, 2], [3, 3]]}),
        (lambda ee: ee.Geometry.MultiLineString([[[0, 0], [1, 1]]]),
            {"type": "MultiLineString", "coordinates": [[[0, 0], [1, 1]]]}),
        (lambda ee: ee.Geometry.LinearRing([[0, 0], [1, 1], [2, 2], [0, 0]]),
            {"type": "LinearRing", "coordinates": [[0, 0], [1, 1], [2, 2], [0, 0]]}),
        (lambda ee: ee.Geometry.Polygon([[0, 0], [1, 1], [2, 2], [0, 0]]),
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}),
        (_triangles, {"type": "MultiPolygon", "coordinates": [
            [[[0, 0], [1, 1], [2, 2], [0, 0]], [[4, 6], [3, 2], [1, 2], [4, 6]]],
        ]}),
        (lambda ee: ee.Kernel.gaussian(3).getInfo()["center"], [3, 3]),
        (lambda ee: float(ee.Kernel.gaussian(3).getInfo()["weights"].split("\n")[4].strip(" []").split(", ")[3]),
            0.15924112569070253),
        (lambda ee: ee.Projection("EPSG:5070").atScale(100),
            {"type": "Projection", "crs": "EPSG:5070", "transform": [100, 0, 0, 0, 100, 0]}),
        (lambda ee: ee.PixelType.float(), _pixel_type("float")),
        (lambda ee: ee.PixelType.double(), _pixel_type("double")),
        (lambda ee: ee.PixelType.int8(), _pixel_type("int", -128, 127)),
        (lambda ee: ee.PixelType.uint8(), _pixel_type("int", 0, 255)),
        (lambda ee: ee.PixelType.int16(), _pixel_type("int", -32768, 32767)),
        (lambda ee: ee.PixelType.uint16(), _pixel_type("int", 0, 65535)),
        (lambda ee: ee.PixelType.int32(), _pixel_type("int", -2147483648, 2147483647)),
        (lambda ee: ee.PixelType.uint32(), _pixel_type("int", 0, 4294967295)),
        (lambda ee: ee.PixelType.int64(), _pixel_type("int", -9.223372036854776e18, 9.223372036854776e18)),
        (lambda ee: ee.ImageCollection([ee.Image.constant(0), ee.Image.constant(1)]).set("test_prop", 42), {
            "type": "ImageCollection",
            "bands": [],
            "properties": {"test_prop": 42},
            "features": [
                {"type": "Image", "bands": [_zero_band(i)], "properties": {"system:index": str(i)}} for i in (0, 1)
            ],
        }),
    ],
    "google/earthengine-community@c2ee36c9ed8c:toolkits/landcover/test/int": [
        (lambda ee: _multiplied(ee, ee.Image([1, 2]), [[1, 2], [2, 1]], ["mmult1", "mmult2"]),
            {"mmult1": 5, "mmult2": 4}),
        (_monthly, [{"value": 225}, {"value": 325}, {"value": 425}]),
        (lambda ee: _pixel(ee, _medoid(ee, ee.ImageCollection(
            [_fake(ee, {"idx": i, "value": value}) for i, value in enumerate((10, 30, 300, 400), 1)]), "idx")),
            {"idx": 3, "value": 300}),
        (lambda ee: _pixel(ee, _medoid(ee, ee.ImageCollection([
            _fake(ee, {"a": 1, "b": 1, "c": 20, "value": 200}),
            _fake(ee, {"a": 2, "b": 1, "c": 10, "value": 100}),
            _fake(ee, {"a": 3, "b": 3, "c": 30, "value": 300}),
        ]), ["a", "b", "c"])), {"a": 1, "b": 1, "c": 20, "value": 200}),
        (lambda ee: _index(ee, "(b('B5') - b('B4')) / (b('B5') + b('B4'))"), 1 / 9),
        (lambda ee: _index(ee, "(b('B3') - b('B6')) / (b('B3') + b('B6'))"), -1 / 3),
        (lambda ee: _multiplied(ee, _fake(ee, _TEST_VALUES).select("B[2-7]"), [[i] * 6 for i in range(1, 7)],
            [f"TC{i}" for i in range(1, 7)]), {f"TC{i}": 27000 * i for i in range(1, 7)}),
        (lambda ee: _multiplied(ee, _fake(ee, _TEST_VALUES).select("B[2-7]"), _TASSELED_CAP,
            [f"TC{i}" for i in range(1, 7)]),
            {"TC1": 10492.7, "TC2": -541, "TC3": -3550.7, "TC4": -658, "TC5": 3908.3, "TC6": -535}),
        (lambda ee: _clear(ee, 1 << 5), 12),
        (lambda ee: _clear(ee, 1 << 3), 12),
        (lambda ee: ee.Dictionary({"B2": "blue", "B3": "green", "B4": "red"}).values(["B4", "B3", "B2"]),
            ["red", "green", "blue"]),
    ],
    "wybert/earthengine-doc-md@295451850351:docs/guides/client_server.md": [
        (lambda ee: ee.String("I am not a String!"), "I am not a String!"),
        (lambda ee: ee.List([1]).size().eq(2), 0),
    ],
    "aazuspan/should-test@add76cbc9233:tests/test.js": [
        (lambda ee: ee.Number(4).eq(4), 1),
        (lambda ee: ee.Number(4).neq(5), 1),
        (lambda ee: ee.Number(10).lt(ee.Number(13)), 1),
        (lambda ee: ee.Number(4).gte(4), 1),
        (lambda ee: ee.Number(4).eq(5), 0),
        (lambda ee: ee.Number(4).gt(4), 0),
        (lambda ee: ee.Number(1).lt(ee.Number(-1)), 0),
        (lambda ee: ee.Number(4).lte(ee.Number(3)), 0),
        (lambda ee: ee.List(["This", "That"]).contains("This"), True),
        (lambda ee: ee.List(["That"]).contains("This"), False),
    ],
    "r-spatial/rgee@29c973d705be:tests/testthat/test-date.R": [
        (lambda ee: ee.Date("2000-01-01").millis(), 946684800000),
        (lambda ee: ee.Date.fromYMD(2017, 2, 3).millis(), 1486080000000),
    ],
    "openforis/sepal_ui@0318225ec1ac:tests/test_scripts/test_gee_interface.py": [
        (lambda ee: ee.Number(42), 42),
        (lambda ee: ee.List([ee.Number(1), ee.Number(2), ee.Number(3)]), [1, 2, 3]),
    ],
    "lemma-osu/gee-knn-python@33d48b9f352f:tests/test_feature_collection.py": [
        (lambda ee: sorted(ee.FeatureCollection(
            [ee.Feature(ee.Geometry.Point([-124 + i, 44]), {"foo": i}) for i in (1, 2, 3)]).getInfo()),
            ["columns", "features", "type"]),
    ],
    "gee-community/geeViz@ed3539924bc6:examples/eeAuthExamples.ipynb": [
        (lambda ee: ee.Number(1).add(1), 2),
    ],
    "gee-community/gee_tools@83421a5979bf:tests/test_ee_list.py": [
        (lambda ee: _identity_joined(ee, ee.List([1, 2, 3, 4, 5]), ee.List([4, 5, 6, 7])), [1, 2, 3, 6, 7]),
        (lambda ee: ee.List([1, 2, 3, 4, 5]).removeAll(ee.List([1, 2, 3, 4, 5]).removeAll([4, 5, 6, 7])), [4, 5]),
        (lambda ee: ee.List([1, 2, 2, 1, 3, 5]).distinct(), [1, 2, 3, 5]),
        (lambda ee: ee.List([1, 2, 3, 4, 5]).replace(1, "test").replace(4, 8), ["test", 2, 3, 8, 5]),
        (lambda ee: ee.Dictionary({"a": 1, "b": 5, "c": 8}).values(ee.List(["a", "c"])), [1, 8]),
    ],
    "gee-community/gee_tools@83421a5979bf:notebooks/geometry/getRegion.ipynb": [
        (lambda ee: ee.Image(0).geometry().coordinates(),
            [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]),
        (lambda ee: ee.Geometry.Polygon([[0, 0], [20, 0], [10, 10]]).coordinates(),
            [[[0, 0], [20, 0], [10, 10], [0, 0]]]),
        (lambda ee: ee.Geometry.Polygon([[0, 0], [20, 0], [10, 10]]).bounds().coordinates(),
            [[[0, 0], [20, 0], [20, 10], [0, 10], [0, 0]]]),
    ],
    "gis.stackexchange.com/questions/tagged/google-earth-engine (imathworks.com/gis, area by frequency histogram)": [
        (lambda ee: ee.Image.pixelArea().divide(1e4).reduceRegion("sum", _rectangle(ee), 100).get("area"),
            6837.526895473032),  # hectares: of the ellipsoid, as a sphere has 6826.71
        (lambda ee: ee.Number(ee.Image(1).reduceRegion("sum", _rectangle(ee), 100, "EPSG:3857").get("constant"))
            .subtract(12514.60784313726).abs().lt(0.004), 1),  # one step of one pixel less
    ],
    "https://github.com/shapely/shapely/issues/726": [
        (lambda ee: _parcel(ee).area().subtract(23944.14737277293).abs().lt(1e-5), 1),
    ],
    "eHealthAfrica/heatwave_modelling_CHAP@f639ddfc65ca:tests/test_heatwave_detection.py": [
        (lambda ee: _of_wards(ee, *[("W-A", float(n)) for n in range(1, 11)]), [{"ward": "W-A", "p90": 9.5}]),
        (lambda ee: _of_wards(ee, *[(ward, n + more) for n in range(1, 11) for ward, more in (("A", 0), ("B", 100))]),
            [{"ward": "A", "p90": 9.5}, {"ward": "B", "p90": 109.5}]),
        (lambda ee: _of_wards(ee, ("W-A", 99.0)), [{"ward": "W-A", "p90": 99}]),
        (lambda ee: ee.Number(-3).mod(366), -3),
        (lambda ee: ee.Date("2020-02-28").getRelative("day", "year"), 58),
        (lambda ee: ee.Date("2020-02-29").getRelative("day", "year"), 59),
        (lambda ee: ee.Date("2020-03-01").getRelative("day", "year"), 60),
        (lambda ee: ee.Date("2021-03-01").getRelative("day", "year"), 59),
        (lambda ee: _days(ee, *_TURN_OF_YEAR).filter(ee.Filter.calendarRange(364, 8, "day_of_year")).size(), 10),
        (lambda ee: _days(ee, *_TURN_OF_YEAR).filter(ee.Filter.calendarRange(361, 5, "day_of_year")).size(), 10),
        (lambda ee: _days(ee, "2020-01-01", "2020-01-02", "2020-01-03")
            .filter(ee.Filter.calendarRange(2, 2, "day_of_year")).size(), 1),
        (lambda ee: _wards(ee, ee.Image.pixelLonLat().select("longitude")).aggregate_array("mean")
            .map(lambda mean: ee.Number(mean).multiply(5).round()), [15, 40]),
        (lambda ee: _donut(ee).contains(_donut(ee).centroid(1), 1), False),
        (lambda ee: _runs(ee, [0, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0]),
            [-1, 1, 1, 1, -1, 2, 2, -1, -1, 3, 3, 3, 3, -1]),
    ],
}
# fmt: on


def test_values_are_of_twenty_projects() -> None:
    sources = {*PRINTED, *(row["source"] for row in read_rows())}
    assert len({source.partition("@")[0] for source in sources}) >= 20


@pytest.mark.parametrize("source", PRINTED)
def test_values_are_those_that_others_print(demo_ee: Any, source: str) -> None:
    check_examples(demo_ee, source, PRINTED[source])
