"""The nearest points of two geometries on the ellipsoid."""

from __future__ import annotations

import math

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.emulator.frame import bend, gnomonic, great_circle_middle, rebuilt, straight_middle
from eechips.emulator.geodesy import GEOD, distance
from eechips.emulator.projection import WGS84, Coordinates
from eechips.emulator.rings import open_at_pole
from eechips.emulator.shapes import valid
from eechips.emulator.values import Geometry

_ROUNDS = 4  # each round multiplies the error of the distance by (distance / radius of the Earth)² or less
_CONVERGED = 1e-6  # metres


def nearest_points(left: BaseGeometry, right: BaseGeometry, tolerance: float) -> tuple[Coordinates, Coordinates]:
    """The point of each shape that is nearest to the other one.

    The pair is found in a plane first, then again in the azimuthal equidistant plane around its own middle, where
    distances near the pair are true, until it stays.

    Args:
        left: longitude and latitude, geodesic edges, not empty.
        right: likewise.
        tolerance: metres by which bent edges may be off.

    Returns:
        Longitude and latitude of both, each of shape (2,); the same point where they touch.
    """
    pair = _first_pair(left, right)
    if not shapely.get_dimensions(left) and not shapely.get_dimensions(right):
        return _nearest_of_points(left, right)
    best = distance(*pair)
    for _ in range(_ROUNDS):
        found = _pair_around(great_circle_middle(pair[0][None, :], pair[1][None, :])[0], left, right, tolerance)
        now = distance(*found)
        if now < best - _CONVERGED:
            pair, best = found, now
        else:
            return found if now < best else pair
    return pair


def _first_pair(left: BaseGeometry, right: BaseGeometry) -> tuple[Coordinates, Coordinates]:
    a, b = Geometry(left, WGS84, True), Geometry(right, WGS84, True)
    frame = gnomonic(a, b, tolerance=1000.0)
    line = frame.give(shapely.shortest_line(frame.take(a), frame.take(b))).shape
    first, second = shapely.get_coordinates(line)[[0, -1]]
    return first, second


def _nearest_of_points(left: BaseGeometry, right: BaseGeometry) -> tuple[Coordinates, Coordinates]:
    """The nearest of points, each pair measured."""
    a, b = shapely.get_coordinates(left), shapely.get_coordinates(right)
    first, second = np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1))
    _, _, metres = GEOD.inv(first[:, 0], first[:, 1], second[:, 0], second[:, 1])
    at = int(np.argmin(metres))
    return first[at], second[at]


def _pair_around(
    centre: Coordinates, left: BaseGeometry, right: BaseGeometry, tolerance: float
) -> tuple[Coordinates, Coordinates]:
    def flat(points: Coordinates) -> Coordinates:
        start = np.broadcast_to(centre, points.shape)
        azimuth, _, far = GEOD.inv(start[:, 0], start[:, 1], points[:, 0], points[:, 1])
        angle = np.radians(azimuth)
        return np.column_stack([far * np.sin(angle), far * np.cos(angle)])

    def bent(line: Coordinates, ring: bool) -> Coordinates:
        line = open_at_pole(line) if ring else line
        return flat(bend(line, flat, great_circle_middle, straight_middle, tolerance, math.inf))

    line = shapely.shortest_line(valid(rebuilt(left, bent)), valid(rebuilt(right, bent)))
    ends = shapely.get_coordinates(line)
    azimuth = np.degrees(np.arctan2(ends[:, 0], ends[:, 1]))
    start = np.broadcast_to(centre, ends.shape)
    lon, lat, _ = GEOD.fwd(start[:, 0], start[:, 1], azimuth, np.hypot(ends[:, 0], ends[:, 1]))
    found = np.column_stack([lon, lat])
    return found[0], found[-1]
