"""Validation of items: accepted, repaired or refused."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pystac
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.archive.catalogs.extents import Extent, union
from eechips.archive.catalogs.ingestion.item_geometry import InvalidItemError
from eechips.archive.catalogs.ingestion.item_validation import parse_item, validate_items
from eechips.archive.catalogs.partitions.columns import items_of, table_of
from tests.support.catalog_items import boxes, item

BOX = (8.0, 50.0, 8.5, 50.5)
DATE = "2020-01-01T00:00:00Z"


def changed(**fields: Any) -> dict[str, Any]:
    return {**item("a", BOX), **fields}


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(point) for point in (*points, points[0])]]}


@given(boxes())
def test_valid_items_are_unchanged(box: tuple[float, ...]) -> None:
    value = item("a", box)
    if not shapely.geometry.shape(value["geometry"]).is_valid:
        return
    verdict = validate_items([copy.deepcopy(value)], strict=True)
    assert verdict.refused == []
    assert verdict.items == [value]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "no item"),
        ([], "no item"),
        ({"type": "Collection"}, "no item"),
        (changed(id=7.5), "no id"),
        (changed(id=True), "no id"),
        (changed(id=""), "no id"),
        (changed(properties=None), "no properties"),
        (changed(assets=[{"key": "a", "href": "x"}]), "bad assets"),
        (changed(links={"self": {"href": "x"}}), "bad links"),
        (changed(stac_version=0.9), "bad stac_version"),
        (changed(geometry=None, bbox=None), "no geometry"),
        (changed(geometry={"type": "Polygon"}), "bad geometry"),
        (changed(geometry={"type": "Polygon", "coordinates": []}), "bad geometry"),
        (changed(geometry=polygon((0, 80), (1, 80), (1, 91))), "bad geometry"),
        (changed(geometry={"type": "Point", "coordinates": ["a", "b"]}), "bad geometry"),
        (changed(properties={}), "no date"),
        (changed(properties={"datetime": None, "end_datetime": "2020-01-01T00:00:00Z"}), "no date"),
        (changed(properties={"datetime": "soon"}), "no date"),
        (changed(properties={"datetime": 1577836800}), "no date"),
        *(
            (changed(properties={"datetime": text}), "no date")
            for text in (
                "",
                "2021-02-30T00:00:00Z",
                "2020-13-01",
                "2020-01-01T24:00:00Z",
                "0000-01-01T00:00:00Z",
                "0001-01-01T00:00:00+02:00",
                "9999-12-31T23:59:59-05:00",
                "2020-01-01T00:00:00+25:00",
                "2020-01-01T00:00:00+05:99",
                "2020-01-01T10.5Z",
                "2020-01 -31",
                "2020-W01-1",
                "٢٠٢٠-01-01T00:00:00Z",
                "2020-1-1",
                True,
                [1],
            )
        ),
        (changed(properties={"datetime": "2020-01-01T00:00:00Z", "start_datetime": "soon"}), "no date"),
        (changed(collection=5), "bad collection"),
        (changed(collection=["x"]), "bad collection"),
        (changed(geometry=5), "no geometry"),
        (changed(geometry=None, bbox=[10, 30, 20, 20]), "no geometry"),
        (changed(geometry=None, bbox=[10, None, 20, 20]), "no geometry"),
        (changed(geometry=None, bbox=[10, 80, 20, 95]), "bad geometry"),
        (changed(geometry={"type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}}), "bad geometry"),
        (changed(geometry={"type": "Point", "coordinates": [float("inf"), 0]}), "bad geometry"),
        (changed(geometry={"type": "Point", "coordinates": [[[[[0]]]]]}), "bad geometry"),
        (changed(geometry={"type": "Polygon", "coordinates": 5}), "bad geometry"),
        (
            changed(
                geometry={
                    "type": "GeometryCollection",
                    "geometries": [
                        {"type": "Point", "coordinates": [0, 0]},
                        {"type": "LineString", "coordinates": [[0, 0], [1, 1]]},
                    ],
                }
            ),
            "bad geometry",
        ),
        (changed(geometry={"type": "MultiPolygon", "coordinates": [5, None]}), "bad geometry"),
    ],
)
def test_invalid_items_are_refused(value: Any, kind: str) -> None:
    verdict = validate_items([item("b", BOX), value, item("c", BOX)])
    assert [(number, found) for number, found, _ in verdict.refused] == [(1, kind)]
    assert verdict.numbers == [0, 2]
    assert [found["id"] for found in verdict.items] == ["b", "c"]


SQUARE = [[[8, 50], [8.5, 50], [8.5, 50.5], [8, 50.5], [8, 50]]]


@pytest.mark.parametrize(
    ("value", "mended", "expected"),
    [
        (changed(bbox=None), ["bbox"], {"bbox": list(BOX)}),
        (changed(bbox=[0, 0, 1, 1]), ["bbox"], {"bbox": list(BOX)}),
        (changed(bbox="8,50,9,51"), ["bbox"], {"bbox": list(BOX)}),
        (changed(bbox=[10**400, 50, 9, 51]), ["bbox"], {"bbox": list(BOX)}),
        (
            changed(geometry={"type": "MultiPolygon", "coordinates": [SQUARE, []]}),
            ["geometry"],
            {"bbox": list(BOX), "geometry": {"type": "MultiPolygon", "coordinates": [SQUARE]}},
        ),
        (changed(bbox=[8.0000001, 50, 8.5, 50.5]), [], {"bbox": [8.0000001, 50, 8.5, 50.5]}),
        (changed(bbox=[8, 50, 0, 8.5, 50.5, 100]), [], {}),
        (changed(links=None), ["links"], {"links": []}),
        (changed(assets=[]), ["assets"], {"assets": {}}),
        (changed(id=20200101), ["id"], {"id": "20200101"}),
        (
            changed(
                properties={
                    "datetime": None,
                    "start_datetime": "2020-01-01T00:00:00-05:00",
                    "end_datetime": "2020-01-01T01:00:00Z",
                }
            ),
            ["date"],
            {"start_datetime": "2020-01-01T01:00:00Z", "end_datetime": "2020-01-01T00:00:00-05:00"},
        ),
        (changed(stac_version=None), ["stac_version"], {"stac_version": "1.1.0"}),
        (changed(collection=None), ["collection"], {"collection": "given"}),
        (changed(properties={"datetime": "2020-01-02"}), ["date"], {"datetime": "2020-01-02T00:00:00Z"}),
        (changed(properties={"datetime": "2020-01-02 03:04:05"}), ["date"], {"datetime": "2020-01-02T03:04:05Z"}),
        (
            changed(properties={"datetime": "2020-01-02T03:04:05.123456789+02:00"}),
            ["date"],
            {"datetime": "2020-01-02T01:04:05.123456Z"},
        ),
        (changed(properties={"datetime": "2020-01-02T03:04:05+02:00"}), [], {"datetime": "2020-01-02T03:04:05+02:00"}),
        *(
            (changed(properties={"datetime": text}), mended, {"datetime": moment})
            for text, mended, moment in (
                ("2016-12-31T23:59:60Z", ["date"], "2016-12-31T23:59:59Z"),
                ("2020-01-02t03:04:05z", ["date"], "2020-01-02T03:04:05Z"),
                ("20200102T030405Z", ["date"], "2020-01-02T03:04:05Z"),
                ("2020-01-02T030405Z", ["date"], "2020-01-02T03:04:05Z"),
                ("2020-01-02T03:04:05+0200", ["date"], "2020-01-02T01:04:05Z"),
                ("2020-01-02T03:04Z", ["date"], "2020-01-02T03:04:00Z"),
                ("2020-02-29T03:04:05.1Z", [], "2020-02-29T03:04:05.1Z"),
                ("0001-01-01T00:00:00Z", [], "0001-01-01T00:00:00Z"),
                ("9999-12-31T23:59:59.999999Z", [], "9999-12-31T23:59:59.999999Z"),
            )
        ),
        (
            changed(
                properties={"datetime": None, "start_datetime": "2021-01-01T00:00:00Z", "end_datetime": "2020-06-01"}
            ),
            ["date"],
            {"start_datetime": "2020-06-01T00:00:00Z", "end_datetime": "2021-01-01T00:00:00Z"},
        ),
        (
            changed(
                properties={
                    "datetime": None,
                    "start_datetime": "2020-01-01T01:00:00+02:00",
                    "end_datetime": "2020-01-01T00:00:00Z",
                }
            ),
            [],
            {"start_datetime": "2020-01-01T01:00:00+02:00"},
        ),
        (changed(properties={"start_datetime": "2020-01-01"}), ["date"], {"datetime": "2020-01-01T00:00:00Z"}),
        (changed(properties={"datetime": DATE, "created": "soon", "updated": 5}), ["date"], {"created": None}),
        (changed(properties={"datetime": DATE, "id": 1, "bbox": 2}), ["properties left out"], {"id": "a"}),
        (changed(foo=1, bar=2), ["members left out"], {"id": "a"}),
        (changed(stac_extensions="x"), ["stac_extensions"], {"stac_extensions": ["x"]}),
        (changed(stac_extensions=["x", None, 5]), ["stac_extensions"], {"stac_extensions": ["x"]}),
        (changed(links=["x", {"rel": "self", "href": "y"}]), ["links"], {"links": [{"rel": "self", "href": "y"}]}),
        (
            changed(assets={"a": "x", "b": 5, "c": {"href": "z"}}),
            ["assets"],
            {"assets": {"a": {"href": "x"}, "c": {"href": "z"}}},
        ),
        (
            changed(
                assets={
                    "a": {"href": "https://x.org/a.tif?v=2&md5=SECRET&expires=1700000000"},
                    "b": {"href": "s3://b/b.tif", "alternate": {"web": {"href": "https://x.org/b.tif?sig=SECRET"}}},
                    "c": {"href": "https://x.org/c?id=3"},
                    "d": {"href": "https://me:SECRET@x.org/d.tif"},
                    "e": {"href": "https://me:SECRET@[x.org/e.tif"},
                },
                links=[{"rel": "self", "href": "https://x.org/i?token=SECRET"}],
            ),
            ["signatures"],
            {
                "assets": {
                    "a": {"href": "https://x.org/a.tif?v=2"},
                    "b": {"href": "s3://b/b.tif", "alternate": {"web": {"href": "https://x.org/b.tif"}}},
                    "c": {"href": "https://x.org/c?id=3"},
                    "d": {"href": "https://x.org/d.tif"},
                    "e": {"href": "https://[x.org/e.tif"},
                },
                "links": [{"rel": "self", "href": "https://x.org/i"}],
            },
        ),
        (changed(collection=""), ["collection"], {"collection": "given"}),
        (changed(geometry=None), ["geometry"], {"geometry": item("a", BOX)["geometry"]}),
        (
            changed(geometry=None, bbox=[170, 0, 5, -170, 1, 9]),
            ["geometry"],
            {"geometry": item("a", (170, 0, -170, 1))["geometry"]},
        ),
        (
            changed(geometry=None, bbox=[1, 2, 1, 2]),
            ["geometry"],
            {"geometry": {"type": "Point", "coordinates": [1, 2]}},
        ),
        (
            changed(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}, bbox=[0, 0, 1, 1]),
            ["geometry"],
            {"geometry": polygon((0, 0), (1, 0), (1, 1))},
        ),
        (changed(bbox=[8, 50.5, 8.5, 50]), ["bbox"], {"bbox": list(BOX)}),
        (changed(bbox=[None, 50, 8.5, 50.5]), ["bbox"], {"bbox": list(BOX)}),
    ],
)
def test_repairable_items_are_repaired(value: Any, mended: list[str], expected: dict[str, Any]) -> None:
    given = copy.deepcopy(value)
    verdict = validate_items([value], collection="given")
    (found,) = verdict.items
    assert list(verdict.mended.elements()) == mended
    for name, content in expected.items():
        assert {**found["properties"], **found}.get(name, found["properties"].get(name)) == content
    (row,) = items_of(table_of([found]))  # it can be stored, and read
    assert row["id"] == str(value["id"])
    assert value == given  # what came is not changed
    strict = validate_items([value], collection="given", strict=True)
    assert [kind for _, kind, _ in strict.refused] == (["strict"] if mended else [])


def test_invalid_geometries_are_repaired() -> None:
    bow = polygon((0, 0), (2, 2), (2, 0), (0, 2))
    verdict = validate_items([changed(geometry=bow, bbox=[0, 0, 2, 2])])
    (found,) = verdict.items
    assert list(verdict.mended) == ["geometry"]
    shape = shapely.geometry.shape(found["geometry"])
    assert shape.is_valid
    assert shape.area == 2.0
    pystac.Item.from_dict(found).validate()


@pytest.mark.parametrize(
    ("geometry", "bbox"),
    [
        (polygon((179, -1), (-179, -1), (-179, 1), (179, 1)), [-179, -1, 179, 1]),
        (polygon((179, -1), (-179, -1), (-179, 1), (179, 1)), [179, -1, -179, 1]),
        (polygon((179, -1), (181, -1), (181, 1), (179, 1)), [179, -1, 181, 1]),
        (polygon((-179, -1), (-181, -1), (-181, 1), (-179, 1)), None),
    ],
)
def test_footprints_across_the_antimeridian_are_cut_there(geometry: dict[str, Any], bbox: Any) -> None:
    verdict = validate_items([changed(geometry=geometry, bbox=bbox)])
    (found,) = verdict.items
    assert "antimeridian" in verdict.mended
    assert found["bbox"] == [179.0, -1.0, -179.0, 1.0]
    shape = shapely.geometry.shape(found["geometry"])
    assert shape.area == pytest.approx(4.0)
    assert union(shapely.bounds(shapely.get_parts(shape))) == Extent(179.0, -1.0, -179.0, 1.0)


def test_wide_footprints_are_unchanged() -> None:
    world = polygon((-180, -90), (180, -90), (180, 90), (-180, 90))
    wide = polygon((-170, 0), (0, 0), (170, 0), (170, 10), (-170, 10))
    verdict = validate_items(
        [changed(geometry=world, bbox=[-180, -90, 180, 90]), changed(geometry=wide, bbox=[-170, 0, 170, 10])]
    )
    assert verdict.mended == {}
    assert len(verdict.items) == 2


@given(
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}))?")
)
def test_accepted_dates_are_valid_in_utc(text: str) -> None:
    verdict = validate_items([changed(properties={"datetime": text})])
    if verdict.items:
        (row,) = items_of(table_of(verdict.items))
        assert pystac.utils.str_to_datetime(row["properties"]["datetime"]).utcoffset() == timedelta(0)
    else:
        assert [kind for _, kind, _ in verdict.refused] == ["no date"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3) | st.integers(-400, 400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(sorted(item("a", BOX))), JSON, max_size=3), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_value_is_accepted_or_refused_without_an_error(fields: dict[str, Any], is_shape: bool) -> None:
    """No value raises an error, and accepted items can be stored and read."""
    if is_shape and "geometry" in fields:
        fields["geometry"] = {"type": "Polygon", "coordinates": fields["geometry"]}
    verdict = validate_items([changed(**fields)], collection="given")
    assert len(verdict.items) + len(verdict.refused) == 1
    for row in items_of(table_of(verdict.items)) if verdict.items else ():
        assert set(row) <= set(item("a", BOX))
        assert validate_items([row], strict=True).refused == []


@pytest.mark.parametrize(
    ("geometry", "kind"),
    [
        (polygon((0, 0), (1, 1), (0, 0)), "LineString"),
        (polygon((0, 0), (0, 0), (0, 0)), "Point"),
        ({"type": "MultiPolygon", "coordinates": [polygon((0, 0), (1, 1), (0, 0))["coordinates"],
                                                  polygon((5, 5), (5, 5), (5, 5))["coordinates"]]}, "LineString"),
        ({"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [0, 0]}]}, "MultiPoint"),
        ({"type": "LineString", "coordinates": [[1, 1], [1, 1]]}, "Point"),
    ],
)  # fmt: skip
def test_geometries_become_what_stac_knows(geometry: dict[str, Any], kind: str) -> None:
    (found,) = validate_items([changed(geometry=geometry)]).items
    assert found["geometry"]["type"] == kind
    pystac.Item.from_dict(found).validate()
    assert validate_items([found], strict=True).refused == []


@pytest.mark.parametrize(
    ("geometry", "kind"),
    [
        (polygon((186, 10), (190, 10), (190, 10)), "LineString"),  # no area, beyond 180 degrees
        (polygon((186, 10), (186, 10), (186, 10)), None),
        (polygon((171, 90), (191, 90), (191, 90)), "MultiLineString"),
        # A hole outside of its shell, and of the Earth.
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]],
                                             [[300, 0], [360, 0], [360, 9], [300, 0]]]}, None),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]], [[5, 0], [6, 0], [6, 9], [5, 0]]]},
         "MultiPolygon"),
        ({"type": "GeometryCollection", "geometries": [
            {"type": "GeometryCollection", "geometries": [
                {"type": "GeometryCollection", "geometries": [{"type": "MultiPoint", "coordinates": [[0, 0], [1, 1]]}]},
            ]},
        ]}, "MultiPoint"),
    ],
)  # fmt: skip
def test_degenerate_shapes_do_not_stop_ingestion(geometry: dict[str, Any], kind: str | None) -> None:
    verdict = validate_items([item("b", BOX), changed(geometry=geometry, bbox=None), item("c", BOX)])
    others = [found for found in verdict.items if found["id"] != "a"]
    assert [found["id"] for found in others] == ["b", "c"]
    if kind is None:
        assert [(number, why) for number, why, _ in verdict.refused] == [(1, "bad geometry")]
        return
    (found,) = (found for found in verdict.items if found["id"] == "a")
    assert found["geometry"]["type"] == kind
    shape = shapely.geometry.shape(found["geometry"])
    assert shape.is_valid
    assert -180 <= shape.bounds[0] <= shape.bounds[2] <= 180
    assert validate_items([found], strict=True).refused == []
    assert items_of(table_of([found]))


def test_a_refusal_says_what_a_member_must_be() -> None:
    values = [changed(links={"self": "x"}), changed(assets=[1]), changed(stac_version=0.9)]
    assert [reason for _, _, reason in validate_items(values).refused] == [
        "must be a list (STAC 1.1), but is an object",
        "must be an object (STAC 1.1), but is a list",
        "must be a string (STAC 1.1), but is a number",
    ]


def test_each_byte_of_long_strings_is_looked_at_once() -> None:
    """A search from each NUL to the end of its string takes days for these."""
    text = b"\\u0000" * 1_000_000
    for string in (text, text + b'\\"' * 1_000_000):
        value, _ = parse_item(b'{"a": "' + string + b'", "b": 1}')
        assert (value["a"].count("\0"), value["b"]) == (1_000_000, 1)


def test_python_s_json_is_read() -> None:
    assert parse_item(b'{"a": NaN, "b": [Infinity, -Infinity, 1]}') == ({"a": None, "b": [None, None, 1]}, ("NaN",))
    assert parse_item(b'{"a": NaN, "b": 123456789012345678901234567890}')[0]["b"] == 123456789012345678901234567890.0
    assert parse_item(b'{"a": "\\u0000", "x\\"" :""}') == ({"a": "\0", 'x"': ""}, ())
    assert parse_item(b'{"a\\\\u0000b": "\\u0000\\":"}') == ({"a\\u0000b": '\0":'}, ())
    for text in (
        b'{"a\\u0000": 1}',
        b'{"a": {"\\u0000b": 1}}',
        b'{"\\u0000\\"" : 1}',
        b'{"a": {"": 1}}',
        b'{"a": 1, "" : 2}',
        b'{"a\\\\\\u0000": 1}',
    ):
        with pytest.raises(InvalidItemError, match="a name is empty, or has a NUL") as caught:
            parse_item(text)
        assert caught.value.kind == "bad names"
    for encoding in ("utf-8-sig", "utf-16", "utf-16-be", "utf-32"):
        assert parse_item('{"a": "ä"}'.encode(encoding)) == ({"a": "ä"}, ())
    for text in (
        b'{"a": nan}',
        b"\xff",
        b'{"a": "\\ud800", "b": NaN}',
        b"[" * 100_000,
        b'{"a": NaN, "b": ' + b"[" * 100_000,
    ):
        with pytest.raises(ValueError, match=r"line 1|depth"):
            parse_item(text)
