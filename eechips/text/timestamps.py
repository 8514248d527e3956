"""Format and parse timestamps: the present time, milliseconds since 1970, dates, RFC 3339, and dates of
HTTP headers.
"""

from __future__ import annotations

import email.utils
import re
from datetime import datetime, timezone

_TIMESTAMP = re.compile(r"(?P<head>[^.]+?)(?:[.,](?P<fraction>\d+))?(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?")

_EXTENDED = re.compile(r"\d{4}-\d\d-\d\d(?:[T ].*)?", re.ASCII)
"""The form that every Python reads: from 3.11 on, they also read ``20200101`` and ``2020-W01-1``; services do not."""


def format_utc(milliseconds: float) -> str:
    """Format milliseconds since 1970 as ISO 8601 date and time, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc).isoformat().replace("+00:00", "Z")


def present() -> datetime:
    """Return the present time, UTC."""
    return datetime.now(timezone.utc)


def utc_now() -> str:
    """Return the present time, ISO 8601, UTC, milliseconds."""
    return present().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_http_date(text: str) -> datetime | None:
    """Parse the date of a header (RFC 9110, 5.6.7); None for any other text. The result is aware."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def parse_timestamp(text: str) -> datetime | None:
    """Parse an RFC 3339 timestamp, or a date of the form ``2020-01-31``; return None if the text is neither.

    The result is aware; a text without an offset is taken as UTC. ``datetime.fromisoformat`` of Python 3.10 accepts
    neither ``Z``, nor offsets of hours alone, nor fractions of other lengths than 3 and 6 digits.
    """
    head, zone = text.strip(), ""
    if "T" in head or " " in head or "t" in head:
        match = _TIMESTAMP.fullmatch(head)
        if match is None:
            return None
        head, zone = match["head"].replace("t", "T"), (match["zone"] or "")
        if match["fraction"]:
            head += f".{match['fraction'][:6]:0<6}"
        zone = "+00:00" if zone in ("Z", "z") else zone
        if len(zone) == 3:
            zone += ":00"
        elif len(zone) == 5:
            zone = f"{zone[:3]}:{zone[3:]}"
    if _EXTENDED.fullmatch(head) is None:
        return None
    try:
        moment = datetime.fromisoformat(head + zone)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
