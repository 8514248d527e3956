"""Describe filters and reducers by the calls that make them, as ``getInfo`` prints them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

from eechips_local.evaluation.signatures import FunctionSignature
from eechips_local.reducers import Reducer
from eechips_local.values.values import Filter, Value

_TYPES: Mapping[str, str] = {
    "Filter.equals": "Filter.eq",
    "Filter.notEquals": "Filter.neq",
    "Filter.lessThan": "Filter.lt",
    "Filter.lessThanOrEquals": "Filter.lte",
    "Filter.greaterThan": "Filter.gt",
    "Filter.greaterThanOrEquals": "Filter.gte",
}
"""Types of functions that have two names.

``Filter.eq``, which the client calls ``Filter.equals``, is recorded (https://github.com/aazuspan/eerepr,
tests/data/test_regression_objects_filter_.yml); the others are inferred from it.
"""


def described(
    value: Value, signature: FunctionSignature, arguments: Mapping[str, Value], stated: Container[str]
) -> Value:
    """Return the value of a call; a filter or reducer with the call as its description.

    Args:
        value: what the function returned.
        arguments: its arguments by the names in Python.
        stated: names of the arguments that the call states; others are defaults.
    """
    if not isinstance(value, (Filter, Reducer)) or not signature.name.startswith(("Filter", "Reducer")):
        return value
    by_name = {name.removesuffix("_"): argument for name, argument in arguments.items()}
    shown = signature.differing({name: argument for name, argument in by_name.items() if name in stated})
    return replace(value, description={"type": _TYPES.get(signature.name, signature.name), **shown})
