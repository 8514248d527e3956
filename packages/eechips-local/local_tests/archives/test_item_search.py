"""Searches of a STAC API: what is sent, what comes back, and what is kept."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import pickle
import sqlite3
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_model import ItemQuery, ItemSearch
from eechips_local.archives.items.item_filters import found_items
from eechips_local.archives.items.item_search import ApiSearch, format_age, open_search
from eechips_local.archives.items.item_search_cache import KeptSearches, pack_items
from eechips_local.evaluation.asset_model import Range
from local_tests.archives.stac_server import CONFORMS, StacServer, make_item, stac_server
from local_tests.support.captured_log import CapturedLog
from local_tests.support.stopped_clock import StoppedClock

JUNE = datetime(2024, 6, 1, tzinfo=timezone.utc).timestamp() * 1000.0
JULY = datetime(2024, 7, 1, tzinfo=timezone.utc).timestamp() * 1000.0


def ids(search: ItemSearch, query: ItemQuery, collection: str = "s2") -> list[str]:
    """Ids of found items."""
    return [item["id"] for item in search.items(collection, query)]


def search_of(server: StacServer, folder: Path | None = None, **options: Any) -> ItemSearch:
    """Open the search of an archive, whose waits take no time."""
    return open_search(server.describe(**options), folder, clock=StoppedClock())


def days(count: int, **options: Any) -> list[dict[str, Any]]:
    """An item a day of June."""
    return [make_item(number, day=f"2024-06-{number % 30 + 1:02d}", **options) for number in range(count)]


def test_pages_are_read_to_their_end_and_each_item_comes_once(tmp_path: Path) -> None:
    items = days(25)
    with stac_server([*items, *items[:3]]) as server:
        found = list(search_of(server, tmp_path, page_items=10).items("s2", ItemQuery()))
    assert found == items
    assert [search["limit"] for search in server.searches] == [10, 10, 10]
    assert server.paths == ["POST /search"] * 3


def _link_of_cmr(body: dict[str, Any]) -> dict[str, Any]:
    """As nasa/cmr-stac writes it (src/routes/search.ts): without a method, the search in the address."""
    query = f"collections%5B0%5D=s2&limit={body['limit']}&cursor={body['token']}"
    return {"rel": "next", "href": f"search?{query}", "title": "Next page of results"}


def _link_of_earth_search(body: dict[str, Any]) -> dict[str, Any]:
    """As stac-utils/pystac-client has recorded it (tests/cassettes)."""
    rest = {name: value for name, value in body.items() if name != "token"}
    return {"rel": "next", "method": "POST", "merge": False, "href": "search", "body": {**rest, "next": body["token"]}}


def _link_that_is_merged(body: dict[str, Any]) -> dict[str, Any]:
    """As the specification of STAC API 1.0.0 allows it: the body of the first search is repeated by the client."""
    return {"rel": "next", "method": "POST", "merge": True, "href": "search", "body": {"token": body["token"]}}


@pytest.mark.parametrize("link", [_link_of_cmr, _link_of_earth_search, _link_that_is_merged])
def test_links_to_further_pages_are_followed_as_archives_write_them(link: Any, tmp_path: Path) -> None:
    with stac_server(days(25)) as server:

        def replace_link(page: dict[str, Any]) -> dict[str, Any]:
            next_links = [link(given["body"]) for given in page["links"]]
            return {**page, "links": [{**given, "href": f"{server.url}/{given['href']}"} for given in next_links]}

        server.always = replace_link
        found = ids(search_of(server, tmp_path, page_items=10), ItemQuery())
    assert found == [item["id"] for item in days(25)]
    assert len(server.paths) == 3


@pytest.mark.parametrize("status", [404, 405])
def test_an_api_without_searches_by_post_is_searched_by_get(status: int, tmp_path: Path) -> None:
    """STAC API 1.0, Item Search: GET is to be there, and POST is recommended."""
    others = days(3, collection="others")
    with stac_server([*days(25), *days(5, cloud=90.0, west=30.0), *others], no_post=status) as server:
        search = search_of(server, tmp_path, page_items=10)
        query = ItemQuery(
            bounds=(11.0, 46.0, 12.0, 47.0), start=JUNE, end=JULY, ranges={"eo:cloud_cover": Range(greatest=20.0)}
        )
        assert ids(search, query) == [item["id"] for item in days(25)]
        assert server.paths == ["GET /", "POST /search", *["GET /search"] * 3]
        assert len(ids(search, ItemQuery(ids=("item-0003", "item-0007")))) == 2
        assert server.paths[5:] == ["GET /search"]


@pytest.mark.parametrize(("method", "href"), [("POST", "/search"), ("post", "./search"), (None, "?token={token}")])
def test_links_to_further_pages_may_be_relative(method: str | None, href: str, tmp_path: Path) -> None:
    with stac_server(days(25)) as server:

        def shorten(page: dict[str, Any]) -> dict[str, Any]:
            for link in page["links"]:
                link.update(method=method, href=href.format(token=link["body"]["token"]))
            return page

        server.always = shorten
        assert ids(search_of(server, tmp_path, page_items=10), ItemQuery()) == [i["id"] for i in days(25)]
    assert len(server.paths) == 3


def test_items_whose_collection_or_one_of_whose_assets_is_null_are_found(tmp_path: Path) -> None:
    whole, *others = days(3)
    given = [whole, *({**item, "collection": None, "assets": {**item["assets"], "B09": None}} for item in others)]
    with stac_server(given) as server:
        server.ignores = ("collections",)
        items = list(found_items(search_of(server, tmp_path), "s2", ItemQuery()))
    assert [item["id"] for item in items] == [item["id"] for item in days(3)]
    assert [item["assets"] for item in items] == [item["assets"] for item in days(3)]


def test_bounds_dates_and_properties_reach_the_archive(tmp_path: Path) -> None:
    items = [*days(30), *days(30, west=40.0), *(make_item(90 + n, cloud=c) for n, c in enumerate((50.0, None)))]
    query = ItemQuery(
        bounds=(11.3, 46.1, 11.4, 46.2), start=JUNE, end=JUNE + 3 * 86_400_000,
        equals={"platform": "sentinel-2a"}, ranges={"eo:cloud_cover": Range(greatest=20.0)},
    )  # fmt: skip
    expected = ["item-0000", "item-0001", "item-0002"]
    with stac_server(items) as server:
        assert ids(search_of(server, tmp_path, has_cql2=True), query) == expected
        sent = server.searches.pop()
        assert sent["bbox"] == [11.25, 46.0, 11.5, 46.25]
        assert sent["datetime"] == "2024-05-31T23:59:59.999Z/2024-06-04T00:00:00.000Z"
        assert sent["filter-lang"] == "cql2-json"
        assert sent["filter"] == {
            "op": "and",
            "args": [
                {"op": "=", "args": [{"property": "platform"}, "sentinel-2a"]},
                {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20.0]},
            ],
        }
        assert ids(search_of(server), query) == expected
        sent = server.searches.pop()
        assert sent["query"] == {"platform": {"eq": "sentinel-2a"}, "eo:cloud_cover": {"lte": 20.0}}
        assert "filter" not in sent


def test_an_archive_that_ignores_or_refuses_conditions_is_filtered_here(tmp_path: Path) -> None:
    items = [make_item(number, cloud=float(number)) for number in range(30)]
    query = ItemQuery(ranges={"eo:cloud_cover": Range(least=5.0, greatest=7.0)})
    expected = ["item-0005", "item-0006", "item-0007"]
    with stac_server(items, ignores=frozenset({"query", "filter"})) as server:
        assert ids(search_of(server), query) == expected
        assert ids(search_of(server, has_cql2=True), query) == expected
    with stac_server(items, conforms=CONFORMS) as server:
        assert ids(search_of(server), query) == expected
        assert "query" not in server.searches[0]
    with stac_server(items) as server:
        server.faults.extend(["ok", 400])
        assert ids(search_of(server), query) == expected
        assert ["query" in search for search in server.searches] == [True, False]


def test_elements_without_a_number_match_where_the_range_says_so() -> None:
    items = [make_item(0, cloud=5.0), make_item(1, cloud=None), make_item(2, cloud=90.0)]
    with stac_server(items) as server:
        search = search_of(server)
        others = ItemQuery(ranges={"eo:cloud_cover": Range(greatest=20.0, others=True)})
        assert ids(search, others) == ["item-0000", "item-0001"]
        assert ids(search, ItemQuery(ranges={"eo:cloud_cover": Range(greatest=20.0)})) == ["item-0000"]


def test_bounds_across_the_antimeridian_are_two_searches_and_no_item_comes_twice() -> None:
    items = [make_item(0, west=178.9), make_item(1, west=-180.0), make_item(2, west=0.0), make_item(3, west=-180.0)]
    items[3]["bbox"] = [-180.0, 46.0, 180.0, 47.0]  # one that lies on both sides, as many archives write it
    with stac_server(items) as server:
        found = ids(search_of(server), ItemQuery(bounds=(179.6, 46.3, -179.7, 46.4)))
        assert sorted(found) == ["item-0000", "item-0001", "item-0003"]
        assert [search["bbox"] for search in server.searches] == [
            [179.5, 46.25, 180, 46.5],
            [-180, 46.25, -179.5, 46.5],
        ]


def test_a_search_of_a_few_reads_one_small_page() -> None:
    with stac_server(days(300)) as server:
        assert ids(search_of(server), ItemQuery(limit=1)) == [f"item-{number:04d}" for number in range(20)]
        assert [search["limit"] for search in server.searches] == [20]


def test_items_by_their_ids_come_in_pieces() -> None:
    items = days(250)
    with stac_server(items) as server:
        wanted = tuple(item["id"] for item in items)
        assert ids(search_of(server), ItemQuery(ids=(*wanted, "none"))) == list(wanted)
        assert [len(search["ids"]) for search in server.searches] == [100, 100, 51]


@pytest.mark.slow
def test_a_page_that_is_too_large_for_the_archive_is_asked_for_in_smaller_ones() -> None:
    with stac_server(days(80), most=30) as server:
        assert len(ids(search_of(server), ItemQuery())) == 80
        assert [search["limit"] for search in server.searches] == [100, 100, 25, 25, 25, 25]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_search_that_leads_deeper_than_the_archive_follows_is_split_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips_local.archives.items.stac_item_search._DEEPEST", 50)
    items = days(300)
    with stac_server(items, deepest=50) as server:
        assert len(ids(search_of(server, page_items=10), ItemQuery(start=JUNE, end=JULY))) == 300
        assert len(ids(search_of(server, page_items=10), ItemQuery())) == 50  # of no time: as they come


def test_items_between_two_milliseconds_are_found_by_halves_and_whole_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the items of Sentinel-2 have them, such as 2024-06-01T10:36:31.999656Z."""
    monkeypatch.setattr("eechips_local.archives.items.stac_item_search._DEEPEST", 50)
    items = [*days(59), *(make_item(100 + number) for number in range(4))]
    for item, moment in zip(items[-4:], ("05-31", "06-15", "06-30", "06-30"), strict=True):
        rest = "456" if item is items[-2] else "656"
        item["properties"]["datetime"] = f"2024-{moment}T23:59:59.999{rest}Z"
    with stac_server(items) as server:
        found = ids(search_of(server), ItemQuery(start=JUNE, end=JULY))
        assert sorted(found) == [item["id"] for item in items[:-1]]  # the last rounds to July
        assert len(server.searches) == 3
        day = ItemQuery(start=JULY - 86_400_000.0, end=JULY)
        assert items[-2]["id"] in ids(search_of(server), day)


def test_collections_are_listed_and_kept(tmp_path: Path) -> None:
    with stac_server([make_item(0), make_item(1, collection="landsat")]) as server:
        assert sorted(search_of(server, tmp_path).collections()) == ["landsat", "s2"]
        assert sorted(search_of(server, tmp_path).collections()) == ["landsat", "s2"]
        assert server.paths == ["GET /collections"]


def test_an_archive_without_collections_is_asked_again(tmp_path: Path) -> None:
    with stac_server() as server:
        search = search_of(server, tmp_path)
        assert not search.collections()
        server.items = days(1)
        assert list(search.collections()) == ["s2"]


def test_the_same_search_is_sent_once_by_chips_runs_and_threads(tmp_path: Path) -> None:
    with stac_server(days(30)) as server:
        first = search_of(server, tmp_path)
        query = ItemQuery(bounds=(11.0, 46.0, 12.0, 47.0), start=JUNE, end=JULY)
        threads = [threading.Thread(target=lambda: ids(first, query)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.paths) == 1
        again = search_of(server, tmp_path)
        chip = ItemQuery(bounds=(11.31, 46.2, 11.33, 46.22), start=JUNE + 86_400_000, end=JUNE + 2 * 86_400_000)
        cloudy = ItemQuery(bounds=query.bounds, start=JUNE, end=JULY, ranges={"eo:cloud_cover": Range(least=11.0)})
        assert ids(again, query) == [item["id"] for item in server.items]
        assert ids(again, chip) == ["item-0001"]
        assert ids(pickle.loads(pickle.dumps(again)), cloudy) == []
        assert len(server.paths) == 1


def _search_in_process(search: ItemSearch, count: Any) -> None:
    count.put(len(ids(search, ItemQuery(start=JUNE, end=JULY))))


@pytest.mark.slow
def test_processes_that_ask_the_same_at_once_send_one_search(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with stac_server(days(30)) as server:
        search, count = search_of(server, tmp_path), context.Queue()
        processes = [context.Process(target=_search_in_process, args=(search, count)) for _ in range(3)]
        for process in processes:
            process.start()
        assert [count.get(timeout=60) for _ in processes] == [30, 30, 30]
        for process in processes:
            process.join()
        assert len(server.searches) == 1


def test_an_old_answer_is_asked_for_again_and_serves_where_nobody_answers(tmp_path: Path, caplog: CapturedLog) -> None:
    clock = StoppedClock(JULY / 1000.0)
    query = ItemQuery(start=JUNE)
    with stac_server(days(3)) as server:
        description = server.describe()
        search = ApiSearch(description, tmp_path, clock=clock)
        assert len(ids(search, query)) == 3
        clock.advance(3500.0)
        assert len(ids(search, query)) == 3
        assert len(server.searches) == 1
        server.items = days(5)
        clock.advance(3 * 3600.0)
        assert len(ids(search, query)) == 5
        assert len(server.searches) == 2
    clock.advance(3 * 86_400.0)
    with caplog.at_level(logging.WARNING, "eechips_local.archives"):
        assert len(ids(ApiSearch(description, tmp_path, patience=1.0, clock=clock), query)) == 5
    assert "test does not answer" in caplog.text
    assert "the answer of 3 days ago" in caplog.text
    with pytest.raises(ArchiveError, match="is not reached"):
        ids(ApiSearch(description, tmp_path, patience=1.0, clock=clock), ItemQuery(equals={"a": 1}), "other")


@pytest.mark.slow
def test_a_year_costs_two_requests_once_and_is_planned_again_offline(tmp_path: Path) -> None:
    start = datetime(2024, 1, 1, tzinfo=timezone.utc)
    days_of_year = [
        f"{start + timedelta(days=5 * number + shift):%Y-%m-%d}" for number in range(73) for shift in (0, 2)
    ]
    year = [make_item(number, day=day) for number, day in enumerate(days_of_year)]
    for item in year:  # sixteen bands and as much of each as archives say
        item["assets"] = {
            f"B{band:02d}": {
                "href": f"https://sentinel-cogs.s3.us-west-2.amazonaws.com/{item['id']}/B{band:02d}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized", "proj:shape": [10980, 10980],
                "proj:transform": [10, 0, 499980, 0, -10, 5300040], "raster:bands": [{"nodata": 0, "offset": -0.1}],
            }
            for band in range(16)
        }  # fmt: skip
    query = ItemQuery(
        bounds=(11.2, 46.2, 11.4, 46.4),
        start=start.timestamp() * 1000.0,
        end=(start + timedelta(days=366)).timestamp() * 1000.0,
    )
    clock = StoppedClock((start + timedelta(days=400)).timestamp())
    with stac_server(year) as server:
        description = server.describe(page_items=100)
        search = ApiSearch(description, tmp_path, clock=clock)
        first = list(search.items("s2", query))
        (counts,) = search.counts().values()
        assert first == year
        assert counts.requests == len(server.searches) == 2
        assert counts.received == server.sent
        assert server.sent < 100_000 < len(json.dumps(year))  # they come compressed
    clock.advance(30 * 86_400.0)
    again = ApiSearch(description, tmp_path, patience=1.0, clock=clock)
    assert list(again.items("s2", query)) == first
    for west in (11.21, 11.25, 11.31):  # chips
        chip = ItemQuery(bounds=(west, 46.3, west + 0.02, 46.32), start=query.start, end=query.end)
        assert list(again.items("s2", chip)) == first


def test_settled_searches_stay_fresh_for_a_week(tmp_path: Path) -> None:
    clock = StoppedClock(JULY / 1000.0 + 100 * 86_400.0)
    with stac_server(days(3)) as server:
        search = ApiSearch(server.describe(), tmp_path, clock=clock)
        for wait, count in ((0.0, 1), (6 * 86_400.0, 1), (2 * 86_400.0, 2)):
            clock.advance(wait)
            assert len(ids(search, ItemQuery(start=JUNE, end=JULY))) == 3
            assert len(server.searches) == count


def test_a_search_of_before_the_clock_was_set_back_hides_no_newer_one(tmp_path: Path) -> None:
    clock = StoppedClock(JULY / 1000.0)
    with stac_server(days(3)) as server:
        search = ApiSearch(server.describe(), tmp_path, clock=clock)
        ids(search, ItemQuery(start=JUNE, end=JULY))
        clock.start -= 2 * 86_400.0
        for _ in range(3):
            ids(search, ItemQuery(start=JUNE, end=JUNE + 86_400_000.0))
        assert len(server.searches) == 2


def test_results_are_bounded_on_disk(tmp_path: Path) -> None:
    kept = KeptSearches(tmp_path / "searches.sqlite", largest=20_000)
    page = pack_items([make_item(number) for number in range(100)])
    for number in range(40):
        kept.add("s2", ItemQuery(ids=(str(number),)), [page], is_whole=True)
        assert kept.find("s2", ItemQuery(ids=("0",))) is not None  # used, so it stays
    assert kept.size() <= 20_000
    assert kept.find("s2", ItemQuery(ids=("39",))) is not None
    assert kept.find("s2", ItemQuery(ids=("5",))) is None
    assert (tmp_path / "searches.sqlite").stat().st_size < 60_000


def test_a_damaged_database_is_told_of_and_gone_without(tmp_path: Path, caplog: CapturedLog) -> None:
    with stac_server(days(3)) as server:
        assert len(ids(search_of(server, tmp_path), ItemQuery())) == 3
        (path,) = tmp_path.glob("*/searches.sqlite")
        path.write_bytes(b"no database, " * 1000)
        assert len(ids(search_of(server, tmp_path), ItemQuery())) == 3
    assert "remove it if it is damaged" in caplog.text


@pytest.mark.parametrize(
    "damage",
    ["UPDATE pages SET content = x'00' || content", "UPDATE pages SET content = zeroblob(length(content))",
     "DELETE FROM pages WHERE number = 1"],
)  # fmt: skip
def test_a_search_of_which_a_page_is_lost_or_damaged_is_made_again(damage: str, tmp_path: Path) -> None:
    with stac_server(days(25)) as server:
        assert len(ids(search_of(server, tmp_path, page_items=10), ItemQuery())) == 25
        (path,) = tmp_path.glob("*/searches.sqlite")
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute(damage)
        search = search_of(server, tmp_path, page_items=10)
        assert len(ids(search, ItemQuery())) == len(ids(search, ItemQuery())) == 25
        assert len(server.searches) == 6


def test_a_search_that_another_process_forgets_before_it_is_read_is_not_empty(tmp_path: Path) -> None:
    kept = KeptSearches(tmp_path / "searches.sqlite")
    pages = [pack_items(days(3))]
    kept.add("s2", ItemQuery(), pages, is_whole=True)
    first = kept.find("s2", ItemQuery())
    assert first is not None
    assert kept.read(first) == pages
    other = KeptSearches(tmp_path / "searches.sqlite", largest=len(pages[0]))
    other.add("landsat", ItemQuery(), [pack_items(days(2))], is_whole=True)
    second = kept.find("landsat", ItemQuery())
    assert second is not None
    assert kept.find("s2", ItemQuery()) is None
    assert kept.read(first) is None


@pytest.mark.slow
def test_a_database_that_is_truncated_while_it_is_open_loses_no_search(tmp_path: Path) -> None:
    with stac_server(days(40)) as server:
        search = search_of(server, tmp_path, page_items=10)
        assert len(ids(search, ItemQuery())) == 40
        (path,) = tmp_path.glob("*/searches.sqlite")
        os.truncate(path, path.stat().st_size // 2)
        assert len(ids(search, ItemQuery())) == 40


def test_a_database_that_takes_nothing_loses_no_search(tmp_path: Path, caplog: CapturedLog) -> None:
    with stac_server(days(3)) as server:
        search = ApiSearch(server.describe(), tmp_path, clock=StoppedClock())
        search._kept.find("s2", ItemQuery())  # opens the database
        search._kept._database.execute("PRAGMA query_only = ON")
        assert len(ids(search, ItemQuery())) == 3
    assert "is not kept: attempt to write a readonly database" in caplog.text


def test_a_search_that_needs_too_much_says_what_to_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips_local.archives.items.item_search._ITEMS", 50)
    with stac_server(days(80)) as server, pytest.raises(ArchiveRefusedError, match="narrow its dates or its region"):
        ids(search_of(server, page_items=20), ItemQuery())
    assert len(server.searches) == 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (90, "90 s"), (600, "10 min"), (7300, "2 h"), (3 * 86_400, "3 days"), (-5, "0 s")]
)
def test_ages_are_short(seconds: float, text: str) -> None:
    assert format_age(seconds) == text
