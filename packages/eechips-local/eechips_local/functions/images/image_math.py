"""``Image.add``, ``eq``, ``and``, ``bitwiseAnd``, ``toByte``, ``clamp``, ``unitScale``, ``polynomial``, ``where`` and
the like: arithmetic, comparison, logic, bits and casts, and types of results.

Two images are matched band by band: by name where both have the same names, else by position, and a single band goes
with all of the other image's (apidocs/ee-image-add). Results carry the range that the ranges of the inputs give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.registration import Implementation, function
from eechips_local.pixels.lazy_image import Image, ImageBand, Mask, Pixels, bands_from
from eechips_local.pixels.pixelwise_rasters import PerPixel, PixelFunction, both, expanded, mapped
from eechips_local.pixels.types import (
    BOOLEAN,
    DOUBLE,
    INT64,
    LONG,
    Numbers,
    bounds_of,
    cast_values,
    dtype_of,
    fixed,
    floating_type,
    interval,
    ranged,
    union_type,
    without_range,
)
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.elementwise import BINARY, CASTS, INTEGERS_ONLY, SPELLINGS, UNARY, wide
from eechips_local.values.ragged_arrays import by_shape

BinaryType = Callable[[PixelType, PixelType], PixelType]
UnaryType = Callable[[PixelType], PixelType]


def finite(values: Numbers, mask: Mask) -> Pixels:
    """Mask what is not a number."""
    if values.dtype.kind == "f":
        wrong: Numbers = np.isnan(values)
        if wrong.any():
            right = ~wrong.reshape(*mask.shape, -1).any(axis=-1)
            return Pixels(np.where(wrong, 0, values), both(mask, np.asarray(right)))
    return Pixels(values, mask)


def _stored(values: Numbers, kind: PixelType) -> Numbers:
    """Return results in the precision that a band keeps them in: 32 bits for floats."""
    return cast_values(values, np.float32) if kind.precision == "float" else values


def matched(first: Image, second: Image) -> list[tuple[ImageBand, ImageBand]]:
    """Return the bands of two images that belong together.

    Raises:
        InvalidError: if the images have different numbers of bands, neither of them one.
    """
    counts = len(first.bands), len(second.bands)
    if 0 in counts and counts != (0, 0):
        raise InvalidError(
            f"If one image has no bands, the other must also have no bands. Got {counts[0]} and {counts[1]}."
        )
    if counts[0] == counts[1]:
        by_name = {band.name: band for band in second.bands}
        if by_name.keys() == {band.name for band in first.bands}:
            return [(band, by_name[band.name]) for band in first.bands]
        return list(zip(first.bands, second.bands, strict=True))
    if counts[1] == 1:
        return [(band, second.bands[0]) for band in first.bands]
    if counts[0] == 1:
        return [(first.bands[0], band) for band in second.bands]
    raise InvalidError(
        "Images must contain the same number of bands, or one of them a single band. "
        f"Found {counts[0]} and {counts[1]}."
    )


def paired(first: Image, second: Image) -> tuple[list[tuple[ImageBand, ImageBand]], list[ImageBand]]:
    """Return the bands of two images that belong together, and for each pair a band like that of the result.

    Its projection is the first's, unless only the second has one of its own; its name that of the image of more bands.
    """
    pairs = matched(first, second)
    longer = first if len(first.bands) >= len(second.bands) else second
    leaders = (a if a.fixed or not b.fixed else b for a, b in pairs)
    return pairs, [replace(leader, name=name) for leader, name in zip(leaders, longer.band_names, strict=True)]


def spread(image: Image, wanted: int, what: str) -> tuple[ImageBand, ...]:
    """Return an image's bands, a single one repeated for each of ``wanted``.

    Raises:
        InvalidError: if it has another number of bands.
    """
    if len(image.bands) == wanted:
        return tuple(image.bands)
    if len(image.bands) == 1:
        return tuple(image.bands) * wanted
    if not image.bands or not wanted:
        raise InvalidError(
            f"If one image has no bands, the other must also have no bands. Got {wanted} and {len(image.bands)}."
        )
    raise InvalidError(f"The {what} must have one band or as many as the image ({wanted}); it has {len(image.bands)}.")


def _aligned(a: Pixels, b: Pixels) -> tuple[Numbers, Numbers]:
    """Return values of two bands as 64-bit numbers; numbers go with every element of arrays.

    Raises:
        InvalidError: if both are arrays, of different shapes.
    """
    left, right = wide(a.values), wide(b.values)
    if left.ndim > 2 and right.ndim > 2 and left.shape != right.shape:
        raise InvalidError(f"Array shapes must match; found {list(left.shape[2:])} and {list(right.shape[2:])}.")
    dimensions = max(left.ndim, right.ndim)
    return expanded(left, dimensions), expanded(right, dimensions)


def binary(first: Image, second: Image, compute: Callable[[Numbers, Numbers], Numbers], kind: BinaryType) -> Image:
    """Return an image computed from two, band by band."""
    pairs, like = paired(first, second)
    types = [kind(a.type, b.type) for a, b in pairs]

    def pixel_function(result: PixelType) -> PixelFunction:
        def pixel(pixels: Sequence[Pixels]) -> Pixels:
            a, b = pixels
            with np.errstate(all="ignore"):
                values = compute(*_aligned(a, b))
            return finite(_stored(values, result), both(a.mask, b.mask))

        return pixel

    raster = PerPixel(tuple(pairs), tuple(by_shape(pixel_function(kind)) for kind in types))
    leader = first if any(b.fixed for b in first.bands) or not any(b.fixed for b in second.bands) else second
    return leader.computed(bands_from(raster, like, kinds=types))


def unary(image: Image, compute: Callable[[Numbers], Numbers], kind: UnaryType) -> Image:
    """Return an image computed from one, band by band."""
    bands: list[ImageBand] = []
    for band in image.bands:
        result = kind(band.type)

        def pixel(pixels: Sequence[Pixels], result: PixelType = result) -> Pixels:
            with np.errstate(all="ignore"):
                values = compute(wide(pixels[0].values))
            if result.precision == "int" and values.dtype.kind == "f":
                values = cast_values(values, np.int64)
            return finite(_stored(values, result), pixels[0].mask)

        bands.extend(mapped([band], by_shape(pixel), lambda _, result=result: result))  # type: ignore[misc]
    return image.computed(bands)


def _quotient_type(a: PixelType, b: PixelType) -> PixelType:
    """Return floating; with a range where the divisor is never zero."""
    divisor = bounds_of(b)
    if divisor is None or divisor[0] <= 0 <= divisor[1]:
        return without_range(floating_type(a, b))
    return interval(lambda x, y: x / y, floating_type)(a, b)


def _remainder_type(a: PixelType, b: PixelType) -> PixelType:
    """Return the type of a remainder: no larger than either operand, with the sign of the dividend."""
    kind = union_type(a, b)
    dividend, divisor = bounds_of(a), bounds_of(b)
    if dividend is None or divisor is None:
        return without_range(kind)
    most = max(abs(divisor[0]), abs(divisor[1]))
    return ranged(kind, [min(0, max(dividend[0], -most)), max(0, min(dividend[1], most))])


def _left_type(a: PixelType, b: PixelType) -> PixelType:
    distance, values = bounds_of(b), bounds_of(a)
    if distance is None or values is None or distance[0] < 0 or distance[1] >= 63:
        return fixed(LONG)(a, b)
    kind = replace(LONG, dimensions=max(a.dimensions, b.dimensions))
    return ranged(kind, [int(v) << int(d) for v in values for d in distance])


def _right_type(a: PixelType, b: PixelType) -> PixelType:
    """Return the type of a right shift: it never makes a number larger, in either direction from zero, and ends at
    -1.
    """
    low, high = bounds_of(a) or (LONG.minimum, LONG.maximum)
    kind = PixelType("int", dimensions=max(a.dimensions, b.dimensions))
    return ranged(kind, [min(low or 0, 0), max(high or 0, 0)])


def _bits(a: PixelType, b: PixelType) -> PixelType:
    """Return the type of bitwise AND, OR and XOR: as many bits as the wider operand has.

    Raises:
        InvalidError: if an operand is floating, such as the median of a quality band.
    """
    if not a.precision == b.precision == "int":
        raise InvalidError(INTEGERS_ONLY)
    low, high = bounds_of(union_type(replace(a, precision="int"), replace(b, precision="int"))) or (-1, 0)
    dimensions = max(a.dimensions, b.dimensions)
    bits = max(int(high).bit_length(), int(~int(low) if low < 0 else low).bit_length())
    if bits >= 63:
        return replace(LONG, dimensions=dimensions)
    return PixelType("int", -(1 << bits) if low < 0 else 0, (1 << bits) - 1, dimensions)


def _power_type(a: PixelType, b: PixelType) -> PixelType:
    """Return floating, as documented; double where the result of integers needs it."""
    base, exponent = bounds_of(a), bounds_of(b)
    kind = floating_type(a, b)
    if base is None or exponent is None or base[0] < 0 or exponent[0] < 0:
        return without_range(kind)
    power_type = interval(lambda x, y: float(x) ** float(y), lambda *_: DOUBLE)(a, b)
    ends = [v for v in (power_type.minimum, power_type.maximum) if v is not None]
    if kind.precision == "float" and a.precision == b.precision == "int" and (not ends or max(ends) > 1 << 24):
        kind = replace(kind, precision="double")
    return ranged(kind, ends)


_COMPARISONS = ("eq", "neq", "lt", "lte", "gt", "gte", "and", "or")

_BINARY_TYPES: Mapping[str, BinaryType] = {
    **{name: fixed(BOOLEAN) for name in _COMPARISONS},
    "add": interval(lambda x, y: x + y),
    "subtract": interval(lambda x, y: x - y),
    "multiply": interval(lambda x, y: x * y),
    "divide": _quotient_type,
    "mod": _remainder_type,
    "pow": _power_type,
    "min": interval(min),
    "max": interval(max),
    "atan2": floating_type,
    "hypot": floating_type,
    "gammainc": lambda a, b: ranged(fixed(DOUBLE)(a, b), [0, 1]),
    "first": union_type,
    "firstNonZero": union_type,
    "bitwiseAnd": _bits,
    "bitwiseOr": _bits,
    "bitwiseXor": _bits,
    "leftShift": _left_type,
    "rightShift": _right_type,
}


def _whole_type(cut: Callable[[float], float]) -> UnaryType:
    """Return an integer type with the range of a float's, where that is known."""

    def kind(a: PixelType) -> PixelType:
        if a.precision == "int":
            return a
        ends = bounds_of(a)
        return ranged(PixelType("int", dimensions=a.dimensions), [cut(v) for v in ends] if ends else ())

    return kind


def _magnitude(a: PixelType) -> PixelType:
    ends = bounds_of(a)
    if ends is None:
        return a
    sizes = [abs(v) for v in ends]
    return ranged(a, [*sizes, 0] if ends[0] <= 0 <= ends[1] else sizes)


def _bitwise_not_type(a: PixelType) -> PixelType:
    return interval(lambda v: ~int(v), fixed(LONG))(a)


_UNARY_TYPES: Mapping[str, UnaryType] = {
    **dict.fromkeys(UNARY, floating_type),
    "abs": _magnitude,
    "not": fixed(BOOLEAN),
    "round": _whole_type(lambda v: math.floor(v + 0.5)),
    "floor": _whole_type(math.floor),
    "ceil": _whole_type(math.ceil),
    "signum": lambda a: replace(a, minimum=-1, maximum=1),
    "bitwiseNot": _bitwise_not_type,
    "bitCount": fixed(PixelType("int", 0, 64)),
}


def cast_band(band: ImageBand, kind: PixelType) -> ImageBand:
    """Return a band cast to a type: values clamped to that of its numpy type, array pixels kept."""
    return _cast([band], kind)[0]


def cast_image(image: Image, kind: PixelType) -> Image:
    """Return an image with all bands cast to a type; metadata stay."""
    return image.with_bands(_cast(image.bands, kind))


def _cast(bands: Sequence[ImageBand], kind: PixelType) -> list[ImageBand]:
    dtype = dtype_of(kind)

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        return Pixels(cast_values(pixels[0].values, dtype), pixels[0].mask)

    return mapped(bands, by_shape(pixel), lambda old: replace(kind, dimensions=old.dimensions))


BINARY_NAMES = frozenset(_BINARY_TYPES)
"""Operations of two images."""

UNARY_NAMES = frozenset(_UNARY_TYPES)
"""Operations of one image."""


CAST_TYPES: Mapping[str, PixelType] = {
    spelling: PixelType.of(dtype) for name, dtype in CASTS.items() for spelling in (name, *SPELLINGS[name])
}
"""Types by the name of the operation that casts an image to it."""


def binary_named(name: str, first: Image, second: Image) -> Image:
    """Return two images under an operation of ``elementwise.BINARY``."""
    return binary(first, second, BINARY[name], _BINARY_TYPES[name])


def unary_named(name: str, image: Image) -> Image:
    """Return an image under an operation of ``elementwise.UNARY``."""
    return unary(image, UNARY[name], _UNARY_TYPES[name])


def _table() -> Mapping[str, Implementation]:
    table: dict[str, Implementation] = {}
    for name in _BINARY_TYPES:
        for spelling in (name, *SPELLINGS.get(name, ())):
            table[f"Image.{spelling}"] = Implementation(lambda image1, image2, n=name: binary_named(n, image1, image2))
    for name in _UNARY_TYPES:
        for spelling in (name, *SPELLINGS.get(name, ())):
            table[f"Image.{spelling}"] = Implementation(lambda value, n=name: unary_named(n, value))
    for name, target in CAST_TYPES.items():
        table[f"Image.{name}"] = Implementation(lambda value, t=target: cast_image(value, t))
    return table


FUNCTIONS: Mapping[str, Implementation] = _table()


@function("Image.clamp")
def clamp(input: Image, low: float, high: float) -> Image:
    """Return values kept between two limits, in the type of the band, which is widened for limits that it does not
    hold.
    """
    least, greatest = math.ceil(low) if math.isfinite(low) else low, math.floor(high) if math.isfinite(high) else high
    within = interval(lambda v: min(max(v, least), greatest))

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        values = pixels[0].values
        ends: tuple[float, ...] = (low, high)
        if values.dtype.kind in "biu":
            ends = tuple(min(max(end, int(INT64.min)), int(INT64.max)) for end in (least, greatest))
        return Pixels(np.minimum(np.maximum(wide(values), ends[0]), ends[1]), pixels[0].mask)

    def kind(old: PixelType) -> PixelType:
        return union_type(old, within(old)) if old.precision == "int" else old

    return input.with_bands(mapped(input.bands, pixel, kind))


@function("Image.unitScale")
def unit_scale(input: Image, low: float, high: float) -> Image:
    """Return values scaled so that the range from low to high becomes 0 to 1; nothing is clamped."""
    if low == high:
        raise InvalidError("The low and high values must differ.")

    def kind(old: PixelType) -> PixelType:
        return interval(lambda v: (v - low) / (high - low), floating_type)(old)

    bands = unary(input, lambda v: (v - low) / (high - low), kind).bands
    return input.with_bands(bands)


@function("Image.polynomial")
def polynomial(image: Image, coefficients: list[float]) -> Image:
    """Return a polynomial of each value; coefficients start with the constant term."""

    def value(v: Numbers) -> Numbers:
        result = np.zeros(v.shape)
        for coefficient in reversed(coefficients):
            result = result * v + coefficient
        return result

    return unary(image, value, lambda old: replace(DOUBLE, dimensions=old.dimensions))


@function("Image.where")
def where(input: Image, test: Image, value: Image) -> Image:
    """Return the input with other values where a test is not zero; masked tests and values change nothing."""
    tests = spread(test, len(input.bands), "test")
    values = spread(value, len(input.bands), "value")

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        old, flag, new = pixels
        if flag.values.ndim > 2:
            raise InvalidError("The test may not be an array image.")
        change = (flag.values != 0) & flag.valid & new.valid & old.valid
        if not change.any():
            return old
        before, after = _aligned(old, new)
        return Pixels(np.where(expanded(change, before.ndim), after, before), old.mask)

    raster = PerPixel(tuple(zip(input.bands, tests, values, strict=True)), (pixel,) * len(input.bands))
    kinds = [union_type(old.type, new.type) for old, new in zip(input.bands, values, strict=True)]
    return input.with_bands(bands_from(raster, input.bands, kinds=kinds))
