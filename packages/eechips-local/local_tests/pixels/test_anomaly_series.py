"""Series whose images share others, as anomalies share a mean: each stored image is read once for a place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eechips_local.evaluation.asset_model import ImageAsset
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.pixels import series_render
from local_tests.support.graphs import Graph, Ready, invoke
from local_tests.support.images import Memory, Store, asset, stored

COUNT = 20
POINT = invoke(
    "GeometryConstructors.Point", coordinates=[500_105, 4_399_895], crs=invoke("Projection", crs="EPSG:32613")
)
VALUES = np.random.default_rng(8).integers(0, 200, (COUNT, 48, 64)).astype(np.int16)


@pytest.fixture
def images() -> list[ImageAsset]:
    """A series of images."""
    return [asset(values, id=f"test/{number}") for number, values in enumerate(VALUES)]


def anomalies(images: list[ImageAsset], reduced: Any, **limits: Any) -> Any:
    """Return what a reduction gives for each image of a series less the mean of all."""
    graph = Graph()
    series = invoke("ImageCollection.fromImages", images=[stored(image.id) for image in images])
    mean = graph.reference(invoke("reduce.mean", collection=series))

    def anomaly(image: Ready) -> Ready:
        return reduced(invoke("Image.subtract", image1=image, image2=mean))

    value = invoke("Collection.map", collection=series, baseAlgorithm=graph.function(anomaly, "image"))
    context = Context(Store(*images), ServiceLimits(**limits))
    return list(Evaluator(graph.expression(value), context).evaluate())


def by_region(image: Ready) -> Ready:
    """Return a feature with the reduction of an image at a point."""
    first = invoke("Image.reduceRegion", image=image, reducer=invoke("Reducer.first"), geometry=POINT, scale=10)
    return invoke("Feature", geometry=None, metadata=first)


def by_table(image: Ready) -> Ready:
    """Return the feature of a table with the reduction of an image at its point."""
    table = invoke("Collection", features=[invoke("Feature", geometry=POINT, metadata={})])
    regions = invoke("Image.reduceRegions", image=image, collection=table, reducer=invoke("Reducer.first"), scale=10)
    return invoke("Collection.first", collection=regions)


def reads(images: list[ImageAsset]) -> int:
    """Return how often pixels of the images were read."""
    sources: list[Any] = [image.bands[0].source for image in images]
    assert all(isinstance(source, Memory) for source in sources)
    return sum(len(source.windows) for source in sources)


@pytest.mark.parametrize(("reduced", "name"), [(by_region, "B1"), (by_table, "first")])
def test_anomalies_at_a_point_read_each_image_once(images: list[ImageAsset], reduced: Any, name: str) -> None:
    found = [feature.properties[name] for feature in anomalies(images, reduced)]
    at_point = VALUES[:, 10, 10]
    assert found == pytest.approx(at_point - at_point.mean())
    assert reads(images) == COUNT


@pytest.mark.parametrize("bound", ["request", "server"])
def test_what_is_kept_is_bounded(images: list[ImageAsset], bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"memory": 16_000} if bound == "request" else {}
    if bound == "server":
        monkeypatch.setattr(series_render, "_MOST_KEPT", 1000)
    found = [feature.properties["B1"] for feature in anomalies(images, by_region, **limits)]
    assert found == pytest.approx(VALUES[:, 10, 10] - VALUES[:, 10, 10].mean())
    assert reads(images) > COUNT


def test_images_that_share_others_many_times_are_not_followed(images: list[ImageAsset]) -> None:
    """Each sum has the one before it twice: there are 2 to the power of 40 ways down."""
    graph = Graph()
    total = stored("test/0")
    for _ in range(40):
        half = graph.reference(total)
        total = invoke("Image.add", image1=half, image2=half)
    mosaic = invoke("ImageCollection.mosaic", collection=invoke("ImageCollection.fromImages", images=[total]))
    reduced = invoke("Image.reduceRegion", image=mosaic, reducer=invoke("Reducer.first"), geometry=POINT, scale=10)
    values = Evaluator(graph.expression(reduced), Context(Store(*images), ServiceLimits())).evaluate()
    assert values == {"B1": float(VALUES[0, 10, 10]) * 2**40}


def test_the_places_of_many_grids_are_bounded_too(images: list[ImageAsset], monkeypatch: pytest.MonkeyPatch) -> None:
    """A projection of pixels has more bytes than they have, and each region has its own grid."""
    monkeypatch.setattr(series_render, "_MOST_KEPT", 20_000)
    context = Context(Store(*images), ServiceLimits())
    for west in range(500_000, 500_300, 20):
        corners = [[west, 4_399_700], [west + 200, 4_399_900]]
        box = invoke("GeometryConstructors.Rectangle", coordinates=corners, crs=invoke("Projection", crs="EPSG:32613"))
        reduced = invoke(
            "Image.reduceRegion", image=stored("test/0"), reducer=invoke("Reducer.mean"), geometry=box, scale=10,
            crs=invoke("Projection", crs="EPSG:3857"),
        )  # fmt: skip
        Evaluator(Graph().expression(reduced), context).evaluate()
    kept = context.note(("series",), lambda: None)
    assert 0 < len(kept.renders) < 5
    assert kept.held < 40_000
