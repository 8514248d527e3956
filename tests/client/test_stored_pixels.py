"""Chips of stored images are read by getPixels where that gives the same files, and computed elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

import eechips
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.coded_store import write_geotiff

S2, SRTM = "COPERNICUS/S2_SR_HARMONIZED", "USGS/SRTMGL1_003"
CRS, SHAPE = "EPSG:32613", (160, 160)
ROI = "-104.9945,39.737,-104.984,39.7425"
GET, COMPUTE = "assets:getPixels", "image:computePixels"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of bands of 10 and 20 m, the later one with masked rows and without the west; heights with a zero."""
    folder = tmp_path_factory.mktemp("stored")
    numbers = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)
    for number, first in enumerate((0, 40)):
        fine = numbers[:, first:] % 9000 + 1 + number
        fine[70:76] = 0
        coarse = fine[::2, ::2] + 500
        corner = Affine(10, 0, 500_000 + 10 * first, 0, -10, 4_400_000)
        write_geotiff(
            folder / f"fine{number}.tif",
            CRS,
            corner,
            np.stack([fine, fine + 7 * (fine > 0).astype(np.uint16)]),
            nodata=0,
        )
        write_geotiff(folder / f"coarse{number}.tif", CRS, corner @ Affine.scale(2), coarse[None], nodata=500)
        paths = [folder / f"fine{number}.tif", folder / f"coarse{number}.tif"]
        image = {"one_image": True, "bands": ["B4", "B3", "B11"], "time_start": f"2020-05-0{number + 1}"}
        ingest(paths, folder / "store", f"{S2}/s{number}", **image)
    heights = (numbers[:80, :80] % 300).astype(np.int16) + 1
    heights[40:43, 5] = 0
    write_geotiff(folder / "srtm.tif", "EPSG:4326", Affine(1 / 3600, 0, -105.002, 0, -1 / 3600, 39.752), heights[None])
    ingest(folder / "srtm.tif", folder / "store", SRTM, bands=["elevation"])
    return folder / "store"


@pytest.fixture(scope="module")
def server(store: Path, serve: Callable[..., Server]) -> Server:
    return serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none", "--workers", "1")


def fetch(
    server: Server, out: Path, verb: Callable[..., eechips.Run], **chosen: Any
) -> tuple[dict[str, bytes], Counter[str]]:
    """Return the files of a run, and its requests by kind."""
    before = Counter(server.requests())
    given = {"roi": ROI, "format": "tif", "executor": "threads", "in_flight": 1, "rate": None, "quiet": True}
    run = verb(**{**given, "endpoint": server.url, "out": out, **chosen})
    found = {name: (out / name).read_bytes() for name in run.units["file"]}
    assert found
    return found, Counter(server.requests()) - before


def sample(dataset: str = S2, **chosen: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"dataset": dataset, "cells": "regular:320m", "size": 16, "share_requests": False}
    if dataset == S2:
        given |= {"bands": "B4,B3", "start": "2020-01-01", "end": "2021-01-01"}
    return {"verb": eechips.sample, **given, **chosen}


IMAGES = {"verb": eechips.images, "dataset": S2, "bands": "B4,B11", "start": "2020-01-01", "end": "2021-01-01"}


READ = {
    "tif": sample(),
    "npy": sample(format="npy"),
    "coarser band": sample(bands="B4,B11"),
    "shared": sample(share_requests=True),
    "one image": sample(SRTM),
    "images": IMAGES | {"share_requests": False},
}
COMPUTED = {
    "pyramid": sample(bands="B11,B4"),
    "scale": sample(scale=20.0),
    "crs": sample(crs="EPSG:3857", scale=10.0),
    "formula": sample(bands=None, index="ndvi=(B3-B4)/(B3+B4)"),
    "picture": sample(format="png", bands="B4", stretch=(0, 9000), grid="native"),
    "clip": IMAGES | {"clip": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", slow_except([*READ, *COMPUTED], "tif", "images", "formula"))
def test_files_are_those_of_computed_pixels(server: Server, tmp_path: Path, case: str) -> None:
    chosen = {**READ, **COMPUTED}[case]
    read, requests = fetch(server, tmp_path / "read", **chosen)
    computed, expected = fetch(server, tmp_path / "computed", **chosen, method="pixels")
    assert read == computed
    assert expected[GET] == 0 < expected[COMPUTE]
    assert requests[COMPUTE] < expected[COMPUTE] if case in READ else requests[GET] == 0


@pytest.mark.slow
def test_images_with_masked_pixels_are_computed(server: Server, tmp_path: Path) -> None:
    chosen = IMAGES | {"roi": "-104.9975,39.736,-104.984,39.746"}
    files, requests = fetch(server, tmp_path / "read", **chosen)
    assert (requests[GET], requests[COMPUTE]) == (2, 2)
    assert files == fetch(server, tmp_path / "computed", **chosen, method="pixels")[0]


@pytest.mark.slow
def test_a_dataset_of_masked_pixels_is_tried_a_few_times(server: Server, tmp_path: Path) -> None:
    """All chips are in the rows that are masked."""
    band = sample(cells="regular:40m", size=(8, 8), roi="-104.9975,39.74315,-104.985,39.7435")
    _, requests = fetch(server, tmp_path / "run", **band)
    assert requests[COMPUTE] == 27
    assert requests[GET] < 9  # 1, 2, 4, 8 and 16; threads that begin a chip at the same time try it as well


def test_a_missing_image_has_the_error_of_its_expression(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "recipe.py"
    script.write_text(
        """
import ee
from eechips import Chip, Grid
def get_requests():
    return ["users/someone/none"]
def get_result(index, unit):
    grid = Grid("EPSG:32613", (10.0, 0.0, 500000.0, 0.0, -10.0, 4400000.0), 4, 4)
    return Chip(ee.Image(unit), grid=grid, format="tif", bands=("B4",), asset=unit)
"""
    )
    before = Counter(server.requests())
    run = eechips.run(script, out=tmp_path / "out", endpoint=server.url, rate=None, quiet=True, executor="threads")
    (failure,) = run.failures["error"]
    assert "Image.load: Image asset 'users/someone/none' not found" in failure
    requests = Counter(server.requests()) - before
    assert (requests[GET], requests[COMPUTE]) == (1, 1)


@pytest.mark.slow
def test_the_manifest_has_the_method_of_each_chip(server: Server, tmp_path: Path) -> None:
    """Three chips are masked, so that four of the six whole ones are computed at once at most, in any order."""
    run = eechips.sample(
        S2, bands="B4,B3", cells="regular:320m", size=16, roi="-104.9925,39.736,-104.984,39.746", start="2020-01-01",
        end="2021-01-01", format="tif", endpoint=server.url, rate=None, quiet=True, out=tmp_path, executor="threads",
        share_requests=False,
    )  # fmt: skip
    whole = run.units["valid_fraction"] == 1
    assert GET in set(run.units["method"][whole])
    masked = set(run.units["method"][~whole])
    assert f"{GET}, {COMPUTE}" in masked
    assert GET not in masked
