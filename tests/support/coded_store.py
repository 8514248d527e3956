"""An asset store of rasters whose pixels say which row and column they are, in several coordinate systems."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine

from eechips_local.assets import ingest

ROOT = "users/someone/coded"
MAP = f"{ROOT}/classes"
MASK = f"{ROOT}/mask"
LARGE = f"{ROOT}/large"
YEARS = f"{ROOT}/years"
EDGES = f"{ROOT}/edges"
"""A collection of images at the antimeridian and the pole."""

# Near the seam of two UTM zones, across the antimeridian, at the pole, and on pixels that are not square.
PLACES = {
    "utm": ("EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000)),
    "degrees": ("EPSG:4326", Affine(1e-4, 0, -105, 0, -1e-4, 39.75)),
    "albers": ("EPSG:5070", Affine(12.5, 0, -766_003.25, 0, -7.25, 1_900_001.5)),
    "west": ("EPSG:32612", Affine(10, 0, 754_000, 0, -10, 4_432_000)),
    "east": ("EPSG:32613", Affine(10, 0, 244_000, 0, -10, 4_432_000)),
    "dateline": ("EPSG:32660", Affine(10, 0, 827_000, 0, -10, 1_109_000)),
    "dateline-degrees": ("EPSG:4326", Affine(1e-4, 0, 179.98, 0, -1e-4, 10.01)),
    "pole": ("EPSG:3413", Affine(100, 0, -20_000, 0, -100, 15_000)),
}
WIDTH, HEIGHT = 400, 300


@dataclass(frozen=True)
class Raster:
    """A source file, read by rasterio."""

    id: str
    crs: str
    transform: Affine
    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    bands: tuple[str, ...]


def write_geotiff(path: Path, crs: str, transform: Affine, values: npt.NDArray[Any], **profile: Any) -> None:
    """A GeoTIFF of an array (band, row, column); ``profile`` has further options of rasterio."""
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width}
    profile = {"driver": "GTiff", "dtype": values.dtype, "crs": crs, "transform": transform, **shape, **profile}
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)


def coded(width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint16]:
    """Rows and columns, counted from 1."""
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1]
    return np.stack([rows, columns]).astype(np.uint16)


def classes() -> npt.NDArray[np.uint8]:
    """Two common classes, one of 40 pixels, one of 5; 0 is nothing."""
    values = np.full((HEIGHT, WIDTH), 1, dtype=np.uint8)
    values[:, 150:] = 2
    values[10:14, 20:30] = 7
    values[200, [5, 99, 150, 301, 398]] = 9
    values[:, 390:] = np.where(values[:, 390:] == 9, 9, 0)
    return values


def large_classes() -> npt.NDArray[np.uint8]:
    """Nine million pixels: more than are looked at straight away; class 3 is rare, class 4 very rare."""
    values = np.full((3000, 3000), 1, dtype=np.uint8)
    values[:, 1500:] = 2
    values[100:140, 200:240] = 3
    values[[5, 700, 2900, 2999], [2999, 44, 1501, 0]] = 4
    return values


def fill(folder: Path) -> Path:
    """Makes the store in a folder that is empty; returns it."""
    store = folder / "store"
    for name, (crs, transform) in PLACES.items():
        write_geotiff(folder / f"{name}.tif", crs, transform, coded())
        for asset in [f"{ROOT}/{name}", *([f"{EDGES}/{name}"] if name in ("dateline", "pole") else [])]:
            ingest(folder / f"{name}.tif", store, asset, bands=["row", "column"], time_start="2020-06-15")
    crs, transform = PLACES["utm"]
    maps = {"classes": classes()[None], "mask": (coded()[1:] % 2).astype(np.uint8)}
    for name, values in maps.items():
        write_geotiff(folder / f"{name}.tif", crs, transform, values, nodata=0 if name == "classes" else None)
        ingest(folder / f"{name}.tif", store, f"{ROOT}/{name}", bands=["value"], resampling="mode")
    write_geotiff(folder / "large.tif", crs, transform, large_classes()[None])
    ingest(folder / "large.tif", store, LARGE, bands=["value"], resampling="mode")
    for day in ("2020-01-10", "2020-02-10", "2020-03-10", "2020-12-31"):
        write_geotiff(
            folder / f"d{day}.tif", crs, transform, np.full((1, HEIGHT, WIDTH), int(day[5:7]), dtype=np.uint8)
        )
        ingest(folder / f"d{day}.tif", store, f"{YEARS}/d{day.replace('-', '')}", bands=["month"], time_start=day)
    return store


def source(folder: Path, name: str) -> Raster:
    """A source file of :func:`fill`."""
    return read(folder / f"{name}.tif", f"{ROOT}/{name}", ("row", "column"))


def read(path: Path, asset: str, bands: tuple[str, ...]) -> Raster:
    """A GeoTIFF as rasterio reads it."""
    with rasterio.open(path) as file:
        valid = file.read_masks().min(axis=0) > 0
        return Raster(asset, file.crs.to_string(), file.transform, file.read(), valid, bands)
