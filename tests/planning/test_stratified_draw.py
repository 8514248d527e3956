"""Points of strata that are thinned: kept apart, left out where a mask says so, replaced."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from eechips.errors import RegionError
from eechips.geo.ellipsoid import great_circle
from eechips.geo.polygons import EARTH_RADIUS, spherical_area
from eechips.planning.sampling.cell_grids import regular_points
from eechips.planning.sampling.samplers import MinDistance, PointStream, Stratum
from eechips.planning.sampling.stratified_draw import Key, Point, StrataPool, StratifiedDraw

BOX = shapely.box(-106, 39, -104, 41)
STRATA = [Stratum("a", "A", BOX), Stratum("b", "B", shapely.box(-104, 39, -103, 41))]
KEYS = [stratum.id for stratum in STRATA]


def draws(count: int, *, keep: object = None, apart: float | None = None, seed: int = 0) -> StratifiedDraw:
    pool = StrataPool(STRATA, seed, keep, is_thinned=apart is not None)  # type: ignore[arg-type]
    return StratifiedDraw(pool, KEYS, count, MinDistance.of_distance(apart) if apart else None)


def distances(points: Sequence[Point]) -> np.ndarray:
    array = np.array(points)
    first, second = np.triu_indices(len(array), 1)
    return great_circle(array[first], array[second])


def test_without_conditions_they_are_the_plain_draws() -> None:
    each = [PointStream(stratum.geometry, 3, stratum.id).points(0, 50) for stratum in STRATA]
    plain = [drawn for points in zip(*each, strict=True) for drawn in zip(KEYS, points, strict=True)]
    assert draws(50, seed=3).interleaved() == plain
    again = draws(50, seed=3)
    more = [point for key, point in draws(200, seed=3).interleaved() if key == "a"]
    chosen = [point for key, point in again.interleaved() if key == "a"]
    for place in (0, 7, 49):
        assert again.replacement("a", chosen[place], 3) == more[150 + place]
    assert again.replacement("a", (0.0, 0.0), 1) is None
    assert again.replacement("c", chosen[0], 1) is None


@pytest.mark.slow
@given(st.floats(3_000, 30_000), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_points_keep_the_minimum_distance_across_strata(metres: float, seed: int) -> None:
    found = draws(15, apart=metres, seed=seed).interleaved()
    points = [point for _, point in found]
    assert distances(points).min() >= metres - 1e-6
    assert draws(15, apart=metres, seed=seed).interleaved() == found
    # Taking the candidates one after the other, in turns, by comparing with all before.
    taken: list[Point] = []
    streams = {key: iter([p for k, p in draws(4_000, seed=seed).interleaved() if k == key]) for key in KEYS}
    counts = dict.fromkeys(KEYS, 0)
    for n in range(15):
        for key in KEYS:
            for candidate in streams[key]:
                if not taken or great_circle(np.array(taken), candidate).min() >= metres:
                    taken.append(candidate)
                    counts[key] += 1
                    break
            assert counts[key] in (n + 1, counts[key])
    assert points == taken


def test_fewer_points_are_the_first_of_more_also_when_apart() -> None:
    many = draws(40, apart=4_000).interleaved()
    assert draws(10, apart=4_000).interleaved() == many[:20]


@pytest.mark.slow
def test_a_stratum_that_is_full_has_fewer_and_says_so() -> None:
    crowded = draws(500, apart=20_000)
    found = crowded.interleaved()
    assert 0 < len(found) < 1000
    assert sum(crowded.missing.values()) == 1000 - len(found)
    assert distances([point for _, point in found]).min() >= 20_000
    assert crowded.replacement("a", found[0][1], 10) is None


def test_replacements_are_apart_as_well() -> None:
    sparse = draws(10, apart=5_000)
    points = [point for _, point in sparse.interleaved()]
    points += [found for key, point in sparse.interleaved() if (found := sparse.replacement(key, point, 2))]
    assert len(points) == 40
    assert distances(points).min() >= 5_000


def test_points_that_do_not_count_are_left_out() -> None:
    asked: list[int] = []

    def keep(points: Sequence[Point]) -> list[bool]:
        asked.append(len(points))
        return [math.floor(lat * 10) % 5 == 0 for _, lat in points]

    found = draws(30, keep=keep).interleaved()
    assert len(found) == 60
    assert all(math.floor(lat * 10) % 5 == 0 for _, (_, lat) in found)
    plain = [point for key, point in draws(400).interleaved() if key == "b"]
    wanted = [point for point in plain if math.floor(point[1] * 10) % 5 == 0][:30]
    assert [point for key, point in found if key == "b"] == wanted
    assert len(asked) < 10, "strata are asked about together"
    assert sum(asked) < 1000


def test_a_stratum_where_nothing_counts_is_given_up() -> None:
    asked = []

    def keep(points: Sequence[Point]) -> list[bool]:
        asked.extend(points)
        return [lon < -104 for lon, _ in points]

    found = draws(5, keep=keep)
    assert {key for key, _ in found.interleaved()} == {"a"}
    assert found.missing == {"b": 5}
    assert len(asked) < 3_000


def test_a_stratum_too_small_is_refused_where_all_points_count() -> None:
    pool = StrataPool([Stratum("tiny", "Tiny", shapely.box(0, 0, 1e-6, 1e-6))], 0)
    with pytest.raises(RegionError, match="tiny is too small inside the region for 900 different points"):
        StratifiedDraw(pool, ["tiny"], 900).interleaved()


@pytest.mark.exhaustive
def test_a_hundred_thousand_points_are_apart() -> None:
    """Each compared with all others, they would outlast the time of a test."""
    world = Stratum("world", "World", shapely.box(-180, -90, 180, 90))
    found = StratifiedDraw(StrataPool([world], 0, is_thinned=True), ["world"], 100_000, MinDistance.of_distance(20_000))
    points = np.array([point for _, point in found.interleaved()])
    assert len(points) == 100_000
    lon, lat = np.radians(points).T
    flat = shapely.points(np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon))  # seen from above the pole
    near = shapely.STRtree(flat).query(flat, predicate="dwithin", distance=20_000 / EARTH_RADIUS)
    near = near[:, near[0] < near[1]]
    assert (great_circle(points[near[0]], points[near[1]]) >= 20_000 - 1e-6).all()


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90), st.floats(1, 3e6)), min_size=1, max_size=60))
def test_circles_never_overlap_and_none_is_refused_without_need(places: list[tuple[float, float, float]]) -> None:
    apart = MinDistance.of_distance(1.0)
    taken: list[tuple[float, float, float]] = []
    for lon, lat, radius in places:
        fits = all(great_circle((lon, lat), (x, y)) >= radius + r - 1e-6 for x, y, r in taken)
        if apart.add((lon, lat), radius):
            assert fits
            taken.append((lon, lat, radius))
        else:
            assert not all(great_circle((lon, lat), (x, y)) >= radius + r + 1e-6 for x, y, r in taken)


@pytest.mark.parametrize(
    "region",
    [
        BOX,
        shapely.box(-180, -90, 180, 90),
        shapely.union_all([shapely.box(179, -18, 180, -16), shapely.box(-180, -18, -178, -16)]),
        shapely.box(0, 80, 60, 89),
        shapely.Polygon([(0, 0), (10, 0), (0, 10)]),
    ],
    ids=["box", "world", "antimeridian", "north", "triangle"],
)
def test_regular_points_have_equal_spacing_and_area(region: shapely.Geometry) -> None:
    spacing = math.sqrt(spherical_area(region) / 3000)
    points, places = regular_points(region, spacing)
    assert shapely.intersects_xy(region, points[:, 0], points[:, 1]).all()
    assert len(points) * spacing**2 == pytest.approx(spherical_area(region), rel=0.08)
    assert len({tuple(place) for place in places.tolist()}) == len(points)
    by_place = {tuple(place): point for place, point in zip(places.tolist(), points, strict=True)}
    geod = Geod(ellps="sphere", a=EARTH_RADIUS, b=EARTH_RADIUS)
    for (row, column), (lon, lat) in list(by_place.items())[::37]:
        if (row, column + 1) in by_place and abs(lat) < 60:
            other = by_place[row, column + 1]
            along = geod.inv(lon, lat, *other)[2] if spacing < 50_000 else None
            if along is not None:
                assert along == pytest.approx(spacing, rel=1e-3)
        if (row + 1, 0) in by_place and column == 0:
            assert great_circle((lon, lat), by_place[row + 1, 0]) == pytest.approx(spacing)


def test_a_spacing_without_places_is_refused() -> None:
    ring = shapely.Polygon(shapely.box(0, 0, 1, 1).exterior, [shapely.box(0.1, 0.1, 0.9, 0.9).exterior])
    with pytest.raises(RegionError, match="no place of a grid of 500000 m lies in the region"):
        regular_points(ring, 500_000)
    assert len(regular_points(shapely.box(0, 0, 1, 1), 500_000)[0]) == 1
    with pytest.raises(RegionError, match="are more than 10,000,000"):
        regular_points(BOX, 1.0)


class Listed:
    """A pool with a list of candidates for each stratum."""

    def __init__(self, candidates: Mapping[Key, Sequence[Point]]) -> None:
        self._left = {key: list(points) for key, points in candidates.items()}

    def more(self, wanted: Mapping[Key, int], target: int) -> Mapping[Key, Sequence[Point]]:
        found = {key: self._left[key][:count] for key, count in wanted.items() if self._left[key]}
        for key, points in found.items():
            del self._left[key][: len(points)]
        return found


@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(1, 12))
def test_strata_alternate_until_they_are_exhausted(sizes: list[int], count: int) -> None:
    candidates = {key: [(float(key), float(n)) for n in range(size)] for key, size in enumerate(sizes)}
    found = StratifiedDraw(Listed(candidates), list(candidates), count)
    rounds = [(key, points[n]) for n in range(count) for key, points in candidates.items() if n < len(points)]
    assert found.interleaved() == rounds
    assert found.missing == {key: count - size for key, size in enumerate(sizes) if size < count}
