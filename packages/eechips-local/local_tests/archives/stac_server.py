"""A STAC API on loopback whose faults are planned, for what no real one does when it is asked to."""

from __future__ import annotations

import gzip
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from ssl import SSLContext
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from eechips_local.archives.archive_model import ArchiveDescription
from local_tests.support.loopback import QuietServer, serving

CONFORMS = ("https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search")
QUERY = "https://api.stacspec.org/v1.0.0/item-search#query"

Fault = int | str | Callable[[dict[str, Any]], Any]


@dataclass
class StacServer:
    """A STAC API's items, planned faults and received requests.

    Attributes:
        items: items that it has.
        url: URL of its landing page.
        conforms: its conformance classes.
        faults: faults of the next requests: an HTTP status; "reset", "truncated" or "garbage"; a function of the page
            that would be sent, which returns another; "ok" for none.
        always: the fault of every request, while it is there.
        headers: headers of responses with an error.
        encoding: compression that pages claim to have.
        most: items of a page, for which larger limits are answered with ``too_large``.
        too_large: status of such a response.
        deepest: items after which there is no further page, as with OpenSearch.
        ignores: members of a search that have no effect.
        no_post: status of searches by POST, which STAC API 1.0 recommends; 0 if it has them.
        searches: bodies of the searches.
        paths: paths of all requests, with their methods.
        sent: bytes of the bodies of all responses.
        received: headers of the requests.
    """

    items: Sequence[Mapping[str, Any]] = ()
    url: str = ""
    conforms: tuple[str, ...] = (*CONFORMS, QUERY)
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    headers: dict[str, str] = field(default_factory=dict)
    encoding: str = ""
    most: int = 10_000
    too_large: int = 500
    deepest: int = 1_000_000
    ignores: frozenset[str] = frozenset()
    no_post: int = 0
    searches: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    sent: int = 0
    received: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def describe(self, **options: Any) -> ArchiveDescription:
        """Describe this archive."""
        return ArchiveDescription(**{"name": "test", "title": "A test", "api": self.url, **options})

    def search(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page."""
        given = {name: value for name, value in body.items() if name not in self.ignores}
        found = [item for item in self.items if _is_found(item, given)]
        first = next((body[name] for name in ("token", "next", "cursor") if name in body), 0)
        start, limit = int(first), int(body.get("limit", 10))
        page: dict[str, Any] = {"type": "FeatureCollection", "features": found[start : start + limit], "links": []}
        page["numberReturned"] = len(page["features"])
        page["numberMatched"] = len(found)
        if start + limit < len(found) and start + limit < self.deepest:
            page["links"].append(self.next_link({**body, "token": str(start + limit)}))
        return page

    def next_link(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the link to a page."""
        if not self.no_post:
            return {"rel": "next", "method": "POST", "href": f"{self.url}/search", "body": dict(body)}
        texts = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in body.items()}
        return {"rel": "next", "href": f"{self.url}/search?{urlencode(texts)}"}


@contextmanager
def stac_server(
    items: Sequence[Mapping[str, Any]] = (), encryption: SSLContext | None = None, **options: Any
) -> Iterator[StacServer]:
    """Serve until the end of the block, encrypted under the name ``localhost`` where there is a certificate for it."""
    found = StacServer(items, **options)

    class Handler(_Handler):
        api = found

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        if encryption is not None:
            server.socket = encryption.wrap_socket(server.socket, server_side=True)
        with serving(server) as found.url:
            if encryption is not None:
                found.url = found.url.replace("http://127.0.0.1", "https://localhost")
            yield found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    api: StacServer

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: dict[str, Any]) -> None:
        api, parts = self.api, urlsplit(self.path)
        with api.lock:
            api.paths.append(f"{self.command} {parts.path}")
            api.received.append({name.lower(): value for name, value in self.headers.items()})
            if parts.path == "/search":
                api.searches.append(body)
            fault = api.always if api.always is not None else api.faults.popleft() if api.faults else "ok"
        if parts.path == "/search" and body.get("limit", 0) > api.most:
            fault = api.too_large
        if self.command == "POST" and api.no_post:
            fault = api.no_post
        if isinstance(fault, int):
            return self._send(fault, b'{"code": "error"}', api.headers)
        if fault == "reset":
            self.close_connection = True
            return None
        if parts.path == "/search":
            page: Any = api.search(body or _parse_search(parts.query))
        elif parts.path == "/collections":
            names = sorted({item["collection"] for item in api.items})
            page = {"collections": [{"id": name, "type": "Collection"} for name in names], "links": []}
        else:
            page = {"type": "Catalog", "id": "test", "conformsTo": list(api.conforms), "links": []}
        if callable(fault):
            page = fault(page)
        content = page if isinstance(page, bytes) else json.dumps(page).encode()
        if fault == "garbage":
            content = content[: len(content) // 2]
        headers = {"Content-Encoding": api.encoding} if api.encoding else {}
        return self._send(200, content, headers, is_short=fault == "truncated")

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], *, is_short: bool = False) -> None:
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(content) > 1000:
            content = gzip.compress(content, 6)
            headers = {**headers, "Content-Encoding": "gzip"}
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if is_short:
            content = content[: len(content) // 2]
            self.close_connection = True
        with self.api.lock:
            self.api.sent += len(content)
        self.wfile.write(content)


def _parse_search(query: str) -> dict[str, Any]:
    """Return the search of an address, whose lists are separated by commas."""
    search: dict[str, Any] = {name: value[0] for name, value in parse_qs(query).items()}
    search |= {name: search[name].split(",") for name in ("ids", "collections") if name in search}
    return search | ({"bbox": [float(edge) for edge in search["bbox"].split(",")]} if "bbox" in search else {})


def _is_found(item: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Return whether an item matches a search, as written in STAC's and CQL2's specifications."""
    properties = item["properties"]
    if "ids" in body and item["id"] not in body["ids"]:
        return False
    if "collections" in body and item["collection"] not in body["collections"]:
        return False
    if "bbox" in body:
        west, south, east, north = body["bbox"]
        box = item["bbox"]
        if box[0] > east or box[2] < west or box[1] > north or box[3] < south:
            return False
    if "datetime" in body:
        moment = _moment(properties["datetime"])
        first, _, last = body["datetime"].partition("/")
        if (first != ".." and moment < _moment(first)) or (last != ".." and moment > _moment(last)):
            return False
    for name, conditions in body.get("query", {}).items():
        for sign, value in conditions.items():
            if not _compare(sign, properties.get(name), value):
                return False
    return _is_true(body["filter"], properties) if "filter" in body else True


def _is_true(node: Mapping[str, Any], properties: Mapping[str, Any]) -> bool:
    if node["op"] == "and":
        return all(_is_true(part, properties) for part in node["args"])
    return _compare(node["op"], properties.get(node["args"][0]["property"]), node["args"][1])


def _compare(sign: str, found: Any, value: Any) -> bool:
    if sign in ("=", "eq"):
        return bool(found == value)
    if not isinstance(found, (int, float)):
        return False
    return bool(found >= value if sign in (">=", "gte") else found <= value)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def make_item(
    number: int, *, collection: str = "s2", day: str = "2024-06-01", cloud: float | None = 10.0, west: float = 11.0
) -> dict[str, Any]:
    """Return an item of one degree."""
    box = [west, 46.0, west + 1.0, 47.0]
    ring = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]
    properties: dict[str, Any] = {"datetime": f"{day}T10:00:00Z", "platform": "sentinel-2a"}
    if cloud is not None:
        properties["eo:cloud_cover"] = cloud
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"item-{number:04d}",
        "collection": collection,
        "bbox": box,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "links": [],
        "assets": {"B04": {"href": f"https://files.example/{number}/B04.tif"}},
    }
