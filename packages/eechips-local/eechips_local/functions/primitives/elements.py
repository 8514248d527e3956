"""``ee.Element``: properties of images, features and collections: ``get``, ``set``, ``toDictionary``,
``copyProperties``, ``propertyNames``; and ``geometry``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eechips_local.evaluation.lazy_values import Later, uncomputed, updated
from eechips_local.evaluation.type_conversion import promote
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import Projection
from eechips_local.geometry.planar_frame import frame_for, recast, tolerance_of
from eechips_local.geometry.shapes import is_geographic
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.element_properties import (
    Element,
    geometry_of,
    is_system,
    property_names,
    property_of,
    with_properties,
)
from eechips_local.values.values import Array, ErrorMargin, Geometry, Value


@function("Element.get")
def get(object: Element, property: str) -> Value:
    """Return the value of a property, or null."""
    return property_of(object, property)


def _typed(element: Element, name: str, wanted: str) -> Any:
    value = property_of(element, name)
    return None if value is None else promote(value, wanted, f"Property '{name}'")


@function("Element.getNumber")
def get_number(object: Element, property: str) -> int | float | None:
    """Return the value of a property as a number, or null."""
    number: int | float | None = _typed(object, property, "Number")
    return number


@function("Element.getString")
def get_string(object: Element, property: str) -> str | None:
    """Return the value of a property as a string, or null."""
    text: str | None = _typed(object, property, "String")
    return text


@function("Element.getArray")
def get_array(object: Element, property: str) -> Array | None:
    """Return the value of a property as an array, or null."""
    array: Array | None = _typed(object, property, "Array")
    return array


@function("Element.set", late=("value",))
def set_(object: Element, key: str, value: Value | Later) -> Element:
    """Return a copy with one property set, whose value may be computed later."""
    return with_properties(object, updated(object.properties, {key: value}))


@function("Element.setMulti")
def set_multi(object: Element, properties: Mapping[str, Value]) -> Element:
    """Return a copy with several properties set."""
    return with_properties(object, updated(object.properties, properties))


@function("Element.propertyNames")
def names(element: Element) -> list[str]:
    """The names of its properties, those of the system too."""
    return property_names(element)


@function("Element.toDictionary")
def to_dictionary(element: Element, properties: list[str] | None) -> dict[str, Value]:
    """Return properties by name: the selected ones, or all that are not the system's."""
    wanted = properties if properties is not None else [n for n in element.properties if not is_system(n)]
    selected = {name: property_of(element, name) for name in wanted}
    return {name: value for name, value in selected.items() if value is not None or name in element.properties}


@function("Element.copyProperties")
def copy_properties(
    destination: Element, source: Element, properties: list[str] | None, exclude: list[str] | None
) -> Element:
    """Return the destination with properties of the source: the selected ones, or all that are not the system's.

    What tells the bands is copied as well if it is selected: see ``element_properties.BANDS``.
    """
    if properties is not None and exclude is not None:
        raise InvalidError("Only one of 'properties' and 'exclude' may be specified.")
    if destination is None or source is None:
        return destination
    known = uncomputed(source.properties)
    if properties is None:
        left_out = set(exclude or ())
        copied = {k: v for k, v in known.items() if not is_system(k) and k not in left_out}
    else:
        later = {name: known[name] for name in properties if isinstance(known.get(name), Later)}
        source_values = {name: property_of(source, name) for name in properties if name not in later}
        copied = {**later, **{name: value for name, value in source_values.items() if value is not None}}
    return with_properties(destination, updated(destination.properties, copied))


@function("Element.geometry", "Feature.geometry")
def geometry(
    feature: Element, maxError: ErrorMargin | None, proj: Projection | None, geodesics: bool | None
) -> Geometry | None:
    """Return an element's geometry, perhaps in another projection; null where it has none."""
    own_geometry = geometry_of(feature)
    if own_geometry is None or proj is None:
        return own_geometry
    edges = (own_geometry.geodesic if geodesics is None else geodesics) and is_geographic(proj)
    frame_for(own_geometry, margin=maxError, projection=proj)  # refuses where a margin is needed
    return recast(own_geometry, proj, edges, tolerance_of(maxError, proj))
