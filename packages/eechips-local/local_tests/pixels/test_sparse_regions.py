"""Regions that take few pixels of their bounds: what is computed, and that the results are those of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

from eechips_local.evaluation.asset_model import ImageAsset
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.pixels.grids import region_pixels
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.protocol.request_errors import MemoryLimitError
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import Memory, asset, evaluate, stored

SIDE = 1400
GRID = PixelGrid("EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000), SIDE, SIDE)
# A coast from corner to corner: 2% of the pixels of its bounds.
COAST = shapely.Polygon([(0, 0), (20.5, 0), (700, 671.5), (SIDE, 1379.5), (SIDE, SIDE), (690.5, 700)])


@pytest.fixture
def image() -> ImageAsset:
    """Patches of 7 pixels."""
    patches = np.random.default_rng(5).integers(0, 3, (SIDE // 7, SIDE // 7)).astype(np.uint8)
    return asset(np.repeat(np.repeat(patches, 7, 0), 7, 1), GRID)


def region() -> Ready:
    """Return the coast in metres."""
    corners = [[500_000 + 10 * x, 4_400_000 - 10 * y] for x, y in COAST.exterior.coords[:-1]]
    return invoke("GeometryConstructors.Polygon", coordinates=[corners], crs=invoke("Projection", crs=GRID.crs))


def computed(image: ImageAsset) -> int:
    """Return the pixels that were read of an image."""
    source: Any = image.bands[0].source
    assert isinstance(source, Memory)
    return sum(window.width * window.height for window, _ in source.windows)


def test_statistics_of_a_coast(image: ImageAsset) -> None:
    found = evaluate(
        invoke("Image.reduceRegion", image=stored(), reducer=invoke("Reducer.mean"), geometry=region()), image
    )
    values = image.bands[0].source.level(0)[0][0]
    flipped = shapely.transform(COAST, lambda at: at * [1, -1] + [0, SIDE])
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(flipped)}
    truth = exact_extract(NumPyRasterSource(values.astype(float), 0, 0, SIDE, SIDE), [feature], ["mean"])
    assert found["B1"] == pytest.approx(truth[0]["properties"]["mean"], rel=1e-5)
    assert computed(image) < SIDE * SIDE / 3


def test_a_thousand_points_are_read_in_few_windows(image: ImageAsset) -> None:
    points = invoke("FeatureCollection.randomPoints", region=region(), points=1000)
    graph = invoke("Image.reduceRegions", image=stored(), collection=points, reducer=invoke("Reducer.first"))
    assert len(list(evaluate(graph, image))) == 1000
    source: Any = image.bands[0].source
    assert 0 < len(source.windows) < 100


@pytest.mark.slow
def test_vectors_of_a_coast_are_those_of_its_bounds(image: ImageAsset, monkeypatch: pytest.MonkeyPatch) -> None:
    def vectors() -> list[tuple[Any, bytes]]:
        """Return labels, counts and outlines."""
        graph = invoke("Image.reduceToVectors", image=stored(), geometry=region(), scale=10, eightConnected=False)
        return [(dict(f.properties), f.geometry.shape.wkb) for f in evaluate(graph, image)]

    found = vectors()
    assert computed(image) < SIDE * SIDE / 3
    monkeypatch.setattr(region_pixels, "_SPARSE", 0.0)
    assert vectors() == found
    assert computed(image) > SIDE * SIDE
    assert len(found) > 100


def test_the_pieces_of_a_coast_have_the_memory_of_a_request_together(image: ImageAsset) -> None:
    graph = invoke("Image.reduceToVectors", image=stored(), geometry=region(), scale=10, eightConnected=False)
    with pytest.raises(MemoryLimitError):  # a piece of 256 x 256 pixels has 131,072 bytes
        list(evaluate(graph, image, limits=ServiceLimits(memory=400_000)))
