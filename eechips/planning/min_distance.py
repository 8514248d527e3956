"""Keep points at a minimum distance, and lay out points in regular rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.geo.polygons import EARTH_RADIUS
from eechips.planning.grid_alignment import join_at_antimeridian
from eechips.text import parse_distance as parse_distance

Array = npt.NDArray[np.float64]
Radii = Callable[[Array], Array]
"""Function of places (n, 2), longitude and latitude in degrees, that returns the radius in metres around each."""

_NEIGHBOURS = tuple(product((-1, 0, 1), repeat=3))
_MOST_PLACES = 10_000_000  # of regular rows


def great_circle(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Metres between places (…, 2) in degrees, on the sphere that has the Earth's area."""
    chords = np.linalg.norm(_vectors(first) - _vectors(second), axis=-1)
    metres: Array = 2.0 * EARTH_RADIUS * np.arcsin(np.minimum(chords / 2.0, 1.0))
    return metres


class MinDistance:
    """Places of which no two are too near to each other: each has a circle around it, and no circles overlap.

    What it takes depends on the order in which places are offered, and on nothing else. Distances are great circles
    on a sphere. Places are kept in cells of space as large as the largest circle so far: asking costs the same however
    many there are.

    Args:
        radii: of the circles; half the distance where that is the same for all.
    """

    def __init__(self, radii: Radii) -> None:
        self.radii = radii
        self._edge = 0.0  # of a cell, in metres: no circle is larger
        self._cells: dict[tuple[int, int, int], list[tuple[float, float, float, float]]] = {}

    @classmethod
    def of_distance(cls, metres: float) -> MinDistance:
        """Return places that are at least so many metres from each other."""
        return cls(lambda points: np.full(len(points), metres / 2.0))

    def add(self, point: tuple[float, float], radius: float) -> bool:
        """Add a place if it is far enough from all that were added; return whether it was.

        Args:
            point: longitude and latitude in degrees.
            radius: of its circle, in metres: what ``radii`` says of it.
        """
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
        """Make the cells larger; at least twice as large, so that it does not happen often."""
        places = [place for cell in self._cells.values() for place in cell]
        self._edge = max(edge, 2.0 * self._edge)
        self._cells = {}
        for place in places:
            self._cells.setdefault(self._cell(*place[:3]), []).append(place)


def regular_points(region: BaseGeometry, spacing: float) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return places in rows from west to east inside a region, at the same distance between and along rows.

    The rows are parallels, counted from the middle of the region's bounds; in each, places are counted from the
    middle meridian. That is a square pixel grid in the sinusoidal projection of that meridian, which keeps areas: every
    place stands for the same area. Near the middle meridian places of neighbouring rows lie above each other, away
    from it they are shifted.

    Args:
        region: polygons in longitude and latitude; parts on both sides of the antimeridian are one region.
        spacing: metres on the sphere that has the Earth's area.

    Returns:
        Longitudes and latitudes in degrees, (n, 2), by row from north to south; and row and column of each, (n, 2),
        0 in the middle, rows growing to the south.

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
        raise RegionError(f"no place of a grid of {spacing:g} m lies in the region: take a smaller `spacing`")
    points = np.column_stack([(lon[inside] + 180.0) % 360.0 - 180.0, lat[inside]])
    return points, np.column_stack([rows[index], columns])[inside]


def _vectors(points: npt.ArrayLike) -> Array:
    lon, lat = np.moveaxis(np.radians(np.asarray(points, dtype=np.float64)), -1, 0)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
