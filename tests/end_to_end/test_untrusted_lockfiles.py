"""Lockfiles and run files of strangers: what they cannot do, and what they decide."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import eechips
from local_tests.support.local_earth_engine import Server
from tests.support.strangers import (
    CODE,
    HARMLESS,
    HOSTILE,
    LOCKFILE,
    QUOTA,
    READ,
    REQUEST,
    RUN_FILE,
    SEND,
    WRITE,
    WRONG,
    World,
    cell,
)

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")]


def lockfile(path: Path, *, recipe: str | None = None, units: Any = None, **header: Any) -> Path:
    """A lockfile that nobody has signed."""
    import hashlib

    from tests.lockfile.test_lockfile_format import write

    if recipe is None:
        return write(path, header, units)
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    locked = {"option": "path", "path": "evil.py", "name": "evil.py", "sha256": digest}
    of_recipe = {"command": "run", "options": {"path": "evil.py"}, "inputs": [locked], "source": ""}
    return write(path, {**of_recipe, **header}, units, **{f"inputs/{digest}": recipe.encode()})


@cell(LOCKFILE, CODE)
def test_a_lockfile_runs_no_code(world: World, run: Path) -> None:
    locked = lockfile(world.at / "a.lock", recipe=HOSTILE + HARMLESS)
    world.refused("its recipe executes code", "rebuild", locked, "again")
    world.refused("names the command 'retry'", "rebuild", lockfile(world.at / "b.lock", command="retry"), "again")
    for options in ({"executor": "beam"}, {"pipeline_options": ["--setup_file=x"]}, {"save": "x.toml"}, {"new": 1}):
        path = lockfile(world.at / "c.lock", options={"dataset": "NAIP", "total": 1, **options})
        world.refused("its options set more than data", "rebuild", path, "again")


@pytest.mark.parametrize("member", ["lock.json", "units.jsonl", "assets.jsonl"])
@cell(LOCKFILE, CODE)
def test_a_signed_lockfile_is_valid_as_a_whole_only(member: str, world: World) -> None:
    """With units of a stranger, the user's own recipe would do what the stranger wants."""
    words = ("--executor", "threads", "-q")
    assert world.eechips("run", "recipe.py", "--out", "own", *words)[0] == 0
    assert world.eechips("lock", "own", "-o", "own.lock", "--no-versions")[0] == 0
    with zipfile.ZipFile("own.lock") as signed, zipfile.ZipFile("other.lock", "w") as changed:
        for name in signed.namelist():
            data = signed.read(name)
            if name == member == "lock.json":
                data = data.replace(b'"left_out": 0', b'"left_out": 1')
            changed.writestr(name, data + (b"\n" if name == member and name != "lock.json" else b""))
    world.refused("its recipe executes code", "rebuild", "other.lock", "again")
    assert world.eechips("rebuild", "own.lock", "again", *words[:-1])[0] == 0


@cell(LOCKFILE, READ, WRITE)
def test_a_lockfile_leads_to_no_file(world: World) -> None:
    for path in (str(world.outside.folder / "secret.geojson"), "../outside/secret.geojson", "~/x", "recipe.py"):
        found = lockfile(world.at / "a.lock", options={"dataset": "NAIP", "roi": path})
        world.refused("its options set more than data: --roi", "rebuild", found, "again")
    for options in ({"out": "../outside/new"}, {"quota_folder": str(world.outside.folder)}, {"ledger": "../outside"}):
        found = lockfile(world.at / "a.lock", options={"dataset": "NAIP", "total": 1, **options})
        world.refused("its options set more than data", "rebuild", found, "again")
    unit = {"position": 0, "id": "b" * 64, "unit": {}, "name": "../../outside/new", "state": "done", "finished": None,
            "expression": None, "files": []}  # fmt: skip
    found = lockfile(world.at / "a.lock", units=[unit], files=0)
    assert world.eechips("rebuild", found, "again", "--local")[0] == 2


@cell(LOCKFILE, SEND, REQUEST)
def test_a_lockfile_names_no_server_and_no_credentials(world: World) -> None:
    url = world.listener.url
    for options in ({"endpoint": url, "send_credentials": True}, {"credentials": "key.json"}, {"project": "theirs"}):
        found = lockfile(world.at / "a.lock", options={"dataset": "NAIP", "total": 1, **options})
        world.refused("its options set more than data", "rebuild", found, "again")
    world.refused("name it, or another", "rebuild", lockfile(world.at / "b.lock", source=url), "again")
    found = lockfile(world.at / "c.lock", options={"dataset": "NAIP", "roi": f"{url}/region.geojson"})
    world.refused("its options set more than data: --roi", "rebuild", found, "again")
    scenes = lockfile(world.at / "d.lock", command="scenes", options={"stac": url})
    world.refused("names the command 'scenes'", "rebuild", scenes, "again")


@cell(LOCKFILE, QUOTA, WRONG, can=True)
@pytest.mark.slow
def test_a_lockfile_decides_which_data_are_fetched(world: World, demo_server: Server) -> None:
    world.be("them")
    service: dict[str, Any] = {"endpoint": demo_server.url, "project": "local", "executor": "threads", "quiet": True}
    options: dict[str, Any] = {"total": 2, "roi": "-105.1,39.7,-105.0,39.8", "size": 16, "format": "tif"}
    eechips.lock(eechips.sample("NAIP", out="theirs", **options, **service), "a.lock", versions=False)
    world.be("me")
    assert eechips.rebuild("a.lock", "again", **service).is_same


RUN_FILES: dict[str, tuple[str, ...]] = {
    CODE: ('[run]\nrecipe = "evil.py"', '[sample]\ndataset = "NAIP"\nexecutor = "beam"', '[retry]\nfolder = "."'),
    READ: (
        '[sample]\ndataset = "NAIP"\nroi = "../outside/secret.geojson"',
        '[sample]\ndataset = "NAIP"\npoints = "{outside}/secret.csv"',
        '[sample]\ndataset = "NAIP"\nlocal = "{outside}"',
        '[check]\nfolder = "{outside}"',
    ),
    WRITE: (
        '[sample]\ndataset = "NAIP"\ntotal = 1\nout = "{outside}/new"',
        '[sample]\ndataset = "NAIP"\ntotal = 1\nquota_folder = "{outside}"',
        '[pack]\nfolder = "."\nout = "{outside}/new"',
    ),
    SEND: (
        '[sample]\ndataset = "NAIP"\ntotal = 1\nendpoint = "{url}"\nsend_credentials = true',
        '[sample]\ndataset = "NAIP"\ntotal = 1\ncredentials = "{outside}/key.json"',
        '[scenes]\nstac = "{url}"\nauth = "bearer"\nauth_host = ["127.0.0.1"]',
    ),
    REQUEST: ('[scenes]\nstac = "{url}"', '[sample]\ndataset = "NAIP"\ntotal = 1\nroi = "{url}/x.geojson"'),
}


@pytest.mark.parametrize("deed", RUN_FILES)
@cell(RUN_FILE, CODE, READ, WRITE, SEND, REQUEST)
def test_a_run_file_in_a_received_folder_sets_data_only(deed: str, world: World, run: Path) -> None:
    for text in RUN_FILES[deed]:
        text = text.replace("{outside}", str(world.outside.folder)).replace("{url}", world.listener.url)
        (run / "job.toml").write_text(text)
        world.refused("lies in the folder of another user's run, and sets more than data", "run", run / "job.toml")
        world.refused("sets more than data", "submit", run / "job.toml", "--slurm", "--to", "job")


@cell(RUN_FILE, QUOTA, WRONG, can=True)
@pytest.mark.slow
def test_a_run_file_in_a_received_folder_decides_which_data_are_fetched(
    world: World, run: Path, demo_server: Server
) -> None:
    (run / "job.toml").write_text(
        '[sample]\ndataset = "NAIP"\ntotal = 1\nroi = [-105.1, 39.7, -105.0, 39.8]\nsize = 16\n'
    )
    own = ("--endpoint", demo_server.url, "--project", "local", "--executor", "threads", "-q", "--dry-run")
    status, said = world.eechips("run", run / "job.toml", *own)
    assert (status, "units 1" in said) == (0, True), said
