"""``ee.Geometry``: ``buffer``, ``union``, ``intersection``, ``difference``, ``dissolve``, ``simplify``, ``centroid``,
``bounds``, ``convexHull``, ``transform``, ``cutLines``, ``coveringGrid``: geometries made from others.

Projections and edges follow the rules of :mod:`eechips_local.functions.vectors.geometries`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.context import Context
from eechips_local.functions.primitives.projections import at_scale
from eechips_local.functions.registration import function
from eechips_local.functions.vectors.geometries import geometries, in_plane, on_sphere, recast_for_measure
from eechips_local.geometry import geodesic_buffer, geodesy, overlay
from eechips_local.geometry.longitude_boxes import eastward
from eechips_local.geometry.map_projection import WGS84, Coordinates, Projection
from eechips_local.geometry.planar_frame import (
    DEFAULT_TOLERANCE,
    Frame,
    frame_for,
    has_edges,
    projection_unit,
    recast,
    tolerance_of,
)
from eechips_local.geometry.shapes import gather, is_geographic, leaves
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.values import WHOLE_EARTH, Collection, ErrorMargin, Feature, Geometry

_BUFFER_ERROR = 0.01  # of the distance: the default of Geometry.buffer's maxError


_MOST_CELLS_AWAY = 1e15  # from the origin: whole numbers that doubles hold exactly


_MOST_COLUMNS = 1_000_000  # of a covering grid


# Set operations


def _combined(
    left: Geometry,
    right: Geometry,
    margin: ErrorMargin | None,
    proj: Projection | None,
    combine: Callable[[BaseGeometry, BaseGeometry], BaseGeometry],
) -> Geometry:
    frame = frame_for(left, right, margin=margin, projection=proj)
    return frame.give(combine(frame.take(left), frame.take(right)))


@function("Geometry.intersection")
def intersection(left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> Geometry:
    """Return the intersection; an empty GeometryCollection if there is none."""
    if left.unbounded or right.unbounded:
        return right if left.unbounded else left
    return _combined(left, right, maxError, proj, overlay.intersection)


@function("Geometry.union")
def union(left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> Geometry:
    """Return the union."""
    if left.unbounded or right.unbounded:
        return WHOLE_EARTH
    return _combined(left, right, maxError, proj, overlay.union)


@function("Geometry.difference")
def difference(left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> Geometry:
    """Return the left geometry without the right one."""
    if right.unbounded:
        return Geometry(shapely.GeometryCollection(), left.projection, left.geodesic)
    return _combined(left, right, maxError, proj, overlay.difference)


@function("Geometry.symmetricDifference")
def symmetric_difference(
    left: Geometry, right: Geometry, maxError: ErrorMargin | None, proj: Projection | None
) -> Geometry:
    """Return the area that exactly one of them covers."""
    if left.unbounded and right.unbounded:
        return Geometry(shapely.GeometryCollection(), left.projection, left.geodesic)
    return _combined(left, right, maxError, proj, overlay.symmetric_difference)


@function("Geometry.dissolve")
def dissolve(geometry: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> Geometry:
    """Return the union of a geometry's parts; a single geometry as it is."""
    if not hasattr(geometry.shape, "geoms"):
        return geometry
    frame = frame_for(geometry, margin=maxError, projection=proj)
    parts = [frame.take(part) for part in geometries(geometry)]
    return frame.give(overlay.union_all(parts))


@function("Geometry.convexHull")
def convex_hull(geometry: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> Geometry:
    """Return the convex hull."""
    frame = frame_for(geometry, margin=maxError, projection=proj)
    return frame.give(shapely.convex_hull(frame.take(geometry)))


# Geometries made of one


@function("Geometry.bounds")
def bounds(geometry: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> Geometry:
    """Return the bounding rectangle: planar, in EPSG:4326 or the projection."""
    target = proj or WGS84
    if geometry.unbounded and proj is None:
        return WHOLE_EARTH
    if geometry.shape.is_empty:
        return Geometry(shapely.GeometryCollection(), target)
    return Geometry(_rectangle(*_extent(geometry, target, maxError)), target)


def _extent(geometry: Geometry, target: Projection, margin: ErrorMargin | None) -> tuple[float, float, float, float]:
    if geometry.projection == target:
        round_edges = geometry.geodesic and has_edges(geometry.shape)
        extent = geodesy.bounds(geometry.shape) if round_edges else geometry.shape.bounds
    else:
        tolerance = tolerance_of(margin, target)
        extent = recast(geometry, target, False, tolerance).shape.bounds
    return eastward(extent) if is_geographic(target) else extent


def _rectangle(west: float, south: float, east: float, north: float) -> BaseGeometry:
    return shapely.Polygon([(west, south), (east, south), (east, north), (west, north), (west, south)])


@function("Geometry.centroid")
def centroid(geometry: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> Geometry:
    """Return the centre of the parts of highest dimension, in EPSG:4326 or the projection."""
    if geometry.shape.is_empty:
        return Geometry(shapely.GeometryCollection(), proj or WGS84)
    if proj is not None:
        return Geometry(in_plane(geometry, proj, maxError).centroid, proj, is_geographic(proj))
    centre = geodesy.centroid(on_sphere(geometry, maxError))
    return Geometry(shapely.GeometryCollection() if centre is None else shapely.Point(centre), WGS84, True)


@function("Geometry.buffer")
def buffer(geometry: Geometry, distance: float, maxError: ErrorMargin | None, proj: Projection | None) -> Geometry:
    """Return grown by metres (or units of the projection); shrunk if negative. By default exact to 1% of that."""
    if not math.isfinite(distance):
        raise InvalidError("The distance must be finite.")
    if geometry.unbounded:
        return geometry
    margin = maxError
    if margin is None or (margin.value == 0.0 and margin.unit != "infinite"):
        unit = projection_unit(proj) if proj else 1.0
        margin = ErrorMargin(max(abs(distance) * _BUFFER_ERROR * unit, 1e-3))
    if proj is not None:
        frame = frame_for(geometry, margin=margin, projection=proj)
        tolerance = frame.tolerance / projection_unit(proj)
        quarter = max(geodesic_buffer.corners_of_circle(abs(distance), tolerance) // 4, 2) if distance else 2
        return frame.give(gather([shapely.buffer(frame.take(geometry), distance, quad_segs=quarter)]))
    tolerance = tolerance_of(margin, geometry.projection)
    sphere = recast(geometry, WGS84, True, min(tolerance / 2.0, abs(distance) or DEFAULT_TOLERANCE)).shape
    return Geometry(geodesic_buffer.buffer(sphere, distance, tolerance), WGS84, True)


@function("Geometry.simplify")
def simplify(geometry: Geometry, maxError: ErrorMargin | None, proj: Projection | None) -> Geometry:
    """Return fewer vertices, off by no more than the margin."""
    frame = frame_for(geometry, margin=maxError or ErrorMargin(DEFAULT_TOLERANCE), projection=proj)
    unit = 1.0 if frame.centre is not None else projection_unit(frame.projection)
    tolerance = tolerance_of(maxError, proj or geometry.projection, 0.0) / unit
    return frame.give(shapely.simplify(frame.take(geometry), tolerance))


@function("Geometry.transform")
def transform(geometry: Geometry, proj: Projection, maxError: ErrorMargin | None, geodesic: bool | None) -> Geometry:
    """Return a geometry in another projection; edges are geodesic by default where that is geographic."""
    edges = is_geographic(proj) if geodesic is None else geodesic
    if edges and not is_geographic(proj):
        raise InvalidError("Geodesic edges need a geographic CRS.")
    frame_for(geometry, margin=maxError, projection=proj)  # refuses where a margin is needed
    return recast(geometry, proj, edges, tolerance_of(maxError, proj))


@function("Geometry.cutLines")
def cut_lines(
    geometry: Geometry, distances: list[float], maxError: ErrorMargin | None, proj: Projection | None
) -> Geometry:
    """Return lines cut at distances along them; a MultiLineString, empty for anything but lines."""
    shape = recast_for_measure(geometry, proj, maxError) if proj is not None else on_sphere(geometry, maxError)
    marks = sorted({float(d) for d in distances if d > 0.0})
    lines = [leaf for leaf in leaves(shape) if shapely.get_dimensions(leaf) == 1]
    pieces = [piece for line in lines for piece in _cut(shapely.get_coordinates(line), marks, proj is None)]
    return Geometry(shapely.MultiLineString(pieces), proj or WGS84, proj is None)


def _cut(points: Coordinates, marks: list[float], on_ellipsoid: bool) -> Iterator[Coordinates]:
    """Yield the pieces of a line between marks: distances from its start."""
    if on_ellipsoid:
        azimuths, _, steps = geodesy.GEOD.inv(points[:-1, 0], points[:-1, 1], points[1:, 0], points[1:, 1])
    else:
        steps, azimuths = np.linalg.norm(np.diff(points, axis=0), axis=1), np.zeros(len(points) - 1)
    along = np.concatenate([[0.0], np.cumsum(steps)])

    def at(mark: float) -> Coordinates:
        edge = min(int(np.searchsorted(along, mark, side="right")) - 1, len(steps) - 1)
        rest = mark - along[edge]
        if on_ellipsoid:
            lon, lat, _ = geodesy.GEOD.fwd(points[edge, 0], points[edge, 1], azimuths[edge], rest)
            lon += 360.0 * round((points[edge, 0] - lon) / 360.0)
            return np.array([[lon, lat]])
        share = rest / steps[edge] if steps[edge] else 0.0
        point: Coordinates = (points[edge] + (points[edge + 1] - points[edge]) * share)[None, :]
        return point

    ends = [0.0, *(mark for mark in marks if mark < along[-1]), float(along[-1])]
    for start, end in pairwise(ends):
        between = points[(along > start) & (along < end)]
        yield np.vstack([at(start), between, at(end) if end < along[-1] else points[-1:]])


@function("Geometry.coveringGrid")
def covering_grid(context: Context, geometry: Geometry, proj: Projection, scale: float | None) -> Collection:
    """Return the cells of a grid that meet a geometry: rectangles between whole numbers of the (scaled) projection.

    Each has ``system:index`` "column,row" and lies in the projection's CRS.
    """
    grid = proj if scale is None else at_scale(proj, scale)
    shape = Frame(grid, None, False, DEFAULT_TOLERANCE).take(geometry)

    def cells() -> Iterator[Feature]:
        if shape.is_empty:
            return
        shapely.prepare(shape)
        left, low, right, high = shape.bounds
        if right - left > _MOST_COLUMNS:
            raise MemoryLimitError()
        if max(map(abs, shape.bounds)) > _MOST_CELLS_AWAY:
            raise InvalidError("The geometry is too far from the origin of the grid to count its cells.")
        columns = np.arange(math.floor(left), max(math.ceil(right), math.floor(left) + 1))
        for row in range(math.floor(low), max(math.ceil(high), math.floor(low) + 1)):
            context.check_time()
            boxes = shapely.box(columns, row, columns + 1, row + 1)
            for column in columns[shapely.intersects(shape, boxes)]:
                cell = shapely.box(column, row, column + 1, row + 1)
                cell = shapely.transform(cell, lambda xy: _applied(grid.transform, xy))
                yield Feature(Geometry(cell, Projection(grid.crs)), {"system:index": f"{column},{row}"})

    return Collection("Feature", lambda _: cells())


def _applied(t: Affine, points: Coordinates) -> Coordinates:
    """Return points of shape (n, 2) taken through an affine transform."""
    x, y = points[:, 0], points[:, 1]
    return np.column_stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f])
