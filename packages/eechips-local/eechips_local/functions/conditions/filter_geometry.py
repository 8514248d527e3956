"""``Filter.intersects``, ``disjoint``, ``contains``, ``isContained``, ``withinDistance`` and ``area``: relations,
distances and areas of geometries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import shapely

from eechips_local.evaluation.asset_model import Bounds, Query
from eechips_local.evaluation.type_conversion import full_type_name, type_name
from eechips_local.functions.conditions.filter_logic import Narrow, of_one, opposite
from eechips_local.functions.conditions.filters import operands
from eechips_local.functions.registration import function
from eechips_local.functions.vectors import geometries as geometric
from eechips_local.functions.vectors.geometry_operations import bounds
from eechips_local.geometry import overlay
from eechips_local.geometry.geometry import collection_geometry
from eechips_local.geometry.longitude_boxes import boxes_touch, on_circle
from eechips_local.geometry.map_projection import WGS84
from eechips_local.geometry.planar_frame import tolerance_of
from eechips_local.protocol.request_errors import InvalidError, TypeMismatchError
from eechips_local.values.element_properties import GEOMETRY_FIELDS, Element
from eechips_local.values.filter_conditions import (
    FilterCondition,
    Operand,
    ShapeCache,
    Spatial,
    as_geometry,
    extent,
    fields_of,
    grown,
    is_within,
    lookup_spatial,
)
from eechips_local.values.values import Collection, ErrorMargin, Feature, Geometry, Value


def _spatial_operands(
    leftField: str | None, rightValue: Value, rightField: str | None, leftValue: Value
) -> tuple[Operand, Operand]:
    """Return both sides as geometries: values become geometries once."""
    return operands(leftField, _as_geometry(rightValue, "right"), rightField, _as_geometry(leftValue, "left"))


def _as_geometry(value: Value, side: str) -> Geometry | None:
    if value is None:
        return None
    if isinstance(value, Collection):
        return collection_geometry(value)
    geometry = as_geometry(value)
    if isinstance(value, Feature) and geometry is None:
        return Geometry(shapely.GeometryCollection())
    if geometry is None:
        raise TypeMismatchError(
            f"Argument '{side}Value': Invalid type.\nExpected type: Geometry.\nActual type: {type_name(value)}."
        )
    return geometry


def query_bounds(geometry: Geometry, metres: float = 0.0) -> Bounds | None:
    """Return the rectangle around a geometry that a store is queried for; west exceeds east across the antimeridian.

    Args:
        geometry: any.
        metres: how much farther to look.

    Returns:
        None where that would be the whole Earth, or nothing.
    """
    if geometry.unbounded or geometry.shape.is_empty:
        return None
    exact = bounds(geometry, None, None).shape.bounds
    if exact[2] > 180.0:
        return None if metres else on_circle(exact)
    return grown(exact, metres) if metres else exact


def _narrow_bounds(left: Operand, right: Operand, metres: float) -> Narrow:
    """Ask the store for what meets the value's rectangle, if the other side is the elements' own geometry.

    Nothing meets an empty geometry, such as that of a table without rows.
    """
    name, value = (left.field, right.value) if right.field is None else (right.field, left.value)
    if name in GEOMETRY_FIELDS and isinstance(value, Geometry) and not value.unbounded and value.shape.is_empty:
        return lambda query: replace(query, indices=frozenset())
    bounds = query_bounds(value, metres) if name in GEOMETRY_FIELDS and isinstance(value, Geometry) else None
    return (lambda query: query) if bounds is None else narrow_to(bounds)


def narrow_to(bounds: Bounds) -> Narrow:
    """Ask the store for what meets a rectangle."""

    def narrow(query: Query) -> Query:
        old = query.bounds
        if old is None:
            return replace(query, bounds=bounds)
        if old[0] > old[2] or bounds[0] > bounds[2] or not boxes_touch(old, bounds):
            return query  # not one rectangle; the exact filters are applied anyway
        west, south = max(old[0], bounds[0]), max(old[1], bounds[1])
        return replace(query, bounds=(west, south, min(old[2], bounds[2]), min(old[3], bounds[3])))

    return narrow


def _related(
    left: Operand, right: Operand, margin: ErrorMargin | None, relate: Callable[[Any, Any], Any]
) -> FilterCondition:
    tolerance = tolerance_of(margin, WGS84)
    return Spatial(left, right, relate, tolerance).condition(narrow=_narrow_bounds(left, right, 0.0))


def _refusing(margin: ErrorMargin | None) -> FilterCondition:
    """Return a condition on whole elements and a geometry: it is refused where an element is tried.

    The client makes a feature of the geometry. A client that did not quotes the message.
    """

    def matches(element: Element) -> bool:
        by = "" if margin is None else f"<e:ErrorMargin({margin.value} {margin.unit.upper()})>"
        raise InvalidError(
            f"Property '.all' with value '<{full_type_name(element)}>' is not a valid operand for Intersects{by}."
        )

    return FilterCondition(matches=matches, pairs=lambda primary, _: matches(primary), fields=None)


@function("Filter.intersects")
def intersects(
    leftField: str | None, rightValue: Value, rightField: str | None, leftValue: Value, maxError: ErrorMargin | None
) -> FilterCondition:
    """Return a filter for geometries that have a point in common."""
    if (leftField == ".all" and isinstance(rightValue, Geometry)) or (
        rightField == ".all" and isinstance(leftValue, Geometry)
    ):
        return _refusing(maxError)
    left, right = _spatial_operands(leftField, rightValue, rightField, leftValue)
    return _related(left, right, maxError, shapely.intersects)


@function("Filter.disjoint")
def disjoint(
    leftField: str | None, rightValue: Value, rightField: str | None, leftValue: Value, maxError: ErrorMargin | None
) -> FilterCondition:
    """Return a filter for geometries without a common point."""
    return opposite(intersects(leftField, rightValue, rightField, leftValue, maxError))


@function("Filter.contains")
def contains(
    leftField: str | None, rightValue: Value, rightField: str | None, leftValue: Value, maxError: ErrorMargin | None
) -> FilterCondition:
    """Return a filter for left geometries that contain the right one."""
    left, right = _spatial_operands(leftField, rightValue, rightField, leftValue)
    return _related(left, right, maxError, overlay.contains)


@function("Filter.isContained")
def is_contained(
    leftField: str | None, rightValue: Value, rightField: str | None, leftValue: Value, maxError: ErrorMargin | None
) -> FilterCondition:
    """Return a filter for left geometries that the right one contains."""
    left, right = _spatial_operands(leftField, rightValue, rightField, leftValue)
    return _related(left, right, maxError, lambda a, b: overlay.contains(b, a))


@function("Filter.withinDistance")
def within_distance(
    distance: float,
    leftField: str | None,
    rightValue: Value,
    rightField: str | None,
    leftValue: Value,
    maxError: ErrorMargin | None,
) -> FilterCondition:
    """Return a filter for geometries at most so many metres apart; the distance is the join's measure."""
    left, right = _spatial_operands(leftField, rightValue, rightField, leftValue)
    tolerance = tolerance_of(maxError, WGS84)
    shapes = ShapeCache(tolerance)

    def measure(primary: Element, secondary: Element) -> float:
        a, b = left.geometry(primary), right.geometry(secondary)
        assert a is not None
        assert b is not None
        return geometric.distance(a, b, maxError, None, False)

    def pairs(primary: Element, secondary: Element) -> bool:
        a, b = left.geometry(primary), right.geometry(secondary)
        if a is None or b is None or a.shape.is_empty or b.shape.is_empty:
            return False
        around = grown(extent(a), distance)
        if not boxes_touch(around, extent(b)):
            return False
        if a.projection == b.projection == WGS84:
            planar = shapes.of(a, often=left.field is None), shapes.of(b, often=right.field is None)
            is_near = is_within(*planar, around, distance, 2.0 * tolerance)
            if is_near is not None:
                return is_near
        return measure(primary, secondary) <= distance

    return FilterCondition(
        matches=lambda element: pairs(element, element),
        narrow=_narrow_bounds(left, right, max(distance, 0.0) + tolerance),
        pairs=pairs,
        fields=fields_of(left, right),
        measure=measure,
        lookup=lookup_spatial(left, right, max(distance, 0.0)),
    )


@function("Filter.area")
def area(min: float, max: float, maxError: ErrorMargin | None, geometrySelector: str | None) -> FilterCondition:
    """Return a filter for geometries whose area lies between two numbers of square metres, inclusive."""
    operand = Operand(geometrySelector or ".geo")

    def matches(element: Element) -> bool:
        geometry = operand.geometry(element)
        return geometry is not None and min <= geometric.area(geometry, maxError, None) <= max

    return of_one(matches, [geometrySelector or ".geo"])
