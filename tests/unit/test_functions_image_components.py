"""Connected pixels, spectra and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize, shapes

from eechips.emulator.errors import InvalidError
from tests.graph import invoke
from tests.images import UTM, asset, constant, evaluate, pixel, read, stored, values_of


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.booleans())
def test_counts_are_the_areas_of_gdal_s_polygons(seed: int, classes: int, eight: bool) -> None:
    values = np.random.default_rng(seed).integers(0, classes, (48, 64)).astype(np.uint8)
    image = evaluate(
        invoke("Image.connectedPixelCount", input=stored(), maxSize=1024, eightConnected=eight), asset(values)
    )
    expected = np.zeros(values.shape)
    for geometry, _ in shapes(values, connectivity=8 if eight else 4):
        polygon = shapely.geometry.shape(geometry)
        expected[rasterize([(polygon, 1)], out_shape=values.shape) == 1] = polygon.area
    assert np.array_equal(values_of(image), np.minimum(expected, 1024))


def test_counts_end_at_the_largest_size_and_leave_masked_pixels_out() -> None:
    values, valid = np.ones((48, 64), dtype=np.uint8), np.ones((48, 64), dtype=bool)
    valid[:, 10] = False
    image = evaluate(invoke("Image.connectedPixelCount", input=stored(), maxSize=500), asset(values, valid=valid))
    found = values_of(image)
    assert (found[:, :10] == 480).all()
    assert np.isnan(found[:, 10]).all()
    assert (found[:, 11:] == 500).all()
    assert np.array_equal(values_of(image, UTM.window(3, 3, 5, 5)), np.full((5, 5), 480))
    with pytest.raises(InvalidError, match="maxSize"):
        evaluate(invoke("Image.connectedPixelCount", input=constant(1), maxSize=5000))


def test_a_winding_path_is_one_component() -> None:
    snake = np.zeros((48, 64), dtype=np.uint8)
    snake[::2] = 1
    for row in range(1, 47, 2):
        snake[row, -1 if row % 4 == 1 else 0] = 1
    found = values_of(
        evaluate(invoke("Image.connectedPixelCount", input=stored(), maxSize=1024, eightConnected=False), asset(snake))
    )
    assert (found[snake == 1] == 1024).all()


class TestSpectra:
    def distance(self, metric: str, a: list[float], b: list[float]) -> Any:
        return pixel(invoke("Image.spectralDistance", image1=constant(*a), image2=constant(*b), metric=metric))[0]

    def test_metrics(self) -> None:
        assert self.distance("sam", [1, 0], [0, 2]) == pytest.approx(np.pi / 2)
        assert self.distance("sam", [1, 2], [2, 4]) == pytest.approx(0, abs=1e-7)
        assert self.distance("sed", [1, 5], [4, 1]) == 25
        assert self.distance("sid", [1, 2, 3], [1, 2, 3]) == pytest.approx(0)
        p, q = np.array([1, 2, 7]) / 10, np.array([4, 4, 2]) / 10
        expected = (p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()
        assert self.distance("sid", [1, 2, 7], [4, 4, 2]) == pytest.approx(expected)
        with pytest.raises(InvalidError):
            self.distance("emd", [1, 2], [3, 4])

    def test_unmix(self) -> None:
        ends = [[0.1, 0.4, 0.9], [0.8, 0.3, 0.05]]
        mixed = 0.3 * np.array(ends[0]) + 0.6 * np.array(ends[1])
        assert pixel(invoke("Image.unmix", image=constant(*mixed), endmembers=ends)) == pytest.approx([0.3, 0.6])
        with pytest.raises(InvalidError, match="constraints"):
            evaluate(invoke("Image.unmix", image=constant(1, 2, 3), endmembers=ends, sumToOne=True))


def test_gradient_is_per_metre() -> None:
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    image = evaluate(invoke("Image.gradient", input=stored()), asset(3.0 * x + 5.0 * y))
    assert [b.name for b in image.bands] == ["x", "y"]
    east, north = read(image)
    assert np.allclose(east.values[1:-1, 1:-1], 0.3, rtol=1e-3)
    assert np.allclose(north.values[1:-1, 1:-1], -0.5, rtol=1e-3)
