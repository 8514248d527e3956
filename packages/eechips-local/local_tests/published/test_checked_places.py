"""What suites of others check on the real service about places, counts and averages that do not depend on the Earth.

Those named by a number only are public code by its number, as in the other tests of this folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from local_tests.support.local_earth_engine import Server, initialize


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


@pytest.mark.parametrize(
    ("centre", "utm"),
    [((8.4, 47.48), "EPSG:32632"), ((25, -20), "EPSG:32735"), ((5, 60), "EPSG:32631"), ((20, 75), "EPSG:32634")],
)
def test_a_square_keeps_its_sides_in_degrees(ee: Any, centre: tuple[float, float], utm: str) -> None:
    """``gee_biophys``, code 70660030481, with its tolerances."""
    x, y = ee.Geometry.Point(centre).transform(utm, 0.01).coordinates().getInfo()
    ring = [[x + i * 1000, y + j * 1000] for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))]
    square = ee.Geometry.Polygon([ring], utm, False).transform("EPSG:4326", 0.01)
    assert square.projection().crs().getInfo() == "EPSG:4326"
    back = square.transform(utm, 0.01)
    xs, ys = zip(*back.bounds(0.01, utm).coordinates().getInfo()[0], strict=True)
    assert (max(xs) - min(xs), max(ys) - min(ys)) == pytest.approx((2000, 2000), abs=0.05)
    assert ((max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2) == pytest.approx((x, y), abs=0.05)
    assert back.area(0.01, utm).getInfo() == pytest.approx(2000**2, abs=100)


def _ring(ee: Any, places: Any, inner: float, outer: float) -> Any:
    return places.geometry().buffer(outer, 1).difference(places.geometry().buffer(inner, 1), 1)


def _points(ee: Any, *places: tuple[float, float]) -> Any:
    return ee.FeatureCollection([ee.Feature(ee.Geometry.Point(place)) for place in places])


def _stream(ee: Any, longitude: float, south: float, north: float) -> Any:
    line = ee.Geometry.LineString([[longitude, south], [longitude, north]])
    return ee.FeatureCollection([ee.Feature(line)])


def test_a_stream_is_in_the_ring_around_places_and_not_in_their_box(ee: Any) -> None:
    """Code 70858116010."""
    stream = _stream(ee, -123.0, 44.0, 44.01)
    places = _points(ee, *((-123.001, north) for north in (44.004, 44.005, 44.006)))
    assert stream.filterBounds(places.geometry().bounds()).size().getInfo() == 0
    assert stream.filterBounds(_ring(ee, places, 30, 1000)).size().getInfo() == 1
    one = _points(ee, (-123.001, 44.005))
    assert stream.filterBounds(_ring(ee, one, 30, 1000)).size().getInfo() == 1


@pytest.mark.parametrize(("metres", "count"), [(950, 1), (1050, 0)])
def test_a_ring_ends_at_its_radius(ee: Any, metres: float, count: int) -> None:
    """Code 70858116010: 111,320 m are a degree at the equator; the area is to within half a per cent."""
    ring = _ring(ee, _points(ee, (-123.0, 44.0)), 30, 1000)
    assert ring.area(1).getInfo() == pytest.approx(math.pi * (1000**2 - 30**2), rel=0.005)
    longitude = -123 + metres / (111_320 * math.cos(math.radians(44)))
    assert _stream(ee, longitude, 43.99, 44.01).filterBounds(ring).size().getInfo() == count


def test_a_coarse_pixel_is_the_mean_of_nine(ee: Any) -> None:
    """``ndvi2gif``, code 69390292444, with its tolerance of a millionth."""
    crs, place = "EPSG:32629", ee.Geometry.Point([-6.27, 36.975])
    west, south = (math.floor(value / 30) * 30 for value in place.transform(crs, 1).coordinates().getInfo())
    cell = ee.Geometry.Rectangle([west, south, west + 30, south + 30], crs, False)
    fine = ee.Image.random(3).rename("nd").reproject(ee.Projection(crs).atScale(10))
    both = ee.Reducer.mean().combine(ee.Reducer.count(), None, True)
    inside = fine.reduceRegion(both, cell, 10, crs=crs).getInfo()
    assert inside["nd_count"] == 9
    coarse = fine.reduceResolution(ee.Reducer.mean(), False, 1024).reproject(ee.Projection(crs).atScale(30))
    assert coarse.projection().nominalScale().getInfo() == pytest.approx(30)
    found = coarse.reduceRegion(ee.Reducer.first(), place, 30).getInfo()
    assert found["nd"] == pytest.approx(inside["nd_mean"], abs=1e-6)


def test_nothing_seen_is_counted_as_zero(ee: Any) -> None:
    """``ndvi2gif``, code 69390292444."""
    series = ee.ImageCollection([ee.Image(1).rename("nd").updateMask(0)])
    box = ee.Geometry.Rectangle([-6.3, 36.95, -6.25, 37.0])
    counts = series.count().reduceRegion(ee.Reducer.minMax(), box, 200)
    assert counts.getInfo() == {"nd_min": 0, "nd_max": 0}
    assert series.reduce(ee.Reducer.percentile([90])).bandNames().getInfo() == ["nd_p90"]
    assert series.max().reduceRegion(ee.Reducer.count(), box, 200).getInfo() == {"nd": 0}


@pytest.mark.parametrize(
    ("months", "mean", "concentration"),
    [
        ([1, 1, 1], 1, 1), ([6, 6, 6], 6, 1), ([12, 12, 12], 12, 1), ([12, 1], 12.5, math.cos(math.pi / 12)),
        ([11, 12, 1, 2], 12.5, None), ([2, 6], 4, 0.5), ([1, 4, 7, 10], None, 0),
    ],
)  # fmt: skip
def test_months_are_averaged_on_a_circle(
    ee: Any, months: list[int], mean: float | None, concentration: float | None
) -> None:
    """``ndvi2gif``, code 69390292444, with its tolerance of a millionth; ``atan2`` takes x, then y."""
    box = ee.Geometry.Rectangle([-6.0, 37.0, -5.9, 37.1])
    series = ee.ImageCollection([ee.Image.constant(month).rename("m").toInt().clip(box) for month in months])

    def direction(image: Any) -> Any:
        angle = ee.Image(image).subtract(1).multiply(math.pi / 6)
        return angle.cos().rename("x").addBands(angle.sin().rename("y"))

    vector = series.map(direction).mean()
    x, y = vector.select("x"), vector.select("y")
    month = x.atan2(y).multiply(6 / math.pi).add(12).mod(12).add(1).rename("mean")
    image = ee.Image.cat([month, x.hypot(y).rename("concentration"), series.count().rename("n")])
    found = image.reduceRegion(ee.Reducer.first(), box.centroid(1), 1000).getInfo()
    assert found["n"] == len(months)
    assert mean is None or found["mean"] == pytest.approx(mean, abs=1e-6)
    assert concentration is None or found["concentration"] == pytest.approx(concentration, abs=1e-6)
    scarce = image.updateMask(series.count().gt(len(months)))
    assert scarce.reduceRegion(ee.Reducer.first(), box.centroid(1), 1000).get("mean").getInfo() is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(nir - red) / (nir + red)", 2 / 3),
        ("1.428 * (nir - red) / (nir + red + 0.428)", 0.34272 / 0.788),
        ("2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)", 0.6 / 1.285),
        ("4 * (green - swir1) - (0.25 * nir + 2.75 * swir2)", -0.575),
        ("blue + 2.5 * green - 1.5 * (nir + swir1) - 0.25 * swir2", -0.445),
        ("(green - swir1) / (green + swir1)", -0.07 / 0.23),
        ("1.7204 + 171 * green + 3 * red - 70 * nir - 45 * swir1 - 71 * swir2", -17.8496),
        ("(nir - (swir1 - swir2)) / (nir + (swir1 - swir2))", 0.23 / 0.37),
    ],
)
def test_indices_of_known_reflectance(ee: Any, text: str, expected: float) -> None:
    """``ndvi2gif``, code 69390292444, with its tolerance."""
    names = {"blue": 0.05, "green": 0.08, "red": 0.06, "nir": 0.30, "swir1": 0.15, "swir2": 0.08}
    image = ee.Image.constant([*names.values()]).rename([*names])
    index = image.expression(text, {name: image.select(name) for name in names}).rename("index")
    found = index.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([0, 0]), 10).get("index").getInfo()
    assert found == pytest.approx(expected, abs=1e-5)


def test_points_on_masked_pixels_are_no_samples(ee: Any) -> None:
    """Codes 59594727408 (a painted county and a lake) and 58060735759 (one masked band suffices)."""
    county = ee.FeatureCollection([ee.Feature(ee.Geometry.Rectangle([-94, 41, -93, 42]), {"fips": 19153})])
    painted = ee.Image(0).toInt32().paint(county, "fips").selfMask().rename("fips")
    options = {"scale": 30, "projection": "EPSG:4326", "geometries": False}
    inside = painted.sampleRegions(_points(ee, (-93.6, 41.6)), **options).getInfo()["features"]
    assert [feature["properties"] for feature in inside] == [{"fips": 19153}]
    assert painted.sampleRegions(_points(ee, (-87.0, 43.5)), **options).getInfo()["features"] == []
    image = ee.Image(1).rename("a").addBands(ee.Image(2).updateMask(0).rename("b"))
    assert image.sampleRegions(_points(ee, (0, 0)), scale=30).size().getInfo() == 0
    kept = image.unmask(-9999).sampleRegions(_points(ee, (0, 0)), scale=30).first()
    assert kept.toDictionary().getInfo() == {"a": 1, "b": -9999}


def test_regions_without_pixels_have_no_property(ee: Any) -> None:
    """Code 63275039799: "reduceRegions omits the 'mean' property altogether instead of returning null"."""
    field = ee.FeatureCollection([ee.Feature(ee.Geometry.Point([0, 0]).buffer(50), {"id": 1})])
    reduced = ee.Image(1).updateMask(0).reduceRegions(field, ee.Reducer.mean(), 10)
    assert reduced.first().toDictionary().getInfo() == {"id": 1}
    with pytest.raises(ee.EEException, match="Selected a different number of properties than names"):
        ee.Feature(reduced.first()).select(["id", "mean"], ["field", "ndvi"]).getInfo()


def test_a_longer_light_never_gets_darker(ee: Any) -> None:
    """``ndvi2gif``, code 69390292444: 0 to 63, of 0 no light, and of much 63 to within a tenth."""
    light = [0.0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 1000]
    image = ee.Image.constant(light).pow(0.681).multiply(-0.3489).exp().multiply(-63).add(63)
    found = image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([-6, 37]), 1000)
    values = found.values(image.bandNames()).getInfo()
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0, pytest.approx(63, abs=0.1))
