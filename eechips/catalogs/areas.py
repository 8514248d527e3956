"""Areas on the Earth, and what lies in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

RADIUS = 6_371_008.0
"""Of the Earth, the mean, in metres."""

MANY = 1_000_000_000
"""More cells than anything meets."""

_MOST_POINTS = 200_000

Homes = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], list[str]]
"""The cells of places, given longitudes and latitudes."""


def stepped(metres: npt.NDArray[np.float64], *steps: tuple[float, int]) -> npt.NDArray[np.int64]:
    """For each of some diameters the number of the first step that it is less than; ``MANY`` beyond the last."""
    numbers = np.array([*(number for _, number in steps), MANY])
    found: npt.NDArray[np.int64] = numbers[np.searchsorted([reach for reach, _ in steps], metres, side="right")]
    return found


def square_metres(geometry: BaseGeometry) -> float:
    """The area on a sphere; where long edges do not follow meridians or parallels, about."""
    cylinder = shapely.transform(
        geometry, lambda c: np.column_stack([np.radians(c[:, 0]), np.sin(np.radians(c[:, 1]))])
    )
    return float(cylinder.area) * RADIUS**2


def meets_more(geometry: BaseGeometry, cells: int, homes: Homes, *, largest: float, step: float) -> bool:
    """Whether a geometry meets more than so many cells, as far as places in it and on its edge tell.

    Cells that it only just touches may be missed.

    Args:
        geometry: in longitude and latitude.
        cells: how many it may meet.
        homes: the cells of places.
        largest: no cell has a larger area, in square metres.
        step: between places, in degrees.
    """
    if square_metres(geometry) / 2 > cells * largest:
        return True
    west, south, east, north = geometry.bounds
    parts = shapely.get_parts(shapely.get_parts(geometry))
    long = parts[shapely.length(parts) > 0]  # GEOS does not cut what has no length
    points = np.concatenate(
        [shapely.get_coordinates(geometry), shapely.get_coordinates(shapely.segmentize(long, step))]
    )
    columns, rows = np.arange(west, east, step), np.arange(south, north, step)
    if 0 < len(columns) * len(rows) < _MOST_POINTS:
        x, y = (axis.ravel() for axis in np.meshgrid(columns, rows))
        inside = shapely.intersects_xy(geometry, x, y)
        points = np.concatenate([points, np.column_stack([x[inside], y[inside]])])
    return len(set(homes(points[:, 0], points[:, 1]))) > cells
