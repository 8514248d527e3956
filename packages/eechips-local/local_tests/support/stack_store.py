"""An asset store of four small images and a table, and the arrays that went into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine

from eechips_local.assets import ingest

STACK = "users/someone/stack"
TABLE = "users/someone/fields"
CRS = "EPSG:32613"
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_400_000)
SHAPE = (200, 300)
DATES = ("2020-01-15", "2020-02-15", "2020-03-15", "2020-04-15")


@dataclass(frozen=True)
class Stack:
    """The path of the store and its pixels: shape (image, band, row, column), bands red and nir, 0 is masked."""

    path: Path
    pixels: npt.NDArray[Any]
    files: tuple[Path, ...]


def fill(folder: Path) -> Stack:
    """Makes the store in a folder that is empty."""
    random = np.random.default_rng(7)
    pixels = random.integers(1, 10_000, (len(DATES), 2, *SHAPE)).astype(np.uint16)
    pixels[:, :, :5, :7] = 0
    files = []
    for index, date in enumerate(DATES):
        path = folder / f"image_{index}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", width=SHAPE[1], height=SHAPE[0], count=2, dtype="uint16", crs=CRS,
            transform=TRANSFORM, nodata=0,
        ) as file:  # fmt: skip
            file.write(pixels[index])
        properties = {"cloud": 10.5 * index, "kind": f"k{index % 2}"}
        ingest(
            path, folder / "store", f"{STACK}/image_{index}", time_start=date, bands=["red", "nir"],
            properties=properties,
        )  # fmt: skip
        files.append(path)
    squares = [shapely.box(x, 40, x + 0.5, 40.5) for x in range(-105, -95)]
    frame = geopandas.GeoDataFrame({"n": range(10), "crop": ["rye", "oats"] * 5}, geometry=squares, crs="EPSG:4326")
    frame.to_file(folder / "fields.gpkg")
    ingest(folder / "fields.gpkg", folder / "store", TABLE)
    return Stack(folder / "store", pixels, tuple(files))
