"""Grids other than H3, against their libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from eechips.archive.catalogs.partitions.grid_systems import H3, S2, Mgrs, Tiles, Utm
from eechips.archive.catalogs.partitions.layout import (
    GLOBAL_CELL,
    GRIDS,
    CellGrid,
    assign_cells,
    choose_grid,
    grid_json,
    grid_of,
)
from eechips.errors import UsageError
from eechips.geo.s2_cells import cell_ids

PLACES = np.random.default_rng(0).uniform((-180, -90), (180, 90), (2000, 2))
CORNERS = np.array([(0.0, 0.0), (180.0, 0.0), (-180.0, 0.0), (45.0, 35.3), (0.0, 90.0), (0.0, -90.0), (90.0, 45.0)])
TILES = Tiles((("a", "POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))"), ("b", "POLYGON ((0.5 0, 2 0, 2 1, 0.5 1, 0.5 0))")))
LARGE: list[CellGrid] = [H3(2), S2(5), Mgrs(), Utm(), TILES]


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 1, 5, 12, 30])
def test_s2_cells_are_those_of_its_library(level: int) -> None:
    s2sphere = pytest.importorskip("s2sphere")
    for lon, lat in np.concatenate([PLACES[:300], CORNERS]).tolist():
        expected = s2sphere.CellId.from_lat_lng(s2sphere.LatLng.from_degrees(lat, lon)).parent(level)
        (found,) = cell_ids(np.array([lon]), np.array([lat]), level).tolist()
        assert found == expected.id()
        assert S2(level).locate(np.array([lon]), np.array([lat])) == [f"s2-{expected.to_token()}"]


def test_known_s2_cells() -> None:
    """Tokens from s2sphere 0.2.5, for where that is not installed."""
    lon, lat = np.array([-105.25, 8.0, 179.9]), np.array([39.95, 50.0, -45.0])
    assert S2(5).locate(lon, lat) == ["s2-876c", "s2-47bc", "s2-a804"]


@pytest.mark.slow
def test_squares_are_those_of_the_mgrs_library() -> None:
    mgrs = pytest.importorskip("mgrs").MGRS()
    inside = PLACES[(PLACES[:, 1] > -80) & (PLACES[:, 1] < 84)]
    norway = np.random.default_rng(1).uniform((-2, 54), (45, 84), (1500, 2))
    for lon, lat in np.concatenate([inside, norway]).tolist():
        (found,) = Mgrs().locate(np.array([lon]), np.array([lat]))
        assert found == mgrs.toMGRS(lat, lon, MGRSPrecision=0).zfill(5)


def test_known_mgrs_squares_and_zones() -> None:
    lon = np.array([-105.25, 5.0, 8.0, 15.0, 180.0, -180.0, 0.0, 0.0, 20.0])
    lat = np.array([39.95, 60.0, 75.0, 78.0, 1.0, -1.0, 85.0, -81.0, -33.9])
    assert Mgrs().locate(lon, lat)[:2] == ["13SDE", "32VKM"]
    assert Mgrs().locate(lon, lat)[6:8] == ["north", "south"]
    assert Utm().locate(lon, lat) == ["13N", "32N", "31N", "33N", "60N", "1S", "N", "S", "34S"]


@pytest.mark.parametrize("grid", [*LARGE[:4], H3(5), S2(9)], ids=lambda grid: grid.name)
@given(st.floats(-180, 180), st.floats(-89, 89), st.floats(0, 360), st.floats(3, 6))
def test_small_items_meet_few_cells(grid: CellGrid, lon: float, lat: float, azimuth: float, power: float) -> None:
    """A geometry of this diameter fits into such a disc."""
    diameter = 10**power
    angles, steps = azimuth + np.arange(0, 360, 10), np.linspace(0, diameter / 3**0.5, 15)
    lons, lats, _ = Geod(ellps="WGS84").fwd(*np.broadcast_arrays(lon, lat, angles[:, None], steps[None]))
    assert len(set(grid.locate(np.ravel(lons), np.ravel(lats)))) <= grid.max_cells(np.array([diameter]))[0]


@pytest.mark.slow
def test_a_disc_meets_as_many_hexagons_as_it_may() -> None:
    """The places where most meet: middles, vertices, and middles of edges."""
    for cell in sorted(h3.grid_disk(h3.latlng_to_cell(45, 8, 3), 20))[::40]:
        (lat, lon), corners = h3.cell_to_latlng(cell), h3.cell_to_boundary(cell)
        middle = (corners[0][0] + corners[1][0]) / 2, (corners[0][1] + corners[1][1]) / 2
        for y, x in ((lat, lon), corners[0], middle):
            for diameter in (44e3, 66e3, 99e3):
                angles, steps = np.arange(0, 360, 5), np.linspace(0, diameter / 3**0.5, 15)
                lons, lats, _ = Geod(ellps="WGS84").fwd(*np.broadcast_arrays(x, y, angles[:, None], steps[None]))
                found = len(set(H3(3).locate(np.ravel(lons), np.ravel(lats))))
                assert found <= H3(3).max_cells(np.array([diameter]))[0] < 11


@pytest.mark.parametrize("grid", LARGE, ids=lambda grid: grid.name)
def test_every_grid_has_small_and_global_items(grid: CellGrid) -> None:
    shapes = [shapely.box(0.2, 0.2, 0.201, 0.201), shapely.box(-170, -70, 170, 70)]
    boxes = np.array([shape.bounds for shape in shapes])
    wkb = pa.chunked_array([pa.array(shapely.to_wkb(shapes))])
    small, large = assign_cells(grid, boxes, wkb, 10 if grid.name != "tiles" else 1)
    assert large == GLOBAL_CELL
    assert small == grid.locate(np.array([0.2005]), np.array([0.2005]))[0] != GLOBAL_CELL
    assert not grid.exceeds(shapely.Point(0.2, 0.2), 1)
    assert grid_of(json.loads(json.dumps(grid_json(grid)))) == grid
    assert choose_grid(None, None, None, grid) == grid


@pytest.mark.parametrize("grid", LARGE[1:4], ids=lambda grid: grid.name)
def test_scenes_meet_few_cells(grid: CellGrid) -> None:
    scene = shapely.box(7.0, 45.0, 9.4, 46.6)  # 185 by 178 km
    cells = {"s2": 2, "mgrs": 6, "utm": 1}[grid.name]
    assert grid.exceeds(scene, cells - 1) if cells > 1 else True
    assert not grid.exceeds(scene, 3 * cells)


def test_mgrs_tiles_of_a_file_are_used(tmp_path: Path) -> None:
    def feature(west: float, **names: Any) -> dict[str, Any]:
        return {"type": "Feature", "geometry": shapely.geometry.mapping(shapely.box(west, 0, west + 2, 2)), **names}

    path = tmp_path / "tiles.geojson"
    features = [feature(0, id=7), feature(1, properties={"name": "two/2"}), feature(9, properties={"id": "x"})]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    grid = Tiles.read(path)
    lon, lat = np.array([0.5, 1.5, 2.5, 5.0, 10.0]), np.ones(5)
    assert grid.locate(lon, lat) == ["7", "7", "two_2", GLOBAL_CELL, "x"]
    assert grid.exceeds(shapely.box(0, 0, 10, 1), 2)
    assert not grid.exceeds(shapely.box(0, 0, 10, 1), 3)
    for wrong, told in (
        ({"features": []}, "has 0 tiles"),
        ({"features": [feature(0), feature(1)]}, "needs a unique name"),
        ({"features": [feature(0, id=1), feature(1, id=1)]}, "needs a unique name"),
        (
            {"features": [{"id": 1, "geometry": {"type": "Point", "coordinates": [0, 0]}}]},
            "a tile is a Point, not a polygon",
        ),
        ([], "not a GeoJSON file of polygons"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(UsageError, match=told):
            Tiles.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        Tiles.read(tmp_path / "nosuch.geojson")


def test_grid_options_must_agree() -> None:
    assert choose_grid(None, None, None, None) == H3(2)
    assert choose_grid("s2", None, None, None) == S2(5)
    assert choose_grid("s2", 7, None, H3(3)) == S2(7)
    assert choose_grid(None, 4, None, S2(5)) == S2(4)
    for arguments, told in (
        (("mgrs", 3, None, None), "resolution is only for h3 and s2"),
        (("tiles", None, None, None), "tiles is the GeoJSON file of grid='tiles'"),
        (("h3", None, "x.geojson", None), "tiles is the GeoJSON file of grid='tiles'"),
        (("s2", 31, None, None), "0 to 30"),
    ):
        with pytest.raises(UsageError, match=told):
            choose_grid(*arguments)
    with pytest.raises(UsageError, match=f"there are {', '.join(GRIDS)}"):
        grid_of({"name": "squares"})
