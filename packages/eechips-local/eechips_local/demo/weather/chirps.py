"""UCSB-CHG/CHIRPS/DAILY: rain of each day, 0.05 degrees, between 50 degrees south and north.

It rains from the clouds that the optical satellites see, and the soil that the radar sees gets wet. Band, unit, grid
and dates: https://developers.google.com/earth-engine/datasets/catalog/UCSB-CHG_CHIRPS_DAILY
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

from eechips_local.demo.global_image_series import GlobalSeries, digits
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import Rounded, nothing
from eechips_local.demo.weather import climate, rainfall
from eechips_local.pixels.grids.pixel_grid import PixelGrid

GRID = PixelGrid("EPSG:4326", Affine(0.05, 0.0, -180.0, 0.0, -0.05, 50.0), 7200, 2000)
FIRST = date(1981, 1, 1)


@dataclass(frozen=True, slots=True)
class DailyRain(Rounded):
    """The rain of a day, millimetres."""

    start: date

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        land = climate.relief(rect)
        if land.is_sea:
            return nothing(len(bands), rect)
        return rainfall.daily(rect, self.start)[None], (land.character("coast") > 0.0)[None]


@cache
def _dates(until: date) -> tuple[tuple[date, date], ...]:
    return tuple((day, day + timedelta(days=1)) for day in climate.days(FIRST, until, 1))


def collection(until: date) -> GlobalSeries:
    """Return the collection, up to a day."""
    return GlobalSeries(
        id="UCSB-CHG/CHIRPS/DAILY",
        title=(
            "CHIRPS Precipitation Daily: Climate Hazards Center InfraRed Precipitation With Station Data "
            "(Version 2.0 Final)"
        ),
        grid=GRID,
        bands=(("precipitation", "float32"),),
        dates=partial(_dates, until),
        index=digits,
        scene=DailyRain,
    )
