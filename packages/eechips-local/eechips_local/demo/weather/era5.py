"""ECMWF/ERA5_LAND/MONTHLY_AGGR: the climate of each month, 0.1 degrees.

A choice of its bands, with their names, units and grid as in
https://developers.google.com/earth-engine/datasets/catalog/ECMWF_ERA5_LAND_MONTHLY_AGGR
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.demo.global_image_series import GlobalSeries, months
from eechips_local.demo.land import natural_cover
from eechips_local.demo.land.terrain import Terrain
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.painted_source import Rounded, nothing
from eechips_local.demo.weather import climate, rainfall
from eechips_local.pixels.grids.pixel_grid import PixelGrid

GRID = PixelGrid("EPSG:4326", Affine(0.1, 0.0, -180.05, 0.0, -0.1, 90.05), 3600, 1801)
BANDS = (
    "dewpoint_temperature_2m",
    "temperature_2m",
    "skin_temperature",
    "soil_temperature_level_1",
    "snow_cover",
    "snow_depth",
    "volumetric_soil_water_layer_1",
    "total_precipitation_sum",
    "surface_pressure",
    "u_component_of_wind_10m",
    "v_component_of_wind_10m",
    "temperature_2m_min",
    "temperature_2m_max",
)
_FIRST = 1950


@dataclass(frozen=True, slots=True)
class Month(Rounded):
    """The climate of a month, given by its first day."""

    PARTS: ClassVar[float] = 65536.0
    start: date

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        land = climate.relief(rect)
        if land.is_sea:
            return nothing(len(bands), rect)
        known = self._known(rect, land)
        values = np.stack([known[BANDS[band]] for band in bands])
        return values, np.broadcast_to(land.character("coast") > 0.0, values.shape)

    def _known(self, rect: Rect, land: Terrain) -> Mapping[str, Floats]:
        day = climate.day_of_year(self.start) + 15
        spell = climate.weather(rect, self.start)
        wind = climate.weather(rect, self.start, (20, 18))
        rain = rainfall.total(rect, self.start, climate.next_month(self.start))
        wet = rain / (rain + 60.0)
        dry = climate.dryness(land)
        # The whole planet has warmed by a kelvin since 1980.
        trend = 0.022 * (self.start.year - 1980)
        air = climate.mean_temperature(land, day) + 2.2 * spell + trend
        freezing = climate.frozen(air)
        height = np.maximum(land.height, 0.0)
        thin = 1.0 - height * (1.0 / 44_330.0)
        return {
            "temperature_2m": air,
            "dewpoint_temperature_2m": air - 2.0 - 8.0 * dry - 10.0 * (1.0 - wet),
            "skin_temperature": air + 1.5 * dry,
            "soil_temperature_level_1": air + 0.8,
            "snow_cover": 100.0 * freezing,
            "snow_depth": 0.6 * freezing * (1.1 - dry),
            "volumetric_soil_water_layer_1": np.clip(0.05 + 0.13 * (1.0 - dry) + 0.25 * wet, 0.02, 0.5),
            "total_precipitation_sum": 0.001 * rain,
            # Barometric formula with the exponent 5.25 as t**5 times the fourth root.
            "surface_pressure": 101_325.0 * thin * thin * thin * thin * thin * np.sqrt(np.sqrt(thin)),
            "u_component_of_wind_10m": 1.2 + 2.4 * spell,
            "v_component_of_wind_10m": 0.3 + 2.0 * wind,
            "temperature_2m_min": air - 9.0 - 5.0 * dry,
            "temperature_2m_max": air + 9.0 + 5.0 * dry + 4.0 * (1.0 - natural_cover.tree_density(land)),
        }


def _index(start: date) -> str:
    return f"{start.year:04d}{start.month:02d}"


def _when(start: date) -> Mapping[str, Any]:
    return {"year": start.year, "month": start.month}


def collection(until: date) -> GlobalSeries:
    """Return the collection, up to a day."""
    return GlobalSeries(
        id="ECMWF/ERA5_LAND/MONTHLY_AGGR",
        title="ERA5-Land Monthly Aggregated - ECMWF Climate Reanalysis",
        grid=GRID,
        bands=tuple((name, "float32") for name in BANDS),
        dates=partial(months, _FIRST, until),
        index=_index,
        scene=Month,
        extra=_when,
    )
