"""The index of a store: queries against a plain filter, freshness, several readers."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.assets import FolderStore, InvalidStoreError
from eechips_local.assets.ingestion.publish import create, publish
from eechips_local.assets.ingestion.records import ImageRecord, RasterBand, RasterFile
from eechips_local.assets.stac import read_item
from eechips_local.assets.store_index import StoreIndex
from eechips_local.evaluation.asset_model import Bounds, CollectionAsset, ImageAsset, Query
from local_tests.support.ingested_rasters import pixels, raster


def eighths(least: int, greatest: int) -> st.SearchStrategy[float]:
    """Numbers that 32 bits hold exactly, as the R-tree rounds outwards."""
    return st.integers(least * 8, greatest * 8).map(lambda number: number / 8)


PLACES = st.tuples(eighths(-180, 179), eighths(-90, 89), eighths(0, 30), eighths(0, 30))
TIMES = st.one_of(st.none(), st.integers(-(10**12), 2 * 10**12))


def record(root: Path, asset_id: str, box: Bounds, time: int | None, **properties: object) -> ImageRecord:
    """An image whose file is empty: nothing here reads pixels."""
    href = "pixels.tif"
    (root / href).touch()
    if time is not None:
        properties["system:time_start"] = time
    return ImageRecord(
        id=asset_id,
        version=1,
        properties=properties,
        footprint=shapely.box(*box),
        files=(RasterFile(href, "EPSG:4326", (1.0, 0.0, box[0], 0.0, -1.0, box[3]), 1, 1, "uint8"),),
        bands=(RasterBand("b1", 0, 0),),
    )


@pytest.fixture
def planet(tmp_path: Path) -> Callable[[list[ImageRecord]], FolderStore]:
    create(tmp_path)

    def make(records: list[ImageRecord]) -> FolderStore:
        publish(tmp_path, records)
        return FolderStore(tmp_path)

    return make


def ids(store: FolderStore, query: Query = Query(), collection: str = "C") -> list[str]:  # noqa: B008 — frozen
    found = store.get(collection)
    assert found is not None
    return [image.id for image in images(found, query)]  # type: ignore[arg-type]


def images(collection: CollectionAsset, query: Query) -> Iterator[ImageAsset]:
    return collection.images(query)


def meets(box: Bounds, query: Bounds) -> bool:
    """Whether two boxes meet on the sphere, by shapely, trying a turn to both sides."""
    west, south, east, north = query
    while east < west:
        east += 360
    wide = shapely.box(west, south, east, north)
    turned = [shapely.box(box[0] + turn, box[1], box[2] + turn, box[3]) for turn in (-720, -360, 0, 360, 720)]
    return any(wide.intersects(one) for one in turned)


@given(
    images_=st.lists(st.tuples(PLACES, TIMES), min_size=1, max_size=25),
    queries=st.lists(
        st.tuples(
            st.one_of(st.none(), st.tuples(eighths(-400, 400), eighths(-90, 60), eighths(0, 400), st.booleans())),
            st.one_of(st.none(), st.integers(-(10**12), 2 * 10**12)),
            st.one_of(st.none(), st.integers(-(10**12), 2 * 10**12)),
        ),
        max_size=6,
    ),
)
def test_queries_find_what_a_plain_filter_finds(
    tmp_path_factory: pytest.TempPathFactory,
    images_: list[tuple[tuple[float, float, float, float], int | None]],
    queries: list[tuple[tuple[float, float, float, bool] | None, int | None, int | None]],
) -> None:
    root = tmp_path_factory.mktemp("index")
    create(root)
    stored = {}
    for number, ((west, south, width, height), time) in enumerate(images_):
        box = (west, south, min(west + width, 180.0), min(south + height, 90.0))
        stored[f"C/{number * 7919 % 101:03d}_{number}"] = (box, time)
    publish(root, [record(root, asset_id, box, time) for asset_id, (box, time) in stored.items()])
    with FolderStore(root) as store:
        assert ids(store) == sorted(stored)
        for place, start, end in queries:
            bounds = None
            if place is not None:
                west, south, width, around = place
                # The same bounds may be written with an east that is less than the west.
                east = west + width - (360 if around and 0 < width < 360 else 0)
                bounds = (west, south, east, south + 20.0)
            found = ids(store, Query(bounds=bounds, start=start, end=end))
            in_time = {
                asset_id: box
                for asset_id, (box, time) in stored.items()
                if (start is None and end is None)
                or (time is not None and (start is None or time >= start) and (end is None or time < end))
            }
            assert found == sorted(
                asset_id for asset_id, box in in_time.items() if bounds is None or meets(box, bounds)
            )


@pytest.mark.slow
def test_images_come_in_the_order_of_ids_over_many_batches(
    tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore]
) -> None:
    names = [f"C/{number * 7919 % 600:04d}" for number in range(600)]
    store = planet([record(tmp_path, names[0], (0, 0, 1, 1), 5)])
    with closing(StoreIndex(tmp_path)) as index:  # without a document for each, which takes its time
        index.update([], [record(tmp_path, name, (0, 0, 1, 1), 5) for name in names])
    assert ids(store) == sorted(names)
    assert ids(store, Query(start=0)) == sorted(names)
    assert ids(store, Query(bounds=(0, 0, 2, 2))) == sorted(names)
    assert list(store.children("C")) == sorted(names)
    one = images(store.get("C"), Query())  # type: ignore[arg-type]
    next(one)
    publish(tmp_path, [record(tmp_path, "C/0000a", (0, 0, 1, 1), 5)])  # no reader is in the way
    assert sum(1 for _ in one) in (599, 600)
    assert len(ids(store)) == 601


def test_equality_is_pushed_down(tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore]) -> None:
    store = planet([record(tmp_path, f"C/i{n}", (n, 0, n + 1, 1), n, cloud=n % 3, name=f"n{n}") for n in range(9)])
    assert ids(store, Query(equals={"system:index": "i4"})) == ["C/i4"]
    assert ids(store, Query(equals={"system:index": "i4", "cloud": 2})) == []
    assert ids(store, Query(equals={"system:index": "../C/i4"})) == []
    assert ids(store, Query(equals={"cloud": 1.0})) == ["C/i1", "C/i4", "C/i7"]
    assert ids(store, Query(equals={"name": "n3"}, start=3)) == ["C/i3"]
    assert ids(store, Query(equals={"nothing": None})) == [f"C/i{n}" for n in range(9)]


def test_other_collections_are_not_seen(tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore]) -> None:
    store = planet([record(tmp_path, f"{parent}/i", (0, 0, 1, 1), 5) for parent in ("C", "C/D", "CC", "B")])
    for parent in ("C", "C/D", "CC", "B"):
        assert ids(store, Query(bounds=(0, 0, 1, 1), start=0), parent) == [f"{parent}/i"]


def test_documents_changed_by_hand_are_noticed(
    tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore]
) -> None:
    store = planet([record(tmp_path, f"C/i{n}", (0, 0, 1, 1), n) for n in range(3)])
    assert len(ids(store)) == 3
    path = tmp_path / "C" / "collection.json"
    document = json.loads(path.read_text())
    document["links"] = [link for link in document["links"] if "i1" not in link["href"]]
    document["eechips:properties"] = {"title": "mine"}
    path.write_text(json.dumps(document))
    assert ids(store) == ["C/i0", "C/i2"]
    assert store.get("C").properties == {"title": "mine"}  # type: ignore[union-attr]
    assert store.get("C/i1") is None
    shutil.rmtree(tmp_path / "C")
    root = json.loads((tmp_path / "catalog.json").read_text())
    root["links"] = [link for link in root["links"] if link["rel"] != "child"]
    (tmp_path / "catalog.json").write_text(json.dumps(root))
    assert store.get("C") is None


def test_a_lost_or_broken_index_is_rebuilt(tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore]) -> None:
    store = planet([record(tmp_path, "C/i", (0, 0, 1, 1), 7, a="b")])
    before = store.get("C/i")
    index = tmp_path / ".index.sqlite"
    index.unlink()
    assert store.get("C/i") == before
    index.write_bytes(b"not a database" * 1000)
    assert store.get("C/i") == before
    index.write_bytes(b"")
    assert FolderStore(tmp_path).get("C/i") == before
    copy = tmp_path.parent / f"{tmp_path.name}-copy"
    shutil.copytree(tmp_path, copy)
    stamp = (copy / ".index.sqlite").stat().st_mtime_ns
    moved = FolderStore(copy).get("C/i")
    assert isinstance(moved, ImageAsset)
    assert moved.bands[0].source.path == str(copy / "pixels.tif")  # type: ignore[attr-defined]
    assert (copy / ".index.sqlite").stat().st_mtime_ns == stamp  # a copy is fresh


def test_a_crash_before_the_index_is_written_is_repaired(
    tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore]
) -> None:
    store = planet([record(tmp_path, "C/i", (0, 0, 1, 1), 7)])
    old = (tmp_path / ".index.sqlite").read_bytes()
    publish(tmp_path, [record(tmp_path, "C/j", (0, 0, 1, 1), 8), record(tmp_path, "C/i", (2, 2, 3, 3), 9)])
    (tmp_path / ".index.sqlite").write_bytes(old)
    assert ids(store) == ["C/i", "C/j"]
    assert ids(store, Query(start=9)) == ["C/i"]


def test_a_store_that_cannot_be_written_is_served(
    tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    planet([record(tmp_path, "C/i", (0, 0, 1, 1), 7)]).close()
    (tmp_path / ".index.sqlite").unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as a read-only mount answers
    with FolderStore(tmp_path) as store:
        assert ids(store) == ["C/i"]
    assert not (tmp_path / ".index.sqlite").exists()


def test_a_broken_item_is_named(tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore]) -> None:
    store = planet([record(tmp_path, "C/i", (0, 0, 1, 1), 7)])
    item = tmp_path / "C" / "i" / "item.json"
    document = json.loads(item.read_text())
    del document["assets"]["data"]["proj:shape"]
    item.write_text(json.dumps(document))
    (tmp_path / ".index.sqlite").unlink()
    with pytest.raises(InvalidStoreError, match=r"item\.json does not describe .*proj:shape"):
        store.get("C/i")
    document["assets"]["data"] |= {"proj:shape": [1, 1], "raster:bands": [{"data_type": "uint8"}] * 9}
    item.write_text(json.dumps(document))
    with pytest.raises(InvalidStoreError, match="lists of bands differ in length"):
        store.get("C/i")


def test_items_of_others_are_served(tmp_path: Path) -> None:
    """A catalogue as other tools write it: relative ids, projection v1, raster:bands, eo:bands; fields of all bands."""
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2A_1", "geometry": None, "bbox": [1, 2, 3, 4],
        "properties": {"datetime": "2020-01-01T00:00:00.0240000Z", "eo:cloud_cover": 3, "mgrs": "33UUU",
                       "proj:epsg": 32614, "proj:shape": [5, 6],
                       "proj:transform": [5, 0, 485900, 0, -5, 5209247, 0, 0, 1]},
        "assets": {
            "B02": {"href": "B02.tif", "roles": ["data"], "eo:bands": [{"name": "blue"}],
                    "raster:bands": [{"data_type": "uint16", "nodata": 0, "scale": 0.0001}]},
            "B03": {"href": "B03.tif", "bands": [{"name": "green"}], "data_type": "uint16", "nodata": 9,
                    "raster:scale": 0.5, "raster:offset": -0.25},
            "thumbnail": {"href": "https://example.com/a.png", "roles": ["thumbnail"]},
        },
        "links": [],
    }  # fmt: skip
    collection = {
        "type": "Collection", "id": "sentinel-2", "stac_version": "1.0.0", "description": "", "license": "other",
        "extent": {}, "links": [{"rel": "item", "href": "./S2A_1.json"}],
    }  # fmt: skip
    root = {"type": "Catalog", "id": "anything", "stac_version": "1.0.0", "description": "",
            "links": [{"rel": "child", "href": "./s2/collection.json"}]}  # fmt: skip
    (tmp_path / "s2").mkdir()
    for name, document in {"catalog.json": root, "s2/collection.json": collection, "s2/S2A_1.json": item}.items():
        (tmp_path / name).write_text(json.dumps(document))
    values = np.arange(30, dtype="uint16").reshape(1, 5, 6) % 13
    for name in ("B02", "B03"):
        raster(tmp_path / "s2" / f"{name}.tif", values)
    with FolderStore(tmp_path) as store:
        (found,) = images(store.get("sentinel-2"), Query())  # type: ignore[arg-type]
        for band, nodata in enumerate((0, 9)):
            stored, valid = pixels(found, band)
            np.testing.assert_array_equal(stored, values[0])
            np.testing.assert_array_equal(valid, values[0] != nodata)
    raster(tmp_path / "s2" / "B02.tif", values, nodata=5)  # what the file says itself counts
    with FolderStore(tmp_path) as store:
        (found,) = images(store.get("sentinel-2"), Query())  # type: ignore[arg-type]
        np.testing.assert_array_equal(pixels(found)[1], values[0] != 5)
    described = read_item(item, "sentinel-2", tmp_path, "s2/S2A_1.json")
    assert isinstance(described, ImageRecord)
    assert [(band.name, band.nodata, band.scale, band.offset) for band in described.bands] == [
        ("blue", 0.0, 0.0001, 0.0), ("green", 9.0, 0.5, -0.25),
    ]  # fmt: skip
    assert found.id == "sentinel-2/S2A_1"
    assert dict(found.properties) == {
        "mgrs": "33UUU", "eo:cloud_cover": 3, "system:time_start": 1577836800024, "system:index": "S2A_1",
        "system:asset_size": sum(file.stat().st_size for file in (tmp_path / "s2").glob("B0?.tif")),
    }  # fmt: skip
    band = found.bands[0]
    assert (band.name, band.grid.crs, band.grid.width, band.pixel_type.maximum) == ("blue", "EPSG:32614", 6, 65535)
    assert found.footprint.bounds == (1, 2, 3, 4)


def _count(path: str) -> int:
    with FolderStore(path) as store:
        return len(ids(store, Query(bounds=(0, 0, 1, 1))))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_several_processes_read_a_lost_index(
    tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore], method: str
) -> None:
    store = planet([record(tmp_path, f"C/i{n}", (0, 0, 1, 1), n) for n in range(50)])
    assert len(ids(store)) == 50
    (tmp_path / ".index.sqlite").unlink()
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_count, [str(tmp_path)] * 6) == [50] * 6
    assert len(ids(store)) == 50


def test_a_change_that_a_kill_has_cut_off_is_not_rolled_back_into_the_next_index(
    tmp_path: Path, planet: Callable[[list[ImageRecord]], FolderStore]
) -> None:
    """Its journal made the index unreadable, and would have put pages of the old one into the new one."""
    planet([record(tmp_path, f"C/{number:03}", (0, 0, 1, 1), number) for number in range(200)]).close()
    index, journal = tmp_path / ".index.sqlite", tmp_path / ".index.sqlite-journal"
    code = f"""if True:
        import os, signal, sqlite3
        database = sqlite3.connect({str(index)!r}, isolation_level=None)
        database.execute("PRAGMA cache_size = 1")  # so that pages are written before the end of the transaction
        database.execute("BEGIN")
        database.execute("UPDATE asset SET name = name || 'x', record = record || hex(zeroblob(99))")
        os.kill(os.getpid(), signal.SIGKILL)"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert journal.stat().st_size
    with closing(FolderStore(tmp_path)) as store:
        assert ids(store) == [f"C/{number:03}" for number in range(200)]
    assert not journal.exists()
    with closing(planet([record(tmp_path, "C/200", (0, 0, 1, 1), 200)])) as store:
        assert ids(store) == [f"C/{number:03}" for number in range(201)]
