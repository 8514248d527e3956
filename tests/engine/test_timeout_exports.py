"""Chips whose requests take too long are exported by batch tasks: all units come home, with the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio
from affine import Affine

import eechips
from eechips.errors import UsageError
from eechips.manifest.run import open_run
from local_tests.support.local_earth_engine import Host, wait_until
from tests.support.export_runs import EXPORT, MEMORY, PLACE, ExportService, checksums, export_service

SAMPLE = [
    "sample", "--dataset", "S2", "--total", "6", "--roi=-105.3,40.0,-105.2,40.1", "--start", "2024-06-01",
    "--end", "2024-07-01", "--bands", "B4,B8", "--size", "48", "--format", "tif", "--seed", "1", "--method", "pixels",
    "--executor", "threads", "--in-flight", "2", "--out", "out",
]  # fmt: skip


@pytest.fixture(scope="module")
def module_service(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportService]:
    with export_service(host, tmp_path_factory.mktemp("buckets")) as found:
        yield found


@pytest.fixture
def service(module_service: ExportService) -> Iterator[ExportService]:
    yield module_service
    module_service.plan_faults()


@pytest.fixture(scope="module")
def hashes(module_service: ExportService, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The checksums of files that are fetched by requests, by the id of their unit."""
    folder = tmp_path_factory.mktemp("interactive")
    module_service.run(folder, *SAMPLE)
    return checksums(folder / "out")


def log(out: Path, event: str) -> list[dict[str, Any]]:
    """The lines of a run's log about an event."""
    path = out / "run.log"
    lines = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    return [line for line in lines if line["event"] == event]


@pytest.mark.slow
def test_chips_that_time_out_are_exported_and_have_the_same_bytes(
    service: ExportService, hashes: dict[str, str], tmp_path: Path
) -> None:
    service.plan_faults(service.time_out(3))
    tasks = service.count("image:export")
    output = service.run(tmp_path, *SAMPLE, *EXPORT)
    assert "Batch tasks of Earth Engine export results that take too long for a request" in output
    assert checksums(tmp_path / "out") == hashes
    assert service.count("image:export") - tasks == 3
    run = open_run(tmp_path / "out")
    assert run.verify() == []
    assert sorted(run.units["method"]) == ["image:computePixels"] * 3 + ["image:export"] * 3
    exported = run.units[run.units["method"] == "image:export"]
    assert set(exported["attempts"]) == {2}
    assert set(exported["requests"]) == {2}  # one that timed out, and one that started the task
    assert (exported["eecu_seconds"] > 0).all()
    assert len(log(tmp_path / "out", "export started")) == 3


@pytest.mark.exhaustive
@pytest.mark.slow
def test_every_chip_of_a_shared_request_that_times_out_is_exported(service: ExportService, tmp_path: Path) -> None:
    words = [*(word for word in SAMPLE if word not in ("--method", "pixels")), "--mask"]  # of computed images
    service.run(tmp_path, *words)
    expected = checksums(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "interactive")
    service.plan_faults(service.time_out(None))
    service.run(tmp_path, *words, *EXPORT)
    assert checksums(tmp_path / "out") == expected
    assert set(open_run(tmp_path / "out").units["method"]) == {"image:export"}


@pytest.mark.slow
def test_arrays_and_several_datasets_are_exported_alike(service: ExportService, tmp_path: Path) -> None:
    words = [*SAMPLE, "--dataset", "SRTM", "--total", "2"]
    words[words.index("tif")] = "npy"
    words = [word for word in words if word not in ("--bands", "B4,B8")]
    service.run(tmp_path, *words)
    wanted = open_run(tmp_path / "out").layers
    (tmp_path / "out").rename(tmp_path / "interactive")
    service.plan_faults(service.time_out(2))
    tasks = service.count("image:export")
    service.run(tmp_path, *words, *EXPORT)
    found = open_run(tmp_path / "out").layers
    assert list(found["sha256"]) == list(wanted["sha256"])
    assert service.count("image:export") - tasks == 4  # all chips of both units


AREA = ["--roi=-105.25,40.0,-105.22,40.02", "--start", "2024-06-01", "--end", "2024-07-01", "--bands", "B4,B8"]
OTHERS = {
    "images": ["images", "--dataset", "S2", *AREA],
    "composites": ["composites", "--dataset", "S2", *AREA, "--every", "15 days", "--reducer", "median", "--mask"],
    "mosaic": ["mosaic", "--dataset", "S2", *AREA, "--reducer", "median"],
    "frames": [*SAMPLE[: SAMPLE.index("--executor")], "--frames", "3", "--format", "tif-stack", "--total", "2"],
}


def check_exported_alike(service: ExportService, folder: Path, words: list[str]) -> None:
    """Run a command by requests and by exports: all chips are exported, and the files are the same."""
    service.run(folder, *words)
    wanted = checksums(folder / "out")
    (folder / "out").rename(folder / "interactive")
    service.plan_faults(service.time_out(None))
    service.run(folder, *words, *EXPORT)
    assert checksums(folder / "out") == wanted
    assert set(open_run(folder / "out").units["method"]) == {"image:export"}


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_commands_export_alike(service: ExportService, tmp_path: Path, name: str) -> None:
    words = [*OTHERS[name], "--method", "pixels", "--executor", "threads", "--in-flight", "2", "--out", "out"]
    check_exported_alike(service, tmp_path, words)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_chips_that_need_too_much_memory_are_divided_first_and_then_exported(
    service: ExportService, hashes: dict[str, str], tmp_path: Path
) -> None:
    service.plan_faults(service.time_out(None, MEMORY))
    pixels = service.count("image:computePixels")
    service.run(tmp_path, *SAMPLE, *EXPORT)
    assert checksums(tmp_path / "out") == hashes
    assert service.count("image:computePixels") - pixels > 6


@pytest.mark.exhaustive
@pytest.mark.slow
def test_chips_with_too_many_aggregations_are_exported_after_one_repeat(
    service: ExportService, hashes: dict[str, str], tmp_path: Path
) -> None:
    service.plan_faults(service.time_out(None, "Too many concurrent aggregations."))
    pixels = service.count("image:computePixels")
    service.run(tmp_path, *SAMPLE, *EXPORT)
    assert checksums(tmp_path / "out") == hashes
    assert set(open_run(tmp_path / "out").units["method"]) == {"image:export"}
    assert service.count("image:computePixels") - pixels == 2 * 6


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_waits_for_the_same_tasks_again(
    service: ExportService, hashes: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    # The run cannot learn that its tasks have ended.
    stall = {"type": "status", "on": "operations:*", "status": 503, "message": "Unavailable."}
    service.plan_faults(service.time_out(4), stall)
    tasks = service.count("image:export")
    process = service.start(tmp_path, *SAMPLE, *EXPORT, "--executor", "processes")
    out = tmp_path / "out"

    def is_waiting() -> bool:
        assert process.poll() is None, process.communicate()
        return len(log(out, "export started")) == 4

    wait_until(is_waiting)
    wait_until(lambda: open_run(out).counts.get("done", 0) == 2)
    os.kill(process.pid, number)
    output, _ = process.communicate()
    if number == signal.SIGINT:
        assert "Batch tasks of Earth Engine continue, for 4 units" in output
    assert open_run(out).counts == {"done": 2, "planned": 4}
    assert open_run(out).status().exporting == 4
    assert "exporting  4 units, the first since 20" in service.run(tmp_path, "status", "out")
    service.plan_faults()
    pixels = service.count("image:computePixels")
    service.run(tmp_path, *SAMPLE, *EXPORT)
    assert checksums(out) == hashes
    assert service.count("image:export") - tasks == 4
    assert service.count("image:computePixels") == pixels
    assert len(log(out, "export resumed")) == 4
    assert (open_run(out).status().exporting, open_run(out).status().oldest_export) == (0, None)
    assert sorted(open_run(out).units["method"]).count("image:export") == 4


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_task_that_was_started_but_not_stored_is_not_started_again(
    service: ExportService, hashes: dict[str, str], tmp_path: Path
) -> None:
    stall = {"type": "status", "on": "operations:*", "status": 503, "message": "Unavailable."}
    others = service.operations()
    service.plan_faults(service.time_out(2), stall)
    out = tmp_path / "out"
    with service.start(tmp_path, *SAMPLE, *EXPORT, "--executor", "processes") as process:
        wait_until(lambda: process.poll() is not None or len(log(out, "export started")) == 2)
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
    with contextlib.closing(sqlite3.connect(out / "manifest.sqlite")) as ledger, ledger:
        assert ledger.execute("DELETE FROM exports").rowcount == 2
    service.plan_faults(service.time_out(2))
    service.run(tmp_path, *SAMPLE, *EXPORT)
    assert checksums(out) == hashes
    assert sum(method == "image:export" for method in open_run(out).units["method"]) >= 2
    started = {task for line in log(out, "export started") for task in line["tasks"]}
    assert service.operations() - others == started
    assert len(started) == len({line["id"] for line in log(out, "export started")})


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_task_that_fails_is_the_failure_of_its_unit_and_retry_starts_another(
    service: ExportService, hashes: dict[str, str], tmp_path: Path
) -> None:
    broken = service.buckets / "broken-bucket"
    broken.write_text("a file, in which no object can be written")
    service.plan_faults(service.time_out(None))
    tasks = service.count("image:export")
    words = [*SAMPLE, "--export-to", "gs://broken-bucket"]
    service.run(tmp_path, *words, status=1)
    run = open_run(tmp_path / "out")
    assert run.counts == {"failed_permanent": 6}
    assert set(run.failures["error_class"]) == {"PermanentError"}
    error = r"the export task 'projects/\S+' failed: Cannot write .*broken-bucket.*eechips retry starts another one"
    assert run.failures["error"].str.match(error).all()
    assert service.count("image:export") - tasks == 6
    broken.unlink()
    service.run(tmp_path, "retry", "out")
    assert checksums(tmp_path / "out") == hashes
    assert service.count("image:export") - tasks == 12


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_other_executors_export_alike(
    service: ExportService, hashes: dict[str, str], tmp_path: Path, executor: str
) -> None:
    if executor == "dask":
        pytest.importorskip("distributed")
    service.plan_faults(service.time_out(3))
    tasks = service.count("image:export")
    service.run(tmp_path, *SAMPLE, *EXPORT, "--executor", executor)
    assert checksums(tmp_path / "out") == hashes
    assert service.count("image:export") - tasks == 3


@pytest.mark.slow
def test_units_of_a_queue_are_exported_alike(service: ExportService, hashes: dict[str, str], tmp_path: Path) -> None:
    words = [word for word in SAMPLE if word not in ("--out", "out")]
    service.run(tmp_path, "plan", "--to", "units.jsonl", *words, *EXPORT)
    service.plan_faults(service.time_out(3))
    tasks = service.count("image:export")
    work = ["work", "--units", "units.jsonl", "--out", "results", "--outcomes", "outcomes.jsonl", "--ledger", "ledger"]
    service.run(tmp_path, *work)
    outcomes = [json.loads(line) for line in (tmp_path / "outcomes.jsonl").read_text().splitlines()]
    assert {each["id"]: each["sha256"] for each in outcomes} == hashes
    assert service.count("image:export") - tasks == 3


@pytest.mark.slow
def test_a_full_queue_of_tasks_is_tried_again(service: ExportService, hashes: dict[str, str], tmp_path: Path) -> None:
    full = "Too many tasks already in the queue (3000). Please wait for some of them to complete."
    service.plan_faults(service.time_out(1), service.time_out(2, full, "image:export"))
    service.run(tmp_path, *SAMPLE, *EXPORT)
    assert checksums(tmp_path / "out") == hashes


@pytest.mark.exhaustive
@pytest.mark.slow
def test_files_that_are_gone_or_wrong_fail_their_units_and_are_exported_again(
    service: ExportService, hashes: dict[str, str], tmp_path: Path
) -> None:
    others = set(service.files)
    stall = {"type": "status", "on": "operations:*", "status": 503, "message": "Unavailable."}
    service.plan_faults(service.time_out(3), stall)
    tasks = service.count("image:export")
    out = tmp_path / "out"
    with service.start(tmp_path, *SAMPLE, *EXPORT, "--executor", "processes") as process:
        wait_until(lambda: len(set(service.files) - others) == 3 or process.poll() is not None)
        wait_until(lambda: len(log(out, "export started")) == 3 or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        process.communicate()
    gone, wrong, _ = sorted(set(service.files) - others)
    gone.unlink()
    with rasterio.open(wrong) as file:
        profile, pixels = file.profile, file.read()
    with rasterio.open(wrong, "w", **{**profile, "transform": profile["transform"] * Affine.translation(1, 0)}) as file:
        file.write(pixels)
    service.plan_faults(service.time_out(2))
    service.run(tmp_path, *SAMPLE, *EXPORT, status=1)
    run = open_run(out)
    assert run.counts == {"done": 4, "failed_permanent": 2}
    errors = sorted(run.failures["error"])
    messages = {
        f"the exported file '{PLACE}/{wrong.name}' is not as requested (the transform is",
        f"the exported file '{PLACE}/{gone.name}' is not there",
    }
    assert all(sum(error.startswith(message) for error in errors) == 1 for message in messages), errors
    service.run(tmp_path, "retry", "out")
    assert checksums(out) == hashes
    assert service.count("image:export") - tasks == 5


RECIPE = """
import ee
from eechips import Chip, Grid, Table

GRID = Grid("EPSG:32613", (10.0, 0.0, 500000.0, 0.0, -10.0, 4400000.0), 16, 16)

def get_requests():
    return ["picture", "wrong", "good"]

def get_result(index, unit):
    image = ee.Image("USGS/SRTMGL1_003").select("elevation")
    if unit == "picture":
        return Chip(image, grid=GRID, visualization={"min": 0, "max": 4000})
    if unit == "wrong":  # refused for another reason
        return Chip(image.select("nothing"), grid=GRID, format="tif")
    return Chip(image, grid=GRID, format="tif", bands=("elevation",))
"""


@pytest.mark.slow
def test_units_that_cannot_be_exported_fail_as_before_and_say_why(service: ExportService, tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text(RECIPE)
    # The picture by a thumbnail is no computation of pixels here. Each unit has a fault: any may be the first.
    service.plan_faults(service.time_out(3))
    words = ["run", "recipe.py", "--out", "out", "--method", "pixels", "--executor", "threads", "--in-flight", "1"]
    service.run(tmp_path, *words, *EXPORT, status=1)
    run = open_run(tmp_path / "out")
    assert list(run.units["state"]) == ["failed_permanent", "failed_permanent", "done"]
    error = "Computation timed out. The unit is not exported: Earth Engine exports no pictures."
    assert run.units["error"].iloc[0] == error


REGIONS = """
import ee
from eechips import Chip

def get_requests():
    return ["size", "scale", "crs", "array"]

def get_result(index, unit):
    image = ee.Image("USGS/SRTMGL1_003").select("elevation")
    image = image.updateMask(image.mod(3))
    region = ee.Geometry.Rectangle([-105.3, 40.0, -105.29, 40.01])
    if unit == "size":
        return Chip(image, region=region, dimensions=(30, 20), format="tif")
    if unit == "crs":
        return Chip(image, region=region, scale=40, crs="EPSG:32613", format="tif")
    return Chip(image, region=region, scale=25, format="tif" if unit == "scale" else "npy")
"""


@pytest.mark.exhaustive
def test_chips_by_region_are_exported_alike(service: ExportService, tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text(REGIONS)
    words = ["run", "recipe.py", "--out", "out", "--method", "pixels", "--executor", "threads", "--in-flight", "2"]
    check_exported_alike(service, tmp_path, words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"export_to": "s3://bucket/a"}, "a place in Cloud Storage such as gs://bucket/folder"),
        ({"export_to": "gs://b"}, "a place in Cloud Storage such as"),
        ({"export_to": "gs://bucket/a/../b"}, "a place in Cloud Storage such as"),
        ({"export_to": PLACE, "local": True}, "`local` has no buckets"),
        ({"export_to": PLACE, "executor": "beam"}, "is not for executor='beam'"),
        ({"export_to": PLACE, "format": "png"}, "is not for sample: Earth Engine exports no"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_the_run(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given = {"total": 1, "roi": "-105.3,40.0,-105.2,40.1", "format": "tif", "start": "2024-06-01", "end": "2024-07-01"}
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        eechips.sample("S2", out=tmp_path / "out", **{**given, **options})
    assert not (tmp_path / "out").exists()
