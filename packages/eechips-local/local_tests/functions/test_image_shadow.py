"""Shadows of a tower, whose length geometry tells, and of hills against rays through scipy's interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from affine import Affine

from local_tests.support.local_earth_engine import Server
from local_tests.support.served_arrays import read_pixels, serve_arrays

MERCATOR = "EPSG:3857"
TRANSFORM = Affine(10, 0, 0, 0, -10, 5120)
"""Beside the equator, where a pixel of 10 m is 10 m wide. Its first tile of 256 pixels ends after 256 rows."""
SHAPE = (320, 320)
TOWER = np.zeros((1, *SHAPE), dtype=np.float32)
TOWER[0, 128, 128] = 100


def hills() -> Any:
    random = np.random.default_rng(8)
    rows, columns = np.indices(SHAPE)
    total = np.zeros(SHAPE)
    for _ in range(25):
        row, column = random.uniform(0, SHAPE[0], 2)
        width = random.uniform(6, 25)
        total += random.uniform(20, 160) * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
    return total[None].astype(np.float32)


HILLS = hills()


@pytest.fixture(scope="module")
def ee(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Any:
    """The client, on a plain with a tower of 100 m, and hills."""
    images = {"test/tower": (TOWER, ["elevation"]), "test/hills": (HILLS, ["elevation"])}
    return serve_arrays(tmp_path_factory.mktemp("shadow"), serve, images, crs=MERCATOR, transform=TRANSFORM)


def shadow(ee: Any, image: Any, width: int = 256, height: int = 256) -> Any:
    return read_pixels(ee, image, 0, 0, width, height, MERCATOR, TRANSFORM)["shadow"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("azimuth", "row", "column"), [(0, 1, 0), (90, 0, -1), (180, -1, 0), (270, 0, 1), (45, 1, -1), (225, -1, 1)]
)
def test_a_tower_s_shadow_is_as_long_as_geometry_tells(ee: Any, azimuth: float, row: int, column: int) -> None:
    """It lies away from the light and is its height times the tangent of the zenith angle long."""
    zenith = 60.0
    for function in (ee.Terrain.hillShadow, ee.Algorithms.HillShadow):
        image = function(ee.Image("test/tower"), azimuth, zenith)
        assert image.bandNames().getInfo() == ["shadow"]
        found = shadow(ee, image)
        steps = int(100 * math.tan(math.radians(zenith)) / (10 * math.hypot(row, column)))
        line = [int(found[128 + n * row, 128 + n * column]) for n in range(steps + 4)]
        # A pixel of this projection is 0.7% higher than wide: diagonal rays pass beside the top of the tower.
        steps -= line[steps] and bool(row and column)
        assert line == [1, *[0] * steps, *[1] * (len(line) - 1 - steps)]


@pytest.mark.slow
def test_shadows_of_hills_are_those_of_rays(ee: Any) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    azimuth, zenith = 290.0, 78.0
    found = shadow(ee, ee.Terrain.hillShadow(ee.Image("test/hills"), azimuth, zenith, 64))
    elevation = HILLS[0].astype(np.float64)
    rows, columns = np.indices(SHAPE)
    highest = np.full(SHAPE, -np.inf)
    for far in np.arange(0.5, 300, 0.5):
        row, column = rows - far * math.cos(math.radians(azimuth)), columns + far * math.sin(math.radians(azimuth))
        terrain = ndimage.map_coordinates(elevation, [row, column], order=1, cval=-1e9)
        np.maximum(highest, terrain - 10 * far / math.tan(math.radians(zenith)), out=highest)
    expected = highest <= elevation
    assert 0.1 < expected[:256, :256].mean() < 0.95
    assert (found == expected[:256, :256]).mean() > 0.985


@pytest.mark.slow
def test_the_neighborhood_brings_shadows_of_other_tiles(ee: Any) -> None:
    image = ee.Image("test/tower").translate(1270, 0)
    far = shadow(ee, ee.Terrain.hillShadow(image, 270, 80, 60), 300, 140)
    near = shadow(ee, ee.Terrain.hillShadow(image, 270, 80, 0), 300, 140)
    assert far[128, 255] == near[128, 255] == 1
    assert not far[128, 256:280].any()
    assert near[128, 256:280].all()


def test_light_from_above_and_from_below(ee: Any) -> None:
    hills = ee.Image("test/hills")
    assert shadow(ee, ee.Terrain.hillShadow(hills, 120, 0)).all()
    assert not shadow(ee, ee.Terrain.hillShadow(hills, 120, 95)).any()


def test_hysteresis_removes_shallow_shadows_only(ee: Any) -> None:
    """Thresholds with hysteresis keep whole objects: shadows stay as they are or disappear."""
    ndimage = pytest.importorskip("scipy.ndimage")
    options = (ee.Image("test/hills"), 290, 82, 0)
    plain = shadow(ee, ee.Terrain.hillShadow(*options)) == 0
    kept = shadow(ee, ee.Terrain.hillShadow(*options, True)) == 0
    labels, count = ndimage.label(plain, np.ones((3, 3)))
    assert not (kept & ~plain).any()
    shares = ndimage.mean(kept, labels, np.arange(1, count + 1))
    assert set(shares) <= {0.0, 1.0}
    assert kept.sum() > 0.9 * plain.sum()


def test_masked_pixels_are_masked_and_cast_no_shadow(ee: Any) -> None:
    tower = ee.Image("test/tower")
    image = ee.Terrain.hillShadow(tower.updateMask(tower.lt(50)), 270, 70)
    assert shadow(ee, image.mask())[128, 128] == 0
    assert shadow(ee, image.unmask(1)).all()


def test_what_cannot_be_is_refused(ee: Any) -> None:
    with pytest.raises(ee.EEException, match="neighborhoodSize must not be negative"):
        ee.Terrain.hillShadow(ee.Image("test/tower"), 0, 45, -1).getInfo()
    with pytest.raises(ee.EEException, match="single band, or one named 'elevation'"):
        ee.Terrain.hillShadow(ee.Image([1, 2]), 0, 45).getInfo()
