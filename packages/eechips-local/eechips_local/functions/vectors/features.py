"""``ee.Feature``: construction, ``id``, ``select``, ``setGeometry``, ``toArray``; functions of geometries on features
keep the (left) feature's properties.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import shapely

from eechips_local.functions.registration import Implementation, function
from eechips_local.functions.vectors import geometries as geometric
from eechips_local.functions.vectors import geometry_operations as operations
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.element_properties import Element, geometry_of
from eechips_local.values.values import Array, Feature, Geometry, Value

INDEX = "system:index"


@function("Feature")
def make(geometry: Geometry | None, metadata: Mapping[str, Value] | None, geometryKey: str | None) -> Feature:
    """Return a feature of a geometry and properties."""
    return Feature(geometry, dict(metadata or {}))


@function("Feature.id")
def id_(element: Element) -> str | None:
    """Return a feature's ``system:index``, or an image's id."""
    identifier = element.id if isinstance(element, Image) and element.id else element.properties.get(INDEX)
    return None if identifier is None else str(identifier)


@function("Feature.setGeometry")
def set_geometry(feature: Element, geometry: Geometry | None) -> Feature:
    """Return the feature with another geometry."""
    return Feature(geometry, feature.properties)


@function("Feature.select")
def select(
    input: Element, propertySelectors: list[str], newProperties: list[str] | None, retainGeometry: bool
) -> Element:
    """Return the feature with only the properties that are named or match a regular expression, perhaps renamed."""
    chosen = [name for selector in propertySelectors for name in _chosen(input.properties, selector)]
    if newProperties is not None and len(newProperties) != len(chosen):
        raise InvalidError("Selected a different number of properties than names.")  # as code 63275039799 quotes it
    renamed = zip(newProperties or chosen, chosen, strict=True)
    kept = {new: input.properties.get(old) for new, old in renamed}
    if INDEX in input.properties:
        kept.setdefault(INDEX, input.properties[INDEX])
    if isinstance(input, Image):
        return input.with_properties(kept)
    return Feature(input.geometry if retainGeometry else None, kept)


def _chosen(properties: Mapping[str, Value], selector: str) -> list[str]:
    """Return names of properties that a selector means: the one of that name, else all that match it."""
    if selector in properties:
        return [selector]
    try:
        pattern = re.compile(selector)
    except re.error as error:
        raise InvalidError(f"Invalid property selector '{selector}': {error}.") from error
    return [name for name in properties if name != INDEX and pattern.fullmatch(name)]


@function("Feature.toArray")
def to_array(feature: Element, properties: list[str]) -> Array:
    """Return the values of numeric properties as a 1-D array."""
    values = [feature.properties.get(name) for name in properties]
    for name, value in zip(properties, values, strict=True):
        if not isinstance(value, (int, float)):
            raise InvalidError(f"Property '{name}' is not a number.")
    return Array(np.array(values, dtype=np.float64))


# Geometry functions


def _shape_of(element: Element) -> Geometry:
    """Return the geometry of an element; one without has an empty geometry."""
    return geometry_of(element) or Geometry(shapely.GeometryCollection())


def _measuring(measure: Callable[..., Any]) -> Implementation:
    def call(feature: Element, **options: Any) -> Any:
        return measure(_shape_of(feature), **options)

    return Implementation(call)


def _changing(change: Callable[..., Geometry]) -> Implementation:
    def call(feature: Element, **options: Any) -> Feature:
        return Feature(change(_shape_of(feature), **options), feature.properties)

    return Implementation(call)


def _relating(relate: Callable[..., Any]) -> Implementation:
    def call(left: Element, right: Element, **options: Any) -> Any:
        return relate(_shape_of(left), _shape_of(right), **options)

    return Implementation(call)


def _combining(combine: Callable[..., Geometry]) -> Implementation:
    def call(left: Element, right: Element, **options: Any) -> Feature:
        return Feature(combine(_shape_of(left), _shape_of(right), **options), left.properties)

    return Implementation(call)


FUNCTIONS: Mapping[str, Implementation] = {
    "Feature.area": _measuring(geometric.area),
    "Feature.length": _measuring(geometric.length),
    "Feature.perimeter": _measuring(geometric.perimeter),
    "Feature.bounds": _changing(operations.bounds),
    "Feature.buffer": _changing(operations.buffer),
    "Feature.centroid": _changing(operations.centroid),
    "Feature.convexHull": _changing(operations.convex_hull),
    "Feature.cutLines": _changing(operations.cut_lines),
    "Feature.dissolve": _changing(operations.dissolve),
    "Feature.simplify": _changing(operations.simplify),
    "Feature.transform": _changing(operations.transform),
    "ProjectionTransform": _changing(operations.transform),
    "Feature.closestPoint": _relating(geometric.closest_point),
    "Feature.closestPoints": _relating(geometric.closest_points),
    "Feature.containedIn": _relating(geometric.contained_in),
    "Feature.contains": _relating(geometric.contains),
    "Feature.disjoint": _relating(geometric.disjoint),
    "Feature.distance": _relating(geometric.distance),
    "Feature.intersects": _relating(geometric.intersects),
    "Feature.withinDistance": _relating(geometric.within_distance),
    "Feature.difference": _combining(operations.difference),
    "Feature.intersection": _combining(operations.intersection),
    "Feature.symmetricDifference": _combining(operations.symmetric_difference),
    "Feature.union": _combining(operations.union),
}
"""Geometry functions on features."""
