"""Which ids a catalogue has: by an index that is never believed if it differs from the partitions."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import fsspec
import pytest

from eechips.archive.catalogs.catalog import Catalog, open_catalog
from eechips.archive.catalogs.partitions import id_index, id_segments, partition_versions
from eechips.archive.catalogs.partitions.id_index import IdIndex
from eechips.archive.catalogs.partitions.schema import Schema
from eechips.archive.catalogs.update import repair
from eechips.errors import StorageError, UsageError
from local_tests.support.captured_log import CapturedLog
from tests.support.catalog_items import DAYS, contents, item, put
from tests.support.commands import run_command

PLACES = [(lon, 10.0, lon + 0.01, 10.01) for lon in (0.0, 20.0, 40.0, 60.0)]
WANTED = [f"{number}" for number in range(12)]


def items_of(numbers: range, **more: Any) -> list[dict[str, Any]]:
    return [item(f"{number}", PLACES[number % 4], **more) for number in numbers]


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "_ids").iterdir()) if (folder / "_ids").exists() else []


def known(catalog: Catalog, **options: Any) -> list[str]:
    return [name for name, there in zip(WANTED, catalog.contains(WANTED, **options), strict=True) if there]


@pytest.fixture
def warned(caplog: CapturedLog) -> CapturedLog:
    caplog.set_level(logging.WARNING, id_index.__name__)
    return caplog


def uncovered(folder: Path) -> list[str]:
    return IdIndex(folder, Schema.load(folder)).uncovered


def test_a_catalogue_has_the_ids_of_its_items(tmp_path: Path, warned: CapturedLog) -> None:
    put(tmp_path, items_of(range(8)))
    assert known(open_catalog(tmp_path)) == WANTED[:8]
    put(tmp_path, items_of(range(8, 10)))
    assert known(open_catalog(tmp_path)) == WANTED[:10]
    assert not warned.messages


def test_a_merge_reads_only_partitions_with_its_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, items_of(range(8)))
    read: list[str] = []
    keep = partition_versions._identities
    monkeypatch.setattr(
        partition_versions, "_identities", lambda folder, path: (read.append(path), keep(folder, path))[1]
    )
    put(tmp_path, [item("5", PLACES[1]), item("11", PLACES[3])])
    assert read == [path for path, part in Schema.load(tmp_path).partitions.items() if part.extent.bbox[0] == 20]


def test_ids_are_those_of_a_collection(tmp_path: Path) -> None:
    put(tmp_path, items_of(range(4), collection="one"), items_of(range(2, 6), collection="a/b"))
    catalog = open_catalog(tmp_path)
    assert known(catalog, collection="one") == WANTED[:4]
    assert known(catalog, collection="a/b") == WANTED[2:6]
    assert known(catalog, collection="c") == []
    with pytest.raises(UsageError, match=r"several collections.*a/b, one"):
        catalog.contains(WANTED)
    assert catalog.contains([], collection="one").tolist() == []


@pytest.mark.parametrize("damage", ["lost", "truncated", "changed", "foreign", "empty"])
def test_a_damaged_index_is_noticed_and_rebuilt(tmp_path: Path, warned: CapturedLog, damage: str) -> None:
    put(tmp_path, items_of(range(8)))
    (segment,) = segments(tmp_path)
    data = segment.read_bytes()
    if damage == "lost":
        segment.unlink()
    else:
        new = {"truncated": data[:-1], "changed": b"\0" * 40 + data[40:], "foreign": b"PAR1" * 99, "empty": b""}
        segment.write_bytes(new[damage])
    assert known(open_catalog(tmp_path)) == WANTED[:8]
    assert "4 of 4 partitions" in warned.text
    warned.clear()
    put(tmp_path, items_of(range(8)))  # changes nothing else
    assert [path.read_bytes() for path in segments(tmp_path)] == [data]
    assert known(open_catalog(tmp_path)) == WANTED[:8]
    assert not warned.messages


def test_repair_checks_and_completes_the_index(tmp_path: Path) -> None:
    put(tmp_path, items_of(range(8)))
    (segment,) = segments(tmp_path)
    data = segment.read_bytes()
    segment.write_bytes(b"\0" * 20 + data[20:])
    arguments = ["catalog", "repair", str(tmp_path)]
    assert "Completed the index of ids." in run_command(*arguments).output
    assert [path.read_bytes() for path in segments(tmp_path)] == [data]
    assert "Nothing to repair." in run_command(*arguments).output
    assert not (tmp_path / ".scratch-merge").exists()


def test_a_partition_that_was_replaced_is_read_instead(tmp_path: Path, warned: CapturedLog) -> None:
    """Also by one of the same size, with the time of change of the old one, that the schema does not have."""
    put(tmp_path / "a", items_of(range(8)))
    other = items_of(range(8))
    other[0]["id"], other[4]["id"] = "9", "8"  # as long
    put(tmp_path / "b", other)
    (path,) = (path for path, part in Schema.load(tmp_path / "a").partitions.items() if part.extent.bbox[0] == 0)
    before = (tmp_path / "a" / path).stat()
    shutil.copy(tmp_path / "b" / path, tmp_path / "a" / path)
    os.utime(tmp_path / "a" / path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert uncovered(tmp_path / "a") == [path]
    assert known(open_catalog(tmp_path / "a")) == ["1", "2", "3", "5", "6", "7", "8", "9"]
    assert "1 of 4 partitions" in warned.text
    repair(tmp_path / "a")
    assert uncovered(tmp_path / "a") == [path]  # its ids are unknown as long as it is not the one of the schema


def test_a_copied_catalogue_has_a_valid_index(tmp_path: Path, warned: CapturedLog) -> None:
    put(tmp_path / "a", items_of(range(8)))
    shutil.copytree(tmp_path / "a" / "_ids", tmp_path / "b" / "_ids")  # older than the partitions then
    shutil.copytree(tmp_path / "a", tmp_path / "b", dirs_exist_ok=True)
    assert known(open_catalog(tmp_path / "b")) == WANTED[:8]
    assert not warned.messages


def test_a_partition_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, items_of(range(8)))
    next(tmp_path.rglob("*.parquet")).write_bytes(b"PAR1")
    with pytest.raises(StorageError, match=r"items\.parquet cannot be read"):
        open_catalog(tmp_path).contains(WANTED)


def test_an_index_leads_nowhere_else(tmp_path: Path) -> None:
    put(tmp_path / "a", items_of(range(8)))
    (segment,) = segments(tmp_path / "a")
    shutil.move(segment, tmp_path / "elsewhere")
    segment.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out"):
        open_catalog(tmp_path / "a").contains(WANTED)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 9))])
def test_the_index_follows_every_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Items come, change, move and leave partitions empty; the index covers all, in few segments, without dead ones."""
    monkeypatch.setattr(id_segments, "_GROUP_ROWS", 2)
    random = Random(seed)
    for number in range(5):
        stamp = f"2021-01-{number + 1:02}T00:00:00Z"
        numbers = random.sample(range(12), random.choice([1, 1, 5]))
        put(
            tmp_path,
            [item(f"{n}", random.choice(PLACES), when=random.choice(DAYS[::2]), updated=stamp) for n in numbers],
        )
        catalog = open_catalog(tmp_path)
        assert known(catalog) == [name for name in WANTED if ("test", name) in contents(catalog)]
        assert uncovered(tmp_path) == []
        index = IdIndex(tmp_path, catalog.schema)
        assert not index.damaged
        assert len(segments(tmp_path)) <= 4
        assert sum(len(each.segment) for each in index._segments) <= 2 * len(catalog)


def test_copies_in_a_store_are_searched(tmp_path: Path, warned: CapturedLog) -> None:
    put(tmp_path, items_of(range(8)))
    address = f"memory://{tmp_path.name}/catalog"
    files = fsspec.filesystem("memory")
    files.put(f"{tmp_path}/", address.removeprefix("memory:/"), recursive=True)
    assert known(open_catalog(address)) == WANTED[:8]
    assert not warned.messages
    path = min(Schema.load(tmp_path).partitions)
    files.pipe_file(f"/{tmp_path.name}/catalog/{path}", (tmp_path / path).read_bytes() + b"PAR1")  # of another size
    with pytest.raises(StorageError, match="cannot be read"):
        known(open_catalog(address))
    (segment,) = segments(tmp_path)
    files.rm(f"/{tmp_path.name}/catalog/_ids/{segment.name}")
    files.pipe_file(f"/{tmp_path.name}/catalog/{path}", (tmp_path / path).read_bytes())
    assert known(open_catalog(address)) == WANTED[:8]
    assert "4 of 4 partitions" in warned.text


def test_the_command_lists_new_ids(tmp_path: Path) -> None:
    put(tmp_path, items_of(range(8)))
    done = run_command("catalog", "new", tmp_path, "-", given="\n".join(["x", *WANTED, "ü", "x"]))
    assert (done.exit_code, done.output) == (0, "x\n8\n9\n10\n11\nü\nx\n")
