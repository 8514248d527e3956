"""Match images to the dates of labels."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from eechips.errors import UsageError
from eechips.timestamps import format_utc

_WINDOW = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(h|d|w)\s*", re.IGNORECASE)
_UNITS = {"h": dt.timedelta(hours=1), "d": dt.timedelta(days=1), "w": dt.timedelta(weeks=1)}


@dataclass(frozen=True, slots=True)
class DateMatch:
    """The date that a chip is paired with.

    Attributes:
        moment: ISO 8601.
        first: moment of the earliest image that may be shown.
        last: the moment after that of the latest.
    """

    moment: str
    first: str
    last: str


def parse_window(text: str) -> dt.timedelta:
    """Return the time of ``30d``, ``12h`` or ``2w``: an image may be so much older or younger than its label.

    Raises:
        UsageError: if it is none, or not above zero.
    """
    found = _WINDOW.fullmatch(text)
    try:
        window = float(found[1]) * _UNITS[found[2].lower()] if found else dt.timedelta()
    except OverflowError:
        window = dt.timedelta()
    if not window:
        raise UsageError(f"window={text!r} is not a time such as 30d, 12h or 2w")
    return window


def format_moment(milliseconds: float) -> str:
    """Milliseconds since 1970 as ISO 8601, UTC: a day where that is all, else a moment."""
    moment = dt.datetime.fromtimestamp(milliseconds / 1000, tz=dt.timezone.utc)
    if moment.time() == dt.time():
        return moment.date().isoformat()
    return format_utc(milliseconds)


def parse_moment(text: str) -> int:
    """Return the inverse of :func:`format_moment`."""
    moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
    return round(moment.timestamp() * 1000)
