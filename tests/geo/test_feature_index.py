"""Distances to features of other tables, against geodesics between thousands of points, all over the Earth."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from eechips.geo.feature_index import FeatureIndex
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.geo.polygons import wrap_at_antimeridian

GEOD = Geod(ellps="WGS84")


def chip(longitude: float, latitude: float, *, east: float = 0.0, north: float = 0.0, size: int = 500) -> object:
    """The footprint of a chip of metres, whose corner is so many metres beside a place."""
    crs = f"+proj=laea +lon_0={longitude!r} +lat_0={latitude!r} +datum=WGS84 +units=m"
    return footprints([Grid(crs, (1.0, 0.0, east, 0.0, -1.0, north), size, size)])[0]


def box(longitude: float, latitude: float, width: float, height: float) -> shapely.Polygon:
    """A polygon with edges that are straight in longitude and latitude; it may cross the antimeridian."""
    return wrap_at_antimeridian(shapely.box(longitude, latitude, longitude + width, latitude + height))


def nearest(one: object, other: object) -> float:
    """The least of all geodesics between points of both boundaries, at most some metres too long."""
    first, second = (shapely.get_coordinates(shapely.segmentize(each, 0.0004)) for each in (one, other))
    a, b = np.meshgrid(np.arange(len(first)), np.arange(len(second)), indexing="ij")
    return float(GEOD.inv(*first[a.ravel()].T, *second[b.ravel()].T)[2].min())


LONGITUDES = st.sampled_from([-180.0, -179.999, -105.2, 0.0, 13.4, 179.998])
LATITUDES = st.sampled_from([-78.0, -33.0, 0.0, 39.7, 66.5, 84.0])


@given(LONGITUDES, LATITUDES, st.integers(-3000, 3000), st.integers(-3000, 3000))
def test_distances_are_those_of_geodesics_between_points_of_both(
    longitude: float, latitude: float, east: int, north: int
) -> None:
    other = chip(longitude, latitude, east=-300.0, north=200.0)
    own = chip(longitude, latitude, east=east, north=north)
    [found] = FeatureIndex([other]).distances([own], 10_000.0)
    apart_east = max(east - 200, -300 - (east + 500), 0)
    apart_north = max(north - 500 - 200, -300 - north, 0)
    expected = float(np.hypot(apart_east, apart_north))  # in an equal-area plane around them
    assert found == pytest.approx(expected, abs=0.1, rel=2e-5)
    if 0 < found < 500:
        assert found <= nearest(own, other) + 0.1


@pytest.mark.parametrize("latitude", [-60.0, 5.0, 70.0])
def test_edges_of_polygons_are_straight_in_longitude_and_latitude(latitude: float) -> None:
    wide = box(10.0, latitude, 8.0, 1.0)  # whose edges along parallels are far from geodesics
    below = shapely.Point(14.0, latitude - 0.01)
    expected = GEOD.inv(14.0, latitude, 14.0, latitude - 0.01)[2]
    if latitude > 0:
        expected = nearest(below, shapely.LineString([(13.9, latitude), (14.1, latitude)]))
    [found] = FeatureIndex([wide]).distances([below], 5_000.0)
    assert found == pytest.approx(expected, abs=0.2)


def test_a_footprint_inside_a_polygon_overlaps_it_and_one_in_a_hole_does_not() -> None:
    shell = shapely.Polygon(box(10.0, 45.0, 3.0, 3.0).exterior, [box(11.0, 46.0, 1.0, 1.0).exterior])
    inside, hole, edge = chip(10.5, 45.5), chip(11.5, 46.5), chip(10.0, 46.5)
    found = FeatureIndex([shell]).distances([inside, hole, edge], 0.0)
    assert found.tolist() == [0.0, np.inf, 0.0]
    assert FeatureIndex([shell]).distances([hole], 100_000.0)[0] == pytest.approx(37_900, rel=0.02)


def test_a_common_edge_is_no_overlap() -> None:
    grid = Grid("EPSG:32631", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0), 64, 64)
    right = Grid("EPSG:32631", (10.0, 0.0, 500_640.0, 0.0, -10.0, 5_000_000.0), 64, 64)
    across = Grid("EPSG:32631", (10.0, 0.0, 500_630.0, 0.0, -10.0, 5_000_000.0), 64, 64)
    own, beside, over = footprints([grid, right, across])
    assert FeatureIndex([beside]).distances([own], 0.0).tolist() == [np.inf]
    assert FeatureIndex([over]).distances([own], 0.0).tolist() == [0.0]
    assert FeatureIndex([own]).distances([own], 0.0).tolist() == [0.0]
    assert FeatureIndex([beside]).distances([own], 0.5)[0] < 0.01


def test_the_antimeridian_is_no_border() -> None:
    features = FeatureIndex([box(179.9, -17.0, 0.2, 1.0), shapely.Point(181.0, 10.0)])
    assert features.distances([chip(-179.95, -16.5)], 0.0).tolist() == [0.0]
    expected = GEOD.inv(-179.9, -16.5, -179.89, -16.5)[2]
    assert features.distances([shapely.Point(-179.89, -16.5)], 2_000.0)[0] == pytest.approx(expected, abs=0.1)
    assert features.distances([shapely.Point(-179.0, 10.001)], 200.0)[0] == pytest.approx(110.6, abs=0.1)
    near = FeatureIndex([shapely.Point(179.9995, 0.0)]).distances([shapely.Point(-179.9995, 0.0)], 200.0)
    assert near[0] == pytest.approx(GEOD.inv(179.9995, 0, -179.9995, 0)[2], abs=1e-3)


def test_places_around_a_pole_are_near_each_other() -> None:
    [found] = FeatureIndex([shapely.Point(100.0, 89.999)]).distances([shapely.Point(-80.0, 89.999)], 1_000.0)
    assert found == pytest.approx(GEOD.inv(100.0, 89.999, -80.0, 89.999)[2], abs=0.01)
    cap = FeatureIndex([shapely.box(-180.0, 89.0, 180.0, 90.0)])
    assert cap.distances([shapely.Point(33.0, 89.5)], 0.0).tolist() == [0.0]
    expected = GEOD.inv(33.0, 89.0, 33.0, 88.99)[2]
    assert cap.distances([shapely.Point(33.0, 88.99)], 2_000.0)[0] == pytest.approx(expected, abs=0.1)


@given(st.integers(0, 1000))
def test_points_have_the_least_geodesic_of_all(seed: int) -> None:
    draw = np.random.default_rng(seed)
    middle = draw.uniform([-180, -89], [180, 89])
    some, others = (middle + draw.normal(0, 2.0, (30, 2)) for _ in range(2))
    some[:, 1], others[:, 1] = some[:, 1].clip(-90, 90), others[:, 1].clip(-90, 90)
    some[:, 0] = (some[:, 0] + 180) % 360 - 180
    found = FeatureIndex(shapely.points(others)).distances(shapely.points(some), 150_000.0)
    a, b = np.meshgrid(np.arange(30), np.arange(30), indexing="ij")
    lines = GEOD.inv(*some[a.ravel()].T, *others[b.ravel()].T)[2].reshape(30, 30).min(axis=1)
    expected = np.where(lines < 150_000.0, lines, np.inf)
    assert found == pytest.approx(expected, abs=1e-6, rel=1e-9)


def test_lines_of_many_vertices_and_missing_geometries_are_fine() -> None:
    angles = np.linspace(0, 2 * np.pi, 1001)
    circle = shapely.LineString(np.column_stack([20 + np.cos(angles), 40 + np.sin(angles)]))
    features = FeatureIndex([None, shapely.Point(), circle])
    found = features.distances([shapely.Point(20.0, 40.0), None, shapely.Point(21.001, 40.0)], 1_000.0)
    assert found[:2].tolist() == [np.inf, np.inf]
    assert found[2] == pytest.approx(GEOD.inv(21.0, 40.0, 21.001, 40.0)[2], abs=0.2)
    assert FeatureIndex([]).distances([shapely.Point(0, 0)], 1_000.0).tolist() == [np.inf]
