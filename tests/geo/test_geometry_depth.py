"""Geometries that nest collections in collections."""

from __future__ import annotations

import struct

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.catalogs.item_json import plain
from eechips.geo.geometry_depth import MOST_LEVELS, is_too_deep

POINT = struct.pack("<BIdd", 1, 1, 1.0, 2.0)


def nested(levels: int, kind: int = 7, order: str = "<", flags: int = 0) -> bytes:
    mark = 1 if order == "<" else 0
    return struct.pack(f"{order}BII", mark, kind | flags, 1) * levels + POINT


@pytest.mark.parametrize("kind", [4, 6, 7, 12, 1007, 3006])
@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_wkb_is_recognised(kind: int, order: str) -> None:
    assert is_too_deep(nested(60_000, kind, order))
    assert is_too_deep(nested(MOST_LEVELS + 1, kind, order))
    assert not is_too_deep(nested(MOST_LEVELS, kind, order))


def test_deep_wkb_after_other_parts_is_recognised() -> None:
    inner = POINT
    for _ in range(200):
        inner = struct.pack("<BII", 1, 7, 3) + POINT + inner + POINT
    assert is_too_deep(inner)


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("GEOMETRYCOLLECTION(" * 200_000, True),
        ("POLYGON(" + "(" * 100_000, True),
        ("POINT(1 2)", False),
        (shapely.MultiPoint([(n, n) for n in range(500)]).wkt, False),
        ('{"type":"GeometryCollection","geometries":[' * 100_000, True),
        (shapely.to_geojson(shapely.MultiPoint([(n, n) for n in range(500)])), False),
    ],
)
def test_deep_texts_are_recognised(text: str, deep: bool) -> None:
    assert is_too_deep(text) is deep


@given(st.integers(1, 300), st.sampled_from(["polygons", "lines", "points", "mixed"]), st.booleans(), st.booleans())
def test_wide_geometries_are_not_deep(parts: int, kind: str, little: bool, has_z: bool) -> None:
    shapes = {
        "polygons": shapely.MultiPolygon([shapely.box(2 * n, 0, 2 * n + 1, 4) for n in range(parts)]),
        "lines": shapely.MultiLineString([[(n, 4), (n, 16)] for n in range(parts)]),
        "points": shapely.MultiPoint([(n, 4) for n in range(parts)]),
        "mixed": shapely.GeometryCollection([shapely.MultiPoint([(n, 4), (5, 6)]) for n in range(parts)]),
    }
    shape = shapely.force_3d(shapes[kind], 5.0) if has_z else shapes[kind]
    for flavor in ("iso", "extended"):
        assert not is_too_deep(shapely.to_wkb(shape, byte_order=int(little), flavor=flavor))


def test_an_item_of_a_catalogue_loses_a_geometry_that_is_too_deep() -> None:
    assert plain({"geometry": nested(60_000)}) == {}
    assert plain({"geometry": POINT})["geometry"]["coordinates"] == (1.0, 2.0)
