"""LANDSAT/LC08/C02/T1_L2 and LANDSAT/LC09/C02/T1_L2: surface reflectance and temperature, scene by scene.

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
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.demo import (
    climate,
    cloud_cover,
    ground_cover,
    landcover,
    mercator,
    noise,
    synthetic_label,
    upsampling,
    wrs,
)
from eechips_local.demo.image_search import ImageSearch
from eechips_local.demo.mercator import Rect
from eechips_local.demo.noise import hashed
from eechips_local.demo.painted_source import PaintedScene, PaintedSource
from eechips_local.demo.terrain import nodes
from eechips_local.demo.wrs import Swath, WrsScene
from eechips_local.evaluation.model import BandInfo, ImageAsset, Later, LazyMapping, PixelType, Query
from eechips_local.pixels.pixel_grid import PixelGrid

_CYCLE = 16
_EPOCH = date(1970, 1, 1).toordinal()
_KNOWN = datetime(2014, 3, 18, 18, 46, 32, tzinfo=timezone.utc)
_KNOWN_PATH, _KNOWN_ROW = 44, 34
"""Landsat 8 saw the middle of that scene at that moment (LC08_044034_20140318)."""
_NEXT_PATH = 16
"""Paths to the west that the following revolution sees: 233 revolutions in 16 days see 233 paths."""

_REFLECTANCE = {
    "SR_B1": "blue",
    "SR_B2": "blue",
    "SR_B3": "green",
    "SR_B4": "red",
    "SR_B5": "nir",
    "SR_B6": "swir1",
    "SR_B7": "swir2",
}
# Band and constant value of those that say little.
_PLAIN = {
    "ST_ATRAN": 8600,
    "ST_CDIST": 1200,
    "ST_DRAD": 700,
    "ST_EMIS": 9780,
    "ST_EMSD": 40,
    "ST_QA": 180,
    "ST_TRAD": 8800,
    "ST_URAD": 1100,
    "QA_RADSAT": 0,
}
BANDS = (
    *_REFLECTANCE,
    "SR_QA_AEROSOL",
    "ST_B10",
    "ST_ATRAN",
    "ST_CDIST",
    "ST_DRAD",
    "ST_EMIS",
    "ST_EMSD",
    "ST_QA",
    "ST_TRAD",
    "ST_URAD",
    "QA_PIXEL",
    "QA_RADSAT",
)
_CLOUD = {"swir1": 0.42, "swir2": 0.34}
_CLOUD_TOP = 0.68
# Values of QA_PIXEL in the format guide: clear land, water, snow, cloud, cloud shadow.
_CLEAR, _WATER, _SNOW, _OPAQUE, _SHADOW = 21824, 21952, 30048, 22280, 23888
_DILATED = 0b1000010
"""Bits of QA_PIXEL that change where a cloud is near: "dilated cloud" is set, and "clear" is not."""
_CIRRUS = 0x8004
"""Bits of cirrus and of high confidence in it: 54596 is clear land under it, 55052 a cloud."""
_DILATION = 90.0
"""Metres by which clouds are dilated: cldpix of Fmask, 3 pixels, https://github.com/GERSL/Fmask"""
# Values of SR_QA_AEROSOL, all interpolated: little, some, much aerosol; water, or a place where none was retrieved.
_LITTLE, _SOME, _MUCH, _NOT_RETRIEVED = 96, 160, 224, 100
_HAZE = 0.03
"""Reflectance of the haze beside a cloud in the bands that see aerosol."""
_FAILURES = (0.0005, 0.0033)
"""Share of pixels whose correction fails far from clouds, and how much larger it is in them.

By shares of pixels with data, and without clouds, of six images of Stellenbosch in the documentation of geedim 1.2.0:
99.98 and 94.90%, 99.97 and 95.07%, 99.91 and 95.82%, 99.87 and 95.21%, 99.83 and 55.62%, 99.79 and 60.35%.
"""
_FAILURE_CELL, _FAILURE_SEED = 32, 1201
"""Units along the edge of a pixel that fails or not."""
_RATIO_CELL = 4096
"""Units between places whose ratio of blue to red is known: nearly the 0.05 degrees of LaSRC."""


@dataclass(frozen=True, slots=True)
class LandsatOverpass:
    """Scene of a pass.

    Attributes:
        north: latitude of its middle.
        has_failures: whether pixels that are corrected by too much lack their reflectance, as in products of level 2.
    """

    when: date
    north: float
    has_failures: bool = False

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """See ``painted_source.PaintedScene``."""
        ground = ground_cover.ground(rect, self.when, climate.snow_line(self.when, self.north))
        names = [BANDS[band] for band in bands]
        margin = self._dilation(rect) if "QA_PIXEL" in names else 0
        wide = cloud_cover.sky(rect.grown(margin), self.when, self.north)
        clouds = wide.without_margin(margin)
        wanted = sorted({_REFLECTANCE[name] for name in names if name in _REFLECTANCE})
        vigour = climate.season_of_growth(self.north, self.when)
        surface = dict(zip(wanted, ground.reflectance(wanted, vigour), strict=True)) if wanted else {}
        values = np.empty((len(bands), rect.height, rect.width), dtype=np.float32)
        for n, name in enumerate(names):
            if name in _REFLECTANCE:
                part = _REFLECTANCE[name]
                top = clouds.over(part, _CLOUD.get(part, _CLOUD_TOP), surface[part])
                values[n] = (top + np.float32(0.2)) * np.float32(1.0 / 2.75e-5)
            elif name == "ST_B10":
                values[n] = self._warmth(ground, clouds)
            elif name == "QA_PIXEL":
                values[n] = _quality(ground, clouds, _dilated(wide.cloud > cloud_cover.CLOUDY, margin))
            elif name == "SR_QA_AEROSOL":
                values[n] = self._aerosol(ground, clouds)
            else:
                values[n] = _PLAIN[name]
        return values, self._corrected(clouds, rect, names)

    def _corrected(self, clouds: cloud_cover.Sky, rect: Rect, names: Sequence[str]) -> npt.NDArray[np.bool_] | None:
        """Return where bands have a reflectance, shape (bands, height, width); None for everywhere.

        Where so much aerosol is taken off that less than -0.2 is left, LaSRC stores -0.2, whose number is 0 as that of
        no data (output.c). Short waves see most aerosol. Which pixels these are is invented; coarse levels have none.
        """
        blue = np.array([_REFLECTANCE.get(name) == "blue" for name in names])
        if not self.has_failures or rect.pitch > _FAILURE_CELL or not blue.any():
            return None
        columns, rows = (np.floor(p * (1.0 / _FAILURE_CELL)).astype(np.int64) for p in (rect.x, rect.y))
        chance = noise.random(columns[None, :], rows[:, None], self.when.toordinal() * 4096 + _FAILURE_SEED)
        fails = chance < _FAILURES[0] + _FAILURES[1] * clouds.haze
        valid: npt.NDArray[np.bool_] = ~(fails & blue[:, None, None])
        return valid

    def _dilation(self, rect: Rect) -> int:
        """Return cells by which clouds are dilated."""
        unit = mercator.EQUATOR_UNIT * float(mercator.cosine_of(mercator.y_of(self.north)))
        return round(_DILATION / (unit * rect.pitch))

    def _aerosol(self, ground: ground_cover.Ground, clouds: cloud_cover.Sky) -> npt.NDArray[np.float32]:
        """Return SR_QA_AEROSOL as the code of USGS makes it, LaSRC: https://github.com/USGS-EROS/espa-surface-reflectance

        Aerosol is what makes a place bluer than places of its surroundings are usually, whose ratios of blue to red are
        known every 0.05 degrees. So ground of another colour than its surroundings counts as aerosol too. Over water,
        and where near infrared is darker than 0.1 or than red, none is retrieved, and the place has the median of the
        scene. Up to 0.015 of reflectance are little, from 0.03 on much.
        """
        parts = landcover.shares(ground)
        is_water = landcover.dominant(parts, range(len(landcover.CLASSES))) == landcover.CLASSES.index("water")
        vigour = climate.season_of_growth(self.north, self.when)
        blue, red, near = ground.reflectance(("blue", "red", "nir"), vigour)
        at = nodes(ground.rect, _RATIO_CELL)
        around = ground_cover.ground(at, self.when, climate.snow_line(self.when, self.north))
        usual_blue, usual_red = around.reflectance(("blue", "red"), vigour)
        ratio = upsampling.Upsampler(ground.rect, at)(usual_blue / usual_red)
        bright = np.float32(_CLOUD_TOP)
        blue, red = (part + (bright - part) * clouds.cloud for part in (blue, red))
        added = blue + np.float32(_HAZE) * clouds.haze - ratio * red
        level = np.where(added <= 0.015, _LITTLE, np.where(added < 0.03, _SOME, _MUCH))
        level = np.where((near > 0.1) & (near > red) & ~is_water, level, _NOT_RETRIEVED)
        return np.where(clouds.cloud > cloud_cover.CLOUDY, _MUCH, level).astype(np.float32)

    def _warmth(self, ground: ground_cover.Ground, clouds: cloud_cover.Sky) -> npt.NDArray[np.float32]:
        """Return the temperature of the surface in steps of 0.00341802 K above 149 K."""
        land = ground.terrain
        day = climate.day_of_year(self.when)
        sun = 0.62 + 0.38 * climate.season(day) * (1.0 if self.north >= 0.0 else -1.0)
        nodes = climate.mean_temperature(land, day) + 4.0 + (4.0 + 15.0 * climate.dryness(land)) * sun
        nodes = nodes + 2.5 * climate.weather(land.rect, self.when)
        kelvin = upsampling.Upsampler(ground.rect, land.rect)(nodes)
        parts = landcover.shares(ground)
        kelvin -= landcover.fraction(parts, "tree") * np.float32(4.0 * sun)
        kelvin -= landcover.fraction(parts, "water") * np.float32(9.0 * sun)
        kelvin += landcover.fraction(parts, "built") * np.float32(3.0 * sun)
        # Snow melts before it is warmer.
        snow = landcover.fraction(parts, "snow")
        kelvin += np.minimum(np.float32(273.15) - kelvin, 0.0) * snow
        kelvin -= clouds.cloud * np.float32(28.0) + clouds.cirrus * np.float32(100.0)
        return (kelvin - np.float32(149.0)) * np.float32(1.0 / 0.00341802)

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.uint16]:
        """See ``painted_source.PaintedScene``; zero is left to mean nothing."""
        result = np.clip(np.rint(values), 0, 65535)
        for n, band in enumerate(bands):
            if BANDS[band] in _REFLECTANCE or BANDS[band] == "ST_B10":
                result[n] = np.maximum(result[n], 1)
        stored: npt.NDArray[np.uint16] = result.astype(np.uint16)
        return stored


def _dilated(cloudy: npt.NDArray[np.bool_], margin: int) -> npt.NDArray[np.bool_]:
    """Return where a cloud is at most ``margin`` rows and columns away, without that margin."""
    for axis in (0, 1):
        size = cloudy.shape[axis] - 2 * margin
        shifted = [cloudy.take(range(start, start + size), axis) for start in range(2 * margin + 1)]
        cloudy = np.logical_or.reduce(shifted)
    return cloudy


def _quality(
    ground: ground_cover.Ground, clouds: cloud_cover.Sky, is_near_cloud: npt.NDArray[np.bool_]
) -> npt.NDArray[Any]:
    parts = landcover.shares(ground)
    best = landcover.dominant(parts, range(len(landcover.CLASSES)))
    result = np.full(best.shape, _CLEAR)
    result[best == landcover.CLASSES.index("water")] = _WATER
    result[best == landcover.CLASSES.index("snow")] = _SNOW
    result[clouds.shadow > 0.45] = _SHADOW
    result[is_near_cloud] ^= _DILATED
    result[clouds.cloud > cloud_cover.CLOUDY] = _OPAQUE
    result[clouds.is_cirrus] |= _CIRRUS
    return result


@dataclass(frozen=True, slots=True)
class Landsat(ImageSearch):
    """A ``CollectionAsset``: one of the satellites.

    Attributes:
        number: number of the satellite.
        first: no image is older.
        shift: days by which it follows Landsat 8.
        until: the first day without an image.
    """

    number: int
    first: date
    shift: int
    until: date

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
        start, end = (synthetic_label.millis(d.year, d.month, d.day) for d in (self.first, self.until))
        return synthetic_label.marked({"title": self.title, "date_range": [start, end]})

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        return (self.make_image(scene, when) for scene, when in self.passes(query))

    def passes(self, query: Query) -> Iterator[tuple[WrsScene, date]]:
        """Yield the scenes and days of passes that may match a query, all of them in its time."""
        path, row = query.equals.get("WRS_PATH"), query.equals.get("WRS_ROW")
        for scene in wrs.scenes(query.bounds, self.swath):
            if (path is not None and scene.path != path) or (row is not None and scene.row != row):
                continue
            yield from ((scene, when) for when in self.days(scene, query))

    def count(self, query: Query) -> int | None:
        """See ``Counted.count``."""
        if query != Query(start=query.start, end=query.end):
            return None
        return sum(len(self._ordinals(scene, query)) for scene in wrs.scenes(None, self.swath))

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
        latitude = wrs.middle(scene)[1]
        overpass = replace(overpass_of(scene, when), has_failures=True)
        moment = moment_of(scene, when)
        index = f"{self.prefix}_{scene.name}_{when:%Y%m%d}"
        azimuth, zenith = cloud_cover.sun(latitude, when)
        cloudy = Later(partial(_cloudy, scene, when))
        product = f"{self.prefix}_L2SP_{scene.name}_{when:%Y%m%d}_{when + timedelta(days=12):%Y%m%d}_02_T1"
        properties: dict[str, Any] = {
            "system:index": index,
            "system:time_start": _milliseconds(moment),
            "system:time_end": _milliseconds(moment),
            "CLOUD_COVER": cloudy,
            "CLOUD_COVER_LAND": cloudy,
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
            "WRS_PATH": scene.path,
            "WRS_ROW": scene.row,
            "WRS_TYPE": 2,
        }
        for band in range(1, 8):
            properties[f"REFLECTANCE_ADD_BAND_{band}"] = -0.2
            properties[f"REFLECTANCE_MULT_BAND_{band}"] = 2.75e-05
        return ImageAsset(
            f"{self.id}/{index}",
            self.bands_of(scene, overpass, {name: _stored(name) for name in BANDS}),
            LazyMapping(synthetic_label.marked(properties)),
            wrs.outline(scene, self.swath),
            synthetic_label.VERSION,
        )

    def bands_of(
        self, scene: WrsScene, overpass: PaintedScene, stored: Mapping[str, tuple[str, bool]]
    ) -> tuple[BandInfo, ...]:
        """Return the bands of a scene, by the dtype of each and whether it is read smoothly."""
        grid, (_, points) = wrs.grid(scene, self.swath), wrs.corners(scene, self.swath)
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


@cache
def _stored(name: str) -> tuple[str, bool]:
    """Return the dtype of a band, and whether it is read smoothly."""
    if name in _REFLECTANCE or name == "ST_B10":
        return "uint16", True
    if name == "SR_QA_AEROSOL":
        return "uint8", False
    return ("uint16" if name.startswith("QA") else "int16"), False


def _cloudy(scene: WrsScene, when: date) -> float:
    """Return the percentage of clouds of a scene on a day."""
    longitude, latitude = wrs.middle(scene)
    square = cloud_cover.square(longitude, latitude, 180_000.0)
    return round(cloud_cover.cover_percent(*square, when), 2)


def overpass_of(scene: WrsScene, when: date) -> LandsatOverpass:
    """Return what is seen of a scene on a day."""
    return LandsatOverpass(when, round(wrs.middle(scene)[1], 3))


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


def _milliseconds(when: datetime) -> int:
    return int(when.timestamp()) * 1000


def collections(until: date) -> tuple[Landsat, Landsat]:
    """Return Landsat 8 and Landsat 9, up to a day."""
    return Landsat(8, date(2013, 3, 18), 0, until), Landsat(9, date(2021, 10, 31), 8, until)
