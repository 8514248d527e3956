"""MODIS/061/MOD13A2 and MOD13Q1: vegetation indices every sixteen days, 1 km and 250 m.

Version 6 (MODIS/006), which ended in 2023, has the same images. Bands, scales and dates:
https://developers.google.com/earth-engine/datasets/catalog/MODIS_061_MOD13A2,
https://developers.google.com/earth-engine/datasets/catalog/MODIS_061_MOD13Q1
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

from eechips_local.demo.global_image_series import GlobalSeries, underscored
from eechips_local.demo.land import natural_cover, spectra
from eechips_local.demo.land.terrain import Terrain
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.painted_source import SINUSOIDAL, nothing
from eechips_local.demo.satellites import modis
from eechips_local.demo.weather import climate, growing_season
from eechips_local.pixels.grids.pixel_grid import PixelGrid

FINE_GRID = PixelGrid(
    SINUSOIDAL, Affine(231.656358264, 0.0, -20015109.354, 0.0, -231.65635826375, 10007554.677), 172800, 86400
)
BANDS = (
    ("NDVI", "int16"),
    ("EVI", "int16"),
    ("DetailedQA", "uint16"),
    ("sur_refl_b01", "int16"),
    ("sur_refl_b02", "int16"),
    ("sur_refl_b03", "int16"),
    ("sur_refl_b07", "int16"),
    ("ViewZenith", "int16"),
    ("SolarZenith", "int16"),
    ("RelativeAzimuth", "int16"),
    ("DayOfYear", "int16"),
    ("SummaryQA", "int8"),
)
_STEP = 16


@dataclass(frozen=True, slots=True)
class Indices:
    """Scene of the sixteen days from a date on."""

    start: date

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        land = climate.relief(rect)
        if land.is_sea:
            return nothing(len(bands), rect)
        middle = self.start + timedelta(days=_STEP // 2)
        north = climate.latitude(rect)
        snow = natural_cover.snow_share(land, climate.snow_lines(north, middle))
        # Wet and dry spells, and patches of richer ground.
        spell = climate.weather(rect, self.start, (21, 19, 16))
        ndvi = _ndvi(land, growing_season.of_wild_plants(rect, middle), growing_season.of_fields(rect, middle)) * (
            1.0 + 0.10 * spell + 0.30 * land.patches[0]
        )
        ndvi = np.clip(ndvi, -0.2, 0.92)
        ndvi = ndvi + (0.02 - ndvi) * snow
        # Brighter where less grows; the indices follow from the reflectances, as users compute them.
        red = 0.025 + 0.24 * (1.0 - ndvi) * (1.0 - ndvi) + 0.45 * snow
        nir = red * (1.0 + ndvi) / (1.0 - ndvi)
        blue = red * 0.55
        evi = 2.5 * (nir - red) / (nir + 6.0 * red - 7.5 * blue + 1.0)
        zenith = np.clip(np.abs(north - 23.4 * climate.season(climate.day_of_year(middle), 172.0)), 0.0, 89.0)
        flat = np.zeros(ndvi.shape)
        known: dict[str, Floats] = {
            "NDVI": ndvi * 10_000.0,
            "EVI": evi * 10_000.0,
            "DetailedQA": np.where(snow > 0.5, 18_564.0, 2_116.0) + flat,
            "sur_refl_b01": red * 10_000.0,
            "sur_refl_b02": nir * 10_000.0,
            "sur_refl_b03": blue * 10_000.0,
            "sur_refl_b07": (0.30 - 0.22 * ndvi) * 10_000.0,
            "ViewZenith": 1_500.0 + flat,
            "SolarZenith": zenith * 100.0 + flat,
            "RelativeAzimuth": 4_500.0 + flat,
            "DayOfYear": climate.day_of_year(middle) + flat,
            "SummaryQA": np.where(snow > 0.5, 2.0, 0.0) + flat,
        }
        values = np.stack([known[BANDS[band][0]] for band in bands])
        return values, np.broadcast_to(land.character("coast") > 0.0, values.shape)

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[Any]:
        """See ``painted_source.PaintedScene``."""
        stored: npt.NDArray[np.int32] = np.clip(np.rint(values), -2000, 65535).astype(np.int32)
        return stored


def _ndvi(land: Terrain, growth: Floats, crop: Floats) -> Floats:
    """Return normalized difference of near infrared and red, without snow.

    Args:
        land: relief.
        growth: greenness of wild plants.
        crop: share of fields that is hidden by green plants.
    """
    trees = natural_cover.tree_density(land)
    needle = land.character("needle")
    forest = needle * (0.62 + 0.16 * growth) + (1.0 - needle) * (0.34 + 0.50 * growth)
    fields = np.clip(land.character("crop"), 0.0, 1.0)
    grass = natural_cover.grass_cover(land) * np.clip(land.character("green"), 0.0, 1.0)
    low = fields * _index_of_fields(crop) + (1.0 - fields) * (0.09 + grass * (0.22 + 0.52 * growth))
    rock = natural_cover.rockiness(land)
    low = low + (0.05 - low) * rock
    return np.where(land.lake > 0.0, -0.08, trees * forest + (1.0 - trees) * low)


def _index_of_fields(green: Floats) -> Floats:
    """Return the index of fields of which a share is hidden by green plants."""
    red, nir = (
        spectra.REFLECTANCE["stubble"][at]
        + (spectra.REFLECTANCE["crop"][at] - spectra.REFLECTANCE["stubble"][at]) * green
        for at in (spectra.BANDS.index("red"), spectra.BANDS.index("nir"))
    )
    return (nir - red) / (nir + red)


def collections(until: date) -> tuple[GlobalSeries, ...]:
    """Return both collections up to a day, of both versions."""
    result = []
    for version, end in (("061", until), ("006", min(until, modis.VERSION_6_END))):
        for name, grid, pixel in (("MOD13A2", modis.GRID, "1km"), ("MOD13Q1", FINE_GRID, "250m")):
            result.append(
                GlobalSeries(
                    id=f"MODIS/{version}/{name}",
                    title=f"{name}.{version} Terra Vegetation Indices 16-Day Global {pixel}",
                    grid=grid,
                    bands=BANDS,
                    dates=partial(modis.composite_dates, _STEP, end),
                    index=underscored,
                    scene=Indices,
                )
            )
    return tuple(result)
