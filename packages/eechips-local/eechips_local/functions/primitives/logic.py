"""``ee.Algorithms.If``, ``IsEqual``, ``ObjectType`` and ``Describe``: choices (what counts as true), equality and
types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.type_conversion import type_name
from eechips_local.functions.registration import function
from eechips_local.values.ordering import distinct_key
from eechips_local.values.value_json import Encoder
from eechips_local.values.values import Geometry, Value


def _true(value: Value) -> bool:
    """Return whether a condition holds: not null, zero, NaN or empty."""
    if isinstance(value, (bool, int, float)):
        return bool(value) and not math.isnan(value)
    return bool(value) if isinstance(value, (str, list, Mapping)) else value is not None


@function("If", lazy=("trueCase", "falseCase"))
def choose(condition: Value, trueCase: Callable[[], Value], falseCase: Callable[[], Value]) -> Value:
    """Return one of two values; only that one is computed."""
    return trueCase() if _true(condition) else falseCase()


@function("IsEqual")
def is_equal(left: Value, right: Value) -> bool:
    """Return whether two values are equal."""
    return bool(distinct_key(left) == distinct_key(right))


@function("ObjectType")
def object_type(value: Value) -> str:
    """Return the name of a value's type; that of all geometries is Geometry.

    So says a test of geetools, which runs against the service (tests/test_ComputedObect.py,
    ``test_isinstance_with_geometry``).
    """
    return "Geometry" if isinstance(value, Geometry) else type_name(value)


@function("Describe")
def describe(context: Context, input: Value) -> Value:
    """Return the result of ``getInfo`` for a value, as a value: of an image its bands with type, size, crs and
    transform.
    """
    return Encoder(context).describe(input)
