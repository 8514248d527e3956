"""Calculate with moments: units, time zones, dates in ISO 8601, ``Date.advance``, as Joda-Time's ISO calendar does, in
UTC unless a zone is named.

Moments are whole milliseconds since 1970-01-01 UTC. Years are proleptic Gregorian and may be any that fit into 64 bits.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import lru_cache
from zoneinfo import ZoneInfo

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Date

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
# Joda-Time's averages: the mean Gregorian year has 365.2425 days.
YEAR = 31_556_952 * SECOND
MONTH = YEAR // 12

_DAYS_BEFORE_EPOCH = 719_468  # from 0000-03-01 to 1970-01-01
_DAYS_IN_400_YEARS = 146_097
_GREATEST = 2**63 - 1
_GREATEST_YEAR = 292_278_993  # Joda-Time's
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIRST, _LAST = -62_135_510_400_000, 253_402_214_400_000  # what Python's zones cover, a day inside years 1 and 9999


class Unit(Enum):
    """A unit of time."""

    YEAR = YEAR
    MONTH = MONTH
    WEEK = WEEK
    DAY = DAY
    HOUR = HOUR
    MINUTE = MINUTE
    SECOND = SECOND

    @property
    def length(self) -> int:
        """Average length in milliseconds."""
        return int(self.value)

    @classmethod
    def named(cls, name: str) -> Unit:
        """Return the unit of a name, singular or plural.

        Raises:
            InvalidError: if there is no such unit.
        """
        unit = cls.__members__.get(name.removesuffix("s").upper())
        if unit is None or name != name.lower():
            choice = ", ".join(f"'{u.name.lower()}'" for u in cls)
            raise InvalidError(f"Unrecognized unit '{name}'. Must be one of {choice}.")
        return unit


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone.

    Attributes:
        id: as it was named.
        region: its rules, or None where the offset is fixed.
        fixed: milliseconds east of UTC where there are no rules.
    """

    id: str
    region: ZoneInfo | None = None
    fixed: int = 0

    def offset(self, moment: int) -> int:
        """Return milliseconds east of UTC at a moment."""
        if self.region is None:
            return self.fixed
        return _milliseconds(self._at(moment).utcoffset())

    def offset_of_local(self, local: int) -> int:
        """Return milliseconds east of UTC at a local time.

        Where clocks are turned back the earlier of the two moments counts; local times that clocks skip count as
        before the change, so that they come out later.
        """
        if self.region is None:
            return self.fixed
        clock = _EPOCH.replace(tzinfo=self.region) + timedelta(milliseconds=_covered(local))
        return _milliseconds(clock.utcoffset())

    def abbreviation(self, moment: int) -> str:
        """Return the short name in force at a moment ("PDT"), or the offset where there is none."""
        if self.region is None:
            return self.id
        return self._at(moment).tzname() or self.id

    def _at(self, moment: int) -> datetime:
        return (_EPOCH + timedelta(milliseconds=_covered(moment))).astimezone(self.region)


def _milliseconds(delta: timedelta | None) -> int:
    return 0 if delta is None else delta // timedelta(milliseconds=1)


def _covered(moment: int) -> int:
    return min(max(moment, _FIRST), _LAST)


UTC = Zone("UTC")

_OFFSET = re.compile(r"([+-])(\d{1,2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d{1,3}))?)?)?")


@lru_cache(maxsize=256)
def parse_zone(name: str | None) -> Zone:
    """Return the zone of a name ("America/Los_Angeles", "PST8PDT", "UTC") or of an offset ("+05:30"); None is UTC.

    Raises:
        InvalidError: if there is no such zone.
    """
    if name is None or name in ("UTC", "Z"):
        return UTC
    offset = _OFFSET.fullmatch(name)
    if offset:
        return Zone(name, fixed=_offset_milliseconds(offset))
    try:
        return Zone(name, ZoneInfo(name))
    except (KeyError, ValueError, OSError) as error:  # ZoneInfo names folders and odd paths by all three
        raise InvalidError(f"The datetime zone id '{name}' is not recognised.") from error


def _offset_milliseconds(match: re.Match[str]) -> int:
    sign, hours, minutes, seconds, fraction = match.groups()
    if int(hours) > 23 or int(minutes or 0) > 59 or int(seconds or 0) > 59:
        raise InvalidError(f"The datetime zone id '{match.group()}' is not recognised.")
    total = int(hours) * HOUR + int(minutes or 0) * MINUTE + int(seconds or 0) * SECOND
    total += int((fraction or "").ljust(3, "0"))
    return -total if sign == "-" else total


def days_of(year: int, month: int, day: int) -> int:
    """Return days from 1970-01-01 to a date of the proleptic Gregorian calendar; ``day`` may lie outside the month."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * _DAYS_IN_400_YEARS + of_era * 365 + of_era // 4 - of_era // 100 + day_of_year - _DAYS_BEFORE_EPOCH


def date_of(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a number of days since 1970-01-01."""
    era, day = divmod(days + _DAYS_BEFORE_EPOCH, _DAYS_IN_400_YEARS)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    return year + era * 400 + (month >= 10), month + 3 if month < 10 else month - 9, day - (153 * month + 2) // 5 + 1


def days_in_month(year: int, month: int) -> int:
    """Return the number of days of a month."""
    if month == 2:
        return 29 if is_leap(year) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def is_leap(year: int) -> bool:
    """Return whether a year has 366 days."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@dataclass(frozen=True, slots=True)
class Fields:
    """Date and time of day in a time zone."""

    year: int
    month: int = 1
    day: int = 1
    hour: int = 0
    minute: int = 0
    second: int = 0
    millisecond: int = 0

    @classmethod
    def at(cls, moment: int, zone: Zone = UTC) -> Fields:
        """Return the fields at a moment."""
        days, rest = divmod(moment + zone.offset(moment), DAY)
        hour, rest = divmod(rest, HOUR)
        minute, rest = divmod(rest, MINUTE)
        second, millisecond = divmod(rest, SECOND)
        return cls(*date_of(days), hour, minute, second, millisecond)

    @property
    def days(self) -> int:
        """Days since 1970-01-01."""
        return days_of(self.year, self.month, self.day)

    @property
    def weekday(self) -> int:
        """1 on Mondays to 7 on Sundays."""
        return (self.days + 3) % 7 + 1

    @property
    def day_of_year(self) -> int:
        """1 to 366."""
        return self.days - days_of(self.year, 1, 1) + 1

    @property
    def weekyear(self) -> int:
        """The year to which the ISO week belongs: that of the week's Thursday."""
        return date_of(self.days + 4 - self.weekday)[0]

    @property
    def week(self) -> int:
        """The ISO week of the weekyear, 1 to 53."""
        return (self.days + 4 - self.weekday - days_of(self.weekyear, 1, 1)) // 7 + 1

    def moment(self, zone: Zone = UTC) -> int:
        """Return milliseconds since 1970.

        Raises:
            InvalidError: if a field is out of its range, in Joda-Time's words.
        """
        check_field(self.year, "year", -_GREATEST_YEAR, _GREATEST_YEAR)
        check_field(self.month, "monthOfYear", 1, 12)
        check_field(self.day, "dayOfMonth", 1, days_in_month(self.year, self.month))
        check_field(self.hour, "hourOfDay", 0, 23)
        check_field(self.minute, "minuteOfHour", 0, 59)
        check_field(self.second, "secondOfMinute", 0, 59)
        local = self.days * DAY + self.hour * HOUR + self.minute * MINUTE + self.second * SECOND + self.millisecond
        return checked(local - zone.offset_of_local(local))


def check_field(value: int, name: str, least: int, greatest: int) -> int:
    """Return the value, if it lies in its range.

    Raises:
        InvalidError: in Joda-Time's words, otherwise.
    """
    if not least <= value <= greatest:
        raise InvalidError(f"Value {value} for {name} must be in the range [{least},{greatest}]")
    return value


def checked(milliseconds: float) -> int:
    """Return the whole milliseconds.

    Raises:
        InvalidError: if they are no number or do not fit into 64 bits.
    """
    if not math.isfinite(milliseconds) or abs(milliseconds) > _GREATEST:
        raise InvalidError(f"Date out of range: {milliseconds}.")
    return math.floor(milliseconds)


def start_of(moment: int, unit: Unit, zone: Zone = UTC) -> int:
    """Return the beginning of the unit that a moment lies in; weeks begin on Mondays."""
    now = Fields.at(moment, zone)
    if unit is Unit.WEEK:
        return Fields(*date_of(now.days + 1 - now.weekday)).moment(zone)
    if unit in (Unit.HOUR, Unit.MINUTE, Unit.SECOND):
        # By the clock of the moment itself, which in the hour that is lived twice is not that of the local time.
        return moment - (moment + zone.offset(moment)) % unit.length
    kept = [Unit.YEAR, Unit.MONTH, Unit.DAY].index(unit) + 1
    return Fields(*(now.year, now.month, now.day)[:kept]).moment(zone)


def advance(moment: int, delta: float, unit: Unit, zone: Zone = UTC) -> int:
    """Return a moment some units later.

    Years, months, weeks and days are steps of the calendar and keep the local time; a day that the month does not have
    becomes its last. What is left of a fractional ``delta`` counts in average units.

    Raises:
        InvalidError: if the result is out of range.
    """
    if not math.isfinite(delta) or abs(delta * unit.length) > _GREATEST:
        raise InvalidError(f"Date out of range: {delta} {unit.name.lower()}s.")
    whole = int(delta)
    rest = round((delta - whole) * unit.length)
    if unit in (Unit.HOUR, Unit.MINUTE, Unit.SECOND):
        return checked(moment + whole * unit.length + rest)
    if whole == 0:
        return checked(moment + rest)
    now = Fields.at(moment, zone)
    if unit in (Unit.YEAR, Unit.MONTH):
        year, month = divmod(now.year * 12 + now.month - 1 + whole * (12 if unit is Unit.YEAR else 1), 12)
        date = year, month + 1, min(now.day, days_in_month(year, month + 1))
    else:
        date = date_of(now.days + whole * (7 if unit is Unit.WEEK else 1))
    return checked(Fields(*date, now.hour, now.minute, now.second, now.millisecond).moment(zone) + rest)


def elapsed(start: int, moment: int, unit: Unit, zone: Zone = UTC) -> int:
    """Return the whole units from ``start`` to a later moment."""
    if unit in (Unit.HOUR, Unit.MINUTE, Unit.SECOND):
        return (moment - start) // unit.length
    count = (moment - start) // unit.length
    # The average may be one off either way: calendar units differ in length.
    count += 1
    while count > 0 and advance(start, count, unit, zone) > moment:
        count -= 1
    return count


_ISO = re.compile(
    r"(?P<year>[+-]?\d{1,9})"
    r"(?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?|-(?P<ordinal>\d{3})|-W(?P<week>\d{1,2})(?:-(?P<weekday>\d))?)?"
    r"(?:T(?:(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2}))?)?(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?)?",
    re.ASCII,
)


def parse_date(text: str, time_zone: str | None = None) -> Date:
    """Read an ISO 8601 date, with or without a time: "2020", "2020-7-1", "2020-07-01T13:00:00.5Z", "2020-W27-3".

    Args:
        time_zone: where it counts, unless the text has an offset itself. None is UTC.

    Raises:
        InvalidError: if it is no date; in the service's words (https://github.com/gee-community/geemap/issues/1830).
    """
    zone = parse_zone(time_zone)
    match = _ISO.fullmatch(text)
    if match is None:
        raise InvalidError(f"Bad date/time '{text[:100]}'.")
    part = {name: int(value) for name, value in match.groupdict().items() if value and name not in ("zone", "fraction")}
    if match["zone"]:
        zone = parse_zone(match["zone"])
    try:
        moment = _date_fields(part).moment(zone) + _fraction(match)
    except InvalidError as error:
        raise InvalidError(f"Bad date/time '{text[:100]}'.") from error
    return Date(moment)


def _date_fields(part: dict[str, int]) -> Fields:
    clock = part.get("hour", 0), part.get("minute", 0), part.get("second", 0)
    year = part["year"]
    if "ordinal" in part:
        check_field(part["ordinal"], "dayOfYear", 1, 366 if is_leap(year) else 365)
        return Fields(*date_of(days_of(year, 1, 1) + part["ordinal"] - 1), *clock)
    if "week" in part:
        return Fields(*date_of(week_days(year, part["week"], part.get("weekday", 1))), *clock)
    return Fields(year, part.get("month", 1), part.get("day", 1), *clock)


def week_days(weekyear: int, week: int, weekday: int) -> int:
    """Return days since 1970-01-01 of a day of an ISO week.

    Raises:
        InvalidError: if the year has no such week.
    """
    weeks = Fields(weekyear, 12, 28).week  # 28 December always lies in the last week
    check_field(week, "weekOfWeekyear", 1, weeks)
    check_field(weekday, "dayOfWeek", 1, 7)
    fourth = Fields(weekyear, 1, 4)  # 4 January always lies in the first week
    return fourth.days - fourth.weekday + weekday + 7 * (week - 1)


def _fraction(match: re.Match[str]) -> int:
    digits = match["fraction"]
    if not digits:
        return 0
    unit = SECOND if match["second"] else MINUTE if match["minute"] else HOUR
    scale: int = 10 ** len(digits)
    return unit * int(digits) // scale


def to_datetime(milliseconds: float) -> datetime:
    """Return the UTC datetime of a number of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def to_milliseconds(moment: datetime) -> int:
    """Return milliseconds since 1970 of an aware datetime."""
    return round((moment - _EPOCH) / timedelta(milliseconds=1))


def parse_timestamp(text: str) -> datetime:
    """Return an RFC 3339 timestamp, UTC where it has no offset.

    Raises:
        ValueError: if it is none.
    """
    # Python 3.10 reads neither "Z" nor other fractions than of three or six digits.
    padded = re.sub(r"\.([0-9]{0,6})[0-9]*", lambda match: f".{match[1]:0<6}", text.strip())
    moment = datetime.fromisoformat(re.sub("(?<=[0-9])[Zz]$", "+00:00", padded))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
