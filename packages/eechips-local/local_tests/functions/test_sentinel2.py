"""The cloud displacement index, by the equations of its paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from affine import Affine

from local_tests.support.local_earth_engine import Server
from local_tests.support.served_arrays import CRS, TRANSFORM, ingest_array, read_pixels, serve_arrays

SIDE = 60
RANDOM = np.random.default_rng(17)
COARSE = RANDOM.integers(800, 5000, (2, SIDE, SIDE)).astype(np.uint16)
FINE = RANDOM.integers(800, 5000, (1, 2 * SIDE, 2 * SIDE)).astype(np.uint16)
TWENTY = TRANSFORM @ Affine.scale(2)


@pytest.fixture(scope="module")
def ee(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Any:
    """The client, on bands of 20 m and one of 10 m."""
    folder = tmp_path_factory.mktemp("sentinel2")
    ingest_array(folder, "test/coarse", COARSE, ["B7", "B8A"], transform=TWENTY)
    return serve_arrays(folder, serve, {"test/fine": (FINE, ["B8"])})


@pytest.mark.slow
def test_it_is_the_contrast_of_two_variances(ee: Any) -> None:
    """Frantz et al. 2018: variances of two ratios in windows of 7 by 7 pixels of 20 m."""
    ndimage = pytest.importorskip("scipy.ndimage")
    image = ee.Image("test/fine").addBands(ee.Image("test/coarse"))
    index = ee.Algorithms.Sentinel2.CDI(image)
    assert index.bandNames().getInfo() == ["cdi"]
    assert index.projection().nominalScale().getInfo() == 20
    found = read_pixels(ee, index, 0, 0, SIDE, SIDE, CRS, TWENTY)["cdi"]
    b8 = FINE[0].reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))
    ratios = [band / COARSE[1].astype(float) for band in (COARSE[0], b8)]
    v7, v8 = (ndimage.uniform_filter(r**2, 7) - ndimage.uniform_filter(r, 7) ** 2 for r in ratios)
    expected = (v7 - v8) / (v7 + v8)
    assert np.allclose(found[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1e-5)


def test_it_stays_on_pixels_of_20_metres(ee: Any) -> None:
    index = ee.Algorithms.Sentinel2.CDI(ee.Image("test/fine").addBands(ee.Image("test/coarse")))
    coarse = read_pixels(ee, index, 0, 0, 20, 20, CRS, TWENTY)["cdi"]
    fine = read_pixels(ee, index, 0, 0, 40, 40)["cdi"]
    assert np.array_equal(fine, coarse.repeat(2, axis=0).repeat(2, axis=1))


def test_a_missing_band_is_named(ee: Any) -> None:
    with pytest.raises(ee.EEException, match="The source image has no band 'B8'"):
        ee.Algorithms.Sentinel2.CDI(ee.Image("test/coarse")).getInfo()
