"""The windows of images that show a region, against rasterio and pyproj."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.features
import rasterio.warp
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import RegionError
from eechips.geo.grid import Grid
from eechips.geo.polygons import region_centre
from eechips.planning.areas.region_overlaps import Overlap, grid_outline
from eechips.planning.areas.regions import parse_box
from eechips.planning.grid_alignment import GridAlignment

TILE = Grid("EPSG:32613", (10.0, 0.0, 399_960.0, 0.0, -10.0, 4_400_040.0), 10_980, 10_980)


def native(region: shapely.Geometry, grid: Grid = TILE) -> Grid | None:
    return Overlap(region, GridAlignment()).window(grid)


def offset(grid: Grid, window: Grid) -> tuple[int, int]:
    """Column and row of a window, which must be whole."""
    column, row = ~grid.affine * (window.transform[2], window.transform[5])
    assert (column, row) == pytest.approx((round(column), round(row)), abs=1e-5)
    return round(column), round(row)


@given(
    west=st.floats(-107.0, -103.5), south=st.floats(38.0, 40.0), width=st.floats(1e-4, 2.0), height=st.floats(1e-4, 2.0)
)
def test_every_pixel_that_the_region_covers_and_the_image_has_is_in_the_window(
    west: float, south: float, width: float, height: float
) -> None:
    region = shapely.box(west, south, west + width, south + height)
    window = native(region)
    # Places in the region, and the pixels of the image that hold them.
    share = np.random.default_rng(0).random((400, 2))
    lon, lat = (np.array([west, south]) + share * (width, height)).T
    x, y = pyproj.Transformer.from_crs("EPSG:4326", TILE.crs, always_xy=True).transform(lon, lat)
    columns, rows = np.floor((x - 399_960.0) / 10), np.floor((4_400_040.0 - y) / 10)
    inside = (columns >= 0) & (columns < TILE.width) & (rows >= 0) & (rows < TILE.height)
    if window is None:
        assert not inside.any()
        return
    column, row = offset(TILE, window)
    assert 0 <= column < column + window.width <= TILE.width
    assert 0 <= row < row + window.height <= TILE.height
    assert (columns[inside] >= column).all()
    assert (columns[inside] < column + window.width).all()
    assert (rows[inside] >= row).all()
    assert (rows[inside] < row + window.height).all()


def test_a_region_larger_than_the_image_gets_the_image() -> None:
    assert native(shapely.box(-110, 35, -100, 45)) == TILE


def test_the_transform_is_rasterio_s_to_the_last_bit() -> None:
    grid = Grid("EPSG:26913", (0.6, 0.0, 489_019.8, 0.0, -0.6, 4_428_064.8), 9_909, 12_571)
    window = native(shapely.box(-105.12, 39.96, -105.09, 39.98), grid)
    assert window is not None
    column, row = offset(grid, window)
    expected = rasterio.windows.transform(
        rasterio.windows.Window(column, row, window.width, window.height), grid.affine
    )
    assert window.transform == tuple(expected)[:6]


def test_a_region_beside_the_image_or_only_touching_has_no_window() -> None:
    assert native(shapely.box(-100.0, 39.0, -99.0, 40.0)) is None
    west, south, east, north = -105.0, 39.5, -104.9, 39.6
    grid = Grid("EPSG:4326", (0.01, 0.0, west, 0.0, -0.01, north), 10, 10)
    assert native(shapely.box(east, south, east + 1, north), grid) is None
    assert native(shapely.box(east - 0.01, south, east + 1, north), grid) == grid.window(9, 0, 1, 10)


def test_the_window_of_a_slanted_region_is_its_overlap() -> None:
    """A river from corner to corner of a country: of each tile only what the river has of it."""
    river = shapely.LineString([(-108.0, 37.0), (-103.0, 42.0)]).buffer(0.01)
    window = native(river)
    assert window is not None
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", TILE.crs, always_xy=True).transform
    shape = shapely.transform(shapely.segmentize(river, 0.001), lambda xy: np.column_stack(to_utm(*xy.T)))
    west, south, east, north = shapely.intersection(shape, shapely.box(*TILE.bounds)).bounds
    found = window.bounds
    assert found == pytest.approx((west, south, east, north), abs=40)
    assert window.width < 0.9 * TILE.width


def test_another_scale_keeps_the_origin_and_stays_within_the_image() -> None:
    window = Overlap(shapely.box(-110, 35, -100, 45), GridAlignment(scale=1000.0)).window(TILE)
    assert window is not None
    assert window.resolution == pytest.approx((1000.0, 1000.0))
    assert (window.transform[2], window.transform[5]) == (399_960.0, 4_400_040.0)
    assert window.shape == (110, 110)  # 109.8, of which the last is partly beyond


def test_images_of_two_zones_share_one_lattice_where_utm_is_asked_for() -> None:
    other = Grid("EPSG:32612", (10.0, 0.0, 899_960.0, 0.0, -10.0, 4_500_040.0), 10_980, 20_980)
    overlap = Overlap(shapely.box(-106.05, 39.5, -105.95, 39.6), GridAlignment(crs="utm", scale=10.0))
    first, second = overlap.window(TILE), overlap.window(other)
    assert first is not None
    assert first.crs == "EPSG:32613"
    assert second is not None
    assert second.crs == "EPSG:32613"
    assert second.transform[2] % 10 == first.transform[2] % 10 == 0


def test_a_wide_region_has_the_zone_of_each_image() -> None:
    overlap = Overlap(shapely.box(-125.0, 30.0, -70.0, 50.0), GridAlignment(crs="utm", scale=10.0))
    window = overlap.window(TILE)
    assert window is not None
    assert window.crs == "EPSG:32613"


def test_overlaps_cross_the_antimeridian() -> None:
    fiji = parse_box("179,-17.5,-179,-16.5").polygon()
    east = Grid("EPSG:32701", (10.0, 0.0, 199_980.0, 0.0, -10.0, 8_200_000.0), 10_980, 10_980)  # 180 to 179 W
    west = Grid("EPSG:32760", (10.0, 0.0, 699_960.0, 0.0, -10.0, 8_200_000.0), 10_980, 10_980)  # 178.9 to 180 E
    across = Grid("EPSG:32760", (10.0, 0.0, 799_980.0, 0.0, -10.0, 8_200_000.0), 10_980, 10_980)
    assert grid_outline(across) is None
    for grid in (east, west, across):
        window = native(fiji, grid)
        assert window is not None
        column, row = offset(grid, window)
        assert 0 <= column < column + window.width <= grid.width
        assert 0 <= row < row + window.height <= grid.height
        assert window.width > 4_000
    assert region_centre(fiji) == pytest.approx((-180.0, -17.0))


def test_a_global_image_without_an_outline_covers_the_region() -> None:
    world = Grid("EPSG:4326", (0.1, 0.0, -180.05, 0.0, -0.1, 90.05), 3600, 1801)
    sinusoidal = Grid(
        "SR-ORG:6974", (926.625433056, 0.0, -20_015_109.354, 0.0, -926.625433055, 10_007_554.677), 43_200, 21_600
    )
    for grid in (world, sinusoidal):
        assert grid_outline(grid) is None
        window = native(shapely.box(-105.3, 39.9, -105.2, 40.0), grid)
        assert window is not None
        assert max(window.shape) < 30
    # Beyond the image's last row there is nothing.
    window = native(shapely.box(10.0, -90.0, 11.0, -89.9), world)
    assert window is not None
    assert offset(world, window)[1] + window.height <= world.height


def test_an_image_of_unknown_size_covers_the_region() -> None:
    region = shapely.box(-105.3, 39.9, -105.2, 40.0)
    grid = Grid("EPSG:4326", (0.01, 0.0, -180.0, 0.0, -0.01, 90.0), 1, 1)
    window = Overlap(region, GridAlignment()).window(grid, is_bounded=False)
    assert window is not None
    assert window.bounds == pytest.approx(region.bounds)


def test_regions_beyond_a_projection_are_refused() -> None:
    with pytest.raises(RegionError, match="UTM zone 33N"):
        Overlap(shapely.box(-105.3, 39.5, -105.2, 39.6), GridAlignment(crs="EPSG:32633")).window(TILE)
