"""Choose the planes of geometric operations, in which edges are straight; what an error margin (``maxError``) allows,
and where one is demanded.

A geodesic of the sphere is a straight line in the gnomonic projection, so set operations on geodesic polygons are exact
there and keep their vertices. Planar geometries are worked on in their own projection. Latitudes are taken as spherical
ones for the course of edges, as Earth Engine (S2) does; lengths are the ellipsoid's, areas a sphere's (geodesy.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    great_circle_middle,
    lonlat_points,
    rebuilt,
    short_midpoints,
    straight_midpoints,
    subdivide,
    transform_points,
    unit_vectors,
)
from eechips_local.geometry.overlay import on_globe
from eechips_local.geometry.projected_shapes import meets_seam, project_shape
from eechips_local.geometry.shapes import close_at_pole, is_geographic, open_at_pole, unwrapped, valid
from eechips_local.pixels.grids.pixel_grid import metres_per_unit
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import ErrorMargin, Geometry

RADIUS = 6_371_010.0
"""Metres: S2's mean radius of the Earth (S2Earth.kEarthRadiusMeters)."""

DEFAULT_TOLERANCE = 0.1
"""Metres by which bent edges may be off without an error margin."""

_WIDEST = math.radians(75.0)  # beyond that the gnomonic plane stretches distances more than 15 times
_FIRST_SPLIT = math.radians(5.0)  # a longer edge is halved unseen: its middle alone does not show an S-shaped bend


def needs_margin() -> InvalidError:
    """Return the error where planar edges would have to be bent without leave to approximate."""
    return InvalidError("Unable to perform this geometry operation. Please specify a non-zero error margin.")


@dataclass(frozen=True, slots=True)
class Course:
    """Edges of a line, and the distance by which they may be moved.

    Attributes:
        middle: the middle of an edge, from its ends.
        move: takes points to where the line goes.
        straight: the middle of a straight edge there.
        place: takes points there to coordinates in which distances are measured.
        tolerance: greatest distance of a moved middle from a straight one.
        longest: edges longer than this (before they are moved) are halved unseen: an S-shaped bend does not show in
            the middle.
    """

    middle: Midpoints
    move: Mover
    straight: Midpoints
    place: Mover
    tolerance: float
    longest: float


def bend(line: Coordinates, course: Course) -> Coordinates:
    """Return a line with vertices added until its edges, moved, lie within a tolerance of straight ones.

    Args:
        line: shape (n, 2).
        course: how it runs.

    Returns:
        The line, not moved: shape (m, 2).

    Raises:
        InvalidError: if a projection does not reach that far.
    """

    def is_bent(edges: Edges) -> npt.NDArray[np.bool_]:
        straight = course.straight(edges.start_there, edges.end_there)
        gap = np.linalg.norm(course.place(edges.middle_there) - course.place(straight), axis=1)
        is_long = np.abs(edges.end - edges.start).max(axis=1) > course.longest
        bent: npt.NDArray[np.bool_] = (gap > course.tolerance) | is_long
        return bent

    return subdivide(line, lambda points: _finite(course.move(points)), course.middle, is_bent)[0]


def _as_is(points: Coordinates) -> Coordinates:
    return points


def _on_sphere(points: Coordinates) -> npt.NDArray[np.float64]:
    """Return longitude/latitude points as vectors in metres: shape (n, 3)."""
    vectors: npt.NDArray[np.float64] = RADIUS * unit_vectors(points)
    return vectors


def towards(flat: Mover, tolerance: float, longest: float = math.inf) -> Course:
    """Return the course of great circle arcs that are taken to a plane in metres."""
    return Course(great_circle_middle, flat, straight_midpoints, _as_is, tolerance, longest)


def _finite(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the points, if they exist where they were moved to.

    Raises:
        InvalidError: if a projection does not reach that far.
    """
    if not np.isfinite(points).all():
        raise InvalidError("Unable to transform the geometry into the requested projection.")
    return points


def _finite_shape(shape: BaseGeometry) -> BaseGeometry:
    _finite(shapely.get_coordinates(shape))
    return shape


@dataclass(frozen=True, slots=True)
class Frame:
    """A plane to work in.

    Attributes:
        projection: projection of the results, and of the plane itself unless it is gnomonic.
        centre: centre of the gnomonic plane (longitude, latitude), or None.
        geodesic: whether results have geodesic edges.
        tolerance: metres by which bent edges may be off.
    """

    projection: Projection
    centre: tuple[float, float] | None
    geodesic: bool
    tolerance: float

    @property
    def is_globe(self) -> bool:
        """Whether shapes are longitudes and latitudes, cut at the antimeridian."""
        return self.centre is None and is_geographic(self.projection)

    def take(self, geometry: Geometry) -> BaseGeometry:
        """Return a geometry's shape in this plane, with simple rings."""
        shape = valid(self.lay(geometry))
        return valid(on_globe(shape)) if self.is_globe else shape

    def lay(self, geometry: Geometry) -> BaseGeometry:
        """Return a geometry's shape in this plane, its rings as they are."""
        if self.centre is None:
            return recast(geometry, self.projection, False, self.tolerance).shape
        round_edges = recast(geometry, WGS84, True, self.tolerance).shape
        return rebuilt(round_edges, lambda line, ring: self._flat(open_at_pole(line) if ring else line))

    def give(self, shape: BaseGeometry) -> Geometry:
        """Return the geometry of a shape in this plane."""
        if self.centre is None:
            return Geometry(shape, self.projection, self.geodesic)
        return Geometry(rebuilt(shape, self._round), self.projection, self.geodesic)

    def _round(self, points: Coordinates, ring: bool) -> Coordinates:
        assert self.centre is not None
        axes = _axes(self.centre)
        flat = points / RADIUS
        vectors = axes[0] + flat[:, :1] * axes[1] + flat[:, 1:] * axes[2]
        lonlat = lonlat_points(vectors)
        lonlat[:, 0] += 360.0 * np.round((self.centre[0] - lonlat[:, 0]) / 360.0)
        return close_at_pole(unwrapped(lonlat)) if ring else unwrapped(lonlat)

    def _flat(self, points: Coordinates) -> Coordinates:
        assert self.centre is not None
        axes = _axes(self.centre)
        vectors = unit_vectors(points)
        depth = vectors @ axes[0]
        plane: Coordinates = RADIUS * np.column_stack([vectors @ axes[1], vectors @ axes[2]]) / depth[:, None]
        return plane


def _axes(centre: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return up, east and north at a point: shape (3, 3)."""
    lon, lat = math.radians(centre[0]), math.radians(centre[1])
    return np.array(
        [
            [math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)],
            [-math.sin(lon), math.cos(lon), 0.0],
            [-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon), math.cos(lat)],
        ]
    )


def projection_unit(projection: Projection) -> float:
    """Return metres in one unit of a projection's coordinates (a pixel, if it has a transform)."""
    return metres_per_unit(projection.crs) * (math.sqrt(abs(projection.transform.determinant)) or 1.0)


def _longest(projection: Projection) -> float:
    """Return the longest edge that is not halved unseen, in a projection's own units."""
    return (
        math.degrees(_FIRST_SPLIT) if is_geographic(projection) else RADIUS * _FIRST_SPLIT / projection_unit(projection)
    )


def has_edges(shape: BaseGeometry) -> bool:
    """Return whether a shape has lines or polygons."""
    return bool(shapely.get_dimensions(shape) > 0)


def recast(geometry: Geometry, projection: Projection, geodesic: bool, tolerance: float) -> Geometry:
    """Return a geometry in another projection, with other edges.

    Args:
        geometry: any.
        projection: projection of the result.
        geodesic: whether the result's edges are geodesics; only for longitude and latitude.
        tolerance: metres by which edges may be off.
    """
    source, shape = geometry.projection, geometry.shape
    if shape.is_empty or (source == projection and (geometry.geodesic == geodesic or not has_edges(shape))):
        return Geometry(shape, projection, geodesic, geometry.unbounded)

    def move(points: Coordinates) -> Coordinates:
        return transform_points(points, source, projection)

    if not has_edges(shape):
        return Geometry(rebuilt(shape, lambda point, _: _finite(move(point))), projection, geodesic)
    if not is_geographic(projection) and meets_seam(shape, source, projection):
        unit = tolerance / projection_unit(projection)
        projected = project_shape(shape, source, projection, geodesic=geometry.geodesic, tolerance=unit)
        return Geometry(_finite_shape(projected), projection, geodesic, geometry.unbounded)
    middle = great_circle_middle if geometry.geodesic else straight_midpoints
    longest = _longest(source)
    if is_geographic(projection):
        short = straight_midpoints if is_geographic(source) else short_midpoints
        straight = great_circle_middle if geodesic else short
        course = Course(middle, move, straight, _on_sphere, tolerance, longest)
    else:
        course = Course(middle, move, straight_midpoints, _as_is, tolerance / projection_unit(projection), longest)

    def moved(line: Coordinates, ring: bool) -> Coordinates:
        there = move(bend(line, course))
        if is_geographic(source) or not is_geographic(projection):
            return there
        return close_at_pole(unwrapped(there)) if ring else unwrapped(there)

    return Geometry(rebuilt(shape, moved), projection, geodesic, geometry.unbounded)


def gnomonic(*geometries: Geometry, tolerance: float, geodesic: bool = True) -> Frame:
    """Return the plane in which geodesics are straight, centred on geometries; longitude and latitude if they are too
    wide.
    """
    points = np.concatenate(
        [shapely.get_coordinates(recast(g, WGS84, True, 10_000.0).shape) for g in geometries] or [np.empty((0, 2))]
    )
    if not len(points):
        return Frame(WGS84, (0.0, 0.0), geodesic, tolerance)
    vectors = unit_vectors(points)
    middle = vectors.min(axis=0) + vectors.max(axis=0)
    norm = float(np.linalg.norm(middle))
    if norm < 1e-9 or float((vectors @ (middle / norm)).min()) < math.cos(_WIDEST):
        return Frame(WGS84, None, geodesic, tolerance)
    lon, lat = lonlat_points(middle[None, :])[0]
    turn = 360.0 * round((float(points[0, 0]) - lon) / 360.0)
    return Frame(WGS84, (float(lon + turn), float(lat)), geodesic, tolerance)


def tolerance_of(margin: ErrorMargin | None, projection: Projection, default: float = DEFAULT_TOLERANCE) -> float:
    """Return metres that an error margin allows; ``default`` where it is absent or zero.

    Earth Engine takes absolute values, and 2e7 metres or more as infinite (apidocs/ee-errormargin).
    """
    if margin is None or margin.value == 0.0:
        return default
    if margin.unit == "infinite":
        return 2e7
    value = abs(margin.value)
    return value * projection.nominal_scale if margin.unit == "projected" else min(value, 2e7)


def frame_for(
    left: Geometry, *others: Geometry, margin: ErrorMargin | None = None, projection: Projection | None = None
) -> Frame:
    """Return the plane for an operation.

    With a projection: that one. Else the left operand's own where its edges are planar, else the gnomonic plane
    around all operands.

    Raises:
        InvalidError: if edges in a projected CRS would have to be bent, and no error margin allows it.
    """
    everything = (left, *others)
    tolerance = tolerance_of(margin, projection or left.projection)
    target = projection if projection is not None else left.projection
    planar = projection is not None or (not left.geodesic and has_edges(left.shape))
    exact = margin is None or (margin.value == 0.0 and margin.unit != "infinite")
    if exact and any(_must_bend(g, target, planar) for g in everything):
        raise needs_margin()
    if planar:
        return Frame(target, None, False, tolerance)
    return gnomonic(*everything, tolerance=tolerance)


def _must_bend(geometry: Geometry, target: Projection, planar: bool) -> bool:
    """Return whether planar edges in a projected CRS must go elsewhere."""
    if geometry.geodesic or is_geographic(geometry.projection) or not has_edges(geometry.shape):
        return False
    return not planar or geometry.projection != target
