"""Grids of the same pixels are grouped by their place, within limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.geo.grid import Grid
from eechips.geo.shared_windows import GroupLimits, group_grids

UTM = Grid("EPSG:32613", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0), 1, 1)
DEGREES = Grid("EPSG:4326", (0.0001, 0.0, -105.3, 0.0, -0.0001, 40.1), 1, 1)
ROTATED = Grid("EPSG:32613", (0.6, 0.8, 500_000.3, 0.8, -0.6, 4_400_000.7), 1, 1)
ANY = GroupLimits(pixels=1 << 20, members=1000, waste=1.0)


@pytest.mark.parametrize("lattice", [UTM, DEGREES, ROTATED])
def test_adjoining_grids_are_one_group(lattice: Grid) -> None:
    grids = [lattice.window(64 * column, 64 * row, 64, 64) for row in range(5) for column in range(7)]
    (group,) = group_grids(grids, ANY)
    assert (group.grid.width, group.grid.height) == (448, 320)
    assert [member.content for member in group.members] == list(range(35))
    assert [(m.window.column, m.window.row) for m in group.members][:9] == [
        *((64 * column, 0) for column in range(7)),
        (0, 64),
        (64, 64),
    ]


def test_grids_of_other_pixels_stay_apart() -> None:
    near = UTM.window(64, 0, 64, 64)
    a, b, c, d, e, f = near.transform
    others = [
        Grid(near.crs, (a, b, c + 5.0, d, e, f), 64, 64),
        Grid(near.crs, (20.0, b, c, d, -20.0, f), 32, 32),
        Grid("EPSG:32614", near.transform, 64, 64),
    ]
    groups = group_grids([UTM.window(0, 0, 64, 64), near, *others], ANY)
    assert [[member.content for member in group.members] for group in groups] == [[0, 1], [2], [3], [4]]


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (GroupLimits(pixels=4 * 64 * 64, members=1000, waste=1.0), 4),
        (GroupLimits(pixels=1 << 20, members=3, waste=1.0), 3),
    ],
)
def test_groups_are_within_their_limits(limits: GroupLimits, most: int) -> None:
    grids = [UTM.window(64 * column, 64 * row, 64, 64) for row in range(8) for column in range(8)]
    sizes = [len(group.members) for group in group_grids(grids, limits)]
    assert max(sizes) <= most
    assert sum(sizes) == 64
    assert len(sizes) <= 2 * 64 / most


def test_scattered_grids_stay_alone() -> None:
    grids = [UTM.window(1000 * n, 700 * (n % 3), 64, 64) for n in range(20)]
    limits = GroupLimits(pixels=1 << 30, members=1000, waste=1.2)
    assert [len(group.members) for group in group_grids(grids, limits)] == [1] * 20


@given(
    places=st.lists(
        st.tuples(st.integers(-500, 500), st.integers(-500, 500), st.integers(1, 90), st.integers(1, 90)),
        min_size=1,
        max_size=40,
    ),
    lattice=st.sampled_from([UTM, DEGREES, ROTATED]),
    pixels=st.integers(1, 200_000),
    members=st.integers(1, 12),
    waste=st.floats(1.0, 3.0),
)
def test_each_grid_is_in_one_group_at_its_place(
    places: list[tuple[int, int, int, int]], lattice: Grid, pixels: int, members: int, waste: float
) -> None:
    grids = [lattice.window(*place) for place in places]
    groups = group_grids(grids, GroupLimits(pixels, members, waste))
    assert sorted(member.content for group in groups for member in group.members) == list(range(len(grids)))
    assert [group.members[0].content for group in groups] == sorted(group.members[0].content for group in groups)
    for group in groups:
        whole = group.grid
        for member in group.members:
            window = member.window
            assert 0 <= window.column <= whole.width - window.width
            assert 0 <= window.row <= whole.height - window.height
            grid = grids[member.content]
            cut = whole.window(window.column, window.row, window.width, window.height)
            assert (cut.crs, cut.width, cut.height) == (grid.crs, grid.width, grid.height)
            assert cut.transform == pytest.approx(grid.transform, rel=1e-12)
        if len(group.members) > 1:
            kept = sum(member.window.pixels for member in group.members)
            assert len(group.members) <= members
            assert whole.width * whole.height <= min(pixels, waste * kept)


def test_groups_of_staggered_rows_are_nearly_full_and_cover_little_else() -> None:
    """As points at equal distances on a sphere lie on a projected grid."""
    grids = [UTM.window(64 * column + 23 * row % 64, 64 * row, 64, 64) for row in range(40) for column in range(40)]
    groups = group_grids(grids, GroupLimits(pixels=1 << 20, members=64, waste=1.2))
    assert len(groups) <= 40
    assert sum(group.grid.width * group.grid.height for group in groups) <= 1.15 * 1600 * 64 * 64
