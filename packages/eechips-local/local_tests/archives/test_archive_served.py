"""Datasets of an archive through the local server and Earth Engine's own client."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from affine import Affine

from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.evaluation.evaluation_pool import EvaluationPool, PendingEvaluation
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.protocol.messages import WorkerRequest
from eechips_local.stores import StoreConfig
from local_tests.archives.sample_items import item_box, planetary_sentinel2, stac_item, write_cog
from local_tests.support.local_earth_engine import Server, initialize, start_server, stop_server
from local_tests.support.range_server import Files, range_server

pytestmark = pytest.mark.integration

FINE = Affine(10.0, 0.0, 600_000.0, 0.0, -10.0, 5_800_020.0)
PRODUCTS = (
    ("S2A_MSIL2A_20210601T102031_N0300_R065_T32UPU_20210601T130000", "20210601T102034"),
    ("S2B_MSIL2A_20220606T102559_N0400_R108_T32UPU_20220606T130000", "20220606T102602"),
    ("S2A_MSIL2A_20220616T102601_N0400_R108_T32UPU_20220616T130000", "20220616T102605"),
)
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
PIXEL = 926.625433055


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


def sentinel_items(folder: Path) -> Iterator[dict[str, Any]]:
    for number, (product, strip) in enumerate(PRODUCTS):
        rng = np.random.default_rng(number)
        values = rng.integers(900, 6000, (1, 128, 128)).astype(np.uint16)
        values[0, : 4 * number] = 0
        declared = write_cog(folder / f"red{number}.tif", values, FINE)
        assets = {"B04": {**declared, "href": f"red{number}.tif"}}
        yield planetary_sentinel2(product, strip, item_box(FINE, (128, 128)), assets)


def temperature_items(folder: Path) -> Iterator[dict[str, Any]]:
    """Two tiles of one day, side by side."""
    ground = np.random.default_rng(9).integers(12_000, 16_000, (1, 1200, 2400)).astype(np.uint16)
    for column in (18, 19):
        name = f"MOD11A1.A2022017.h{column}v04.061.2022034062513"
        grid = Affine(PIXEL, 0.0, -20015109.354 + column * 1200 * PIXEL, 0.0, -PIXEL, 10007554.677 - 4800 * PIXEL)
        first = (column - 18) * 1200
        declared = write_cog(folder / f"{name}.tif", ground[:, :, first : first + 1200], grid, SINUSOIDAL)
        box = [0.0, 40.0, 15.6, 50.0] if column == 18 else [13.0, 40.0, 31.2, 50.0]
        properties = {
            "datetime": None,
            "start_datetime": "2022-01-17T00:00:00Z",
            "end_datetime": "2022-01-17T23:59:59Z",
            "proj:epsg": None,
            "proj:wkt2": rasterio.crs.CRS.from_proj4(SINUSOIDAL).to_wkt(),
            **declared,
        }
        yield stac_item(name, "modis-11A1-061", box, properties, {"LST_Day_1km": {"href": f"{name}.tif"}})


@pytest.fixture(scope="module")
def files(folder: Path) -> Iterator[Files]:
    """The host of the archive's files."""
    with range_server(folder) as started:
        yield started


@pytest.fixture(scope="module")
def server(folder: Path, files: Files) -> Iterator[Server]:
    """A local Earth Engine over a list of items in the shape of Planetary Computer's, with caches of its own."""
    with pytest.MonkeyPatch.context() as patch:
        items = [*sentinel_items(folder), *temperature_items(folder)]
        for item in items:
            for asset in item["assets"].values():
                asset["href"] = f"{files.url}/{asset['href'].rpartition('/')[2]}"
        document = {"type": "FeatureCollection", "features": items[::-1]}
        (folder / "items.json").write_text(json.dumps(document), encoding="utf-8")
        host = files.url.removeprefix("http://").partition("/")[0]
        description = folder / "planet.toml"
        description.write_text(
            f'like = "planetary-computer"\nfile = "items.json"\nhosts = ["{host}"]\nsigning = "none"\n',
            encoding="utf-8",
        )
        patch.setenv("XDG_CACHE_HOME", str(folder / "caches"))
        options = ("--no-demo", "--rate", "none", "--concurrency", "none")
        started = start_server("--archive", str(description), *options)
        yield started
        stop_server(started)


@pytest.fixture
def ee(server: Server) -> Any:
    return initialize(server)


def pixels(ee: Any, image: Any, crs: str, transform: Affine, width: int, height: int) -> np.ndarray[Any, Any]:
    grid = {
        "dimensions": {"width": width, "height": height},
        "affineTransform": {
            "scaleX": transform.a,
            "scaleY": transform.e,
            "translateX": transform.c,
            "translateY": transform.f,
        },
        "crsCode": crs,
    }
    found = ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": grid})
    return np.load(io.BytesIO(found))


def harmonized(folder: Path, number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Numbers of a scene as Earth Engine defines them, and where there are any."""
    with rasterio.open(folder / f"red{number}.tif") as file:
        raw = file.read(1).astype(int)
    offset = 1000 if PRODUCTS[number][0].split("_")[3] >= "N0400" else 0
    return np.maximum(raw - offset, 0), raw != 0


@pytest.mark.slow
def test_images_without_a_region_come_in_the_order_of_their_ids(ee: Any, folder: Path) -> None:
    dated = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterDate("2021-01-01", "2023-01-01")
    names = [f"{product[11:26]}_{strip}_T32UPU" for product, strip in PRODUCTS]
    assert dated.aggregate_array("system:index").getInfo() == sorted(names)
    assert dated.first().get("system:index").getInfo() == min(names)
    assert dated.size().getInfo() == len(names)
    found = pixels(ee, dated.mosaic().select("B4"), "EPSG:32632", FINE, 128, 128)["B4"]
    expected = np.zeros((128, 128), int)
    for number in range(len(PRODUCTS)):  # a mosaic shows the last image that has a pixel
        values, valid = harmonized(folder, number)
        expected = np.where(valid, values, expected)
    assert np.array_equal(found, expected)


@pytest.mark.slow
def test_median_of_old_and_new_scenes_has_one_scale(ee: Any, folder: Path) -> None:
    """Scenes before and since baseline 04.00 together, each masked where it has no data."""
    collection = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterBounds(ee.Geometry.Point(10.47, 52.34))
    indices = collection.aggregate_array("system:index").getInfo()
    assert indices == sorted(f"{product.split('_')[2]}_{strip}_T32UPU" for product, strip in PRODUCTS)
    found = pixels(ee, collection.select("B4").median().unmask(-1), "EPSG:32632", FINE, 128, 128)["B4"]
    scenes = [harmonized(folder, number) for number in range(3)]
    stack = np.ma.stack([np.ma.masked_array(values, ~valid) for values, valid in scenes])
    assert np.array_equal(found, np.ma.median(stack, axis=0).filled(-1))


@pytest.mark.slow
def test_filters_of_dates_and_properties_find_the_scenes(ee: Any) -> None:
    found = (
        ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED")
        .filterBounds(ee.Geometry.Point(10.47, 52.34))
        .filterDate("2022-01-01", "2023-01-01")
        .filter(ee.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", 20))
        .filter(ee.Filter.eq("SPACECRAFT_NAME", "Sentinel-2B"))
    )
    assert found.size().getInfo() == 1
    image = ee.Image(found.first())
    assert image.get("PRODUCT_ID").getInfo() == PRODUCTS[1][0]
    assert image.select("B4").projection().getInfo() == {
        "type": "Projection",
        "crs": "EPSG:32632",
        "transform": [10, 0, 600_000, 0, -10, 5_800_020],
    }
    assert found.filterDate("2022-06-07", "2022-07-01").size().getInfo() == 0


@pytest.mark.slow
def test_image_is_found_by_its_id(ee: Any, folder: Path) -> None:
    image = ee.Image("COPERNICUS/S2_SR_HARMONIZED/20220606T102559_20220606T102602_T32UPU").select("B4")
    values, valid = harmonized(folder, 1)
    found = pixels(ee, image, "EPSG:32632", FINE @ Affine.translation(16, 8), 64, 48)["B4"]
    expected = np.where(valid, values, 0)[8:56, 16:80]
    assert np.array_equal(found, expected)


@pytest.mark.slow
def test_statistics_have_what_all_workers_have_taken(ee: Any, server: Server, files: Files) -> None:
    images = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").select("B4").toList(3)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: pixels(ee, ee.Image(images.get(n)), "EPSG:32632", FINE, 128, 128), range(3)))
    stats = [requests.get(f"{server.url}/_stats", timeout=60).json() for _ in range(2)]
    assert len({each["instance"] for each in stats}) == 1
    taken = stats[0]["archives"]
    assert taken["bytes"] == sum(files.bytes.values()) > 0
    assert taken["requests"] > 0


@pytest.mark.slow
def test_window_over_two_tiles_of_a_global_image(ee: Any, folder: Path) -> None:
    image = ee.ImageCollection("MODIS/061/MOD11A1").filterDate("2022-01-01", "2022-02-01").first().select("LST_Day_1km")
    assert image.get("system:index").getInfo() == "2022_01_17"
    column, row = 19 * 1200 - 30, 4 * 1200 + 100
    corner = Affine(PIXEL, 0.0, -20015109.354 + column * PIXEL, 0.0, -PIXEL, 10007554.677 - row * PIXEL)
    found = pixels(ee, image, "SR-ORG:6974", corner, 60, 40)["LST_Day_1km"]
    with rasterio.open(folder / "MOD11A1.A2022017.h18v04.061.2022034062513.tif") as west:
        left = west.read(1)[100:140, -30:]
    with rasterio.open(folder / "MOD11A1.A2022017.h19v04.061.2022034062513.tif") as east:
        right = east.read(1)[100:140, :30]
    assert np.array_equal(found, np.hstack([left, right]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asset", "said"),
    [
        ("COPERNICUS/S1_GRD", "PLANETARY_COMPUTER/SENTINEL1_RTC, which is served under that name"),
        (
            "COPERNICUS/S2_CLOUD_PROBABILITY",
            r"No known archive has it. The demo planet \(--demo\) has a synthetic one.",
        ),
        ("COPERNICUS/S2_SR", "Archives have COPERNICUS/S2_SR_HARMONIZED."),
        ("COPERNICUS/S2_SRR", "No known archive has COPERNICUS/S2_SRR; the nearest ids of datasets are"),
    ],
)
def test_dataset_that_the_archive_lacks_is_told(ee: Any, asset: str, said: str) -> None:
    with pytest.raises(ee.EEException, match=said):
        ee.ImageCollection(asset).size().getInfo()


@pytest.mark.slow
def test_image_that_is_none_is_told(ee: Any) -> None:
    name = "COPERNICUS/S2_SR_HARMONIZED/20220607T102559_20220607T102602_T32UPU"
    with pytest.raises(ee.EEException, match=r"not found .* No item of planet has the system:index '20220607T102559"):
        ee.Image(name).bandNames().getInfo()


@pytest.mark.slow
def test_workers_do_not_load_the_code_of_archives_and_folders_each_for_itself(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "import os, sys\ndef tell(pipe):\n    pipe.send((sorted(sys.modules), dict(os.environ)))\n"
    )
    code = (
        "import probe\n"
        "from pathlib import Path\n"
        "from eechips_local.archives.archive_model import ArchiveDescription\n"
        "from eechips_local.evaluation.evaluation_pool import start_process, worker_context\n"
        "from eechips_local.stores import StoreConfig\n"
        "archive = ArchiveDescription('test', 'Test', api='http://127.0.0.1:9')\n"
        "store = StoreConfig((Path(),), demo=False, archives=(archive,))\n"
        "pipe, process = start_process(worker_context(store), probe.tell)\n"
        "loaded, environment = pipe.recv()\n"
        "process.join()\n"
        "import eechips_local.archives.archive_opening, eechips_local.assets.folder_store, os, sys\n"
        "import eechips_local.assets.table_cache\n"
        "print(sorted({'PYTHONSAFEPATH', 'OMP_NUM_THREADS'} & environment.keys() - os.environ.keys()))\n"
        "print([name for name in sys.modules if name.startswith(('eechips_local.a', 'pyarrow'))\n"
        "       and name not in loaded])\n"
    )
    given = {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "OMP_NUM_THREADS")}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env=given
    )
    assert answer.stdout == "['OMP_NUM_THREADS', 'PYTHONSAFEPATH']\n[]\n"


@pytest.mark.slow
def test_workers_that_keep_parts_of_files_end_by_themselves() -> None:
    """They write in a thread: of the last request of a run, what was not written would be fetched again."""
    archive = ArchiveDescription("test", "Test", api="http://127.0.0.1:9")
    before = set(multiprocessing.active_children())
    workers = EvaluationPool(1, StoreConfig(demo=False, archives=(archive,)), ServiceLimits())
    workers.submit(PendingEvaluation(WorkerRequest("value:compute", b"{}"))).result()
    (process,) = set(multiprocessing.active_children()) - before
    workers.stop()
    assert process.exitcode == 0
