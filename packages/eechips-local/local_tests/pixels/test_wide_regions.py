"""Regions of many pixels: of collections that are too large to be listed, and in which order images are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine

from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import Graph, Ready, invoke
from local_tests.support.images import Memory, asset, evaluate, stored

VALUES = np.arange(48 * 64, dtype=np.int16).reshape(48, 64)
WORLD = [[-170, -50], [170, 50]]


class Planet:
    """A stored collection of images in Colorado, and of ever more images elsewhere."""

    id = "test/planet"
    properties: Mapping[str, Any] = {}

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """Yield the images that a query does not exclude; without bounds, there is no end."""
        for number in range(3) if query.bounds is not None else count():
            image = asset(VALUES + number, id=f"test/planet/{number}")
            if query.bounds is None or image.footprint.intersects(shapely.box(*query.bounds)):
                yield image

    def get(self, asset_id: str) -> Planet | None:
        return self if asset_id == self.id else None

    def children(self, parent: str) -> tuple[str, ...]:
        return ()

    def describe(self) -> Mapping[str, Any]:
        return {}


def region(geometry: Ready, scale: float) -> Any:
    """Return the table of a region of all images of the planet."""
    images = invoke("ImageCollection.load", id="test/planet")
    table = invoke("ImageCollection.getRegion", collection=images, geometry=geometry, scale=scale, crs="EPSG:4326")
    return Evaluator(Graph().expression(table), Context(Planet())).evaluate()


def shape(kind: str, coordinates: Sequence[Any]) -> Ready:
    return invoke(f"GeometryConstructors.{kind}", coordinates=coordinates, geodesic=False)


def test_only_images_at_the_region_are_made() -> None:
    header, *rows = region(invoke("GeometryConstructors.Point", coordinates=[-104.999, 39.749]), 10)
    assert header == ["id", "longitude", "latitude", "time", "B1"]
    values = [row[4] for row in rows]
    assert np.diff(values).tolist() == [1, 1]


def test_a_region_without_images_has_none() -> None:
    assert len(region(invoke("GeometryConstructors.Point", coordinates=[20, 10]), 10)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Rectangle", "LineString"])
def test_regions_of_too_many_pixels_are_refused_at_once(kind: str) -> None:
    with pytest.raises(InvalidError, match=r"Too many values: \d+ points x 1 bands x 5000 images > 1048576"):
        region(shape(kind, WORLD), 1)


class Noted(Memory):
    """A raster that writes down the windows that are read of it and of others."""

    def __init__(self, values: Any, order: list[PixelWindow]) -> None:
        super().__init__(values)
        self._order = order

    def read(self, bands: Sequence[int], window: PixelWindow, level: int) -> Any:
        self._order.append(window)
        return super().read(bands, window, level)


def test_images_are_read_one_window_after_the_other() -> None:
    """What is kept of a place is still there when the next image asks: of a whole region it would be too much."""
    side, order = 1000, list[PixelWindow]()
    grid = PixelGrid("EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000), side, side)
    values = np.random.default_rng(1).integers(0, 255, (2, side, side)).astype(np.uint8)
    images = []
    for number, own in enumerate(values):
        made = asset(own, grid, id=f"test/{number}")
        images.append(replace(made, bands=(replace(made.bands[0], source=Noted(own, order)),)))
    mean = invoke(
        "ImageCollection.reduce",
        collection=invoke("ImageCollection.fromImages", images=[stored(image.id) for image in images]),
        reducer=invoke("Reducer.mean"),
    )
    corners = [[500_000, 4_390_000], [510_000, 4_400_000]]
    area = invoke("GeometryConstructors.Rectangle", coordinates=corners, crs=invoke("Projection", crs=grid.crs))
    found = evaluate(
        invoke("Image.reduceRegion", image=mean, reducer=invoke("Reducer.mean"), geometry=area, scale=10,
               crs=invoke("Projection", crs=grid.crs)), *images,
    )  # fmt: skip
    assert found["B1_mean"] == pytest.approx(values.mean(), rel=1e-12)
    assert len(order) == 8
    assert order[::2] == order[1::2]
    assert all(window.width * window.height <= 512 * 512 for window in order)
