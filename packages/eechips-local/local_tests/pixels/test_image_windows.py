"""Stacks of many images that are small in a wide view: each is read once, where it can have pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.testing import assert_array_equal

from eechips_local.evaluation.asset_model import Bounds, PixelType
from eechips_local.functions.series.image_stack import to_array, to_array_per_band
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels import composite
from eechips_local.pixels.composite import Reduced
from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips_local.values.values import Collection, Geometry

GRID = PixelGrid("EPSG:4326", Affine(0.1, 0.0, 10.0, 0.0, -0.1, 52.0), 70, 61)


@dataclass(frozen=True, eq=False)
class _Square:
    """A raster that is known in a box in degrees: bands of a number plus the row and column of tenths of degrees."""

    number: int
    box: Bounds
    reads: list[int] = field(default_factory=list)

    def read(self, bands: Sequence[int], grid: PixelGrid, _: Render) -> list[Pixels]:
        rows, columns = np.indices(grid.shape)
        x, y = apply(grid.transform, columns + 0.5, rows + 0.5)
        west, south, east, north = self.box
        self.reads.append(grid.width * grid.height)
        place = np.floor(x * 10.0) + 1000.0 * np.floor(y * 10.0)
        mask = (x > west) & (x < east) & (y > south) & (y < north)
        return [Pixels(place * (-1.0) ** self.number + self.number * 7 % 11 + band, mask) for band in bands]


def _images() -> list[tuple[_Square, Image]]:
    images = []
    for number in range(120):
        west, south = 9.0 + number * 7 % 80 * 0.1, 45.5 + number * 11 % 61 * 0.1
        square = _Square(number, (west, south, west + 1.2, south + 0.9))
        bands = [ImageBand(f"b{n}", PixelType("double"), WGS84, square, n) for n in range(2)]
        images.append((square, Image(bands, footprint=Geometry(shapely.box(*square.box)))))
    return images


def _median(values: np.ndarray, weights: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    known = np.ma.MaskedArray(values[0], weights[0] == 0)
    if not len(known):
        return [(np.zeros(known.shape[1:]), np.zeros(known.shape[1:], dtype=bool))]
    return [(np.ma.median(known, axis=0).filled(0.0), ~known.mask.all(axis=0))]


@pytest.mark.parametrize("budget", [2 << 30, 200_000])
def test_a_stack_too_large_to_hold_gives_what_numpy_gives_and_reads_each_image_where_it_lies(
    monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    images = _images()

    def members(_: Bounds | None) -> Iterator[Image]:
        return (image for _, image in images)

    reduced = Reduced(members, ((0,), (1,)), _median, 1)
    monkeypatch.setattr(composite, "_STACK", 1)
    read = reduced.read([1], GRID, Render(budget))[0]
    pixels = sum(sum(square.reads) for square, _ in images)
    assert pixels < 0.1 * len(images) * GRID.width * GRID.height

    layers = [square.read([1], GRID, Render())[0] for square, _ in images]
    values = np.ma.MaskedArray([p.values for p in layers], [~p.mask for p in layers])
    assert 0.5 < read.mask.mean() < 1.0
    assert_array_equal(read.mask, ~values.mask.all(axis=0))
    assert_array_equal(read.values[read.mask], np.ma.median(values, axis=0)[read.mask])


def test_a_stack_without_images_is_masked_when_it_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reduced = Reduced(lambda _: iter(()), ((0,),), _median, 1)
    monkeypatch.setattr(composite, "_STACK", 1)
    assert not reduced.read([0], GRID, Render())[0].mask.any()


def test_arrays_of_a_stack_that_is_read_in_tiles_are_as_long_as_images_are_valid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A decade of MODIS clipped to a field and seen from afar: most tiles have no image, others differ in number."""
    images = [image for _, image in _images()]
    collection = Collection("Image", lambda _: iter(images))
    monkeypatch.setattr(composite, "_STACK", 1)
    for made in (to_array(collection), to_array_per_band(collection, 0, dropMasked=True)):
        pixels = Render().read([made.bands[0]], GRID)[0]
        layers = [Render().read(image.bands, GRID) for image in images]
        valid = np.array([p.mask for p, _ in layers])
        assert_array_equal(pixels.valid, valid.any(axis=0))
        for row, column in np.argwhere(pixels.valid)[::97]:
            bands = np.array([[p.values[row, column] for p in layer] for layer in layers])[valid[:, row, column]]
            array = pixels.values[row, column]
            assert_array_equal(array, bands if array.ndim == 2 else bands[:, 0])


def test_arrays_per_band_are_masked_where_any_image_is_though_the_stack_is_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``ImageCollection.toArrayPerBand``: any image "within the computation bounding box" that is masked masks."""
    images = [image for _, image in _images()]
    made = to_array_per_band(Collection("Image", lambda _: iter(images)), 0, dropMasked=False)
    monkeypatch.setattr(composite, "_STACK", 1)
    assert not Render().read([made.bands[0]], GRID)[0].valid.any()
