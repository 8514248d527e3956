"""Properties whose values are read from pixels: computed when they are asked for, once, with the same errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, PixelWindow, Query
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.protocol.request_errors import EarthEngineError
from eechips_local.values.value_json import Encoder
from local_tests.functions.test_collection_searches import (
    DAY,
    ENDS,
    GRID,
    INDEX,
    LOADED,
    SOURCE,
    STEPS,
    TIME,
    Archive,
    comparable,
    evaluate,
    mapped,
)
from local_tests.support.graphs import Graph, Ready, invoke


class CountedPixels:
    """Pixels that count how often they are read."""

    levels = (1,)

    def __init__(self) -> None:
        self.reads = 0

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        self.reads += 1
        return SOURCE.read(bands, window, level)


class PixelArchive(Archive):
    """Images of one band, whose pixels are counted as they are read."""

    def __init__(self, count: int = 5) -> None:
        super().__init__([(day * DAY, day, 0) for day in range(count)], lambda _: ("a",))
        self.pixels = CountedPixels()

    def images(self, query: Query) -> Iterator[ImageAsset]:
        for image in super().images(query):
            band = BandInfo("a", PixelType.of("uint8"), GRID, self.pixels, 0)
            yield ImageAsset(image.id, (band,), image.properties, image.footprint)


def most_of(image: Ready, band: str = "a") -> Ready:
    region = invoke("GeometryConstructors.Rectangle", coordinates=[[0, 0], [4, 4]], geodesic=False)
    chosen = invoke("Image.select", input=image, bandSelectors=[band])
    maxima = invoke("Image.reduceRegion", image=chosen, reducer=invoke("Reducer.max"), geometry=region, scale=50_000)
    return invoke("Dictionary.get", dictionary=maxima, key=band)


def with_most(image: Ready, band: str = "a") -> Ready:
    return invoke("Element.set", object=image, key="most", value=most_of(image, band))


def evaluated(archive: Archive, graph: Graph, value: Any) -> Any:
    context = Context(archive)
    return Encoder(context).encode(Evaluator(graph.expression(value), context).evaluate())


def of_images(end: Callable[[Ready], Ready], body: Callable[[Ready], Ready] = with_most) -> tuple[Any, int]:
    """The value of an end of images with their greatest values, and how often pixels were read."""
    archive, graph = PixelArchive(), Graph()
    value = evaluated(archive, graph, end(mapped(body)(graph, LOADED)))
    return value, archive.pixels.reads


def filtered(images: Ready, field: str, least: float) -> Ready:
    condition = invoke("Filter.greaterThan", leftField=field, rightValue=least)
    return invoke("Collection.filter", collection=images, filter=condition)


UNREAD: dict[str, Callable[[Ready], Ready]] = {
    "size": lambda images: invoke("Collection.size", collection=images),
    "size by another property": lambda images: invoke("Collection.size", collection=filtered(images, "cloud", 2)),
    "indices": lambda images: invoke("AggregateFeatureCollection.array", collection=images, property=INDEX),
    "latest": lambda images: invoke("Element.get", property="cloud", object=invoke(
        "Collection.first", collection=invoke("Collection.limit", collection=images, key=TIME, ascending=False))),
    "names": lambda images: invoke("Element.propertyNames", element=invoke("Collection.first", collection=images)),
    "bands": lambda images: invoke("Image.bandNames", image=invoke("Collection.first", collection=images)),
    "copied": lambda images: invoke("Element.get", property="cloud", object=invoke(
        "Element.copyProperties", destination=invoke("Image.constant", value=1),
        source=invoke("Collection.first", collection=images))),
    "merged": lambda images: invoke("AggregateFeatureCollection.array", property="cloud", collection=invoke(
        "ImageCollection.merge", collection1=images, collection2=images)),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_no_pixel_is_read_for_what_does_not_look_at_it(name: str) -> None:
    value, reads = of_images(UNREAD[name])
    plain, _ = of_images(UNREAD[name], lambda image: invoke("Element.set", object=image, key="most", value=1))
    assert value == plain
    assert reads == 0


READ: dict[str, tuple[Callable[[Ready], Ready], int]] = {
    "values": (lambda images: invoke("AggregateFeatureCollection.array", collection=images, property="most"), 5),
    "filter": (lambda images: invoke("Collection.size", collection=filtered(images, "most", 2)), 5),
    "order": (lambda images: invoke("Collection.first", collection=invoke(
        "Collection.limit", collection=images, key="most")), 5),
    "dictionary": (lambda images: invoke(
        "Element.toDictionary", element=invoke("Collection.first", collection=images)), 1),
    "whole": (lambda images: invoke("Collection.first", collection=images), 1),
    "twice": (lambda images: invoke("ImageCollection.merge", collection1=images, collection2=images), 5),
    "linked": (lambda images: invoke(
        "Image.linkCollection", input=invoke("Collection.first", collection=images), imageCollection=LOADED,
        linkedProperties="cloud", matchPropertyName=INDEX), 1),
    "outlined": (lambda images: invoke(
        "Element.set", object=invoke("Collection.first", collection=images), key="system:footprint",
        value=invoke("GeometryConstructors.Point", coordinates=[1, 1])), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_each_value_that_is_asked_for_is_computed_once(name: str) -> None:
    end, expected = READ[name]
    value, reads = of_images(end)
    plain, _ = of_images(end, lambda image: invoke("Element.set", object=image, key="most", value=15))
    assert value == plain
    assert reads == expected


class TestFailures:
    """A value that fails refuses the request that needs it, in the words of one that is computed at once."""

    MESSAGE = r"Error in map\(ID=i0\):\nImage.select: Band pattern 'x' did not match any bands."

    @pytest.mark.parametrize("name", READ)
    def test_a_value_that_is_asked_for_is_refused(self, name: str) -> None:
        with pytest.raises(EarthEngineError, match=self.MESSAGE):
            of_images(READ[name][0], lambda image: with_most(image, "x"))

    def test_one_that_is_not_asked_for_is_not(self) -> None:
        assert of_images(UNREAD["size"], lambda image: with_most(image, "x")) == (5, 0)


@pytest.mark.slow
@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.sampled_from(["cloud", "most"]), st.lists(st.sampled_from(sorted(STEPS)), max_size=4),
       st.sampled_from(sorted(ENDS)))  # fmt: skip
def test_chains_find_what_they_find_of_values_that_are_computed_at_once(key: str, names: list[str], end: str) -> None:
    def found(most: Callable[[Ready], Any]) -> Any:
        def with_value(image: Ready) -> Ready:
            value = invoke("Number.add", left=most(image), right=invoke("Element.get", object=image, property="cloud"))
            return invoke("Element.set", object=image, key=key, value=value)

        graph, images = Graph(), LOADED
        for step in (mapped(with_value), *(STEPS[name] for name in names), ENDS[end]):
            images = step(graph, images)
        try:
            return comparable(evaluate(PixelArchive(), graph, images))
        except EarthEngineError as error:
            return str(error)

    assert found(most_of) == found(lambda image: 15)


def test_values_of_what_an_iteration_walks_through_are_computed_when_they_are_asked_for() -> None:
    def counted(image: Ready, count: Ready) -> Ready:
        return invoke("Number.add", left=count, right=invoke("Element.getNumber", object=image, property="cloud"))

    archive, graph = PixelArchive(), Graph()
    images = mapped(lambda image: with_most(image, "x"))(graph, LOADED)
    total = invoke("Collection.iterate", collection=images, function=graph.function(counted, "image", "count"), first=0)
    assert evaluated(archive, graph, total) == 0 + 1 + 2 + 3 + 4


@pytest.mark.slow
def test_values_of_an_iteration_do_not_wait_for_each_other() -> None:
    """Two thousand of them would be nested more deeply than calls may be."""

    def added(number: Ready, image: Ready) -> Ready:
        total = invoke("Number.add", left=most_of(image), right=invoke("Element.get", object=image, property="total"))
        return invoke("Element.set", object=image, key="total", value=total)

    archive, graph = PixelArchive(), Graph()
    first = invoke("Element.set", object=invoke("Collection.first", collection=LOADED), key="total", value=0)
    numbers = invoke("List.sequence", start=1, end=2000)
    last = invoke("List.iterate", list=numbers, function=graph.function(added, "number", "image"), first=first)
    total = evaluated(archive, graph, invoke("Element.get", object=last, property="total"))
    assert total == 2000 * 15
