"""Distances between chips, against geodesics between thousands of points of their edges, all over the Earth."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from eechips.errors import UsageError
from eechips.geo.crs import utm_crs
from eechips.geo.grid import Grid
from eechips.training.splits.footprint_index import FootprintIndex

GEOD = Geod(ellps="WGS84")


def local(longitude: float, latitude: float, *, east: float = 0.0, north: float = 0.0, size: int = 64) -> Grid:
    """A chip of metres in a plane of its own, so many metres beside a place anywhere on the Earth."""
    crs = f"+proj=laea +lon_0={longitude!r} +lat_0={latitude!r} +datum=WGS84 +units=m"
    return Grid(crs, (1.0, 0.0, east, 0.0, -1.0, north), size, size)


def utm(longitude: float, latitude: float, size: int = 64, pixel: float = 10.0) -> Grid:
    crs = utm_crs(longitude, latitude)
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    return Grid(crs, (pixel, 0.0, x, 0.0, -pixel, y), size, size)


def edge(grid: Grid, pieces: int = 30) -> np.ndarray:
    """Points of a grid's edge, in degrees: PROJ's, not ours."""
    shares = np.arange(pieces) / pieces
    ring = [(s, 0.0) for s in shares] + [(1.0, s) for s in shares]
    ring += [(1.0 - s, 1.0) for s in shares] + [(0.0, 1.0 - s) for s in shares]
    places = np.array([grid.xy(column * grid.width, row * grid.height) for column, row in ring])
    transformer = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    return np.column_stack(transformer.transform(places[:, 0], places[:, 1]))


def apart(one: Grid, other: Grid) -> float:
    """The least of all geodesics between points of two edges."""
    first, second = edge(one), edge(other)
    a, b = np.meshgrid(np.arange(len(first)), np.arange(len(second)), indexing="ij")
    lines = GEOD.inv(*first[a.ravel()].T, *second[b.ravel()].T)[2]
    return float(np.min(lines))


def found(grids: list[Grid], metres: float) -> dict[tuple[int, int], float]:
    outlines = FootprintIndex(grids)
    assert outlines.numbers.tolist() == list(range(len(grids)))
    everything = outlines.numbers
    return {
        (int(i), int(j)): float(m)
        for some, others, measured in outlines.near(everything, everything, metres)
        for i, j, m in zip(some, others, measured, strict=True)
        if i < j
    }


LONGITUDES = st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, 179.9999, -179.9999])
LATITUDES = st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, 89.9995, -89.9995])


@pytest.mark.slow
@given(
    longitude=LONGITUDES,
    latitude=LATITUDES,
    azimuth=st.floats(0, 360),
    distance=st.floats(300, 20_000),
    size=st.integers(1, 200),
)
def test_the_distance_is_the_shortest_geodesic(
    longitude: float, latitude: float, azimuth: float, distance: float, size: int
) -> None:
    """Anywhere, the poles and the antimeridian included."""
    away = GEOD.fwd(longitude, latitude, azimuth, distance)
    one, other = local(longitude, latitude), local(away[0], away[1], size=size)
    exact = apart(one, other)
    measured = FootprintIndex([one, other]).distances(np.array([0]), np.array([1]))[0]
    coarse = (64 + size) / 30  # metres between two points of an edge
    assert measured <= exact + 1e-3
    assert measured >= exact - coarse**2 / (2 * exact) - 1e-3 - 1e-6 * exact


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), metres=st.sampled_from([50.0, 1000.0, 30_000.0]))
def test_no_near_pair_is_missed_and_no_other_is_found(seed: int, metres: float) -> None:
    """Chips of several projections around places where longitudes end, against every pair measured by itself."""
    draw = np.random.default_rng(seed)
    middle = [(180.0, 0.0), (180.0, 65.0), (0.0, 90.0), (40.0, -90.0), (-105.0, 40.0)][draw.integers(5)]
    places = [GEOD.fwd(*middle, draw.uniform(0, 360), draw.exponential(3000.0))[:2] for _ in range(6)]
    makers = (local, utm) if abs(middle[1]) < 80 else (local,)
    grids = [makers[draw.integers(len(makers))](*place, size=int(draw.integers(1, 300))) for place in places]
    pairs = found(grids, metres)
    for i in range(len(grids)):
        for j in range(i + 1, len(grids)):
            exact = apart(grids[i], grids[j])
            if (i, j) in pairs:
                assert pairs[i, j] <= exact + 0.02
                assert pairs[i, j] <= metres
            else:
                assert exact > metres - 0.02


def square(grid: Grid, on: Grid) -> shapely.Polygon:
    """A grid's outline in the plane of another."""
    to = Transformer.from_crs("EPSG:4326", on.crs, always_xy=True)
    return shapely.Polygon(np.column_stack(to.transform(*edge(grid).T)))


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_overlaps_are_those_of_polygons_in_one_plane(seed: int) -> None:
    """Shapely's areas in an equal-area plane are the oracle, wherever the chips are."""
    draw = np.random.default_rng(seed)
    middle = [(180.0, -17.0), (-180.0, 65.0), (0.0, 90.0), (7.0, 50.0)][draw.integers(4)]
    places = [GEOD.fwd(*middle, draw.uniform(0, 360), draw.exponential(150.0))[:2] for _ in range(7)]
    grids = [local(*place, size=int(draw.integers(20, 200))) for place in places]
    pairs = found(grids, 0.0)
    plane = local(*middle)
    shapes = [square(grid, plane) for grid in grids]
    for i in range(len(grids)):
        for j in range(i + 1, len(grids)):
            area = shapes[i].intersection(shapes[j]).area
            if area > 0.5:
                assert pairs.get((i, j)) == 0.0
            elif not shapes[i].intersects(shapes[j]):
                assert (i, j) not in pairs


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32613", "EPSG:3857", "SR-ORG:6974"])
def test_neighbours_on_one_lattice_do_not_overlap(crs: str) -> None:
    """Last digits of their transforms may differ: floats cannot represent a third of an arc second."""
    pixel = 1 / 10800 if crs == "EPSG:4326" else 926.625433055833
    origin = (-105.0, 40.0) if crs == "EPSG:4326" else (400_000.0, 4_400_000.0)
    base = Grid(crs, (pixel, 0.0, origin[0], 0.0, -pixel, origin[1]), 1, 1)
    grids = [base.window(32 * column, 32 * row, 32, 32) for row in range(4) for column in range(4)]
    assert found(grids, 0.0) == {}
    assert len(found([*grids, base.window(1, 1, 32, 32)], 0.0)) == 4
    assert (0, 1) in found(grids, 1.0)


def test_a_chip_across_the_antimeridian_overlaps_one_on_either_side() -> None:
    pixel = 0.001
    across = Grid("EPSG:4326", (pixel, 0.0, 179.95, 0.0, -pixel, 10.05), 100, 100)
    beyond = Grid("EPSG:4326", (pixel, 0.0, -180.02, 0.0, -pixel, 10.05), 50, 50)
    far = Grid("EPSG:4326", (pixel, 0.0, -179.9, 0.0, -pixel, 10.05), 50, 50)
    assert set(found([across, beyond, far], 0.0)) == {(0, 1)}


def test_a_chip_over_the_pole_overlaps_what_lies_inside_it() -> None:
    polar = Grid("EPSG:3413", (1000.0, 0.0, -50_000.0, 0.0, -1000.0, 50_000.0), 100, 100)
    inside = local(137.0, 89.9)
    assert found([polar, inside], 0.0) == {(0, 1): 0.0}
    assert found([polar, local(137.0, 89.2)], 10_000.0).keys() == set()
    assert found([polar, local(135.0, 89.3)], 50_000.0).keys() == {(0, 1)}


def test_a_large_image_is_near_to_what_lies_along_its_bent_edge() -> None:
    """Its north edge is a parallel, 600 km long, that lies kilometres from the geodesic between its corners."""
    large = Grid("EPSG:4326", (0.01, 0.0, 0.0, 0.0, -0.01, 60.0), 1000, 100)
    chip = utm(5.0, 60.02, size=10)
    pairs = found([large, chip], 3000.0)
    assert pairs[0, 1] == pytest.approx(apart(large, chip), abs=30.0)


def test_grids_that_are_the_same_are_one_outline() -> None:
    outlines = FootprintIndex([local(0, 0), local(1, 1), local(0, 0)])
    assert outlines.numbers.tolist() == [0, 1, 0]
    assert len(outlines) == 2
    assert outlines.centres[0] == pytest.approx([0.000287, -0.00029], abs=1e-5)


def test_an_empty_index_finds_nothing() -> None:
    outlines = FootprintIndex([])
    assert len(outlines) == 0
    assert list(outlines.near(outlines.numbers, outlines.numbers, 10.0)) == []


def test_a_grid_that_lies_nowhere_is_refused() -> None:
    with pytest.raises(UsageError, match="a chip reaches beyond the area of EPSG:6933"):
        FootprintIndex([Grid("EPSG:6933", (1e3, 0.0, 0.0, 0.0, -1e3, 9e6), 10, 10)])
