"""Compute nominal scales as Earth Engine does, and UTM zones of places."""

from __future__ import annotations

import math

from pyproj import CRS

from eechips.geo.crs import parse_crs as parse_crs
from eechips.geo.crs import project as project
from eechips.geo.crs import unproject as unproject
from eechips.geo.grid import Grid

# Earth Engine counts a degree as a degree of the WGS84 equator: ee.Projection("EPSG:4326").nominalScale().
METRES_PER_DEGREE = 6_378_137.0 * math.pi / 180.0


def nominal_scale(grid: Grid) -> float:
    """Return the edge of a grid's pixels in metres, as ``ee.Projection.nominalScale`` does."""
    a, b, _, d, e, _ = grid.transform
    return math.sqrt(abs(a * e - b * d)) * metres_per_unit(parse_crs(grid.crs))


def metres_per_unit(crs: CRS) -> float:
    """Return the length of a CRS's unit in metres, as Earth Engine converts it."""
    return METRES_PER_DEGREE if crs.is_geographic else float(crs.axis_info[0].unit_conversion_factor)


def utm_crs(longitude: float, latitude: float) -> str:
    """Return the EPSG code of a place's UTM zone (WGS84), without the exceptions for Norway and Svalbard."""
    zone = min(int((longitude + 180.0) // 6.0) + 1, 60)
    return f"EPSG:{32600 + zone if latitude >= 0 else 32700 + zone}"
