"""Other people's clients, unmodified, on stored images: what they open and download is what rasterio reads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from local_tests.support import stack_store
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.real_store import NAIP
from local_tests.support.stack_store import SHAPE, STACK, TRANSFORM, Stack

if sys.version_info < (3, 11):
    pytest.skip("geedim and xee need Python 3.11", allow_module_level=True)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        # Of the clients and what they are built on, none of them about the server.
        "ignore::DeprecationWarning",
        "ignore::FutureWarning",
        "ignore:Couldn't find STAC entry:RuntimeWarning",
        "ignore::ResourceWarning",
    ),
]


@pytest.fixture(scope="module")
def server(stack: Stack, serve: Callable[..., Server]) -> Server:
    """With Earth Engine's own quota and limits: the clients are written to live with those."""
    return serve("--assets", str(stack.path), "--no-demo")


@pytest.fixture(scope="module")
def ee(server: Server) -> Any:
    return initialize(server)


@pytest.fixture
def geedim_offline() -> None:
    """geedim with an empty copy of the public catalogue of datasets, which is no part of Earth Engine."""
    import geedim  # noqa: F401 - it adds an attribute to the client's classes
    from geedim.stac import STACClient

    STACClient()._urls = {"ROOT": {}}


def masked(pixels: Any) -> Any:
    """Floats with NaN for what is masked."""
    return np.where(pixels == 0, np.nan, pixels.astype(np.float32))


def test_xee_opens_a_collection_in_chunks(ee: Any, stack: Stack) -> None:
    import xarray
    from xee import helpers

    collection = ee.ImageCollection(STACK)
    grid = helpers.extract_grid_params(collection)
    assert grid["shape_2d"] == SHAPE[::-1]
    chunks = {"time": 2, "width": 128, "height": 64}
    dataset = xarray.open_dataset(collection, engine="ee", **grid, io_chunks=chunks)
    assert list(dataset.time.dt.strftime("%Y-%m-%d").values) == list(stack_store.DATES)
    np.testing.assert_allclose(dataset.x[0], TRANSFORM.c + 5)
    np.testing.assert_allclose(dataset.y[0], TRANSFORM.f - 5)
    for index, band in enumerate(("red", "nir")):
        found = dataset[band].transpose("time", "y", "x").values
        np.testing.assert_array_equal(found, masked(stack.pixels[:, index]))


def test_xee_opens_an_id_and_reads_a_window(ee: Any, stack: Stack) -> None:
    import xarray
    from xee import helpers

    grid = helpers.extract_grid_params(ee.ImageCollection(STACK))
    dataset = xarray.open_dataset(f"ee://{STACK}", engine="ee", **grid)
    window = dataset["nir"].isel(time=2, y=slice(50, 61), x=slice(40, 45)).values
    np.testing.assert_array_equal(window, stack.pixels[2, 1, 50:61, 40:45])


def test_xee_reads_what_was_computed(ee: Any, stack: Stack) -> None:
    import xarray
    from xee import helpers

    def index(image: Any) -> Any:
        return image.normalizedDifference(["nir", "red"]).copyProperties(image, ["system:time_start"])

    collection = ee.ImageCollection(STACK).filterDate("2020-02-01", "2020-04-01").map(index)
    grid = helpers.extract_grid_params(ee.ImageCollection(STACK))
    dataset = xarray.open_dataset(collection, engine="ee", **grid)
    red, nir = (masked(stack.pixels[1:3, band]).astype(np.float64) for band in (0, 1))
    np.testing.assert_allclose(dataset["nd"].values, (nir - red) / (nir + red), atol=1e-6)


def test_geedim_downloads_an_image_in_tiles(ee: Any, geedim_offline: None, stack: Stack, tmp_path: Path) -> None:
    image = ee.Image(f"{STACK}/image_1")
    assert (image.gd.dtype, image.gd.shape, image.gd.crs) == ("uint16", SHAPE, stack_store.CRS)
    file = tmp_path / "out.tif"
    image.gd.prepareForExport().gd.toGeoTIFF(file, max_tile_size=0.05)
    with rasterio.open(file) as found, rasterio.open(stack.files[1]) as source:
        assert (found.transform, found.crs, found.nodata) == (source.transform, source.crs, 0)
        assert found.descriptions == ("red", "nir")
        np.testing.assert_array_equal(found.read(), source.read())


def test_geedim_opens_a_collection(ee: Any, geedim_offline: None, stack: Stack) -> None:
    collection = ee.ImageCollection(STACK)
    assert list(collection.gd.properties) == [f"image_{index}" for index in range(4)]
    dataset = collection.gd.toXarray(masked=False)
    for index, band in enumerate(("red", "nir")):
        np.testing.assert_array_equal(dataset[band].transpose("time", "y", "x").values, stack.pixels[:, index])


def test_geedim_composites_equal_numpy(ee: Any, geedim_offline: None, stack: Stack) -> None:
    composite = ee.ImageCollection(STACK).gd.composite("median", mask=False).select(["red", "nir"])
    grid = {"crs": stack_store.CRS, "crs_transform": tuple(TRANSFORM)[:6], "shape": SHAPE, "dtype": "float64"}
    found = composite.gd.prepareForExport(**grid).gd.toNumPy(masked=False)
    valid = stack.pixels[0, 0] > 0
    np.testing.assert_allclose(found[valid], np.moveaxis(np.median(stack.pixels, axis=0), 0, -1)[valid])


def test_geedim_counts_the_fill(ee: Any, geedim_offline: None, stack: Stack) -> None:
    image = ee.Image(f"{STACK}/image_0").select("red")
    info = image.gd.addMaskBands().gd.info
    assert "FILL_MASK" in [band["id"] for band in info["bands"]]
    coverage = image.mask().gd.regionCoverage(scale=10).getInfo()["red"]
    assert coverage == pytest.approx(100 * (stack.pixels[0, 0] > 0).mean(), abs=0.01)


# Real imagery


@pytest.fixture
def real_ee(real_server: Server) -> Any:
    return initialize(real_server)


def test_xee_opens_years_of_a_real_quad(real_ee: Any, real_data: Path) -> None:
    import xarray

    point = real_ee.Geometry.Point(-99.15, 47.02)
    collection = real_ee.ImageCollection(NAIP).filterBounds(point).filterDate("2016-01-01", "2019-01-01")
    files = sorted((real_data / "naip").glob("m_4709963_se_14_1_201[678]*.tif"))
    with rasterio.open(files[0]) as file:
        window = Window(400, 300, 130, 90)
        expected = file.read(window=window)
        transform = file.window_transform(window)
    grid = {"crs": "EPSG:26914", "crs_transform": tuple(transform)[:6], "shape_2d": (130, 90)}
    dataset = xarray.open_dataset(collection, engine="ee", **grid, io_chunks={"time": 2, "width": 64, "height": 64})
    assert dataset.sizes["time"] == len(files) == 3
    for index, band in enumerate("RGBN"):
        np.testing.assert_array_equal(dataset[band].isel(time=0).transpose("y", "x").values, expected[index])


def test_geedim_downloads_a_real_image(real_ee: Any, geedim_offline: None, real_data: Path, tmp_path: Path) -> None:
    name = "m_3607717_sw_18_1_20160620_subset"
    file = tmp_path / "out.tif"
    real_ee.Image(f"{NAIP}/{name}").gd.prepareForExport().gd.toGeoTIFF(file, max_tile_size=1)
    with rasterio.open(file) as found, rasterio.open(real_data / "naip" / f"{name}.tif") as source:
        assert found.transform == source.transform
        np.testing.assert_array_equal(found.read(), source.read())
