"""Grids of pixels, and the CRS that they are on."""

from __future__ import annotations

from dataclasses import replace

import pyproj
import pytest
from affine import Affine

from eechips_local.pixels.grids.pixel_grid import PixelGrid


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("ESRI:102100", "EPSG:3857", True),
        ("ESRI:102039", "EPSG:5070", True),
        (pyproj.CRS("ESRI:102008").to_wkt(), "ESRI:102008", True),
        ("EPSG:4326", "EPSG:4258", False),
        ("EPSG:26913", "EPSG:26914", False),
    ],
    ids=["web mercator", "albers", "its text", "datums", "zones"],
)
def test_a_crs_may_have_several_names(one: str, other: str, is_same: bool) -> None:
    """https://spatialreference.org has the definitions of both authorities."""
    grid = PixelGrid(one, Affine(30.0, 0.0, 600.0, 0.0, -30.0, 900.0), 8, 5)
    assert grid.lies_on(replace(grid, crs=other), 0.1) == is_same
