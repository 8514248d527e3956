"""NOAA/VIIRS/DNB/MONTHLY_V1/VCMSLCFG: lights of towns at night, each month, 15 arc seconds.

Bands, unit, dates and the area that is covered:
https://developers.google.com/earth-engine/datasets/catalog/NOAA_VIIRS_DNB_MONTHLY_V1_VCMSLCFG
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.demo.global_image_series import GlobalSeries, digits, months
from eechips_local.demo.land import farmland, natural_cover
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import Rounded
from eechips_local.demo.weather import climate
from eechips_local.pixels.grids.pixel_grid import PixelGrid

_PIXEL = 1.0 / 240.0
GRID = PixelGrid(
    "EPSG:4326", Affine(_PIXEL, 0.0, -180.0 - _PIXEL / 2.0, 0.0, -_PIXEL, 75.0 + _PIXEL / 2.0), 86401, 33601
)
_FIRST_YEAR = 2014
_RADIANCE = 48.0
"""Radiance of a dense town, nanowatts per square centimetre and steradian."""

_SKY = 0.22


@dataclass(frozen=True, slots=True)
class MonthlyLights(Rounded):
    """Radiance and number of cloud-free observations in the month that begins on a date."""

    start: date

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        land = climate.relief(rect)
        middle = self.start + timedelta(days=15)
        north = climate.latitude(rect)
        spell = climate.weather(rect, self.start)
        snow = natural_cover.snow_share(land, climate.snow_lines(north, middle))
        inhabited = np.where(land.character("coast") > 0.0, farmland.settlement(rect), 0.0)
        # Towns grow by one and a half per cent each year; snow reflects their light.
        growth = 1.0 + 0.015 * (self.start.year - _FIRST_YEAR + (self.start.month - 1) / 12.0)
        light = _RADIANCE * inhabited * growth * (1.0 + 0.25 * snow) * (1.0 + 0.06 * spell)
        # In summer it is not dark near the poles.
        dark = np.clip(17.0 - (np.abs(north) - 48.0) * self._summer(north), 0.0, 17.0)
        clear = np.floor(dark * np.clip(0.65 - 0.35 * spell, 0.05, 1.0))
        radiance = np.where(clear > 0.0, light + _SKY * (1.0 + 0.4 * spell), 0.0)
        known = (radiance, clear)
        return np.stack([known[band] for band in bands]), np.ones((len(bands), rect.height, rect.width), dtype=bool)

    def _summer(self, north: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return 1 in full summer at latitudes, 0 in winter."""
        wave = climate.season(climate.day_of_year(self.start) + 15, 172.0)
        return np.maximum(0.0, np.where(north >= 0.0, wave, -wave))

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.float64]:
        """See ``painted_source.PaintedScene``."""
        result = Rounded.encode(self, values, bands)
        for n, band in enumerate(bands):
            if band == 1:
                result[n] = np.rint(result[n])
        return result


def collection(until: date) -> GlobalSeries:
    """Return the collection, up to a day."""
    return GlobalSeries(
        id="NOAA/VIIRS/DNB/MONTHLY_V1/VCMSLCFG",
        title="VIIRS Stray Light Corrected Nighttime Day/Night Band Composites Version 1",
        grid=GRID,
        bands=(("avg_rad", "float32"), ("cf_cvg", "int16")),
        dates=partial(months, _FIRST_YEAR, until),
        index=digits,
        scene=MonthlyLights,
    )
