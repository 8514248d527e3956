"""``Image.parseExpression``: the grammar against Python's own, documented examples, names and masks."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.values.formula import parse, variables
from local_tests.support.graphs import invoke
from local_tests.support.images import ONE, constant, evaluate, read

DEFAULT = "DEFAULT_EXPRESSION_IMAGE"


def expression(text: str, image: Any = None, **images: Any) -> Image:
    """What the client's ``image.expression(text, images)`` gives."""
    names = [DEFAULT, *images]
    algorithm = evaluate(invoke("Image.parseExpression", expression=text, argName=DEFAULT, vars=names))
    values = {name: evaluate(value) for name, value in images.items()}
    found: Image = algorithm.by_name({DEFAULT: evaluate(constant(0) if image is None else image), **values})
    return found


def result(text: str, image: Any = None, **images: Any) -> list[Any]:
    found = read(expression(text, image, **images), ONE)
    return [p.values[0, 0].item() if p.valid[0, 0] else None for p in found]


THREE = constant(10, 20, 40, names=["B4", "B5", "B6"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(b(1) - b(0)) / (b(1) + b(0))", [10 / 30]),
        ("(b('B5') - b(\"B4\")) / (b('B5') + b('B4'))", [10 / 30]),
        ("b(0, 'B6', -1)", [10, 40, 40]),
        ("b()", [10, 20, 40]),
        ("2.5 * b(0)", [25.0]),
        ("b('B.') + 1", [11, 21, 41]),
        ("b(0) > 5 ? 1 : 0", [1]),
        ("b(0) > 5 && b(1) < 10 ? 1 : b(0) == 10 ? 7 : 9", [7]),
        ("-b(0) ** 2", [-100.0]),
        ("2 ** 3 ** 2", [512.0]),
        ("2 ** -1", [0.5]),
        ("!b(0) || !!b(1)", [1]),
        ("b(0) & 6 | 1", [3]),
        ("1 << 3 >> 1", [4]),
        ("~5", [-6]),
        ("3 ^ 5", [0]),
        ("0 ^ 5", [1]),
        ("7 % 4 * 2", [6]),
        ("-7 % 4", [-3]),
        ("1e2 + .5 + 0x10", [116.5]),
        ("b(0) < 18446744073709551615 ? b(0) : 0xFFFFFFFFFFFFFFFF", [10]),
        ("9" * 5000 + " > b(0)", [1]),
        ("Math.PI", [math.pi]),
        ("max(b(0), b(1)) - min(3, 4)", [17]),
        ("sqrt(pow(3, 2) + pow(4, 2))", [5.0]),
        ("atan2(1, 0)", [0.0]),
        ("abs(-4)", [4]),
        # https://github.com/Open-ET/openet-landsat-lai/blob/main/openet/lai/model.py
        ('float((b("B5") - b("B4"))) / (b("B5") + b("B4"))', [10 / 30]),
        ("int(7.9) + byte(300)", [7 + 255]),
        ("toUint8(b(0)) - 11", [-1]),
    ],
)
def test_values(text: str, expected: list[float]) -> None:
    found = result(text, THREE)
    assert found == pytest.approx(expected, rel=1e-7)
    assert not any(isinstance(value, bool) for value in found)


def test_variables_are_images() -> None:
    """The documented forms: a variable by itself, with a dot, with brackets."""
    landsat = constant(3, 4, names=["SR_B4", "SR_B5"])
    assert result("(ls8.SR_B5 - ls8.SR_B4) / (ls8['SR_B5'] + ls8[0])", ls8=landsat) == pytest.approx([1 / 7])
    assert result("(NIR - Red) / (NIR + Red)", NIR=constant(4), Red=constant(3)) == pytest.approx([1 / 7])
    assert result("ls8 * 2", ls8=landsat) == [6, 8]


def test_the_result_is_named_as_the_operations_name_it() -> None:
    assert [b.name for b in expression("2.5 * b('B5')", THREE).bands] == ["constant"]
    assert [b.name for b in expression("b('B5') * 2.5", THREE).bands] == ["B5"]
    assert [b.name for b in expression("c = sqrt(pow(a, 2) + pow(b, 2))", a=constant(5), b=constant(12)).bands] == ["c"]
    assert [b.name for b in expression("-b()", THREE).bands] == ["B4", "B5", "B6"]
    with pytest.raises(InvalidError, match="single band"):
        expression("c = b()", THREE)


def test_arguments_come_by_name_in_any_order() -> None:
    algorithm = evaluate(invoke("Image.parseExpression", expression="x - A", argName=DEFAULT, vars=[DEFAULT, "x", "A"]))
    nothing, one, five = (evaluate(constant(v)) for v in (0, 1, 5))
    for found in (algorithm.by_name({"A": one, DEFAULT: nothing, "x": five}), algorithm(nothing, five, one)):
        assert read(found, ONE)[0].values[0, 0] == 4


def test_free_variables_may_mean_bands() -> None:
    algorithm = evaluate(
        invoke(
            "Image.parseExpression", expression="B6 - B4", argName="x", vars=["x"], mapFreeVarsToDefaultImageBands=True
        )
    )
    assert read(algorithm(evaluate(THREE)), ONE)[0].values[0, 0] == 30
    with pytest.raises(InvalidError, match="B6"):
        evaluate(invoke("Image.parseExpression", expression="B6 - B4", argName="x", vars=["x"]))


def test_a_choice_takes_the_mask_of_what_it_chooses() -> None:
    masked = invoke("Image.updateMask", image=constant(5), mask=0)
    assert result("t ? a : b", t=constant(1), a=constant(3), b=masked) == [3]
    assert result("t ? a : b", t=constant(0), a=constant(3), b=masked) == [None]
    assert result("t ? a : b", t=masked, a=constant(3), b=constant(4)) == [None]


@pytest.mark.parametrize(
    "text",
    ["", "1 +", "(1", "1)", "b(", "b(0", "b(x)", "b(1.5)", "a.", "a.1", "a['x", "1 ? 2", "a b", "#", "1 = 2", "x =",
     "f(,)", "b('a' 'b')", "&& 1", "(" * 100 + "1" + ")" * 100, "-" * 500 + "1", "2**" * 500 + "1",
     "1?" * 100 + "1" + ":1" * 100],
)  # fmt: skip
def test_invalid_expressions_are_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="Unable to parse"):
        parse(text)


@given(st.text("ab(0)[]'\"+-*/%<>=!&|^~?:., 12eE.xX", max_size=30))
def test_no_text_breaks_the_parser(text: str) -> None:
    with suppress(EarthEngineError):
        parse(text)


OPERATORS = st.sampled_from(["+", "-", "*", "<", "<=", "==", "!=", ">", "&", "|"])
NUMBERS = st.integers(-20, 20).map(str)
TERMS = st.recursive(
    NUMBERS.map(lambda n: f"({n})"),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, OPERATORS, inner),
        st.builds("{} {} {}".format, inner, st.sampled_from(["+", "-", "*"]), inner),
        st.builds("-{}".format, inner),
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(TERMS)
def test_integers_are_computed_as_python_does(text: str) -> None:
    expected = int(eval(text, {"__builtins__": {}}))
    if abs(expected) < 2**62:
        assert result(text) == [expected]


def test_variables_in_order_of_appearance() -> None:
    assert list(variables(parse("a + b('x') * c[0] - a.y").term)) == ["a", None, "c"]


def test_whole_images_are_matched_by_name() -> None:
    a, b = constant(1, 2, names=["p", "q"]), constant(10, 20, names=["q", "p"])
    assert result("x + y", x=a, y=b) == [21, 12]
    assert np.array_equal([b.name for b in expression("x + y", x=a, y=b).bands], ["p", "q"])
