"""Conditions on the properties of items: as CQL2 for an API, and looked at here for all others.

CQL2 is OGC 21-065r2 (https://docs.ogc.org/is/21-065r2/21-065r2.html), in its JSON form for POST and as text for GET.
What is sent is of its class Basic CQL2, which every API that has conditions knows: ``in`` is sent as several ``=``.

A value that stands in quotes is text. One that does not and looks like a number is equal to that number, and to that
text (``landsat:wrs_path = 033``), so that an API is asked for both; ``true`` and ``false`` are no texts. Order is that
of numbers, or of the characters of texts; between a number and a text there is none.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eechips.planning.image_filters import ConditionValue, PropertyCondition

_OPERATIONS = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ABOVE = ("id", "collection")
"""What conditions can name beside properties, as in STAC's own queryables."""

_Value = bool | int | float | str


def cql2(conditions: Sequence[PropertyCondition]) -> dict[str, Any] | None:
    """What an API is asked, as CQL2 JSON; None for no condition."""
    parts = [_part(condition) for condition in conditions]
    if len(parts) > 1:
        return {"op": "and", "args": parts}
    return parts[0] if parts else None


def cql2_text(conditions: Sequence[PropertyCondition]) -> str | None:
    """The same as CQL2 text; None for no condition."""
    found = cql2(conditions)
    return None if found is None else _text(found)


def meets(item: Mapping[str, Any], conditions: Sequence[PropertyCondition]) -> bool:
    """Whether an item meets all conditions. One without the property does not, as CQL2 has it: it is null."""
    properties = item.get("properties") or {}
    for condition in conditions:
        found = properties.get(condition.property)
        if found is None and condition.property in _ABOVE:
            found = item.get(condition.property)
        if not _meets(found, condition):
            return False
    return True


def _part(condition: PropertyCondition) -> dict[str, Any]:
    name = {"property": condition.property}
    sign = "=" if condition.sign == "in" else condition.sign
    values = [value for word in condition.words for value in _meanings(word, sign)]
    parts = [{"op": _OPERATIONS[sign], "args": [name, value]} for value in values]
    if len(parts) == 1:
        return parts[0]
    return {"op": "and" if sign == "!=" else "or", "args": parts}


def _meanings(word: ConditionValue, sign: str) -> list[_Value]:
    """What a word can stand for: itself, and what it looks like."""
    if word.is_quoted:
        return [word.text]
    if word.text.lower() in ("true", "false"):
        return [word.text.lower() == "true"]
    if word.number is None:
        return [word.text]
    # An order of texts is not what somebody means who writes a number.
    return [word.number, word.text] if sign in ("=", "!=") else [word.number]


def _meets(found: Any, condition: PropertyCondition) -> bool:
    if not isinstance(found, (bool, int, float, str)):
        return False
    sign = "=" if condition.sign == "in" else condition.sign
    tests = [_is(found, sign, value) for word in condition.words for value in _meanings(word, sign)]
    return all(tests) if sign == "!=" else any(tests)


def _is(found: _Value, sign: str, value: _Value) -> bool:
    """A comparison. What is of different types is not equal, and has no order."""
    if _kind(found) is not _kind(value):
        return sign == "!="
    return _COMPARISONS[sign](found, value)


def _kind(value: _Value) -> type:
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float


def _text(node: Mapping[str, Any]) -> str:
    """A comparison, or several joined by ``and`` or ``or``."""
    if node["op"] in ("and", "or"):
        return f" {node['op'].upper()} ".join(f"({_text(part)})" for part in node["args"])
    name, value = node["args"]
    quoted = '"' + str(name["property"]) + '"'
    return f"{quoted} {node['op']} {_literal(value)}"


def _literal(value: _Value) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
