"""Arrange rows as columns of plain Python values of one type."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LEAST, _MOST = -(2**63), 2**63 - 1
"""Bounds of the integers of a column."""


def arrange_columns(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None
) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return rows as lists in the order of the columns, values as plain Python ones.

    Args:
        rows: column name → value; what is missing is None.
        columns: names in order; those of the rows in order of appearance, if None. A column may be missing
            in every row: Earth Engine leaves out properties that are null.

    Returns:
        Names, and one list of values per column.
    """
    rows = list(rows)
    present = tuple(dict.fromkeys(str(name) for row in rows for name in row))
    names = tuple(columns) if columns is not None else present
    return names, [unify_types([to_plain_value(row.get(name)) for row in rows]) for name in names]


def to_plain_value(value: Any) -> Any:
    """Return a value as None, bool, int, float, str or datetime; NaN and NaT are None.

    Earth Engine's dates (``{"type": "Date", "value": milliseconds}``) become datetimes in UTC; those before the
    year 1 or after 9999 stay JSON.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, datetime):
        return None if value != value else value  # NaT is the one datetime that differs from itself
    if isinstance(value, Mapping) and value.get("type") == "Date":
        try:
            return _EPOCH + timedelta(milliseconds=float(value["value"]))
        except (OverflowError, ValueError):  # ValueError: NaN
            return json_text(value)
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", 0) == 0:  # a numpy scalar
        return to_plain_value(item())
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return str(value) if not isinstance(value, (Mapping, list, tuple)) else json_text(value)


def unify_types(values: list[Any]) -> list[Any]:
    """Return a column with one type: integers beside floats become floats, any other mixture text.

    Integers of more than 64 bits become floats, too. Where a float would lose digits of an integer, the column is text.
    """
    kinds = {type(value) for value in values if value is not None}
    is_wide = kinds == {int} and any(value is not None and not _LEAST <= value <= _MOST for value in values)
    if not is_wide and (len(kinds) <= 1 or all(issubclass(kind, datetime) for kind in kinds)):
        return values
    if kinds <= {int, float} and all(_is_float(value) for value in values if type(value) is int):
        return [None if value is None else float(value) for value in values]
    return [None if value is None else _text(value) for value in values]


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _is_float(value: int) -> bool:
    """Return whether a float64 has the value of an integer."""
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def json_text(value: Any) -> str:
    """Return a list or a dictionary as the JSON of a cell: keys are sorted, other characters than ASCII escaped."""
    return json.dumps(value, sort_keys=True, default=str)
