"""Read and set properties of elements, also the system's (``system:id``, ``system:bands``, ``system:footprint``), and
read their geometry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import shapely

from eechips_local.evaluation.lazy_values import without
from eechips_local.geometry.geometry import element_geometry, kept_footprint
from eechips_local.pixels.lazy_image import Image
from eechips_local.values.value_json import band_json
from eechips_local.values.values import Collection, Feature, Geometry, Value

GEOMETRY = ".geo"
BAND_TYPES = ".types"
"""Stands for the types of bands among the names of properties that elements keep."""
GEOMETRY_FIELDS = (GEOMETRY, ".all")
"""Names by which filters refer to the geometry of an element."""

FOOTPRINT = "system:footprint"
Element = Any
"""An Image, a Feature or a Collection."""


def geometry_of(element: Element) -> Geometry | None:
    """Return a feature's geometry, or an image's footprint (the whole Earth where it is unbounded).

    Raises:
        InvalidError: for a collection; see :func:`element_geometry`.
    """
    return element_geometry(element)


def geometry_if_any(element: Element) -> Geometry | None:
    """Return the geometry of an element as filters and properties have it: a collection among others has none."""
    return None if isinstance(element, Collection) else element_geometry(element)


def property_of(element: Element, name: str) -> Value:
    """Return the value of a property, or None: what the user sees and what the system keeps under ``system:``."""
    own_value = element.properties.get(name)
    if own_value is not None:
        return own_value
    if name in GEOMETRY_FIELDS:
        return geometry_if_any(element)
    if isinstance(element, Image):
        return _of_image(element, name)
    if isinstance(element, Collection) and name in ("system:id", "system:version"):
        return element.id if name == "system:id" else element.version
    return None


def _of_image(image: Image, name: str) -> Value:
    if name == "system:id":
        return image.id
    if name == "system:version":
        return image.version
    if name == "system:band_names":
        return [band.name for band in image.bands]
    if name == "system:bands":
        described = {band.name: band_json(band) for band in image.bands}
        return {band: {k: v for k, v in facts.items() if k != "id"} for band, facts in described.items()}
    if name == FOOTPRINT:
        # Constants and composites have none, as geedim's tests say, which run against the service (``fixed``).
        return None if image.footprint is None or image.footprint.unbounded else kept_footprint(image.footprint)
    return None


def property_names(element: Element) -> list[str]:
    """Return names of all properties, those of the system too."""
    names = list(element.properties)
    if isinstance(element, Image):
        own = ("system:version", "system:id", FOOTPRINT, "system:bands", "system:band_names")
        names += [n for n in own if n not in element.properties and _of_image(element, n) is not None]
    # geetools' tests find the id of a filtered collection among its names (``reduceInterval``).
    if isinstance(element, Collection) and element.id is not None and "system:id" not in element.properties:
        names.append("system:id")
    return names


def with_properties(element: Element, properties: Mapping[str, Value]) -> Element:
    """Return a copy of an element with other properties; an image's ``system:footprint`` becomes its outline."""
    if isinstance(element, Image) and FOOTPRINT in properties:
        return replace(element, properties=without(properties, {FOOTPRINT}), footprint=_filled(properties[FOOTPRINT]))
    return element.with_properties(properties)


def _filled(value: Value) -> Geometry | None:
    """Return the area inside an outline."""
    geometry = value.geometry if isinstance(value, Feature) else value
    if not isinstance(geometry, Geometry):
        return None
    if geometry.shape.geom_type == "LinearRing" and not geometry.shape.is_empty:
        return replace(geometry, shape=shapely.Polygon(geometry.shape.coords), geodesic_ring=geometry.geodesic)
    return replace(geometry, geodesic_ring=None)


def is_system(name: str) -> bool:
    """Return whether a property is the system's own rather than the user's."""
    return name.startswith("system:")
