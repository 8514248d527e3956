"""Areas on the sphere of polygons in longitude and latitude.

Edges are straight lines of the plate carrée, as in GeoJSON and in what Earth Engine returns ("planar edges").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.footprints import polygons as polygons
from eechips.footprints import wrap as wrap

RADIUS = 6_371_007.2
"""Radius in metres of the sphere that has the area of the WGS84 ellipsoid."""


def area(geometry: BaseGeometry) -> float:
    """Area of the polygons of a geometry in square metres.

    The integral of the area element over a ring is a sum over its edges of the integral of -sin(lat) dlon, and
    over a straight edge that is exactly ``dlon * sin(mean lat) * sin(h) / h`` with h half the step in latitude.
    """
    return sum(_ring(part.exterior) - sum(map(_ring, part.interiors)) for part in polygons(geometry))


def mean_width(geometry: BaseGeometry) -> float:
    """Area over half the perimeter, in metres: what is left of a long sliver's length."""
    perimeter = 0.0
    for part in polygons(geometry):
        for ring in (part.exterior, *part.interiors):
            lon, lat = _radians(ring)
            step = np.cos((lat[1:] + lat[:-1]) / 2) * np.diff(lon)
            perimeter += RADIUS * float(np.hypot(step, np.diff(lat)).sum())
    return area(geometry) / (perimeter / 2) if perimeter else 0.0


def _ring(ring: BaseGeometry) -> float:
    """Area inside a ring, whichever way it turns."""
    lon, lat = _radians(ring)
    # Any constant may be taken off sin(lat), as the steps in longitude add up to nothing: taking off the middle
    # keeps the digits of small polygons.
    middle = np.sin((lat.min() + lat.max()) / 2)
    mean = np.sin((lat[1:] + lat[:-1]) / 2) * np.sinc(np.diff(lat) / 2 / np.pi)
    return RADIUS**2 * abs(float((np.diff(lon) * (mean - middle)).sum()))


def _radians(ring: BaseGeometry) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    coordinates = np.radians(shapely.get_coordinates(ring))
    return coordinates[:, 0], coordinates[:, 1]
