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


ONE_IMAGE = invoke("ImageCollection.fromImages", images=[stored()])
DEGREES = PixelGrid("EPSG:4326", Affine(0.0001, 0, -104.998, 0, -0.0001, 39.748), 30, 10)


def test_in_another_projection() -> None:
    """A grid in degrees shows what lies 100 m further west and 50 m further south, by PROJ."""
    rows, columns = np.indices((48, 64))
    image = evaluate(
        invoke("Image.translate", input=stored(), x=100, y=50), asset((columns + 70 * rows).astype(np.int16))
    )
    (found,) = read(image, DEGREES)
    lon, lat = np.meshgrid(-104.998 + 0.0001 * (np.arange(30) + 0.5), 39.748 - 0.0001 * (np.arange(10) + 0.5))
    x, y = transformer("EPSG:4326", UTM.crs).transform(lon, lat)
    column, row = (x - 100 - 500_000) / 10, (4_400_000 - (y - 50)) / 10
    assert found.valid.all()
    assert np.array_equal(found.values, np.floor(column) + 70 * np.floor(row))


def test_interpolation_in_another_projection() -> None:
    """Between the pixels of a plane."""
    rows, columns = np.indices((48, 64))
    plane = asset((3.0 * columns - 2.0 * rows).astype(np.float32))
    resampled = invoke("Image.resample", image=stored(), mode="bilinear")
    (found,) = read(evaluate(invoke("Image.translate", input=resampled, x=100, y=50), plane), DEGREES)
    lon, lat = np.meshgrid(-104.998 + 0.0001 * (np.arange(30) + 0.5), 39.748 - 0.0001 * (np.arange(10) + 0.5))
    x, y = transformer("EPSG:4326", UTM.crs).transform(lon, lat)
    expected = 3.0 * ((x - 100 - 500_000) / 10 - 0.5) - 2.0 * ((4_400_000 - (y - 50)) / 10 - 0.5)
    np.testing.assert_allclose(found.values, expected, atol=1e-2)


@pytest.mark.parametrize("name", ["Image.translate", "Image.changeProj"])
@pytest.mark.parametrize("lattice", [stored(), invoke("ImageCollection.mosaic", collection=ONE_IMAGE)])
def test_a_window_has_the_pixels_of_the_whole(name: str, lattice: Any) -> None:
    how = {"x": 93, "y": 51} if name == "Image.translate" else {"srcProj": UTM.crs, "dstProj": "EPSG:32614"}
    moved_image = evaluate(invoke(name, input=lattice, **how), asset(VALUES))
    crs = UTM.crs if name == "Image.translate" else "EPSG:32614"
    west, north = transformer(crs, "EPSG:4326").transform(500_150, 4_399_900)
    whole = PixelGrid("EPSG:4326", Affine(0.00012, 0, west, 0, -0.00009, north), 30, 28)
    (all_pixels,) = read(moved_image, whole)
    (part,) = read(moved_image, whole.window(3, 11, 17, 9))
    assert all_pixels.valid.any()
    assert np.array_equal(part.values, all_pixels.values[11:20, 3:20])
    assert np.array_equal(part.valid, all_pixels.valid[11:20, 3:20])


def test_a_moved_image_around_a_pole_is_part_of_all_windows_of_a_mosaic() -> None:
    polar = PixelGrid("EPSG:3031", Affine(100_000, 0, -3_000_000, 0, -100_000, 3_000_000), 60, 60)
    values = np.random.default_rng(3).integers(0, 255, (60, 60)).astype(np.uint8)
    image = invoke("Image.translate", input=stored(), x=3, y=3, units="pixels")
    images = invoke("ImageCollection.fromImages", images=[image])
    mosaic = evaluate(invoke("ImageCollection.mosaic", collection=images), asset(values, polar))
    for column, row in ((5, 5), (40, 5), (5, 40), (40, 40)):
        (found,) = read(mosaic, polar.window(column, row, 10, 10))
        assert found.valid.all()
        assert np.array_equal(found.values, values[row - 3 : row + 7, column - 3 : column + 7])


def test_change_of_projection_keeps_coordinates() -> None:
    image = evaluate(invoke("Image.changeProj", input=stored(), srcProj=UTM.crs, dstProj="EPSG:32655"), asset(VALUES))
    (pixels,) = read(image, PixelGrid("EPSG:32655", UTM.transform, 64, 48))
    assert np.array_equal(pixels.values, VALUES)
    assert image.bands[0].projection.crs == "EPSG:32655"


def test_refused() -> None:
    with pytest.raises(InvalidError, match="units"):
        moved(x=1, y=1, units="feet")
