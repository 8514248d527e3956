"""The grid of H3."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.catalogs.areas import square_metres, stepped
from eechips.errors import UsageError
from eechips.geo.polygons import list_polygons

_SPREAD = 2.0  # the largest cells have less than twice the mean area (https://h3geo.org/docs/core-library/restable)
_SHRINK = 0.65  # and no edge is as short as this times the mean edge
_WIDEST = 60.0  # degrees of longitude


@dataclass(frozen=True)
class H3:
    """The hexagons of H3 (https://h3geo.org).

    Attributes:
        resolution: 0 (4,250,000 km² a cell) to 15; 2 is 86,800 km², 3 is 12,400 km².
    """

    resolution: int

    name = "h3"

    def __post_init__(self) -> None:
        if not 0 <= self.resolution <= 15:
            raise UsageError(f"H3 has resolutions from 0 to 15, not {self.resolution}")

    def most(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """How many hexagons items can meet that are so large across.

        What is d across fits into a disc of radius d / √3. Of any four hexagons two are not neighbours, and lie an edge
        apart; a disc that is smaller than the circle in a hexagon meets 7 at most, one of 1.3 edges 10.
        """
        edge = _SHRINK * float(_h3().average_hexagon_edge_length(self.resolution, unit="m"))
        return stepped(metres, (edge, 3), (1.5 * edge, 7), (2.25 * edge, 10))

    def to_json(self) -> dict[str, Any]:
        """``{"name": "h3", "resolution": …}``."""
        return {"name": self.name, "resolution": self.resolution}

    def homes(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """The hexagons, or pentagons, that places lie in."""
        cell, resolution = _h3().latlng_to_cell, self.resolution
        return [cell(y, x, resolution) for x, y in zip(longitudes.tolist(), latitudes.tolist(), strict=True)]

    def is_over(self, geometry: BaseGeometry, cells: int) -> bool:
        """Whether a geometry meets more than so many hexagons; edges are straight in longitude and latitude."""
        h3 = _h3()
        largest = _SPREAD * h3.average_hexagon_area(self.resolution, unit="m^2")
        if square_metres(geometry) / 2 > cells * largest:  # without listing them: there may be billions
            return True
        found: set[str] = set()
        for part in shapely.get_parts(shapely.get_parts(geometry)):
            found.update(self.cells(part))
            if len(found) > cells:
                return True
        return False

    def cells(self, part: BaseGeometry) -> set[str]:
        """The hexagons that a point, a line or a polygon meets."""
        h3 = _h3()
        points = shapely.get_coordinates(part)
        found = set(self.homes(points[:, 0], points[:, 1]))
        if part.geom_type == "LineString":
            part = part.buffer(1e-9)
        for piece in _pieces(part):
            rings = (shapely.get_coordinates(ring)[:-1, ::-1] for ring in (piece.exterior, *piece.interiors))
            shape = h3.LatLngPoly(*(list(map(tuple, ring.tolist())) for ring in rings))
            found.update(h3.h3shape_to_cells_experimental(shape, self.resolution, contain="overlap"))
        return found


def _pieces(part: BaseGeometry) -> list[Any]:
    """A polygon in pieces of which H3 does not think that they go the other way round the Earth."""
    west, south, east, north = part.bounds
    if east - west <= _WIDEST:
        return list_polygons(part)
    edges = np.linspace(west, east, int((east - west) // _WIDEST) + 2)
    return [
        piece
        for left, right in pairwise(edges.tolist())
        for piece in list_polygons(shapely.intersection(part, shapely.box(left, south, right, north)))
    ]


@functools.cache
def _h3() -> Any:
    try:
        import h3
    except ImportError as error:
        raise UsageError("catalogues by H3 cells need h3: pip install 'eechips[stac]'") from error
    return h3
