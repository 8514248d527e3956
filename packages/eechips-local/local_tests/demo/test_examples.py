"""Examples of the demo planet: each image of a collection is alike to one of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date
from itertools import islice
from typing import Any

import pytest

from eechips_local.demo.demo_store import catalogue
from eechips_local.evaluation.asset_model import Exemplified, ImageAsset, Query, Range
from eechips_local.evaluation.lazy_values import Later, uncomputed
from eechips_local.stubs.stub_store import StubStore, open_sources
from local_tests.support.demo_store import STORE, found, millis
from local_tests.support.parameters import slow_except

UNTIL = date(2025, 1, 1)
KNOWN = [name for name, asset in catalogue(UNTIL).items() if isinstance(asset, Exemplified)]
DAY = 86_400_000


def kind(value: Any) -> str:
    if isinstance(value, (Later, int, float)):
        return "number"  # those that are computed later are percentages
    return type(value).__name__


def layout(image: ImageAsset) -> Any:
    properties = {(name, kind(value)) for name, value in uncomputed(image.properties).items()}
    return tuple((band.name, band.pixel_type) for band in image.bands), frozenset(properties)


def spans(first: float, last: float) -> Iterator[Query]:
    chance = random.Random(0)
    yield Query()
    for days in (1, 5, 40):
        start = chance.uniform(first, last)
        yield Query(start=start, end=start + days * DAY)


def unlike(collection: Any) -> list[str]:
    """Ids of images that are like no example."""
    ids = []
    for query in spans(*collection.properties["date_range"]):
        known = {layout(image) for image in collection.examples(query)}
        ids += [image.id for image in islice(collection.images(query), 0, 40, 4) if layout(image) not in known]
    return ids


@pytest.mark.parametrize("name", slow_except(KNOWN, "LANDSAT/LC08/C02/T1_L2", "MODIS/061/MOD11A1"))
def test_each_image_of_the_demo_planet_is_like_an_example(name: str) -> None:
    assert unlike(STORE.get(name)) == []


@pytest.mark.slow
def test_each_image_of_a_stub_is_like_an_example() -> None:
    store = StubStore(open_sources(None), UNTIL, lambda: frozenset(KNOWN))
    chosen = map(store.get, random.Random(0).sample(sorted(store.ids()), 100))
    collections = [asset for asset in chosen if isinstance(asset, Exemplified)]
    assert len(collections) > 20
    assert [image for collection in collections for image in unlike(collection)] == []


@pytest.mark.slow
@pytest.mark.parametrize("start", [millis(2018, 11, 20), millis(2022, 1, 20), millis(2024, 2, 20), millis(2024, 6, 20)])
def test_images_of_sentinel_2_around_a_change_are_like_an_example(start: float) -> None:
    query = Query(start=start, end=start + 15 * DAY)
    for name in ("COPERNICUS/S2_SR", "COPERNICUS/S2"):
        known = {layout(image) for image in STORE.get(name).examples(query)}  # type: ignore[union-attr]
        place = Query(bounds=(-105.0, 39.9, -104.9, 40.0), start=query.start, end=query.end)
        assert {layout(image) for image in found(name, place)} <= known


def test_each_layout_of_naip_has_an_example() -> None:
    collection: Any = STORE.get("USDA/NAIP/DOQQ")
    names = {tuple(band.name for band in image.bands) for image in collection.examples(Query())}
    assert names == {("R", "G", "B"), ("N", "R", "G"), ("R", "G", "B", "N")}


@pytest.mark.parametrize(
    "asked",
    [{}, {"equals": {"instrumentMode": "IW"}}, {"having": frozenset({"HV"})}, {"lacking": frozenset({"VV"})},
     {"equals": {"orbitProperties_pass": "ASCENDING"}},
     {"holding": frozenset({("transmitterReceiverPolarisation", "VH")}), "equals": {"relativeOrbitNumber_start": 92}}],
)  # fmt: skip
def test_the_number_of_scenes_of_sentinel_1_is_that_of_a_search(asked: Any) -> None:
    collection: Any = STORE.get("COPERNICUS/S1_GRD")
    query = Query(start=millis(2021, 6, 1), end=millis(2021, 6, 1, 6), **asked)
    number = collection.count(query)
    scenes = found("COPERNICUS/S1_GRD", query)
    names = ["instrumentMode", "orbitProperties_pass", "relativeOrbitNumber_start"]
    exact = [s for s in scenes if all(s.properties[n] == query.equals.get(n, s.properties[n]) for n in names)]
    assert number == len(exact) > 0


def test_scenes_of_a_place_are_not_counted() -> None:
    collection: Any = STORE.get("COPERNICUS/S1_GRD")
    assert collection.count(Query(bounds=(-105.0, 39.0, -104.0, 40.0))) is None
    assert collection.count(Query(equals={"orbitNumber_start": 4})) is None


def test_a_search_by_polarisation_and_mode_makes_such_scenes_only() -> None:
    pairs = frozenset({("transmitterReceiverPolarisation", "VV"), ("transmitterReceiverPolarisation", "VH")})
    query = Query(start=millis(2021, 6, 1), end=millis(2021, 6, 1, 6), equals={"instrumentMode": "IW"}, holding=pairs)
    scenes = found("COPERNICUS/S1_GRD", query)
    assert {tuple(image.properties["transmitterReceiverPolarisation"]) for image in scenes} == {("VV", "VH")}
    assert len(found("COPERNICUS/S1_GRD", Query(start=query.start, end=query.end))) > len(scenes)


@pytest.mark.parametrize(
    ("store", "name", "count"),
    [
        (STORE, "UCSB-CHG/CHIRPS/DAILY", 30),
        (STORE, "COPERNICUS/S1_GRD", None),
        (StubStore(open_sources(None), UNTIL, frozenset), "NASA/GLDAS/V021/NOAH/G025/T3H", 240),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_range_of_times_makes_the_images_in_it_alone(store: Any, name: str, count: int | None) -> None:
    start, end = 1_527_811_200_000, 1_530_403_200_000  # June 2018
    bounds = (7.0, 46.0, 7.1, 46.1)
    query = Query(bounds=bounds, ranges={"system:time_start": Range(start, end - 1, others=True)})
    made = [image.properties["system:time_start"] for image in store.get(name).images(query)]
    assert made
    assert start <= min(made) <= max(made) < end
    assert count is None or len(made) == count


def test_a_span_of_names_makes_few_images_of_a_stub() -> None:
    """A builder of training sets finds the forecasts of a day among millions so."""
    collection: Any = StubStore(open_sources(None), UNTIL, frozenset).get("NOAA/GFS0P25")
    first, last = "2021071000F01", "2021071000F24"
    made = {image.properties["system:index"] for image in collection.images(Query(first_index=first, last_index=last))}
    of_day = collection.images(Query(start=millis(2021, 7, 9), end=millis(2021, 7, 12)))
    wanted = {name for image in of_day if first <= (name := image.properties["system:index"]) <= last}
    assert wanted
    assert wanted <= made
    assert all(name.startswith("2021071000") for name in made)
    assert not list(collection.images(Query(first_index="3", last_index="4")))
