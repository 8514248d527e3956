"""``ee.List``: positions, ``sequence``, ``slice``, ``sort``, ``shuffle``, ``map``, ``iterate``, ``join``, ``zip``,
``flatten``; at most 1,000,000 elements.
"""

# ruff: noqa: A001 - arguments are called as Earth Engine calls them

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.type_conversion import promote, type_name
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, TypeMismatchError
from eechips_local.reducers import Reducer, reduce_values
from eechips_local.values.number_format import java_text
from eechips_local.values.ordering import compare, distinct_key
from eechips_local.values.randomness import JavaRandom
from eechips_local.values.values import Array, Collection, Feature, Filter, Geometry, Value

T = TypeVar("T")
List = list[Any]

MOST_ELEMENTS = 1_000_000
"""Elements that a list may have. Earth Engine's own limit is that of memory."""


def bounded(values: Iterable[T]) -> list[T]:
    """Return a list of the values.

    Raises:
        LimitError: if there are too many, in Earth Engine's words for too much memory.
    """
    elements: list[T] = []
    for value in values:
        if len(elements) >= MOST_ELEMENTS:
            raise MemoryLimitError()
        elements.append(value)
    return elements


def _check_length(length: float) -> None:
    if length > MOST_ELEMENTS:
        raise MemoryLimitError()


def _position(list: List, index: int) -> int:
    """Return a position in the list, counted from its end where negative."""
    size = len(list)
    if not size:  # github.com/gee-community/geetools/issues/384
        raise InvalidError(f"List is empty (index is {index}).")
    if not -size <= index < size:
        raise InvalidError(f"List index must be between 0 and {size - 1}, or {-size} and -1. Found {index}.")
    return index % size


def _same(a: Value, b: Value) -> bool:
    return bool(distinct_key(a) == distinct_key(b))


@function("List.get")
def get(list: List, index: int) -> Value:
    """Return the element at a position."""
    return list[_position(list, index)]


def _of_type(name: str, wanted: str, kind: type | tuple[type, ...]) -> Callable[[List, int], Value]:
    def typed(list: List, index: int) -> Value:
        value = get(list, index)
        if not isinstance(value, kind):
            raise TypeMismatchError(
                f"The value at position {index} is not of type {wanted}. Actual type: {type_name(value)}."
            )
        return value

    typed.__doc__ = f"The {wanted} at a position."
    typed.__name__ = name
    return function(f"List.{name}")(typed)


get_number = _of_type("getNumber", "Number", (int, float))
get_string = _of_type("getString", "String", str)
get_geometry = _of_type("getGeometry", "Geometry", Geometry)


@function("List.getArray")
def get_array(list: List, index: int) -> Array:
    """Return the array at a position."""
    array: Array = promote(get(list, index), "Array", f"The value at position {index}")
    return array


@function("List.add")
def add(list: List, element: Value) -> List:
    """Return the list with an element appended."""
    _check_length(len(list) + 1)
    return [*list, element]


@function("List.cat")
def cat(list: List, other: List) -> List:
    """Return two lists, one after the other."""
    _check_length(len(list) + len(other))
    return [*list, *other]


@function("List.contains")
def contains(list: List, element: Value) -> bool:
    """Return whether an element is in the list."""
    return index_of(list, element) >= 0


@function("List.containsAll")
def contains_all(list: List, other: List) -> bool:
    """Return whether all elements of another list are in this one."""
    keys = {distinct_key(v) for v in list}
    return all(distinct_key(v) in keys for v in other)


@function("List.distinct")
def distinct(list: List) -> List:
    """Return the list without repeated elements; the first of each stays."""
    first: dict[Any, Value] = {}
    for value in list:
        first.setdefault(distinct_key(value), value)
    return [*first.values()]


@function("List.equals")
def equals(list: List, other: List) -> bool:
    """Return whether two lists have the same elements in the same order."""
    return _same(list, other)


@function("List.filter")
def filtered(context: Context, list: List, filter: Filter) -> List:
    """Return the elements that pass a filter; what is no element is tested as the property "item"."""
    kept = []
    for value in list:
        context.check_time()
        element = value if isinstance(value, (Image, Feature, Collection)) else Feature(None, {"item": value})
        if filter.matches(element):
            kept.append(value)
    return kept


@function("List.flatten")
def flatten(context: Context, list: List) -> List:
    """Return the elements of the list and of all lists in it, in one list."""

    def leaves() -> Iterator[Value]:
        waiting = [iter(list)]
        while waiting:
            for value in waiting[-1]:
                if isinstance(value, _LIST):
                    context.check_time()
                    waiting.append(iter(value))
                    break
                yield value
            else:
                waiting.pop()

    return bounded(leaves())


_LIST = list  # the name of an argument in this module's functions


@function("List.frequency")
def frequency(list: List, element: Value) -> int:
    """Return the number of elements that equal one."""
    key = distinct_key(element)
    return sum(distinct_key(v) == key for v in list)


@function("List.indexOf")
def index_of(list: List, element: Value) -> int:
    """Return the first position of an element, or -1."""
    key = distinct_key(element)
    return next((i for i, value in enumerate(list) if distinct_key(value) == key), -1)


def _sublist_positions(list: List, target: List) -> Iterator[int]:
    keys, wanted = [distinct_key(v) for v in list], [distinct_key(v) for v in target]
    # Knuth, Morris and Pratt's search: long repetitive lists stay linear.
    fallback = [0] * len(wanted)
    matched = 0
    for i in range(1, len(wanted)):
        while matched and wanted[i] != wanted[matched]:
            matched = fallback[matched - 1]
        matched += wanted[i] == wanted[matched]
        fallback[i] = matched
    matched = 0
    for i, key in enumerate(keys):
        while matched and (matched == len(wanted) or key != wanted[matched]):
            matched = fallback[matched - 1]
        matched += key == wanted[matched]
        if matched == len(wanted):
            yield i - matched + 1


@function("List.indexOfSublist")
def index_of_sublist(list: List, target: List) -> int:
    """Return the position of the first occurrence of a list within this one, or -1."""
    return next(_sublist_positions(list, target), -1) if target else 0


@function("List.lastIndexOfSubList")
def last_index_of_sublist(list: List, target: List) -> int:
    """Return the position of the last occurrence of a list within this one, or -1."""
    if not target:
        return len(list)
    last = -1
    for position in _sublist_positions(list, target):
        last = position
    return last


@function("List.insert")
def insert(list: List, index: int, element: Value) -> List:
    """Return the list with an element inserted before a position, or at its end."""
    size = len(list)
    _check_length(size + 1)
    position = size if index == size else _position(list, index)
    return [*list[:position], element, *list[position:]]


@function("List.iterate")
def iterate(context: Context, list: List, function: Callable[..., Value], first: Value) -> Value:
    """Return a function of each element and the result so far."""
    result = first
    with context.iterating():
        for value in list:
            context.check_time()
            result = function(value, result)
    return result


@function("List.join")
def join(list: List, separator: str) -> str:
    """Return the elements' texts, joined."""
    texts = [_text(value) for value in list]
    _check_length(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return java_text(value)
    if isinstance(value, str):
        return value
    raise InvalidError(f"Elements of type {type_name(value)} have no well-defined text to be joined.")


@function("List.length", "List.size")
def size(list: List) -> int:
    """Return the number of elements."""
    return len(list)


@function("List.map")
def mapped(context: Context, list: List, baseAlgorithm: Callable[..., Value], dropNulls: bool) -> List:
    """Return a function of each element."""
    results = []
    for value in list:
        context.check_time()
        result = baseAlgorithm(value)
        if result is not None or not dropNulls:
            results.append(result)
    return results


@function("List.reduce")
def reduce(list: List, reducer: Reducer) -> Value:
    """Return a reducer's output, or a dictionary of its outputs."""
    return reduce_values(list, reducer)


@function("List.remove")
def remove(list: List, element: Value) -> List:
    """Return the list without the first occurrence of an element."""
    position = index_of(list, element)
    return list if position < 0 else [*list[:position], *list[position + 1 :]]


@function("List.removeAll")
def remove_all(list: List, other: List) -> List:
    """Return the elements that are not in another list."""
    keys = {distinct_key(v) for v in other}
    return [v for v in list if distinct_key(v) not in keys]


@function("List.repeat")
def repeat(value: Value, count: int) -> List:
    """Return a value several times."""
    if count < 0:
        raise InvalidError(f"The count must not be negative. Found {count}.")
    _check_length(count)
    return [value] * count


@function("List.replace")
def replace(list: List, oldval: Value, newval: Value) -> List:
    """Return the list with the first occurrence of a value replaced."""
    position = index_of(list, oldval)
    return list if position < 0 else [*list[:position], newval, *list[position + 1 :]]


@function("List.replaceAll")
def replace_all(list: List, oldval: Value, newval: Value) -> List:
    """Return the list with all occurrences of a value replaced."""
    key = distinct_key(oldval)
    return [newval if distinct_key(v) == key else v for v in list]


@function("List.reverse")
def reverse(list: List) -> List:
    """Return the elements from last to first."""
    return list[::-1]


@function("List.rotate")
def rotate(list: List, distance: int) -> List:
    """Return the list with its elements moved to later positions, the last ones to the front."""
    shift = distance % len(list) if list else 0
    return [*list[len(list) - shift :], *list[: len(list) - shift]]


@function("List.sequence")
def sequence(start: float, end: float | None, step: float, count: int | None) -> List:
    """Return numbers from ``start`` to ``end`` in steps, or ``count`` numbers."""
    if count is None:
        if end is None:
            raise InvalidError("At least one of 'end' and 'count' must be specified.")
        if step == 0:
            raise InvalidError("The step must not be zero.")
        number = (end - start) / step
        _check_length(number + 1)
        # The tolerance keeps 0.3 in a sequence from 0 by 0.1.
        count = int(number + 1e-9) + 1 if number >= 0 else 0
    else:
        if count < 0:
            raise InvalidError(f"The count must not be negative. Found {count}.")
        _check_length(count)
        if end is not None:
            step = (end - start) / (count - 1) if count > 1 else 0
    return [start + step * i for i in range(count)]


@function("List.set")
def put(list: List, index: int, element: Value) -> List:
    """Return the list with the element at a position replaced."""
    position = _position(list, index)
    return [*list[:position], element, *list[position + 1 :]]


@function("List.swap")
def swap(list: List, pos1: int, pos2: int) -> List:
    """Return the list with two elements exchanged."""
    result = [*list]
    first, second = _position(list, pos1), _position(list, pos2)
    result[first], result[second] = result[second], result[first]
    return result


@function("List.slice")
def slice(list: List, start: int, end: int | None, step: int | None) -> List:
    """Return the elements from ``start`` to before ``end``."""
    if step is not None and step < 1:
        raise InvalidError(f"The step must be positive. Found {step}.")
    return list[start:end:step]


@function("List.splice")
def splice(list: List, start: int, count: int, other: List | None) -> List:
    """Return the list with ``count`` elements from ``start`` on replaced by those of another list."""
    size = len(list)
    if not -size <= start <= size:
        raise InvalidError(f"List index must be between 0 and {size}, or {-size} and -1. Found {start}.")
    if count < 0:
        raise InvalidError(f"The count must not be negative. Found {count}.")
    _check_length(size + len(other or []))
    position = start + size if start < 0 else start
    return [*list[:position], *(other or []), *list[position + count :]]


@function("List.sort")
def sort(list: List, keys: List | None) -> List:
    """Return the elements in ascending order, or in that of their keys; equal ones stay in their order."""
    if keys is None:
        return sorted(list, key=functools.cmp_to_key(compare))
    if len(keys) != len(list):
        raise InvalidError(f"The list and the keys must have the same length. Found {len(list)} and {len(keys)}.")
    order = sorted(range(len(list)), key=lambda i: functools.cmp_to_key(compare)(keys[i]))
    return [list[i] for i in order]


@function("List.shuffle")
def shuffle(list: List, seed: Value) -> List:
    """Return the elements in a random order, the same for the same seed (0 where none is given).

    The order is that of Java's ``Collections.shuffle`` with ``new Random(seed)``. The seed ``false`` asks for an order
    that cannot be predicted.
    """
    result = [*list]
    if seed is False:
        random.SystemRandom().shuffle(result)
        return result
    if isinstance(seed, (bool, str)) or not isinstance(seed, (int, float, type(None))):
        raise TypeMismatchError(f"The seed must be a number or 'false', not of type {type_name(seed)}.")
    generator = JavaRandom(int(seed or 0))
    for position in range(len(result) - 1, 0, -1):
        other = generator.below(position + 1)
        result[position], result[other] = result[other], result[position]
    return result


def _lists(list: List) -> Sequence[List]:
    if not all(isinstance(item, _LIST) for item in list):
        raise TypeMismatchError("All elements must be lists.")
    return list


@function("List.unzip")
def unzip(list: List) -> list[List]:
    """Return the first elements of the lists in this one, their second elements, and so on, as far as the shortest
    goes.
    """
    return [[*column] for column in zip(*_lists(list), strict=False)]


@function("List.zip")
def zipped(list: List, other: List) -> list[List]:
    """Return pairs of the elements of two lists, as far as the shorter one goes."""
    return [[a, b] for a, b in zip(list, other, strict=False)]
