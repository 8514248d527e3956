"""Edges against scipy, and against shapes whose edges are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored, values_of

ndimage = pytest.importorskip("scipy.ndimage")

SHAPE = UTM.shape
ROWS, COLUMNS = np.indices(SHAPE)


def canny(values: Any, valid: Any = None, **more: Any) -> Any:
    return evaluate(invoke("CannyEdgeDetector", image=stored(), **more), asset(values, valid=valid))


def test_a_step_is_one_line_with_the_slope_of_its_gaussian() -> None:
    """A step of height 100 under a Gaussian: its central difference is the mean of two cells of the kernel."""
    step = np.where(COLUMNS < 30, 0, 100).astype(np.uint8)
    found = values_of(canny(step, threshold=1, sigma=2))[12:-12, 12:-12]
    assert (np.count_nonzero(found, axis=1) == 1).all()
    smooth = ndimage.gaussian_filter(step.astype(float), 2, truncate=4)
    slope = (smooth[:, 2:] - smooth[:, :-2]).max() / 2
    assert np.allclose(found.max(axis=1), slope, rtol=1e-6)
    assert set(np.nonzero(found)[1] + 12) <= {29, 30}


def test_magnitudes_are_those_of_scipy() -> None:
    random = np.random.default_rng(3)
    values = random.integers(0, 255, SHAPE).astype(np.uint8)
    found = values_of(canny(values, threshold=0, sigma=1.5))
    smooth = ndimage.gaussian_filter(values.astype(float), 1.5, truncate=4)
    kernel = np.array([0.5, 0.0, -0.5])
    size = np.hypot(ndimage.convolve1d(smooth, kernel, axis=0), ndimage.convolve1d(smooth, kernel, axis=1))
    edge = np.nan_to_num(found) > 0
    assert edge.sum() > 50
    assert np.allclose(found[edge], size[edge], rtol=1e-5)


def test_a_disc_has_a_circle_of_its_radius() -> None:
    far = np.hypot(ROWS - 24, COLUMNS - 32)
    found = np.nan_to_num(values_of(canny(np.where(far < 10, 200, 0).astype(np.uint8), threshold=5, sigma=1)))
    assert np.count_nonzero(found) > 40
    assert np.abs(far[found > 0] - 10).max() < 1.5


def test_edges_below_the_threshold_are_zero_and_the_names_stay() -> None:
    step = np.where(COLUMNS < 30, 0, 10).astype(np.uint8)
    image = canny(step, threshold=20, sigma=0)
    assert [band.name for band in image.bands] == ["B1"]
    assert np.nanmax(values_of(image)) == 0


def test_masked_pixels_mask_what_they_reach() -> None:
    valid = np.ones(SHAPE, dtype=bool)
    valid[24, 32] = False
    (pixels,) = read(canny(np.zeros(SHAPE, dtype=np.uint8), valid, threshold=1, sigma=1))
    masked = ~pixels.valid[10:-10, 10:-10]
    rows, columns = np.nonzero(masked)
    assert (rows.min() + 10, rows.max() + 10, columns.min() + 10, columns.max() + 10) == (18, 30, 26, 38)


def test_a_negative_sigma_is_refused() -> None:
    with pytest.raises(InvalidError, match="Sigma must not be negative"):
        canny(np.zeros(SHAPE, dtype=np.uint8), threshold=1, sigma=-1)


def test_zero_crossings_look_right_and_down() -> None:
    """developers.google.com/earth-engine/guides/image_edges: right, bottom and diagonal bottom-right pixel."""
    values = np.array([[1, 1, -1, 0], [1, 1, 1, 0], [1, 1, -1, 1], [0, 0, 0, 0]], dtype=np.int16)
    wide = np.zeros(SHAPE, dtype=np.int16)
    wide[20:24, 20:24] = values
    found = values_of(evaluate(invoke("Image.zeroCrossing", image=stored()), asset(wide)))
    expected = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    assert np.array_equal(found[20:24, 20:24], expected)


def test_masked_neighbours_have_no_sign() -> None:
    values = np.where(COLUMNS < 30, 1, -1).astype(np.int16)
    valid = COLUMNS != 30
    found = values_of(evaluate(invoke("Image.zeroCrossing", image=stored()), asset(values, valid=valid)))
    assert np.nanmax(found) == 0
