"""Rasters to ingest into a store of assets, and the pixels that the store then has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine

from eechips_local.assets import FolderStore
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow

UTM = Affine(5.0, 0.0, 485900.0, 0.0, -5.0, 5209247.0)


def raster(path: Path, values: np.ndarray, **options: Any) -> Path:
    """A GeoTIFF of values with shape (bands, rows, columns)."""
    colours = options.pop("colorinterp", None)
    descriptions = options.pop("descriptions", None)
    scales = options.pop("scales", None)
    mask = options.pop("mask", None)
    colormap = options.pop("colormap", None)
    count, height, width = values.shape
    profile: dict[str, Any] = {"crs": "EPSG:26914", "transform": UTM, "photometric": "MINISBLACK", "alpha": "NO"}
    profile.update(options)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, **profile
        ) as dataset,
    ):
        dataset.write(values)
        if descriptions:
            dataset.descriptions = descriptions
        if scales:
            dataset.scales = scales
        if colours:
            dataset.colorinterp = colours
        if colormap:
            dataset.write_colormap(1, colormap)
        if mask is not None:
            dataset.write_mask(mask)
    return path


def noise(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def image(store: FolderStore, asset_id: str) -> ImageAsset:
    found = store.get(asset_id)
    assert isinstance(found, ImageAsset)
    return found


def pixels(found: ImageAsset, band: int = 0) -> tuple[np.ndarray, np.ndarray]:
    info = found.bands[band]
    values, valid = info.source.read([info.index], PixelWindow(0, 0, info.grid.width, info.grid.height), 0)
    return values[0], valid[0]


def snapshot(folder: Path) -> dict[str, bytes]:
    """All published files of a store."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def touch(path: Path) -> None:
    """Give a document another modification time, as an editor does."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
