"""Dates, texts, numbers, lists, dictionaries, arrays and geometries by the real client, against libraries."""

from __future__ import annotations

import calendar
import datetime
import json
import math
import re
import statistics
import textwrap
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import shapely
from pyproj import Geod, Transformer
from scipy import special

UTC = datetime.timezone.utc
SPHERE = 6_371_007.181
"""Radius of the sphere with the area of the ellipsoid, in metres, by which Earth Engine measures areas."""


def millis(*parts: int, zone: str = "UTC") -> int:
    return round(datetime.datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp() * 1000)  # type: ignore[misc,arg-type]


def near(ours: Any, theirs: Any, rel: float = 1e-9) -> None:
    """Compare values, and numbers in lists to a relative error."""
    if isinstance(theirs, np.ndarray | list | float | np.number) and not _has_text(theirs):
        np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=rel, atol=1e-12)
    else:
        assert ours == theirs


def _has_text(value: Any) -> bool:
    return isinstance(value, list) and any(not isinstance(x, int | float | list) or _has_text(x) for x in value)


STAMPS = [(1999, 12, 31, 23, 59, 59), (2024, 2, 29, 12, 0, 1), (1969, 7, 20, 20, 17, 40), (2100, 2, 28, 0, 0, 0)]


@pytest.mark.slow
@pytest.mark.parametrize("stamp", STAMPS, ids=str)
def test_dates_are_those_of_python(demo_ee: Any, stamp: tuple[int, ...]) -> None:
    ee = demo_ee
    moment = datetime.datetime(*stamp, tzinfo=UTC)  # type: ignore[misc,arg-type]
    stampd = pd.Timestamp(moment)
    date = ee.Date(moment.strftime("%Y-%m-%dT%H:%M:%S"))
    iso = moment.isocalendar()
    found = ee.Dictionary(
        {
            "millis": date.millis(),
            "doy": date.getRelative("day", "year"),
            "week": date.get("week"),
            "month": date.get("month"),
            "hour": date.get("hour"),
            "next month": date.advance(1, "month").format("YYYY-MM-dd"),
            "back 13 months": date.advance(-13, "month").format("YYYY-MM-dd"),
            "plus weeks": date.advance(2.5, "week").millis(),
            "text": date.format("EEEE, d MMMM yyyy h:mm a"),
            "numbers": date.format("DDD ww e"),
            "month days": date.getRange("month").end().difference(date.getRange("month").start(), "day"),
            "year ends": date.getRange("year").end().millis(),
            "fraction": date.getFraction("day"),
        }
    ).getInfo()
    offset = pd.DateOffset
    assert found == {
        "millis": round(moment.timestamp() * 1000),
        "doy": stampd.day_of_year - 1,
        "week": iso.week,
        "month": stamp[1],
        "hour": stamp[3],
        "next month": (stampd + offset(months=1)).strftime("%Y-%m-%d"),
        "back 13 months": (stampd - offset(months=13)).strftime("%Y-%m-%d"),
        "plus weeks": round((moment + datetime.timedelta(weeks=2.5)).timestamp() * 1000),
        "text": f"{moment:%A}, {moment.day} {moment:%B %Y} {(moment.hour + 11) % 12 + 1}:{moment:%M %p}",
        "numbers": f"{stampd.day_of_year:03d} {iso.week:02d} {iso.weekday}",
        "month days": calendar.monthrange(*stamp[:2])[1],
        "year ends": millis(stamp[0] + 1, 1, 1),
        "fraction": pytest.approx((stampd - stampd.normalize()) / pd.Timedelta(days=1)),
    }


ZONES = [
    ("America/New_York", (2021, 3, 14, 3, 30)),
    ("Asia/Kathmandu", (2015, 4, 25, 11, 56)),
    ("Australia/Lord_Howe", (2022, 4, 3, 12, 0)),
    ("Europe/London", (2023, 10, 29, 3, 0)),
]


@pytest.mark.parametrize(("zone", "stamp"), ZONES)
def test_zones_are_those_of_python(demo_ee: Any, zone: str, stamp: tuple[int, ...]) -> None:
    ee = demo_ee
    local = datetime.datetime(*stamp, tzinfo=ZoneInfo(zone))  # type: ignore[misc,arg-type]
    date = ee.Date(local.replace(tzinfo=None).isoformat(), zone)
    found = ee.List(
        [
            date.millis(),
            date.format("yyyy-MM-dd HH:mm Z", zone),
            date.advance(1, "day", zone).millis(),
            date.get("hour", zone),
            date.getRange("day", zone).start().millis(),
        ]
    ).getInfo()
    later = datetime.datetime.combine(local.date() + datetime.timedelta(1), local.time(), ZoneInfo(zone))
    start = datetime.datetime.combine(local.date(), datetime.time(), ZoneInfo(zone))
    assert found == [
        round(local.timestamp() * 1000),
        local.strftime("%Y-%m-%d %H:%M %z"),
        round(later.timestamp() * 1000),
        local.hour,
        round(start.timestamp() * 1000),
    ]


TEXT = "Ünïcode: the quick-brown fox, 42 foxes; x=3.14e2\ttab"

VALUES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "split by pattern": (lambda ee: ee.String(TEXT).split("[,;:] *"), re.split("[,;:] *", TEXT)),
    "replace groups": (
        lambda ee: ee.String(TEXT).replace("(\\w+)-(\\w+)", "$2_$1"),
        re.sub(r"(\w+)-(\w+)", r"\2_\1", TEXT),
    ),
    "match all": (lambda ee: ee.String(TEXT).match("[0-9]+", "g"), re.findall("[0-9]+", TEXT)),
    "upper": (lambda ee: ee.String(TEXT).toUpperCase(), TEXT.upper()),
    "slice": (lambda ee: ee.String(TEXT).slice(-9, -2), TEXT[-9:-2]),
    "index": (lambda ee: ee.String(TEXT).index("fox"), TEXT.index("fox")),
    "rindex": (lambda ee: ee.String(TEXT).rindex("fox"), TEXT.rindex("fox")),
    "decode json": (
        lambda ee: ee.String('{"a": [1, 2.5, null, "x"]}').decodeJSON(),
        json.loads('{"a": [1, 2.5, null, "x"]}'),
    ),
    "equals": (lambda ee: ee.String("a").compareTo("b"), -1),
    "format zeros": (lambda ee: ee.Number(7).format("%08d"), f"{7:08d}"),
    "format exponent": (lambda ee: ee.Number(123456.789).format("%.3e"), f"{123456.789:.3e}"),
    "format hex": (lambda ee: ee.Number(48879).format("%x"), f"{48879:x}"),
    "format general": (lambda ee: ee.Number(-0.5).format("%+.2f|"), f"{-0.5:+.2f}|"),
    "format commas": (lambda ee: ee.Number(1234567.891).format("%,.1f"), f"{1234567.891:,.1f}"),
    "hypot": (lambda ee: ee.Number(3e200).hypot(4e200), 5e200),
    "gamma": (lambda ee: ee.Number(7.3).gamma(), math.gamma(7.3)),
    "trigamma": (lambda ee: ee.Number(2.5).trigamma(), float(special.polygamma(1, 2.5))),
    "erfInv": (lambda ee: ee.Number(0.3).erfInv(), float(special.erfinv(0.3))),
    "bits": (lambda ee: ee.Number(91).bitwiseXor(37), 91 ^ 37),
    "round half": (
        lambda ee: ee.List([0.5, 1.5, 2.5, -0.5, -1.5]).map(lambda n: ee.Number(n).round()),
        [1, 2, 3, -0.0, -1],
    ),
    "int division": (lambda ee: ee.Number(-7).divide(2).int(), -3),
    "mod of negative": (lambda ee: ee.Number(-7).mod(3), math.fmod(-7, 3)),
    "sorted by keys": (lambda ee: ee.List(["a", "b", "c", "d"]).sort([3, 1, 2, 0]), ["d", "b", "c", "a"]),
    "zip": (lambda ee: ee.List([1, 2, 3]).zip([4, 5, 6]), [[1, 4], [2, 5], [3, 6]]),
    "slice with step": (lambda ee: ee.List.sequence(0, 20).slice(-15, -1, 4), list(range(21))[-15:-1:4]),
    "rotate": (lambda ee: ee.List([1, 2, 3, 4, 5]).rotate(2), np.roll([1, 2, 3, 4, 5], 2).tolist()),
    "frequency": (lambda ee: ee.List(["x", "y", "x"]).frequency("x"), 2),
    "unzip": (lambda ee: ee.List([[1, "a"], [2, "b"]]).unzip(), [[1, 2], ["a", "b"]]),
    "sequence by count": (lambda ee: ee.List.sequence(2, 9, None, 6), np.linspace(2, 9, 6).tolist()),
    "insert negative": (lambda ee: ee.List([1, 2, 3]).insert(-1, 9), [1, 2, 9, 3]),
    "splice": (lambda ee: ee.List([1, 2, 3, 4]).splice(1, 2, ["a"]), [1, "a", 4]),
    "replaceAll": (lambda ee: ee.List([1, 2, 1]).replaceAll(1, "z"), ["z", 2, "z"]),
    "indexOfSublist": (lambda ee: ee.List([1, 2, 3, 2, 3]).indexOfSublist([2, 3]), 1),
    "lastIndexOfSubList": (lambda ee: ee.List([1, 2, 3, 2, 3]).lastIndexOfSubList([2, 3]), 3),
    "iterate": (lambda ee: ee.List([1, 2, 3]).iterate(lambda x, p: ee.Number(x).multiply(p), 1), 6),
    "reduce stdDev": (lambda ee: ee.List([1, 4, 9, 16]).reduce(ee.Reducer.stdDev()), statistics.pstdev([1, 4, 9, 16])),
    "combine": (lambda ee: ee.Dictionary({"a": 1, "b": 2}).combine({"b": 3, "c": 4}), {"a": 1, "b": 3, "c": 4}),
    "combine kept": (
        lambda ee: ee.Dictionary({"a": 1, "b": 2}).combine({"b": 3, "c": 4}, False),
        {"a": 1, "b": 2, "c": 4},
    ),
    "rename keys": (lambda ee: ee.Dictionary({"a": 1, "b": 2}).rename(["a"], ["z"]), {"z": 1, "b": 2}),
    "from lists": (lambda ee: ee.Dictionary.fromLists(["p", "q"], [[1], {"r": 2}]), {"p": [1], "q": {"r": 2}}),
    "to array": (lambda ee: ee.Dictionary({"b": 2, "a": 1}).toArray(), [1, 2]),
    "select pattern": (lambda ee: ee.Dictionary({"a1": 1, "b1": 2, "a2": 3}).select(["a.*"]), {"a1": 1, "a2": 3}),
}


@pytest.mark.parametrize("key", VALUES)
def test_values_are_pythons(demo_ee: Any, key: str) -> None:
    ee = demo_ee
    ours, theirs = VALUES[key]
    near(ours(ee).getInfo(), theirs)


RANDOM = np.random.default_rng(77)
M = RANDOM.integers(-9, 10, (4, 4)).astype(float)
S = M @ M.T
T = RANDOM.integers(-9, 10, (3, 5)).astype(float)
V = RANDOM.normal(size=(4, 2))
CUBE = RANDOM.integers(0, 50, (2, 3, 4)).astype(float)

ARRAYS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "matrixInverse": (lambda ee: ee.Array(M.tolist()).matrixInverse(), np.linalg.inv(M)),
    "matrixPseudoInverse": (lambda ee: ee.Array(T.tolist()).matrixPseudoInverse(), np.linalg.pinv(T)),
    "matrixDeterminant": (lambda ee: ee.Array(M.tolist()).matrixDeterminant(), float(np.linalg.det(M))),
    "matrixTrace": (lambda ee: ee.Array(M.tolist()).matrixTrace(), float(np.trace(M))),
    "matrixSolve": (lambda ee: ee.Array(M.tolist()).matrixSolve(ee.Array(V.tolist())), np.linalg.solve(M, V)),
    "matrixSolve wide": (
        lambda ee: ee.Array(T.T.tolist()).matrixSolve(ee.Array(np.ones((5, 1)).tolist())),
        np.linalg.lstsq(T.T, np.ones((5, 1)), rcond=None)[0],
    ),
    "matrixFnorm": (lambda ee: ee.Array(T.tolist()).matrixFnorm(), float(np.linalg.norm(T))),
    "matrixCholesky": (lambda ee: ee.Array(S.tolist()).matrixCholeskyDecomposition().get("L"), np.linalg.cholesky(S)),
    "matrixQR": (
        lambda ee: (
            ee.Array(M.tolist())
            .matrixQRDecomposition()
            .getArray("Q")
            .matrixMultiply(ee.Array(M.tolist()).matrixQRDecomposition().getArray("R"))
        ),
        M,
    ),
    "matrixSingularValues": (
        lambda ee: ee.Array(T.tolist()).matrixSingularValueDecomposition().getArray("S").matrixDiagonal().project([0]),
        np.linalg.svd(T)[1],
    ),
    "eigenvalues": (lambda ee: ee.Array(S.tolist()).eigen().slice(1, 0, 1).project([0]), np.linalg.eigvalsh(S)[::-1]),
    "matrixTranspose": (lambda ee: ee.Array(CUBE.tolist()).matrixTranspose(0, 2), np.swapaxes(CUBE, 0, 2)),
    "matrixMultiply": (lambda ee: ee.Array(T.tolist()).matrixMultiply(ee.Array(T.T.tolist())), T @ T.T),
    "reduce axes": (
        lambda ee: ee.Array(CUBE.tolist()).reduce(ee.Reducer.max(), [0, 2]),
        CUBE.max(axis=(0, 2), keepdims=True),
    ),
    "accum": (lambda ee: ee.Array(CUBE.tolist()).accum(1), np.cumsum(CUBE, 1)),
    "slice with step": (lambda ee: ee.Array(CUBE.tolist()).slice(2, 0, -1, 2), CUBE[:, :, 0:-1:2]),
    "repeat": (lambda ee: ee.Array(T.tolist()).repeat(1, 2), np.tile(T, (1, 2))),
    "cat": (lambda ee: ee.Array.cat([T.tolist(), T.tolist()], 0), np.concatenate([T, T])),
    "mask": (lambda ee: ee.Array([5, 6, 7, 8]).mask(ee.Array([1, 0, 0, 1])), [5, 8]),
    "sort by keys": (lambda ee: ee.Array([5, 6, 7, 8]).sort(ee.Array([3, 1, 2, 0])), [8, 6, 7, 5]),
    "identity": (lambda ee: ee.Array.identity(3), np.eye(3)),
    "argmax": (
        lambda ee: ee.Array(CUBE.tolist()).argmax(),
        list(map(int, np.unravel_index(CUBE.argmax(), CUBE.shape))),
    ),
    "bitwiseAnd": (lambda ee: ee.Array([12, 10, 255]).bitwiseAnd([10, 6, 15]), [8, 2, 15]),
    "dotProduct": (lambda ee: ee.Array([1, 2, 3]).dotProduct(ee.Array([4, 5, 6])), 32.0),
    "lu": (
        lambda ee: (
            ee.Array(M.tolist())
            .matrixLUDecomposition()
            .getArray("L")
            .matrixMultiply(ee.Array(M.tolist()).matrixLUDecomposition().getArray("U"))
        ),
        scipy.linalg.lu(M)[0].T @ M,
    ),
}


@pytest.mark.parametrize("key", ARRAYS)
def test_arrays_are_numpys(demo_ee: Any, key: str) -> None:
    ee = demo_ee
    ours, theirs = ARRAYS[key]
    np.testing.assert_allclose(np.asarray(ours(ee).getInfo(), float), theirs, rtol=1e-9, atol=1e-9)


GEOD = Geod(ellps="WGS84")
PATHS = {
    "across 180": [(177.5, -17), (-178.2, -19.5), (-176, -16)],
    "near a pole": [(10, 84), (100, 86), (200, 85.5)],
    "short": [(7.1, 50.7), (7.1003, 50.7002), (7.1006, 50.6999)],
}


@pytest.mark.parametrize("key", PATHS)
def test_lengths_are_geodesics(demo_ee: Any, key: str) -> None:
    ee = demo_ee
    longitudes, latitudes = zip(*PATHS[key], strict=True)
    line = ee.Geometry.LineString([list(at) for at in PATHS[key]])
    ring = ee.Geometry.Polygon([[list(at) for at in PATHS[key]]])
    assert line.length().getInfo() == pytest.approx(GEOD.line_length(longitudes, latitudes), rel=1e-5)
    closed = GEOD.line_length((*longitudes, longitudes[0]), (*latitudes, latitudes[0]))
    assert ring.perimeter().getInfo() == pytest.approx(closed, rel=1e-5)


@pytest.mark.parametrize("key", PATHS)
def test_areas_are_spherical(demo_ee: Any, key: str) -> None:
    """Within what the sphere of the ellipsoid's area and the ellipsoid differ by."""
    ee = demo_ee
    longitudes, latitudes = zip(*PATHS[key], strict=True)
    expected = abs(Geod(a=SPHERE, f=0).polygon_area_perimeter(longitudes, latitudes)[0])
    found = ee.Geometry.Polygon([[list(at) for at in PATHS[key]]]).area().getInfo()
    assert found == pytest.approx(expected, rel=2e-3)


PLANE = "EPSG:3035"
A = shapely.Polygon(
    [(4e6, 3e6), (4.09e6, 2.98e6), (4.11e6, 3.07e6), (4.02e6, 3.1e6)],
    [[(4.05e6, 3.03e6), (4.06e6, 3.03e6), (4.05e6, 3.05e6)]],
)
B = shapely.Point(4.08e6, 3.05e6).buffer(35_000, 5)
LINE = shapely.LineString([(3.98e6, 3.0e6), (4.05e6, 3.08e6), (4.055e6, 3.081e6), (4.15e6, 3.02e6)])


def planar(ee: Any, shape: Any) -> Any:
    info = shapely.geometry.mapping(shape)
    if info["type"] == "Point":
        return ee.Geometry.Point(list(info["coordinates"]), PLANE)
    return ee.Geometry({"type": info["type"], "coordinates": json.loads(json.dumps(info["coordinates"]))}, PLANE, False)


def back(info: dict[str, Any]) -> Any:
    return shapely.geometry.shape({k: info[k] for k in ("type", "coordinates")})


OVERLAYS = ["intersection", "union", "difference", "symmetricDifference"]


@pytest.mark.parametrize("operation", OVERLAYS)
def test_overlays_are_shapelys(demo_ee: Any, operation: str) -> None:
    ee = demo_ee
    found = getattr(planar(ee, A), operation)(planar(ee, B), 0.001, PLANE).getInfo()
    name = "symmetric_difference" if operation == "symmetricDifference" else operation
    expected = getattr(A, name)(B)
    assert back(found).symmetric_difference(expected).area < 1e-6 * expected.area


@pytest.mark.parametrize("relation", ["intersects", "contains", "disjoint", "containedIn"])
@pytest.mark.parametrize("other", ["B", "LINE", "hole", "inner"])
def test_relations_are_shapelys(demo_ee: Any, relation: str, other: str) -> None:
    ee = demo_ee
    shapes = {
        "B": B,
        "LINE": LINE,
        "hole": shapely.Point(4.052e6, 3.035e6),
        "inner": shapely.box(4.02e6, 3.0e6, 4.03e6, 3.02e6),
    }
    shape = shapes[other]
    expected = A.within(shape) if relation == "containedIn" else getattr(A, relation)(shape)
    assert getattr(planar(ee, A), relation)(planar(ee, shape), 0.001, PLANE).getInfo() == expected


def test_measures_in_a_plane_are_shapelys(demo_ee: Any) -> None:
    ee = demo_ee
    far = shapely.box(4.2e6, 3.2e6, 4.25e6, 3.21e6)
    a, b, line = planar(ee, A), planar(ee, far), planar(ee, LINE)
    found = ee.List(
        [
            a.area(0.001, PLANE),
            a.perimeter(0.001, PLANE),
            line.length(0.001, PLANE),
            a.distance(b, 0.001, PLANE),
            a.buffer(5000, 0.5, PLANE).area(0.001, PLANE),
            line.buffer(3000, 0.5, PLANE).area(0.001, PLANE),
            a.convexHull(0.001, PLANE).area(0.001, PLANE),
            line.simplify(2000, PLANE).coordinates().size(),
        ]
    ).getInfo()
    expected = [
        A.area,
        A.length,
        LINE.length,
        A.distance(far),
        A.buffer(5000, 64).area,
        LINE.buffer(3000, 64).area,
        A.convex_hull.area,
        len(LINE.simplify(2000).coords),
    ]
    assert found == pytest.approx(expected, rel=1e-3)
    assert found[:4] == pytest.approx(expected[:4], rel=1e-9)
    centre = a.centroid(0.001, PLANE).getInfo()["coordinates"]
    assert centre == pytest.approx([A.centroid.x, A.centroid.y], abs=0.1)


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:2193", "EPSG:32760", "EPSG:3857", "EPSG:5070"])
def test_transformed_points_are_projs(demo_ee: Any, crs: str) -> None:
    ee = demo_ee
    x, y = {
        "EPSG:3413": (-45.2, 71.3),
        "EPSG:2193": (172.6, -43.5),
        "EPSG:32760": (178.1, -17.9),
        "EPSG:3857": (-179.5, 66.1),
        "EPSG:5070": (-104.9, 39.7),
    }[crs]
    expected = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(x, y)
    there = ee.Geometry.Point([x, y]).transform(crs, 0.001)
    assert there.coordinates().getInfo() == pytest.approx(expected, abs=1e-3)
    assert there.transform("EPSG:4326", 0.001).coordinates().getInfo() == pytest.approx([x, y], abs=1e-9)


def test_buffers_of_points_are_geodesic_circles(demo_ee: Any) -> None:
    ee = demo_ee
    for longitude, latitude, radius in ((179.9, -16.5, 40_000), (12.3, 78.2, 9000), (-60, 3, 150_000)):
        ring = ee.Geometry.Point([longitude, latitude]).buffer(radius).coordinates().get(0).getInfo()
        distances = [GEOD.inv(longitude, latitude, x, y)[2] for x, y in ring]
        assert max(distances) <= radius * 1.02
        assert min(distances) >= radius * 0.96


def test_indented_json_is_read(demo_ee: Any) -> None:
    ee = demo_ee
    document = textwrap.dedent("""
        {"type": "x", "n": [1e3, -0.0, 1E-2], "t": "\\u00fc\\n"}
    """)
    assert ee.String(document).decodeJSON().getInfo() == json.loads(document)
