"""Leakage: found exactly where it was planted, and removed by dropping chips."""

from __future__ import annotations

from itertools import combinations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.geo.grid import Grid
from eechips.training.splits.leakage import MOST_SHOWN, FootprintMap
from eechips.training.splits.split_balance import Ratios
from local_tests.support.call_counts import count_calls

RATIOS = Ratios.parse("0.6,0.25,0.15")


def chip(x: float, y: float, size: int = 64) -> Grid:
    """A chip of 10 m pixels whose upper left corner is at so many metres."""
    return Grid("EPSG:32613", (10.0, 0.0, 500_000.0 + x, 0.0, -10.0, 4_400_000.0 + y), size, size)


def boxes(grids: list[Grid]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=[shapely.box(*grid.bounds) for grid in grids], crs="EPSG:32613")


def oracle(grids: list[Grid], splits: list[str], metres: float) -> set[tuple[int, int]]:
    """Pairs of different splits, by geopandas: near the middle of a zone the plane is 0.4 parts in 1,000 too small."""
    frame = boxes(grids)
    near = gpd.sjoin(frame, frame, predicate="dwithin", distance=metres * 0.9996)
    pairs = {(int(i), int(j)) for i, j in near["index_right"].items() if i < j}
    return {(i, j) for i, j in pairs if splits[i] != splits[j] and "none" not in (splits[i], splits[j])}


def drawn(seed: int, count: int = 60) -> tuple[list[Grid], list[str]]:
    draw = np.random.default_rng(seed)
    grids = [chip(*(10.0 * draw.integers(0, 4000, 2))) for _ in range(count)]
    return grids, draw.choice(["train", "validation", "test", "none"], count, p=[0.5, 0.2, 0.2, 0.1]).tolist()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), metres=st.sampled_from([500.0, 3000.0]))
def test_chips_that_are_too_near_are_those_that_geopandas_finds(seed: int, metres: float) -> None:
    grids, splits = drawn(seed)
    ids = [f"{number:04}" for number in range(len(grids))]
    found = FootprintMap(ids, [[grid] for grid in grids]).check(splits, metres)
    exact = oracle(grids, splits, metres)
    slack = oracle(grids, splits, metres - 2.0), oracle(grids, splits, metres + 2.0)
    assert len(slack[0]) <= found.pairs <= len(slack[1])
    if slack[0] == slack[1]:
        assert found.chips == len({number for pair in exact for number in pair})
        assert bool(found) is bool(exact)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), metres=st.sampled_from([0.0, 800.0, 5000.0]))
def test_after_chips_were_left_out_nothing_leaks_and_none_was_left_out_in_vain(seed: int, metres: float) -> None:
    grids, splits = drawn(seed)
    where = FootprintMap([str(number) for number in range(len(grids))], [[grid] for grid in grids])
    thinned = where.thinned(splits, RATIOS, metres)
    assert not where.check(thinned, metres)
    for number, (before, after) in enumerate(zip(splits, thinned, strict=True)):
        if before == after:
            continue
        assert after == "none"
        back = [*thinned[:number], before, *thinned[number + 1 :]]
        assert where.check(back, metres)
    assert thinned.count("test") == splits.count("test")  # the smallest loses none


def test_one_planted_pair_is_reported() -> None:
    grids = [chip(10_000.0 * column, 10_000.0 * row) for row in range(4) for column in range(4)]
    splits = ["train", "test"] * 8
    ids = [f"{number:02}" * 32 for number in range(17)]
    assert not FootprintMap(ids[:16], [[grid] for grid in grids]).check(splits, 0.0)
    found = FootprintMap(ids, [[grid] for grid in [*grids, chip(10_630.0, 0.0)]]).check([*splits, "train"], 0.0)
    assert (found.chips, found.pairs, found.unmeasured) == (2, 1, 0)
    [leak] = found.nearest
    assert (leak.first, leak.second, leak.splits, leak.metres) == (ids[1], ids[16], ("test", "train"), 0.0)
    beside = [*grids, chip(10_640.0, 0.0)]  # an edge in common is no overlap
    assert not FootprintMap(ids, [[grid] for grid in beside]).check([*splits, "train"], 0.0)
    assert FootprintMap(ids, [[grid] for grid in beside]).check([*splits, "train"], 0.001)


def test_chips_of_several_dates_in_one_place_are_found() -> None:
    grids = [[chip(0, 0)] for _ in range(6)] + [[chip(90_000, 0)]]
    where = FootprintMap([str(number) for number in range(7)], grids)
    assert not where.check(["train"] * 6 + ["test"], 0.0)
    found = where.check(["train"] * 5 + ["test"] * 2, 0.0)
    assert (found.chips, found.pairs) == (6, 1)
    assert (found.nearest[0].first, found.nearest[0].second) == ("5", "0")


def test_every_file_of_a_unit_counts() -> None:
    """The image does not overlap; its wider label does."""
    where = FootprintMap(["a", "b"], [[chip(0, 0), chip(-2000, 2000, 512)], [chip(1500, 0)]])
    assert where.check(["train", "test"], 0.0).chips == 2
    assert not FootprintMap(["a", "b"], [[chip(0, 0)], [chip(1500, 0)]]).check(["train", "test"], 0.0)


def test_results_without_a_place_are_counted() -> None:
    where = FootprintMap(["a", "b", "c"], [[chip(0, 0)], [], []])
    assert where.has_place.tolist() == [True, False, False]
    assert np.isnan(where.centres[1:]).all()
    assert where.check(["train", "test", "none"], 10.0).unmeasured == 1
    assert FootprintMap([], []).check([], 0.0).chips == 0


def test_only_the_nearest_pairs_are_listed() -> None:
    grids = [[chip(700.0 * number, 0)] for number in range(100)]
    found = FootprintMap([f"{number:03}" for number in range(100)], grids).check(["train", "test"] * 50, 500.0)
    assert found.pairs == 99
    assert found.chips == 100
    assert len(found.nearest) == MOST_SHOWN
    metres = [leak.metres for leak in found.nearest]
    assert metres == sorted(metres)
    assert metres[0] == pytest.approx(60.0, rel=1e-3)


@pytest.mark.exhaustive
def test_of_a_hundred_thousand_chips_few_pairs_are_measured() -> None:
    draw = np.random.default_rng(0)
    places = draw.integers(0, 200_000, (100_000, 2)) * 10.0
    grids = [[chip(*place)] for place in places.tolist()]
    splits = np.where(places[:, 0] < 1_400_000, "train", "test").tolist()
    where = FootprintMap([str(number) for number in range(100_000)], grids)
    with count_calls() as calls:
        thinned = where.thinned(splits, RATIOS, 5000.0)
        assert not where.check(thinned, 5000.0)
    assert calls["distances"] < 1000, "portions, each of twenty thousand pairs"
    assert set(combinations(sorted(set(thinned)), 2)) == {("none", "test"), ("none", "train"), ("test", "train")}
