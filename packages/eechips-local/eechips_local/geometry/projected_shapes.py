"""Move shapes into projections: across the seam of a projection, around poles, and by whole turns.

Every region becomes pixels or rings of a projection here. Longitudes are a circle, so that east may be less than west
(https://developers.google.com/earth-engine/apidocs/ee-geometry-bbox).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.geometry.map_projection import (
    WGS84,
    Coordinates,
    Edges,
    Midpoints,
    Mover,
    Projection,
    allowed_gaps,
    great_circle_middle,
    move_shape,
    rebuilt,
    short_midpoints,
    straight_midpoints,
    subdivide,
    transform_points,
    transform_shape,
)
from eechips_local.geometry.projection_seam import WHOLE, Seam, seam_of
from eechips_local.geometry.shapes import close_at_pole, gather, leaves, unwrapped, valid
from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, parse_crs

# Pieces keep off the seam by this, so that rounding does not take their edges to its other side: 0.1 mm.
_OFF_SEAM = 1e-9
_TOUCHES = 1e-7
_QUARTER = 90.0
_SNAP = 1e-3  # of the tolerance
_FARTHEST = 1e9  # metres: 1.5 degrees from the other pole of a polar map
# Pixels beyond a grid from which wide lines and markers may reach into it.
_REACH = 64.0
# Shapes are kept that have no more points before and after they are projected: 64 of them take 40 MB.
_KEPT_POINTS = 20_000


def project_shape(
    shape: BaseGeometry, source: Projection, target: Projection, *, geodesic: bool, tolerance: float
) -> BaseGeometry:
    """Move a shape into a projection.

    Across the seam of a geographic CRS or a cylindrical projection, the shape stays in one piece, whose x goes on
    beyond the map; it begins on the map. Elsewhere it is cut in pieces on both sides of the map.

    Args:
        shape: in the coordinates of ``source``.
        source: where it is.
        target: where it goes.
        geodesic: whether edges follow great circles; only for longitude and latitude.
        tolerance: the greatest distance, in coordinates of ``target``, between a true edge and the result's.
    """
    if shape.is_empty:
        return shape
    if shapely.get_num_coordinates(shape) > _KEPT_POINTS:
        return _project(shape, source, target, geodesic, tolerance)
    kept = _kept_shapes(shape, source, target, geodesic, tolerance)
    projected = kept[0] if kept else _project(shape, source, target, geodesic, tolerance)
    if not kept and shapely.get_num_coordinates(projected) <= _KEPT_POINTS:
        kept.append(projected)
    # A copy: callers prepare shapes, and GEOS builds the index of a prepared shape without a lock.
    return shapely.transform(projected, lambda points: points) if kept else projected


# The images of a collection are clipped by one shape, most of them in one projection or a few.
@lru_cache(maxsize=64)
def _kept_shapes(*parameters: Hashable) -> list[BaseGeometry]:
    """Return the list in which the shape of these parameters of ``_project`` is kept."""
    return []


def _project(
    shape: BaseGeometry, source: Projection, target: Projection, geodesic: bool, tolerance: float
) -> BaseGeometry:
    seam = seam_of(target.crs)
    if not parse_crs(source.crs).is_geographic:
        return _from_map(shape, source, target, seam, tolerance)
    if not _needs_care(shape, source, seam):
        return transform_shape(shape, source, target, geodesic=geodesic, tolerance=tolerance)

    def degrees(points: Coordinates) -> Coordinates:
        return transform_points(points, source, WGS84)

    def line(points: Coordinates, ring: bool) -> Coordinates:
        if not geodesic:
            return degrees(points)
        return _bent(
            points,
            _Course(degrees, great_circle_middle, straight_midpoints, _mover(target, seam), tolerance, _far(target)),
        )

    return _lay(rebuilt(shape, line), target, seam, tolerance)


def meets_seam(shape: BaseGeometry, source: Projection, target: Projection) -> bool:
    """Return whether a shape in degrees meets the seam of a projection, or reaches beyond its map."""
    if shape.is_empty or not parse_crs(source.crs).is_geographic:
        return False
    return _needs_care(shape, source, seam_of(target.crs))


def _needs_care(shape: BaseGeometry, source: Projection, seam: Seam | None) -> bool:
    """Return whether a shape in degrees touches a seam, goes around a pole, or reaches where no map does."""
    west, south, east, north = shape.bounds
    if source.transform != WGS84.transform:
        columns, rows = np.array([west, west, east, east]), np.array([south, north, south, north])
        x, y = apply(source.transform, columns, rows)
        west, south, east, north = x.min(), y.min(), x.max(), y.max()
    if shapely.get_dimensions(shape) == 0:
        return seam is not None and seam.period is not None and not seam.west <= west <= east <= seam.west + WHOLE
    if seam is None:
        return bool(east - west > WHOLE / 2.0)
    inside = seam.west + _TOUCHES < west and east < seam.west + WHOLE - _TOUCHES
    return not (inside and max(-south, north) <= seam.most_latitude)


def _from_map(
    shape: BaseGeometry, source: Projection, target: Projection, seam: Seam | None, tolerance: float
) -> BaseGeometry:
    """Move a shape from a projection's coordinates, by way of longitude and latitude where it must be cut."""
    if seam is None or parse_crs(source.crs) == parse_crs(target.crs) or shapely.get_dimensions(shape) == 0:
        return transform_shape(shape, source, target, geodesic=False, tolerance=tolerance)
    around = transform_points(shapely.get_coordinates(shape), source, WGS84)
    if not np.isfinite(around).all():
        return transform_shape(shape, source, target, geodesic=False, tolerance=tolerance)
    west, east = float(around[:, 0].min()), float(around[:, 0].max())
    if east - west < WHOLE / 2.0 and seam.west + _TOUCHES < west and east < seam.west + WHOLE - _TOUCHES:
        return transform_shape(shape, source, target, geodesic=False, tolerance=tolerance)
    course = _Course(
        lambda points: transform_points(points, source, WGS84),
        straight_midpoints,
        short_midpoints,
        _mover(target, seam),
        tolerance,
        _far(target),
    )

    def line(points: Coordinates, ring: bool) -> Coordinates:
        there = unwrapped(_spread_at_poles(_bent(points, course)))
        return close_at_pole(there) if ring else there

    return _lay(rebuilt(shape, line), target, seam, tolerance)


@dataclass(frozen=True, slots=True)
class _Course:
    """The way of lines to longitude and latitude.

    Attributes:
        degrees: moves points to longitude and latitude.
        middles: the middles of edges, before they are moved.
        straight: the middles of edges that are straight in degrees.
        move: moves points from there to the target.
        tolerance: greatest distance in the target between the two middles of an edge.
        far: distance from the origin of the target beyond which that may be more.
    """

    degrees: Mover
    middles: Midpoints
    straight: Midpoints
    move: Mover
    tolerance: float
    far: float


def _far(target: Projection) -> float:
    """Return the distance from the origin of a projection beyond which a map has no meaning, in its units."""
    return _FARTHEST / target.nominal_scale


def _bent(points: Coordinates, course: _Course) -> Coordinates:
    """Return a line in degrees, with vertices added until its edges are straight there."""

    def is_bent(edges: Edges) -> npt.NDArray[np.bool_]:
        straight = course.straight(edges.start_there, edges.end_there)
        middle = course.move(edges.middle_there)
        gap = np.linalg.norm(middle - course.move(straight), axis=1)
        bent: npt.NDArray[np.bool_] = ~(
            gap <= allowed_gaps(middle, course.tolerance, course.far)
        )  # also if not a number
        return bent

    return subdivide(points, course.degrees, course.middles, is_bent)[1]


def _spread_at_poles(points: Coordinates) -> Coordinates:
    """Return a line that keeps its longitude on its way to a pole, and leaves it by that of the next point."""
    at_pole = np.flatnonzero(np.abs(points[:, 1]) > 90.0 - _OFF_SEAM)
    for index in at_pole[::-1].tolist():
        before = points[index - 1, 0] if index else points[index, 0]
        after = points[index + 1, 0] if index + 1 < len(points) else points[index, 0]
        points = np.insert(points, index + 1, (after, points[index, 1]), axis=0)
        points[index, 0] = before
    return points


def _mover(target: Projection, seam: Seam | None) -> Mover:
    """Return what moves points in degrees to a projection; where that repeats, also beyond its sides."""
    if seam is None or seam.period is None or parse_crs(target.crs) == parse_crs(WGS84.crs):
        return lambda points: transform_points(points, WGS84, target)
    base, period = Projection(target.crs), seam.period
    half = WHOLE / 2.0 - _OFF_SEAM

    def move(points: Coordinates) -> Coordinates:
        turns = np.round((points[:, 0] - seam.middle) / WHOLE)
        longitudes = np.clip(points[:, 0] - WHOLE * turns, seam.middle - half, seam.middle + half)
        latitudes = np.clip(points[:, 1], -seam.most_latitude, seam.most_latitude)
        moved = transform_points(np.column_stack([longitudes, latitudes]), WGS84, base)
        moved[:, 0] += turns * period
        return transform_points(moved, base, target)

    return move


def _lay(shape: BaseGeometry, target: Projection, seam: Seam | None, tolerance: float) -> BaseGeometry:
    """Move a shape in degrees, whose edges are straight there, to a projection."""
    move = _mover(target, seam)
    if seam is not None and seam.period is not None:
        return move_shape(placed(shape, seam.west), move, straight_midpoints, tolerance)
    step, inset = (WHOLE, _OFF_SEAM) if seam is not None else (_QUARTER, 0.0)
    start = seam.west if seam is not None else -WHOLE / 2.0
    laid_parts: list[BaseGeometry] = []
    for leaf in _sound(shape):
        pieces = [
            move_shape(piece, move, straight_midpoints, tolerance, _far(target))
            for piece in _cut(leaf, start, step, inset)
        ]
        if leaf.geom_type == "Polygon":  # snapped, so that pieces that meet leave no slit
            laid_parts.append(
                shapely.union_all([p for piece in pieces for p in _sound(piece)], grid_size=tolerance * _SNAP)
            )
        else:
            laid_parts.append(gather(pieces))
    return gather(laid_parts)


def _sound(shape: BaseGeometry) -> list[BaseGeometry]:
    """Return the points, lines and polygons of a shape, polygons without faults and without the lines of spikes."""
    sound_parts: list[BaseGeometry] = []
    for leaf in leaves(shape):
        if leaf.geom_type == "Polygon":
            sound_parts += [part for part in leaves(valid(leaf)) if part.geom_type == "Polygon"]
        else:
            sound_parts.append(leaf)
    return sound_parts


def _cut(leaf: BaseGeometry, start: float, step: float, inset: float) -> list[BaseGeometry]:
    """Return a point, line or polygon in pieces of a width in degrees, moved to the turn that begins at ``start``.

    Args:
        leaf: in longitude and latitude.
        start: longitude of a cut.
        step: degrees between cuts.
        inset: degrees by which pieces keep off them.
    """
    west, _, east, _ = leaf.bounds
    pieces: list[BaseGeometry] = []
    first = math.floor((west - start) / step)
    for index in range(first, max(math.ceil((east - start) / step), first + 1)):
        low = start + index * step
        part = shapely.intersection(leaf, shapely.box(low + inset, -90.0, low + step - inset, 90.0))
        turn = WHOLE * math.floor(index * step / WHOLE)
        pieces += [
            _shifted(piece, -turn)
            for piece in leaves(part)
            if shapely.get_dimensions(piece) == shapely.get_dimensions(leaf)
        ]
    return pieces


def _shifted(shape: BaseGeometry, degrees: float) -> BaseGeometry:
    return shapely.transform(shape, lambda xy: xy + np.array([degrees, 0.0])) if degrees else shape


def columns_of_turn(lattice: Projection) -> float | None:
    """Return columns of a lattice after which longitudes start again; None where they do not, or not in one row."""
    t, seam = lattice.transform, seam_of(lattice.crs)
    if seam is None or seam.period is None or t.b != 0.0 or t.d != 0.0:
        return None
    return abs(seam.period / t.a)


def repeated(shape: BaseGeometry, grid: PixelGrid) -> BaseGeometry:
    """Return a shape in a grid's pixel coordinates at all places of the grid that show it.

    Args:
        shape: as a projection's coordinates have it once.
        grid: which may reach across the seam of its CRS.
    """
    turn = columns_of_turn(Projection(grid.crs, grid.transform))
    if turn is None or shape.is_empty:
        return shape
    left, _, right, _ = shape.bounds
    if not math.isfinite(left + right):
        return shape
    first, last = math.ceil((-_REACH - right) / turn), math.floor((grid.width + _REACH - left) / turn)
    if first > last or first == last == 0:
        return shape
    return _joined([leaf for index in range(first, last + 1) for leaf in leaves(_shifted(shape, index * turn))])


def placed(shape: BaseGeometry, west: float) -> BaseGeometry:
    """Return a shape in degrees so that it begins in the turn after a longitude; parts that a cut there divides meet.

    Args:
        shape: in longitude and latitude.
        west: where the turn begins.
    """
    bounds = shape.bounds
    if west <= bounds[0] and bounds[2] <= west + WHOLE and not (bounds[0] == west and bounds[2] == west + WHOLE):
        return shape
    parts = leaves(shape)
    spans = np.array([part.bounds for part in parts])[:, [0, 2]]
    if (spans[:, 1] - spans[:, 0] >= WHOLE).any():
        return _around(parts, west)
    starts = west + (spans[:, 0] - west) % WHOLE
    order = np.argsort(starts, kind="stable")
    ends = np.maximum.accumulate((starts + spans[:, 1] - spans[:, 0])[order])
    # The widest gap between parts, round the turn, is where the shape begins.
    gaps = starts[order] - np.concatenate([[ends[-1] - WHOLE], ends[:-1]])
    first = float(starts[order][int(np.argmax(gaps))])
    shifts = starts + np.where(starts < first, WHOLE, 0.0) - spans[:, 0]
    moved = [_shifted(part, float(shift)) for part, shift in zip(parts, shifts, strict=True)]
    return _joined(moved)


def _around(parts: Sequence[BaseGeometry], west: float) -> BaseGeometry:
    """Return parts of which one goes around the Earth, within the turn after a longitude."""
    return _joined([piece for part in parts for sound in _sound(part) for piece in _cut(sound, west, WHOLE, 0.0)])


def _joined(parts: Sequence[BaseGeometry]) -> BaseGeometry:
    """Return parts put together; polygons that meet are one."""
    polygons = [part for part in parts if part.geom_type == "Polygon"]
    if len(polygons) < 2:
        return gather(parts)
    rest = [part for part in parts if part.geom_type != "Polygon"]
    return gather([shapely.union_all([part for polygon in polygons for part in _sound(polygon)]), *rest])
