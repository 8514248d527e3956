"""Measure geometries on the Earth: areas, lengths, perimeters, distances, bounds and centroids, on the ellipsoid or on
a sphere.

Shapes here are longitude/latitude shapes with geodesic edges, as ``planar_frame.recast`` makes them. Lengths are those
of the WGS84 ellipsoid (Karney 2013, by pyproj.Geod). Areas and centroids are those of a sphere on which latitudes are
taken as they are, as in S2: the service's areas are those of the sphere with as much surface as the ellipsoid
(https://github.com/shapely/shapely/issues/726, and the polygon of csaybar/EEwPython's 4_features.ipynb, to ten digits).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from eechips_local.geometry.map_projection import WGS84, Coordinates, lonlat_points, unit_vectors
from eechips_local.geometry.planar_frame import RADIUS, Frame, gnomonic
from eechips_local.geometry.shapes import leaves, open_at_pole, valid
from eechips_local.values.values import Geometry

GEOD = Geod(ellps="WGS84")
AUTHALIC_SPHERE = Geod(a=6371007.180918475, b=6371007.180918475)
"""The sphere with the surface of the WGS84 ellipsoid (Snyder 1987, equation 3-13)."""

_SMALL = 10_000.0  # metres: within it the gnomonic plane keeps areas to 4e-6 (3r² / 2R²)
_HALF = 0.4  # share of the sphere in a polygon's bounds above which it may be larger than a hemisphere
_STRIPS = range(-180, 180, 60)


def to_azimuthal(geod: Geod, centre: Coordinates, points: Coordinates) -> Coordinates:
    """Return longitude/latitude points in metres in the azimuthal equidistant plane of a centre of shape (2,)."""
    start = np.broadcast_to(centre, points.shape)
    azimuth, _, far = geod.inv(start[:, 0], start[:, 1], points[:, 0], points[:, 1])
    angle = np.radians(azimuth)
    return np.column_stack([far * np.sin(angle), far * np.cos(angle)])


def from_azimuthal(geod: Geod, centre: Coordinates, points: Coordinates) -> Coordinates:
    """Return longitude and latitude of points in the azimuthal equidistant plane of a centre of shape (2,)."""
    start, azimuth = np.broadcast_to(centre, points.shape), np.degrees(np.arctan2(points[:, 0], points[:, 1]))
    lon, lat, _ = geod.fwd(start[:, 0], start[:, 1], azimuth, np.hypot(points[:, 0], points[:, 1]))
    return np.column_stack([lon, lat])


def area(shape: BaseGeometry) -> float:
    """Return square metres of the polygons of a shape; those that overlap count as often as they do."""
    return sum(_polygon_area(polygon) for polygon in leaves(shape) if polygon.geom_type == "Polygon")


def _polygon_area(polygon: BaseGeometry) -> float:
    west, south, east, north = polygon.bounds
    if (east - west) * (math.sin(math.radians(north)) - math.sin(math.radians(south))) / 720.0 > _HALF:
        # What is larger than a hemisphere has no inside that Geod would know: measure it strip by strip.
        planar = Frame(WGS84, None, False, 100.0).take(Geometry(polygon, WGS84, True))
        strips = [shapely.intersection(planar, shapely.box(x, y, x + 60, y + 90)) for x in _STRIPS for y in (-90, 0)]
        return sum(_simple_area(part) for strip in strips for part in leaves(strip) if part.geom_type == "Polygon")
    return sum(_simple_area(part) for part in leaves(_untangled(polygon)) if part.geom_type == "Polygon")


def _untangled(polygon: BaseGeometry) -> BaseGeometry:
    """Return a polygon whose rings do not cross: great circles that do not may well do so as lines of a map."""
    frame = gnomonic(Geometry(polygon, WGS84, True), tolerance=1.0)
    if frame.centre is None:
        return valid(polygon)
    flat = frame.lay(Geometry(polygon, WGS84, True))
    return polygon if flat.is_valid else frame.give(valid(flat)).shape


def _simple_area(polygon: BaseGeometry) -> float:
    return abs(_ring_area(polygon.exterior)) - sum(abs(_ring_area(hole)) for hole in polygon.interiors)


def _ring_area(ring: BaseGeometry) -> float:
    points = shapely.get_coordinates(ring)
    ring_area, _ = AUTHALIC_SPHERE.polygon_area_perimeter(points[:, 0], points[:, 1])
    return float(ring_area)


def line_length(points: Coordinates) -> float:
    """Return metres along a line."""
    return float(GEOD.line_length(points[:, 0], points[:, 1])) if len(points) > 1 else 0.0


def length(shape: BaseGeometry) -> float:
    """Return metres of the lines and linear rings of a shape."""
    lines = [leaf for leaf in leaves(shape) if shapely.get_dimensions(leaf) == 1]
    return sum(line_length(shapely.get_coordinates(line)) for line in lines)


def perimeter(shape: BaseGeometry) -> float:
    """Return metres of the rings of the polygons of a shape, holes included."""
    rings = [r for leaf in leaves(shape) if leaf.geom_type == "Polygon" for r in (leaf.exterior, *leaf.interiors)]
    return sum(line_length(open_at_pole(shapely.get_coordinates(ring))) for ring in rings)


def distance(a: Coordinates, b: Coordinates) -> float:
    """Return metres between two points of shape (2,)."""
    _, _, metres = GEOD.inv(a[0], a[1], b[0], b[1])
    return float(metres)


def spherical_distance(a: Coordinates, b: Coordinates) -> float:
    """Return radians between two points of shape (2,) on the sphere."""
    first, second = unit_vectors(np.array([a, b]))
    return float(math.atan2(float(np.linalg.norm(np.cross(first, second))), float(first @ second)))


def bounds(shape: BaseGeometry) -> tuple[float, float, float, float]:
    """Return west, south, east, north of a shape, with the latitudes that its edges rise to between their ends."""
    west, south, east, north = shape.bounds
    for leaf in leaves(shape):
        lines = (leaf.exterior, *leaf.interiors) if leaf.geom_type == "Polygon" else (leaf,)
        for line in lines:
            low, high = _latitudes(shapely.get_coordinates(line))
            south, north = min(south, low), max(north, high)
    return west, south, east, north


def _latitudes(points: Coordinates) -> tuple[float, float]:
    """Return the least and greatest latitude of a line of great circle arcs."""
    low, high = float(points[:, 1].min()), float(points[:, 1].max())
    if len(points) < 2:
        return low, high
    vectors = unit_vectors(points)
    start, end = vectors[:-1], vectors[1:]
    normal = _cross(start, end)
    size = np.linalg.norm(normal, axis=1)
    bowed = size > 1e-12
    start, end, normal = start[bowed], end[bowed], normal[bowed] / size[bowed, None]
    # The northernmost point of a great circle is the pole's foot on its plane; its antipode is the southernmost.
    foot = np.array([0.0, 0.0, 1.0]) - normal[:, 2:] * normal
    for sign in (1.0, -1.0):
        top = sign * foot
        inside = (np.einsum("ij,ij->i", _cross(start, top), normal) > 0.0) & (
            np.einsum("ij,ij->i", _cross(top, end), normal) > 0.0
        )
        if inside.any():
            reached = lonlat_points(top[inside])[:, 1]
            low, high = min(low, float(reached.min())), max(high, float(reached.max()))
    return low, high


def _cross(one: Coordinates, other: Coordinates) -> Coordinates:
    """Return the cross products of rows; ``numpy.cross`` takes ten times as long for a handful of them."""
    (a, b, c), (d, e, f) = one.T, other.T
    return np.column_stack([b * f - c * e, c * d - a * f, a * e - b * d])


def centroid(shape: BaseGeometry) -> Coordinates | None:
    """Return longitude and latitude of the centre of a shape's parts of highest dimension, or None if it is empty."""
    parts = leaves(shape)
    if not parts:
        return None
    highest = max(int(shapely.get_dimensions(part)) for part in parts)
    total = np.zeros(3)
    for part in parts:
        if shapely.get_dimensions(part) == highest:
            total += _moment(part, highest)
    if not np.linalg.norm(total) > 0.0:
        total = unit_vectors(shapely.get_coordinates(parts[0]))[0]
    centre: Coordinates = lonlat_points(total[None, :])[0]
    return centre


def _moment(part: BaseGeometry, dimension: int) -> npt.NDArray[np.float64]:
    """Return the integral of the position vector over a point, line or polygon of the unit sphere."""
    points = shapely.get_coordinates(part)
    vectors: npt.NDArray[np.float64] = unit_vectors(points)
    first: npt.NDArray[np.float64] = vectors[0]
    if dimension == 0:
        return first
    if dimension == 1:
        start, end = vectors[:-1], vectors[1:]
        both = start + end
        chord = np.linalg.norm(end - start, axis=1, keepdims=True)
        line_moment: npt.NDArray[np.float64] = (both / np.linalg.norm(both, axis=1, keepdims=True) * chord).sum(axis=0)
        return line_moment
    if math.radians(max(part.bounds[3] - part.bounds[1], part.bounds[2] - part.bounds[0])) * RADIUS < _SMALL:
        # The ring's sum below would cancel; a plane is as good as the sphere at this size.
        west, south, east, north = part.bounds
        frame = Frame(WGS84, ((west + east) / 2.0, (south + north) / 2.0), True, 0.0)
        flat = frame.take(Geometry(part, WGS84, True))
        centre = frame.give(flat.centroid).shape
        flat_moment: npt.NDArray[np.float64] = unit_vectors(shapely.get_coordinates(centre))[0] * flat.area / RADIUS**2
        return flat_moment
    # By Stokes the integral of the normal over a patch is half that of r × dr around it: arc angle times its normal.
    total = np.zeros(3)
    for position, ring in enumerate((part.exterior, *part.interiors)):
        corners = unit_vectors(open_at_pole(shapely.get_coordinates(ring)))
        normal = np.cross(corners[:-1], corners[1:])
        sine = np.linalg.norm(normal, axis=1)
        angle = np.arctan2(sine, np.einsum("ij,ij->i", corners[:-1], corners[1:]))
        moment = (normal * (angle / np.where(sine > 0.0, sine, 1.0))[:, None]).sum(axis=0) / 2.0
        if moment @ corners.mean(axis=0) < 0.0:
            moment = -moment
        total += moment if position == 0 else -moment
    return total
