"""Alignment of grids, against pyproj and rasterio."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio.warp
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from eechips.errors import EechipsError, RegionError, UsageError
from eechips.geo.crs import find_utm_crs
from eechips.geo.grid import METRES_PER_DEGREE, Grid
from eechips.geo.polygons import join_at_antimeridian
from eechips.planning.areas.regions import parse_box
from eechips.planning.grid_alignment import (
    GridAlignment,
    aligned_grid,
    choose_grid,
    cover_region,
    rescale_grid,
    snap_chip,
)

NATIVE = Grid("EPSG:26913", (0.6, 0.0, 500_000.3, 0.0, -0.6, 4_400_000.5), 1, 1)
CODES = ("EPSG:4326", "EPSG:3857", "EPSG:32613", "EPSG:32733", "EPSG:5070", "EPSG:3413", "EPSG:3031", "SR-ORG:6974")


def placed(base_grid: Grid, grid: Grid) -> tuple[float, float]:
    """Return the distance of a grid's corner from a corner of the base_grid, in pixels."""
    column, row = base_grid.pixel(grid.transform[2], grid.transform[5])
    return abs(float(column) - round(column)), abs(float(row) - round(row))


@given(
    crs=st.sampled_from(CODES),
    longitude=st.floats(-179.0, 179.0),
    latitude=st.floats(-84.0, 84.0),
    width=st.floats(1e-3, 1.0),
    height=st.floats(1e-3, 1.0),
    scale=st.floats(1.0, 5000.0),
)
def test_a_cover_holds_the_region_and_hardly_more(
    crs: str, longitude: float, latitude: float, width: float, height: float, scale: float
) -> None:
    region = shapely.box(longitude, latitude, longitude + width, latitude + height)
    base_grid = aligned_grid(crs, scale)
    try:
        grid = cover_region(base_grid, region)
    except RegionError:
        assume(False)
    assert max(placed(base_grid, grid)) < 1e-3
    west, south, east, north = grid.bounds
    edge = grid.resolution[0]
    # The oracle projects many more points of the edge than are needed.
    ring = shapely.get_coordinates(shapely.segmentize(region.exterior, max(width, height) / 500))
    target: Any = "+proj=sinu +R=6371007.181 +units=m +no_defs" if crs.startswith("SR-ORG") else crs
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", target, always_xy=True).transform(*ring.T)
    bend = 1e-4 * max(np.ptp(x), np.ptp(y)) + 1e-3 * edge  # between the points that were looked at
    assert x.min() >= west - bend
    assert x.max() <= east + bend
    assert y.min() >= south - bend
    assert y.max() <= north + bend
    assert west > x.min() - edge - bend
    assert east < x.max() + edge + bend
    assert grid.width <= np.ptp(x) / edge + 2 + bend / edge
    assert grid.height <= np.ptp(y) / edge + 2 + bend / edge


def test_a_region_on_pixel_corners_gets_just_these() -> None:
    base_grid = Grid("EPSG:4326", (0.25, 0.0, -180.0, 0.0, -0.25, 90.0), 1, 1)
    grid = cover_region(base_grid, shapely.box(5.0, 45.0, 10.0, 47.5))
    assert grid == Grid("EPSG:4326", (0.25, 0.0, 5.0, 0.0, -0.25, 47.5), 20, 10)


def test_a_point_is_one_pixel() -> None:
    assert cover_region(aligned_grid("EPSG:32613", 30.0), shapely.Point(-105.0, 40.0)).shape == (1, 1)


def test_grids_in_degrees_continue_beyond_180() -> None:
    grid = cover_region(aligned_grid("EPSG:4326", METRES_PER_DEGREE / 10), parse_box("179,-17,-179,-16").polygon())
    assert grid.width == 20
    assert grid.height == 10
    assert grid.bounds == pytest.approx((179.0, -17.0, 181.0, -16.0))
    nad83 = cover_region(aligned_grid("EPSG:4269", METRES_PER_DEGREE / 10), parse_box("179,51,-179,52").polygon())
    assert nad83.bounds == pytest.approx((179.0, 51.0, 181.0, 52.0), abs=0.11)


def test_across_the_antimeridian_utm_and_polar_grids_have_no_seam() -> None:
    fiji = parse_box("179,-17,-179,-16").polygon()
    grid = cover_region(aligned_grid(find_utm_crs(179.0, -16.5), 1000.0), fiji)
    assert grid.width * 1000 == pytest.approx(2 * 111_320 * np.cos(np.deg2rad(16.0)), rel=0.02)
    polar = cover_region(aligned_grid("EPSG:3413", 1000.0), parse_box("170,75,-170,76").polygon())
    assert polar.width < 800


def test_a_projection_that_ends_at_the_antimeridian_is_refused() -> None:
    for crs in ("EPSG:3857", "SR-ORG:6974"):
        with pytest.raises(RegionError, match=r"crosses the antimeridian, where .* ends"):
            cover_region(aligned_grid(crs, 1000.0), parse_box("179,-17,-179,-16").polygon())


def test_the_whole_earth_stays_as_it_is() -> None:
    whole = parse_box("-180,-90,180,90").polygon()
    assert join_at_antimeridian(whole).equals(whole)
    assert cover_region(aligned_grid("EPSG:4326", METRES_PER_DEGREE), whole).shape == (180, 360)


def test_a_pole_within_a_region_lies_within_the_window() -> None:
    grid = cover_region(aligned_grid("EPSG:3413", 10_000.0), shapely.box(-180.0, 80.0, 180.0, 90.0))
    west, south, east, north = grid.bounds
    assert west < 0 < east
    assert south < 0 < north
    edge = rasterio.warp.transform("EPSG:4326", "EPSG:3413", [45.0], [80.0])[0][0]
    assert east == pytest.approx(abs(edge), abs=10_000)


def test_too_far_from_a_zone_is_refused() -> None:
    with pytest.raises(RegionError, match=r"12\.0 degrees from the middle of UTM zone 13N"):
        cover_region(aligned_grid("EPSG:32613", 10.0), shapely.box(-117.0, 40.0, -116.0, 41.0))
    assert cover_region(aligned_grid("EPSG:32613", 10.0), shapely.box(-109.0, 40.0, -108.9, 40.1)).width > 800


def test_utm_has_no_poles() -> None:
    assert find_utm_crs(5.0, 83.0) == "EPSG:32631"
    with pytest.raises(RegionError, match="EPSG:3413"):
        find_utm_crs(5.0, 85.0)
    with pytest.raises(RegionError, match="EPSG:3031"):
        find_utm_crs(5.0, -81.0)


def test_the_pole_opposite_to_a_map_is_refused() -> None:
    """PROJ gives 4e23 metres there; chips were empty, and numbers of pixels overflowed."""
    with pytest.raises(RegionError, match="has no coordinates at 0, -90"):
        snap_chip(Grid("EPSG:3995", (1000.0, 0.0, 0.0, 0.0, -1000.0, 0.0), 1, 1), (0.0, -90.0), (16, 16))
    with pytest.raises(RegionError, match="reaches beyond where EPSG:3995 has coordinates"):
        cover_region(aligned_grid("EPSG:3995", 1000.0), shapely.Point(0.0, -90.0))


def test_a_region_beyond_a_projection_is_refused() -> None:
    with pytest.raises(RegionError, match="beyond where"):
        cover_region(aligned_grid("+proj=ortho +lat_0=0 +lon_0=0", 1000.0), shapely.box(160.0, 0.0, 170.0, 10.0))


def test_placements_align_pixel_corners() -> None:
    place = (-105.0, 40.0)
    assert GridAlignment().base_grid(NATIVE, place) == NATIVE
    assert GridAlignment(scale=6.0).base_grid(NATIVE, place).transform == pytest.approx(
        (6.0, 0.0, 500_000.3, 0.0, -6.0, 4_400_000.5)
    )
    assert GridAlignment(crs="utm").base_grid(NATIVE, place) == aligned_grid("EPSG:32613", 0.6)
    assert GridAlignment(crs="EPSG:3857", scale=2.0).base_grid(NATIVE, place) == aligned_grid("EPSG:3857", 2.0)
    transform = (10.0, 0.0, 3.0, 0.0, -10.0, 7.0)
    assert GridAlignment(crs="EPSG:3857", transform=transform).base_grid(NATIVE, place).transform == transform
    assert rescale_grid(NATIVE, None) == NATIVE


def test_rows_run_from_north_to_south() -> None:
    """An image may have them from south to north: its chips have the same pixels, with north at the top."""
    image = Grid("EPSG:32733", (30.0, 0.0, 500_000.0, 0.0, 30.0, 6_997_000.0), 100, 100)
    base_grid = GridAlignment().base_grid(image, (15.0, -27.0))
    assert base_grid.transform == (30.0, 0.0, 500_000.0, 0.0, -30.0, 7_000_000.0)
    assert (
        base_grid.transform
        == GridAlignment().base_grid(Grid(image.crs, base_grid.transform, 100, 100), (15.0, -27.0)).transform
    )


def test_a_scale_is_metres_in_feet_and_degrees_too() -> None:
    assert aligned_grid("EPSG:2263", 30.0).resolution[0] == pytest.approx(30.0 / 0.3048006096, rel=1e-9)
    assert aligned_grid("EPSG:4326", METRES_PER_DEGREE).resolution[0] == pytest.approx(1.0)


def test_a_grid_is_that_of_an_image_or_six_numbers() -> None:
    assert choose_grid("a/b", "native", None) == GridAlignment(align="a/b")
    made = GridAlignment(crs="EPSG:5070", transform=(9.0, 0.0, 3.0, 0.0, -9.0, 4.0))
    assert choose_grid("9,0,3,0,-9,4", "EPSG:5070", None) == choose_grid((9, 0, 3, 0, -9, 4), "EPSG:5070", None) == made
    for wrong in ("9,0,3,0,-9", "utm"):
        with pytest.raises(UsageError, match="neither the id of an image nor six numbers"):
            choose_grid(wrong, "EPSG:5070", None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": 0.0}, "0.001 to 40,075,017 metres"),
        ({"align": "a/b", "crs": "utm"}, "leave `crs` out"),
        ({"align": "a/b", "scale": 3.0}, "leave `scale` out"),
        ({"crs": "EPSG:3857", "scale": 3.0, "transform": (1, 0, 0, 0, -1, 0)}, "leave `scale` out"),
        ({"transform": (1, 0, 0, 0, -1, 0)}, "crs='EPSG"),
        ({"crs": "utm", "transform": (1, 0, 0, 0, -1, 0)}, "crs='EPSG"),
        ({"crs": "EPSG:3857", "transform": (1, 0, 0, 0, 0, 0)}, "not an invertible transform"),
        ({"crs": "EPSG:999999"}, "unknown coordinate reference system"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(EechipsError, match=said) as caught:
        GridAlignment(**options)
    assert isinstance(caught.value, UsageError)
