"""The pytest plugin, in repositories of other people: their code and tests are files, and pytest is a process."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
import rasterio
from affine import Affine

from eechips_local.assets import ingest
from local_tests.archives.sample_items import FOLDER_IMAGE, write_folder_archive
from local_tests.support.repositories import make_repository, run_pytest

LIBRARY = '''
"""Statistics of fields."""
import time

import ee
import numpy
import requests


class Fields:
    """Connects as its author's programs do."""

    DATASET = "COPERNICUS/S2_SR_HARMONIZED"

    def __init__(self, project="fields-of-somebody"):
        ee.Authenticate()
        ee.Initialize(project=project, opt_url="https://earthengine-highvolume.googleapis.com")

    def image(self, lon, lat):
        point = ee.Geometry.Point(lon, lat)
        images = ee.ImageCollection(self.DATASET).filterBounds(point).filterDate("2023-07-01", "2023-08-01")
        return images.sort("CLOUDY_PIXEL_PERCENTAGE").first().select("B4", "B3", "B2")

    def height(self, lon, lat):
        dem = ee.Image("USGS/SRTMGL1_003")
        return dem.sample(ee.Geometry.Point(lon, lat), 30).first().get("elevation").getInfo()

    def patch(self, lon, lat, size=16):
        grid = {
            "dimensions": {"width": size, "height": size},
            "affineTransform": {"scaleX": 1e-4, "scaleY": -1e-4, "translateX": lon, "translateY": lat},
            "crsCode": "EPSG:4326",
        }
        return ee.data.computePixels(
            {"expression": self.image(lon, lat), "fileFormat": "NUMPY_NDARRAY", "grid": grid}
        )

    def picture(self, lon, lat, tries=3):
        region = ee.Geometry.Point(lon, lat).buffer(200).bounds()
        url = self.image(lon, lat).getThumbURL({"region": region, "dimensions": "32x32", "max": 3000, "format": "png"})
        for attempt in range(tries):
            response = requests.get(url, timeout=60)
            if response.ok:
                return response.content
            time.sleep(0.01 * attempt)
        response.raise_for_status()

    def table(self, points):
        features = ee.FeatureCollection([ee.Feature(ee.Geometry.Point(p), {"name": n}) for n, p in points.items()])
        found = ee.Image("USGS/SRTMGL1_003").reduceRegions(features, ee.Reducer.first(), 30)
        return {f["properties"]["name"]: f["properties"]["first"] for f in found.getInfo()["features"]}
'''

TESTS = """
import unittest

import ee
import numpy
import pytest
import requests
from fieldstats import Fields


@pytest.fixture(scope="module")
def fields():
    return Fields()


class TestValues:
    def test_height(self, fields):
        assert 1_000 < fields.height(-105.1, 39.9) < 4_400

    def test_patch_has_its_bands(self, fields):
        patch = fields.patch(-105.1, 39.9)
        assert patch.shape == (16, 16) and patch.dtype.names == ("B4", "B3", "B2")

    def test_patch_is_the_same_twice(self, fields):
        assert numpy.array_equal(fields.patch(-105.1, 39.9), fields.patch(-105.1, 39.9))

    @pytest.mark.parametrize("size", [4, 8])
    def test_patch_has_the_size(self, fields, size):
        assert fields.patch(-105.1, 39.9, size).shape == (size, size)

    def test_table(self, fields):
        found = fields.table({"a": [-105.1, 39.9], "b": [-105.2, 39.8]})
        assert set(found) == {"a", "b"}


class TestRequests:
    def test_one_request_for_a_table(self, fields, earth_engine):
        fields.table({"a": [-105.1, 39.9], "b": [-105.2, 39.8]})
        (request,) = earth_engine.requests
        assert request.kind == "value:compute" and request.status == 200
        assert "expression" in request.body

    def test_a_picture_survives_faults(self, fields, earth_engine):
        earth_engine.set_faults([{"type": "status", "status": 503, "on": "thumbnails:getPixels", "times": 2}])
        assert fields.picture(-105.1, 39.9).startswith(b"\\x89PNG")
        assert [r.status for r in earth_engine.requests if r.kind == "thumbnails:getPixels"] == [503, 503, 200]

    def test_a_picture_fails_in_the_end(self, fields, earth_engine):
        earth_engine.set_faults([{"type": "expired", "on": "thumbnails:getPixels"}])
        with pytest.raises(requests.HTTPError, match="404"):
            fields.picture(-105.1, 39.9)

    def test_a_quota_that_is_used_up(self, fields, earth_engine):
        ee.data.setMaxRetries(0)
        earth_engine.set_faults([{"type": "reject", "on": "value:compute"}])
        with pytest.raises(ee.EEException, match="Too Many Requests"):
            fields.height(-105.1, 39.9)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [[], pytest.param(["-n", "2"], marks=pytest.mark.slow)], ids=["one process", "xdist"]
)
def test_a_library_passes_its_tests(tmp_path: Path, arguments: list[str]) -> None:
    repository = make_repository(tmp_path, src__fieldstats=LIBRARY, tests__test_fieldstats=TESTS)
    done = run_pytest(repository, "--earth-engine", *arguments)
    assert "10 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_faults_limits_latency_and_requests_begin_anew(tmp_path: Path) -> None:
    text = """
import ee

def test_first(earth_engine):
    earth_engine.set_faults([{"type": "reject"}])
    earth_engine.set_quota(concurrency=1, rate=1.0)
    earth_engine.set_latency("0.5")
    ee.data.setMaxRetries(0)
    try:
        ee.Number(1).getInfo()
    except ee.EEException:
        pass
    assert [request.status for request in earth_engine.requests] == [429]

def test_second(earth_engine):
    assert earth_engine.requests == []
    assert ee.Number(1).getInfo() == 1
    limits, latency = (earth_engine._server._control(path) for path in ("_quota", "_latency"))
    assert (limits["concurrency"], limits["rate"], latency["latency"]) == (40, None, None)
"""
    done = run_pytest(make_repository(tmp_path, test_two=text))
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_assets_of_the_repository_and_of_a_test_are_served(tmp_path: Path) -> None:
    for name, value in (("three", 3), ("four", 4)):
        grid = {"crs": "EPSG:32613", "transform": Affine(10, 0, 480_000, 0, -10, 4_420_000), "dtype": "uint8"}
        with rasterio.open(tmp_path / f"{name}.tif", "w", driver="GTiff", width=8, height=8, count=1, **grid) as file:
            file.write(np.full((1, 8, 8), value, "uint8"))
    ingest(tmp_path / "three.tif", tmp_path / "assets", "users/me/three", bands=["b"])
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "assets").rglob("*"))
    text = """
import ee

def test_both(earth_engine):
    earth_engine.ingest("four.tif", "users/me/four", bands=["b"])
    for name, value in (("three", 3), ("four", 4)):
        image = ee.Image(f"users/me/{name}")
        assert image.reduceRegion(ee.Reducer.max(), image.geometry(), 10).getInfo() == {"b": value}
"""
    done = run_pytest(make_repository(tmp_path, test_both=text), ini='earth_engine_assets = ["assets"]')
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "assets").rglob("*")) == before


@pytest.mark.slow
def test_exports_go_to_folders_of_the_session_within_the_quota(tmp_path: Path) -> None:
    text = """
import ee

def run(task):
    task.start()
    while task.active():
        pass
    return task.status()

def test_exports(earth_engine):
    image = ee.Image(7).toByte().clip(ee.Geometry.Rectangle([0, 0, 1, 1], None, False))
    assert run(ee.batch.Export.image.toDrive(image, "a", "folder", scale=50_000))["state"] == "COMPLETED"
    assert run(ee.batch.Export.image.toCloudStorage(image, "b", "my-bucket", scale=50_000))["state"] == "COMPLETED"
    assert (earth_engine.drive / "folder" / "a.tif").is_file()
    assert (earth_engine.buckets / "my-bucket" / "b.tif").is_file()
    assert run(ee.batch.Export.image.toAsset(image, "c", "projects/p/assets/c", scale=50_000))["state"] == "COMPLETED"
    assert ee.Image("projects/p/assets/c").bandNames().getInfo() == ["constant"]
    second = run(ee.batch.Export.image.toAsset(image, "d", "projects/p/assets/d", scale=50_000))
    assert "Asset count quota exceeded" in second["error_message"]
"""
    done = run_pytest(make_repository(tmp_path, test_exports=text), ini="earth_engine_asset_count = 1")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_stubs_and_the_sky_are_those_of_the_configuration(tmp_path: Path) -> None:
    text = """
import ee

def test_a_stub(earth_engine):
    images = ee.ImageCollection("IDAHO_EPSCOR/GRIDMET").filterDate("2020-07-01", "2020-08-01")
    assert images.size().getInfo() == 31
    image = ee.Image("LANDSAT/LC08/C02/T1_L2/LC08_173083_20180217")
    assert image.get("CLOUD_COVER").getInfo() == 100
"""
    ini = 'earth_engine_datasets = "all"\nearth_engine_clouds = "overcast"'
    done = run_pytest(make_repository(tmp_path, test_stubs=text), ini=ini)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_requests_for_the_catalogue_of_datasets_go_to_the_local_one(tmp_path: Path) -> None:
    text = """
import asyncio
import json
import urllib.request
from pathlib import Path

import aiohttp
import pytest
import requests

ROOT = "https://earthengine-stac.storage.googleapis.com/catalog"


async def read(address):
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        return await response.json(content_type="text/plain")


def test_three_clients(earth_engine):
    address = f"{ROOT}/USGS/USGS_SRTMGL1_003.json"
    first = requests.get(address).json()
    with urllib.request.urlopen(address) as response:
        second = json.load(response)
    with urllib.request.urlopen(urllib.request.Request(address)) as response:
        third = json.load(response)
    assert first == second == third == asyncio.run(read(address))
    assert first["id"] == "USGS/SRTMGL1_003"
    assert all(link["href"].startswith(earth_engine.url) for link in first["links"] if link["rel"] == "root")


def test_other_addresses_stay(earth_engine):
    assert requests.get(f"{earth_engine.url}/_stats").status_code == 200
    with pytest.raises(ValueError, match="unknown url type"):
        urllib.request.urlopen("nothing")
    original = requests.Session().request
    assert original.__name__ != "request"


def test_without_a_connection():
    assert requests.Session().request.__name__ == "request"
"""
    done = run_pytest(make_repository(tmp_path, test_catalogue=text))
    assert "3 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_open_archives_are_served_in_place_of_the_demo_planet(tmp_path: Path) -> None:
    text = f"""
import ee
import numpy
import pytest

GRID = {{
    "dimensions": {{"width": 20, "height": 12}},
    "affineTransform": {{"scaleX": 10, "translateX": 600_100, "scaleY": -10, "translateY": 5_799_920}},
    "crsCode": "EPSG:32632",
}}

def test_pixels_are_those_of_the_file(earth_engine):
    image = ee.Image("{FOLDER_IMAGE}").select("B4")
    found = ee.data.computePixels({{"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": GRID}})
    assert numpy.array_equal(found["B4"], numpy.load("window.npy"))

def test_there_is_nothing_else(earth_engine):
    with pytest.raises(ee.EEException, match="not found"):
        ee.Image("USGS/SRTMGL1_003").getInfo()
"""
    archive = write_folder_archive(tmp_path / "archive")
    with rasterio.open(archive.parent / "B04.tif") as file:
        np.save(tmp_path / "window.npy", file.read(1)[10:22, 10:30])
    done = run_pytest(
        make_repository(tmp_path, test_archive=text), ini='earth_engine_archives = ["archive/archive.toml"]'
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_without_the_option_other_tests_see_nothing_of_it(tmp_path: Path) -> None:
    text = """
import os
import sys

def test_nothing_is_loaded():
    assert "ee" not in sys.modules and "eechips_local.server_process" not in sys.modules
    assert "EECHIPS_ENDPOINT" not in os.environ

def test_connected(earth_engine):
    import ee
    assert os.environ["EECHIPS_ENDPOINT"] == earth_engine.url
    ee.Initialize(project="somebody")
    assert ee.Number(1).add(1).getInfo() == 2

def test_disconnected():
    import ee
    assert "EECHIPS_ENDPOINT" not in os.environ
    assert ee.Initialize.__module__ == "ee"
    try:
        ee.Number(1).getInfo()
    except ee.EEException as error:
        assert "not initialized" in str(error)
    else:
        raise AssertionError("still connected")
"""
    done = run_pytest(make_repository(tmp_path, test_three=text))
    assert "3 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_a_conftest_that_fails_leaves_no_server_and_no_folder(tmp_path: Path) -> None:
    text = """
import os
print("SERVER", os.environ["EECHIPS_ENDPOINT"], flush=True)
raise RuntimeError("broken")
"""
    done = run_pytest(
        make_repository(tmp_path / "repository", conftest=text), "--earth-engine", "-s", temporary=tmp_path
    )
    assert done.returncode == 4
    found = re.search(r"SERVER (\S+)", done.stdout)
    assert found, done.stdout + done.stderr
    with pytest.raises(URLError, match="refused"):
        urlopen(found[1], timeout=60)
    assert not list(tmp_path.glob(".eechips-local-*"))


@pytest.mark.slow
def test_one_heavy_request_does_not_keep_another_one_waiting(tmp_path: Path) -> None:
    text = """
import json, threading, time, urllib.request
import ee

def test_two_requests(earth_engine):
    row = lambda n: ee.List.sequence(1, 3000).map(lambda m: ee.Number(m).multiply(n).sin())
    heavy = ee.Array(ee.List.sequence(1, 3000).map(row)).reduce(ee.Reducer.sum(), [0, 1])
    address = f"{earth_engine.url}/v1/projects/p/value:compute"
    body = json.dumps({"expression": ee.serializer.encode(heavy, for_cloud_api=True)}).encode()
    ended = threading.Event()

    def compute():
        try:
            urllib.request.urlopen(address, body, timeout=200).read()
        except OSError:
            pass  # the server stops before
        ended.set()

    threading.Thread(target=compute, daemon=True).start()
    while not [r for r in earth_engine._server._control("_activity")["latest"] if r["is_in_flight"]]:
        time.sleep(0.05)
    assert ee.Number(1).add(1).getInfo() == 2
    assert not ended.is_set()
"""
    done = run_pytest(make_repository(tmp_path, test_two=text))
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_the_server_ends_with_the_session_and_leaves_no_folder(tmp_path: Path) -> None:
    text = """
def test_it(earth_engine):
    print("SERVER", earth_engine.url, earth_engine.assets)
"""
    done = run_pytest(make_repository(tmp_path, test_it=text), "-s")
    found = re.search(r"SERVER (\S+) (.+)", done.stdout)
    assert found, done.stdout + done.stderr
    with pytest.raises(URLError, match="refused"):
        urlopen(found[1], timeout=60)
    assert not Path(found[2]).exists()


@pytest.mark.slow
def test_sigterm_stops_the_server_and_leaves_no_folder(tmp_path: Path) -> None:
    text = """
import os, signal, time

def test_it(earth_engine):
    print("SERVER", earth_engine.url, earth_engine.assets, flush=True)
    ready, has_forked = os.pipe()
    fork = os.fork()
    if not fork:  # SIGTERM ends it, and does not stop the session
        os.write(has_forked, b".")
        while True:
            time.sleep(0.1)
    os.read(ready, 1)
    os.kill(fork, signal.SIGTERM)
    assert os.waitpid(fork, 0)[1] == signal.SIGTERM
    assert earth_engine.requests == []
    assert earth_engine.assets.is_dir()
    os.kill(os.getpid(), signal.SIGTERM)
    assert False, "still here"
"""
    done = run_pytest(make_repository(tmp_path, test_it=text), "-s")
    assert done.returncode == -signal.SIGTERM, done.stdout + done.stderr
    found = re.search(r"SERVER (\S+) (.+)", done.stdout)
    assert found, done.stdout + done.stderr
    with pytest.raises(URLError, match="refused"):
        urlopen(found[1], timeout=60)
    assert not Path(found[2]).parent.exists()


@pytest.mark.slow
def test_a_fork_does_not_hold_the_server(tmp_path: Path) -> None:
    text = """
import os, signal, sys

sys.addaudithook(lambda event, arguments: event == "os.kill" and print("SENT", arguments[1], flush=True))

def test_it(earth_engine):
    fork = os.fork()
    if not fork:
        signal.pause()
    print("FORK", fork, flush=True)
"""
    try:
        done = run_pytest(make_repository(tmp_path, test_it=text), "-s", output=tmp_path / "output")
        assert done.returncode == 0
        sent = re.findall(r"SENT (\d+)", (tmp_path / "output").read_text())
        assert [signal.Signals(int(number)) for number in sent] == [signal.SIGTERM], "SIGKILL is sent a minute later"
    finally:
        found = re.search(r"FORK (\d+)", (tmp_path / "output").read_text())
        assert found
        os.kill(int(found[1]), signal.SIGKILL)


@pytest.mark.parametrize(
    ("ini", "message"),
    [
        ('earth_engine_assets = ["nowhere"]', "there is no folder"),
        pytest.param('earth_engine_assets = ["a", "b"]', "names 2 folders; it takes one", marks=pytest.mark.slow),
        pytest.param('earth_engine_archives = ["nowhere"]', "'nowhere' is no archive", marks=pytest.mark.slow),
        pytest.param(
            'earth_engine_archives = ["cdse"]\nearth_engine_datasets = "all"', "set one of them", marks=pytest.mark.slow
        ),
        pytest.param(
            'earth_engine_clouds = "fog"', "must be one of climate, clear, scattered, overcast", marks=pytest.mark.slow
        ),
        pytest.param(
            'earth_engine_clouds = "clear"\nearth_engine_archives = ["cdse"]',
            "earth_engine_archives replace",
            marks=pytest.mark.slow,
        ),
        pytest.param('earth_engine_datasets = "none"', 'neither "all" nor a folder', marks=pytest.mark.slow),
        pytest.param(
            'earth_engine_asset_bytes = "1 GB"',
            "earth_engine_asset_bytes is a number of at least 1, not 1 GB",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_folders_that_cannot_be_served_are_refused(tmp_path: Path, ini: str, message: str) -> None:
    done = run_pytest(make_repository(tmp_path, test_it="def test_it(): pass"), ini=ini)
    assert done.returncode == 4
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_folder_that_is_no_folder_of_assets_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    repository = make_repository(tmp_path, test_it="def test_it(earth_engine): pass")
    done = run_pytest(repository, ini='earth_engine_assets = ["assets"]')
    assert "holds no assets (no catalog.json)" in done.stdout
