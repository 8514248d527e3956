"""Pixels that only other pixels of the grid are computed from: let go after the last of them, and computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels.lazy_image import ImageBand, Pixels, Render, bands_from
from eechips_local.pixels.pixelwise_rasters import Clipped, Generated, PerPixel
from eechips_local.protocol.request_errors import MemoryLimitError
from eechips_local.values.values import WHOLE_EARTH
from local_tests.support.images import UTM

DOUBLE = PixelType("double")
SIZE = UTM.width * UTM.height * 9
"""Bytes of a band of doubles and its mask."""


class Sums:
    """Bands that are sums of others, and how often each has been computed."""

    def __init__(self) -> None:
        self.computed: Counter[str] = Counter()

    def ones(self) -> ImageBand:
        def generate(grid: object, band: int) -> Pixels:
            self.computed["ones"] += 1
            return Pixels(np.ones(UTM.shape), np.ones(UTM.shape, dtype=bool))

        return ImageBand("ones", DOUBLE, WGS84, Generated(generate))

    def of(self, name: str, *inputs: ImageBand) -> ImageBand:
        def add(pixels: Sequence[Pixels]) -> Pixels:
            self.computed[name] += 1
            return Pixels(np.sum([p.values for p in pixels], axis=0), pixels[0].mask.copy())

        return ImageBand(name, DOUBLE, WGS84, PerPixel((inputs,), (add,)))


def test_a_long_chain_holds_few_of_its_bands() -> None:
    sums = Sums()
    one = band = sums.ones()
    for number in range(50):
        band = sums.of(str(number), band, one)
    render = Render(budget=5 * SIZE)
    (pixels,) = render.read([band], UTM)
    assert (pixels.values == 51).all()
    assert set(sums.computed.values()) == {1}
    assert render.held == 2 * SIZE  # the ones, which may be a file, and the result


def test_distances_of_each_image_to_each_other_hold_the_sums_only() -> None:
    """As of a medoid: the parts of each distance are let go."""
    sums = Sums()
    one = sums.ones()
    images = [sums.of(f"image {n}", *[one] * (n + 1)) for n in range(10)]
    pairs = [
        sums.of(f"{a.name} {b.name}", sums.of("left", a, b), sums.of("right", b, a)) for a in images for b in images
    ]
    totals = [sums.of(f"total {n}", *pairs[10 * n : 10 * n + 10]) for n in range(10)]
    (pixels,) = Render(budget=40 * SIZE).read([sums.of("sum", *totals)], UTM)
    assert (pixels.values == 2 * 2 * 10 * 55).all()
    assert all(sums.computed[image.name] == 1 for image in images)


def test_what_is_asked_for_by_itself_is_kept() -> None:
    sums = Sums()
    band = sums.of("sum", sums.ones())
    render = Render()
    for _ in range(3):
        render.read([band, sums.of("other", band)], UTM)
    assert sums.computed["sum"] == 1


def test_what_is_needed_again_unforeseen_is_kept_from_then_on() -> None:
    """A band behind a clip is not seen in advance: computed twice at each of the steps, these would be 2 ** 30."""
    sums = Sums()
    band = sums.ones()
    for number in range(30):
        clipped = ImageBand("clipped", DOUBLE, WGS84, Clipped((sums.of(f"copy {number}", band),), WHOLE_EARTH))
        band = sums.of(str(number), band, clipped)
    (pixels,) = Render().read([band], UTM)
    assert (pixels.values == 2.0**30).all()
    assert max(sums.computed.values()) <= 2


def test_what_has_to_be_held_at_once_is_limited() -> None:
    sums = Sums()
    terms = [sums.of(str(n), sums.ones()) for n in range(20)]
    with pytest.raises(MemoryLimitError):
        Render(budget=10 * SIZE).read([sums.of("sum", *terms)], UTM)


def test_a_raster_without_names_has_that_of_its_only_model() -> None:
    model = Sums().ones()
    raster = Generated(lambda grid, band: Pixels(np.zeros(grid.shape), np.ones(grid.shape, dtype=bool)))
    (band,) = bands_from(raster, model)
    assert (band.name, band.type, band.raster, band.index) == ("ones", DOUBLE, raster, 0)
    assert [each.name for each in bands_from(raster, model, ["a", "b"])] == ["a", "b"]
