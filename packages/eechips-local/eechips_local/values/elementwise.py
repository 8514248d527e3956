"""Compute number by number what ``ee.Number`` and ``ee.Array`` share: division by zero, remainders, rounding, bits,
casts.

Integers are computed in 64 bits, everything else in doubles; comparisons and logic give the integers 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms import special_functions

Numbers = npt.NDArray[Any]
Unary = Callable[[Numbers], Numbers]
Binary = Callable[[Numbers, Numbers], Numbers]

_INT64 = np.iinfo(np.int64)
BITWISE = frozenset({"bitwiseAnd", "bitwiseOr", "bitwiseXor"})
INTEGERS_ONLY = "Bitwise operands must be integer only."


def to_integers(values: Numbers, dtype: npt.DTypeLike = np.int64) -> Numbers:
    """Return values as integers: clamped to the type's range, fractions cut off towards zero, NaN as zero."""
    target = np.dtype(dtype)
    limits = np.iinfo(target)
    if values.dtype.kind != "f":
        return np.clip(values, limits.min, limits.max).astype(target)
    cut = np.trunc(np.where(np.isnan(values), 0, values)).astype(np.float64)
    # The greatest 64-bit integers are not doubles, so they are compared before anything is converted.
    low, high = cut <= float(limits.min), cut >= float(limits.max)
    inner = np.where(low | high, 0, cut).astype(target)
    return np.where(low, limits.min, np.where(high, limits.max, inner)).astype(target)


def rounded(values: Numbers) -> Numbers:
    """Return the nearest integers, halves upwards, as Java's ``Math.round``."""
    if values.dtype.kind != "f":
        return values
    below = np.floor(values)
    return np.where(values - below >= 0.5, below + 1, below)


def cube_root(values: Numbers) -> Numbers:
    """Return cube roots: exact for cubes of doubles, on any machine.

    NumPy's own differ by a unit in the last place between processors and C libraries. A Newton step, with a residual
    that is computed to twice the precision, corrects them.
    """
    values = np.asarray(values, np.float64)
    is_plain = np.isfinite(values) & (values != 0)
    # The exponent is divided exactly, so that nothing overflows or becomes subnormal in between.
    fraction, exponent = np.frexp(np.where(is_plain, values, 1))
    third = exponent // 3
    scaled = np.ldexp(fraction, exponent - 3 * third)
    root = np.cbrt(scaled)
    square, square_rest = _product(root, root)
    cube, cube_rest = _product(square, root)
    residual = (cube - scaled) + (cube_rest + square_rest * root)
    return np.where(is_plain, np.ldexp(root - residual / (3 * square), third), values)


def _product(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
    """Return a product, and what was rounded off it (Dekker, 1971: A floating-point technique for extending the
    precision).
    """
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Numbers) -> tuple[Numbers, Numbers]:
    """Return a sum of two numbers of half the precision."""
    scaled = a * float(2**27 + 1)
    high = scaled - (scaled - a)
    return high, a - high


def _divide(a: Numbers, b: Numbers) -> Numbers:
    """Return a quotient; division by zero gives zero."""
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)


def _mod(a: Numbers, b: Numbers) -> Numbers:
    """Return the remainder, with the dividend's sign; zero where the divisor is zero."""
    return np.where(b != 0, np.fmod(a, np.where(b != 0, b, 1)), 0)


def _power(a: Numbers, b: Numbers) -> Numbers:
    return np.power(a.astype(np.float64), b.astype(np.float64))


def _comparison(compare: Callable[[Numbers, Numbers], Any]) -> Binary:
    return lambda a, b: np.asarray(compare(a, b)).astype(np.int64)


def _bits(compute: Binary) -> Binary:
    return lambda a, b: compute(to_integers(a), to_integers(b))


def _shift(compute: Binary) -> Binary:
    # Java takes the lowest six bits of the distance.
    return _bits(lambda a, b: compute(a, b & 63))


BINARY: Mapping[str, Binary] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": _divide,
    "mod": _mod,
    "pow": _power,
    "min": np.minimum,
    "max": np.maximum,
    "first": lambda a, b: np.broadcast_arrays(a, b)[0],
    "firstNonZero": lambda a, b: np.where(a != 0, a, b),
    "atan2": lambda a, b: np.arctan2(b, a),
    "hypot": np.hypot,
    "gammainc": special_functions.regularized_gamma,
    "and": _comparison(lambda a, b: (a != 0) & (b != 0)),
    "or": _comparison(lambda a, b: (a != 0) | (b != 0)),
    "eq": _comparison(np.equal),
    "neq": _comparison(np.not_equal),
    "lt": _comparison(np.less),
    "lte": _comparison(np.less_equal),
    "gt": _comparison(np.greater),
    "gte": _comparison(np.greater_equal),
    "bitwiseAnd": _bits(np.bitwise_and),
    "bitwiseOr": _bits(np.bitwise_or),
    "bitwiseXor": _bits(np.bitwise_xor),
    "leftShift": _shift(np.left_shift),
    "rightShift": _shift(np.right_shift),
}


def _each(compute: Callable[[float], float]) -> Unary:
    """Return a function of single numbers, applied to all."""

    def apply(values: Numbers) -> Numbers:
        flat = np.fromiter(map(compute, values.ravel().tolist()), dtype=np.float64, count=values.size)
        return flat.reshape(values.shape)

    return apply


def _bit_count(values: Numbers) -> Numbers:
    """Return bits that are set in the 64-bit two's complement of each value."""
    octets = np.ascontiguousarray(to_integers(values))[..., None].view(np.uint8)
    return np.asarray(np.unpackbits(octets, axis=-1).sum(axis=-1, dtype=np.int64))


UNARY: Mapping[str, Unary] = {
    "abs": np.abs,
    "signum": np.sign,
    "not": lambda v: (v == 0).astype(np.int64),
    "floor": np.floor,
    "ceil": np.ceil,
    "round": rounded,
    "sqrt": np.sqrt,
    "cbrt": cube_root,
    "exp": np.exp,
    "log": np.log,
    "log10": np.log10,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "gamma": _each(special_functions.gamma),
    "digamma": _each(special_functions.digamma),
    "trigamma": _each(special_functions.trigamma),
    "lanczos": _each(special_functions.lanczos),
    "erf": _each(math.erf),
    "erfc": _each(math.erfc),
    "erfInv": _each(special_functions.erf_inverse),
    "erfcInv": _each(special_functions.erfc_inverse),
    "bitwiseNot": lambda v: np.bitwise_not(to_integers(v)),
    "bitCount": _bit_count,
}

ROUNDING = frozenset({"floor", "ceil", "round"})
"""Operations of UNARY that give whole numbers."""

CASTS: Mapping[str, type[np.number[Any]]] = {
    "byte": np.uint8, "uint8": np.uint8, "int8": np.int8, "uint16": np.uint16, "int16": np.int16, "short": np.int16,
    "uint32": np.uint32, "int32": np.int32, "int": np.int32, "int64": np.int64, "long": np.int64,
    "float": np.float32, "double": np.float64,
}  # fmt: skip
"""Types by the name of the cast; "toByte" is the same as "byte", and so on."""

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "firstNonZero": ("first_nonzero",),
    "bitwiseAnd": ("bitwise_and",),
    "bitwiseOr": ("bitwise_or",),
    "bitwiseXor": ("bitwise_xor",),
    "bitwiseNot": ("bitwise_not",),
    "leftShift": ("left_shift",),
    "rightShift": ("right_shift",),
    **{name: (f"to{name[0].upper()}{name[1:]}",) for name in CASTS},
}
"""Other names of the same operation."""


def wide(values: Numbers) -> Numbers:
    """Return integers as 64 bits, floats as doubles: what is computed in."""
    return values.astype(np.int64 if values.dtype.kind in "biu" else np.float64, copy=False)


def apply(compute: Callable[..., Numbers], *values: Numbers) -> Numbers:
    """Compute in 64 bits, without complaints about infinities and NaN; scalars are arrays without dimensions."""
    with np.errstate(all="ignore"):
        return np.asarray(compute(*map(wide, values)))
