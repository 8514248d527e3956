"""Parse formulas of bands, and compose Earth Engine's operations from them.

A formula is an expression in Python's notation: ``(B8 - B4) / (B8 + B4)``. It is parsed, never executed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import ee

from eechips.errors import UsageError

Value: TypeAlias = "ee.Image | float"

MOST_CHARACTERS = 2_000
"""Maximum length of a formula; the longest of the Awesome Spectral Indices has some 250 characters."""

MOST_LEVELS = 100
"""Maximum depth of a formula's syntax tree, above that of a sum of 64 bands; the client converts graphs recursively."""

_NOTATION = "it has names, numbers, + - * / **, comparisons, and, or, not, and functions such as sqrt()"

_OPERATORS: dict[type[ast.operator | ast.cmpop], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "pow",
    ast.Lt: "lt",
    ast.LtE: "lte",
    ast.Gt: "gt",
    ast.GtE: "gte",
    ast.Eq: "eq",
    ast.NotEq: "neq",
}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "abs": abs,
    **{name: getattr(math, name) for name in ("sqrt", "exp", "log", "log10", "sin", "cos", "tan", "atan", "tanh")},
    "floor": lambda value: float(math.floor(value)),
    "ceil": lambda value: float(math.ceil(value)),
    "round": lambda value: float(math.floor(value + 0.5)),
    "not": lambda value: float(not value),
}
_PAIRS = ("min", "max", "pow")

_NUMBERS: dict[str, Callable[[float, float], float]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "pow": operator.pow,
    "lt": lambda a, b: float(a < b),
    "lte": lambda a, b: float(a <= b),
    "gt": lambda a, b: float(a > b),
    "gte": lambda a, b: float(a >= b),
    "eq": lambda a, b: float(a == b),
    "neq": lambda a, b: float(a != b),
    "min": min,
    "max": max,
    "And": lambda a, b: float(bool(a) and bool(b)),
    "Or": lambda a, b: float(bool(a) or bool(b)),
}


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula; hashable and picklable.

    Attributes:
        names: names of bands and constants, in order of their first appearance.
    """

    text: str
    names: tuple[str, ...]

    def compose(self, values: Mapping[str, Value]) -> ee.Image:
        """Return the image of the formula.

        Where the formula has no value, the pixel is masked: division by zero, roots and logarithms of negative numbers.
        Earth Engine itself would return 0 for a division by zero
        (https://developers.google.com/earth-engine/apidocs/ee-image-divide).

        Args:
            values: images of one band, or numbers, by name.
        """
        image: ee.Image = _Composer(values, self.text).visit(_parse(self.text))
        return image

    def calculate(self, values: Mapping[str, float]) -> float:
        """Return the number of the formula; raise UsageError if the formula has no value there."""
        number: float = _Composer(values, self.text).visit(_parse(self.text))
        return number


def parse_formula(text: str) -> Formula:
    """Parse a formula; raise UsageError if it is not one, or no band is in it."""
    # A trial with unknown values finds the names, and errors of constants, such as a division by 0.
    names: defaultdict[str, Any] = defaultdict(lambda: _UNKNOWN)
    result = _Composer(names, text).visit(_parse(text))
    if isinstance(result, float):
        raise UsageError(f"the formula {text!r} has no band")
    return Formula(text, tuple(names))


def _parse(text: str) -> ast.expr:
    """Return the syntax tree of a formula."""
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"the formula {text[:40]!r}… has {len(text):,} characters, more than {MOST_CHARACTERS:,}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"the formula {text!r} cannot be read: {_NOTATION}") from None
    level: list[ast.AST] = [tree]
    for _ in range(MOST_LEVELS):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise UsageError(f"the formula {text[:40]!r}… is nested more than {MOST_LEVELS} levels deep")
    return tree


class _Unknown:
    """A band whose values are not known."""


_UNKNOWN: Any = _Unknown()


def _band_of_call(node: ast.Call) -> str | None:
    """Return the band of ``b("name")``, for names that are no words; None for other calls."""
    match node:
        case ast.Call(func=ast.Name(id="b"), args=[ast.Constant(value=str(name))], keywords=[]):
            return name
    return None


class _Composer:
    """Compute numbers, and compose operations of images, node by node; values may be :data:`_UNKNOWN`."""

    def __init__(self, values: Mapping[str, Any], text: str) -> None:
        self._values, self._text = values, text

    def visit(self, node: ast.expr) -> Any:
        """Return the value of a node: an image or a number."""
        match node:
            case ast.Constant(value=int(number) | float(number)) if not isinstance(number, bool):
                return self._number(float, number)
            case ast.Name(id=name):
                return self._values[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._binary("multiply", self.visit(operand), -1.0)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.visit(operand)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._unary("not", self.visit(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self._binary(_OPERATORS[type(op)], self.visit(left), self.visit(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return self._binary(_OPERATORS[type(op)], self.visit(left), self.visit(right))
            case ast.BoolOp(op=op, values=[first, *others]):
                combined = self.visit(first)
                for other in others:
                    combined = self._binary("And" if isinstance(op, ast.And) else "Or", combined, self.visit(other))
                return combined
            case ast.Call():
                return self._call(node)
        raise UsageError(f"the formula {self._text!r} has {ast.unparse(node)!r}, which is not allowed: {_NOTATION}")

    def _call(self, node: ast.Call) -> Any:
        band = _band_of_call(node)
        if band is not None:
            return self._values[band]
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        count = 2 if name in _PAIRS else 1 if name in _FUNCTIONS and name != "not" else 0
        if count == 0:
            known = ", ".join(sorted({*_FUNCTIONS, *_PAIRS} - {"not"}))
            raise UsageError(
                f"the formula {self._text!r} calls {ast.unparse(node.func)!r}, which is not a function; there are"
                f" {known}, and b('NAME') for a band whose name is not a word"
            )
        if len(node.args) != count or node.keywords:
            raise UsageError(f"the formula {self._text!r}: {name}() takes {count} argument{'s' * (count > 1)}")
        values = [self.visit(argument) for argument in node.args]
        return self._unary(name, *values) if count == 1 else self._binary(name, *values)

    def _number(self, compute: Callable[..., float], *values: float) -> float:
        try:
            number = compute(*values)
        except (ArithmeticError, ValueError) as error:
            raise UsageError(f"the formula {self._text!r} has a constant without a value: {error}") from None
        if isinstance(number, complex) or not math.isfinite(number):
            raise UsageError(f"the formula {self._text!r} has a constant without a value")
        return number

    def _unary(self, name: str, value: Any) -> Any:
        if isinstance(value, float):
            return self._number(_FUNCTIONS[name], value)
        if value is _UNKNOWN:
            return value
        if name == "not":
            return value.Not()
        computed = getattr(value, name)()
        if name == "sqrt":
            return computed.updateMask(value.gte(0))
        return computed.updateMask(value.gt(0)) if name.startswith("log") else computed

    def _binary(self, name: str, left: Any, right: Any) -> Any:
        if isinstance(left, float) and isinstance(right, float):
            return self._number(_NUMBERS[name], left, right)
        if name == "divide" and isinstance(right, float) and right == 0:
            raise UsageError(f"the formula {self._text!r} divides by 0")
        if left is _UNKNOWN or right is _UNKNOWN:
            return _UNKNOWN
        if isinstance(left, float):
            left = ee.Image.constant(left)
        computed = getattr(left, name)(right)
        if name == "divide":
            return computed if isinstance(right, float) else computed.updateMask(right.neq(0))
        valid = _power_domain(left, right) if name == "pow" else None
        return computed if valid is None else computed.updateMask(valid)


def _power_domain(base: Any, exponent: Any) -> Any:
    """Return an image that is 1 where a power has a value; None if it has one everywhere."""
    if not isinstance(exponent, float):
        positive = base.gt(0).Or(base.eq(0).And(exponent.gte(0)))
        return positive.Or(base.neq(0).And(exponent.eq(exponent.round())))
    if exponent.is_integer():
        return base.neq(0) if exponent < 0 else None
    return base.gt(0) if exponent < 0 else base.gte(0)
