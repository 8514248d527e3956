"""Arithmetic of images: values against numpy and Python, types and ranges, masks, names."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.pixels.output.encode import filled
from eechips_local.pixels.types import cast_values, dtype_of, union_type
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.elementwise import CASTS
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import ONE, UTM, asset, constant, evaluate, pixel, read, stored, values_of

RANDOM = np.random.default_rng(2)
BYTES = RANDOM.integers(0, 256, (48, 64)).astype(np.uint8)
SHORTS = RANDOM.integers(0, 65536, (48, 64)).astype(np.uint16)


def two(name: str, first: Any, second: Any) -> Ready:
    return invoke(f"Image.{name}", image1=first, image2=second)


def type_of(value: Ready, *assets: Any) -> PixelType:
    kind: PixelType = evaluate(value, *assets).bands[0].type
    return kind


class TestDocumentedTypes:
    """Types and ranges that Earth Engine is known to print."""

    def test_constants(self) -> None:
        """samples/python/apidocs/ee-image-constant.py of google/earthengine-community."""
        assert type_of(constant(1)) == PixelType("int", 1, 1)
        assert type_of(constant(math.pi)) == PixelType("double", math.pi, math.pi)
        image = evaluate(constant(-1.2, 4))
        assert [(b.name, b.type) for b in image.bands] == [
            ("constant_0", PixelType("double", -1.2, -1.2)),
            ("constant_1", PixelType("int", 4, 4)),
        ]

    def test_reflectances(self) -> None:
        """Sentinel-2 over 10,000 is a float up to 6.5535 in 32 bits; Landsat's scaling a double to 1.6022125."""
        sentinel = two("divide", stored(), 10000)
        assert type_of(sentinel, asset(SHORTS)) == PixelType("float", 0, 6.553500175476074)
        landsat = two("add", two("multiply", stored(), 0.0000275), -0.2)
        kind = type_of(landsat, asset(SHORTS))
        assert kind.precision == "double"
        assert (kind.minimum, kind.maximum) == pytest.approx((-0.2, 1.6022125))

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("add", 1, PixelType("int", 1, 256)),
            ("subtract", 300, PixelType("int", -300, -45)),
            ("multiply", -2, PixelType("int", -510, 0)),
            ("multiply", 0.9, PixelType("double", 0, 229.5)),
            ("max", 10, PixelType("int", 10, 255)),
            ("eq", 3, PixelType("int", 0, 1)),
            ("and", 3, PixelType("int", 0, 1)),
            ("bitwiseAnd", 7, PixelType("int", 0, 255)),
            ("leftShift", 2, PixelType("int", 0, 1020)),
            ("rightShift", 2, PixelType("int", 0, 255)),
            ("pow", 2, PixelType("float", 0, 65025)),
            ("hypot", 2, PixelType("float")),
        ],
    )
    def test_operations_on_bytes(self, name: str, value: float, expected: PixelType) -> None:
        assert type_of(two(name, stored(), value), asset(BYTES)) == expected

    def test_casts_set_the_range_of_integers_and_drop_that_of_floats(self) -> None:
        assert type_of(invoke("Image.toByte", value=constant(3))) == PixelType("int", 0, 255)
        assert type_of(invoke("Image.toInt", value=constant(3))) == PixelType("int", -(2**31), 2**31 - 1)
        assert type_of(invoke("Image.toFloat", value=constant(3))) == PixelType("float")

    def test_difference_is_a_float_from_minus_one_to_one(self) -> None:
        image = evaluate(invoke("Image.normalizedDifference", input=constant(5, 3)))
        assert [(b.name, b.type) for b in image.bands] == [("nd", PixelType("float", -1, 1))]

    def test_huge_products_end_at_64_bits(self) -> None:
        kind = type_of(two("multiply", constant(2**40), constant(2**40)))
        assert (kind.minimum, kind.maximum) == (-(2**63), 2**63 - 1)


NUMBERS = st.one_of(st.integers(-(2**31), 2**31), st.floats(-1e6, 1e6, allow_subnormal=False))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(NUMBERS, NUMBERS)
def test_values_lie_in_the_range_of_their_type(a: float, b: float) -> None:
    for name in ("add", "subtract", "multiply", "divide", "min", "max", "mod", "first", "firstNonZero"):
        image = evaluate(two(name, constant(a), constant(b)))
        value, kind = read(image, ONE)[0].values[0, 0], image.bands[0].type
        if kind.minimum is not None and kind.maximum is not None:
            slack = 1e-6 * max(1.0, abs(kind.minimum), abs(kind.maximum))
            assert kind.minimum - slack <= value <= kind.maximum + slack, name


@given(st.integers(-(2**40), 2**40), st.integers(-(2**20), 2**20))
def test_integers_against_python(a: int, b: int) -> None:
    assert pixel(two("add", constant(a), constant(b))) == [a + b]
    assert pixel(two("multiply", constant(a), constant(b))) == [a * b]
    assert pixel(two("mod", constant(a), constant(b))) == [int(math.fmod(a, b)) if b else 0]
    assert pixel(two("bitwiseAnd", constant(a), constant(b))) == [a & b]
    assert pixel(two("bitwiseXor", constant(a), constant(b))) == [a ^ b]
    assert pixel(invoke("Image.bitwiseNot", value=constant(a))) == [~a]
    assert pixel(invoke("Image.bitCount", value=constant(a))) == [bin(a & (2**64 - 1)).count("1")]


def test_division() -> None:
    assert pixel(two("divide", constant(5), constant(2))) == [2.5]
    assert pixel(two("divide", constant(5), constant(0))) == [0]
    assert pixel(two("divide", constant(0.5), constant(0.3))) == [0.5 / 0.3]
    assert pixel(two("divide", constant(1), constant(3))) == [float(np.float32(1 / 3))]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("round", 2.5, 3), ("round", -2.5, -2), ("floor", -1.5, -2), ("ceil", -1.5, -1), ("abs", -3, 3), ("not", 0, 1),
        ("signum", -2.5, -1), ("sqrt", 16, 4), ("cbrt", 27, 3), ("exp", 0, 1), ("log10", 1000, 3), ("cos", 0, 1),
        ("gamma", 5, 24), ("erf", 0.0, 0.0), ("toInt", -1.9, -1), ("toByte", 300, 255), ("toByte", -4.5, 0),
        ("toInt8", 1e9, 127), ("toShort", 40000, 32767), ("toUint32", 2.0**40, 2**32 - 1),
    ],
)  # fmt: skip
def test_functions_of_one_image(name: str, value: float, expected: float) -> None:
    assert pixel(invoke(f"Image.{name}", value=constant(value))) == pytest.approx([expected], rel=1e-7)


def test_nan_results_are_masked() -> None:
    assert pixel(invoke("Image.sqrt", value=constant(-1))) == [None]
    assert pixel(invoke("Image.log", value=constant(-1.0))) == [None]


class TestBands:
    def test_one_band_goes_with_all(self) -> None:
        image = evaluate(two("add", constant(1, 2, names=["a", "b"]), constant(10)))
        assert [b.name for b in image.bands] == ["a", "b"]
        assert pixel(two("subtract", constant(10), constant(1, 2, names=["a", "b"]))) == [9, 8]
        assert [b.name for b in evaluate(two("subtract", constant(10), constant(1, 2, names=["a", "b"]))).bands] == [
            "a",
            "b",
        ]

    def test_the_same_names_are_matched_by_name(self) -> None:
        a, b = constant(1, 2, names=["p", "q"]), constant(10, 20, names=["q", "p"])
        assert pixel(two("add", a, b)) == [21, 12]

    def test_other_names_are_matched_by_position(self) -> None:
        a, b = constant(1, 2, names=["p", "q"]), constant(10, 20, names=["r", "p"])
        image = two("add", a, b)
        assert pixel(image) == [11, 22]
        assert [band.name for band in evaluate(image).bands] == ["p", "q"]

    def test_no_bands(self) -> None:
        none = invoke("Image.select", input=constant(1), bandSelectors=[])
        with pytest.raises(InvalidError, match=r"the other must also have no bands\. Got 0 and 1\."):
            evaluate(two("add", none, constant(1)))
        assert evaluate(two("add", none, none)).bands == ()

    def test_counts_that_do_not_match(self) -> None:
        with pytest.raises(InvalidError, match="same number of bands"):
            evaluate(two("add", constant(1, 2), constant(1, 2, 3)))


class TestMasks:
    MASKED = invoke("Image.updateMask", image=constant(5), mask=0)
    HALF = invoke("Image.updateMask", image=constant(5), mask=0.5)

    def mask_of(self, image: Ready) -> list[Any]:
        return pixel(invoke("Image.mask", image=image))

    def test_both_must_be_valid(self) -> None:
        assert pixel(two("add", self.MASKED, constant(1))) == [None]
        assert pixel(two("or", constant(1), self.MASKED)) == [None]

    def test_fractions_pass_through(self) -> None:
        assert self.mask_of(two("add", self.HALF, constant(1))) == [0.5]
        assert self.mask_of(invoke("Image.sqrt", value=self.HALF)) == [0.5]
        assert self.mask_of(invoke("Image.toByte", value=self.HALF)) == [0.5]

    def test_a_new_mask_counts_where_the_old_is_not_zero(self) -> None:
        """So the reference (apidocs/ee-image-updatemask), whether the new one is of whole numbers or not."""
        assert self.mask_of(invoke("Image.updateMask", image=self.HALF, mask=1)) == [1]
        assert self.mask_of(invoke("Image.updateMask", image=self.HALF, mask=0.8)) == [pytest.approx(0.8)]
        assert self.mask_of(invoke("Image.updateMask", image=self.MASKED, mask=0.8)) == [0]
        assert self.mask_of(invoke("Image.updateMask", image=constant(5), mask=7)) == [1]

    def test_uncovered_pixels_are_zero(self) -> None:
        """Or as near to zero as the type allows."""
        assert pixel(invoke("Image.mask", image=invoke("Image.toByte", value=self.MASKED), mask=1)) == [0]
        assert pixel(invoke("Image.mask", image=self.MASKED, mask=1)) == [5]
        assert pixel(invoke("Image.mask", image=self.MASKED)) == [0]

    def test_self_mask(self) -> None:
        assert pixel(invoke("Image.selfMask", image=constant(0, 3))) == [None, 3]

    def test_unmask(self) -> None:
        assert pixel(invoke("Image.unmask", input=self.MASKED)) == [0]
        assert pixel(invoke("Image.unmask", input=self.MASKED, value=constant(-9))) == [-9]
        assert type_of(invoke("Image.unmask", input=self.MASKED, value=constant(-9))) == PixelType("int", -9, 5)

    def test_unmask_stays_within_the_footprint(self) -> None:
        valid = BYTES > 100
        wide = UTM.window(-5, -5, 74, 58)
        inside = read(evaluate(invoke("Image.unmask", input=stored(), value=7), asset(BYTES, valid=valid)), wide)[0]
        assert inside.valid[8:-8, 8:-8].all()
        assert not inside.valid[0].any()
        everywhere = invoke("Image.unmask", input=stored(), value=7, sameFootprint=False)
        assert read(evaluate(everywhere, asset(BYTES, valid=valid)), wide)[0].valid.all()

    def test_where(self) -> None:
        assert pixel(invoke("Image.where", input=constant(1), test=1, value=constant(2))) == [2]
        assert pixel(invoke("Image.where", input=constant(1), test=self.MASKED, value=constant(2))) == [1]
        assert pixel(invoke("Image.where", input=constant(1), test=1, value=self.MASKED)) == [1]
        assert pixel(invoke("Image.where", input=self.MASKED, test=1, value=constant(2))) == [None]
        assert pixel(invoke("Image.where", input=constant(1, 2), test=constant(0, 1), value=constant(9))) == [1, 9]
        with pytest.raises(InvalidError, match="test"):
            evaluate(invoke("Image.where", input=constant(1), test=constant(1, 1), value=constant(2)))

    def test_negative_values_mask_differences(self) -> None:
        assert pixel(invoke("Image.normalizedDifference", input=constant(-1, 3))) == [None]
        assert pixel(invoke("Image.normalizedDifference", input=constant(30, 10))) == [0.5]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.floats(), st.floats(-300, 300)), min_size=1, max_size=8), st.sampled_from(sorted(CASTS)))
def test_casts_clamp_and_cut(values: list[float], name: str) -> None:
    target = np.dtype(CASTS[name])
    found = cast_values(np.array(values), target)
    assert found.dtype == target
    if target.kind == "f":
        with np.errstate(over="ignore"):
            assert np.array_equal(found, np.array(values).astype(target), equal_nan=True)
        return
    limits = np.iinfo(target)
    for value, cast in zip(values, found.tolist(), strict=True):
        if math.isinf(value):
            exact = int(limits.max if value > 0 else limits.min)
        else:
            exact = 0 if math.isnan(value) else int(value)
        assert cast == min(max(exact, limits.min), limits.max)


INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")


def test_integer_casts_clamp() -> None:
    for source, target in itertools.product(INTEGERS, repeat=2):
        limits, bounds = np.iinfo(source), np.iinfo(target)
        values = np.array([limits.min, 0, 1, 100, limits.max], dtype=source)
        expected = [min(max(int(v), bounds.min), bounds.max) for v in values.tolist()]
        assert cast_values(values, target).tolist() == expected, (source, target)
        assert dtype_of(PixelType.of(source)) == np.dtype(source)


def test_single_floats_clamp_as_doubles_do() -> None:
    """The least single float above every 32-bit integer is 2**31 or 2**32: it must not turn negative."""
    values = np.array([-np.inf, -1e10, -2.9, 2.0**31 - 128, 2.0**31, 2.0**32 - 256, 2.0**32, 1e30, np.inf], np.float32)
    for target in INTEGERS:
        assert np.array_equal(cast_values(values, target), cast_values(values.astype(np.float64), target)), target


def test_union() -> None:
    assert union_type(PixelType("int", 0, 255), PixelType("int", -5, 5)) == PixelType("int", -5, 255)
    assert union_type(PixelType("int", 0, 255), PixelType("float")) == PixelType("float")
    assert union_type(PixelType("float", -1, 1), PixelType("double", 0, 3)) == PixelType("double", -1, 3)


def test_clamp_and_scale() -> None:
    assert pixel(invoke("Image.clamp", input=constant(-5, 5, 0.5), low=0, high=3)) == [0, 3, 0.5]
    assert pixel(invoke("Image.unitScale", input=constant(5, 30.0), low=10, high=20)) == [-0.5, 2.0]
    assert pixel(invoke("Image.polynomial", image=constant(2), coefficients=[1, -3, 0.5])) == [-3.0]


def test_pixels_of_an_image_against_numpy() -> None:
    bands = np.stack([SHORTS, SHORTS[::-1]])
    nd = values_of(evaluate(invoke("Image.normalizedDifference", input=stored()), asset(bands)))
    a, b = bands.astype(np.float64)
    assert np.allclose(nd, (a - b) / (a + b), rtol=1e-6)
    ratio = evaluate(two("divide", stored(), 10000), asset(bands))
    for pixels, band in zip(read(ratio), bands, strict=True):
        assert pixels.values.dtype == np.float32
        assert np.array_equal(pixels.values, (band / 10000).astype(np.float32))


def test_every_operation_has_a_signature() -> None:
    from eechips_local.functions.images import image_math

    assert set(image_math.FUNCTIONS) <= set(load_signatures())


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 100, 7), (300, 400, 300), (-500, -400, -400), (0.5, 1e300, 7)]
)
def test_limits_that_the_type_does_not_hold_widen_it(low: float, high: float, expected: int) -> None:
    byte = invoke("Image.toUint8", value=constant(7))
    image = evaluate(invoke("Image.clamp", input=byte, low=low, high=high))
    assert filled(image.bands[0], read(image, ONE)[0]).tolist() == [[expected]]
    kept = evaluate(invoke("Image.clamp", input=byte, low=0, high=100)).bands[0].type
    assert (kept.minimum, kept.maximum) == (0, 255)
