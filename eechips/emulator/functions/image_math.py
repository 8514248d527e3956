"""``ee.Image``: arithmetic, comparison, logic and casts, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.emulator.errors import InvalidError
from eechips.emulator.functions.image import choose, union_type
from eechips.emulator.functions.registry import Implementation, function
from eechips.emulator.model import PixelType
from eechips.emulator.pixels.compute import PerPixel, both
from eechips.emulator.pixels.image import Band, Image, Pixels

Numbers = npt.NDArray[Any]
BinaryType = Callable[[PixelType, PixelType], PixelType]
UnaryType = Callable[[PixelType], PixelType]

_INT64 = np.iinfo(np.int64)
_BOOLEAN = PixelType("int", 0, 1)
_DOUBLE = PixelType("double")
_LONG = PixelType("int", int(_INT64.min), int(_INT64.max))


def _wide(values: Numbers) -> Numbers:
    """Integers as 64 bits, anything else as doubles: what Earth Engine computes in."""
    return values.astype(np.int64 if values.dtype.kind in "biu" else np.float64, copy=False)


def _quiet(compute: Callable[..., Numbers]) -> Callable[..., Numbers]:
    """Lets divisions by zero and the like give infinities, which are masked afterwards."""

    def run(*values: Numbers) -> Numbers:
        with np.errstate(all="ignore"):
            return compute(*values)

    return run


def _finite(values: Numbers, mask: Any) -> Pixels:
    """Masks what is not a number."""
    if values.dtype.kind == "f":
        wrong = np.isnan(values)
        if wrong.any():
            return Pixels(np.where(wrong, 0, values), both(mask, ~wrong))
    return Pixels(values, mask)


def _pairs(first: Image, second: Image) -> list[tuple[Band, Band]]:
    """Bands of two images matched by position, or one band against all.

    Raises:
        InvalidError: if the images have different numbers of bands, neither of them one.
    """
    if len(first.bands) == len(second.bands):
        return list(zip(first.bands, second.bands, strict=True))
    if len(second.bands) == 1:
        return [(band, second.bands[0]) for band in first.bands]
    if len(first.bands) == 1:
        return [(first.bands[0], band) for band in second.bands]
    raise InvalidError(
        "Images must contain the same number of bands, or one of them a single band. "
        f"Found {len(first.bands)} and {len(second.bands)}."
    )


def _binary(name: str, compute: Callable[[Numbers, Numbers], Numbers], kind: BinaryType) -> Implementation:
    compute = _quiet(compute)

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        a, b = pixels
        return _finite(compute(_wide(a.values), _wide(b.values)), both(a.mask, b.mask))

    def call(image1: Image, image2: Image) -> Image:
        pairs = _pairs(image1, image2)
        raster = PerPixel(tuple(pairs), tuple(pixel for _ in pairs))
        longer = image1 if len(image1.bands) >= len(image2.bands) else image2
        bands = [
            _derived(a, b, named, raster, index, kind(a.type, b.type))
            for index, ((a, b), named) in enumerate(zip(pairs, longer.bands, strict=True))
        ]
        leader = image1 if any(b.fixed for b in image1.bands) or not any(b.fixed for b in image2.bands) else image2
        return leader.computed(bands)

    call.__name__ = name
    return Implementation(call, with_context=False, lazy=frozenset())


def _derived(a: Band, b: Band, named: Band, raster: PerPixel, index: int, kind: PixelType) -> Band:
    """A band computed from two: the first's projection counts, unless only the second has one of its own."""
    leader = a if a.fixed or not b.fixed else b
    return Band(named.name, kind, leader.projection, raster, index, leader.extent, a.fixed or b.fixed)


def _unary(name: str, compute: Callable[[Numbers], Numbers], kind: UnaryType) -> Implementation:
    compute = _quiet(compute)

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        return _finite(compute(_wide(pixels[0].values)), pixels[0].mask)

    def call(value: Image) -> Image:
        raster = PerPixel(tuple((b,) for b in value.bands), tuple(pixel for _ in value.bands))
        return value.computed(
            [replace(b, raster=raster, index=i, type=kind(b.type)) for i, b in enumerate(value.bands)]
        )

    call.__name__ = name
    return Implementation(call, with_context=False, lazy=frozenset())


def _range(combine: Callable[[float, float], float]) -> BinaryType:
    """The type of an integer operation that is monotone in each operand: from all pairs of ends."""

    def kind(a: PixelType, b: PixelType) -> PixelType:
        if a.precision != "int" or b.precision != "int":
            return replace(union_type(a, b), minimum=None, maximum=None)
        ends = [combine(x, y) for x in (a.minimum, a.maximum) for y in (b.minimum, b.maximum) if None not in (x, y)]  # type: ignore[arg-type]
        low, high = min(ends), max(ends)
        if low < _INT64.min or high > _INT64.max:
            return replace(_LONG, dimensions=max(a.dimensions, b.dimensions))
        return PixelType("int", low, high, max(a.dimensions, b.dimensions))

    return kind


def _fixed(kind: PixelType) -> BinaryType:
    return lambda a, b: replace(kind, dimensions=max(a.dimensions, b.dimensions))


def _floating(a: PixelType, b: PixelType | None = None) -> PixelType:
    """Float stays float, anything else becomes double."""
    types = [a] if b is None else [a, b]
    precision = "float" if all(t.precision == "float" for t in types) else "double"
    return PixelType(precision, dimensions=max(t.dimensions for t in types))


def _bits(a: PixelType, b: PixelType) -> PixelType:
    widest = union_type(replace(a, precision="int"), replace(b, precision="int"))
    if widest.minimum is None or widest.maximum is None or widest.minimum < 0:
        return _LONG
    return PixelType("int", 0, (1 << int(widest.maximum).bit_length()) - 1)


def _divide(a: Numbers, b: Numbers) -> Numbers:
    """A quotient; division by zero gives zero, as Earth Engine documents for Image.divide."""
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)


def _mod(a: Numbers, b: Numbers) -> Numbers:
    """The remainder with the sign of the dividend, as Java's %."""
    return np.where(b != 0, np.fmod(a, np.where(b != 0, b, 1)), 0)


def _integers(compute: Callable[[Numbers, Numbers], Numbers]) -> Callable[[Numbers, Numbers], Numbers]:
    return lambda a, b: compute(a.astype(np.int64), b.astype(np.int64))


def _power(a: Numbers, b: Numbers) -> Numbers:
    return np.power(a.astype(np.float64), b)


_COMPARISONS: Mapping[str, Callable[[Numbers, Numbers], Numbers]] = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "and": lambda a, b: (a != 0) & (b != 0),
    "or": lambda a, b: (a != 0) | (b != 0),
}

_ARITHMETIC: Mapping[str, tuple[Callable[[Numbers, Numbers], Numbers], BinaryType]] = {
    "add": (np.add, _range(lambda x, y: x + y)),
    "subtract": (np.subtract, _range(lambda x, y: x - y)),
    "multiply": (np.multiply, _range(lambda x, y: x * y)),
    "divide": (_divide, _floating),
    "mod": (_mod, union_type),
    "pow": (_power, _floating),
    "min": (np.minimum, _range(min)),
    "max": (np.maximum, _range(max)),
    "atan2": (lambda a, b: np.arctan2(b, a), _floating),
    "hypot": (np.hypot, _floating),
    "first": (lambda a, b: a, lambda a, b: a),
    "bitwiseAnd": (_integers(np.bitwise_and), _bits),
    "bitwiseOr": (_integers(np.bitwise_or), _bits),
    "bitwiseXor": (_integers(np.bitwise_xor), _bits),
    "leftShift": (_integers(np.left_shift), _fixed(_LONG)),
    "rightShift": (_integers(np.right_shift), lambda a, b: replace(a, precision="int")),
}

_SPELLINGS = {
    "bitwiseAnd": ("bitwise_and",), "bitwiseOr": ("bitwise_or",), "bitwiseXor": ("bitwise_xor",),
    "leftShift": ("left_shift",), "rightShift": ("right_shift",),
}  # fmt: skip


def _same(a: PixelType) -> PixelType:
    return a


def _rounded(a: PixelType) -> PixelType:
    return a if a.precision == "int" else _LONG


def _magnitude(a: PixelType) -> PixelType:
    if a.precision != "int" or a.minimum is None or a.maximum is None:
        return a
    ends = (abs(a.minimum), abs(a.maximum))
    return replace(a, minimum=0 if a.minimum <= 0 <= a.maximum else min(ends), maximum=max(ends))


def _negated(a: PixelType) -> PixelType:
    if a.precision != "int" or a.minimum is None or a.maximum is None:
        return a
    return replace(a, minimum=-a.maximum, maximum=-a.minimum)


_UNARY: Mapping[str, tuple[Callable[[Numbers], Numbers], UnaryType]] = {
    "abs": (np.abs, _magnitude),
    "not": (lambda v: v == 0, lambda a: _BOOLEAN),
    "round": (lambda v: np.floor(v + 0.5).astype(np.int64) if v.dtype.kind == "f" else v, _rounded),
    "floor": (lambda v: np.floor(v).astype(np.int64) if v.dtype.kind == "f" else v, _rounded),
    "ceil": (lambda v: np.ceil(v).astype(np.int64) if v.dtype.kind == "f" else v, _rounded),
    "sqrt": (np.sqrt, _floating),
    "cbrt": (np.cbrt, _floating),
    "exp": (np.exp, _floating),
    "log": (np.log, _floating),
    "log10": (np.log10, _floating),
    "sin": (np.sin, _floating),
    "cos": (np.cos, _floating),
    "tan": (np.tan, _floating),
    "asin": (np.arcsin, _floating),
    "acos": (np.arccos, _floating),
    "atan": (np.arctan, _floating),
    "sinh": (np.sinh, _floating),
    "cosh": (np.cosh, _floating),
    "tanh": (np.tanh, _floating),
    "signum": (np.sign, lambda a: PixelType("int", -1, 1) if a.precision == "int" else a),
    "bitwiseNot": (lambda v: np.bitwise_not(v.astype(np.int64)), lambda a: _LONG),
    "bitCount": (lambda v: _bit_count(v.astype(np.int64)), lambda a: PixelType("int", 0, 64)),
}


def _bit_count(values: Numbers) -> Numbers:
    """Bits that are set in the 64-bit two's complement of each value."""
    count = np.zeros(values.shape, dtype=np.int64)
    rest = values.view(np.uint64).copy()
    for _ in range(64):
        count += (rest & np.uint64(1)).astype(np.int64)
        rest >>= np.uint64(1)
    return count


_CASTS: Mapping[str, type[Any]] = {
    "Byte": np.uint8, "Int8": np.int8, "Uint8": np.uint8, "Int16": np.int16, "Uint16": np.uint16, "Short": np.int16,
    "Int32": np.int32, "Uint32": np.uint32, "Int": np.int32, "Int64": np.int64, "Long": np.int64,
    "Float": np.float32, "Double": np.float64,
}  # fmt: skip


def cast_values(values: Numbers, dtype: npt.DTypeLike) -> Numbers:
    """Values in another type: clamped to its range, fractions cut off towards zero."""
    target = np.dtype(dtype)
    if values.dtype == target:
        return values
    if target.kind == "f":
        return values.astype(target)
    limits = np.iinfo(target)
    if values.dtype.kind == "f":
        cut = np.trunc(np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf))
        # The greatest 64-bit integers are not doubles: compare before converting.
        low, high = cut <= float(limits.min), cut >= float(limits.max)
        inner = np.where(low | high, 0, cut).astype(np.int64)
        return np.where(low, limits.min, np.where(high, limits.max, inner)).astype(target)
    return np.clip(values, limits.min, limits.max).astype(target)


def _cast_type(kind: PixelType, dtype: type[Any]) -> PixelType:
    return replace(PixelType.of(dtype), dimensions=kind.dimensions)


def cast_band(band: Band, dtype: type[Any]) -> Band:
    """A band cast to a numpy type."""
    raster = PerPixel(((band,),), (lambda p: Pixels(cast_values(p[0].values, dtype), p[0].mask),))
    return replace(band, raster=raster, index=0, type=_cast_type(band.type, dtype))


def _cast(dtype: type[Any]) -> Implementation:
    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        return Pixels(cast_values(pixels[0].values, dtype), pixels[0].mask)

    def call(value: Image) -> Image:
        raster = PerPixel(tuple((b,) for b in value.bands), tuple(pixel for _ in value.bands))
        return value.with_bands(
            [replace(b, raster=raster, index=i, type=_cast_type(b.type, dtype)) for i, b in enumerate(value.bands)]
        )

    return Implementation(call, with_context=False, lazy=frozenset())


def _table() -> Mapping[str, Implementation]:
    table: dict[str, Implementation] = {}
    for name, compare in _COMPARISONS.items():
        table[f"Image.{name}"] = _binary(name, lambda a, b, f=compare: f(a, b).astype(np.uint8), _fixed(_BOOLEAN))  # type: ignore[misc]
    for name, (compute, kind) in _ARITHMETIC.items():
        for spelling in (name, *_SPELLINGS.get(name, ())):
            table[f"Image.{spelling}"] = _binary(name, compute, kind)
    for name, (change, same) in _UNARY.items():
        table[f"Image.{name}"] = _unary(name, change, same)
    for name, dtype in _CASTS.items():
        for spelling in (f"to{name}", name[0].lower() + name[1:]):
            table[f"Image.{spelling}"] = _cast(dtype)
    return table


FUNCTIONS: Mapping[str, Implementation] = _table()


@function("Image.normalizedDifference")
def normalized_difference(input: Image, bandNames: list[str] | None) -> Image:
    """(first - second) / (first + second); masked where either is negative."""
    if bandNames is not None and len(bandNames) != 2:
        raise InvalidError(f"Two band names are needed, found {len(bandNames)}.")
    first, second = choose(input, bandNames) if bandNames else input.bands[:2]

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        a, b = (p.values.astype(np.float64) for p in pixels)
        total = a + b
        ratio = np.divide(a - b, total, out=np.zeros(total.shape), where=total != 0)
        return Pixels(ratio, both(both(pixels[0].mask, pixels[1].mask), (a >= 0) & (b >= 0) & (total != 0)))

    raster = PerPixel(((first, second),), (pixel,))
    kind = PixelType("float", -1, 1)
    return input.computed([replace(first, name="nd", type=kind, raster=raster, index=0)])


@function("Image.clamp")
def clamp(input: Image, low: float, high: float) -> Image:
    """Values kept between two limits."""

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        return Pixels(np.clip(_wide(pixels[0].values), *_ends(pixels[0].values, low, high)), pixels[0].mask)

    raster = PerPixel(tuple((b,) for b in input.bands), tuple(pixel for _ in input.bands))
    return input.with_bands([replace(b, raster=raster, index=i) for i, b in enumerate(input.bands)])


def _ends(values: Numbers, low: float, high: float) -> tuple[float, float]:
    if values.dtype.kind in "biu":
        return math.ceil(low), math.floor(high)
    return low, high


@function("Image.unitScale")
def unit_scale(input: Image, low: float, high: float) -> Image:
    """Values scaled so that the range from low to high becomes 0 to 1."""
    if low == high:
        raise InvalidError("The low and high values must differ.")

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        return Pixels((pixels[0].values - low) / (high - low), pixels[0].mask)

    raster = PerPixel(tuple((b,) for b in input.bands), tuple(pixel for _ in input.bands))
    return input.with_bands([replace(b, raster=raster, index=i, type=_DOUBLE) for i, b in enumerate(input.bands)])


@function("Image.where")
def where(input: Image, test: Image, value: Image) -> Image:
    """The input with other values where a test is not zero; masked tests and values change nothing."""
    tests = [pair[1] for pair in _pairs(input, test)]
    values = [pair[1] for pair in _pairs(input, value)]

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        old, flag, new = pixels
        change = (flag.values != 0) & flag.valid & new.valid & old.valid
        return Pixels(np.where(change, new.values, old.values), old.mask)

    raster = PerPixel(tuple(zip(input.bands, tests, values, strict=True)), tuple(pixel for _ in input.bands))
    return input.with_bands(
        [
            replace(band, raster=raster, index=i, type=union_type(band.type, values[i].type))
            for i, band in enumerate(input.bands)
        ]
    )
