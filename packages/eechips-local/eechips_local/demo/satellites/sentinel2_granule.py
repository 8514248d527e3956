"""Granules of Sentinel-2: passes over a tile, with what is seen of it and how much of that is cloudy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import shapely

from eechips_local.demo.image_search import is_in_time
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.painted_source import PaintedScene, PaintedSource
from eechips_local.demo.satellites import mgrs, sentinel2_orbit
from eechips_local.demo.satellites.mgrs import MgrsTile
from eechips_local.demo.satellites.sentinel2_orbit import Datatake
from eechips_local.demo.satellites.sentinel2_pixels import Sentinel2Overpass
from eechips_local.demo.weather import cloud_cover
from eechips_local.demo.weather.cloud_regime import CloudRegime
from eechips_local.evaluation.asset_model import Query

_STRIP = timedelta(minutes=8)
"""Length of a datastrip. A real datatake begins another datastrip where the ground station changes."""


@dataclass(frozen=True, slots=True, order=True)
class Granule:
    """A pass over a tile: when its datatake and its datastrip start (UTC, whole seconds), and where.

    The datatake is that which passes next to that time, of those that show the tile.
    """

    seen: datetime
    strip: datetime
    tile: MgrsTile
    datatake: Datatake
    regime: CloudRegime = "climate"

    @property
    def index(self) -> str:
        """``system:index``."""
        return f"{self.seen:%Y%m%dT%H%M%S}_{self.strip:%Y%m%dT%H%M%S}_T{self.tile.name}"

    @property
    def when(self) -> date:
        """The day that the pass counts as, at the place itself."""
        return (self.seen + timedelta(hours=mgrs.middle(self.tile)[0] / 15.0)).date()

    @property
    def outline(self) -> shapely.Polygon:
        """Outline of what is seen of the tile, degrees."""
        return sentinel2_orbit.outline(self.datatake.orbit, self.tile)

    @property
    def missing(self) -> float:
        """Percentage of the tile that is not seen."""
        return sentinel2_orbit.missing_percent(self.datatake.orbit, self.tile)

    @property
    def made(self) -> datetime:
        """When the product was made: hours after its datastrip."""
        number = noise.random(_number(self.tile), self.strip.toordinal(), 1011)[0]
        return self.strip + timedelta(seconds=4800 + int(number * 14_400.0))

    @property
    def start(self) -> int:
        """``system:time_start``: when the tile is seen, milliseconds since 1970.

        As that of 20240611T130251_20240611T130251_T23KPS is 13:08:13.493.
        """
        return milliseconds_of(self.datatake.over(self.tile, self.seen))

    @property
    def overpass(self) -> Sentinel2Overpass:
        """Pass on which the image is taken."""
        north = mgrs.middle(self.tile)[1]
        return Sentinel2Overpass(self.when, round(north, 3), self.regime)

    @property
    def cloudy(self) -> float:
        """Percentage of clouds, cirrus among them, in what is seen."""
        return self._cloudy(with_cirrus=True)

    @property
    def opaque(self) -> float:
        """Percentage of clouds without cirrus in what is seen."""
        return self._cloudy(with_cirrus=False)

    def _cloudy(self, *, with_cirrus: bool) -> float:
        longitude, latitude = mgrs.middle(self.tile)
        column, row, size = cloud_cover.square(longitude, latitude, float(mgrs.EDGE))
        part = self.outline if self.missing else None
        return cloud_cover.cover_percent(column, row, size, self.when, part, with_cirrus, self.regime)

    def source(self, pixel: int, scene: PaintedScene, dtype: str, smooth: bool = True) -> PaintedSource:
        """Return what is seen of a scene in pixels of some metres."""
        outline = sentinel2_orbit.corners(self.datatake.orbit, self.tile)
        return PaintedSource(self.tile.grid(pixel), scene, dtype, smooth, outline)


def _number(tile: MgrsTile) -> int:
    return (tile.zone * 2 + tile.southern) * 1024 + tile.column * 128 + tile.row


def passes_over(tile: MgrsTile, query: Query, first: date, last: date) -> Iterator[Granule]:
    """Yield the passes over a tile in the time of a query, from a day on, before another one, in their order."""
    passes = sorted((s, datatake) for datatake in sentinel2_orbit.datatakes(tile) for s in datatake.starts(first, last))
    for seen, datatake in passes:
        if is_in_time(milliseconds_of(datatake.over(tile, seen)), query):
            yield granule_of(tile, seen, datatake)


def granule_of(tile: MgrsTile, seen: datetime, datatake: Datatake) -> Granule:
    """Return the pass over a tile of a datatake, by the time at which the datatake starts."""
    return Granule(seen, seen + (datatake.over(tile, seen) - seen) // _STRIP * _STRIP, tile, datatake)


def milliseconds_of(when: datetime) -> int:
    """Return a time in milliseconds since 1970."""
    return round(when.timestamp() * 1000.0)
