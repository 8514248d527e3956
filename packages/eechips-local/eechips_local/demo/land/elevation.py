"""Heights: USGS/SRTMGL1_003, NASA/NASADEM_HGT/001 and CGIAR/SRTM90_V4.

As in the real ones, tiles of a degree that have any land are whole, with heights of zero at sea; tiles without land are
missing. Grids, bands and classes: https://developers.google.com/earth-engine/datasets/catalog/USGS_SRTMGL1_003,
https://developers.google.com/earth-engine/datasets/catalog/NASA_NASADEM_HGT_001,
https://developers.google.com/earth-engine/datasets/catalog/CGIAR_SRTM90_V4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from eechips_local.demo import land_character, synthetic_label
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import PaintedSource
from eechips_local.demo.weather import climate
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType
from eechips_local.pixels.grids.pixel_grid import PixelGrid

_SECOND = 1.0 / 3600.0
SRTM_GRID = PixelGrid(
    "EPSG:4326",
    Affine(0.0002777777777777778, 0.0, -180.0001388888889, 0.0, -0.0002777777777777778, 60.00013888888889),
    1296001,
    417601,
)
# Its pixels have 15 digits, as scripts print them of the service: test_notebook_values, srtm90_v4.
SRTM90_GRID = PixelGrid(
    "EPSG:4326", Affine(0.000833333333333, 0.0, -180.0, 0.0, -0.000833333333333, 60.0), 432000, 144000
)
# Its corner is that of the service: Open-ET/openet-core, openet/core/tests/test_a_utils.py, test_affine_transform.
NASADEM_GRID = PixelGrid(
    "EPSG:4326",
    Affine(0.0002777777777777778, 0.0, -179.0001388888889, 0.0, -0.0002777777777777778, 61.00013888888889),
    1296001,
    421201,
)
_FLIGHT = synthetic_label.millis(2000, 2, 11)
"""When the shuttle's eleven days began."""

_SHELF = -20_000.0
"""Units out at sea up to which heights are given (as zero), even where the tile has no land."""

_NEAR_LAND = -30_000.0
"""Units from the rough coast within which the real one may lie: its octaves add up to less."""


@dataclass(frozen=True, slots=True)
class Heights:
    """Bands: height in metres, number of scenes, water (255) or land (0)."""

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        land = climate.relief(rect)
        coast = land.character("coast")
        water = (land.lake > 0.0) | (coast <= 0.0)
        known = {0: np.maximum(land.height, 0.0), 1: 3.0 + 0.0 * coast, 2: water * 255.0}
        values = np.stack([known[band] for band in bands])
        return values, np.broadcast_to((coast > _SHELF) | _in_tiles(rect), values.shape)

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.int16]:
        """See ``painted_source.PaintedScene``."""
        stored: npt.NDArray[np.int16] = np.rint(values).astype(np.int16)
        return stored


@cache
def tiles() -> npt.NDArray[np.bool_]:
    """Return whether each tile of a degree has land, shape (180, 360), from 90 S and 180 W."""
    longitude, latitude = np.arange(-180.0, 180.0, 0.25) + 0.125, np.arange(-84.0, 84.0, 0.25) + 0.125
    coast = land_character.coast(mercator.x_of(longitude)[None, :], mercator.y_of(latitude)[:, None], finest=99)
    result = np.zeros((180, 360), dtype=bool)
    result[6:174] = (coast > _NEAR_LAND).reshape(168, 4, 360, 4).any(axis=(1, 3))
    return result


def _in_tiles(rect: Rect) -> npt.NDArray[np.bool_]:
    """Return whether each cell lies in a tile that has land."""
    column = np.floor(mercator.longitude_of(rect.x) + 180.0).astype(np.int64) % 360
    row = np.clip(np.floor(mercator.latitude_of(rect.y) + 90.0).astype(np.int64), 0, 179)
    result: npt.NDArray[np.bool_] = tiles()[row[:, None], column[None, :]]
    return result


def images() -> tuple[ImageAsset, ...]:
    """Return the three images."""
    return (
        _image("CGIAR/SRTM90_V4", SRTM90_GRID, ("elevation",), "SRTM Digital Elevation Data Version 4"),
        _image("USGS/SRTMGL1_003", SRTM_GRID, ("elevation",), "NASA SRTM Digital Elevation 30m"),
        _image("NASA/NASADEM_HGT/001", NASADEM_GRID, ("elevation", "num", "swb"), "NASADEM: Digital Elevation 30m"),
    )


def _image(asset_id: str, grid: PixelGrid, names: tuple[str, ...], title: str) -> ImageAsset:
    sources = [PaintedSource(grid, Heights(), dtype) for dtype in ("int16", "uint8", "uint8")]
    kinds = (PixelType("int", -32768, 32767), PixelType("int", 0, 255), PixelType("int", 0, 255))
    parent, _, index = asset_id.rpartition("/")
    properties = {
        "system:index": index,
        "title": title,
        "system:time_start": _FLIGHT,
        "system:time_end": _FLIGHT + 11 * synthetic_label.DAY,
    }
    bands = tuple(BandInfo(name, kinds[n], grid, sources[n], n) for n, name in enumerate(names))
    return synthetic_label.image(parent, bands, properties, shapely.box(-180.0, -56.0, 180.0, 60.0))
