"""Compute the outline of a grid in longitude and latitude: cut at 180 degrees, around a pole, or the limb that a
satellite sees.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, metres_per_unit, parse_crs, transformer

_SIDE = 32  # points along each side before simplification
_HALVINGS = 24  # to a part of a pixel of any raster
_EARTH = "EPSG:4326"


@lru_cache(maxsize=64)  # images of a series share their grid
def outline(grid: PixelGrid) -> BaseGeometry:
    """Return the outline of a grid's outer pixel edges.

    Sides that bend in longitude and latitude are followed to within half a pixel. Outlines that cross the
    meridian of 180 degrees are cut there, as GeoJSON wants (RFC 7946, 3.1.9); those around a pole reach to it.
    Where a projection has no inverse at the grid's edge, the box around what it has stands in.

    Returns:
        A polygon or multipolygon within longitudes -180 to 180.
    """
    columns, rows = _ring(grid)
    if grid.crs == _EARTH:
        longitudes, latitudes = apply(grid.transform, columns, rows)
        ring = shapely.Polygon(np.column_stack([longitudes, latitudes.clip(-90.0, 90.0)]))
        return _wrap(ring.simplify(0.0))
    longitudes, latitudes = _to_earth(grid, columns, rows)
    if not (np.isfinite(longitudes) & np.isfinite(latitudes)).all():
        box = _box_inside(grid)
        return box if _shows(grid, box) else _limb(grid, columns, rows)
    turned = np.unwrap(longitudes, period=360.0)
    if abs(turned[-1] - turned[0]) > 180.0:
        return _cap(grid, latitudes)
    ring = shapely.Polygon(np.column_stack([turned, latitudes]))
    # A pixel's height in degrees: what Earth Engine counts as a degree's length serves well enough here.
    pixel = grid.nominal_scale / metres_per_unit(_EARTH)
    simple = ring.simplify(pixel / 2)
    return _wrap(simple if simple.is_valid and not simple.is_empty else shapely.make_valid(ring))


def _ring(grid: PixelGrid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    along = np.linspace(0.0, 1.0, _SIDE + 1)
    ones = np.ones_like(along)
    columns = np.concatenate([along, ones[1:], along[::-1][1:], 0 * ones[1:]])
    rows = np.concatenate([0 * ones, along[1:], ones[1:], along[::-1][1:]])
    return columns * grid.width, rows * grid.height


def _to_earth(
    grid: PixelGrid, columns: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    longitudes, latitudes = transformer(grid.crs, _EARTH).transform(*apply(grid.transform, columns, rows))
    return np.asarray(longitudes), np.asarray(latitudes)


def _inside(grid: PixelGrid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    along = np.linspace(0.0, 1.0, _SIDE + 1)
    columns, rows = np.meshgrid(along * grid.width, along * grid.height)
    longitudes, latitudes = _to_earth(grid, columns.ravel(), rows.ravel())
    finite = np.isfinite(longitudes) & np.isfinite(latitudes)
    return longitudes[finite], latitudes[finite]


def _box_inside(grid: PixelGrid) -> BaseGeometry:
    longitudes, latitudes = _inside(grid)
    if longitudes.size == 0:
        return shapely.box(-180.0, -90.0, 180.0, 90.0)
    west, east = float(longitudes.min()), float(longitudes.max())
    # Samples are a step apart, so the box may be a step too small.
    step_x, step_y = (east - west) / _SIDE, float(np.ptp(latitudes)) / _SIDE
    south, north = float(latitudes.min()) - step_y, float(latitudes.max()) + step_y
    return shapely.box(max(west - step_x, -180.0), max(south, -90.0), min(east + step_x, 180.0), min(north, 90.0))


def _shows(grid: PixelGrid, shape: BaseGeometry) -> bool:
    """Return whether the projection has a place for all of an outline's vertices."""
    return bool(np.isfinite(transformer(_EARTH, grid.crs).transform(*shapely.get_coordinates(shape).T)).all())


def _limb(grid: PixelGrid, columns: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]) -> BaseGeometry:
    """Return the outline of what a satellite sees of the Earth: on each line from the middle to the ring, its end."""
    middle = grid.width / 2, grid.height / 2
    inside, outside = np.zeros_like(columns), np.ones_like(columns)
    for _ in range(_HALVINGS):
        share = (inside + outside) / 2
        places = (centre + share * (ring - centre) for centre, ring in zip(middle, (columns, rows), strict=True))
        seen = np.isfinite(_to_earth(grid, *places)).all(axis=0)
        inside, outside = np.where(seen, share, inside), np.where(seen, outside, share)
    places = (centre + inside * (ring - centre) for centre, ring in zip(middle, (columns, rows), strict=True))
    longitudes, latitudes = _to_earth(grid, *places)
    return _wrap(shapely.Polygon(np.column_stack([np.unwrap(longitudes, period=360.0), latitudes])))


def _cap(grid: PixelGrid, ring_latitudes: npt.NDArray[np.float64]) -> BaseGeometry:
    """Return everything poleward of the outline's lowest latitude: the grid has a pole inside."""
    _, latitudes = _inside(grid)
    if abs(float(latitudes.max())) >= abs(float(latitudes.min())):
        return shapely.box(-180.0, float(ring_latitudes.min()), 180.0, 90.0)
    return shapely.box(-180.0, -90.0, 180.0, float(ring_latitudes.max()))


def _wrap(polygon: BaseGeometry) -> BaseGeometry:
    """Put a polygon with continuous longitudes into -180 to 180, in pieces where it must be cut."""
    west, south, east, north = polygon.bounds
    if west >= -180.0 and east <= 180.0:
        return polygon
    if east - west >= 360.0:
        return shapely.box(-180.0, south, 180.0, north)
    pieces = []
    for turns in range(int(np.floor((west + 180.0) / 360.0)), int(np.floor((east + 180.0) / 360.0)) + 1):
        shifted = shapely.transform(polygon, lambda xy, t=turns: xy - [360.0 * t, 0.0])
        pieces.append(shapely.intersection(shifted, shapely.box(-180.0, -90.0, 180.0, 90.0)))
    return shapely.union_all([piece for piece in pieces if piece.area > 0])


def beyond_180(grid: PixelGrid) -> tuple[float, float] | None:
    """Return west and east of a grid in degrees that has whole pixels beyond -180 or 180; None for other grids.

    No public source says whether Earth Engine finds such pixels at the longitudes of the other side. geemap shifts such
    rasters to -180 before it makes an image of them: https://github.com/gee-community/geemap/issues/285.
    """
    if not parse_crs(grid.crs).is_geographic:
        return None
    west, _, east, _ = grid.bounds
    edge = abs(grid.transform.a)
    return (west, east) if west <= -180.0 - edge or east >= 180.0 + edge else None
