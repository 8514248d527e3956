"""Buffers of any size, on a sphere that takes latitudes as they are, as S2 does; the error margin decides how many
corners they have.

Earth Engine's are so too: the tests of geetools, which run against the service, record squares around buffers of points
at 42° N (`tests/test_Image/test_to_grid.npz`), which are 0.375% wider than high. Circles of the ellipsoid are not; on
the sphere the ratio is that of the ellipsoid's two radii of curvature there. The squares, and the pixels of a buffer of
100 m there, fit 16 corners at 1.0065 of the radius, one of them at an azimuth of 18.6°. What that angle follows from is
not known. Over all angles such bounds are as wide as those of corners due north, east, south and west, on the circle.

Small ones are made in the azimuthal equidistant plane around the shape; large ones are put together from pieces along
the outline; those beyond a hemisphere are what is left by what lies near the antipodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.geometry import overlay
from eechips_local.geometry.geodesy import AUTHALIC_SPHERE, from_azimuthal, to_azimuthal
from eechips_local.geometry.map_projection import (
    WGS84,
    Coordinates,
    great_circle_middle,
    lonlat_points,
    rebuilt,
    unit_vectors,
)
from eechips_local.geometry.planar_frame import RADIUS, Frame, bend, towards
from eechips_local.geometry.shapes import close_at_pole, gather, leaves, open_at_pole, unwrapped, valid
from eechips_local.values.values import Geometry

_LOCAL = 300_000.0  # metres: within it an azimuthal equidistant plane keeps distances to 0.04% (r² / 6R²)
_FAR = 8e6  # metres: a buffer of that size may be larger than a hemisphere
_MERIDIAN = math.pi * AUTHALIC_SPHERE.a  # metres from pole to pole
_METRES_PER_DEGREE = 111_320.0
_FINEST = 1e-4  # share of the distance that the outline may always be off
_MAX_CORNERS = 4096
_MOST_VERTICES = 500  # of a piece: the cost of a buffer grows faster than its vertices


def corners_of_circle(radius: float, tolerance: float) -> int:
    """Return corners of a polygon inside a circle whose edges come within ``tolerance`` of it; a multiple of four.

    So it has its corners due north, east, south and west, and its bounds are the circle's.
    """
    if tolerance >= radius:
        return 8
    angle = math.acos(1.0 - tolerance / radius)
    if angle * _MAX_CORNERS <= math.pi:
        return _MAX_CORNERS
    return min(max(4 * math.ceil(math.pi / angle / 4.0), 8), _MAX_CORNERS)


def circles(points: Coordinates, radius: float, corners: int) -> npt.NDArray[np.float64]:
    """Return closed rings around points of shape (n, 2), counter-clockwise from north: shape (n, corners + 1, 2)."""
    azimuth = -360.0 / corners * np.arange(corners)
    count = len(points)
    lon, lat, _ = AUTHALIC_SPHERE.fwd(
        np.repeat(points[:, 0], corners),
        np.repeat(points[:, 1], corners),
        np.tile(azimuth, count),
        np.full(count * corners, radius),
    )
    lon = np.asarray(lon) + 360.0 * np.round((np.repeat(points[:, 0], corners) - np.asarray(lon)) / 360.0)
    rings = np.stack([lon, np.asarray(lat)], axis=-1).reshape(count, corners, 2)
    return np.concatenate([rings, rings[:, :1]], axis=1)


def buffer(shape: BaseGeometry, metres: float, tolerance: float) -> BaseGeometry:
    """Return a shape grown by a distance, or shrunk by a negative one.

    Args:
        shape: longitude and latitude, geodesic edges.
        metres: on the sphere.
        tolerance: metres by which the outline may be off.

    Returns:
        Polygons (geodesic edges); an empty collection where nothing is left.
    """
    if shape.is_empty or (metres <= 0.0 and not any(shapely.get_dimensions(p) == 2 for p in leaves(shape))):
        return shape if metres == 0.0 else shapely.GeometryCollection()
    if metres == 0.0:
        return shape
    tolerance = max(tolerance, abs(metres) * _FINEST)
    if metres > _FAR:
        return _buffer_far(shape, metres, tolerance)
    if shape.geom_type == "Point" and metres > 0.0 and _clear_of_poles(shape, metres):
        return shapely.Polygon(circles(shapely.get_coordinates(shape), metres, corners_of_circle(metres, tolerance))[0])
    west, south, east, north = shape.bounds
    centre = np.array([(west + east) / 2.0, (south + north) / 2.0])
    points = shapely.get_coordinates(shape)
    start = np.broadcast_to(centre, points.shape)
    _, _, far = AUTHALIC_SPHERE.inv(start[:, 0], start[:, 1], points[:, 0], points[:, 1])
    if float(np.max(far)) + abs(metres) <= _LOCAL:
        return _buffer_nearby(shape, centre, metres, tolerance)
    return _buffer_anywhere(shape, metres, tolerance)


def _clear_of_poles(point: BaseGeometry, metres: float) -> bool:
    return bool((90.0 - abs(point.y)) * 110_000.0 > metres)


def _buffer_nearby(shape: BaseGeometry, centre: Coordinates, metres: float, tolerance: float) -> BaseGeometry:
    """Return buffers in the azimuthal equidistant plane of a centre."""

    def flat(points: Coordinates) -> Coordinates:
        return to_azimuthal(AUTHALIC_SPHERE, centre, points)

    def round_again(points: Coordinates, ring: bool) -> Coordinates:
        lonlat = from_azimuthal(AUTHALIC_SPHERE, centre, points)
        lonlat[:, 0] += 360.0 * np.round((centre[0] - lonlat[:, 0]) / 360.0)
        return close_at_pole(unwrapped(lonlat)) if ring else unwrapped(lonlat)

    def bent(line: Coordinates, ring: bool) -> Coordinates:
        line = open_at_pole(line) if ring else line
        return flat(bend(line, towards(flat, tolerance / 2.0)))

    quarter = max(corners_of_circle(abs(metres), tolerance) // 4, 2)
    grown = shapely.buffer(valid(rebuilt(shape, bent)), metres, quad_segs=quarter)
    return rebuilt(gather([grown]), round_again)


def _buffer_anywhere(shape: BaseGeometry, metres: float, tolerance: float) -> BaseGeometry:
    """Return buffers of any size: the shape together with, or without, a band along its outline."""
    band = shapely.union_all(
        [piece for line in _outlines(shape, tolerance / 4.0) for piece in _band(line, abs(metres), tolerance)]
    )
    own = Frame(WGS84, None, False, min(tolerance, 1000.0)).take(Geometry(shape, WGS84, True))
    combined = overlay.union(own, band) if metres > 0.0 else overlay.difference(own, band)
    return gather(leaf for leaf in leaves(combined) if leaf.geom_type == "Polygon")


def _outlines(shape: BaseGeometry, tolerance: float) -> Iterator[Coordinates]:
    """Yield points, lines and rings of a shape, without vertices that matter less than a tolerance in metres."""
    for leaf in leaves(shape):
        for line in (leaf.exterior, *leaf.interiors) if leaf.geom_type == "Polygon" else (leaf,):
            points = shapely.get_coordinates(line)
            if len(points) == 1:
                yield points
                continue
            opened = shapely.LineString(open_at_pole(points))
            yield shapely.get_coordinates(shapely.simplify(opened, tolerance / _METRES_PER_DEGREE))


def _band(line: Coordinates, reach: float, tolerance: float) -> Sequence[BaseGeometry]:
    """Return the area within ``reach`` metres of a line: pieces in -180…180 degrees."""
    if reach > _LOCAL / 2.0 or len(line) == 1:
        # A capsule is short of the true one by step² tan(reach / R) / 8R.
        bulge = math.tan(min(reach / RADIUS, 1.4)) / (8.0 * RADIUS)
        step = min(max(math.sqrt(tolerance / 2.0 / bulge), 1_000.0), 500_000.0)
        return _capsules(_stepped(line, step), reach, corners_of_circle(reach, tolerance))
    planar = Frame(WGS84, None, False, 1000.0)
    pieces = []
    for run in _runs(_stepped(line, _LOCAL / 4.0), _LOCAL / 2.0):
        grown = _buffer_nearby(shapely.LineString(run), run[len(run) // 2], reach, tolerance)
        pieces.append(planar.take(Geometry(grown, WGS84, True)))
    return pieces


def _runs(line: Coordinates, radius: float) -> Iterator[Coordinates]:
    """Yield pieces of a line that stay within so many metres of their start; each begins where the last one ended."""
    vectors = unit_vectors(line)
    least = math.cos(radius / RADIUS)
    start = 0
    while start < len(line) - 1:
        outside = vectors[start + 1 :] @ vectors[start] < least
        end = start + 1 + int(np.argmax(outside)) if outside.any() else len(line) - 1
        end = min(max(end, start + 1), start + _MOST_VERTICES)
        yield line[start : end + 1]
        start = end


def _buffer_far(shape: BaseGeometry, metres: float, tolerance: float) -> BaseGeometry:
    """Return buffers larger than a hemisphere: all but what lies near the antipodes of all of the shape."""
    globe = shapely.box(-180.0, -90.0, 180.0, 90.0)
    rest = _MERIDIAN - metres
    if rest > 0.0:
        points = np.vstack([_stepped(line, 500_000.0) for line in _outlines(shape, tolerance / 4.0)])
        antipodes = np.column_stack([points[:, 0] - 180.0, -points[:, 1]])
        caps = [cap for at in antipodes for cap in _capsules(at[None, :], rest, corners_of_circle(rest, tolerance))]
        globe = shapely.difference(globe, shapely.intersection_all(caps))
    return gather([shapely.segmentize(globe, 5.0)])


def _stepped(line: Coordinates, step: float) -> Coordinates:
    """Return a line of great circle arcs with vertices no farther apart than ``step`` metres."""
    vectors = unit_vectors(line)
    start, end = vectors[:-1], vectors[1:]
    angle = np.arctan2(np.linalg.norm(np.cross(start, end), axis=1), np.einsum("ij,ij->i", start, end))
    count = np.maximum(np.ceil(angle * RADIUS / step), 1.0).astype(np.intp)
    if (count == 1).all():
        return line
    edge = np.repeat(np.arange(len(count)), count)
    share = (np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)) / count[edge]
    # Between the ends of an arc a point is sin((1 - s) t) a + sin(s t) b, up to its length.
    first, second = np.sin((1.0 - share) * angle[edge]), np.sin(share * angle[edge])
    between = lonlat_points(first[:, None] * start[edge] + second[:, None] * end[edge])
    own = share == 0.0
    between[own] = line[edge[own]]
    return unwrapped(np.vstack([between, line[-1:]]))


def _capsules(points: Coordinates, reach: float, corners: int) -> Sequence[BaseGeometry]:
    """Return the area within ``reach`` metres of each edge of a line (or of a lone point), in -180…180 degrees.

    Each is the hull, in the gnomonic plane, of the circles around both ends.
    """
    rings = circles(points, reach, corners)[:, :-1]
    pairs = [rings[:1]] if len(points) == 1 else [rings[i : i + 2] for i in range(len(rings) - 1)]
    middles = points if len(points) == 1 else great_circle_middle(points[:-1], points[1:])
    capsules = []
    for pair, middle in zip(pairs, middles, strict=True):
        frame = Frame(WGS84, (float(middle[0]), float(middle[1])), True, 1000.0)
        hull = shapely.convex_hull(frame.take(Geometry(shapely.MultiPoint(pair.reshape(-1, 2)), WGS84, True)))
        capsules.append(Frame(WGS84, None, False, 1000.0).take(frame.give(hull)))
    return capsules
