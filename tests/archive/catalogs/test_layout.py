"""Layout of catalogues, by collection or by mission, and its options."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import geopandas
import pyarrow.parquet as pq
import pytest

import eechips
from eechips.archive.catalogs.ingestion.ingest import ingest
from eechips.archive.catalogs.options import CatalogOptions
from eechips.archive.catalogs.partitions.grid_systems import H3, S2
from eechips.archive.catalogs.partitions.layout import Layout, fields, owner
from eechips.errors import UsageError
from tests.support.catalog_items import DAYS, contents, item, put
from tests.support.commands import run_command

HERE, THERE = (8.0, 50.0, 8.01, 50.01), (-105.0, 40.0, -104.99, 40.01)
BY_MISSION = Layout(H3(2), by="mission")


def mixed() -> list[dict[str, Any]]:
    """Items of three missions, told in three ways, and one of none."""
    return [
        item("a", HERE, platform="sentinel-2a", constellation="sentinel-2", collection="l2a"),
        item("b", THERE, platform="sentinel-2b", constellation="sentinel-2", collection="l2a"),
        item("c", HERE, platform="landsat-8", collection="c2"),
        item("d", HERE, platform="x", mission="a/b=c", collection="l2a"),
        item("e", HERE, collection="l2a"),
    ]


def test_partitions_are_by_mission_first(tmp_path: Path) -> None:
    put(tmp_path, *([value] for value in mixed()), layout=BY_MISSION)
    catalog = eechips.open_catalog(tmp_path)
    assert catalog.schema.layout == BY_MISSION
    told = {(p.mission, p.collection, p.cell == "821faffffffffff") for p in catalog.partitions()}
    assert told == {
        ("sentinel-2", "l2a", True), ("sentinel-2", "l2a", False), ("landsat-8", "c2", True), ("a/b=c", "l2a", True),
        (None, "l2a", True),
    }  # fmt: skip
    (path,) = (p.path for p in catalog.partitions(missions="a/b=c"))
    assert path == "mission=a%2Fb%3Dc/collection=l2a/cell=821faffffffffff/year=2020/month=1/items.parquet"
    assert fields(path) == {
        "mission": "a/b=c", "collection": "l2a", "cell": "821faffffffffff", "year": 2020, "month": 1
    }  # fmt: skip
    assert [value["id"] for value in catalog.items(missions=["sentinel-2"], bbox=THERE)] == ["b"]
    assert [value["id"] for value in catalog.items(missions="sentinel-2", collections="c2")] == []
    assert len(list(catalog.items(bbox=HERE))) == 4
    assert catalog.statistics["collections"]["l2a"]["items"] == 4


def test_an_item_that_changes_its_mission_is_there_once(tmp_path: Path) -> None:
    put(tmp_path, [item("a", HERE, mission="one", updated=DAYS[0])], [item("b", HERE)], layout=BY_MISSION)
    outcome = put(tmp_path, [item("a", HERE, mission="two", updated=DAYS[1])])
    assert (outcome.moved, outcome.replaced, outcome.removed[0].partition("/")[0]) == (1, 1, "mission=one")
    values = contents(eechips.open_catalog(tmp_path))
    assert values["test", "a"]["properties"]["mission"] == "two"
    assert len(values) == 2


def test_duckdb_and_pyarrow_read_mission_partitions(tmp_path: Path) -> None:
    put(tmp_path, *([value] for value in mixed() if value["collection"] == "l2a"), layout=BY_MISSION)
    source = f"read_parquet('{tmp_path}/**/*.parquet', hive_partitioning = true, union_by_name = true)"
    query = f"SELECT mission, collection, count(*) FROM {source} GROUP BY ALL ORDER BY ALL"
    assert duckdb.sql(query).fetchall() == [("a/b=c", "l2a", 1), ("none", "l2a", 1), ("sentinel-2", "l2a", 2)]
    assert pq.read_table(tmp_path, columns=["id"], filters=[("mission", "=", "sentinel-2")]).num_rows == 2
    assert sorted(geopandas.read_parquet(tmp_path)["mission"]) == ["a/b=c", "none", "sentinel-2", "sentinel-2"]


def test_a_catalogue_stays_by_what_it_was_made(tmp_path: Path) -> None:
    put(tmp_path, mixed()[:2], layout=BY_MISSION)
    with pytest.raises(UsageError, match=r"has another layout: by mission, h3 resolution 2, .* not h3 resolution 2"):
        put(tmp_path, mixed()[:2], layout=Layout(H3(2)))
    (tmp_path / "_schema.json").unlink()
    with pytest.raises(UsageError, match="has partitions, but no _schema"):
        put(tmp_path, mixed()[:2])


def test_the_command_knows_missions(tmp_path: Path) -> None:
    (tmp_path / "list.ndjson").write_text("".join(json.dumps(value) + "\n" for value in mixed()))
    out = tmp_path / "catalog"
    run_command("catalog", "ingest", f"{tmp_path}/list.ndjson", "--out", out, "--by", "mission", status=0)
    listed = run_command("catalog", "partitions", out, "--mission", "sentinel-2", "--point=8.005,50.005")
    assert [Path(line).relative_to(out).parts[0] for line in listed.output.splitlines()] == ["mission=sentinel-2"]
    run_command("catalog", "ingest", f"{tmp_path}/list.ndjson", "--out", tmp_path / "other")
    refused = run_command("catalog", "partitions", tmp_path / "other", "--mission", "sentinel-2")
    assert (refused.exit_code, "are by collection, not by mission" in refused.output) == (2, True)


def test_omitted_options_default_to_the_catalogue() -> None:
    assert CatalogOptions().layout(None) == Layout(H3(2), "month", 10, "collection")
    known = Layout(S2(7), "year", 3, "mission")
    assert CatalogOptions().layout(known) == known
    assert CatalogOptions(period="day").layout(known) == Layout(S2(7), "day", 3, "mission")
    assert CatalogOptions(resolution=8, by="collection").layout(known) == Layout(S2(8), "year", 3, "collection")
    assert CatalogOptions(grid="h3", most_cells=1).layout(known) == Layout(H3(2), "year", 1, "mission")
    with pytest.raises(UsageError, match="cannot be by 'platform', only by collection or mission"):
        CatalogOptions(by="platform").layout(None)  # type: ignore[arg-type]


def test_catalogues_that_know_nothing_of_missions_are_by_collection() -> None:
    value = Layout(H3(2)).to_json()
    del value["by"]
    assert Layout.from_json(value) == Layout(H3(2))


@pytest.mark.parametrize("function", [eechips.catalog, ingest])
def test_options_are_declared_once_and_misspellings_are_reported(function: Any, tmp_path: Path) -> None:
    named = inspect.signature(function).parameters
    assert {"by", "grid", "resolution", "tiles", "period", "most_cells", "give_up_unreadable"} <= named.keys()
    with pytest.raises(UsageError, match="no option 'resolutoin'; did you mean 'resolution'"):
        function(tmp_path, out=tmp_path / "catalog", resolutoin=2)
    assert list(tmp_path.iterdir()) == []


NAMES = ["none", "n", "%6Eone", "a/b", "..", "é" * 100, "é" * 101, "x" * 300, "x" * 301, "a b%2F=&", "😀" * 80, None]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["collection", "mission"])
def test_collections_and_missions_of_any_name_are_kept_apart(tmp_path: Path, by: Any) -> None:
    """Names as long as no file's may be, such as stand for none, and such as paths have."""
    values = [item("a", (0, 0, 1, 1), collection=name or "", n=n) for n, name in enumerate(NAMES)]
    for value, name in zip(values, NAMES, strict=True):
        if name is None:
            del value["collection"]
        elif by == "mission":
            value |= {"collection": "one", "id": name, "properties": {**value["properties"], "mission": name}}
    (tmp_path / "list.ndjson").write_text("\n".join(map(json.dumps, values)))
    found = ingest(tmp_path / "list.ndjson", tmp_path / "catalog", by=by, quiet=True)
    assert (found.counts.failures, found.outcome.new, len(found.catalog)) == ({}, len(NAMES), len(NAMES))
    catalog = eechips.open_catalog(tmp_path / "catalog")
    assert sorted(value["properties"]["n"] for value in catalog.items()) == list(range(len(NAMES)))
    for n, name in enumerate(NAMES[:-1]):
        assert name is not None
        wanted = {"collections": name} if by == "collection" else {"missions": name}
        assert [value["properties"]["n"] for value in catalog.items(**wanted)] == [n]  # type: ignore[arg-type]
    pattern = f"{tmp_path}/catalog/**/*.parquet"
    rows = duckdb.sql(f"SELECT {by} FROM read_parquet('{pattern}', hive_partitioning = true)").fetchall()
    read = {name for (name,) in rows}
    assert {name for name in NAMES if name is not None and len(quote(name)) < 200} <= read
    assert len(read) == len(NAMES) - 1  # none, and what has no name, are read the same
    # Nothing changes as they come again.
    again = ingest(tmp_path / "list.ndjson", tmp_path / "catalog", quiet=True)
    assert (again.outcome.new, again.outcome.written) == (0, ())


def test_a_path_without_a_collection_belongs_to_none() -> None:
    assert owner("mission=a/collection=b/cell=1/items.parquet") == "collection=b"
    with pytest.raises(UsageError, match=r"'cell=1/items.parquet' is not the path of a partition"):
        owner("cell=1/items.parquet")
