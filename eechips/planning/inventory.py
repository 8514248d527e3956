"""List the images of a collection with their times and pixel grids."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ee

from eechips.geo.grid import Grid
from eechips.planning import planning_requests
from eechips.text.timestamps import format_utc


@dataclass(frozen=True, slots=True)
class Scene:
    """An image of a collection.

    Attributes:
        index: its ``system:index``.
        time: its ``system:time_start`` in milliseconds since 1970, or None.
        grid: native pixel grid of a band; of one pixel if the server does not return the size.
        is_bounded: whether the server returned the size.
        is_stored: whether the image has an id: the collection's, a slash, and the index. Images of computed
            collections have none.
    """

    index: str
    time: int | None
    grid: Grid
    is_bounded: bool
    is_stored: bool

    @property
    def moment(self) -> str | None:
        """Time of acquisition, ISO 8601, UTC; None if unknown."""
        return None if self.time is None else format_utc(self.time)

    @property
    def day(self) -> dt.date | None:
        """Day of acquisition, UTC; None if unknown."""
        return None if self.time is None else dt.datetime.fromtimestamp(self.time / 1000, tz=dt.timezone.utc).date()


def list_scenes(collection: ee.ImageCollection, dataset: str, band: str) -> list[Scene]:
    """List the images of a collection by time, those without a time first, then by index.

    It sends one request for each thousand images, which returns their sizes and projections, too.

    Args:
        collection: filtered images of the dataset.
        dataset: id of the collection.
        band: name of the band whose grid is returned; every image has it.
    """

    def describe(element: Any) -> Any:
        image: Any = ee.Image(element)
        bands = ee.List(ee.Dictionary(ee.Algorithms.Describe(image.select([band]))).get("bands"))
        about = ee.Dictionary(bands.get(0))
        return ee.Feature(
            None,
            {
                "index": image.get("system:index"),
                "id": image.get("system:id"),
                "time": image.get("system:time_start"),
                "crs": about.get("crs", about.get("crs_wkt", "")),
                "transform": about.get("crs_transform"),
                "size": about.get("dimensions", []),
                "origin": about.get("origin", [0, 0]),
            },
        )

    found = [_scene(feature["properties"], dataset) for feature in _features(collection, describe)]
    return sorted(found, key=lambda scene: (scene.time is not None, scene.time or 0, scene.index))


def fetch_last_day(collection: ee.ImageCollection) -> dt.date | None:
    """Return the day of the latest image of a collection, UTC; None if no image has a time. One request."""
    time = collection.aggregate_max("system:time_start").getInfo()
    return None if time is None else dt.datetime.fromtimestamp(time / 1000, tz=dt.timezone.utc).date()


def fetch_first_scene(collection: ee.ImageCollection, dataset: str, band: str) -> Scene | None:
    """Return the earliest image of a collection; None if it has none. One request."""
    found = list_scenes(collection.sort("system:time_start").limit(1), dataset, band)
    return found[0] if found else None


def _features(collection: ee.ImageCollection, describe: Any) -> Iterator[dict[str, Any]]:
    cure = "`start` and `end` that are nearer to each other, or a smaller region (`roi`)"
    return planning_requests.fetch_features(ee.FeatureCollection(collection.map(describe)), noun="images", cure=cure)


def _scene(about: dict[str, Any], dataset: str) -> Scene:
    a, b, c, d, e, f = (float(number) for number in about["transform"])
    time = about.get("time")
    size = about.get("size") or ()
    grid = Grid(about["crs"], (a, b, c, d, e, f), 1, 1)
    if size:
        column, row = about["origin"]
        grid = grid.window(int(column), int(row), int(size[0]), int(size[1]))
    return Scene(
        index=about["index"],
        time=None if time is None else int(time),
        grid=grid,
        is_bounded=bool(size),
        is_stored=about.get("id") == f"{dataset}/{about['index']}",
    )
