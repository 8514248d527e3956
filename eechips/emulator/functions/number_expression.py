"""``Number.expression``: arithmetic written as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eechips.emulator.errors import InvalidError, TypeMismatchError
from eechips.emulator.formula import Bands, Operation, Term, Variable, parse
from eechips.emulator.formula import Number as Literal
from eechips.emulator.functions.number import FUNCTIONS as _FUNCTIONS
from eechips.emulator.functions.number import Number
from eechips.emulator.functions.registry import function
from eechips.emulator.promotion import promote, type_name
from eechips.emulator.values import Value

_OPERATORS: Mapping[str, str] = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "mod", "**": "pow", "==": "eq", "!=": "neq",
    "<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "&&": "and", "||": "or", "&": "bitwiseAnd", "|": "bitwiseOr",
    "<<": "leftShift", ">>": "rightShift", "!": "not", "~": "bitwiseNot",
}  # fmt: skip


@function("Number.expression")
def expression(expression: str, vars: Mapping[str, Any] | None) -> Number:
    """The value of an expression over named numbers, and dictionaries of them."""
    formula = parse(expression)
    if formula.target is not None:
        raise InvalidError("The result of an expression of numbers cannot be named.")
    return _number(formula.term, vars or {})


def _number(term: Term, values: Mapping[str, Any]) -> Number:
    if isinstance(term, Literal):
        return term.value
    if isinstance(term, Operation):
        return _computed(term, values)
    value: Value = _variable(term, values)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeMismatchError(f"A variable of the expression is not a number but of type {type_name(value)}.")
    return value


def _variable(term: Variable | Bands, values: Mapping[str, Any]) -> Value:
    path = [term.name] if isinstance(term, Variable) else [term.image, *term.selectors]
    found: Value = values
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            raise InvalidError(f"The expression's variable '{'.'.join(map(str, path))}' is not defined.")
        found = found[name]
    return found


def _computed(operation: Operation, values: Mapping[str, Any]) -> Number:
    name, operands = operation.name, operation.operands
    if name == "?:":
        condition, first, second = operands
        return _number(first if _number(condition, values) else second, values)
    numbers = [_number(operand, values) for operand in operands]
    if name == "negate":
        name, numbers = "*", [numbers[0], -1]
    known = name if operation.function else _OPERATORS.get(name)
    implementation = _FUNCTIONS.get(f"Number.{known}")
    names = ("input",) if len(numbers) == 1 else ("left", "right")
    if implementation is None or len(numbers) > 2 or not numbers or (known in _UNARY) != (len(numbers) == 1):
        raise InvalidError(f"The function '{name}' of {len(numbers)} arguments is not known in expressions.")
    result: Number = promote(implementation.call(**dict(zip(names, numbers, strict=True))), "Number", "expression")
    return result


_UNARY = frozenset(
    name.removeprefix("Number.")
    for name, implementation in _FUNCTIONS.items()
    if implementation.call.__code__.co_varnames[:1] == ("input",)
)
