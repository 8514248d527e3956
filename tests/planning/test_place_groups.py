"""Cells: every place in one of them, each within its limits, near places together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eechips.planning.areas import place_groups
from eechips.planning.areas.place_groups import Cost, divide_places

LONLAT = arrays(np.float64, st.tuples(st.integers(1, 300), st.just(2)), elements=st.floats(-1, 1)).map(
    lambda found: found * (180, 90)
)
COSTS = st.builds(
    lambda values, images, tile: Cost(values=values, images=images, tile=tile),
    st.sampled_from([1.0, 12.0, 100_000.0]),
    st.sampled_from([1.0, 811.0, 20_000.0]),
    st.sampled_from([2_560.0, 237_000.0, 2.8e6]),
)


@given(LONLAT, COSTS)
def test_every_place_is_in_one_cell_and_cells_keep_their_limits(lonlat: np.ndarray, cost: Cost) -> None:
    found = list(divide_places(lonlat, cost))
    assert sorted(np.concatenate(found)) == list(range(len(lonlat)))
    for some in found:
        assert (np.diff(some) > 0).all()
        if len(some) > 1:
            assert len(some) * cost.values <= place_groups.MOST_VALUES
            assert (
                len(np.unique(place_groups.tile_keys(lonlat[some], cost.tile))) * cost.images <= place_groups.MOST_TILES
            )
    again = list(divide_places(lonlat, cost))
    assert all((one == other).all() for one, other in zip(found, again, strict=True))


def test_a_cell_is_as_full_as_halving_allows() -> None:
    lonlat = np.random.default_rng(1).uniform((8, 45), (9, 46), (100_000, 2))
    found = list(divide_places(lonlat, Cost(values=811, images=811, tile=237_000)))
    sizes = [len(some) for some in found]
    most = place_groups.MOST_VALUES // 811
    assert max(sizes) <= most
    assert min(sizes) > most // 2 - 1
    assert max(sizes) - min(sizes) <= 1


def test_isolated_places_share_cells_within_the_tile_limit() -> None:
    random = np.random.default_rng(2)
    crowd = random.uniform((8, 45), (8.1, 45.1), (400, 2))
    lonely = np.column_stack([random.uniform(-170, 170, 100), random.uniform(-60, 60, 100)])
    lonlat = np.vstack([crowd, lonely])
    cheap = list(divide_places(lonlat, Cost(values=10, images=10, tile=2_560)))
    assert len(cheap) == 1
    dear = list(divide_places(lonlat, Cost(values=811, images=811, tile=2_560)))
    assert {len(some) for some in dear} <= {125, 250}
    assert (
        max(len(np.unique(place_groups.tile_keys(lonlat[some], 2_560))) for some in dear)
        <= place_groups.MOST_TILES / 811
    )


def test_there_is_no_seam_at_the_antimeridian() -> None:
    random = np.random.default_rng(3)
    offset = random.uniform(-0.5, 0.5, 2_000)
    lonlat = np.column_stack([(offset + 360) % 360 - 180, random.uniform(-0.01, 0.01, 2_000)])
    there = np.column_stack([offset, lonlat[:, 1]])
    cost = Cost(values=1_000, images=1, tile=300_000)
    across, elsewhere = list(divide_places(lonlat, cost)), list(divide_places(there, cost))
    assert len(across) == len(elsewhere)
    # The same strips of a few hundredths of a degree, one of them on both sides.
    widths = [np.ptp(offset[some]) for some in across]
    assert max(widths) < 0.3


def test_dates_far_apart_are_not_asked_for_together() -> None:
    lonlat = np.full((1_000, 2), 8.0)
    days = np.random.default_rng(4).permutation(np.linspace(0, 3_650, 1_000)) * 86_400_000.0
    found = list(divide_places(lonlat, Cost(values=12, images=12, tile=2_560, per_day=1.0), moments=days))
    assert len(found) == 4
    assert max(np.ptp(days[some]) for some in found) <= 1_000 * 86_400_000.0


@pytest.mark.parametrize(("sizes", "areas"), [(np.full(8, 900_000), None), (None, np.full(8, 1e10))])
def test_cells_have_at_most_two_large_polygons(sizes: np.ndarray | None, areas: np.ndarray | None) -> None:
    lonlat = np.column_stack([np.linspace(0, 7, 8), np.zeros(8)])
    found = list(divide_places(lonlat, Cost(values=1, images=20, tile=2_560), sizes=sizes, areas=areas))
    assert sum(map(len, found)) == 8
    assert max(map(len, found)) in (1, 2)


def test_no_places_make_no_cells() -> None:
    assert list(divide_places(np.zeros((0, 2)), Cost(values=1, images=1, tile=1_000))) == []
