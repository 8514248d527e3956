"""Evaluate conditions of ``ee.Filter`` on one element, or on a pair of elements in a join: nulls, equality, order,
geometries, and the lookups of joins.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.asset_model import Bounds, Query
from eechips_local.geometry import geodesy
from eechips_local.geometry.longitude_boxes import boxes_touch
from eechips_local.geometry.map_projection import WGS84
from eechips_local.geometry.planar_frame import Frame
from eechips_local.values.element_properties import GEOMETRY, GEOMETRY_FIELDS, Element, geometry_if_any, property_of
from eechips_local.values.ordering import distinct_key, plain
from eechips_local.values.values import Filter, Geometry, Value

Lookup = Callable[[Element], Iterable[int]]
"""Gives the positions of the elements that may match one of the other collection; more than match, never fewer."""

_EVERYTHING: Bounds = (-180.0, -90.0, 180.0, 90.0)
_REMEMBERED = 20_000  # shapes
_METRES_PER_DEGREE = 110_500.0  # of latitude; no degree on the ellipsoid is shorter
_MOST_METRES_PER_DEGREE = 111_700.0  # no degree is longer


@dataclass(frozen=True, slots=True, eq=False)
class FilterCondition(Filter):
    """A filter that joins may use.

    Attributes:
        contrary: narrows a query to what its opposite passes, or leaves it as it is.
        measure: how far apart two elements are, for saveBest; None where the condition knows no such thing.
        lookup: makes a lookup into secondary elements; None where all of them have to be tried.
        seek: returns a filter that the secondary elements which match a primary one pass, and of which a store makes
            use, or None if none can match; None where there is no such filter.
    """

    contrary: Callable[[Query], Query] = field(default=lambda query: query)
    measure: Callable[[Element, Element], float] | None = None
    lookup: Callable[[Sequence[Element]], Lookup] | None = None
    seek: Callable[[Element], Filter | None] | None = None


@dataclass(frozen=True, slots=True)
class Operand:
    """One side of a comparison: a field of an element, or a value.

    Attributes:
        field: name of a property, or None.
        value: used where there is no field.
    """

    field: str | None
    value: Value = None

    def of(self, element: Element) -> Value:
        """Return the operand's value for an element."""
        return self.value if self.field is None else property_of(element, self.field)

    def geometry(self, element: Element) -> Geometry | None:
        """Return the operand as a geometry, or None."""
        if self.field in GEOMETRY_FIELDS:
            return geometry_if_any(element)
        return as_geometry(self.of(element))


def as_geometry(value: Value) -> Geometry | None:
    """Return a geometry, or that of an element; None for anything else."""
    if isinstance(value, Geometry):
        return value
    return geometry_if_any(value) if hasattr(value, "properties") and not hasattr(value, "element") else None


def comparison(left: Operand, right: Operand, test: Callable[[Value, Value], bool], **more: Any) -> FilterCondition:
    """Return a condition that compares two operands; it fails where one of them is null."""

    def pairs(primary: Element, secondary: Element) -> bool:
        a, b = left.of(primary), right.of(secondary)
        return a is not None and b is not None and test(a, b)

    return FilterCondition(
        matches=lambda element: pairs(element, element), pairs=pairs, fields=fields_of(left, right), **more
    )


def fields_of(*operands: Operand) -> frozenset[str]:
    """Return the names of the properties that operands are, ".geo" for the geometry."""
    names = {operand.field for operand in operands if operand.field is not None}
    return frozenset(GEOMETRY if name in GEOMETRY_FIELDS else name for name in names)


def equal(a: Value, b: Value) -> bool:
    """Return whether two values are the same: numbers by value, dates as milliseconds, lists by their items."""
    return bool(distinct_key(a) == distinct_key(b))


def ordered(a: Value, b: Value) -> tuple[Any, Any] | None:
    """Return two values that can be compared with ``<``: two numbers (or dates), or two strings; else None."""
    a, b = plain(a), plain(b)
    both = ((int, float), str)
    return (a, b) if any(isinstance(a, kind) and isinstance(b, kind) for kind in both) else None


def lookup_equal(left: Operand, right: Operand) -> Callable[[Sequence[Element]], Lookup]:
    """Find secondary elements whose right operand equals the left one."""

    def build(secondary: Sequence[Element]) -> Lookup:
        positions: dict[Any, list[int]] = {}
        for position, element in enumerate(secondary):
            value = right.of(element)
            if value is not None:
                positions.setdefault(distinct_key(value), []).append(position)
        return lambda primary: positions.get(distinct_key(left.of(primary)), ())

    return build


def lookup_near(left: Operand, right: Operand, difference: float) -> Callable[[Sequence[Element]], Lookup]:
    """Find secondary elements whose right operand differs from the left one by so much at most."""

    def build(secondary: Sequence[Element]) -> Lookup:
        known = [(plain(right.of(e)), i) for i, e in enumerate(secondary)]
        numbers = sorted((float(v), i) for v, i in known if isinstance(v, (int, float)))
        values = [v for v, _ in numbers]

        def find(primary: Element) -> Iterable[int]:
            value = plain(left.of(primary))
            if not isinstance(value, (int, float)):
                return ()
            slack = abs(value) * 1e-12
            start = bisect_left(values, value - difference - slack)
            end = bisect_right(values, value + difference + slack)
            return sorted(i for _, i in numbers[start:end])

        return find

    return build


class ShapeCache:
    """Geometries as planar longitude/latitude shapes in -180…180 degrees; each is made once."""

    def __init__(self, tolerance: float) -> None:
        """Args: tolerance: metres by which edges may be off."""
        self._frame = Frame(WGS84, None, False, tolerance)
        self._made: dict[int, tuple[Geometry, BaseGeometry]] = {}

    def of(self, geometry: Geometry, *, often: bool) -> BaseGeometry:
        """Return the shape of a geometry; prepared, if it is needed often."""
        kept_shape = self._made.get(id(geometry))
        if kept_shape is None:
            kept_shape = (geometry, self._frame.take(geometry))
            if often:
                shapely.prepare(kept_shape[1])
            if len(self._made) > _REMEMBERED:
                self._made.clear()
            self._made[id(geometry)] = kept_shape
        return kept_shape[1]


def extent(geometry: Geometry) -> Bounds:
    """Return west, south, east, north in degrees of everything a geometry covers; all longitudes where it crosses
    180°.
    """
    if geometry.unbounded:
        return _EVERYTHING
    if geometry.projection == WGS84 and geometry.geodesic and shapely.get_dimensions(geometry.shape) > 0:
        west, south, east, north = geodesy.bounds(geometry.shape)
    else:
        west, south, east, north = geometry.bounds
    return (west, south, east, north) if west >= -180.0 and east <= 180.0 else (-180.0, south, 180.0, north)


def grown(box: Bounds, metres: float) -> Bounds:
    """Return a rectangle that holds everything within so many metres of another one."""
    if not math.isfinite(metres):
        return _EVERYTHING
    west, south, east, north = box
    up = metres / _METRES_PER_DEGREE
    south, north = max(south - up, -90.0), min(north + up, 90.0)
    steepest = math.cos(math.radians(max(abs(south), abs(north))))
    wide = up / steepest if steepest > 1e-6 else math.inf
    if west - wide < -180.0 or east + wide > 180.0:
        return -180.0, south, 180.0, north
    return west - wide, south, east + wide, north


def is_within(a: BaseGeometry, b: BaseGeometry, around: Bounds, metres: float, slack: float) -> bool | None:
    """Return whether planar shapes are at most so many metres apart; None where it has to be measured.

    Args:
        a: in degrees of longitude and latitude.
        b: likewise.
        around: rectangle that holds everything within so many metres of ``a``.
        metres: the distance.
        slack: metres by which the distance of the shapes may be off.
    """
    degrees = float(shapely.distance(a, b))
    if degrees * _MOST_METRES_PER_DEGREE <= metres - slack:
        return True
    west, south, east, north = around
    if west <= -180.0 or east >= 180.0:
        return None  # the way across the antimeridian may be shorter
    shrunk = math.cos(math.radians(max(abs(south), abs(north))))
    return False if degrees * _METRES_PER_DEGREE * shrunk > metres + slack else None


def lookup_spatial(left: Operand, right: Operand, metres: float) -> Callable[[Sequence[Element]], Lookup]:
    """Find secondary elements whose geometry may come within so many metres of the left one's."""

    def build(secondary: Sequence[Element]) -> Lookup:
        indexed_geometries = [
            (i, g) for i, e in enumerate(secondary) if (g := right.geometry(e)) is not None and not _empty(g)
        ]
        positions = np.array([i for i, _ in indexed_geometries], dtype=np.intp)
        tree = shapely.STRtree([shapely.box(*grown(extent(g), metres)) for _, g in indexed_geometries])

        def find(primary: Element) -> Iterable[int]:
            geometry = left.geometry(primary)
            if geometry is None or _empty(geometry):
                return ()
            hits: list[int] = np.sort(positions[tree.query(shapely.box(*extent(geometry)))]).tolist()
            return hits

        return find

    return build


def _empty(geometry: Geometry) -> bool:
    return bool(geometry.shape.is_empty)


@dataclass(frozen=True, slots=True, eq=False)
class Spatial:
    """A relation of two geometries, tried on their extents first.

    Attributes:
        relate: whether two planar shapes are so related; they meet whenever they are.
        tolerance: metres by which edges may be off.
    """

    left: Operand
    right: Operand
    relate: Callable[[BaseGeometry, BaseGeometry], Any]
    tolerance: float
    shapes: ShapeCache = field(init=False)
    extents: tuple[Bounds | None, Bounds | None] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes", ShapeCache(self.tolerance))
        values = (as_geometry(self.left.value), as_geometry(self.right.value))
        extents = tuple(None if g is None or _empty(g) else extent(g) for g in values)
        object.__setattr__(self, "extents", extents)

    def pairs(self, primary: Element, secondary: Element) -> bool:
        """Return whether the geometries of two elements are so related; not where one is null."""
        a, b = self.left.geometry(primary), self.right.geometry(secondary)
        if a is None or b is None or _empty(a) or _empty(b):
            return False
        if not boxes_touch(self.extents[0] or extent(a), self.extents[1] or extent(b)):
            return False
        first = self.shapes.of(a, often=self.left.field is None)
        return bool(self.relate(first, self.shapes.of(b, often=self.right.field is None)))

    def condition(self, **more: Any) -> FilterCondition:
        """Return the condition."""
        return FilterCondition(
            matches=lambda element: self.pairs(element, element),
            pairs=self.pairs,
            fields=fields_of(self.left, self.right),
            lookup=lookup_spatial(self.left, self.right, 0.0),
            **more,
        )
