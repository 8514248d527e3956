"""Searches of archives that fail, lie, or want to lead elsewhere: real servers on loopback whose faults are planned."""

from __future__ import annotations

import json
import pickle
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eechips_local.archives.archive_errors import (
    ArchiveAwayError,
    ArchiveError,
    ArchiveRefusedError,
    ArchiveUnreachedError,
)
from eechips_local.archives.archive_model import ArchiveDescription, Item, ItemQuery
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.archive_session import ArchiveRequest, ArchiveSession
from eechips_local.archives.hosts.host_throttle import HostThrottle, HostThrottles
from eechips_local.archives.items.item_search import ApiSearch
from local_tests.archives.stac_server import StacServer, make_item, stac_server
from local_tests.support.captured_log import CapturedLog
from local_tests.support.stopped_clock import StoppedClock


def found(server: StacServer, patience: float = 20.0, clock: StoppedClock | None = None) -> list[Item]:
    """Items of all pages."""
    search = ApiSearch(server.describe(page_items=10), None, patience, clock=clock or StoppedClock())
    return list(search.items("s2", ItemQuery()))


def items(count: int) -> list[dict[str, Any]]:
    """Items by number."""
    return [make_item(number) for number in range(count)]


@pytest.mark.parametrize("fault", [502, 503, 504, 429, 500, "reset", "truncated", "garbage"])
def test_a_passing_fault_of_a_page_loses_and_repeats_no_item(fault: int | str) -> None:
    clock = StoppedClock()
    with stac_server(items(25)) as server:
        server.faults.extend(["ok", fault])
        assert found(server, clock=clock) == items(25)
        assert len(server.paths) == 4
    assert clock.waits[0] == 0.1  # ten requests a second
    assert 0.125 <= clock.waits[1] <= 0.25


def test_half_a_page_is_asked_for_again() -> None:
    def halve(page: dict[str, Any]) -> dict[str, Any]:
        return {**page, "features": page["features"][:5]}

    with stac_server(items(25)) as server:
        server.faults.extend(["ok", halve])
        assert found(server) == items(25)


@pytest.mark.parametrize(("seconds", "patience", "requests"), [(4.0, 20.0, 8), (60.0, 90.0, 20)])
def test_an_archive_that_goes_for_a_while_is_waited_for_without_hammering(
    seconds: float, patience: float, requests: int
) -> None:
    clock = StoppedClock()
    with stac_server(items(25)) as server:
        search = ApiSearch(server.describe(page_items=10), None, patience, clock=clock)
        assert list(search.items("s2", ItemQuery(limit=1)))
        server.always, before, end = "reset", len(server.paths), clock.monotonic() + seconds
        clock.at(end, lambda: setattr(server, "always", None))
        assert list(search.items("s2", ItemQuery())) == items(25)
        assert clock.monotonic() >= end
        assert len(server.paths) - before <= 3 + requests


def test_an_archive_that_was_never_reached_is_an_error_that_is_not_retried() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # no other server gets the port, and this one does not listen
        description = ArchiveDescription("test", "A test", api=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ArchiveUnreachedError, match=r"since this server was started: .* is not reached") as caught:
            list(ApiSearch(description, None, 1.0, clock=StoppedClock()).items("s2", ItemQuery()))
        assert caught.value.code == 400


def test_an_archive_that_was_not_reached_since_the_start_says_so(tmp_path: Path) -> None:
    later = ItemQuery(ids=("b",))
    with stac_server(items(3)) as server:
        description, clock = server.describe(), StoppedClock()
        early = ApiSearch(description, tmp_path, 0.5, clock=clock)
        assert list(early.items("s2", ItemQuery(ids=("a",)))) == []
    began = clock.monotonic()
    with pytest.raises(ArchiveUnreachedError, match=r"No answer .* since this server was started: .* is not reached"):
        list(ApiSearch(description, tmp_path, since=time.time() + 9.0, clock=clock).items("s2", later))
    assert clock.monotonic() - began <= 10.0  # a run has not begun yet
    with pytest.raises(ArchiveAwayError) as away:  # it may come back
        list(pickle.loads(pickle.dumps(early)).items("s2", later))
    assert not isinstance(away.value, ArchiveUnreachedError)


def test_no_request_is_sent_before_the_archive_wants_one() -> None:
    clock = StoppedClock()
    with stac_server(items(5)) as server:
        server.faults.append(429)
        server.headers = {"Retry-After": "2"}
        assert found(server, clock=clock) == items(5)
        assert clock.waits == [2.0]
        assert len(server.paths) == 2
        server.faults.append(429)
        server.headers = {"Retry-After": "3600"}
        with pytest.raises(ArchiveError, match="HTTP 429"):
            found(server, clock=clock)
        assert len(server.paths) == 3
        assert clock.waits == [2.0]


def test_an_archive_that_stays_broken_is_an_error_that_is_retried_by_the_client() -> None:
    with stac_server(items(5)) as server:
        server.always = 502
        with pytest.raises(ArchiveError, match="HTTP 502") as caught:
            found(server, patience=1.0)
        assert caught.value.code == 503
        assert len(server.paths) <= 6
        server.always = 403
        with pytest.raises(ArchiveRefusedError, match="HTTP 403"):
            found(server)


def _loop(page: dict[str, Any], server: StacServer) -> dict[str, Any]:
    return {**page, "links": [server.next_link({"collections": ["s2"], "limit": 10})]}


def _endless(page: dict[str, Any], server: StacServer) -> dict[str, Any]:
    return {**page, "links": [server.next_link({"collections": ["s2"], "limit": 10, "page": len(server.paths)})]}


def test_pages_without_new_items_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips_local.archives.items.item_search._IDLE_PAGES", 3)
    with stac_server(items(5)) as server:
        server.always = lambda page: _endless(page, server)
        with pytest.raises(ArchiveRefusedError, match="the last 4 had no new item"):
            found(server)
        assert len(server.paths) == 5


def test_pages_in_a_circle_or_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with stac_server(items(5)) as server:
        server.always = lambda page: _loop(page, server)
        with pytest.raises(ArchiveRefusedError, match="without end"):
            found(server)
        assert len(server.paths) <= 3
        monkeypatch.setattr("eechips_local.archives.items.stac_item_search._PAGES", 5)
        server.paths.clear()
        server.always = lambda page: _endless(page, server)
        with pytest.raises(ArchiveRefusedError, match="of which 5 were read"):
            found(server)
        assert len(server.paths) == 5


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (b'{"type": "FeatureCollection", "features": [' + b'{"id": "a"},' * 1_000_000 + b'{"id": "b"}]}', "objects"),
        (b'{"features": [' + b'{"id":"a"},' * 20_000 + b'{"id": "b"}]}', "page of 20,001 features"),
        (b'{"features": [' + b"[" * 400_000 + b"]" * 400_000 + b"]}", "nested too deeply"),
        (b'{"features": ["' + b"a" * (33 << 20) + b'"]}', "bytes"),
        (b"[]", "no JSON object"),
    ],
)
def test_pages_that_would_fill_the_memory_are_refused(page: bytes, message: str) -> None:
    with stac_server() as server:
        server.always = lambda _: page
        with pytest.raises(ArchiveRefusedError, match=message):
            found(server)
        assert len(server.paths) == 1


@pytest.mark.parametrize(
    "page",
    [
        {"features": [1]}, {"features": {"a": 1}}, {"features": [{"id": 5}]}, {"features": ["a"]},
        {"features": [{"id": "a"}], "links": 5}, {"features": [{"id": "a"}], "links": [5]},
        {"features": [{"id": "a"}], "links": [{"rel": "next"}]}, {"features": [{"id": "a"}], "links": [{}]},
        {"features": [{"id": "a"}], "links": [{"rel": "next", "href": 5}]},
        {"features": [{"id": "a"}], "links": [{"rel": "next", "href": "/search", "method": 5}]},
        {"features": [{"id": "a"}], "links": [{"rel": "next", "href": "/search", "method": "DELETE"}]},
        {"features": [{"id": "a"}], "links": [{"rel": "next", "href": "/s", "method": "POST", "body": 1}]},
    ],
)  # fmt: skip
def test_what_is_no_page_is_an_error_of_the_archive(page: Any) -> None:
    with stac_server() as server:
        server.always = lambda _: page
        with pytest.raises((ArchiveError, ArchiveRefusedError)):
            found(server, patience=0.1)


@pytest.mark.parametrize(
    "href",
    [
        "http://127.0.0.1:{other}/search", "http://localhost:{other}/search", "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:{other}/search", "http://127.1:{other}/search", "file:///etc/passwd", "http://0x7f000001:{other}/a",
        "gopher://127.0.0.1:{other}/a", "http://user:word@127.0.0.1:{own}/search", "https://evil.example/search",
    ],
)  # fmt: skip
def test_the_next_page_is_on_the_archive_s_own_host(href: str) -> None:
    with stac_server(items(25)) as server, stac_server(items(25)) as other:
        target = href.format(other=other.url.rpartition(":")[2], own=server.url.rpartition(":")[2])
        for method in ("GET", "POST"):
            link = {"rel": "next", "method": method, "href": target, "headers": {"X-Secret": "1"}}
            server.always = lambda page, link=link: {**page, "links": [link]}
            with pytest.raises(ArchiveRefusedError):
                found(server)
        assert other.paths == []
        assert len(server.paths) == 2


def test_headers_that_a_page_asks_for_are_not_sent() -> None:
    with stac_server(items(12)) as server:

        def add(page: dict[str, Any]) -> dict[str, Any]:
            return {**page, "links": [{**link, "headers": {"Metadata-Flavor": "Google"}} for link in page["links"]]}

        server.always = add
        assert len(found(server)) == 12
        assert not any("metadata-flavor" in headers for headers in server.received)


def test_a_redirect_leads_to_no_other_host() -> None:
    with stac_server(items(3)) as server, stac_server(items(3)) as other:
        for target in (other.url, "http://169.254.169.254/", "file:///etc/passwd", "https://evil.example/"):
            server.faults.append(307)
            server.headers = {"Location": target}
            with pytest.raises(ArchiveRefusedError):
                found(server)
        assert other.paths == []
        server.always, server.headers = 307, {"Location": f"{server.url}/search"}
        with pytest.raises(ArchiveRefusedError, match="redirects more than 4 times"):
            found(server)


def test_a_name_that_leads_to_a_private_network_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with stac_server(items(3)) as server:
        port = server.url.rpartition(":")[2]
        resolved: list[str] = []

        def resolve(name: str, number: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
            resolved.append(name)
            return [(2, 1, 6, "", ("127.0.0.1", number))]

        monkeypatch.setattr("socket.getaddrinfo", resolve)
        for hosts, is_allowed in ((("catalogue.example",), False), ((f"catalogue.example:{port}",), True)):
            session = ArchiveSession(AllowedHosts(hosts), HostThrottles(clock=StoppedClock()), patience=0.1)
            request = ArchiveRequest("GET", f"http://catalogue.example:{port if is_allowed else 80}/")
            if is_allowed:
                assert json.loads(session.fetch(request))["id"] == "test"
            else:
                with pytest.raises(ArchiveRefusedError, match="private network"):
                    session.fetch(request)
        assert resolved == ["catalogue.example", "catalogue.example", "127.0.0.1"]  # connected to what was checked
        assert server.paths == ["GET /"]


def test_a_response_that_drips_is_ended() -> None:
    with stac_server(items(3)) as server, pytest.raises(ArchiveError, match="more than 120 s for a response"):
        found(server, clock=StoppedClock(step=121.0))


def _send(throttle: HostThrottle, clock: StoppedClock, answer: Callable[[float], None]) -> None:
    clock.advance(100.0)
    with throttle.turn() as sent:
        answer(sent)


def test_rate_and_number_of_requests_fall_by_half_and_rise_step_by_step() -> None:
    clock = StoppedClock()
    throttle = HostThrottle(8, 8.0, clock)
    _send(throttle, clock, lambda sent: throttle.refuse(sent, 0.0))
    assert (throttle.number, throttle.rate) == (4, 4.0)
    _send(throttle, clock, lambda sent: throttle.refuse(sent - 1000.0, 0.0))  # sent before the last decrease
    assert (throttle.number, throttle.rate) == (4, 4.0)
    for _ in range(5):
        _send(throttle, clock, lambda _: throttle.accept(10))
    assert (throttle.number, throttle.rate) == (5, 5.25)
    for _ in range(100):
        _send(throttle, clock, lambda _: throttle.accept(10))
    assert (throttle.number, throttle.rate) == (8, 8.0)
    _send(throttle, clock, lambda sent: throttle.refuse(sent, 30.0))
    assert throttle.wait() == 30.0
    assert (throttle.counts.requests, throttle.counts.refusals, throttle.counts.received) == (108, 3, 1050)


def test_no_more_requests_are_on_their_way_than_a_host_bears() -> None:
    throttle, busy, most = HostThrottle(3, 1e6, StoppedClock()), 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal busy, most
        for _ in range(20):
            with throttle.turn():
                with lock:
                    busy += 1
                    most = max(most, busy)
                time.sleep(0.001)
                with lock:
                    busy -= 1
                throttle.accept(0)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert throttle.counts.requests == 200


def test_items_that_shift_between_pages_as_others_are_removed_are_found(caplog: CapturedLog) -> None:
    def remove(page: dict[str, Any]) -> dict[str, Any]:
        server.items = server.items[1:]
        return page

    with stac_server(items(25)) as server:
        server.faults.append(remove)
        assert sorted(item["id"] for item in found(server)) == [item["id"] for item in items(25)]
        assert len(server.searches) == 6  # once more from the first page on
        assert not caplog.messages
        server.always = remove
        assert len(found(server)) == 24
        assert "of which some are removed meanwhile: some may be missing" in caplog.text


def test_a_search_that_ends_before_its_items_do_is_told_of(caplog: CapturedLog) -> None:
    with stac_server(items(25), deepest=20) as server:
        assert len(found(server)) == 20
    assert "counts 25 items of a search of s2, and gives 20: some may be missing" in caplog.text


@pytest.mark.parametrize(
    ("count", "counted", "least_estimate", "is_told"),
    [
        (25, 31, 30, False),
        (25, 51, 30, True),
        (20, 41, 30, True),
        (25, 31, 10_000, True),
        (20, 21, 10_000, True),
        (25, 20, 10_000, False),
    ],
)
def test_a_short_last_page_is_the_end_where_the_count_is_an_estimate(
    count: int, counted: int, least_estimate: int, is_told: bool, caplog: CapturedLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("eechips_local.archives.items.stac_item_search._LEAST_ESTIMATE", least_estimate)

    def change(page: dict[str, Any]) -> dict[str, Any]:
        is_full = len(page["features"]) == 10
        links = page["links"] or ([server.next_link({"limit": 10, "token": "20"})] if is_full else [])
        return {**page, "numberMatched": counted, "links": links}

    with stac_server(items(count)) as server:
        server.always = change
        assert len(found(server)) == count
    assert is_told == (f"counts {counted} items of a search of s2, and gives {count}: some may be" in caplog.text)


def test_a_page_compressed_as_was_not_asked_for_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips_local.archives.hosts.archive_session._UNREAD", {"br"})  # brotli may be installed
    with stac_server(encoding="BR") as server:
        with pytest.raises(ArchiveRefusedError, match="answers compressed by br, which was not asked for"):
            found(server)
        assert len(server.paths) == 1
