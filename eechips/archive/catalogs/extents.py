"""Boxes of longitude and latitude as in GeoJSON (RFC 7946, 5.2: west exceeds east across the antimeridian): parse
``W,S,E,N``, intersect, unite and measure them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips.errors import RegionError

_METRES_PER_DEGREE = 111_700.0  # an upper bound for WGS84: the maximum is 111,694, of the meridian at the poles


@dataclass(frozen=True, slots=True)
class Extent:
    """A box in degrees (EPSG:4326), edges included.

    Attributes:
        west: least longitude, -180 to 180.
        south: least latitude, -90 to 90.
        east: greatest longitude; less than ``west`` if the box crosses the antimeridian.
        north: greatest latitude.
    """

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def parse(cls, text: str) -> Extent:
        """Parse ``W,S,E,N``, or ``LON,LAT`` for a point.

        Raises:
            RegionError: if the text is neither, or out of range.
        """
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) == 2:
            numbers *= 2
        if len(numbers) != 4 or not all(math.isfinite(number) for number in numbers):
            raise RegionError(f"'{text}' is not a box W,S,E,N or a point LON,LAT in degrees")
        west, south, east, north = numbers
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
            raise RegionError(f"'{text}' is out of range: longitudes -180 to 180, latitudes -90 to 90, south first")
        return cls(west, south, east, north)

    @property
    def bbox(self) -> list[float]:
        """Return [west, south, east, north] as in GeoJSON."""
        return [self.west, self.south, self.east, self.north]

    def meets(self, other: Extent) -> bool:
        """Return whether two boxes intersect, by exact comparison of their edges."""
        if self.south > other.north or other.south > self.north:
            return False
        return any(a <= d and c <= b for a, b in self._arcs for c, d in other._arcs)

    def meets_all(self, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return which boxes (n, 4) intersect this one, as :meth:`meets`; shape (n,)."""
        west, south, east, north = boxes.T
        crosses = west > east
        intersecting = np.zeros(len(boxes), dtype=bool)
        for a, b in self._arcs:
            intersecting |= np.where(crosses, (west <= b) | (east >= a), (west <= b) & (east >= a))
        intersecting &= (south <= self.north) & (north >= self.south)
        return intersecting

    @property
    def _arcs(self) -> list[tuple[float, float]]:
        """Return the longitudes as intervals within -180 to 180; both ends are the same meridian."""
        arcs = [(self.west, self.east)] if self.west <= self.east else [(self.west, 180.0), (-180.0, self.east)]
        if any(end == 180.0 for _, end in arcs):
            arcs.append((-180.0, -180.0))
        if any(start == -180.0 for start, _ in arcs):
            arcs.append((180.0, 180.0))
        return arcs


def union(boxes: npt.NDArray[np.float64]) -> Extent:
    """Return the smallest box around boxes, made of their edges.

    Args:
        boxes: shape (n, 4), n at least 1: west, south, east, north as in GeoJSON.
    """
    west, south, east, north = boxes.T
    low, high = float(south.min()), float(north.max())
    crossing = west > east
    plain = (
        Extent(-180.0, low, 180.0, high) if crossing.any() else Extent(float(west.min()), low, float(east.max()), high)
    )
    # The box across the antimeridian: from the first that begins in the east to the last that ends in the west.
    in_east = west >= 0
    in_west = ~in_east | crossing
    if not in_east.any() or not in_west.any():
        return plain
    start, end = float(west[in_east].min()), float(east[in_west].max())
    across = 360.0 - start + end
    return Extent(start, low, end, high) if end < start and across < plain.east - plain.west else plain


def union_of(extents: Sequence[Extent]) -> Extent:
    """Return the smallest box around at least one extent."""
    return union(np.array([extent.bbox for extent in extents]))


def centres(boxes: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return longitudes and latitudes of the centres of boxes (n, 4)."""
    west, south, east, north = boxes.T
    longitudes = west + np.where(west > east, east + 360.0 - west, east - west) / 2
    return np.where(longitudes > 180.0, longitudes - 360.0, longitudes), (south + north) / 2


def diameters(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return an upper bound of the distance between two points of each box (n, 4), in metres."""
    west, south, east, north = boxes.T
    width = np.where(west > east, east + 360.0 - west, east - west)
    nearest = np.where((south <= 0) & (north >= 0), 0.0, np.minimum(np.abs(south), np.abs(north)))  # to the equator
    upper_bounds: npt.NDArray[np.float64] = _METRES_PER_DEGREE * np.hypot(
        width * np.cos(np.radians(nearest)), north - south
    )
    return upper_bounds
