"""``Projection``: a CRS with an affine transform and its nominal scale; move points and shapes between projections,
with vertices added where edges bend.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, metres_per_unit, parse_crs, transformer
from eechips_local.protocol.request_errors import InvalidError

Coordinates = npt.NDArray[np.float64]
"""Array of shape (n, 2): x, y."""

Mover = Callable[[Coordinates], Coordinates]
"""Moves points of shape (n, 2)."""

Midpoints = Callable[[Coordinates, Coordinates], Coordinates]
"""Middles of edges between two arrays of points, each of shape (n, 2)."""

# Halvings of an edge: it has then 4,096 pieces.
_MAX_SPLITS = 12
_IDENTITY = Affine.identity()


@dataclass(frozen=True, slots=True)
class Projection:
    """A CRS with an affine transform from (pixel) coordinates to the CRS's own."""

    crs: str
    transform: Affine = _IDENTITY

    def __post_init__(self) -> None:
        area = self.transform.determinant
        if area == 0.0 or not math.isfinite(area):
            raise InvalidError(f"The transform of a projection must be invertible: {list(self.transform)[:6]}.")

    @property
    def nominal_scale(self) -> float:
        """Metres along the edge of a pixel at the projection's true scale."""
        t = self.transform
        return math.sqrt(abs(t.a * t.e - t.b * t.d)) * metres_per_unit(self.crs)

    def at_scale(self, metres: float) -> Projection:
        """This projection with its pixels scaled to an edge in metres; origin and axes stay.

        "The projection is scaled by dividing the specified scale value by the nominal size of a meter":
        https://developers.google.com/earth-engine/apidocs/ee-image-setdefaultprojection.
        """
        return self.scaled(metres / self.nominal_scale)

    def scaled(self, columns: float, rows: float | None = None) -> Projection:
        """Return this projection with wider and higher pixels: by one factor, or by two. The origin stays."""
        return Projection(self.crs, self.transform @ Affine.scale(columns, columns if rows is None else rows))

    def window(self, column: int, row: int, width: int, height: int) -> PixelGrid:
        """Return pixels of this projection as a grid."""
        return PixelGrid(self.crs, self.transform, 0, 0).window(column, row, width, height)


WGS84 = Projection("EPSG:4326")
"""Longitude and latitude in degrees; also the default projection of composites (pixels of one degree)."""


def lonlat_points(vectors: npt.NDArray[np.float64]) -> Coordinates:
    """Return longitude and latitude in degrees, shape (n, 2), of vectors of any length."""
    lon = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0]))
    lat = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
    return np.column_stack([lon, lat])


def great_circle_middle(a: Coordinates, b: Coordinates) -> Coordinates:
    """Return middles of great circle arcs between pairs of longitude/latitude points, each of shape (n, 2) in degrees.

    They are on the turn of the ends, so that a ring does not jump by 360 degrees.
    """
    middle = lonlat_points(unit_vectors(a) + unit_vectors(b))
    middle[:, 0] += 360.0 * np.round(((a[:, 0] + b[:, 0]) / 2.0 - middle[:, 0]) / 360.0)
    return middle


def unit_vectors(points: Coordinates) -> npt.NDArray[np.float64]:
    """Return vectors of shape (n, 3) of longitude/latitude points of shape (n, 2) in degrees."""
    lon, lat = np.radians(points[:, 0]), np.radians(points[:, 1])
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def straight_midpoints(a: Coordinates, b: Coordinates) -> Coordinates:
    """Return midpoints of straight lines between pairs of points, each of shape (n, 2)."""
    return (a + b) / 2.0


def short_midpoints(a: Coordinates, b: Coordinates) -> Coordinates:
    """Return midpoints of lines straight in degrees, the short way round, on the first points' turn."""
    turns = 360.0 * np.round((b[:, 0] - a[:, 0]) / 360.0)
    return np.column_stack([(a[:, 0] + b[:, 0] - turns) / 2.0, (a[:, 1] + b[:, 1]) / 2.0])


def transform_points(points: Coordinates, source: Projection, target: Projection) -> Coordinates:
    """Move points of shape (n, 2) from one projection's coordinates to another's."""
    x, y = points[:, 0], points[:, 1]
    if source.transform != _IDENTITY:
        x, y = apply(source.transform, x, y)
    if source.crs != target.crs and parse_crs(source.crs) != parse_crs(target.crs):
        x, y = transformer(source.crs, target.crs).transform(x, y)
    if target.transform != _IDENTITY:
        with np.errstate(invalid="ignore"):  # places that the map lacks are at infinity
            x, y = (np.nan_to_num(v, nan=np.inf, posinf=np.inf, neginf=-np.inf) for v in apply(~target.transform, x, y))
    return np.column_stack([x, y])


def transform_shape(
    shape: BaseGeometry, source: Projection, target: Projection, *, geodesic: bool, tolerance: float
) -> BaseGeometry:
    """Move a shape between projections, adding vertices where its edges would bend.

    Args:
        shape: in the coordinates of ``source``.
        source: where it is.
        target: where it goes.
        geodesic: whether edges follow great circles; only for longitude and latitude.
        tolerance: the greatest distance, in coordinates of ``target``, between a true edge and the result's.
    """
    if shape.is_empty:
        return shape

    def move(points: Coordinates) -> Coordinates:
        return transform_points(points, source, target)

    midpoints = great_circle_middle if geodesic and parse_crs(source.crs).is_geographic else straight_midpoints
    return move_shape(shape, move, midpoints, tolerance)


_FAR_OFF = 1e-3


def allowed_gaps(places: Coordinates, tolerance: float, far: float) -> npt.NDArray[np.float64]:
    """Return the tolerance of edges at places: farther than ``far`` from the origin, a thousandth of the distance.

    Places around the other pole of a polar map lie millions of kilometres away.
    """
    distance = np.linalg.norm(places, axis=1)
    return np.where(distance > far, np.maximum(tolerance, distance * _FAR_OFF), tolerance)


def move_shape(
    shape: BaseGeometry, move: Mover, midpoints: Midpoints, tolerance: float, far: float = math.inf
) -> BaseGeometry:
    """Move a shape, adding vertices where its edges would bend.

    Args:
        shape: shape of any type.
        move: moves points of shape (n, 2).
        midpoints: midpoints of edges, before they are moved.
        tolerance: the greatest distance, after the move, between a true edge and the result's.
        far: distance from the origin beyond which that may be more; see :func:`allowed_gaps`.
    """
    if shape.geom_type in ("Point", "MultiPoint"):
        return shapely.transform(shape, move)

    def is_bent(edges: Edges) -> npt.NDArray[np.bool_]:
        gap = np.linalg.norm(edges.middle_there - straight_midpoints(edges.start_there, edges.end_there), axis=1)
        bent: npt.NDArray[np.bool_] = gap > allowed_gaps(edges.middle_there, tolerance, far)
        return bent

    return rebuilt(shape, lambda line, _: subdivide(line, move, midpoints, is_bent)[1])


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Edges of a line, and where they are moved: points of shape (n, 2)."""

    start: Coordinates
    end: Coordinates
    start_there: Coordinates
    end_there: Coordinates
    middle_there: Coordinates


def subdivide(
    line: Coordinates, move: Mover, midpoints: Midpoints, is_bent: Callable[[Edges], npt.NDArray[np.bool_]]
) -> tuple[Coordinates, Coordinates]:
    """Halve the edges of a line, and their halves, while they are bent where they are moved.

    Args:
        line: shape (n, 2).
        move: moves points of shape (n, 2).
        midpoints: midpoints of edges, before they are moved.
        is_bent: which edges are to be halved.

    Returns:
        The line with more vertices, and the same moved.
    """
    moved = move(line)
    active = np.arange(len(line) - 1)
    for _ in range(_MAX_SPLITS):
        if not len(active):
            break
        start, end = line[active], line[active + 1]
        middle = midpoints(start, end)
        there = move(middle)
        with np.errstate(invalid="ignore"):  # as in transform_points
            split = is_bent(Edges(start, end, moved[active], moved[active + 1], there))
        at = active[split] + 1
        line = np.insert(line, at, middle[split], axis=0)
        moved = np.insert(moved, at, there[split], axis=0)
        first = at - 1 + np.arange(len(at))
        active = np.sort(np.concatenate([first, first + 1]))
    return line, moved


def rebuilt(shape: BaseGeometry, change: Callable[[Coordinates, bool], Coordinates | None]) -> BaseGeometry:
    """Return a shape with each of its lines and rings replaced.

    Args:
        shape: shape of any type.
        change: called with the coordinates and whether they are a ring of a polygon; None drops it.
    """
    if shape.is_empty:
        return shape
    if shape.geom_type == "Polygon":
        rings = [change(shapely.get_coordinates(r), True) for r in (shape.exterior, *shape.interiors)]
        if rings[0] is None:
            return shapely.Polygon()
        return shapely.Polygon(rings[0], [ring for ring in rings[1:] if ring is not None])
    if hasattr(shape, "geoms"):
        return type(shape)([rebuilt(part, change) for part in shape.geoms])
    changed = change(shapely.get_coordinates(shape), False)
    return type(shape)(changed[0] if shape.geom_type == "Point" else changed) if changed is not None else type(shape)()
