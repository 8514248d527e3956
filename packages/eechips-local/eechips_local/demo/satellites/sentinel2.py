"""Sentinel-2 (COPERNICUS/S2_SR_HARMONIZED and its kin), cloud scores, Dynamic World: which images there are, bands that
they lack or mask, the offset of 1000, properties.

COPERNICUS/S2_HARMONIZED has the reflectance at the top of the atmosphere. COPERNICUS/S2 and COPERNICUS/S2_SR have the
same images as their harmonized versions, with 1000 added to the reflectances from 2022-01-25 on.

Images differ as in the archive: some of the first years lack MSK_CLDPRB and MSK_SNWPRB
(https://github.com/leftfield-geospatial/geedim/issues/16), some of the spring of 2024 lack QA10, QA20 and QA60
(https://github.com/fmemuir/COASTGUARD/issues/13), and some passes of 2018 are there twice. Which
images these are is invented. By the catalogue, QA60 is masked from 2022-01-25 to 2024-02-28, and the MSK_CLASSI bands
are before; those are then constants, as geedim finds of an image of 2020 (tests/test_image.py, test_projection).

Bands, scales and properties: https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED,
https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_CLOUD_SCORE_PLUS_V1_S2_HARMONIZED,
https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_DYNAMICWORLD_V1

Searches find the passes whose swaths show some of a tile, on their real days: see ``sentinel2_orbit``. Images of other
moments are found by their names. Where the swath ends, all bands are masked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from functools import cache, lru_cache, partial
from itertools import islice, pairwise
from typing import Any, Literal

from affine import Affine

from eechips_local.demo import synthetic_label
from eechips_local.demo.image_search import ImageSearch, is_in_time, query_boxes
from eechips_local.demo.painting.masked_source import MaskedSource
from eechips_local.demo.painting.painted_source import PaintedSource
from eechips_local.demo.satellites import mgrs, sentinel2_orbit, sentinel2_product
from eechips_local.demo.satellites.mgrs import MgrsTile
from eechips_local.demo.satellites.sentinel2_granule import Granule, granule_of, milliseconds_of
from eechips_local.demo.satellites.sentinel2_orbit import Datatake
from eechips_local.demo.satellites.sentinel2_pixels import (
    BANDS,
    DYNAMIC_WORLD,
    TOP_BANDS,
    CloudProbability,
    CloudScore,
    DynamicWorld,
    Reflectance,
)
from eechips_local.demo.weather import sunlight
from eechips_local.demo.weather.cloud_regime import CloudRegime
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query
from eechips_local.evaluation.lazy_values import Later, LazyMapping, LazySequence
from eechips_local.pixels.grids.pixel_grid import PixelGrid

FIRST = date(2017, 3, 28)
"""No image of the surface is older."""

FIRST_TOP = date(2015, 6, 27)
"""No image of the top of the atmosphere is older."""

_REPEAT = sentinel2_orbit.REPEAT.days

_NAME = re.compile(r"(\d{8}T\d{6})_(\d{8}T\d{6})_T(\d{2}[C-X][A-Z]{2})")

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
_EDGES = sorted({FIRST_OFFSET, *(day for first, last, _ in _ABSENT for day in (first, last))})
"""Days on which what images have changes."""
_CLASSES = ("MSK_CLASSI_OPAQUE", "MSK_CLASSI_CIRRUS", "MSK_CLASSI_SNOW_ICE")
_BYTES = ("SCL", "TCI_R", "TCI_G", "TCI_B", "MSK_CLDPRB", "MSK_SNWPRB", *_CLASSES)
FIRST_CLASSES = date(2024, 2, 28)
"""Images have no cloud polygons from ``FIRST_OFFSET`` on; from this day on QA60 is made of the MSK_CLASSI bands."""

_CONSTANT = PixelGrid("EPSG:4326", Affine(1.0, 0.0, -180.0, 0.0, -1.0, 90.0), 360, 180)


def _by_day(datatake: Datatake, tiles: Sequence[MgrsTile]) -> list[tuple[MgrsTile, int]]:
    """Return one of the tiles for each day, at the place itself, on which they are seen; and their number."""
    seen = next(datatake.starts(FIRST, FIRST + 4 * sentinel2_orbit.REPEAT))
    days = {tile: Granule(seen, seen, tile, datatake).when for tile in tiles}
    tile_of = {day: tile for tile, day in days.items()}
    return [(tile_of[day], number) for day, number in Counter(days.values()).items()]


def _versions(granule: Granule) -> tuple[Granule, ...]:
    """Return a pass once, or twice: the second time of a datastrip that starts five seconds later."""
    again = _TWICE[0] <= granule.when < _TWICE[1] and granule.when.toordinal() // _REPEAT % 7 == 0
    return (granule, replace(granule, strip=granule.strip + timedelta(seconds=5))) if again else (granule,)


def _is_masked(name: str, when: date) -> bool:
    """Return whether a band of clouds is masked in all images of a day."""
    if name in _CLASSES:
        return when < FIRST_CLASSES
    return name == "QA60" and FIRST_OFFSET <= when <= FIRST_CLASSES


def _absent(granule: Granule) -> tuple[str, ...]:
    """Return the names of bands that the image of a pass lacks."""
    if granule.when.toordinal() // _REPEAT % 2:
        return ()
    return next((names for first, last, names in _ABSENT if first <= granule.when < last), ())


def _examples_between(first: date, last: date) -> Iterable[Granule]:
    """Return two passes over one tile of some days, of which one may lack bands."""
    datatake, tiles = next(iter(sentinel2_orbit.all_by_datatake().items()))
    granules: dict[int, Granule] = {}
    for seen in datatake.starts(first, last):
        granule = granule_of(tiles[0], seen, datatake)
        if first <= granule.when < last:
            granules.setdefault(granule.when.toordinal() // _REPEAT % 2, granule)
        if len(granules) == 2:
            break
    return granules.values()


@dataclass(frozen=True, slots=True)
class _Drawing:
    """What an image of a product has.

    Attributes:
        bands: its bands.
        known: properties by which images are often searched.
        others: makes the other properties.
    """

    bands: Sequence[BandInfo]
    known: Mapping[str, Any] = field(default_factory=dict)
    others: Callable[[], Mapping[str, Any]] = dict


@dataclass(frozen=True, slots=True)
class Product(ImageSearch):
    """A ``CollectionAsset`` made of passes.

    Attributes:
        id: the full Earth Engine id.
        title: as in the catalogue.
        kind: which of the products.
        until: the first day without an image.
        regime: the sky over its images.
        first: no image is older.
        at_top: whether the reflectance is at the top of the atmosphere, not at the surface.
        is_harmonized: whether the reflectance is stored alike before and after 2022-01-25.
    """

    id: str
    title: str
    kind: Literal["reflectance", "score", "probability", "world"]
    until: date
    regime: CloudRegime
    first: date = FIRST
    at_top: bool = False
    is_harmonized: bool = True

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        return synthetic_label.dated(self.title, self.first, self.until)

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        tiles = self._tiles(query)
        first, last = days_of(query, self.first, self.until)
        for ordinal in range(first.toordinal(), last.toordinal()):
            when, after = date.fromordinal(ordinal), date.fromordinal(ordinal + 1)
            passes = [
                granule_of(tile, seen, datatake)
                for datatake, below in tiles.items()
                for seen in datatake.starts(when, after)
                for tile in below
                if is_in_time(milliseconds_of(datatake.over(tile, seen)), query)
            ]
            for granule in sorted(
                (version for overpass in passes for version in _versions(overpass)), key=lambda g: g.index
            ):
                image = self._image(granule)
                if image is not None:
                    yield image

    def _tiles(self, query: Query) -> Mapping[Datatake, Sequence[MgrsTile]]:
        """Return the tiles of a query by the datatakes that show them."""
        name = query.equals.get("MGRS_TILE")
        if isinstance(name, str):
            only = mgrs.named(name)
            return sentinel2_orbit.by_datatake([only] if only is not None else [])
        if query.bounds is None:
            return sentinel2_orbit.all_by_datatake()
        boxes = query_boxes(query.bounds)
        shown = sentinel2_orbit.by_datatake(mgrs.tiles(query.bounds))
        return {
            datatake: [tile for tile in tiles if sentinel2_orbit.meets(datatake.orbit, tile, boxes)]
            for datatake, tiles in shown.items()
        }

    def count(self, query: Query) -> int | None:
        """See ``Counted.count``. Which images Dynamic World has depends on the clouds."""
        if self.kind == "world" or query != Query(start=query.start, end=query.end):
            return None
        first, last = days_of(query, self.first, self.until)
        total = 0
        for datatake, tiles in sentinel2_orbit.all_by_datatake().items():
            by_day = _by_day(datatake, tiles)
            for seen in datatake.starts(first, last):
                if all(
                    is_in_time(milliseconds_of(seen + part), query) for part in (timedelta(), sentinel2_orbit.LONGEST)
                ):
                    total += sum(
                        len(_versions(Granule(seen, seen, tile, datatake))) * number for tile, number in by_day
                    )
                else:
                    total += sum(
                        len(_versions(Granule(seen, seen, tile, datatake)))
                        for tile in tiles
                        if is_in_time(milliseconds_of(datatake.over(tile, seen)), query)
                    )
        return total

    def examples(self, query: Query) -> Sequence[ImageAsset]:
        """See ``Exemplified.examples``: two images of each time in which products are alike."""
        if self.kind != "reflectance":
            return list(islice(self.search(Query(start=query.start, end=query.end)), 1))
        first, last = days_of(query, self.first, self.until)
        known = (
            self._image(granule)
            for start, end in pairwise((self.first, *_EDGES, date.max))
            if start <= last + timedelta(days=1) and end >= first - timedelta(days=1)
            for granule in _examples_between(start, end)
        )
        return [image for image in known if image is not None]

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None.

        The name of an image of any moment of the mission is answered: only the archive has the list of them.
        """
        match = _NAME.fullmatch(index)
        tile = mgrs.named(match[3]) if match else None
        if match is None or tile is None:
            return None
        try:
            seen, strip = (
                datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc) for text in match.group(1, 2)
            )
        except ValueError:
            return None
        datatake = min(sentinel2_orbit.datatakes(tile), key=lambda known: known.away(seen))
        granule = Granule(seen, strip, tile, datatake)
        return self._image(granule) if self.first <= seen.date() < self.until else None

    def _image(self, granule: Granule) -> ImageAsset | None:
        return _image(self, replace(granule, regime=self.regime))

    def draw(self, granule: Granule) -> ImageAsset | None:
        """Return the image of a pass; None where the product has none."""
        make: Mapping[str, Callable[[Granule], _Drawing | None]] = {
            "reflectance": self._reflectance,
            "score": _score,
            "probability": _probability,
            "world": _world,
        }
        drawing = make[self.kind](granule)
        if drawing is None:
            return None
        index, time = granule.index, granule.start
        dated = {"system:index": index, "system:time_start": time, "system:time_end": time, **drawing.known}
        return ImageAsset(
            id=f"{self.id}/{index}",
            bands=drawing.bands,
            properties=LazyMapping(dated, lambda: synthetic_label.marked(drawing.others())),
            footprint=granule.outline,
            version=synthetic_label.VERSION,
        )

    def _reflectance(self, granule: Granule) -> _Drawing:
        offset = 0 if self.is_harmonized or granule.when < FIRST_OFFSET else _OFFSET
        return _reflectance(granule, self.at_top, offset)


@lru_cache(maxsize=4096)
def _image(product: Product, granule: Granule) -> ImageAsset | None:
    """Return an image, cached for other chips of it: a place has some of each day of five years."""
    return product.draw(granule)


def days_of(query: Query, first: date, last: date) -> tuple[date, date]:
    """Return days (UTC) on which datatakes start whose passes may fall in a query's time."""
    if query.start is not None:
        first = max(first, _day(query.start - sentinel2_orbit.LONGEST / timedelta(milliseconds=1)))
    if query.end is not None:
        last = min(last, _day(query.end) + timedelta(days=1))
    return first, max(first, last)


def _day(milliseconds: float) -> date:
    limited = min(max(milliseconds, 0.0), 4.0e12)
    return synthetic_label.date_of(limited).date()


def _reflectance_bands(granule: Granule, at_top: bool, offset: int) -> tuple[BandInfo, ...]:
    bands = []
    sources: dict[tuple[int, str, bool], PaintedSource] = {}
    absent, when, overpass = _absent(granule), granule.when, granule.overpass
    for name, pixel, part in TOP_BANDS if at_top else BANDS:
        if name in absent:
            continue
        names = _on_grid(pixel, at_top)
        dtype = "uint8" if name in _BYTES else "uint32" if name == "QA20" else "uint16"
        if _is_masked(name, when):
            is_constant = name in _CLASSES
            grid = _CONSTANT if is_constant else granule.tile.grid(pixel)
            bands.append(BandInfo(name, PixelType.of(dtype), grid, MaskedSource(dtype), 0, is_unbounded=is_constant))
            continue
        key = (pixel, dtype, part is not None)
        if key not in sources:
            scene = Reflectance(overpass, names, at_top, offset)
            sources[key] = granule.source(pixel, scene, dtype, smooth=part is not None)
        source = sources[key]
        bands.append(BandInfo(name, PixelType.of(dtype), source.grid, source, names.index(name)))
    return tuple(bands)


def _reflectance(granule: Granule, at_top: bool, offset: int) -> _Drawing:
    cloudy = Later(lambda: granule.cloudy)
    return _Drawing(
        LazySequence(partial(_reflectance_bands, granule, at_top, offset)),
        {"CLOUDY_PIXEL_PERCENTAGE": cloudy, "CLOUD_COVERAGE_ASSESSMENT": cloudy},
        partial(_other_properties, granule, at_top),
    )


def _other_properties(granule: Granule, at_top: bool) -> dict[str, Any]:
    when, generated, strip = granule.when, granule.made, f"{granule.strip:%Y%m%dT%H%M%S}"
    azimuth, zenith = sunlight.sun(granule.overpass.north, when)
    orbit = granule.datatake.orbit
    letter, absolute = granule.datatake.craft(granule.seen)
    level = "1C" if at_top else "2A"
    baseline = next(name for first, name in _BASELINES if when >= first)
    product = (
        f"S2{letter}_MSIL{level}_{granule.seen:%Y%m%dT%H%M%S}_N{baseline.replace('.', '')}_R{orbit:03d}_"
        f"T{granule.tile.name}_{generated:%Y%m%dT%H%M%S}"
    )
    properties = {
        "DATASTRIP_ID": (f"S2{letter}_OPER_MSI_L{level}_DS_DEMO_{generated:%Y%m%dT%H%M%S}_S{strip}_N{baseline}"),
        "DATATAKE_IDENTIFIER": f"GS2{letter}_{granule.seen:%Y%m%dT%H%M%S}_{absolute:06d}_N{baseline}",
        "GENERATION_TIME": milliseconds_of(generated),
        "GRANULE_ID": f"L{level}_T{granule.tile.name}_A{absolute:06d}_{strip}",
        "MEAN_SOLAR_AZIMUTH_ANGLE": azimuth,
        "MEAN_SOLAR_ZENITH_ANGLE": zenith,
        "MGRS_TILE": granule.tile.name,
        "PROCESSING_BASELINE": baseline,
        "PRODUCT_ID": product,
        "SENSING_ORBIT_DIRECTION": "DESCENDING",
        "SENSING_ORBIT_NUMBER": orbit,
        "SPACECRAFT_NAME": f"Sentinel-2{letter}",
        **sentinel2_product.properties(at_top, when, 0 if when < FIRST_OFFSET else _OFFSET),
    }
    if not at_top:
        properties["NODATA_PIXEL_PERCENTAGE"] = granule.missing
        scene = Reflectance(granule.overpass, ("SCL",))
        properties |= sentinel2_product.classified(
            lambda: granule.source(20, scene, "uint8", smooth=False), lambda: granule.cloudy
        )
    return properties


@cache
def _on_grid(pixel: int, at_top: bool) -> tuple[str, ...]:
    return tuple(name for name, size, _ in (TOP_BANDS if at_top else BANDS) if size == pixel)


def _score(granule: Granule) -> _Drawing:
    source = granule.source(10, CloudScore(granule.overpass), "float32")
    kind = PixelType("float", 0.0, 1.0)
    bands = tuple(BandInfo(name, kind, source.grid, source, n) for n, name in enumerate(("cs", "cs_cdf")))
    return _Drawing(bands, {"MGRS_TILE": granule.tile.name, "SOURCE_PRODUCT_ID": granule.index})


def _probability(granule: Granule) -> _Drawing:
    source = granule.source(10, CloudProbability(granule.overpass), "uint8")
    return _Drawing((BandInfo("probability", PixelType("int", 0, 255), source.grid, source, 0),))


def _world(granule: Granule) -> _Drawing | None:
    """Return only made of images with at most 35 per cent of clouds."""
    if granule.cloudy > 35.0:
        return None
    grid, scene = granule.tile.grid(10), DynamicWorld(granule.overpass)
    sources = {dtype: granule.source(10, scene, dtype, smooth=False) for dtype in ("float32", "uint8")}
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
    return _Drawing(bands, properties)


def collections(until: date, regime: CloudRegime) -> tuple[Product, ...]:
    """Return all collections up to a day."""
    surface = "Sentinel-2 MSI: MultiSpectral Instrument, Level-2A (SR)"
    top = "Sentinel-2 MSI: MultiSpectral Instrument, Level-1C (TOA)"
    return (
        Product("COPERNICUS/S2", top, "reflectance", until, regime, FIRST_TOP, at_top=True, is_harmonized=False),
        Product("COPERNICUS/S2_HARMONIZED", f"Harmonized {top}", "reflectance", until, regime, FIRST_TOP, at_top=True),
        Product("COPERNICUS/S2_SR", surface, "reflectance", until, regime, is_harmonized=False),
        Product("COPERNICUS/S2_SR_HARMONIZED", f"Harmonized {surface}", "reflectance", until, regime),
        Product(
            "COPERNICUS/S2_CLOUD_PROBABILITY", "Sentinel-2: Cloud Probability", "probability", until, regime, FIRST_TOP
        ),
        Product(
            "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED",
            "Cloud Score+ S2_HARMONIZED V1",
            "score",
            until,
            regime,
            FIRST_TOP,
        ),
        Product("GOOGLE/DYNAMICWORLD/V1", "Dynamic World V1", "world", until, regime, FIRST_TOP),
    )
