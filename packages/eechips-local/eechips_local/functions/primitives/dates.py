"""``ee.Date`` and ``ee.DateRange``: construction, ``advance``, ``difference``, ``get``, ``getRange``, ``update``,
``intersection``; ranges without an end are a millisecond long.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from eechips_local.evaluation.type_conversion import shown
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.calendar import (
    SECOND,
    Fields,
    Unit,
    advance,
    checked,
    days_in_month,
    elapsed,
    parse_date,
    parse_zone,
    start_of,
)
from eechips_local.values.date_patterns import format_date, parse_with_pattern
from eechips_local.values.values import Date, DateRange, Value


def as_date(value: Value, time_zone: str | None = None) -> Date:
    """Return a date from a date, a number of milliseconds or a text.

    Raises:
        InvalidError: if it is none of these.
    """
    if isinstance(value, Date):
        return value
    if isinstance(value, str):
        return parse_date(value, time_zone)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Date(checked(value))
    raise InvalidError(f"Invalid argument specified for ee.Date(): {shown(value)}")


def _moment(date: Date) -> int:
    return checked(date.milliseconds)


@function("Date")
def make(value: Value, timeZone: str | None) -> Date:
    """Return a date from milliseconds since 1970, or a text in ISO 8601."""
    return as_date(value, timeZone)


@function("Date.fromYMD")
def from_ymd(year: int, month: int, day: int, timeZone: str | None) -> Date:
    """Return the beginning of a day."""
    return Date(Fields(year, month, day).moment(parse_zone(timeZone)))


@function("Date.parse")
def parse(format: str, date: str, timeZone: str | None) -> Date:
    """Return a date read by a Joda-Time pattern."""
    return parse_with_pattern(date, format, parse_zone(timeZone))


@function("Date.format")
def formatted(date: Date, format: str | None, timeZone: str | None) -> str:
    """Return a date written by a Joda-Time pattern."""
    return format_date(_moment(date), format, parse_zone(timeZone))


@function("Date.millis")
def millis(date: Date) -> int:
    """Return milliseconds since 1970."""
    return _moment(date)


@function("Date.advance")
def advanced(date: Date, delta: float, unit: str, timeZone: str | None) -> Date:
    """Return a date some units later."""
    return Date(advance(_moment(date), delta, Unit.named(unit), parse_zone(timeZone)))


@function("Date.difference")
def difference(date: Date, start: Date, unit: str) -> float:
    """Return units between two dates, by the unit's average length."""
    return (_moment(date) - _moment(start)) / Unit.named(unit).length


@function("Date.unitRatio")
def unit_ratio(numerator: str, denominator: str) -> float:
    """Return the ratio of two units' average lengths."""
    return Unit.named(numerator).length / Unit.named(denominator).length


@function("Date.get")
def get(date: Date, unit: str, timeZone: str | None) -> int:
    """Return a field of the date; days count within the month, weeks as in ISO 8601."""
    fields = Fields.at(_moment(date), parse_zone(timeZone))
    return int(getattr(fields, Unit.named(unit).name.lower()))


@function("Date.getRange")
def get_range(date: Date, unit: str, timeZone: str | None) -> DateRange:
    """Return the year, month, … that the date lies in."""
    start, end = _around(date, unit, timeZone)
    return DateRange(start, end)


def _around(date: Date, unit: str, time_zone: str | None) -> tuple[int, int]:
    zone, kind = parse_zone(time_zone), Unit.named(unit)
    start = start_of(_moment(date), kind, zone)
    return start, advance(start, 1, kind, zone)


@function("Date.getFraction")
def get_fraction(date: Date, unit: str, timeZone: str | None) -> float:
    """Return the share of the unit that has passed, from 0 to 1."""
    start, end = _around(date, unit, timeZone)
    return (_moment(date) - start) / (end - start)


@function("Date.getRelative")
def get_relative(date: Date, unit: str, inUnit: str, timeZone: str | None) -> int:
    """Return the whole units that have passed since the beginning of a larger one."""
    zone, moment = parse_zone(timeZone), _moment(date)
    return elapsed(start_of(moment, Unit.named(inUnit), zone), moment, Unit.named(unit), zone)


@function("Date.update")
def update(
    date: Date,
    year: int | None,
    month: int | None,
    day: int | None,
    hour: int | None,
    minute: int | None,
    second: float | None,
    timeZone: str | None,
) -> Date:
    """Return the date with some of its fields replaced; fractions of a second are replaced with the second."""
    zone = parse_zone(timeZone)
    fields = Fields.at(_moment(date), zone)
    replacements: dict[str, Any] = {"year": year, "month": month, "hour": hour, "minute": minute}
    fields = replace(fields, **{name: value for name, value in replacements.items() if value is not None})
    if second is not None:
        if not math.isfinite(second):
            raise InvalidError(f"Value {second} for secondOfMinute must be in the range [0,59]")
        whole = math.floor(second)
        fields = replace(fields, second=whole, millisecond=math.floor((second - whole) * SECOND))
    if day is not None:
        fields = replace(fields, day=day)
    elif 1 <= fields.month <= 12:
        fields = replace(fields, day=min(fields.day, days_in_month(fields.year, fields.month)))
    return Date(fields.moment(zone))


UNBOUNDED = DateRange(-math.inf, math.inf)
"""All of time."""


@function("DateRange")
def make_range(start: Value, end: Value, timeZone: str | None) -> DateRange:
    """Return a range from a start, inclusive, to an end, exclusive; a millisecond long where no end is given.

    A range alone is itself: ``filterDate`` makes a range of what it is given, and may be given one
    (developers.google.com/earth-engine/apidocs/ee-imagecollection-filterdate).
    """
    if isinstance(start, DateRange) and end is None:
        return start
    first = _moment(as_date(start, timeZone))
    return DateRange(first, first + 1 if end is None else _moment(as_date(end, timeZone)))


@function("DateRange.unbounded")
def unbounded() -> DateRange:
    """Return all of time."""
    return UNBOUNDED


@function("DateRange.start")
def range_start(dateRange: DateRange) -> Date:
    """Return the first moment of the range."""
    return Date(checked(dateRange.start))


@function("DateRange.end")
def range_end(dateRange: DateRange) -> Date:
    """Return the first moment after the range."""
    return Date(checked(dateRange.end))


@function("DateRange.isEmpty")
def is_empty(dateRange: DateRange) -> bool:
    """Return whether no moment lies in the range."""
    return dateRange.start >= dateRange.end


@function("DateRange.isUnbounded")
def is_unbounded(dateRange: DateRange) -> bool:
    """Return whether every moment lies in the range."""
    return dateRange == UNBOUNDED


@function("DateRange.contains")
def contains(dateRange: DateRange, other: Value) -> bool:
    """Return whether a date, or all of another range, lies in the range."""
    if isinstance(other, DateRange):
        return dateRange.start <= other.start and other.end <= dateRange.end
    return dateRange.start <= _moment(as_date(other)) < dateRange.end


@function("DateRange.intersects")
def intersects(dateRange: DateRange, other: DateRange) -> bool:
    """Return whether two ranges have a moment in common."""
    return not is_empty(intersection(dateRange, other))


@function("DateRange.intersection")
def intersection(dateRange: DateRange, other: DateRange) -> DateRange:
    """Return the moments that lie in both ranges."""
    return DateRange(max(dateRange.start, other.start), min(dateRange.end, other.end))


@function("DateRange.union")
def union(dateRange: DateRange, other: DateRange) -> DateRange:
    """Return the least range that holds two ranges."""
    if is_empty(dateRange):
        return other
    if is_empty(other):
        return dateRange
    return DateRange(min(dateRange.start, other.start), max(dateRange.end, other.end))
