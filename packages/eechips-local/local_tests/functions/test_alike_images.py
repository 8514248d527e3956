"""The server knows sizes and properties of alike images without making all of them; a walk gives the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eechips_local.evaluation.asset_model import ImageAsset, Query
from eechips_local.protocol.request_errors import EarthEngineError
from local_tests.functions.test_collection_searches import (
    DAY,
    ENDS,
    FILTERS,
    GIVEN,
    INDEX,
    LOADED,
    MAPS,
    STEPS,
    Archive,
    Step,
    between,
    comparable,
    evaluate,
    filtered,
    joined,
    limited,
    mapped,
    select,
)
from local_tests.support.graphs import Graph, Ready, invoke

BOTH, ONE = ("a", "b"), ("a",)


class AlikeArchive(Archive):
    """One that knows its kinds of images: those with both bands, and those with one."""

    def examples(self, query: Query) -> list[ImageAsset]:
        made = self.made
        firsts = {tuple(band.name for band in image.bands): image for image in self.images(Query())}
        self.made = made
        return list(firsts.values())


class CountedArchive(AlikeArchive):
    """One that notes how often it is asked for the number of its images, which may take seconds."""

    counts = 0

    def count(self, query: Query) -> int | None:
        self.counts += 1
        return super().count(query)


def alike(count: int, bands: Callable[[int], tuple[str, ...]] = lambda _: BOTH) -> AlikeArchive:
    return AlikeArchive([(day * DAY, day % 7, day % 3) for day in range(count)], bands)


def value_of(archive: Archive, images: Ready, *steps: Step) -> Any:
    """The value of a chain of steps, or the message with which it is refused."""
    graph = Graph()
    for step in steps:
        images = step(graph, images)
    try:
        return comparable(evaluate(archive, graph, images))
    except EarthEngineError as error:
        return str(error)


def date_of(image: Ready) -> Ready:
    return invoke("Image.date", image=image)


def years(image: Ready) -> Ready:
    since = invoke("Date.difference", date=date_of(image), start=invoke("Date", value=0), unit="year")
    return invoke("Image.addBands", dstImg=image, srcImg=invoke("Image.constant", value=since))


def dated(image: Ready) -> Ready:
    text = invoke("Date.format", date=date_of(image), format="YYYY")
    return invoke("Element.set", object=image, key="year", value=text)


SURE: Mapping[str, Callable[[Ready], Ready]] = {
    **{name: MAPS[name] for name in (
        "select", "mask", "double", "subtract from one", "copy the time", "set", "set the clouds", "set the time",
        "set the time again", "clip", "formula", "cast", "link", "other image", "copy but the clouds",
    )},
    "ratio": lambda image: invoke("Image.addBands", dstImg=image, srcImg=invoke(
        "Image.normalizedDifference", input=image, bandNames=["a", "b"])),
    "linked bands": lambda image: invoke(
        "Image.linkCollection", input=image, imageCollection=LOADED, linkedBands=["b"], matchPropertyName=INDEX),
    "years": years,
    "year": dated,
    "scaled by a property": lambda image: invoke(
        "Image.multiply", image1=image, image2=invoke("Image.constant", value=invoke(
            "Number.divide", left=invoke("Element.get", object=image, property="cloud"), right=7))),
    "all but the last": lambda image: invoke("Image.select", input=image, bandSelectors=invoke(
        "List.slice", list=invoke("Image.bandNames", image=image), start=0, end=1)),
}  # fmt: skip
"""Functions that succeed for all images if they do for one of each kind."""


@pytest.mark.parametrize("name", SURE)
def test_a_size_makes_an_image_or_two(name: str) -> None:
    archive = alike(40)
    assert value_of(archive, LOADED, between(3, 13), mapped(SURE[name]), ENDS["size"]) == 10
    assert archive.made <= 2


@pytest.mark.parametrize("end", ["size", "times"])
@pytest.mark.parametrize("name", SURE)
def test_values_are_those_of_a_walk(name: str, end: str) -> None:
    for bands in (lambda _: BOTH, lambda number: ONE if number == 14 else BOTH):
        chain = [mapped(SURE[name]), STEPS["merge"], mapped(SURE[name]), ENDS[end]]
        assert value_of(alike(20, bands), LOADED, *chain) == value_of(alike(20, bands), GIVEN, *chain)


class TestImagesThatDiffer:
    @pytest.mark.parametrize("end", ["size", "times", "all"])
    @pytest.mark.parametrize("step", [between(12, 18), limited(), limited(key="cloud")])
    def test_one_that_lacks_the_band_is_refused(self, step: Step, end: str) -> None:
        archive = alike(20, lambda number: ONE if number == 14 else BOTH)
        message = value_of(archive, LOADED, select("b"), step, ENDS[end])
        assert "Error in map(ID=i14)" in message

    def test_those_that_are_not_among_the_elements_are_not(self) -> None:
        archive = alike(20, lambda number: ONE if number == 14 else BOTH)
        assert value_of(archive, LOADED, select("b"), between(3, 13), ENDS["size"]) == 10

    def test_a_linked_collection_whose_images_lack_the_band(self) -> None:
        archive = alike(20, lambda number: ONE if number == 14 else BOTH)
        assert "did not match any bands" in value_of(archive, LOADED, mapped(SURE["linked bands"]), ENDS["size"])

    @pytest.mark.parametrize("body", [
        lambda image: invoke("Date.update", date=date_of(image), day=30),
        lambda image: invoke("Date", value=invoke(
            "Number.multiply", left=invoke("Element.get", object=image, property="cloud"), right=1e19)),
        lambda image: invoke("Date.advance", date=date_of(image), unit="year", delta=invoke(
            "Number.multiply", left=invoke("Element.get", object=image, property="cloud"), right=1e12)),
        lambda image: invoke("Number.format", pattern="%d", number=invoke(
            "Number.multiply", left=invoke("Element.get", object=image, property="cloud"), right=1e308)),
        lambda image: invoke("String.slice", string="text", start=invoke(
            "Number.multiply", left=invoke("Element.get", object=image, property="cloud"), right=1e308)),
    ])  # fmt: skip
    def test_a_value_that_there_is_not_for_some_is_refused(self, body: Callable[[Ready], Ready]) -> None:
        archive = alike(71)  # the last is of March, and has no clouds
        step = mapped(lambda image: invoke("Element.set", object=image, key="x", value=body(image)))
        assert "Error in map(ID=i" in value_of(archive, LOADED, step, ENDS["size"])

    def test_a_function_that_depends_on_values_is_called_for_each(self) -> None:
        archive = alike(40)
        assert value_of(archive, LOADED, mapped(MAPS["choose"]), ENDS["size"]) == 40
        assert archive.made == 40


class TestLookedAt:
    @pytest.mark.parametrize("end", ["size", "times"])
    def test_a_filter_by_metadata_makes_each_image_once(self, end: str) -> None:
        archive = alike(40)
        found = value_of(archive, LOADED, mapped(SURE["select"]), FILTERS["few clouds"], ENDS[end])
        assert (found if end == "size" else len(found)) == 18
        assert archive.made == 40

    def test_a_limit_of_a_known_number(self) -> None:
        archive = alike(40)
        assert value_of(archive, LOADED, select("a"), limited(30), ENDS["size"]) == 30
        assert value_of(archive, LOADED, between(3, 13), limited(30), select("a"), ENDS["size"]) == 10
        assert archive.made <= 2

    def test_no_image_has_two_values_of_a_property(self) -> None:
        clouds = [filtered("Filter.equals", leftField="cloud", rightValue=value) for value in (1, 2)]
        assert value_of(alike(40), LOADED, *clouds, ENDS["size"]) == 0
        assert value_of(alike(40), LOADED, clouds[0], clouds[0], ENDS["size"]) == 6

    def test_a_limit_counts_nothing_where_no_size_is_asked_for(self) -> None:
        archive = CountedArchive([(day * DAY, 0, 0) for day in range(40)], lambda _: BOTH)
        assert len(value_of(archive, LOADED, limited(2), ENDS["times"])) == 2
        assert archive.counts == 0
        assert value_of(archive, LOADED, limited(2), ENDS["size"]) == 2
        assert archive.counts == 1

    def test_a_join_by_time_looks_at_the_images_of_the_time(self) -> None:
        archive = alike(40)
        near = between(20, 23)(Graph(), LOADED)
        step = joined(invoke("Join.saveFirst", matchKey="match"), DAY / 2, LOADED)
        assert value_of(archive, near, select("a"), step, ENDS["size"]) == 3
        assert archive.made <= 3 + 3 + 1


def pixel_of(image: Ready) -> Ready:
    """The values of an image at a place in the images whose west is 0."""
    point = invoke("GeometryConstructors.Point", coordinates=[0.5, 0.5])
    return invoke("Image.reduceRegion", image=image, reducer=invoke("Reducer.first"), geometry=point, scale=10000)


class TestComposites:
    def test_images_elsewhere_are_not_made(self) -> None:
        archive, graph = alike(300), Graph()
        masked = mapped(SURE["mask"])(graph, LOADED)
        assert evaluate(archive, graph, pixel_of(invoke("ImageCollection.mosaic", collection=masked)))["a"] is not None
        assert archive.made <= 1 + 100

    def test_types_that_follow_from_values_are_looked_at(self) -> None:
        archive, graph = AlikeArchive([(day * DAY, day % 2, day % 2) for day in range(9)], lambda _: BOTH), Graph()
        clouds = mapped(lambda image: invoke("Image.addBands", dstImg=image, srcImg=invoke(
            "Image.constant", value=invoke("Element.get", object=image, property="cloud"))))(graph, LOADED)  # fmt: skip
        with pytest.raises(EarthEngineError, match="Mismatched type for band 'constant'"):
            evaluate(archive, graph, pixel_of(invoke("ImageCollection.mosaic", collection=clouds)))


ROWS = st.lists(
    st.tuples(st.integers(0, 45).map(lambda day: day * DAY), st.integers(0, 4), st.integers(0, 2)), max_size=8
)


@pytest.mark.slow
@settings(max_examples=400, derandomize=True, deadline=None)
@example([(0, 0, 0)], ["other image", "a time before all", "calendar"], "all")
@given(ROWS, st.lists(st.sampled_from(sorted({**STEPS, **{n: mapped(b) for n, b in SURE.items()}})), max_size=5),
       st.sampled_from(sorted(ENDS)))  # fmt: skip
def test_chains_find_what_a_walk_through_all_images_finds(rows: Any, names: list[str], end: str) -> None:
    known = {**STEPS, **{name: mapped(body) for name, body in SURE.items()}}
    steps = [*(known[name] for name in names), ENDS[end]]
    archive = AlikeArchive(rows, lambda number: ONE if rows[number][1] == 4 else BOTH)
    assert value_of(archive, LOADED, *steps) == value_of(archive, GIVEN, *steps)
