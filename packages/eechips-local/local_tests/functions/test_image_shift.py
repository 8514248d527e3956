"""Images that are moved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine

from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored

VALUES = np.random.default_rng(2).integers(0, 255, (48, 64)).astype(np.uint8)


def moved(**options: Any) -> Any:
    return evaluate(invoke("Image.translate", input=stored(), **options), asset(VALUES))


@pytest.mark.parametrize("options", [{"x": 30, "y": -20}, {"x": 3, "y": 2, "units": "pixels"}])
def test_whole_pixels(options: dict[str, Any]) -> None:
    image = moved(**options)
    (pixels,) = read(image)
    assert np.array_equal(pixels.values[2:, 3:], VALUES[:-2, :-3])
    assert not pixels.valid[:2].any()
    assert not pixels.valid[:, :3].any()
    assert image.bands[0].projection.transform == UTM.transform * Affine.translation(3, 2)


def test_the_lattice_goes_along() -> None:
    image = moved(x=3.7, y=0)
    lattice = image.bands[0].projection
    (pixels,) = read(image, PixelGrid(lattice.crs, lattice.transform, 64, 48))
    assert np.array_equal(pixels.values, VALUES)
    assert pixels.valid.all()


def test_footprint() -> None:
    old, new = (evaluate(invoke("Image.geometry", feature=image), asset(VALUES)).lonlat.centroid for image in (
        stored(), invoke("Image.translate", input=stored(), x=1000, y=0)
    ))  # fmt: skip
    assert (new.x - old.x) * 85_390 == pytest.approx(1000, rel=0.01)
    assert new.y == pytest.approx(old.y, abs=1e-4)


def test_in_another_projection() -> None:
    """A grid in degrees shows what lies 100 m further west and 50 m further south."""
    rows, columns = np.indices((48, 64))
    image = evaluate(
        invoke("Image.translate", input=stored(), x=100, y=50), asset((columns + 70 * rows).astype(np.int16))
    )
    degrees = PixelGrid("EPSG:4326", Affine(0.0001, 0, -104.998, 0, -0.0001, 39.748), 30, 10)
    (found,) = read(image, degrees)
    lon, lat = np.meshgrid(-104.998 + 0.0001 * (np.arange(30) + 0.5), 39.748 - 0.0001 * (np.arange(10) + 0.5))
    x, y = transformer("EPSG:4326", UTM.crs).transform(lon, lat)
    column, row = (x - 100 - 500_000) / 10, (4_400_000 - (y - 50)) / 10
    assert found.valid.all()
    assert np.abs(found.values % 70 + 0.5 - column).max() < 1.5
    assert np.abs(found.values // 70 + 0.5 - row).max() < 1.5


def test_change_of_projection_keeps_coordinates() -> None:
    image = evaluate(invoke("Image.changeProj", input=stored(), srcProj=UTM.crs, dstProj="EPSG:32655"), asset(VALUES))
    (pixels,) = read(image, PixelGrid("EPSG:32655", UTM.transform, 64, 48))
    assert np.array_equal(pixels.values, VALUES)
    assert image.bands[0].projection.crs == "EPSG:32655"


def test_refused() -> None:
    with pytest.raises(InvalidError, match="units"):
        moved(x=1, y=1, units="feet")
