"""``ee.Number``: 64-bit integers and doubles, ``clamp``, ``unitScale``, ``format``, ``parse``, and the expressions of
``ee.Number.expression``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.type_conversion import promote, type_name
from eechips_local.functions.primitives.elementwise_functions import elementwise_functions
from eechips_local.functions.registration import Implementation, function
from eechips_local.protocol.request_errors import InvalidError, TypeMismatchError
from eechips_local.values.elementwise import BITWISE, INTEGERS_ONLY, ROUNDING, apply, to_integers
from eechips_local.values.formula import Bands, FormulaCall, Term, Variable
from eechips_local.values.formula import Number as Literal
from eechips_local.values.formula import parse as parse_formula
from eechips_local.values.number_format import format_number
from eechips_local.values.values import Long, Value

Number = int | float

_INT64 = np.iinfo(np.int64)
# Python's own integers tell when a result does not fit into 64 bits: it is a double then.
_EXACT: Mapping[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
}


def fitting(value: Number) -> Number:
    """Return the number: integers that exceed 64 bits become doubles."""
    if isinstance(value, float) or _INT64.min <= value <= _INT64.max:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _array(value: Number) -> npt.NDArray[Any]:
    value = fitting(value)
    return np.asarray(value, dtype=np.int64 if isinstance(value, int) else np.float64)


def _scalar(value: npt.NDArray[Any]) -> Number:
    number: Number = value.item()
    return number


def _binary(name: str, compute: Callable[..., npt.NDArray[Any]]) -> Implementation:
    exact = _EXACT.get(name)

    def call(left: Number, right: Number) -> Number:
        if name in BITWISE and not (float(left).is_integer() and float(right).is_integer()):
            raise InvalidError(INTEGERS_ONLY)
        if exact is not None and isinstance(left, int) and isinstance(right, int):
            return fitting(exact(left, right))
        return _scalar(apply(compute, _array(left), _array(right)))

    return Implementation(call)


def _unary(name: str, compute: Callable[..., npt.NDArray[Any]]) -> Implementation:
    def call(input: Number) -> Number:
        result = _scalar(apply(compute, _array(input)))
        if name in ROUNDING and math.isfinite(result):
            return fitting(int(result))
        return result

    return Implementation(call)


def _cast(dtype: type[np.number[Any]]) -> Implementation:
    """Return a cast. ``toFloat`` keeps all digits, against its documentation.

    A test of geetools, which runs against the service, finds the milliseconds of a date unchanged after it
    (tests/test_DateRange.py, ``test_split``).
    """

    def call(input: Number) -> Number:
        value = _array(input)
        return Long(to_integers(value, dtype)) if np.issubdtype(dtype, np.integer) else float(value)

    return Implementation(call)


FUNCTIONS: Mapping[str, Implementation] = elementwise_functions("Number", _binary, _unary, _cast)


@function("Number.clamp")
def clamp(number: Number, min: float, max: float) -> Number:
    """Return the number, or the end of the range that it lies beyond."""
    bound = max if number > max else min if number < min else number
    return int(bound) if isinstance(number, int) and math.isfinite(bound) and bound == int(bound) else bound


@function("Number.unitScale")
def unit_scale(number: Number, min: float, max: float) -> float:
    """Return the number's place in a range, 0 at its beginning and 1 at its end; 0 where the range is empty."""
    return 0.0 if min == max else (float(fitting(number)) - min) / (max - min)


@function("Number.format")
def formatted(number: Number, pattern: str) -> str:
    """Return the number written by a pattern of Java's."""
    return format_number(fitting(number), pattern)


_DECIMAL = re.compile(r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|NaN|Infinity)[fFdD]?\s*", re.ASCII)
_MOST_CHARACTERS = 1000


@function("Number.parse")
def parse(input: str, radix: int) -> Number:
    """Return the number that a text stands for: an integer in any radix up to 36, or a decimal."""
    wrong = InvalidError(f'For input string: "{input[:100]}"')
    if not 2 <= radix <= 36:
        raise InvalidError(f"radix {radix} out of range")
    if len(input) > _MOST_CHARACTERS:
        raise wrong
    digits = re.fullmatch(r"[+-]?([0-9A-Za-z]+)", input)
    if digits and all(int(digit, 36) < radix for digit in digits.group(1)):
        whole = int(input, radix)
        if _INT64.min <= whole <= _INT64.max:
            return whole
    if radix != 10 or not _DECIMAL.fullmatch(input):
        raise wrong
    return float(input.strip().rstrip("fFdD") if not input.strip().endswith("nfinity") else input)


_OPERATORS: Mapping[str, str] = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "mod", "**": "pow", "==": "eq", "!=": "neq",
    "<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "&&": "and", "||": "or", "&": "bitwiseAnd", "|": "bitwiseOr",
    "<<": "leftShift", ">>": "rightShift", "!": "not", "~": "bitwiseNot",
}  # fmt: skip


@function("Number.expression")
def expression(expression: str, vars: Mapping[str, Any] | None) -> Number:
    """Return the value of an expression over named numbers, and dictionaries of them."""
    formula = parse_formula(expression)
    if formula.target is not None:
        raise InvalidError("The result of an expression of numbers cannot be named.")
    return _number(formula.term, vars or {})


def _number(term: Term, values: Mapping[str, Any]) -> Number:
    if isinstance(term, Literal):
        return term.value
    if isinstance(term, FormulaCall):
        return _computed(term, values)
    value: Value = _variable(term, values)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeMismatchError(f"A variable of the expression is not a number but of type {type_name(value)}.")
    return value


def _variable(term: Variable | Bands, values: Mapping[str, Any]) -> Value:
    path = [term.name] if isinstance(term, Variable) else [term.image, *term.selectors]
    variable: Value = values
    for name in path:
        if not isinstance(variable, Mapping) or name not in variable:
            raise InvalidError(f"The expression's variable '{'.'.join(map(str, path))}' is not defined.")
        variable = variable[name]
    return variable


def _computed(operation: FormulaCall, values: Mapping[str, Any]) -> Number:
    name, operands = operation.name, operation.operands
    if name == "?:":
        condition, first, second = operands
        return _number(first if _number(condition, values) else second, values)
    numbers = [_number(operand, values) for operand in operands]
    if name == "negate":
        name, numbers = "*", [numbers[0], -1]
    known = name if operation.function else _OPERATORS.get(name)
    implementation = FUNCTIONS.get(f"Number.{known}")
    names = ("input",) if len(numbers) == 1 else ("left", "right")
    if implementation is None or len(numbers) > 2 or not numbers or (known in _UNARY) != (len(numbers) == 1):
        raise InvalidError(f"The function '{name}' of {len(numbers)} arguments is not known in expressions.")
    result: Number = promote(implementation.call(**dict(zip(names, numbers, strict=True))), "Number", "expression")
    return result


_UNARY = frozenset(
    name.removeprefix("Number.")
    for name, implementation in FUNCTIONS.items()
    if implementation.call.__code__.co_varnames[:1] == ("input",)
)
