"""Find the nearest points of two geometries on the ellipsoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.geometry.geodesy import GEOD, distance, from_azimuthal, to_azimuthal
from eechips_local.geometry.map_projection import WGS84, Coordinates, great_circle_middle
from eechips_local.geometry.planar_frame import bend, gnomonic, towards
from eechips_local.geometry.shapes import leaves
from eechips_local.values.values import Geometry

_ROUNDS = 4  # each round multiplies the error of the distance by (distance / radius of the Earth)² or less
_CONVERGED = 1e-6  # metres
_LONGEST = 5.0  # degrees of an edge
_MARGIN = 1_500_000.0  # metres: more than the longest edge, and what the first plane may be off
_FARTHEST = 15_000_000.0  # metres: near the antipode of its centre an azimuthal plane is torn


def nearest_points(left: BaseGeometry, right: BaseGeometry, tolerance: float) -> tuple[Coordinates, Coordinates]:
    """Return the point of each shape that is nearest to the other one.

    The pair is found in a plane first, then again in the azimuthal equidistant plane around its own middle, where
    distances near the pair are true, until it stays.

    Args:
        left: longitude and latitude, geodesic edges, not empty.
        right: likewise.
        tolerance: metres by which bent edges may be off.

    Returns:
        Longitude and latitude of both, each of shape (2,); the same point where they touch.
    """
    if not shapely.get_dimensions(left) and not shapely.get_dimensions(right):
        return _nearest_of_points(left, right)
    pair = _first_pair(left, right)
    best = distance(*pair)
    for _ in range(_ROUNDS):
        if best < _CONVERGED:
            break
        centre = great_circle_middle(pair[0][None, :], pair[1][None, :])[0]
        plane = _LocalPlane(centre, min(best + _MARGIN, _FARTHEST), tolerance)
        a, b = plane.outline(left), plane.outline(right)
        if a.is_empty or b.is_empty:
            break
        new_pair = plane.ends(shapely.shortest_line(a, b))
        now = distance(*new_pair)
        if now >= best - _CONVERGED:
            break
        pair, best = new_pair, now
    return pair


def _first_pair(left: BaseGeometry, right: BaseGeometry) -> tuple[Coordinates, Coordinates]:
    a, b = Geometry(left, WGS84, True), Geometry(right, WGS84, True)
    frame = gnomonic(a, b, tolerance=1000.0)
    line = frame.give(shapely.shortest_line(frame.take(a), frame.take(b))).shape
    first, second = shapely.get_coordinates(line)[[0, -1]]
    return first, second


def _nearest_of_points(left: BaseGeometry, right: BaseGeometry) -> tuple[Coordinates, Coordinates]:
    """Return the nearest of points, each pair measured."""
    a, b = shapely.get_coordinates(left), shapely.get_coordinates(right)
    first, second = np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1))
    _, _, metres = GEOD.inv(first[:, 0], first[:, 1], second[:, 0], second[:, 1])
    at = int(np.argmin(metres))
    return first[at], second[at]


@dataclass(frozen=True, slots=True, eq=False)
class _LocalPlane:
    """The azimuthal equidistant plane of a centre, as far as it is needed.

    Attributes:
        centre: longitude and latitude, shape (2,).
        radius: metres from the centre to look at.
        tolerance: metres by which bent edges may be off.
    """

    centre: Coordinates
    radius: float
    tolerance: float

    def flat(self, points: Coordinates) -> Coordinates:
        """Return points in the plane, in metres."""
        return to_azimuthal(GEOD, self.centre, points)

    def ends(self, line: BaseGeometry) -> tuple[Coordinates, Coordinates]:
        """Return longitude and latitude of the ends of a line in the plane."""
        first, last = from_azimuthal(GEOD, self.centre, shapely.get_coordinates(line)[[0, -1]])
        return first, last

    def outline(self, shape: BaseGeometry) -> BaseGeometry:
        """Return points, lines and the rings of polygons near the centre: shapes that do not touch are nearest
        there.
        """
        points: list[Coordinates] = [np.empty((0, 2))]
        edges: list[npt.NDArray[np.float64]] = [np.empty((0, 2, 2))]
        for leaf in leaves(shape):
            for line in (leaf.exterior, *leaf.interiors) if leaf.geom_type == "Polygon" else (leaf,):
                own = shapely.get_coordinates(line)
                if len(own) == 1:
                    points.append(self.flat(own))
                    continue
                dense = bend(own, towards(self.flat, self.tolerance, _LONGEST))
                moved = self.flat(dense)
                edges.append(np.stack([moved[:-1], moved[1:]], axis=1))
        segments = np.concatenate(edges)
        near = np.linalg.norm(segments, axis=2).min(axis=1, initial=np.inf) <= self.radius
        parts = [*shapely.points(np.concatenate(points)), *shapely.linestrings(segments[near])]
        return shapely.GeometryCollection(parts)
