"""What searches of image collections look at, and that they find what a walk through all images finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.kept_properties import COMPUTING, KEEPING, PAIRING
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import EarthEngineError
from local_tests.support.graphs import Graph, Ready, invoke
from local_tests.support.images import Memory
from local_tests.support.parameters import slow_except

DAY = 86_400_000
TIME, INDEX = "system:time_start", "system:index"
GRID = PixelGrid("EPSG:4326", Affine(1, 0, 0, 0, -1, 4), 4, 4)
SOURCE = Memory(np.arange(32, dtype=np.uint8).reshape(2, 4, 4))

Step = Callable[[Graph, Ready], Ready]


class Archive:
    """A store of one collection that counts the images that it makes."""

    id = "test/archive"

    def __init__(self, rows: Sequence[tuple[float | None, int, int]], bands: Callable[[int], Sequence[str]]) -> None:
        self.properties: Mapping[str, Any] = {"date_range": [0, 40 * DAY]}
        self.rows = rows
        self.bands = bands
        self.made = 0

    def images(self, query: Query) -> Iterator[ImageAsset]:
        for number, (time, cloud, west) in enumerate(self.rows):
            is_early = query.start is not None and (time is None or time < query.start)
            is_late = query.end is not None and (time is None or time >= query.end)
            first, _, last, _ = query.bounds or (west, 0, west, 0)
            is_away = first <= last and not first <= west + 1 <= last + 1
            if is_early or is_late or is_away or query.equals.get(INDEX, f"i{number}") != f"i{number}":
                continue
            self.made += 1
            bands = [
                BandInfo(name, PixelType.of("uint8"), GRID, SOURCE, n) for n, name in enumerate(self.bands(number))
            ]
            times = {} if time is None else {TIME: time}
            properties = {INDEX: f"i{number}", "cloud": cloud, **times}
            outline = shapely.box(west, 0, west + 1, 1)
            yield ImageAsset(f"{self.id}/i{number}", tuple(bands), properties, outline)

    def count(self, query: Query) -> int | None:
        if query != Query(start=query.start, end=query.end):
            return None
        made, found = self.made, sum(1 for _ in self.images(query))
        self.made = made
        return found

    def get(self, asset_id: str) -> Any:
        return self if asset_id == self.id else None

    def children(self, parent: str) -> tuple[str, ...]:
        return ()

    def describe(self) -> Mapping[str, Any]:
        return {}


LOADED = invoke("ImageCollection.load", id=Archive.id)
GIVEN = invoke("ImageCollection.fromImages", images=invoke("Collection.toList", collection=LOADED, count=5000))
"""The same images in a list, which no filter reaches."""


def daily(count: int) -> Archive:
    return Archive([(day * DAY, day % 7, day % 3) for day in range(count)], lambda _: ("a", "b"))


def evaluate(archive: Archive, graph: Graph, value: Any) -> Any:
    graph.values["formula"] = FORMULA.content
    return Evaluator(graph.expression(value), Context(archive)).evaluate()


def mapped(body: Callable[[Ready], Ready]) -> Step:
    return lambda graph, images: invoke(
        "Collection.map", collection=images, baseAlgorithm=graph.function(body, "image")
    )


def filtered(name: str, **arguments: Any) -> Step:
    return lambda graph, images: invoke("Collection.filter", collection=images, filter=invoke(name, **arguments))


def limited(count: int | None = None, key: str | None = None, *, ascending: bool = True) -> Step:
    given_ = {"limit": count, "key": key, "ascending": ascending}
    known = {name: value for name, value in given_.items() if value is not None}
    return lambda graph, images: invoke("Collection.limit", collection=images, **known)


def between(first: float, last: float) -> Step:
    span = invoke("DateRange", start=first * DAY, end=last * DAY)
    return filtered("Filter.dateRangeContains", leftValue=span, rightField=TIME)


def select(*names: str) -> Step:
    return mapped(lambda image: invoke("Image.select", input=image, bandSelectors=list(names)))


def doubled(image: Ready) -> Ready:
    return invoke("Image.multiply", image1=image, image2=invoke("Image.constant", value=2))


def copied(image: Ready, properties: Any) -> Ready:
    return invoke("Element.copyProperties", destination=doubled(image), source=image, properties=properties)


def formula(image: Ready) -> Ready:
    """``image.expression("a * 2 + b")``, as the client writes it."""
    given_ = {"DEFAULT_EXPRESSION_IMAGE": image.content}
    return Ready({"functionInvocationValue": {"functionReference": "formula", "arguments": given_}})


FORMULA = invoke(
    "Image.parseExpression", expression="a * 2 + b", argName="DEFAULT_EXPRESSION_IMAGE",
    vars=["DEFAULT_EXPRESSION_IMAGE"], mapFreeVarsToDefaultImageBands=True,
)  # fmt: skip


def names_of(image: Ready) -> Ready:
    return invoke("Element.propertyNames", element=image)


def set_(image: Ready, key: str, value: Any) -> Ready:
    return invoke("Element.set", object=image, key=key, value=value)


def time_of(image: Ready) -> Ready:
    return invoke("Element.get", object=image, property=TIME)


def place(west: float, east: float) -> Ready:
    return invoke("GeometryConstructors.Rectangle", coordinates=[[west, 0.2], [east, 0.8]], geodesic=False)


def joined(join: Ready, difference: float, secondary: Ready | None = None) -> Step:
    condition = invoke("Filter.maxDifference", difference=difference, leftField=TIME, rightField=TIME)
    return lambda graph, images: invoke(
        "Join.apply", join=join, primary=images, secondary=secondary, condition=condition
    )


MAPS: dict[str, Callable[[Ready], Ready]] = {
    "select": lambda image: invoke("Image.select", input=image, bandSelectors=["a"]),
    "select a band that is missing": lambda image: invoke("Image.select", input=image, bandSelectors=["missing"]),
    "mask": lambda image: invoke("Image.updateMask", image=image, mask=invoke("Image.gt", image1=image, image2=1)),
    "double": doubled,
    "subtract from one": lambda image: invoke(
        "Image.subtract", image1=invoke("Image.constant", value=1), image2=image),
    "copy the time": lambda image: copied(image, [TIME]),
    "copy all": lambda image: copied(image, names_of(image)),
    "copy but the clouds": lambda image: invoke(
        "Element.copyProperties", destination=doubled(image), source=image, exclude=["cloud"]),
    "copy over": lambda image: invoke(
        "Element.copyProperties", destination=set_(doubled(image), "cloud", 3), source=image),
    "copy from another": lambda image: invoke(
        "Element.copyProperties", destination=image, source=set_(image, "cloud", 5)),
    "set": lambda image: set_(image, "x", 1),
    "set the clouds": lambda image: set_(image, "cloud", 2),
    "set the time again": lambda image: set_(doubled(image), TIME, time_of(image)),
    "set the time": lambda image: set_(image, TIME, 3 * DAY),
    "set the index": lambda image: set_(image, INDEX, "other"),
    "set several": lambda image: invoke("Element.setMulti", object=image, properties={"cloud": 4, "x": time_of(image)}),
    "set the outline": lambda image: set_(image, "system:footprint", place(0, 4)),
    "clip": lambda image: invoke("Image.clip", input=image, geometry=place(0.1, 0.4)),
    "formula": lambda image: invoke(
        "Element.copyProperties", destination=formula(image), source=image, properties=[TIME]),
    "cast": lambda image: invoke("Image.toFloat", value=image),
    "choose": lambda image: invoke(
        "If", condition=invoke("Number.gt", left=invoke("Element.get", object=image, property="cloud"), right=2),
        trueCase=set_(image, TIME, DAY), falseCase=image),
    "link": lambda image: invoke(
        "Image.linkCollection", input=image, imageCollection=LOADED, linkedProperties=["cloud"],
        matchPropertyName=INDEX),
    "other image": lambda image: invoke("Image.constant", value=1),
}  # fmt: skip

FILTERS: dict[str, Step] = {
    "ten days": between(3, 13),
    "a time before all": between(-9, -3),
    "from a day on": filtered("Filter.not", filter=invoke("Filter.lessThan", leftField=TIME, rightValue=5 * DAY)),
    "calendar": filtered("Filter.calendarRange", start=3, end=9, field="day_of_month"),
    "few clouds": filtered("Filter.lessThan", leftField="cloud", rightValue=3),
    "clouds": filtered("Filter.equals", leftField="cloud", rightValue=2),
    "one index": filtered("Filter.equals", leftField=INDEX, rightValue="i2"),
    "has a time": filtered("Filter.notNull", properties=[TIME]),
    "place": filtered("Filter.intersects", leftField=".geo", rightValue=place(0.2, 0.6)),
    "outline": filtered("Filter.notNull", properties=["system:footprint"]),
    "bands": filtered("Filter.listContains", leftField="system:band_names", rightValue="b"),
    "either": filtered("Filter.or", filters=[
        invoke("Filter.equals", leftField="cloud", rightValue=1),
        invoke("Filter.lessThan", leftField=TIME, rightValue=4 * DAY)]),
}  # fmt: skip

STEPS: dict[str, Step] = {
    **{name: mapped(body) for name, body in MAPS.items()},
    **FILTERS,
    "by time": limited(key=TIME),
    "latest first": limited(key=TIME, ascending=False),
    "by clouds": limited(key="cloud"),
    "by index, from the end": limited(key=INDEX, ascending=False),
    "limit": limited(5),
    "latest three": limited(3, TIME, ascending=False),
    "merge": lambda graph, images: invoke("ImageCollection.merge", collection1=images, collection2=images),
    "name": lambda graph, images: invoke("Element.set", object=images, key="title", value="t"),
    "simple join": joined(invoke("Join.simple"), DAY),
    "inverted join": joined(invoke("Join.inverted"), DAY),
    "first match": joined(invoke("Join.saveFirst", matchKey="cloud"), DAY),
    "all matches": joined(invoke("Join.saveAll", matchesKey="near", ordering=TIME, ascending=False), DAY),
    "all matches of the store": joined(invoke("Join.saveAll", matchesKey="near"), DAY, LOADED),
    "unmatched by the store": joined(invoke("Join.inverted"), DAY, LOADED),
    "distinct": lambda graph, images: invoke("Collection.distinct", collection=images, properties=["cloud"]),
}

ENDS: dict[str, Step] = {
    "all": lambda graph, images: images,
    "size": lambda graph, images: invoke("Collection.size", collection=images),
    "first": lambda graph, images: invoke("Collection.first", collection=images),
    "item": lambda graph, images: invoke(
        "List.get", list=invoke("Collection.toList", collection=images, count=3), index=1
    ),
    "times": lambda graph, images: invoke("AggregateFeatureCollection.array", collection=images, property=TIME),
}

ROWS = st.lists(
    st.tuples(st.none() | st.integers(-2, 45).map(lambda day: day * DAY), st.integers(0, 4), st.integers(0, 2)),
    max_size=8,
)


def comparable(value: Any) -> Any:
    if isinstance(value, Image):
        outline = None if value.footprint is None else value.footprint.shape.normalize().wkt
        properties = {name: comparable(found) for name, found in value.properties.items()}
        return value.band_names, properties, outline
    if isinstance(value, (int, float, str)) or value is None:
        return value
    if isinstance(value, (list, tuple)) or hasattr(value, "element"):
        return [comparable(item) for item in value]
    return repr(value)


def outcome(rows: Sequence[tuple[float | None, int, int]], images: Ready, steps: Sequence[Step]) -> Any:
    """The value of a chain of steps, or the message with which it is refused."""
    archive, graph = Archive(rows, lambda _: ("a", "b")), Graph()
    for step in steps:
        images = step(graph, images)
    try:
        return comparable(evaluate(archive, graph, images))
    except EarthEngineError as error:
        return str(error)


@pytest.mark.slow
@settings(max_examples=400, derandomize=True, deadline=None)
@given(ROWS, st.lists(st.sampled_from(sorted(STEPS)), max_size=5), st.sampled_from(sorted(ENDS)))
def test_searches_find_what_a_walk_through_all_images_finds(
    rows: list[tuple[float | None, int, int]], names: list[str], end: str
) -> None:
    steps = [*(STEPS[name] for name in names), ENDS[end]]
    assert outcome(rows, LOADED, steps) == outcome(rows, GIVEN, steps)


@pytest.mark.parametrize("search", FILTERS)
@pytest.mark.parametrize("body", slow_except(MAPS, *list(MAPS)[::6]))
def test_each_map_before_each_filter(body: str, search: str) -> None:
    rows = [(day * DAY if day % 5 else None, day % 4, day % 3) for day in range(12)]
    steps = [mapped(MAPS[body]), FILTERS[search]]
    assert outcome(rows, LOADED, steps) == outcome(rows, GIVEN, steps)


class TestImagesThatAreMade:
    """A search makes the images that it looks at, and the first one to see whether a function can be applied."""

    @staticmethod
    def made(archive: Archive, *steps: Step) -> int:
        graph, images = Graph(), LOADED
        for step in (*steps, ENDS["all"]):
            images = step(graph, images)
        list(evaluate(archive, graph, images))
        return archive.made

    @pytest.mark.parametrize(
        "name",
        ["select", "mask", "copy the time", "copy all", "set", "set the time again", "clip", "formula", "link", "cast"],
    )
    def test_a_filter_passes_under_a_map_that_keeps_what_it_asks_for(self, name: str) -> None:
        looked_at = 10 + 1  # link: each of these, and its like
        assert self.made(daily(40), mapped(MAPS[name]), between(20, 30)) == looked_at * (2 if name == "link" else 1)

    @pytest.mark.parametrize("name", ["double", "set the time", "choose", "other image"])
    def test_a_filter_does_not_pass_under_other_maps(self, name: str) -> None:
        assert self.made(daily(40), mapped(MAPS[name]), between(20, 30)) == 40

    def test_a_filter_passes_under_one_by_what_a_map_sets(self) -> None:
        """As mapbiomas-brazil/mosaic-toolkit filters by clouds under a name of its own, and a time."""
        both = filtered("Filter.and", filters=[
            invoke("Filter.lessThan", leftField=name, rightValue=4 * DAY) for name in ("cloud", TIME)])  # fmt: skip
        for search in ((both,), (FILTERS["clouds"], between(0, 4))):
            assert self.made(daily(40), mapped(MAPS["set the clouds"]), *search) == 4 + 1

    def test_a_filter_passes_under_several_maps_and_an_order(self) -> None:
        steps = [select("a", "b"), limited(key="cloud"), mapped(MAPS["copy all"]), mapped(MAPS["mask"])]
        graph, images = Graph(), LOADED
        archive = daily(40)
        for step in (select("a", "b"), mapped(MAPS["copy all"]), limited(key="cloud"), between(20, 30)):
            images = step(graph, images)
        assert len(list(evaluate(archive, graph, images))) == 10
        assert archive.made == 11
        assert self.made(daily(40), *steps[:1], *steps[2:], between(20, 30)) == 11

    def test_a_filter_passes_under_merged_and_joined_collections(self) -> None:
        assert self.made(daily(40), select("a"), STEPS["merge"], between(20, 30)) == 2 * (10 + 1)
        archive = daily(40)
        near = invoke(
            "Collection.filter",
            collection=LOADED,
            filter=invoke(
                "Filter.dateRangeContains", leftValue=invoke("DateRange", start=25 * DAY, end=26 * DAY), rightField=TIME
            ),
        )
        condition = invoke("Filter.maxDifference", difference=DAY, leftField=TIME, rightField=TIME)
        found = invoke("Join.apply", join=invoke("Join.saveFirst", matchKey="match"), primary=LOADED, secondary=near,
                       condition=condition)  # fmt: skip
        graph = Graph()
        assert len(list(evaluate(archive, graph, between(20, 30)(graph, found)))) == 3
        assert archive.made == 10 + 1

    @pytest.mark.parametrize("field", [TIME, INDEX])
    def test_a_join_asks_for_the_matches_of_each_image(self, field: str) -> None:
        condition = invoke("Filter.equals", leftField=field, rightField=field)
        graph = Graph()
        both = [LOADED, mapped(MAPS["copy all"])(graph, LOADED)]
        archive = daily(40)
        found = invoke("Join.apply", join=invoke("Join.saveFirst", matchKey="match"),
                       primary=between(20, 23)(graph, both[0]), secondary=both[1], condition=condition)  # fmt: skip
        matches = [image.properties["match"].properties[INDEX] for image in evaluate(archive, graph, found)]
        assert matches == ["i20", "i21", "i22"]
        assert archive.made == 3 + 1 + 3

    @pytest.mark.parametrize("field", ["nowhere", "system:band_names"])
    @pytest.mark.parametrize("name", ["equals", "maxDifference"])
    def test_a_join_asks_for_no_match_of_what_can_have_none(self, name: str, field: str) -> None:
        more = {"difference": DAY} if name == "maxDifference" else {}
        condition = invoke(f"Filter.{name}", leftField=field, rightField=TIME, **more)
        graph, archive = Graph(), daily(40)
        found = invoke("Join.apply", join=invoke("Join.inverted"), primary=between(20, 23)(graph, LOADED),
                       secondary=LOADED, condition=condition)  # fmt: skip
        assert [image.properties[INDEX] for image in evaluate(archive, graph, found)] == ["i20", "i21", "i22"]
        assert archive.made == 3

    @pytest.mark.parametrize("before", [[], [select("a")], [mapped(MAPS["copy all"])], [STEPS["merge"]]])
    def test_the_latest_image_is_the_only_one_made(self, before: list[Step]) -> None:
        archive, graph, images = daily(40), Graph(), LOADED
        for step in (*before, limited(key=TIME, ascending=False)):
            images = step(graph, images)
        latest = evaluate(archive, graph, invoke("Collection.first", collection=images))
        assert latest.properties[TIME] == 39 * DAY
        assert archive.made <= 2

    def test_sizes_by_time_make_no_image(self) -> None:
        archive, graph = daily(40), Graph()
        assert evaluate(archive, graph, ENDS["size"](graph, between(3, 13)(graph, LOADED))) == 10
        assert evaluate(archive, graph, ENDS["size"](graph, STEPS["merge"](graph, LOADED))) == 80
        assert archive.made == 0
        assert evaluate(archive, graph, ENDS["size"](graph, FILTERS["clouds"](graph, LOADED))) == 6
        assert archive.made == 40

    def test_a_limit_stops_the_search(self) -> None:
        assert self.made(daily(40), select("a"), limited(3)) == 3


class DatedArchive(Archive):
    """One that knows the times of its images, which all have one."""

    def times(self, query: Query) -> Sequence[float]:
        times = {time for time, _, _ in self.rows if time is not None}
        return sorted(t for t in times if (query.start or -1) <= t < (query.end or 99 * DAY))


@pytest.mark.parametrize("ascending", [True, False])
def test_images_of_one_time_are_made_one_by_one_where_the_times_are_known(ascending: bool) -> None:
    archive = DatedArchive([(day // 10 * DAY, day % 7, 0) for day in range(40)], lambda _: ("a",))
    graph = Graph()
    images = limited(key=TIME, ascending=ascending)(graph, between(1, 3)(graph, LOADED))
    chosen = evaluate(archive, graph, invoke("Collection.first", collection=images))
    assert chosen.properties[INDEX] == ("i10" if ascending else "i20")
    assert archive.made == 1
    in_list = limited(key=TIME, ascending=ascending)(graph, between(1, 3)(graph, GIVEN))
    assert comparable(evaluate(archive, graph, images)) == comparable(evaluate(archive, graph, in_list))


def test_a_mosaic_of_mapped_images_looks_at_those_of_the_place() -> None:
    """And at the first thousand of all, to compare their bands: Landsat has hundreds of thousands."""
    archive, graph = Archive([(day * DAY, 0, day % 100) for day in range(3_000)], lambda _: ("a", "b")), Graph()
    mosaic = invoke("ImageCollection.mosaic", collection=select("a")(graph, LOADED))
    point = invoke("GeometryConstructors.Point", coordinates=[2.5, 0.5])
    first = invoke("Image.reduceRegion", image=mosaic, reducer=invoke("Reducer.first"), geometry=point, scale=1000)
    assert set(evaluate(archive, graph, first)) == {"a"}
    assert 1_000 < archive.made < 1_100


class TestBandsThatAreMissing:
    """A function is applied to the images that are looked at; a band that one of these lacks is refused."""

    @pytest.mark.parametrize(
        ("lacking", "step", "end"),
        [(0, between(12, 18), "all"), (14, between(12, 18), "all"), (14, between(12, 18), "size"),
         (14, limited(), "size"), (14, limited(key="cloud"), "times")],
    )  # fmt: skip
    def test_it_is_refused(self, lacking: int, step: Step, end: str) -> None:
        rows = [(day * DAY, 0, 0) for day in range(20)]
        archive = Archive(rows, lambda number: ("a",) if number == lacking else ("a", "b"))
        graph = Graph()
        with pytest.raises(EarthEngineError, match=rf"Error in map\(ID=i{lacking}\)"):
            list(evaluate(archive, graph, ENDS[end](graph, step(graph, select("b")(graph, LOADED)))))


@cache
def sample() -> Image:
    archive = daily(1)
    image: Image = evaluate(archive, Graph(), invoke("Collection.first", collection=LOADED))
    return image


@pytest.mark.parametrize("name", sorted(KEEPING | COMPUTING | PAIRING))
def test_functions_have_the_metadata_of_their_first_argument(name: str) -> None:
    """What the tracing of functions assumes, of each function that it knows."""
    first = invoke("Collection.first", collection=LOADED)
    numbers = {"Number": 2, "Float": 2.0, "Integer": 1}
    own = {"names": ["x", "y"], "bandSelectors": ["a"], "regex": "a", "replacement": "c", "crs": "EPSG:4326"}
    arguments: dict[str, Any] = {}
    for position, argument in enumerate(load_signatures()[name].arguments):
        kind = argument.type.partition("<")[0]
        if position == 0 or (kind == "Image" and not argument.optional):
            arguments[argument.name] = first
        elif not argument.optional:
            arguments[argument.name] = own.get(argument.name, numbers.get(kind))
    result = evaluate(daily(1), Graph(), invoke(name, **arguments))
    assert result.footprint is not None
    assert result.footprint.shape.equals(sample().footprint.shape)
    expected = dict(sample().properties)
    assert dict(result.properties) == (expected if name in KEEPING else {INDEX: expected[INDEX]})


@pytest.mark.slow
def test_a_body_that_uses_a_value_often_is_followed_once(demo_ee: Any) -> None:
    """Followed at each use, the body below would take 3 ** 40 steps."""

    def differences(image: Any) -> Any:
        for number in range(40):
            image = image.addBands(image.normalizedDifference(["B8", "B4"]).rename(f"d{number}"))
        return image

    images = demo_ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterBounds(demo_ee.Geometry.Point(-105, 40))
    june = "2022-06-01", "2022-06-10"
    found, before = images.map(differences).filterDate(*june).first(), images.filterDate(*june).first()
    assert found.bandNames().size().getInfo() == before.bandNames().size().getInfo() + 40


def test_a_filter_on_names_of_bands_sees_those_that_are_combined(demo_ee: Any) -> None:
    images = demo_ee.ImageCollection([demo_ee.Image(n).rename("a").set("system:index", str(n)) for n in range(2)])
    others = demo_ee.ImageCollection([demo_ee.Image(n).rename("b").set("system:index", str(n)) for n in range(2)])
    combined = images.combine(others)
    assert combined.filter(demo_ee.Filter.listContains("system:band_names", "b")).size().getInfo() == 2


@pytest.mark.parametrize("name", ["intersects", "isContained", "contains", "withinDistance"])
def test_nothing_is_looked_at_for_an_empty_region(name: str) -> None:
    archive, graph = daily(30), Graph()
    nowhere = invoke("Collection.geometry", collection=invoke("Collection", features=[]))
    more = {"distance": 1000} if name == "withinDistance" else {}
    images = invoke("ImageCollection.load", id=archive.id)
    found = filtered(f"Filter.{name}", leftField=".geo", rightValue=nowhere, **more)(graph, images)
    assert evaluate(archive, graph, invoke("Collection.size", collection=found)) == 0
    assert archive.made == 0
    graph = Graph()
    no = invoke("Filter.not", filter=invoke(f"Filter.{name}", leftField=".geo", rightValue=nowhere, **more))
    others = invoke("Collection.filter", collection=images, filter=no)
    assert evaluate(archive, graph, invoke("Collection.size", collection=others)) == 30
