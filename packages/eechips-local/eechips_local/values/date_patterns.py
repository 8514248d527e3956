"""Write and read dates by Joda-Time's patterns, as ``Date.format`` and ``Date.parse`` do.

Letters and counts are those of https://www.joda.org/joda-time/apidocs/org/joda/time/format/DateTimeFormat.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.calendar import (
    HOUR,
    MINUTE,
    UTC,
    Fields,
    Zone,
    check_field,
    date_of,
    days_of,
    is_leap,
    parse_zone,
    week_days,
)
from eechips_local.values.values import Date

ISO_PATTERN = "yyyy-MM-dd'T'HH:mm:ss"
"""The pattern of ``Date.format`` without one."""

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_HALVES = ("AM", "PM")
_ERAS = ("BC", "AD")
# Java's English names of zones. Other zones have theirs only in Java's own tables, so they are refused.
_ZONE_NAMES = {
    "UTC": "Coordinated Universal Time", "GMT": "Greenwich Mean Time",
    "PST": "Pacific Standard Time", "PDT": "Pacific Daylight Time",
    "MST": "Mountain Standard Time", "MDT": "Mountain Daylight Time",
    "CET": "Central European Time", "CEST": "Central European Summer Time",
    "EST": "Eastern Standard Time", "EDT": "Eastern Daylight Time",
    "AKST": "Alaska Standard Time", "AKDT": "Alaska Daylight Time",
}  # fmt: skip
_AMERICAN_NAMES = {"CST": "Central Standard Time", "CDT": "Central Daylight Time"}
# Joda-Time's names of zones that may be read.
_READ_ZONES = {
    "UT": "UTC", "UTC": "UTC", "GMT": "UTC", "EST": "America/New_York", "EDT": "America/New_York",
    "CST": "America/Chicago", "CDT": "America/Chicago", "MST": "America/Denver", "MDT": "America/Denver",
    "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles",
}  # fmt: skip
# Joda-Time reads two-digit years into the hundred years around thirty years before the current one. The window is kept
# at that of 2026, so that an expression means the same in every year.
_FIRST_SHORT_YEAR = 1946
_DEFAULT_YEAR = 2000  # Joda-Time's year of a month and day without one
_MOST_LETTERS = 1000


@dataclass(frozen=True, slots=True)
class _PatternToken:
    """A piece of a pattern: a letter repeated ``count`` times, or a literal text (``letter`` is then empty)."""

    letter: str
    count: int
    text: str = ""

    @property
    def numeric(self) -> bool:
        """Return whether the letter stands for digits."""
        return bool(self.letter) and (self.letter in "CxyYdhHkKmsSeDw" or (self.letter == "M" and self.count <= 2))


_PIECE = re.compile(r"'((?:[^']|'')*)'|''|([A-Za-z])\2*|[^A-Za-z']+|'")


@lru_cache(maxsize=256)
def _tokens(pattern: str) -> tuple[_PatternToken, ...]:
    if len(pattern) > _MOST_LETTERS or not pattern:
        raise InvalidError("Invalid pattern specification")
    tokens = []
    for piece in _PIECE.finditer(pattern):
        text, letter = piece.group(), piece.group(2)
        if letter and letter not in "GCxyYMdahHkKmsSeEDwzZ":
            raise InvalidError(f"Illegal pattern component: {text}")
        if letter:
            tokens.append(_PatternToken(letter, len(text)))
        elif text == "''":
            tokens.append(_PatternToken("", 0, "'"))
        elif text.startswith("'"):
            tokens.append(
                _PatternToken("", 0, text.strip("'") if piece.group(1) is None else piece.group(1).replace("''", "'"))
            )
        else:
            tokens.append(_PatternToken("", 0, text))
    return tuple(tokens)


def format_date(moment: int, pattern: str | None = None, zone: Zone = UTC) -> str:
    """Write a moment.

    Args:
        moment: milliseconds since 1970.
        pattern: Joda-Time's; None is ISO 8601 to the second.
        zone: whose clocks and calendar count.

    Raises:
        InvalidError: if the pattern has a letter that Joda-Time does not know, or needs the name of a zone that is
            not known here.
    """
    fields = Fields.at(moment, zone)
    return "".join(
        _written(token, fields, moment, zone) if token.letter else token.text
        for token in _tokens(pattern or ISO_PATTERN)
    )


def _written(token: _PatternToken, fields: Fields, moment: int, zone: Zone) -> str:
    letter, count = token.letter, token.count
    if letter in "xyY":
        year = {"x": fields.weekyear, "y": fields.year, "Y": _year_of_era(fields.year)}[letter]
        return _padded(abs(year) % 100, 2) if count == 2 else _padded(year, count)
    if letter in _NUMBERS:
        return _padded(_NUMBERS[letter](fields), count)
    if letter == "M":
        return _padded(fields.month, count) if count <= 2 else _text(_MONTHS[fields.month - 1], count)
    if letter == "E":
        return _text(_WEEKDAYS[fields.weekday - 1], count)
    if letter == "S":
        return f"{fields.millisecond:03}"[:count].ljust(count, "0")
    if letter == "a":
        return _HALVES[fields.hour // 12]
    if letter == "G":
        return _ERAS[fields.year > 0]
    return _zone_name(count, moment, zone) if letter == "z" else _offset(count, moment, zone)


_NUMBERS: Mapping[str, Callable[[Fields], int]] = {
    "C": lambda f: _year_of_era(f.year) // 100,
    "d": lambda f: f.day,
    "D": lambda f: f.day_of_year,
    "w": lambda f: f.week,
    "e": lambda f: f.weekday,
    "H": lambda f: f.hour,
    "k": lambda f: f.hour or 24,
    "K": lambda f: f.hour % 12,
    "h": lambda f: f.hour % 12 or 12,
    "m": lambda f: f.minute,
    "s": lambda f: f.second,
}


def _year_of_era(year: int) -> int:
    return year if year > 0 else 1 - year


def _padded(number: int, digits: int) -> str:
    return f"{'-' if number < 0 else ''}{abs(number):0{digits}}"


def _text(name: str, count: int) -> str:
    return name if count >= 4 else name[:3]


def _zone_name(count: int, moment: int, zone: Zone) -> str:
    short = zone.abbreviation(moment)
    if zone.region is None and zone is not UTC:
        return zone.id
    names = _ZONE_NAMES | (_AMERICAN_NAMES if zone.id.startswith(("America/", "US/", "CST")) else {})
    if short not in names:
        raise InvalidError(f"The local Earth Engine does not know the name of the time zone '{zone.id}'.")
    return names[short] if count >= 4 else short


def _offset(count: int, moment: int, zone: Zone) -> str:
    if count >= 3:
        return zone.id
    offset = zone.offset(moment)
    hours, rest = divmod(abs(offset), HOUR)
    return f"{'-' if offset < 0 else '+'}{hours:02}{':' if count == 2 else ''}{rest // MINUTE:02}"


def parse_with_pattern(text: str, pattern: str, zone: Zone = UTC) -> Date:
    """Read a date.

    Args:
        pattern: Joda-Time's. Missing fields are those of 1970-01-01T00:00, missing years of a month or day 2000.
        zone: where the date counts, unless the text names its own.

    Raises:
        InvalidError: if the text does not fit the pattern, or is no date; in the service's words
            (https://github.com/rfernand387/LEAF-Toolbox/issues/16).
    """
    reader = _DateReader(text)
    tokens = _tokens(pattern)
    try:
        for position, token in enumerate(tokens):
            reader.read(token, tokens[position + 1 :])
        if reader.position != len(text):
            raise reader.malformed()
        return Date(_assemble(reader.found).moment(reader.zone or zone) + reader.found.get("millisecond", 0))
    except InvalidError as error:
        message = f"Date/time '{text[:100]}' cannot be parsed with format '{pattern[:100]}'."
        raise InvalidError(message) from error


class _DateReader:
    """Reads a text token by token, collecting the fields."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.found: dict[str, int] = {}
        self.zone: Zone | None = None

    def malformed(self) -> InvalidError:
        return InvalidError(f"The text does not fit the pattern at position {self.position}.")

    def read(self, token: _PatternToken, following: Sequence[_PatternToken]) -> None:
        letter, count = token.letter, token.count
        if not letter:
            self._literal(token.text)
        elif letter in "xyY":
            self._year(letter, count, bool(following) and following[0].numeric)
        elif letter in _DIGITS:
            name, most = _DIGITS[letter]
            self.found[name] = int(self._match(rf"\d{{1,{max(most, count)}}}"))
        elif letter == "M" and count <= 2:
            self.found["month"] = int(self._match(r"\d{1,2}"))
        elif letter == "S":
            self.found["millisecond"] = int(self._match(rf"\d{{1,{count}}}").ljust(3, "0")[:3])
        elif letter in _CHOICES:
            name, choices, first = _CHOICES[letter]
            self.found[name] = self._choice(choices) + first
        elif letter == "z":
            self.zone = parse_zone(_READ_ZONES[self._match("|".join(sorted(_READ_ZONES, key=len, reverse=True)))])
        elif count >= 3:
            self.zone = parse_zone(self._match(r"[A-Za-z0-9_+\-/:]+"))
        else:
            self.zone = parse_zone(self._match(r"[+-]\d{2}(?::?\d{2})?"))

    def _match(self, expression: str) -> str:
        match = re.compile(expression, re.ASCII).match(self.text, self.position)
        if match is None:
            raise self.malformed()
        self.position = match.end()
        return match.group()

    def _literal(self, literal: str) -> None:
        if not self.text.lower().startswith(literal.lower(), self.position):
            raise self.malformed()
        self.position += len(literal)

    def _year(self, letter: str, count: int, followed_by_digits: bool) -> None:
        most = count if followed_by_digits else 9
        digits = self._match(rf"[+-]?\d{{1,{most}}}")
        year = int(digits)
        if count == 2 and len(digits) == 2 and digits.isdigit():
            year = _FIRST_SHORT_YEAR + (year - _FIRST_SHORT_YEAR) % 100
        self.found["weekyear" if letter == "x" else "year"] = year

    def _choice(self, choices: Sequence[str]) -> int:
        rest = self.text[self.position : self.position + 20].lower()
        names = [(name, index) for index, full in enumerate(choices) for name in (full, full[:3])]
        for name, index in sorted(names, key=lambda pair: -len(pair[0])):
            if rest.startswith(name.lower()):
                self.position += len(name)
                return index
        raise self.malformed()


_DIGITS: Mapping[str, tuple[str, int]] = {
    "C": ("century", 9), "d": ("day", 2), "D": ("day_of_year", 3), "w": ("week", 2), "e": ("weekday", 1),
    "H": ("hour", 2), "k": ("clock_hour", 2), "K": ("half_hour", 2), "h": ("clock_half_hour", 2),
    "m": ("minute", 2), "s": ("second", 2),
}  # fmt: skip
_CHOICES: Mapping[str, tuple[str, Sequence[str], int]] = {
    "M": ("month", _MONTHS, 1),
    "E": ("weekday", _WEEKDAYS, 1),
    "a": ("half", _HALVES, 0),
    "G": ("era", _ERAS, 0),
}


def _assemble(date_fields: Mapping[str, int]) -> Fields:
    clock = _hour(date_fields), date_fields.get("minute", 0), date_fields.get("second", 0)
    if "weekyear" in date_fields or "week" in date_fields:
        days = week_days(
            date_fields.get("weekyear", date_fields.get("year", 1970)),
            date_fields.get("week", 1),
            date_fields.get("weekday", 1),
        )
        return Fields(*date_of(days), *clock)
    if not date_fields.keys() & {"year", "century", "month", "day", "day_of_year"}:
        return Fields(1970, 1, 1, *clock)
    year = date_fields.get("year", 100 * date_fields["century"] if "century" in date_fields else _DEFAULT_YEAR)
    if date_fields.get("era") == 0:
        year = 1 - year
    if "day_of_year" in date_fields:
        check_field(date_fields["day_of_year"], "dayOfYear", 1, 366 if is_leap(year) else 365)
        return Fields(*date_of(days_of(year, 1, date_fields["day_of_year"])), *clock)
    return Fields(year, date_fields.get("month", 1), date_fields.get("day", 1), *clock)


def _hour(date_fields: Mapping[str, int]) -> int:
    half = 12 * date_fields.get("half", 0)
    if "half_hour" in date_fields:
        return check_field(date_fields["half_hour"], "hourOfHalfday", 0, 11) + half
    if "clock_half_hour" in date_fields:
        return check_field(date_fields["clock_half_hour"], "clockhourOfHalfday", 1, 12) % 12 + half
    if "clock_hour" in date_fields:
        return check_field(date_fields["clock_hour"], "clockhourOfDay", 1, 24) % 24
    return date_fields.get("hour", half)
