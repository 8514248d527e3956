"""Sentinel-2 (COPERNICUS/S2_SR_HARMONIZED and its kin), its cloud scores and its Dynamic World, tile by tile.

COPERNICUS/S2_HARMONIZED has the reflectance at the top of the atmosphere. COPERNICUS/S2 and COPERNICUS/S2_SR have the
same images as their harmonized versions, with 1000 added to the reflectances from 2022-01-25 on.

Images differ as in the archive: some of the first years lack MSK_CLDPRB and MSK_SNWPRB
(https://github.com/leftfield-geospatial/geedim/issues/16), some of the spring of 2024 lack QA10, QA20 and QA60
(https://github.com/fmemuir/COASTGUARD/issues/13), and some passes of 2018 are there twice, as processed again. Which
images these are is invented.

Bands, scales and properties: https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED,
https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_CLOUD_SCORE_PLUS_V1_S2_HARMONIZED,
https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_DYNAMICWORLD_V1

Searches find a pass every fifth day. Images of other moments are found by their names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from functools import cache, lru_cache, partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eechips_local.demo import (
    climate,
    cloud_cover,
    ground_cover,
    landcover,
    mgrs,
    noise,
    sentinel2_product,
    synthetic_label,
)
from eechips_local.demo.image_search import ImageSearch, is_in_time
from eechips_local.demo.mercator import Rect
from eechips_local.demo.mgrs import MgrsTile
from eechips_local.demo.painted_source import PaintedSource
from eechips_local.evaluation.model import BandInfo, ImageAsset, Later, LazyMapping, LazySequence, PixelType, Query

FIRST = date(2017, 3, 28)
"""No image of the surface is older."""

FIRST_TOP = date(2015, 6, 27)
"""No image of the top of the atmosphere is older."""

_REPEAT = 5
_NAME = re.compile(r"(\d{8}T\d{6})_(\d{8}T\d{6})_T(\d{2}[C-X][A-Z]{2})")

# Band, pixel in metres, spectral band (None: not a reflectance).
_BANDS: tuple[tuple[str, int, str | None], ...] = (
    ("B1", 60, "blue"),
    ("B2", 10, "blue"),
    ("B3", 10, "green"),
    ("B4", 10, "red"),
    ("B5", 20, "edge1"),
    ("B6", 20, "edge2"),
    ("B7", 20, "edge3"),
    ("B8", 10, "nir"),
    ("B8A", 20, "nir"),
    ("B9", 60, "nir"),
    ("B11", 20, "swir1"),
    ("B12", 20, "swir2"),
    ("AOT", 10, None),
    ("WVP", 10, None),
    ("SCL", 20, None),
    ("TCI_R", 10, "red"),
    ("TCI_G", 10, "green"),
    ("TCI_B", 10, "blue"),
    ("MSK_CLDPRB", 20, None),
    ("MSK_SNWPRB", 20, None),
    ("QA10", 10, None),
    ("QA20", 20, None),
    ("QA60", 60, None),
)
_NAMES = tuple(name for name, _, _ in _BANDS)
# At the top of the atmosphere there is one more band, and nothing that the correction of the atmosphere yields.
_TOP_BANDS: tuple[tuple[str, int, str | None], ...] = (
    *_BANDS[:10],
    ("B10", 60, None),
    *_BANDS[10:12],
    *_BANDS[-3:],
)
_SPECTRUM = {name: part for name, _, part in (*_BANDS, *_TOP_BANDS)}
# What the air adds.
_HAZE = {"blue": 0.06, "green": 0.03, "red": 0.018, "edge1": 0.012, "edge2": 0.008, "edge3": 0.006, "nir": 0.004}
FIRST_OFFSET = date(2022, 1, 25)
"""Processing baseline 04.00: from then on 1000 is added to what is not harmonized."""

_OFFSET = 1000
_BASELINES = (
    (date(2022, 12, 6), "05.09"),
    (FIRST_OFFSET, "04.00"),
    (date(2021, 3, 30), "03.00"),
    (date(2020, 2, 4), "02.14"),
    (date(2018, 11, 6), "02.11"),
    (date.min, "02.09"),
)
"""First day of processing baselines, the latest first: https://sentiwiki.copernicus.eu/web/s2-processing"""

_TWICE = (date(2018, 1, 1), date(2019, 1, 1))
# Bands that every second image lacks between two days.
_ABSENT = (
    (FIRST, date(2018, 12, 1), ("MSK_CLDPRB", "MSK_SNWPRB")),
    (date(2024, 2, 28), date(2024, 6, 26), ("QA10", "QA20", "QA60")),
)
_CLOUD = {"swir1": 0.42, "swir2": 0.34}
_BYTES = ("SCL", "TCI_R", "TCI_G", "TCI_B", "MSK_CLDPRB", "MSK_SNWPRB")
DYNAMIC_WORLD = (
    "water",
    "trees",
    "grass",
    "flooded_vegetation",
    "crops",
    "shrub_and_scrub",
    "built",
    "bare",
    "snow_and_ice",
)
# Where Dynamic World keeps each of landcover.CLASSES.
_WORLD_OF = {"tree": 1, "shrub": 5, "grass": 2, "crop": 4, "built": 6, "bare": 7, "snow": 8, "water": 0}


@dataclass(frozen=True, slots=True)
class Sentinel2Overpass:
    """Scene of a pass of the satellite.

    Attributes:
        when: date.
        north: latitude of the tile's middle.
        share: rough share of clouds.
    """

    when: date
    north: float
    share: float

    def ground(self, rect: Rect) -> ground_cover.Ground:
        """Return the ground without clouds."""
        return ground_cover.ground(rect, self.when, climate.snow_line(self.when, self.north))


@dataclass(frozen=True, slots=True)
class Reflectance:
    """Bands of a reflectance product that share a grid.

    Attributes:
        seen: the pass.
        names: names of the bands.
        at_top: at the top of the atmosphere, not at the surface.
        offset: added to the stored reflectances.
    """

    seen: Sentinel2Overpass
    names: tuple[str, ...]
    at_top: bool = False
    offset: int = 0

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        ground = self.seen.ground(rect)
        clouds = cloud_cover.sky(rect, self.seen.when, self.seen.share)
        spectrum = [_SPECTRUM[self.names[band]] for band in bands]
        wanted = sorted({band for band in spectrum if band is not None})
        vigour = climate.season_of_growth(self.seen.north, self.seen.when)
        surface = dict(zip(wanted, ground.reflectance(wanted, vigour), strict=True)) if wanted else {}
        values = np.empty((len(bands), rect.height, rect.width), dtype=np.float32)
        for n, band in enumerate(bands):
            name, part = self.names[band], spectrum[n]
            if part is not None:
                dark = surface[part] * (np.float32(1.0) - np.float32(0.62) * clouds.shadow)
                bright = np.float32(_CLOUD.get(part, 0.68))
                top = dark + (bright - dark) * clouds.cloud
                if self.at_top:
                    haze = np.float32(_HAZE.get(part, 0.0))
                    top = top * (np.float32(1.0) - np.float32(0.5) * haze) + haze
                values[n] = top * np.float32(720.0) if name.startswith("TCI") else top * np.float32(10_000.0)
                if self.offset and not name.startswith("TCI"):
                    values[n] += np.float32(self.offset)
            elif name == "B10":
                values[n] = 12.0 + self.offset + clouds.cloud * np.float32(40.0)
            elif name == "AOT":
                values[n] = 120.0
            elif name == "WVP":
                values[n] = 1500.0 + 900.0 * vigour
            else:
                values[n] = _mask(name, ground, clouds)
        return values, None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.uint16]:
        """See ``painted_source.PaintedScene``."""
        result = np.clip(np.rint(values), 0, 65535)
        for n, band in enumerate(bands):
            if self.names[band].startswith("TCI"):
                result[n] = np.clip(result[n], 1, 255)
            elif self.names[band].startswith("B"):
                result[n] = np.maximum(result[n], 1)
        stored: npt.NDArray[np.uint16] = result.astype(np.uint16)
        return stored


def _mask(name: str, ground: ground_cover.Ground, clouds: cloud_cover.Sky) -> npt.NDArray[Any]:
    if name == "MSK_CLDPRB":
        return np.asarray(np.floor(clouds.cloud * np.float32(100.0)))
    if name in ("QA10", "QA20", "QA60"):
        # Bit 10: opaque clouds. Bit 11: cirrus, which the demo planet does not have.
        return np.where((clouds.cloud > 0.5) & (name == "QA60"), 1024.0, 0.0)
    parts = landcover.shares(ground)
    snow = landcover.fraction(parts, "snow")
    if name == "MSK_SNWPRB":
        return np.asarray(np.floor(np.clip(snow, 0.0, 1.0) * np.float32(100.0)))
    #       tree shrub grass crop built bare snow water
    classes = landcover.dominant(parts, (4, 5, 5, 4, 5, 5, 11, 6)).astype(np.float32)
    # Fields and grass that are not green count as bare.
    green = ground.open_green > np.float32(0.45)
    crop = ground.layers.get("crop")
    if crop is not None and crop.mix is not None:
        green = np.where(crop.share > 0.5, crop.mix > 0.4, green)
    grassy = np.isin(landcover.dominant(parts, range(8)), (1, 2, 3))
    classes = np.where(grassy, np.where(green, 4.0, 5.0), classes)
    classes = np.where(clouds.shadow > 0.45, 3.0, classes)
    classes = np.where(clouds.cloud > 0.12, 10.0, classes)
    classes = np.where(clouds.cloud > 0.35, 8.0, classes)
    return np.where(clouds.cloud > 0.75, 9.0, classes)


@dataclass(frozen=True, slots=True)
class CloudScore:
    """Bands cs and cs_cdf: 1 where the ground is seen clearly, 0 under clouds."""

    seen: Sentinel2Overpass

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        clouds = cloud_cover.sky(rect, self.seen.when, self.seen.share)
        clear = np.float32(0.97) - np.float32(0.95) * clouds.cloud - np.float32(0.45) * clouds.shadow
        known = (clear, clear * (np.float32(0.55) + np.float32(0.45) * clear))
        return np.stack([known[band] for band in bands]), None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.float32]:
        """See ``painted_source.PaintedScene``; in steps of 1/250."""
        steps = np.clip(np.rint(np.asarray(values, dtype=np.float32) * np.float32(250.0)), 0.0, 250.0)
        result: npt.NDArray[np.float32] = (steps * np.float32(1.0 / 250.0)).astype(np.float32)
        return result


@dataclass(frozen=True, slots=True)
class CloudProbability:
    """Band probability: 0 where there is no cloud, up to 100 under opaque ones."""

    seen: Sentinel2Overpass

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        clouds = cloud_cover.sky(rect, self.seen.when, self.seen.share)
        likely = np.float32(2.0) + np.float32(97.0) * np.sqrt(np.clip(clouds.cloud, 0.0, 1.0))
        return np.stack([likely] * len(bands)), None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.uint8]:
        """See ``painted_source.PaintedScene``."""
        stored: npt.NDArray[np.uint8] = np.clip(np.rint(values), 0, 100).astype(np.uint8)
        return stored


@dataclass(frozen=True, slots=True)
class DynamicWorld:
    """Probabilities of nine classes, and the label; masked under clouds and shadows."""

    seen: Sentinel2Overpass

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        parts = landcover.shares(self.seen.ground(rect))
        clouds = cloud_cover.sky(rect, self.seen.when, self.seen.share)
        likely = np.full((len(DYNAMIC_WORLD), rect.height, rect.width), 0.03, dtype=np.float32)
        for n, name in enumerate(landcover.CLASSES):
            likely[_WORLD_OF[name]] += parts[n] * np.float32(0.73)
        label = landcover.dominant(parts, (_WORLD_OF[name] for name in landcover.CLASSES)).astype(np.float32)
        values = np.stack([likely[band] if band < len(DYNAMIC_WORLD) else label for band in bands])
        clear = (clouds.cloud < 0.12) & (clouds.shadow < 0.45)
        return values, np.broadcast_to(clear, values.shape)

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.float32]:
        """See ``painted_source.PaintedScene``; probabilities in steps of 1/1000, labels as they are."""
        likely = np.asarray(values, dtype=np.float32)
        result: npt.NDArray[np.float32] = np.rint(likely * np.float32(1000.0)) * np.float32(0.001)
        for n, band in enumerate(bands):
            if band == len(DYNAMIC_WORLD):
                result[n] = likely[n]
        return result


@dataclass(frozen=True, slots=True, order=True)
class Granule:
    """A pass over a tile: when it was seen (UTC, whole seconds), when processed, and where."""

    seen: datetime
    made: datetime
    tile: MgrsTile

    @property
    def index(self) -> str:
        """``system:index``."""
        return f"{self.seen:%Y%m%dT%H%M%S}_{self.made:%Y%m%dT%H%M%S}_T{self.tile.name}"

    @property
    def when(self) -> date:
        """The day that the pass counts as, at the place itself."""
        return (self.seen + timedelta(hours=mgrs.middle(self.tile)[0] / 15.0)).date()

    @property
    def overpass(self) -> Sentinel2Overpass:
        """Pass on which the image is taken."""
        north = mgrs.middle(self.tile)[1]
        return Sentinel2Overpass(self.when, round(north, 3), cloud_cover.overcast(_number(self.tile), self.when, north))

    @property
    def cloudy(self) -> float:
        """Percentage of clouds."""
        longitude, latitude = mgrs.middle(self.tile)
        column, row, size = cloud_cover.square(longitude, latitude, float(mgrs.EDGE))
        return cloud_cover.cover_percent(column, row, size, self.when, self.overpass.share)


def _number(tile: MgrsTile) -> int:
    return (tile.zone * 2 + tile.southern) * 1024 + tile.column * 128 + tile.row


_ORBITS = 143


def _orbit(tile: MgrsTile) -> int:
    """Return relative orbit, 1 to 143: strips of 360/143 degrees."""
    return int((mgrs.middle(tile)[0] + 180.0) * (_ORBITS / 360.0)) % _ORBITS + 1


def _by_orbit(tiles: Iterable[MgrsTile]) -> Mapping[int, Sequence[MgrsTile]]:
    tiles_by_orbit: dict[int, list[MgrsTile]] = {}
    for tile in tiles:
        tiles_by_orbit.setdefault(_orbit(tile), []).append(tile)
    return tiles_by_orbit


@cache
def _all_by_orbit() -> Mapping[int, Sequence[MgrsTile]]:
    return _by_orbit(mgrs.tiles(None))


def _passes(orbit: int, first: date, last: date) -> Iterator[tuple[date, datetime]]:
    """Yield day and moment of an orbit's passes from a day on, before another one: every fifth day."""
    strip = (orbit - 0.5) * (360.0 / _ORBITS) - 180.0
    start = first.toordinal()
    for ordinal in range(start + (3 * orbit - start) % _REPEAT, last.toordinal(), _REPEAT):
        when = date.fromordinal(ordinal)
        midnight = datetime(when.year, when.month, when.day, tzinfo=timezone.utc)
        # Half past ten by the sun; all tiles of an orbit share the second at which the datatake starts.
        yield when, midnight + timedelta(seconds=int(37_800 - strip * 240.0))


def _by_day(orbit: int, tiles: Sequence[MgrsTile]) -> list[tuple[MgrsTile, int]]:
    """Return one of the tiles for each day, at the place itself, on which a pass of an orbit is; and their number."""
    _, seen = next(_passes(orbit, FIRST, FIRST + timedelta(days=_REPEAT)))
    days = {tile: Granule(seen, seen, tile).when for tile in tiles}
    tile_of = {day: tile for tile, day in days.items()}
    return [(tile_of[day], number) for day, number in Counter(days.values()).items()]


def passes_over(tile: MgrsTile, query: Query, first: date, last: date) -> Iterator[Granule]:
    """Yield the passes over a tile in the time of a query, from a day on, before another one."""
    for when, seen in _passes(_orbit(tile), first, last):
        if is_in_time(_milliseconds(seen), query):
            yield _granule(tile, seen, when)


def _granule(tile: MgrsTile, seen: datetime, when: date) -> Granule:
    generated = seen + timedelta(seconds=600 + int(noise.random(_number(tile), when.toordinal(), 1011)[0] * 900.0))
    return Granule(seen, generated, tile)


def _versions(granule: Granule) -> tuple[Granule, ...]:
    """Return a pass as it was processed: once, or once more three hours later."""
    again = _TWICE[0] <= granule.when < _TWICE[1] and granule.when.toordinal() // _REPEAT % 7 == 0
    return (granule, replace(granule, made=granule.made + timedelta(hours=3))) if again else (granule,)


def _absent(granule: Granule) -> tuple[str, ...]:
    """Return the names of bands that the image of a pass lacks."""
    if granule.when.toordinal() // _REPEAT % 2:
        return ()
    return next((names for first, last, names in _ABSENT if first <= granule.when < last), ())


@dataclass(frozen=True, slots=True)
class Product(ImageSearch):
    """A ``CollectionAsset`` made of passes.

    Attributes:
        id: the full Earth Engine id.
        title: as in the catalogue.
        kind: which of the products.
        until: the first day without an image.
        first: no image is older.
        at_top: whether the reflectance is at the top of the atmosphere, not at the surface.
        is_harmonized: whether the reflectance is stored alike before and after 2022-01-25.
    """

    id: str
    title: str
    kind: Literal["reflectance", "score", "probability", "world"]
    until: date
    first: date = FIRST
    at_top: bool = False
    is_harmonized: bool = True

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        start, end = (synthetic_label.millis(d.year, d.month, d.day) for d in (self.first, self.until))
        return synthetic_label.marked({"title": self.title, "date_range": [start, end]})

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        tiles = self._tiles(query)
        first, last = days_of(query, self.first, self.until)
        for ordinal in range(first.toordinal(), last.toordinal()):
            when, after = date.fromordinal(ordinal), date.fromordinal(ordinal + 1)
            passes = [
                _granule(tile, seen, when)
                for orbit, below in tiles.items()
                for _, seen in _passes(orbit, when, after)
                if is_in_time(_milliseconds(seen), query)
                for tile in below
            ]
            for granule in sorted(
                (version for overpass in passes for version in _versions(overpass)), key=lambda g: g.index
            ):
                image = self._image(granule)
                if image is not None:
                    yield image

    def _tiles(self, query: Query) -> Mapping[int, Sequence[MgrsTile]]:
        """Return the tiles of a query by the orbits that pass over them."""
        name = query.equals.get("MGRS_TILE")
        if isinstance(name, str):
            only = mgrs.named(name)
            return _by_orbit([only] if only is not None else [])
        return _all_by_orbit() if query.bounds is None else _by_orbit(mgrs.tiles(query.bounds))

    def count(self, query: Query) -> int | None:
        """See ``Counted.count``. Which images Dynamic World has depends on the clouds."""
        if self.kind == "world" or query != Query(start=query.start, end=query.end):
            return None
        first, last = days_of(query, self.first, self.until)
        return sum(
            len(_versions(Granule(seen, seen, tile))) * number
            for orbit, tiles in _all_by_orbit().items()
            for tile, number in _by_day(orbit, tiles)
            for _, seen in _passes(orbit, first, last)
            if is_in_time(_milliseconds(seen), query)
        )

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None.

        The name of an image of any moment of the mission is answered: only the archive has the list of them.
        """
        match = _NAME.fullmatch(index)
        tile = mgrs.named(match[3]) if match else None
        if match is None or tile is None:
            return None
        try:
            seen, generated = (
                datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc) for text in match.group(1, 2)
            )
        except ValueError:
            return None
        granule = Granule(seen, generated, tile)
        return self._image(granule) if self.first <= granule.when < self.until else None

    def _image(self, granule: Granule) -> ImageAsset | None:
        return _image(self, granule)

    def draw(self, granule: Granule) -> ImageAsset | None:
        """Return the image of a pass; None where the product has none."""
        make: Mapping[str, Callable[[Granule], tuple[Sequence[BandInfo], dict[str, Any]] | None]] = {
            "reflectance": self._reflectance,
            "score": _score,
            "probability": _probability,
            "world": _world,
        }
        drawing = make[self.kind](granule)
        if drawing is None:
            return None
        bands, properties = drawing
        start = _milliseconds(granule.seen)
        return ImageAsset(
            id=f"{self.id}/{granule.index}",
            bands=bands,
            properties=LazyMapping(
                synthetic_label.marked(
                    {
                        "system:index": granule.index,
                        "system:time_start": start,
                        "system:time_end": start,
                        **properties,
                    }
                )
            ),
            footprint=mgrs.outline(granule.tile),
            version=synthetic_label.VERSION,
        )

    def _reflectance(self, granule: Granule) -> tuple[Sequence[BandInfo], dict[str, Any]]:
        offset = 0 if self.is_harmonized or granule.when < FIRST_OFFSET else _OFFSET
        return _reflectance(granule, self.at_top, offset)


@lru_cache(maxsize=4096)
def _image(product: Product, granule: Granule) -> ImageAsset | None:
    """Return an image, cached for other chips of it: a place has some of each day of five years."""
    return product.draw(granule)


def days_of(query: Query, first: date, last: date) -> tuple[date, date]:
    """Return days whose passes may fall in a query's time; local days begin up to half a day off."""
    if query.start is not None:
        first = max(first, _day(query.start) - timedelta(days=1))
    if query.end is not None:
        last = min(last, _day(query.end) + timedelta(days=2))
    return first, max(first, last)


def _day(milliseconds: float) -> date:
    limited = min(max(milliseconds, 0.0), 4.0e12)
    return synthetic_label.date_of(limited).date()


def _milliseconds(when: datetime) -> int:
    return int(when.timestamp()) * 1000


def _reflectance_bands(granule: Granule, at_top: bool, offset: int) -> tuple[BandInfo, ...]:
    bands = []
    sources: dict[tuple[int, str, bool], PaintedSource] = {}
    absent = _absent(granule)
    for name, pixel, part in _TOP_BANDS if at_top else _BANDS:
        if name in absent:
            continue
        names = _on_grid(pixel, at_top)
        dtype = "uint8" if name in _BYTES else "uint32" if name == "QA20" else "uint16"
        key = (pixel, dtype, part is not None)
        if key not in sources:
            scene = Reflectance(granule.overpass, names, at_top, offset)
            sources[key] = PaintedSource(granule.tile.grid(pixel), scene, dtype, smooth=part is not None)
        source = sources[key]
        bands.append(BandInfo(name, PixelType.of(dtype), source.grid, source, names.index(name)))
    return tuple(bands)


def _reflectance(granule: Granule, at_top: bool, offset: int) -> tuple[Sequence[BandInfo], dict[str, Any]]:
    azimuth, zenith = cloud_cover.sun(granule.overpass.north, granule.when)
    craft = "Sentinel-2A" if (granule.when.toordinal() // _REPEAT) % 2 else "Sentinel-2B"
    cloudy = Later(lambda: granule.cloudy)
    orbit = _orbit(granule.tile)
    letter = craft[-1]
    level = "1C" if at_top else "2A"
    baseline = next(name for first, name in _BASELINES if granule.when >= first)
    product = (
        f"S2{letter}_MSIL{level}_{granule.seen:%Y%m%dT%H%M%S}_N{baseline.replace('.', '')}_R{orbit:03d}_"
        f"T{granule.tile.name}_{granule.made:%Y%m%dT%H%M%S}"
    )
    properties = {
        "CLOUDY_PIXEL_PERCENTAGE": cloudy,
        "CLOUD_COVERAGE_ASSESSMENT": cloudy,
        "CLOUD_SHADOW_PERCENTAGE": Later(lambda: round(granule.cloudy * 0.3, 6)),
        "DATASTRIP_ID": (
            f"S2{letter}_OPER_MSI_L{level}_DS_DEMO_{granule.made:%Y%m%dT%H%M%S}_S{granule.seen:%Y%m%dT%H%M%S}"
        ),
        "DATATAKE_IDENTIFIER": f"GS2{letter}_{granule.seen:%Y%m%dT%H%M%S}_{orbit:06d}_N{baseline}",
        "GENERATION_TIME": _milliseconds(granule.made),
        "GRANULE_ID": f"L{level}_T{granule.tile.name}_A{orbit:06d}_{granule.seen:%Y%m%dT%H%M%S}",
        "MEAN_SOLAR_AZIMUTH_ANGLE": azimuth,
        "MEAN_SOLAR_ZENITH_ANGLE": zenith,
        "MGRS_TILE": granule.tile.name,
        "NODATA_PIXEL_PERCENTAGE": 0.0,
        "PROCESSING_BASELINE": baseline,
        "PRODUCT_ID": product,
        "SENSING_ORBIT_DIRECTION": "DESCENDING",
        "SENSING_ORBIT_NUMBER": orbit,
        "SPACECRAFT_NAME": craft,
        **sentinel2_product.properties(at_top, granule.when, 0 if granule.when < FIRST_OFFSET else _OFFSET),
    }
    # A search looks at the properties of many images whose bands nobody asks for.
    return LazySequence(partial(_reflectance_bands, granule, at_top, offset)), properties


@cache
def _on_grid(pixel: int, at_top: bool) -> tuple[str, ...]:
    return tuple(name for name, size, _ in (_TOP_BANDS if at_top else _BANDS) if size == pixel)


def _score(granule: Granule) -> tuple[tuple[BandInfo, ...], dict[str, Any]]:
    source = PaintedSource(granule.tile.grid(10), CloudScore(granule.overpass), "float32")
    kind = PixelType("float", 0.0, 1.0)
    bands = tuple(BandInfo(name, kind, source.grid, source, n) for n, name in enumerate(("cs", "cs_cdf")))
    return bands, {"MGRS_TILE": granule.tile.name, "SOURCE_PRODUCT_ID": granule.index}


def _probability(granule: Granule) -> tuple[tuple[BandInfo, ...], dict[str, Any]]:
    source = PaintedSource(granule.tile.grid(10), CloudProbability(granule.overpass), "uint8")
    return (BandInfo("probability", PixelType("int", 0, 255), source.grid, source, 0),), {}


def _world(granule: Granule) -> tuple[tuple[BandInfo, ...], dict[str, Any]] | None:
    """Return only made of images with at most 35 per cent of clouds."""
    if granule.cloudy > 35.0:
        return None
    grid, scene = granule.tile.grid(10), DynamicWorld(granule.overpass)
    sources = {dtype: PaintedSource(grid, scene, dtype, smooth=False) for dtype in ("float32", "uint8")}
    names = (*DYNAMIC_WORLD, "label")
    bands = tuple(
        BandInfo(name, PixelType("int", 0, 255), grid, sources["uint8"], n)
        if name == "label"
        else BandInfo(name, PixelType("float", 0.0, 1.0), grid, sources["float32"], n)
        for n, name in enumerate(names)
    )
    properties = {
        "dynamicworld_algorithm_version": "3.5",
        "qa_algorithm_version": "20210630",
        "s2_cloudy_pixel_percentage": granule.cloudy,
    }
    return bands, properties


def collections(until: date) -> tuple[Product, ...]:
    """Return all collections up to a day."""
    surface = "Sentinel-2 MSI: MultiSpectral Instrument, Level-2A (SR)"
    top = "Sentinel-2 MSI: MultiSpectral Instrument, Level-1C (TOA)"
    return (
        Product("COPERNICUS/S2", top, "reflectance", until, FIRST_TOP, at_top=True, is_harmonized=False),
        Product("COPERNICUS/S2_HARMONIZED", f"Harmonized {top}", "reflectance", until, FIRST_TOP, at_top=True),
        Product("COPERNICUS/S2_SR", surface, "reflectance", until, is_harmonized=False),
        Product("COPERNICUS/S2_SR_HARMONIZED", f"Harmonized {surface}", "reflectance", until),
        Product("COPERNICUS/S2_CLOUD_PROBABILITY", "Sentinel-2: Cloud Probability", "probability", until, FIRST_TOP),
        Product("GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED", "Cloud Score+ S2_HARMONIZED V1", "score", until, FIRST_TOP),
        Product("GOOGLE/DYNAMICWORLD/V1", "Dynamic World V1", "world", until, FIRST_TOP),
    )
