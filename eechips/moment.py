"""Moments as text."""

from __future__ import annotations

from datetime import datetime, timezone


def utc_now() -> str:
    """The present time, ISO 8601, UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
