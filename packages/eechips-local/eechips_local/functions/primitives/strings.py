"""``ee.String``: ``match``, ``replace`` and ``split`` by regular expression, ``slice``, ``index``, ``encodeJSON``,
``decodeJSON``. Lengths and positions count UTF-16 units, as in Java.
"""

# ruff: noqa: A001 - arguments are called as Earth Engine calls them

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from eechips_local.evaluation.type_conversion import type_name
from eechips_local.functions.primitives.numbers import fitting
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, TypeMismatchError
from eechips_local.values.number_format import java_text
from eechips_local.values.regex import compile_regex, matchable
from eechips_local.values.values import Value

MOST_CHARACTERS = 10_000_000
"""Characters that a string may have. Earth Engine's own limit is that of memory."""


def _bounded(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise MemoryLimitError()
    return text


def _in_units(text: str) -> str:
    """Return the text with one character for each UTF-16 unit."""
    if text.isascii() or max(text) <= "\uffff":
        return text
    units = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(units[i] | units[i + 1] << 8) for i in range(0, len(units), 2))


def _from_units(units: str) -> str:
    """Return the text of UTF-16 units: pairs of surrogates become one character again."""
    if units.isascii():
        return units
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@function("String")
def make(input: Value) -> str:
    """Return the text of a value."""
    if isinstance(input, str):
        return input
    if isinstance(input, bool):
        return str(input).lower()
    if isinstance(input, (int, float)):
        return java_text(input)
    raise TypeMismatchError(f"Invalid type.\nExpected type: String.\nActual type: {type_name(input)}.")


@function("String.cat")
def cat(string1: str, string2: str) -> str:
    """Return two strings, one after the other."""
    return _bounded(string1 + string2)


@function("String.compareTo")
def compare_to(string1: str, string2: str) -> int:
    """Return -1, 0 or 1 as the first string comes before, with or after the second."""
    first, second = _in_units(string1), _in_units(string2)
    return (first > second) - (first < second)


@function("String.equals")
def equals(reference: str, target: Value) -> bool:
    """Return whether a value is the same string."""
    return isinstance(target, str) and reference == target


@function("String.index")
def index(target: str, pattern: str) -> int:
    """Return the position of the first occurrence of a string in another, or -1."""
    return _in_units(target).find(_in_units(pattern))


@function("String.rindex")
def rindex(target: str, pattern: str) -> int:
    """Return the position of the last occurrence of a string in another, or -1."""
    return _in_units(target).rfind(_in_units(pattern))


@function("String.length")
def length(string: str) -> int:
    """Return the number of UTF-16 units."""
    return len(_in_units(string))


@function("String.slice")
def slice(string: str, start: int, end: int | None) -> str:
    """Return the part from ``start`` to before ``end``; negative positions count from the end."""
    return _from_units(_in_units(string)[start:end])


@function("String.toLowerCase")
def to_lower_case(string: str) -> str:
    """Return the string in lower case."""
    return string.lower()


@function("String.toUpperCase")
def to_upper_case(string: str) -> str:
    """Return the string in upper case."""
    return string.upper()


_BLANK = "".join(map(chr, range(0x21)))


@function("String.trim")
def trim(string: str) -> str:
    """Return the string without spaces and control characters at its ends."""
    return string.strip(_BLANK)


@function("String.match")
def match(input: str, regex: str, flags: str) -> list[Value]:
    """Return the first match and its groups, or all matches with the flag "g"; an empty list where there is none."""
    compiled = compile_regex(regex, flags)
    if "g" in flags:
        return [regex_match.group(0) for regex_match in compiled.finditer(matchable(input))]
    regex_match = compiled.search(matchable(input))
    return [] if regex_match is None else [regex_match.group(), *regex_match.groups()]


_REFERENCE = re.compile(r"\\(.)|\$(?:(\d+)|\{([A-Za-z]\w*)\})?|\\", re.ASCII | re.DOTALL)


def _replacement(template: str, groups: int) -> Callable[[Any], str]:
    """Return a template such as "$2-$1" filled from a match; a backslash makes the next character literal."""
    pieces: list[str | int] = []
    position = 0
    while position < len(template):
        reference = _REFERENCE.search(template, position)
        if reference is None:
            pieces.append(template[position:])
            break
        pieces.append(template[position : reference.start()])
        position = reference.end()
        literal, number, name = reference.groups()
        if literal is not None:
            pieces.append(literal)
        elif number is not None:
            # As many digits as still name a group.
            digits = number
            while len(digits) > 1 and int(digits) > groups:
                digits = digits[:-1]
            if int(digits) > groups:
                raise InvalidError(f"No group {digits}")
            position -= len(number) - len(digits)
            pieces.append(int(digits))
        else:
            raise InvalidError(f"No group with name {{{name}}}" if name else "Illegal group reference")
    return lambda match: "".join(p if isinstance(p, str) else match.group(p) or "" for p in pieces)


@function("String.replace")
def replace(input: str, regex: str, replacement: str, flags: str) -> str:
    """Return the string with the first match, or all with the flag "g", replaced; "$1" stands for the first group."""
    compiled = compile_regex(regex, flags)
    matches = compiled.finditer(matchable(input)) if "g" in flags else filter(None, [compiled.search(matchable(input))])
    make_text: Callable[[Any], str] | None = None
    pieces, position, size = [], 0, len(input)
    for regex_match in matches:
        make_text = make_text or _replacement(replacement, compiled.groups)
        text = make_text(regex_match)
        size += len(text)
        if size > MOST_CHARACTERS:
            raise MemoryLimitError()
        pieces += [input[position : regex_match.start()], text]
        position = regex_match.end()
    return "".join([*pieces, input[position:]])


@function("String.split")
def split(string: str, regex: str, flags: str) -> list[str]:
    """Return the parts between matches, without empty ones at the end; single characters where the expression is
    empty.
    """
    if regex == "":
        return [*string] or [""]
    pieces, position = [], 0
    for regex_match in compile_regex(regex, flags).finditer(matchable(string)):
        if regex_match.end() == 0:
            continue  # Java: a match of nothing at the beginning splits nothing off
        pieces.append(string[position : regex_match.start()])
        position = regex_match.end()
    if not pieces:
        return [string]
    pieces.append(string[position:])
    while pieces and not pieces[-1]:
        pieces.pop()
    return pieces


def _json(value: Value, known: dict[int, str]) -> str:
    """Return a value as JSON. ``known`` keeps the texts of lists and dictionaries that occur more than once."""
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        if not math.isfinite(fitting(value)):
            raise InvalidError(f"JSON has no number {java_text(value)}.")
        return java_text(value)
    if not isinstance(value, (list, Mapping)):
        raise InvalidError(f"Objects of type {type_name(value)} cannot be encoded to JSON.")
    if id(value) not in known:
        if isinstance(value, list):
            known[id(value)] = _bounded(f"[{','.join(_json(item, known) for item in value)}]")
        else:
            entries = (f"{json.dumps(key, ensure_ascii=False)}:{_json(value[key], known)}" for key in sorted(value))
            known[id(value)] = _bounded(f"{{{','.join(entries)}}}")
    return known[id(value)]


@function("String.encodeJSON")
def encode_json(object: Value) -> str:
    """Return a value as JSON; the keys of dictionaries in order."""
    return _json(object, {})


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


@function("String.decodeJSON")
def decode_json(string: str) -> Value:
    """Return the value of a JSON text."""
    try:
        decoded: Any = json.loads(string, parse_constant=_no_constant, parse_int=_whole)
    except RecursionError:
        raise InvalidError("Failed to decode JSON: it is too deeply nested.") from None
    except ValueError as error:
        raise InvalidError(f"Failed to decode JSON: {error}") from error
    return decoded


def _whole(digits: str) -> int | float:
    return fitting(int(digits)) if len(digits) < 20 else float(digits)
