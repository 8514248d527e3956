"""The store of a folder: listings, replacement, failures and processes that write at once."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.warp
import shapely

from eechips_local.assets import AssetWriteError, FolderStore, InvalidStoreError, UnknownAssetError, ingest, stac
from eechips_local.evaluation.asset_model import AssetStore, FolderAsset, Query
from local_tests.support.ingested_rasters import image, noise, pixels, raster, snapshot


@pytest.fixture
def planet(tmp_path: Path) -> Iterator[FolderStore]:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    root = tmp_path / "planet"
    for day in (3, 1, 2):
        ingest(source, root, f"A/B/d{day}", time_start=f"2020-01-0{day}", properties={"day": day})
    ingest(source, root, "A/image")
    ingest(source, root, "top")
    with FolderStore(root) as store:
        yield store


def test_asset_stores_are_recognised(planet: FolderStore) -> None:
    store: AssetStore = planet
    assert list(store.children("")) == ["A", "top"]
    assert list(store.children("A")) == ["A/B", "A/image"]
    assert list(store.children("A/B")) == ["A/B/d1", "A/B/d2", "A/B/d3"]
    assert list(store.children("nothing")) == []
    assert isinstance(store.get(""), FolderAsset)
    assert store.get("nothing/there") is None
    assert store.describe() == {
        "type": "folder", "path": str(planet.path), "folder": 0, "collection": 2, "image": 5, "table": 0,
        "classifier": 0,
    }  # fmt: skip


def test_listings(planet: FolderStore) -> None:
    listed = [(line.id, line.type, line.size, line.names) for line in planet.summaries()]
    assert listed == [
        ("A", "IMAGE_COLLECTION", 1, ["b1"]),
        ("A/B", "IMAGE_COLLECTION", 3, ["b1"]),
        ("top", "IMAGE", 1, ["b1"]),
    ]
    assert [line.id for line in planet.summaries("A/B")] == ["A/B/d1", "A/B/d2", "A/B/d3"]
    (one,) = planet.summaries("A/B/d2")
    assert (one.type, one.time_start) == ("IMAGE", 1577923200000)
    with pytest.raises(UnknownAssetError, match="no asset 'A/C'"):
        list(planet.summaries("A/C"))


def test_pystac_reads_the_folder(planet: FolderStore) -> None:
    catalog = pystac.Catalog.from_file(str(planet.path / "catalog.json"))
    items = {item.id: item for item in catalog.get_items(recursive=True)}
    assert sorted(items) == ["A/B/d1", "A/B/d2", "A/B/d3", "A/image", "top"]
    item = items["A/B/d2"]
    assert item.datetime is not None
    assert item.datetime.isoformat() == "2020-01-02T00:00:00+00:00"
    assert item.get_parent().id == "A/B"  # type: ignore[union-attr]
    href = item.assets["data"].get_absolute_href()
    assert href is not None
    with rasterio.open(href) as dataset:
        np.testing.assert_array_equal(dataset.read(), noise(1, 9, 9))
        assert item.assets["data"].extra_fields["proj:transform"] == list(dataset.transform)[:6]
    assert shapely.geometry.shape(item.geometry).is_valid
    collection = item.get_collection()
    assert collection is not None
    moments = [moment.isoformat()[:10] for moment in collection.extent.temporal.intervals[0] if moment]
    assert moments == ["2020-01-01", "2020-01-03"]


def test_ingesting_again_replaces(tmp_path: Path, planet: FolderStore) -> None:
    before = snapshot(planet.path)
    old = image(planet, "A/B/d1")
    again = raster(tmp_path / "again.tif", noise(1, 20, 20, seed=9))
    ingest(again, planet.path, "A/B/d1", time_start="2021-01-01")
    new = image(planet, "A/B/d1")
    np.testing.assert_array_equal(pixels(new)[0], noise(1, 20, 20, seed=9)[0])
    assert "day" not in new.properties
    assert not Path(old.bands[0].source.path).exists()  # type: ignore[attr-defined]
    assert len(snapshot(planet.path)) == len(before)
    assert [found.id for found in planet.get("A/B").images(Query(start=1600000000000))] == ["A/B/d1"]  # type: ignore[union-attr]
    assert planet.describe()["image"] == 5


def test_ingesting_the_same_changes_nothing_but_versions(tmp_path: Path, planet: FolderStore) -> None:
    before = snapshot(planet.path)
    ingest(tmp_path / "a.tif", planet.path, "A/B/d1", time_start="2020-01-01", properties={"day": 1})
    after = snapshot(planet.path)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {Path(name).name for name in changed} == {"item.json", "collection.json", "catalog.json"}


def test_a_store_pickles_by_its_path(planet: FolderStore) -> None:
    copy = pickle.loads(pickle.dumps(planet))
    assert image(copy, "top").bands == image(planet, "top").bands
    found = pickle.loads(pickle.dumps(image(planet, "top")))
    np.testing.assert_array_equal(pixels(found)[0], noise(1, 9, 9)[0])


def test_folders_that_are_no_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidStoreError, match="no folder"):
        FolderStore(tmp_path / "missing")
    with pytest.raises(InvalidStoreError, match="holds no assets"):
        FolderStore(tmp_path)
    (tmp_path / "catalog.json").write_text("{")
    with pytest.raises(InvalidStoreError, match="cannot be read as a STAC document"):
        FolderStore(tmp_path).get("a")


@pytest.mark.slow
def test_a_full_disk_leaves_the_store_unchanged(tmp_path: Path, planet: FolderStore) -> None:
    big = raster(tmp_path / "big.tif", noise(1, 1200, 1200))
    before = snapshot(planet.path)
    code = (
        "import resource, signal, sys\n"
        "from eechips_local.assets import AssetWriteError, ingest\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try:\n"
        f"    ingest({str(big)!r}, {str(planet.path)!r}, 'A/B/d1')\n"
        "except AssetWriteError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip(), done.stderr
    assert snapshot(planet.path) == before
    assert not list(planet.path.rglob(".eechips-local-*"))


@pytest.mark.slow
def test_a_failed_ingestion_leaves_the_store_unchanged(tmp_path: Path, planet: FolderStore) -> None:
    sources = [raster(tmp_path / f"d{n}.tif", noise(1, 9, 9, seed=n)) for n in (1, 2, 3, 4)]
    before = snapshot(planet.path)
    obstacle = planet.path / "A" / "B" / "d3" / ".eechips-local-item.json"
    obstacle.mkdir()
    with pytest.raises(AssetWriteError, match=r"Cannot write .*d3/item\.json: Is a directory"):
        ingest(sources, planet.path, "A/B")
    obstacle.rmdir()
    assert snapshot(planet.path) == before
    assert not list(planet.path.rglob(".eechips-local-*"))
    assert not (planet.path / "A" / "B" / "d4").exists()
    assert ingest(sources, planet.path, "A/B") == [f"A/B/d{n}" for n in (1, 2, 3, 4)]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_an_unwritable_folder_is_reported(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(AssetWriteError, match="Permission denied"):
        ingest(source, closed / "store", "a")


@pytest.mark.slow
def test_concurrent_ingestion_and_reading_agree(tmp_path: Path) -> None:
    root = tmp_path / "store"
    sources = [raster(tmp_path / f"{n}.tif", noise(1, 9, 9, seed=n)) for n in range(8)]
    ingest(sources[0], root, "A/B/i0")
    code = (
        "import sys\n"
        "from eechips_local.assets import ingest\n"
        "for n in sys.argv[3:]: ingest(f'{sys.argv[1]}/{n}.tif', sys.argv[2], f'A/B/i{n}')\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(root), *numbers])
        for numbers in (["1", "2", "3"], ["4", "5", "6", "7"])
    ]
    with FolderStore(root) as store, ThreadPoolExecutor(2) as executor:

        def look(_: int) -> int:
            images = list(store.get("A/B").images(Query()))  # type: ignore[union-attr]
            for found in images:
                np.testing.assert_array_equal(pixels(found)[0], noise(1, 9, 9, seed=int(found.id[-1]))[0])
            return len(images)

        while any(run.poll() is None for run in runs):
            list(executor.map(look, range(4)))
        assert all(run.returncode == 0 for run in runs)
        assert look(0) == 8


@pytest.mark.parametrize("value", [None, 1, "href", {"rel": "item"}])
def test_invalid_links_of_a_document_are_ignored(value: Any) -> None:
    assert stac.links({"links": value}, "item") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exists", "message"),
    [(True, "holds no assets"), pytest.param(False, "There is no folder", marks=pytest.mark.slow)],
)
def test_a_server_does_not_start_with_a_folder_without_assets(tmp_path: Path, exists: bool, message: str) -> None:
    folder = tmp_path / "empty"
    if exists:
        folder.mkdir()
    command = [sys.executable, "-m", "eechips_local.run_server", "--port", "0", "--no-demo", "--assets", str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
