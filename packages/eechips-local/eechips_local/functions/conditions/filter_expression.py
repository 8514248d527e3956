"""``Filter.expression``: filters written as text, such as ``CLOUD_COVER < 20 && (PATH == 44 || !(ROW > 34))``.

``Collection.filter`` also takes "'and', 'or', 'not', and 'in' for inList" (its signature), which Google's examples
write in capitals (earthengine-catalog, WRI_GPPD_power_plants_FeatureView: ``capacitymw >= 500 AND capacitymw < 1000``).
How the list of ``in`` is written is not documented: it may stand in brackets or parentheses here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from eechips_local.functions.conditions.filter_logic import and_, not_, or_
from eechips_local.functions.conditions.filters import BUILDERS
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.filter_conditions import FilterCondition, Operand
from eechips_local.values.formula import number_of, unquoted
from eechips_local.values.values import Filter, Value

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<word>(?i:and|or|not|in)\b(?![.:-]))
    | (?P<name>[A-Za-z_.][\w.:-]*)
    | (?P<sign>&&|\|\||==|!=|<=|>=|<|>|!|\(|\)|\[|\]|,)
    )""",
    re.VERBOSE,
)

_WORDS: Mapping[str, str] = {"and": "&&", "or": "||", "not": "!", "in": "in"}
_CLOSING: Mapping[str | None, str] = {"[": "]", "(": ")"}

_COMPARISONS: Mapping[str, str] = {
    "==": "Filter.eq",
    "!=": "Filter.neq",
    "<": "Filter.lt",
    "<=": "Filter.lte",
    ">": "Filter.gt",
    ">=": "Filter.gte",
    "in": "Filter.listContains",
}

_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class _FilterToken:
    """One token: an operand, or the text of a sign."""

    sign: str | None = None
    operand: Operand | None = None


def _tokens(text: str) -> list[_FilterToken]:
    tokens, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unclear(text, position)
        kind, content = match.lastgroup, match.group(match.lastgroup or 0)
        sign = _WORDS.get(content.lower()) if kind == "word" else content if kind == "sign" else None
        tokens.append(_FilterToken(sign) if sign else _FilterToken(operand=_operand(str(kind), content)))
        position = match.end()
    return tokens


def _operand(kind: str, content: str) -> Operand:
    if kind == "name":
        return Operand(content)
    if kind == "text":
        return Operand(None, unquoted(content))
    return Operand(None, number_of(content))


def _unclear(text: str, position: int) -> InvalidError:
    return InvalidError(f"The filter expression could not be parsed at position {position}: {text:.100}")


class _FilterParser:
    """Recursive descent: or, and, not, comparison or parentheses."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> Filter:
        parsed_filter = self._either()
        if self._at < len(self._tokens):
            raise self._error()
        return parsed_filter

    def _error(self, read: int = 0) -> InvalidError:
        """Return the error at the next token, or at one of those that are read already."""
        number = self._at + 1 - read
        return InvalidError(f"The filter expression could not be parsed at token {number}: {self._text:.100}")

    def _next(self) -> _FilterToken:
        if self._at >= len(self._tokens):
            raise self._error()
        self._at += 1
        return self._tokens[self._at - 1]

    def _follows(self, sign: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at].sign == sign:
            self._at += 1
            return True
        return False

    def _chain(
        self, sign: str, part: Callable[[], Filter], combine: Callable[[list[Filter]], FilterCondition]
    ) -> Filter:
        parts = [part()]
        while self._follows(sign):
            parts.append(part())
        return parts[0] if len(parts) == 1 else combine(parts)

    def _either(self) -> Filter:
        return self._chain("||", self._both, or_)

    def _both(self) -> Filter:
        return self._chain("&&", self._single, and_)

    def _single(self) -> Filter:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise InvalidError("The filter expression is too deeply nested.")
        try:
            if self._follows("!"):
                return not_(self._single())
            if self._follows("("):
                inside = self._either()
                if not self._follows(")"):
                    raise self._error()
                return inside
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Filter:
        left = self._operand()
        sign = self._next().sign
        if sign is None or sign not in _COMPARISONS:
            raise self._error(1)
        right = self._list() if sign == "in" else self._operand()
        if left.field is None and right.field is None:
            raise InvalidError("A comparison in a filter expression must name a property.")
        operands = (right, left) if sign == "in" else (left, right)
        return BUILDERS[_COMPARISONS[sign]](*operands)

    def _operand(self) -> Operand:
        operand = self._next().operand
        if operand is None:
            raise self._error(1)
        return operand

    def _list(self) -> Operand:
        closing = _CLOSING.get(self._next().sign)
        if closing is None:
            raise self._error(1)
        values: list[Value] = []
        while True:
            operand = self._operand()
            if operand.field is not None:
                raise self._error(1)
            values.append(operand.value)
            if self._follows(closing):
                return Operand(None, values)
            if not self._follows(","):
                raise self._error()


@function("Filter.expression")
def expression(expression: str) -> Filter:
    """Return a filter of comparisons (>, >=, <, <=, ==, !=, in), !, &&, ||, their words, and parentheses."""
    return _FilterParser(expression).whole()
