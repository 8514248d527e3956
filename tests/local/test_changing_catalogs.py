"""Catalogues that change, are damaged or removed while they are served."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from eechips.archive.catalogs.catalog import open_catalog
from eechips.archive.catalogs.partitions import commit
from eechips.archive.catalogs.partitions.commit import SCHEMA_NAME
from eechips.archive.catalogs.update import repair
from eechips.errors import UsageError
from eechips.files.hashes import hash_file
from eechips_local.catalogs import CatalogStore
from eechips_local.catalogs import catalog_schema as schemas
from eechips_local.catalogs.catalog_schema import DamagedError
from eechips_local.evaluation import request_processor
from eechips_local.evaluation.asset_model import ImageAsset, Query
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, WorkerRequest
from eechips_local.protocol.request_errors import ChangingError, UnavailableError
from eechips_local.stores import StoreConfig
from local_tests.support.parameters import slow_except
from tests.support.catalog_items import DAYS, item, put
from tests.support.catalog_scenes import collection


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


@pytest.mark.parametrize("changes", slow_except([0, 3, 100], 3))
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
