"""Shapes and their parts: what shapely leaves to do."""

from __future__ import annotations

from collections.abc import Iterable

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
    """The shape itself where it is simple, else what its parts cover.

    Rings that cross themselves count by the even/odd rule; polygons that overlap each other count once.
    """
    if shape.is_valid:
        return shape
    parts = [piece for leaf in leaves(shape) for piece in leaves(_simple(leaf))]
    polygons = [part for part in parts if part.geom_type == "Polygon"]
    others = [part for part in parts if part.geom_type != "Polygon"]
    return gather([*([shapely.union_all(polygons)] if polygons else []), *others])


def _simple(leaf: BaseGeometry) -> BaseGeometry:
    """A point, line or polygon without a fault."""
    if leaf.is_valid:
        return leaf
    if leaf.geom_type == "Polygon":
        return shapely.make_valid(leaf)
    points = shapely.get_coordinates(leaf)
    return shapely.LineString(points) if (points != points[0]).any() else shapely.Point(points[0])
