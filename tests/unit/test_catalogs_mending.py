"""What comes as an item: taken, mended, or refused."""

from __future__ import annotations

import copy
from typing import Any

import pystac
import pytest
import shapely
from hypothesis import given, settings

from eechips.catalogs.extents import Extent, union
from eechips.catalogs.mending import judged
from tests.catalog_items import boxes, item

BOX = (8.0, 50.0, 8.5, 50.5)


def changed(**fields: Any) -> dict[str, Any]:
    return {**item("a", BOX), **fields}


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(point) for point in (*points, points[0])]]}


@given(boxes())
@settings(max_examples=100, deadline=None)
def test_items_that_are_right_stay_as_they_are(box: tuple[float, ...]) -> None:
    value = item("a", box)
    if not shapely.geometry.shape(value["geometry"]).is_valid:
        return
    verdict = judged([copy.deepcopy(value)], strict=True)
    assert verdict.refused == []
    assert verdict.items == [value]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "no item"),
        ([], "no item"),
        ({"type": "Collection"}, "no item"),
        (changed(id=7), "no id"),
        (changed(id=""), "no id"),
        (changed(properties=None), "no properties"),
        (changed(geometry=None), "no geometry"),
        (changed(geometry={"type": "Polygon"}), "bad geometry"),
        (changed(geometry={"type": "Polygon", "coordinates": []}), "bad geometry"),
        (changed(geometry=polygon((0, 80), (1, 80), (1, 91))), "bad geometry"),
        (changed(geometry={"type": "Point", "coordinates": ["a", "b"]}), "bad geometry"),
        (changed(properties={}), "no date"),
        (changed(properties={"datetime": None, "start_datetime": "2020-01-01T00:00:00Z"}), "no date"),
        (changed(properties={"datetime": "soon"}), "no date"),
        (changed(properties={"datetime": 1577836800}), "no date"),
    ],
)
def test_what_is_no_item_is_refused(value: Any, kind: str) -> None:
    verdict = judged([item("b", BOX), value, item("c", BOX)])
    assert [(number, found) for number, found, _ in verdict.refused] == [(1, kind)]
    assert verdict.numbers == [0, 2]
    assert [found["id"] for found in verdict.items] == ["b", "c"]


@pytest.mark.parametrize(
    ("value", "mended", "expected"),
    [
        (changed(bbox=None), ["bbox"], {"bbox": list(BOX)}),
        (changed(bbox=[0, 0, 1, 1]), ["bbox"], {"bbox": list(BOX)}),
        (changed(bbox="8,50,9,51"), ["bbox"], {"bbox": list(BOX)}),
        (changed(bbox=[8.0000001, 50, 8.5, 50.5]), [], {"bbox": [8.0000001, 50, 8.5, 50.5]}),
        (changed(bbox=[8, 50, 0, 8.5, 50.5, 100]), [], {}),
        (changed(links=None), ["links"], {"links": []}),
        (changed(assets=[]), ["assets"], {"assets": {}}),
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
    ],
)
def test_what_is_nearly_an_item_is_mended(value: Any, mended: list[str], expected: dict[str, Any]) -> None:
    given = copy.deepcopy(value)
    verdict = judged([value], collection="given")
    (found,) = verdict.items
    assert list(verdict.mended.elements()) == mended
    for name, content in expected.items():
        assert {**found, **found["properties"]}[name] == content
    assert value == given  # what came is not changed
    strict = judged([value], collection="given", strict=True)
    assert [kind for _, kind, _ in strict.refused] == (["strict"] if mended else [])


def test_geometries_that_are_not_valid_are_made_so() -> None:
    bow = polygon((0, 0), (2, 2), (2, 0), (0, 2))
    verdict = judged([changed(geometry=bow, bbox=[0, 0, 2, 2])])
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
    verdict = judged([changed(geometry=geometry, bbox=bbox)])
    (found,) = verdict.items
    assert "antimeridian" in verdict.mended
    assert found["bbox"] == [179.0, -1.0, -179.0, 1.0]
    shape = shapely.geometry.shape(found["geometry"])
    assert shape.area == pytest.approx(4.0)
    assert union(shapely.bounds(shapely.get_parts(shape))) == Extent(179.0, -1.0, -179.0, 1.0)


def test_wide_footprints_are_left_alone() -> None:
    world = polygon((-180, -90), (180, -90), (180, 90), (-180, 90))
    wide = polygon((-170, 0), (0, 0), (170, 0), (170, 10), (-170, 10))
    verdict = judged(
        [changed(geometry=world, bbox=[-180, -90, 180, 90]), changed(geometry=wide, bbox=[-170, 0, 170, 10])]
    )
    assert verdict.mended == {}
    assert len(verdict.items) == 2
