"""Runs whose results go to an object store, over the protocol of S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto")

from eechips.manifest.run import open_run
from tests.engine_service import Service, serving
from tests.object_server import ObjectServer, serving_objects

ROOT = Path(__file__).resolve().parents[2]
BUCKET = f"bucket-{uuid.uuid4().hex[:8]}"
RECIPE = """
import ee
from eechips import Chip, Grid

GRID = Grid("EPSG:32613", (1.0, 0.0, 500000.0, 0.0, -1.0, 4400000.0), 24, 24)

def get_requests(count=40):
    return list(range(1, count + 1))

def get_result(index, number, same=0):
    name = "chips/same" if number <= same else None
    return Chip(ee.Image(number), grid=GRID, name=name)
"""

OLD_SCRIPT = """
from multiprocessing import Pool
import ee

def getResult(index, number):
    return number

if __name__ == "__main__":
    ee.Initialize()
    with Pool(2) as pool:
        pool.starmap(getResult, enumerate(range(3)))
"""


@pytest.fixture
def objects() -> Iterator[ObjectServer]:
    with serving_objects(BUCKET) as found:
        yield found


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as found:
        yield found


def command(tmp_path: Path, service: Service, *options: str) -> list[str]:
    recipe = tmp_path / "squares.py"
    recipe.write_text(RECIPE)
    start = [sys.executable, "-m", "eechips", "run", str(recipe), "--endpoint", service.url, "--processes", "4"]
    return [*start, "--out", f"s3://{BUCKET}/run", "--ledger", str(tmp_path / "ledger"), *options]


def environment(objects: ObjectServer) -> dict[str, str]:
    return {**os.environ, **objects.environment, "PYTHONPATH": str(ROOT)}


def run(tmp_path: Path, service: Service, objects: ObjectServer, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(tmp_path, service, *options), env=environment(objects), capture_output=True, text=True, timeout=90
    )


def verify(tmp_path: Path, objects: ObjectServer) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "eechips", "verify", str(tmp_path / "ledger")]
    return subprocess.run(arguments, env=environment(objects), capture_output=True, text=True, timeout=90)


def test_every_result_is_uploaded_once(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    ended = run(tmp_path, service, objects)
    assert ended.returncode == 0, ended.stderr
    assert f"s3://{BUCKET}/run" in ended.stdout + ended.stderr
    chips = {key: count for key, count in objects.puts.items() if "/chips/" in key or key.endswith(".png")}
    assert len(chips) == 40
    assert set(chips.values()) == {1}
    assert {key.rpartition("/")[2] for key in set(objects.puts) - set(chips)} == {"manifest.parquet", "run.json"}
    assert open_run(tmp_path / "ledger").counts == {"done": 40}
    assert verify(tmp_path, objects).returncode == 0
    assert not any(path.suffix == ".png" for path in (tmp_path / "ledger").rglob("*"))


@pytest.mark.slow
def test_a_finished_run_lists_once_and_does_nothing(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    run(tmp_path, service, objects)
    objects.asked.clear()
    service.forget()
    assert run(tmp_path, service, objects).returncode == 0
    assert service.count("pixels") + service.count("compute") == 0
    assert objects.asked["PUT"] == 0
    assert objects.asked["LIST"] <= 2


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    service.latency = 0.05
    process = subprocess.Popen(
        command(tmp_path, service, "-p", "count=200"),
        env=environment(objects), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(objects.puts) < 60:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    under_way = service.most_in_flight
    assert run(tmp_path, service, objects, "-p", "count=200").returncode == 0
    again = sum(count - 1 for key, count in objects.puts.items() if key.endswith(".png"))
    assert 0 <= again <= under_way + 20  # what was under way, or not recorded yet, when it was killed
    assert verify(tmp_path, objects).returncode == 0
    assert open_run(tmp_path / "ledger").counts == {"done": 200}


@pytest.mark.slow
def test_an_upload_that_fails_is_tried_again(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    objects.broken = 25
    assert run(tmp_path, service, objects).returncode == 0
    assert verify(tmp_path, objects).returncode == 0


@pytest.mark.slow
def test_two_units_of_one_name_are_both_failures(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    ended = run(tmp_path, service, objects, "-p", "same=2")
    assert ended.returncode == 1
    found = open_run(tmp_path / "ledger")
    assert found.counts == {"done": 38, "failed_permanent": 2}
    assert found.failures["error"].str.contains("two units have the same name").all()


@pytest.mark.slow
def test_what_is_gone_is_told_and_fetched_again(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    run(tmp_path, service, objects)
    client = objects.client()
    gone = open_run(tmp_path / "ledger").units["file"].iloc[7]
    client.delete_object(Bucket=BUCKET, Key=f"run/{gone}")
    ended = verify(tmp_path, objects)
    assert ended.returncode == 1
    assert gone in ended.stdout + ended.stderr
    assert run(tmp_path, service, objects).returncode == 0
    assert verify(tmp_path, objects).returncode == 0


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_told(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    arguments = [*command(tmp_path, service)[:-3], f"s3://no-{BUCKET}/run", "--ledger", str(tmp_path / "ledger")]
    ended = subprocess.run(arguments, env=environment(objects), capture_output=True, text=True, timeout=90)
    assert ended.returncode in (1, 2)
    assert "Traceback" not in ended.stderr
    assert f"no-{BUCKET}" in ended.stderr


MOSAIC = ["mosaic", "--dataset", "NAIP", "--roi=-105.1,40,-105.09,40.01", "--scale", "4", "--window", "128", "--local"]


@pytest.mark.slow
def test_what_is_put_together_is_fetched_back_once_and_uploaded(tmp_path: Path, objects: ObjectServer) -> None:
    arguments = [sys.executable, "-m", "eechips", *MOSAIC]
    away = [*arguments, "--out", f"s3://{BUCKET}/mosaic", "--ledger", str(tmp_path / "ledger")]
    ended = subprocess.run(away, env=environment(objects), capture_output=True, text=True, timeout=90)
    assert ended.returncode == 0, ended.stderr
    found = open_run(tmp_path / "ledger")
    windows = found.counts["done"]
    assert windows > 2
    assert objects.asked["GET"] == windows
    assert set(objects.puts.values()) == {1}
    assert not [path for path in found.path.rglob("*") if "windows/" in path.as_posix() or ".parts" in path.name]
    here = [*arguments, "--out", str(tmp_path / "here")]
    assert subprocess.run(here, env=environment(objects), capture_output=True, timeout=90).returncode == 0
    content = objects.client().get_object(Bucket=BUCKET, Key="mosaic/mosaic.tif")["Body"].read()
    assert content == (tmp_path / "here" / "mosaic.tif").read_bytes() == found.assembled[0].read_bytes()
    assert verify(tmp_path, objects).returncode == 0
    objects.forget()
    assert subprocess.run(away, env=environment(objects), capture_output=True, timeout=90).returncode == 0
    assert (objects.asked["PUT"], objects.asked["GET"], objects.asked["LIST"]) == (0, 0, 1)
    objects.client().delete_object(Bucket=BUCKET, Key="mosaic/mosaic.tif")
    assert "mosaic.tif: the file is missing" in verify(tmp_path, objects).stdout
    assert subprocess.run(away, env=environment(objects), capture_output=True, timeout=90).returncode == 0
    assert verify(tmp_path, objects).returncode == 0


def test_scripts_that_write_files_themselves_need_a_folder(tmp_path: Path, objects: ObjectServer) -> None:
    script = tmp_path / "old.py"
    script.write_text(OLD_SCRIPT)
    arguments = [sys.executable, "-m", "eechips", "run", str(script), "--local", "--out", f"s3://{BUCKET}/old"]
    arguments += ["--ledger", str(tmp_path / "ledger")]
    ended = subprocess.run(arguments, env=environment(objects), capture_output=True, text=True, timeout=90)
    assert ended.returncode == 2
    assert "writes its files itself, into a folder: give --out one" in ended.stderr


@pytest.mark.slow
def test_the_run_says_where_its_results_are(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    run(tmp_path, service, objects)
    assert json.loads((tmp_path / "ledger" / "run.json").read_text())["results"] == f"s3://{BUCKET}/run"
    other = command(tmp_path, service)
    other[other.index("--out") + 1] = f"s3://{BUCKET}/other"
    ended = subprocess.run(other, env=environment(objects), capture_output=True, text=True, timeout=90)
    assert ended.returncode == 2
    assert "results" in ended.stderr


@pytest.mark.slow
def test_failures_are_tried_again_where_the_ledger_is(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    service.plan(7, "400")
    assert run(tmp_path, service, objects).returncode == 1
    arguments = [sys.executable, "-m", "eechips", "retry", str(tmp_path / "ledger")]
    ended = subprocess.run(arguments, env=environment(objects), capture_output=True, text=True, timeout=90)
    assert ended.returncode == 0, ended.stderr
    assert open_run(tmp_path / "ledger").counts == {"done": 40}
    assert {objects.puts[key] for key in objects.puts if key.endswith(".png")} == {1}
