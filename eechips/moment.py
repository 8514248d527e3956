"""Moments as text."""

from __future__ import annotations

from datetime import datetime, timezone


def utc(milliseconds: float) -> str:
    """Milliseconds since 1970 as date and time, ISO 8601, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc).isoformat().replace("+00:00", "Z")


def utc_now() -> str:
    """The present time, ISO 8601, UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
