"""Format and parse timestamps."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

_LONGEST_WAIT = 1e9  # maximum seconds of a Retry-After: some decades
_TIMESTAMP = re.compile(r"(?P<head>[^.]+?)(?:[.,](?P<fraction>\d+))?(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?")


def format_utc(milliseconds: float) -> str:
    """Format milliseconds since 1970 as ISO 8601 date and time, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc).isoformat().replace("+00:00", "Z")


def utc_now() -> str:
    """Return the present time, ISO 8601, UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_http_date(text: str) -> datetime | None:
    """Parse the date of a header (RFC 9110, 5.6.7); None for any other text. The result is aware."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def parse_retry_after(headers: Mapping[str, str], now: Callable[[], datetime] | None = None) -> float | None:
    """Return the seconds of a ``Retry-After`` header (RFC 9110, 10.2.3); None without one.

    Args:
        headers: with lower-case names.
        now: returns the present time, for headers with a date; None for the server's ``Date``, since its clock may
            differ, or else the time of this machine.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), _LONGEST_WAIT)
    date = parse_http_date(value)
    if date is None:
        return None
    present = now() if now is not None else parse_http_date(headers.get("date", "")) or datetime.now(timezone.utc)
    return max(0.0, (date - present).total_seconds())


def parse_timestamp(text: str) -> datetime | None:
    """Parse an ISO 8601 or RFC 3339 timestamp or date; return None if the text is neither.

    The result is aware; a text without an offset is taken as UTC. ``datetime.fromisoformat`` of Python 3.10 accepts
    neither ``Z``, nor offsets of hours alone, nor fractions of other lengths than 3 and 6 digits.
    """
    head, zone = text.strip(), ""
    if "T" in head or " " in head or "t" in head:
        found = _TIMESTAMP.fullmatch(head)
        if found is None:
            return None
        head, zone = found["head"].replace("t", "T"), (found["zone"] or "")
        if found["fraction"]:
            head += f".{found['fraction'][:6]:0<6}"
        zone = "+00:00" if zone in ("Z", "z") else zone
        if len(zone) == 3:
            zone += ":00"
        elif len(zone) == 5:
            zone = f"{zone[:3]}:{zone[3:]}"
    try:
        moment = datetime.fromisoformat(head + zone)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
