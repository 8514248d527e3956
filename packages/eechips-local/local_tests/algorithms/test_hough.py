"""The Hough transform: votes that scikit-image counts, lines that are drawn, and cells of the grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eechips_local.algorithms.hough import count_votes, find_lines, smoothed
from eechips_local.protocol.request_errors import InvalidError, LimitError
from local_tests.support.graphs import invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored, values_of

ROWS, COLUMNS = np.indices(UTM.shape)
Bools = npt.NDArray[np.bool_]


def lines(active: Bools, threshold: float, is_smooth: bool = False) -> Bools:
    return find_lines(active, threshold, is_smooth, lambda: None)


def transform(values: Any, valid: Any = None, **more: Any) -> Any:
    return evaluate(invoke("HoughTransform", image=stored(), **more), asset(values, valid=valid))


def pattern() -> Bools:
    rows, columns = np.indices((40, 70))
    return ((7 * rows**2 + 3 * columns) % 11 == 0) | (2 * rows == columns)


MOST = [(115, 1, 17), (116, 0, 25), (117, 0, 30), (118, -1, 20), (135, 1, 16)]
"""Angle in degrees, distance, and votes of the cells of ``pattern`` that have most.

By ``skimage.transform.hough_line(pattern(), theta=np.deg2rad(np.arange(180)))`` of scikit-image 0.26.0.
"""


def test_votes_are_those_of_scikit_image() -> None:
    votes = count_votes(pattern())
    reach = len(votes) // 2
    most = [(int(angle), int(place) - reach, int(votes[place, angle])) for place, angle in np.argwhere(votes >= 16)]
    assert sorted(most) == MOST
    assert (votes.sum(axis=0) == pattern().sum()).all()


@pytest.mark.parametrize("shape", [(1, 1), (9, 14), (30, 3)])
def test_each_pixel_votes_for_the_lines_through_it(shape: tuple[int, int]) -> None:
    active = np.random.default_rng(2).random(shape) < 0.3
    votes = count_votes(active)
    reach = len(votes) // 2
    expected = np.zeros_like(votes)
    for y, x in np.argwhere(active):
        for angle in range(180):
            distance = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle))
            expected[int(np.floor(distance + 0.5)) + reach, angle] += 1
    assert (votes == expected).all()


def test_smoothed_votes_are_means_that_go_on_after_the_last_angle() -> None:
    """The line at 180 degrees is that at 0 degrees with the distance of the other sign."""
    votes = np.zeros((9, 180), dtype=np.int64)
    votes[6, 0] = 9
    found = smoothed(votes)
    assert (found[5:8, :2] == 1).all()
    assert (found[1:4, 179] == 1).all()
    assert found.sum() == 9


@pytest.mark.parametrize("angle", [90, 117, 30, 63, 5])
def test_a_broken_line_is_found_without_its_gaps(angle: int) -> None:
    """A line near the middle of the image; others with the votes are close to it."""
    across, down = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    beside = COLUMNS * across + ROWS * down - round(32 * across + 24 * down)
    line = np.abs(beside) <= 0.4
    broken = line & ((ROWS + COLUMNS) % 5 != 0)
    found = lines(broken, broken.sum())
    assert found[line].all()
    assert np.abs(beside[found]).max() < 3


def test_all_lines_with_enough_votes_count() -> None:
    cross = (ROWS == 20) | (COLUMNS == 30)
    assert lines(cross, 48).sum() >= cross.sum()
    assert lines(cross, 48)[cross].all()
    across = lines(cross, 60)
    assert across[20].all()
    assert not across[:15].any()
    assert not lines(cross, 65).any()


class TestImages:
    def test_bands_are_ones_on_lines_in_cells_of_the_grid(self) -> None:
        """The grid of 16 pixels begins where the image does; a line in one cell does not go on in the next."""
        values = np.where((COLUMNS == 5) & (ROWS < 16), 200, 0).astype(np.uint8)
        image = transform(values, gridSize=16, lineThreshold=16, smooth=False)
        assert [(band.name, band.type.maximum) for band in image.bands] == [("B1_lines", 1)]
        found = values_of(image)
        assert found[:16, 5].all()
        assert not found[16:].any()
        assert not found[:, 16:].any()

    def test_windows_agree(self) -> None:
        values = np.where(np.random.default_rng(1).random(UTM.shape) < 0.3, 100, 0).astype(np.uint8)
        image = transform(values, gridSize=32, lineThreshold=12)
        whole = values_of(image)
        assert 0 < whole.mean() < 1
        assert (values_of(image, UTM.window(13, 7, 40, 30)) == whole[7:37, 13:53]).all()

    @pytest.mark.parametrize(("given", "count"), [(64, 48), (65, 0)])
    def test_pixels_at_the_input_threshold_are_active(self, given: float, count: int) -> None:
        values = np.where(COLUMNS == 5, 64, 0).astype(np.uint8)
        image = transform(values, gridSize=64, inputThreshold=given, lineThreshold=48, smooth=False)
        assert values_of(image)[:, 5].sum() == count

    def test_masked_pixels_are_not_active_and_stay_masked(self) -> None:
        values = np.where(COLUMNS == 5, 64, 0).astype(np.uint8)
        valid = ROWS != 9
        (found,) = read(transform(values, valid=valid, gridSize=64, lineThreshold=48, smooth=False))
        assert (found.valid == valid).all()
        assert not found.values.any()
        (found,) = read(transform(values, valid=valid, gridSize=64, lineThreshold=47, smooth=False))
        assert found.values[valid][COLUMNS[valid] == 5].all()

    def test_refusals(self) -> None:
        with pytest.raises(InvalidError, match="gridSize must be positive; found 0"):
            transform(np.zeros(UTM.shape, np.uint8), gridSize=0)
        with pytest.raises(LimitError, match="gridSize must be at most 2048"):
            transform(np.zeros(UTM.shape, np.uint8), gridSize=4096)
        with pytest.raises(InvalidError, match="Array images have no lines"):
            evaluate(invoke("HoughTransform", image=invoke("Image.toArray", image=stored())), asset(ROWS))
