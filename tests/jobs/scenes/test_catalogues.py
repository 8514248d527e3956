"""Defects of real catalogues of scenes are reported, and their valid items are found."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import logging
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
import requests
import shapely
from click.testing import CliRunner

import eechips
from eechips.catalogs.ingest import ingest
from eechips.cli import main
from eechips.client.retry import RetryPolicy
from eechips.downloads.access_secrets import Secrets
from eechips.downloads.authentication import Auth, make_signer
from eechips.downloads.criteria import Search
from eechips.downloads.document_reader import DocumentReader
from eechips.downloads.host_sessions import HostSessions
from eechips.downloads.search import items
from eechips.errors import ConfigurationError, StorageError, UsageError
from eechips.planning.image_filters import parse_condition
from tests.jobs.scenes.test_scenes import TIFF, catalogue, write
from tests.support.function_server import Answer, answering
from tests.support.scene_servers import FileServer, item

pytest.importorskip("pystac_client")

CORE = "https://api.stacspec.org/v1.0.0"
SOON = RetryPolicy(retries=4, delay=0.001, max_delay=0.002)


def search(stac: str, *, auth: Auth | None = None, secrets: Mapping[str, str] | None = None, **wanted: Any) -> Found:
    with HostSessions(4, 5.0, 5.0) as hosts:
        reader = DocumentReader(hosts, make_signer(auth or Auth(), Secrets(secrets or {}), hosts), SOON)
        return Found([each["id"] for each in items(Search(stac=stac, **wanted), reader)], reader)


class Found:
    """Ids, and what could not be read."""

    def __init__(self, ids: list[str], reader: DocumentReader) -> None:
        self.ids, self.unread = ids, [(each.address, each.reason) for each in reader.unread]


def feature(identifier: str, **properties: Any) -> dict[str, Any]:
    return item(identifier, {"data": {"href": f"{identifier}.tif", "type": "image/tiff"}}, **properties)


def lists() -> dict[str, bytes]:
    """Three items, in every form that lists have, by name of a file."""
    import io

    import pyarrow as pa

    found = [feature(name) for name in ("a", "b", "c")]
    lines = "".join(json.dumps(each) + "\n" for each in found).encode()
    array = json.dumps(found, indent=1).encode()
    addresses = b"url\na.json\nb.json\nc.json\n"
    table = io.BytesIO()
    pq.write_table(pa.table({"url": ["a.json", "b.json", "c.json"]}), table)
    return {
        "array.json": array,
        "nested.json": json.dumps([found[:1], {"type": "FeatureCollection", "features": found[1:]}]).encode(),
        "addresses.json": json.dumps([f"{name}.json" for name in "abc"]).encode(),
        "features.geojson": json.dumps({"type": "FeatureCollection", "features": found}).encode(),
        "lines.ndjson": lines,
        "array.jsonl": b"[" + array.replace(b"\n", b"") + b"]",
        "lines.json": lines,
        "array.json.gz": gzip.compress(array),
        "lines.ndjson.gz": gzip.compress(lines),
        "addresses.csv": addresses,
        "addresses.txt": addresses.removeprefix(b"url\n"),
        "addresses.parquet": table.getvalue(),
    }


@pytest.mark.parametrize("name", list(lists()))
def test_a_list_of_items_is_the_same_here_and_for_an_ingestion(tmp_path: Path, name: str) -> None:
    files = lists() | {f"{each}.json": json.dumps(feature(each)).encode() for each in "abc"}
    for each, content in files.items():
        (tmp_path / each).write_bytes(content)
    assert [unit["item"] for unit in planned(tmp_path / name)] == ["a", "b", "c"]
    if not name.startswith("addresses"):
        ingested = ingest([str(tmp_path / name)], tmp_path / "catalog").catalog.items()
        assert sorted(each["id"] for each in ingested) == ["a", "b", "c"]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        is_open = headers.get("Authorization") == "Bearer t"
        return (200, {}, files[path[1:]]) if is_open and path[1:] in files else (401, {}, b"")

    if name in ("lines.json", "addresses.parquet"):  # of the web, what a name says counts
        return
    (tmp_path / "secrets").write_text("token=t\n")
    options = {"auth": "bearer", "auth_host": "127.0.0.1", "secrets": tmp_path / "secrets"}
    with answering(answer) as url:
        units = planned(f"{url}/{name}", **options)
    assert [unit["href"] for unit in units] == [f"{url}/{each}.tif" for each in "abc"]


def test_invalid_entries_of_a_list_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [json.dumps(feature("a")), '{"id": 3', '"nowhere.json"', "7", json.dumps(feature("b"))]
    (tmp_path / "list.ndjson").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        assert [unit["item"] for unit in planned(tmp_path / "list.ndjson")] == ["a", "b"]
    assert "3 documents of the catalogue could not be read" in caplog.text
    array = [feature("a"), "/etc/passwd", feature("b")]
    with answering(lambda path, headers, body: (200, {}, json.dumps(array).encode())) as url:
        found = search(f"{url}/list.json")
    assert found.ids == ["a", "b"]
    assert len(found.unread) == 1
    assert "/etc/passwd" in found.unread[0][0]


def planned(stac: str | Path, **options: Any) -> list[dict[str, Any]]:
    """Units of a search."""
    from eechips.jobs.scenes.recipe import Scenes

    return [dict(unit) for unit in Scenes(stac=str(stac), **options).get_requests()]


def as_json(value: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


class Api:
    """A STAC API: pages of some items; counts what it is asked.

    Args:
        found: items.
        methods: of the search that it tells of, and knows.
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


MANY = [feature(f"i{number:02d}", **{"eo:cloud_cover": number}) for number in range(45)]


@pytest.mark.parametrize("methods", [("GET", "POST"), ("GET",), ("POST",)])
def test_requests_use_the_capabilities_of_the_api(methods: tuple[str, ...]) -> None:
    api = Api(MANY, methods=methods, classes=(f"{CORE}/item-search#filter",))
    with answering(api) as url:
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

    with answering(answer) as url:
        assert len(search(url).ids) == 45


def test_unsupported_conditions_are_evaluated_locally_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api(MANY)
    with answering(api) as url, caplog.at_level(logging.INFO, logger="eechips"):
        found = search(url, conditions=(parse_condition("eo:cloud_cover >= 20"),), most=3)
    assert found.ids == ["i20", "i21", "i22"]
    assert "filter" not in api.asked[0]
    assert api.asked[0]["limit"] == 100  # and not three at a time, of which most are others
    assert "filtered locally" in caplog.text


CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"


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
    with answering(api) as url:
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

    with answering(answer) as url:
        found = search(url, conditions=(parse_condition("eo:cloud_cover < 30"),))
    assert found.ids == [f"i{number:02d}" for number in range(30)]
    assert asked == questions


def test_an_api_that_refuses_conditions_although_it_says_that_it_knows_them(caplog: pytest.LogCaptureFixture) -> None:
    def change(number: int, body: dict[str, Any]) -> Answer | None:
        told = {"code": "BadRequest", "description": "no queryable of that name"}
        return (400, {}, json.dumps(told).encode()) if "filter" in api.asked[-1] else None

    api = Api(MANY, page=50, classes=(f"{CORE}/item-search#filter",), change=change)
    with answering(api) as url, caplog.at_level(logging.INFO, logger="eechips"):
        found = search(url, conditions=(parse_condition("eo:cloud_cover < 30"),))
    assert (len(found.ids), found.unread) == (30, [])
    assert "no queryable of that name" in caplog.text
    assert "filtered locally" in caplog.text


def test_an_api_that_refuses_large_pages() -> None:
    def change(number: int, body: dict[str, Any]) -> Answer | None:
        return (422, {}, b"{}") if int(api.asked[-1].get("limit", 10)) > 50 else None

    api = Api(MANY, methods=("GET",), change=change)
    with answering(api) as url:
        assert len(search(url).ids) == 45


def test_endless_next_pages_end_the_search() -> None:
    """Some pages in between have no item, and those after the last one neither."""

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if not path.startswith("/search"):
            links = [{"rel": "search", "href": "/search", "method": "GET"}]
            return as_json({"type": "Catalog", "stac_version": "1.0.0", "id": "top", "description": "", "links": links})
        page = int({name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}.get("page", 0))
        features = [MANY[page]] if page in (0, 1, 15, 20) else []
        return as_json({"features": features, "links": [{"rel": "next", "href": f"/search?page={page + 1}"}]})

    with answering(answer) as url:
        found = search(url)
    assert found.ids == ["i00", "i01", "i15", "i20"]
    assert ["20 pages in a row" in reason for _, reason in found.unread] == [True]


def test_a_region_of_many_vertices_is_asked_for_by_its_box() -> None:
    api = Api(
        [
            feature(
                "in",
            ),
            feature("out"),
        ]
    )
    api.found[1]["geometry"] = {"type": "Point", "coordinates": [-105.99, 40.99]}
    ball = shapely.Point(-105, 40).buffer(1.0, quad_segs=2000)
    with answering(api) as url:
        assert search(url, region=ball).ids == ["in"]
    assert "intersects" not in api.asked[0]
    assert api.asked[0]["bbox"] == pytest.approx([-106, 39, -104, 41])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirected_search_keeps_its_body(status: int) -> None:
    api = Api(MANY, classes=(f"{CORE}/item-search#filter",))

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return (status, {"Location": f"{url}{path}"}, b"") if path.startswith("/search") else api(path, headers, body)

    with answering(api) as url, answering(answer) as old:
        assert len(search(old, conditions=(parse_condition("eo:cloud_cover < 7"),)).ids) == 7
    assert api.asked[0]["filter"]["op"] == "<"


def test_items_that_come_on_two_pages_count_once() -> None:
    with answering(Api([*MANY[:10], *MANY[5:20]])) as url:
        assert search(url).ids == [each["id"] for each in MANY[:20]]


def test_pages_that_lead_in_a_circle_end() -> None:
    def back(number: int, answer: dict[str, Any]) -> Answer:
        return as_json({**answer, "links": [{"rel": "next", "href": "/search?from=10"}]})

    with (
        answering(Api(MANY, change=back)) as url,
        pytest.raises(ConfigurationError, match="links back to a page"),
    ):
        search(url)


def test_transient_api_errors_are_retried(caplog: pytest.LogCaptureFixture) -> None:
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
    with answering(api) as url, caplog.at_level(logging.INFO, logger="eechips"):
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
        answering(Api(MANY, methods=("POST",), change=lambda number, body: answer)) as url,
        pytest.raises(ConfigurationError, match=message) as caught,
    ):
        search(url)
    assert "very-secret" not in str(caught.value)


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
    with answering(api, encryption) as url, pytest.raises(ConfigurationError, match="certificate is not trusted"):
        search(url)
    assert not api.seen


def test_a_token_is_sent_to_a_protected_catalogue(tmp_path: Path) -> None:
    shown: list[str | None] = []
    api = Api(MANY)

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        shown.append(headers.get("Authorization"))
        return api(path, headers, body) if shown[-1] == "Bearer very-secret" else (401, {}, b"")

    with answering(answer) as url:
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

    with answering(answer) as url:
        assert search(f"{url}/collections/demo", collections=("demo",)).ids == ["i0", "i1", "i2"]


def test_every_page_of_a_search_is_read(tmp_path: Path) -> None:
    """The address of a search, as browsers show it, or of the items of a collection."""
    api = Api(MANY)
    with answering(api) as url:
        assert len(search(f"{url}/search?limit=10").ids) == 45
        page = requests.get(f"{url}/search", timeout=10).json()
    (tmp_path / "page.json").write_text(json.dumps(page))
    found = search(str(tmp_path / "page.json"))
    assert len(found.ids) == 10
    assert "its next page" in dict(found.unread)[str(tmp_path / "page.json")]


def write_static(top: Path) -> None:
    """Nested, with relative and absolute links, a circle, and everything that is wrong somewhere."""

    def put(name: str, value: Any) -> None:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))

    def links(*found: tuple[str, str]) -> list[dict[str, str]]:
        return [{"rel": rel, "href": href} for rel, href in found]

    base = {"stac_version": "1.0.0", "description": "x"}
    own = {"type": "Collection", "license": "other", "extent": {}, **base}
    lost = {**feature("homeless"), "collection": None}
    dateless = feature("dateless")
    dateless["properties"] = {"datetime": None}
    old = links(("child", "old/collection.json"), ("child", "new/collection.json"), ("root", "catalog.json"))
    put("catalog.json", {"type": "Catalog", "id": "top", **base, "links": old})
    several = [
        ("item", "a%20b.json"),
        ("item", f"file://{top}/old/abs.json"),
        ("item", "gone.json"),
        ("item", "broken.json"),
    ]
    several += [("item", "page.json"), ("item", "nameless.json"), ("item", "dateless.json"), ("item", "odd.json")]
    put("old/collection.json", {**own, "id": "old", "links": links(*several, ("child", "../catalog.json"))})
    put("old/a b.json", {**feature("spaced"), "collection": "old"})
    put("old/abs.json", lost)
    put("old/broken.json", '{"type": "Feat')
    put("old/page.json", "<html><body>Not here</body></html>")
    put("old/nameless.json", {**feature("x"), "id": ""})
    put("old/dateless.json", {**dateless, "collection": "old"})
    put("old/odd.json", {**feature("odd"), "geometry": {"type": "Polygon", "coordinates": "x"}, "collection": "old"})
    put(
        "new/collection.json",
        {**own, "id": "new", "links": links(("item", "one.json"), ("child", "deep/catalog.json"))},
    )
    put("new/one.json", {**feature("one"), "collection": "new"})
    put("new/deep/catalog.json", {"type": "Catalog", "id": "deep", **base, "links": links(("item", "two.json"))})
    put("new/deep/two.json", {**feature("two"), "collection": "new"})


def test_defects_of_a_static_catalogue_are_reported(tmp_path: Path) -> None:
    write_static(tmp_path)
    found = search(str(tmp_path / "catalog.json"))
    assert found.ids == ["spaced", "homeless", "dateless", "odd", "one", "two"]
    told = {Path(address).name.partition(":")[0]: reason for address, reason in found.unread}
    assert set(told) == {"gone.json", "broken.json", "page.json", "nameless.json"}
    assert "does not exist" in told["gone.json"]
    assert "not JSON" in told["broken.json"]
    assert "HTML" in told["page.json"]
    assert "without an id" in told["nameless.json"]
    old = search(str(tmp_path / "catalog.json"), collections=("old",), region=shapely.box(-180, -90, 180, 90))
    assert old.ids == ["spaced", "homeless", "dateless"]
    assert "geometry" in dict(old.unread)[f"{tmp_path}/old/odd.json: item odd"]
    assert search(str(tmp_path), collections=("new",)).ids == ["one", "two"]  # a folder that has one
    with FileServer(tmp_path) as server:
        away = search(f"{server.url}/catalog.json", collections=("new",))
        assert (away.ids, away.unread) == (["one", "two"], [])
        assert "old/gone.json" not in server.requests  # a collection that was not asked for is not entered
        all_of_it = search(f"{server.url}/catalog.json")
        assert all_of_it.ids == ["dateless", "odd", "one", "two"]
        assert "HTTP 404" in dict(all_of_it.unread)[f"{server.url}/old/gone.json"]
        assert "local files" in dict(all_of_it.unread)[f"file://{tmp_path}/old/abs.json"]


def test_an_item_without_a_date_is_reported_when_dates_are_given(tmp_path: Path) -> None:
    write_static(tmp_path)

    start = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    found = search(str(tmp_path / "catalog.json"), start=start)
    assert found.ids == ["spaced", "homeless", "odd", "one", "two"]
    assert "no date" in dict(found.unread)[f"{tmp_path}/old/dateless.json: item dateless"]


def test_items_without_an_outline_or_an_end(tmp_path: Path) -> None:
    """The box says where they are, if they have one; what has no end goes on."""

    def dated(name: str, begin: str | None, end: str | None) -> dict[str, Any]:
        return {**feature(name), "properties": {"datetime": None, "start_datetime": begin, "end_datetime": end}}

    boxes: dict[str, Any] = {
        "west": [0, 0, 1, 1],
        "high": [0, 0, 5, 1, 1, 9],
        "across": [170, 0, -170, 1],
        "none": None,
    }
    boxes["odd"] = [1, 2, 3]
    items = [{**feature(name), "geometry": None, "bbox": box} for name, box in boxes.items()]
    items += [dated("goes on", "2020-06-01T00:00:00Z", None), dated("later", "2021-06-01T00:00:00Z", None)]
    items += [dated("ended", None, "2019-06-01T00:00:00Z"), dated("ends", None, "2030-06-01T00:00:00Z")]
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    found = search(str(path), region=shapely.box(0.5, 0.5, 0.6, 0.6))
    assert found.ids[:2] == ["west", "high"]
    assert [address.rpartition(" ")[2] for address, _ in found.unread] == ["odd"]
    assert search(str(path), region=shapely.box(-175, 0.5, -174, 0.6)).ids == ["across"]
    year = {
        "start": dt.datetime(2020, 7, 1, tzinfo=dt.timezone.utc),
        "end": dt.datetime(2021, 1, 1, tzinfo=dt.timezone.utc),
    }
    assert search(str(path), **year).ids[-2:] == ["goes on", "ends"]


@pytest.mark.slow
def test_a_static_catalogue_of_many_items_is_read_in_its_order() -> None:
    """A thousand documents, several at once."""
    names = [f"i{number:04d}" for number in range(1000)]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if path == "/catalog.json":
            links = [{"rel": "item", "href": f"./{name}.json"} for name in names]
            return as_json(
                {"type": "Catalog", "id": "top", "stac_version": "1.0.0", "description": "x", "links": links}
            )
        return as_json(feature(path[1:-5]))

    with answering(answer) as url:
        assert search(f"{url}/catalog.json").ids == names
        assert search(f"{url}/catalog.json", most=3).ids == names[:3]


def test_unreadable_items_are_reported_and_recorded(tmp_path: Path) -> None:
    write_static(tmp_path / "top")
    for name in ("old/spaced.tif", "old/homeless.tif"):
        (tmp_path / "top" / name).write_bytes(b"no tif")
    words = ["scenes", "--stac", str(tmp_path / "top/catalog.json"), "--collection", "old", "--out"]
    words += [str(tmp_path / "out"), "--max-items", "2", "--no-report"]
    # Of four documents that cannot be read, some come before the second item, and some after it.
    first = CliRunner().invoke(main, words)
    assert first.exit_code == 1, first.output  # the files are none
    log = [json.loads(line) for line in (tmp_path / "out/run.log").read_text().splitlines()]
    unread = [line["address"] for line in log if line["event"] == "unread"]
    kept = pq.read_table(tmp_path / "out/items.parquet").to_pylist()
    assert [row["id"] for row in kept if row["item"]] == ["spaced", "homeless"]
    assert [row["address"] for row in kept if row["unread"]] == unread


def test_empty_search_results_are_not_cached(tmp_path: Path) -> None:
    write_static(tmp_path / "top")
    words = ["scenes", "--stac", str(tmp_path / "top/catalog.json"), "--where", "eo:cloud_cover < 5"]
    for _ in range(2):
        done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out")])
        assert done.exit_code == 2
        assert "has no matching items; 4 documents of the catalogue" in done.output
    assert not (tmp_path / "out/items.parquet").exists()


def write_parquet(path: Path, found: list[dict[str, Any]]) -> Path:
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    to_parquet(parse_stac_items_to_arrow(found), path)
    return path


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_folders_of_geoparquet_are_searched(tmp_path: Path) -> None:
    for number in range(3):
        one = [feature(f"i{number}{each}", box=(number, 0, number + 0.5, 1)) for each in range(3)]
        for each in one:
            each["collection"] = f"c {number % 2}"
        write_parquet(tmp_path / f"table/collection=c%20{number % 2}/part{number}/items.parquet", one)
    (tmp_path / "table/_temporary").mkdir()
    (tmp_path / "table/_temporary/half.parquet").write_bytes(b"PAR1")
    assert search(str(tmp_path / "table")).ids == ["i00", "i01", "i02", "i20", "i21", "i22", "i10", "i11", "i12"]
    pattern = str(tmp_path / "table/*/part[12]/*.parquet")
    assert search(pattern).ids == ["i20", "i21", "i22", "i10", "i11", "i12"]
    (tmp_path / "table/collection=c%200/part0/items.parquet").write_bytes(b"broken")
    assert search(str(tmp_path / "table"), collections=("c 1",)).ids == ["i10", "i11", "i12"]
    with pytest.raises(ConfigurationError, match="cannot be read as STAC GeoParquet"):
        search(str(tmp_path / "table"))
    with pytest.raises(UsageError, match="no STAC GeoParquet files"):
        search(str(tmp_path / "none*.parquet"))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("has_range", [True, False])
def test_remote_geoparquet_is_searched(tmp_path: Path, has_range: bool) -> None:
    data = write_parquet(tmp_path / "items.parquet", [*MANY, feature("far", box=(10, 0, 11, 1))]).read_bytes()
    sent = Counter[int]()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("Authorization") != "Bearer very-secret":
            return 403, {}, b""
        wanted = headers.get("Range")
        if not has_range or wanted is None:
            sent[200] += 1
            return 200, {}, data
        sent[206] += 1
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        part = data[first : last + 1]
        return 206, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"}, part

    with answering(answer) as url:
        auth, secrets = Auth(kind="bearer", hosts=("127.0.0.1",)), {"token": "very-secret"}
        found = search(f"{url}/items.parquet", auth=auth, secrets=secrets, region=shapely.box(9, 0, 12, 1))
        assert found.ids == ["far"]
        with pytest.raises(ConfigurationError, match="HTTP 403: set `auth`"):
            search(f"{url}/items.parquet?sig=very-secret")
    assert sent[206] > 0 if has_range else sent == {200: 1}


def test_a_catalogue_made_by_eechips_is_searched(tmp_path: Path) -> None:
    """``--stac`` takes the folder that ``eechips catalog`` writes."""
    lines = [json.dumps({**each, "stac_extensions": []}) for each in (*MANY, feature("far", box=(10, 0, 11, 1)))]
    (tmp_path / "list.ndjson").write_text("\n".join(lines))
    ingest(str(tmp_path / "list.ndjson"), tmp_path / "catalog")
    words = ["scenes", "--stac", str(tmp_path / "catalog"), "--dry-run", "--out", str(tmp_path / "out")]
    assert "units     46" in CliRunner().invoke(main, words).output
    assert "units     1\n" in CliRunner().invoke(main, [*words, "--roi=9,0,12,1"]).output
    assert "units     5\n" in CliRunner().invoke(main, [*words, "--where", "eo:cloud_cover < 5"]).output
    assert "no matching items" in CliRunner().invoke(main, [*words, "--start", "2021-01-01"]).output


def test_a_refresh_adds_changes_of_the_catalogue(tmp_path: Path) -> None:
    """New items are fetched, removed items are kept, changed items are reported, and no file is fetched twice."""
    files = tmp_path / "files"
    for number in range(5):
        write(files / f"s{number}.tif", number)
    with FileServer(files) as server:

        def of(number: int, **more: Any) -> dict[str, Any]:
            return item(f"s{number}", {"B04": {"href": f"{server.url}/s{number}.tif", "type": TIFF, **more}})

        out, stac = tmp_path / "out", catalogue(tmp_path, [of(0), of(1), of(2)])
        words = ["scenes", "--stac", str(stac), "--out", str(out), "--no-report", "--refresh"]
        assert "3 of 3 results" in CliRunner().invoke(main, words).output  # there is nothing yet to be added to
        catalogue(tmp_path, [of(4), of(1), of(2, **{"file:size": 7}), of(3)])
        assert CliRunner().invoke(main, [word for word in words if word != "--refresh"]).exit_code == 0
        assert server.requests.total() == 3  # nobody was asked
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        assert "2 new; 1 that have changed keep their file" in done.output
        assert "5 of 5 results" in done.output
        assert server.requests == {f"s{number}.tif": 1 for number in range(5)}
        again = CliRunner().invoke(main, words)
        assert "0 new" in again.output
        assert server.requests.total() == 5
        run = eechips.open_run(out)
        assert list(run.units["file"]) == [f"scenes/s{number}/B04.tif" for number in (0, 1, 2, 4, 3)]
        assert run.verify() == []
        assert len(list((out / "stac/demo").glob("*.json"))) == 5
        with pytest.raises(UsageError, match="holds another run"):
            eechips.scenes(str(stac), out=out, refresh=True, max_items=1, quiet=True)
        catalogue(tmp_path, [])
        assert eechips.scenes(str(stac), out=out, refresh=True, quiet=True).counts == {"done": 5}
    (out / "items.parquet").unlink()
    (out / "stac/demo/s1.json").unlink()
    with pytest.raises(StorageError, match=r"items\.parquet is missing"):
        eechips.scenes(str(stac), out=out, quiet=True)


def test_failed_units_are_replanned_from_the_current_catalogue(tmp_path: Path) -> None:
    """A size that was wrong, and an address that led nowhere: the rest is not fetched again."""
    files = tmp_path / "files"
    for number in range(3):
        write(files / f"s{number}.tif", number)
    with FileServer(files) as server:

        def of(number: int, name: str, **more: Any) -> dict[str, Any]:
            return item(f"s{number}", {"B04": {"href": f"{server.url}/{name}.tif", "type": TIFF, **more}})

        out, stac = tmp_path / "out", catalogue(tmp_path, [of(0, "s0"), of(1, "s1", **{"file:size": 7}), of(2, "gone")])
        words = ["scenes", "--stac", str(stac), "--out", str(out), "--no-report", "--retries", "0"]
        assert CliRunner().invoke(main, words).exit_code == 1
        assert list((out / "quarantine").glob("*.tif"))
        catalogue(tmp_path, [of(0, "s0"), of(1, "s1"), of(2, "s2")])
        done = CliRunner().invoke(main, [*words, "--refresh"])
        assert done.exit_code == 0, done.output
        assert "0 new; 2 that have changed without a file are planned again" in done.output
        assert server.requests == {"s0.tif": 1, "s1.tif": 4, "gone.tif": 1, "s2.tif": 1}
    run = eechips.open_run(out)
    assert list(run.units["file"]) == [f"scenes/s{number}/B04.tif" for number in range(3)]
    assert (run.verify(), (out / "quarantine").exists(), (out / "failures.csv").exists()) == ([], False, False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_catalogues_in_s3_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.object_server import lacking, serving_objects

    if (reason := lacking("s3")) is not None:
        pytest.skip(reason)
    import boto3

    write_static(tmp_path / "top")
    for number in range(2):
        write_parquet(tmp_path / f"top/table/collection=demo/part{number}/items.parquet", MANY[number::2])
    with serving_objects("scenes") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        for path in (tmp_path / "top").rglob("*.*"):
            client.upload_file(str(path), "scenes", path.relative_to(tmp_path).as_posix())
        found = search("s3://scenes/top/catalog.json", collections=("new",))
        assert (found.ids, found.unread) == (["one", "two"], [])
        assert search("s3://scenes/top/new/collection.json").ids == ["one", "two"]
        assert search("s3://scenes/top/table/collection=demo/part0/items.parquet").ids == [i["id"] for i in MANY[::2]]
        for several in ("s3://scenes/top/table/", "s3://scenes/top/table/*/part*/*.parquet"):
            assert search(several).ids == [each["id"] for each in (*MANY[::2], *MANY[1::2])]
        for nothing in ("s3://scenes/nothing.json", "s3://scenes/nothing.parquet", "s3://scenes/nothing/"):
            with pytest.raises(ConfigurationError, match=r"404|no STAC GeoParquet"):
                search(nothing)
