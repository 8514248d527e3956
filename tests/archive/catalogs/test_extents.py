"""Boxes on the sphere: intersection and union."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.catalogs.extents import Extent, centres, diameters, union
from eechips.errors import RegionError
from tests.support.catalog_items import boxes


@given(boxes(), boxes())
def test_boxes_meet_as_they_do_on_three_turns_of_the_earth(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    west, south, east, north = one
    low, end = other[0], other[2] if other[0] <= other[2] else other[2] + 360
    own_end = east if west <= east else east + 360
    lon = any(low + turn <= own_end and west <= end + turn for turn in (-360, 0, 360))
    lat = other[1] <= north and south <= other[3]
    found = Extent(*one).meets(Extent(*other))
    assert found == Extent(*other).meets(Extent(*one))
    # Adding a turn rounds: boxes that only just meet, or not, may be seen otherwise there.
    near = any(abs(a) < 1e-9 for turn in (-360, 0, 360) for a in (low + turn - own_end, west - end - turn))
    assert found == (lon and lat) or near


@given(st.lists(boxes(), min_size=1, max_size=6), boxes())
def test_many_boxes_are_compared_as_one_is(many: list[tuple[float, ...]], query: tuple[float, ...]) -> None:
    extent = Extent(*query)
    expected = [extent.meets(Extent(*box)) for box in many]
    assert extent.meets_all(np.array(many)).tolist() == expected


@given(st.lists(boxes(), min_size=1, max_size=6), boxes())
def test_a_box_that_meets_one_extent_meets_their_union(many: list[tuple[float, ...]], query: tuple[float, ...]) -> None:
    whole = union(np.array(many))
    if any(Extent(*query).meets(Extent(*box)) for box in many):
        assert whole.meets(Extent(*query))


def test_a_union_across_the_antimeridian_does_not_go_round_the_earth() -> None:
    assert union(np.array([[179.0, 0, 179.5, 1], [-179.5, 2, -179.0, 3]])) == Extent(179.0, 0, -179.0, 3)
    assert union(np.array([[179.0, 0, -179.9, 1], [-179.5, 2, -179.0, 3]])) == Extent(179.0, 0, -179.0, 3)
    assert union(np.array([[-10.0, 0, 5.0, 1], [4.0, 2, 20.0, 3]])) == Extent(-10.0, 0, 20.0, 3)
    assert union(np.array([[179.0, 0, -179.0, 1], [-20.0, 0, 170.0, 1]])) == Extent(179.0, 0, 170.0, 1)
    assert union(np.array([[179.0, 0, -179.0, 1], [-20.0, 0, 180.0, 1]])) == Extent(-180.0, 0, 180.0, 1)


@given(boxes())
def test_the_middle_lies_in_the_box_and_no_two_corners_are_further_apart_than_its_diameter(
    box: tuple[float, ...],
) -> None:
    from pyproj import Geod

    (lon,), (lat,) = centres(np.array([box]))
    assert -180 <= lon <= 180
    assert Extent(*box).meets(Extent(lon - 1e-9 if lon > -179 else lon, lat, lon, lat))
    west, south, east, north = box
    geod = Geod(ellps="WGS84")
    for start, end in (((west, south), (east, north)), ((west, north), (east, south))):
        assert geod.inv(*start, *end)[2] <= diameters(np.array([box]))[0] * 1.0001 + 1e-6


def test_boxes_and_points_are_parsed() -> None:
    assert Extent.parse("-105.3,39.9,-105.2,40") == Extent(-105.3, 39.9, -105.2, 40.0)
    assert Extent.parse("179,-1,-179,1").meets(Extent.parse("180,0"))
    assert Extent.parse(" 7 , 8 ") == Extent(7.0, 8.0, 7.0, 8.0)


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "0,1,0,0", "0,0,181,1", "0,-91,1,1", "nan,0,1,1"])
def test_invalid_boxes_are_refused(text: str) -> None:
    with pytest.raises(RegionError, match=text or "''"):
        Extent.parse(text)
