"""Regions and images as polygons in longitude and latitude, on this side."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.geo.grid import Grid
from eechips.geo.polygons import list_polygons, wrap_at_antimeridian
from eechips.planning.grid_alignment import joined_at_antimeridian
from eechips.planning.projection import unproject
from eechips.planning.regions import BoxRegion, FileRegion, Region

_PIECES = 32  # of each edge of an image, which may bend in longitude and latitude
_MARGIN = 2  # pixels: more than such a piece bends
_STRAIGHT = 1.0  # metres that a server's geometry may be off when its edges are made straight

# The edge of a rectangle, as shares of its width and height.
_RING = shapely.get_coordinates(shapely.segmentize(shapely.box(0, 0, 1, 1), 1 / _PIECES))


def polygon_of(region: Region) -> BaseGeometry:
    """A region in longitude and latitude, with edges that are straight in that plane.

    The server is asked if the region is a table's there; ``ee`` must be initialised then.

    Raises:
        RegionError: if the server does not know it, or it has no polygons.
    """
    if isinstance(region, BoxRegion):
        return region.polygon()
    if isinstance(region, FileRegion):
        return region.polygon
    # Edges of a table's polygons are geodesics.
    found = shapely.geometry.shape(region.geometry().transform("EPSG:4326", _STRAIGHT).getInfo())
    polygons = list_polygons(found if found.is_valid else shapely.make_valid(found))
    if not polygons:
        raise RegionError("the region has no polygons")
    return wrap_at_antimeridian(shapely.union_all(polygons))


def outline(grid: Grid) -> BaseGeometry | None:
    """The outline of a grid's pixels in longitude and latitude, a little too large; None where it has none.

    A grid that holds a pole, or reaches over the antimeridian or beyond what its projection shows, has none.
    """
    shares = _RING * (grid.width + 2 * _MARGIN, grid.height + 2 * _MARGIN) - _MARGIN
    lonlat = unproject(grid.crs, [grid.xy(column, row) for column, row in shares.tolist()])
    if not np.isfinite(lonlat).all() or np.ptp(lonlat[:, 0]) > 180.0:
        return None
    found = shapely.Polygon(lonlat)
    return found if found.is_valid else None


def middle(region: BaseGeometry) -> tuple[float, float]:
    """Longitude, from -180 to 180, and latitude in the middle of a region's bounds."""
    west, south, east, north = shapely.bounds(joined_at_antimeridian(region)).tolist()
    return ((west + east) / 2 + 180.0) % 360.0 - 180.0, (south + north) / 2
