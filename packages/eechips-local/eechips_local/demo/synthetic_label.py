"""Mark the demo planet's data as synthetic, and state the version of its assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone
from typing import Any

from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.asset_model import BandInfo, ImageAsset

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


def midnight(day: date) -> int:
    """Return milliseconds from 1970 to the midnight of UTC at which a day begins."""
    return millis(day.year, day.month, day.day)


def dated(title: str, first: date, end: date) -> dict[str, Any]:
    """Return the properties of a collection: its title, the day of its first image and the day after the last."""
    return marked({"title": title, "date_range": [midnight(first), midnight(end)]})


def image(
    collection: str,
    bands: Sequence[BandInfo],
    properties: Mapping[str, Any],
    footprint: BaseGeometry,
    *,
    is_composite: bool = False,
) -> ImageAsset:
    """Return an image of a collection by its properties, which include ``system:index``, marked as synthetic."""
    asset_id = f"{collection}/{properties['system:index']}"
    return ImageAsset(asset_id, bands, marked(properties), footprint, VERSION, is_composite)


def date_of(milliseconds: float) -> datetime:
    """Return the date and time of UTC at milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000.0, tz=timezone.utc)
