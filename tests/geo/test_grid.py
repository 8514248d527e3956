"""Grids against affine and rasterio."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS
from rasterio.io import MemoryFile

from eechips.geo.grid import Grid, Window

sizes = st.integers(1, 4000)
coordinates = st.floats(-2e7, 2e7)
edges = st.sampled_from([0.6, 1.0, 10.0, 30.0, 926.625433055833, 8.983152841195215e-05, 1 / 3]) | st.floats(1e-4, 1e3)


# affine 3 warns of its own ``*``, which rasterio 1.4 still uses.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def test_grids_are_made_without_pyproj() -> None:
    """Workers of windows have no memory for it."""
    code = "import sys, eechips.geo.grid; sys.exit('pyproj' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    edge = draw(edges)
    flip = draw(st.sampled_from([-1.0, 1.0, -1.5]))
    turn = draw(st.sampled_from([0.0, 0.0, 0.3, math.pi / 2]))
    cos, sin = math.cos(turn), math.sin(turn)
    transform = (edge * cos, -edge * flip * sin, draw(coordinates), edge * sin, edge * flip * cos, draw(coordinates))
    return Grid("EPSG:32613", transform, draw(sizes), draw(sizes))


@given(grids(), st.integers(-5000, 5000), st.integers(-5000, 5000), sizes, sizes)
def test_windows_have_rasterio_s_transform_to_the_last_bit(
    grid: Grid, column: int, row: int, width: int, height: int
) -> None:
    window = grid.window(column, row, width, height)
    expected = rasterio.windows.transform(rasterio.windows.Window(column, row, width, height), grid.affine)
    assert window.affine == expected
    assert window.shape == (height, width)
    assert window.crs == grid.crs


@given(grids(), coordinates, coordinates)
def test_coordinates_of_pixels_equal_those_of_affine(grid: Grid, column: float, row: float) -> None:
    assert grid.xy(column, row) == grid.affine * (column, row)


@pytest.mark.parametrize("part", [{"width": math.inf}, {"transform": [10**400, 0, 0, 0, -1, 0]}])
def test_numbers_beyond_doubles_in_a_record_of_others_are_no_grid(part: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a grid"):
        Grid.from_json({"crs": "EPSG:4326", "transform": [1, 0, 0, 0, -1, 0], "width": 1, "height": 1, **part})


def test_resolution_is_the_edge_of_a_pixel() -> None:
    assert Grid("EPSG:4326", (3.0, -4.0, 0.0, 4.0, 3.0, 0.0), 1, 1).resolution == (5.0, 5.0)
    assert Grid("EPSG:4326", (0.5, 0.0, 0.0, 0.0, -0.25, 0.0), 1, 1).resolution == (0.5, 0.25)


@given(grids())
def test_bounds_equal_those_of_rasterio(grid: Grid) -> None:
    left, bottom, right, top = rasterio.transform.array_bounds(grid.height, grid.width, grid.affine)
    expected = (min(left, right), min(bottom, top), max(left, right), max(bottom, top))
    assert grid.bounds == pytest.approx(expected, rel=1e-12, abs=1e-6)


@given(
    st.integers(-(2**31), 2**31),
    st.integers(-(2**31), 2**31),
    st.sampled_from([0.5, 1.0, 2.0, 30.0]),
    st.integers(-3000, 3000),
    st.integers(-3000, 3000),
    st.integers(1, 600),
    st.integers(1, 600),
)
def test_snapping_around_a_corner_is_exact(
    x: int, y: int, edge: float, column: int, row: int, width: int, height: int
) -> None:
    """Corners are representable here, so the answer is known without rounding."""
    grid = Grid("EPSG:32613", (edge, 0.0, float(x), 0.0, -edge, float(y)), 10, 10)
    chip = grid.snap_around(*grid.xy(column, row), (width, height))
    first_column = column - width // 2  # even: centred on the corner; odd: the pixel right of it is the middle one
    first_row = row - height // 2
    assert chip == grid.window(first_column, first_row, width, height)


@given(grids(), coordinates, coordinates, st.integers(1, 600), st.integers(1, 600))
def test_snapped_windows_lie_on_the_grid_and_their_centre_is_nearest(
    grid: Grid, x: float, y: float, width: int, height: int
) -> None:
    chip = grid.snap_around(x, y, (width, height))
    assert chip.transform[:2] == grid.transform[:2]
    assert chip.transform[3:5] == grid.transform[3:5]
    column, row = grid.pixel(x, y)
    # The window's first pixel, found again from its transform, is a whole number of pixels away.
    first_column, first_row = grid.pixel(chip.transform[2], chip.transform[5])
    tolerance = 1e-3  # of a pixel: coordinates of 2e7 m carry 4e-9 m, pixels are at least 1e-4 m
    assert abs(first_column - round(first_column)) < tolerance
    assert abs(first_row - round(first_row)) < tolerance
    assert abs(round(first_column) + width / 2 - column) <= 0.5 + tolerance
    assert abs(round(first_row) + height / 2 - row) <= 0.5 + tolerance


def test_snapped_odd_window_has_the_place_in_its_middle_pixel() -> None:
    grid = Grid("EPSG:32613", (0.6, 0.0, 500000.3, 0.0, -0.6, 4400000.9), 9000, 9000)
    chip = grid.snap_around(501234.5, 4398765.4, (5, 3))
    column, row = chip.pixel(501234.5, 4398765.4)
    assert (math.floor(column), math.floor(row)) == (2, 1)


def test_rows_run_south_after_grids_are_turned_and_rotated_ones_stay() -> None:
    south_up = Grid("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, 10.0, 4_399_700.0), 40, 30)
    turned = south_up.north_up()
    expected = rasterio.transform.from_bounds(500_000.0, 4_399_700.0, 500_400.0, 4_400_000.0, 40, 30)
    assert (turned.affine, turned.width, turned.height) == (expected, 40, 30)
    assert turned.north_up() == turned
    rotated = Grid("EPSG:32633", (0.0, 10.0, 500_000.0, 10.0, 0.0, 4_399_700.0), 40, 30)
    assert rotated.north_up() == rotated


def test_pixels_of_a_window_are_those_that_rasterio_reads() -> None:
    values = np.arange(40 * 50, dtype="uint16").reshape(40, 50)
    grid = Grid("EPSG:26913", (0.6, 0.0, 500000.0, 0.0, -0.6, 4400000.0), 50, 40)
    with MemoryFile() as memory:
        profile = {"driver": "GTiff", "width": 50, "height": 40, "count": 1, "dtype": "uint16"}
        with memory.open(**profile, crs=grid.crs, transform=grid.affine) as file:
            file.write(values, 1)
        with memory.open() as file:
            chip = grid.snap_around(500010.0, 4399990.0, (7, 6))
            window = rasterio.windows.from_bounds(*chip.bounds, transform=file.transform)
            read = file.read(1, window=window.round_offsets().round_lengths())
    column, row = 16.666 - 3.5, 16.666 - 3
    expected = values[round(row) : round(row) + 6, round(column) : round(column) + 7]
    assert np.array_equal(read, expected)


@given(sizes, sizes, st.integers(0, 9), st.integers(0, 9), st.integers(1, 40))
def test_quarters_tile_the_window(width: int, height: int, column: int, row: int, least: int) -> None:
    window = Window(column, row, width, height)
    parts = window.split(least)
    assert len(parts) == (1 + (width >= 2 * least)) * (1 + (height >= 2 * least))
    assert sum(part.pixels for part in parts) == window.pixels
    assert parts == tuple(sorted(parts, key=lambda part: (part.row, part.column)))
    for part in parts:
        assert part.width >= min(least, width)
        assert part.height >= min(least, height)
    covered = np.zeros((row + height, column + width), dtype="uint8")
    for part in parts:
        covered[part.slices] += 1
    assert (covered[window.slices] == 1).all()
    assert covered.sum() == window.pixels


@given(grids())
def test_grids_round_trip_as_json(grid: Grid) -> None:
    assert Grid.from_json(grid.to_json()) == grid


def test_pixel_grid_of_the_rest_interface() -> None:
    grid = Grid("EPSG:26913", (0.6, 0.1, 5.0, 0.2, -0.6, 9.0), 256, 128)
    assert grid.to_pixel_grid() == {
        "dimensions": {"width": 256, "height": 128},
        "affineTransform": {
            "scaleX": 0.6,
            "shearX": 0.1,
            "translateX": 5.0,
            "shearY": 0.2,
            "scaleY": -0.6,
            "translateY": 9.0,
        },
        "crsCode": "EPSG:26913",
    }
    wkt = 'PROJCS["x", AUTHORITY["EPSG","1"]]'
    assert Grid(wkt, grid.transform, 1, 1).to_pixel_grid()["crsWkt"] == wkt
    assert "crsCode" in Grid("SR-ORG:6974", grid.transform, 1, 1).to_pixel_grid()


@pytest.mark.parametrize("code", ["EPSG:6933", "epsg:6933"])
def test_a_code_that_earth_engine_does_not_know_is_sent_as_wkt(code: str) -> None:
    sent = Grid(code, (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), 1, 1).to_pixel_grid()
    assert "crsCode" not in sent
    assert sent["crsWkt"].startswith('PROJCS["WGS 84 / NSIDC EASE-Grid 2.0 Global",')
    assert CRS(sent["crsWkt"]) == CRS(6933)


def test_estimated_bytes_are_those_of_the_arrays_and_their_masks() -> None:
    values = np.zeros((4, 200, 300), "uint16")
    assert Window(7, 8, 300, 200).estimate_bytes(4, "uint16") == values.nbytes + values.size
    assert Window(0, 0, 512, 256).estimate_bytes(48, "float64") == 56_623_104  # what the service counted


@pytest.mark.parametrize(
    ("crs", "transform", "width", "height"),
    [
        ("", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), 1, 1),
        ("EPSG:4326", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), 0, 1),
        ("EPSG:4326", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), 1, -1),
        ("EPSG:4326", (0.0, 0.0, 0.0, 0.0, -1.0, 0.0), 1, 1),
        ("EPSG:4326", (math.nan, 0.0, 0.0, 0.0, -1.0, 0.0), 1, 1),
    ],
)
def test_impossible_grids_are_refused(crs: str, transform: tuple[float, ...], width: int, height: int) -> None:
    with pytest.raises(ValueError, match=r"grid|transform"):
        Grid(crs, transform, width, height)  # type: ignore[arg-type]
