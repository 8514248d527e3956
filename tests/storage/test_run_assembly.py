"""Assembly of results in a store that is a folder behind fsspec, without a server."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from eechips.engine.results.result_assembly import Results
from eechips.errors import StorageError
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.storage import ObjectStore

COUNT = 30


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path}/store")


@pytest.fixture
def ledger(tmp_path: Path, store: ObjectStore) -> Iterator[Ledger]:
    """Of units whose results are in the store, but for the fifth, which is empty and has none."""
    planned, records = [], []
    for position in range(COUNT):
        name = f"parts/{position}"
        planned.append(WorkUnit(position, f"{position:064x}", '{"kind":"cell"}', name))
        if position == 5:
            records.append(Record(position=position, state=State.EMPTY))
            continue
        staged = store.stage(f"{name}.csv", content(position), "test")
        store.commit(staged)
        facts = {"file": staged.name, "bytes": staged.size, "sha256": staged.sha256}
        records.append(Record(position=position, state=State.DONE, **facts))  # type: ignore[arg-type]
    (tmp_path / "here").mkdir()
    with Ledger(tmp_path / "here" / LEDGER_NAME) as found:
        found.store_plan({}, planned)
        found.record(records)
        yield found


def content(position: int) -> bytes:
    return b"number\n%d\n" % position


def fail_half_way(path: Path) -> None:
    path.write_bytes(b"half")
    raise ValueError("broken")


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.csv") if ".parts" in path.parts)


def test_parts_are_fetched_back_in_order_and_removed(tmp_path: Path, ledger: Ledger, store: ObjectStore) -> None:
    results = Results(ledger, tmp_path / "here", remote=store, quiet=True)
    found = [settled.path and settled.path.read_bytes() for settled in results]
    assert found == [None if position == 5 else content(position) for position in range(COUNT)]
    assert len(parts(tmp_path / "here")) == COUNT - 1
    with lock_folder(tmp_path / "here"):
        results.remove_parts()
    assert parts(tmp_path / "here") == []


def test_local_parts_are_not_fetched_again(tmp_path: Path, ledger: Ledger, store: ObjectStore) -> None:
    list(Results(ledger, tmp_path / "here", remote=store, quiet=True))  # and then it was killed
    store.remove("parts/3.csv")
    (tmp_path / "here" / ".parts" / "parts" / "4.csv").write_bytes(b"number\n9\n")  # as large, and another content
    again = list(Results(ledger, tmp_path / "here", remote=store, quiet=True))
    assert [settled.path and settled.path.read_bytes() for settled in again[3:5]] == [content(3), content(4)]


def test_changed_and_missing_parts_are_refused(tmp_path: Path, ledger: Ledger, store: ObjectStore) -> None:
    store.commit(store.stage("parts/7.csv", b"number\n8\n", "test"))
    with pytest.raises(StorageError, match=r"parts/7\.csv has changed since it was recorded"):
        list(Results(ledger, tmp_path / "here", remote=store, quiet=True))
    store.remove("parts/7.csv")
    with pytest.raises(StorageError, match=r"parts/7\.csv is missing: the same command fetches it again"):
        list(Results(ledger, tmp_path / "here", remote=store, quiet=True))


def test_assembled_files_are_uploaded_and_kept_locally(tmp_path: Path, ledger: Ledger, store: ObjectStore) -> None:
    results = Results(ledger, tmp_path / "here", remote=store, quiet=True)
    with results.make("whole.csv") as path:
        path.write_bytes(b"all of it")
    assert (tmp_path / "here" / "whole.csv").read_bytes() == store.read("whole.csv") == b"all of it"
    assert results.made == [{"file": "whole.csv", "bytes": 9, "sha256": hashlib.sha256(b"all of it").hexdigest()}]
    with pytest.raises(ValueError, match="broken"), results.make("other.csv") as path:
        fail_half_way(path)
    assert store.size("other.csv") is None
    assert not (tmp_path / "here" / "other.csv").exists()


def test_units_are_parsed_one_by_one(tmp_path: Path) -> None:
    """A unit of many points takes several times the memory of its text: not all units of a plan are there at once."""
    text = json.dumps({"kind": "cell", "at": [[place / 7, place / 3] for place in range(200)]})
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan({}, (WorkUnit(place, f"{place:064x}", text, f"cells/{place}") for place in range(1000)))
        ledger.record([Record(position=place, state=State.EMPTY) for place in range(1000)])
        tracemalloc.start()
        count = sum(1 for _ in Results(ledger, tmp_path, quiet=True))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == 1000
    assert peak < 2 * 1000 * len(text)
