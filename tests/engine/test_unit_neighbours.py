"""Units that may share a request because they are near each other."""

from __future__ import annotations

import pytest

from eechips.engine.costs.forecast import ChipBox, count_neighbours, place_boxes
from eechips.geo.grid import Grid

SIZE = 100.0  # metres of a chip of 10 x 10 pixels


def grid(x: float, y: float, crs: str = "EPSG:32613") -> Grid:
    return Grid(crs, (10.0, 0.0, x, 0.0, -10.0, y), 10, 10)


@pytest.mark.parametrize(
    ("apart", "neighbours"),
    [((0.0, 0.0), 2), ((SIZE, 0.0), 2), ((1.35 * SIZE, 0.0), 2), ((1.45 * SIZE, 0.0), 0), ((SIZE, SIZE), 0)],
)
def test_a_window_of_two_chips_has_little_between_them(apart: tuple[float, float], neighbours: int) -> None:
    for x in (0.0, 190.0, -4321.0):  # wherever the cells begin
        grids = [grid(x, 5000.0), grid(x + apart[0], 5000.0 + apart[1])]
        assert count_neighbours(list(map(ChipBox.of, grids))) == neighbours


def test_chips_of_two_zones_are_no_neighbours() -> None:
    boxes = [ChipBox.of(grid(0.0, 0.0)), ChipBox.of(grid(0.0, 0.0, "EPSG:32614"))]
    assert count_neighbours(boxes) == 0


@pytest.mark.parametrize("latitude", [0.1, 39.9, -60.2])
def test_places_are_compared_by_the_size_of_one_chip(latitude: float) -> None:
    metre = 1 / 111_320
    places = [(10.0, latitude + 10 * SIZE * metre), (10.0, latitude), (10.0, latitude + 1.2 * SIZE * metre)]
    assert count_neighbours(list(place_boxes(places, grid(0.0, 0.0)))) == 2
