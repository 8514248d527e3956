"""Shapes and their parts: what shapely leaves to do."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from eechips.emulator.pixels.grid import parse_crs
from eechips.emulator.projection import Projection

_PARTS = {"Point": "MultiPoint", "LineString": "MultiLineString", "LinearRing": "MultiLineString"}


def is_geographic(projection: Projection) -> bool:
    """Whether coordinates of a projection are longitude and latitude in degrees."""
    return projection.transform == Affine.identity() and bool(parse_crs(projection.crs).is_geographic)


def leaves(shape: BaseGeometry) -> list[BaseGeometry]:
    """The points, lines and polygons of a shape, none of them empty."""
    if shape.is_empty:
        return []
    if hasattr(shape, "geoms"):
        return [leaf for part in shape.geoms for leaf in leaves(part)]
    return [shape]


def gather(shapes: Iterable[BaseGeometry]) -> BaseGeometry:
    """Points, lines and polygons put together: one of them, a multi-geometry of one kind, or a mixed collection."""
    parts = [leaf for shape in shapes for leaf in leaves(shape)]
    kinds = {_PARTS.get(part.geom_type, "MultiPolygon") for part in parts}
    if len(parts) == 1:
        return parts[0]
    if kinds == {"MultiPoint"}:
        return shapely.MultiPoint(parts)
    if kinds == {"MultiLineString"}:
        return shapely.MultiLineString([shapely.LineString(part) for part in parts])
    if kinds == {"MultiPolygon"}:
        return shapely.MultiPolygon(parts)
    return shapely.GeometryCollection(parts)


def valid(shape: BaseGeometry) -> BaseGeometry:
    """The shape itself where its rings are simple, else what the even/odd rule makes of it."""
    return shape if shape.is_valid else shapely.make_valid(shape)


def on_globe(shape: BaseGeometry) -> BaseGeometry:
    """A planar longitude/latitude shape cut at the antimeridian and moved to -180…180 degrees."""
    if shape.is_empty:
        return shape
    west, _, east, _ = shape.bounds
    if west >= -180.0 and east <= 180.0:
        return shape
    turns = range(int(np.floor((west + 180.0) / 360.0)), int(np.ceil((east - 180.0) / 360.0)) + 1)
    pieces = []
    for turn in turns:
        part = shapely.intersection(shape, shapely.box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0))
        pieces += leaves(shapely.transform(part, lambda xy, shift=360.0 * turn: xy - (shift, 0.0)))
    highest = max((shapely.get_dimensions(piece) for piece in pieces), default=0)
    return shapely.union_all([piece for piece in pieces if shapely.get_dimensions(piece) == highest])
