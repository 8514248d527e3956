"""Batches of regions: each region once, near each other, not too many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.planning.areas import place_groups
from eechips.planning.areas.place_groups import SLOTS, Cost, ImageDensity, divide_regions
from eechips.planning.areas.zones import ZoneShapes

EVERYWHERE = ImageDensity(100, 360.0, 180.0)
CHEAP = Cost(values=1.0, images=1.0, tile=256_000.0)


def squares(
    count: int, seed: int = 0, *, vertices: float = 5.0, west: float = -120.0, east: float = -80.0
) -> ZoneShapes:
    random = np.random.default_rng(seed)
    points = np.column_stack([random.uniform(west, east, count), random.uniform(30, 50, count)])
    bounds = np.hstack([points - 0.01, points + 0.01])
    return ZoneShapes(points, bounds, np.full(count, 4e6), np.full(count, vertices))


@given(st.integers(1, 500), st.integers(1, 60), st.floats(0.5, 360), st.integers(0, 5))
def test_every_region_is_in_one_batch(count: int, most: int, width: float, groups: int) -> None:
    shapes = squares(count)
    keys = [index % (groups + 1) for index in range(count)]
    found = list(divide_regions(shapes, CHEAP, ImageDensity(1, width, width), groups=keys, most=most))
    assert np.sort(np.concatenate(found)).tolist() == list(range(count))
    for batch in found:
        assert len(batch) <= most
        assert (np.diff(batch) > 0).all()
        assert len({keys[index] for index in batch}) == 1
        assert (np.ptp(shapes.points[batch], axis=0) <= width).all()


def test_there_are_enough_batches_for_every_slot() -> None:
    assert len(list(divide_regions(squares(1000), CHEAP, EVERYWHERE))) >= SLOTS
    assert len(list(divide_regions(squares(1000), CHEAP, EVERYWHERE, most=1000))) == 1


def test_large_geometries_and_long_answers_make_small_batches() -> None:
    sizes = [len(batch) for batch in divide_regions(squares(100, vertices=5000), CHEAP, EVERYWHERE, most=100)]
    assert max(sizes) * 5000 * 30 <= place_groups.MOST_BYTES
    cost = Cost(values=20_000.0, images=1.0, tile=256_000.0)
    sizes = [len(batch) for batch in divide_regions(squares(100), cost, EVERYWHERE, most=100)]
    assert max(sizes) * 20_000 <= place_groups.MOST_VALUES


def test_batches_are_compact() -> None:
    """Neighbours come together: boxes around batches of a sixteenth of the regions are small."""
    shapes = squares(1600, west=-120, east=-100)
    areas = [
        float(np.ptp(shapes.points[batch], axis=0).prod())
        for batch in divide_regions(shapes, CHEAP, EVERYWHERE, most=100)
    ]
    assert np.mean(areas) < 2 * 400 / 16  # cells are cut in space, not along meridians


def test_a_plan_is_the_same_every_time() -> None:
    first, second = (list(map(list, divide_regions(squares(300), CHEAP, EVERYWHERE))) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("count", [1, 2, 39, 41])
def test_few_regions_are_all_batched(count: int) -> None:
    assert sum(map(len, divide_regions(squares(count), CHEAP, EVERYWHERE))) == count
