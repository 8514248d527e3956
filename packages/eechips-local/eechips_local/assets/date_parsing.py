"""Parse times as people and files write them, dates in names of files, and time axes of NetCDF, into milliseconds since
1970 UTC.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone

from eechips_local.assets.asset_errors import IngestError

Time = str | int | float | date | datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAY = 86_400_000
# 2000-02-18, 2000_02_18, 20000218, with or without a time of day and an offset.
_ISO = re.compile(
    r"(?P<y>\d{4})(?P<s>[-_/]?)(?P<m>\d{2})(?P=s)(?P<d>\d{2})"
    r"(?:[T _](?P<H>\d{2}):?(?P<M>\d{2})(?::?(?P<S>\d{2})(?:\.(?P<f>\d{1,6})\d*)?)?)?"
    r"(?P<z>Z|[+-]\d{2}:?\d{2})?"
)
# A date within a longer name: 20151128T002653, 2011-08-15, 2011.08.15, A2000049 and doy2000049 (day of the year).
_WITHIN = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d{2})(?P<s>[-_.]?)(?P<m>\d{2})(?P=s)(?P<d>\d{2})(?:T(?P<t>\d{6}))?(?!\d)"
    r"|(?:A|doy)(?P<year>(?:19|20)\d{2})(?P<day>\d{3})(?!\d)"
)
_UNITS = re.compile(r"\s*(?P<unit>[a-z]+)\s+since\s+(?P<since>.+?)\s*(?:UTC)?\s*", re.IGNORECASE)
# 1900-01-01 00:00:0.0, 1-1-1, 1992-10-8 15:15:42.5 -6:00 (CF conventions 1.11, section 4.4).
_SINCE = re.compile(
    r"(?P<y>\d{1,4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})"
    r"(?:[T ]+(?P<H>\d{1,2})(?::(?P<M>\d{1,2})(?::(?P<S>\d{1,2}(?:\.\d*)?))?)?)?"
    r"(?:Z|\s*(?P<z>[+-]\d{1,2})(?::?(?P<zm>\d{2}))?)?"
)
_UNIT_MILLISECONDS = {
    **dict.fromkeys(("day", "days", "d"), _DAY),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h"), 3_600_000),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), 60_000),
    **dict.fromkeys(("second", "seconds", "sec", "secs", "s"), 1000),
}
# Within a century of 2000 the Julian calendar's leap years are the Gregorian ones (AppEEARS files name it).
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian", "julian")
_YEARS = {"noleap": 365, "365_day": 365, "360_day": 360}
"""Days of the year in calendars of climate models, in which all years are equal."""


def to_milliseconds(time: Time) -> int:
    """Return a time in milliseconds since 1970.

    Args:
        time: ISO 8601 date or datetime, UTC where it has no offset; a date or datetime likewise; a number is
            milliseconds already.

    Raises:
        IngestError: if it is none of these.
    """
    if isinstance(time, bool):
        raise IngestError(f"{time!r} is not a time")
    if isinstance(time, int | float):
        return int(time)
    if isinstance(time, datetime):
        moment = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
    elif isinstance(time, date):
        moment = datetime(time.year, time.month, time.day, tzinfo=timezone.utc)
    else:
        moment = _parse(time)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def date_within(name: str) -> int:
    """Return the first date in a name, in milliseconds since 1970.

    Args:
        name: name of a file or band: "m_3008501_ne_16_1_20110815", "S2A_20151128T002653_N0204",
            "MOD11A2.A2000049.h12v04", "LST_Day_1km_doy2000049_aid0001".

    Raises:
        IngestError: if there is none.
    """
    for match in _WITHIN.finditer(name):
        try:
            if match["year"]:
                day = date(int(match["year"]), 1, 1) + timedelta(days=int(match["day"]) - 1)
                if day.year != int(match["year"]):
                    continue
                return to_milliseconds(day)
            time = match["t"] or "000000"
            return to_milliseconds(f"{match['y']}{match['m']}{match['d']}T{time}")
        except (ValueError, IngestError):
            continue  # digits that only look like a date
    raise IngestError(f"{name!r} has no date in it, like 20110815, 2011-08-15 or A2011227")


def names_of_dates(times: Sequence[int]) -> list[str]:
    """Return names of images of a series: "2000_02_18", or "20000218T103000" if any has a time of day."""
    pattern = "%Y_%m_%d" if all(time % _DAY == 0 for time in times) else "%Y%m%dT%H%M%S"
    return [(_EPOCH + timedelta(milliseconds=time)).strftime(pattern) for time in times]


def from_netcdf(value: str, units: str, calendar: str) -> int:
    """Return a value of a NetCDF time axis, by the CF conventions.

    Args:
        value: the number, as text.
        units: "days since 2000-01-01 00:00:00" and the like.

    Raises:
        IngestError: if units or calendar are not understood.
    """
    if calendar.lower() not in (*_CALENDARS, *_YEARS):
        raise IngestError(
            f"the calendar {calendar!r} of the time axis cannot be turned into dates: give them yourself with dates=…"
        )
    match = _UNITS.fullmatch(units)
    length = _UNIT_MILLISECONDS.get(match["unit"].lower()) if match else None
    if match is None or length is None:
        raise IngestError(
            f"the units {units!r} of the time axis are not understood: give the dates themselves with dates=…"
        )
    start, passed = _reference(match["since"], calendar.lower()), round(float(value) * length)
    year = _YEARS.get(calendar.lower())
    return start + passed if year is None else _add_to_equal_years(start, passed, year)


def _add_to_equal_years(start: int, passed: int, length: int) -> int:
    """Return a later time of a calendar whose years have 365 days, or 360 in months of 30.

    Raises:
        IngestError: if the reference time, or the later one, is no date of both calendars, as 30 February.
    """
    moment = _EPOCH + timedelta(milliseconds=start)
    days, rest = divmod(start % _DAY + passed, _DAY)
    try:
        if length == 360:
            if moment.day > 30:
                raise ValueError(f"{moment:%Y-%m-%d}")
            year, day = divmod(moment.year * 360 + (moment.month - 1) * 30 + moment.day - 1 + days, 360)
            later = date(year, day // 30 + 1, day % 30 + 1)
        else:
            first = date(2001, 1, 1)  # of a common year
            before = (date(first.year, moment.month, moment.day) - first).days
            year, day = divmod(moment.year * 365 + before + days, 365)
            later = (first + timedelta(days=day)).replace(year=year)
        return to_milliseconds(later) + rest
    except ValueError as error:
        raise IngestError(
            f"a time axis of years of {length} days has a date that is none ({error}): give the dates with dates=…"
        ) from error


def _reference(since: str, calendar: str) -> int:
    """Return the reference time of an axis. The standard calendar is the Julian one before 1582-10-15."""
    match = _SINCE.fullmatch(since)
    if match is None:
        return to_milliseconds(since)
    year, month, day = (int(match[part]) for part in "ymd")
    try:
        days = (date(year, month, day) - _EPOCH.date()).days
    except ValueError as error:
        raise IngestError(f"{since!r} is not a date: {error}") from error
    if calendar in ("standard", "gregorian") and (year, month, day) < (1582, 10, 15):
        turned = year - (month < 3)  # leap days end a year that begins in March
        days += turned // 100 - turned // 400 - 2
    minutes = int(match["H"] or 0) * 60 + int(match["M"] or 0)
    zone = int(match["z"] or 0) * 60
    zone += int(match["zm"] or 0) * (-1 if (match["z"] or "").startswith("-") else 1)
    return days * _DAY + (minutes - zone) * 60_000 + round(float(match["S"] or 0) * 1000)


def _parse(text: str) -> datetime:
    match = _ISO.fullmatch(text.strip().upper())  # t and z are allowed (RFC 3339, 5.6)
    if match is None:
        raise IngestError(f"{text!r} is not a date: write it like 2011-08-15 or 2011-08-15T17:30:00Z")
    offset = match["z"]
    zone = timezone.utc
    if offset and offset != "Z":
        minutes = int(offset[1:3]) * 60 + int(offset[-2:])
        zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    try:
        return datetime(
            int(match["y"]), int(match["m"]), int(match["d"]), int(match["H"] or 0), int(match["M"] or 0),
            int(match["S"] or 0), int((match["f"] or "").ljust(6, "0")), zone,
        )  # fmt: skip
    except ValueError as error:
        raise IngestError(f"{text!r} is not a date: {error}") from error
