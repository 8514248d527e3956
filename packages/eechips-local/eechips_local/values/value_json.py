"""Encode values as the JSON that ``getInfo`` returns: bands, columns, how many elements ("Collection query aborted")
and bytes there may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import shapely
from affine import Affine

from eechips_local.algorithms.classification import Classifier, Clusterer
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.lazy_values import Later, LazyMapping
from eechips_local.evaluation.type_conversion import common_type_name, full_type_name, type_name
from eechips_local.geometry.geometry import geojson, kept_footprint
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.pixel_grid import code_of, parse_crs
from eechips_local.pixels.lazy_image import Image, ImageBand
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.reducers import Reducer
from eechips_local.values.kernel_weights import Kernel
from eechips_local.values.number_format import java_text, json_number
from eechips_local.values.values import (
    Array,
    Collection,
    Date,
    DateRange,
    ErrorMargin,
    Feature,
    Filter,
    Geometry,
    Join,
    Value,
)

Json = Any

BANDS = frozenset({"system:bands", "system:band_names"})
"""Properties that tell the bands of an image. geetools recorded both of copies, with the values of the source
(tests/test_ImageCollection/test_aggregate_array.yml). What ``getInfo`` shows of a copy has none, as geedim's tests
expect, which run against the service (tests/test_image.py, ``test_scale_offset``)."""
_NO_PROPERTIES = BANDS | {"system:version", "system:id"}


# What counts towards the size of a response, in bytes: about what it takes as text.
_NUMBER_BYTES = 8
_COORDINATE_BYTES = 40
_BAND_BYTES = 200


class Encoder:
    """Turns the values of one response into JSON, and holds it to the size that responses may have.

    Values that occur several times are converted once but count each time, so that a value which refers to itself
    twice at each of forty levels is refused at once instead of filling the memory.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._size = 0
        self._depth = 0
        self._known: dict[int, tuple[Value, Json, int]] = {}  # holds the values, which keeps their id() unique

    def encode(self, value: Value) -> Json:
        """Return a value as JSON.

        Raises:
            InvalidError: for values that have no JSON form.
            LimitError: for collections with more elements, or more bytes, than may be returned.
        """
        if value is None or isinstance(value, (bool, int, float)):
            self._count(_NUMBER_BYTES)
            return json_number(value) if isinstance(value, float) else value
        if isinstance(value, str):
            self._count(len(value) + 2 if value.isascii() else 6 * len(value))
            return value
        known = self._known.get(id(value))
        if known is not None:
            self._count(known[2])
            return known[1]
        before = self._size
        self._depth += 1
        encoded = self._compound(value)
        self._depth -= 1
        self._known[id(value)] = (value, encoded, self._size - before)
        return encoded

    def _count(self, size: int) -> None:
        limit = self._context.limits.response
        self._size += size
        if self._size > limit:
            raise LimitError(f"Response size exceeds limit of {limit} bytes.")

    def _compound(self, value: Value) -> Json:
        self._context.check_time()
        if isinstance(value, list):
            return [self.encode(item) for item in value]
        if isinstance(value, Mapping):
            return {key: self.encode(item) for key, item in value.items()}
        if isinstance(value, Image):
            return self._image(value)
        if isinstance(value, Feature):
            return self.feature(value)
        if isinstance(value, Collection):
            return self._collection(value)
        if isinstance(value, Geometry):
            return self._geometry(value)
        if isinstance(value, Kernel):
            return self.encode(_described(value))
        if isinstance(value, (Classifier, Clusterer, Filter, Reducer)):
            return self.encode(dict(value.description))
        if isinstance(value, Array):
            self._count(value.values.size * _NUMBER_BYTES)
            return _array(value.values.tolist())
        for kind, convert in _SIMPLE.items():
            if isinstance(value, kind):
                return convert(value)
        if isinstance(value, (np.generic, np.ndarray)):
            return self.encode(value.tolist())
        if isinstance(value, Join):
            return {"type": "Join"}
        raise InvalidError(f"A value of type {type_name(value)} cannot be returned to the client.")

    def _geometry(self, geometry: Geometry) -> Json:
        self._count(int(shapely.get_num_coordinates(geometry.shape)) * _COORDINATE_BYTES)
        return geojson(geometry)

    def describe(self, value: Value) -> Value:
        """Return what :meth:`encode` does; properties of an image are computed when they are asked for."""
        if isinstance(value, Image):
            return LazyMapping(self._image_fields(value))
        description: Value = self.encode(value)
        return description

    def _image(self, image: Image) -> Json:
        return dict(LazyMapping(self._image_fields(image)))

    def _image_fields(self, image: Image) -> dict[str, Json | Later]:
        self._count(_BAND_BYTES * len(image.bands))
        image_fields: dict[str, Json | Later] = {"type": "Image", "bands": [band_json(band) for band in image.bands]}
        image_fields |= self._facts(image)
        is_bounded = image.footprint is not None and not image.footprint.unbounded
        if is_bounded or any(key not in _NO_PROPERTIES for key in image.properties):
            image_fields["properties"] = Later(partial(self._image_properties, image))
        return image_fields

    def _image_properties(self, image: Image) -> dict[str, Json]:
        properties = self._properties(image)
        if image.footprint is not None and not image.footprint.unbounded:
            properties["system:footprint"] = self._geometry(kept_footprint(image.footprint))
        return properties

    def _facts(self, element: Image | Collection) -> dict[str, Json]:
        """Return the version and id, which ``set`` may have replaced, as far as there are any."""
        own = {"version": element.version, "id": element.id}
        facts = {name: self.encode(element.properties.get(f"system:{name}", value)) for name, value in own.items()}
        return {name: value for name, value in facts.items() if value is not None}

    def _properties(self, element: Image | Collection) -> dict[str, Json]:
        """Return all properties but the version, the id and the bands."""
        return {key: self.encode(item) for key, item in element.properties.items() if key not in _NO_PROPERTIES}

    def feature(self, feature: Feature) -> Json:
        """Return a feature; its id is ``system:index``."""
        feature_fields: dict[str, Json] = {
            "type": "Feature",
            "geometry": None if feature.geometry is None else self._geometry(feature.geometry),
        }
        index = feature.properties.get("system:index")
        if index is not None:
            feature_fields["id"] = str(index) if isinstance(index, (str, bool, int, float)) else self.encode(index)
        feature_fields["properties"] = {k: self.encode(v) for k, v in feature.properties.items() if k != "system:index"}
        return feature_fields

    def _collection(self, collection: Collection) -> Json:
        """Return a collection; one within another value has no ``features``.

        As recorded from the service: https://github.com/aazuspan/eerepr, tests/data/test_full_repr.yml; geedim's tests
        rely on it for images (tests/conftest.py, ``accessors_from_collections``).
        """
        limit = self._context.limits.elements
        is_listed = self._depth == 1
        needs_first = collection.element == "Feature" and collection.columns is None
        elements: list[Any] = []
        for element in islice(iter(collection), limit + 1 if is_listed else int(needs_first)):
            self._context.check_time()
            elements.append(element)
        if len(elements) > limit:
            raise LimitError(f"Collection query aborted after accumulating over {limit} elements.")
        collection_fields: dict[str, Json] = {"type": f"{collection.element}Collection"}
        if collection.element == "Image":
            collection_fields["bands"] = []
        properties = self._properties(collection)
        collection_fields |= self._facts(collection)
        if collection.element == "Feature":
            columns = collection.columns if collection.columns is not None else column_types(elements)
            collection_fields["columns"] = {**columns, **collection.added_columns}
        if properties:
            collection_fields["properties"] = properties
        if is_listed:
            collection_fields["features"] = [self.encode(element) for element in elements]
        if not all(isinstance(e, (Image, Feature, Collection)) for e in elements):
            raise InvalidError("A collection may only hold images and features.")
        return collection_fields


def _pixel_type(kind: PixelType) -> Json:
    type_fields: dict[str, Json] = {"type": "PixelType", "precision": kind.precision}
    if kind.minimum is not None:
        type_fields["min"] = json_number(float(kind.minimum))
    if kind.maximum is not None:
        type_fields["max"] = json_number(float(kind.maximum))
    if kind.dimensions:
        type_fields["dimensions"] = kind.dimensions
    return type_fields


def transform_json(transform: Affine) -> list[Json]:
    """Return xScale, xShearing, xTranslation, yShearing, yScale, yTranslation."""
    return [json_number(float(v)) for v in transform[:6]]


def _projection(value: Projection) -> Json:
    code = code_of(value.crs)
    crs = (
        {"crs": code}
        if code is not None
        else {"wkt": value.crs if "[" in value.crs else parse_crs(value.crs).to_wkt("WKT1_GDAL")}
    )
    return {"type": "Projection", **crs, "transform": transform_json(value.transform)}


def _error_margin(margin: ErrorMargin) -> Json:
    """An infinite one has no value, as Google's sample prints it (apidocs/ee-errormargin)."""
    bound = {} if margin.unit == "infinite" else {"value": json_number(margin.value)}
    return {"type": "ErrorMargin", "unit": margin.unit, **bound}


_SIMPLE: Mapping[type, Any] = {
    Date: lambda v: {"type": "Date", "value": json_number(float(v.milliseconds))},
    DateRange: lambda v: {"type": "DateRange", "dates": [json_number(float(v.start)), json_number(float(v.end))]},
    Projection: _projection,
    PixelType: _pixel_type,
    ErrorMargin: _error_margin,
}


def _array(values: Json) -> Json:
    if isinstance(values, list):
        return [_array(v) for v in values]
    return json_number(values) if isinstance(values, float) else values


def band_json(band: ImageBand) -> Json:
    """Return a band's description: id, data type, size where bounded, crs and transform."""
    band_fields: dict[str, Json] = {"id": band.name, "data_type": _pixel_type(band.type)}
    if band.extent is not None:
        band_fields["dimensions"] = [band.extent.width, band.extent.height]
        if (band.extent.column, band.extent.row) != (0, 0):
            band_fields["origin"] = [band.extent.column, band.extent.row]
    projection = _projection(band.projection)
    if "crs" in projection:
        band_fields["crs"] = projection["crs"]
    else:
        band_fields["crs_wkt"] = projection["wkt"]
    band_fields["crs_transform"] = projection["transform"]
    return band_fields


def column_types(elements: list[Any]) -> Mapping[str, str]:
    """Return the type names of the properties of features, as Earth Engine lists them."""
    names: dict[str, list[str]] = {}
    for feature in elements:
        if isinstance(feature, Feature):
            for key, value in feature.properties.items():
                names.setdefault(key, []).append(full_type_name(value))
    types = {key: common_type_name(kinds) or "Object" for key, kinds in names.items()}
    return {**types, "system:index": "String"} if elements else {}


def _described(kernel: Kernel) -> Mapping[str, Any]:
    """Return a kernel with its focus and weights, unless these depend on the scale.

    The service writes weights as a text with a line for each row, as recorded in December 2024
    (https://github.com/aazuspan/eerepr, tests/data/test_regression_objects_kernel_.yml).
    """
    if "meters" in _units_of(kernel.description):
        return kernel.description
    weights = kernel.weights(1.0)
    rows = "".join(f"\n  [{', '.join(map(java_text, row))}]" for row in weights.values.tolist())
    return {**kernel.description, "center": [weights.x, weights.y], "weights": rows}


def _units_of(description: Mapping[str, Any]) -> set[str]:
    """Return the units of a kernel, and of those that it is made of, each of which is looked at once."""
    units: set[str] = set()
    known: set[int] = set()
    waiting = [description]
    while waiting:
        part = waiting.pop()
        if id(part) not in known:
            known.add(id(part))
            units |= {str(part["units"])} if "units" in part else set()
            waiting.extend(value for value in part.values() if isinstance(value, Mapping))
    return units
