"""Heights: USGS/SRTMGL1_003 and NASA/NASADEM_HGT/001.

Grids, bands and classes: https://developers.google.com/earth-engine/datasets/catalog/USGS_SRTMGL1_003,
https://developers.google.com/earth-engine/datasets/catalog/NASA_NASADEM_HGT_001
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from eechips.emulator.demo import climate, marks
from eechips.emulator.demo.mercator import Rect
from eechips.emulator.demo.raster import PaintedSource
from eechips.emulator.model import BandInfo, ImageAsset, PixelType
from eechips.emulator.pixels.grid import Grid

_SECOND = 1.0 / 3600.0
SRTM_GRID = Grid(
    "EPSG:4326",
    Affine(0.0002777777777777778, 0.0, -180.0001388888889, 0.0, -0.0002777777777777778, 60.00013888888889),
    1296001,
    417601,
)
NASADEM_GRID = Grid("EPSG:4326", Affine(_SECOND, 0.0, -180.0, 0.0, -_SECOND, 60.0), 1296000, 417600)
_SHELF = -20_000.0
"""Units out at sea up to which heights are given (as zero)."""


@dataclass(frozen=True, slots=True)
class Heights:
    """Bands: height in metres, number of scenes, water (255) or land (0)."""

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``raster.Scene``."""
        land = climate.relief(rect)
        coast = land.character("coast")
        water = (land.lake > 0.0) | (coast <= 0.0)
        known = {0: np.maximum(land.height, 0.0), 1: 3.0 + 0.0 * coast, 2: water * 255.0}
        values = np.stack([known[band] for band in bands])
        return values, np.broadcast_to(coast > _SHELF, values.shape)

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.int16]:
        """See ``raster.Scene``."""
        stored: npt.NDArray[np.int16] = np.rint(values).astype(np.int16)
        return stored


def images() -> tuple[ImageAsset, ImageAsset]:
    """Both images."""
    return (
        _image("USGS/SRTMGL1_003", SRTM_GRID, ("elevation",), "NASA SRTM Digital Elevation 30m", (2000, 2, 11)),
        _image(
            "NASA/NASADEM_HGT/001",
            NASADEM_GRID,
            ("elevation", "num", "swb"),
            "NASADEM: Digital Elevation 30m",
            (2000, 2, 11),
        ),
    )


def _image(asset_id: str, grid: Grid, names: tuple[str, ...], title: str, start: tuple[int, int, int]) -> ImageAsset:
    sources = [PaintedSource(grid, Heights(), dtype) for dtype in ("int16", "uint8", "uint8")]
    kinds = (PixelType("int", -32768, 32767), PixelType("int", 0, 255), PixelType("int", 0, 255))
    begins = marks.millis(*start)
    return ImageAsset(
        id=asset_id,
        bands=tuple(BandInfo(name, kinds[n], grid, sources[n], n) for n, name in enumerate(names)),
        properties=marks.marked(
            {
                "system:index": asset_id.rpartition("/")[2],
                "title": title,
                "system:time_start": begins,
                "system:time_end": begins + 11 * marks.DAY,
            }
        ),
        footprint=shapely.box(-180.0, -56.0, 180.0, 60.0),
        version=marks.VERSION,
    )
