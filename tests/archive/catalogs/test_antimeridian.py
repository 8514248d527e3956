"""Footprints that cross the antimeridian, against pyproj's geodesics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pystac
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from eechips.archive.catalogs.extents import Extent
from eechips.archive.catalogs.ingestion.item_validation import validate_items
from tests.support.catalog_items import item

GEOD = Geod(ellps="WGS84")
ANGLES = np.arange(0, 360, 7.5)


def judged_one(geometry: dict[str, Any], bbox: Any = None) -> tuple[dict[str, Any], set[str]]:
    verdict = validate_items([{**item("a", (0, 0, 1, 1)), "geometry": geometry, "bbox": bbox}])
    assert verdict.refused == []
    pystac.Item.from_dict(json.loads(json.dumps(verdict.items[0]))).validate()
    shape = shapely.geometry.shape(verdict.items[0]["geometry"])
    west, south, east, north = shape.bounds
    assert shape.is_valid
    assert west >= -180 and south >= -90 and east <= 180 and north <= 90  # noqa: PT018
    assert validate_items(verdict.items, strict=True).refused == []  # what is mended needs no mending
    return verdict.items[0], set(verdict.mended)


def circle(lon: float, lat: float, radius: float) -> np.ndarray[Any, Any]:
    """Longitudes and latitudes around a place, (n, 2)."""
    around = np.broadcast_arrays(lon, lat, ANGLES, radius)
    lons, lats, _ = GEOD.fwd(*around)
    return np.column_stack([lons, lats])


@pytest.mark.slow
@given(
    st.one_of(st.floats(-180, 180), st.floats(177, 180), st.floats(-180, -177)),
    st.one_of(st.floats(-85, 85), st.floats(84, 90), st.floats(-90, -84)),
    st.floats(3.5, 5.5),
)
@settings(max_examples=150, deadline=None)
def test_discs_hold_what_lies_in_them_wherever_they_are(lon: float, lat: float, power: float) -> None:
    """As GeoJSON, their steps jump from 180 to -180, or go around a pole."""
    radius = 10**power
    ring = circle(lon, lat, radius)
    near_pole = abs(GEOD.inv(lon, lat, 0.0, np.copysign(90.0, lat))[2] - radius) < radius / 10
    if near_pole:  # the steps that pass it are as long as they can be
        return
    found, _ = judged_one({"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]})
    shape = shapely.geometry.shape(found["geometry"])
    inside, outside = circle(lon, lat, radius * 0.8), circle(lon, lat, radius * 1.25)
    assert shapely.intersects_xy(shape, *inside.T).all()
    assert not shapely.intersects_xy(shape, *outside.T).any()
    extent = Extent(*found["bbox"])
    assert all(extent.meets(Extent(x, y, x, y)) for x, y in inside.tolist())
    assert GEOD.geometry_area_perimeter(shapely.orient_polygons(shape))[0] < 3.5 * radius**2


def polygon(*points: tuple[float, float]) -> list[Any]:
    return [[list(point) for point in (*points, points[0])]]


@pytest.mark.parametrize(
    ("geometry", "kind", "bbox"),
    [
        ({"type": "LineString", "coordinates": [[179, 0], [-179, 1]]}, "MultiLineString", [179, 0, -179, 1]),
        ({"type": "LineString", "coordinates": [[179, 0], [181, 1]]}, "MultiLineString", [179, 0, -179, 1]),
        ({"type": "LineString", "coordinates": [[350, 0], [355, 1]]}, "LineString", [-10, 0, -5, 1]),
        ({"type": "Point", "coordinates": [190, 5]}, "Point", [-170, 5, -170, 5]),
        ({"type": "MultiPoint", "coordinates": [[179, 0], [181, 1]]}, "MultiPoint", [179, 0, -179, 1]),
        ({"type": "MultiPolygon", "coordinates": [polygon((179, 0), (-179, 0), (-179, 1), (179, 1)),
                                                  polygon((170, 0), (171, 0), (171, 1))]},
         "MultiPolygon", [170, 0, -179, 1]),
        ({"type": "GeometryCollection", "geometries": [
            {"type": "Polygon", "coordinates": polygon((170, 0), (171, 0), (171, 1))},
            {"type": "Polygon", "coordinates": polygon((178, 0), (181, 0), (181, 1), (178, 1))}]},
         "MultiPolygon", [170, 0, -179, 1]),
        ({"type": "Polygon", "coordinates": polygon((350, 0), (355, 0), (355, 1))}, "Polygon", [-10, 0, -5, 1]),
        ({"type": "Polygon", "coordinates": polygon((-135, 85), (-45, 85), (45, 85), (135, 85))}, "Polygon",
         [-180, 85, 180, 90]),
        ({"type": "Polygon", "coordinates": polygon((-135, -85), (135, -80), (45, -85), (-45, -85))}, "Polygon",
         [-180, -90, 180, -80]),
    ],
)  # fmt: skip
def test_geometries_of_every_type_are_cut(geometry: dict[str, Any], kind: str, bbox: list[float]) -> None:
    found, mended = judged_one(geometry)
    assert found["geometry"]["type"] == kind
    assert found["bbox"] == bbox
    assert mended == {"antimeridian", "bbox"}


def test_holes_are_kept() -> None:
    shell, hole = (
        polygon((170, -10), (-170, -10), (-170, 10), (170, 10)),
        polygon((-175, -1), (-174, -1), (-174, 1), (-175, 1)),
    )
    found, _ = judged_one({"type": "Polygon", "coordinates": [*shell, *hole]})
    shape = shapely.geometry.shape(found["geometry"])
    assert shape.area == pytest.approx(400 - 2)
    assert not shape.intersects(shapely.Point(-174.5, 0))


@pytest.mark.parametrize(
    "points",
    [
        [(-180, -90), (180, -90), (180, 90), (-180, 90)],
        [(-180, 60), (180, 60), (180, 90), (-180, 90)],
        [(-170, 60), (80, 60), (80, 80), (-170, 80)],
        [(-170, 0), (0, 0), (170, 0), (170, 10), (-170, 10)],
    ],
    ids=["world", "cap", "sector", "belt"],
)
def test_global_maps_are_unchanged(points: list[tuple[float, float]]) -> None:
    shape = shapely.Polygon(points)
    found, mended = judged_one({"type": "Polygon", "coordinates": polygon(*points)}, list(shape.bounds))
    assert mended == set()
    assert shapely.geometry.shape(found["geometry"]).equals(shape)


def test_rounding_does_not_invert_footprints() -> None:
    for points in ([(179, 0), (180.0000001, 0), (180, 1)], [(-179, 0), (-180.0000001, 0), (-180, 90.0000001)]):
        found, mended = judged_one({"type": "Polygon", "coordinates": polygon(*points)})
        assert mended == {"geometry", "bbox"}
        assert found["geometry"]["type"] == "Polygon"
        assert found["bbox"][2] - found["bbox"][0] == 1
