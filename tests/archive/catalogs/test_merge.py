"""Merging, against a dictionary; queries, against a scan of every item."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.archive.catalogs.catalog import Catalog, open_catalog
from eechips.archive.catalogs.extents import Extent
from eechips.archive.catalogs.partitions.grid_systems import H3
from eechips.archive.catalogs.partitions.layout import Layout
from eechips.errors import StorageError, UsageError
from tests.support.catalog_items import BASE, DAYS, boxes, contents, digests, item, put

HERE, THERE = (8.0, 50.0, 8.01, 50.01), (-105.0, 40.0, -104.99, 40.01)
STAMPS = [None, "2021-01-01T00:00:00Z", "2021-01-02T00:00:00Z", "2021-01-03T00:00:00Z"]


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    """Items of few ids, so that many are versions of each other; places, dates, columns differ."""
    extra = draw(st.sampled_from([{}, {"a": 1}, {"a": "x"}, {"b": [1, 2]}, {"c": {"d": 1.5}}, {"e": {}}, {"f": [{}]}]))
    return item(
        draw(st.sampled_from("abcdefgh")),
        draw(st.one_of(boxes(), st.sampled_from([HERE, THERE]))),
        when=draw(st.sampled_from(DAYS)),
        updated=draw(st.sampled_from(STAMPS)),
        collection=draw(st.sampled_from(["one", "a/b"])),
        assets=draw(st.sampled_from([None, {}, {"S2": {"href": "x", "bands": [{"name": "B4"}]}}])),
        **extra,
    )


def batches_of(values: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Batches of one collection each, in the order given."""
    found: list[list[dict[str, Any]]] = []
    for value in values:
        if not found or len(found[-1]) == 3 or found[-1][0]["collection"] != value["collection"]:
            found.append([])
        found[-1].append(value)
    return found


merges_of_items = st.lists(st.lists(items(), min_size=1, max_size=8), min_size=1, max_size=4)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(600)
@given(merges_of_items, st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_newest_of_every_item_wins_in_many_random_merges(merges: list[list[dict[str, Any]]], streams: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if streams:
            patch.setattr("eechips.archive.catalogs.partitions.merge_plan._AT_ONCE", 0)
        assert_newest_win(merges)


def test_integers_stay_integers_however_their_batches_are_mixed(tmp_path: Path) -> None:
    """A batch with more texts than numbers has its numbers apart, from where they return."""
    texts = [item(name, HERE, when=DAYS[0], a="x") for name in "ac"]
    numbers = [item(name, THERE, when=DAYS[0], a=1) for name in "bd"]
    for batch in ([numbers[0]], [numbers[1]], [texts[0]], [texts[1]]):
        put(tmp_path, batch)
    before = digests(tmp_path)
    put(tmp_path, [texts[0], numbers[0], texts[1]], [numbers[1]])
    assert digests(tmp_path) == before
    put(tmp_path, [texts[0], item("b", THERE, when=DAYS[0], a=1.5), texts[1]])
    found = contents(open_catalog(tmp_path))
    assert {key[1]: value["properties"]["a"] for key, value in found.items()} == {"a": "x", "b": 1.5, "c": "x", "d": 1}


def test_large_partitions_are_merged_as_streams_to_the_same_bytes(tmp_path: Path) -> None:
    many = [item(f"{n}", (8.0 + n / 1000, 50.0, 8.01 + n / 1000, 50.01), updated=STAMPS[1]) for n in range(300)]
    news = [item(f"{n}", (8.0 + n / 1000, 50.0, 8.02 + n / 1000, 50.01), updated=STAMPS[2]) for n in range(100, 400)]
    for name, most in (("small", 32_000_000), ("large", 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("eechips.archive.catalogs.partitions.merge_plan._AT_ONCE", most)
            patch.setattr("eechips.archive.catalogs.partitions.partition_writer._BATCH", 50)
            put(tmp_path / name, many[:200], many[200:])
            put(tmp_path / name, news[::2], news[1::2])
    assert (tmp_path / "small/_schema.json").read_bytes() == (tmp_path / "large/_schema.json").read_bytes()
    assert len(open_catalog(tmp_path / "large")) == 400


@pytest.mark.slow
def test_wide_rows_are_in_small_groups_and_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    """Items of megabytes: memory goes by their bytes, not by their number."""
    made = [item(f"{n}", (8.0 + n / 1000, 50.0, 8.01 + n / 1000, 50.01), text=f"{n}" * 1000) for n in range(300)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eechips.archive.catalogs.partitions.merge_plan._AT_ONCE", 0)
        patch.setattr("eechips.archive.catalogs.partitions.partition_writer._GROUP_BYTES", 100_000)
        patch.setattr("eechips.archive.catalogs.partitions.partition_writer._BATCH_BYTES", 20_000)
        patch.setattr("eechips.archive.catalogs.ingestion.sorted_runs._BATCH_BYTES", 20_000)
        put(tmp_path, made[::2])
        put(tmp_path, made[1::2])
    (path,) = tmp_path.rglob("*.parquet")
    file = pq.ParquetFile(path)
    assert file.metadata.num_row_groups > 3
    sizes = [file.read_row_group(number).nbytes for number in range(file.metadata.num_row_groups)]
    assert max(sizes) < 200_000
    assert {key[1]: value["properties"]["text"] for key, value in contents(open_catalog(tmp_path)).items()} == {
        value["id"]: value["properties"]["text"] for value in made
    }


def clouds(values: Sequence[Any], first: int = 0, **options: Any) -> list[dict[str, Any]]:
    """Items in several partitions, each with a cloud cover."""
    return [
        item(f"{n}", (float(n % 90), 10.0, n % 90 + 0.01, 10.01), when=DAYS[n % len(DAYS)], **{"eo:cloud_cover": value})
        for n, value in enumerate(values, first)
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize("batch", [1, 7, 101])
def test_one_text_among_numbers_takes_no_item_from_a_query_of_numbers(tmp_path: Path, batch: int) -> None:
    made = clouds([*range(50), "n/a", *range(50, 100)])
    outcome = put(tmp_path, *(made[first : first + batch] for first in range(0, len(made), batch)))
    assert outcome.mixed == {"eo:cloud_cover": {"text": 1}}
    table = geopandas.read_parquet(tmp_path)
    assert len(table) == 101
    assert (table["eo:cloud_cover"] < 20).sum() == 20
    found = contents(open_catalog(tmp_path))
    assert {key[1]: value["properties"]["eo:cloud_cover"] for key, value in found.items()} == {
        value["id"]: value["properties"]["eo:cloud_cover"] for value in made
    }


@pytest.mark.slow
def test_a_column_has_one_type_in_all_partitions_whatever_came_first(tmp_path: Path) -> None:
    put(tmp_path, clouds(["n/a", "n/a"]))
    put(tmp_path, clouds([3, 4, 5], 2))
    put(tmp_path, clouds([0.5], 5))
    put(tmp_path, [value | {"collection": "other"} for value in clouds([7, "x"], 6)])
    types = {str(pq.read_schema(path).field("eo:cloud_cover").type) for path in tmp_path.rglob("*.parquet")}
    assert types == {"double"}
    assert sorted(geopandas.read_parquet(tmp_path)["eo:cloud_cover"].dropna()) == [0.5, 3, 4, 5, 7]
    values = [value["properties"]["eo:cloud_cover"] for value in contents(open_catalog(tmp_path)).values()]
    assert sorted(map(str, values)) == ["0.5", "3.0", "4.0", "5.0", "7.0", "n/a", "n/a", "x"]


def test_mixed_columns_are_cast_or_refused_if_that_is_wanted(tmp_path: Path) -> None:
    made = clouds([1, "2", " 3.5", "n/a", True, 4, 5, 6])
    with pytest.raises(UsageError, match="eo:cloud_cover has other values"):
        put(tmp_path / "refused", made, mixed="refuse")
    assert not list((tmp_path / "refused").rglob("*.parquet"))
    put(tmp_path / "cast", made[:2], made[2:], mixed="cast")
    assert sorted(geopandas.read_parquet(tmp_path / "cast")["eo:cloud_cover"].dropna()) == [1, 2, 3.5, 4, 5, 6]
    values = [value["properties"]["eo:cloud_cover"] for value in contents(open_catalog(tmp_path / "cast")).values()]
    assert "n/a" in values
    assert True in values


def assert_newest_win(merges: list[list[dict[str, Any]]]) -> None:
    find_latest: dict[tuple[str, str], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "catalog"
        for values in merges:
            for value in values:
                key = value["collection"], value["id"]
                known = find_latest.get(key)
                stamp = value["properties"].get("updated", "")
                if known is None or stamp >= known["properties"].get("updated", ""):
                    find_latest[key] = value
            put(folder, *batches_of(values), layout=Layout(H3(1), "month", 5))
            found = contents(open_catalog(folder))
            assert found.keys() == find_latest.keys()
            for key, value in find_latest.items():
                assert found[key]["bbox"] == value["bbox"]
                assert found[key]["assets"] == value["assets"]
                assert found[key]["properties"].get("b") == value["properties"].get("b")
                assert found[key]["properties"].get("c") == value["properties"].get("c")
                assert found[key]["properties"]["datetime"][:10] == value["properties"]["datetime"][:10]
            catalog = open_catalog(folder)
            assert_statistics_are_right(catalog)
            before = digests(folder)
            put(folder, *batches_of([find_latest[key] for key in sorted(find_latest)]))  # all of it again
            assert digests(folder) == before


def assert_statistics_are_right(catalog: Catalog) -> None:
    listed = {catalog.path / path for path in catalog.schema.partitions}
    assert listed == set(catalog.path.rglob("*.parquet"))
    for partition in catalog.schema.partitions.values():
        path = catalog.path / partition.path
        ids = pq.ParquetFile(path).read(columns=["id"])["id"].to_pylist()
        assert partition.items == len(ids) == len(set(ids)) > 0
        assert partition.bytes == path.stat().st_size
    assert catalog.statistics["items"] == len(catalog)


@pytest.mark.exhaustive
@pytest.mark.slow
@given(st.lists(boxes(), min_size=1, max_size=12), st.lists(boxes(), min_size=1, max_size=5), st.integers(1, 20))
@settings(max_examples=15, deadline=None)
def test_no_query_misses_an_item(shapes: list[Any], queries: list[Any], most_cells: int) -> None:
    values = [
        item(f"{number:03}", box, when=DAYS[number % len(DAYS)], updated=STAMPS[1]) for number, box in enumerate(shapes)
    ]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "catalog"
        put(folder, values, layout=Layout(H3(2), "month", most_cells))
        catalog = open_catalog(folder)
        for number, query in enumerate(queries):
            start, end = (None, None) if number % 2 else (DAYS[number % 4], DAYS[number % 4 + 2])
            expected = {
                value["id"]
                for value, box in zip(values, shapes, strict=True)
                if Extent(*box).meets(Extent(*query))
                and (start is None or start <= value["properties"]["datetime"])
                and (end is None or value["properties"]["datetime"] < end)
            }
            assert {found["id"] for found in catalog.items(bbox=query, start=start, end=end)} == expected
            listed = {partition.path for partition in catalog.partitions(bbox=query, start=start, end=end)}
            holding = {path for path, ids in ids_by_path(catalog).items() if ids & expected}
            assert holding <= listed


def ids_by_path(catalog: Catalog) -> dict[str, set[str]]:
    return {
        path: set(pq.ParquetFile(catalog.path / path).read(columns=["id"])["id"].to_pylist())
        for path in catalog.schema.partitions
    }


def test_partitions_without_news_keep_their_files(tmp_path: Path) -> None:
    put(tmp_path, [item("a", HERE, updated=STAMPS[1]), item("b", THERE, updated=STAMPS[1])])
    before = digests(tmp_path)
    outcome = put(tmp_path, [item("a", HERE, updated=STAMPS[2]), item("b", THERE, updated=None)])
    changed = [path for path, value in digests(tmp_path).items() if before[path] != value]
    assert (outcome.new, outcome.replaced, outcome.older, outcome.moved) == (0, 1, 1, 0)
    assert len(changed) == 1
    assert list(outcome.written) == changed


def test_an_item_that_moves_leaves_its_old_place_and_an_empty_partition_goes(tmp_path: Path) -> None:
    put(tmp_path, [item("a", HERE, updated=STAMPS[1]), item("b", THERE), item("c", THERE)])
    outcome = put(tmp_path, [item("a", THERE, updated=STAMPS[2]), item("b", THERE, when=DAYS[5])])
    assert (outcome.moved, len(outcome.removed), len(outcome.written)) == (2, 1, 2)
    assert sorted(key[1] for key in contents(open_catalog(tmp_path))) == ["a", "b", "c"]
    assert len(list(tmp_path.glob("collection=test/cell=*"))) == 1  # its folders have gone too
    outcome = put(tmp_path, [item("a", HERE, updated=STAMPS[1])])
    assert outcome.older == 1
    assert contents(open_catalog(tmp_path))["test", "a"]["bbox"] == list(THERE)


def test_the_later_of_equal_timestamps_wins(tmp_path: Path) -> None:
    put(tmp_path, [item("a", HERE, n=1), item("a", THERE, n=2)], [item("a", HERE, n=3), item("a", HERE, n=4)])
    assert contents(open_catalog(tmp_path))["test", "a"]["properties"]["n"] == 4
    put(tmp_path, [item("a", HERE, n=5)])
    assert contents(open_catalog(tmp_path))["test", "a"]["properties"]["n"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "gone", "empty", "pages"])
def test_a_partition_that_cannot_be_read_stops_its_own_merge_alone(tmp_path: Path, damage: str) -> None:
    many = [item(f"{n}", HERE, updated=STAMPS[1], text=f"{n}" * 300) for n in range(200)]
    put(tmp_path, many, [item("x", THERE, updated=STAMPS[1])])
    (path,) = (p for p in open_catalog(tmp_path).partitions(bbox=HERE))
    broken = tmp_path / path.path
    whole = broken.read_bytes()
    if damage == "gone":
        broken.unlink()
    else:
        cut = {"cut": whole[:-20], "empty": b"", "pages": damaged_pages(broken, "text")}[damage]
        broken.write_bytes(cut)
    news = [item("0", HERE, updated=STAMPS[2]), item("y", HERE), item("x", THERE, updated=STAMPS[2])]
    outcome = put(tmp_path, news)
    assert list(outcome.stopped) == [path.path]
    assert (outcome.blocked, outcome.replaced, outcome.new) == (2, 1, 0)
    assert broken.exists() is (damage != "gone")
    if damage != "gone":
        assert broken.read_bytes() == cut
    assert open_catalog(tmp_path).schema.partitions[path.path] == path
    with pytest.raises(StorageError, match="cannot be read"):
        list(open_catalog(tmp_path).items(bbox=HERE))
    # An item does not leave a place for one that it cannot enter.
    outcome = put(tmp_path, [item("x", HERE, updated=STAMPS[3])])
    assert (outcome.blocked, outcome.moved) == (1, 0)
    assert [found["id"] for found in open_catalog(tmp_path).items(bbox=THERE)] == ["x"]
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(whole)
    outcome = put(tmp_path, news)
    assert (outcome.blocked, outcome.replaced, outcome.new, len(contents(open_catalog(tmp_path)))) == (0, 2, 1, 202)


def test_items_that_moved_while_their_partition_could_not_be_read_are_not_doubled(tmp_path: Path) -> None:
    put(tmp_path, [item(name, HERE, updated=STAMPS[2]) for name in "abcd"], [item("z", THERE)])
    (old,) = open_catalog(tmp_path).partitions(bbox=HERE)
    whole = (tmp_path / old.path).read_bytes()
    (tmp_path / old.path).write_bytes(b"")
    stamps = {"a": STAMPS[3], "b": STAMPS[2], "c": STAMPS[1]}
    outcome = put(tmp_path, [item(name, THERE, updated=stamp) for name, stamp in stamps.items()])
    assert (outcome.new, list(outcome.stopped)) == (3, [old.path])  # nobody can know that they are not
    put(tmp_path, [item("y", THERE)])
    (tmp_path / old.path).write_bytes(whole)
    assert open_catalog(tmp_path).schema.suspects == {old.path}
    put(tmp_path, [item("q", THERE, collection="other")])  # of another collection: not looked at
    assert open_catalog(tmp_path).schema.suspects == {old.path}
    put(tmp_path, [item("x", THERE)])
    values = contents(open_catalog(tmp_path))
    assert {name: value["bbox"][0] for (collection, name), value in values.items() if collection == "test"} == {
        **dict.fromkeys("abxyz", THERE[0]), **dict.fromkeys("cd", HERE[0])
    }  # fmt: skip
    assert open_catalog(tmp_path).schema.suspects == frozenset()


def damaged_pages(path: Path, column: str) -> bytes:
    """The file with another content of one column: its footer and its ids are as they were."""
    data = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunk = next(group.column(n) for n in range(group.num_columns) if group.column(n).path_in_schema == column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    return bytes(data)


def test_unreadable_partitions_can_be_given_up(tmp_path: Path) -> None:
    put(tmp_path, [item("a", HERE), item("b", HERE), item("c", THERE)])
    for partition in open_catalog(tmp_path).partitions():
        (tmp_path / partition.path).write_bytes(b"PAR1")
    outcome = put(tmp_path, [item("a", HERE)], give_up=True)
    assert (len(outcome.lost), outcome.new, outcome.stopped) == (2, 1, {})
    assert [key[1] for key in contents(open_catalog(tmp_path))] == ["a"]
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_a_catalogue_keeps_its_layout(tmp_path: Path) -> None:
    put(tmp_path, [item("a", HERE)])
    with pytest.raises(
        UsageError, match="h3 resolution 2, period month, most cells 10, not h3 resolution 3, period day"
    ):
        put(tmp_path, [item("a", HERE)], layout=Layout(H3(3), "day", 10))
    (tmp_path / "_schema.json").unlink()
    with pytest.raises(UsageError, match="has partitions, but no _schema"):
        put(tmp_path, [item("a", HERE)])


@pytest.mark.parametrize(
    ("period", "path"),
    [("none", ""), ("year", "/year=2020"), ("month", "/year=2020/month=2"), ("day", "/year=2020/month=2/day=15")],
)
def test_partitions_lie_in_folders_of_their_period(tmp_path: Path, period: Any, path: str) -> None:
    put(tmp_path, [item("a", HERE, when=DAYS[3], collection="a/b=c %")], layout=Layout(H3(2), period))
    (found,) = tmp_path.rglob("*.parquet")
    assert found.relative_to(tmp_path).as_posix() == (
        f"collection=a%2Fb%3Dc%20%25/cell=821faffffffffff{path}/items.parquet"
    )
    (partition,) = open_catalog(tmp_path).partitions(collections="a/b=c %")
    assert (partition.collection, partition.cell, partition.start) == ("a/b=c %", "821faffffffffff", DAYS[3])
    assert open_catalog(tmp_path).partitions(collections=["a"]) == []


def test_invalid_layouts_are_refused() -> None:
    with pytest.raises(UsageError, match="no period 'week'"):
        Layout(H3(2), "week")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="must be at least 1, not 0"):
        Layout(H3(2), "month", 0)


def test_the_schema_file_lists_partitions_and_columns(tmp_path: Path) -> None:
    put(tmp_path, [item("a", (179.5, 1, -179.5, 2), updated=STAMPS[1]), item("b", HERE, when=DAYS[5])])
    value = json.loads((tmp_path / "_schema.json").read_text())
    assert value["grid"] == {"name": "h3", "resolution": 2}
    assert value["statistics"]["items"] == 2
    assert value["statistics"]["cells"] == 2
    assert (value["statistics"]["start"], value["statistics"]["end"]) == (DAYS[0], DAYS[5])
    assert value["columns"]["test"]["bbox"].startswith("struct<xmin: double")
    assert sorted(p["bbox"] for p in value["partitions"]) == [list(HERE), [179.5, 1.0, -179.5, 2.0]]
    assert sorted(str(p["updated"]) for p in value["partitions"]) == [STAMPS[1], "None"]


def test_folders_without_a_catalogue_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a catalogue"):
        open_catalog(tmp_path)
    (tmp_path / "_schema.json").write_text("{")
    with pytest.raises(StorageError, match="cannot be read"):
        open_catalog(tmp_path)
    (tmp_path / "_schema.json").write_text('{"format": 99}')
    with pytest.raises(UsageError, match="has format 99"):
        open_catalog(tmp_path)


def test_base_is_the_usual_layout() -> None:
    assert Layout.from_json(BASE.to_json()) == BASE
