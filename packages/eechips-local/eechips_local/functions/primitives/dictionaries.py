"""``ee.Dictionary``: keys in their natural order, ``combine`` without nulls, ``select`` by regular expression,
``rename``, ``toArray``, ``toImage``; keys that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.type_conversion import promote, type_name
from eechips_local.functions.primitives.array_shape import concatenated
from eechips_local.functions.primitives.lists import bounded
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.pixelwise_rasters import constant_image
from eechips_local.protocol.request_errors import InvalidError, TypeMismatchError
from eechips_local.values.regex import compile_regex, matchable
from eechips_local.values.values import Array, Feature, Geometry, Value

Dictionary = Mapping[str, Any]


def _missing(key: str) -> InvalidError:
    return InvalidError(f"Dictionary does not contain key: '{key}'.")


@function("Dictionary")
def make(input: Value) -> Dictionary:
    """Return a dictionary from one, from the properties of an element, or from keys and values in turn."""
    if input is None:
        return {}
    if isinstance(input, (Image, Feature)):
        return input.properties
    if isinstance(input, Mapping):
        return input
    if not isinstance(input, list):
        raise TypeMismatchError(f"Cannot convert an object of type {type_name(input)} to a Dictionary.")
    if len(input) % 2:
        raise InvalidError("A list of keys and values must have an even number of elements.")
    return from_lists(input[::2], input[1::2])


@function("Dictionary.fromLists")
def from_lists(keys: list[Any], values: list[Any]) -> Dictionary:
    """Return a dictionary from two parallel lists."""
    if len(keys) != len(values):
        raise InvalidError(
            f"The lists of keys and values must have the same length. Found {len(keys)} and {len(values)}."
        )
    for key in keys:
        if not isinstance(key, str):
            raise TypeMismatchError(f"Keys must be strings. Found an object of type {type_name(key)}.")
    return dict(zip(keys, values, strict=True))


@function("Dictionary.combine")
def combine(first: Dictionary, second: Dictionary, overwrite: bool) -> Dictionary:
    """Return two dictionaries in one, without nulls."""
    low, high = (first, second) if overwrite else (second, first)
    kept = {key: value for key, value in low.items() if value is not None}
    return bounded_keys(kept | {key: value for key, value in high.items() if value is not None})


def bounded_keys(dictionary: dict[str, Any]) -> Dictionary:
    """Return the dictionary, unless it has too many keys."""
    bounded(dictionary)
    return dictionary


@function("Dictionary.contains")
def contains(dictionary: Dictionary, key: str) -> bool:
    """Return whether the dictionary has a key."""
    return key in dictionary


@function("Dictionary.get")
def get(dictionary: Dictionary, key: str, defaultValue: Value) -> Value:
    """Return the value of a key."""
    if key in dictionary:
        return dictionary[key]
    if defaultValue is None:
        raise _missing(key)
    return defaultValue


@function("Dictionary.getNumber")
def get_number(dictionary: Dictionary, key: str) -> float:
    """Return the number of a key."""
    number: float = _typed(dictionary, key, "Number")
    return number


@function("Dictionary.getString")
def get_string(dictionary: Dictionary, key: str) -> str:
    """Return the string of a key."""
    text: str = _typed(dictionary, key, "String")
    return text


@function("Dictionary.getArray")
def get_array(dictionary: Dictionary, key: str) -> Array:
    """Return the array of a key."""
    array: Array = _typed(dictionary, key, "Array")
    return array


@function("Dictionary.getGeometry")
def get_geometry(dictionary: Dictionary, key: str) -> Geometry:
    """Return the geometry of a key."""
    geometry: Geometry = _typed(dictionary, key, "Geometry")
    return geometry


def _typed(dictionary: Dictionary, key: str, wanted: str) -> Value:
    return promote(get(dictionary, key, None), wanted, f"The value of '{key}'")


@function("Dictionary.keys")
def keys(dictionary: Dictionary) -> list[str]:
    """Return the keys in their natural order."""
    return sorted(dictionary)


@function("Dictionary.size")
def size(dictionary: Dictionary) -> int:
    """Return the number of keys."""
    return len(dictionary)


@function("Dictionary.values")
def values(dictionary: Dictionary, keys: list[str] | None) -> list[Any]:
    """Return the values of some keys, or of all in their natural order."""
    return [get(dictionary, key, None) for key in (sorted(dictionary) if keys is None else keys)]


@function("Dictionary.map")
def mapped(context: Context, dictionary: Dictionary, baseAlgorithm: Callable[..., Value]) -> Dictionary:
    """Return a function of each key and value; keys for which it gives null are dropped."""
    results = {}
    for key in sorted(dictionary):
        context.check_time()
        value = baseAlgorithm(key, dictionary[key])
        if value is not None:
            results[key] = value
    return results


@function("Dictionary.set")
def put(dictionary: Dictionary, key: str, value: Value) -> Dictionary:
    """Return the dictionary with a key set."""
    return bounded_keys({**dictionary, key: value})


def _selected(dictionary: Dictionary, selectors: list[str], ignore_missing: bool) -> set[str]:
    """Return the keys that equal a selector, or match it as a regular expression."""
    selected: set[str] = set()
    for selector in selectors:
        matching = {selector} if selector in dictionary else _matching(dictionary, selector)
        if not matching and not ignore_missing:
            raise _missing(selector)
        selected |= matching
    return selected


def _matching(dictionary: Dictionary, selector: str) -> set[str]:
    regex = compile_regex(selector)
    return {key for key in dictionary if regex.fullmatch(matchable(key))}


@function("Dictionary.select")
def select(dictionary: Dictionary, selectors: list[str], ignoreMissing: bool) -> Dictionary:
    """Return the dictionary with some keys only."""
    chosen = _selected(dictionary, selectors, ignoreMissing)
    return {key: value for key, value in dictionary.items() if key in chosen}


@function("Dictionary.remove")
def remove(dictionary: Dictionary, selectors: list[str], ignoreMissing: bool) -> Dictionary:
    """Return the dictionary without some keys."""
    chosen = _selected(dictionary, selectors, ignoreMissing)
    return {key: value for key, value in dictionary.items() if key not in chosen}


@function("Dictionary.rename")
def rename(dictionary: Dictionary, from_: list[str], to: list[str], overwrite: bool) -> Dictionary:
    """Return the dictionary with some keys renamed."""
    if len(from_) != len(to):
        raise InvalidError(f"'from' and 'to' must have the same length. Found {len(from_)} and {len(to)}.")
    for key in from_:
        if key not in dictionary:
            raise _missing(key)
    renamed = dict(zip(to, (dictionary[key] for key in from_), strict=True))
    rest = {key: value for key, value in dictionary.items() if key not in from_}
    taken = renamed.keys() & rest.keys()
    if (taken and not overwrite) or len(renamed) != len(to):
        raise InvalidError(f"Cannot rename to '{min(taken or to)}': the key exists already.")
    return {**rest, **renamed}


@function("Dictionary.toArray")
def to_array(dictionary: Dictionary, keys: list[str] | None, axis: int) -> Array:
    """Return the values of some keys, or of all in their natural order, as an array along an axis.

    Lists become rows, as the guide of charts of arrays draws them.
    """
    parts = []
    for key in sorted(dictionary) if keys is None else keys:
        part: Array = promote(get(dictionary, key, None), "Array", f"The value of '{key}'")
        is_row = part.values.ndim > 0 and 0 <= axis <= part.values.ndim
        parts.append(Array(np.expand_dims(part.values, axis) if is_row else np.atleast_1d(part.values)))
    return concatenated(parts, axis)


@function("Dictionary.toImage")
def to_image(dictionary: Dictionary, names: list[str] | None) -> Image:
    """Return an image with a constant band for each key."""
    chosen = sorted(dictionary) if names is None else names
    numbers = [get(dictionary, name, None) for name in chosen]
    for name, number in zip(chosen, numbers, strict=True):
        if not isinstance(number, (bool, int, float, Array)):
            raise TypeMismatchError(f"The value of '{name}' is not a number. Actual type: {type_name(number)}.")
    return constant_image(numbers, chosen)
