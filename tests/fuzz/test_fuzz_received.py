"""Run folders that somebody has changed at random: no exception but those of eechips, no file elsewhere touched."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import random
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import eechips
from eechips.cli import main
from eechips.errors import EechipsError
from eechips.manifest.export import export_layers, export_parquet
from eechips.manifest.failures import export_failures
from eechips.manifest.run import INFO_NAME
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from tests.fuzz.budget import Budget
from tests.fuzz.damage import change_some_bytes
from tests.support import oversized_files
from tests.support.finished_run import layered, pictures, write_run
from tests.support.watched_folder import WatchedFolder, watch_folder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")]

VERBS = (
    ("verify", "{run}"),
    ("status", "{run}"),
    ("status", "{run}", "--json"),
    ("failures", "{run}"),
    ("failures", "{run}", "--traceback"),
    ("report", "{run}"),
    ("preview", "{run}", "--out", "{out}/preview.png"),
    ("check", "{run}"),
    ("check", "{run}", "--drop", "all"),
    ("split", "{run}", "--ratios", "0.5,0.5"),
    ("pack", "{run}", "--to", "webdataset", "--out", "{out}/pack"),
    ("card", "{run}", "--overwrite"),
    ("catalog", "build", "{run}", "--out", "{out}/catalog"),
    ("plot", "{run}", "--out", "{out}/plot.png"),
    ("trust", "{run}", "--yes"),
)
READERS: tuple[Callable[[Path], Any], ...] = (
    eechips.load,
    lambda run: eechips.load(run, rows="files"),
    lambda run: eechips.load(run, rows="table"),
    lambda run: eechips.stack(run, lazy=False),
    lambda run: eechips.open_run(run)._repr_html_(),
)
TABLE = b"date,region,value\n2020-01-01,a,1\n2020-01-02,a,2\n"


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs of pictures, of layers, and of tables; with a failure, a split and a check."""
    folder = tmp_path_factory.mktemp("originals")
    failed = ({"kind": "point", "number": 9, "eco_name": "zone 1"}, None)
    series = [({"kind": "region", "region": name}, {"": ("csv", TABLE)}) for name in "ab"]
    info = {
        "command": "eechips sample --dataset NAIP", "directory": "/", "endpoint": "https://e", "project": "p",
        "parameters": {"roi": "0,0,1,1", "dataset": "NAIP"}, "datasets": [{"id": "USDA/NAIP/DOQQ", "licence": "none"}],
        "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:01:00Z", "versions": {"eechips": "1"},
    }  # fmt: skip
    runs = []
    for name, units in (("pictures", [*pictures(4), failed]), ("layers", layered(3)), ("series", series)):
        run = write_run(folder / name, units, **info)
        line = {"time": "2026-01-01T00:00:00Z", "event": "throughput", "in_flight": 1, "limit": 2}
        (run.path / "run.log").write_text(json.dumps({**line, "event": "started"}) + "\n" + json.dumps(line) + "\n")
        with Ledger(run.path / LEDGER_NAME) as ledger:
            export_parquet(ledger, run.path)
            export_layers(ledger, run.path)
            export_failures(ledger, run.path)
        if name != "series":
            eechips.check(run.path, quiet=True)
            eechips.split(run.path, by="random", ratios={"train": 0.5, "val": 0.5})
        runs.append(run.path)
    return runs


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFolder]:
    folder = tmp_path_factory.mktemp("outside")
    shutil.copy(Path(__file__).parent / "budget.py", folder / "canary.png")
    (folder / "canary.json").write_text("{}")
    with watch_folder(folder) as found:
        yield found


def texts(draw: random.Random, outside: Path) -> Any:
    """A value that nobody expects."""
    return draw.choice(
        [
            None,
            0,
            -1,
            1 << 62,
            1.5,
            float("inf"),
            float("-inf"),
            "",
            "x",
            "\0",
            b"",
            b"\xff\xfe",
            "é" * 300,
            "1e999",
            "null",
            "[]",
            "{}",
            "[1,2,3]",
            "[" * 2000 + "]" * 2000,
            '{"a":' * 80 + "1" + "}" * 80,
            '{"kind": 1}',
            '["a", 1]',
            "[1, 0, 0, 0, 1, 0]",
            "[0, 0, 0, 0, 0, 0]",
            "[1e308, 0, 0, 0, 1e308, 0]",
            '{"coordinates": [1e400, "x"]}',
            '{"kind": "point", "coordinates": [1, 2], "properties": 3}',
            '{"geometry": {"type": "Polygon"}}',
            '{"lon": 400, "lat": "x", "class": [1]}',
            "2026-13-45T99:99:99Z",
            "2026-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "EPSG:4326",
            "EPSG:99999999",
            "+proj=pipeline +step +init=/etc/passwd:1",
            f"{outside}/canary.json",
            "http://127.0.0.1:9/x",
            f"/vsicurl/http://127.0.0.1:9/{draw.random()}",
            "../../outside/canary.png",
            f"{outside}/canary.png",
            f"file://{outside}",
            "s3://x/y",
            "chips",
            "chips/",
            ".",
            "run.json",
            LEDGER_NAME,
            "done",
            "planned",
            "failed_permanent",
            "png",
            "a" * 5000,
            "a/" * 3000,
            "uint8",
            "object",
            "float128",
            "<U9999999",
            "'; DROP TABLE units; --",
            "<script>alert(1)</script>",
            "\ud800".encode(errors="surrogatepass"),
        ]
    )


def change_cell(draw: random.Random, run: Path, outside: Path) -> None:
    with closing(sqlite3.connect(run / LEDGER_NAME)) as database, database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if not tables:
            return
        table = draw.choice([*tables, *(name for name in tables if name == "units")])
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        column = draw.choice(columns)
        where = draw.choice(["", " WHERE rowid = 1", " WHERE rowid = 0"]) if table != "meta" else ""
        database.execute(f"UPDATE OR IGNORE {table} SET {column} = ?{where}", (texts(draw, outside),))


def change_meta(draw: random.Random, run: Path, outside: Path) -> None:
    keys = [
        "results",
        "assembled",
        "outside",
        "plans_gradually",
        "checksums_only",
        "dropped",
        "recipe",
        "parameters",
        "name",
        "assembly",
    ]
    value = texts(draw, outside)
    value = value if isinstance(value, (str, bytes)) and draw.random() < 0.3 else json.dumps(odd(draw, outside))
    with closing(sqlite3.connect(run / LEDGER_NAME)) as database, database:
        database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (draw.choice(keys), value))


def change_schema(draw: random.Random, run: Path, _: Path) -> None:
    statement = draw.choice(
        [
            "DROP TABLE units",
            "DROP TABLE meta",
            "DROP INDEX units_file",
            "DROP TABLE layers",
            "DELETE FROM units",
            "ALTER TABLE units DROP COLUMN bands",
            "ALTER TABLE units RENAME COLUMN file TO path",
            "PRAGMA user_version = 1",
            "PRAGMA user_version = 0",
            "CREATE VIEW layers2 AS SELECT * FROM units",
            "DELETE FROM meta",
            "ALTER TABLE layers DROP COLUMN layer",
            "ALTER TABLE further_files RENAME COLUMN file TO path",
            "CREATE TABLE IF NOT EXISTS identity (value BLOB)",
            "PRAGMA journal_mode = WAL",
            "UPDATE units SET position = position + 1000000000000",
            "UPDATE units SET replaces = position",
        ]
    )
    with closing(sqlite3.connect(run / LEDGER_NAME)) as database, database:
        try:
            database.execute(statement)
        except sqlite3.Error:  # it is there, or is not
            return


def odd(draw: random.Random, outside: Path) -> Any:
    value = texts(draw, outside)
    value = value.decode("latin-1") if isinstance(value, bytes) else value
    shape = draw.randrange(6)
    if shape == 0:
        return [value]
    if shape == 1:
        return {"file": value, "bytes": 1, "sha256": value, "id": value, "files": 1, "folders": [value]}
    if shape == 2:
        return [{"file": value, "bytes": 1, "sha256": "x", "id": value}]
    return value


def change_info(draw: random.Random, run: Path, outside: Path) -> None:
    path = run / INFO_NAME
    if path.is_symlink() or not path.is_file():
        return
    try:
        info = json.loads(path.read_text())
    except ValueError:
        return
    if not isinstance(info, dict) or draw.random() < 0.1:
        path.write_text(json.dumps(odd(draw, outside)))
        return
    place: Any = info
    while True:
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place))) if place else "x"
        if isinstance(place, list) and not place:
            break
        inner = place.get(key) if isinstance(place, dict) else place[key]
        if isinstance(inner, (dict, list)) and inner and draw.random() < 0.6:
            place = inner
            continue
        place[key] = odd(draw, outside)
        break
    path.write_text(json.dumps(info))


def files_of(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() and not path.is_symlink())


def change_bytes(draw: random.Random, run: Path, _: Path) -> None:
    change_some_bytes(draw, draw.choice(files_of(run)))


def replace(draw: random.Random, run: Path, outside: Path) -> None:
    names = [
        "failures.csv",
        "quality.parquet",
        "splits.parquet",
        "stats.json",
        "run.log",
        ".eechips.lock",
        ".quality.parquet.journal",
    ]
    names += [
        "README.md",
        "report.html",
        "croissant.json",
        "catalog",
        "packs",
        f"{LEDGER_NAME}-wal",
        f"{LEDGER_NAME}-journal",
    ]
    path = draw.choice([*files_of(run), *(run / name for name in names)])
    if path.is_dir() and not path.is_symlink():
        return
    path.unlink(missing_ok=True)
    kind = draw.randrange(6)
    if kind == 0:
        path.symlink_to(outside / "canary.png")
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.write_bytes(b"")
    elif kind == 4:
        path.write_bytes(
            draw.choice(
                [b"PAR1" * 9, b"[" * 100000, b"\xff" * 100, b"a,b\n1,2,3\n", b'{"time": 1, "event": "throughput"}\n']
            )
        )


@functools.cache
def big_table() -> bytes:
    return oversized_files.parquet(9 << 24)


def contents(draw: random.Random, outside: Path) -> tuple[str, bytes]:
    """Suffix and content of a result that no run makes."""
    kind = draw.randrange(8)
    if kind == 0:
        return "png", oversized_files.png(draw.choice((1, 30_000, 65_535)), 30_000, 1 << 20)
    if kind == 1:
        return "tif", oversized_files.tiff(60_000)
    if kind == 2:
        return "npy", oversized_files.npy(draw.choice(((1 << 20, 1 << 20), (0, 3), (5,), (1, 2, 3, 4), (1 << 62,))))
    if kind == 3:
        buffer = io.BytesIO()
        fields: Any = draw.choice(
            ["<U4", "c16", "M8[s]", "V8", [("mask", "?")], [("a", "f4"), ("b", "U3")], [("a", "f4", 3)], "?"]
        )
        np.save(buffer, np.zeros(draw.choice([(8, 8), (8, 8, 2), (8,), (), (0, 0)]), dtype=fields))
        return "npy", buffer.getvalue()
    if kind == 4:
        source = f"<SourceFilename relativeToVRT='0'>{outside}/canary.png</SourceFilename><SourceBand>1</SourceBand>"
        band = f"<VRTRasterBand dataType='Byte' band='1'><SimpleSource>{source}</SimpleSource></VRTRasterBand>"
        data = f"<VRTDataset rasterXSize='8' rasterYSize='8'>{band}</VRTDataset>".encode()
        return draw.choice(("png", "tif", "jpg")), data
    if kind == 5:
        return "csv", draw.choice(
            [b"a,b\n" + b"x" * 200_000 + b",1\n", b"\xff\xfe", b"date,date,date\n1,2,3\n", b"date,region,v\nx,y,z\n"]
        )
    if kind == 6:
        return "parquet", draw.choice([b"PAR1" * 9, big_table()])
    return draw.choice(("png", "tif", "jpg", "npy", "parquet", "csv", "x")), draw.randbytes(draw.randrange(200))


def change_result(draw: random.Random, run: Path, outside: Path) -> None:
    """Put another content into a result, and record it as if it were what was fetched."""
    suffix, data = contents(draw, outside)
    name = f"chips/changed.{suffix}"
    (run / "chips").mkdir(exist_ok=True)
    (run / name).write_bytes(data)
    with closing(sqlite3.connect(run / LEDGER_NAME)) as database, database:
        size, digest = len(data), hashlib.sha256(data).hexdigest()
        for table in ("units", draw.choice(("further_files", "units"))):
            try:
                row = database.execute(
                    f"SELECT rowid, file FROM {table} WHERE file IS NOT NULL ORDER BY random()"
                ).fetchone()
                if row is not None:
                    values = (name, size, digest, row[0])
                    database.execute(
                        f"UPDATE OR IGNORE {table} SET file = ?, bytes = ?, sha256 = ? WHERE rowid = ?", values
                    )
                    database.execute("UPDATE OR IGNORE layers SET file = ? WHERE file = ?", (name, row[1]))
            except sqlite3.Error:  # a table was dropped or changed
                continue


CHANGES = (
    change_result,
    change_result,
    change_cell,
    change_cell,
    change_cell,
    change_meta,
    change_info,
    change_schema,
    change_bytes,
    replace,
)


def test_a_changed_folder_raises_errors_of_eechips_alone(
    budget: Budget, originals: list[Path], outside: WatchedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    for draw in budget.draws(least=2):
        shutil.rmtree(tmp_path / "at", ignore_errors=True)
        run = tmp_path / "at" / "run"
        shutil.copytree(draw.choice(originals), run)
        for _ in range(draw.choice((1, 1, 2, 4))):
            try:
                draw.choice(CHANGES)(draw, run, outside.folder)
            except sqlite3.Error:  # an earlier change has damaged the ledger
                continue
        outside.touched()
        around = {path.name for path in tmp_path.iterdir()}
        for words in draw.sample(VERBS, 3):
            filled = [word.format(run=run, out=tmp_path / "at") for word in words]
            check(invoke, filled, (budget.last, filled))
            assert outside.touched() == [], (budget.last, filled)
        reader = draw.choice(READERS)
        check(reader, run, (budget.last, reader))
        assert outside.touched() == [], budget.last
        assert {path.name for path in tmp_path.iterdir()} - {"cache"} == around - {"cache"}, budget.last


def invoke(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["--debug", *words])
    if result.exception is not None:
        raise result.exception


def check(call: Callable[[Any], Any], argument: Any, what: tuple[int, Any]) -> None:
    try:
        call(argument)
    except (EechipsError, SystemExit, click.ClickException):
        return
    except Exception:  # noqa: BLE001 - that none is raised is what is looked at
        pytest.fail(f"seed {what[0]}: {what[1]}\n{traceback.format_exc()}", pytrace=False)
