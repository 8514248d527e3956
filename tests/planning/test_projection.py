"""Projections by Earth Engine's names, and chips snapped to a source's grid."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from eechips.errors import UsageError
from eechips.geo.crs import parse_crs, project, utm_crs
from eechips.geo.grid import Grid, nominal_scale
from eechips.planning.grid_alignment import rescale_grid, snap_chip, utm_grid

NAIP = Grid("EPSG:26913", (0.6, 0.0, 500000.4, 0.0, -0.6, 4400000.2), 10000, 12000)
MODIS = Grid("SR-ORG:6974", (926.625433055833, 0, -20015109.354, 0, -926.625433055833, 10007554.677), 1, 1)


def test_the_sinusoidal_grid_of_modis() -> None:
    x, y = project("SR-ORG:6974", [(-100.0, 40.0)])[0]
    expected = Transformer.from_crs("EPSG:4326", parse_crs("SR-ORG:6974"), always_xy=True).transform(-100.0, 40.0)
    assert (x, y) == pytest.approx(expected)
    assert y == pytest.approx(math.radians(40) * 6371007.181)


def test_an_unknown_crs_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown coordinate reference system"):
        parse_crs("EPSG:99999999")


@pytest.mark.parametrize(
    ("grid", "metres"),
    [(NAIP, 0.6), (MODIS, 926.625433055833), (Grid("EPSG:4326", (1.0, 0, 0, 0, -1.0, 0), 1, 1), 111319.49079327357)],
)
def test_nominal_scale_is_that_of_earth_engine(grid: Grid, metres: float) -> None:
    assert nominal_scale(grid) == pytest.approx(metres, rel=1e-12)


@given(st.floats(-108, -102), st.floats(37, 41), st.integers(1, 512))
def test_snapped_chips_are_centred_on_the_point(lon: float, lat: float, size: int) -> None:
    chip = snap_chip(NAIP, (lon, lat), (size, size))
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:26913", always_xy=True).transform(lon, lat)
    west, south, east, north = chip.bounds
    assert abs((west + east) / 2 - x) <= 0.3 + 1e-6
    assert abs((south + north) / 2 - y) <= 0.3 + 1e-6
    columns = (chip.transform[2] - NAIP.transform[2]) / 0.6
    assert columns == pytest.approx(round(columns), abs=1e-5)


def test_another_scale_keeps_origin_and_axes() -> None:
    chip = snap_chip(rescale_grid(NAIP, 2.4), (-105.0, 39.7), (64, 64))
    assert chip.resolution == pytest.approx((2.4, 2.4))
    columns = (chip.transform[2] - NAIP.transform[2]) / 2.4
    assert columns == pytest.approx(round(columns), abs=1e-6)


@pytest.mark.parametrize(
    ("point", "crs"), [((-105.0, 39.0), "EPSG:32613"), ((180.0, -17.0), "EPSG:32760"), ((-180.0, 10.0), "EPSG:32601")]
)
def test_points_without_an_image_get_a_utm_grid(point: tuple[float, float], crs: str) -> None:
    assert utm_crs(*point) == crs
    chip = snap_chip(utm_grid(point, 10.0), point, (8, 8))
    assert chip.crs == crs
    assert all(value % 10 == 0 for value in (chip.transform[2], chip.transform[5]))
