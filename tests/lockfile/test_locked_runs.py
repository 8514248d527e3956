"""Runs that are locked, or cannot be: what a lockfile holds, and what it replaces."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eechips
from eechips.errors import EechipsError, UsageError
from local_tests.support.local_earth_engine import Host, Server
from local_tests.support.stack_store import STACK
from tests.support.changing_images import Source, files_of, members, options, rebuilt
from tests.support.commands import run_command
from tests.support.scene_runs import catalogue
from tests.support.scene_runs import fetch as fetch_scenes
from tests.support.scene_runs import items as scene_items
from tests.support.scene_runs import write as write_scene
from tests.support.scene_servers import FileServer


@pytest.mark.slow
def test_results_in_an_object_store_are_locked(stack_server: Server, tmp_path: Path) -> None:
    pd.DataFrame({"lon": [-104.995, -104.992], "lat": [39.741, 39.742]}).to_csv(tmp_path / "plots.csv", index=False)
    run = eechips.sample(
        STACK, points=tmp_path / "plots.csv", size=16, out=f"file://{tmp_path}/objects", ledger=tmp_path / "ledger",
        **options(stack_server),
    )  # fmt: skip
    assert run.address is not None
    found = rebuilt(run, tmp_path, stack_server)
    assert found.is_same
    assert found.files == 2
    for name, data in files_of(found.run).items():
        assert (tmp_path / "objects" / name).read_bytes() == data


@pytest.mark.slow
def test_a_run_is_locked_with_another_endpoint_than_its_own(
    make_source: Callable[[int], Source], host: Host, tmp_path: Path
) -> None:
    source = make_source(1)
    run = source.sample(1, 16, tmp_path / "run")
    host.stop(source.server)
    source.start()
    with pytest.raises(EechipsError):
        eechips.lock(run, tmp_path / "a.lock")
    lockfile = eechips.lock(run, tmp_path / "a.lock", endpoint=source.server.url, project="local")
    assert len(members(lockfile, "assets.jsonl")) == 1


@pytest.mark.slow
def test_runs_that_cannot_be_locked_say_why(tmp_path: Path, stack_server: Server, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(
        "from multiprocessing import Pool\ndef work(n):\n    with open(f'{n}.txt', 'w') as file:\n"
        "        file.write('x')\n"
        "if __name__ == '__main__':\n    with Pool(2) as pool:\n        pool.map(work, [1, 2])\n"
    )
    service = ("--endpoint", stack_server.url, "--executor", "threads", "-q")
    run_command("run", "script.py", "--out", "script", *service, status=0)
    refusal = run_command("lock", "script").stderr
    assert "a script made it" in refusal
    assert "Write a recipe of two functions" in refusal
    assert "eechips verify script" in refusal
    pd.DataFrame({"lon": [-104.995], "lat": [39.741]}).to_csv("plots.csv", index=False)
    run = eechips.sample(STACK, points="plots.csv", size=16, out="chips", **options(stack_server))
    (file,) = (run.path / name for name in run.units["file"])
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    assert "has changed since it was recorded" in run_command("lock", "chips").stderr
    file.unlink()
    assert "No such file" in run_command("lock", "chips").stderr
    file.write_bytes(whole)
    info = json.loads(Path("chips/run.json").read_text())
    Path("chips/run.json").write_text(json.dumps({**info, "call": None}))
    refusal = run_command("lock", "chips").stderr
    assert "has no command that makes it again" in refusal
    assert "Put the functions into a file" in refusal
    Path("chips/run.json").write_text(json.dumps({**info, "call": {**info["call"], "x": 1}}))
    assert "eechips trust chips" in run_command("lock", "chips").stderr  # it names a file, and was changed
    assert not list(tmp_path.glob("*.lock"))


def test_scenes_cannot_be_locked(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    write_scene(folder / "a.tif", 1)
    with FileServer(folder) as files:
        run = fetch_scenes(catalogue(tmp_path, scene_items(files)), tmp_path / "run")
        with pytest.raises(UsageError, match=r"do not come from Earth Engine.*items\.parquet.*eechips verify"):
            eechips.lock(run, tmp_path / "a.lock")
    assert (tmp_path / "run" / "items.parquet").exists()


@pytest.mark.slow
def test_a_lockfile_holds_no_project_credentials_or_folders(tmp_path: Path, stack_server: Server) -> None:
    pd.DataFrame({"lon": [-104.995], "lat": [39.741]}).to_csv(tmp_path / "plots.csv", index=False)
    run = eechips.sample(
        STACK, points=tmp_path / "plots.csv", size=16, out=tmp_path / "run", **options(stack_server, project="mine-1")
    )
    with zipfile.ZipFile(eechips.lock(run, tmp_path / "a.lock")) as archive:
        text = archive.read("lock.json").decode() + archive.read("units.jsonl").decode()
    assert "mine-1" not in text
    header = json.loads(zipfile.ZipFile(tmp_path / "a.lock").read("lock.json"))
    assert header["datasets"] == [{"id": STACK}]
    assert header["versions"]["eechips"] == eechips.__version__
    assert header["options"] == {"dataset": STACK, "points": str(tmp_path / "plots.csv"), "size": 16}


@pytest.mark.slow
def test_a_lockfile_replaces_only_an_earlier_one_of_the_same_run(tmp_path: Path, stack_server: Server) -> None:
    pd.DataFrame({"lon": [-104.995], "lat": [39.741]}).to_csv(tmp_path / "point.csv", index=False)
    place = {"points": tmp_path / "point.csv", **options(stack_server)}
    runs = [eechips.sample(STACK, size=size, out=tmp_path / str(size), **place) for size in (16, 24)]
    lockfile = eechips.lock(runs[0], tmp_path / "a.lock")
    before = lockfile.read_bytes()
    assert eechips.lock(runs[0], lockfile).read_bytes() == before
    with pytest.raises(UsageError, match=r"a\.lock is the lockfile of another run \(sample, of \d{4}-\d\d-\d\d\)"):
        eechips.lock(runs[1], lockfile)
    assert lockfile.read_bytes() == before
    table = tmp_path / "plots.csv"
    table.write_text("id,lon,lat\n")
    done = run_command("lock", runs[1].path, "-o", table, status=2)
    assert "plots.csv is not a lockfile and is not replaced: choose another --out" in done.output
    assert table.read_text() == "id,lon,lat\n"


@pytest.mark.slow
def test_a_run_that_somebody_has_changed_is_locked_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(
        "from eechips import Table\nNEEDS_SERVICE = False\ndef get_requests():\n    return [1]\n"
        "def get_result(index, unit):\n    return Table([{'value': unit}])\n"
    )
    run_command("run", "recipe.py", "--out", "run", "--executor", "threads", "-q", status=0)
    info = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**info, "call": {"command": "run"}}))
    assert "has no command that makes it again" in run_command("lock", "run").stderr
    long = {"command": "sample", "options": {"dataset": "NAIP", "total": 1, "roi": "x" * 5000}}
    Path("run/run.json").write_text(json.dumps({**info, "call": long}))
    run_command("lock", "run", "-o", "long.lock", status=0)
    Path("run/run.json").write_text(json.dumps(info))
    with closing(sqlite3.connect("run/manifest.sqlite")) as ledger, ledger:
        ledger.execute("INSERT OR REPLACE INTO meta VALUES ('assembled', '5')")
    assert "manifest.sqlite is damaged: assembled is 5" in run_command("lock", "run").stderr
