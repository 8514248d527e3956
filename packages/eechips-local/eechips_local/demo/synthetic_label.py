"""Mark the demo planet's data as synthetic."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

VERSION = 1_735_689_600_000_000
"""Version of every demo asset, microseconds since 1970: raised when what they show changes."""

NOTE = "Synthetic demo planet, not an observation"

DAY = 86_400_000
"""Milliseconds in a day."""


def marked(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties with the statement that the asset is synthetic."""
    return {**properties, "eechips:synthetic": 1, "description": NOTE}


def millis(year: int, month: int, day: int) -> int:
    """Return milliseconds from 1970 to a midnight of UTC."""
    return int(datetime(year, month, day, tzinfo=timezone.utc).timestamp()) * 1000


def date_of(milliseconds: float) -> datetime:
    """Return the date and time of UTC at milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000.0, tz=timezone.utc)
