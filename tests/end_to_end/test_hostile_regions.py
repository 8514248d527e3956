"""Vector files of strangers in the options of commands, and in run folders that `check` and `report` read."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely

from eechips.files.hashes import hash_file
from eechips.geo import vectors
from eechips.geo.untrusted_vectors import read_layer
from eechips.manifest.region_file import find_region_file, read_region_file
from eechips.manifest.run import INFO_NAME
from eechips.manifest.run_signature import FOLDER, SIGNATURE, sign_run, signed_folder
from eechips.reports.region_outlines import region_rings
from local_tests.support.captured_log import CapturedLog
from tests.support.commands import run_command
from tests.support.finished_run import pictures, write_run
from tests.support.hostile_files import SECRET, Trap, geojson, set_trap
from tests.support.hostile_vectors import HOSTILE, LIMITS

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads"),
    pytest.mark.filterwarnings("ignore"),
]

# Rows without a geometry are read, as places without coordinates.
REFUSED = [name for name, (_, expected) in HOSTILE.items() if isinstance(expected, str) and expected != "no geometry"]
SOME = ["vrt named geojson", "zipped vrt", "wfs", "crs is a link", "layer is a view", "parquet crs names a file"]

COMMANDS = {
    "regions": "timeseries --dataset MODIS_LST --start 2019-06-01 --end 2019-06-20 --regions",
    "points": "points --dataset DEM --points",
    "cells": "sample --dataset NAIP --cells",
    "roi": "sample --dataset NAIP --total 1 --roi",
    "images": "images --dataset S2 --start 2020-06-01 --end 2020-06-05 --regions",
}


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    monkeypatch.setattr(vectors, "read_layer", functools.partial(read_layer, limits=LIMITS))
    monkeypatch.chdir(tmp_path)
    with set_trap(tmp_path) as found:
        yield found


def check_refusal(trap: Trap, output: str, status: int) -> None:
    assert status == 2, output
    assert SECRET not in output
    assert "Traceback" not in output
    assert "bug" not in output
    assert trap.is_untouched()


def refuse(trap: Trap, option: str, name: str) -> None:
    path = HOSTILE[name][0](trap.place)
    trap.watched.touched()
    found = run_command(*COMMANDS[option].split(), path, "--local", "--out", "out")
    check_refusal(trap, found.output, found.exit_code)
    assert "Starting" not in found.output or not path.is_file()  # other texts name tables of Earth Engine
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("option", "name"), list(zip(["regions", "points", "cells", "roi", "images"] * 2, SOME, strict=False))
)
def test_a_command_refuses_a_hostile_file(option: str, name: str, trap: Trap) -> None:
    refuse(trap, option, name)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["regions", "points"])
@pytest.mark.parametrize("name", REFUSED)
def test_commands_refuse_every_hostile_file(option: str, name: str, trap: Trap) -> None:
    refuse(trap, option, name)


def received(folder: Path, roi: Path | str, sha256: str, **more: Any) -> Path:
    """Make the run folder of a stranger, whose run.json names a file of a region."""
    write_run(folder, pictures(2), command="eechips sample --dataset NAIP", endpoint="http://127.0.0.1:1", project="p")
    path = folder / INFO_NAME
    info = json.loads(path.read_text())
    info["parameters"] = {**(info.get("parameters") or {}), "roi": str(roi), "roi_sha256": sha256, **more}
    path.write_text(json.dumps(info))
    return folder


def look_at(trap: Trap, run: Path) -> str:
    """Check and report a run; return what was said."""
    said = ""
    for verb in ("check", "report"):
        found = run_command(verb, run)
        assert found.exit_code in (0, 1), found.output
        assert "Traceback" not in found.output
        said += found.output
    assert SECRET not in said
    assert all(SECRET not in path.read_text(errors="replace") for path in run.glob("*.html"))
    assert trap.is_untouched()
    return said


def see(trap: Trap, name: str) -> None:
    path = HOSTILE[name][0](trap.place)
    if not path.is_file():
        pytest.skip("no file")
    run = received(trap.place.folder, path.name, hash_file(path))
    trap.watched.touched()
    look_at(trap, run)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SOME[:2], "shapefile whose table is a link"])
def test_check_and_report_leave_out_a_hostile_region(name: str, trap: Trap) -> None:
    see(trap, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_check_and_report_survive_every_hostile_region(name: str, trap: Trap) -> None:
    see(trap, name)


@pytest.mark.parametrize("option", ["roi", "regions"])
@pytest.mark.parametrize("form", ["absolute", "relative", "link", "directory", "directory and parent"])
def test_a_stranger_s_run_names_no_file_outside_its_folder(form: str, option: str, trap: Trap) -> None:
    canary, folder = trap.place.canary, trap.place.folder
    sha256 = hash_file(canary)
    directory: dict[str, Any] = {}
    name = str(canary)
    if form == "relative":
        name = "../outside/canary.geojson"
    elif form == "link":
        (folder / "a.geojson").symlink_to(canary)
        name = "a.geojson"
    elif form.startswith("directory"):
        name = canary.name if form == "directory" else f"../outside/{canary.name}"
        directory = {"directory": str(trap.place.outside)}
    trap.watched.touched()
    info = {"parameters": {option: name, f"{option}_sha256": sha256}, **directory}
    assert find_region_file(folder, info) is None
    assert read_region_file(folder, info) is None
    assert trap.is_untouched()


@pytest.mark.slow
def test_an_own_run_names_its_file_by_its_directory(tmp_path: Path, caplog: CapturedLog) -> None:
    run, path = tmp_path / "run", tmp_path / "a.geojson"
    run.mkdir()
    path.write_text(geojson())
    info: dict[str, Any] = {
        "command": "eechips sample", "directory": str(tmp_path), FOLDER: signed_folder(run),
        "parameters": {"roi": "a.geojson", "roi_sha256": hash_file(path)},
    }  # fmt: skip
    assert find_region_file(run, info) is None
    info[SIGNATURE] = sign_run(info)
    assert find_region_file(run, info) == path
    region = read_region_file(run, info)
    assert region is not None
    assert region.equals(shapely.geometry.shape(json.loads(geojson())["features"][0]["geometry"]))
    path.write_text(geojson() + " ")
    assert find_region_file(run, info) is None
    assert region_rings(run, info) == []
    assert "The outlines of a.geojson are left out: it is not there any more, or has changed" in caplog.text
    assert region_rings(run, {**info, SIGNATURE: "0"}) == []  # as with another cache folder
    assert f"the run lacks the signature of your key: `eechips trust {run}` signs it" in caplog.text
