"""MODIS/061/MOD11A1 and MOD11A2: temperature of the land's surface, daily and every eight days, 1 km.

Version 6 (MODIS/006), which ended in 2023, has the same images. Bands, scales, grid and dates:
https://developers.google.com/earth-engine/datasets/catalog/MODIS_061_MOD11A2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.demo.global_image_series import GlobalSeries, underscored
from eechips_local.demo.land import natural_cover
from eechips_local.demo.land.terrain import Terrain
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.painted_source import SINUSOIDAL, nothing
from eechips_local.demo.weather import climate
from eechips_local.pixels.grids.pixel_grid import PixelGrid

GRID = PixelGrid(SINUSOIDAL, Affine(926.625433056, 0.0, -20015109.354, 0.0, -926.625433055, 10007554.677), 43200, 21600)
FIRST = date(2000, 2, 18)
VERSION_6_END = date(2023, 2, 17)
"""The first day without an image in version 6."""

_COMMON = (
    "LST_Day_1km",
    "QC_Day",
    "Day_view_time",
    "Day_view_{angle}",
    "LST_Night_1km",
    "QC_Night",
    "Night_view_time",
    "Night_view_{angle}",
    "Emis_31",
    "Emis_32",
)
DAILY = (*(name.format(angle="angle") for name in _COMMON), "Clear_day_cov", "Clear_night_cov")
COMPOSITE = (*(name.format(angle="angl") for name in _COMMON), "Clear_sky_days", "Clear_sky_nights")
_NIGHT = (4, 5, 6, 7)
_MELTING = 273.15


@dataclass(frozen=True, slots=True)
class Surface:
    """Scene of the days from a date on.

    Attributes:
        start: the first day.
        span: days: 1 or 8.
    """

    start: date
    span: int

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        land = climate.relief(rect)
        if land.is_sea:
            return nothing(len(bands), rect)
        dry, spell = climate.dryness(land), climate.weather(rect, self.start)
        warm = self._warmth(rect, land, dry, spell)
        grown = natural_cover.tree_density(land)
        values = np.empty((len(bands), rect.height, rect.width))
        valid = np.empty(values.shape, dtype=bool)
        known = {half: self._known(rect, half, land.character("coast")) for half in {b not in _NIGHT for b in bands}}
        for n, band in enumerate(bands):
            daytime = band not in _NIGHT
            clear, often = known[daytime]
            valid[n] = clear
            if band in (0, 4):
                values[n] = warm[daytime] * 50.0
            elif band in (1, 5):
                values[n] = np.where(often > 0.12, 0.0, 65.0)
                valid[n] = clear
            elif band in (2, 6):
                values[n] = (107.0 if daytime else 223.0) + 6.0 * spell
            elif band in (3, 7):
                values[n] = 65.0 + 45.0 * spell
            elif band in (8, 9):
                values[n] = (240.0 if band == 8 else 244.0) + 5.0 * grown - 6.0 * dry
            elif self.span == 1:
                values[n] = np.clip(often, 0.0, 1.0) * 2000.0
            else:
                # One bit for each clear day of the eight.
                days = np.clip(np.floor(1.0 + 9.0 * often), 1.0, 8.0)
                values[n] = 256.0 - np.array([1 << (8 - d) for d in range(9)], dtype=np.float64)[days.astype(np.int64)]
        return values, valid

    def _warmth(self, rect: Rect, land: Terrain, dry: Floats, spell: Floats) -> dict[bool, Floats]:
        """Return kelvins by day (True) and by night."""
        middle = self.start + timedelta(days=self.span // 2)
        day = climate.day_of_year(middle)
        usual = climate.mean_temperature(land, day)
        sun = 0.62 + 0.38 * climate.season(day) * np.clip(climate.latitude(rect) * (1.0 / 20.0), -1.0, 1.0)
        light = np.clip(land.light, 0.5, 1.3) - 1.0
        warm = {
            True: usual + 5.0 + (4.0 + 15.0 * dry) * sun + 5.0 * light * sun + 3.2 * spell,
            False: usual - 5.0 - 5.5 * dry + 2.4 * spell,
        }
        # Snow melts, and sends the sunlight back.
        lines = climate.snow_lines(climate.latitude(rect), middle)
        snow = np.maximum(natural_cover.snow_share(land, lines), climate.frozen(usual))
        for half, kelvin in warm.items():
            over_snow = np.minimum(usual + 0.3 * (kelvin - usual), _MELTING)
            warm[half] = kelvin + (over_snow - kelvin) * snow
        return warm

    def _known(self, rect: Rect, daytime: bool, inland: Floats) -> tuple[npt.NDArray[np.bool_], Floats]:
        """Return the pixels of land that a clear day showed, and how clear it was."""
        share = 0.33 if self.span == 1 else 0.08
        cloud = climate.cloudiness(rect, self.start, share, 1 if daytime else 2)
        clear: npt.NDArray[np.bool_] = (cloud < 0.0) & (inland > 0.0)
        return clear, -cloud

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.uint16]:
        """See ``painted_source.PaintedScene``."""
        result = np.clip(np.rint(values), 0, 65535)
        for n, band in enumerate(bands):
            if band not in (0, 4) and not (band in (10, 11) and self.span == 1):
                result[n] = np.minimum(result[n], 255)
        stored: npt.NDArray[np.uint16] = result.astype(np.uint16)
        return stored


@cache
def daily_dates(until: date) -> tuple[tuple[date, date], ...]:
    """Return every day before a date, but a few on which the satellite was silent."""
    days = climate.days(date(2000, 2, 24), until, 1)
    kept = noise.random(np.array([d.toordinal() for d in days]), 0, 901) > 0.004
    return tuple((d, d + timedelta(days=1)) for d, keep in zip(days, kept, strict=True) if keep)


@cache
def composite_dates(step: int, until: date) -> tuple[tuple[date, date], ...]:
    """Return periods of some days that are over before a date, counted anew from each 1 January."""
    years = range(FIRST.year, until.year + 1)
    starts = [d for year in years for d in climate.days(date(year, 1, 1), date(year + 1, 1, 1), step)]
    periods = ((d, min(d + timedelta(days=step), date(d.year + 1, 1, 1))) for d in starts if d >= FIRST)
    return tuple((first, after) for first, after in periods if after <= until)


def _daily(start: date) -> Surface:
    return Surface(start, 1)


def _composite(start: date) -> Surface:
    return Surface(start, 8)


def _kinds(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, "uint16" if name.startswith("LST") or name.endswith("_cov") else "uint8") for name in names)


def collections(until: date) -> tuple[GlobalSeries, ...]:
    """Return both collections up to a day, of both versions."""
    result = []
    for version, end in (("061", until), ("006", min(until, VERSION_6_END))):
        result += [
            GlobalSeries(
                id=f"MODIS/{version}/MOD11A1",
                title=f"MOD11A1.{version} Terra Land Surface Temperature and Emissivity Daily Global 1km",
                grid=GRID,
                bands=_kinds(DAILY),
                dates=partial(daily_dates, end),
                index=underscored,
                scene=_daily,
            ),
            GlobalSeries(
                id=f"MODIS/{version}/MOD11A2",
                title=f"MOD11A2.{version} Terra Land Surface Temperature and Emissivity 8-Day Global 1km",
                grid=GRID,
                bands=_kinds(COMPOSITE),
                dates=partial(composite_dates, 8, end),
                index=underscored,
                scene=_composite,
            ),
        ]
    return tuple(result)
