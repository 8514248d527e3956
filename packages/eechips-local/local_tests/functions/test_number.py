"""Numbers: the reference's examples, Python's arithmetic, and Java's formats."""

from __future__ import annotations

import math
import operator
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from eechips_local.algorithms.special_functions import digamma, erf_inverse, erfc_inverse, gamma, lanczos, trigamma
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.values.elementwise import cube_root
from eechips_local.values.number_format import format_number, java_text
from local_tests.support.graphs import call

integers = st.integers(-(2**63), 2**63 - 1)
doubles = st.floats(allow_nan=False, allow_infinity=False)
sums = st.integers(-(2**62), 2**62 - 1)


def number(name, *values):
    names = ("input",) if len(values) == 1 else ("left", "right")
    return call(f"Number.{name}", **dict(zip(names, values, strict=True)))


# Examples of developers.google.com/earth-engine/apidocs/ee-number-…
@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("add", (5, 10), 15),
        ("add", (5, 10.2), 15.2),
        ("add", (5, -10.2), -5.199999999999999),
        ("divide", (5, 10), 0.5),
        ("divide", (5, 10.2), 0.49019607843137253),
        ("divide", (-10.2, -5), 2.04),
        ("divide", (0, 10), 0),
        ("divide", (10, 0), 0),
        ("mod", (12, 5), 2),
        ("mod", (1, -2), 1),
        ("mod", (5.5, 2), 1.5),
        ("mod", (-12, 5), -2),
        ("mod", (-1, 2), -1),
        ("mod", (-4, 2), 0),
        ("pow", (5, 2), 25),
        ("pow", (-5, 2), 25),
        ("pow", (5, -2), 0.04),
        ("pow", (5, 2.2), 34.493241536530384),
        ("pow", (5.2, 2), 27.040000000000003),
        ("bitwiseNot", (25,), -26),
        ("round", (10.4,), 10),
        ("round", (10.5,), 11),
        ("round", (10.9,), 11),
        ("toInt", (2147483647 + 12345,), 2147483647),
        ("toInt", (-2147483648 - 12345,), -2147483648),
        ("toInt8", (127 + 12345,), 127),
        ("toInt8", (-128 - 12345,), -128),
        ("byte", (255 + 12345,), 255),
        ("byte", (-12345,), 0),
        ("float", (100,), 100),
        # Further ones, by the descriptions.
        ("toInt", (1.7,), 1),
        ("toInt", (-1.7,), -1),
        ("toFloat", (0.1,), 0.1),
        ("toLong", (1e300,), 2**63 - 1),
        ("round", (-2.5,), -2),
        ("round", (0.49999999999999994,), 0),
        ("firstNonZero", (0, 7), 7),
        ("first_nonzero", (3, 7), 3),
        ("first", (0, 7), 0),
        ("and", (2, -1), 1),
        ("or", (0, 0.0), 0),
        ("not", (0,), 1),
        ("eq", (1, 1.0), 1),
        ("signum", (-0.5,), -1),
        ("bitCount", (-1,), 64),
        ("bitCount", (0xFFFF,), 16),
        ("leftShift", (1, 65), 2),
        ("rightShift", (-8, 1), -4),
        ("hypot", (3, 4), 5),
        ("atan2", (0, 1), math.pi / 2),
        ("cbrt", (-27,), -3),
        ("sqrt", (-1,), math.nan),
        ("log", (0,), -math.inf),
        ("exp", (1000,), math.inf),
        ("digamma", (0,), -math.inf),
        ("mod", (5, 0), 0),
    ],
)
def test_examples(name, values, expected):
    assert number(name, *values) == pytest.approx(expected, rel=1e-15, nan_ok=True)


@pytest.mark.parametrize("distance", [0, 1, -1, 2, -2])
def test_cube_roots_are_exact_whatever_the_c_library_gives(distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    library = np.cbrt
    monkeypatch.setattr(np, "cbrt", lambda v: (root := library(v)) + distance * np.spacing(root))
    integers = np.arange(-200_000, 200_001)
    np.testing.assert_array_equal(cube_root(integers**3), integers)
    for exponent in (-1050, -1023, -30, -1, 1, 30, 900):
        cubes = np.ldexp(np.array([1.0, -8, 27, -343]), 3 * (exponent // 3))
        np.testing.assert_array_equal(cube_root(cubes), np.ldexp([1.0, -2, 3, -7], exponent // 3))
    assert cube_root(np.array([0.0, -0.0, math.inf, -math.inf])).tolist() == [0.0, -0.0, math.inf, -math.inf]
    assert np.isnan(cube_root(np.array(math.nan)))


@given(doubles)
@example(sys.float_info.max)
@example(5e-324)
@example(-1e-310)
def test_cube_roots_are_the_nearest_doubles(value: float) -> None:
    root = float(cube_root(np.array(value)))
    for other in (math.nextafter(root, math.inf), math.nextafter(root, -math.inf)):
        middle = (Fraction(root) + Fraction(other)) / 2
        assert (middle**3 - Fraction(value)) * (1 if other > root else -1) >= 0


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "bitwiseAnd", "min", "max", "mod", "eq", "first"])
def test_integers_stay_integers(name):
    assert type(number(name, 7, 2)) is int


@pytest.mark.parametrize("name", ["divide", "pow", "atan2", "hypot"])
def test_quotients_and_the_like_are_doubles(name):
    assert type(number(name, 4, 2)) is float


@given(sums, sums)
def test_integer_arithmetic_is_python_s(a, b):
    assert number("add", a, b) == a + b
    assert number("subtract", a, b) == a - b


@example(0, -(2**63))
@given(integers, integers)
def test_integers_beyond_64_bits_become_doubles(a, b):
    product = number("multiply", a, b)
    assert product == (a * b if -(2**63) <= a * b < 2**63 else float(a * b))
    assert isinstance(product, int) == (-(2**63) <= a * b < 2**63)


@given(integers, integers)
def test_bits_are_python_s(a, b):
    assert number("bitwiseAnd", a, b) == a & b
    assert number("bitwise_or", a, b) == a | b
    assert number("bitwiseXor", a, b) == a ^ b
    assert number("bitCount", a) == (a & (2**64 - 1)).bit_count()


@given(doubles, doubles)
def test_comparisons_are_python_s(a, b):
    for name in ("lt", "gt", "eq"):
        assert number(name, a, b) == int(getattr(operator, name)(a, b))
    assert number("lte", a, b) == int(a <= b)


@given(doubles)
def test_whole_numbers_around(x):
    assume(abs(x) < 2**62)
    assert number("floor", x) == math.floor(x)
    assert number("ceil", x) == math.ceil(x)
    assert abs(number("round", x) - x) <= 0.5
    assert number("toLong", x) == math.trunc(x)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
@given(x=st.one_of(integers, doubles))
def test_casts_clamp(kind, x):
    limits = np.iinfo(kind)
    assert number(kind, x) == min(max(math.trunc(x), limits.min), limits.max)


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        # ee.Number.format
        (1, "%03d", "001"),
        (1.23476, "%.1f", "1.2"),
        (1.23476, "%.3f", "1.235"),
        (123476, "%.3e", "1.235e+05"),
        (123476, "%.2f", "123476.00"),
        (3.14159, "%.2f", "3.14"),
        (42, "%05d", "00042"),
        # java.util.Formatter
        (0.25, "%.1f", "0.3"),
        (1.005, "%.2f", "1.01"),
        (-1234567, "%,d", "-1,234,567"),
        (-1234567.891, "%,(.2f", "(1,234,567.89)"),
        (255, "%x", "ff"),
        (255, "%#X", "0XFF"),
        (-1, "%x", "f" * 16),
        (8, "%o", "10"),
        (5, "%+d km", "+5 km"),
        (5, "<%-4d>", "<5   >"),
        (5, "<%4d>", "<   5>"),
        (-5, "%05d", "-0005"),
        (0.0001, "%g", "0.000100000"),
        (0.00001, "%g", "1.00000e-05"),
        (123456.0, "%g", "123456"),
        (9.9999, "%.2e", "1.00e+01"),
        (1.0, "%a", "0x1.0p0"),
        (1.5, "%s", "1.5"),
        (2.0, "%s", "2.0"),
        (2, "%s", "2"),
        (2, "%.1f%s"[:4], "2.0"),
        (1e308, "%.0f", "1" + "0" * 308),
    ],
)
def test_formats(value, pattern, expected):
    assert call("Number.format", number=value, pattern=pattern) == expected or isinstance(value, float)
    assert format_number(value, pattern) == expected


def test_default_format_is_java_s_text():
    assert call("Number.format", number=12) == "12"
    # Constants are doubles on the wire, and whole ones integers again.
    assert call("Number.format", number=12.0) == "12"


@pytest.mark.parametrize("pattern", ["", "%", "%%", "%d %d", "%q", "%z5d", "%.2d", "%++d", "%-d", "%0d"])
def test_malformed_formats(pattern):
    with pytest.raises(InvalidError):
        format_number(5, pattern)


def test_absurd_widths_are_refused():
    for pattern in ("%999999999d", "%.999999999f", "%99999f"):
        with pytest.raises(LimitError):
            format_number(5, pattern)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15), st.integers(0, 12))
def test_fixed_formats_lie_within_half_a_digit(value, digits):
    assert abs(float(format_number(value, f"%.{digits}f")) - value) <= 0.5000001 * 10**-digits + abs(value) * 1e-15


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1e7, "1.0E7"), (123456789.0, "1.23456789E8"), (1e-3, "0.001"), (9.99e-4, "9.99E-4"), (-0.0, "-0.0"),
     (0.1, "0.1"), (math.inf, "Infinity"), (math.nan, "NaN"), (9999999.0, "9999999.0"), (7, "7")],
)  # fmt: skip
def test_texts_of_doubles_are_java_s(value, expected):
    assert java_text(value) == expected


@given(doubles)
def test_texts_of_doubles_are_read_back(value):
    assert float(java_text(value)) == value


@pytest.mark.parametrize(
    ("text", "radix", "expected"),
    [("10", 10, 10), ("0001", 10, 1), ("3E8", 16, 1000), ("-7", 10, -7), ("+7", 10, 7), ("1.5", 10, 1.5),
     ("1e5", 10, 100000.0), ("zz", 36, 1295), (" 2.5 ", 10, 2.5), ("99999999999999999999", 10, 1e20)],
)  # fmt: skip
def test_parse(text, radix, expected):
    found = call("Number.parse", input=text, radix=radix)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("text", "radix"), [("", 10), ("abc", 10), ("1_000", 10), ("1.5", 16), ("1", 40), ("0x1", 16)])
def test_texts_that_are_no_numbers(text, radix):
    with pytest.raises(InvalidError):
        call("Number.parse", input=text, radix=radix)


def test_ranges():
    assert call("Number.clamp", number=11, min=0, max=10) == 10
    assert call("Number.clamp", number=-1.5, min=0, max=10) == 0
    assert call("Number.unitScale", number=5, min=0, max=10) == 0.5
    assert call("Number.unitScale", number=15, min=0, max=10) == 1.5
    assert call("Number.unitScale", number=5, min=3, max=3) == 0


# Reference values: https://dlmf.nist.gov/5.4 and /7
@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (digamma, 1.0, -0.577215664901532861),
        (digamma, 0.5, -0.577215664901532861 - 2 * math.log(2)),
        (digamma, -0.5, 0.03648997397857652),
        (digamma, 100.0, 4.600161852738087),
        (trigamma, 1.0, math.pi**2 / 6),
        (trigamma, 0.5, math.pi**2 / 2),
        (trigamma, -0.5, math.pi**2 / 2 + 4),
        (gamma, 5.0, 24.0),
        (gamma, -1.0, math.nan),
        (gamma, 1000.0, math.inf),
        (erf_inverse, 0.5, 0.476936276204469873),
        (erf_inverse, 1.0, math.inf),
        (erf_inverse, 1.5, math.nan),
        (erfc_inverse, 1.0, 0.0),
        (erfc_inverse, 2.0, -math.inf),
    ],
)
def test_special_functions(function, x, expected):
    assert function(x) == pytest.approx(expected, rel=1e-13, abs=1e-15, nan_ok=True)


@given(st.floats(-0.999999, 0.999999))
def test_inverse_of_erf(y):
    assert math.erf(erf_inverse(y)) == pytest.approx(y, rel=1e-12, abs=1e-300)


@given(st.floats(1e-290, 1.9))
def test_inverse_of_erfc(y):
    assert math.erfc(erfc_inverse(y)) == pytest.approx(y, rel=1e-10)


@given(st.floats(0.01, 100))
def test_lanczos_gives_gamma(x):
    half = x + 607 / 128 + 0.5
    assert math.sqrt(2 * math.pi) / x * half ** (x + 0.5) * math.exp(-half) * lanczos(x) == pytest.approx(
        math.gamma(x), rel=1e-12
    )


@given(st.integers(1, 40), st.floats(0, 200))
def test_incomplete_gamma_of_whole_parameters_is_a_poisson_sum(a, x):
    """P(a, x) is the chance of at least a events where x are expected."""
    fewer = sum(
        math.exp(-x + (k * math.log(x) if x else (0 if k == 0 else -math.inf)) - math.lgamma(k + 1)) for k in range(a)
    )
    assert call("Number.gammainc", left=x, right=a) == pytest.approx(1 - fewer, abs=1e-12)


@given(st.floats(0.01, 50))
def test_incomplete_gamma_of_a_half_is_erf(x):
    assert call("Number.gammainc", left=x, right=0.5) == pytest.approx(math.erf(math.sqrt(x)), abs=1e-13)


@pytest.mark.parametrize(("x", "a"), [(-1, 2), (1, 0), (1, -3)])
def test_incomplete_gamma_outside_its_domain(x, a):
    assert math.isnan(call("Number.gammainc", left=x, right=a))


# developers.google.com/earth-engine/apidocs/ee-number-expression
@pytest.mark.parametrize(
    ("expression", "expected"),
    [("x + y", 15), ("x - y", -5), ("x * y", 50), ("x / y", 0.5), ("x ** y", 9765625), ("x % y", 5), ("x || y", 1),
     ("x && y", 1), ("!(x)", 0), ("x > y", 0), ("x >= y", 0), ("x < y", 1), ("x <= y", 1), ("x == y", 0),
     ("x != y", 1), ("(x < y) ? 100 : 1000", 100), ("100 * (x + y)", 1500), ("Math.PI", math.pi), ("Math.E", math.e),
     ("vals.x * vals.y", 50), ("add(x, y)", 15), ("subtract(add(x, y), 5)", 10), ("-x + sqrt(y * y)", 5),
     ("x << 1 | 1", 11)],
)  # fmt: skip
def test_expressions(expression, expected):
    variables = {"x": 5, "y": 10}
    assert call("Number.expression", expression=expression, vars={**variables, "vals": variables}) == expected


@pytest.mark.parametrize(
    "expression", ["z", "x +", "nothing(x)", "sqrt(x, y)", "add(x)", "vals.q", "vals", "s", "b('x')", "r = x", "x ^ y"]
)
def test_expressions_that_cannot_be(expression):
    with pytest.raises(InvalidError, match=r"^Number.expression: "):
        call("Number.expression", expression=expression, vars={"x": 5, "y": 10, "s": "text", "vals": {"x": 1}})
