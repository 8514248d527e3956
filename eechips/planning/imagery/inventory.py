"""List the images of a collection with their times and pixel grids, and group them by pass: day or orbit
(``mosaic_by``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ee

from eechips.client.table_rows import refusing_other_values
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.planning import planning_requests
from eechips.text.timestamps import format_utc

_OF_IMAGE = "property_"  # names of the columns with properties of images, which end with a number


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
        properties: those that were asked for, None where the image lacks one.
    """

    index: str
    time: int | None
    grid: Grid
    is_bounded: bool
    is_stored: bool
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def moment(self) -> str | None:
        """Time of acquisition, ISO 8601, UTC; None if unknown."""
        return None if self.time is None else format_utc(self.time)

    @property
    def day(self) -> dt.date | None:
        """Day of acquisition, UTC; None if unknown."""
        return _day(self.time)


@dataclass(frozen=True, slots=True)
class SceneQuery:
    """Which images to list, and what of them.

    Attributes:
        collection: filtered images of the dataset.
        dataset: id of the collection.
        band: name of the band whose grid is returned; every image has it.
        properties: names of properties to return.
    """

    collection: ee.ImageCollection
    dataset: str
    band: str
    properties: tuple[str, ...] = ()

    def over(self, region: ee.Geometry) -> SceneQuery:
        """Return the query for the images that also meet a geometry on the server."""
        return replace(self, collection=self.collection.filterBounds(region))


def list_scenes(query: SceneQuery) -> list[Scene]:
    """List images by time, those without a time first, then by index.

    It sends one request for each thousand images, which returns their sizes and projections, too.
    """

    def describe(element: Any) -> Any:
        image: Any = ee.Image(element)
        bands = ee.List(ee.Dictionary(ee.Algorithms.Describe(image.select([query.band]))).get("bands"))
        about = ee.Dictionary(bands.get(0))
        return ee.Feature(
            None,
            {
                "index": image.get("system:index"),
                "id": image.get("system:id"),
                "time": image.get("system:time_start"),
                "crs": about.get("crs", about.get("crs_wkt", "")),
                "crs_transform": about.get("crs_transform"),
                "dimensions": about.get("dimensions", []),
                "origin": about.get("origin", [0, 0]),
                **{f"{_OF_IMAGE}{number}": image.get(name) for number, name in enumerate(query.properties)},
            },
        )

    scenes = [_scene(feature["properties"], query) for feature in _features(query.collection, describe)]
    return sorted(scenes, key=lambda scene: (scene.time is not None, scene.time or 0, scene.index))


def fetch_last_day(collection: ee.ImageCollection) -> dt.date | None:
    """Return the day of the latest image of a collection, UTC; None if no image has a time. One request."""
    return _day(collection.aggregate_max("system:time_start").getInfo())


def _day(milliseconds: float | None) -> dt.date | None:
    return None if milliseconds is None else dt.datetime.fromtimestamp(milliseconds / 1000, tz=dt.timezone.utc).date()


def fetch_first_scene(query: SceneQuery) -> Scene | None:
    """Return the earliest of the images; None if there are none. One request."""
    scenes = list_scenes(replace(query, collection=query.collection.sort("system:time_start").limit(1)))
    return scenes[0] if scenes else None


def _features(collection: ee.ImageCollection, describe: Any) -> Iterator[dict[str, Any]]:
    cure = "`start` and `end` that are nearer to each other, or a smaller region (`roi`)"
    return planning_requests.fetch_features(ee.FeatureCollection(collection.map(describe)), noun="images", cure=cure)


@refusing_other_values()
def _scene(about: dict[str, Any], query: SceneQuery) -> Scene:
    """Read the properties that :func:`list_scenes` requests; what an image may lack is missing or null."""
    time, index = about.get("time"), about["index"]
    pixels = {name: about[name] for name in ("crs", "crs_transform", "dimensions", "origin")}
    return Scene(
        index=index,
        time=None if time is None else int(time),
        grid=Grid.of_band(pixels),
        is_bounded=bool(pixels["dimensions"]),
        is_stored=about.get("id") == f"{query.dataset}/{index}",
        properties={name: about.get(f"{_OF_IMAGE}{number}") for number, name in enumerate(query.properties)},
    )


PassKind = Literal["day", "orbit"]
"""What the images of a pass have in common besides the platform: the day, UTC, or the orbit."""

PASS_KINDS: tuple[PassKind, ...] = ("day", "orbit")

PLATFORM_PROPERTIES = ("SPACECRAFT_NAME", "SPACECRAFT_ID", "platform_number", "platform")
"""Properties with the name of the satellite: of Sentinel-2, Landsat, Sentinel-1 and STAC items."""

ORBIT_PROPERTIES = (
    *("sat:absolute_orbit", "SENSING_ORBIT_NUMBER", "relativeOrbitNumber_start", "sat:relative_orbit"),
    *("WRS_PATH", "landsat:wrs_path"),
)
"""Properties with the number of the orbit, absolute or relative; the first that an image has counts.

SENSING_ORBIT_NUMBER is Sentinel-2's relative orbit, WRS_PATH Landsat's path.
"""

PASS_PROPERTIES = (*PLATFORM_PROPERTIES, *ORBIT_PROPERTIES)
"""All properties that :func:`group_passes` reads."""

HALF_ORBIT = 3_000_000
"""Milliseconds between images of the same orbit above which they are of different passes.

Landsat takes 99 minutes for an orbit (https://landsat.usgs.gov/what-are-orbit-paths-landsat-satellites), other such
satellites about as long; a pass over the lit side of the Earth is half of an orbit. Relative orbits repeat after days.
"""


def group_passes(scenes: Sequence[Scene], kind: PassKind, dataset: str) -> list[list[Scene]]:
    """Group images by pass.

    Images of a pass have the same platform, if they name one, and the same day or the same orbit. Images without a time
    are passes of their own.

    Args:
        scenes: by time, with :data:`PASS_PROPERTIES`.
        kind: ``day`` or ``orbit``.
        dataset: name of the collection, for the error.

    Returns:
        The images of each pass, by time; the passes by the time of their first image.

    Raises:
        UsageError: if an image has no number of an orbit, which ``orbit`` needs.
    """
    groups: list[list[Scene]] = []
    latest: dict[Any, list[Scene]] = {}
    for scene in scenes:
        key = _first_of(scene, PLATFORM_PROPERTIES), scene.day if kind == "day" else _orbit(scene, dataset)
        group = None if scene.time is None else latest.get(key)
        if group is None or (kind == "orbit" and (scene.time or 0) - (group[-1].time or 0) > HALF_ORBIT):
            group = []
            groups.append(group)
            if scene.time is not None:
                latest[key] = group
        group.append(scene)
    return groups


def _orbit(scene: Scene, dataset: str) -> Any:
    number = _first_of(scene, ORBIT_PROPERTIES)
    if number is None:
        raise UsageError(
            f"mosaic_by='orbit': the image {scene.index} of {dataset} has no number of an orbit"
            f" ({', '.join(ORBIT_PROPERTIES)}): take mosaic_by='day'"
        )
    return number


def _first_of(scene: Scene, names: Iterable[str]) -> Any:
    """Return the first of some properties that an image has; None if it has none."""
    values = map(scene.properties.get, names)
    return next((value for value in values if value is not None), None)
