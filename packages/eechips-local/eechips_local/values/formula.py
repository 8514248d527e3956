"""Parse the expressions of ``Image.expression`` and ``Number.expression``: precedence, functions, ``b()``, constants,
how long and deep they may be.

Grammar, loosest binding first (guides/image_math#expressions; bit operators bind as in C)::

    formula   = [name "="] choice
    choice    = binary ["?" choice ":" choice]
    binary    = "||"  "&&"  "|"  "^"  "&"  "== !="  "< <= > >="  "<< >>"  "+ -"  "* / %"
    sign      = ("-" | "+" | "!" | "~") sign | power
    power     = postfix ["**" sign]
    postfix   = number | "(" choice ")" | name | name "." name | name "[" selectors "]" | name "(" arguments ")"
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from eechips_local.protocol.request_errors import InvalidError


@dataclass(frozen=True, slots=True)
class Number:
    """A number; whole ones are integers."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Variable:
    """An image by its name, with all of its bands."""

    name: str


@dataclass(frozen=True, slots=True)
class Bands:
    """Some bands of an image: of the default image (None), or of a variable. No selectors: all."""

    image: str | None
    selectors: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class FormulaCall:
    """An operator, or a function, on its operands. "?:" is the choice."""

    name: str
    operands: tuple[Term, ...]
    function: bool = False


Term = Number | Variable | Bands | FormulaCall


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed expression.

    Attributes:
        term: what is computed.
        target: the name given to the result with "=", or None.
    """

    term: Term
    target: str | None


_BINARY: tuple[tuple[str, ...], ...] = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", "<=", ">", ">="), ("<<", ">>"), ("+", "-"),
    ("*", "/", "%"),
)  # fmt: skip

_TOKENS = re.compile(
    r"""\s*(?:
        (?P<number>0[xX][0-9a-fA-F]+|0[bB][01]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<sign>\*\*|\|\||&&|==|!=|<=|>=|<<|>>|[-+*/%<>!~&|^?:=().,\[\]])
    )""",
    re.VERBOSE,
)
_CONSTANTS = {"PI": math.pi, "E": math.e}
_MOST_DEPTH = 60
_LONGEST = 65_536


@dataclass(frozen=True, slots=True)
class _FormulaToken:
    kind: str
    text: str


def _tokens(text: str) -> list[_FormulaToken]:
    tokens: list[_FormulaToken] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKENS.match(text, position)
        if match is None or match.lastgroup is None:
            raise InvalidError(
                f"Unable to parse the expression: unexpected {text[position:].strip()[:10]!r} in '{text}'."
            )
        tokens.append(_FormulaToken(match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    return [*tokens, _FormulaToken("end", "")]


def parse(text: str) -> Formula:
    """Parse an expression.

    Raises:
        InvalidError: if it does not follow the grammar, or is too long.
    """
    if len(text) > _LONGEST:
        raise InvalidError(f"Unable to parse the expression: it is longer than {_LONGEST} characters.")
    return _FormulaParser(text).formula()


class _FormulaParser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    def formula(self) -> Formula:
        target = None
        if self._tokens[0].kind == "name" and len(self._tokens) > 1 and self._tokens[1] == _FormulaToken("sign", "="):
            target, self._next = self._tokens[0].text, 2
        term = self._choice()
        if self._peek().kind != "end":
            raise self._unexpected()
        return Formula(term, target)

    def _peek(self) -> _FormulaToken:
        return self._tokens[self._next]

    def _take(self) -> _FormulaToken:
        token = self._tokens[self._next]
        self._next += token.kind != "end"
        return token

    def _accepts(self, *signs: str) -> str | None:
        token = self._peek()
        if token.kind == "sign" and token.text in signs:
            self._next += 1
            return token.text
        return None

    def _expect(self, sign: str) -> None:
        if self._accepts(sign) is None:
            raise self._unexpected(f", expected '{sign}'")

    def _unexpected(self, more: str = "") -> InvalidError:
        token = self._peek()
        what = f"'{token.text}'" if token.text else "end"
        return InvalidError(f"Unable to parse the expression: unexpected {what}{more} in '{self._text}'.")

    def _choice(self) -> Term:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise InvalidError("Unable to parse the expression: it is too deeply nested.")
        condition = self._binary(0)
        if self._accepts("?"):
            first = self._choice()
            self._expect(":")
            condition = FormulaCall("?:", (condition, first, self._choice()))
        self._depth -= 1
        return condition

    def _binary(self, level: int) -> Term:
        if level == len(_BINARY):
            return self._sign()
        left = self._binary(level + 1)
        while (operator := self._accepts(*_BINARY[level])) is not None:
            left = FormulaCall(operator, (left, self._binary(level + 1)))
        return left

    def _sign(self) -> Term:
        signs = []
        while (sign := self._accepts("-", "+", "!", "~")) is not None:
            signs.append(sign)
            if len(signs) > _MOST_DEPTH:
                raise InvalidError("Unable to parse the expression: it is too deeply nested.")
        term = self._power()
        for sign in reversed(signs):
            if sign == "-":
                term = Number(-term.value) if isinstance(term, Number) else FormulaCall("negate", (term,))
            elif sign != "+":
                term = FormulaCall(sign, (term,))
        return term

    def _power(self) -> Term:
        base = self._postfix()
        if not self._accepts("**"):
            return base
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise InvalidError("Unable to parse the expression: it is too deeply nested.")
        power = FormulaCall("**", (base, self._sign()))
        self._depth -= 1
        return power

    def _postfix(self) -> Term:
        token = self._peek()
        if token.kind == "number":
            self._next += 1
            return Number(number_of(token.text))
        if self._accepts("("):
            inner = self._choice()
            self._expect(")")
            return inner
        if token.kind != "name":
            raise self._unexpected()
        self._next += 1
        return self._named(token.text)

    def _named(self, name: str) -> Term:
        if self._accepts("("):
            if name == "b":
                return Bands(None, self._selectors(")"))
            return FormulaCall(name, self._arguments(), function=True)
        if self._accepts("["):
            return Bands(name, self._selectors("]"))
        if self._accepts("."):
            band = self._take()
            if band.kind != "name":
                self._next -= band.kind != "end"
                raise self._unexpected(", expected the name of a band")
            if name == "Math" and band.text in _CONSTANTS:
                return Number(_CONSTANTS[band.text])
            return Bands(name, (band.text,))
        return Variable(name)

    def _arguments(self) -> tuple[Term, ...]:
        arguments: list[Term] = []
        if self._accepts(")"):
            return ()
        while True:
            arguments.append(self._choice())
            if self._accepts(")"):
                return tuple(arguments)
            self._expect(",")

    def _selectors(self, closing: str) -> tuple[int | str, ...]:
        """Return names and indices of bands, up to the closing bracket."""
        selectors: list[int | str] = []
        if self._accepts(closing):
            return ()
        while True:
            negative = self._accepts("-") is not None
            token = self._take()
            if token.kind == "number" and isinstance(index := number_of(token.text), int):
                selectors.append(-index if negative else index)
            elif token.kind == "text" and not negative:
                selectors.append(unquoted(token.text))
            else:
                self._next -= token.kind != "end"
                raise self._unexpected(", expected the name or index of a band")
            if self._accepts(closing):
                return tuple(selectors)
            self._expect(",")


def number_of(text: str) -> int | float:
    """Return the number of a literal; a whole one that exceeds 64 bits is a double, as computed ones are."""
    base = {"0x": 16, "0b": 2}.get(text[:2].lower())
    if base is None and not (len(text) <= 20 and text.lstrip("-").isdecimal()):
        return float(text)
    whole = int(text) if base is None else int(text[2:], base)
    if -(2**63) <= whole < 2**63:
        return whole
    return float(whole) if whole.bit_length() < 1024 else math.inf


def unquoted(text: str) -> str:
    """Return the content of a quoted text, without the backslashes that protect characters."""
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def variables(term: Term) -> Sequence[str | None]:
    """Return the images that a term refers to, None for the default image, in the order of their first appearance."""
    image_names: dict[str | None, None] = {}
    waiting: list[Term] = [term]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, Variable):
            image_names.setdefault(item.name)
        elif isinstance(item, Bands):
            image_names.setdefault(item.image)
        elif isinstance(item, FormulaCall):
            waiting[:0] = item.operands
    return list(image_names)
