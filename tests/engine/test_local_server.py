"""The engine over the local Earth Engine: real expressions, real masks, a server of its own for each run."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import rasterio

from eechips.engine.config import RunConfig
from eechips.engine.run import run
from eechips.engine.service.local_server import LocalServer, local_earth_engine, remove_unused_exports
from eechips.engine.service.session import connect
from eechips.errors import ConfigurationError
from eechips.files.removal import register_lock
from eechips.manifest.run import Run
from eechips_local.assets.ingestion.publish import create
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import wait_until
from tests.support.engine_recipes import script
from tests.support.engine_service import serving
from tests.support.gradual_recipe import Gradual

RECIPE = """
import ee
from eechips.geo.grid import Grid
from eechips.recipe import Chip

SIZE = 48


def get_requests(count=2):
    return [{"kind": "point", "x": 500000.0 + 40 * n, "y": 4372000.0, "n": n} for n in range(count)]


def get_result(index, unit, format="tif", dtype="", holes=True):
    image = ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(
        ee.Geometry.Point([-105.0, 39.5]).buffer(100)
    ).filterDate("2015-01-01", "2030-01-01").mosaic()
    if holes:
        image = image.updateMask(image.select("R").gt(100))
    grid = Grid("EPSG:32613", (1.0, 0.0, unit["x"], 0.0, -1.0, unit["y"]), SIZE, SIZE)
    return Chip(image, grid=grid, bands=("N", "R"), format=format, dtype=dtype or None)
"""


def run_local(folder: Path, *, parameters: dict[str, Any], **options: Any) -> Run:
    config = RunConfig(out=folder / "out", local=True, executor="threads", quiet=True, retries=1, **options)
    return run(script(folder, RECIPE, **parameters), config)


@pytest.mark.slow
def test_an_interrupted_plan_finds_the_answers_of_a_server_with_another_address(tmp_path: Path) -> None:
    def before(number: int) -> None:
        if number == 250:
            raise LookupError("away")

    config = RunConfig(out=tmp_path / "out", local=True, executor="threads", quiet=True)
    kept = []
    for _ in range(2):
        with pytest.raises(LookupError):
            run(Gradual(300, before), config)
        with contextlib.closing(sqlite3.connect(config.out / "planning.sqlite")) as answers:
            kept.append(sorted(answers.execute("SELECT request, received FROM responses")))
    assert kept[0] == kept[1] != []
    with serving() as service, pytest.raises(LookupError):  # no answer of the other source is used
        run(Gradual(300, before), dataclasses.replace(config, local=False, endpoint=service.url, rate=None))
    assert service.count("value") >= 3


@pytest.mark.slow
def test_an_interrupted_plan_asks_again_when_a_file_of_the_assets_has_changed(tmp_path: Path) -> None:
    def before(number: int) -> None:
        if number == 150:
            raise LookupError("away")

    assets, raster = tmp_path / "assets", tmp_path / "assets" / "elevation.tif"
    create(assets)
    raster.write_bytes(b"before")
    config = RunConfig(out=tmp_path / "out", local=assets, executor="threads", quiet=True)
    answers = []
    for is_changed in (False, False, True):
        if is_changed:
            raster.write_bytes(b"behind")
        with pytest.raises(LookupError):
            run(Gradual(200, before), config)
        with contextlib.closing(sqlite3.connect(config.out / "planning.sqlite")) as database:
            answers.append(set(database.execute("SELECT request, received FROM responses")))
    assert answers[0] == answers[1] < answers[2]
    assert len(answers[2]) == 2 * len(answers[0])


@pytest.fixture(scope="module")
def tif_by_url(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_local(tmp_path_factory.mktemp("url"), parameters={"format": "tif"})


@pytest.mark.slow
def test_geotiffs_carry_grid_names_values_and_mask(tif_by_url: Run) -> None:
    assert tif_by_url.counts == {"done": 2}
    for _, row in tif_by_url.units.iterrows():
        with rasterio.open(tif_by_url.path / row["file"]) as source:
            values, mask = source.read(), source.dataset_mask() != 0
            assert source.crs.to_epsg() == 32613
            assert tuple(source.transform)[:6] == (1.0, 0.0, row["unit"]["x"], 0.0, -1.0, row["unit"]["y"])
            assert source.descriptions == ("N", "R")
            assert source.dtypes == ("uint8", "uint8")
        assert 0 < mask.mean() < 1
        assert row["valid_fraction"] == mask.mean()
        assert values[1][mask].min() > 100
        assert not values[:, ~mask].any()  # what the service sends for masked pixels, told apart by the mask


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameters", "method"),
    [({"format": "tif", "dtype": "uint8"}, "pixels"), ({"format": "npy"}, "url"), ({"format": "npy"}, "pixels")],
)
def test_both_request_methods_return_the_same_pixels(
    tif_by_url: Run, tmp_path: Path, parameters: dict[str, str], method: str
) -> None:
    found = run_local(tmp_path, parameters=parameters, method=method)
    assert found.counts == {"done": 2}
    for expected, file in zip(tif_by_url.units["file"], found.units["file"], strict=True):
        data = (found.path / file).read_bytes()
        with rasterio.open(tif_by_url.path / expected) as source:
            values, mask = source.read(), source.dataset_mask() != 0
        if file.endswith(".tif"):
            assert hashlib.sha256(data).hexdigest() == tif_by_url.units.set_index("file")["sha256"][expected]
            continue
        array = np.load(io.BytesIO(data))
        assert array.dtype.names == ("N", "R", "mask")
        np.testing.assert_array_equal(array["mask"], mask)
        for name, band in zip(("N", "R"), values, strict=True):
            assert array[name].tobytes() == band.tobytes()


@pytest.mark.slow
def test_a_run_on_the_demo_planet_says_so(tif_by_url: Run) -> None:
    assert tif_by_url.info["source"] == "local:demo"
    assert "synthetic" in tif_by_url.info["notes"][0]


@pytest.mark.slow
def test_the_server_ends_with_the_run() -> None:
    config = RunConfig(out=Path("unused"), local=True)
    with connect(config) as session:
        assert session.server is not None
        process = session.server._process
        assert process.poll() is None
    assert process.returncode is not None


@pytest.mark.exhaustive
def test_a_process_that_is_killed_leaves_no_server_and_its_files_until_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    serving = """
import sys
from eechips.engine.service.local_server import local_earth_engine
with local_earth_engine(demo=False, in_flight=8, workers=1) as server:
    print(server._process.pid, flush=True)
    sys.stdin.read()
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", serving], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    server = Path("/proc", process.stdout.readline().strip())
    process.kill()
    process.communicate()
    wait_until(lambda: not server.exists())
    (left,) = tmp_path.glob(".scratch-*")
    with local_earth_engine(demo=False, in_flight=8, workers=1):
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_fork_that_leaves_the_block_keeps_the_server_and_its_files() -> None:
    """The fork ended the server, and waited for ever."""
    program = """
import os, sys, urllib.request
from eechips.engine.service.local_server import local_earth_engine
with local_earth_engine(demo=False, in_flight=8, workers=1) as server:
    process = os.fork()
    if process == 0:
        sys.exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), server.stubs(), server._process.poll())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (result.stdout, result.stderr, result.returncode) == ("3 [] None\n", "", 0)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_server_that_is_killed_is_started_again_at_its_address(caplog: CapturedLog) -> None:
    ee.Reset()  # how often the client repeats requests is kept between connections
    with local_earth_engine(demo=False, in_flight=8, workers=1) as server:
        killed, address = server._process, server.url
        os.kill(killed.pid, 9)
        wait_until(lambda: server._process is not killed and not server._turn.locked())
        server.check()
        assert server.url == address
        server.initialize()
        assert ee.Number(1).add(1).getInfo() == 2
    assert server._process.returncode == 0
    assert caplog.text.count("killed by signal 9") == 1


@pytest.mark.exhaustive
@pytest.mark.slow
def test_stubs_are_known_after_the_server_was_killed() -> None:
    with local_earth_engine(workers=1, demo_datasets="all") as server:
        server.initialize()
        for dataset in ("NASA/SMAP/SPL4SMGP/008", "ESA/CCI/FireCCI/5_1"):
            assert ee.ImageCollection(dataset).first().bandNames().getInfo()
            killed = server._process
            os.kill(killed.pid, 9)
            wait_until(lambda killed=killed: server._process is not killed and not server._turn.locked())  # type: ignore[misc]
        assert server.stubs() == ["ESA/CCI/FireCCI/5_1", "NASA/SMAP/SPL4SMGP/008"]


@pytest.mark.slow
def test_a_server_that_ends_by_itself_is_noticed() -> None:
    with local_earth_engine(demo=False, in_flight=8, workers=1) as server:
        server.check()
        server._command[-1] = "no port"
        os.kill(server._process.pid, 9)
        wait_until(lambda: not server._watcher.is_alive())
        with pytest.raises(ConfigurationError, match=r"has ended \(status 2\): .*invalid int value"):
            server.check()


def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"did not start: \S"), local_earth_engine(None, in_flight=8):
        pass


def test_a_server_that_is_not_installed_is_named_with_the_extra(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "absent_package.run_server", "--port", "0"]
    message = r"needs absent_package, which is not installed: pip install 'eechips\[local\]'"
    with (tmp_path / "errors").open("w+b") as errors, pytest.raises(ConfigurationError, match=message):
        LocalServer(command, errors, tmp_path / "stubs")


@pytest.mark.slow
def test_an_archive_that_is_unknown_is_named_without_the_program_that_says_so() -> None:
    message = r"did not start: --archive: 'erth-search' is no archive\. Did you mean earth-search\?"
    with pytest.raises(ConfigurationError, match=message), local_earth_engine(archive="erth-search"):
        pass


@pytest.mark.slow
def test_the_client_of_a_local_earth_engine_needs_no_other_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fetch a list of deprecated assets from Google, whenever it is initialised."""
    ee.Reset()
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, local_earth_engine(demo=False) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{elsewhere.getsockname()[1]}")
        socket.setdefaulttimeout(10)  # nothing answers there
        try:
            server.initialize()
        finally:
            socket.setdefaulttimeout(before)
        assert ee.Number(1).add(1).getInfo() == 2
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.slow
def test_exports_of_a_local_earth_engine_go_to_folders(tmp_path: Path) -> None:
    names = ("drive", "buckets", "export_assets")
    folders = {name: tmp_path / name for name in names}
    with local_earth_engine(demo=False, **folders, asset_count=2, asset_bytes=10**9) as server:
        server.initialize()
        image = ee.Image(7).toByte().clip(ee.Geometry.Rectangle([0, 0, 1, 1], None, False))
        tasks = [
            ee.batch.Export.image.toDrive(image, "a", scale=50_000),
            ee.batch.Export.image.toCloudStorage(image, "b", "my-bucket", scale=50_000),
            ee.batch.Export.image.toAsset(image, "c", "projects/p/assets/c", scale=50_000),
        ]
        for task in tasks:
            task.start()
        wait_until(lambda: not any(task.active() for task in tasks))
        assert [task.status()["state"] for task in tasks] == ["COMPLETED"] * 3
        assert ee.Image("projects/p/assets/c").bandNames().getInfo() == ["constant"]
        ee.data.createFolder("projects/p/assets/d")
        with pytest.raises(ee.EEException, match="Asset count quota exceeded"):
            ee.data.createFolder("projects/p/assets/e")
        assert ee.data.getAssetRootQuota("projects/p/assets")["asset_size"]["limit"] == 10**9
    for path in (tmp_path / "drive" / "a.tif", tmp_path / "buckets" / "my-bucket" / "b.tif"):
        with rasterio.open(path) as file:
            assert (file.read(1) == 7).any()


@pytest.mark.parametrize("kept", ["", ".mine", ".ipynb_checkpoints", "scenes"])
def test_the_folder_of_exported_assets_stays_with_what_the_server_has_not_made(tmp_path: Path, kept: str) -> None:
    out, assets = tmp_path / "run", tmp_path / "run" / "exports" / "assets"
    create(assets)
    (assets / ".index.sqlite").touch()
    (assets / kept).mkdir(exist_ok=True)
    with register_lock(out):
        remove_unused_exports(out)
    assert assets.exists() is bool(kept)
    assert (assets / kept).exists() is bool(kept)


@pytest.mark.slow
def test_the_log_of_a_server_is_removed_where_it_is_empty_and_kept_otherwise(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with local_earth_engine(workers=1, log=log):
        pass
    assert not log.exists()
    with pytest.raises(ConfigurationError), local_earth_engine(assets=tmp_path / "absent", log=log):
        pass
    assert f"{tmp_path / 'absent'}" in log.read_text()
