"""Dates as Earth Engine counts them: milliseconds since 1970-01-01 UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_datetime(milliseconds: float) -> datetime:
    """The UTC datetime of a number of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def to_milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware datetime."""
    return round((moment - _EPOCH) / timedelta(milliseconds=1))
