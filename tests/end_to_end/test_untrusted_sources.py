"""What others can do: every cell of the table in docs/explanation/security.md is tried, with real files and commands.

A folder outside is watched by the kernel, a server on loopback counts requests and the secrets in them, and a recipe of
a stranger leaves a mark when it is executed. After each test none of them may have seen anything.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import eechips
from eechips.manifest.reserved_names import OUTCOMES_FOLDER
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from local_tests.support.local_earth_engine import Server
from tests.docs.pages import read_page, read_table
from tests.end_to_end import test_untrusted_lines, test_untrusted_lockfiles
from tests.support.strangers import (
    CODE,
    DATA_FILE,
    DEEDS,
    FOLDER,
    OUTCOME,
    PLACES,
    QUOTA,
    READ,
    RECIPE_BESIDE,
    REQUEST,
    SECRET,
    SEND,
    WORKER,
    WRITE,
    WRONG,
    World,
    cell,
    edit,
    reopen,
)

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")]


def test_the_world_notices_what_a_program_does(world: World) -> None:
    assert world.eechips("run", "evil.py", "--executor", "threads", "-q")[0] == 0
    seen = " ".join(world.seen())
    assert all(text in seen for text in ("code was executed", "outside secret.csv", "outside new.txt", SECRET))


READING = ("status", "verify", "failures", "report", "check", "card", "lock")


@cell(FOLDER, CODE)
def test_a_run_folder_runs_no_code(world: World, run: Path) -> None:
    reopen(run)
    for command in (
        "eechips run evil.py",
        "eechips rebuild evil.lock x --trust",
        "eechips sample --dataset NAIP --total 1 --ledger x",
    ):
        edit(run, command=command)
        world.refused("was not executed: read it", "retry", run)
    for command in ("eechips serve --record", "eechips trust . --yes", "rm -rf ."):
        edit(run, command=command)
        assert world.eechips("retry", run, "--trust")[0] == 2
    edit(run, command="eechips run evil.py")
    world.refused("sets more than data (RECIPE)", "init", "saved.toml", "--from", run)
    assert not (world.at / "saved.toml").exists()
    for verb in READING:
        world.eechips(verb, run)


@cell(FOLDER, CODE, READ)
def test_a_signed_run_json_is_valid_in_its_folder_and_for_its_recipe_only(world: World, run: Path) -> None:
    words = ("--executor", "threads", "-q")
    assert world.eechips("run", "recipe.py", "--out", "own/run", *words)[0] == 0
    shutil.copy("own/run/run.json", run / "run.json")  # another run, of the same folder name
    reopen(run)
    world.refused("was not executed: read it", "retry", run)
    world.refused("the run was made in another folder", "retry", run)
    reopen(world.at / "own" / "run")
    assert world.eechips("retry", "own/run")[0] == 0  # as it is
    reopen(world.at / "own" / "run")
    shutil.copy("evil.py", "recipe.py")
    world.refused("was not executed: read it", "retry", "own/run")
    world.refused("its recipe has changed since the run was made", "retry", "own/run")


@cell(FOLDER, READ, WRITE)
def test_a_run_folder_leads_to_no_file_outside(world: World, run: Path) -> None:
    call = {"command": "sample", "options": {"dataset": "NAIP", "roi": str(world.outside.folder / "secret.geojson")}}
    edit(run, call=call, command=f"eechips sample --dataset NAIP --ledger {world.outside.folder / 'new'}")
    for verb in (*READING, "retry"):
        world.eechips(verb, run)
    with closing(sqlite3.connect(run / LEDGER_NAME)) as ledger, ledger:
        ledger.execute("UPDATE units SET file = '../../outside/secret.csv' WHERE position = 0")
    for verb in (*READING, "retry"):
        assert world.eechips(verb, run)[0] == 2


@pytest.mark.slow
@cell(FOLDER, SEND, REQUEST, QUOTA)
def test_a_run_folder_sends_no_request(world: World, run: Path) -> None:
    edit(run, endpoint=world.listener.url, project="theirs", source=world.listener.url)
    for verb in READING:
        world.eechips(verb, run)
    for roi in (str(world.outside.folder / "secret.geojson"), "../outside/secret.geojson", "wfs.geojson"):
        edit(run, parameters={"roi": roi}, directory=str(world.at))
        Path("wfs.geojson").write_text(f"<OGRWFSDataSource><URL>{world.listener.url}</URL></OGRWFSDataSource>")
        for verb in ("report", "check", "card"):
            world.eechips(verb, run)
    reopen(run)
    command = f"eechips sample --dataset NAIP --endpoint {world.listener.url} --send-credentials"
    edit(run, command=command, endpoint=world.listener.url)
    world.refused("was not executed: read it", "retry", run)
    address = "s3://theirs/results"
    edit(run, results=address)
    with closing(sqlite3.connect(run / LEDGER_NAME)) as ledger, ledger:
        ledger.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('results', ?)", (json.dumps(address),))
    world.refused("eechips trust", "verify", run)


@cell(FOLDER, CODE)
def test_finishing_a_received_run_does_not_sign_its_command(world: World, run: Path) -> None:
    """The user types a command of their own in a folder whose results are all there; its run.json stays another's."""
    edit(run, command="eechips run evil.py", directory=str(world.at))
    (run / "manifest.parquet").unlink()
    words = ("--executor", "threads", "-q")
    assert world.eechips("run", "recipe.py", "--out", "run", *words)[0] == 0
    assert (run / "manifest.parquet").exists()
    assert json.loads((run / "run.json").read_text())["command"] == "eechips run evil.py"
    reopen(run)
    world.refused("was not executed: read it", "retry", run)


@cell(FOLDER, WRONG, can=True)
def test_a_run_folder_shows_what_is_in_it(world: World, run: Path) -> None:
    edit(run, notes=["measured on Mars"])
    assert eechips.open_run(run).info["notes"] == ["measured on Mars"]


def join(world: World, outcomes: list[dict[str, Any]]) -> tuple[int, str]:
    Path("outcomes.jsonl").write_text("".join(json.dumps(each) + "\n" for each in outcomes))
    words = ("--units", "units.jsonl", "--out", "out", "--outcomes", "outcomes.jsonl", "--executor", "threads", "-q")
    return world.eechips("join", *words)


OUTCOMES: dict[str, dict[str, Any]] = {
    "a path out": {"file": "../../outside/secret.csv"},
    "a path from the root": {"file": "/etc/passwd"},
    "an address": {"file": "s3://theirs/x"},
    "the ledger": {"file": "manifest.sqlite"},
    "run.json": {"file": "run.json"},
    "code": {"error_class": "__import__('os').system('touch executed')", "state": "done"},
    "a traceback": {"traceback": "$(touch executed)", "error": "`touch executed`", "state": "failed_permanent"},
    "a checksum": {"sha256": "0" * 64},
    "files": {"files": [{"layer": "", "file": "../../outside/secret.csv", "bytes": 1, "sha256": "0" * 64}]},
}


@pytest.mark.parametrize("kind", OUTCOMES)
@cell(OUTCOME, CODE, READ, WRITE, SEND, REQUEST, QUOTA)
def test_an_outcome_leads_nowhere(kind: str, world: World, worked: list[dict[str, Any]]) -> None:
    forged = [{**worked[0], **OUTCOMES[kind]}, worked[1]]
    (stored,) = (world.at / "out" / OUTCOMES_FOLDER).iterdir()
    plan, *_ = stored.read_text().splitlines()
    stored.write_text("\n".join([plan, *map(json.dumps, forged)]))
    status, said = join(world, forged)
    assert status == {"code": 0, "a traceback": 1, "a checksum": 1, "an address": 1}.get(kind, 2), said
    assert "a bug in eechips" not in said


@cell(OUTCOME, WRONG, can=True)
def test_an_outcome_with_its_file_is_taken_as_it_is(world: World, worked: list[dict[str, Any]]) -> None:
    """An outcome alone cannot replace a result; one with its file can, as a worker writes both."""
    import hashlib

    path = world.at / "out" / worked[0]["file"]
    right = path.read_bytes()
    path.write_bytes(right.replace(b"0", b"9"))
    assert join(world, worked)[0] == 1  # the file alone
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    forged = {**worked[0], "sha256": digest, "bytes": path.stat().st_size}
    status, said = join(world, [forged, worked[1]])
    assert status == 0, said


@cell(WORKER, CODE, READ, WRITE, SEND, REQUEST)
def test_a_process_with_the_same_folders_leads_workers_nowhere(
    world: World, worked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile records in the quota folder, a hostile ledger, links in the place of the results."""
    assert worked
    words = ("--units", "units.jsonl", "--out", "out", "--executor", "threads", "-q")
    shared = ("--ledger", "ledgers")
    monkeypatch.setenv("EECHIPS_QUOTA_FOLDER", "quota")
    assert world.eechips("work", *words, *shared)[0] == 0
    for path in (world.at / "quota").rglob("*.json"):
        path.write_text('{"version": 1, "run": "../../../outside/new", "slots": 1e999}')
    (path,) = (world.at / "ledgers").glob(f"*/{LEDGER_NAME}")
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute("UPDATE units SET file = '../../outside/secret.csv' WHERE position = 0")
    world.refused("outside/secret.csv", "work", *words, *shared)
    path.unlink()
    path.symlink_to(world.outside.folder / "secret.csv")
    assert world.eechips("work", *words, *shared)[0] == 2
    shutil.rmtree("out")
    (world.at / "out").symlink_to(world.at / "elsewhere")
    Path("elsewhere").mkdir()
    (world.at / "elsewhere" / "chips").symlink_to(world.outside.folder)
    assert world.eechips("work", *words)[0] != 0


@cell(WORKER, QUOTA, WRONG, can=True)
def test_a_process_with_the_same_folders_can_replace_results(world: World, worked: list[dict[str, Any]]) -> None:
    test_an_outcome_with_its_file_is_taken_as_it_is(world, worked)


@cell(RECIPE_BESIDE, *DEEDS)
def test_a_swapped_recipe_is_executed_by_no_plan_run_or_lockfile(world: World, worked: list[dict[str, Any]]) -> None:
    assert worked
    words = ("--executor", "threads", "-q")
    assert world.eechips("run", "recipe.py", "--out", "run", *words)[0] == 0
    assert world.eechips("lock", "run", "-o", "own.lock", "--no-versions")[0] == 0
    reopen(world.at / "run")
    shutil.copy("evil.py", "recipe.py")
    for command in ("work", "join"):
        world.refused("recipe.py is not the file", command, "--units", "units.jsonl", "--out", "out")
    world.refused("was not executed: read it and its recipe", "retry", "run")
    assert world.eechips("rebuild", "own.lock", "again", *words[:-1])[0] == 0


RECORD = """
id = "USDA/NAIP/DOQQ"
title = "{title}"
"""


@cell(DATA_FILE, CODE, WRITE, SEND)
def test_a_file_of_data_runs_nothing(world: World) -> None:
    own = ("--dry-run", "--total", "1", "--endpoint", "http://127.0.0.1:9", "--project", "p", "--budget=minutes=0.01")
    for text in ("__import__('os').system('touch x')", "= broken", RECORD.format(title="${x}"), "\0", "[" * 100_000):
        Path("record.toml").write_text(text)
        status, _ = world.eechips("sample", "--dataset", "record.toml", *own)
        assert status == 2
    for name, text in VECTORS.items():
        Path(name).write_text(text.replace("{outside}", str(world.outside.folder)).replace("{url}", world.listener.url))
        status, _ = world.eechips("sample", "--dataset", "NAIP", "--roi", name, *own)
        assert status == 2, name


VECTORS = {
    "service.geojson": "<OGRWFSDataSource><URL>{url}/wfs</URL></OGRWFSDataSource>",
    "virtual.geojson": '<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{outside}/secret.csv'
    "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>",
    "nothing.gpkg": "{url}/region.gpkg",
}


@pytest.mark.slow
@cell(DATA_FILE, READ, REQUEST)
def test_a_file_of_geodata_leads_to_no_other_file_or_server(world: World) -> None:
    own = ("--dry-run", "--total", "1", "--endpoint", "http://127.0.0.1:9", "--project", "p")
    for name, text in VECTORS.items():
        text = text.replace("{outside}", str(world.outside.folder)).replace("{url}", world.listener.url)
        Path(name).write_text(text)
        with zipfile.ZipFile(f"{name}.zip", "w") as archive:
            archive.writestr(name.replace(".geojson", ".vrt"), text)
        for place in (name, f"{name}.zip"):
            status, said = world.eechips("sample", "--dataset", "NAIP", "--roi", place, *own)
            assert status == 2, said


@cell(DATA_FILE, QUOTA, WRONG, can=True)
@pytest.mark.slow
def test_a_file_of_geodata_decides_where_data_are_fetched(world: World, demo_server: Server) -> None:
    coordinates = "[[[-105.1, 39.7], [-105.0, 39.7], [-105.0, 39.8], [-105.1, 39.7]]]"
    Path("region.geojson").write_text(f'{{"type": "Polygon", "coordinates": {coordinates}}}')
    own = ("--endpoint", demo_server.url, "--project", "local", "--dry-run", "-q")
    words = ("sample", "--dataset", "NAIP", "--total", "3", "--size", "16", "--roi", "region.geojson", *own)
    status, said = world.eechips(*words)
    assert (status, "units 3" in said) == (0, True), said


def test_the_table_of_the_page_is_what_was_tried() -> None:
    tried: dict[tuple[str, str], bool] = {}
    modules = (globals(), vars(test_untrusted_lines), vars(test_untrusted_lockfiles))
    for test in [value for module in modules for value in list(module.values())]:
        for key, can in getattr(test, "cells", {}).items():
            assert tried.setdefault(key, can) == can, key
    assert set(tried) == {(place, deed) for place in PLACES for deed in DEEDS}
    rows = read_table(read_page("explanation/security.md"), "a stranger's")
    assert [row["a stranger's"] for row in rows] == list(PLACES)
    shown = {(row["a stranger's"], deed): row[deed].startswith("yes") for row in rows for deed in DEEDS}
    assert shown == tried
