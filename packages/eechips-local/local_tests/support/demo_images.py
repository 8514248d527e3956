"""Images of the demo planet at a place and time."""

from __future__ import annotations

from datetime import date, datetime, timezone

from eechips_local.demo import DemoStore
from eechips_local.evaluation.asset_model import ImageAsset, Query

STORE = DemoStore(date(2025, 1, 1))
FARMS = (-104.6, 40.4)


def millis(*when: int) -> float:
    """Return a date in milliseconds since 1970, UTC."""
    return datetime(*when, tzinfo=timezone.utc).timestamp() * 1000.0  # type: ignore[arg-type, misc]


def images(
    collection: str, place: tuple[float, float], start: tuple[int, ...], end: tuple[int, ...]
) -> list[ImageAsset]:
    """Return the images of a collection at a place, longitude and latitude in degrees, between two dates."""
    query = Query(bounds=(*place, *place), start=millis(*start), end=millis(*end))
    return list(STORE.get(collection).images(query))  # type: ignore[union-attr]
