"""``ee.Geometry``: ``area``, ``length``, ``perimeter``, ``distance``, ``intersects``, ``contains``, ``withinDistance``,
``closestPoint``, ``coordinates``: measures and relations.

Without a projection, measures are those of the globe: lengths of the WGS84 ellipsoid, areas of a sphere with its
surface, edges great circles. With one, they are planar, in its units
(developers.google.com/earth-engine/guides/geometric_operations).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.functions.registration import function
from eechips_local.geometry import geodesy, overlay
from eechips_local.geometry.geometry import coordinates, geometry_type
from eechips_local.geometry.map_projection import WGS84, Coordinates, Projection
from eechips_local.geometry.nearest_points import nearest_points
from eechips_local.geometry.planar_frame import RADIUS, frame_for, has_edges, needs_margin, recast, tolerance_of
from eechips_local.geometry.shapes import is_geographic, leaves
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import ErrorMargin, Geometry


def on_sphere(geometry: Geometry, margin: ErrorMargin | None) -> BaseGeometry:
    """Return a geometry's shape in longitude and latitude with geodesic edges.

    Raises:
        InvalidError: if edges in a projected CRS must be bent, and no error margin allows it.
    """
    exact = margin is None or margin.value == 0.0
    bent = not geometry.geodesic and not is_geographic(geometry.projection) and has_edges(geometry.shape)
    if exact and bent:
        raise needs_margin()
    return recast(geometry, WGS84, True, tolerance_of(margin, geometry.projection)).shape


def in_plane(geometry: Geometry, projection: Projection, margin: ErrorMargin | None) -> BaseGeometry:
    """Return a geometry's shape in a projection, with simple rings."""
    return frame_for(geometry, margin=margin, projection=projection).take(geometry)


# Facts


@function("Geometry.type")
def type_(geometry: Geometry) -> str:
    """Return the GeoJSON type."""
    return geometry_type(geometry)


@function("Geometry.coordinates")
def coordinates_(geometry: Geometry) -> list[Any]:
    """Return GeoJSON coordinates."""
    return coordinates(geometry)


@function("Geometry.projection")
def projection(geometry: Geometry) -> Projection:
    """Return the projection."""
    return geometry.projection


@function("Geometry.geodesic", "Geometry.edgesAreGeodesics")
def geodesic(geometry: Geometry) -> bool:
    """Return whether edges are geodesics."""
    return geometry.geodesic


@function("Geometry.isUnbounded")
def is_unbounded(geometry: Geometry) -> bool:
    """Return whether it is the whole Earth, as the footprint of a constant image."""
    return geometry.unbounded


@function("Geometry.geometries")
def geometries(geometry: Geometry) -> list[Geometry]:
    """Return the parts of a geometry, or the geometry itself alone."""
    shape = geometry.shape
    parts = list(shape.geoms) if hasattr(shape, "geoms") else [shape]
    return [Geometry(part, geometry.projection, geometry.geodesic, geometry.unbounded) for part in parts]


# Measures


@function("Geometry.area")
def area(geometry: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> float:
    """Return square metres, or square units of the projection; parts that overlap count as often as they do."""
    if proj is not None:
        return sum(float(in_plane(part, proj, maxError).area) for part in geometries(geometry))
    return geodesy.area(on_sphere(geometry, maxError))


@function("Geometry.length")
def length(geometry: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> float:
    """Return metres (or units of the projection) of lines and linear rings."""
    if proj is not None:
        shape = recast_for_measure(geometry, proj, maxError)
        return sum(float(leaf.length) for leaf in leaves(shape) if shapely.get_dimensions(leaf) == 1)
    return geodesy.length(on_sphere(geometry, maxError))


@function("Geometry.perimeter")
def perimeter(geometry: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> float:
    """Return metres (or units of the projection) around polygons, holes included."""
    if proj is not None:
        shape = recast_for_measure(geometry, proj, maxError)
        return sum(float(leaf.length) for leaf in leaves(shape) if shapely.get_dimensions(leaf) == 2)
    return geodesy.perimeter(on_sphere(geometry, maxError))


def recast_for_measure(geometry: Geometry, proj: Projection, margin: ErrorMargin | None) -> BaseGeometry:
    """Return the shape in a projection as it is: rings that cross themselves stay so."""
    frame = frame_for(geometry, margin=margin, projection=proj)
    return recast(geometry, proj, False, frame.tolerance).shape


@function("Geometry.distance")
def distance(
    left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None, spherical: bool
) -> float:
    """Return the least distance: metres on the ellipsoid (on the sphere if ``spherical``), or units of the
    projection.
    """
    _refuse_empty(left, right)
    if proj is not None:
        frame = frame_for(left, right, margin=maxError, projection=proj)
        return float(shapely.distance(frame.take(left), frame.take(right)))
    if left.unbounded or right.unbounded:
        return 0.0
    a, b = _nearest(left, right, maxError)
    return geodesy.spherical_distance(a, b) * RADIUS if spherical else geodesy.distance(a, b)


def _refuse_empty(*operands: Geometry) -> None:
    if any(g.shape.is_empty for g in operands):
        raise InvalidError("Cannot compute the distance to an empty geometry.")


def _nearest(left: Geometry, right: Geometry, margin: ErrorMargin | None) -> tuple[Coordinates, Coordinates]:
    tolerance = tolerance_of(margin, WGS84)
    return nearest_points(on_sphere(left, margin), on_sphere(right, margin), tolerance)


@function("Geometry.closestPoints")
def closest_points(
    left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None
) -> dict[str, Geometry]:
    """Return the point of each that is nearest to the other: {"left", "right"}; nothing where one is empty."""
    if left.shape.is_empty or right.shape.is_empty:
        return {}
    if left.unbounded or right.unbounded:
        bounded = right if left.unbounded else left
        inside = Geometry(shapely.point_on_surface(bounded.shape), bounded.projection, bounded.geodesic)
        return {"left": inside, "right": inside}
    if proj is not None:
        frame = frame_for(left, right, margin=maxError, projection=proj)
        ends = shapely.get_coordinates(shapely.shortest_line(frame.take(left), frame.take(right)))
        a, b = ends[0], ends[-1]
        return {"left": Geometry(shapely.Point(a), proj), "right": Geometry(shapely.Point(b), proj)}
    a, b = _nearest(left, right, maxError)
    return {"left": Geometry(shapely.Point(a), WGS84, True), "right": Geometry(shapely.Point(b), WGS84, True)}


@function("Geometry.closestPoint")
def closest_point(
    left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None
) -> Geometry | None:
    """Return the point of the right geometry that is nearest to the left one; null where one is empty."""
    return closest_points(left, right, maxError, proj).get("right")


# Relations


def _relation(
    left: Geometry,
    right: Geometry,
    margin: ErrorMargin | None,
    proj: Projection | None,
    relate: Callable[[BaseGeometry, BaseGeometry], Any],
) -> bool:
    frame = frame_for(left, right, margin=margin, projection=proj)
    return bool(relate(frame.take(left), frame.take(right)))


@function("Geometry.intersects")
def intersects(left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> bool:
    """Return whether they have a point in common."""
    if left.unbounded or right.unbounded:
        return not left.shape.is_empty and not right.shape.is_empty
    return _relation(left, right, maxError, proj, shapely.intersects)


@function("Geometry.disjoint")
def disjoint(left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> bool:
    """Return whether they have no point in common."""
    return not intersects(left, right, maxError, proj)


@function("Geometry.contains")
def contains(left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> bool:
    """Return whether the left one contains the right one; nothing contains an empty geometry."""
    if left.unbounded or right.unbounded:
        return left.unbounded and not right.shape.is_empty
    frame = frame_for(left, right, margin=maxError, projection=proj)
    relate = overlay.contains if frame.is_globe else shapely.contains
    return bool(relate(frame.take(left), frame.take(right)))


@function("Geometry.containedIn")
def contained_in(left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> bool:
    """Return whether the right one contains the left one."""
    return contains(right, left, maxError, proj)


@function("Geometry.withinDistance")
def within_distance(
    left: Geometry, right: Geometry, distance: float, maxError: ErrorMargin | None, proj: Projection | None
) -> bool:
    """Return whether some points of both are at most so many metres (or units of the projection) apart."""
    if left.shape.is_empty or right.shape.is_empty:
        return False
    return _distance(left, right, maxError, proj) <= distance


def _distance(left: Geometry, right: Geometry, margin: ErrorMargin | None, proj: Projection | None) -> float:
    return distance(left, right, margin, proj, False)
