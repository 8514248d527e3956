"""Run folders of other users: no command reads, changes or removes files outside them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import eechips
from eechips.errors import EechipsError
from eechips.manifest.run import INFO_NAME
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from eechips.storage import LocalStore
from tests.support.commands import run_command
from tests.support.finished_run import pictures, png_of, write_run
from tests.support.watched_folder import WatchedFolder, watch_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")

VERBS: dict[str, list[str]] = {
    "verify": [],
    "status": [],
    "status --json": [],
    "failures": [],
    "report": [],
    "preview": ["--out", "{out}/preview.png"],
    "check": [],
    "check --drop all": [],
    "split": ["--ratios", "0.5,0.5"],
    "stats": [],
    "georeference": [],
    "pack --to webdataset": ["--out", "{out}/pack"],
    "card": [],
    "catalog build": ["--out", "{out}/catalog"],
    "plot": ["--out", "{out}/plot.png"],
    "retry": ["--trust"],
    "trust": ["--yes"],
}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[WatchedFolder]:
    import numpy as np

    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "canary.png").write_bytes(png_of(np.full((3, 8, 8), 77, dtype=np.uint8)))
    (folder / "canary.csv").write_text("date,region,value\n2020-01-01,canary,1\n")
    (folder / "canary.json").write_text('{"command": "canary"}')
    with watch_folder(folder) as found:
        yield found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    import pandas as pd

    folder = tmp_path / "received" / "run"
    units = [*pictures(4), ({"kind": "point", "number": 9, "eco_name": "zone 1"}, None)]
    write_run(folder, units, command="eechips sample --dataset NAIP", endpoint="http://127.0.0.1:1", project="p")
    pd.DataFrame({"id": []}).to_parquet(folder / "manifest.parquet")
    return folder


def change(run: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(run / LEDGER_NAME)) as database, database:
        database.execute(statement, values)


def invoke(verb: str, run: Path, out: Path) -> tuple[int, str]:
    """Exit status and output of a verb; whatever is no error of eechips is raised."""
    words, options = verb.split(), [option.format(out=out) for option in VERBS[verb]]
    count = 2 if words[0] == "catalog" else 1
    result = run_command(*words[:count], run, *words[count:], *options)
    return result.exit_code, result.output


OUT = {
    "relative": "../../outside/canary.png",
    "within": "chips/../../../outside/canary.png",
    "absolute": "{outside}/canary.png",
    "address": "file://{outside}/canary.png",
    "zero": "chips/a\0.png",
    "bytes": b"../../outside/canary.png",
    "nothing": "",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", OUT)
def test_a_path_out_of_the_folder_is_refused_by_every_command(path: str, run: Path, outside: WatchedFolder) -> None:
    named = OUT[path]
    value = named.format(outside=outside.folder) if isinstance(named, str) else named
    change(run, "UPDATE units SET file = ? WHERE position = 2", value)
    with closing(sqlite3.connect(run / LEDGER_NAME)) as database:
        ((identifier,),) = database.execute("SELECT lower(hex(id)) FROM units WHERE position = 2").fetchall()
    for verb in VERBS:
        status, output = invoke(verb, run, run.parent)
        if path == "address":  # a name with a colon: below the folder on this system
            assert outside.touched() == [], (verb, output)
            continue
        assert status == 2, (verb, output)
        assert identifier[:16] in output, (verb, output)
        assert repr(value) in output, (verb, output)
        assert outside.touched() == [], (verb, output)
    for read in (eechips.load, eechips.stack, eechips.open_run):
        with contextlib.suppress(EechipsError) if path == "address" else pytest.raises(EechipsError):
            read(run)
    assert outside.touched() == []


def link_file(run: Path, outside: Path) -> None:
    (name,) = (path for path in sorted((run / "chips").iterdir())[:1])
    name.unlink()
    name.symlink_to(outside / "canary.png")


def link_folder(run: Path, outside: Path) -> None:
    names = [path.name for path in (run / "chips").iterdir()]
    shutil.rmtree(run / "chips")
    (run / "chips").symlink_to(outside)
    change(run, "UPDATE units SET file = 'chips/canary.png' WHERE position = 0")
    assert names


def link_info(run: Path, outside: Path) -> None:
    (run / INFO_NAME).unlink()
    (run / INFO_NAME).symlink_to(outside / "canary.json")


def link_ledger(run: Path, outside: Path) -> None:
    (run / LEDGER_NAME).rename(outside / LEDGER_NAME)
    (run / LEDGER_NAME).symlink_to(outside / LEDGER_NAME)


def link_log(run: Path, outside: Path) -> None:
    (run / "run.log").symlink_to(outside / "canary.json")
    (run / ".eechips.lock").symlink_to(outside / "canary.json")
    (run / "failures.csv").symlink_to(outside / "canary.csv")


def link_tables(run: Path, outside: Path) -> None:
    tables = ("quality.parquet", "splits.parquet", "manifest.parquet", ".quality.parquet.journal")
    for name in (*tables, "report.html", "stats.json"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(outside / "canary.json")


def pipes(run: Path, outside: Path) -> None:
    names = ("run.log", ".eechips.lock", "quality.parquet", "splits.parquet", "stats.json", ".quality.parquet.journal")
    for name in names:
        os.mkfifo(run / name)
    first = sorted((run / "chips").iterdir())[0]
    first.unlink()
    os.mkfifo(first)


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "a file": link_file,
    "the folder of files": link_folder,
    "run.json": link_info,
    "the ledger": link_ledger,
    "the log": link_log,
    "the tables": link_tables,
    "pipes": pipes,
}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", LINKS)
def test_no_command_follows_a_link_out_of_the_folder(kind: str, run: Path, outside: WatchedFolder) -> None:
    LINKS[kind](run, outside.folder)
    before = {path.name: path.read_bytes() for path in outside.folder.iterdir()}
    outside.touched()
    for verb in VERBS:
        status, output = invoke(verb, run, run.parent)
        assert outside.touched() == [], (verb, output)
        assert status in (0, 1, 2), (verb, output)
    for read in (eechips.load, eechips.stack):
        with contextlib.suppress(EechipsError):  # where it needs what is linked
            read(run)
        assert outside.touched() == []
    assert {path.name: path.read_bytes() for path in outside.folder.iterdir()} == before


@pytest.mark.parametrize("scheme", ["file://{outside}", "s3://somebody-s/bucket", "memory://theirs"])
def test_results_at_a_url_require_trust(scheme: str, run: Path, outside: WatchedFolder) -> None:
    address = scheme.format(outside=outside.folder)
    change(run, "INSERT INTO meta VALUES ('results', json_quote(?))", address)
    change(run, "UPDATE units SET file = 'canary.png' WHERE position = 0")
    for verb in ("verify", "report", "preview", "check", "check --drop all", "pack --to webdataset", "card"):
        status, output = invoke(verb, run, run.parent)
        assert status == 2, (verb, output)
        assert address in output, (verb, output)
        assert "eechips trust" in output, (verb, output)
        assert outside.touched() == [], (verb, output)
    with pytest.raises(EechipsError, match="eechips trust"):
        eechips.load(run)
    assert (outside.folder / "canary.png").exists()


def test_a_received_ledger_is_read_without_writing(run: Path) -> None:
    change(run, "PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(run / LEDGER_NAME)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    for verb in ("verify", "status", "failures"):
        invoke(verb, run, run.parent)
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_view_or_a_trigger_in_a_ledger_is_refused(run: Path) -> None:
    for statement in (
        "CREATE VIEW v AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "CREATE TRIGGER t AFTER UPDATE ON units BEGIN DELETE FROM units; END",
        "CREATE VIRTUAL TABLE f USING fts5(a)",
    ):
        shutil.copytree(run, run.parent / "copy")
        change(run.parent / "copy", statement)
        status, output = invoke("status", run.parent / "copy", run.parent)
        assert (status, "is not a ledger of eechips" in output) == (2, True), output
        shutil.rmtree(run.parent / "copy")


@pytest.mark.parametrize("layer", ["../../x", ".x", "__x"])
def test_a_layer_that_no_recipe_names_is_refused(layer: str, run: Path) -> None:
    change(run, f"INSERT INTO layers SELECT file, position, '{layer}', '{{}}' FROM units WHERE position = 0")
    status, output = invoke("pack --to webdataset", run, run.parent)
    assert (status, "the name of a layer is" in output) == (2, True), output


def test_names_in_every_notation_are_checked(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    (tmp_path / "root" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "inner" / "file").write_bytes(b"x")
    (tmp_path / "root" / "link").symlink_to("inner/file")
    (tmp_path / "root" / "again").symlink_to("inner")
    assert store.read("link") == store.read("again/file") == b"x"
    for name in ("", "/etc/passwd", "..", "../x", "a/../../x", "a/\0"):
        with pytest.raises(EechipsError, match="inside the output folder"):
            store.read(name)
