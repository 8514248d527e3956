"""Geometry.buffer, against closed forms, a metric plane and what was recorded from the service."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from eechips_local.geometry.geodesy import AUTHALIC_SPHERE
from eechips_local.geometry.geometry import coordinates, geojson
from local_tests.support.geometries import great_circle, op, planar, point, polygon, projection, ready, rectangle
from local_tests.support.graphs import evaluate, invoke


@given(st.floats(-179, 179), st.floats(-84, 84), st.floats(1, 50_000))
def test_bounds_of_a_points_buffer_lie_so_far_in_four_directions(lon: float, lat: float, radius: float) -> None:
    made = op("bounds", geometry=invoke("Geometry.buffer", geometry=point(lon, lat), distance=radius))
    west, south, east, north = made.shape.bounds
    assert north == pytest.approx(AUTHALIC_SPHERE.fwd(lon, lat, 0, radius)[1], abs=1e-9)
    assert south == pytest.approx(AUTHALIC_SPHERE.fwd(lon, lat, 180, radius)[1], abs=1e-9)
    turn = 360.0 * round((lon - west) / 360.0)
    for edge, azimuth in ((east + turn, 90), (west + turn, 270)):
        x = AUTHALIC_SPHERE.fwd(lon, lat, azimuth, radius)[0]
        x += 360.0 * round((lon - x) / 360.0)
        # A metre or two at 50 km near the pole: due east is not quite the easternmost point of a circle.
        assert abs(edge - x) * 111_320 * math.cos(math.radians(lat)) <= 0.005 * radius


def test_a_points_buffer_is_wider_than_high_as_recorded() -> None:
    """Test the squares of geetools' tests (tests/test_Image/test_to_grid.npz), bounds to within 0.01 m on each side."""
    utm = invoke("Projection", crs="EPSG:32632")
    centre = [12.4532, 41.9041]
    made = op(
        "bounds", geometry=invoke("Geometry.buffer", geometry=point(*centre), distance=5), maxError=0.01, proj=utm
    )
    west, south, east, north = made.shape.bounds
    assert east - west == pytest.approx(10.038, abs=0.02)
    assert north - south == pytest.approx(10.000, abs=0.02)


def test_the_seed_recipes_chip() -> None:
    made = op("bounds", geometry=invoke("Geometry.buffer", geometry=point(-104.5, 39.5), distance=127))
    west, south, east, north = made.shape.bounds
    assert AUTHALIC_SPHERE.inv(west, 39.5, east, 39.5)[2] == pytest.approx(254, abs=0.001)
    assert AUTHALIC_SPHERE.inv(-104.5, south, -104.5, north)[2] == pytest.approx(254, abs=0.001)


@given(st.floats(10, 1e6), st.floats(1e-3, 0.05))
def test_a_points_buffer_is_a_circle_within_the_margin(radius: float, share: float) -> None:
    made = op("buffer", geometry=point(7, 50), distance=radius, maxError=radius * share)
    corners = np.array(coordinates(made)[0])
    far = AUTHALIC_SPHERE.inv(np.full(len(corners), 7.0), np.full(len(corners), 50.0), corners[:, 0], corners[:, 1])[2]
    assert far == pytest.approx(radius, rel=1e-9)
    middle = (corners[:-1] + corners[1:]) / 2
    if radius < 10_000:
        near = AUTHALIC_SPHERE.inv(np.full(len(middle), 7.0), np.full(len(middle), 50.0), middle[:, 0], middle[:, 1])[2]
        assert (np.asarray(near) >= radius * (1 - share) - 1e-6).all()


def test_a_buffer_around_a_pole_is_a_cap() -> None:
    made = op("buffer", geometry=point(10, 89.9), distance=100_000)
    # At a pole a degree has 111.69 km, and 111.19 km on the sphere.
    assert op("area", geometry=ready(made)) == pytest.approx(math.pi * 1e10 * (111.19 / 111.69) ** 2, rel=0.02)
    assert made.shape.bounds[3] == 90


@pytest.mark.parametrize("metres", [100.0, 20_000.0, -3_000.0])
def test_buffers_of_polygons_agree_with_a_metric_plane(metres: float) -> None:
    square = shapely.box(2.9, 49.9, 3.1, 50.1)
    sphere = f"+R={AUTHALIC_SPHERE.a} +no_defs"
    there = Transformer.from_crs(f"+proj=longlat {sphere}", f"+proj=aeqd +lat_0=50 +lon_0=3 {sphere}", always_xy=True)
    dense = shapely.segmentize(square, 0.001)
    flat = shapely.transform(dense, lambda xy: np.column_stack(there.transform(xy[:, 0], xy[:, 1])))
    expected = shapely.buffer(flat, metres, quad_segs=64)
    made = op("buffer", geometry=planar(*square.bounds), distance=metres, maxError=1)
    found = shapely.transform(made.shape, lambda xy: np.column_stack(there.transform(xy[:, 0], xy[:, 1])))
    assert found.hausdorff_distance(expected) < max(2.0, abs(metres) * 1e-3)


@pytest.mark.parametrize(("metres", "polygons"), [(1e6, 1), (-5e5, 1), (-5e6, 0)])
def test_buffers_of_a_continent(metres: float, polygons: int) -> None:
    continent = polygon((-5, 40), (65, 40), (65, 60), (-5, 60))
    made = op("buffer", geometry=continent, distance=metres)
    assert made.shape.is_valid
    assert len(shapely.get_parts(made.shape)) == polygons
    if not polygons:
        assert (
            geojson(made) == {"geodesic": True, "type": "GeometryCollection", "geometries": []} or made.shape.is_empty
        )
        return
    corners = np.array(made.shape.exterior.coords)[::7]
    edges = pairwise([(-5, 40), (65, 40), (65, 60), (-5, 60), (-5, 40)])
    ring = np.array([p for a, b in edges for p in great_circle(a, b, 60)])
    for corner in corners:
        far = AUTHALIC_SPHERE.inv(np.full(len(ring), corner[0]), np.full(len(ring), corner[1]), ring[:, 0], ring[:, 1])[
            2
        ]
        assert min(far) == pytest.approx(abs(metres), rel=0.02)


@given(st.floats(10, 1e5), st.floats(10, 1e5))
def test_buffer_area_grows_with_the_distance(a: float, b: float) -> None:
    square = rectangle(20, 30, 20.5, 30.5)
    areas = [op("area", geometry=invoke("Geometry.buffer", geometry=square, distance=d)) for d in sorted((a, b))]
    assert areas[0] <= areas[1] * (1 + 1e-9)


@pytest.mark.parametrize("metres", [1e7, 1.5e7, 1.99e7])
def test_buffers_larger_than_a_hemisphere(metres: float) -> None:
    made = op("buffer", geometry=point(20, 30), distance=metres)
    for x, y in ((20, 30), (100, 10), (-160, -30), (-150, -29.9), (-120, -60), (0, 90), (10, -90)):
        far = AUTHALIC_SPHERE.inv(20, 30, x, y)[2]
        if abs(far - metres) > 0.02 * metres:
            assert made.shape.contains(
                shapely.Point(x, y).buffer(1e-3).intersection(shapely.box(-180, -90, 180, 90))
            ) is (far < metres)
    everywhere = op("buffer", geometry=point(20, 30), distance=1e9)
    assert everywhere.shape.area == 360 * 180


def test_latitudes_beyond_a_pole_are_the_poles() -> None:
    assert coordinates(evaluate(point(0, 95))) == [0, 90]
    assert op("area", geometry=polygon((0, 91), (10, 95), (20, 80))) == pytest.approx(0, abs=1e12)


def test_buffers_in_a_projection_are_planar() -> None:
    utm = projection("EPSG:32631")
    made = op("buffer", geometry=point(5e5, 1000, crs=utm), distance=100, proj=utm)
    assert made.shape.bounds == pytest.approx((499_900, 900, 500_100, 1100))
    assert made.shape.area == pytest.approx(math.pi * 1e4, rel=0.02)


def test_a_shrunken_line_is_empty() -> None:
    line = invoke("GeometryConstructors.LineString", coordinates=[[0, 0], [1, 1]])
    assert op("buffer", geometry=line, distance=-10).shape.is_empty
