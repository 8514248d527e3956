"""Pages of tables that a service sends wrongly: one token for ever, or rows that it has sent before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ee
import pytest

from eechips.client.fetcher import Fetcher
from eechips.client.marked_requests import ROWS
from eechips.engine.config import RunConfig
from eechips.engine.session import connect
from eechips.errors import ValidationError
from eechips.planning.planning_requests import fetch_features
from tests.support.altering_front import altering_front
from tests.support.engine_service import Service
from tests.support.framing_front import Answer

Page = dict[str, Any]


def numbers() -> ee.FeatureCollection:
    """A table, of which the service has 2,500 rows with their numbers."""
    return ee.FeatureCollection([ee.Feature(None, {"n": 1})])


@contextmanager
def altered_pages(service: Service, alter: Callable[[Page, Page], Page], retries: int = 0) -> Iterator[Fetcher]:
    """A client of a server whose pages are altered, each with the request and the response."""

    def alter_page(path: str, body: bytes, answer: Answer) -> Answer:
        if "computeFeatures" not in path or answer.status != 200:
            return answer
        return Answer(200, answer.headers, json.dumps(alter(json.loads(body), json.loads(answer.body))).encode())

    with altering_front(service.url, alter_page) as url:
        config = RunConfig(out=Path("unused"), endpoint=url, rate=None, retries=retries, retry_delay=0.01)
        with connect(config) as session:
            yield Fetcher(session.connection, "pixels")


def read_rows(fetcher: Fetcher) -> list[Any]:
    return [row["row"] for row in fetcher.rows(numbers())]


def read_features(_: Fetcher) -> list[Any]:
    features = fetch_features(numbers(), page_size=1000, cure="nothing")
    return [feature["properties"]["row"] for feature in features]


READERS = [read_rows, read_features]


@pytest.mark.parametrize("read", READERS)
def test_pages_that_are_right_are_read(shared_service: Service, read: Callable[[Fetcher], list[Any]]) -> None:
    with altered_pages(shared_service, lambda _, page: page) as fetcher:
        assert read(fetcher) == list(range(2500))


@pytest.mark.parametrize("read", READERS)
def test_a_token_that_repeats_is_an_error(shared_service: Service, read: Callable[[Fetcher], list[Any]]) -> None:
    """Without features, so that only the token shows it."""
    with (
        altered_pages(shared_service, lambda _, page: {**page, "features": [], "nextPageToken": "1000"}) as fetcher,
        pytest.raises(ValidationError, match="the pages of the table have no end"),
    ):
        read(fetcher)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("count", [1, 1000])
def test_rows_that_are_sent_twice_are_an_error(
    shared_service: Service, read: Callable[[Fetcher], list[Any]], count: int
) -> None:
    pages: list[list[Any]] = []

    def repeat(_: Page, page: Page) -> Page:
        pages.append(page["features"])
        return {**page, "features": pages[0][:count] + page["features"][count:]} if len(pages) == 2 else page

    with (
        altered_pages(shared_service, repeat) as fetcher,
        pytest.raises(ValidationError, match="two pages of the table have the same row, '0'"),
    ):
        read(fetcher)


def counted(page: Page) -> Page:
    """A page whose features have the number of the table's rows, as the service computes it."""
    return {**page, "features": [f | {"properties": f["properties"] | {ROWS: 2500}} for f in page["features"]]}


@pytest.mark.parametrize(("lost", "is_lost"), [({"nextPageToken": None}, True), ({"features": []}, False)])
def test_rows_of_a_page_that_is_lost_are_requested_again(shared_service: Service, lost: Page, is_lost: bool) -> None:
    asked_tokens: list[str] = []

    def lose_second(asked: Page, page: Page) -> Page:
        assert '"Collection.size"' in json.dumps(asked)
        asked_tokens.append(token := asked.get("pageToken", ""))
        is_altered = token == "1000" and (is_lost or asked_tokens.count("1000") == 1)
        return {**counted(page), **lost} if is_altered else counted(page)

    with altered_pages(shared_service, lose_second, retries=3) as fetcher:
        stored = ee.FeatureCollection("projects/some/assets/table")
        if is_lost:
            with pytest.raises(ValidationError, match=r"^\d,\d00 rows of a table of 2,500 came back: a cache or proxy"):
                fetcher.table(stored, len)
        else:
            assert fetcher.table(stored, len) == 2500
    assert asked_tokens.count("") == (4 if is_lost else 2)


def test_rows_of_a_computed_table_are_not_counted(shared_service: Service) -> None:
    """Counting might compute them: a filter of computed properties, or nulls that are dropped."""

    def check(asked: Page, page: Page) -> Page:
        assert '"Collection.size"' not in json.dumps(asked)
        return page

    with altered_pages(shared_service, check) as fetcher:
        images = ee.ImageCollection("NAIP").map(lambda image: ee.Image(image).addBands(image))
        rows = images.map(lambda image: ee.Feature(None, {}), dropNulls=True)
        tables = [images.filter(ee.Filter.eq("clear", 1)), rows, numbers()]
        assert [fetcher.table(ee.FeatureCollection(table), len) for table in tables] == [2500] * 3


def test_features_that_a_collection_repeats_are_kept(shared_service: Service) -> None:
    """As of a sample with replacement: its pages repeat features within themselves, too."""

    def draw(asked: Page, page: Page) -> Page:
        first = int(asked.get("pageToken", 0))
        rows = [n % 700 for n in range(first, min(first + 1000, 2500))]
        drawn = zip(rows, page["features"], strict=True)
        return {**page, "features": [f | {"id": str(n), "properties": f["properties"] | {"row": n}} for n, f in drawn]}

    with altered_pages(shared_service, draw) as fetcher:
        assert read_rows(fetcher) == [n % 700 for n in range(2500)]
