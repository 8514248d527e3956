"""Runs that are rebuilt from lockfiles: the same files to the byte, by the real client and the local Earth Engine."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eechips
from eechips.commands.fetching import find_command
from eechips.errors import StorageError, UsageError
from eechips.lockfile.rebuild_comparison import Rebuild
from eechips.manifest.run import Run
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from local_tests.support.stack_store import STACK
from tests.lockfile.test_lockfile_format import UNIT, write
from tests.support.changing_images import (
    COLLECTION,
    CRS,
    EDGE,
    Source,
    at,
    files_of,
    members,
    options,
    pixels_of,
    rebuilt,
)
from tests.support.commands import run_command
from tests.support.programs import run_program


def check_changed(source: Source, before: Run, lockfile: Path, out: Path, changed: set[int]) -> Rebuild:
    """Change images at the source, rebuild, and compare what is reported with the files themselves."""
    for number in changed:
        source.pixels[number][0, : EDGE // 2, :] += 1
        source.put(number)
    found = eechips.rebuild(lockfile, out, **options(source.server))
    old, new = files_of(before), files_of(found.run)
    assert old.keys() == new.keys()
    different = {name for name in old if old[name] != new[name]}
    assert different
    assert {each.file for each in found.differences} == different
    assert (found.same, found.files) == (len(old) - len(different), len(old))
    images = dict(zip(before.units["file"], before.units["unit"], strict=True))
    assert {int(images[name]["properties"]["image"]) for name in different} <= changed
    for each in found.differences:
        assert each.difference == "values"
        change = each.change
        assert change is not None
        assert change.share is None
        assert change.largest_share is not None
        exact = (pixels_of(old[each.file]) != pixels_of(new[each.file])).any(axis=0)
        assert change.largest_share >= exact.mean() - 0.03
        left, top, width, height = change.window or (0, 0, 0, 0)
        outside = exact.copy()
        outside[top : top + height, left : left + width] = False
        assert outside.mean() < 0.03
        assert each.bands == ("a",)
        assert [name.rpartition("/")[2] for name in each.sources] == [
            f"image_{images[each.file]['properties']['image']}"
        ]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "per_image"),
    [(8, 2), pytest.param(40, 25, marks=[pytest.mark.slow, pytest.mark.exhaustive, pytest.mark.timeout(900)])],
)
def test_chips_are_the_same_to_the_byte_and_changed_images_are_found(
    images: int, per_image: int, make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(images)
    run = source.sample(per_image, 32, tmp_path / "run", format="tif")
    assert run.counts == {"done": images * per_image}
    lockfile = eechips.lock(run, tmp_path / "chips.lock")
    assert lockfile.stat().st_size < 20_000 + 700 * images * per_image
    Path(source._folder / "places.csv").unlink()  # the lockfile has it
    shutil.move(run.path, tmp_path / "moved")
    before = eechips.open_run(tmp_path / "moved")

    same = eechips.rebuild(lockfile, tmp_path / "same", **options(source.server))
    assert same.is_same
    assert (same.same, same.files, same.differences) == (images * per_image, images * per_image, ())
    assert files_of(same.run) == files_of(before)
    assert same.run.verify() == []

    found = check_changed(source, before, lockfile, tmp_path / "again", {1, 3, 6})
    assert not found.is_same
    with (tmp_path / "again" / "rebuild.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [each.file for each in found.differences]
    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server), status=1)
    count = len(found.differences)
    assert f"{found.same:,} of {found.files:,} files are the same to the byte" in done.stdout
    assert f"{count} files have other values:" in done.stdout
    run_command("rebuild", lockfile, tmp_path / "same", *at(source.server), status=0)


REGIONS = [-105.0, 39.745, -104.985, 39.75]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    slow_except(
        ["images", "composites", "mosaic", "mosaics", "timeseries", "points", "frames", "pictures"],
        "images", "mosaics", "timeseries", "pictures",
    ),
)  # fmt: skip
def test_results_of_every_command_are_the_same_to_the_byte(kind: str, stack_server: Server, tmp_path: Path) -> None:
    import geopandas
    import shapely

    given = options(stack_server, out=tmp_path / "run")
    box = "-105.0,39.735,-104.98,39.749"
    shape = shapely.box(-104.998, 39.74, -104.99, 39.745)
    geopandas.GeoDataFrame({"zone": ["z"]}, geometry=[shape], crs="EPSG:4326").to_file(tmp_path / "zones.gpkg")
    frame = pd.DataFrame({"plot": ["a", "b"], "lon": [-104.995, -104.992], "lat": [39.741, 39.742]})
    frame.to_csv(tmp_path / "plots.csv", index=False)
    if kind == "images":
        run = eechips.images(STACK, roi=box, where="cloud < 20", scale=40, **given)
    elif kind == "composites":
        run = eechips.composites(
            STACK, roi=box, start="2020-01-01", end="2020-05-01", every="2 months", reducer="median", scale=40, **given
        )
    elif kind == "mosaic":
        run = eechips.mosaic(STACK, roi=str(tmp_path / "zones.gpkg"), clip=True, window=64, **given)
    elif kind == "mosaics":
        zones = {"regions": str(tmp_path / "zones.gpkg"), "columns": "id=zone"}
        run = eechips.mosaic(STACK, clip=True, margin=50.0, window=64, **zones, **given)
    elif kind == "timeseries":
        run = eechips.timeseries(STACK, regions=str(tmp_path / "zones.gpkg"), columns="id=zone", **given)
    elif kind == "points":
        run = eechips.points(STACK, frame, each_image=True, **given)
    elif kind == "frames":
        run = eechips.sample(STACK, points=tmp_path / "plots.csv", size=16, start="2020-01-01", end="2020-05-01",
                             frames=2, **given)  # fmt: skip
    else:
        run = eechips.sample(STACK, points=tmp_path / "plots.csv", size=16, format="png", stretch=(0, 9000),
                             bands=["red"], name="{plot}/chip-{id}", **given)  # fmt: skip
    assert run.is_complete
    before = files_of(run)
    assert before
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    units, assets = members(lockfile, "units.jsonl"), members(lockfile, "assets.jsonl")
    assert len({each["expression"] for each in units}) == len(units)
    assert None not in {each["expression"] for each in units}
    named = {source for each in units for file in each["files"] for source in file.get("sources", ())}
    assert {each["id"] for each in assets} == (named or {STACK})
    assert all("version" in each for each in assets if each["id"] in named)
    for name in ("zones.gpkg", "plots.csv"):
        (tmp_path / name).unlink()
    shutil.move(run.path, tmp_path / "moved")
    found = eechips.rebuild(lockfile, tmp_path / "again", **options(stack_server))
    assert found.is_same, found.differences
    assert (found.replaced, found.other_expressions) == ((), 0)
    assert files_of(found.run) == before


@pytest.mark.exhaustive
def test_units_with_several_files_and_a_changed_layer(
    make_source: Callable[[int], Source], tmp_path: Path, stack: Any
) -> None:
    source = make_source(2)
    places = source.points(2, 16)
    run = eechips.sample(
        [COLLECTION, f"{COLLECTION}/image_0"], points=places, size=16, out=tmp_path / "run", **options(source.server)
    )
    assert len(run.layers) == 8
    assert rebuilt(run, tmp_path, source.server).is_same
    source.pixels[0][:] = 7
    source.put(0)
    found = eechips.rebuild(tmp_path / "a.lock", tmp_path / "changed", **options(source.server))
    old, new = files_of(run), files_of(found.run)
    assert {each.file for each in found.differences} == {name for name in old if old[name] != new[name]}
    layers = set(run.layers.index.get_level_values("layer"))
    assert len(layers) == 2
    assert {each.layer for each in found.differences} <= layers
    assert {each.layer for each in found.differences}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_results_without_data_are_compared(make_source: Callable[[int], Source], tmp_path: Path) -> None:
    source = make_source(2)
    places = pd.read_csv(source.points(2, 16))
    far = pd.DataFrame({"lon": [-100.0], "lat": [30.0], "image": [-1]})
    pd.concat([places, far]).to_csv(tmp_path / "places.csv", index=False)
    for on_empty in ("keep", "skip"):
        out = tmp_path / on_empty
        run = eechips.sample(
            COLLECTION, points=tmp_path / "places.csv", size=16, crs=CRS, scale=10, out=out, on_empty=on_empty,
            **options(source.server),
        )  # fmt: skip
        assert run.counts == {"done": 4, "empty": 1}
        lockfile = eechips.lock(run, tmp_path / f"{on_empty}.lock")
        found = eechips.rebuild(lockfile, tmp_path / f"{on_empty}-again", **options(source.server))
        assert found.is_same
        assert (found.same, found.empty) == ((5, 0) if on_empty == "keep" else (4, 1))


@pytest.mark.exhaustive
@pytest.mark.parametrize("on_empty", ["skip", "redraw"])
def test_places_without_all_frames_are_compared(on_empty: str, stack_server: Server, tmp_path: Path) -> None:
    places: dict[str, Any] = {"total": 3, "roi": "-105.0,39.735,-104.98,39.749"}
    if on_empty == "skip":
        pd.DataFrame({"lon": [-104.995, -100.0], "lat": [39.741, 30.0]}).to_csv(tmp_path / "places.csv", index=False)
        places = {"points": tmp_path / "places.csv", "crs": CRS, "scale": 10}
    run = eechips.sample(
        STACK, size=8, start="2020-01-01", end="2020-05-01", frames=2, on_empty=on_empty, out=tmp_path / "run",
        **places, **options(stack_server),
    )  # fmt: skip
    assert run.counts == ({"done": 1, "empty": 1} if on_empty == "skip" else {"done": 3})
    assert eechips.verify(run, refetch=1) == []
    found = eechips.rebuild(eechips.lock(run, tmp_path / "a.lock"), tmp_path / "again", **options(stack_server))
    assert found.is_same, found.differences
    assert files_of(found.run) == files_of(run)
    assert found.run.counts == run.counts


@pytest.mark.slow
def test_units_that_this_version_requests_by_another_expression_are_counted(
    make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    units = members(lockfile, "units.jsonl")
    units[2]["expression"] = "0" * 64
    with zipfile.ZipFile(lockfile) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["units.jsonl"] = "".join(f"{json.dumps(each)}\n" for each in units).encode()
    with zipfile.ZipFile(lockfile, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server), status=0)
    assert "1 unit: this version of eechips requests another expression" in done.stdout


RECIPE = """
from pathlib import Path
from eechips import Table

NEEDS_SERVICE = False

def get_requests(count=3):
    return [{"n": n} for n in range(count)]

def get_result(index, unit, count=3):
    return Table([{"index": index, "n": unit["n"], "count": count}])
"""


def test_a_recipe_is_in_the_lockfile_and_is_executed_for_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    service = ("--executor", "threads", "-q")
    run_command("run", "recipe.py", "-p", "count=4", "--out", "run", *service, status=0)
    run_command("lock", "run", "-o", "r.lock", "-q", status=0)
    Path("recipe.py").unlink()
    done = run_command("rebuild", "r.lock", "again", "--executor", "threads", "-q", status=0)
    assert "4 of 4 files are the same to the byte, in again" in done.stdout
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "another user's"))
    run_command("rebuild", "r.lock", "third", "--executor", "threads", "-q", status=2)
    run_command("rebuild", "r.lock", "third", "--executor", "threads", "-q", "--trust", status=0)


@pytest.mark.slow
def test_a_rebuilt_run_is_retried_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = RECIPE.replace("    return Table", "    if Path('bad').exists(): raise ValueError('bad')\n    return Table")
    (tmp_path / "recipe.py").write_text(text)
    lockfile = eechips.lock(eechips.run("recipe.py", out="run"), "a.lock")
    Path("bad").touch()
    done = run_command("rebuild", lockfile, "again", "-q")
    assert (done.exit_code, eechips.open_run("again").counts) == (1, {"failed_permanent": 3}), done.output
    Path("bad").unlink()
    assert eechips.retry("again").counts == {"done": 3}


def test_a_rebuild_takes_no_file_of_another_run_for_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    words = ("--executor", "threads", "-q", "--name", "{n}")
    run_command("run", "recipe.py", "--out", "run", *words, status=0)
    run_command("run", "recipe.py", "-p", "count=4", "--out", "other", *words, status=0)
    run_command("lock", "run", "-o", "r.lock", "-q", status=0)
    run_command("rebuild", "r.lock", "again", "--executor", "threads", "-q", status=0)
    shutil.copy2("other/1.csv", "again/1.csv")  # of the same name and size
    done = run_command("rebuild", "r.lock", "again", "--executor", "threads", "-q", status=0)
    assert "1.csv is not what this run wrote for unit" in done.stderr
    assert "3 of 3 files are the same to the byte" in done.stdout
    assert Path("again/1.csv").read_bytes() == Path("run/1.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [{}, {"kind": "point", "coordinates": [0, 0], "grid": {"crs": "EPSG:4326", "width": 0}}, {"kind": 5}]
)
def test_units_that_the_command_does_not_plan_are_refused(
    unit: dict[str, Any], stack_server: Server, tmp_path: Path
) -> None:
    chosen = {"dataset": STACK, "total": 1, "size": 16}
    recipe, _ = find_command("sample").make(chosen)
    header = {"options": chosen, "identity": recipe.identity, "source": stack_server.url}
    path = write(tmp_path / "a.lock", header, [{**UNIT, "unit": unit}])
    with pytest.raises(UsageError, match="its command does not plan its units"):
        eechips.rebuild(path, tmp_path / "out", **options(stack_server))


@pytest.mark.slow
def test_a_folder_with_another_run_is_refused(tmp_path: Path, stack_server: Server) -> None:
    pd.DataFrame({"lon": [-104.995], "lat": [39.741]}).to_csv(tmp_path / "plots.csv", index=False)
    run = eechips.sample(STACK, points=tmp_path / "plots.csv", size=16, out=tmp_path / "run", **options(stack_server))
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and ".eechips" not in path.name}
    with pytest.raises(UsageError, match="holds another run"):
        eechips.rebuild(lockfile, run.path, **options(stack_server))
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(UsageError, match="decided by the lockfile"):
        eechips.rebuild(lockfile, tmp_path / "x", **options(stack_server), name="{id}")
    lockfile.write_bytes(lockfile.read_bytes().replace(b"units.jsonl", b"units.json_"))
    with pytest.raises(StorageError, match="is not a lockfile"):
        eechips.rebuild(lockfile, tmp_path / "x", **options(stack_server))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_of_the_demo_planet_is_rebuilt_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["sample", "--dataset", "NAIP", "--total", "3", "--roi=-105.1,40.0,-104.9,40.2", "--size", "32"]
    run_command(*words, "--local", "--out", "run", "-q", status=0)
    run_command("lock", "run", "-q", status=0)
    told = run_command("rebuild", "chips.lock", "again", status=0).stderr
    assert told.count("Starting the local Earth Engine…") == 1
    assert told.count("Starting the local Earth Engine, to look up versions of assets…") == 1
    assert files_of(eechips.open_run("again")) == files_of(eechips.open_run("run"))


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_rebuild_resumes(make_source: Callable[[int], Source], tmp_path: Path) -> None:
    source = make_source(8)
    run = source.sample(15, 16, tmp_path / "run", share_requests=False)
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    words = [sys.executable, "-m", "eechips", "rebuild", str(lockfile), str(tmp_path / "again"), "--endpoint",
             source.server.url, "--project", "local", "--executor", "processes:2", "--method", "pixels"]  # fmt: skip
    kills = 0
    for most in (0, 20, 60):
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None:
            if len(list((tmp_path / "again" / "chips").glob("*.tif"))) > most:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
        process.wait()
    assert kills >= 1
    done = run_program(*words, status=0)
    assert "120 of 120 files are the same to the byte" in done.stdout
    assert files_of(eechips.open_run(tmp_path / "again")) == files_of(run)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_faults_of_the_service_change_nothing(make_source: Callable[[int], Source], tmp_path: Path) -> None:
    from urllib.request import Request, urlopen

    source = make_source(2)
    run = source.sample(5, 16, tmp_path / "run")
    faults = {
        "seed": 1,
        "faults": [
            {"type": "status", "status": 503, "times": 3},
            {"type": "truncate-silently", "times": 3, "on": "*Pixels"},
        ],
    }
    body = json.dumps(faults).encode()
    with urlopen(Request(f"{source.server.url}/_faults", body, {"Content-Type": "application/json"})):
        pass
    found = rebuilt(run, tmp_path, source.server, share_requests=False)
    assert found.is_same
    assert found.run.units["attempts"].max() >= 1


def test_a_run_whose_recipe_has_changed_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lockfile would have code that did not make the run, and could not be rebuilt."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    run_command("run", "recipe.py", "--out", "run", "--executor", "threads", "-q", status=0)
    Path("recipe.py").write_text(RECIPE + "\nopen('executed', 'w').close()\n")
    done = run_command("lock", "run", "-o", "r.lock", "-q", status=2)
    assert "recipe.py has changed since the run" in done.stderr
    assert not Path("r.lock").exists()
    assert not Path("executed").exists()
    Path("recipe.py").write_text(RECIPE + "\n# the same\n")
    run_command("lock", "run", "-o", "r.lock", "-q", status=0)
