"""What a request reads of sources that are fetched is on its way together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from affine import Affine

from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, PixelWindow
from eechips_local.evaluation.context import Context
from eechips_local.functions.series.image_collections import reduction
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.composite import MosaicRaster, Reduced
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer
from eechips_local.pixels.grids.sampled_pixels import gather, prefetch_pixels
from eechips_local.pixels.lazy_image import Image, Pixels, Render
from eechips_local.pixels.pixelwise_rasters import combined
from eechips_local.pixels.stored_image import stored_image
from eechips_local.protocol.request_errors import EarthEngineError
from eechips_local.reducers import MEDIAN

GRID = PixelGrid("EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000), 100, 80)


@dataclass(eq=False)
class Fetched:
    """A source that writes down what is asked of it."""

    name: str
    events: list[tuple[str, str]]
    levels: tuple[int, ...] = (1,)
    value: int = 7
    windows: list[PixelWindow] = field(default_factory=list)
    read_windows: list[PixelWindow] = field(default_factory=list)
    error: EarthEngineError | None = None

    def prefetch_header(self) -> None:
        self.events.append(("header", self.name))

    def prefetch(self, bands: Sequence[int], window: PixelWindow, level: int) -> None:
        self.events.append(("begin", self.name))
        self.windows.append(window)
        if self.error is not None:
            raise self.error

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        self.read_windows.append(window)
        self.events.append(("read", self.name))
        if self.error is not None:
            raise self.error
        values = np.full((len(bands), window.height, window.width), self.value)
        return values, np.full(values.shape, self.value > 0)


def image(source: Fetched) -> Image:
    info = BandInfo("B1", PixelType("int"), GRID, source, 0)
    return stored_image(ImageAsset(source.name, (info,), {}, shapely.box(-106, 39, -104, 41)))


def members(images: Sequence[Image]) -> Callable[[Any], Iterator[Image]]:
    return lambda bounds: iter(images)


def mean(values: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> list[tuple[npt.NDArray[Any], Any]]:
    return [(values[0].mean(0), weights[0].min(0))]


def test_images_of_a_reduction_are_fetched_together() -> None:
    events: list[tuple[str, str]] = []
    names = [f"i{i:02}" for i in range(40)]
    sources = [Fetched(name, events) for name in names]
    raster = Reduced(members([image(source) for source in sources]), ((0,),), mean, 1)
    (found,) = raster.read([0], GRID.window(3, 4, 20, 10), Render())
    assert (found.values == 7).all()
    assert all(source.windows == source.read_windows == [PixelWindow(3, 4, 20, 10)] for source in sources)
    assert events[:32] == [("header", name) for name in names[:32]]
    assert {event for event, _ in events[32:64]} == {"begin"}
    assert events[64] == ("read", "i00")
    assert [name for event, name in events if event == "read"] == names
    assert sorted(name for event, name in events if event == "begin") == names


def test_bands_of_an_expression_are_fetched_together() -> None:
    events: list[tuple[str, str]] = []
    (one,), (two,) = (image(Fetched(name, events)).bands for name in "ab")

    def add(inputs: Sequence[Pixels]) -> Pixels:
        return Pixels(inputs[0].values + inputs[1].values, inputs[0].mask)

    (total,) = combined([(one, two)], add, [one])
    (found,) = Render().read([total], GRID)
    assert (found.values == 14).all()
    assert [event for event, _ in events] == ["header", "header", "begin", "begin", "read", "read"]


def test_mosaic_fetches_no_more_than_it_may_need() -> None:
    events: list[tuple[str, str]] = []
    sources = [Fetched(f"i{i}", events, value=7 if i == 1 else 0) for i in range(4)]
    (found,) = MosaicRaster(members([image(source) for source in sources])).read([0], GRID, Render())
    assert (found.values == 7).all()
    assert [name for event, name in events if event == "read"] == ["i3", "i2", "i1"]
    # The top alone, then the next, then the next two.
    assert [name for event, name in events if event == "begin"] == ["i2", "i1", "i0"]
    assert events.index(("read", "i2")) < events.index(("begin", "i1")) < events.index(("read", "i1"))


def test_mosaic_reads_no_image_whose_pixels_are_all_covered() -> None:
    """Two layers of 80 tiles, of which the upper one lacks a tile: of the lower one, those around the hole are read."""
    view = PixelGrid("EPSG:32613", Affine(1000, 0, 500_000, 0, -1000, 4_400_000), 100, 80)
    events: list[tuple[str, str]] = []
    images = []
    for layer, value in (("lower", 5), ("upper", 7)):
        for column in range(10):
            for row in range(8):
                grid = PixelGrid(view.crs, view.transform * Affine.translation(10 * column, 10 * row), 10, 10)
                source = Fetched(
                    f"{layer} {column} {row}", events, value=0 if (layer, column, row) == ("upper", 4, 3) else value
                )
                info = BandInfo("B1", PixelType("int"), grid, source, 0)
                outline = shapely.box(*transformer(grid.crs, "EPSG:4326").transform_bounds(*grid.bounds))
                images.append(stored_image(ImageAsset(source.name, (info,), {}, outline)))
    (found,) = MosaicRaster(members(images)).read([0], view, Render())
    expected = np.full(view.shape, 7)
    expected[30:40, 40:50] = 5
    assert found.valid.all()
    assert (found.values == expected).all()
    read = {name for event, name in events if event == "read"}
    around = {f"lower {column} {row}" for column in (3, 4, 5) for row in (2, 3, 4)}
    assert {name for name in read if name.startswith("lower")} <= around
    assert {name for name in read if name.startswith("upper")} == {image.id for image in images[80:]}
    assert sum(event == "begin" and name.startswith("lower") for event, name in events) <= len(around) + 16


def test_mosaic_reads_one_of_many_images_of_a_country_in_a_wider_view() -> None:
    """Pixels around the country stay masked; no other image reaches them either."""
    view = PixelGrid("EPSG:4326", Affine(0.25, 0, -110, 0, -0.25, 42), 40, 30)
    country = PixelGrid(view.crs, view.transform @ Affine.translation(2, 2) @ Affine.scale(0.1), 360, 260)
    events: list[tuple[str, str]] = []
    images = []
    for month in range(30):
        info = BandInfo("B1", PixelType("int"), country, Fetched(f"m{month:02}", events, value=month + 1), 0)
        outline = shapely.box(*country.bounds)
        images.append(stored_image(ImageAsset(f"m{month:02}", (info,), {}, outline)))
    (found,) = MosaicRaster(members(images)).read([0], view, Render())
    assert found.valid.sum() == 36 * 26
    assert set(found.values[found.valid].tolist()) == {30}
    assert [name for event, name in events if event == "read"] == ["m29"]


def test_what_cannot_be_fetched_is_an_error_where_it_is_read() -> None:
    failing, events = EarthEngineError("the host is away"), []  # type: ignore[var-annotated]
    top = image(Fetched("top", events, value=7))
    below = image(Fetched("below", events, error=failing))
    (found,) = MosaicRaster(members([below, top])).read([0], GRID, Render())
    assert (found.values == 7).all()
    with pytest.raises(EarthEngineError, match="the host is away"):
        Render().read(below.bands, GRID)


def test_scattered_pixels_are_fetched_together() -> None:
    events: list[tuple[str, str]] = []
    source = Fetched("a", events)
    wide = PixelGrid(GRID.crs, GRID.transform, 10_000, 10_000)
    info = BandInfo("B1", PixelType("int"), wide, source, 0)
    stored = stored_image(ImageAsset("a", (info,), {}, shapely.box(-106, 39, -104, 41)))
    columns = np.array([5, 4000, 9000, 9001])
    rows = np.array([5, 8000, 100, 100])
    projection = Projection(wide.crs, wide.transform)
    prefetch_pixels(stored.bands, projection, columns, rows)
    assert [event for event, _ in events] == ["header", "begin"] * 3
    events.clear()
    gather(Context(store=None), stored.bands, projection, columns, rows)  # type: ignore[arg-type]
    assert [event for event, _ in events][:6] == ["header", "begin"] * 3


@pytest.mark.parametrize(("stack", "budget"), [(256 << 20, 1 << 30), (40_000, 1 << 30), (40_000, 200_000)])
def test_reductions_are_the_same_however_they_are_cut(stack: int, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips_local.pixels.composite._STACK", stack)
    rng = np.random.default_rng(3)
    layers = rng.integers(1, 100, (5, 2, *GRID.shape))

    class Noise(Fetched):
        def read(
            self, bands: Sequence[int], window: PixelWindow, level: int
        ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
            rows, columns = slice(window.row, window.row + window.height), slice(window.column, None)
            values = layers[int(self.name)][list(bands), rows, columns][..., : window.width]
            return values, values % 7 > 0

    def noisy(name: str) -> Image:
        source = Noise(name, [])
        infos = tuple(BandInfo(f"B{i}", PixelType("int"), GRID, source, i) for i in range(2))
        return stored_image(ImageAsset(name, infos, {}, shapely.box(-106, 39, -104, 41)))

    raster = Reduced(members([noisy(str(i)) for i in range(5)]), ((0,), (1,)), reduction(MEDIAN), 1)
    found = raster.read([1, 0], GRID, Render(budget))
    for band, pixels in zip((1, 0), found, strict=True):
        expected = np.ma.median(np.ma.masked_array(layers[:, band], layers[:, band] % 7 == 0), axis=0)
        np.testing.assert_array_equal(pixels.valid, ~np.ma.getmaskarray(expected))
        np.testing.assert_allclose(pixels.values[pixels.valid], expected[pixels.valid])
