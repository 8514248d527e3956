"""Draw random points, the same on every machine for a seed, and keep a minimum distance between them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.geo.ellipsoid import Booleans, Floats, normals_of
from eechips.geo.polygons import EARTH_RADIUS, list_polygons, spherical_area, wrap_at_antimeridian

DIGITS = 7
"""Decimals of a point's longitude and latitude: 1e-7 degrees is about a centimetre."""

_CELL = (np.radians(10.0**-DIGITS) * EARTH_RADIUS) ** 2  # square metres in which all places round to one point

# Boxes are subdivided until the polygons fill this share of them, or there are so many that misses are cheaper.
_FILL = 0.5
_MOST_BOXES = 4096


@dataclass(frozen=True)
class Stratum:
    """A part of the region in which points are drawn, such as the part of an ecoregion inside the region.

    Attributes:
        id: value of the field that identifies strata (ECO_ID).
        name: in messages and reports (ECO_NAME).
        geometry: polygons in longitude and latitude, within -180 to 180.
    """

    id: int | float | str
    name: str
    geometry: BaseGeometry


class PointStream:
    """Draw points uniformly on the sphere inside polygons, on demand.

    The points depend only on the geometry, the seed and the key; the first n points do not depend on how many are
    drawn. They are rounded to 1e-7 degrees, inside the polygons also after rounding, and unique.

    Args:
        geometry: polygons in longitude and latitude, within -180 to 180.
        seed: seed of the whole plan.
        key: distinguishes this geometry's draw from others with the same seed.
    """

    def __init__(self, geometry: BaseGeometry, seed: int, key: int | float | str) -> None:
        self._geometry, self._key = geometry, key
        self._room = spherical_area(geometry) / (4 * _CELL)
        self._boxes = _cover(geometry)
        digest = hashlib.sha256(json.dumps([seed, key]).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest, "big"))
        self._known: set[tuple[float, float]] = set()
        self._order: list[tuple[float, float]] = []

    def points(self, start: int, stop: int) -> list[tuple[float, float]]:
        """Return the points from ``start`` to before ``stop``: longitudes and latitudes in degrees.

        Raises:
            RegionError: if the polygons are too small for ``stop`` different points.
        """
        if self._room < stop:
            raise RegionError(f"{self._key} is too small inside the region for {stop:,} different points")
        shapely.prepare(self._geometry)
        while len(self._order) < stop:
            lon, lat = _candidates(self._boxes, self._bits, 4 * (stop - len(self._order)) + 64)
            inside = shapely.contains_xy(self._geometry, lon, lat)
            for point in zip(lon[inside].tolist(), lat[inside].tolist(), strict=True):
                if point not in self._known:
                    self._known.add(point)
                    self._order.append(point)
        # The index is several times larger than the geometry: outlines have a million vertices.
        shapely.destroy_prepared(self._geometry)
        return self._order[start:stop]


def _candidates(boxes: Floats, bits: np.random.PCG64, count: int) -> tuple[Floats, Floats]:
    """Return places drawn uniformly on the sphere inside boxes (n, 4: west, south, east, north), rounded."""
    west, south, east, north = boxes.T
    low, high = np.sin(np.radians(south)), np.sin(np.radians(north))
    share = np.cumsum((east - west) * (high - low))
    # Numbers in [0, 1) of PCG64's raw output, which numpy never changes (unlike ``Generator``'s).
    numbers = np.ldexp((bits.random_raw(3 * count) >> np.uint64(11)).astype(np.float64), -53).reshape(count, 3)
    box = np.minimum(np.searchsorted(share, numbers[:, 0] * share[-1], side="right"), len(boxes) - 1)
    lon = west[box] + numbers[:, 1] * (east - west)[box]
    lat = np.degrees(np.arcsin(low[box] + numbers[:, 2] * (high - low)[box]))
    return np.round(lon, DIGITS), np.round(lat, DIGITS)


def _cover(geometry: BaseGeometry) -> Floats:
    """Return boxes that cover polygons tightly without overlapping.

    The boxes are cells of a quadtree of the globe. Their edges are exact in binary, so that a change of a polygon in
    the last digit does not change them.

    Returns:
        West, south, east, north in degrees, (n, 4).
    """
    wanted = spherical_area(geometry) / _FILL
    shapely.prepare(geometry)
    whole: list[Floats] = []
    mixed = np.array([[-180.0, -90.0, 180.0, 90.0]])
    while len(mixed) and len(mixed) <= _MOST_BOXES // 4 and _box_area(np.vstack([*whole, mixed])) > wanted:
        quarters = quarter(mixed)
        shapes = shapely.box(*quarters.T)
        meets = shapely.intersects(geometry, shapes)
        inside = shapely.contains_properly(geometry, shapes)
        whole.append(quarters[inside])
        mixed = quarters[meets & ~inside]
    shapely.destroy_prepared(geometry)
    return np.vstack([*whole, mixed])


def quarter(boxes: Floats) -> Floats:
    """Return the quarters of boxes (n, 4: west, south, east, north): shape (4 n, 4)."""
    west, south, east, north = boxes.T
    middle, centre = (west + east) / 2, (south + north) / 2
    quarters = [
        (west, south, middle, centre),
        (middle, south, east, centre),
        (west, centre, middle, north),
        (middle, centre, east, north),
    ]
    return np.stack([np.column_stack(quarter) for quarter in quarters], axis=1).reshape(-1, 4)


def _box_area(boxes: Floats) -> float:
    west, south, east, north = np.radians(boxes.T)
    return float(((east - west) * (np.sin(north) - np.sin(south))).sum()) * EARTH_RADIUS**2


def valid_polygons(geometry: BaseGeometry) -> BaseGeometry:
    """Return the polygons of a geometry, made valid and wrapped to -180 to 180."""
    if geometry.is_valid and geometry.geom_type in ("Polygon", "MultiPolygon"):
        return wrap_at_antimeridian(geometry)
    return wrap_at_antimeridian(shapely.union_all(list_polygons(shapely.make_valid(geometry))))


Radii = Callable[[Floats], Floats]
"""Function of places (n, 2), longitude and latitude in degrees, that returns the radius in metres around each."""

PlaceTest = Callable[[Floats], Booleans]
"""Function of places (n, 2), longitude and latitude in degrees, that returns a mask of them."""

_NEIGHBOURS = tuple(product((-1, 0, 1), repeat=3))


class MinDistance:
    """Accept places at a minimum distance: each has a circle around it, and no two circles overlap.

    The result depends only on the places and their order. Distances are great circles on a sphere. Places are stored
    in cubic cells as large as the largest circle so far, so that the cost of a check does not grow with their number.

    Args:
        radii: returns the radii of places; half the minimum distance, if it is the same for all.
        is_excluded: returns which places are not accepted, whatever the others are; None if all may be.
    """

    def __init__(self, radii: Radii, is_excluded: PlaceTest | None = None) -> None:
        self._radii, self._is_excluded = radii, is_excluded
        self._edge = 0.0  # of a cell, in metres: no circle is larger
        self._cells: dict[tuple[int, int, int], list[tuple[float, float, float, float]]] = {}

    @classmethod
    def of_distance(cls, metres: float, is_excluded: PlaceTest | None = None) -> MinDistance:
        """Return an empty instance for places at least ``metres`` from each other."""
        return cls(lambda points: np.full(len(points), metres / 2.0), is_excluded)

    def radii(self, points: Floats) -> Floats:
        """Return the radii of places (n, 2) in metres; infinite for those that are not accepted."""
        metres = self._radii(points)
        return metres if self._is_excluded is None else np.where(self._is_excluded(points), np.inf, metres)

    def add(self, point: tuple[float, float], radius: float) -> bool:
        """Add a place if it is far enough from all places so far; return whether it was added.

        Args:
            point: longitude and latitude in degrees.
            radius: radius of its circle, in metres, from :meth:`radii`.
        """
        if not math.isfinite(radius):
            return False
        if radius == 0.0:
            return True
        x, y, z = (EARTH_RADIUS * normals_of(point)).tolist()
        if 2.0 * radius > self._edge:
            self._resize(2.0 * radius)
        cell = self._cell(x, y, z)
        for shift in _NEIGHBOURS:
            for ox, oy, oz, other in self._cells.get((cell[0] + shift[0], cell[1] + shift[1], cell[2] + shift[2]), ()):
                chord = math.sqrt((x - ox) ** 2 + (y - oy) ** 2 + (z - oz) ** 2)
                if 2.0 * EARTH_RADIUS * math.asin(min(chord / (2.0 * EARTH_RADIUS), 1.0)) < radius + other:
                    return False
        self._cells.setdefault(cell, []).append((x, y, z, radius))
        return True

    def _cell(self, x: float, y: float, z: float) -> tuple[int, int, int]:
        return math.floor(x / self._edge), math.floor(y / self._edge), math.floor(z / self._edge)

    def _resize(self, edge: float) -> None:
        """Enlarge the cells at least twofold, so that this happens rarely."""
        places = [place for cell in self._cells.values() for place in cell]
        self._edge = max(edge, 2.0 * self._edge)
        self._cells = {}
        for place in places:
            self._cells.setdefault(self._cell(*place[:3]), []).append(place)
