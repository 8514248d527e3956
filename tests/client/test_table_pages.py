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
from eechips.client.http.marked_requests import ROWS
from eechips.engine.config import RunConfig
from eechips.engine.service.session import connect
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
def altered_pages(service: Service, alter: Callable[[Page, Page], Page]) -> Iterator[Fetcher]:
    """A client of a server whose pages are altered, each with the request and the response."""

    def alter_page(path: str, body: bytes, answer: Answer) -> Answer:
        if "computeFeatures" not in path or answer.status != 200:
            return answer
        return Answer(200, answer.headers, json.dumps(alter(json.loads(body), json.loads(answer.body))).encode())

    with altering_front(service.url, alter_page) as url:
        config = RunConfig(out=Path("unused"), endpoint=url, rate=None, retries=0)
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


@pytest.mark.parametrize(("fault", "is_noticed"), [("", False), ("row", True), ("token", True), ("later", False)])
def test_the_rows_of_a_table_of_one_page_are_counted(shared_service: Service, fault: str, is_noticed: bool) -> None:
    """By one row more than a page has at most, and by one expression for all pages."""
    expressions: set[str] = set()

    def answer(asked: Page, page: Page) -> Page:
        expressions.add(expression := json.dumps(asked["expression"], sort_keys=True))
        assert '"Collection.size"' in expression
        size, rows = asked["pageSize"], 2500 if fault in ("token", "later") else 400
        assert f'"limit": {{"constantValue": {size + 1}}}' in expression
        features = page["features"][: 400 if rows == 400 else size]
        features = [f | {"properties": f["properties"] | {ROWS: min(rows, size + 1)}} for f in features]
        following = page if fault == "later" else {"type": page["type"]}
        lost = fault == "row" or (fault == "later" and asked.get("pageToken") == "2000")
        return {**following, "features": features[:-1] if lost else features}

    with altered_pages(shared_service, answer) as fetcher:
        stored = ee.FeatureCollection("projects/some/assets/table")
        if is_noticed:
            told = "399 rows of a table of 400" if fault == "row" else "1,000 rows of a table of 1,001"
            with pytest.raises(ValidationError, match=f"^{told} came back: a cache or proxy"):
                fetcher.table(stored, len)
        else:
            assert fetcher.table(stored, len) == (2499 if fault == "later" else 400)
    assert len(expressions) == 1


@pytest.mark.slow
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
