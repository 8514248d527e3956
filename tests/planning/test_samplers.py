"""Points drawn in polygons: uniform on the sphere, inside, the same for the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import RegionError
from eechips.geo.polygons import spherical_area
from eechips.planning.sampling.samplers import PointStream, Stratum
from eechips.planning.sampling.stratified_draw import StrataPool, StratifiedDraw
from local_tests.support.call_counts import count_calls

COLORADO = shapely.box(-109.06, 36.99, -102.04, 41.0)
HOLED = shapely.Polygon(shapely.box(0, 0, 10, 10).exterior, [shapely.box(2, 2, 8, 8).exterior])
ISLANDS = shapely.union_all([shapely.box(179, -18, 180, -16), shapely.box(-180, -18, -178, -16)])


def draw_points(geometry: shapely.Geometry, count: int, seed: int, key: int | str) -> np.ndarray:
    return np.array(PointStream(geometry, seed, key).points(0, count)).reshape(count, 2)


def interleaved(strata: list[Stratum], count: int, seed: int) -> list[tuple[int | float | str, tuple[float, float]]]:
    return StratifiedDraw(StrataPool(strata, seed), [stratum.id for stratum in strata], count).interleaved()


@st.composite
def polygons(draw: st.DrawFn) -> shapely.Polygon:
    """Triangles and quadrangles of any size from metres to continents."""
    lon, lat = draw(st.floats(-150, 150)), draw(st.floats(-70, 70))
    size = draw(st.sampled_from([1e-4, 1e-2, 1.0, 15.0]))
    offsets = draw(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=3, max_size=4))
    polygon = shapely.convex_hull(shapely.MultiPoint([(lon + x * size, lat + y * size) for x, y in offsets]))
    return polygon if polygon.area > 0.01 * size * size else shapely.box(lon, lat, lon + size, lat + size)


@given(polygons(), st.integers(0, 2**63), st.integers(1, 40))
def test_points_are_inside_distinct_and_rounded(polygon: shapely.Polygon, seed: int, count: int) -> None:
    points = draw_points(polygon, count, seed, 398)
    assert points.shape == (count, 2)
    assert shapely.contains_xy(polygon, points[:, 0], points[:, 1]).all()
    assert len(np.unique(points, axis=0)) == count
    assert np.array_equal(points, np.round(points, 7))


def test_the_first_points_are_the_same_however_many_are_drawn() -> None:
    many = draw_points(COLORADO, 5000, 7, 398)
    for count in (1, 2, 63, 64, 65, 1000, 4999):
        assert np.array_equal(draw_points(COLORADO, count, 7, 398), many[:count])


def test_seed_and_stratum_change_the_points_and_nothing_else_does() -> None:
    points = draw_points(COLORADO, 10, 7, 398)
    assert np.array_equal(points, draw_points(shapely.Polygon(COLORADO), 10, 7, 398))
    assert not np.array_equal(points, draw_points(COLORADO, 10, 8, 398))
    assert not np.array_equal(points, draw_points(COLORADO, 10, 7, 399))
    strata = [Stratum(n, f"eco {n}", COLORADO) for n in (397, 398, 399)]
    plan = interleaved(strata, 10, 7)
    assert [point for key, point in plan if key == 398] == list(map(tuple, points.tolist()))
    assert [key for key, _ in plan[:6]] == [397, 398, 399, 397, 398, 399]


def test_points_are_stable_across_versions() -> None:
    """The points of a seed never change, so that runs can be resumed and papers repeated years later."""
    assert draw_points(COLORADO, 2, 0, 398).tolist() == [[-109.035756, 38.4743927], [-108.8242912, 38.8431237]]


@pytest.mark.parametrize("polygon", [COLORADO, HOLED, ISLANDS, shapely.box(0, 60, 40, 88)])
def test_points_are_uniform_on_the_sphere(polygon: shapely.Geometry) -> None:
    """A chi-squared test over cells of equal area: rows are equal steps of the sine of latitude."""
    count = 20_000
    points = draw_points(polygon, count, 1, 1)
    west, south, east, north = polygon.bounds
    columns, rows = 8, 5
    sines = np.linspace(math.sin(math.radians(south)), math.sin(math.radians(north)), rows + 1)
    edges = np.degrees(np.arcsin(sines)), np.linspace(west, east, columns + 1)
    found, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=edges)
    lat, lon = edges
    expected = np.array(
        [
            [spherical_area(polygon & shapely.box(lon[c], lat[r], lon[c + 1], lat[r + 1])) for c in range(columns)]
            for r in range(rows)
        ]
    )
    expected *= count / expected.sum()
    used = expected > 20
    chi_squared = ((found - expected)[used] ** 2 / expected[used]).sum()
    freedom = used.sum() - 1
    assert chi_squared < freedom + 5 * math.sqrt(2 * freedom)


def test_few_candidates_are_drawn_for_thin_diagonal_polygons() -> None:
    sliver = shapely.Polygon([(-105, 37), (-100, 41), (-100, 41.0001)])
    with count_calls() as calls:
        points = draw_points(sliver, 1000, 0, 1)
    assert len(points) == 1000
    assert calls["contains_xy"] < 1000, "draws, each of thousands of candidates"


def test_a_polygon_of_a_few_centimetres_is_refused() -> None:
    with pytest.raises(RegionError, match="too small"):
        draw_points(shapely.box(0, 0, 1e-6, 1e-6), 1000, 0, 5)


def test_more_than_five_thousand_in_one_stratum() -> None:
    assert len(interleaved([Stratum(1, "a", COLORADO)], 6000, 0)) == 6000


def test_replacements_are_unused_later_points_of_the_sequence() -> None:
    strata = [Stratum(n, f"eco {n}", COLORADO) for n in (397, "b")]
    sequences = {stratum.id: list(map(tuple, draw_points(COLORADO, 110, 7, stratum.id).tolist())) for stratum in strata}
    order = [(key, place, number) for key in sequences for place in range(10) for number in range(1, 11)]
    np.random.default_rng(1).shuffle(order)
    draws = StratifiedDraw(StrataPool(strata, 7), [stratum.id for stratum in strata], 10)
    seen = {point for _, point in draws.interleaved()}
    for key, place, number in order:
        key = int(key) if str(key).isdigit() else str(key)
        found = draws.replacement(key, sequences[key][int(place)], int(number))
        assert found is not None
        assert found == sequences[key][int(number) * 10 + int(place)]
        seen.add(found)
    assert len(seen) == 2 * 110


def test_a_full_stratum_has_no_replacement() -> None:
    cell = 1e-7
    tiny = shapely.box(0, 0, 10 * cell, 10 * cell)  # room for 25 points
    draws = StratifiedDraw(StrataPool([Stratum(1, "tiny", tiny), Stratum(2, "large", COLORADO)], 0), [1, 2], 10)
    (first, _) = draws.interleaved()[:2]
    assert draws.replacement(1, first[1], 1) is not None
    assert draws.replacement(1, first[1], 2) is None
    assert draws.replacement(2, (0.0, 0.0), 1) is None
    assert draws.replacement(3, first[1], 1) is None
    full = StratifiedDraw(StrataPool([Stratum(1, "tiny", tiny)], 0), [1], 20)
    assert full.replacement(1, full.interleaved()[0][1], 1) is None
