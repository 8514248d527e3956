"""Rows of items, against those of stac-geoparquet."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest
import shapely
from stac_geoparquet.arrow import parse_stac_items_to_arrow, stac_table_to_items, to_parquet

from eechips.archive.catalogs.partitions.column_types import conformed, unified
from eechips.archive.catalogs.partitions.columns import items_of, stamps_of, table_of
from eechips.errors import UsageError
from tests.support.catalog_items import item

ITEMS = [
    item("a", (7, 50, 8, 51), updated="2021-05-06T07:08:09.123456Z", gsd=10, **{"proj:shape": [3, 4]}),
    item("b", (179, -1, -179, 1), created="2020-01-01T00:00:00Z", gsd=0.5, platform="x", **{"proj:code": "EPSG:1"}),
    item("c", (0, 0, 0, 0), start_datetime="2020-01-01T00:00:00Z", end_datetime="2020-02-01T00:00:00Z",
         assets={"S2": {"href": "s3://x/S2.tif", "bands": [{"name": "B4"}, {"name": "B3"}]}}),
]  # fmt: skip


DATE = "2020-01-01T12:00:00Z"


def test_rows_equal_those_of_stac_geoparquet() -> None:
    own = table_of(ITEMS)
    other = parse_stac_items_to_arrow(copy.deepcopy(ITEMS)).read_all()
    assert set(own.column_names) == set(other.column_names)
    for name in own.column_names:
        mine = own[name].cast(pa.string()) if name == "collection" else own[name]
        assert mine.combine_chunks().to_pylist() == other[name].combine_chunks().to_pylist(), name
        if name != "stac_extensions":  # of empty lists it does not know the type
            assert mine.type == other[name].type, name


def test_items_round_trip() -> None:
    assert_same(list(items_of(table_of(ITEMS))), ITEMS)
    assert [found["id"] for found in stac_table_to_items(table_of(ITEMS))] == ["a", "b", "c"]


def test_items_gain_no_fields_from_other_items() -> None:
    """In rows of items with other assets and properties they have nulls."""
    schema = unified([table_of([value]).schema for value in ITEMS])
    rows = pa.concat_tables([conformed(table_of([value]), schema) for value in ITEMS])
    assert_same(list(items_of(rows)), ITEMS)
    for found in items_of(rows):
        pystac.Item.from_dict(found).validate()


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in other.keys() - {"geometry", "properties"}:
            assert one[name] == other[name], name
        assert shapely.geometry.shape(one["geometry"]) == shapely.geometry.shape(other["geometry"])
        assert one["properties"].keys() == other["properties"].keys()
        for name, value in other["properties"].items():
            is_time = name in ("created", "updated") or name.endswith("datetime")
            same = pystac.utils.str_to_datetime(one["properties"][name]) if is_time else one["properties"][name]
            assert same == (pystac.utils.str_to_datetime(value) if is_time else value), name


def test_a_property_has_the_type_of_most_of_its_values_and_the_others_are_kept_as_they_are() -> None:
    values: list[Any] = [1, "x", None, True, [1], {"a": 2}, 2]
    table = table_of([item(str(i), (0, 0, 1, 1), thing=value) for i, value in enumerate(values)])
    assert table["thing"].to_pylist() == [1, None, None, None, None, None, 2]
    assert [found["properties"].get("thing") for found in items_of(table)] == values
    nested = table_of([item(str(i), (0, 0, 1, 1), thing={"a": [value], "b": 1}) for i, value in enumerate((1, "x"))])
    assert nested["thing"].to_pylist() == [{"a": ["1"], "b": 1}, {"a": ["x"], "b": 1}]


def test_mixed_number_types_stay_numbers() -> None:
    values = [2**60, 0.5, 2**70]
    table = table_of([item(str(i), (0, 0, 1, 1), thing=value) for i, value in enumerate(values)])
    assert table["thing"].to_pylist() == values
    assert [found["properties"]["thing"] for found in items_of(table)] == values


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 2.5, [1.0, 2.5]),
        (1, "x", [1, None]),
        (True, "x", [True, None]),
        ([1], ["x"], [["1"], ["x"]]),
        ([], [{"a": 1}], [[], [{"a": 1}]]),
        ({"a": 1}, {"b": [2.5]}, [{"a": 1, "b": None}, {"a": None, "b": [2.5]}]),
        ({"a": {"b": 1}}, {"a": {"b": "x"}}, [{"a": {"b": "1"}}, {"a": {"b": "x"}}]),
        ({"a": 1}, "x", ['{"a": 1}', "x"]),
        (2**40, 1, [2**40, 1]),
    ],
)
def test_tables_of_several_types_are_put_together(one: Any, other: Any, expected: list[Any]) -> None:
    tables = [table_of([item(str(i), (0, 0, 1, 1), thing=value)]) for i, value in enumerate((one, other))]
    schema = unified([table.schema for table in tables])
    whole = pa.concat_tables([conformed(table, schema) for table in tables])
    assert whole["thing"].to_pylist() == expected
    if None in expected:
        assert [found["properties"]["thing"] for found in items_of(whole)] == [one, other]
    sliced = conformed(pa.concat_tables([tables[0], tables[0]]).slice(1), schema)
    assert sliced["thing"].to_pylist() == expected[:1]


def test_empty_objects_become_null(tmp_path: Path) -> None:
    values = [item("a", (0, 0, 1, 1), assets={}, thing={}, things=[{}, {}], more={"x": {}, "y": 1})]
    table = table_of(values)
    to_parquet(table, tmp_path / "items.parquet")
    (found,) = items_of(pq.read_table(tmp_path / "items.parquet"))
    assert found["assets"] == {}
    assert found["properties"] == {"datetime": DATE, "things": [None, None], "more": {"y": 1}}


def test_projected_geometries_are_wkb(tmp_path: Path) -> None:
    """Of properties and of assets, of some items and not of others, as the library has them."""
    square = shapely.geometry.mapping(shapely.box(0, 0, 100, 100))
    point = {"type": "Point", "coordinates": [1.5, 2.5]}
    values = [
        item("a", (0, 0, 1, 1), assets={"x": {"href": "1", "proj:geometry": square}}, **{"proj:geometry": point}),
        item("b", (0, 0, 1, 1), assets={"x": {"href": "2"}, "y": {"href": "3", "proj:geometry": point}}),
        item("c", (0, 0, 1, 1), assets={}),
    ]
    to_parquet(table_of(values), tmp_path / "items.parquet")
    own, other = table_of(values[:1]), parse_stac_items_to_arrow(copy.deepcopy(values[:1])).read_all()
    assert own["proj:geometry"].to_pylist() == other["proj:geometry"].to_pylist()
    assert own["assets"].to_pylist() == other["assets"].to_pylist()
    found = list(items_of(pq.read_table(tmp_path / "items.parquet")))
    for one, expected in zip(found, values, strict=True):
        assert json.loads(json.dumps(one["assets"])) == json.loads(json.dumps(expected["assets"]))
        assert ("proj:geometry" in one["properties"]) == ("proj:geometry" in expected["properties"])


def test_properties_that_have_a_column_s_name_are_left_out() -> None:
    assert table_of([item("a", (0, 0, 1, 1), type="x", bbox=3)]).column_names.count("type") == 1


def test_invalid_dates_are_refused() -> None:
    with pytest.raises(UsageError, match="'datetime' of an item is not a date"):
        table_of([item("a", (0, 0, 1, 1), when="yesterday")])


def test_boxes_of_three_dimensions_lose_their_heights() -> None:
    value = item("a", (0, 0, 1, 1)) | {"bbox": [0, 0, 10, 1, 1, 20]}
    assert table_of([value])["bbox"].to_pylist() == [{"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}]


def test_timestamps_are_microseconds() -> None:
    assert stamps_of(table_of(ITEMS)).tolist()[0] == 1_620_284_889_123_456
    assert stamps_of(table_of(ITEMS[1:])).max() == -(2**63)


@pytest.mark.parametrize(
    "assets",
    [
        # The raster extension has numbers, "nan", "inf" and "-inf".
        [{"raster:bands": [{"nodata": 0}]}, {"raster:bands": [{"nodata": "nan"}]}],
        [{"raster:bands": [{"nodata": -9999.5, "offset": 2}, {"nodata": "-inf", "offset": "2 m"}]}],
        [{"bands": [{"name": "a"}], "nodata": 0, "gsd": 10}, {"bands": [{"name": "b"}], "nodata": "nan", "gsd": "?"}],
        # STAC 0.8 has positions of bands, and 0.6 their names.
        [{"eo:bands": [{"name": "B4", "center_wavelength": 0.65}]}, {"eo:bands": ["B4"]}],
        [{"eo:bands": [{"name": "B4"}]}, {"eo:bands": [0, 3]}],
        [{"raster:bands": [{}, {"nodata": 0}]}, {"raster:bands": [{}]}],
        [{"roles": ["data"], "title": "[1]"}, {"roles": "data", "title": "{}"}],
        [{"proj:shape": [3, 4], "alternate": {"s3": {"href": "s3://b/k"}}}, {"proj:shape": "3x4", "alternate": "s3:"}],
    ],
)
def test_mixed_kinds_in_assets_change_no_other_item(assets: list[dict[str, Any]]) -> None:
    items = [item(f"{n}", (7, 50, 8, 51), assets={"a": {"href": "x", **own}}) for n, own in enumerate(assets)]
    assert [found["assets"] for found in items_of(table_of(items))] == [value["assets"] for value in items]
    parts = [table_of([value]) for value in items]
    schema = unified([part.schema for part in parts])
    rows = pa.concat_tables([conformed(part, schema) for part in parts])
    assert [found["assets"] for found in items_of(rows)] == [value["assets"] for value in items]


def test_texts_of_assets_that_stand_for_no_field_of_stac_stay() -> None:
    """Of text columns of other writers: nested too deep for any reader, and the scale of a map."""
    assets = {"href": "x", "proj:shape": "[" * 600 + "]" * 600, "scale": "50000", "mean": "1", "roles": "[NaN]"}
    numbers = {"raster:bands": [{"scale": "0.5", "statistics": {"mean": "1"}}], "gsd": "10"}
    (found,) = items_of(table_of([item("a", (0, 0, 1, 1), assets={"a": assets | numbers})]))
    expected = {"raster:bands": [{"scale": 0.5, "statistics": {"mean": 1}}], "gsd": 10}
    assert found["assets"] == {"a": assets | expected}


def test_texts_in_texts_of_assets_stay() -> None:
    shape = "1"
    for level in range(8):
        shape = "[" * 62 + (json.dumps(shape) if level else shape) + "]" * 62
    (found,) = items_of(table_of([item("a", (0, 0, 1, 1), assets={"a": {"href": "x", "proj:shape": shape}})]))
    assert found["assets"]["a"] == {"href": "x", "proj:shape": json.loads(shape)}
