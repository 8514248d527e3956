"""Batch tasks that a script starts on the local Earth Engine of its run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eechips import open_run
from local_tests.support.local_earth_engine import start_server, stop_server
from tests.support.programs import run_program
from tests.support.user_scripts import ROOT, run

pytestmark = pytest.mark.slow

SCRIPT = """
from multiprocessing import Pool
import ee
ee.Initialize(project="of-the-script")
REGION = ee.Geometry.Rectangle([0, 0, 0.01, 0.01])

def start(n):
    ee.batch.Export.image.toDrive(ee.Image(n).toByte(), f"chip_{n}", folder="mine", region=REGION, scale=100).start()

if __name__ == "__main__":
    Pool(2).map(start, range(2))
    table = ee.FeatureCollection([ee.Feature(ee.Geometry.Point(1, 2), {"a": 1})])
    ee.batch.Export.table.toCloudStorage(table, "table", "my-bucket", "tables/one").start()
    one = ee.Image(1).toByte()
    ee.batch.Export.image.toAsset(one, "asset", "projects/p/assets/a", region=REGION, scale=100).start()
"""


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def local_command(script: Path) -> list[str]:
    words = ["run", str(script), "--local", "--executor", "processes:1", "--out", "run"]
    return [sys.executable, "-m", "eechips", *words]


def run_local(script: Path) -> subprocess.CompletedProcess[str]:
    return run_program(*local_command(script), cwd=script.parent, env=ENVIRONMENT, timeout=200)


@pytest.mark.exhaustive
def test_exports_go_to_the_folder_of_a_local_run_and_are_awaited(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = run_local(tmp_path / "script.py")
    assert ended.returncode == 0, ended.stderr
    assert "4 export tasks completed: run/exports" in ended.stderr
    for name in ("drive/mine/chip_0.tif", "drive/mine/chip_1.tif", "buckets/my-bucket/tables/one.csv"):
        assert (tmp_path / "run" / "exports" / name).stat().st_size > 0
    assert (tmp_path / "run" / "exports" / "assets" / "projects" / "p" / "assets" / "a" / "item.json").exists()
    assert open_run(tmp_path / "run").counts == {"done": 2}


KILLED = """
    import os, signal, time
    while os.environ.get("STOP") == "made" and any(task.active() for task in ee.batch.Task.list()):
        time.sleep(0.1)
    if "STOP" in os.environ:
        os.killpg(0, signal.SIGKILL)
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("stop", ["made", "at once"])
def test_exports_of_a_killed_run_are_made_again(tmp_path: Path, stop: str) -> None:
    """The calls that had started them were done, so nothing started those again that ended with the server."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + KILLED)
    environment = {**ENVIRONMENT, "STOP": stop}
    run_program(*local_command(script), cwd=tmp_path, env=environment, status=-signal.SIGKILL, start_new_session=True)
    ended = run_local(script)
    assert ended.returncode == 0, ended.stderr
    assert "4 export tasks completed" in ended.stderr
    exports = tmp_path / "run" / "exports"
    assert {path.name for path in (exports / "drive" / "mine").iterdir()} == {"chip_0.tif", "chip_1.tif"}
    assert (exports / "assets" / "projects" / "p" / "assets" / "a" / "item.json").exists()
    again = run_local(script)
    assert again.returncode == 2
    assert "1 of 2 export tasks failed: asset (" in again.stderr  # those of the script itself: its calls are done


@pytest.mark.exhaustive
def test_a_name_that_two_exports_have_is_no_repetition(tmp_path: Path) -> None:
    """The earlier run may have made one of the two, not both."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + SCRIPT.splitlines()[-1] + "\n")
    for _ in range(2):
        ended = run_local(script)
        assert ended.returncode == 2
        assert "1 of 5 export tasks failed: asset (Cannot overwrite asset" in ended.stderr


@pytest.mark.exhaustive
def test_an_export_that_fails_is_an_error_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import ee\nee.Initialize()\nregion = ee.Geometry.Rectangle([0, 0, 0.01, 0.01])\n"
        "for name, band in (('good', 0), ('bad', 'none')):\n"
        "    image = ee.Image(1).toByte().select([band])\n"
        "    ee.batch.Export.image.toDrive(image, name, region=region, scale=100).start()\n"
    )
    ended = run_local(tmp_path / "script.py")
    assert ended.returncode == 2
    assert "1 of 2 export tasks failed: bad (" in ended.stderr
    assert (tmp_path / "run" / "exports" / "drive" / "good.tif").exists()
    assert not (tmp_path / "run" / "exports" / "assets").exists()


def test_a_script_that_only_starts_exports_has_results_where_the_service_stays(tmp_path: Path) -> None:
    """It was an error without results, with the status of a wrong option, so that users started the exports again."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("Pool(2).map(start, range(2))", "start(0)"))
    options = ("drive", "buckets", "export-assets")
    server = start_server(*(word for name in options for word in (f"--{name}", str(tmp_path / name))))
    try:
        ended = run(script, server, tmp_path)
    finally:
        stop_server(server)
    assert ended.returncode == 0, ended.stderr
    assert "The batch tasks that it has started continue after the run." in ended.stderr
