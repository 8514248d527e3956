"""Turn longitudes and boxes in degrees around the Earth, cut boxes at the antimeridian (180°), and test whether they
touch.

West exceeds east in bounds across the antimeridian. Edges belong to boxes.
"""

from __future__ import annotations

import math

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.asset_model import Bounds
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer


def canonical_longitude(longitude: float) -> float:
    """Return a longitude brought to -180 (exclusive) … 180 degrees, as Google's client does."""
    turned = longitude % 360.0
    return turned - 360.0 if turned > 180.0 else turned


def wrapped_longitude(longitude: float) -> float:
    """Return a longitude within -180 to 180 degrees: one beyond is turned, to 180 rather than -180."""
    return longitude if -180.0 <= longitude <= 180.0 else canonical_longitude(longitude)


def eastward(bounds: Bounds) -> Bounds:
    """Return bounds whose west lies in -180 … 180 degrees (exclusive), and whose east is not less, but may pass 180."""
    west, south, east, north = bounds
    if east < west:
        east += 360.0 * math.ceil((west - east) / 360.0)
    if east - west >= 360.0:
        return -180.0, south, 180.0, north
    turn = 360.0 * math.floor((west + 180.0) / 360.0)
    return west - turn, south, east - turn, north


def on_circle(bounds: Bounds) -> Bounds:
    """Return bounds in degrees within -180 to 180; west exceeds east across the antimeridian."""
    west, south, east, north = eastward(bounds)
    return west, south, east - 360.0 if east > 180.0 else east, north


def lonlat_bounds(grid: PixelGrid) -> Bounds | None:
    """Return west, south, east, north of a grid in degrees within -180 to 180; None where it has no place there.

    West exceeds east across the antimeridian.
    """
    bounds = transformer(grid.crs, "EPSG:4326").transform_bounds(*grid.bounds, densify_pts=21)
    return on_circle(bounds) if np.isfinite(bounds).all() else None


def split_bounds(bounds: Bounds) -> list[Bounds]:
    """Return boxes within -180 to 180 degrees, none of which crosses the antimeridian."""
    west, south, east, north = eastward(bounds)
    if east <= 180.0:
        return [(west, south, east, north)]
    return [(west, south, 180.0, north), (-180.0, south, east - 360.0, north)]


def split_with_seam(bounds: Bounds) -> list[Bounds]:
    """Return boxes within -180 to 180 degrees; the meridian of 180 degrees belongs to both sides."""
    parts = split_bounds(bounds)
    west, south, east, north = parts[0]
    if len(parts) == 1 and (west == -180.0) != (east == 180.0):
        edge = 180.0 if west == -180.0 else -180.0
        parts.append((edge, south, edge, north))
    return parts


def boxes_each_turn(bounds: Bounds) -> list[Bounds]:
    """Return boxes that do not cross the antimeridian, also one turn further west and east.

    Shapes that cross it uncut have longitudes beyond 180 degrees.
    """
    return [
        (west + turn, south, east + turn, north)
        for west, south, east, north in split_bounds(bounds)
        for turn in (-360.0, 0.0, 360.0)
    ]


def boxes_touch(a: Bounds, b: Bounds) -> bool:
    """Return whether two boxes that do not cross the antimeridian have a point in common."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def box_meets(box: Bounds, bounds: Bounds) -> bool:
    """Return whether a box, whose longitudes may pass 180 degrees, meets bounds."""
    return any(boxes_touch(box, part) for part in boxes_each_turn(bounds))


def globe_box(bounds: Bounds) -> BaseGeometry:
    """Return bounds as a rectangle within -180 to 180, or as two on both sides of the antimeridian."""
    boxes = [shapely.box(*part) for part in split_bounds(bounds)]
    return boxes[0] if len(boxes) == 1 else shapely.MultiPolygon(boxes)
