"""Outlines of items that cross the meridian of 180 degrees, in each way in which catalogues write them."""

from __future__ import annotations

from typing import Any

import pytest
import shapely

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.items.item_conditions import meets_bounds
from eechips_local.archives.items.item_images import outline_of

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


WIDE = {
    "around the Earth": (-180.0, -90.0, 180.0, 90.0),
    "a strip around the Earth": (-180.0, 0.0, 180.0, 10.0),
    "narrow": (10.0, 50.0, 12.0, 51.0),
    "half": (0.0, 0.0, 180.0, 9.0),
    "a global grid to its last column": (-180.0, -90.0, 179.75, 90.0),
    "between the centres of a global grid": (-179.875, -89.875, 179.875, 89.875),
    "between the centres of a coarse global grid": (-175.0, -85.0, 175.0, 85.0),
    "a trimmed global grid": (-179.99, -60.0, 179.99, 85.0),
    "a strip of it": (-179.99, 30.0, 179.99, 40.0),
    "more than half": (-100.0, -90.0, 100.0, 90.0),
    "the Arctic seen from Europe": (-100.0, 60.0, 100.0, 90.0),
    "the Americas and Europe": (-130.0, -60.0, 60.0, 80.0),
    "counted from 0 to 360": (20.0, -40.0, 160.0, 40.0),
}


@pytest.mark.parametrize("name", WIDE)
def test_item_that_does_not_cross_180_degrees_keeps_its_outline(name: str) -> None:
    box = shapely.box(*WIDE[name])
    for orientation in (1.0, -1.0):
        geometry = shapely.geometry.mapping(shapely.geometry.polygon.orient(box, orientation))
        for item in ({"id": "a", "geometry": geometry}, {"id": "a", "geometry": geometry, "bbox": list(box.bounds)}):
            assert outline_of(item).equals(box)


def grid(crs: str, bounds: tuple[float, float, float, float], pixels: int = 100) -> dict[str, Any]:
    west, south, east, north = bounds
    transform = [(east - west) / pixels, 0.0, west, 0.0, (south - north) / pixels, north]
    return {"proj:code": crs, "proj:shape": [pixels, pixels], "proj:transform": transform}


THIN = (-179.5, -2.0, 179.5, 2.0)  # without a grid it would be a scene of one degree
MERCATOR = (-19_981_848.0, -222_684.0, 19_981_848.0, 222_684.0)
GRIDS: dict[str, tuple[dict[str, Any], bool]] = {
    "geographic": (grid("EPSG:4326", THIN), False),
    "geographic, to its last column": (grid("EPSG:4326", (-180.0, -2.0, 180.0, 2.0)), False),
    "geographic, counted from 0": (grid("EPSG:4326", (0.0, -2.0, 360.0, 2.0)), False),
    "geographic of another datum": (grid("EPSG:4269", THIN), False),
    "Mercator": (grid("EPSG:3857", MERCATOR), False),
    "a box alone": ({"proj:epsg": 4326, "proj:bbox": list(THIN)}, False),
    "UTM": (grid("EPSG:32660", (722_000.0, -222_000.0, 834_000.0, 222_000.0)), True),
    "a UTM box alone": ({"proj:epsg": 32660, "proj:bbox": [722_000.0, -222_000.0, 834_000.0, 222_000.0]}, True),
    "geographic across 180": (grid("EPSG:4326", (179.5, -2.0, 180.5, 2.0)), True),
    "none": ({}, True),
}


@pytest.mark.parametrize(
    ("of", "name"), [*(("item", name) for name in GRIDS), *(("asset", n) for n in GRIDS if "proj:shape" in GRIDS[n][0])]
)
def test_grid_decides_whether_an_item_crosses_180_degrees(of: str, name: str) -> None:
    """The projection extension: https://github.com/stac-extensions/projection."""
    declared, is_across = GRIDS[name]
    around = shapely.box(*THIN)
    item = {"id": "a", "geometry": shapely.geometry.mapping(around), "bbox": list(THIN)}
    item |= {"properties": declared} if of == "item" else {"assets": {"b1": declared}}
    sides = shapely.box(-180.0, -2.0, 180.0, 2.0).difference(around)
    assert shapely.symmetric_difference(outline_of(item), sides if is_across else around).area < 1e-9


@pytest.mark.parametrize("missing", [{}, {"geometry": None, "bbox": None}])
def test_item_without_geometry_and_box_lies_where_its_grid_is(missing: dict[str, Any]) -> None:
    box = shapely.box(10.0, 50.0, 12.0, 51.0)
    declared = grid("EPSG:4326", (10.0, 50.0, 12.0, 51.0))
    for item in ({"properties": declared}, {"properties": {}, "assets": {"b1": declared}}):
        assert shapely.symmetric_difference(outline_of({"id": "a", **missing, **item}), box).area < 1e-9
    with pytest.raises(ArchiveRefusedError, match="Item a has no outline that can be understood"):
        outline_of({"id": "a", "properties": {}, **missing})


def test_box_decides_before_the_grid() -> None:
    """Half of the Pacific, which is too wide for a scene (RFC 7946, 5.2)."""
    corners = [(140.0, 0.0), (-100.0, 0.0), (-100.0, 40.0), (140.0, 40.0), (140.0, 0.0)]
    item = {"id": "a", "geometry": polygon([list(corner) for corner in corners]), "bbox": [140.0, 0.0, -100.0, 40.0]}
    for properties in ({}, grid("EPSG:4326", (-180.0, -90.0, 180.0, 90.0))):
        assert outline_of({**item, "properties": properties}).area == 120.0 * 40.0


def test_scene_of_landsat_that_crosses_180_degrees() -> None:
    """An item's corners as https://github.com/gadomski/antimeridian shows them (docs/index.md).

    They cross each other, and the first longitude plus and minus 360 is another number.
    """
    corners = [
        [-179.70358951407547, 52.750507455036264], [179.96672360880183, 52.00163609753924],
        [-177.89334479610974, 50.62805205289558], [-179.9847165338706, 51.002602948712465],
        [-179.70358951407547, 52.750507455036264],
    ]  # fmt: skip
    outline = outline_of({"id": "a", "geometry": polygon(corners)})
    assert outline.bounds == (-180.0, corners[2][1], 180.0, corners[0][1])
    assert 1.0 < outline.area < 3.0
    assert not outline.intersects(shapely.box(-177.0, 50.0, 179.0, 53.0))


def test_grid_of_another_body_is_an_error_of_the_archive() -> None:
    item = {
        "id": "a",
        "geometry": shapely.geometry.mapping(shapely.box(*THIN)),
        "properties": grid("IAU_2015:30100", THIN),
    }
    with pytest.raises(ArchiveRefusedError, match="Item a has no outline that can be understood"):
        outline_of(item)
