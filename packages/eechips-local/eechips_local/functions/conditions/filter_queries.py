"""Turn comparisons of ``ee.Filter`` into narrower queries of a store, so that it makes only elements that may pass."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from eechips_local.evaluation.asset_model import Query, Range
from eechips_local.functions.conditions.filter_logic import Narrow
from eechips_local.values.calendar import DAY, date_of, days_in_month, days_of
from eechips_local.values.element_properties import GEOMETRY_FIELDS, is_system
from eechips_local.values.filter_conditions import Operand
from eechips_local.values.ordering import plain
from eechips_local.values.values import Value

INDEX = "system:index"
TIME_START = "system:time_start"


def asked_value(left: Operand, right: Operand) -> tuple[str, Value] | None:
    """Return the property that is to have a value of which the store can be asked, and the value; None for others."""
    if left.field is not None and right.field is not None:
        return None
    name, value = (left.field, right.value) if right.field is None else (right.field, left.value)
    simple = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    if name is None or not simple or (is_system(name) and name not in (INDEX, TIME_START)) or name in GEOMETRY_FIELDS:
        return None
    return name, value


def narrow_equal(left: Operand, right: Operand) -> Narrow:
    """Ask the store for one value of a property only; for nothing, if another value is asked for already.

    Of a list of texts the store is asked for all that it holds: ``['VV', 'VH']`` of polarisations.
    """
    field, constant = (left.field, right.value) if right.field is None else (right.field, left.value)
    if field is not None and isinstance(constant, list) and all(isinstance(item, str) for item in constant):
        return narrow_holding(field, constant)
    asked = asked_value(left, right)
    if asked is None:
        return lambda query: query
    name, value = asked

    def narrow(query: Query) -> Query:
        if query.equals.get(name, value) != value:
            return replace(query, indices=frozenset())
        return replace(query, equals={**query.equals, name: value})

    if name == TIME_START and is_number(value):
        then = narrow_time(value, value + 1.0)
        return lambda query: then(narrow(query))
    return narrow


def narrow_holding(name: str, items: Iterable[str]) -> Narrow:
    """Ask the store for lists that hold some texts."""
    held = frozenset((name, item) for item in items)
    return lambda query: replace(query, holding=query.holding | held)


def narrow_in_list(left: Operand, right: Operand) -> Narrow:
    """Ask the store for some values of ``system:index``, for the only value of a list, or between its numbers."""
    name, values = right.field, left.value
    if name is None or not isinstance(values, list):
        return lambda query: query
    if name == INDEX and all(isinstance(value, str) for value in values):
        wanted = frozenset(values)
        return lambda query: replace(query, indices=wanted if query.indices is None else query.indices & wanted)
    if len(values) == 1:
        return narrow_equal(Operand(None, values[0]), right)
    if values and all(map(is_number, values)) and min(values) <= max(values):  # not if the first is NaN
        return narrow_range(name, Range(min(values), max(values)))
    return lambda query: query


def narrow_time(start: float | None, end: float | None) -> Narrow:
    """Ask the store for images from ``start`` to before ``end`` only."""

    def narrow(query: Query) -> Query:
        starts = [s for s in (query.start, start) if s is not None]
        ends = [e for e in (query.end, end) if e is not None]
        return replace(query, start=max(starts, default=None), end=min(ends, default=None))

    return narrow


def narrow_range(name: str, span: Range) -> Narrow:
    """Ask the store for what has a property in a range."""
    if (is_system(name) and name != TIME_START) or name in GEOMETRY_FIELDS:
        return lambda query: query

    def narrow(query: Query) -> Query:
        known = query.ranges.get(name)
        return replace(query, ranges={**query.ranges, name: span if known is None else known.within(span)})

    return narrow


def narrow_index(least: str = "", greatest: str | None = None) -> Narrow:
    """Ask the store for a span of ``system:index`` only, in the order of texts."""

    def narrow(query: Query) -> Query:
        ends = [end for end in (query.last_index, greatest) if end is not None]
        return replace(query, first_index=max(query.first_index, least), last_index=min(ends, default=None))

    return narrow


def narrow_calendar(first: int, last: int, field: str) -> Narrow:
    """Ask the store for years, or for months or days of the one year that it is asked for already."""

    def narrow(query: Query) -> Query:
        days = _calendar_days(first, last, field, query.timed())
        if days is None:
            return query
        latest = math.nextafter(days[1] * DAY, -math.inf)
        # What has no time is refused by the filter itself.
        return narrow_range(TIME_START, Range(days[0] * DAY, latest, others=True))(query)

    return narrow


def _calendar_days(first: int, last: int, field: str, query: Query) -> tuple[int, int] | None:
    """Return the days since 1970 from the first to after the last that may match; None if they are not one span."""
    if first > last:
        return None
    if field == "year":
        return days_of(first, 1, 1), days_of(last + 1, 1, 1)
    if query.start is None or query.end is None or not math.isfinite(query.start) or not math.isfinite(query.end):
        return None
    year = date_of(math.floor(query.start / DAY))[0]
    if date_of(math.ceil(query.end / DAY) - 1)[0] != year:
        return None
    if field == "day_of_year":
        return days_of(year, 1, first), days_of(year, 1, last + 1)
    if field == "month" and 1 <= first <= last <= 12:
        return days_of(year, first, 1), days_of(year, last, days_in_month(year, last) + 1)
    return None


def narrow_span(left: Operand, right: Operand, *, opposite: bool) -> Narrow:
    """Return the spans for left < right, or for what fails that: numbers that are not less, and other values."""
    early, late = plain(left.value), plain(right.value)
    if opposite and left.field == INDEX and isinstance(late, str):
        return narrow_index(least=late)
    if opposite and right.field == INDEX and isinstance(early, str):
        return narrow_index(greatest=early)
    if left.field is not None and right.field is None and is_number(late):
        return narrow_range(left.field, Range(least=late, others=True) if opposite else Range(greatest=late))
    if right.field is not None and left.field is None and is_number(early):
        return narrow_range(right.field, Range(greatest=early, others=True) if opposite else Range(least=early))
    return lambda query: query


def is_number(value: Value) -> bool:
    """Return whether a value is a number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def narrow_less(left: Operand, right: Operand) -> Narrow:
    """Return the narrower query of left < right."""
    early, late = plain(left.value), plain(right.value)
    if left.field == INDEX and isinstance(late, str):
        return narrow_index(greatest=late)
    if right.field == INDEX and isinstance(early, str):
        return narrow_index(least=early)
    if left.field == TIME_START and right.field is None and isinstance(late, (int, float)):
        return narrow_time(None, late)
    if right.field == TIME_START and left.field is None and isinstance(early, (int, float)):
        return narrow_time(early, None)
    return narrow_span(left, right, opposite=False)
