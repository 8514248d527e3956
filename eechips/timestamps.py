"""Moments as text."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

_LONGEST_WAIT = 1e9  # seconds that a Retry-After can mean: some decades


def utc(milliseconds: float) -> str:
    """Milliseconds since 1970 as date and time, ISO 8601, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc).isoformat().replace("+00:00", "Z")


def utc_now() -> str:
    """The present time, ISO 8601, UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_http_date(text: str) -> datetime | None:
    """The moment that a header names (RFC 9110, 5.6.7), aware; None if it names none, whatever it says."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def parse_retry_after(headers: Mapping[str, str], now: Callable[[], datetime] | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait (RFC 9110, 10.2.3), or None.

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
