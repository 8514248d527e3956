"""Geometries of two: set operations, relations and distances, against shapely and pyproj.Geod."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips_local.geometry.geometry import coordinates, geojson
from eechips_local.values.values import WHOLE_EARTH, Geometry
from local_tests.support.geometries import (
    GEOD,
    SMALL,
    call_bbox,
    great_circle,
    op,
    planar,
    point,
    polygon,
    projection,
    rectangle,
)
from local_tests.support.graphs import invoke


def test_set_operations_keep_the_left_operands_form() -> None:
    for name in ("intersection", "union", "difference", "symmetricDifference"):
        assert op(name, left=rectangle(0, 0, 2, 2), right=planar(1, 1, 3, 3)).geodesic is True
        assert op(name, left=planar(0, 0, 2, 2), right=rectangle(1, 1, 3, 3)).geodesic is False
        made = op(name, left=planar(0, 0, 2, 2), right=planar(1, 1, 3, 3), proj=projection("EPSG:3857"), maxError=1)
        assert made.projection.crs == "EPSG:3857"


def test_planar_set_operations_are_shapelys() -> None:
    a, b = shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)
    for name, expected in (
        ("intersection", a & b),
        ("union", a | b),
        ("difference", a - b),
        ("symmetricDifference", a ^ b),
    ):
        made = op(name, left=planar(*a.bounds), right=planar(*b.bounds))
        assert made.shape.normalize().equals_exact(expected.normalize(), 1e-12)


@pytest.mark.slow
@given(SMALL, SMALL)
@settings(max_examples=30, deadline=None)
def test_geodesic_intersection_is_symmetric_and_obeys_inclusion_and_exclusion(
    first: tuple[float, float, float, float], second: tuple[float, float, float, float]
) -> None:
    west, south, wide, high = first
    a = rectangle(west, south, west + wide, south + high)
    x, y = west + wide * 0.3, south + high * 0.4
    b = rectangle(x, y, x + second[2], y + second[3])
    area = {
        name: op("area", geometry=invoke(f"Geometry.{name}", left=left, right=right))
        for name, left, right in (
            ("intersection", a, b),
            ("union", a, b),
            ("difference", a, b),
            ("symmetricDifference", b, a),
        )
    }
    swapped = op("area", geometry=invoke("Geometry.intersection", left=b, right=a))
    whole, other = op("area", geometry=a), op("area", geometry=b)
    # New corners lie on great circles, which are metres off the ellipsoid's geodesics.
    slack = 5.0 * (op("perimeter", geometry=a) + op("perimeter", geometry=b))
    assert swapped == pytest.approx(area["intersection"], abs=1e-6 * (whole + other))
    assert area["union"] + area["intersection"] == pytest.approx(whole + other, abs=slack)
    assert area["difference"] + area["intersection"] == pytest.approx(whole, abs=slack)
    assert area["symmetricDifference"] == pytest.approx(area["union"] - area["intersection"], abs=slack)


def test_geodesic_edges_meet_where_great_circles_do() -> None:
    # The great circle from (0, 50) to (60, 50) passes north of the parallel.
    line = invoke("GeometryConstructors.LineString", coordinates=[[0, 50], [60, 50]])
    meridian = invoke("GeometryConstructors.LineString", coordinates=[[30, 40], [30, 70]])
    crossing = op("intersection", left=line, right=meridian)
    top = math.degrees(math.atan(math.tan(math.radians(50)) / math.cos(math.radians(30))))
    assert coordinates(crossing) == pytest.approx([30, top], abs=1e-9)


def test_disjoint_geometries_have_an_empty_intersection() -> None:
    made = op("intersection", left=rectangle(0, 0, 1, 1), right=rectangle(5, 5, 6, 6))
    assert made.shape.is_empty
    assert geojson(made)["type"] == "GeometryCollection"


def test_relations() -> None:
    big, small_one, apart = rectangle(0, 0, 4, 4), rectangle(1, 1, 2, 2), rectangle(9, 9, 10, 10)
    assert op("contains", left=big, right=small_one) is True
    assert op("containedIn", left=small_one, right=big) is True
    assert op("contains", left=small_one, right=big) is False
    assert op("intersects", left=big, right=small_one) is True
    assert op("disjoint", left=big, right=apart) is True
    assert op("contains", left=invoke("Geometry.bounds", geometry=big), right=big) is True


def test_geometries_meet_across_the_antimeridian() -> None:
    left = polygon((179, 0), (-179, 0), (-179, 2), (179, 2))
    assert op("intersects", left=left, right=point(-179.5, 1)) is True
    assert op("intersects", left=left, right=point(179.5, 1)) is True
    assert op("intersects", left=left, right=point(178.5, 1)) is False
    assert op("intersects", left=call_bbox(179, 0, -179, 2), right=call_bbox(-179.5, 1, -178, 3)) is True
    assert op("intersects", left=call_bbox(179, 0, -179, 2), right=call_bbox(-178.5, 1, -178, 3)) is False


@given(st.tuples(st.floats(-170, 170), st.floats(-80, 80)), st.tuples(st.floats(-170, 170), st.floats(-80, 80)))
def test_distance_of_points_is_the_geodesic(a: tuple[float, float], b: tuple[float, float]) -> None:
    expected = GEOD.inv(*a, *b)[2]
    assert op("distance", left=point(*a), right=point(*b)) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.slow
@given(st.tuples(st.floats(-30, 30), st.floats(-60, 60)), st.floats(0.5, 20))
@settings(max_examples=30, deadline=None)
def test_distance_to_a_polygon_is_that_to_its_nearest_point(where: tuple[float, float], wide: float) -> None:
    lon, lat = where
    corners = ((lon + 5, lat - 1), (lon + 5 + wide, lat), (lon + 6, lat + 3))
    fine = np.array(
        [p for a, b in zip(corners, (*corners[1:], corners[0]), strict=True) for p in great_circle(a, b, 2000)]
    )
    expected = min(GEOD.inv(np.full(len(fine), lon), np.full(len(fine), lat), fine[:, 0], fine[:, 1])[2])
    found = op("distance", left=point(lon, lat), right=polygon(*corners))
    assert found == pytest.approx(expected, rel=2e-4)
    assert op("withinDistance", left=point(lon, lat), right=polygon(*corners), distance=found + 1) is True
    assert op("withinDistance", left=point(lon, lat), right=polygon(*corners), distance=found - 1) is False
    near = op("closestPoint", left=point(lon, lat), right=polygon(*corners))
    assert GEOD.inv(lon, lat, near.shape.x, near.shape.y)[2] == pytest.approx(found, rel=1e-9)


def test_distance_is_zero_inside_and_planar_in_a_projection() -> None:
    assert op("distance", left=point(1, 1), right=rectangle(0, 0, 2, 2)) == pytest.approx(0, abs=1e-3)
    utm = projection("EPSG:32631")
    assert op("distance", left=point(5e5, 0, crs=utm), right=point(5e5 + 3, 4, crs=utm), proj=utm) == pytest.approx(5)
    pair = op("closestPoints", left=point(0, 0), right=rectangle(5, -1, 6, 1))
    assert coordinates(pair["left"]) == pytest.approx([0, 0])
    assert coordinates(pair["right"]) == pytest.approx([5, 0], abs=1e-3)


def test_unbounded_geometries() -> None:
    box = Geometry(shapely.box(0, 0, 1, 1))
    from eechips_local.functions.vectors import geometries as geometric
    from eechips_local.functions.vectors import geometry_operations as operations

    assert operations.intersection(WHOLE_EARTH, box, None, None) is box
    assert operations.union(box, WHOLE_EARTH, None, None).unbounded
    assert geometric.contains(WHOLE_EARTH, box, None, None)
    assert operations.difference(box, WHOLE_EARTH, None, None).shape.is_empty
    assert geometric.is_unbounded(operations.bounds(WHOLE_EARTH, None, None))
