"""Windows of a raster in object storage: planned, read, computed and put together; and by way of queues."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.env import get_gdal_config

import eechips
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, PermanentError, UsageError, ValidationError
from eechips.windows import plan_windows, read_window
from tests.object_server import lacking, serving_objects
from tests.raster_server import Bucket, serving_bucket

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "cog_ndvi.py"
AT_ONCE = RetryPolicy(retries=2, delay=0.01)
MEMORY = "150MB"  # little, for several windows


def write_scene(path: Path, width: int = 900, height: int = 700, driver: str = "COG") -> Path:
    """Four bands of noise, with a corner of zeros (no index) and one without data."""
    pixels = np.random.default_rng(8).integers(1, 60_000, (4, height, width), dtype=np.uint16)
    pixels[:, :50, :60] = 0
    pixels[:, -40:, -30:] = 65_535
    place = rasterio.Affine(10.0, 0.0, 5e5, 0.0, -10.0, 44e5)
    with rasterio.open(
        path, "w", driver=driver, width=width, height=height, count=4, dtype="uint16", crs="EPSG:32613",
        transform=place, nodata=65_535, blocksize=128, compress="deflate",
    ) as target:  # fmt: skip
        target.write(pixels)
    return path


def index_of(path: Path) -> np.ma.MaskedArray[Any, Any]:
    """NDVI, computed directly."""
    with rasterio.open(path) as source:
        red, nir = source.read([1, 4], masked=True).astype("float32")
    return (nir - red) / (nir + red)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    folder = tmp_path / "bucket"
    folder.mkdir()
    write_scene(folder / "scene.tif")
    with serving_bucket(folder) as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        yield served


def compute(out: Path, href: str, **options: Any) -> eechips.Run:
    parameters = {"href": href, "red": 1, "nir": 4, "max_memory": MEMORY}
    return eechips.run(RECIPE, parameters, out=out, quiet=True, **{"engine": "threads", **options})


def check(made: eechips.Run, scene: Path) -> None:
    expected = index_of(scene)
    with rasterio.open(made.path / "ndvi.tif") as found, rasterio.open(scene) as source:
        assert found.transform == source.transform
        assert found.crs == source.crs
        assert found.descriptions == ("ndvi",)
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        pixels = found.read(1, masked=True)
    assert np.array_equal(np.ma.getmaskarray(pixels), np.ma.getmaskarray(expected))
    assert np.array_equal(pixels.filled(0), expected.filled(0))


def test_ndvi_is_that_of_the_whole_and_every_block_is_asked_for_once(bucket: Bucket, tmp_path: Path) -> None:
    made = compute(tmp_path / "out", "s3://bucket/scene.tif")
    assert made.is_complete
    assert len(made.units) > 3
    check(made, bucket.folder / "scene.tif")
    assert Counter(bucket.times_asked("scene.tif")) == {1: 48}
    listed = pq.read_table(made.path / "ndvi.windows.parquet").to_pydict()
    assert sum(w * h for w, h in zip(listed["width"], listed["height"], strict=True)) == 900 * 700
    unit = made.units["unit"].iloc[0]
    assert {"kind", "href", "col_off", "row_off", "width", "height", "bands"} < unit.keys()
    assert made.info["endpoint"] == made.info["project"] == ""

    before = len(bucket.ranges)
    assert compute(tmp_path / "out", "s3://bucket/scene.tif").is_complete  # there is nothing left to do
    assert len(bucket.ranges) == before


@pytest.mark.slow
def test_processes_do_the_same(bucket: Bucket, tmp_path: Path) -> None:
    made = compute(tmp_path / "out", "s3://bucket/scene.tif", engine="processes", processes=2)
    check(made, bucket.folder / "scene.tif")
    assert set(bucket.times_asked("scene.tif")) == {1}


def test_a_file_will_do_and_strips_are_read_whole(tmp_path: Path) -> None:
    scene = tmp_path / "strips.tif"
    shutil.copy(write_scene(tmp_path / "cog.tif"), scene)
    with rasterio.open(tmp_path / "cog.tif") as source:
        profile = {**source.profile, "driver": "GTiff", "tiled": False, "interleave": "band", "blockysize": 7}
        del profile["blockxsize"]
        with rasterio.open(scene, "w", **profile) as target:
            target.write(source.read())
    units = list(plan_windows(str(scene), bands=(1, 4), max_memory=MEMORY))
    assert {unit["width"] for unit in units} == {900}
    check(compute(tmp_path / "out", str(scene)), scene)


def test_settings_of_gdal_hold_for_one_opening(bucket: Bucket) -> None:
    names = ("GDAL_CACHEMAX", "GDAL_DISABLE_READDIR_ON_OPEN", "AWS_S3_ENDPOINT", "GDAL_HTTP_MAX_RETRY")
    before = [get_gdal_config(name) for name in names]
    unit = next(plan_windows("s3://bucket/scene.tif", max_memory=MEMORY))
    read_window(unit)
    assert [get_gdal_config(name) for name in names] == before
    assert {name for name, _, _ in bucket.ranges} == {"scene.tif"}  # no folder was listed, no sidecar looked for


def test_what_a_crowded_store_refuses_is_asked_for_again(bucket: Bucket) -> None:
    unit = next(plan_windows("s3://bucket/scene.tif", max_memory=MEMORY))
    expected = read_window(unit)
    bucket.refusals[:] = [503, 500]
    assert np.array_equal(read_window(unit, policy=AT_ONCE), expected)
    assert bucket.refused == 2
    bucket.refusals[:] = [503] * 50
    with pytest.raises(ValidationError, match=r"scene\.tif"):
        read_window(unit, policy=AT_ONCE)


def test_what_is_not_there_or_another_by_now_fails_for_good(bucket: Bucket) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: s3://bucket/none\.tif"):
        next(plan_windows("s3://bucket/none.tif"))
    unit = next(plan_windows("s3://bucket/scene.tif", max_memory=MEMORY))
    write_scene(bucket.folder / "scene.tif", width=800)
    with pytest.raises(PermanentError, match="not the raster that was planned any more"):
        read_window(unit)


def test_plans_that_cannot_be_are_refused(bucket: Bucket) -> None:
    with pytest.raises(UsageError, match="has no band 5: it has 4"):
        next(plan_windows("s3://bucket/scene.tif", bands=(1, 5)))
    with pytest.raises(UsageError, match=r"too little for one block of s3://bucket/scene\.tif, 128x128 pixels"):
        next(plan_windows("s3://bucket/scene.tif", max_memory="100MB"))


def test_a_store_that_cannot_be_reached_is_told_before_anything_is_planned() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read at present"):
        next(plan_windows("http://127.0.0.1:1/scene.tif", policy=AT_ONCE))


def test_three_windows_are_tried_without_an_account(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EECHIPS_PROJECT", raising=False)
    parameters = {"href": "s3://bucket/scene.tif", "max_memory": MEMORY}
    tried = eechips.run(RECIPE, parameters, check=True, engine="threads")
    assert (len(tried.tried), tried.failed) == (3, 0)


def test_google_s_store_is_read_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := lacking("gs"):
        pytest.skip(reason)
    scene = write_scene(tmp_path / "scene.tif", 300, 200)
    with serving_objects("bucket", "gs") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        store = fsspec.filesystem("gs", token="anon", skip_instance_cache=True)
        store.pipe("bucket/in/new scene.tif", scene.read_bytes())
        unit = next(plan_windows("gs://bucket/in/new scene.tif", bands=(4,), max_memory=MEMORY))
        with rasterio.open(scene) as source:
            expected = source.read([4], window=rasterio.windows.Window(0, 0, unit["width"], unit["height"]))
        assert np.array_equal(read_window(unit).data, expected)


def handlers() -> dict[str, Any]:
    """What docs/serverless.md defines, as it stands."""
    namespace: dict[str, Any] = {}
    for block in (ROOT / "docs" / "serverless.md").read_text().split("```python\n")[1:]:
        exec(block.split("```")[0], namespace)
    return namespace


def pushed(application: Any, body: bytes) -> str:
    """The status with which a message that Pub/Sub pushes is answered."""
    told: list[str] = []
    environ = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    application(environ, lambda status, headers: told.append(status))
    return told[0]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of an image with eechips and the recipe."""
    (tmp_path / "recipes").mkdir()
    shutil.copy(RECIPE, tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RESULTS", "results")


def planned(href: str) -> list[str]:
    words = ["eechips", "plan", "run", "recipes/cog_ndvi.py", "-p", f"href={href}", "-p", f"max_memory={MEMORY}"]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=90).stdout.splitlines()


@pytest.mark.slow
@pytest.mark.usefixtures("shell")
def test_the_documented_handlers_make_what_is_delivered_once_or_twice(bucket: Bucket, tmp_path: Path) -> None:
    documented = handlers()
    lines = planned("s3://bucket/scene.tif")
    assert len(lines) > 3
    records = [{"messageId": f"m{number}", "body": line} for number, line in enumerate(lines)]
    broken = {"messageId": "broken", "body": "no line of a plan"}
    again = documented["handler"]({"Records": [*records[:2], broken]}, None)
    assert again == {"batchItemFailures": [{"itemIdentifier": "broken"}]}
    first = {path.name: path.read_bytes() for path in (tmp_path / "results").rglob("*.tif")}
    assert len(first) == 2
    assert documented["handler"]({"Records": records + records[:2]}, None) == {"batchItemFailures": []}
    for line in lines[:1]:
        body = json.dumps({"message": {"data": base64.b64encode(line.encode()).decode(), "messageId": "1"}}).encode()
        assert pushed(documented["application"], body) == "204 No Content"
    assert pushed(documented["application"], b"{}") == "400 Bad Request"
    made = {path.name: path for path in (tmp_path / "results").rglob("*.tif")}
    assert len(made) == len(lines)
    assert {name: made[name].read_bytes() for name in first} == first  # delivered again, and the same
    expected, seen = index_of(bucket.folder / "scene.tif"), np.zeros((700, 900), dtype=int)
    for path in made.values():
        with rasterio.open(path) as window:
            column, row = round((window.transform.c - 5e5) / 10), round((44e5 - window.transform.f) / 10)
            place = (slice(row, row + window.height), slice(column, column + window.width))
            assert np.array_equal(window.read(1, masked=True).filled(0), expected[place].filled(0))
            seen[place] += 1
    assert (seen == 1).all()

    (bucket.folder / "scene.tif").unlink()
    gone = documented["handler"]({"Records": records[:1]}, None)
    assert gone == {"batchItemFailures": [{"itemIdentifier": "m0"}]}  # until it is a dead letter
    assert pushed(documented["application"], body).startswith("500")


@pytest.mark.slow
@pytest.mark.usefixtures("shell")
def test_a_new_object_starts_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3's event, SQS and the results in S3: moto's server for all of them."""
    if reason := lacking("s3"):
        pytest.skip(reason)
    import boto3

    with serving_objects("bucket") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        queue, store = boto3.client("sqs"), boto3.client("s3")
        try:
            url = queue.create_queue(QueueName="windows")["QueueUrl"]
            store.upload_file(str(write_scene(tmp_path / "scene.tif")), "bucket", "in/new scene.tif")
            monkeypatch.setenv("QUEUE_URL", url)
            monkeypatch.setenv("RESULTS", "s3://bucket/ndvi")
            documented = handlers()
            event = {"Records": [{"s3": {"bucket": {"name": "bucket"}, "object": {"key": "in/new+scene.tif"}}}]}
            documented["start"](event, None)
            records = []
            while found := queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                records += [{"messageId": each["MessageId"], "body": each["Body"]} for each in found]
            assert records
            assert documented["handler"]({"Records": records}, None) == {"batchItemFailures": []}
            kept = store.list_objects_v2(Bucket="bucket", Prefix="ndvi/")["Contents"]
            assert len([each for each in kept if each["Key"].endswith(".tif")]) == len(records)
        finally:
            queue.close()
            store.close()
