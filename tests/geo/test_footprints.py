"""Footprints of grids, against the location of every pixel by pyproj."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import UsageError
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid


def lonlat(grid: Grid, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Places of a grid in degrees of WGS84, by pyproj alone."""
    a, b, c, d, e, f = grid.transform
    turned = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    found = np.column_stack(turned.transform(a * columns + b * rows + c, d * columns + e * rows + f))
    found[:, 0] = (found[:, 0] + 180.0) % 360.0 - 180.0
    return found


def holds(outline: shapely.Geometry, points: np.ndarray) -> np.ndarray:
    return shapely.intersects_xy(outline, points[:, 0], points[:, 1])


def check(grid: Grid) -> shapely.Geometry:
    """Pixels inside by a quarter of a pixel are inside of the outline, those outside by as much are not."""
    (outline,) = footprints([grid])
    assert outline.is_valid
    west, south, east, north = outline.bounds
    assert west >= -180.0
    assert east <= 180.0
    assert south >= -90.0
    assert north <= 90.0
    random = np.random.default_rng(1)
    columns, rows = random.uniform(0, 1, (2, 400))
    columns[:100], rows[100:200] = np.round(columns[:100]), np.round(rows[100:200])  # on the edges, too
    inside = (0.25 + columns * (grid.width - 0.5), 0.25 + rows * (grid.height - 0.5))
    assert holds(outline, lonlat(grid, *inside)).all()
    sides = np.array([(-0.25, None), (grid.width + 0.25, None), (None, -0.25), (None, grid.height + 0.25)])
    for column, row in sides:
        beside = columns * grid.width if column is None else np.full(400, column)
        below = rows * grid.height if row is None else np.full(400, row)
        assert not holds(outline, lonlat(grid, beside.astype(float), below.astype(float))).any()
    return outline


@given(
    zone=st.integers(1, 60),
    is_north=st.booleans(),
    x=st.floats(170_000, 830_000),
    y=st.floats(10_000, 9_300_000),
    size=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    scale=st.sampled_from([0.6, 10.0, 30.0, 250.0]),
)
def test_footprints_of_utm_chips_hold_all_pixels(
    zone: int, is_north: bool, x: float, y: float, size: tuple[int, int], scale: float
) -> None:
    crs = f"EPSG:{32600 + zone if is_north else 32700 + zone}"
    check(Grid(crs, (scale, 0.0, x, 0.0, -scale, y if is_north else 10_000_000.0 - y), *size))


@given(
    crs=st.sampled_from(["EPSG:3413", "EPSG:3031"]),
    middle=st.tuples(st.floats(-300_000, 300_000), st.floats(-300_000, 300_000)),
    turn=st.floats(0.0, 6.3),
)
def test_footprints_near_the_poles_hold_all_pixels(crs: str, middle: tuple[float, float], turn: float) -> None:
    cosine, sine = 1000 * np.cos(turn), 1000 * np.sin(turn)
    x, y = middle
    grid = Grid(crs, (cosine, sine, x - 100 * (cosine + sine), sine, -cosine, y - 100 * (sine - cosine)), 200, 200)
    (outline,) = footprints([grid])
    assert outline.is_valid
    pole = 90.0 if crs == "EPSG:3413" else -90.0
    column, row = grid.pixel(*pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(0.0, pole))
    has_pole = 0 < column < 200 and 0 < row < 200
    assert (outline.bounds[3] == 90.0 or outline.bounds[1] == -90.0) == has_pole
    inner = np.random.default_rng(0).uniform(8, 192, (2, 300))
    assert holds(outline, lonlat(grid, *inner)).all()


@pytest.mark.parametrize(
    "grid",
    [
        Grid("EPSG:32601", (10.0, 0.0, 358_000.0, 0.0, -10.0, 7_300_000.0), 1024, 1024),
        Grid("EPSG:32760", (10.0, 0.0, 812_500.0, 0.0, -10.0, 8_000_000.0), 1024, 1024),
        Grid("EPSG:4326", (0.1, 0.0, 179.05, 0.0, -0.1, 10.0), 20, 20),
        Grid("EPSG:4326", (0.1, 0.0, 539.05, 0.0, -0.1, 10.0), 20, 20),
        Grid("EPSG:3832", (1000.0, 0.0, 3_200_000.0, 0.0, -1000.0, 100_000.0), 256, 256),
    ],
)
def test_footprints_are_cut_at_the_antimeridian(grid: Grid) -> None:
    outline = check(grid)
    assert outline.geom_type == "MultiPolygon"
    west, east = sorted(outline.geoms, key=lambda part: part.bounds[0])
    assert west.bounds[0] == -180.0
    assert east.bounds[2] == 180.0


@pytest.mark.parametrize(
    "grid",
    [
        Grid(
            "EPSG:26912", (31.530298224786595, 0.0, 301903.344386758, 0.0, -31.52465870178793, 4154086.47), 1073, 1359
        ),
        Grid("EPSG:5070", (30.0, 0.0, -200_000.0, 0.0, -30.0, 1_900_000.0), 8000, 8000),
        Grid("EPSG:4326", (1.0, 0.0, -180.0, 0.0, -1.0, 90.0), 360, 180),
        Grid("EPSG:32613", (0.0, 10.0, 476_000.0, 10.0, 0.0, 4_400_000.0), 300, 200),  # its axes are exchanged
        Grid("EPSG:32613", (8.0, 6.0, 476_000.0, 6.0, -8.0, 4_400_000.0), 300, 200),  # turned
    ],
)
def test_footprints_of_other_grids_hold_all_pixels(grid: Grid) -> None:
    if grid.width == 360:
        assert footprints([grid])[0].equals(shapely.box(-180, -90, 180, 90))
    else:
        check(grid)


def test_earth_engines_code_of_the_modis_projection_is_read() -> None:
    edge = 1_111_950.519667 / 1200
    grid = Grid("SR-ORG:6974", (edge, 0.0, -10_007_554.677, 0.0, -edge, 4_447_802.079), 1200, 1200)  # h09v05
    west, south, east, north = footprints([grid])[0].bounds
    assert (west, south, east, north) == pytest.approx((-117.4867, 30.0, -92.3760, 40.0), abs=1e-3)


def test_small_chips_have_four_corners() -> None:
    (outline,) = footprints([Grid("EPSG:32613", (1.0, 0.0, 476_000.0, 0.0, -1.0, 4_400_000.0), 256, 256)])
    assert shapely.get_num_coordinates(outline) == 5
    assert shapely.is_ccw(outline.exterior)


def test_units_without_a_grid_or_place_have_no_outline() -> None:
    nowhere = Grid("EPSG:3413", (1e9, 0.0, 0.0, 0.0, 1e9, 0.0), 1000, 1000)
    somewhere = Grid("EPSG:4326", (1.0, 0.0, 0.0, 0.0, -1.0, 1.0), 1, 1)
    metres = Grid("EPSG:4326", (10.0, 0.0, 300000.0, 0.0, -10.0, 5000000.0), 110, 120)
    first, second, third, fourth = footprints([None, nowhere, somewhere, metres])
    assert first is None
    assert second is None or second.is_valid
    assert third.equals(shapely.box(0, 0, 1, 1))
    assert fourth is None
    assert len(footprints([])) == 0


def test_an_unknown_crs_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown coordinate reference system"):
        footprints([Grid("EPSG:999999", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), 1, 1)])
