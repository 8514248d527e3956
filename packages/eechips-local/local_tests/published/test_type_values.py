"""Values that users record of the real service: what operators of images give, and types of bands and columns.

Each source names the commit and the file, or the number of a public script of which no repository is known.
``test_notebook_values`` has others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from local_tests.published.test_notebook_values import constant_band, pixel_type
from local_tests.published.test_printed_values import Example
from local_tests.published.test_recorded_values import check_examples
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.parameters import slow_except


def _at_origin(of: Callable[[Any], Any], *, bands: int = 1, value: int = 1) -> Callable[[Any], Any]:
    """The value of an image made of a constant, or of the first of several bands of it, at 0° E, 0° N."""

    def found(ee: Any) -> Any:
        images = [ee.Image(value) for _ in range(bands)]
        image = images[0] if bands == 1 else ee.ImageCollection(images).toBands()
        sampled = of(image if bands else ee).reduceRegion(ee.Reducer.first(), ee.Geometry.Point([0, 0]), 1000)
        return sampled.values().get(0)

    return found


_OF_ONE: Mapping[str, tuple[Callable[[Any], Any], float]] = {
    "-i": (lambda i: i.multiply(-1), -1),
    "2 * i": (lambda i: i.multiply(2), 2),
    "i %% 3": (lambda i: i.mod(3), 1),
    "i %/% 2": (lambda i: i.divide(2).floor(), 0),
    "i / 2": (lambda i: i.divide(2), 0.5),
}
_OF_ZERO: Mapping[str, tuple[Callable[[Any], Any], float]] = {
    "!i": (lambda i: i.Not(), 1),
    "i & TRUE": (lambda i: i.And(1), 0),
    "1 | i": (lambda i: i.Or(1), 1),
    "1 == i": (lambda i: i.eq(1), 0),
    "1 != i": (lambda i: i.neq(1), 1),
    "10 < i": (lambda i: i.gt(10), 0),
    "0 <= i": (lambda i: i.gte(0), 1),
    "10 > i": (lambda i: i.lt(10), 1),
    "i >= 0": (lambda i: i.gte(0), 1),
}


def _operators() -> Iterator[Example]:
    """What operators of images give, of one band and of two: tests/testthat/test-ops-image.R."""
    for value, cases in ((1, _OF_ONE), (0, _OF_ZERO)):
        for use, expected in cases.values():
            for bands in (1, 2):
                yield _at_origin(use, bands=bands, value=value), expected
    tenth = {"acos": math.acos, "floor": math.floor, "asin": math.asin, "atan": math.atan, "exp": math.exp,
             "cos": math.cos, "cosh": math.cosh, "sin": math.sin, "sinh": math.sinh, "tan": math.tan,
             "tanh": math.tanh}  # fmt: skip
    for name, function in tenth.items():
        yield _at_origin(lambda ee, name=name: getattr(ee.Image(0.1), name)(), bands=0), function(0.1)
    ten = {"abs": (-10, 10), "signum": (-10, -1), "sqrt": (10, math.sqrt(10)), "ceil": (10.4, 11),
           "log": (10, math.log(10)), "log10": (10, 1)}  # fmt: skip
    for name, (number, expected) in ten.items():
        yield _at_origin(lambda ee, n=number, name=name: getattr(ee.Image(n), name)(), bands=0), expected
    for name, expected in {"mean": 1.5, "max": 3, "min": 0, "sum": 6, "product": 0}.items():
        yield _at_origin(lambda ee, name=name: ee.Image([0, 1, 2, 3]).reduce(name), bands=0), expected


def _double(number: float) -> dict[str, Any]:
    return {**constant_band(0), "data_type": pixel_type("double", number, number)}


def _wood(ee: Any) -> Any:
    return ee.Image(0).add(ee.Image(ee.Number(0.9337817430496216))).divide(1)


def _classes(ee: Any) -> Any:
    lon = ee.Image.pixelLonLat().select("longitude")
    return ee.Image(0).where(lon.lte(1), 1).where(lon.gt(1).And(lon.lte(2)), 2).where(lon.gt(2), 5)


def _places(ee: Any, *ids: int) -> Any:
    """Answers of a geocoder as features."""
    facts = {"boundingbox": ["-4.4421898", "0.7065296"], "importance": 0.71, "lat": "-2.37"}
    return ee.FeatureCollection(
        [ee.Feature(ee.Geometry.Point([-57.48, -2.37]), {**facts, "osm_id": number}) for number in ids]
    )


def _box(ee: Any) -> Any:
    return ee.Geometry.Rectangle([7, 46, 7.02, 46.02])


def _vectors(image: Any, region: Any, scale: float) -> Any:
    return image.reduceToVectors(geometry=region, scale=scale).getInfo()["features"]


def _hectares(ee: Any, *bounds: float) -> Any:
    return ee.Geometry.Rectangle(bounds, None, False).area(1).divide(10_000)


def _square(name: str, west: float, south: float, east: float, north: float, **properties: int) -> dict[str, Any]:
    """The outline of a block of pixels."""
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    geometry = {"type": "Polygon", "geodesic": False, "coordinates": [ring]}
    return {"type": "Feature", "id": name, "geometry": geometry, "properties": properties}


def _mapped(ee: Any) -> Any:
    """Features of images."""
    return ee.FeatureCollection(ee.ImageCollection([ee.Image(1)]).map(lambda image: ee.Feature(None, {"2": 1})))


def _classes_of_samples(ee: Any) -> Any:
    """Samples, some of which are left out, with the classes that a classifier gives them."""
    image = ee.Image.pixelLonLat().select("longitude").rename("b").addBands(ee.Image.random().gt(0.5).rename("c"))
    samples = image.sample(_box(ee), 300).randomColumn().filter(ee.Filter.gte("random", 0.1))
    return samples.classify(ee.Classifier.smileCart().train(samples, "c", ["b"]))


_SHORT = "Float<-32768.0, 32767.0>"
_HUNDRED_METRES = 0.0008983152841195214

_PARIS = (
    'PROJCS["NTF (Paris) / Lambert zone II", GEOGCS["NTF (Paris)", DATUM["Nouvelle Triangulation Francaise (Paris)", '
    'SPHEROID["Clarke 1880 (IGN)", 6378249.2, 293.4660212936269, AUTHORITY["EPSG","7011"]], '
    'AUTHORITY["EPSG","6807"]], PRIMEM["Paris", 2.5969213, AUTHORITY["EPSG","8903"]], '
    'UNIT["grade", 0.015707963267948967], AXIS["Geodetic longitude", EAST], AXIS["Geodetic latitude", NORTH], '
    'AUTHORITY["EPSG","4807"]], PROJECTION["Lambert_Conformal_Conic_1SP", AUTHORITY["EPSG","9801"]], '
    'PARAMETER["central_meridian", 0.0], PARAMETER["latitude_of_origin", 52.0], PARAMETER["scale_factor", 0.99987742], '
    'PARAMETER["false_easting", 600000.0], PARAMETER["false_northing", 2200000.0], UNIT["m", 1.0], '
    'AXIS["Easting", EAST], AXIS["Northing", NORTH], AUTHORITY["EPSG","27572"]]'
)


def _aspect(ee: Any, descending: Any) -> Any:
    """The aspect of a plane where it lies, of a flat one without a number to descend by."""
    plane = ee.Image(100) if descending is None else descending.multiply(-1e5)
    return _at_origin(lambda _: ee.Terrain.aspect(plane), bands=0)(ee)


def _moved(ee: Any, *by: Any) -> Any:
    """How far a translated image of longitudes, of pixels of 4 m, moves at the equator, in metres."""
    longitudes = ee.Image.pixelLonLat().select("longitude").setDefaultProjection(crs="EPSG:4326", scale=4)
    moved = longitudes.translate(*by).subtract(longitudes).abs().multiply(111_319.49)
    return moved.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([0, 0]), 4).values().getNumber(0).round()


def _chessboard(ee: Any, east: float, north: float) -> Callable[[Any], Any]:
    """A chessboard of degrees, moved so that a place lies at the origin."""
    degrees = ee.Image.pixelLonLat().add(ee.Image([east, north])).floor().toInt()
    return lambda _: degrees.reduce(ee.Reducer.sum()).bitwiseAnd(1)


def _margin(unit: str, *value: float) -> dict[str, Any]:
    return {"type": "ErrorMargin", "unit": unit, **({"value": value[0]} if value else {})}


# fmt: off
TYPED: dict[str, list[Example]] = {
    "r-earthengine/rgeeExtra@7ea67d064e56:tests/testthat/test-ops-image.R": [*_operators()],
    "sepal-contrib/se.plan@875f7454430c:ui_tests": [
        (_wood, {"type": "Image", "bands": [_double(0.9337817430496216)]}),
        (lambda ee: _wood(ee).multiply(ee.Image(4.0)), {"type": "Image", "bands": [_double(3.7351269721984863)]}),
        (lambda ee: _classes(ee).getInfo()["bands"], [{**constant_band(0), "data_type": pixel_type("int", 0, 5)}]),
    ],
    "google/earthengine-api@8c13e9c150e0:python/ee/pixeltype.py": [
        (lambda ee: ee.PixelType("double", -1, 2, 3), {**pixel_type("double", -1, 2), "dimensions": 3}),
        (lambda ee: ee.PixelType("double", -1, 2, 3).precision(), "double"),
        (lambda ee: ee.PixelType("double", -1, 2, 3).minValue(), -1),
        (lambda ee: ee.PixelType("double", -1, 2, 3).maxValue(), 2),
        (lambda ee: ee.PixelType("double", -1, 2, 3).dimensions(), 3),
    ],
    "google/earthengine-community@c9cbf6c6f4b0:samples/python/apidocs/ee_errormargin.py": [
        (lambda ee: ee.ErrorMargin(0), _margin("meters", 0)), (lambda ee: ee.ErrorMargin(1), _margin("meters", 1)),
        (lambda ee: ee.ErrorMargin(-1), _margin("meters", 1)), (lambda ee: ee.ErrorMargin(1e8), _margin("infinite")),
        (lambda ee: ee.ErrorMargin(1e7), _margin("meters", 10000000)),
        (lambda ee: ee.ErrorMargin(1, "meters"), _margin("meters", 1)),
        (lambda ee: ee.ErrorMargin(1, "projected"), _margin("projected", 1)),
        (lambda ee: ee.ErrorMargin(1, "infinite"), _margin("infinite")),
    ],
    "google/earthengine-community@c9cbf6c6f4b0:samples/python/apidocs/ee_projection.py": [
        (lambda ee: ee.Projection(_PARIS).getInfo()["crs"], "EPSG:27572"),
    ],
    "csaybar/EEwPython@a13b32018059:5_Reducer.ipynb": [
        (lambda ee: ee.FeatureCollection([ee.Feature(None, {"foo": i, "weight": i}) for i in (1, 2, 3)]).reduceColumns(
            reducer=ee.Reducer.mean(), selectors=["foo"], weightSelectors=["weight"]), {"mean": 2.3333333333333335}),
    ],
    "davemlz/eemont@959c2b8007ee:docs/tutorials": [
        (lambda ee: _places(ee, 332476, 5366208059).getInfo()["columns"], {
            "boundingbox": "List<String>", "importance": "Float", "lat": "String", "osm_id": "Number",
            "system:index": "String",
        }),
        (lambda ee: ee.Feature(ee.Geometry.BBox(-74.2, 4.4, -74, 4.8)).getInfo()["geometry"], {
            "geodesic": False, "type": "Polygon",
            "coordinates": [[[-74.2, 4.4], [-74, 4.4], [-74, 4.8], [-74.2, 4.8], [-74.2, 4.4]]],
        }),
    ],
    "hibapoctep/Sentinel-2@b6c736160507:code/3 - Colecciones de imagenes": [
        (lambda ee: ee.Image([1, 2]).rename("B1", "QA20").cast({"B1": "uint16", "QA20": "uint32"}).reduceRegions(
            ee.FeatureCollection([_box(ee)]), ee.Reducer.mean(), 100).getInfo()["columns"], {
                "B1": "Float<0.0, 65535.0>", "QA20": "Float<0.0, 4.294967295E9>", "system:index": "String",
            }),
    ],
    "code 5771323155": [
        (lambda ee: ee.Image(1).gt(0).reduceToVectors(geometry=_box(ee), scale=200).getInfo()["columns"],
            {"count": "Long<0, 4294967295>", "label": "Byte<0, 1>", "system:index": "String"}),
        (lambda ee: _vectors(ee.Image(1).setDefaultProjection("EPSG:32644", [10, 0, 600000, 0, -10, 2500020]),
            ee.Geometry.Rectangle([617690, 2454100, 617710, 2454130], "EPSG:32644", False), 10)[0]["id"], "+1770+4591"),
    ],
    "code 23307892175": [
        (lambda ee: ee.Image(1).reduceToVectors(
            geometry=ee.Geometry.Rectangle([-8.3181, 40.9252, -8.3174, 40.9259], None, False), crs="EPSG:4326",
            crsTransform=[_HUNDRED_METRES, 0, -179.9, 0, -_HUNDRED_METRES, 75],
        ).getInfo()["features"], [_square(
            "+191004+37931", -8.318187472034936, 40.925104642778315, -8.317289156750803, 40.92600295806243,
            count=1, label=1)]),
    ],
    "code 53118176314": [
        (lambda ee: _vectors(ee.Image.pixelLonLat().select("latitude").gt(-0.428496), ee.Geometry.Rectangle(
            [36.94124, -0.42903, 36.95902, -0.41125], None, False), 60), [
                _square("+68570-764", 36.941239765790264, -0.4284963905250118, 36.95902640841583, -0.411248737069917,
                    count=1056, label=1),
                _square("+68570-796", 36.941239765790264, -0.4290353796954835, 36.95902640841583, -0.4284963905250118,
                    count=33, label=0),
            ]),
        (lambda ee: _hectares(ee, 36.941239765790264, -0.4290353796954835, 36.94177875496074, -0.4284963905250118),
            0.3591855381581372),
        (lambda ee: _hectares(ee, 36.941239765790264, -0.4284963905250118, 36.95902640841583, -0.411248737069917),
            379.3003659210338),
    ],
    "google/earthengine-community@c9cbf6c6f4b0:samples/javascript/apidocs/ee-geometry-coveringgrid.js": [
        (lambda ee: ee.Geometry.Point(31.6, -8.54).buffer(100_000).coveringGrid("EPSG:32736", 2**14).filter(
            ee.Filter.eq("system:index", "18,551")).size(), 1),
    ],
    "code 44249483804": [
        (lambda ee: ee.ImageCollection([ee.Image(10).toInt16().rename("DSM")]).mean().sample(
            ee.Geometry.Point([7, 46]), 30), {
                "type": "FeatureCollection", "columns": {"DSM": _SHORT}, "properties": {"band_order": ["DSM"]},
                "features": [{"type": "Feature", "geometry": None, "id": "0", "properties": {"DSM": 10}}],
            }),
    ],
    "code 62599409074": [
        (lambda ee: ee.Projection("EPSG:4326").atScale(30), {"type": "Projection", "crs": "EPSG:4326",
            "transform": [0.00026949458523585647, 0, 0, 0, 0.00026949458523585647, 0]}),
    ],
    "code 10965642601": [
        (lambda ee: _at_origin(_chessboard(ee, 10.5, 21.5), bands=0)(ee), 1),
        (lambda ee: _at_origin(_chessboard(ee, 10.5, 20.5), bands=0)(ee), 0),
    ],
    "code 70835358619": [
        (lambda ee: _aspect(ee, ee.Image.pixelLonLat().select("longitude")), 90),
        (lambda ee: _aspect(ee, ee.Image.pixelLonLat().select("latitude")), 0),
        (lambda ee: _aspect(ee, None), 0),
    ],
    "code 68308320435": [
        (lambda ee: ee.Image(1).setDefaultProjection("EPSG:4326", scale=4).projection().nominalScale(), 4),
        (lambda ee: _moved(ee, 400, 0), 400), (lambda ee: _moved(ee, 100, 0, "pixels"), 400),
    ],
    "code 5672823202": [(lambda ee: _mapped(ee).getInfo()["columns"], {})],
    "code 36747185445": [(lambda ee: _classes_of_samples(ee).getInfo()["columns"], {})],
    "codes 20481095164, 20763189067": [
        (lambda ee: ee.Image(1).cast({"constant": ee.PixelType("float", -793.5, 593.5)}).reduceRegions(
            _places(ee, 1).map(lambda place: place.set("area", 3)), ee.Reducer.mean(), 100).getInfo()["columns"],
            {"mean": "Float<-793.5, 593.5>"}),
    ],
    "code 25272738999": [
        (lambda ee: ee.FeatureCollection([ee.Feature(ee.Geometry.Point([699102.8877924071, 186780.4458126684],
            "EPSG:32119"))]), {
                "type": "FeatureCollection", "columns": {"system:index": "String"},
                "features": [{"type": "Feature", "id": "0", "properties": {}, "geometry": {
                    "type": "Point", "coordinates": [699102.8877924071, 186780.4458126684],
                    "crs": {"type": "name", "properties": {"name": "EPSG:32119"}},
                }}],
            }),
        (lambda ee: ee.Image(22.5).rename("elevation").sampleRegions(ee.FeatureCollection([ee.Geometry.Point([7, 46])]),
            scale=30).getInfo(), {
                "type": "FeatureCollection", "columns": {}, "properties": {"band_order": ["elevation"]},
                "features": [{"type": "Feature", "geometry": None, "id": "0_0", "properties": {"elevation": 22.5}}],
            }),
    ],
}
# fmt: on


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


@pytest.mark.parametrize("source", slow_except(TYPED, *(name for name in TYPED if not name.startswith("code "))))
def test_values_are_those_that_users_record(ee: Any, source: str) -> None:
    check_examples(ee, source, TYPED[source])


def test_a_wkt_that_differs_from_its_code_keeps_its_text(ee: Any) -> None:
    moved = ee.Projection(_PARIS.replace("600000.0", "500000.0")).getInfo()
    assert "crs" not in moved
    assert "500000" in moved["wkt"]
