"""List the cells of H3 (https://h3geo.org) that meet a geometry."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.extras import import_extra
from eechips.geo.polygons import list_polygons

_WIDEST = 60.0  # degrees of longitude


@functools.cache
def load_h3() -> Any:
    """Import H3; raise UsageError if it is not installed."""
    return import_extra("h3", "H3 cells need h3", "stac")


def list_cells(part: BaseGeometry, resolution: int) -> set[str]:
    """Return the hexagons, and pentagons, that a geometry meets.

    Args:
        part: a point, a line or a polygon in longitude and latitude, with edges that are straight in this plane.
        resolution: 0 to 15.
    """
    h3 = load_h3()
    points = shapely.get_coordinates(part)
    cells = {h3.latlng_to_cell(latitude, longitude, resolution) for longitude, latitude in points.tolist()}
    if part.geom_type == "LineString":
        part = part.buffer(1e-9)
    for piece in _pieces(part):
        rings = (shapely.get_coordinates(ring)[:-1, ::-1] for ring in (piece.exterior, *piece.interiors))
        shape = h3.LatLngPoly(*(list(map(tuple, ring.tolist())) for ring in rings))
        cells.update(h3.h3shape_to_cells_experimental(shape, resolution, contain="overlap"))
    return cells


def _pieces(part: BaseGeometry) -> list[Any]:
    """Return a polygon in pieces narrow enough that H3 does not take them the other way round the Earth."""
    west, south, east, north = part.bounds
    if east - west <= _WIDEST:
        return list_polygons(part)
    edges = np.linspace(west, east, int((east - west) // _WIDEST) + 2)
    return [
        piece
        for left, right in pairwise(edges.tolist())
        for piece in list_polygons(shapely.intersection(part, shapely.box(left, south, right, north)))
    ]
