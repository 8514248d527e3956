"""JRC/GSW1_4/GlobalSurfaceWater: where and how often there was water from 1984 to 2021, 30 m.

Pixels without water are masked, but for the largest extent. Earth Engine's mask of the occurrence is the occurrence
itself; here it is whole. Bands, classes and grid:
https://developers.google.com/earth-engine/datasets/catalog/JRC_GSW1_4_GlobalSurfaceWater
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from eechips_local.demo import synthetic_label
from eechips_local.demo.land import ground_cover
from eechips_local.demo.painting import upsampling
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import AsPainted, PaintedSource
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType
from eechips_local.pixels.grids.pixel_grid import PixelGrid

PARENT, INDEX = "JRC/GSW1_4", "GlobalSurfaceWater"
GRID = PixelGrid("EPSG:4326", Affine(0.00025, 0.0, -180.0, 0.0, -0.00025, 80.0), 1_440_000, 560_000)
BANDS = (
    ("occurrence", "uint8"),
    ("change_abs", "int8"),
    ("change_norm", "int8"),
    ("seasonality", "uint8"),
    ("recurrence", "uint8"),
    ("transition", "uint8"),
    ("max_extent", "uint8"),
)
_LAST_DAY = date(2021, 12, 31)
_SHELF = -60_000.0
"""Units out at sea up to which water is mapped."""

_PERMANENT, _SEASONAL, _NEW_SEASONAL, _LOST_SEASONAL = 1, 4, 5, 6


@dataclass(frozen=True, slots=True)
class WaterHistory(AsPainted):
    """The water of all years."""

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        ground = ground_cover.ground(rect, _LAST_DAY)
        land, up = ground.terrain, upsampling.Upsampler(rect, ground.terrain.rect)
        layer = ground.layers.get("water")
        share = np.zeros((rect.height, rect.width), dtype=np.float32) if layer is None else layer.share
        coast = up(land.character("coast"))
        # Lakes and the sea stay; streams of dry land fall dry.
        standing = (up(land.lake) > -0.02) | (coast < 30.0)
        lasting = np.where(standing, 1.0, np.clip(0.35 + 0.75 * up(land.character("wet")), 0.0, 1.0))
        occurrence = np.rint(100.0 * np.clip(share, 0.0, 1.0) * lasting)
        # Shores move: where water comes and goes, it has become more or less.
        change = np.rint(np.clip(up(land.patches[0]), -1.0, 1.0) * np.minimum(occurrence, 100.0 - occurrence))
        before, after = occurrence - change / 2.0, occurrence + change / 2.0
        total = np.maximum(before + after, 1.0)
        seasonality = np.where(occurrence > 90.0, 12.0, np.clip(np.rint(occurrence * 0.12), 1.0, 11.0))
        transition = np.select(
            [occurrence > 90.0, change > 12.0, change < -12.0],
            [_PERMANENT, _NEW_SEASONAL, _LOST_SEASONAL],
            default=_SEASONAL,
        )
        wet = occurrence > 0.0
        known = (
            occurrence,
            change,
            np.rint((after - before) / total * 100.0),
            seasonality,
            np.rint(100.0 - 0.35 * (100.0 - occurrence)),
            transition,
            wet * 1.0,
        )
        values = np.stack([known[band] for band in bands])
        near = coast > np.float32(_SHELF)
        valid = np.stack([near if band == len(BANDS) - 1 else near & wet for band in bands])
        return values, valid


def image() -> ImageAsset:
    """Return the image."""
    sources = {dtype: PaintedSource(GRID, WaterHistory(), dtype, smooth=False) for _, dtype in BANDS}
    properties = {
        "system:index": INDEX,
        "title": "JRC Global Surface Water Mapping Layers, v1.4",
        "system:time_start": synthetic_label.millis(1984, 3, 16),
        "system:time_end": synthetic_label.millis(2022, 1, 1),
    }
    bands = tuple(BandInfo(name, PixelType.of(dtype), GRID, sources[dtype], n) for n, (name, dtype) in enumerate(BANDS))
    return synthetic_label.image(PARENT, bands, properties, shapely.box(-180.0, -60.0, 180.0, 80.0))
