"""ESA/WorldCover/v100 and v200: land cover in 2020 and 2021 at 10 m.

Grid and classes: https://developers.google.com/earth-engine/datasets/catalog/ESA_WorldCover_v200
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

from eechips_local.demo.global_image_series import GlobalSeries, legend, year_of, years
from eechips_local.demo.land import ground_cover, landcover
from eechips_local.demo.painting import upsampling
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import AsPainted
from eechips_local.pixels.grids.pixel_grid import PixelGrid

_PIXEL = 1.0 / 12000.0
GRID = PixelGrid("EPSG:4326", Affine(_PIXEL, 0.0, -180.0, 0.0, -_PIXEL, 84.0), 4_320_000, 1_728_000)
CODES = {"tree": 10, "shrub": 20, "grass": 30, "crop": 40, "built": 50, "bare": 60, "snow": 70, "water": 80}
_LEGEND = (
    (10, "Tree cover", "006400"),
    (20, "Shrubland", "ffbb22"),
    (30, "Grassland", "ffff4c"),
    (40, "Cropland", "f096ff"),
    (50, "Built-up", "fa0000"),
    (60, "Bare / sparse vegetation", "b4b4b4"),
    (70, "Snow and ice", "f0f0f0"),
    (80, "Permanent water bodies", "0064c8"),
    (90, "Herbaceous wetland", "0096a0"),
    (95, "Mangroves", "00cf75"),
    (100, "Moss and lichen", "fae6a0"),
)


@dataclass(frozen=True, slots=True)
class LandCover(AsPainted):
    """The map of the year that begins on a date."""

    start: date

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        ground = ground_cover.ground(rect, self.start)
        codes = landcover.dominant(landcover.shares(ground), (CODES[name] for name in landcover.CLASSES))
        inland = upsampling.Upsampler(rect, ground.terrain.rect)(ground.terrain.character("coast")) > np.float32(
            -12_000.0
        )
        shape = (len(bands), rect.height, rect.width)
        return np.broadcast_to(codes, shape), np.broadcast_to(inland, shape)


def collections() -> tuple[GlobalSeries, GlobalSeries]:
    """Return two collections of one image each."""
    return _collection("v100", 2020), _collection("v200", 2021)


def _collection(version: str, year: int) -> GlobalSeries:
    return GlobalSeries(
        id=f"ESA/WorldCover/{version}",
        title=f"ESA WorldCover 10m {version}",
        grid=GRID,
        bands=(("Map", "uint8"),),
        dates=partial(years, (year,)),
        index=year_of,
        scene=LandCover,
        smooth=False,
        extra=partial(legend, "Map", _LEGEND),
    )
