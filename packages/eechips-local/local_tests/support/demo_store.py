"""The demo planet as a store, and what queries find in it."""

from __future__ import annotations

from datetime import date, datetime, timezone

import shapely

from eechips_local.demo import DemoStore
from eechips_local.evaluation.asset_model import ImageAsset, Query

STORE = DemoStore(date(2025, 1, 1))


def millis(*when: int) -> float:
    return datetime(*when, tzinfo=timezone.utc).timestamp() * 1000.0  # type: ignore[arg-type, misc]


def found(collection: str, query: Query) -> list[ImageAsset]:
    return list(STORE.get(collection).images(query))  # type: ignore[union-attr]


def american(longitude: float, latitude: float) -> bool:
    return bool(
        shapely.contains_xy(
            next(r.geometry for r in STORE.get("FAO/GAUL/2015/level0").rows(Query(equals={"ADM0_CODE": 259}))),  # type: ignore[union-attr]
            longitude,
            latitude,
        )
    )
