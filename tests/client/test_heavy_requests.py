"""A request that may be too large, or may meet the load of the moment: it is sent again once, then split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import ee
import pytest

from eechips.client.fetcher import Fetcher
from eechips.engine.config import RunConfig
from eechips.engine.fetch_result import fetch_result
from eechips.engine.service.session import connect
from eechips.errors import TooLargeError
from eechips.geo.grid import Grid
from eechips.planning.planning_requests import request_each
from eechips.recipe import Chip
from local_tests.support.local_earth_engine import Server
from local_tests.support.stack_store import CRS, STACK, Stack

HEAVY = "Too many concurrent aggregations."
GRID = Grid(CRS, (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0), 128, 128)
PIXELS, ROWS, VALUES = "image:computePixels", "table:computeFeatures", "value:compute"
STATUSES = [400, 429]  # no public record has the status of this message


@pytest.fixture
def server(stack: Stack, serve: Callable[..., Server]) -> Iterator[Server]:
    found = serve("--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none")
    yield found
    plan(found)


def plan(server: Server, *faults: dict[str, Any]) -> None:
    body = json.dumps({"seed": 0, "faults": faults}).encode()
    with urlopen(Request(f"{server.url}/_faults", body, {"Content-Type": "application/json"})):
        pass


def refusing(kind: str, status: int, times: int | None = None) -> dict[str, Any]:
    """The fault of requests of a kind that are refused, the first ones or all."""
    limit = {} if times is None else {"times": times}
    return {"type": "status", "on": kind, "status": status, "message": HEAVY, **limit}


@contextmanager
def counting(server: Server, *faults: dict[str, Any]) -> Iterator[tuple[Fetcher, Counter[str]]]:
    """A fetcher, and the requests that the server has received at the end of the block, by kind."""
    received: Counter[str] = Counter()
    config = RunConfig(out=Path("unused"), endpoint=server.url, rate=None, retry_delay=0.001)
    with connect(config) as session:
        plan(server, *faults)
        before = Counter(server.requests())
        yield Fetcher(session.connection, "pixels"), received
        received.update(Counter(server.requests()) - before)


def chip(image: Any = None) -> Chip:
    return Chip(image or ee.Image(f"{STACK}/image_0"), grid=GRID, format="tif", bands=("red", "nir"))


@pytest.mark.slow
@pytest.mark.parametrize("status", STATUSES)
def test_the_load_of_a_moment_costs_one_repeat(server: Server, status: int) -> None:
    with counting(server, refusing(PIXELS, status, times=1)) as (fetcher, received):
        found = fetch_result(fetcher, chip())
    assert received == {PIXELS: 2}
    with counting(server) as (fetcher, _):
        assert fetch_result(fetcher, chip()).data == found.data


@pytest.mark.slow
@pytest.mark.parametrize("status", STATUSES)
def test_a_heavy_chip_is_split_after_one_repeat(server: Server, status: int) -> None:
    with counting(server, refusing(PIXELS, status, times=2)) as (fetcher, received):
        found = fetch_result(fetcher, chip())
    assert received == {PIXELS: 2 + 4}
    with counting(server) as (fetcher, _):
        assert fetch_result(fetcher, chip()).data == found.data


@pytest.mark.slow
@pytest.mark.parametrize("status", STATUSES)
def test_a_chip_that_is_refused_at_any_size_says_what_helps(server: Server, status: int) -> None:
    with counting(server, refusing(PIXELS, status)) as (fetcher, received), pytest.raises(TooLargeError) as refused:
        fetch_result(fetcher, chip())
    assert received == {PIXELS: 1 + 4}  # 128 pixels twice, 64, 32 and 16
    assert str(refused.value).startswith(f"{HEAVY} Even 16x16 pixels are too much. What helps: ")
    assert "or a batch task (`export_to`)" in str(refused.value)


@pytest.mark.slow
def test_a_heavy_table_is_fetched_in_shorter_pages_after_one_repeat(server: Server) -> None:
    with counting(server, refusing(ROWS, 429, times=3)) as (fetcher, received):
        numbers = ee.FeatureCollection(ee.List.sequence(1, 4).map(lambda n: ee.Feature(None, {"n": n})))
        assert [row["n"] for row in fetcher.rows(numbers)] == [1, 2, 3, 4]
    assert received == {ROWS: 2 + 1 + 1}  # 1,000 rows twice, 250, 62
    with counting(server, refusing(ROWS, 429)) as (fetcher, received), pytest.raises(TooLargeError, match="one row"):
        fetcher.rows(numbers)
    assert received == {ROWS: 2 + 5}  # 1,000 rows twice, 250, 62, 15, 3, 1


@pytest.mark.slow
@pytest.mark.parametrize("status", STATUSES)
def test_a_heavy_planning_request_is_halved_after_one_repeat(server: Server, status: int) -> None:
    def ask(numbers: Any) -> Any:
        return ee.List(list(numbers)).map(lambda n: ee.Number(n).multiply(2)).getInfo()

    with counting(server, refusing(VALUES, status, times=3)) as (_, received):
        assert list(request_each(range(8), ask, size=8)) == [number * 2 for number in range(8)]
    assert received == {VALUES: 2 + 1 + 3}  # 8 items twice, 4, then 2, 2 and 4
    with counting(server, refusing(VALUES, status)) as (_, received), pytest.raises(TooLargeError, match=HEAVY):
        list(request_each(range(8), ask, size=8))
    assert received == {VALUES: 2 + 3}


@pytest.mark.slow
def test_a_single_request_of_the_client_is_sent_again_once(server: Server) -> None:
    with counting(server, refusing(VALUES, 429, times=1)) as (_, received):
        assert ee.Number(1).add(1).getInfo() == 2
    assert received == {VALUES: 2}
    with counting(server, refusing(VALUES, 429)) as (_, received), pytest.raises(ee.EEException, match=HEAVY):
        ee.Number(1).add(1).getInfo()
    assert received == {VALUES: 2}
