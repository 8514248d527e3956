"""Masks beside rasters: remote ones say what GDAL reads from the same files on a disk."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from eechips.archive.windows import describe, plan_windows, read_window
from eechips.client.retry import RetryPolicy
from eechips.errors import EechipsError
from tests.support.raster_server import Bucket

ONCE = RetryPolicy(retries=0)
PLACE = Affine(10.0, 0.0, 5e5, 0.0, -10.0, 44e5)
SHAPE = (24, 32)
PER_BAND = {"INTERNAL_MASK_FLAGS_1": 0, "INTERNAL_MASK_FLAGS_2": 0}
PER_DATASET = {"INTERNAL_MASK_FLAGS_1": 2, "INTERNAL_MASK_FLAGS_2": 2}
RASTERS = ["plain", "nodata", "nan", "alpha", "internal"]
MASKS: dict[str, tuple[int, tuple[int, int], dict[str, int]]] = {
    "for all bands": (1, SHAPE, PER_DATASET),
    "for each band": (2, SHAPE, PER_BAND),
    "for one band": (1, SHAPE, {"INTERNAL_MASK_FLAGS_2": 2}),
    "for bands that it lacks": (1, SHAPE, PER_BAND),
    "for bands that the raster lacks": (
        1,
        SHAPE,
        {**PER_DATASET, "INTERNAL_MASK_FLAGS_0": 2, "INTERNAL_MASK_FLAGS_9": 2},
    ),
    "without flags": (1, SHAPE, {}),
    "larger": (1, (30, 40), PER_DATASET),
}
"""Bands, shape and tags of masks."""
SMALL = (1, (10, 12), PER_DATASET)


def write_raster(path: Path, kind: str) -> Path:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 4, (2, *SHAPE)).astype("float32" if kind == "nan" else "uint8")
    if kind == "nan":
        pixels[pixels == 0] = np.nan
    profile = {"driver": "GTiff", "crs": "EPSG:32613", "transform": PLACE, "width": SHAPE[1], "height": SHAPE[0]}
    nodata = {"nodata": 0, "nan": np.nan}.get(kind)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile, count=2, dtype=pixels.dtype, nodata=nodata) as file,
    ):
        if kind == "alpha":
            file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
        file.write(pixels)
        if kind == "internal":
            file.write_mask(random.integers(0, 2, SHAPE).astype(bool))
    return path


def write_mask(path: Path, mask: tuple[int, tuple[int, int], dict[str, int]]) -> None:
    count, (height, width), tags = mask
    pixels = np.random.default_rng(2).integers(0, 2, (count, height, width)).astype("uint8") * 255
    profile = {"driver": "GTiff", "transform": PLACE, "width": width, "height": height, "count": count}
    with rasterio.open(path.with_name(f"{path.name}.msk"), "w", **profile, dtype="uint8") as file:
        file.write(pixels)
        file.update_tags(**tags)


def addresses(bucket: Bucket, path: Path) -> list[str]:
    return [f"s3://bucket/{path.name}", f"{bucket.environment['AWS_ENDPOINT_URL']}/bucket/{path.name}"]


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """Another process: GDAL blocks the threads of this one, which serve, while it reads files beside a raster."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def read(environment: dict[str, str], address: str) -> Any:
    os.environ.update(environment)
    (unit,) = plan_windows(address)
    return read_window(unit, policy=ONCE)


def refusal(environment: dict[str, str], address: str) -> str:
    os.environ.update(environment)
    try:
        describe(address, policy=ONCE)
    except EechipsError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("raster", RASTERS)
@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_says_what_it_says_to_gdal(bucket: Bucket, process: ProcessPoolExecutor, raster: str, mask: str) -> None:
    path = write_raster(bucket.folder / "scene.tif", raster)
    write_mask(path, MASKS[mask])
    with rasterio.open(path) as file:
        expected = file.read(masked=True)
    for address in addresses(bucket, path):
        found = process.submit(read, bucket.environment, address).result(60)
        assert np.array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected)), address
        assert np.array_equal(found.data, expected.data, equal_nan=True), address


@pytest.mark.slow
def test_a_mask_that_is_smaller_than_its_raster_is_refused_before_units_are_planned(
    bucket: Bucket, process: ProcessPoolExecutor
) -> None:
    path = write_raster(bucket.folder / "scene.tif", "nodata")
    write_mask(path, SMALL)
    for address in addresses(bucket, path):
        found = process.submit(refusal, bucket.environment, address).result(60)
        assert "the mask scene.tif.msk has 12 x 10 pixels, and the raster 32 x 24: remove the mask, or make it" in found


@pytest.mark.exhaustive
def test_a_small_mask_of_a_raster_with_its_own_mask_is_not_needed(bucket: Bucket, process: ProcessPoolExecutor) -> None:
    path = write_raster(bucket.folder / "scene.tif", "internal")
    write_mask(path, SMALL)
    with rasterio.open(path) as file:
        expected = file.read_masks()
    for address in addresses(bucket, path):
        found = process.submit(read, bucket.environment, address).result(60)
        assert np.array_equal(np.ma.getmaskarray(found), expected == 0)
