"""GeoTIFFs of unusual grids, types and files, and the asset store that they are ingested into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling

from eechips_local.assets import ingest

_RANDOM = np.random.default_rng(20_261)


@dataclass(frozen=True)
class OddRaster:
    """A raster.

    Attributes:
        values: values of its pixels, shape (bands, height, width).
        crs: its CRS.
        transform: coordinates of columns and rows.
        options: options of the GeoTIFF driver and of rasterio.
        mask: a mask of the file, shape (height, width), 0 where pixels are invalid; None without one.
        overviews: factors of overviews in the file.
        colours: a colour table by value.
        scaling: scale and offset of all bands.
    """

    values: np.ndarray
    crs: str
    transform: Affine
    options: Mapping[str, Any] = field(default_factory=dict)
    mask: np.ndarray | None = None
    overviews: tuple[int, ...] = ()
    colours: Mapping[int, tuple[int, int, int, int]] | None = None
    scaling: tuple[float, float] | None = None

    def write(self, path: Path) -> None:
        """Write a GeoTIFF."""
        count, height, width = self.values.shape
        profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": self.values.dtype}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", crs=self.crs, transform=self.transform, **profile, **self.options) as file,
        ):
            file.write(self.values)
            if self.mask is not None:
                file.write_mask(self.mask)
            if self.colours is not None:
                file.write_colormap(1, dict(self.colours))
            if self.scaling is not None:
                file.scales, file.offsets = ([number] * count for number in self.scaling)
            if self.overviews:
                file.build_overviews(self.overviews, Resampling.nearest)


def _noise(dtype: str, *shape: int, low: int = 0, high: int = 250) -> np.ndarray:
    return _RANDOM.integers(low, high, shape).astype(dtype)


def _hills(dtype: str, height: int, width: int, low: float, high: float) -> np.ndarray:
    """A surface without steps."""
    rows, columns = np.mgrid[0:height, 0:width]
    surface = np.sin(rows / 7) + np.cos(columns / 9 + rows / 23) + 0.3 * np.sin(columns / 3.1)
    scaled = low + (high - low) * (surface - surface.min()) / np.ptp(surface)
    return scaled.astype(dtype)[None]


def _with(values: np.ndarray, special: float, part: float) -> np.ndarray:
    """Values of which a part is replaced by a special one."""
    return np.where(_RANDOM.random(values.shape) < part, np.asarray(special, values.dtype), values)


def _turned(x: float, y: float, size: float, degrees: float) -> Affine:
    return Affine.translation(x, y) * Affine.rotation(degrees) * Affine.scale(size, -size)


_TILED = {"tiled": True, "blockxsize": 32, "blockysize": 16}

ODD_RASTERS: Mapping[str, OddRaster] = {
    "turned_int8": OddRaster(
        _noise("int8", 1, 37, 53, low=-120, high=120), "EPSG:3035", _turned(4_321_000, 3_210_000, 25, 30)
    ),
    "south_up_float64": OddRaster(
        _hills("float64", 41, 60, -3.5, 812.25), "EPSG:2193", Affine(15, 0, 1_600_000, 0, 15, 5_400_000)
    ),
    "uint32_lzw": OddRaster(
        _noise("uint32", 2, 45, 70, low=3_000_000_000, high=4_294_967_295),
        "EPSG:5070",
        Affine(30, 0, -96_015, 0, -30, 1_850_025),
        {"compress": "lzw", "predictor": 2, **_TILED},
    ),
    "nan_zstd": OddRaster(
        _with(_hills("float32", 52, 66, -40, 60), np.nan, 0.15),
        "EPSG:3413",
        Affine(500, 0, -1_200_000, 0, -500, -900_000),
        {"compress": "zstd", "predictor": 3, "nodata": float("nan")},
    ),
    "nodata_deflate": OddRaster(
        _with(_noise("int16", 3, 48, 64, low=-500, high=3000), -9999, 0.2),
        "EPSG:32760",
        Affine(10, 0, 399_960, 0, -10, 5_300_040),
        {"compress": "deflate", "predictor": 2, "interleave": "band", "nodata": -9999},
    ),
    "one_row": OddRaster(
        _hills("float64", 1, 80, 0, 1) + np.linspace(0, 5, 80), "EPSG:3857", Affine(100, 0, 1e6, 0, -100, 6e6)
    ),
    "one_column": OddRaster(
        _noise("uint16", 1, 70, 1, high=60_000), "EPSG:4326", Affine(0.01, 0, 23.5, 0, -0.01, 61.2)
    ),
    "sinusoidal": OddRaster(
        _noise("uint16", 1, 330, 270, low=1, high=9000),
        "ESRI:54008",
        Affine(926.625433, 0, -7_783_653.6, 0, -926.625433, 4_447_802.1),
        {"compress": "deflate", **_TILED},
        overviews=(2, 4),
    ),
    "antimeridian": OddRaster(
        _noise("uint8", 1, 40, 80), "EPSG:4326", Affine(0.05, 0, 178, 0, -0.05, -16), {"interleave": "pixel"}
    ),
    "colours": OddRaster(
        _noise("uint8", 1, 50, 50, low=1, high=7),
        "EPSG:32633",
        Affine(20, 0, 380_000, 0, -20, 5_820_000),
        {"compress": "packbits"},
        colours={value: (40 * value, 255 - 30 * value, value, 255) for value in range(1, 7)},
    ),
    "jpeg": OddRaster(
        np.concatenate([_hills("uint8", 96, 80, 5 * i, 250 - 9 * i) for i in range(3)]),
        "EPSG:32633",
        Affine(10, 0, 400_000, 0, -10, 5_800_000),
        {"compress": "jpeg", "interleave": "pixel", "photometric": "ycbcr", "tiled": True, "blockxsize": 32,
         "blockysize": 32},
    ),
    "masked": OddRaster(
        _noise("uint16", 2, 44, 58, high=5000),
        "EPSG:3577",
        Affine(25, 0, 1_500_000, 0, -25, -3_900_000),
        mask=_with(np.full((44, 58), 255, np.uint8), 0, 0.25),
    ),
    "scaled": OddRaster(
        _noise("int16", 1, 30, 40, low=-200, high=9000),
        "EPSG:32719",
        Affine(30, 0, 250_000, 0, -30, 6_200_000),
        scaling=(0.0000275, -0.2),
    ),
    "sheared": OddRaster(
        _noise("int32", 1, 33, 47, low=-2_000_000_000, high=2_000_000_000),
        "EPSG:3031",
        Affine(200, 35, -500_000, -20, -120, 1_500_000),
    ),
    "flat_pixels": OddRaster(
        _hills("float32", 60, 90, 200, 2400), "EPSG:4326", Affine(0.002, 0, 6.6, 0, -0.001, 46.4)
    ),
    "dem": OddRaster(_hills("int16", 70, 64, 300, 1800), "EPSG:25832", Affine(30, 0, 600_000, 0, -30, 5_200_020)),
    "centimetres": OddRaster(
        _with(_noise("int8", 1, 60, 50, low=-100, high=127), -128, 0.1),
        "EPSG:3035",
        Affine(0.37, 0, 4_000_000.11, 0, -0.37, 3_000_000.07),
        {"nodata": -128},
    ),
    "pole": OddRaster(
        _hills("float32", 61, 59, -3, 9), "EPSG:3995", Affine(20_011.3, 0, -590_000, 0, -20_011.3, 610_000)
    ),
    "disc": OddRaster(
        _noise("uint8", 1, 60, 60),
        "+proj=geos +h=35786023 +lon_0=-75 +sweep=x +ellps=GRS80",
        Affine(181_000, 0, -5_430_000, 0, -181_000, 5_430_000),
    ),
    "zones": OddRaster(
        np.kron(_noise("uint8", 12, 14, low=0, high=4), np.ones((4, 5), np.uint8))[None],
        "EPSG:32736",
        Affine(60, 0, 300_000, 0, -60, 9_600_000),
    ),
}  # fmt: skip
"""Rasters by name; the assets are ``odd/NAME`` with the bands ``b1``, ``b2`` and so on."""


def fill(folder: Path) -> Path:
    """Write the rasters into a folder, ingest them into a store there, and return its path."""
    for name, odd in ODD_RASTERS.items():
        path = folder / f"{name}.tif"
        odd.write(path)
        ingest(path, folder / "store", f"odd/{name}", bands=[f"b{i + 1}" for i in range(len(odd.values))])
    return folder / "store"
