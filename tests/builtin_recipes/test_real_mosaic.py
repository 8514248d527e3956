"""Mosaics of real imagery: byte for byte the source, and composites as numpy makes them of the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.windows import Window, from_bounds
from rio_cogeo import cog_validate

import eechips
from eechips.client.chip_parts import PIXEL_LIMITS
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from local_tests.support.real_store import NAIP

pytestmark = pytest.mark.slow

BANDS = ["B2", "B3", "B4", "B8"]
SCENE = "users/someone/scenes"
DATES = ("2023-06-01", "2023-07-01", "2023-08-01")


@pytest.fixture(scope="module")
def scenes(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """The largest raster of the bundle, and two more dates that are made of it: other values, and clouds."""
    source = max((real_data / "optical").glob("*.tif"), key=lambda path: path.stat().st_size)
    folder = tmp_path_factory.mktemp("scenes")
    random = np.random.default_rng(5)
    with rasterio.open(source) as file:
        pixels, profile = file.read(), file.profile
    files = [source]
    for number in (1, 2):
        changed = pixels + random.integers(0, 500, pixels.shape, "uint16")
        clouds = np.kron(random.random((49, 49)) > 0.6, np.ones((40, 40), bool))[: pixels.shape[1], : pixels.shape[2]]
        changed[:, clouds] = 0
        files.append(folder / f"{number}.tif")
        with rasterio.open(files[-1], "w", **{**profile, "nodata": 0, "compress": "lzw"}) as target:
            target.write(changed)
    for path, date in zip(files, DATES, strict=True):
        ingest(path, folder / "store", f"{SCENE}/{date.replace('-', '')}", time_start=date, bands=BANDS)
    return folder / "store", files


@pytest.fixture(scope="module")
def scenes_server(scenes: tuple[Path, list[Path]], serve: Callable[..., Server]) -> Server:
    return serve("--assets", str(scenes[0]), "--no-demo", "--rate", "none", "--concurrency", "none")


def make(server: Server, out: Path, dataset: str, **options: Any) -> Path:
    run = eechips.mosaic(
        dataset, out=out, endpoint=server.url, **{"executor": "threads", "quiet": True, "rate": None, **options}
    )
    assert isinstance(run, eechips.Run)
    assert run.is_complete
    assert run.verify() == []
    path = run.assembled[0]
    assert cog_validate(path, strict=True) == (True, [], [])
    return path


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_largest_raster_is_the_source_byte_for_byte(
    scenes: tuple[Path, list[Path]], scenes_server: Server, tmp_path: Path
) -> None:
    """30 MB of pixels; 56 MB as the service counts them, which is more than one request may ask for."""
    path = make(scenes_server, tmp_path / "out", f"{SCENE}/20230601")
    with rasterio.open(scenes[1][0]) as source, rasterio.open(path) as mosaic:
        whole = Window(0, 0, source.width, source.height)
        assert source.width * source.height * 5 * 3 > PIXEL_LIMITS["pixels"].bytes
        assert mosaic.read().tobytes() == source.read().tobytes()
        assert np.array_equal(mosaic.read_masks(), source.read_masks())
        assert (mosaic.transform, mosaic.crs, mosaic.dtypes) == (source.transform, source.crs, source.dtypes)
        assert (mosaic.width, mosaic.height) == (whole.width, whole.height)
        assert mosaic.descriptions == tuple(BANDS)


@pytest.mark.exhaustive
def test_a_region_is_the_window_of_the_source(
    scenes: tuple[Path, list[Path]], scenes_server: Server, tmp_path: Path
) -> None:
    options = {"roi": "-75.70,37.60,-75.58,37.70", "bands": "B8,B2", "nodata": 0.0, "method": "url"}
    path = make(scenes_server, tmp_path / "out", f"{SCENE}/20230701", **options)
    with rasterio.open(scenes[1][1]) as source, rasterio.open(path) as mosaic:
        window = from_bounds(*mosaic.bounds, source.transform).round_offsets().round_lengths()
        assert source.window_transform(window) == mosaic.transform
        assert mosaic.read().tobytes() == source.read([4, 1], window=window).tobytes()
        assert np.array_equal(mosaic.dataset_mask(), source.dataset_mask(window=window))
        to_degrees = pyproj.Transformer.from_crs(mosaic.crs, "OGC:CRS84", always_xy=True)
        west, south, east, north = to_degrees.transform_bounds(*mosaic.bounds)
        assert west < -75.70 < -75.58 < east
        assert south < 37.60 < 37.70 < north


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("reducer", ["median", "mosaic"])
def test_a_composite_above_the_limit_is_that_of_numpy(
    scenes: tuple[Path, list[Path]], scenes_server: Server, tmp_path: Path, reducer: str
) -> None:
    stack = []
    for file in scenes[1]:
        with rasterio.open(file) as source:
            stack.append(
                np.ma.masked_array(source.read(), np.broadcast_to(source.dataset_mask() == 0, (4, *source.shape)))
            )
            transform, shape = source.transform, source.shape
    if reducer == "median":
        expected = np.nanmedian([image.astype("float32").filled(np.nan) for image in stack], axis=0)
    else:
        expected = stack[0].data.copy()
        for image in stack[1:]:
            expected[~image.mask] = image.data[~image.mask]
    # The bounds of the scene, and no more: the region's corners lie within the outermost pixels.
    to_degrees = pyproj.Transformer.from_crs("EPSG:32618", "OGC:CRS84", always_xy=True)
    left, top = to_degrees.transform(*(transform * (shape[1] / 2, shape[0] / 2)))
    roi = f"{left - 0.09},{top - 0.07},{left + 0.09},{top + 0.07}"
    path = make(scenes_server, tmp_path / "out", SCENE, roi=roi, reducer=reducer)
    with rasterio.open(path) as mosaic:
        column, row = (round(value) for value in ~transform * (mosaic.transform.c, mosaic.transform.f))
        rows, columns = slice(row, row + mosaic.height), slice(column, column + mosaic.width)
        assert min(row, column) > 0
        if reducer == "median":  # four bands and the mask, 4 + 1 bytes each
            assert mosaic.width * mosaic.height * 5 * 5 > PIXEL_LIMITS["pixels"].bytes
        assert np.array_equal(mosaic.read(), expected[:, rows, columns].astype(mosaic.dtypes[0]))
        assert mosaic.dataset_mask().all()
        assert mosaic.transform == transform * transform.translation(column, row)


@pytest.mark.exhaustive
def test_the_latest_of_ten_years_of_photographs(real_data: Path, real_server: Server, tmp_path: Path) -> None:
    path = make(real_server, tmp_path / "out", "NAIP", roi="-99.175,47.010,-99.135,47.031", bands="R,G,B,N", window=256)
    with rasterio.open(real_data / "naip" / "m_4709963_se_14_1_20200831.tif") as source, rasterio.open(path) as mosaic:
        window = from_bounds(*mosaic.bounds, source.transform).round_offsets().round_lengths()
        assert source.window_transform(window) == mosaic.transform
        assert mosaic.read().tobytes() == source.read(window=window).tobytes()
        assert mosaic.tags()["dataset"] == NAIP
