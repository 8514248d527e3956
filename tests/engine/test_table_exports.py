"""Tables whose requests take too long are exported by batch tasks: all units have the bytes of requests."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from eechips.manifest.run import open_run
from local_tests.support.local_earth_engine import Host, wait_until
from local_tests.support.parameters import slow_except
from tests.support.export_runs import EXPORT, MEMORY, ExportService, checksums, export_service

ROWS = "table:computeFeatures"
REGIONS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[west, 40.0], [west + 0.1, 40.0], [west + 0.1, 40.1], [west, 40.1], [west, 40.0]]],
            },
        }
        for name, west in (("one", -105.3), ("two", -105.1), ("three", -104.9))
    ],
}
POINTS = "name,lon,lat,day\na,-105.25,40.05,2024-06-03\nb,-105.24,40.05,2024-06-20\nc,-104.0,39.0,2024-06-09\n"
DATES = ["--start", "2024-06-01", "--end", "2024-07-01"]
LST = ["timeseries", "--dataset", "MODIS_LST", "--regions", "regions.geojson", "--columns", "id=name", *DATES]
SERVICE = ["--executor", "threads", "--in-flight", "2", "--out", "out"]
RUNS = {
    "a table of each region": [*LST, "--mask", "auto"],
    "several reducers": [*LST, "--reducer", "mean,max,count", "--format", "parquet"],
    "one table": [*LST, "--output", "one", "--batch", "2"],
    "periods": [*LST, "--output", "one", "--every", "10 days"],
    "points in each image": ["points", "--dataset", "S2", "--points", "points.csv", "--each-image", "--bands", "B4,B8",
                             *DATES],
    "points in the nearest image": ["points", "--dataset", "S2", "--points", "points.csv", "--columns", "date=day",
                                    "--near", "5d", "--bands", "B4"],
    "points in an image": ["points", "--dataset", "SRTM", "--points", "points.csv"],
    "points in a composite": ["points", "--dataset", "MODIS_LST", "--points", "points.csv", *DATES],
    "polygons": ["points", "--dataset", "SRTM", "--points", "regions.geojson", "--reducer", "mean,min"],
}  # fmt: skip
SERIES = [*RUNS["a table of each region"], "--executor", "processes:2", "--in-flight", "2", "--out", "out"]


@pytest.fixture(scope="module")
def module_service(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportService]:
    with export_service(host, tmp_path_factory.mktemp("buckets")) as found:
        yield found


@pytest.fixture
def service(module_service: ExportService) -> Iterator[ExportService]:
    yield module_service
    module_service.plan_faults()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "regions.geojson").write_text(json.dumps(REGIONS))
    (tmp_path / "points.csv").write_text(POINTS)
    return tmp_path


def interactive(service: ExportService, folder: Path, words: list[str]) -> tuple[dict[str, str], list[bytes]]:
    """Run without exports, and return the checksums of units and the merged tables; the run is removed."""
    service.run(folder, *words)
    found = checksums(folder / "out"), assembled(folder / "out")
    (folder / "out").rename(folder / "interactive")
    return found


def assembled(out: Path) -> list[bytes]:
    return [(out / file).read_bytes() for file in open_run(out).assembled]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("name", slow_except(RUNS, "a table of each region", "points in an image"))
def test_tables_that_time_out_are_exported_and_have_the_same_bytes(
    service: ExportService, folder: Path, name: str
) -> None:
    words, before = [*RUNS[name], *SERVICE], service.count(ROWS)
    wanted = interactive(service, folder, words)
    planning = service.count(ROWS) - before - len(wanted[0])  # a request for each unit comes after these
    service.plan_faults(service.time_out(None, on=ROWS) | {"after": planning})
    service.run(folder, *words, *EXPORT)
    assert (checksums(folder / "out"), assembled(folder / "out")) == wanted
    run = open_run(folder / "out")
    assert run.verify() == []
    assert set(run.units["method"]) == {"table:export"}
    assert set(run.units["attempts"]) == {2}
    assert set(run.units["requests"]) == {2}  # one that timed out, which is not divided, and one that started the task


@pytest.mark.exhaustive
@pytest.mark.slow
def test_tables_that_need_too_much_memory_are_divided_first_and_then_exported(
    service: ExportService, folder: Path
) -> None:
    words = [*RUNS["one table"], *SERVICE]
    wanted = interactive(service, folder, words)
    service.plan_faults(service.time_out(None, MEMORY, on=ROWS))
    rows = service.count(ROWS)
    service.run(folder, *words, *EXPORT)
    assert (checksums(folder / "out"), assembled(folder / "out")) == wanted
    assert service.count(ROWS) - rows > 4


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_waits_for_the_same_tasks_again(
    service: ExportService, folder: Path, number: signal.Signals
) -> None:
    wanted, _ = interactive(service, folder, SERIES)
    stall = {"type": "status", "on": "operations:*", "status": 503, "message": "Unavailable."}
    service.plan_faults(service.time_out(None, on=ROWS), stall)
    tasks = service.count("table:export")
    process, out = service.start(folder, *SERIES, *EXPORT), folder / "out"

    def is_waiting() -> bool:
        assert process.poll() is None, process.communicate()
        return (out / "manifest.sqlite").exists() and open_run(out).status().exporting == 3

    wait_until(lambda: (out / "run.log").exists() and "export started" in (out / "run.log").read_text())
    wait_until(is_waiting)
    os.kill(process.pid, number)
    process.communicate()
    status = json.loads(service.run(folder, "status", "out", "--json"))
    assert (status["exporting"], status["counts"]) == (3, {"planned": 3})
    assert status["oldest_export"].startswith("20")
    service.plan_faults()
    rows = service.count(ROWS)
    service.run(folder, *SERIES, *EXPORT)
    assert checksums(out) == wanted
    assert service.count("table:export") - tasks == 3
    assert service.count(ROWS) == rows
    assert open_run(out).status().exporting == 0


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_task_that_fails_and_a_file_that_is_not_whole_are_failures_of_their_units(
    service: ExportService, folder: Path
) -> None:
    wanted, _ = interactive(service, folder, SERIES)
    broken = service.buckets / "broken-bucket"
    broken.write_text("a file, in which no object can be written")
    service.plan_faults(service.time_out(None, on=ROWS))
    words = [*SERIES, "--export-to", "gs://broken-bucket/a"]
    service.run(folder, *words, status=1)
    run = open_run(folder / "out")
    assert run.counts == {"failed_permanent": 3}
    message = r"the export task 'projects/\S+' failed: Cannot write .*broken-bucket.*eechips retry starts another one"
    assert run.failures["error"].str.match(message).all()
    broken.unlink()
    service.run(folder, "retry", "out")
    assert checksums(folder / "out") == wanted


HEAVY = """
import ee
from eechips import Chip, Grid, Table

def get_requests():
    return ["chip", "table"]

def get_result(index, unit):
    elevation = ee.Image("USGS/SRTMGL1_003").select("elevation")
    rough = elevation.reduceNeighborhood(ee.Reducer.median(), ee.Kernel.square(12)).toFloat().rename("rough")
    grid = Grid("EPSG:32613", (30.0, 0.0, 480000.0, 0.0, -30.0, 4430000.0), 256, 256)
    if unit == "chip":
        return Chip(rough, grid=grid, bands=("rough",), dtype="float32", format="tif")
    box = ee.Geometry.Rectangle([480000, 4422320, 487680, 4430000], "EPSG:32613", False)
    found = rough.reduceRegion(ee.Reducer.mean(), box, crs="EPSG:32613", crsTransform=list(grid.transform))
    return Table(ee.FeatureCollection([ee.Feature(None, found)]), columns=("rough",))
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_what_takes_longer_than_the_server_allows_is_exported(
    service: ExportService, folder: Path, host: Host, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "recipe.py").write_text(HEAVY)
    words = ["run", "recipe.py", *SERVICE]
    wanted, _ = interactive(service, folder, words)
    with export_service(host, tmp_path_factory.mktemp("limited"), "--seconds", "0.1") as limited:
        limited.run(folder, *words, status=1)
        assert set(open_run(folder / "out").failures["error_class"]) == {"TooLargeError"}
        (folder / "out").rename(folder / "failed")
        limited.run(folder, *words, *EXPORT)
    assert checksums(folder / "out") == wanted
    assert list(open_run(folder / "out").units["method"]) == ["image:export", "table:export"]


RECIPE = """
import ee
from eechips import Table

def get_requests():
    return ["columns", "order", "geometry", "pages"]

def get_result(index, unit):
    def feature(number):
        point = ee.Geometry.Point([ee.Number(number).divide(10), 40])
        half = ee.Number(number).divide(2)
        values = {"n": number, "half": half, "large": half.multiply(1e10), "text": 'a "b", c\\n', "list": [1, half]}
        return ee.Feature(point, values)

    count = 2500 if unit == "pages" else 3
    source = ee.FeatureCollection(ee.List.sequence(1, count).map(feature))
    if unit == "order":
        return Table(source)
    if unit == "geometry":
        return Table(source, columns=("n", ".geo"))
    return {"a": Table(source, columns=("half", "n", "large", "list", "text", "none", "system:index")),
            "b": Table(source.limit(0), columns=("n",), format="parquet"),
            "c": Table([{"x": 1}])}
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_tables_of_recipes_are_exported_if_their_columns_are_known(service: ExportService, folder: Path) -> None:
    (folder / "recipe.py").write_text(RECIPE)
    words = ["run", "recipe.py", *SERVICE]
    service.run(folder, *words)
    wanted = open_run(folder / "out").layers
    (folder / "out").rename(folder / "interactive")
    service.plan_faults(service.time_out(None, on=ROWS))
    service.run(folder, *words, *EXPORT, status=1)
    run = open_run(folder / "out")
    assert list(run.units["state"]) == ["done", "failed_permanent", "failed_permanent", "done"]
    found = run.layers
    assert dict(zip(found["file"], found["sha256"], strict=True)) == {
        file: digest
        for file, digest in zip(wanted["file"], wanted["sha256"], strict=True)
        if file in set(found["file"])
    }
    assert len(found) == 6
    errors = list(run.failures["error"])
    assert "not exported: the order of the columns is unknown; give the table `columns`" in errors[0]
    assert "not exported: exported geometries differ from fetched ones (.geo)" in errors[1]
