"""Windows of a raster that is replaced during a run, and of busy, slow or distant stores."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import rasterio
from rasterio._env import del_gdal_config
from rasterio.windows import Window

import eechips
from eechips.archive.windows import plan_windows, read_window
from eechips.client.http.http_messages import Timeouts
from eechips.client.http.transport import Transport, use_transport
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.engine.executors.processes import worker_context
from eechips.errors import PermanentError, Stopped, TransientError
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.object_server import missing_packages, serving_objects
from tests.archive.windows.test_results import MEMORY, RECIPE, ROOT, check, compute, write_scene
from tests.support.commands import run_command
from tests.support.raster_server import Bucket

pytestmark = pytest.mark.slow

AT_ONCE = RetryPolicy(retries=2, delay=0.01)
SCENE = "s3://bucket/scene.tif"
CHANGED = "was replaced after its windows were planned"


@pytest.fixture
def bucket(bucket: Bucket) -> Bucket:
    write_scene(bucket.folder / "scene.tif")
    return bucket


def replace(path: Path) -> None:
    """Puts a raster of the same size and blocks in the place of another: its header tells nothing."""
    with rasterio.open(path) as source:
        profile, pixels = source.profile, source.read()
    other = path.with_name("other.tif")
    with rasterio.open(other, "w", **{**profile, "compress": "none"}) as target:
        target.write(pixels[:, ::-1])
    other.replace(path)


def address(bucket: Bucket, kind: str) -> str:
    return {
        "s3": SCENE,
        "http": f"{bucket.environment['AWS_ENDPOINT_URL']}/bucket/scene.tif",
        "file": str(bucket.folder / "scene.tif"),
        "gdal": "/vsis3/bucket/scene.tif",
    }[kind]


@pytest.mark.parametrize("kind", ["s3", "http", "file", "gdal"])
def test_another_version_is_refused(bucket: Bucket, kind: str) -> None:
    units = list(plan_windows(address(bucket, kind), max_memory=MEMORY))
    read_window(units[0])
    replace(bucket.folder / "scene.tif")
    with pytest.raises(PermanentError, match=CHANGED):
        read_window(units[1])
    again = list(plan_windows(address(bucket, kind), max_memory=MEMORY))
    assert [unit["version"] for unit in again] != [unit["version"] for unit in units]
    read_window(again[1])


@pytest.mark.parametrize("kind", ["s3", "http"])
@pytest.mark.parametrize("keeps_conditions", [True, False])
def test_a_window_is_not_of_two_versions(bucket: Bucket, kind: str, keeps_conditions: bool) -> None:
    """The raster is replaced when its header was read, and only its blocks are to come."""
    if kind == "s3" and not keeps_conditions:
        pytest.skip("S3 keeps them")
    replace(bucket.folder / "scene.tif")  # uncompressed: its blocks lie where those of the next one do
    bucket.keeps_conditions = keeps_conditions
    unit = next(plan_windows(address(bucket, kind), max_memory=MEMORY))
    planned = len(bucket.seen)
    began: list[int] = []

    def between(number: int) -> None:
        if not began and bucket.seen[-1].get("range", "bytes=0-").partition("=")[2].split("-")[0] != "0":
            began.append(number)
            replace(bucket.folder / "scene.tif")

    bucket.between = between
    with pytest.raises(PermanentError, match=CHANGED):
        read_window(unit, policy=AT_ONCE)
    assert began
    assert began[0] > planned


@pytest.mark.exhaustive
def test_a_run_over_a_raster_that_is_replaced_joins_nothing(bucket: Bucket, tmp_path: Path) -> None:
    def between(number: int) -> None:
        if len(bucket.ranges) == 4:
            replace(bucket.folder / "scene.tif")

    bucket.between = between
    made = compute(tmp_path / "out", SCENE, retry_delay=0.01)
    bucket.between = lambda _: None
    assert not made.is_complete
    assert not (made.path / "ndvi.tif").exists()
    assert made.failures["error"].str.contains("was replaced").all()
    assert set(made.failures["error_class"]) == {"PermanentError"}
    assert compute(tmp_path / "other", SCENE).is_complete  # planned again, elsewhere
    check(eechips.open_run(tmp_path / "other"), bucket.folder / "scene.tif")


def test_a_store_without_versions_is_named_in_a_warning(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: CapturedLog
) -> None:
    archive = bucket.folder / "scenes.zip"
    shutil.make_archive(str(archive.with_suffix("")), "zip", bucket.folder, "scene.tif")
    unit = next(plan_windows(f"/vsizip/{archive}/scene.tif", max_memory=MEMORY))
    assert "version" not in unit
    assert read_window(unit).shape[0] == 4
    assert "has no version" not in caplog.text
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    unit = next(plan_windows(SCENE, max_memory=MEMORY))
    assert "version" not in unit
    assert "has no version" in caplog.text
    assert "pip install 'eechips[s3]'" in caplog.text


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Rasterio turns environment variables into settings of the process, which outlive the variable."""
    yield
    del_gdal_config("GDAL_HTTP_HEADERS")
    del_gdal_config("AWS_REQUEST_PAYER")


@pytest.mark.usefixtures("forgetful")
def test_users_headers_are_sent_as_well(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_HEADERS", 'X-One: 1, X-Two: "a, b"')
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    unit = next(plan_windows(SCENE, max_memory=MEMORY))
    del bucket.seen[:]
    read_window(unit)
    for sent in bucket.seen:
        assert (sent["x-one"], sent["x-two"], sent["if-match"]) == ("1", "a, b", unit["version"]["tag"])
        assert sent["x-amz-request-payer"] == "requester"


def test_the_endpoint_variable_of_gdal_is_used(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    host = bucket.environment["AWS_ENDPOINT_URL"].partition("://")[2]
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    for name, value in (("AWS_S3_ENDPOINT", host), ("AWS_HTTPS", "NO"), ("AWS_VIRTUAL_HOSTING", "FALSE")):
        monkeypatch.setenv(name, value)
    unit = next(plan_windows(SCENE, max_memory=MEMORY))
    assert unit["version"]["tag"]
    assert read_window(unit).any()


@pytest.mark.parametrize(
    "secret",
    ["https://host/a.tif?X-Amz-Signature=5ec1e7", "https://h.blob/a.tif?sv=1&sig=5ec1e7", "https://u:5ec1e7@h/a.tif"],
)
def test_secrets_in_addresses_are_refused_and_kept_nowhere(tmp_path: Path, secret: str) -> None:
    (tmp_path / "out").mkdir()  # a folder that was there before stays, with what the run wrote
    words = ["run", str(RECIPE), "-p", f"href={secret}", "--executor", "threads", "--out", str(tmp_path / "out")]
    done = run_command(*words, status=2)
    assert "contains a signature or a password" in done.stderr
    assert "5ec1e7" not in done.output
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written
    assert b"5ec1e7" not in written


@pytest.mark.parametrize("store", ["gs", "az"])
def test_other_stores_are_read_and_their_versions_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    if reason := missing_packages(store):
        pytest.skip(reason)
    scene = write_scene(tmp_path / "scene.tif", 300, 200)
    with serving_objects("bucket", store) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        options = (
            {"token": "anon"} if store == "gs" else {"connection_string": os.environ["AZURE_STORAGE_CONNECTION_STRING"]}
        )
        files = fsspec.filesystem(store, skip_instance_cache=True, **options)
        files.pipe("bucket/in/new scene.tif", scene.read_bytes())
        made = compute(tmp_path / "out", f"{store}://bucket/in/new scene.tif")
        check(made, scene)
        unit = made.units["unit"].iloc[0]
        assert unit["version"]["tag"]
        with rasterio.open(scene) as source:
            location = Window(unit["col_off"], unit["row_off"], unit["width"], unit["height"])
            assert np.array_equal(read_window(unit).data, source.read([1, 4], window=location))
        replace(scene)
        files.pipe("bucket/in/new scene.tif", scene.read_bytes())
        with pytest.raises(PermanentError, match=CHANGED):
            read_window(unit)


class Surroundings:
    """A transport as a run has it."""

    def __init__(self, policy: RetryPolicy, timeouts: Timeouts) -> None:
        self.throttle = Throttle(worker_context(), QuotaLimits(1, 1, learns=False), clients=1)
        self.transport = Transport("", self.throttle.client(0), policy, timeouts)


def test_a_window_uses_the_retry_policy_of_its_run(bucket: Bucket) -> None:
    unit = next(plan_windows(SCENE, max_memory=MEMORY))
    run = Surroundings(RetryPolicy(retries=3, delay=0.01), Timeouts())
    bucket.refusals[:] = [503] * 50
    with use_transport(run.transport), run.transport.metered() as usage, pytest.raises(TransientError):
        read_window(unit)
    assert (usage.requests, usage.repeats) == (4, 3)
    del bucket.refusals[:]
    bucket.cuts = 2
    with use_transport(run.transport):
        found = read_window(unit)
    assert bucket.cuts == 0
    assert np.array_equal(found, read_window(unit))


def test_bytes_that_gdal_reads_count(bucket: Bucket, tmp_path: Path) -> None:
    unit = next(plan_windows(SCENE, max_memory=MEMORY))
    run = Surroundings(RetryPolicy(), Timeouts())
    for _ in range(2):
        del bucket.ranges[:]
        with use_transport(run.transport), run.transport.metered() as usage:
            read_window(unit)
        assert usage.received == sum(end - first for _, first, end in bucket.ranges) > 100_000
    words = {"href": SCENE, "max_memory": MEMORY}
    most = f"bytes={usage.received + 1}"
    few = eechips.run(RECIPE, words, out=tmp_path / "out", executor="threads", quiet=True, budget=most)
    assert few.interrupted
    assert 0 < len(list((tmp_path / "out").rglob("*.tif"))) < len(few.units)
    check(eechips.run(RECIPE, words, out=tmp_path / "out", executor="threads", quiet=True), bucket.folder / "scene.tif")


@pytest.mark.exhaustive
def test_a_silent_server_ends_at_the_timeout_of_the_run(bucket: Bucket) -> None:
    unit = next(plan_windows(SCENE, max_memory=MEMORY))
    run = Surroundings(RetryPolicy(retries=0), Timeouts(read=1.0))
    bucket.silence = 3600.0
    with use_transport(run.transport), pytest.raises(TransientError):
        read_window(unit)


def test_a_window_that_waits_ends_with_the_run(bucket: Bucket) -> None:
    unit = next(plan_windows(SCENE, max_memory=MEMORY))
    run = Surroundings(RetryPolicy(retries=9, delay=60.0, max_delay=60.0), Timeouts())
    bucket.refusals[:] = [503] * 50
    ended: list[BaseException] = []

    def read() -> None:
        try:
            with use_transport(run.transport):
                read_window(unit)
        except BaseException as error:  # noqa: BLE001 - looked at below
            ended.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: bucket.refused > 0)
    run.throttle.stop()
    thread.join(60)
    assert [type(error) for error in ended] == [Stopped]


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_resumes(bucket: Bucket, tmp_path: Path, number: int) -> None:
    """Stopped while a window waits to be read again, and while others are there already."""
    out = tmp_path / "out"
    parameters = ["-p", f"href={SCENE}", "--max-memory", MEMORY]
    words = [
        sys.executable,
        "-m",
        "eechips",
        "run",
        str(RECIPE),
        *parameters,
        "--out",
        str(out),
        "--executor",
        "processes:1",
    ]

    def between(_: int) -> None:
        if len(bucket.ranges) > 8:
            bucket.refusals[:] = [503] * 1000

    bucket.between = between
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*words], cwd=ROOT, stdout=log, stderr=log)
        wait_until(lambda: bucket.refused > 0 and any(out.rglob("*.tif")))
        process.send_signal(number)
        status = process.wait(60)
    assert status == (130 if number == signal.SIGINT else -signal.SIGKILL), (tmp_path / "log").read_text()
    bucket.between, bucket.refusals[:] = lambda _: None, []
    before = {path.name for path in out.rglob("*.tif")}
    assert before
    del bucket.ranges[:]
    subprocess.run([*words], cwd=ROOT, check=True, timeout=120, capture_output=True)
    made = eechips.open_run(out)
    check(made, bucket.folder / "scene.tif")
    headers = sum(not first for _, first, _ in bucket.ranges)
    assert headers <= len(made.units) - len(before) + 1
    validate(made.path / "ndvi.tif")
    listed = json.loads((made.path / "run.json").read_text())
    assert listed["parameters"]["max_memory"] == MEMORY


def validate(path: Path) -> None:
    cogeo = pytest.importorskip("rio_cogeo.cogeo")
    is_valid, errors, warnings = cogeo.cog_validate(str(path), strict=True, quiet=True)
    assert (is_valid, errors, warnings) == (True, [], [])
