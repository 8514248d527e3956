"""Format and parse timestamps."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

_LONGEST_WAIT = 1e9  # seconds that a Retry-After can mean: some decades
_TIMESTAMP = re.compile(r"(?P<head>[^.]+?)(?:[.,](?P<fraction>\d+))?(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?")


def format_utc(milliseconds: float) -> str:
    """Return milliseconds since 1970 as date and time, ISO 8601, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc).isoformat().replace("+00:00", "Z")


def utc_now() -> str:
    """Return the present time, ISO 8601, UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_http_date(text: str) -> datetime | None:
    """Return the moment that a header names (RFC 9110, 5.6.7), aware; None if it names none, whatever it says."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def parse_retry_after(headers: Mapping[str, str], now: Callable[[], datetime] | None = None) -> float | None:
    """Return seconds that a ``Retry-After`` header asks to wait (RFC 9110, 10.2.3), or None.

    Args:
        headers: with lower-case names.
        now: the present time, for headers that name a date; the server's ``Date`` by default, as its clock and ours
            need not agree, and else our own.
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
