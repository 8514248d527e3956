"""Catalogues as stores of assets: what a query gives, beside all items one by one, and what is read for it."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.catalogs import commit
from eechips.archive.catalogs.catalog import open_catalog
from eechips.archive.catalogs.commit import SCHEMA_NAME
from eechips.archive.catalogs.layout import Layout, choose_grid
from eechips.archive.catalogs.update import repair
from eechips.errors import UsageError
from eechips.files.hashes import hash_file
from eechips_local.assets import InvalidStoreError
from eechips_local.assets.item_metadata import band_names, rasters
from eechips_local.catalogs import CatalogStore
from eechips_local.catalogs import catalog_schema as schemas
from eechips_local.catalogs.catalog_schema import DamagedError
from eechips_local.catalogs.catalog_store import CatalogCollection
from eechips_local.evaluation import request_processor
from eechips_local.evaluation.context import Context, ServiceLimits
from eechips_local.evaluation.model import FolderAsset, ImageAsset, Query, Range
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, WorkerRequest
from eechips_local.protocol.request_errors import ChangingError, InvalidError, UnavailableError
from eechips_local.stores import StoreConfig
from tests.support.catalog_items import DAYS, item, put

COUNT = 2000
PLATFORMS = ("sentinel-2a", "sentinel-2b", None)


def scenes(count: int, collection: str = "test") -> list[dict[str, Any]]:
    """Scenes of a degree over North America and the Bering Sea, some across the antimeridian, in half a year."""
    chance = random.Random(7)
    found = []
    for number in range(count):
        west = (chance.uniform(172, 300) + 180) % 360 - 180
        south = chance.uniform(40, 64)
        east = west + 1.2 if west + 1.2 <= 180 else west + 1.2 - 360
        own: dict[str, Any] = {"platform": chance.choice(PLATFORMS), "orbit": chance.randrange(5)}
        own["proj:epsg"] = 32600 + chance.randrange(60)  # which is no property of images
        if chance.random() < 0.9:
            own["eo:cloud_cover"] = round(chance.uniform(0, 100), 1)
        when = f"2020-0{chance.randrange(1, 7)}-{chance.randrange(1, 29):02}T{chance.randrange(24):02}:00:00.123456Z"
        given_ = {name: value for name, value in own.items() if value is not None}
        found.append(item(f"s{number:05d}", (west, south, east, south + 1), when=when, collection=collection, **given_))
    chance.shuffle(found)
    return found


@pytest.fixture(scope="module")
def world() -> Scenes:
    return Scenes(scenes(COUNT))


@pytest.fixture(scope="module")
def folder(world: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of them, in some hundred partitions."""
    path = tmp_path_factory.mktemp("served") / "catalog"
    put(path, world.items, layout=Layout(choose_grid("h3", 1, None, None)))
    return path


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[CatalogStore]:
    with CatalogStore(folder) as found:
        yield found


def collection(store: CatalogStore, name: str = "test") -> CatalogCollection:
    found = store.get(name)
    assert isinstance(found, CatalogCollection)
    return found


def start(value: Mapping[str, Any]) -> int:
    moment = datetime.fromisoformat(value["properties"]["datetime"].replace("Z", "+00:00"))
    return int(moment.timestamp() * 1000)


def place(box: Sequence[float]) -> Any:
    """A box as shapely has it, cut at the antimeridian, which belongs to both sides."""
    west, south, east, north = box
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    ends = {end for span in spans for end in span}
    spans += [(-edge, -edge) for edge in (-180.0, 180.0) if edge in ends]
    return shapely.union_all([_rectangle(a, south, b, north) for a, b in spans])


def _rectangle(west: float, south: float, east: float, north: float) -> Any:
    if west < east and south < north:
        return shapely.box(west, south, east, north)
    is_point = west == east and south == north
    return shapely.Point(west, south) if is_point else shapely.LineString([(west, south), (east, north)])


class Scenes:
    """Items, and what each by itself says to a query."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = items
        self._places = np.array([place(value["bbox"]) for value in items])
        shapely.prepare(self._places)

    def matching(self, query: Query) -> list[str]:
        """Ids of those that are what a query asks for, in order."""
        within = np.ones(len(self.items), dtype=bool)
        if query.bounds is not None:
            within = shapely.intersects(self._places, place(query.bounds))
        found = zip(self.items, within.tolist(), strict=True)
        return sorted(value["id"] for value, is_there in found if is_there and passes(value, query))


def passes(value: Mapping[str, Any], query: Query) -> bool:
    """Whether an item is what a query asks for, wherever it is."""
    own = {**value["properties"], "system:index": value["id"], "system:time_start": start(value), "proj:epsg": None}
    if query.start is not None and start(value) < query.start:
        return False
    if query.end is not None and start(value) >= query.end:
        return False
    for name, span in query.ranges.items():
        number = own.get(name)
        if not (span.others if not isinstance(number, (int, float)) else span.least <= number <= span.greatest):
            return False
    return all(own.get(name) == wanted for name, wanted in query.equals.items())


WHOLE = st.floats(-180, 180, allow_nan=False).map(lambda x: round(x, 2))
BOUNDS = st.tuples(WHOLE, st.floats(38, 64), WHOLE, st.floats(0, 6)).map(lambda b: (b[0], b[1], b[2], b[1] + b[3]))
NEAR = st.tuples(st.floats(-180, -60), st.floats(38, 64), st.floats(0, 8)).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], 180.0), b[1] + b[2] / 2)
)
MOMENTS = st.integers(1_577_000_000_000, 1_595_000_000_000)
RANGES = st.dictionaries(
    st.sampled_from(["eo:cloud_cover", "orbit", "platform", "nothing", "system:time_start", "proj:epsg"]),
    st.builds(Range, st.sampled_from([-np.inf, 0, 10, 2.5]), st.sampled_from([np.inf, 20.0, 3, 90.5]), st.booleans()),
    max_size=2,
)
EQUALS = st.dictionaries(st.just("platform"), st.sampled_from(["sentinel-2a", "x"]), max_size=1) | st.dictionaries(
    st.sampled_from(["orbit", "nothing"]), st.sampled_from([1, 2.0, "1"]), max_size=2
)
QUERIES = st.builds(
    Query, st.none() | BOUNDS | NEAR, st.none() | MOMENTS, st.none() | MOMENTS, EQUALS, RANGES
)  # fmt: skip


@pytest.mark.slow
@given(QUERIES)
def test_queries_agree_with_each_item(world: Scenes, store: CatalogStore, query: Query) -> None:
    found = [image.properties["system:index"] for image in collection(store).images(query)]
    assert found == world.matching(query)


@pytest.mark.slow
def test_file_columns_are_no_properties(store: CatalogStore) -> None:
    """Filters that pass what has no number there pass all, whatever the column of that name has."""
    own = collection(store)
    for name in ("proj:epsg", "datetime", "bbox", "assets"):
        assert list(own.images(Query(None, None, None, {name: 32610}))) == []
        assert len(list(own.images(Query(None, None, None, {}, {name: Range(least=1e9, others=True)})))) == COUNT


def test_a_query_reads_the_partitions_that_can_match(store: CatalogStore) -> None:
    own = collection(store)
    store.reads.take()
    assert own.count(Query()) == COUNT
    assert store.reads.take() == {}
    partitions = store.describe()["partitions"]
    box, month = (-110.0, 45.0, -106.0, 47.0), (1_580_515_200_000, 1_583_020_800_000)
    found = list(own.images(Query(bounds=box, start=month[0], end=month[1])))
    reads = store.reads.take()
    assert found
    assert reads["partitions"] < partitions / 15
    assert reads["rows"] < COUNT / 10
    assert "ids" not in reads
    # What the query has looked at is known, and so are place and date.
    assert all(image.properties["system:time_start"] for image in found)
    assert store.reads.take() == {}


@pytest.mark.slow
def test_row_groups_that_cannot_match_are_passed_over(tmp_path: Path, world: Scenes) -> None:
    """Partitions of several row groups: rows lie by place."""
    put(tmp_path / "catalog", world.items, layout=Layout(choose_grid("h3", 0, None, None), "none", 10_000))
    for path in (tmp_path / "catalog").glob("collection=*/**/*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None), path, row_group_size=20)
    store = CatalogStore(tmp_path / "catalog")
    query = Query(bounds=(-110.0, 45.0, -109.5, 45.5))
    found = [image.id for image in collection(store).images(query)]
    assert found
    assert found == [f"test/{name}" for name in world.matching(query)]
    assert store.reads.take()["rows"] < COUNT / 10
    cloudy = Query(ranges={"eo:cloud_cover": Range(least=1000)})
    assert list(collection(store).images(cloudy)) == []
    assert "rows" not in store.reads.take()


def test_properties_are_those_of_the_items(world: Scenes, store: CatalogStore) -> None:
    by_id = {value["id"]: value for value in world.items}
    query = Query(bounds=(-100.0, 40.0, -90.0, 50.0))
    for image in collection(store).images(query):
        value = by_id[image.properties["system:index"]]
        wanted = {k: part for k, part in value["properties"].items() if k not in ("datetime", "proj:epsg")}
        own = {"system:index": value["id"], "system:time_start": start(value)}
        assert image.properties.get("platform") == wanted.get("platform")
        assert dict(image.properties) == {**wanted, **own}
        assert image.footprint.equals(shapely.geometry.shape(value["geometry"]))
        assert "datetime" not in image.properties
        assert image.properties.get("assets") is None


def test_one_column_is_read_of_what_one_property_is_asked_for(store: CatalogStore) -> None:
    store.reads.take()
    found = list(collection(store).images(Query(bounds=(-100.0, 40.0, -90.0, 50.0))))
    before = store.reads.take()
    assert {image.properties.get("platform") for image in found} == set(PLATFORMS)
    assert store.reads.take()["row_groups"] <= before["row_groups"]
    assert [image.properties.get("platform") for image in found]
    assert [image.properties.get("title") for image in found] == [None] * len(found)
    assert store.reads.take() == {}


def test_an_image_is_found_by_its_id(folder: Path, world: Scenes) -> None:
    store = CatalogStore(folder)
    wanted = world.items[5]["id"]
    image = store.get(f"test/{wanted}")
    assert isinstance(image, ImageAsset)
    assert image.id == f"test/{wanted}"
    store.reads.take()
    assert [found.id for found in collection(store).images(Query(equals={"system:index": wanted}))] == [image.id]
    assert store.reads.take()["partitions"] == 1
    assert store.get("test/nothing") is None
    assert store.get("test/s0") is None
    assert store.get("nothing") is None
    assert store.get("") is None
    fresh = CatalogStore(folder)  # another process: the file of ids is there
    assert fresh.get(f"test/{wanted}") is not None
    assert fresh.reads.take() == {"schemas": 1, "partitions": 1, "row_groups": 1, "rows": pytest.approx(9, abs=8)}


@pytest.mark.slow
def test_all_images_in_order(store: CatalogStore, world: Scenes) -> None:
    ids = sorted(value["id"] for value in world.items)
    assert [image.properties["system:index"] for image in collection(store).images(Query())] == ids
    assert list(store.children("test")) == [f"test/{name}" for name in ids]
    store.reads.take()
    found = next(collection(store).images(Query()))
    assert found.id == f"test/{ids[0]}"
    assert store.reads.take()["partitions"] == 1
    later = collection(store).images_from(COUNT - 3)
    assert [image.id for image in later] == [f"test/{name}" for name in ids[-3:]]
    assert store.reads.take()["partitions"] <= 3


@pytest.mark.slow
def test_walking_through_all_images_does_not_open_partitions_again_and_again(tmp_path: Path) -> None:
    """Ids that lie across all partitions: the more are read at a time, the less often each of those is opened."""
    chance = random.Random(5)
    names = chance.sample(range(10**6), 3000)
    put(
        tmp_path / "c",
        [item(f"i{name:06}", (4.0 * (n % 30), 0.0, 4.0 * (n % 30) + 0.1, 0.1)) for n, name in enumerate(names)],
    )
    store = CatalogStore(tmp_path / "c")
    own = collection(store)
    assert own.image("none") is None  # the file of ids is made
    partitions = len(list((tmp_path / "c").rglob("*.parquet")))
    store.reads.take()
    assert [image.id for image in own.images(Query())] == [f"test/i{name:06}" for name in sorted(names)]
    assert store.reads.take()["partitions"] <= 5 * partitions


def test_collections_are_assets_of_their_ids(tmp_path: Path) -> None:
    folder = tmp_path / "nameless"
    box = (0.0, 0.0, 1.0, 1.0)
    bare = item("c/d", box)
    del bare["collection"]
    put(folder, [item("a", box, collection="NASA/HLS/L30")], [item("b", box, collection="NASA/HLS/L30/b")], [bare])
    put(folder, [item("s", box, collection="sentinel-2-l2a", updated="2021-01-01T00:00:00Z")])
    described = {"type": "Collection", "title": "Scenes", "description": "Of somebody.", "license": "CC-BY-4.0"}
    (folder / "collection=sentinel-2-l2a/_collection.json").write_text(json.dumps(described))
    store = CatalogStore(folder)
    assert list(store.children("")) == ["NASA", "nameless", "sentinel-2-l2a"]
    assert list(store.children("NASA/HLS")) == ["NASA/HLS/L30"]
    assert isinstance(store.get("NASA/HLS"), FolderAsset)
    for asset_id in ("NASA/HLS/L30/a", "NASA/HLS/L30/b/b", "nameless/c/d", "sentinel-2-l2a/s"):
        found = store.get(asset_id)
        assert isinstance(found, ImageAsset), asset_id
        assert found.id == asset_id
    scene = store.get("sentinel-2-l2a/s")
    assert isinstance(scene, ImageAsset)
    assert scene.version == 1_609_459_200_000_000
    properties = collection(store, "sentinel-2-l2a").properties
    assert properties["title"] == "Scenes"
    assert properties["date_range"] == [start(item("x", box)), start(item("x", box))]
    assert store.describe()["collections"]["nameless"] == 1
    (folder).rename(tmp_path / "sentinel-2-l2a")
    with pytest.raises(DamagedError, match="give the folder another name"):
        CatalogStore(tmp_path / "sentinel-2-l2a").get("x")


def test_catalogues_by_mission_are_read(tmp_path: Path) -> None:
    values = [item(f"i{n}", (n, 0.0, n + 1.0, 1.0), platform=f"p{n % 2}") for n in range(8)]
    put(tmp_path / "c", values, layout=Layout(choose_grid("h3", 1, None, None), by="mission"))
    own = collection(CatalogStore(tmp_path / "c"))
    assert [image.id for image in own.images(Query(equals={"platform": "p1"}))] == [f"test/i{n}" for n in (1, 3, 5, 7)]
    assert own.count(Query()) == 8


@pytest.mark.slow
def test_stores_are_serialised_by_path(store: CatalogStore) -> None:
    other = pickle.loads(pickle.dumps(store))
    assert other.path == store.path
    assert collection(other).count(Query()) == COUNT


def test_a_folder_without_a_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidStoreError, match=r"is not a catalogue, it has no _schema\.json"):
        CatalogStore(tmp_path)
    (tmp_path / SCHEMA_NAME).write_text('{"format": 99, "partitions": []}')
    with pytest.raises(DamagedError, match="has format 99"):
        CatalogStore(tmp_path).get("x")
    (tmp_path / SCHEMA_NAME).write_text("{")
    with pytest.raises(DamagedError, match="cannot be understood"):
        CatalogStore(tmp_path).get("x")


# While the catalogue changes


@pytest.fixture
def changing(tmp_path: Path) -> Path:
    put(tmp_path / "c", [item(f"i{n}", (n, 0.0, n + 0.5, 1.0), number=n) for n in range(20)])
    return tmp_path / "c"


def test_responses_follow_changes_of_the_catalogue(changing: Path) -> None:
    store = CatalogStore(changing)
    own = collection(store)
    assert own.count(Query()) == 20
    before = list(own.images(Query(bounds=(0.0, 0.0, 30.0, 1.0))))
    moved = item("i3", (100.0, 0.0, 101.0, 1.0), number=33, updated="2022-01-01T00:00:00Z")
    changed = item("i4", (4.0, 0.0, 4.5, 1.0), number=44, updated="2022-01-01T00:00:00Z")
    put(changing, [moved, changed, item("i9a", (9.0, 0.0, 9.1, 1.0), number=99)])
    assert own.count(Query()) == 21
    images = {image.id.removeprefix("test/"): image for image in own.images(Query(bounds=(0.0, 0.0, 30.0, 1.0)))}
    assert sorted(images) == sorted({f"i{n}" for n in range(20)} - {"i3"} | {"i9a"})
    assert images["i4"].properties["number"] == 44
    assert [image.id for image in own.images(Query(bounds=(99.0, 0.0, 102.0, 1.0)))] == ["test/i3"]
    found = store.get("test/i3")
    assert isinstance(found, ImageAsset)
    assert found.properties["number"] == 33
    # What was found before, and not read yet, is of another moment: no answer is made of both.
    assert before[0].properties["number"] == 0
    with pytest.raises(ChangingError, match="retry the request"):
        [image.properties["number"] for image in before]


def test_a_walk_ends_with_a_change(changing: Path) -> None:
    own = collection(CatalogStore(changing))
    walk = own.images(Query())
    assert [next(walk).id for _ in range(3)] == ["test/i0", "test/i1", "test/i10"]
    put(changing, [item("i0a", (0.0, 0.0, 1.0, 1.0)), item("i9z", (50.0, 0.0, 51.0, 1.0))])
    with pytest.raises(ChangingError, match="was changed while it was read: retry the request"):
        list(walk)
    assert len(list(own.images(Query()))) == 22


def test_the_same_ids_in_another_file_are_not_taken_for_the_same(changing: Path) -> None:
    own = collection(CatalogStore(changing))
    before = list(own.images(Query(bounds=(0.0, 0.0, 30.0, 1.0))))
    put(changing, [item(f"i{n}", (n, 0.0, n + 0.5, 1.0), number=-n, updated=DAYS[1]) for n in range(20)])
    with pytest.raises(ChangingError):
        before[0].properties.get("number")


def test_only_partitions_that_have_changed_are_looked_through_for_ids(changing: Path) -> None:
    store = CatalogStore(changing)
    store.get("test/i1")
    put(changing, [item("new", (0.1, 0.0, 0.2, 1.0))])
    store.reads.take()
    assert store.get("test/new") is not None
    assert store.reads.take()["ids"] < 20
    assert store.get("test/i19") is not None


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_serving_a_catalogue_writes_into_the_cache_and_not_into_it(
    changing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    before = files_of(changing)
    assert CatalogStore(changing).get("test/i7") is not None
    assert files_of(changing) == before
    assert list((tmp_path / "cache" / "ids").rglob("*.arrow"))


def test_without_a_cache_the_ids_are_in_a_temporary_folder(
    changing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "file" / "cache"))
    before = files_of(changing)
    assert CatalogStore(changing).get("test/i7") is not None
    assert files_of(changing) == before


def test_a_partition_that_is_a_link_out_of_the_catalogue_is_not_read(changing: Path, tmp_path: Path) -> None:
    for place in sorted(changing.rglob("*.parquet")):
        place.rename(tmp_path / f"{place.parent.name}.parquet")
        place.symlink_to(tmp_path / f"{place.parent.name}.parquet")
    with pytest.raises(UsageError, match="leads out of"):
        list(open_catalog(changing).items())
    with pytest.raises(Exception, match="outside the store"):
        CatalogStore(changing).get("test/i7")


def test_requests_wait_for_a_commit(changing: Path) -> None:
    assert f"{commit.SCRATCH}/{commit._LIST}" == schemas.PENDING
    assert schemas.SCHEMA == SCHEMA_NAME
    hasty, patient = CatalogStore(changing, patience=0.0), CatalogStore(changing, patience=600.0)
    hasty.get("test")
    (changing / commit.SCRATCH).mkdir()
    pending = changing / schemas.PENDING
    pending.write_text(json.dumps({"schema": [hash_file(changing / SCHEMA_NAME)], "moves": [], "removals": []}))
    with pytest.raises(UnavailableError, match="is being changed: retry the request"):
        hasty.get("test")
    asked = threading.Event()
    counts: list[int] = []

    def ask() -> None:
        asked.set()
        counts.append(collection(patient).count(Query()))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asked.wait()
    assert not counts  # whether it is asking yet or not: nobody answers while the list is there
    assert repair(changing).is_completed
    asking.join()
    assert counts == [20]
    assert collection(hasty).count(Query()) == 20


def test_a_change_that_never_ends_is_waited_for_once(changing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    store = CatalogStore(changing, patience=0.05)
    (changing / commit.SCRATCH).mkdir()
    (changing / schemas.PENDING).write_text("{}")
    waited = []
    for _ in range(3):
        with pytest.raises(UnavailableError, match="eechips catalog repair"):
            store.get("test")
        waited.append(len(slept))
    assert waited[0] > 0
    assert waited == waited[:1] * 3
    (changing / schemas.PENDING).unlink()
    assert collection(store).count(Query()) == 20


def test_a_request_sees_one_version(changing: Path) -> None:
    store = CatalogStore(changing)
    store.begin()
    own = collection(store)
    assert own.count(Query()) == 20
    put(changing, [item("new", (0.1, 0.0, 0.2, 1.0))])
    for ask in (lambda: own.count(Query()), lambda: list(own.images(Query())), lambda: store.get("test/new")):
        with pytest.raises(ChangingError):
            ask()
    store.begin()
    assert own.count(Query()) == 21


@pytest.mark.parametrize("changes", [0, 3, 100])
def test_a_query_is_repeated_when_the_catalogue_changes(
    changing: Path, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    calls = 0

    def count(request: ServiceRequest, context: Context) -> ServiceResponse:
        nonlocal calls
        calls += 1
        images = context.store.get("test").images(Query())
        first = next(images)
        if calls <= changes:
            put(changing, [item(f"new{calls}", (0.1, 0.0, 0.2, 1.0))])
        return ServiceResponse(str(len([first, *images])).encode())

    monkeypatch.setattr(request_processor, "OPERATIONS", {"count": request_processor.ServiceOperation(count)})
    monkeypatch.setattr(request_processor, "_RETRY_SECONDS", 0.0)
    own = request_processor.RequestProcessor(StoreConfig(demo=False, catalogs=(changing,)), ServiceLimits())
    answer = own.process(WorkerRequest("count"))
    if changes == 100:
        assert (answer.status, calls) == (503, 5)
        assert "was changed while it was read: retry the request" in answer.content.decode()
    else:
        assert (answer.status, answer.content, calls) == (200, str(20 + changes).encode(), changes + 1)
    assert own.take_reads()["remade"] == calls - 1


def test_a_missing_or_damaged_partition_is_reported(changing: Path) -> None:
    first, second = sorted(changing.glob("collection=test/**/*.parquet"))[:2]
    own = collection(CatalogStore(changing))
    first.rename(changing / "away")
    with pytest.raises(DamagedError, match=f"{first.parent.name}.*not the one that the catalogue lists"):
        list(own.images(Query(bounds=(0.0, 0.0, 30.0, 1.0))))
    (changing / "away").rename(first)
    second.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DamagedError, match="cannot be read"):
        list(own.images(Query(bounds=(0.0, 0.0, 30.0, 1.0))))


def test_partitions_that_lead_out_of_the_catalogue_are_not_opened(changing: Path, tmp_path: Path) -> None:
    schema = json.loads((changing / SCHEMA_NAME).read_text())
    inside = changing / schema["partitions"][0]["path"]
    shutil.copy(inside, tmp_path / "outside.parquet")
    inside.unlink()
    inside.symlink_to(tmp_path / "outside.parquet")
    with pytest.raises(DamagedError, match="lies outside the store"):
        list(collection(CatalogStore(changing)).images(Query(bounds=(0.0, 0.0, 30.0, 1.0))))


def test_a_removed_catalogue_is_reported(changing: Path) -> None:
    store = CatalogStore(changing)
    changing.rename(changing.with_name("elsewhere"))
    with pytest.raises(DamagedError, match="is not a catalogue"):
        store.get("test")


# Bands


def test_assets_of_very_many_names_are_stored_as_texts(tmp_path: Path) -> None:
    """As columns they would fill the memory with nulls."""
    box = (0.0, 0.0, 1.0, 1.0)
    grid = {"proj:shape": [2, 2], "proj:transform": [1.0, 0.0, 5.0, 0.0, -1.0, 7.0], "proj:epsg": 32613}
    tif = {"type": "image/tiff", "raster:bands": [{"data_type": "int16"}], "roles": ["data"], **grid}
    put(tmp_path / "c", [item(f"i{n}", box, assets={f"b{n}": {"href": f"/x/{n}.tif", **tif}}) for n in range(1200)])
    image = CatalogStore(tmp_path / "c").get("test/i7")
    assert isinstance(image, ImageAsset)
    assert [(band.name, band.grid.width, band.grid.crs) for band in image.bands] == [("b7", 2, "EPSG:32613")]


def test_properties_that_are_called_as_parts_of_paths_are(tmp_path: Path) -> None:
    items = [
        item(f"a{year}", (1, 1, 2, 2), when="2020-06-01T00:00:00Z", collection="test", year=year, cell="left")
        for year in range(2000, 2010)
    ]
    put(tmp_path / "catalog", items, layout=Layout(choose_grid("h3", 1, None, None)))
    with CatalogStore(tmp_path / "catalog") as store:
        there = collection(store)
        found = list(there.images(Query(equals={"year": 2004})))
        assert [image.id for image in found] == ["test/a2004"]
        assert found[0].properties["cell"] == "left"
        assert dict(found[0].properties)["year"] == 2004
        ranged = there.images(Query(ranges={"year": Range(2007, 2020)}))
        assert [image.properties["year"] for image in ranged] == [2007, 2008, 2009]
        assert [image.properties["year"] for image in there.images(Query())] == list(range(2000, 2010))


def test_names_of_bands_are_unique() -> None:
    assert band_names([("red", ["B04"]), ("nir", [None])]) == [["B04"], ["nir"]]
    assert band_names([("image", ["R", "G"]), ("qa", [None, None])]) == [["R", "G"], ["qa_1", "qa_2"]]
    # A composite beside its parts.
    named = [("B04", ["B04"]), ("B03", ["B03"]), ("visual", ["B04", "B03", None])]
    assert band_names(named) == [["B04"], ["B03"], ["visual_B04", "visual_B03", "visual_3"]]
    assert band_names([("left", ["b1"]), ("right", ["b1"])]) == [["left"], ["right"]]
    with pytest.raises(ValueError, match="several of its bands are called a_b"):
        band_names([("a", ["b", "c"]), ("a_b", ["c"])])


def test_raster_assets_become_bands() -> None:
    tif, cog = "image/tiff", "image/tiff; application=geotiff; profile=cloud-optimized"
    assets = {
        "red": {"href": "a.tif", "type": cog, "roles": ["data", "reflectance"], "eo:bands": [{"name": "red"}]},
        "red-jp2": {"href": "a.jp2", "type": "image/jp2", "roles": ["data", "reflectance"]},
        "plain": {"href": "https://x.org/B.TIF?sig=1"},
        "visual": {"href": "v.tif", "type": cog, "roles": ["visual"]},
        "thumbnail": {"href": "t.png", "type": "image/png", "roles": ["thumbnail"]},
        "preview": {"href": "t.tif", "type": tif, "roles": ["overview"]},
        "metadata": {"href": "m.xml", "type": "application/xml", "roles": ["metadata"]},
        "table": {"href": "t.parquet"},
    }
    assert [found.key for found in rasters({"properties": {}, "assets": assets})] == ["red", "plain"]
    others = {key: assets[key] for key in assets if key not in ("red", "plain")}
    assert [found.key for found in rasters({"properties": {}, "assets": others})] == ["red-jp2"]


@pytest.mark.parametrize(
    ("asset", "properties", "expected"),
    [
        ({}, {}, None),
        ({"proj:shape": [20, 10], "proj:transform": [10, 0, 5, 0, -10, 7], "proj:epsg": 32613}, {}, (10, 20)),
        ({"proj:code": "EPSG:4326"}, {"proj:shape": [20, 10], "proj:transform": [1, 0, 5, 0, -1, 7, 0]}, (10, 20)),
        # Size of the asset, transform of the item: those of another file perhaps.
        ({"proj:shape": [20, 10]}, {"proj:transform": [10, 0, 5, 0, -10, 7], "proj:epsg": 32613}, None),
        ({"proj:shape": [20, 10], "proj:transform": [10, 0, 5, 0, -10, 7]}, {"proj:epsg": None}, None),
        ({"proj:shape": [20, 10], "proj:transform": [10, 0, 5, 0, -10, 7]}, {"proj:code": "EPSG:99999999"}, None),
        ({"proj:shape": "x", "proj:transform": [10, 0, 5, 0, -10, 7]}, {"proj:epsg": 32613}, None),
    ],
)  # fmt: skip
def test_grids_are_read_from_item_properties(asset: dict[str, Any], properties: dict[str, Any], expected: Any) -> None:
    document = {"properties": properties, "assets": {"red": {"href": "a.tif", **asset}}}
    (found,) = rasters(document)
    assert (None if found.grid is None else (found.grid.width, found.grid.height)) == expected


@pytest.mark.parametrize(
    ("assets", "message"),
    [
        ({}, "there are none"),
        ({"image": {"href": "a.png", "type": "image/png"}}, r"no GeoTIFF or JPEG 2000 file .*: image \(image/png\)"),
        ({"image": {"href": "/etc/hosts.tif"}}, "/etc/hosts.tif, and this server reads files below .* --catalog-files"),
        ({"image": {"href": "https://x.org/a.tif?sig=secret"}}, "https://x.org/a.tif, and .* --allow-remote"),
        ({"image": {"href": "s3://bucket/a.tif"}}, "s3://bucket/a.tif, and .* --allow-remote"),
        ({"image": {"href": "/vsizip/a.zip/a.tif"}}, "what is read are files"),
        ({"image": {"href": "ftp://x.org/a.tif"}}, "what is read are files"),
        ({"image": {"href": "a.tif"}}, "its item does not say where it came from"),
        ({"image": {"href": "", "type": "image/tiff"}}, "which is no file"),
    ],
)  # fmt: skip
def test_unusable_bands_say_why(tmp_path: Path, assets: dict[str, Any], message: str) -> None:
    put(tmp_path / "c", [item("a", (0.0, 0.0, 1.0, 1.0), assets=assets)])
    image = next(collection(CatalogStore(tmp_path / "c")).images(Query()))
    assert image.properties["system:index"] == "a"
    with pytest.raises(InvalidError, match=message) as caught:
        len(image.bands)
    assert "secret" not in str(caught.value)
