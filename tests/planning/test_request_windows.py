"""Windows of a raster: every pixel once, on blocks, within the limits of a request."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

from eechips.client.chip_parts import PIXEL_LIMITS
from eechips.geo.grid import Grid, wrap_longitude
from eechips.geo.polygons import join_at_antimeridian
from eechips.planning.areas.regions import parse_box
from eechips.planning.grid_alignment import aligned_grid, cover_region
from eechips.planning.request_windows import (
    BLOCK,
    SLOTS,
    USUAL_BYTES,
    Tiling,
    bounding_box,
    divide_grid,
    edges_for,
    project_region,
)

DTYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")
UTM = Grid("EPSG:32613", (10.0, 0.0, 399_960.3, 0.0, -10.0, 4_400_040.7), 1, 1)


def covered(tiling: Tiling, grid: Grid) -> np.ndarray:
    counts = np.zeros(grid.shape, np.int8)
    for window in tiling:
        counts[window.slices] += 1
    return counts


@given(
    column=st.integers(-5000, 5000),
    row=st.integers(-5000, 5000),
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    edge=st.one_of(st.none(), st.integers(16, 2000)),
    bands=st.integers(1, 200),
    dtype=st.sampled_from(DTYPES),
)
def test_every_pixel_is_in_one_window_that_lies_on_blocks(
    column: int, row: int, width: int, height: int, edge: int | None, bands: int, dtype: str
) -> None:
    grid = UTM.window(column, row, width, height)
    tiling = divide_grid(grid, UTM, bands, dtype, edge)
    windows = list(tiling)
    assert len(windows) == len(tiling)
    assert windows == sorted(windows, key=lambda window: (window.row, window.column))
    assert (covered(tiling, grid) == 1).all()
    longest = max(tiling.largest)
    assert edge is None or longest <= edge
    for limits in PIXEL_LIMITS.values():  # the mask travels as one more band of the type
        assert edge is not None or all(w.estimate_bytes(bands + 1, dtype) <= limits.bytes for w in windows)
        assert edge is not None or longest <= limits.side
    block = BLOCK if longest > BLOCK else 1
    assert all((column + start) % block == 0 for start, _ in tiling.columns[1:])
    assert all((row + start) % block == 0 for start, _ in tiling.rows[1:])


def test_windows_are_about_equal_and_enough_to_fill_the_slots() -> None:
    grid = UTM.window(250, 3, 20_000, 20_000)
    tiling = divide_grid(grid, UTM, 3, "uint8")
    assert tiling.largest == (1280, 1280)  # 16 MB at 8 bytes a pixel
    assert min(width for _, width in tiling.columns) > 1000
    small = divide_grid(UTM.window(250, 3, 5000, 5000), UTM, 3, "uint8")
    assert len(small) >= SLOTS
    assert small.largest == (768, 768)
    assert divide_grid(UTM.window(250, 3, 700, 700), UTM, 3, "uint8").columns == ((0, 262), (262, 438))


def test_windows_of_many_bands_are_parts_of_blocks() -> None:
    for bands, dtype in itertools.product([1, 4, 12, 70, 811, 1023], DTYPES):
        check_edges(bands, dtype)


def check_edges(bands: int, dtype: str) -> None:
    edges = edges_for(bands, dtype)
    assert list(edges) == sorted(edges, reverse=True)
    for edge in edges:
        assert edge % BLOCK == 0 or BLOCK % edge == 0
        size = edge * edge * (bands + 1) * (np.dtype(dtype).itemsize + 1)
        assert size <= (USUAL_BYTES if edge > BLOCK else 32_000_000)


def test_a_grid_across_the_antimeridian_is_cut_there() -> None:
    base_grid = aligned_grid("EPSG:4326", 1000.0)
    grid = cover_region(base_grid, parse_box("178,-18,-178,-16").polygon())
    tiling = divide_grid(grid, base_grid, 1, "uint8")
    assert (covered(tiling, grid) == 1).all()
    (cut,) = (start for start, _ in tiling.columns if abs(grid.xy(start, 0)[0] - 180.0) < grid.resolution[0])
    assert grid.xy(cut + 0.5, 0)[0] >= 180.0 > grid.xy(cut - 0.5, 0)[0]
    for window in tiling:
        place = wrap_longitude(grid.window(window.column, window.row, window.width, window.height))
        west, east = place.xy(0.5, 0)[0], place.xy(place.width - 0.5, 0)[0]
        assert -180.0 <= west <= east < 180.0
        asked = grid.xy(window.column + 0.5, 0)[0]
        assert math.remainder(asked - west, 360.0) == pytest.approx(0.0, abs=1e-9)


def test_grids_within_180_degrees_are_unchanged() -> None:
    for grid in (UTM.window(3, 4, 5, 6), Grid("EPSG:4326", (0.5, 0.0, -180.0, 0.0, -0.5, 90.0), 720, 360)):
        assert wrap_longitude(grid) is grid


@example(crs="EPSG:4326", longitude=0.0, latitude=81.0, scale=1.0, width=1, height=1)
@example(crs="EPSG:3031", longitude=40.0, latitude=-84.0, scale=100.0, width=30, height=20)
@given(
    crs=st.sampled_from(["EPSG:4326", "EPSG:3857", "EPSG:32601", "EPSG:32733", "EPSG:3413", "EPSG:3031", "EPSG:5070"]),
    longitude=st.floats(-179.9, 179.9),
    latitude=st.floats(-89.0, 89.0),
    scale=st.floats(1.0, 5000.0),
    width=st.integers(1, 500),
    height=st.integers(1, 500),
)
def test_a_box_of_degrees_holds_every_pixel(
    crs: str, longitude: float, latitude: float, scale: float, width: int, height: int
) -> None:
    base_grid = aligned_grid(crs, scale)
    to_crs = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    x, y = to_crs.transform(longitude, latitude)
    if not (math.isfinite(x) and math.isfinite(y)):
        return
    grid = base_grid.snap_around(x, y, (width, height))
    west, south, east, north = bounding_box(grid)
    assert -180.0 <= west < east <= 180.0
    assert -90.0 <= south < north <= 90.0
    random = np.random.default_rng(0)
    columns, rows = random.uniform(0, width, 200), random.uniform(0, height, 200)
    xs, ys = zip(*(grid.xy(c, r) for c, r in zip(columns, rows, strict=True)), strict=True)
    lon, lat = to_crs.transform(xs, ys, direction="INVERSE")
    lon, lat = np.array(lon), np.array(lat)
    there = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90.0)
    wrapped = (lon[there] + 180.0) % 360.0 - 180.0
    assert ((wrapped >= west) & (wrapped <= east)).all()
    assert ((lat[there] >= south) & (lat[there] <= north)).all()


def test_the_box_around_a_pole_reaches_it() -> None:
    grid = aligned_grid("EPSG:3413", 1000.0).snap_around(0.0, 0.0, (300, 300))
    assert bounding_box(grid)[::2] == (-180.0, 180.0)
    assert bounding_box(grid)[3] == 90.0


def test_a_region_in_the_coordinates_of_a_grid() -> None:
    region = parse_box("-105.2,39.9,-105.0,40.0").polygon()
    base_grid = aligned_grid("EPSG:32613", 10.0)
    grid = cover_region(base_grid, region)
    found = project_region(grid, region)
    west, south, east, north = grid.bounds
    assert shapely.box(west, south, east, north).buffer(0.01).contains(found)
    geod = pyproj.Geod(ellps="WGS84")
    area, _ = geod.geometry_area_perimeter(shapely.segmentize(region, 0.001))
    assert found.area == pytest.approx(abs(area), rel=2e-3)  # the projection's scale is 0.9996 to 1.0004
    fiji = join_at_antimeridian(parse_box("179,-17,-179,-16").polygon())
    degrees = cover_region(aligned_grid("EPSG:4326", 1000.0), fiji)
    assert project_region(degrees, fiji).bounds == pytest.approx((179.0, -17.0, 181.0, -16.0))
    utm = cover_region(aligned_grid("EPSG:32701", 1000.0), fiji)
    assert project_region(utm, fiji).bounds == pytest.approx(utm.bounds, abs=1000.0)
