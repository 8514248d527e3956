"""Searches of STAC APIs: capabilities, conditions, pages, errors."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import random
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import shapely

from eechips.archive.downloads.token_signers import Auth
from eechips.errors import ConfigurationError
from eechips.planning.imagery.image_filters import parse_condition
from local_tests.support.captured_log import CapturedLog
from local_tests.support.function_server import Answer, serve_function
from tests.support.stac_search import MANY, as_json, feature, search

pytest.importorskip("pystac_client")


CORE = "https://api.stacspec.org/v1.0.0"
CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"


class Api:
    """A STAC API: pages of some items; counts what it is asked.

    Args:
        found: items.
        methods: methods of the search that it tells of, and knows.
        page: items of a page.
        classes: further conformance classes.
        change: makes something else of an answer: number of the search request, from 1, and the answer.
    """

    def __init__(
        self,
        found: list[dict[str, Any]],
        *,
        methods: tuple[str, ...] = ("GET", "POST"),
        page: int = 10,
        classes: tuple[str, ...] = (),
        change: Callable[[int, dict[str, Any]], Answer | None] = lambda number, body: None,
    ) -> None:
        self.found, self.methods, self.page, self.classes, self.change = found, methods, page, classes, change
        self.asked: list[dict[str, Any]] = []
        self.seen: Counter[str] = Counter()

    def __call__(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.seen[urlsplit(path).path] += 1
        if not path.startswith("/search"):
            classes = [f"{CORE}/core", f"{CORE}/item-search", *self.classes]
            links = [{"rel": "search", "href": "/search", "method": method} for method in self.methods]
            top = {"type": "Catalog", "stac_version": "1.0.0", "id": "top", "description": "x", "links": links}
            return as_json({**top, "conformsTo": classes})
        if ("POST" if body else "GET") not in self.methods:
            return 405, {}, b"{}"
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        self.asked.append(json.loads(body) if body else query)
        first = int(query.get("from", 0))
        links = []
        if first + self.page < len(self.found):
            # Relative, and with the body of the first question, as both are allowed.
            links = [{"rel": "next", "href": f"/search?from={first + self.page}"}]
            if body:
                links[0] |= {"method": "POST", "body": {"page": first}, "merge": True}
        answer = {"type": "FeatureCollection", "features": self.found[first : first + self.page], "links": links}
        return self.change(len(self.asked), answer) or as_json(answer)


@pytest.mark.parametrize("methods", [("GET", "POST"), ("GET",), ("POST",)])
def test_requests_use_the_capabilities_of_the_api(methods: tuple[str, ...]) -> None:
    api = Api(MANY, methods=methods, classes=(f"{CORE}/item-search#filter",))
    with serve_function(api) as url:
        conditions = (parse_condition("eo:cloud_cover < 30"), parse_condition("gsd in (10, x)"))
        found = search(url, region=shapely.box(-180, -90, 180, 90), conditions=conditions[:1])
        search(url, conditions=conditions)
    assert found.ids == [f"i{number:02d}" for number in range(30)]
    assert (found.unread, api.seen["/search"]) == ([], 10)
    if "POST" in methods:
        assert all(each["filter"]["op"] == "<" for each in api.asked[:5])  # on each page
        assert api.asked[-1]["filter"]["op"] == "and"
    else:
        assert json.loads(api.asked[0]["intersects"])["type"] == "Polygon"
        assert api.asked[0]["filter"] == '"eo:cloud_cover" < 30'
        text = """("eo:cloud_cover" < 30) AND (("gsd" = 10) OR ("gsd" = '10') OR ("gsd" = 'x'))"""
        assert (api.asked[5]["filter"], api.asked[5]["filter-lang"]) == (text, "cql2-text")


def test_both_http_methods_are_tried_if_an_api_declares_none() -> None:
    api = Api(MANY)

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        status, told, content = api(path, headers, body)
        if path.startswith("/search"):
            return (405, {}, b"") if body else (status, told, content)
        return as_json({**json.loads(content), "links": [{"rel": "search", "href": "/search"}]})

    with serve_function(answer) as url:
        assert len(search(url).ids) == 45


def test_unsupported_conditions_are_evaluated_locally_and_reported(caplog: CapturedLog) -> None:
    api = Api(MANY)
    with serve_function(api) as url, caplog.at_level(logging.INFO, logger="eechips"):
        found = search(url, conditions=(parse_condition("eo:cloud_cover >= 20"),), most=3)
    assert found.ids == ["i20", "i21", "i22"]
    assert "filter" not in api.asked[0]
    assert api.asked[0]["limit"] == 100  # and not three at a time, of which most are others
    assert "filtered locally" in caplog.text


@pytest.mark.parametrize(
    ("methods", "classes", "language"),
    [
        (("POST",), (f"{CORE}/item-search#filter", f"{CQL2}/cql2-text"), "cql2-text"),
        (("GET",), (f"{CORE}/item-search#filter", f"{CQL2}/cql2-json", f"{CQL2}/basic-cql2"), "cql2-json"),
        (("GET",), (f"{CORE}/item-search#filter", f"{CQL2}/basic-cql2"), "cql2-text"),
        (("POST",), ("https://api.stacspec.org/v1.1.0/item-search#filter", f"{CQL2}/cql2-json"), "cql2-json"),
        (("POST",), (f"{CORE}-beta.5/item-search#filter", f"{CORE}-beta.5/item-search#filter:cql-json"), None),
        (("POST",), (f"{CORE}/item-search#filter", "http://www.opengis.net/spec/cql/1.0/conf/cql-text"), None),
        (("POST",), ("http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",), None),
    ],
)
def test_conditions_are_sent_in_a_language_that_the_api_knows(
    methods: tuple[str, ...], classes: tuple[str, ...], language: str | None
) -> None:
    api = Api(MANY, methods=methods, page=50, classes=classes)
    with serve_function(api) as url:
        found = search(url, conditions=(parse_condition("eo:cloud_cover < 30"),))
    assert found.ids == [f"i{number:02d}" for number in range(30)]
    (asked,) = api.asked
    assert asked.get("filter-lang") == language
    if language == "cql2-text":
        assert asked["filter"] == '"eo:cloud_cover" < 30'
    elif language is not None:
        as_text = asked["filter"] if methods == ("GET",) else json.dumps(asked["filter"])
        assert json.loads(as_text) == {"op": "<", "args": [{"property": "eo:cloud_cover"}, 30]}


@pytest.mark.parametrize(
    ("methods", "classes", "questions"),
    [
        (("GET", "POST"), ("cql2-json", "cql2-text"), [("POST", "cql2-json")]),
        (("GET", "POST"), ("cql2-text",), [("GET", "cql2-text")]),
        (("POST",), ("cql2-text",), [("POST", "cql2-text"), ("POST", "cql2-json")]),
        (("GET",), ("cql2-json",), [("GET", "cql2-json"), ("GET", None)]),
    ],
)
def test_an_api_that_takes_json_by_post_and_text_by_get_alone(
    methods: tuple[str, ...], classes: tuple[str, ...], questions: list[tuple[str, str | None]]
) -> None:
    """As stac-fastapi-pgstac. What conditions mean there, the library cql2 says."""
    oracle = pytest.importorskip("cql2")
    api = Api(
        MANY, methods=methods, page=100, classes=(f"{CORE}/item-search#filter", *(f"{CQL2}/{n}" for n in classes))
    )
    asked: list[tuple[str, str | None]] = []

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        status, told, content = api(path, headers, body)
        if not path.startswith("/search"):
            return status, told, content
        method, question = "POST" if body else "GET", api.asked[-1]
        asked.append((method, question.get("filter-lang")))
        if question.get("filter-lang") not in (None, "cql2-json" if body else "cql2-text"):
            detail = "Body must be an object" if body else "Only the cql2-text language is supported"
            return 400, {}, json.dumps({"code": "HTTPException", "detail": detail}).encode()
        page = json.loads(content)
        if "filter" in question:
            condition = oracle.Expr(question["filter"])
            page["features"] = [each for each in page["features"] if condition.matches(each)]
        return as_json(page)

    with serve_function(answer) as url:
        found = search(url, conditions=(parse_condition("eo:cloud_cover < 30"),))
    assert found.ids == [f"i{number:02d}" for number in range(30)]
    assert asked == questions


def test_an_api_that_refuses_conditions_although_it_says_that_it_knows_them(caplog: CapturedLog) -> None:
    def change(number: int, body: dict[str, Any]) -> Answer | None:
        told = {"code": "BadRequest", "description": "no queryable of that name"}
        return (400, {}, json.dumps(told).encode()) if "filter" in api.asked[-1] else None

    api = Api(MANY, page=50, classes=(f"{CORE}/item-search#filter",), change=change)
    with serve_function(api) as url, caplog.at_level(logging.INFO, logger="eechips"):
        found = search(url, conditions=(parse_condition("eo:cloud_cover < 30"),))
    assert (len(found.ids), found.unread) == (30, [])
    assert "no queryable of that name" in caplog.text
    assert "filtered locally" in caplog.text


def test_an_api_that_refuses_large_pages() -> None:
    def change(number: int, body: dict[str, Any]) -> Answer | None:
        return (422, {}, b"{}") if int(api.asked[-1].get("limit", 10)) > 50 else None

    api = Api(MANY, methods=("GET",), change=change)
    with serve_function(api) as url:
        assert len(search(url).ids) == 45


@pytest.mark.parametrize(
    ("count", "stated", "reason"),
    [
        (45, {"numberMatched": 45}, "it states 45 items, sent 10 and no link to more"),
        (45, {"context": {"matched": 45}}, "it states 45 items, sent 10 and no link to more"),
        (45, {}, "it sent a full page of 10 items and no link to more"),
        (10, {"numberMatched": 10}, None),
        (9, {}, None),
    ],
)
@pytest.mark.parametrize("methods", [("GET",), ("POST",)])
def test_missing_links_to_further_pages_are_reported(
    count: int, stated: dict[str, Any], reason: str | None, methods: tuple[str, ...]
) -> None:
    """As the Planetary Computer answered: https://github.com/microsoft/planetary-computer-apis/issues/274."""

    def answer(number: int, body: dict[str, Any]) -> Answer | None:
        limit = int(api.asked[-1]["limit"])
        return (400, {}, b"{}") if limit > 10 else as_json({"features": MANY[:count][:limit], "links": [], **stated})

    api = Api(MANY, methods=methods, change=answer)
    with serve_function(api) as url:
        found = search(url)
    assert len(found.ids) == min(count, 10)
    assert [why.partition(":")[0] for _, why in found.unread] == ([reason] if reason else [])


def test_endless_next_pages_end_the_search() -> None:
    """Some pages in between have no item, and those after the last one neither."""

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if not path.startswith("/search"):
            links = [{"rel": "search", "href": "/search", "method": "GET"}]
            return as_json({"type": "Catalog", "stac_version": "1.0.0", "id": "top", "description": "", "links": links})
        page = int({name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}.get("page", 0))
        features = [MANY[page]] if page in (0, 1, 15, 20) else []
        return as_json({"features": features, "links": [{"rel": "next", "href": f"/search?page={page + 1}"}]})

    with serve_function(answer) as url:
        found = search(url)
    assert found.ids == ["i00", "i01", "i15", "i20"]
    assert ["20 pages in a row" in reason for _, reason in found.unread] == [True]


@pytest.mark.parametrize("is_random", [False, True])
def test_an_api_that_ignores_its_tokens_ends_the_search(is_random: bool) -> None:
    """It sends its first page again, or any of its items in any order."""
    draws = random.Random(1)

    def page(number: int, answer: dict[str, Any]) -> Answer:
        if number > 400:
            return 404, {}, b"{}"
        features = draws.sample(MANY[:5], draws.randint(1, 5)) if is_random else MANY[:5]
        return as_json({"features": features, "links": [{"rel": "next", "href": f"/search?token={number}"}]})

    with serve_function(Api(MANY, change=page)) as url:
        found = search(url)
    assert sorted(found.ids) == ["i00", "i01", "i02", "i03", "i04"]
    assert ["20 pages in a row had no new item" in reason for _, reason in found.unread] == [True]


def test_a_region_of_many_vertices_is_asked_for_by_its_box() -> None:
    api = Api([feature("in"), feature("out")])
    api.found[1]["geometry"] = {"type": "Point", "coordinates": [-105.99, 40.99]}
    ball = shapely.Point(-105, 40).buffer(1.0, quad_segs=2000)
    with serve_function(api) as url:
        assert search(url, region=ball).ids == ["in"]
    assert "intersects" not in api.asked[0]
    assert api.asked[0]["bbox"] == pytest.approx([-106, 39, -104, 41])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirected_search_keeps_its_body(status: int) -> None:
    def here(number: int, answer: dict[str, Any]) -> Answer:
        """The next page has the address of the new host."""
        return as_json({**answer, "links": [{**link, "href": f"{url}{link['href']}"} for link in answer["links"]]})

    api = Api(MANY, classes=(f"{CORE}/item-search#filter",), page=5, change=here)

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return (status, {"Location": f"{url}{path}"}, b"") if path.startswith("/search") else api(path, headers, body)

    with serve_function(api) as url, serve_function(answer) as old:
        assert len(search(old, conditions=(parse_condition("eo:cloud_cover < 7"),)).ids) == 7
    assert api.asked[0]["filter"]["op"] == "<"


def test_items_that_come_on_two_pages_count_once() -> None:
    with serve_function(Api([*MANY[:10], *MANY[5:20]])) as url:
        assert search(url).ids == [each["id"] for each in MANY[:20]]


def test_pages_that_lead_in_a_circle_end() -> None:
    def back(number: int, answer: dict[str, Any]) -> Answer:
        return as_json({**answer, "links": [{"rel": "next", "href": "/search?from=10"}]})

    with serve_function(Api(MANY, change=back)) as url:
        found = search(url)
    assert found.ids == [each["id"] for each in MANY[:20]]
    assert ["links back to a page" in reason for _, reason in found.unread] == [True]


def test_transient_api_errors_are_retried(caplog: CapturedLog) -> None:
    """Busy, a body that is cut, and one that is compressed."""

    def change(number: int, answer: dict[str, Any]) -> Answer | None:
        body = json.dumps(answer).encode()
        return {
            1: (503, {"Retry-After": "0"}, b"busy"),
            2: (429, {}, b""),
            3: (200, {"Content-Length": str(len(body) + 5)}, body),
            5: (200, {"Content-Encoding": "gzip"}, gzip.compress(body)),
        }.get(number)

    api = Api(MANY, change=change)
    with serve_function(api) as url, caplog.at_level(logging.INFO, logger="eechips"):
        assert search(url).ids == [each["id"] for each in MANY]
    assert len(api.asked) == 5 + 3
    assert caplog.text.count("retrying") == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html>Sign in</html>"), "an HTML page"),
        ((200, {}, b'{"type": "FeatureCollection", "feat'), "not JSON"),
        ((200, {}, b"\xff\xfe\x00"), "not respond with text"),
        ((200, {}, b'["a"]'), "no list of items"),
        ((400, {}, b'{"description": "eo:cloud is no queryable"}'), "HTTP 400"),
        ((401, {}, b"{}"), "set `auth`"),
        ((404, {}, b"{}"), "HTTP 404"),
        ((500, {}, b"x?token=very-secret"), "does not respond: HTTP 500"),
    ],
)
def test_invalid_api_responses_are_reported(answer: Answer, message: str) -> None:
    with (
        serve_function(Api(MANY, methods=("POST",), change=lambda number, body: answer)) as url,
        pytest.raises(ConfigurationError, match=message) as caught,
    ):
        search(url)
    assert "very-secret" not in str(caught.value)


@pytest.mark.slow
def test_unreachable_and_untrusted_hosts_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:9.*connection failed"):
        search("http://127.0.0.1:9/stac")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    try:
        subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    encryption = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encryption.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    api = Api(MANY)
    with serve_function(api, encryption) as url, pytest.raises(ConfigurationError, match="certificate is not trusted"):
        search(url)
    assert not api.seen


def test_a_token_is_sent_to_a_protected_catalogue(tmp_path: Path) -> None:
    shown: list[str | None] = []
    api = Api(MANY)

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        shown.append(headers.get("Authorization"))
        return api(path, headers, body) if shown[-1] == "Bearer very-secret" else (401, {}, b"")

    with serve_function(answer) as url:
        auth = Auth(kind="bearer", hosts=("127.0.0.1",))
        assert len(search(url, auth=auth, secrets={"token": "very-secret"}).ids) == 45
        with pytest.raises(ConfigurationError, match="denies access with HTTP 401: set `auth`") as caught:
            search(url, auth=auth, secrets={"token": "an-old-one"})
    assert "an-old-one" not in str(caught.value)


def test_a_collection_that_an_api_serves() -> None:
    """Its address, as people copy it."""
    found = [{**feature(f"i{number}"), "collection": None} for number in range(3)]
    collection = {"type": "Collection", "id": "demo", "stac_version": "1.0.0", "license": "other", "extent": {}}

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if urlsplit(path).path == "/collections/demo":
            return as_json({**collection, "links": [{"rel": "items", "href": "/collections/demo/items"}]})
        second = "page=2" in path
        links = [] if second else [{"rel": "next", "href": "?page=2"}]
        return as_json({"type": "FeatureCollection", "features": found[2:] if second else found[:2], "links": links})

    with serve_function(answer) as url:
        assert search(f"{url}/collections/demo", collections=("demo",)).ids == ["i0", "i1", "i2"]


def test_every_page_of_a_search_is_read(tmp_path: Path) -> None:
    """The address of a search, as browsers show it, or of the items of a collection."""
    api = Api(MANY)
    with serve_function(api) as url:
        assert len(search(f"{url}/search?limit=10").ids) == 45
        page = requests.get(f"{url}/search", timeout=60).json()
    (tmp_path / "page.json").write_text(json.dumps(page))
    found = search(str(tmp_path / "page.json"))
    assert len(found.ids) == 10
    assert "its next page" in dict(found.unread)[str(tmp_path / "page.json")]


@pytest.mark.parametrize(("method", "is_other", "is_read"), [
    ("GET", True, True), ("POST", False, True), ("POST", True, False), ("DELETE", False, False),
])  # fmt: skip
def test_a_next_page_changes_nothing_on_a_host_with_credentials(method: str, is_other: bool, is_read: bool) -> None:
    """Requests carry the user's token for their host, and a catalogue chooses the link."""
    sent: list[tuple[str, str | None]] = []

    def other(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        sent.append((headers["Authorization"], headers.get("X-HTTP-Method-Override")))
        return as_json({"type": "FeatureCollection", "features": MANY[1:2]})

    with serve_function(other) as there:

        def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
            if path.startswith("/next"):
                return as_json({"type": "FeatureCollection", "features": MANY[1:2]})
            href = f"{there}/orders/7" if is_other else "/next"
            link = {"rel": "next", "href": href, "method": method, "headers": {"X-HTTP-Method-Override": "DELETE"}}
            return as_json({"type": "FeatureCollection", "features": MANY[:1], "links": [link]})

        with serve_function(answer) as url:
            auth = Auth(kind="bearer", hosts=("127.0.0.1",))
            with contextlib.nullcontext() if is_read else pytest.raises(ConfigurationError, match="the next page of"):
                assert search(url, auth=auth, secrets={"token": "t"}).ids == ["i00", "i01"]
    assert sent == ([("Bearer t", None)] if is_read and is_other else [])
