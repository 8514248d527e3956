"""``ee.Array``: construction (shapes must agree, at most 4,000,000 numbers), arithmetic, comparisons, logic, bits and
casts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.primitives.elementwise_functions import elementwise_functions
from eechips_local.functions.registration import Implementation, function
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, TypeMismatchError
from eechips_local.values.elementwise import BITWISE, INTEGERS_ONLY, apply, rounded, to_integers
from eechips_local.values.values import Array, Value

Numbers = npt.NDArray[Any]

MOST_NUMBERS = 4_000_000
"""Numbers that an array may have. Earth Engine's own limit is that of memory."""


def check_size(size: int) -> None:
    """End what would make too large an array.

    Raises:
        LimitError: in Earth Engine's words for too much memory.
    """
    if size > MOST_NUMBERS:
        raise MemoryLimitError()


def cast(values: Numbers, dtype: npt.DTypeLike) -> Numbers:
    """Return numbers in another type: rounded and clamped to its range, as documented for ``ee.Array.byte``."""
    target = np.dtype(dtype)
    if target.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(target)
    return to_integers(rounded(values), target)


def dtype_of(kind: PixelType) -> np.dtype[Any]:
    """Return the numpy type that holds the numbers of a pixel type."""
    if kind.precision != "int":
        return np.dtype(np.float32 if kind.precision == "float" else np.float64)
    if kind.minimum is None or kind.maximum is None:
        return np.dtype(np.int64)
    for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32"):
        limits = np.iinfo(name)
        if limits.min <= kind.minimum and kind.maximum <= limits.max:
            return np.dtype(name)
    return np.dtype(np.int64)


@function("Array")
def make(values: Value, pixelType: PixelType | None) -> Array:
    """Return an array from a number, nested lists of numbers, or another array."""
    if isinstance(values, Array):
        numbers = values.values
    elif isinstance(values, (bool, int, float, list)):
        numbers = _numbers(values)
        if not numbers.size and pixelType is None:
            raise InvalidError("No numbers in 'values', must provide a type.")
    else:
        raise TypeMismatchError("An array is made from numbers, lists of numbers, or an array.")
    return Array(numbers if pixelType is None else cast(numbers, dtype_of(pixelType)))


def _numbers(values: Value) -> Numbers:
    """Return the numbers of nested lists, whose depths and lengths must agree."""
    shape: list[int] = []
    level = values
    while isinstance(level, list):
        shape.append(len(level))
        if not level:
            break
        level = level[0]
    check_size(int(np.prod([float(n) for n in shape])) if shape else 1)
    if len(shape) > 32:
        raise InvalidError("Too many array dimensions.")
    leaves: list[Any] = [values]
    for length in shape:
        if not all(isinstance(item, list) and len(item) == length for item in leaves):
            raise InvalidError("All inner arrays at the same depth must have the same length.")
        leaves = [item for inner in leaves for item in inner]
    for leaf in leaves:
        if not isinstance(leaf, (bool, int, float)):
            raise InvalidError("Numbers may only be present at the deepest level of an array, and nothing else.")
    whole = all(isinstance(leaf, int) and -(2**63) <= leaf < 2**63 for leaf in leaves)
    return np.asarray(leaves, dtype=np.int64 if whole else np.float64).reshape(shape)


def _binary(name: str, compute: Callable[[Numbers, Numbers], Numbers]) -> Implementation:
    def call(left: Array, right: Array) -> Array:
        a, b = left.values, right.values
        if name in BITWISE and not all((values == np.trunc(values)).all() for values in (a, b)):
            raise InvalidError(INTEGERS_ONLY)
        if a.shape != b.shape and a.ndim and b.ndim:
            raise InvalidError(
                f"Arrays must have the same dimensions, or one of them none. Found {list(a.shape)} and {list(b.shape)}."
            )
        return Array(_narrowed(name, apply(compute, a, b), a, b))

    return Implementation(call)


def _narrowed(name: str, result: Numbers, *operands: Numbers) -> Numbers:
    """Return a result in the precision that Earth Engine gives it.

    Floats of 32 bits stay such, and so are powers of integers, as the examples of ``ee.Array.pow`` show.
    """
    if result.dtype.kind != "f":
        return result
    kinds = {operand.dtype for operand in operands}
    if kinds == {np.dtype(np.float32)} or (name == "pow" and all(kind.kind != "f" for kind in kinds)):
        with np.errstate(over="ignore"):
            return result.astype(np.float32)
    return result


def _unary(name: str, compute: Callable[[Numbers], Numbers]) -> Implementation:
    def call(input: Array) -> Array:
        return Array(_narrowed(name, apply(compute, input.values), input.values))

    return Implementation(call)


def _cast(dtype: type[np.number[Any]]) -> Implementation:
    def call(input: Array) -> Array:
        return Array(cast(input.values, dtype))

    return Implementation(call)


FUNCTIONS: Mapping[str, Implementation] = elementwise_functions("Array", _binary, _unary, _cast)


@function("Array.identity")
def identity(size: int) -> Array:
    """Return the identity matrix of a size."""
    if size < 0:
        raise InvalidError(f"The size must not be negative. Found {size}.")
    check_size(size * size)
    return Array(np.eye(size, dtype=np.int64))


@function("Array.bitsToArray")
def bits_to_array(input: float) -> Array:
    """Return the bits of an integer, the highest that is set first."""
    number = int(to_integers(np.asarray(input))) & 0xFFFF_FFFF_FFFF_FFFF
    return Array(np.asarray([int(digit) for digit in f"{number:b}"], dtype=np.int64))
