"""NASA/HLS/HLSL30/v002 and HLSS30/v002: reflectance of Landsat 8 and 9, and of Sentinel-2, on one grid of 30 m.

Both show what the demo planet's own Landsat and Sentinel-2 images of the same pass show, clouds included. Its sensors
share angles and wavelengths, so there is nothing to adjust. Bands, bits, dates and properties:
https://developers.google.com/earth-engine/datasets/catalog/NASA_HLS_HLSL30_v002,
https://developers.google.com/earth-engine/datasets/catalog/NASA_HLS_HLSS30_v002. Units of temperatures and angles:
https://lpdaac.usgs.gov/documents/1698/HLS_User_Guide_V2.pdf
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.demo import synthetic_label
from eechips_local.demo.image_search import ImageSearch, is_in_time, query_boxes
from eechips_local.demo.land import ground_cover, landcover
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.merged_source import MergedSource
from eechips_local.demo.painting.painted_source import AsPainted, PaintedScene, PaintedSource
from eechips_local.demo.satellites import landsat, landsat_scenes, mgrs, sentinel2, sentinel2_pixels, wrs
from eechips_local.demo.satellites.landsat import Landsat
from eechips_local.demo.satellites.landsat_scenes import LandsatOverpass
from eechips_local.demo.satellites.mgrs import MgrsTile
from eechips_local.demo.satellites.sentinel2_granule import Granule, passes_over
from eechips_local.demo.satellites.sentinel2_pixels import Sentinel2Overpass
from eechips_local.demo.satellites.wrs import WrsScene
from eechips_local.demo.weather import cirrus, climate, cloud_cover, sunlight
from eechips_local.demo.weather.cloud_regime import CloudRegime
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query, RasterSource
from eechips_local.pixels.grids.pixel_grid import transformer

FIRST_LANDSAT, FIRST_SENTINEL = date(2013, 4, 11), date(2015, 11, 28)
"""No images are older."""

_PIXEL = 30
_LANDSAT = ("B1", "B2", "B3", "B4", "B5", "B6", "B7")
_LANDSAT_FLAT = ("B9",)
_THERMAL = ("B10", "B11")
_SENTINEL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
_ANGLES = ("SZA", "SAA", "VZA", "VAA")
# Angles of view of the demo planet's satellites, zenith and azimuth, degrees.
_VIEW = (4.0, 102.0)
_CLEAR = 0.0012
"""Reflectance in the band of cirrus where there is none."""

_CLOUD_BIT, _ADJACENT_BIT, _SHADOW_BIT, _SNOW_BIT, _WATER_BIT, _LOW_AEROSOL = 2.0, 4.0, 8.0, 16.0, 32.0, 64.0
_NAME = re.compile(r"T(\d{2}[C-X][A-Z]{2})_(\d{8}T\d{6})")


@dataclass(frozen=True, slots=True)
class ScaledScene:
    """A scene whose stored values are turned into physical ones.

    Attributes:
        scene: with whole numbers.
        scale: unit of the whole numbers.
        offset: added after scaling.
        step: the values are rounded to multiples of it.
    """

    scene: PaintedScene
    scale: float
    offset: float
    step: float

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """See ``painted_source.PaintedScene``."""
        return self.scene.paint(rect, bands)

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.float32]:
        """See ``painted_source.PaintedScene``."""
        physical = self.scene.encode(values, bands).astype(np.float64) * self.scale + self.offset
        return (np.rint(physical * (1.0 / self.step)) * self.step).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Constants(AsPainted):
    """Values that are the same in the whole image, one for each band."""

    values: tuple[float, ...]

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        flat = np.array([self.values[band] for band in bands], dtype=np.float32)[:, None, None]
        return np.broadcast_to(flat, (len(bands), rect.height, rect.width)), None


@dataclass(frozen=True, slots=True)
class CirrusBand:
    """Reflectance at 1.38 micrometres, B9 of Landsat."""

    when: date
    regime: CloudRegime

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        return np.stack([cirrus.reflectance(rect, self.when, self.regime) + np.float32(_CLEAR)] * len(bands)), None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.float32]:
        """See ``painted_source.PaintedScene``; in steps of 0.0001."""
        return (np.rint(values.astype(np.float64) * 1e4) * 1e-4).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Fmask(AsPainted):
    """Bits of quality: clouds and what lies next to them, shadows, snow, water; low aerosol everywhere."""

    seen: LandsatOverpass | Sentinel2Overpass

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        seen = self.seen
        ground = ground_cover.ground(rect, seen.when, climate.snow_line(seen.when, seen.north))
        clouds = cloud_cover.sky(rect, seen.when, seen.north, seen.regime)
        best = landcover.dominant(landcover.shares(ground), range(len(landcover.CLASSES)))
        cloud, shadow = clouds.cloud > cloud_cover.CLOUDY, clouds.shadow > 0.45
        adjacent = ((clouds.cloud > 0.02) | (clouds.shadow > 0.15)) & ~cloud & ~shadow
        bits = np.full(best.shape, _LOW_AEROSOL)
        for where, bit in (
            (cloud, _CLOUD_BIT),
            (adjacent, _ADJACENT_BIT),
            (shadow & ~cloud, _SHADOW_BIT),
            (best == landcover.CLASSES.index("snow"), _SNOW_BIT),
            (best == landcover.CLASSES.index("water"), _WATER_BIT),
        ):
            bits += where * bit
        return bits[None], None


def _qualities(masked: RasterSource, angles: PaintedSource) -> list[BandInfo]:
    bands = [BandInfo("Fmask", PixelType("int", 0, 255), angles.grid, masked, 0)]
    return bands + [BandInfo(name, PixelType("float"), angles.grid, angles, n) for n, name in enumerate(_ANGLES)]


def _angles(tile: MgrsTile, when: date) -> tuple[float, float, float, float]:
    azimuth, zenith = sunlight.sun(round(mgrs.middle(tile)[1], 3), when)
    return round(zenith, 2), round(azimuth, 2), _VIEW[0], _VIEW[1]


def _common(tile: MgrsTile, seen: datetime, start: int, cloudy: float, covered: float) -> dict[str, Any]:
    zenith, azimuth, view_zenith, view_azimuth = _angles(tile, seen.date())
    return {
        "system:index": f"T{tile.name}_{seen:%Y%m%dT%H%M%S}",
        "system:time_start": start,
        "system:time_end": start,
        "ACCODE": "eechips demo planet",
        "CLOUD_COVERAGE": float(round(cloudy)),
        "HLS_PROCESSING_TIME": f"{seen + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}",
        "MEAN_SUN_AZIMUTH_ANGLE": azimuth,
        "MEAN_SUN_ZENITH_ANGLE": zenith,
        "MEAN_VIEW_AZIMUTH_ANGLE": view_azimuth,
        "MEAN_VIEW_ZENITH_ANGLE": view_zenith,
        "NBAR_SOLAR_ZENITH": zenith,
        "SPATIAL_COVERAGE": float(round(covered)),
    }


@dataclass(frozen=True, slots=True)
class HlsSentinel(ImageSearch):
    """A ``CollectionAsset``: HLSS30.

    Attributes:
        until: the first day without an image.
        regime: the sky over its images.
    """

    until: date
    regime: CloudRegime

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        return "NASA/HLS/HLSS30/v002"

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        return synthetic_label.dated(
            "HLSS30: HLS Sentinel-2 Multi-spectral Instrument Surface Reflectance Daily Global 30m",
            FIRST_SENTINEL,
            self.until,
        )

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        first, last = sentinel2.days_of(query, FIRST_SENTINEL, self.until)
        for tile in _tiles(query, "MGRS_TILE_ID"):
            for granule in passes_over(tile, query, first, last):
                yield self._image(granule)

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None."""
        parsed = _named(index)
        if parsed is None:
            return None
        tile, seen = parsed
        first, last = max(seen.date(), FIRST_SENTINEL), min(seen.date() + timedelta(days=1), self.until)
        passes = passes_over(tile, Query(), first, last)
        return next((self._image(granule) for granule in passes if granule.seen == seen), None)

    def _image(self, granule: Granule) -> ImageAsset:
        granule = replace(granule, regime=self.regime)
        tile, overpass = granule.tile, granule.overpass
        reflectance = sentinel2_pixels.Reflectance(overpass, _SENTINEL)
        source = granule.source(_PIXEL, ScaledScene(reflectance, 1e-4, 0.0, 1e-4), "float32")
        masked = granule.source(_PIXEL, Fmask(overpass), "uint8", smooth=False)
        angles = granule.source(_PIXEL, Constants(_angles(tile, granule.seen.date())), "float32", smooth=False)
        properties = {
            **_common(tile, granule.seen, granule.start, granule.opaque, 100.0 - granule.missing),
            "ADD_OFFSET": 0.0,
            "ANG_SCALE_FACTOR": 0.01,
            "MGRS_TILE_ID": tile.name,
            "PROCESSING_BASELINE": ["05.09"],
            "PRODUCT_URI": f"S2_MSIL1C_{granule.seen:%Y%m%dT%H%M%S}_N0509_T{tile.name}.SAFE",
            "REF_SCALE_FACTOR": 1e-4,
            "SENSING_TIME": f"{synthetic_label.date_of(granule.start):%Y-%m-%dT%H:%M:%S.%fZ}",
        }
        for name in ("01", "02", "03", "04", "11", "12", "8A"):
            properties[f"MSI_BAND_{name}_BANDPASS_ADJUSTMENT_SLOPE"] = 1.0
            properties[f"MSI_BAND_{name}_BANDPASS_ADJUSTMENT_OFFSET"] = 0.0
        bands = [BandInfo(name, PixelType("float"), source.grid, source, n) for n, name in enumerate(_SENTINEL)]
        return synthetic_label.image(self.id, (*bands, *_qualities(masked, angles)), properties, granule.outline)


@dataclass(frozen=True, slots=True)
class _LandsatPass:
    """Scenes of a path on a day that meet a tile, from the first seen on."""

    satellite: Landsat
    tile: MgrsTile
    scenes: tuple[WrsScene, ...]
    when: date

    @property
    def seen(self) -> datetime:
        """When the first scene is seen."""
        return landsat.moment_of(self.scenes[0], self.when)

    def bands(self) -> tuple[BandInfo, ...]:
        """Return the bands, each of which shows all scenes."""
        kind, grid = PixelType("float"), self.tile.grid(_PIXEL)
        reflectance = self._merged(lambda seen: ScaledScene(seen, 2.75e-5, -0.2, 1e-4))
        thermal = self._merged(lambda seen: ScaledScene(seen, 0.00341802, 149.0 - 273.15, 0.01))
        flat = self._merged(lambda _: CirrusBand(self.when, self.satellite.regime))
        masked = self._merged(Fmask, "uint8", smooth=False)
        angles = PaintedSource(grid, Constants(_angles(self.tile, self.seen.date())), "float32", smooth=False)
        at = landsat_scenes.BANDS.index
        return (
            *(BandInfo(name, kind, grid, reflectance, at(f"SR_{name}")) for name in _LANDSAT),
            *(BandInfo(name, kind, grid, flat, 0) for name in _LANDSAT_FLAT),
            *(BandInfo(name, kind, grid, thermal, at("ST_B10")) for name in _THERMAL),
            *_qualities(masked, angles),
        )

    def _merged(
        self, view: Callable[[LandsatOverpass], PaintedScene], dtype: str = "float32", *, smooth: bool = True
    ) -> MergedSource:
        grid = self.tile.grid(_PIXEL)
        views = [
            (view(landsat_scenes.overpass_of(scene, self.when, self.satellite.regime)), scene) for scene in self.scenes
        ]
        return MergedSource(
            tuple(PaintedSource(grid, shown, dtype, smooth, _points(self.tile, scene)) for shown, scene in views)
        )


@lru_cache(maxsize=8192)
def _scenes(tile: MgrsTile) -> tuple[tuple[WrsScene, ...], ...]:
    """Return the scenes of Landsat that meet a tile, by path, each in the order of rows."""
    outline = mgrs.outline(tile)
    west, south, east, north = outline.bounds
    paths: dict[int, list[WrsScene]] = {}
    for scene in wrs.scenes((west, south, east, north), wrs.OLI):
        if not shapely.intersection(_square(tile), _seen(tile, scene)).is_empty:
            paths.setdefault(scene.path, []).append(scene)
    return tuple(tuple(sorted(scenes)) for _, scenes in sorted(paths.items()))


def _points(tile: MgrsTile, scene: WrsScene) -> tuple[tuple[float, float], ...]:
    """Return the corners of a scene in the CRS of a tile, clockwise."""
    crs, points = wrs.corners(scene, wrs.OLI)
    if crs == tile.crs:
        return points
    xs, ys = zip(*points, strict=True)
    xs, ys = transformer(crs, tile.crs).transform(xs, ys)
    return tuple((round(float(x), 1), round(float(y), 1)) for x, y in zip(xs, ys, strict=True))


def _seen(tile: MgrsTile, scene: WrsScene) -> shapely.Geometry:
    return shapely.Polygon(_points(tile, scene))


def _square(tile: MgrsTile) -> shapely.Geometry:
    return shapely.box(*tile.grid(_PIXEL).bounds)


@dataclass(frozen=True, slots=True)
class HlsLandsat(ImageSearch):
    """A ``CollectionAsset``: HLSL30.

    Attributes:
        until: the first day without an image.
        regime: the sky over its images.
    """

    until: date
    regime: CloudRegime

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        return "NASA/HLS/HLSL30/v002"

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        return synthetic_label.dated(
            "HLSL30: HLS-2 Landsat Operational Land Imager Surface Reflectance and TOA Brightness Daily Global 30m",
            FIRST_LANDSAT,
            self.until,
        )

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        boxes = None if query.bounds is None else query_boxes(query.bounds)
        for tile in self._tiles(query):
            passes = [p for p in self._passes(tile, query) if is_in_time(landsat.milliseconds_of(p.seen), query)]
            for overpass in sorted(passes, key=lambda overpass: overpass.seen):
                image = self._image(overpass)
                if boxes is None or any(map(image.footprint.intersects, boxes)):
                    yield image

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None."""
        parsed = _named(index)
        if parsed is None:
            return None
        tile, seen = parsed
        start = seen.timestamp() * 1000.0
        for one in self._passes(tile, Query(start=start, end=start + 1.0)):
            if one.seen == seen:
                return self._image(one)
        return None

    def _tiles(self, query: Query) -> Sequence[MgrsTile]:
        """Return tiles that a query may ask for, in the order of their names."""
        last = synthetic_label.midnight(self.until)
        end = last if query.end is None else min(query.end, last)
        if query.bounds is not None or query.start is None or end - query.start > synthetic_label.DAY:
            return _tiles(query, None)
        seen = {
            scene for satellite in landsat.collections(self.until, self.regime) for scene, _ in satellite.passes(query)
        }
        tiles = {tile for scene in seen for tile in mgrs.tiles(wrs.outline(scene, wrs.OLI).bounds)}
        return sorted(tiles, key=lambda tile: tile.name)

    def _passes(self, tile: MgrsTile, query: Query) -> Iterator[_LandsatPass]:
        for scenes in _scenes(tile):
            for satellite in landsat.collections(self.until, self.regime):
                for when in satellite.days(scenes[0], query):
                    if when >= FIRST_LANDSAT:
                        yield _LandsatPass(satellite, tile, scenes, when)

    def _image(self, overpass: _LandsatPass) -> ImageAsset:
        tile, when = overpass.tile, overpass.when
        area = shapely.union_all([_seen(tile, scene) for scene in overpass.scenes])
        square = _square(tile)
        covered = 100.0 * shapely.intersection(area, square).area / square.area
        longitude, latitude = mgrs.middle(tile)
        place = cloud_cover.square(longitude, latitude, float(mgrs.EDGE))
        cloudy = cloud_cover.cover_percent(*place, when, regime=self.regime)
        number = overpass.satellite.number
        products = "; ".join(
            f"LC{number:02d}_L1TP_{scene.name}_{when:%Y%m%d}_{when + timedelta(days=12):%Y%m%d}_02_T1"
            for scene in overpass.scenes
        )
        properties = {
            **_common(tile, overpass.seen, landsat.milliseconds_of(overpass.seen), cloudy, covered),
            "LANDSAT_PRODUCT_ID": products,
            "TIRS_SSM_MODEL": "FINAL",
            "TIRS_SSM_POSITION_STATUS": "ESTIMATED",
            "USGS_SOFTWARE": "eechips demo planet",
        }
        footprint = shapely.intersection(
            mgrs.outline(tile),
            shapely.union_all([_turned(wrs.outline(scene, wrs.OLI), tile) for scene in overpass.scenes]),
        )
        return synthetic_label.image(self.id, overpass.bands(), properties, footprint)


def _turned(outline: shapely.Polygon, tile: MgrsTile) -> shapely.Geometry:
    """Return an outline with longitudes that continue those of a tile."""
    turn = round((mgrs.middle(tile)[0] - outline.centroid.x) / 360.0) * 360.0
    return shapely.transform(outline, lambda places: places + np.array([turn, 0.0])) if turn else outline


def _tiles(query: Query, name: str | None) -> Sequence[MgrsTile]:
    """Return tiles that a query may ask for, in the order of their names."""
    only = query.equals.get(name) if name is not None else None
    if isinstance(only, str):
        tile = mgrs.named(only)
        return [tile] if tile is not None else []
    return sorted(mgrs.tiles(query.bounds), key=lambda tile: tile.name)


def _named(index: str) -> tuple[MgrsTile, datetime] | None:
    """Return tile and time of an index, or None."""
    match = _NAME.fullmatch(index)
    tile = mgrs.named(match[1]) if match else None
    if match is None or tile is None:
        return None
    try:
        return tile, datetime.strptime(match[2], "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def collections(until: date, regime: CloudRegime) -> tuple[HlsLandsat, HlsSentinel]:
    """Return both collections up to a day."""
    return HlsLandsat(until, regime), HlsSentinel(until, regime)
