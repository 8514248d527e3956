"""Divide a range of days into periods by a calendar step, such as "1 month"; parse days, and the window
around the dates of labels.
"""

from __future__ import annotations

import calendar
import datetime as dt
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from eechips.errors import UsageError
from eechips.text.timestamps import format_utc, parse_timestamp

Span = Literal["day", "week", "month", "season", "year"]

SPANS: tuple[Span, ...] = ("day", "week", "month", "season", "year")

_STEP = re.compile(r"\s*(?P<count>\d{1,9})?\s*(?P<span>[a-z]+)\s*", re.IGNORECASE)
_SHORT: dict[str, Span] = {"d": "day", "w": "week", "y": "year"}  # m might be a minute
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "season": 3, "year": 12}
_END = dt.date.max.toordinal()  # no period begins after this day
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Period:
    """Consecutive days.

    Attributes:
        start: first day.
        end: day after the last.
    """

    start: dt.date
    end: dt.date

    @property
    def days(self) -> int:
        """Number of days, at least one."""
        return (self.end - self.start).days


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the calendar.

    Days, weeks, months and years are counted from the first day: with a step of a month, the n-th period starts n
    months after that day, or on the last day of a shorter month, so that 28 February and 31 March follow 31 January.
    Seasons are meteorological: they start on the first of December, March, June and September; the first one starts
    later if the first day does.

    Attributes:
        count: spans in a step, at least 1.

    Raises:
        UsageError: if the count is not at least 1.
    """

    count: int
    span: Span

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"a step must be at least 1 {self.span}, not {self.count}")

    def __str__(self) -> str:
        return f"{self.count} {self.span}{'s' if self.count > 1 else ''}"

    def floor(self, day: dt.date) -> dt.date:
        """Return the first day of the month, season or year that a day is in; the day itself for days and weeks.

        Periods start there by default: those of a month are calendar months.
        """
        if self.span == "month":
            return day.replace(day=1)
        if self.span == "year":
            return day.replace(month=1, day=1)
        if self.span == "season":
            return _months_after(day.replace(day=1), -(day.month % 3)) or day
        return day

    def periods(self, start: dt.date, end: dt.date) -> Iterator[Period]:
        """Return the periods between two days, in order and without gaps.

        Args:
            start: first day of the first period.
            end: day after the last one; the last period ends here, even if it is shorter than the step.

        Raises:
            UsageError: if the start is not before the end.
        """
        if start >= end:
            raise UsageError(f"the start ({start}) must be before the end ({end}), which is exclusive")
        return self._periods(start, end)

    def last_end(self, start: dt.date, bound: dt.date) -> dt.date | None:
        """Return the end of the last whole period that ends at a day or before it; None if there is none.

        Args:
            start: first day of the first period.
        """
        latest_end = None
        for period in self._periods(start, dt.date.max):
            if period.end > bound:
                break
            latest_end = period.end
        return latest_end

    def _periods(self, start: dt.date, end: dt.date) -> Iterator[Period]:
        origin = self.floor(start) if self.span == "season" else start
        number, first = 0, start
        while first < end:
            number += 1
            following = self._after(origin, number)
            last = end if following is None else min(following, end)
            yield Period(first, last)
            first = last

    def _after(self, origin: dt.date, steps: int) -> dt.date | None:
        """Return the day a number of steps after another; None beyond the calendar."""
        if self.span in _DAYS:
            ordinal = origin.toordinal() + steps * self.count * _DAYS[self.span]
            return dt.date.fromordinal(ordinal) if ordinal <= _END else None
        return _months_after(origin, steps * self.count * _MONTHS[self.span])


def parse_step(text: str) -> Step:
    """Parse a step of the calendar.

    Args:
        text: ``1 month``, ``16 days``, ``week``, ``season``, ``16d``: a span, with a number unless it is 1.

    Raises:
        UsageError: if the text is not a step.
    """
    match = _STEP.fullmatch(text)
    word = match["span"].lower() if match else ""
    span = _SHORT.get(word) or next((span for span in SPANS if word in (span, f"{span}s")), None)
    if match is None or span is None:
        raise UsageError(f"{text!r} is not a step of time: a number and one of {', '.join(SPANS)}, as in '16 days'")
    return Step(int(match["count"] or 1), span)


def warn_of_cut_period(step: Step | None, start: str | None, end: str | None) -> None:
    """Warn if the end cuts the last period: its sum is of fewer days, and no extension completes it.

    Args:
        step: None if there are no periods.
        start: first day of the first period, YYYY-MM-DD; None for that of the archive.
        end: day after the last one; None for that of the archive.
    """
    if step is None or start is None or end is None:
        return
    last = parse_day(end)
    for period in step.periods(parse_day(start), dt.date.max):
        if period.end >= last:
            break
    if period.end > last:
        days = Period(period.start, last).days
        _log.warning(
            "`end` cuts the last period: it has %s of its %s days, from %s, and no extension or update can complete it;"
            " for all of them, `end` %s",
            days,
            period.days,
            period.start,
            period.end,
        )


def parse_day(text: str) -> dt.date:
    """Parse a day, YYYY-MM-DD.

    Raises:
        UsageError: if the text is not a day, or has a time: periods consist of whole days.
    """
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise UsageError(f"{text!r} is not a day (YYYY-MM-DD)") from None


def _months_after(day: dt.date, months: int) -> dt.date | None:
    """Return the day a number of months later, or the last day of a shorter month; None beyond the calendar."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not dt.MINYEAR <= year <= dt.MAXYEAR:
        return None
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


_WINDOW = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(h|d|w)\s*", re.IGNORECASE)
_UNITS = {"h": dt.timedelta(hours=1), "d": dt.timedelta(days=1), "w": dt.timedelta(weeks=1)}


@dataclass(frozen=True, slots=True)
class DateMatch:
    """Date of a chip's label, and the interval of images that match it.

    Attributes:
        moment: moment of the label, ISO 8601.
        first: start of the interval, inclusive, ISO 8601.
        last: end of the interval, exclusive, ISO 8601.
    """

    moment: str
    first: str
    last: str


def parse_window(text: str) -> dt.timedelta:
    """Parse a duration such as ``30d``, ``12h`` or ``2w``: the maximum time between an image and its label.

    Raises:
        UsageError: if the text is not a duration above zero.
    """
    match = _WINDOW.fullmatch(text)
    try:
        window = float(match[1]) * _UNITS[match[2].lower()] if match else dt.timedelta()
    except OverflowError:
        window = dt.timedelta()
    if not window:
        raise UsageError(f"near={text!r} is not a time such as 30d, 12h or 2w")
    return window


def format_moment(milliseconds: float) -> str:
    """Format milliseconds since 1970 as ISO 8601, UTC: a date at midnight, else a date and time."""
    moment = dt.datetime.fromtimestamp(milliseconds / 1000, tz=dt.timezone.utc)
    return moment.date().isoformat() if moment.time() == dt.time() else format_utc(milliseconds)


def parse_moment(text: str) -> int:
    """Parse the text of :func:`format_moment` into milliseconds since 1970."""
    moment = parse_timestamp(text)
    if moment is None:
        raise ValueError(f"{text!r} is not a timestamp")
    return round(moment.timestamp() * 1000)
