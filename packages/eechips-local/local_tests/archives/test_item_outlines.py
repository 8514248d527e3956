"""Outlines of items that cross the meridian of 180 degrees, in each way in which catalogues write them."""

from __future__ import annotations

from typing import Any

import pytest
import shapely

from eechips_local.archives.archive_images import outline_of
from eechips_local.archives.item_conditions import meets_bounds

SOUTH, NORTH = -17.6, -17.4


def ring(west: float, east: float, *z: float) -> list[list[float]]:
    corners = [(west, SOUTH), (east, SOUTH), (east, NORTH), (west, NORTH), (west, SOUTH)]
    return [[*corner, *z] for corner in corners]


def polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


# Cut as RFC 7946 wants it; uncut as items of Landsat and CMR; of GDAL's -wrapdateline; with heights.
WAYS: dict[str, tuple[dict[str, Any] | None, list[float]]] = {
    "cut": (
        {"type": "MultiPolygon", "coordinates": [[ring(179.5, 180.0)], [ring(-180.0, -179.5)]]},
        [179.5, SOUTH, -179.5, NORTH],
    ),
    "uncut": (polygon(ring(179.5, -179.5)), [179.5, SOUTH, -179.5, NORTH]),
    "uncut, with a box around the Earth": (polygon(ring(179.5, -179.5)), [-179.5, SOUTH, 179.5, NORTH]),
    "uncut, from the other side": (polygon(ring(-179.5, 179.5)), [-180.0, SOUTH, 180.0, NORTH]),
    "beyond 180": (polygon(ring(179.5, 180.5)), [179.5, SOUTH, 180.5, NORTH]),
    "beyond -180": (polygon(ring(-180.5, -179.5)), [-180.5, SOUTH, -179.5, NORTH]),
    "heights": (polygon(ring(179.5, -179.5, 12.0)), [179.5, SOUTH, 0.0, -179.5, NORTH, 12.0]),
    "a box alone": (None, [179.5, SOUTH, -179.5, NORTH]),
}


@pytest.mark.parametrize("way", WAYS)
def test_item_that_crosses_180_degrees_lies_on_both_sides(way: str) -> None:
    geometry, box = WAYS[way]
    item = {"id": "a", "geometry": geometry, "bbox": box}
    outline = outline_of(item)
    expected = shapely.union(shapely.box(179.5, SOUTH, 180.0, NORTH), shapely.box(-180.0, SOUTH, -179.5, NORTH))
    assert shapely.symmetric_difference(outline, expected).area < 1e-9
    assert meets_bounds(item, (-179.9, SOUTH, -179.8, NORTH))
    assert meets_bounds(item, (179.8, SOUTH, 179.9, NORTH))


@pytest.mark.parametrize(
    "box", [(-180.0, -90.0, 180.0, 90.0), (-180.0, 0.0, 180.0, 10.0), (10.0, 50.0, 12.0, 51.0), (0.0, 0.0, 180.0, 9.0)]
)
def test_item_that_does_not_cross_180_degrees_keeps_its_outline(box: tuple[float, float, float, float]) -> None:
    assert outline_of({"id": "a", "geometry": shapely.geometry.mapping(shapely.box(*box))}).equals(shapely.box(*box))
