"""Compute on the WGS84 ellipsoid with unit normal vectors, which have no antimeridian and no pole."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod

from eechips.geo.polygons import EARTH_RADIUS

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Geometries = npt.NDArray[np.object_]
Indices = npt.NDArray[np.int64]

SEMI_MAJOR = 6_378_137.0
"""Metres."""

_F = 1 / 298.257223563
_E2 = _F * (2 - _F)

LEAST_CURVE = SEMI_MAJOR * (1 - _E2)
"""Least radius of curvature in metres: a geodesic of s metres turns the normal by s / ``LEAST_CURVE`` radians at most.

No normal section of the ellipsoid is bent more than the meridian at the equator, whose radius of curvature is
a(1 - e²).
"""

SLACK = 1e-9
"""Radians of rounding."""

_GEOD = Geod(ellps="WGS84")


class TangentPlanes:
    """Stereographic planes around many places, each in metres of the ellipsoid's two radii of curvature there.

    Args:
        middles: unit normals, (n, 3).
    """

    def __init__(self, middles: Floats) -> None:
        lon, lat = np.radians(lonlat_of(middles)).T
        self._up = middles
        self._east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=-1)
        self._north = np.cross(middles, self._east)
        root = np.sqrt(1 - _E2 * np.sin(lat) ** 2)
        self._metres = np.stack(
            [SEMI_MAJOR / root, SEMI_MAJOR * (1 - _E2) / root**3], axis=-1
        )  # prime vertical, meridian

    def project(self, normals: Floats, owners: Indices) -> Floats:
        """Project normals (k, 3) to the planes with the given numbers (k,): x, y (k, 2)."""
        up, east, north = self._up[owners], self._east[owners], self._north[owners]
        factor = 2 / (1 + (normals * up).sum(axis=-1))
        xy = np.stack([(normals * east).sum(axis=-1), (normals * north).sum(axis=-1)], axis=-1)
        projected: Floats = xy * factor[:, None] * self._metres[owners]
        return projected

    def unproject(self, xy: Floats) -> Floats:
        """Convert points (n, k, 2) of each plane to unit normals (n, k, 3)."""
        x, y = np.moveaxis(xy / self._metres[:, None], -1, 0)
        square = (x**2 + y**2) / 4
        sideways = x[..., None] * self._east[:, None] + y[..., None] * self._north[:, None]
        normals: Floats = (sideways + (1 - square)[..., None] * self._up[:, None]) / (1 + square)[..., None]
        return normals

    def nearest(self, some: Any, others: Any) -> tuple[Floats, Floats]:
        """Measure between the nearest two points of shapes in each plane.

        Returns:
            Metres along the geodesic between them, (n,), and the unit normal midway, (n, 3).
        """
        points = self.unproject(shapely.get_coordinates(shapely.shortest_line(some, others)).reshape(-1, 2, 2))
        lonlat = lonlat_of(points)
        metres = np.asarray(_GEOD.inv(*lonlat[:, 0].T, *lonlat[:, 1].T)[2], dtype=np.float64)
        return metres, unit_vectors(points.sum(axis=1))


def normals_of(lonlat: npt.ArrayLike) -> Floats:
    """Return the unit normals (…, 3) of places (…, 2), longitude and latitude in degrees."""
    lon, lat = np.moveaxis(np.radians(np.asarray(lonlat, dtype=np.float64)), -1, 0)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def lonlat_of(normals: Floats) -> Floats:
    """Return longitude and latitude in degrees of unit normals (…, 3)."""
    x, y, z = np.moveaxis(normals, -1, 0)
    degrees: Floats = np.degrees(np.stack([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))], axis=-1))
    return degrees


def unit_vectors(vectors: Floats) -> Floats:
    """Return vectors (…, 3) divided by their lengths."""
    normalized: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return normalized


def boxes_around(bounds: Floats, angles: npt.ArrayLike) -> tuple[Any, Indices]:
    """Return boxes in degrees around all places whose normals are within angles of others.

    A cap of radius r around latitude p that holds no pole reaches asin(sin r / cos p) to the east and west. A box that
    crosses the antimeridian is two.

    Args:
        bounds: west, south, east and north of the others in degrees, (n, 4).
        angles: radians, (n,) or one for all.

    Returns:
        The boxes, and the number of the bounds of each.
    """
    west, south, east, north = np.radians(bounds).T
    highest = np.maximum(np.abs(south), np.abs(north))
    has_pole = highest + angles >= np.pi / 2
    ratio = np.sin(np.minimum(angles, np.pi / 2)) / np.maximum(np.cos(highest), 1e-12)
    across = np.arcsin(np.minimum(ratio, 1.0)) + SLACK
    west, east = np.where(has_pole, -np.pi, west - across), np.where(has_pole, np.pi, east + across)
    edges = np.degrees([west, south - angles, east, north + angles])
    boxes, owners = [shapely.box(*edges)], [np.arange(len(bounds))]
    for turn, beyond in ((360.0, west < -np.pi), (-360.0, east > np.pi)):
        boxes.append(shapely.box(*(edges[:, beyond] + np.array([[turn], [0.0], [turn], [0.0]]))))
        owners.append(np.flatnonzero(beyond))
    return np.concatenate(boxes), np.concatenate(owners)


def great_circle(first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
    """Return the distance between places (…, 2) in degrees, in metres on the sphere with the Earth's area."""
    chords = np.linalg.norm(normals_of(first) - normals_of(second), axis=-1)
    metres: Floats = 2.0 * EARTH_RADIUS * np.arcsin(np.minimum(chords / 2.0, 1.0))
    return metres
