"""Outlines of grids, against pyproj and shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from eechips_local.assets.footprint import outline
from eechips_local.pixels.grids.pixel_grid import PixelGrid, parse_crs

TILE = 1111950.519666
_GOES = CRS("+proj=geos +h=35786023 +lon_0=-75 +sweep=x +ellps=GRS80").to_wkt()


def grid(crs: str, west: float, north: float, pixel: float, width: int, height: int) -> PixelGrid:
    return PixelGrid(crs, Affine(pixel, 0, west, 0, -pixel, north), width, height)


def inner_points(area: PixelGrid, count: int = 40) -> np.ndarray:
    """Longitudes and latitudes of points inside a grid, half a pixel off its edges; outside the map left out."""
    columns, rows = np.meshgrid(np.linspace(0.5, area.width - 0.5, count), np.linspace(0.5, area.height - 0.5, count))
    t = area.transform
    x, y = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
    to_earth = Transformer.from_crs(parse_crs(area.crs), "EPSG:4326", always_xy=True)
    points = np.column_stack([part.ravel() for part in to_earth.transform(x, y)])
    points = points[np.isfinite(points).all(axis=1)]
    points[:, 0] = (points[:, 0] + 180) % 360 - 180
    return points


GRIDS = {
    "utm": grid("EPSG:26914", 485900, 5209247, 5, 934, 724),
    "geographic": grid("EPSG:4326", -113.2, 37.5, 0.001, 465, 457),
    "albers": grid("EPSG:5070", -2356095, 3172605, 3000, 1500, 960),
    "modis h08v05": grid("SR-ORG:6974", -10 * TILE, 4 * TILE, TILE / 1200, 1200, 1200),
    "modis at the edge of the map": grid("SR-ORG:6974", -18 * TILE, 2 * TILE, TILE / 1200, 1200, 1200),
    "modis outside the map": grid("SR-ORG:6974", -17 * TILE, 6 * TILE, TILE / 1200, 1200, 1200),
    "utm across 180 degrees": grid("EPSG:32601", 100000, 7300000, 1000, 400, 300),
    "web mercator": grid("EPSG:3857", -20037508.342789244, 20037508.342789244, 78271.51696402048, 512, 512),
    "north pole": grid("EPSG:3413", -2000000, 2000000, 10000, 400, 400),
    "south pole": grid("EPSG:3031", -3000000, 3000000, 10000, 600, 600),
    "beside the pole": grid("EPSG:3413", 200000, 900000, 1000, 600, 700),
    "0 to 360 degrees": grid("EPSG:4326", 0, 90, 0.25, 1440, 720),
    "around 180 degrees": grid("EPSG:4326", 175, 10, 0.1, 100, 100),
    "the world": grid("EPSG:4326", -180, 90, 0.5, 720, 360),
    "disc of a satellite": grid(_GOES, -5430000, 5430000, 181000, 60, 60),
    "part of a disc": grid(_GOES, 1500000, 5000000, 20000, 220, 150),
    "nad83": grid("EPSG:4269", -107.2, 39, 0.0001, 1007, 633),
}


@pytest.mark.parametrize("name", GRIDS)
def test_outlines_hold_their_pixels(name: str) -> None:
    area = GRIDS[name]
    shape = outline(area)
    assert shape.is_valid
    assert not shape.is_empty
    west, south, east, north = shape.bounds
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    pixel = area.nominal_scale / 111_319
    points = inner_points(area)
    held = shapely.dwithin(shape, shapely.points(points), pixel)
    assert held.all(), points[~held][:5]


@pytest.mark.parametrize(
    ("name", "parts", "bounds"),
    [
        ("0 to 360 degrees", 1, (-180, -90, 180, 90)),
        ("the world", 1, (-180, -90, 180, 90)),
        ("around 180 degrees", 2, (-180, 0, 180, 10)),
        ("utm across 180 degrees", 2, None),
        ("north pole", 1, None),
        ("south pole", 1, None),
        ("geographic", 1, (-113.2, 37.043, -112.735, 37.5)),
    ],
)
def test_outlines_have_the_expected_parts_and_bounds(name: str, parts: int, bounds: tuple[float, ...] | None) -> None:
    shape = outline(GRIDS[name])
    assert shapely.get_num_geometries(shape) == parts
    if bounds is not None:
        np.testing.assert_allclose(shape.bounds, bounds)


def test_outlines_reach_the_poles_inside_the_grid() -> None:
    assert outline(GRIDS["north pole"]).bounds[3] == 90
    assert outline(GRIDS["south pole"]).bounds[1] == -90
    assert outline(GRIDS["beside the pole"]).bounds[3] < 90


def test_straight_sides_have_few_points() -> None:
    assert len(shapely.get_coordinates(outline(GRIDS["geographic"]))) == 5
    assert len(shapely.get_coordinates(outline(GRIDS["utm"]))) <= 9


@given(
    zone=st.integers(1, 60),
    south=st.booleans(),
    west=st.floats(150_000, 700_000),
    north=st.floats(400_000, 9_000_000),
    pixel=st.sampled_from([0.6, 10, 30, 250]),
    width=st.integers(1, 800),
    height=st.integers(1, 800),
)
def test_outlines_of_any_utm_grid_hold_their_pixels(
    zone: int, south: bool, west: float, north: float, pixel: float, width: int, height: int
) -> None:
    area = grid(f"EPSG:{32700 + zone if south else 32600 + zone}", west, north, pixel, width, height)
    shape = outline(area)
    assert shape.is_valid
    assert shapely.dwithin(shape, shapely.points(inner_points(area, 9)), pixel / 111_319).all()
