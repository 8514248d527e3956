"""Measure polygons in longitude and latitude (EPSG:4326), and cut them at the antimeridian.

Edges are straight in the plate carrée, as in GeoJSON, and as Earth Engine's planar edges.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry

LongitudesT = TypeVar("LongitudesT", float, npt.NDArray[np.float64])

EARTH_RADIUS = 6_371_007.2
"""Metres: the radius of the sphere with the surface area of the WGS84 ellipsoid."""


def list_polygons(geometry: BaseGeometry) -> list[BaseGeometry]:
    """Return the polygons among a geometry's parts; leave out lines and points, which have no area."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]


def enlarge_bounds(bounds: npt.ArrayLike, margin: float) -> npt.NDArray[np.float64]:
    """Enlarge bounds (west, south, east, north; shape (4) or (n, 4)) by a margin in degrees, not beyond the Earth."""
    enlarged = np.add(bounds, [-margin, -margin, margin, margin])
    return np.clip(enlarged, [-180.0, -90.0, -180.0, -90.0], [180.0, 90.0, 180.0, 90.0])


def wrap_at_antimeridian(geometry: BaseGeometry) -> BaseGeometry:
    """Move polygons to longitudes from -180 to 180, and cut them at the antimeridian where needed.

    Args:
        geometry: polygons with continuous longitudes, which may exceed 180 degrees in both directions.
    """
    west, _, east, _ = geometry.bounds
    if west >= -180.0 and east <= 180.0:
        return geometry
    return shapely.union_all(split_at_antimeridian(geometry, "Polygon"))


def split_at_antimeridian(geometry: BaseGeometry, kind: str) -> list[BaseGeometry]:
    """Cut a geometry at the antimeridian, and move its parts to longitudes from -180 to 180.

    Args:
        geometry: polygons or lines with continuous longitudes, which may exceed 180 degrees in both directions.
        kind: geometry type of the returned parts, ``Polygon`` or ``LineString``; others are dropped.
    """
    west, _, east, _ = geometry.bounds
    parts = []
    for turn in range(int(np.floor((west + 180.0) / 360.0)), int(np.ceil((east + 180.0) / 360.0))):
        offset = 360.0 * turn
        inside = geometry.intersection(shapely.box(offset - 180.0, -90.0, offset + 180.0, 90.0))
        cut_parts = shapely.get_parts(shapely.get_parts(inside))
        parts += [shapely.affinity.translate(part, xoff=-offset) for part in cut_parts if part.geom_type == kind]
    return parts


def join_at_antimeridian(region: BaseGeometry) -> BaseGeometry:
    """Join parts that touch the antimeridian from both sides: move the parts at -180 degrees to beyond 180."""
    west, _, east, _ = shapely.bounds(region)
    parts = shapely.get_parts(region)
    if len(parts) < 2 or west > -180.0 or east < 180.0:
        return region
    bounds = shapely.bounds(parts)
    if bool(np.any((bounds[:, 0] <= -180.0) & (bounds[:, 2] >= 180.0))):
        return region  # all around the Earth
    moved = [
        shapely.transform(part, lambda xy: xy + np.array([360.0, 0.0])) if east_of_it <= 0 else part
        for part, east_of_it in zip(parts, bounds[:, 2], strict=True)
    ]
    return shapely.union_all(moved)


def region_centre(region: BaseGeometry) -> tuple[float, float]:
    """Return longitude (-180 to 180) and latitude of the middle of a region's bounds."""
    west, south, east, north = shapely.bounds(join_at_antimeridian(region)).tolist()
    return wrap_longitudes((west + east) / 2), (south + north) / 2


def wrap_longitudes(longitudes: LongitudesT) -> LongitudesT:
    """Return longitudes in degrees, moved by whole turns to -180 (included) to 180 (excluded)."""
    return (longitudes + 180.0) % 360.0 - 180.0


def spherical_area(geometry: BaseGeometry) -> float:
    """Compute the area of a geometry's polygons on the sphere, in square metres.

    The area inside a ring is the sum over its edges of the integral of -sin(lat) dlon. Over a straight edge this
    integral is exactly ``dlon * sin(mean lat) * sin(h) / h`` with h half the step in latitude.
    """
    return sum(_ring_area(part.exterior) - sum(map(_ring_area, part.interiors)) for part in list_polygons(geometry))


def mean_width(geometry: BaseGeometry) -> float:
    """Compute the area of a geometry's polygons over half their perimeter, in metres.

    For a long sliver this is its width.
    """
    perimeter = 0.0
    for part in list_polygons(geometry):
        for ring in (part.exterior, *part.interiors):
            lon, lat = _radians(ring)
            step = np.cos((lat[1:] + lat[:-1]) / 2) * np.diff(lon)
            perimeter += EARTH_RADIUS * float(np.hypot(step, np.diff(lat)).sum())
    return spherical_area(geometry) / (perimeter / 2) if perimeter else 0.0


def _ring_area(ring: BaseGeometry) -> float:
    """Compute the area inside a ring of either orientation, in square metres."""
    lon, lat = _radians(ring)
    # Steps in longitude sum to zero, so any constant may be subtracted from sin(lat): the middle one keeps the digits
    # of small polygons.
    middle = np.sin((lat.min() + lat.max()) / 2)
    mean = np.sin((lat[1:] + lat[:-1]) / 2) * np.sinc(np.diff(lat) / 2 / np.pi)
    return EARTH_RADIUS**2 * abs(float((np.diff(lon) * (mean - middle)).sum()))


def _radians(ring: BaseGeometry) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    coordinates = np.radians(shapely.get_coordinates(ring))
    return coordinates[:, 0], coordinates[:, 1]
