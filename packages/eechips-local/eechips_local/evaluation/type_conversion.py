"""Convert arguments to the types of a function's signature, as Earth Engine does; name the types of values; the message
"Invalid type".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from affine import Affine

from eechips_local.algorithms.classification import Classifier, Clusterer
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import TypeMismatchError
from eechips_local.values.kernel_weights import Kernel
from eechips_local.values.values import (
    Array,
    Blob,
    Collection,
    ConfusionMatrix,
    Date,
    DateRange,
    ErrorMargin,
    Feature,
    Filter,
    Geometry,
    Join,
    Long,
    Value,
)

_CONTAINER = re.compile(r"^(List|Dictionary|Image)<(.*)>$")


def type_name(value: Value) -> str:
    """Return Earth Engine's name of a value's type."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int):
        return "Long" if isinstance(value, Long) else "Integer"
    if isinstance(value, float):
        return "Float"
    if isinstance(value, Collection):
        return f"{value.element}Collection"
    if isinstance(value, Geometry):
        return str(value.shape.geom_type)
    for kind, name in _NAMES:
        if isinstance(value, kind):
            return name
    return "Algorithm" if callable(value) else type(value).__name__


_NAMES: tuple[tuple[type, str], ...] = (
    (str, "String"),
    (list, "List"),
    (Mapping, "Dictionary"),
    (Image, "Image"),
    (Feature, "Feature"),
    (Blob, "Blob"),
    (Date, "Date"),
    (DateRange, "DateRange"),
    (Projection, "Projection"),
    (ConfusionMatrix, "ConfusionMatrix"),
    (Array, "Array"),
    (Filter, "Filter"),
    (ErrorMargin, "ErrorMargin"),
    (PixelType, "PixelType"),
    (Kernel, "Kernel"),
    (Join, "Join"),
    (Classifier, "Classifier"),
    (Clusterer, "Clusterer"),
)


def full_type_name(value: Value, known: dict[int, str] | None = None) -> str:
    """Return the name of a value's type as columns and messages have it: List<String>, Dictionary<Object>, Long.

    Columns are recorded in davemlz/eemont@959c2b8 (docs/tutorials/010-Creating-Points-From-Queries.ipynb) and
    sepal-contrib/sepal_mgci@a1716f9 (notebooks/reduceRegions.ipynb), messages in public code that quotes them for
    GeoJSON: "Actual type: Dictionary<Object>".

    Args:
        value: any value.
        known: names of lists in it by their id; None to begin. A list may hold another several times, levels deep.
    """
    known = {} if known is None else known
    if isinstance(value, Image):
        return f"Image<[{', '.join(value.band_names)}]>"
    if isinstance(value, list):
        if id(value) not in known:
            name = common_type_name([full_type_name(item, known) for item in value]) or "Object"
            known[id(value)] = f"List<{name}>"
        return known[id(value)]
    if isinstance(value, Mapping):
        return "Dictionary<Object>"
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        return "Long"
    return type_name(value)


def common_type_name(names: Sequence[str]) -> str | None:
    """Return the type that values of some types have together, or None of no values: Number of different numbers.

    ``osm_id`` of the same notebook is Number, as some of its integers have more than 32 bits.
    """
    different = set(names) - {"Null"} or set(names)
    if len(different) <= 1:
        return next(iter(different), None)
    return "Number" if different <= {"Integer", "Long", "Float", "Number"} else "Object"


class Mismatch(Exception):  # noqa: N818 - a signal between this module's functions, never seen outside
    """The value cannot be turned into the type."""


def promote(value: Value, wanted: str, where: str) -> Value:
    """Turn a value into the type of an argument.

    Args:
        value: what the expression gave.
        wanted: the argument's type in the signature.
        where: for messages, e.g. "Image.add, argument 'image2'".

    Raises:
        TypeMismatchError: if it cannot be.
    """
    try:
        return _promote(value, wanted)
    except Mismatch:
        raise mismatch(value, wanted, where) from None


def mismatch(value: Value, wanted: str, where: str) -> TypeMismatchError:
    """Return the error for a value that cannot be turned into a type; see :func:`promote`.

    Images and collections are named by their type alone: github.com/r-spatial/rgee/issues/232.
    """
    message = f"{where}: Invalid type.\nExpected type: {wanted}.\nActual type: {full_type_name(value)}."
    text = shown(value)
    return TypeMismatchError(message if text.startswith("<") else f"{message}\nActual value: {text}")


def shown(value: Value) -> str:
    """Return a value as messages show it: cut to 100 characters, anything but numbers, strings and containers by its
    type.
    """
    text = "".join(islice(_text(value), 101))
    return text if len(text) <= 100 else text[:100] + "..."


def _text(value: Value) -> Iterator[str]:
    """Yield the characters of a value's text, few at a time: it may be far longer than what is shown."""
    if isinstance(value, list):
        yield "["
        for number, item in enumerate(value):
            yield from ", " if number else ""
            yield from _item_text(item)
        yield "]"
    elif isinstance(value, Mapping):
        yield "{"
        for number, (key, item) in enumerate(value.items()):
            yield from f"{', ' if number else ''}{key!r}: "
            yield from _item_text(item)
        yield "}"
    elif isinstance(value, str):
        yield from value[:101]
    elif value is None or isinstance(value, bool):
        yield from "null" if value is None else str(value).lower()
    elif isinstance(value, (int, float)):
        yield from str(value)
    else:
        yield from f"<{type_name(value)}>"


def _item_text(value: Value) -> Iterator[str]:
    return iter(repr(value[:101])) if isinstance(value, str) else _text(value)


def _promote(value: Value, wanted: str) -> Value:
    container = _CONTAINER.match(wanted)
    if container:
        kind, inner = container.groups()
        if kind == "Image":
            return _only(Image)(value)
        if kind == "List":
            return [_promote(item, inner) for item in _list(value)]
        if inner == "Object":  # whose values stay as they are: some are computed when they are asked for
            return _dictionary(value)
        return {key: _promote(item, inner) for key, item in _dictionary(value).items()}
    converter = _CONVERTERS.get(wanted)
    return converter(value) if converter else value


def _integer(value: Value) -> int:
    number = _number(value)
    if isinstance(number, int):
        return number
    if np.isfinite(number):
        return int(number)
    raise Mismatch


def _number(value: Value) -> int | float:
    """Return a number; an array without dimensions is one, as in MTMF-Classification.js of
    kr-stn/EarthEngine_scripts@807d62e7c0ab.
    """
    if isinstance(value, Array) and not value.values.ndim:
        value = value.values.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return value
    raise Mismatch


def _float(value: Value) -> float:
    return float(_number(value))


def _boolean(value: Value) -> bool:
    if isinstance(value, (bool, int, float)):
        return bool(value)
    raise Mismatch


def _string(value: Value) -> str:
    if isinstance(value, str):
        return value
    raise Mismatch


def _list(value: Value) -> list[Value]:
    if isinstance(value, list):
        return value
    if isinstance(value, Array) and value.values.ndim:
        numbers: list[Value] = value.values.tolist()
        return numbers
    raise Mismatch


def _dictionary(value: Value) -> Mapping[str, Value]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (Image, Feature)):
        return value.properties
    raise Mismatch


def _element(value: Value) -> Value:
    if isinstance(value, (Image, Feature, Collection)):
        return value
    if isinstance(value, Geometry):
        return Feature(value, {})
    raise Mismatch


def _collection(value: Value) -> Collection:
    if isinstance(value, Collection):
        return value
    if isinstance(value, Image):
        return Collection.of("Image", [value])
    if isinstance(value, Feature):
        return Collection.of("Feature", [value])
    if isinstance(value, Geometry):
        return Collection.of("Feature", [Feature(value, {})])
    if isinstance(value, list) and value and all(isinstance(v, Image) for v in value):
        return Collection.of("Image", value)
    if isinstance(value, list) and all(isinstance(v, (Feature, Geometry)) for v in value):
        return Collection.of("Feature", [_element(v) for v in value])
    raise Mismatch


def _image_collection(value: Value) -> Collection:
    collection = _collection(value)
    if collection.element == "Image":
        return collection
    if next(iter(collection), None) is None:
        return Collection.of("Image", [])
    raise Mismatch


def _reducer(value: Value) -> Value:
    from eechips_local.reducers import Reducer

    if isinstance(value, Reducer):
        return value
    raise Mismatch


def outline_of(value: Value) -> Geometry | None:
    """Return a geometry, that of a feature or collection, or an image's footprint; None of anything else."""
    from eechips_local.geometry.geometry import collection_geometry

    if isinstance(value, Geometry):
        return value
    if isinstance(value, Feature) and value.geometry is not None:
        return value.geometry
    if isinstance(value, Image) and value.footprint is not None:
        return value.footprint
    return collection_geometry(value) if isinstance(value, Collection) else None


def _geometry(value: Value) -> Geometry:
    outline = outline_of(value)
    if outline is None:
        raise Mismatch
    return outline


def _date(value: Value) -> Date:
    from eechips_local.values.calendar import parse_date

    if isinstance(value, Date):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Date(value)
    if isinstance(value, str):
        return parse_date(value)
    raise Mismatch


def _date_range(value: Value) -> DateRange:
    if isinstance(value, DateRange):
        return value
    if isinstance(value, Date):
        return DateRange(value.milliseconds, value.milliseconds + 1)
    raise Mismatch


def _projection(value: Value) -> Projection:
    """Return a projection; codes are none: github.com/gee-community/qgis-earthengine-plugin/issues/102."""
    if isinstance(value, Projection):
        return value
    if isinstance(value, Mapping) and value.get("type") == "Projection":  # how the signatures write defaults
        return Projection(str(value["crs"]), Affine(*value["transform"]))
    raise Mismatch


def _error_margin(value: Value) -> ErrorMargin:
    if isinstance(value, ErrorMargin):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return ErrorMargin(float(value))
    if isinstance(value, Mapping) and value.get("type") == "ErrorMargin":
        return ErrorMargin(float(value.get("value", 0.0)), value.get("unit", "meters"))
    raise Mismatch


def _array(value: Value) -> Array:
    if isinstance(value, Array):
        return value
    if isinstance(value, (bool, int, float)):
        return Array(np.asarray(value))
    if isinstance(value, list):
        try:
            values = np.asarray(value)
        except ValueError:
            raise Mismatch from None
        if values.dtype.kind in "biuf" or not values.size:
            return Array(values if values.dtype.kind != "b" else values.astype(np.int64))
    raise Mismatch


def _only(kind: type | tuple[type, ...]) -> Callable[[Value], Value]:
    def check(value: Value) -> Value:
        if isinstance(value, kind):
            return value
        raise Mismatch

    return check


def _pixel_type(value: Value) -> PixelType:
    if isinstance(value, PixelType):
        return value
    named = {
        "int8": np.int8, "uint8": np.uint8, "byte": np.uint8, "int16": np.int16, "uint16": np.uint16,
        "short": np.int16, "int32": np.int32, "uint32": np.uint32, "int": np.int32, "int64": np.int64,
        "long": np.int64, "float": np.float32, "double": np.float64,
    }  # fmt: skip
    if isinstance(value, str) and value in named:
        return PixelType.of(named[value])
    raise Mismatch


def _algorithm(value: Value) -> Value:
    if callable(value):
        return value
    raise Mismatch


_CONVERTERS: Mapping[str, Callable[[Value], Value]] = {
    "Integer": _integer,
    "Long": _integer,
    "Float": _float,
    "Number": _number,
    "Boolean": _boolean,
    "String": _string,
    "List": _list,
    "Dictionary": _dictionary,
    "Image": _only(Image),
    "Element": _element,
    "Feature": _element,
    "FeatureCollection": _collection,
    "ImageCollection": _image_collection,
    "Geometry": _geometry,
    "Rectangle": _geometry,
    "Date": _date,
    "DateRange": _date_range,
    "Projection": _projection,
    "ErrorMargin": _error_margin,
    "Array": _array,
    "ConfusionMatrix": _only(ConfusionMatrix),
    "Filter": _only(Filter),
    "Join": _only(Join),
    "Classifier": _only(Classifier),
    "Clusterer": _only(Clusterer),
    "Kernel": _only(Kernel),
    "Reducer": _reducer,
    "PixelType": _pixel_type,
    "Blob": _only(Blob),
    "Algorithm": _algorithm,
}
