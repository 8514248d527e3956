"""Match images to the dates of labels."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from eechips.errors import UsageError
from eechips.text.timestamps import format_utc, parse_timestamp

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
    if moment.time() == dt.time():
        return moment.date().isoformat()
    return format_utc(milliseconds)


def parse_moment(text: str) -> int:
    """Parse the text of :func:`format_moment` into milliseconds since 1970."""
    moment = parse_timestamp(text)
    if moment is None:
        raise ValueError(f"{text!r} is not a timestamp")
    return round(moment.timestamp() * 1000)
