"""Keep points at a minimum distance from each other, and lay out points in regular rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.geo.polygons import EARTH_RADIUS, wrap_longitudes
from eechips.planning.grid_alignment import join_at_antimeridian
from eechips.text.formatting import parse_distance as parse_distance

Array = npt.NDArray[np.float64]
Radii = Callable[[Array], Array]
"""Function of places (n, 2), longitude and latitude in degrees, that returns the radius in metres around each."""

PlaceTest = Callable[[Array], npt.NDArray[np.bool_]]
"""Function of places (n, 2), longitude and latitude in degrees, that returns a mask of them."""

_NEIGHBOURS = tuple(product((-1, 0, 1), repeat=3))
_MOST_PLACES = 10_000_000  # of regular rows


def great_circle(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Return the distance between places (…, 2) in degrees, in metres on the sphere with the Earth's area."""
    chords = np.linalg.norm(_vectors(first) - _vectors(second), axis=-1)
    metres: Array = 2.0 * EARTH_RADIUS * np.arcsin(np.minimum(chords / 2.0, 1.0))
    return metres


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

    def radii(self, points: Array) -> Array:
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
        x, y, z = (EARTH_RADIUS * _vectors(point)).tolist()
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


def regular_points(region: BaseGeometry, spacing: float) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return places in rows from west to east inside a region, at the same distance between and along rows.

    The rows are parallels, counted from the middle of the region's bounds; in each row, places are counted from the
    middle meridian. They form a square grid in the sinusoidal projection of that meridian, which preserves areas, so
    that each place represents the same area. Columns are vertical near the middle meridian, and slanted away from it.

    Args:
        region: polygons in longitude and latitude; parts on both sides of the antimeridian are one region.
        spacing: metres on the sphere that has the Earth's area.

    Returns:
        Longitudes and latitudes in degrees, (n, 2), by row from north to south; and the row and column of each place,
        (n, 2), counted from 0 in the middle, rows southwards and columns eastwards.

    Raises:
        RegionError: if there is no place, or more than ten million.
    """
    joined = join_at_antimeridian(region)
    west, south, east, north = shapely.bounds(joined).tolist()
    step = math.degrees(spacing / EARTH_RADIUS)
    middle, centre = (west + east) / 2.0, (south + north) / 2.0
    rows = np.arange(math.ceil((centre - north) / step), math.floor((centre - south) / step) + 1)
    latitudes = centre - rows * step
    steps = step / np.maximum(np.cos(np.radians(latitudes)), 1e-12)
    reach = np.floor(np.minimum((east - west) / 2.0, 180.0 - steps / 2.0) / steps).clip(0).astype(int)
    count = int((2 * reach + 1).sum())
    if count > _MOST_PLACES:
        raise RegionError(f"{count:,} places a distance of {spacing:g} m apart are more than {_MOST_PLACES:,}")
    places = [np.arange(-n, n + 1) for n in reach]
    columns = np.concatenate(places) if places else np.empty(0, dtype=int)
    index = np.repeat(np.arange(len(rows)), 2 * reach + 1)
    lon, lat = middle + columns * steps[index], latitudes[index]
    shapely.prepare(joined)
    inside = shapely.intersects_xy(joined, lon, lat)
    if not inside.any():
        raise RegionError(f"no place of a grid of {spacing:g} m lies in the region: take a smaller distance in `cells`")
    points = np.column_stack([wrap_longitudes(lon[inside]), lat[inside]])
    return points, np.column_stack([rows[index], columns])[inside]


def _vectors(points: npt.ArrayLike) -> Array:
    lon, lat = np.moveaxis(np.radians(np.asarray(points, dtype=np.float64)), -1, 0)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
