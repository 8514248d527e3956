"""Conditions on the properties of items: as CQL2 for an API, and looked at here for all others.

CQL2 is OGC 21-065r2 (https://docs.ogc.org/is/21-065r2/21-065r2.html), in its JSON form.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eechips.planning.conditions import Condition, Word

_OPERATIONS = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def cql2(conditions: Sequence[Condition]) -> dict[str, Any] | None:
    """What an API is asked, as CQL2 JSON; None for no condition. A value is a number if it looks like one."""
    parts = [_part(condition) for condition in conditions]
    if len(parts) > 1:
        return {"op": "and", "args": parts}
    return parts[0] if parts else None


def meets(item: Mapping[str, Any], conditions: Sequence[Condition]) -> bool:
    """Whether an item meets all conditions. One without the property does not, as CQL2 has it: it is null."""
    properties = item.get("properties") or {}
    return all(_meets(properties.get(condition.property), condition) for condition in conditions)


def _part(condition: Condition) -> dict[str, Any]:
    name = {"property": condition.property}
    values = [_value(word) for word in condition.words]
    if condition.sign == "in":
        return {"op": "in", "args": [name, values]}
    return {"op": _OPERATIONS[condition.sign], "args": [name, values[0]]}


def _meets(found: Any, condition: Condition) -> bool:
    if found is None:
        return False
    values = [_value(word) if isinstance(found, (int, float)) else word.text for word in condition.words]
    if condition.sign == "in":
        return found in values
    try:
        return _COMPARISONS[condition.sign](found, values[0])
    except TypeError:  # a text beside a number, a list beside a text
        return condition.sign == "!="


def _value(word: Word) -> Any:
    if not word.is_quoted and word.text.lower() in ("true", "false"):
        return word.text.lower() == "true"
    return word.text if word.number is None else word.number
