"""``ee.PixelType`` and ``ErrorMargin``: precision, least and greatest values, dimensions; units of margins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import numpy as np

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.evaluation.type_conversion import promote
from eechips_local.functions.registration import Implementation, function
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import ErrorMargin, Value

_NAMED = ("double", "float", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
_SIGNED = np.iinfo(np.int32)


def _fixed(kind: PixelType) -> Implementation:
    return Implementation(lambda: kind)


FUNCTIONS: Mapping[str, Implementation] = {
    f"PixelType.{name}": _fixed(PixelType.of(getattr(np, {"float": "float32", "double": "float64"}.get(name, name))))
    for name in _NAMED
}


@function("PixelType")
def make_pixel_type(precision: Value, minValue: float | None, maxValue: float | None, dimensions: int) -> PixelType:
    """Return the type of a precision ("int", "float" or "double"), with its least and greatest value where it has some.

    Integers have the limits of 32 bits where none are given.
    """
    if isinstance(precision, PixelType) or precision not in ("int", "float", "double"):
        kind: PixelType = promote(precision, "PixelType", "PixelType, argument 'precision'")
        return kind
    if dimensions < 0:
        raise InvalidError(f"The number of dimensions must not be negative. Found {dimensions}.")
    if precision == "int":
        minValue = int(_SIGNED.min) if minValue is None else minValue
        maxValue = int(_SIGNED.max) if maxValue is None else maxValue
    if minValue is not None and maxValue is not None and minValue > maxValue:
        raise InvalidError(f"The minimum {minValue} exceeds the maximum {maxValue}.")
    return PixelType(precision, minValue, maxValue, dimensions)


@function("PixelType.precision")
def precision(pixelType: PixelType) -> str:
    """Return the precision: "int", "float" or "double"."""
    return pixelType.precision


@function("PixelType.dimensions")
def dimensions(pixelType: PixelType) -> int:
    """Return the number of dimensions of each value, 0 for numbers."""
    return pixelType.dimensions


@function("PixelType.minValue")
def min_value(pixelType: PixelType) -> float | None:
    """Return the least value, or null where there is none."""
    return pixelType.minimum


@function("PixelType.maxValue")
def max_value(pixelType: PixelType) -> float | None:
    """Return the greatest value, or null where there is none."""
    return pixelType.maximum


_INFINITE = 2.0e7  # metres; as much and more counts as infinite (apidocs/ee-errormargin)


@function("ErrorMargin")
def make_error_margin(value: float | None, unit: str) -> ErrorMargin:
    """Return the greatest error that an approximate operation may make."""
    if unit not in ("meters", "projected", "infinite"):
        raise InvalidError(f"Unknown error margin unit '{unit}'. Must be 'meters', 'projected' or 'infinite'.")
    if unit != "infinite" and value is None:
        raise InvalidError("An error margin must have a value unless it is infinite.")
    amount = abs(value or 0.0)
    if unit == "infinite" or (unit == "meters" and amount >= _INFINITE):
        return ErrorMargin(0.0, "infinite")
    return ErrorMargin(amount, cast(Literal["meters", "projected"], unit))
