"""``Filter.eq``, ``lt``, ``inList``, ``stringContains``, ``maxDifference``, ``rangeContains``, ``dateRangeContains``,
``calendarRange`` and the like: comparisons and calendar; operands that are null.

A comparison fails where an operand is null; what "passes unless" (neq, gte, lte, disjoint) is the opposite of one that
does not, and so passes there. The client itself sends neq, gte and lte as ``Filter.not`` of eq, lt and gt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from eechips_local.evaluation.asset_model import Query, Range
from eechips_local.evaluation.graph_nodes import complete_error
from eechips_local.evaluation.type_conversion import promote, shown, type_name
from eechips_local.functions.conditions.filter_logic import of_one, opposite
from eechips_local.functions.conditions.filter_queries import (
    INDEX,
    TIME_START,
    asked_value,
    is_number,
    narrow_calendar,
    narrow_equal,
    narrow_holding,
    narrow_in_list,
    narrow_less,
    narrow_range,
    narrow_span,
    narrow_time,
)
from eechips_local.functions.registration import Implementation, function
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.calendar import Fields, checked
from eechips_local.values.element_properties import Element, property_of
from eechips_local.values.filter_conditions import (
    FilterCondition,
    Operand,
    comparison,
    equal,
    lookup_equal,
    lookup_near,
    ordered,
)
from eechips_local.values.ordering import distinct_key, plain
from eechips_local.values.values import DateRange, Geometry, Value

Test = Callable[[Value, Value], bool]


def operands(
    leftField: str | None, rightValue: Value, rightField: str | None, leftValue: Value
) -> tuple[Operand, Operand]:
    """Return both sides of a comparison.

    Raises:
        InvalidError: unless each side is a field or a value, and one of them a field.
    """
    for side, name, value in (("left", leftField, leftValue), ("right", rightField, rightValue)):
        if name is None and value is None:
            raise InvalidError(f"One of '{side}Field' and '{side}Value' must be specified.")
        if name is not None and value is not None:
            raise InvalidError(f"Only one of '{side}Field' and '{side}Value' may be specified.")
    if leftField is None and rightField is None:
        raise InvalidError("One of 'leftField' and 'rightField' must be specified.")
    return Operand(leftField, leftValue), Operand(rightField, rightValue)


# Comparisons of values


def _less(a: Value, b: Value) -> bool:
    both = ordered(a, b)
    return both is not None and bool(both[0] < both[1])


def _greater(a: Value, b: Value) -> bool:
    return _less(b, a)


def _text(test: Callable[[str, str], bool]) -> Test:
    return lambda a, b: isinstance(a, str) and isinstance(b, str) and test(a, b)


def _list_contains(a: Value, b: Value) -> bool:
    return isinstance(a, list) and any(equal(item, b) for item in a)


# Subtypes by type: Earth Engine's names of a value's type and of those it is a kind of.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "Integer": ("Integer", "Long", "Number"),
    "Float": ("Float", "Double", "Number"),
    "Boolean": ("Boolean", "Number"),
    "Image": ("Image", "Element"),
    "Feature": ("Feature", "Element"),
    "ImageCollection": ("ImageCollection", "FeatureCollection", "Collection"),
    "FeatureCollection": ("FeatureCollection", "Collection"),
    "GeometryCollection": ("GeometryCollection", "MultiGeometry", "Geometry"),
}


def _has_type(a: Value, b: Value) -> bool:
    if not isinstance(b, str):
        return False
    name = type_name(a)
    kinds = _KINDS.get(name, (name, "Geometry") if isinstance(a, Geometry) else (name,))
    return b in (*kinds, "Object")


Build = Callable[[Operand, Operand], FilterCondition]


def _equals(left: Operand, right: Operand) -> FilterCondition:
    seek = _seeking(left, right, lambda value: _equals(Operand(None, value), right))
    narrow, lookup = narrow_equal(left, right), lookup_equal(left, right)
    is_exact = asked_value(left, right) is not None
    return comparison(left, right, equal, narrow=narrow, lookup=lookup, seek=seek, is_exact=is_exact)


def _seeking(
    left: Operand, right: Operand, build: Callable[[Value], FilterCondition | None]
) -> Callable[[Element], FilterCondition | None] | None:
    """Return what makes a filter of the right operand from the left one of an element, where stores know the right."""
    if left.field is None or right.field not in (INDEX, TIME_START):
        return None

    def seek(primary: Element) -> FilterCondition | None:
        value = plain(left.of(primary))
        return build(value) if isinstance(value, str) or is_number(value) else None

    return seek


def _less_than(left: Operand, right: Operand) -> FilterCondition:
    contrary = narrow_span(left, right, opposite=True)
    return comparison(left, right, _less, narrow=narrow_less(left, right), contrary=contrary)


def _greater_than(left: Operand, right: Operand) -> FilterCondition:
    contrary = narrow_span(right, left, opposite=True)
    return comparison(left, right, _greater, narrow=narrow_less(right, left), contrary=contrary)


def _in_list(left: Operand, right: Operand) -> FilterCondition:
    """Return whether a list has an item.

    A value that is no list is refused. A public script quotes that of the client's ``inList``, which calls
    ``Filter.listContains``: the two are one algorithm.
    """
    test: Test = _list_contains
    if left.field is None:
        if not isinstance(left.value, list):
            what = f"Cannot filter using 'ListContains' with '{shown(left.value)}' as a left operand."
            raise complete_error(InvalidError(f"Filter.inList: {what}"))
        keys = {distinct_key(item) for item in left.value}  # once, not for each element
        test = lambda _, b: distinct_key(b) in keys  # noqa: E731 - another test for the same two operands
    return comparison(left, right, test, narrow=narrow_in_list(left, right))


def _contains(left: Operand, right: Operand) -> FilterCondition:
    """Return whether a list has an item, if that is a text; the store is asked for such images only."""
    name, field = right.value, left.field
    if field is None or not isinstance(name, str):
        return _in_list(left, right)
    if field != "system:band_names":
        return comparison(left, right, _list_contains, narrow=narrow_holding(field, [name]), is_exact=True)

    def having(query: Query) -> Query:
        return replace(query, having=query.having | {name})

    def lacking(query: Query) -> Query:
        return replace(query, lacking=query.lacking | {name})

    return comparison(left, right, _list_contains, narrow=having, contrary=lacking, is_exact=True)


def _tested(test: Test) -> Build:
    return lambda left, right: comparison(left, right, test)


def _unless(build: Build) -> Build:
    return lambda left, right: opposite(build(left, right))


def _without_dates(left: Operand, right: Operand) -> FilterCondition:
    """Return a condition on an empty range of dates: an error where the collection is read.

    Many public scripts guard against it, as "filterDate() raises 'Empty date ranges not supported' when start ==
    end", and quote it of Collection.toList and Collection.reduceColumns.
    """

    def refuse(*_: Value) -> bool:
        raise InvalidError("Empty date ranges not supported for the current operation.")

    return comparison(left, right, refuse)


def _date_in_range(left: Operand, right: Operand) -> FilterCondition:
    def test(a: Value, b: Value) -> bool:
        moment = plain(b)
        if isinstance(moment, str):
            moment = promote(moment, "Date", "rightValue").milliseconds
        if not isinstance(moment, (int, float)):
            return False
        span: DateRange = promote(a, "DateRange", "leftValue")
        return span.start <= moment < span.end

    if left.field is None:
        span: DateRange = promote(left.value, "DateRange", "Filter.dateRangeContains, argument 'leftValue'")
        if span.start >= span.end:
            return _without_dates(left, right)
        if right.field == TIME_START:
            return comparison(left, right, test, narrow=narrow_time(span.start, span.end), is_exact=True)
    return comparison(left, right, test)


BUILDERS: Mapping[str, Build] = {
    "Filter.eq": _equals,
    "Filter.equals": _equals,
    "Filter.neq": _unless(_equals),
    "Filter.notEquals": _unless(_equals),
    "Filter.lt": _less_than,
    "Filter.lessThan": _less_than,
    "Filter.gte": _unless(_less_than),
    "Filter.greaterThanOrEquals": _unless(_less_than),
    "Filter.gt": _greater_than,
    "Filter.greaterThan": _greater_than,
    "Filter.lte": _unless(_greater_than),
    "Filter.lessThanOrEquals": _unless(_greater_than),
    "Filter.stringStartsWith": _tested(_text(str.startswith)),
    "Filter.stringEndsWith": _tested(_text(str.endswith)),
    "Filter.stringContains": _tested(_text(lambda a, b: b in a)),
    "Filter.listContains": _contains,
    "Filter.inList": _in_list,
    "Filter.hasType": _tested(_has_type),
    "Filter.dateRangeContains": _date_in_range,
}
"""Comparisons that take two operands and nothing else."""


def _comparing(build: Build) -> Implementation:
    def call(leftField: str | None, rightValue: Value, rightField: str | None, leftValue: Value) -> FilterCondition:
        return build(*operands(leftField, rightValue, rightField, leftValue))

    return Implementation(call)


def _equating(build: Build) -> Implementation:
    def call(leftField: str | None, rightValue: Value, rightField: str | None, leftValue: Value) -> FilterCondition:
        """Return a filter for equal values; with null on the right side, a filter for fields that are null.

        The guide leaves out features without values by the client's ``neq``, which is the contrary:
        https://developers.google.com/earth-engine/guides/reducers_grouping.
        """
        if leftField is not None and rightField is None and rightValue is None and leftValue is None:
            is_null = of_one(lambda element: property_of(element, leftField) is None, [leftField])
            return is_null if build is _equals else opposite(is_null)
        return build(*operands(leftField, rightValue, rightField, leftValue))

    return Implementation(call)


_EQUATING = ("Filter.eq", "Filter.equals", "Filter.neq", "Filter.notEquals")

FUNCTIONS: Mapping[str, Implementation] = {
    name: _equating(build) if name in _EQUATING else _comparing(build) for name, build in BUILDERS.items()
}
"""The functions made of ``BUILDERS``."""


@function("Filter.maxDifference")
def max_difference(
    difference: float, leftField: str | None, rightValue: Value, rightField: str | None, leftValue: Value
) -> FilterCondition:
    """Return a filter for numbers that differ by at most so much; the difference is the join's measure."""
    left, right = operands(leftField, rightValue, rightField, leftValue)

    def apart_by(a: Value, b: Value) -> float | None:
        a, b = plain(a), plain(b)
        return abs(a - b) if isinstance(a, (int, float)) and isinstance(b, (int, float)) else None

    def test(a: Value, b: Value) -> bool:
        distance = apart_by(a, b)
        return distance is not None and distance <= difference

    def measure(primary: Element, secondary: Element) -> float:
        return apart_by(left.of(primary), right.of(secondary)) or 0.0

    def near(value: Value) -> FilterCondition | None:
        if not is_number(value):
            return None
        narrow = narrow_time(value - difference - 1.0, value + difference + 1.0)
        return of_one(lambda element: test(value, right.of(element)), [TIME_START], narrow)

    seek = _seeking(left, right, near) if right.field == TIME_START else None
    return comparison(left, right, test, measure=measure, lookup=lookup_near(left, right, difference), seek=seek)


@function("Filter.rangeContains")
def range_contains(field: str, minValue: Value, maxValue: Value) -> FilterCondition:
    """Return a filter for a property between two values, inclusive."""

    def matches(element: Element) -> bool:
        value = property_of(element, field)
        low, high = ordered(minValue, value), ordered(value, maxValue)
        return low is not None and high is not None and bool(low[0] <= low[1] and high[0] <= high[1])

    limits = plain(minValue), plain(maxValue)
    return of_one(matches, [field], narrow_range(field, Range(*limits)) if all(map(is_number, limits)) else None)


# Calendar

_CALENDAR: Mapping[str, Callable[[Fields], int]] = {
    "year": lambda f: f.year,
    "month": lambda f: f.month,
    "hour": lambda f: f.hour,
    "minute": lambda f: f.minute,
    "day_of_year": lambda f: f.day_of_year,
    "day_of_month": lambda f: f.day,
    "day_of_week": lambda f: f.weekday,
}


@function("Filter.calendarRange")
def calendar_range(start: int, end: int | None, field: str) -> FilterCondition:
    """Return a filter for ``system:time_start`` in a range of a calendar field, inclusive, in UTC; it may wrap (12 to
    2).

    What lacks a time is an error, and so are negative values: a project records the service's messages
    (https://github.com/eHealthAfrica/heatwave_modelling_CHAP, .planning/phases/03).
    """
    if field not in _CALENDAR:
        raise InvalidError(f"Unknown calendar field '{field}'. Options are: {', '.join(_CALENDAR)}.")
    if start < 0 or (end is not None and end < 0):
        raise InvalidError("Start and end date values must be >= 0")
    last = start if end is None else end
    shown = _CALENDAR[field]

    def matches(element: Element) -> bool:
        moment = plain(property_of(element, TIME_START))
        if not isinstance(moment, (int, float)):
            message = "Collection.filter: Can't apply calendarRange filter to objects without a timestamp."
            raise complete_error(InvalidError(message))
        value = shown(Fields.at(checked(moment)))
        return start <= value <= last if start <= last else value >= start or value <= last

    return of_one(matches, [TIME_START], narrow_calendar(start, last, field))


@function("Filter.dayOfYear")
def day_of_year(start: int, end: int) -> FilterCondition:
    """Return a filter for ``system:time_start`` in a range of days of the year, inclusive."""
    return calendar_range(start, end, "day_of_year")
