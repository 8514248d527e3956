"""Boxes in degrees around the antimeridian: cut, turned and compared as shapely does on a strip of several turns."""

from __future__ import annotations

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.evaluation.asset_model import Bounds
from eechips_local.geometry.longitude_boxes import (
    box_meets,
    eastward,
    globe_box,
    on_circle,
    split_bounds,
    split_with_seam,
    wrapped_longitude,
)

GLOBE = shapely.box(-180, -90, 180, 90)
TURNS = range(-1440, 1441, 360)


def boxes(least: int, greatest: int, widest: int) -> st.SearchStrategy[Bounds]:
    """Boxes of whole degrees, also without an area, whose west is not more than their east."""
    return st.tuples(
        st.integers(least, greatest), st.integers(-90, 80), st.integers(0, widest), st.integers(0, 10)
    ).map(lambda box: (float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3])))


def written(box: Bounds, turns: tuple[int, int]) -> Bounds:
    """The same box with its west and east written some turns further west: west may exceed east."""
    west, south, east, north = box
    west, east = west - 360.0 * turns[0], east - 360.0 * turns[1]
    return west, south, east, north


def turned(box: Bounds) -> list[shapely.Polygon]:
    return [shapely.box(box[0] + turn, box[1], box[2] + turn, box[3]) for turn in TURNS]


@given(boxes(-540, 540, 720))
def test_parts_are_what_lies_on_the_globe(box: Bounds) -> None:
    wanted = shapely.intersection(shapely.union_all(turned(box)), GLOBE)
    parts = [shapely.box(*part) for part in split_bounds(box)]
    assert shapely.union_all(parts).equals(wanted) or not wanted.area
    assert sum(part.area for part in parts) == wanted.area == globe_box(box).area
    assert all(GLOBE.covers(part) for part in parts)


@given(boxes(-180, 179, 359), st.sampled_from([(0, 0), (1, 1), (-1, -1), (0, 1), (1, 2)]))
def test_bounds_are_the_same_wherever_they_are_written(box: Bounds, turns: tuple[int, int]) -> None:
    assert eastward(written(box, turns)) == box
    assert eastward(on_circle(box)) == box
    assert split_bounds(on_circle(box)) == split_bounds(box) == split_bounds(written(box, turns))
    west, _, east, _ = on_circle(box)
    assert -180 <= west < 180
    assert -180 <= east <= 180
    assert east == wrapped_longitude(box[2])


@given(boxes(-180, 179, 360), boxes(-180, 179, 360))
def test_boxes_meet_bounds_as_on_a_strip_of_several_turns(box: Bounds, bounds: Bounds) -> None:
    wanted = any(shapely.box(*bounds).intersects(one) for one in turned(box))
    assert box_meets(box, bounds) == box_meets(box, on_circle(bounds)) == wanted
    within = split_bounds(box)
    assert wanted == any(
        shapely.box(*part).intersects(shapely.box(*own)) for part in split_with_seam(bounds) for own in within
    )


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((-10, 0, 10, 5), [(-10, 0, 10, 5)]),
        ((170, 0, -170, 5), [(170, 0, 180, 5), (-180, 0, -170, 5)]),
        ((170, 0, 190, 5), [(170, 0, 180, 5), (-180, 0, -170, 5)]),
        ((-190, 0, -170, 5), [(170, 0, 180, 5), (-180, 0, -170, 5)]),
        ((-180, -90, 180, 90), [(-180, -90, 180, 90)]),
        ((0, -90, 500, 90), [(-180, -90, 180, 90)]),
        ((-180, 0, -170, 5), [(-180, 0, -170, 5), (180, 0, 180, 5)]),
        ((170, 0, 180, 5), [(170, 0, 180, 5), (-180, 0, -180, 5)]),
    ],
)
def test_boxes_lie_between_the_meridians_of_180_degrees(bounds: Bounds, expected: list[Bounds]) -> None:
    assert split_with_seam(bounds) == expected
