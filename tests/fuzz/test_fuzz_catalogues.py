"""Catalogues, lists of items, points and asset folders that somebody has changed at random.

No exception but those of eechips is raised, and no file elsewhere is touched.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from click.testing import CliRunner

import eechips
from eechips.archive.catalogs.catalog import open_catalog
from eechips.archive.scenes.assembly import open_store
from eechips.cli import main
from eechips.errors import EechipsError
from eechips.planning.place_tables import read_places
from eechips_local.assets import AssetError, FolderStore
from eechips_local.protocol.request_errors import EarthEngineError
from tests.fuzz.budget import Budget
from tests.fuzz.damage import change_some_bytes
from tests.support.catalog_items import item, put
from tests.support.scene_servers import item as scene_item
from tests.support.watched_folder import WatchedFolder, watch_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")

ITEMS = [
    item(f"{n}", (8.0 + n, 50.0, 8.5 + n, 50.5), updated="2021-01-01T00:00:00Z", a=n, **{"eo:cloud_cover": 1.5})
    for n in range(6)
]
VERBS = (
    ("catalog", "partitions", "{catalog}"),
    ("catalog", "partitions", "{catalog}", "--bbox=8,50,9,51", "--start", "2020-01-01"),
    ("catalog", "repair", "{catalog}"),
    ("catalog", "ingest", "{list}", "--out", "{catalog}", "--retries", "0"),
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue, lists of all formats, points, and a folder of assets."""
    folder = tmp_path_factory.mktemp("originals")
    put(folder / "catalog", ITEMS[:3])
    put(folder / "catalog", ITEMS[3:])
    lists = folder / "lists"
    lists.mkdir()
    text = json.dumps({"type": "FeatureCollection", "features": ITEMS})
    (lists / "items.json").write_text(text)
    (lists / "items.json.gz").write_bytes(gzip.compress(text.encode()))
    (lists / "items.ndjson").write_text("".join(json.dumps(each) + "\n" for each in ITEMS))
    (lists / "item.json").write_text(json.dumps(ITEMS[0]))
    (lists / "addresses.txt").write_text(f"{lists}/item.json\nitem.json\n")
    with (lists / "addresses.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "href"), ("0", f"{lists}/item.json"), ("1", "item.json")])
    (partition, *_) = sorted((folder / "catalog").rglob("*.parquet"))
    shutil.copy(partition, lists / "items.parquet")
    (folder / "points").mkdir()
    (folder / "points" / "points.csv").write_text("lon,lat,class,date\n8.1,50.1,a,2020-01-01\n8.2,50.2,b,2020-02-01\n")
    source = folder / "source"
    source.mkdir()
    grid = {"crs": "EPSG:32613", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 4_430_000)}
    with rasterio.open(
        source / "a.tif", "w", driver="GTiff", width=64, height=64, count=1, dtype="uint16", **grid
    ) as made:
        made.write(np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64))
    (source / "a.json").write_text(json.dumps(scene_item("a", {"data": {"href": "a.tif", "type": "image/tiff"}})))
    with open_store(folder / "store") as keep:
        keep(source / "a.json", "archive/a", ("data",))
    return folder


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFolder]:
    folder = tmp_path_factory.mktemp("outside")
    (folder / "canary.json").write_text(json.dumps(ITEMS[0]))
    with watch_folder(folder) as found:
        yield found


def odd(draw: random.Random, outside: Path) -> Any:
    """A value that nobody expects."""
    return draw.choice(
        [None, True, 0, -1, 1 << 62, 1 << 70, 1e308, 1.5, float("inf"), float("nan"), "", "x", "\0", "é" * 300, "../x",
         [], {}, [[]], [1, 2, 3], {"type": "x"}, {"href": 1}, "Point", "Feature", "2026-13-45T99:99:99Z", "0001-01-01",
         "2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "EPSG:99999999", [1e308] * 4, [180, 91, -180, -91],
         ["a"] * 4, {"coordinates": [1e400, "x"]}, {"type": "Polygon", "coordinates": []}, f"{outside}/canary.json",
         f"../../outside/{outside.name}/canary.json", f"/vsicurl/http://127.0.0.1:9/{draw.random()}", "a" * 5000,
         "collection=x/cell=y/items.parquet", "../catalog/x.parquet", "/etc/passwd", "'; DROP TABLE items; --"]
    )  # fmt: skip


def change_value(draw: random.Random, path: Path, outside: Path) -> None:
    """Change a value of a JSON document, wherever it stands."""
    try:
        document = json.loads(path.read_text())
    except (ValueError, RecursionError):
        return
    place: Any = document
    while isinstance(place, (dict, list)) and place:
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], (dict, list)) and place[key] and draw.random() < 0.8:
            place = place[key]
            continue
        if draw.random() < 0.2:
            del place[key]
        else:
            place[key] = odd(draw, outside)
        break
    path.write_text(json.dumps(document))


def change_bytes(draw: random.Random, path: Path, _: Path) -> None:
    change_some_bytes(draw, path)


def change_text(draw: random.Random, path: Path, outside: Path) -> None:
    data = path.read_bytes()
    place = draw.randrange(len(data) + 1)
    words = (b"null", b"1e999", b"[]", b"-1", b'"', b"[" * 3000, b"\xff\xfe", b"\n", b",", b"nan", b"\0",
             bytes(outside / "canary.json"), b"http://127.0.0.1:9/x", b"file:///etc/passwd")  # fmt: skip
    path.write_bytes(data[:place] + draw.choice(words) + data[place + draw.randrange(9) :])


def change_column(draw: random.Random, path: Path, outside: Path) -> None:
    """Put other values into a column of a Parquet file."""
    try:
        table = pq.read_table(path)
        name = draw.choice(table.column_names)
        at = table.column_names.index(name)
        if draw.random() < 0.3:
            table = table.drop_columns([name])
        else:
            import pyarrow as pa

            value = odd(draw, outside)
            table = table.set_column(at, name, pa.array([value] * len(table)))
        pq.write_table(table, path)
    except (ValueError, OSError, OverflowError, NotImplementedError, TypeError):
        return


def replace(draw: random.Random, path: Path, outside: Path) -> None:
    path.unlink()
    kind = draw.randrange(5)
    if kind == 0:
        path.symlink_to(outside / "canary.json")
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.write_bytes(draw.choice([b"", b"PAR1" * 9, b"[" * 100_000, b"{}", b"null", b"\xff" * 100]))


CHANGES: dict[str, tuple[Callable[[random.Random, Path, Path], None], ...]] = {
    ".json": (change_value, change_value, change_value, change_text, change_bytes, replace),
    ".parquet": (change_column, change_column, change_bytes, replace),
    "": (change_text, change_bytes, replace),
}


def change(draw: random.Random, folder: Path, outside: Path) -> None:
    for _ in range(draw.choice((1, 1, 2, 4))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        files = [path for path in files if path.suffix != ".sqlite"]  # made of the documents, and made anew
        if files:
            path = draw.choice(files)
            draw.choice(CHANGES.get(path.suffix, CHANGES[""]))(draw, path, outside)


def invoke(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["--debug", *words])
    if result.exception is not None:
        raise result.exception


def check(call: Callable[[], Any], what: Any) -> None:
    try:
        call()
    except (EechipsError, AssetError, EarthEngineError, SystemExit, click.ClickException):
        return
    except Exception:  # noqa: BLE001 - that none is raised is what is looked at
        pytest.fail(f"seed {what}\n{traceback.format_exc()}", pytrace=False)


@pytest.fixture
def at(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a copy of an original, in the place of the one before."""
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))

    def made(name: str) -> Path:
        shutil.rmtree(tmp_path / "at" / name, ignore_errors=True)
        shutil.copytree(originals / name, tmp_path / "at" / name)
        return tmp_path / "at" / name

    return made


@pytest.mark.slow
def test_a_damaged_catalogue_raises_errors_of_eechips_alone(
    budget: Budget, at: Callable[[str], Path], outside: WatchedFolder, originals: Path
) -> None:
    for draw in budget.draws(least=3):
        folder = at("catalog")
        change(draw, folder, outside.folder)
        outside.touched()
        words = [word.format(catalog=folder, list=originals / "lists" / "items.json") for word in draw.choice(VERBS)]
        check(lambda words=words: invoke(words), (budget.last, words))  # type: ignore[misc]
        check(lambda folder=folder: list(open_catalog(folder).items()), budget.last)  # type: ignore[misc]
        assert outside.touched() == [], budget.last


@pytest.mark.slow
def test_a_damaged_list_of_items_raises_errors_of_eechips_alone(
    budget: Budget, at: Callable[[str], Path], outside: WatchedFolder, tmp_path: Path
) -> None:
    for draw in budget.draws(least=3):
        folder = at("lists")
        path = draw.choice(sorted(folder.iterdir()))
        for _ in range(draw.choice((1, 1, 2, 4))):
            if path.is_file() and not path.is_symlink():
                draw.choice(CHANGES.get(path.suffix, CHANGES[""])[:-1])(draw, path, Path("/nowhere"))
        if draw.random() < 0.5:
            shutil.rmtree(tmp_path / "made", ignore_errors=True)
            words = ["catalog", "ingest", str(path), "--out", str(tmp_path / "made"), "--retries", "0"]
            check(lambda words=words: invoke(words), (budget.last, path.name))  # type: ignore[misc]
        else:
            check(
                lambda path=path: eechips.scenes(str(path), out=tmp_path / "out", dry_run=True, quiet=True),  # type: ignore[misc]
                (budget.last, path.name),
            )
        assert outside.touched() == [], budget.last


@pytest.mark.slow
def test_a_damaged_table_of_points_raises_errors_of_eechips_alone(budget: Budget, at: Callable[[str], Path]) -> None:
    for draw in budget.draws():
        path = at("points") / "points.csv"
        for _ in range(draw.choice((1, 2, 4))):
            draw.choice((change_text, change_bytes))(draw, path, Path("/nowhere"))
        check(lambda path=path: read_places(path), budget.last)  # type: ignore[misc]


@pytest.mark.slow
def test_a_damaged_folder_of_assets_raises_errors_of_eechips_alone(
    budget: Budget, at: Callable[[str], Path], outside: WatchedFolder
) -> None:
    def read(folder: Path) -> None:
        with FolderStore(folder) as store:
            store.describe()
            for summary in store.summaries():
                store.get(summary.id)
            for found in store.children("archive"):
                store.get(found)

    for draw in budget.draws(least=3):
        folder = at("store")
        change(draw, folder, outside.folder)
        outside.touched()
        check(lambda folder=folder: read(folder), budget.last)  # type: ignore[misc]
        check(lambda folder=folder: invoke(["assets", "ls", str(folder)]), budget.last)  # type: ignore[misc]
        assert outside.touched() == [], budget.last


@pytest.mark.parametrize("name", [".index.sqlite", ".lock", "catalog.json"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_store_whose_own_files_are_links_or_pipes_opens_nothing_else(
    at: Callable[[str], Path], outside: WatchedFolder, name: str, kind: str
) -> None:
    folder = at("store")
    (folder / name).unlink(missing_ok=True)
    if kind == "link":
        (folder / name).symlink_to(outside.folder / "canary.json")
    else:
        os.mkfifo(folder / name)
    outside.touched()
    check(lambda: invoke(["assets", "ls", str(folder)]), name)
    assert outside.touched() == []
