"""Types of pixels: their names in messages, unions, ranges under arithmetic, and values cast to them (clamped,
fractions cut off).

Earth Engine keeps the range of every band along with its precision: the sum of two bytes is an integer from 0 to 510,
a 16-bit band divided by 10,000 is a float from 0 to 6.5535. Casts set the range of their integer type, or none for
floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.elementwise import CASTS, wide
from eechips_local.values.number_format import java_text

Numbers = npt.NDArray[Any]

INT64 = np.iinfo(np.int64)
BOOLEAN = PixelType("int", 0, 1)
BYTE = PixelType("int", 0, 255)
LONG = PixelType("int", int(INT64.min), int(INT64.max))
FLOAT = PixelType("float")
DOUBLE = PixelType("double")

_ORDER = ("int", "float", "double")
_INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)
_JAVA_INTEGERS = tuple(
    (name, np.iinfo(dtype))
    for name, dtype in (("Byte", np.int8), ("Short", np.int16), ("Integer", np.int32), ("Long", np.int64))
)
# Integers up to here are exact in 32-bit floats.
_EXACT_FLOAT = 1 << 24


def bounds_of(kind: PixelType) -> tuple[float, float] | None:
    """Return the least and greatest value of a type, None where it has no known range."""
    if kind.minimum is not None and kind.maximum is not None:
        return kind.minimum, kind.maximum
    return (LONG.minimum, LONG.maximum) if kind.precision == "int" else None  # type: ignore[return-value]


def ranged(kind: PixelType, ends: Iterable[float]) -> PixelType:
    """Return a type with the range that some values span; none where they are not all finite.

    Integer ranges beyond 64 bits become those of 64 bits; bounds of 32-bit floats are rounded to such.
    """
    values = list(ends)
    if not values or not all(map(math.isfinite, values)):
        return without_range(kind)
    low, high = min(values), max(values)
    if kind.precision == "int":
        low, high = math.floor(low), math.ceil(high)
        if low < INT64.min or high > INT64.max:
            return without_range(kind)
    elif kind.precision == "float":
        with np.errstate(over="ignore"):
            low, high = float(np.float32(low)), float(np.float32(high))
        if not (math.isfinite(low) and math.isfinite(high)):
            return without_range(kind)
    return replace(kind, minimum=low, maximum=high)


def without_range(kind: PixelType) -> PixelType:
    """Return a type without a range; integers have that of 64 bits."""
    if kind.precision == "int":
        return replace(LONG, dimensions=kind.dimensions)
    return replace(kind, minimum=None, maximum=None)


def union_type(*kinds: PixelType) -> PixelType:
    """Return the narrowest type that holds the values of several."""
    return reduce(_union, kinds)


def _union(first: PixelType, second: PixelType) -> PixelType:
    precision = max(first.precision, second.precision, key=_ORDER.index)
    kind = PixelType(precision, dimensions=max(first.dimensions, second.dimensions))
    ends = [bounds_of(first), bounds_of(second)]
    return ranged(kind, [value for pair in ends if pair is not None for value in pair] if None not in ends else ())


def is_within(kind: PixelType, other: PixelType) -> bool:
    """Return whether another type has the range of a type; no float is an integer.

    Doubles fit floats, as messages name both Float: geeViz reduces floats of Landsat with scaled ones, doubles
    (getImagesLib.py, ``harmonizationChastain``).
    """
    if kind == other:
        return True
    if kind.dimensions != other.dimensions or (other.precision == "int" != kind.precision):
        return False
    inner, outer = bounds_of(kind), bounds_of(other)
    return outer is None or (inner is not None and outer[0] <= inner[0] and inner[1] <= outer[1])


def type_text(kind: PixelType) -> str:
    """Return a type as the service's messages have it: MaskOnly, Short<0, 255>, Float<-0.2, 1.6022125>.

    Integers have the name of the narrowest of Java's types that holds them, and no range where they fill it; a band
    that is zero everywhere needs no bit. ``Float<-0.2, 1.6022125>`` was seen of 16 bits scaled by decimals, which are
    doubles (github.com/gee-community/geemap/issues/1058). Here a double without a range is named so, to differ from a
    float. Dimensions are written as in openforis/sepal's assetCollectionSchema.mjs.
    """
    bounds = bounds_of(kind)
    if kind.precision != "int":
        return _with_range("Float" if bounds else kind.precision.capitalize(), bounds, kind)
    low, high = bounds or (INT64.min, INT64.max)
    if low == high == 0:
        return _with_range("MaskOnly", None, kind)
    fitting = (java for java in _JAVA_INTEGERS if java[1].min <= low and high <= java[1].max)
    name, limits = next(fitting, _JAVA_INTEGERS[-1])
    return _with_range(name, None if (low, high) == (limits.min, limits.max) else (low, high), kind)


def _with_range(name: str, ends: tuple[float, float] | None, kind: PixelType) -> str:
    numbers = map(float, ends or ()) if kind.precision != "int" else ends or ()
    parts = [java_text(end) for end in numbers] + ([f"dimensions={kind.dimensions}"] if kind.dimensions else [])
    return name + (f"<{', '.join(parts)}>" if parts else "")


def floating_type(*kinds: PixelType) -> PixelType:
    """Return the type of a result that is never whole: float, or double where an input needs more than 32 bits.

    S2 reflectances (16 bits) divided by 10,000 are floats in Earth Engine, whatever integer divides them.
    """
    wide = any(k.precision == "double" or (k.precision == "int" and not _fits_float(k)) for k in kinds)
    return PixelType("double" if wide else "float", dimensions=max(k.dimensions for k in kinds))


def _fits_float(kind: PixelType) -> bool:
    low, high = bounds_of(kind) or (-math.inf, math.inf)
    return low >= -_EXACT_FLOAT and high <= _EXACT_FLOAT


def interval(combine: Callable[..., float], result: Callable[..., PixelType] | None = None) -> Callable[..., PixelType]:
    """Return the type of an operation that is monotone in each operand: its range is spanned by the ends of theirs.

    Args:
        combine: the operation on plain numbers.
        result: the type but for the range; by default the union of the operands' types.
    """

    def kind(*operands: PixelType) -> PixelType:
        base = result(*operands) if result else union_type(*operands)
        ends = [bounds_of(operand) for operand in operands]
        if None in ends:
            return without_range(base)
        try:
            return ranged(base, [combine(*corner) for corner in product(*ends)])  # type: ignore[arg-type]
        except (ArithmeticError, ValueError):
            return without_range(base)

    return kind


def fixed(kind: PixelType) -> Callable[..., PixelType]:
    """Return a function that gives always the same type, except for the dimensions of array bands."""
    return lambda *operands: replace(kind, dimensions=max(o.dimensions for o in operands))


def dtype_of(kind: PixelType) -> np.dtype[Any]:
    """Return the narrowest numpy type that holds a band's values, or the elements of its arrays."""
    if kind.precision == "float":
        return np.dtype(np.float32)
    if kind.precision == "double":
        return np.dtype(np.float64)
    low, high = bounds_of(kind) or (INT64.min, INT64.max)
    for candidate in _INTEGERS:
        limits = np.iinfo(candidate)
        if limits.min <= low and high <= limits.max:
            return np.dtype(candidate)
    return np.dtype(np.int64)


def cast_values(values: Numbers, dtype: npt.DTypeLike) -> Numbers:
    """Return values in another type: clamped to its range, fractions cut off towards zero, NaN as zero.

    That is how Java narrows numbers, but for the clamping of integers, which Earth Engine documents.
    """
    target = np.dtype(dtype)
    if values.dtype == target:
        return values
    if target.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(target)
    limits = np.iinfo(target)
    if values.dtype.kind == "f":
        if target.itemsize < 8:
            # The greatest 32-bit integers are no single floats: the next one is beyond the range.
            exact = values.astype(np.float64) if target.itemsize == 4 else values
            numbers = np.nan_to_num(exact, nan=0.0, posinf=np.inf, neginf=-np.inf)
            cut: Numbers = np.clip(numbers, limits.min, limits.max)
            return cut.astype(target)
        # The greatest 64-bit integers are not doubles: compare before converting.
        cut = np.trunc(np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
        low, high = cut <= float(limits.min), cut >= float(limits.max)
        inner = np.where(low | high, 0, cut).astype(np.int64)
        converted: Numbers = np.where(low, limits.min, np.where(high, limits.max, inner))
        return converted
    if values.dtype.kind == "b" or _within(np.iinfo(values.dtype), limits):
        return values.astype(target)
    clamped: Numbers = np.clip(wide(values), limits.min, limits.max)
    return clamped.astype(target)


def _within(inner: Any, outer: Any) -> bool:
    return bool(outer.min <= inner.min and inner.max <= outer.max)


def named_type(value: object) -> PixelType:
    """Return the type that a PixelType or one of its names ("int8", "byte", "float", …) stands for.

    Raises:
        InvalidError: if it is neither.
    """
    if isinstance(value, PixelType):
        return value
    if isinstance(value, str) and value in CASTS:
        return PixelType.of(CASTS[value])
    shown_value = f"'{value[:100]}'" if isinstance(value, str) else "a value of another type"
    raise InvalidError(f"Invalid pixel type: found {shown_value}, not a PixelType or the name of one.")
