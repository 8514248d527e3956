"""Define the criteria of a search, and filter items by their properties: as CQL2 for an API, and locally for others.

CQL2 is OGC 21-065r2 (https://docs.ogc.org/is/21-065r2/21-065r2.html), as JSON for POST and as text for GET. Filters
use the class Basic CQL2, which every API with filters supports: ``in`` becomes several ``=``.

A quoted value is text. An unquoted value that looks like a number equals that number and that text
(``landsat:wrs_path = 033``), so an API is asked for both; ``true`` and ``false`` are never text. Numbers are ordered
by value, texts by characters; a number and a text have no order.
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shapely.geometry.base import BaseGeometry

from eechips.planning.imagery.image_filters import ConditionValue, PropertyCondition


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Criteria of a search.

    Attributes:
        stac: URL of an API, or path or URL of a static catalogue or of STAC GeoParquet: a file, a pattern, or a
            folder.
        collections: ids; empty for all.
        region: in longitude and latitude (EPSG:4326); None for everywhere.
        start: first moment, aware; None for no bound.
        end: moment after the last, aware; None for no bound.
        conditions: on properties of the items.
        most: maximum number of items; None for all.
    """

    stac: str
    collections: tuple[str, ...] = ()
    region: BaseGeometry | None = None
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    conditions: tuple[PropertyCondition, ...] = ()
    most: int | None = None


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
"""Fields beside properties that a condition can name, as in STAC's queryables."""

_Value = bool | int | float | str


def cql2(conditions: Sequence[PropertyCondition]) -> dict[str, Any] | None:
    """Return conditions as CQL2 JSON; None for no condition."""
    parts = [_part(condition) for condition in conditions]
    if len(parts) > 1:
        return {"op": "and", "args": parts}
    return parts[0] if parts else None


def cql2_text(conditions: Sequence[PropertyCondition]) -> str | None:
    """Return conditions as CQL2 text; None for no condition."""
    expression = cql2(conditions)
    return None if expression is None else _text(expression)


def meets(item: Mapping[str, Any], conditions: Sequence[PropertyCondition]) -> bool:
    """Return whether an item meets all conditions. A missing property is null, as in CQL2, and meets none."""
    properties = item.get("properties") or {}
    for condition in conditions:
        property_value = properties.get(condition.property)
        if property_value is None and condition.property in _ABOVE:
            property_value = item.get(condition.property)
        if not _meets(property_value, condition):
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
    """Return the values that a word can stand for: the text, and the number or boolean it looks like."""
    if word.is_quoted:
        return [word.text]
    if word.text.lower() in ("true", "false"):
        return [word.text.lower() == "true"]
    if word.number is None:
        return [word.text]
    # A comparison with a number never means the order of texts.
    return [word.number, word.text] if sign in ("=", "!=") else [word.number]


def _meets(property_value: Any, condition: PropertyCondition) -> bool:
    if not isinstance(property_value, (bool, int, float, str)):
        return False
    sign = "=" if condition.sign == "in" else condition.sign
    tests = [_is(property_value, sign, value) for word in condition.words for value in _meanings(word, sign)]
    return all(tests) if sign == "!=" else any(tests)


def _is(property_value: _Value, sign: str, value: _Value) -> bool:
    """Compare two values. Values of different types are not equal and have no order."""
    if _kind(property_value) is not _kind(value):
        return sign == "!="
    return _COMPARISONS[sign](property_value, value)


def _kind(value: _Value) -> type:
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float


def _text(node: Mapping[str, Any]) -> str:
    """Format a comparison, or several joined by ``and`` or ``or``."""
    if node["op"] in ("and", "or"):
        return f" {node['op'].upper()} ".join(f"({_text(part)})" for part in node["args"])
    name, value = node["args"]
    quoted = '"' + str(name["property"]) + '"'
    return f"{quoted} {node['op']} {_literal(value)}"


def _literal(value: _Value) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
