"""Regions that surround a pole, on maps of the other one, where they have no end."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import Geod, Transformer

from eechips_local.geometry import geodesic_buffer
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels.grids.area_fractions import centres_inside, fractions
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.values.values import Geometry

TRANSFORM = Affine(150_000, 0, -4_000_000, 0, -150_000, 4_000_000)


@pytest.mark.parametrize("crs", ["EPSG:3031", "EPSG:3413"])
@pytest.mark.parametrize("radius", [12_000_000.0, 17_000_000.0])
def test_a_disc_around_both_poles_is_seen_on_polar_maps(crs: str, radius: float) -> None:
    """By geodesic distances; making it took minutes."""
    disc = Geometry(geodesic_buffer.buffer(shapely.Point(0, 0), radius, radius / 100), WGS84, geodesic=True)
    found = centres_inside(disc, PixelGrid(crs, TRANSFORM, 60, 50))
    x, y = TRANSFORM * np.meshgrid(np.arange(60) + 0.5, np.arange(50) + 0.5)
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    _, _, distance = Geod(ellps="WGS84").inv(np.zeros_like(lon), np.zeros_like(lat), lon, lat)
    clear = np.abs(distance - radius) > 0.02 * radius
    assert found[clear].any()
    assert np.array_equal(found[clear], (distance < radius)[clear])


def test_a_rectangle_up_to_the_other_pole_has_its_share_of_a_polar_map() -> None:
    rectangle = Geometry(shapely.box(-100, -80, 100, 90), WGS84)
    polar = PixelGrid("EPSG:3031", TRANSFORM, 60, 50)
    x, y = TRANSFORM * np.meshgrid(np.arange(60) + 0.5, np.arange(50) + 0.5)
    lon, lat = Transformer.from_crs("EPSG:3031", "EPSG:4326", always_xy=True).transform(x, y)
    expected = (np.abs(lon) < 100) & (lat > -80)
    assert np.array_equal(centres_inside(rectangle, polar), expected)
    assert abs(fractions(rectangle, polar).mean() - expected.mean()) < 0.01
