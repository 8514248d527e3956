"""Compute unions, intersections and differences of shapes of any kind; cut shapes at the antimeridian (180°), and test
across it whether one contains another (``Filter.contains``).
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.geometry.shapes import gather, leaves, valid


def kinds(shape: BaseGeometry) -> list[BaseGeometry]:
    """Return a shape's points, lines and polygons, each kind together; polygons that overlap are united."""
    if shape.geom_type != "GeometryCollection":
        return [] if shape.is_empty else [shape]
    parts = leaves(shape)
    by_dimension = ([p for p in parts if shapely.get_dimensions(p) == d] for d in (0, 1, 2))
    return [shapely.union_all(same) for same in by_dimension if same]


def intersection(a: BaseGeometry, b: BaseGeometry) -> BaseGeometry:
    """Return the intersection of two shapes; of mixed kinds where the operands are."""
    with _quiet():
        return union_all([shapely.intersection(x, y) for x in kinds(a) for y in kinds(b)])


def difference(a: BaseGeometry, b: BaseGeometry) -> BaseGeometry:
    """Return the first shape without the second."""
    with _quiet():
        return union_all([reduce(shapely.difference, kinds(b), part) for part in kinds(a)])


def _quiet() -> np.errstate:
    """Hide numpy's warnings of divisions by zero, which GEOS makes on its way to a correct result."""
    return np.errstate(divide="ignore", invalid="ignore", over="ignore")


def union(a: BaseGeometry, b: BaseGeometry) -> BaseGeometry:
    """Return the union of two shapes."""
    with _quiet():
        return union_all([*kinds(a), *kinds(b)])


def symmetric_difference(a: BaseGeometry, b: BaseGeometry) -> BaseGeometry:
    """Return the area that exactly one of the shapes covers."""
    return union(difference(a, b), difference(b, a))


def union_all(shapes: list[BaseGeometry]) -> BaseGeometry:
    """Return shapes united; points on lines and lines in polygons do not count on their own."""
    parts = [leaf for shape in shapes for leaf in leaves(shape)]
    with _quiet():
        return parts[0] if len(parts) == 1 else gather([shapely.union_all(parts)])


def contains(a: BaseGeometry, b: BaseGeometry) -> bool:
    """Return whether a planar longitude/latitude shape in -180…180 degrees contains another one.

    Points and lines on the antimeridian lie at an edge of both pieces of an area that is cut there, but not at its own.
    """
    if shapely.contains(a, b):
        return True
    west, _, east, _ = b.bounds
    return (west == -180.0 or east == 180.0) and bool(shapely.contains(_from_zero(a), _from_zero(b)))


def _from_zero(shape: BaseGeometry) -> BaseGeometry:
    """Return a shape in -180…180 degrees in 0…360 degrees: cut at the prime meridian instead of the antimeridian."""
    west = intersection(shape, shapely.box(-180.0, -90.0, 0.0, 90.0))
    moved = shapely.transform(west, lambda xy: xy + np.array([360.0, 0.0]))
    return union(intersection(shape, shapely.box(0.0, -90.0, 180.0, 90.0)), moved)


def on_globe(shape: BaseGeometry) -> BaseGeometry:
    """Return a planar longitude/latitude shape cut at the antimeridian and moved to -180…180 degrees."""
    if shape.is_empty:
        return shape
    west, _, east, _ = shape.bounds
    if west >= -180.0 and east <= 180.0:
        return shape
    shape = valid(shape)
    turns = range(int(np.floor((west + 180.0) / 360.0)), int(np.ceil((east - 180.0) / 360.0)) + 1)
    pieces = []
    for turn in turns:
        part = intersection(shape, shapely.box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0))
        pieces += leaves(shapely.transform(part, lambda xy, shift=360.0 * turn: xy - (shift, 0.0)))
    highest = max((shapely.get_dimensions(piece) for piece in pieces), default=0)
    return shapely.union_all([piece for piece in pieces if shapely.get_dimensions(piece) == highest])
