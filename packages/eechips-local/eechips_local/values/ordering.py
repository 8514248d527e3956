"""Compare values as Earth Engine does: the order of types, dates as numbers, which values are equal, "Cannot compare
values".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cmp_to_key
from itertools import count
from typing import Any

import numpy as np

from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.values import Array, Date, Geometry, Value

_RANKS: tuple[tuple[type | tuple[type, ...], int], ...] = ((bool, 1), ((int, float), 1), (Date, 1), (str, 2), (list, 3))

_MOST_NESTED = 200_000  # lists in a list: one that holds another twice, which does so too, soon has more than memory


def plain(value: Value) -> Value:
    """Return a date as its milliseconds, anything else as it is: dates compare with numbers."""
    return value.milliseconds if isinstance(value, Date) else value


def compare(a: Value, b: Value) -> int:
    """Return -1, 0 or 1 as the first value comes before, with or after the second; numbers come before strings."""
    rank_a, rank_b = _rank(a), _rank(b)
    if rank_a != rank_b:
        return -1 if rank_a < rank_b else 1
    a, b = plain(a), plain(b)
    if a is b:
        return 0
    if isinstance(a, list) and isinstance(b, list):
        for x, y in zip(a, b, strict=False):
            order = compare(x, y)
            if order:
                return order
        return (len(a) > len(b)) - (len(a) < len(b))
    if rank_a in (1, 2):
        return int(a > b) - int(a < b)
    return 0


def check_comparable(values: Iterable[Value]) -> None:
    """Refuse numbers beside strings, of which none is the greatest: a public script quotes the message.

    Raises:
        InvalidError: if there are both.
    """
    firsts: dict[bool, int | float | str] = {}
    for value in map(plain, values):
        if isinstance(value, (int, float, str)):
            firsts.setdefault(isinstance(value, str), value)
    if len(firsts) == 2:
        names = {str: "String", float: "Float"}
        one, other = (f"'{value}' (Type:{names.get(type(value), 'Integer')})" for value in firsts.values())
        raise InvalidError(f"Cannot compare values {one} and {other}.")


compare_key = cmp_to_key(compare)
"""A key by which ``sorted`` puts values in the order of :func:`compare`."""


def _rank(value: Value) -> int:
    for kind, rank in _RANKS:
        if isinstance(value, kind):
            return rank
    return 0 if value is None else 9


def distinct_key(value: Value, nested: Iterator[int] | None = None) -> Any:
    """Return something hashable that is equal for values which Earth Engine takes as equal.

    Args:
        value: any value.
        nested: counts the lists and dictionaries in it, each as often as it occurs; None to begin.

    Raises:
        MemoryLimitError: if there are too many of them.
    """
    value = plain(value)
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float, str)) or value is None:
        return value
    if isinstance(value, (list, Mapping)):
        nested = nested or count()
        if next(nested) > _MOST_NESTED:
            raise MemoryLimitError()
        if isinstance(value, list):
            return ("list", *(distinct_key(v, nested) for v in value))
        return ("dictionary", *sorted((k, distinct_key(v, nested)) for k, v in value.items()))
    if isinstance(value, Geometry):
        return ("geometry", value.shape.wkb, value.projection, value.geodesic)
    if isinstance(value, Array):
        return ("array", value.values.shape, np.asarray(value.values, dtype=np.float64).tobytes())
    return ("object", id(value))
