"""Runs whose results go to an object store, over the protocols of S3, Google Cloud Storage and Azure."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from eechips.manifest.added_columns import add_findings
from eechips.manifest.run import open_run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.object_server import ObjectServer, missing_packages, serving_objects
from tests.support.engine_service import Service, serving
from tests.support.programs import run_program

ROOT = Path(__file__).resolve().parents[2]
BUCKET = f"bucket-{uuid.uuid4().hex[:8]}"
RECIPE = """
import ee
from eechips import Chip, Grid

GRID = Grid("EPSG:32613", (1.0, 0.0, 500000.0, 0.0, -1.0, 4400000.0), 24, 24)

def get_requests(count=40, first=1):
    return list(range(first, first + count))

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
def objects(request: pytest.FixtureRequest) -> Iterator[ObjectServer]:
    store = getattr(request, "param", "s3")
    reason = missing_packages(store)
    if reason is not None:
        pytest.skip(reason)
    with serving_objects(BUCKET, store) as found:
        yield found


on_s3_and_slowly_on_others = pytest.mark.parametrize(
    "objects", ["s3", *(pytest.param(store, marks=pytest.mark.slow) for store in ("gs", "az"))], indirect=True
)
on_each = pytest.mark.parametrize("objects", ["s3", "gs", "az"], indirect=True)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as found:
        yield found


def command(tmp_path: Path, service: Service, objects: ObjectServer, *options: str) -> list[str]:
    recipe = tmp_path / "squares.py"
    recipe.write_text(RECIPE)
    start = [
        sys.executable,
        "-m",
        "eechips",
        "run",
        str(recipe),
        "--endpoint",
        service.url,
        "--executor",
        "processes:4",
    ]
    return [*start, "--out", f"{objects.bucket}/run", "--ledger", str(tmp_path / "ledger"), *options]


def environment(objects: ObjectServer) -> dict[str, str]:
    return {**os.environ, **objects.environment, "PYTHONPATH": str(ROOT)}


def run(
    tmp_path: Path, service: Service, objects: ObjectServer, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return run_program(
        *command(tmp_path, service, objects, *options), env={**environment(objects), **variables}, timeout=90
    )


def verify(tmp_path: Path, objects: ObjectServer) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "eechips", "verify", str(tmp_path / "ledger")]
    return run_program(*arguments, env=environment(objects), timeout=90)


@pytest.mark.exhaustive
@pytest.mark.slow
@on_s3_and_slowly_on_others
def test_every_result_is_uploaded_once(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    ended = run(tmp_path, service, objects)
    assert ended.returncode == 0, ended.stderr
    assert f"{objects.bucket}/run" in ended.stdout + ended.stderr
    chips = {key: count for key, count in objects.puts.items() if key.startswith("run/chips/")}
    assert len(chips) == 40
    assert set(chips.values()) == {1}
    assert set(objects.puts) - set(chips) == {"run/manifest.parquet", "run/run.json"}
    assert objects.asked["HEAD"] == objects.bucket.startswith("s3")  # of a made-up name, as the bucket is empty
    found = open_run(tmp_path / "ledger")
    assert found.counts == {"done": 40}
    for file, digest in zip(found.units["file"], found.units["sha256"], strict=True):
        assert hashlib.sha256(objects.content(f"run/{file}") or b"").hexdigest() == digest
    assert verify(tmp_path, objects).returncode == 0
    assert not any(path.suffix == ".png" for path in (tmp_path / "ledger").rglob("*"))


@pytest.mark.exhaustive
@pytest.mark.slow
@on_each
def test_a_finished_run_lists_once_and_does_nothing(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    run(tmp_path, service, objects)
    objects.forget()
    service.forget()
    assert run(tmp_path, service, objects).returncode == 0
    assert service.count("pixels") + service.count("compute") == 0
    assert set(objects.asked) - {"GET"} == {"LIST"}  # Azure's says what account it is by a GET
    assert objects.asked["LIST"] == 1


@pytest.mark.slow
def test_splits_and_flags_are_beside_the_results(
    tmp_path: Path, service: Service, objects: ObjectServer, monkeypatch: pytest.MonkeyPatch, caplog: CapturedLog
) -> None:
    ended = run(tmp_path, service, objects, "-p", "count=6")
    assert ended.returncode == 0, ended.stderr
    check = [sys.executable, "-m", "eechips", "check", str(tmp_path / "ledger"), "--quiet"]
    assert run_program(*check, env=environment(objects), timeout=90).returncode == 0
    for name, value in objects.environment.items():
        monkeypatch.setenv(name, value)
    found = open_run(tmp_path / "ledger")
    add_findings(found, "split", dict.fromkeys(found.units["id"], "test"))
    table = pyarrow.parquet.read_table(io.BytesIO(objects.content("run/manifest.parquet") or b""))
    assert table["flags"].to_pylist() == [[]] * 6
    assert table["split"].to_pylist() == ["test"] * 6
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    add_findings(open_run(tmp_path / "ledger"), "split", {})
    assert "lacks the column split" in caplog.text


@pytest.mark.exhaustive
@pytest.mark.slow
def test_empty_results_that_are_left_out_are_not_uploaded(
    tmp_path: Path, service: Service, objects: ObjectServer
) -> None:
    ended = run(tmp_path, service, objects, "-p", "first=990", "-p", "count=20", "--on-empty", "skip")
    assert ended.returncode == 0, ended.stderr
    assert open_run(tmp_path / "ledger").counts == {"done": 19, "empty": 1}
    assert sum(key.endswith(".png") for key in objects.puts) == 19
    assert objects.asked["DELETE"] == 3  # of what an earlier run could have left: failures, layers, sources


@pytest.mark.exhaustive
@pytest.mark.slow
def test_uploads_changed_in_transit_are_repeated(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    objects.spoiled = 5
    assert run(tmp_path, service, objects).returncode == 0
    assert verify(tmp_path, objects).returncode == 0
    assert objects.spoiled == 0


@pytest.mark.exhaustive
@pytest.mark.slow
def test_store_errors_fail_units_transiently(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    objects.broken = 10**6
    ended = run(tmp_path, service, objects, "-p", "count=5", "--retries", "0", AWS_MAX_ATTEMPTS="1")
    assert ended.returncode == 2
    assert "the manifest is not beside the results yet: could not upload s3://" in ended.stderr
    assert "Reduce your request rate. The same command tries it again" in ended.stderr
    found = open_run(tmp_path / "ledger")
    assert found.counts == {"failed_transient": 5}
    assert found.failures["error"].str.contains("could not upload s3://.*: Reduce your request rate").all()
    objects.broken = 0
    assert run(tmp_path, service, objects, "-p", "count=5").returncode == 0
    assert verify(tmp_path, objects).returncode == 0


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_missing_copy_of_the_manifest_is_uploaded(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    run(tmp_path, service, objects)
    with Ledger(tmp_path / "ledger" / LEDGER_NAME) as ledger:  # as if it had been killed before
        ledger.note("copied", False)
    objects.forget()
    assert run(tmp_path, service, objects).returncode == 0
    assert objects.puts == {"run/manifest.parquet": 1, "run/run.json": 1}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_place_that_holds_another_run_is_refused(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    other = ("--ledger", str(tmp_path / "other"), "-p", "count=3")
    assert run(tmp_path, service, objects, *other).returncode == 0
    objects.remove("run/run.json")
    assert run(tmp_path, service, objects, "-p", "count=5").returncode == 0
    manifest = objects.content("run/manifest.parquet")
    service.forget()
    late = run(tmp_path, service, objects, "--ledger", str(tmp_path / "late"), "-p", "count=4")
    with Ledger(tmp_path / "other" / LEDGER_NAME) as ledger:  # as if the first had ended after the second
        ledger.note("copied", False)
    first = run(tmp_path, service, objects, *other)
    for refused, count in ((late, 4), (first, 3)):
        assert refused.returncode == 2
        assert f"{objects.bucket}/run holds another run (count: 5 there, {count} here)" in refused.stderr
    assert service.count("pixels") + service.count("compute") == 0
    assert objects.content("run/manifest.parquet") == manifest
    assert not (tmp_path / "late").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
@on_each
def test_a_killed_run_resumes(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    service.latency = 0.05
    process = subprocess.Popen(
        command(tmp_path, service, objects, "-p", "count=200"),
        env=environment(objects), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: len(objects.puts) >= 60 and open_run(tmp_path / "ledger").counts.get("done"), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    units = open_run(tmp_path / "ledger").units
    recorded = set(units.loc[units["state"] == "done", "file"])
    assert run(tmp_path, service, objects, "-p", "count=200").returncode == 0
    again = {key.removeprefix("run/") for key, count in objects.puts.items() if count > 1 and key.endswith(".png")}
    assert recorded
    assert not again & recorded  # only what was not recorded yet when it was killed
    assert verify(tmp_path, objects).returncode == 0
    assert open_run(tmp_path / "ledger").counts == {"done": 200}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_upload_that_fails_is_tried_again(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    objects.broken = 25
    assert run(tmp_path, service, objects).returncode == 0
    assert verify(tmp_path, objects).returncode == 0


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("same", [2, 20])  # with 20, some come at the same moment
def test_all_units_of_one_name_are_failures(tmp_path: Path, service: Service, objects: ObjectServer, same: int) -> None:
    ended = run(tmp_path, service, objects, "-p", f"same={same}")
    assert ended.returncode == 1
    found = open_run(tmp_path / "ledger")
    assert found.counts == {"done": 40 - same, "failed_permanent": same}
    assert found.failures["error"].str.contains("two units have the same name").all()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_missing_results_are_reported_and_fetched_again(
    tmp_path: Path, service: Service, objects: ObjectServer
) -> None:
    run(tmp_path, service, objects)
    gone = open_run(tmp_path / "ledger").units["file"].iloc[7]
    objects.remove(f"run/{gone}")
    ended = verify(tmp_path, objects)
    assert ended.returncode == 1
    assert gone in ended.stdout + ended.stderr
    assert run(tmp_path, service, objects).returncode == 0
    assert verify(tmp_path, objects).returncode == 0


@pytest.mark.slow
def test_a_missing_bucket_is_reported(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    arguments = [
        *command(tmp_path, service, objects)[:-3],
        f"s3://no-{BUCKET}/run",
        "--ledger",
        str(tmp_path / "ledger"),
    ]
    ended = run_program(*arguments, env=environment(objects), timeout=90)
    assert ended.returncode in (1, 2)
    assert "Traceback" not in ended.stderr
    assert f"no-{BUCKET}" in ended.stderr


MOSAIC = ["mosaic", "--dataset", "NAIP", "--roi=-105.1,40,-105.09,40.01", "--scale", "4", "--window", "128", "--local"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_assembled_results_are_downloaded_once_and_uploaded(tmp_path: Path, objects: ObjectServer) -> None:
    arguments = [sys.executable, "-m", "eechips", *MOSAIC]
    away = [*arguments, "--out", f"s3://{BUCKET}/mosaic", "--ledger", str(tmp_path / "ledger")]
    run_program(*away, status=0, env=environment(objects), timeout=90)
    found = open_run(tmp_path / "ledger")
    windows = found.counts["done"]
    assert windows > 2
    assert objects.asked["GET"] == windows + 2  # and run.json twice, to see whose the place is
    assert set(objects.puts.values()) == {1}
    assert not [path for path in found.path.rglob("*") if "windows/" in path.as_posix() or ".parts" in path.name]
    here = [*arguments, "--out", str(tmp_path / "here")]
    assert subprocess.run(here, env=environment(objects), capture_output=True, timeout=90).returncode == 0
    content = objects.content("mosaic/mosaic.tif")
    assert content == (tmp_path / "here" / "mosaic.tif").read_bytes() == found.assembled[0].read_bytes()
    assert verify(tmp_path, objects).returncode == 0
    objects.forget()
    assert subprocess.run(away, env=environment(objects), capture_output=True, timeout=90).returncode == 0
    assert (objects.asked["PUT"], objects.asked["GET"], objects.asked["LIST"]) == (0, 0, 2)  # windows and mosaic
    objects.remove("mosaic/mosaic.tif")
    assert "mosaic.tif: the file is missing" in verify(tmp_path, objects).stdout
    assert subprocess.run(away, env=environment(objects), capture_output=True, timeout=90).returncode == 0
    assert verify(tmp_path, objects).returncode == 0


@pytest.mark.slow
def test_scripts_that_write_files_themselves_need_a_folder(tmp_path: Path, objects: ObjectServer) -> None:
    script = tmp_path / "old.py"
    script.write_text(OLD_SCRIPT)
    arguments = [sys.executable, "-m", "eechips", "run", str(script), "--local", "--out", f"s3://{BUCKET}/old"]
    arguments += ["--ledger", str(tmp_path / "ledger")]
    ended = run_program(*arguments, status=2, env=environment(objects), timeout=90)
    assert "writes its files itself, to folders of this machine: name one as --out" in " ".join(ended.stderr.split())


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_run_says_where_its_results_are(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    run(tmp_path, service, objects)
    assert json.loads((tmp_path / "ledger" / "run.json").read_text())["results"] == f"s3://{BUCKET}/run"
    other = command(tmp_path, service, objects)
    other[other.index("--out") + 1] = f"s3://{BUCKET}/other"
    ended = run_program(*other, status=2, env=environment(objects), timeout=90)
    assert "results" in ended.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_failures_are_tried_again_where_the_ledger_is(tmp_path: Path, service: Service, objects: ObjectServer) -> None:
    service.plan(7, "400")
    assert run(tmp_path, service, objects).returncode == 1
    assert b"failed_permanent" in (objects.content("run/failures.csv") or b"")
    arguments = [sys.executable, "-m", "eechips", "retry", str(tmp_path / "ledger")]
    run_program(*arguments, status=0, env=environment(objects), timeout=90)
    assert open_run(tmp_path / "ledger").counts == {"done": 40}
    assert {objects.puts[key] for key in objects.puts if key.endswith(".png")} == {1}
    assert objects.content("run/failures.csv") is None


@pytest.mark.exhaustive
@pytest.mark.slow
@on_each
def test_the_doctor_tries_the_store(tmp_path: Path, objects: ObjectServer) -> None:
    def doctor(place: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", "eechips", "doctor", "--local", "--out", place]
        return run_program(*arguments, cwd=tmp_path, env=environment(objects), timeout=90)

    ended = doctor(f"{objects.bucket}/run")
    assert ended.returncode == 0, ended.stdout
    assert f"{objects.bucket}/run can be listed and written" in " ".join(ended.stdout.split())
    assert objects.content("run/.eechips-doctor") is None
    ended = doctor(f"{objects.bucket}-none/run")
    assert ended.returncode != 0
    assert f"could not list {objects.bucket}-none/run" in " ".join(ended.stdout.split())
