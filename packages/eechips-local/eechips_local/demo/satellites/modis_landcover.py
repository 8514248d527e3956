"""MODIS/061/MCD12Q1 and its version 006: land cover of each year in five classifications, 500 m.

Bands, classes, colours and dates: https://developers.google.com/earth-engine/datasets/catalog/MODIS_061_MCD12Q1 and
https://developers.google.com/earth-engine/datasets/catalog/MODIS_006_MCD12Q1, which ends with 2020. The classes of the
International Geosphere-Biosphere Programme (IGBP) follow from the shares of the ground by their definitions there; the
other classifications follow from those. Version 051, whose water is class 0, has no page any more. It has the one band
that Google's guide (https://developers.google.com/earth-engine/guides/image_visualization) and OpenET's models read
(github.com/Open-ET/openet-eemetric, common_products.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.demo.global_image_series import GlobalSeries, legend, underscored, years
from eechips_local.demo.land import farmland, ground_cover, landcover
from eechips_local.demo.land.ground_layers import Ground
from eechips_local.demo.painting import upsampling
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import SINUSOIDAL, AsPainted
from eechips_local.demo.weather import climate
from eechips_local.pixels.grids.pixel_grid import PixelGrid

GRID = PixelGrid(SINUSOIDAL, Affine(463.312716528, 0.0, -20015109.354, 0.0, -463.312716528, 10007554.677), 86400, 43200)
_FIRST_YEAR = 2001
_LAST_YEARS = {"051": 2013, "006": 2020, "061": 9999}
"""By version."""
_SHELF = -60_000.0
"""Units out at sea up to which there are tiles."""

_CROWNS = 1.0 / 0.75
"""A closed forest has crowns over three quarters of the ground."""

IGBP = (
    (1, "Evergreen Needleleaf Forests", "05450a"),
    (2, "Evergreen Broadleaf Forests", "086a10"),
    (3, "Deciduous Needleleaf Forests", "54a708"),
    (4, "Deciduous Broadleaf Forests", "78d203"),
    (5, "Mixed Forests", "009900"),
    (6, "Closed Shrublands", "c6b044"),
    (7, "Open Shrublands", "dcd159"),
    (8, "Woody Savannas", "dade48"),
    (9, "Savannas", "fbff13"),
    (10, "Grasslands", "b6ff05"),
    (11, "Permanent Wetlands", "27ff87"),
    (12, "Croplands", "c24f44"),
    (13, "Urban and Built-up Lands", "a5a5a5"),
    (14, "Cropland/Natural Vegetation Mosaics", "ff6d4c"),
    (15, "Permanent Snow and Ice", "69fff8"),
    (16, "Barren", "f9ffa4"),
    (17, "Water Bodies", "1c0dff"),
)
# Codes of the other classifications for each of the 17 classes of IGBP.
_CODES = {
    "LC_Type1": tuple(range(1, 18)),
    "LC_Type2": (*range(1, 15), 15, 15, 0),
    "LC_Type3": (7, 5, 8, 6, 6, 2, 2, 4, 4, 1, 1, 3, 10, 1, 9, 9, 0),
    "LC_Type4": (1, 2, 3, 4, 4, 4, 4, 6, 6, 6, 6, 5, 8, 6, 7, 7, 0),
    "LC_Type5": (1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 9, 7, 10, 11, 0),
    "LC_Prop1": (11, 12, 13, 14, 15, 41, 43, 21, 22, 31, 31, 31, 1, 32, 2, 1, 3),
    "LC_Prop2": (10, 10, 10, 10, 10, 40, 40, 20, 20, 30, 30, 36, 9, 25, 2, 1, 3),
    "LC_Prop3": (10, 10, 10, 10, 10, 40, 40, 20, 20, 30, 50, 30, 30, 30, 2, 1, 3),
    "QC": (*(0,) * 16, 2),
    "LW": (*(2,) * 16, 1),
    "Land_Cover_Type_1": (*range(1, 17), 0),
}
BANDS = (
    "LC_Type1",
    "LC_Type2",
    "LC_Type3",
    "LC_Type4",
    "LC_Type5",
    "LC_Prop1_Assessment",
    "LC_Prop2_Assessment",
    "LC_Prop3_Assessment",
    "LC_Prop1",
    "LC_Prop2",
    "LC_Prop3",
    "QC",
    "LW",
)
_OLD_BANDS = ("Land_Cover_Type_1",)
_OLD = "051"


@dataclass(frozen=True, slots=True)
class YearlyLandCover(AsPainted):
    """Land cover of the year that begins on a date."""

    start: date
    names: tuple[str, ...] = BANDS

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        ground = ground_cover.ground(rect, self.start)
        parts = landcover.shares(ground)
        best = self._class(ground, parts)
        sure = np.rint(55.0 + 44.0 * np.clip(parts.max(axis=0), 0.0, 1.0))
        values = np.stack(
            [
                sure if name.endswith("Assessment") else np.array((0, *_CODES[name]))[best]
                for name in (self.names[band] for band in bands)
            ]
        )
        inland = upsampling.Upsampler(rect, ground.terrain.rect)(ground.terrain.character("coast"))
        return values, np.broadcast_to(inland > np.float32(_SHELF), values.shape)

    def _class(self, ground: Ground, parts: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Return classes of IGBP."""
        part = {name: landcover.fraction(parts, name) for name in landcover.CLASSES}
        up = upsampling.Upsampler(ground.rect, ground.terrain.rect)
        built = np.maximum(part["built"], farmland.settlement(ground.rect))
        trees = part["tree"] * np.float32(_CROWNS)
        needle = up(ground.terrain.character("needle"))
        tropical = np.abs(climate.latitude(ground.rect)) < 23.0
        forest = np.select([needle > 0.6, needle > 0.4, tropical], [1, 5, 2], default=4)
        return np.select(
            [
                part["water"] > 0.5,
                part["snow"] > 0.6,
                built > 0.3,
                part["crop"] > 0.6,
                trees > 0.6,
                part["crop"] > 0.4,
                trees > 0.3,
                part["shrub"] > 0.6,
                part["bare"] > 0.7,
                trees > 0.1,
                part["shrub"] > 0.25,
            ],
            [17, 15, 13, 12, forest, 14, 8, 6, 16, 9, 7],
            default=10,
        ).astype(np.int64)


def collections(until: date) -> tuple[GlobalSeries, ...]:
    """Return the collections of whole years, up to a day."""
    return tuple(_series(version, min(until.year, last + 1)) for version, last in _LAST_YEARS.items())


def _series(version: str, end: int) -> GlobalSeries:
    names = _OLD_BANDS if version == _OLD else BANDS
    classes = [(code % 17, name, colour) for code, name, colour in IGBP] if version == _OLD else IGBP
    return GlobalSeries(
        id=f"MODIS/{version}/MCD12Q1",
        title=f"MCD12Q1.{version} MODIS Land Cover Type Yearly Global 500m",
        grid=GRID,
        bands=tuple((name, "uint8") for name in names),
        dates=partial(years, range(_FIRST_YEAR, end)),
        index=underscored,
        scene=partial(YearlyLandCover, names=names),
        smooth=False,
        extra=partial(legend, names[0], sorted(classes)),
    )
