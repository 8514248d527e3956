"""Arrays as images of a local Earth Engine, and the pixels that the real client reads of images made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from eechips_local.assets import ingest
from local_tests.support.ingested_rasters import raster
from local_tests.support.local_earth_engine import Server, initialize

CRS = "EPSG:32613"
TRANSFORM = Affine(10, 0, 499_200, 0, -10, 4_400_640)
"""Begins at a corner of the tiles of 256 pixels of 10 m."""


def ingest_array(folder: Path, name: str, values: np.ndarray, bands: Sequence[str], **options: Any) -> None:
    """Ingest an array of shape (bands, height, width) as an image.

    Args:
        folder: for the file and the store.
        name: id of the image.
        values: values of its pixels.
        bands: names of its bands.
        options: options of the raster, such as its CRS.
    """
    path = folder / f"{name.replace('/', '-')}.tif"
    raster(path, values, **{"crs": CRS, "transform": TRANSFORM, **options})
    ingest(path, folder / "store", name, bands=list(bands))


def serve_arrays(
    folder: Path, serve: Callable[..., Server], images: Mapping[str, tuple[np.ndarray, Sequence[str]]], **options: Any
) -> Any:
    """Serve arrays with the names of their bands by the ids of images, besides what is ingested; return the client."""
    for name, (values, bands) in images.items():
        ingest_array(folder, name, values, bands, **options)
    return initialize(serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none"))


def read_pixels(
    ee: Any, image: Any, column: int, row: int, width: int, height: int, crs: str = CRS, transform: Affine = TRANSFORM
) -> Any:
    """Return some of an image's pixels as a numpy structured array, 0 where they are masked."""
    t = transform * Affine.translation(column, row)
    affine = {"scaleX": t.a, "shearX": 0, "translateX": t.c, "shearY": 0, "scaleY": t.e, "translateY": t.f}
    grid = {"crsCode": crs, "affineTransform": affine, "dimensions": {"width": width, "height": height}}
    return ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
