"""Scenes of a catalogue, and which of them a query asks for."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import shapely

from eechips_local.catalogs import CatalogStore
from eechips_local.catalogs.catalog_store import CatalogCollection
from eechips_local.evaluation.asset_model import Query
from local_tests.support.local_earth_engine import Server
from tests.support.catalog_items import item

COUNT = 2000
PLATFORMS = ("sentinel-2a", "sentinel-2b", None)


def scenes(count: int, collection: str = "test") -> list[dict[str, Any]]:
    """Scenes of a degree over North America and the Bering Sea, some across the antimeridian, in half a year."""
    chance = random.Random(7)
    found = []
    for number in range(count):
        west = (chance.uniform(172, 300) + 180) % 360 - 180
        south = chance.uniform(40, 64)
        east = west + 1.2 if west + 1.2 <= 180 else west + 1.2 - 360
        own: dict[str, Any] = {"platform": chance.choice(PLATFORMS), "orbit": chance.randrange(5)}
        own["proj:epsg"] = 32600 + chance.randrange(60)  # which is no property of images
        if chance.random() < 0.9:
            own["eo:cloud_cover"] = round(chance.uniform(0, 100), 1)
        when = f"2020-0{chance.randrange(1, 7)}-{chance.randrange(1, 29):02}T{chance.randrange(24):02}:00:00.123456Z"
        given_ = {name: value for name, value in own.items() if value is not None}
        found.append(item(f"s{number:05d}", (west, south, east, south + 1), when=when, collection=collection, **given_))
    chance.shuffle(found)
    return found


def collection(store: CatalogStore, name: str = "test") -> CatalogCollection:
    found = store.get(name)
    assert isinstance(found, CatalogCollection)
    return found


def start(value: Mapping[str, Any]) -> int:
    moment = datetime.fromisoformat(value["properties"]["datetime"].replace("Z", "+00:00"))
    return int(moment.timestamp() * 1000)


def place(box: Sequence[float]) -> Any:
    """A box as shapely has it, cut at the antimeridian, which belongs to both sides."""
    west, south, east, north = box
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    ends = {end for span in spans for end in span}
    spans += [(-edge, -edge) for edge in (-180.0, 180.0) if edge in ends]
    return shapely.union_all([_rectangle(a, south, b, north) for a, b in spans])


def _rectangle(west: float, south: float, east: float, north: float) -> Any:
    if west < east and south < north:
        return shapely.box(west, south, east, north)
    is_point = west == east and south == north
    return shapely.Point(west, south) if is_point else shapely.LineString([(west, south), (east, north)])


class Scenes:
    """Items, and what each by itself says to a query."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = items
        self._places = np.array([place(value["bbox"]) for value in items])
        shapely.prepare(self._places)

    def matching(self, query: Query) -> list[str]:
        """Ids of those that are what a query asks for, in order."""
        within = np.ones(len(self.items), dtype=bool)
        if query.bounds is not None:
            within = shapely.intersects(self._places, place(query.bounds))
        found = zip(self.items, within.tolist(), strict=True)
        return sorted(value["id"] for value, is_there in found if is_there and passes(value, query))


def passes(value: Mapping[str, Any], query: Query) -> bool:
    """Whether an item is what a query asks for, wherever it is."""
    own = {**value["properties"], "system:index": value["id"], "system:time_start": start(value), "proj:epsg": None}
    if query.start is not None and start(value) < query.start:
        return False
    if query.end is not None and start(value) >= query.end:
        return False
    for name, span in query.ranges.items():
        number = own.get(name)
        if not (span.others if not isinstance(number, (int, float)) else span.least <= number <= span.greatest):
            return False
    return all(own.get(name) == wanted for name, wanted in query.equals.items())


def reads(server: Server) -> dict[str, int]:
    """Counts of what the server has read of catalogues."""
    found: dict[str, int] = server.stats()["catalogs"]
    return found
