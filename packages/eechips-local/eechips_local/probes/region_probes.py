"""Probes: reductions, regions and pyramids."""

from __future__ import annotations

from typing import Any

from eechips_local.probes.file_description import read_array
from eechips_local.probes.probe import ANY_VALUE, OPEN, Build, ExpectedResult, Probe, error, info, value
from eechips_local.probes.probe_client import ProbeClient

_UTM = "EPSG:32613"
_LANDSAT = "LANDSAT/LC08/C02/T1_TOA/LC08_044034_20140318"  # its documented size, 7,661 x 7,801, is odd


def _squares(ee: Any) -> Any:
    """Return an image of ones with pixels of 100 m."""
    return ee.Image(1).rename("n").toByte().reproject(_UTM, [100, 0, 500000, 0, -100, 4400000])


def _rectangle(ee: Any, *corners: float) -> Any:
    return ee.Geometry.Rectangle(list(corners), _UTM, False)


def _reduced(reducer: str, *corners: float, unweighted: bool = False) -> Build:
    """Return what builds a reduction of the squares over a rectangle."""

    def build(ee: Any) -> Any:
        ee_reducer = getattr(ee.Reducer, reducer)()
        ee_reducer = ee_reducer.unweighted() if unweighted else ee_reducer
        return _squares(ee).reduceRegion(ee_reducer, _rectangle(ee, *corners), crs=_UTM,
                                         crsTransform=[100, 0, 500000, 0, -100, 4400000])  # fmt: skip

    return build


def _nowhere(ee: Any) -> Any:
    return ee.FeatureCollection([
        ee.Feature(None, {"name": "nowhere"}),
        ee.Feature(_rectangle(ee, 500000, 4399900, 500100, 4400000), {"name": "here"}),
    ])  # fmt: skip


def _far(ee: Any) -> Any:
    return _squares(ee).multiply(0).fastDistanceTransform(3).reduceRegion(
        ee.Reducer.first(), ee.Geometry.Point([500050, 4399950], _UTM), 100, _UTM)  # fmt: skip


_REDUCTIONS: tuple[tuple[str, str, str, Build, ExpectedResult], ...] = (
    ("default-projection", "What says reduceRegion of a composite without a scale?", "default-projection",
     lambda ee: ee.ImageCollection([ee.Image(1).toByte()]).mosaic().reduceRegion(
         ee.Reducer.mean(), ee.Geometry.Point([-105, 40]).buffer(1000)),
     error("default WGS84 projection is invalid for aggregations")),
    ("default-resolution", "What says reduceResolution of a composite?", "default-projection",
     lambda ee: ee.ImageCollection([ee.Image(1).toByte()]).mosaic().reduceResolution(ee.Reducer.mean())
     .reproject("EPSG:32613", None, 100).reduceRegion(ee.Reducer.first(), ee.Geometry.Point([-105, 40]), 100), OPEN),
    ("too-many-pixels", "How many pixels has the world in 100 m?", "too-many-pixels",
     lambda ee: ee.Image(1).reduceRegion(
         ee.Reducer.count(), ee.Geometry.Rectangle([-180, -90, 180, 90], None, False), 100),
     error(r"Too many pixels in the region\. Found 80300348117, but maxPixels allows only 10000000")),
    ("unbounded", "What says reduceRegion of a constant without a geometry?", "unbounded",
     lambda ee: ee.Image(1).reduceRegion(ee.Reducer.mean(), None, 1000),
     error("Provide 'geometry' parameter when aggregating over an unbounded image")),
    ("whole-sum", "Is the sum over four whole pixels 4?", "pixel-weights",
     _reduced("sum", 500000, 4399800, 500200, 4400000), value({"n": 4})),
    ("half-sum", "Is a pixel that is covered by half weighed by 128 of 255 parts?", "pixel-weights",
     _reduced("sum", 500000, 4399900, 500150, 4400000), value({"n": 1 + 128 / 255})),
    ("quarter-sum", "And one that is covered by a quarter, by 64?", "pixel-weights",
     _reduced("sum", 500000, 4399950, 500050, 4400000), value({"n": 64 / 255})),
    ("small-sum", "Is a pixel counted that is covered by a thousandth?", "pixel-weights",
     _reduced("sum", 500000, 4399900, 500100.1, 4400000), OPEN),
    ("unweighted-sum", "Is a pixel left out whose centre is outside?", "pixel-weights",
     _reduced("sum", 500000, 4399900, 500149, 4400000, unweighted=True), value({"n": 1})),
    ("unweighted-edge", "Is a pixel taken whose centre is on the edge?", "pixel-weights",
     _reduced("sum", 500000, 4399900, 500150, 4400000, unweighted=True), OPEN),
    ("counted-edge", "Does count take pixels that are covered by half?", "pixel-weights",
     _reduced("count", 500000, 4399900, 500150, 4400000), OPEN),
    ("mean-of-constant", "Is the mean of 6 over a polygon 6?", "exact-means",
     lambda ee: ee.Image(6).reduceRegion(
         ee.Reducer.mean(), ee.Geometry.Point([-105, 40]).buffer(333), 10).getNumber("constant").eq(6), value(1)),
    ("distance-beyond", "How far is fastDistanceTransform(3) where nothing is?", "distance-beyond", _far, OPEN),
    ("distance-farther", "Is it farther than the corner of the neighborhood?", "distance-beyond",
     lambda ee: _far(ee).getNumber("distance").gt(18), value(1)),
    ("null-regions", "What does reduceRegions do with a feature without geometry?", "null-geometry",
     lambda ee: _squares(ee).reduceRegions(_nowhere(ee), ee.Reducer.sum(), 100, _UTM), OPEN),
    ("null-samples", "What does sampleRegions do with it?", "null-geometry",
     lambda ee: _squares(ee).sampleRegions(_nowhere(ee), None, 100, _UTM), OPEN),
    ("region-without-pixels", "What does reduceRegions say of a region without a pixel's centre?", "pixel-weights",
     lambda ee: _squares(ee).reduceRegions(
         ee.FeatureCollection([ee.Feature(_rectangle(ee, 500010, 4399910, 500020, 4399920))]),
         ee.Reducer.mean(), 100, _UTM), OPEN),
    ("five-thousand", "What says a list of 5,001 features?", "query-limits",
     lambda ee: ee.FeatureCollection(ee.List.sequence(0, 5000).map(lambda n: ee.Feature(None, {"n": n}))),
     error("Collection query aborted after accumulating over 5000 elements")),
    ("get-region-limit", "What says getRegion of more than 1,048,576 values?", "query-limits",
     lambda ee: ee.ImageCollection([ee.Image(1)]).getRegion(_rectangle(ee, 500000, 4400000, 600000, 4500000), 50),
     error("ImageCollection.getRegion: Too many values")),
    ("get-region-empty", "What says getRegion of no images?", "query-limits",
     lambda ee: ee.ImageCollection([ee.Image(1)]).filter(ee.Filter.eq("none", 1)).getRegion(
         ee.Geometry.Point([-105, 40]), 50),
     error("No bands in collection")),
    ("stratified-decimals", "What says stratifiedSample of decimals?", "stratified-sample",
     lambda ee: ee.Image(0.5).rename("c").stratifiedSample(
         1, "c", _rectangle(ee, 500000, 4399900, 500100, 4400000), 10, _UTM),
     error("class band must be integer")),
    ("stratified-lists", "What says stratifiedSample with fewer points than classes?", "stratified-sample",
     lambda ee: ee.Image(1).rename("c").stratifiedSample(
         1, "c", _rectangle(ee, 500000, 4399900, 500100, 4400000), 10, _UTM, classValues=[1, 2], classPoints=[1]),
     error()),
    ("sample-positions", "Which points has sample() of four pixels?", "pixel-weights",
     lambda ee: _squares(ee).sample(
         _rectangle(ee, 500000, 4399800, 500200, 4400000), projection=_UTM, scale=100, geometries=True), OPEN),
    ("random-points", "Which points has randomPoints with seed 0?", "strata",
     lambda ee: ee.FeatureCollection.randomPoints(ee.Geometry.Rectangle([-105, 39, -104, 40]), 3, 0), OPEN),
    ("random-column", "Which numbers has randomColumn with seed 0?", "strata",
     lambda ee: ee.FeatureCollection([ee.Feature(None, {"n": n}) for n in range(3)]).randomColumn("r", 0)
     .aggregate_array("r"), OPEN),
)  # fmt: skip


def _across(ee: Any) -> Any:
    return ee.Geometry.BBox(170, -10, -170, 10)


_WIDTH = 20 * 111.0 * 20 * 111.0  # km2 of the box, roughly

_REGIONS: tuple[tuple[str, str, str, Build, ExpectedResult], ...] = (
    ("area", "How large is a box across 180 degrees?", "across-180", lambda ee: _across(ee).area(1).divide(1e6), OPEN),
    ("smaller-part", "Is it the smaller part of the globe?", "across-180",
     lambda ee: _across(ee).area(1).divide(1e6).subtract(_WIDTH).abs().lt(_WIDTH / 50), value(1)),
    ("pixel-area", "Is the sum of pixelArea over it its area?", "across-180",
     lambda ee: ee.Image.pixelArea().reduceRegion(ee.Reducer.sum(), _across(ee), 20000, "EPSG:4326").getNumber("area")
     .divide(_across(ee).area(1)).subtract(1).abs().lt(0.01), value(1)),
    ("metres-area", "And in Mercator's projection, EPSG:3395?", "across-180",
     lambda ee: ee.Image.pixelArea().reduceRegion(ee.Reducer.sum(), _across(ee), 20000, "EPSG:3395").getNumber("area")
     .divide(_across(ee).area(1)).subtract(1).abs().lt(0.01), value(1)),
    ("coordinates", "Which coordinates has it?", "across-180", lambda ee: _across(ee).coordinates(), OPEN),
    ("bounds", "Which bounds has it?", "across-180", lambda ee: _across(ee).bounds().coordinates(), OPEN),
    ("contains", "Does it contain 180, 175 and 0 degrees?", "across-180",
     lambda ee: ee.List([_across(ee).contains(ee.Geometry.Point([x, 0])) for x in (180, 175, 0)]),
     value([True, True, False])),
    ("planar-polygon", "Is a planar polygon of 170 to -170 the other part?", "across-180",
     lambda ee: ee.Geometry.Polygon(
         [[[170, -10], [-170, -10], [-170, 10], [170, 10]]], None, False).area(1).divide(1e6), OPEN),
    ("polygon", "And a geodesic one?", "across-180",
     lambda ee: ee.Geometry.Polygon([[[170, -10], [-170, -10], [-170, 10], [170, 10]]]).area(1).divide(1e6), OPEN),
    ("clipped", "Has an image that is clipped to it values at 175 and none at 0 degrees?", "across-180",
     lambda ee: ee.List([ee.Image(1).clip(_across(ee)).reduceRegion(
         ee.Reducer.first(), ee.Geometry.Point([x, 0]), 1000).get("constant", 0) for x in (175, -175, 0)]), OPEN),
    ("filtered", "Which Landsat paths does filterBounds find there?", "across-180",
     lambda ee: ee.ImageCollection("LANDSAT/LC08/C02/T1_TOA").filterBounds(
         ee.Geometry.BBox(179.5, -17.5, -179.5, -16.5)).filterDate("2020-01-01", "2020-02-01")
     .aggregate_histogram("WRS_PATH"), OPEN),
    ("point-185", "What is the point at 185 degrees?", "longitudes-360",
     lambda ee: ee.Geometry.Point([185, 5]).coordinates(), OPEN),
    ("longitude-185", "Which longitude has the pixel there?", "longitudes-360",
     lambda ee: ee.Image.pixelLonLat().reduceRegion(ee.Reducer.first(), ee.Geometry.Point([185, 5]), 1000), OPEN),
    ("rectangle-190", "How large is a rectangle from 170 to 190 degrees?", "longitudes-360",
     lambda ee: ee.Geometry.Rectangle([170, -10, 190, 10]).area(1).divide(1e6), OPEN),
    ("box-190", "And a BBox?", "longitudes-360",
     lambda ee: ee.Geometry.BBox(170, -10, 190, 10).area(1).divide(1e6), OPEN),
    ("polygon-350", "Which coordinates has a polygon of 340 to 350 degrees?", "longitudes-360",
     lambda ee: ee.Geometry.Polygon([[[340, 0], [350, 0], [350, 10], [340, 10]]]).coordinates(), OPEN),
    ("geodesic-area", "How large is the polygon of 70 degrees?", "geodesic-edges",
     lambda ee: ee.Geometry.Polygon([[[-5, 40], [65, 40], [65, 60], [-5, 60], [-5, 40]]]).area(), OPEN),
    ("planar-area", "And the same with planar edges?", "geodesic-edges",
     lambda ee: ee.Geometry.Polygon([[[-5, 40], [65, 40], [65, 60], [-5, 60], [-5, 40]]], None, False).area(1), OPEN),
    ("world-rectangle", "Is a geodesic rectangle of 360 degrees empty?", "geodesic-edges",
     lambda ee: ee.Geometry.Rectangle([-180, -60, 180, 80]).area(1).divide(1e12), OPEN),
    ("no-margin", "What says area() of a projected polygon without a margin?", "error-margin",
     lambda ee: _rectangle(ee, 500000, 4399900, 500100, 4400000).transform("EPSG:4326").area(), OPEN),
    ("buffer-without-margin", "How many vertices has a buffer without a margin?", "error-margin",
     lambda ee: ee.Geometry.Point([-105, 40]).buffer(1000).coordinates().flatten().length(), OPEN),
    ("unbounded-printed", "How is an unbounded footprint printed?", "unbounded", lambda ee: ee.Image(1).geometry(),
     OPEN),
    ("unbounded-area", "How large is it?", "unbounded", lambda ee: ee.Image(1).geometry().area(1), OPEN),
)  # fmt: skip


def _compare_levels(client: ProbeClient) -> Any:
    """Compare a window of a level with the blocks below it, in the middle of an image of odd width and height.

    Levels that were stretched over the extent would be shifted by half a native pixel there.
    """
    import numpy as np

    record = client.send("GET", f"projects/earthengine-public/assets/{_LANDSAT}")
    grid = next(band["grid"] for band in record["bands"] if band["id"] == "B4")
    affine, size = grid["affineTransform"], grid["dimensions"]
    column, row = size["width"] // 2 // 64 * 64, size["height"] // 2 // 64 * 64

    def fetch(level: int) -> Any:
        scale = 1 << level
        transform = {
            "scaleX": affine["scaleX"] * scale, "shearX": 0, "shearY": 0, "scaleY": affine["scaleY"] * scale,
            "translateX": affine["translateX"] + column * affine["scaleX"],
            "translateY": affine["translateY"] + row * affine["scaleY"],
        }  # fmt: skip
        side = 64 >> level
        content = client.ee.data.getPixels({
            "assetId": _LANDSAT, "fileFormat": "NPY", "bandIds": ["B4"],
            "grid": {"dimensions": {"width": side, "height": side}, "affineTransform": transform,
                     "crsCode": grid["crsCode"]},
        })  # fmt: skip
        return read_array(content)["B4"].astype("float64")

    native, coarse = fetch(0), fetch(1)
    blocks = native.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    shares = {
        "mean": np.isclose(coarse, blocks, rtol=1e-5).mean(),
        "upper_left": np.isclose(coarse, native[::2, ::2], rtol=1e-5).mean(),
        "shifted_right": np.isclose(coarse[:, :-1], native[:, 1:-1].reshape(32, 2, 31, 2).mean(axis=(1, 3))).mean(),
    }
    return {
        "width": size["width"], "height": size["height"], "is_block_mean": bool(shares["mean"] > 0.99),
        **{name: round(float(share), 3) for name, share in shares.items()},
    }  # fmt: skip


PROBES = (
    *(Probe(f"reductions/{name}", question, fact, info(build), expected)
      for name, question, fact, build, expected in _REDUCTIONS),
    *(Probe(f"regions/{name}", question, fact, info(build), expected)
      for name, question, fact, build, expected in _REGIONS),
    Probe("pyramids/odd-image", "Is each pixel of the next level the mean of its 2x2 block?", "odd-pyramids",
          _compare_levels, value({"is_block_mean": True})),
    Probe("pyramids/margin-of-levels", "What is the default level of a mean at 60 m?", "odd-pyramids",
          info(lambda ee: ee.Image(_LANDSAT).select("B4").reduceRegion(
              ee.Reducer.mean(), ee.Image(_LANDSAT).geometry().centroid(1).buffer(2000), 60)), ANY_VALUE),
)  # fmt: skip
"""Probes of reductions, regions and pyramids."""
