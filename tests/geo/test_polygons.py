"""Areas on the sphere against pyproj's geodesics."""

from __future__ import annotations

import math

import pytest
import shapely
import shapely.geometry.polygon
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from eechips.geo.polygons import EARTH_RADIUS, mean_width, spherical_area, wrap_at_antimeridian

GEOD = Geod(a=EARTH_RADIUS, b=EARTH_RADIUS)


def oracle(polygon: shapely.Polygon) -> float:
    """Geodesic area of the polygon with so many vertices that its edges are straight in longitude and latitude."""
    fine = shapely.segmentize(shapely.geometry.polygon.orient(polygon), 0.01)
    return abs(GEOD.geometry_area_perimeter(fine)[0])


@pytest.mark.parametrize(
    "polygon",
    [
        shapely.box(-105, 37, -102, 41),
        shapely.box(-1, -1, 1, 1),
        shapely.Polygon([(10, 60), (14, 61), (12, 66)]),
        shapely.Polygon([(10, 60), (14, 61), (12, 66)], [[(11.9, 62), (12.1, 62), (12, 63)]]),
        shapely.Polygon([(0, 80), (90, 85), (90, 89), (-20, 84)]),
        shapely.box(-105, 37, -102, 41).reverse(),
    ],
)
def test_area_equals_the_geodesic_area(polygon: shapely.Polygon) -> None:
    assert spherical_area(polygon) == pytest.approx(oracle(polygon), rel=1e-6)


@given(st.floats(-179, 178), st.floats(-89, 88), st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_area_of_boxes_is_exact_however_small(west: float, south: float, width: float, height: float) -> None:
    box = shapely.box(west, south, west + width, south + height)
    west, south, east, north = map(math.radians, box.bounds)
    # sin(n) - sin(s) without cancellation
    expected = EARTH_RADIUS**2 * (east - west) * 2 * math.cos((north + south) / 2) * math.sin((north - south) / 2)
    assert spherical_area(box) == pytest.approx(expected, rel=1e-6)


def test_area_of_the_whole_sphere() -> None:
    assert spherical_area(shapely.box(-180, -90, 180, 90)) == pytest.approx(4 * math.pi * EARTH_RADIUS**2)


def test_lines_and_points_have_no_area() -> None:
    mixed = shapely.GeometryCollection([shapely.LineString([(0, 0), (1, 1)]), shapely.box(0, 0, 1, 1)])
    assert spherical_area(mixed) == spherical_area(shapely.box(0, 0, 1, 1))
    assert mean_width(shapely.LineString([(0, 0), (1, 1)])) == 0


def test_mean_width_of_a_sliver() -> None:
    metres = math.radians(1) * EARTH_RADIUS
    sliver = shapely.box(0, 0, 1, 0.5 / metres)  # 1 degree by half a metre
    assert mean_width(sliver) == pytest.approx(0.5, rel=1e-4)


def test_longitudes_are_wrapped_without_losing_area() -> None:
    across = shapely.box(170, -20, 195, -10)
    wrapped = wrap_at_antimeridian(across)
    assert wrapped.bounds[0] >= -180
    assert wrapped.bounds[2] <= 180
    assert spherical_area(wrapped) == pytest.approx(spherical_area(across))
    assert wrapped.contains(shapely.Point(-170, -15))
    assert not wrapped.intersects(shapely.Point(0, -15))
    assert wrap_at_antimeridian(shapely.box(-200, 0, -190, 1)).bounds == (160, 0, 170, 1)
