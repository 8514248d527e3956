"""LANDSAT/LC08/C02/T1_L2 and LANDSAT/LC09/C02/T1_L2: their scenes, the days and times of passes, and the properties of
images.

Searches find scenes at intervals of 16 days. The name of a scene of any other day is answered as well: satellites left
their usual orbit for months, and only their archive has the list.

Bands, scales, offsets and bits: https://developers.google.com/earth-engine/datasets/catalog/LANDSAT_LC08_C02_T1_L2
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from affine import Affine

from eechips_local.demo import synthetic_label
from eechips_local.demo.image_search import ImageSearch
from eechips_local.demo.painting.noise import hashed
from eechips_local.demo.painting.painted_source import PaintedScene, PaintedSource
from eechips_local.demo.satellites import wrs
from eechips_local.demo.satellites.landsat_scenes import BANDS, overpass_of, stored
from eechips_local.demo.satellites.wrs import Swath, WrsScene
from eechips_local.demo.weather import cloud_cover, sunlight
from eechips_local.demo.weather.cloud_regime import CloudRegime
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query
from eechips_local.evaluation.lazy_values import Later, LazyMapping, LazySequence
from eechips_local.pixels.grids.pixel_grid import PixelGrid

_CYCLE = 16
_EPOCH = date(1970, 1, 1).toordinal()
_KNOWN = datetime(2014, 3, 18, 18, 46, 32, tzinfo=timezone.utc)
_KNOWN_PATH, _KNOWN_ROW = 44, 34
"""Landsat 8 saw the middle of that scene at that moment (LC08_044034_20140318)."""
_NEXT_PATH = 16
"""Paths to the west that the following revolution sees: 233 revolutions in 16 days see 233 paths."""


@dataclass(frozen=True, slots=True)
class Landsat(ImageSearch):
    """A ``CollectionAsset``: one of the satellites.

    Attributes:
        number: number of the satellite.
        first: no image is older.
        shift: days by which it follows Landsat 8.
        until: the first day without an image.
        regime: the sky over its scenes.
    """

    number: int
    first: date
    shift: int
    until: date
    regime: CloudRegime

    @property
    def prefix(self) -> str:
        """What the names of its scenes begin with: sensor and satellite."""
        return f"LC{self.number:02d}"

    @property
    def swath(self) -> Swath:
        """What its sensor sees of a scene."""
        return wrs.OLI

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        return f"LANDSAT/{self.prefix}/C02/T1_L2"

    @property
    def title(self) -> str:
        """The title of the collection."""
        return f"USGS Landsat {self.number} Level 2, Collection 2, Tier 1"

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        return synthetic_label.dated(self.title, self.first, self.until)

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        return (self.make_image(scene, when) for scene, when in self.passes(query))

    def passes(self, query: Query) -> Iterator[tuple[WrsScene, date]]:
        """Yield the scenes and days of passes that may match a query, all of them in its time."""
        for scene in wrs.scenes(query.bounds, self.swath):
            if query.admits("WRS_PATH", scene.path) and query.admits("WRS_ROW", scene.row):
                yield from ((scene, when) for when in self.days(scene, query))

    def count(self, query: Query) -> int | None:
        """See ``Counted.count``."""
        if query != Query(start=query.start, end=query.end):
            return None
        return sum(len(self._ordinals(scene, query)) for scene in wrs.scenes(None, self.swath))

    def examples(self, query: Query) -> Sequence[ImageAsset]:
        """See ``Exemplified.examples``."""
        return list(islice(self.search(Query(start=query.start, end=query.end)), 1))

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None: of any day of the mission."""
        match = re.fullmatch(rf"{self.prefix}_(\d{{3}})(\d{{3}})_(\d{{8}})", index)
        if match is None:
            return None
        scene = WrsScene(int(match[1]), int(match[2]))
        try:
            when = datetime.strptime(match[3], "%Y%m%d").date()
        except ValueError:
            return None
        if not wrs.known(scene) or not self.first <= when < self.until:
            return None
        return self.make_image(scene, when)

    def days(self, scene: WrsScene, query: Query) -> Iterator[date]:
        """Yield the days of passes in the time of a query."""
        return map(date.fromordinal, self._ordinals(scene, query))

    def _ordinals(self, scene: WrsScene, query: Query) -> range:
        """Return proleptic Gregorian ordinals of the days of passes in the time of a query."""
        first, last = self.first.toordinal(), self.until.toordinal()
        second = _second_of_day(scene)
        if query.start is not None:
            first = max(first, _first_day(query.start, second))
        if query.end is not None:
            last = min(last, _first_day(query.end, second))
        phase = _first_pass(scene).toordinal() + self.shift
        return range(first + (phase - first) % _CYCLE, last, _CYCLE)

    def make_image(self, scene: WrsScene, when: date) -> ImageAsset:
        """Return the image of a scene on a day."""
        overpass = replace(overpass_of(scene, when, self.regime), has_failures=True)
        index, time = f"{self.prefix}_{scene.name}_{when:%Y%m%d}", milliseconds_of(moment_of(scene, when))
        cloudy = Later(partial(_cloudy, scene, when, self.regime))
        properties = {
            "system:index": index,
            "system:time_start": time,
            "system:time_end": time,
            "CLOUD_COVER": cloudy,
            "CLOUD_COVER_LAND": cloudy,
            "WRS_PATH": scene.path,
            "WRS_ROW": scene.row,
        }
        return ImageAsset(
            f"{self.id}/{index}",
            self.bands_of(scene, overpass, {name: stored(name) for name in BANDS}),
            LazyMapping(properties, lambda: synthetic_label.marked(self._other_properties(scene, when))),
            wrs.outline(scene, self.swath),
            synthetic_label.VERSION,
        )

    def _other_properties(self, scene: WrsScene, when: date) -> dict[str, Any]:
        moment = moment_of(scene, when)
        azimuth, zenith = sunlight.sun(wrs.middle(scene)[1], when)
        product = f"{self.prefix}_L2SP_{scene.name}_{when:%Y%m%d}_{when + timedelta(days=12):%Y%m%d}_02_T1"
        properties: dict[str, Any] = {
            "COLLECTION_CATEGORY": "T1",
            "COLLECTION_NUMBER": 2,
            "DATE_ACQUIRED": f"{when:%Y-%m-%d}",
            **_registration(scene, when),
            "IMAGE_QUALITY_OLI": 9,
            "L1_LANDSAT_PRODUCT_ID": product.replace("L2SP", "L1TP"),
            "LANDSAT_PRODUCT_ID": product,
            "LANDSAT_SCENE_ID": f"{self.prefix[:2]}{self.number}{scene.name}{when:%Y%j}LGN00",
            "PROCESSING_LEVEL": "L2SP",
            "SCENE_CENTER_TIME": f"{moment:%H:%M:%S}.0000000Z",
            "SENSOR_ID": "OLI_TIRS",
            "SPACECRAFT_ID": f"LANDSAT_{self.number}",
            "SUN_AZIMUTH": azimuth,
            "SUN_ELEVATION": round(90.0 - zenith, 6),
            "TEMPERATURE_ADD_BAND_ST_B10": 149.0,
            "TEMPERATURE_MULT_BAND_ST_B10": 0.00341802,
            "UTM_ZONE": int(wrs.grid(scene, self.swath).crs[-2:]),
            "WRS_TYPE": 2,
        }
        for band in range(1, 8):
            properties[f"REFLECTANCE_ADD_BAND_{band}"] = -0.2
            properties[f"REFLECTANCE_MULT_BAND_{band}"] = 2.75e-05
        return properties

    def bands_of(
        self, scene: WrsScene, overpass: PaintedScene, stored: Mapping[str, tuple[str, bool]]
    ) -> Sequence[BandInfo]:
        """Return the bands of a scene, by the dtype of each and whether it is read smoothly."""
        # A search reads the properties of many images, and the bands of few.
        return LazySequence(partial(_bands, scene, self.swath, overpass, stored))


def _bands(
    scene: WrsScene, swath: Swath, overpass: PaintedScene, stored: Mapping[str, tuple[str, bool]]
) -> tuple[BandInfo, ...]:
    grid, (_, points) = wrs.grid(scene, swath), wrs.corners(scene, swath)
    sources: dict[tuple[str, bool, PixelGrid], PaintedSource] = {}
    bands = []
    for position, (name, (dtype, smooth)) in enumerate(stored.items()):
        own = panchromatic(grid) if name == "B8" else grid
        source = sources.setdefault((dtype, smooth, own), PaintedSource(own, overpass, dtype, smooth, points))
        bands.append(BandInfo(name, PixelType.of(dtype), own, source, position))
    return tuple(bands)


def panchromatic(grid: PixelGrid) -> PixelGrid:
    """Return the grid of the band of 15 m: its corner pixels have the same centres as the corner pixels of 30 m."""
    edge = grid.transform.a / 2
    corner = (grid.transform.c + edge / 2, grid.transform.f - edge / 2)
    return PixelGrid(
        grid.crs, Affine(edge, 0.0, corner[0], 0.0, -edge, corner[1]), 2 * grid.width - 1, 2 * grid.height - 1
    )


def _registration(scene: WrsScene, when: date) -> Mapping[str, float]:
    """Return how well a scene fits the ground control points, metres: Tier 1 has less than 12."""
    word = int(hashed(scene.path, scene.row, when.toordinal())[0])
    x, y = (2.0 + part % 4000 / 1000.0 for part in (word, word // 4000))
    names = ("GEOMETRIC_RMSE_MODEL", "GEOMETRIC_RMSE_MODEL_X", "GEOMETRIC_RMSE_MODEL_Y")
    return dict(zip(names, (round(math.hypot(x, y), 3), x, y), strict=True))


def _cloudy(scene: WrsScene, when: date, regime: CloudRegime) -> float:
    """Return the percentage of clouds of a scene on a day."""
    longitude, latitude = wrs.middle(scene)
    square = cloud_cover.square(longitude, latitude, 180_000.0)
    return round(cloud_cover.cover_percent(*square, when, regime=regime), 2)


@lru_cache(maxsize=32768)
def _first_pass(scene: WrsScene) -> datetime:
    """Return when Landsat 8 sees a scene in the sixteen days from ``_KNOWN`` on."""
    whole = (scene.path - _KNOWN_PATH) * pow(_NEXT_PATH, -1, wrs.PATHS) % wrs.PATHS
    revolutions = whole + (scene.row - _KNOWN_ROW) / wrs.ROWS
    return _KNOWN + timedelta(days=revolutions * _CYCLE / wrs.PATHS)


@lru_cache(maxsize=32768)
def _second_of_day(scene: WrsScene) -> int:
    """Return when a scene is seen: ten past ten by the sun, in seconds of the day as it is reckoned in Greenwich."""
    longitude = wrs.middle(scene)[0]
    moment = _first_pass(scene)
    seconds = int(36_600 - longitude * 240.0) % 86_400
    # Near midnight in Greenwich, the sun's ten past ten may belong to the day before or after.
    apart = seconds - (moment.hour * 3600 + moment.minute * 60 + moment.second)
    return 0 if apart > 43_200 else 86_399 if apart < -43_200 else seconds


def moment_of(scene: WrsScene, when: date) -> datetime:
    """Return when a scene is seen on the day of a pass."""
    midnight = datetime(when.year, when.month, when.day, tzinfo=timezone.utc)
    return midnight + timedelta(seconds=_second_of_day(scene))


def _first_day(milliseconds: float, second: int) -> int:
    """Return the ordinal of the first day of which a second is not before a time, milliseconds since 1970."""
    return _EPOCH + math.ceil((milliseconds / 1000.0 - second) / 86_400.0)


def milliseconds_of(when: datetime) -> int:
    """Return milliseconds since 1970, of whole seconds."""
    return int(when.timestamp()) * 1000


def collections(until: date, regime: CloudRegime) -> tuple[Landsat, Landsat]:
    """Return Landsat 8 and Landsat 9, up to a day."""
    return Landsat(8, date(2013, 3, 18), 0, until, regime), Landsat(9, date(2021, 10, 31), 8, until, regime)
