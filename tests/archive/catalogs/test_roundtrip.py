"""Items round-trip through a catalogue, as far as tables can represent them."""

from __future__ import annotations

import asyncio
import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import pyarrow.parquet as pq
import pytest
import rustac
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from stac_geoparquet.arrow import stac_table_to_items

import eechips
from eechips.archive.catalogs.ingestion.ingest import ingest
from eechips.archive.catalogs.partitions.column_types import MEMBERS
from eechips.archive.catalogs.partitions.columns import items_of, table_of
from tests.support.catalog_items import contents, item, put

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6)
NAMES = st.one_of(
    st.sampled_from(["a", "a.b", "year", "cell", "a/b", "ä:😀", "A", "_path", "_key", "element", "key", "", " "]), TEXTS
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.integers(2**63, 2**64 - 1), st.just(2**53 + 1),
    st.floats(allow_nan=False, allow_infinity=False), TEXTS, st.sampled_from(["", "1", "null", "{}", "[1"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
PROPERTIES = st.dictionaries(NAMES.filter(lambda name: name not in MEMBERS), VALUES, max_size=4)


def bare(value: Any) -> Any:
    """A value without what no row tells from nothing: nulls and empty objects in objects."""
    if isinstance(value, dict):
        parts = {name: bare(part) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part is not None} or None
    return [bare(part) for part in value] if isinstance(value, list) else value


def is_nothing(found: Any) -> bool:
    """Return whether a value is an empty object as text, beside values that are no objects."""
    return isinstance(found, str) and found.startswith("{") and bare(json.loads(found)) is None


def is_same(found: Any, given: Any) -> bool:
    """Return whether a value came back unchanged, as a number of another type, or as JSON text."""
    found = bare(found)
    if found == given and isinstance(found, bool) == isinstance(given, bool):
        return True
    if isinstance(found, str):
        try:
            return is_same(json.loads(found), given)
        except ValueError:
            return False
    if isinstance(found, dict) and isinstance(given, dict):
        found = {name: part for name, part in found.items() if name in given or not is_nothing(part)}
        return found.keys() == given.keys() and all(is_same(found[name], given[name]) for name in given)
    if isinstance(found, list) and isinstance(given, list):
        return len(found) == len(given) and all(map(is_same, found, given))
    if isinstance(found, float) and isinstance(given, int):  # beside fractions
        return found == float(given)
    return False


@pytest.mark.slow
@given(st.lists(st.lists(st.tuples(PROPERTIES, PROPERTIES), min_size=1, max_size=3), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_properties_and_assets_round_trip(batches: list[list[tuple[dict[str, Any], dict[str, Any]]]]) -> None:
    numbers = iter(range(100))
    values = [[made(f"{next(numbers)}", *both) for both in batch] for batch in batches]
    with tempfile.TemporaryDirectory() as folder:
        for batch in values:
            put(Path(folder), copy.deepcopy(batch))
        found = contents(eechips.open_catalog(folder))
    for value in (value for batch in values for value in batch):
        own = found["test", value["id"]]
        assert_same(own["properties"], value["properties"])
        assert_same(own["assets"], value["assets"])


def made(identifier: str, own: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    value = item(identifier, (0, 0, 1, 1), assets={name: {"href": "x", "y": part} for name, part in parts.items()})
    return value | {"properties": {**value["properties"], **own}}


def assert_same(found: Any, given: Any) -> None:
    expected = bare(given) or {}
    found = {name: part for name, part in (bare(found) or {}).items() if name in expected or not is_nothing(part)}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert is_same(found[name], value), (name, found[name], value)


COORDINATES = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@given(st.lists(COORDINATES, min_size=1, max_size=5))
def test_coordinates_round_trip_exactly(points: list[tuple[float, float]]) -> None:
    shape = shapely.MultiPoint(points)
    value = item("a", (0, 0, 1, 1)) | {
        "geometry": {"type": "MultiPoint", "coordinates": [list(point) for point in points]},
        "bbox": list(shape.bounds),
    }
    (found,) = items_of(table_of([value]))
    pairs = zip(found["geometry"]["coordinates"], points, strict=True)
    assert all(float(a).hex() == float(b).hex() for one, other in pairs for a, b in zip(one, other, strict=True))
    assert found["bbox"] == value["bbox"]


@pytest.mark.slow
@pytest.mark.parametrize("value", [[None, None], [[None]], [{}, {}], [{"a": None}], {"a": [None, None]}, {"a": []}])
def test_columns_of_nulls_are_merged(tmp_path: Path, value: Any) -> None:
    """With itself, with nothing, and with what is something."""
    for number, own in enumerate(({"y": value}, {}, {"y": value}, {"y": [1]}, {"y": {"a": ["x"]}})):
        outcome = put(tmp_path, [item(f"{number}", (0, 0, 1, 1), x=own, assets={"a": {"href": "x", **own}})])
        assert (outcome.new, outcome.blocked) == (1, 0)
    found = contents(eechips.open_catalog(tmp_path))
    assert len(found) == 5
    assert is_same(found["test", "0"]["properties"]["x"]["y"], bare(value))


def test_other_readers_read_the_same_values(tmp_path: Path) -> None:
    """Whole numbers beyond what fractions know, names with dots and slashes, and such as partitions' paths have."""
    parts = {"a.b/c": {"href": "x", "n": [1, 2]}, "ä": {"href": "y"}}
    values = [
        item(f"{n}", (n, 0, n + 1, 1), when=f"2020-0{n + 1}-01T00:00:00Z", assets=parts, big=2**60 + n, third=n / 3,
             year=1 if n else "x", cell="mine", month=5, **{"a.b": {"c/d": [n]}, "ü": "😀"})
        for n in range(3)
    ]  # fmt: skip
    put(tmp_path, values)
    expected = {n: (2**60 + n, n / 3, {"c/d": [n]}, "😀") for n in range(3)}
    rows = duckdb.sql(
        f"""SELECT id, big, third, "a.b", "ü", month, assets FROM read_parquet('{tmp_path}/**/*.parquet',
            hive_partitioning = true) ORDER BY id"""
    ).fetchall()
    assert {int(row[0]): row[1:5] for row in rows} == expected
    assert [row[5] for row in rows] == [1, 2, 3]
    frame = geopandas.read_parquet(tmp_path / "collection=test").set_index("id")
    library, rust = {}, {}
    for path in tmp_path.rglob("*.parquet"):
        library |= {found["id"]: found for found in stac_table_to_items(pq.ParquetFile(path).read())}
        rust |= {found["id"]: found for found in asyncio.run(read(path))["features"]}
    own = contents(eechips.open_catalog(tmp_path))
    for n, value in enumerate(values):
        assert frame.loc[f"{n}", "big"] == 2**60 + n
        assert own["test", f"{n}"]["properties"] == value["properties"]
        for found in (library[f"{n}"], rust[f"{n}"]):
            properties = found["properties"]
            assert tuple(properties[name] for name in ("big", "third", "a.b", "ü")) == expected[n]
            assert found["assets"] == parts
            assert properties["property:cell"] == "mine"


def test_items_without_assets_are_read_by_others(tmp_path: Path) -> None:
    """Beside items that have some, in the same lists and in later ones."""
    box = (0, 0, 1, 1)
    put(tmp_path, [item("none", box, assets={})])
    put(tmp_path, [item("some", box), item("other", box, assets={"x": {"href": "y"}}), item("nothing", box, assets={})])
    (path,) = tmp_path.rglob("*.parquet")
    expected = {"none": [], "some": ["image"], "other": ["x"], "nothing": []}
    assert {found["id"]: list(found["assets"]) for found in asyncio.run(read(path))["features"]} == expected
    assert {
        key[1]: list(found["assets"]) for key, found in contents(eechips.open_catalog(tmp_path)).items()
    } == expected


async def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = await rustac.read(str(path))
    return found


@pytest.mark.slow
def test_objects_with_too_many_fields_are_stored_as_json(tmp_path: Path) -> None:
    """Each asset called after its item, each item with names of its own in an object, and objects in objects."""
    nested: Any = 1
    for _ in range(200):
        nested = {"a": nested}
    values = [
        item(f"{n}", (0, 0, 1, 1), assets={f"{n}.tif": {"href": "x", "proj:geometry": POINT}}, stats={f"{n}": n})
        for n in range(1100)
    ] + [item("deep", (0, 0, 1, 1), nested=nested, assets={"one": {"href": "y"}})]
    (tmp_path / "list.ndjson").write_text("\n".join(map(json.dumps, values)))
    small = [item("small", (0, 0, 1, 1), assets={"one": {"href": "x", "proj:geometry": POINT}}, stats={"a": 1})]
    (tmp_path / "small.ndjson").write_text(json.dumps(small[0]))
    for name in ("small", "list"):
        assert not ingest(tmp_path / f"{name}.ndjson", tmp_path / "catalog", quiet=True).counts.failures
    own = contents(eechips.open_catalog(tmp_path / "catalog"))
    for value in (*small, *values):
        found = own["test", value["id"]]
        assert found["assets"] == value["assets"]
        for name in value["properties"].keys() & {"stats", "nested"}:
            assert json.loads(found["properties"][name]) == value["properties"][name]
    text = '{"id": "x", "type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": '
    deeper = f'{text}{{"datetime": "2020-01-01T00:00:00Z", "x": {"[" * 900}{"]" * 900}}}}}'
    (tmp_path / "list.ndjson").write_text(f"{deeper}\n{json.dumps(small[0])}")
    found = ingest(tmp_path / "list.ndjson", tmp_path / "other", collection="test", quiet=True)
    assert (found.counts.failures, found.counts.items) == ({"no row": 1}, 1)


@pytest.mark.slow
@pytest.mark.parametrize("names", [1, 500])
def test_rare_properties_share_a_column(tmp_path: Path, names: int) -> None:
    """A name of its own for each item, or for some: no columns that are all but empty."""
    values = [item(f"{n}", (0, 0, 1, 1), gsd=n, **{f"p{n // names}": {"x": [n]}}) for n in range(1500)]
    (tmp_path / "list.ndjson").write_text("\n".join(map(json.dumps, values)))
    assert ingest(tmp_path / "list.ndjson", tmp_path / "catalog", quiet=True).counts.mended == {}
    own = contents(eechips.open_catalog(tmp_path / "catalog"))
    for value in values:
        assert own["test", value["id"]]["properties"] == value["properties"]
    (path,) = (tmp_path / "catalog").rglob("*.parquet")
    columns = pq.read_schema(path).names
    assert len(columns) < 20
    assert ("properties" in columns) == (names == 1)
    assert len(asyncio.run(read(path))["features"]) == len(stac_table_to_items_of(path)) == 1500


def stac_table_to_items_of(path: Path) -> list[dict[str, Any]]:
    return list(stac_table_to_items(pq.ParquetFile(path).read()))


POINT = {"type": "Point", "coordinates": [1.5, 2.5]}
