"""A small open archive on loopback: a STAC API, tokens, and a web server with ranges, ETags and faults."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from shapely.geometry import box, shape

from local_tests.archives.real_items import Archive, RealItems, make_items
from local_tests.support.loopback import QuietServer

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
]
SECRET = "s3cret"
"""Part of each token, by which texts are searched for tokens."""


@dataclass
class ArchiveHost:
    """A served archive and what it was asked for.

    Attributes:
        folder: folder of its files.
        url: its address; the API is at ``/api``, tokens at ``/token``, files at ``/files``.
        items: items of its collections.
        is_signed: whether files need a token.
        token_seconds: for which a token opens files.
        halted: number of the request of a file that is answered when its token has expired; None for no such.
        faults: shares of the requests of ranges that fail: "status", "reset", "short", "slow".
        api_faults: shares of the searches that fail: "status", "half".
        seed: seed of the requests that fail.
        actions: what is done at requests of files, by their numbers.
        watch: is told the names of files and the first bytes that requests want, before they are answered.
        redirects: addresses to which files lead, by their names.
        pages: what searches from a day on ("2023-07-01") are answered with, instead of items.
        slow_seconds: seconds that a slow response takes.
        is_away: whether every request is counted, and its connection reset.
        tokens: tokens that were given, with their expiry in seconds since 1970.
        requests: number of requests, by kind: "search", "file", "token", "expired", "failed", "away".
        times: times of requests by kind, on the monotonic clock.
        searches: bodies of searches.
        bytes: sent of files.
    """

    folder: Path
    url: str = ""
    items: tuple[Mapping[str, Any], ...] = ()
    is_signed: bool = False
    token_seconds: float = 3600.0
    halted: int | None = None
    faults: Mapping[str, float] = field(default_factory=dict)
    api_faults: Mapping[str, float] = field(default_factory=dict)
    seed: int = 7
    actions: dict[int, Callable[[], object]] = field(default_factory=dict)
    watch: Callable[[str, int], object] = lambda name, start: None
    redirects: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[str, bytes] = field(default_factory=dict)
    slow_seconds: float = 0.3
    is_away: bool = False
    tokens: dict[str, float] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    times: list[tuple[float, str]] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _asked: Counter[str] = field(default_factory=Counter)

    @property
    def api(self) -> str:
        return f"{self.url}/api"

    def description(self, path: Path, like: Archive) -> Path:
        """Write a TOML that describes this archive, with the records and the signing of a known one."""
        host = self.url.removeprefix("http://")
        lines = [f'name = "{path.stem}"', 'title = "An archive of tests"', f'like = "{like}"', f'api = "{self.api}"']
        lines += [f'hosts = ["{host}"]', f'token_api = "{self.url}/token"' if self.is_signed else 'signing = "none"']
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return path

    def count(self, kind: str) -> int:
        """Count a request and return its number of its kind."""
        with self.lock:
            self.requests[kind] += 1
            self.times.append((time.monotonic(), kind))
            number = self.requests[kind]
        if kind == "file" and number in self.actions:
            self.actions[number]()
        return number

    def make_token(self) -> dict[str, str]:
        """Return a new token, as the Planetary Computer does."""
        text = f"sv=2020&sig={SECRET}{self.count('token')}"
        self.tokens[text] = time.time() + self.token_seconds
        expiry = datetime.fromtimestamp(self.tokens[text], timezone.utc)
        return {"msft:expiry": expiry.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "token": text}

    def is_open(self, token: str, number: int) -> bool:
        """Return whether a token opens files at the request of that number."""
        if number == self.halted:
            time.sleep(max(0.0, self.tokens.get(token, 0.0) - time.time()) + 0.05)
        if token in self.tokens and time.time() >= self.tokens[token]:
            self.count("expired")
        return time.time() < self.tokens.get(token, 0.0)

    def expire(self) -> None:
        """Let the tokens open no file from now on that were given so far."""
        self.tokens.update(dict.fromkeys(self.tokens, time.time()))

    def fault(self, asked: str, shares: Mapping[str, float]) -> str | None:
        """Return how a request fails, or None: the same for the n-th request of something, whatever came between."""
        with self.lock:
            self._asked[asked] += 1
            draw = random.Random(f"{self.seed} {asked} {self._asked[asked]}").random()
            for kind, share in shares.items():
                draw -= share
                if draw < 0:
                    self.requests["failed"] += 1
                    self.requests[kind] += 1
                    return kind
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, host: ArchiveHost, *arguments: Any) -> None:
        self.host = host
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self._is_away():
            return
        parts = urlsplit(self.path)
        kind, _, rest = parts.path.removeprefix("/").partition("/")
        if kind == "files":
            self._file(unquote(rest), parts.query)
        elif kind == "token":
            self._send_json(self.host.make_token())
        elif kind == "api" and rest == "search":
            given = {name: values[0] for name, values in parse_qs(parts.query).items()}
            asked: dict[str, Any] = dict(given)
            asked |= {name: given[name].split(",") for name in ("collections", "ids") if name in given}
            asked |= {"bbox": [float(each) for each in given["bbox"].split(",")]} if "bbox" in given else {}
            self._search(asked)
        elif kind == "api":
            self._api(rest)
        else:
            self._send(404, b"")

    def _is_away(self) -> bool:
        """Reset the connection, where nothing is to be answered."""
        if self.host.is_away:
            self.host.count("away")
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return self.host.is_away

    def do_POST(self) -> None:
        if self._is_away():
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if urlsplit(self.path).path == "/api/search":
            self._search(body)
        else:
            self._send(404, b"")

    def _api(self, path: str) -> None:
        api, names = self.host.api, sorted({str(item["collection"]) for item in self.host.items})
        collections = [
            {
                "type": "Collection", "id": name, "stac_version": "1.0.0", "description": name, "license": "other",
                "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
                "links": [],
            }
            for name in names
        ]  # fmt: skip
        if path == "collections":
            self._send_json({"collections": collections, "links": []})
        elif path in ("", "/"):
            links = [
                {"rel": "self", "href": api, "type": "application/json"},
                {"rel": "root", "href": api, "type": "application/json"},
                {"rel": "data", "href": f"{api}/collections", "type": "application/json"},
                {"rel": "search", "href": f"{api}/search", "type": "application/geo+json", "method": "GET"},
                {"rel": "search", "href": f"{api}/search", "type": "application/geo+json", "method": "POST"},
            ]
            landing = {"type": "Catalog", "id": "tests", "stac_version": "1.0.0", "description": "An archive of tests"}
            self._send_json({**landing, "conformsTo": _CONFORMS, "links": links})
        else:
            found = [each for each in collections if path == f"collections/{each['id']}"]
            self._send_json(found[0]) if found else self._send(404, b"{}")

    def _search(self, asked: dict[str, Any]) -> None:
        host = self.host
        host.count("search")
        host.searches.append(asked)
        fault = host.fault(json.dumps(asked, sort_keys=True), host.api_faults)
        if fault == "status":
            return self._send(502, b"<html>Bad Gateway</html>")
        start = str(asked.get("datetime")).partition("/")[0].replace("Z", "+00:00")
        # Searches start a millisecond before the first day.
        day = "" if start in ("None", "..") else str((datetime.fromisoformat(start) + timedelta(seconds=1)).date())
        if day in host.pages:
            return self._send(200, host.pages[day], {"Content-Type": "application/geo+json"})
        found = [item for item in host.items if _matches(item, asked)]
        found.sort(key=lambda item: str(item["properties"]["datetime"]), reverse=True)
        limit, first = int(asked.get("limit", 10)), int(asked.get("token", 0))
        links: list[dict[str, Any]] = []
        if first + limit < len(found):
            body = {**asked, "token": str(first + limit)}
            links.append({"rel": "next", "href": f"{host.api}/search", "method": "POST", "body": body})
        page = {"type": "FeatureCollection", "features": found[first : first + limit], "links": links}
        content = json.dumps(page).encode()
        headers = {"Content-Type": "application/geo+json"}
        return self._send(200, content[: len(content) // 2] if fault == "half" else content, headers)

    def _file(self, name: str, query: str) -> None:
        host = self.host
        number = host.count("file")
        path = host.folder / name
        if host.is_signed and not host.is_open(query, number):
            return self._send(403, b"")
        if name in host.redirects:
            return self._send(302, b"", {"Location": host.redirects[name]})
        if "/" in name or not path.is_file():
            return self._send(404, b"")
        fault = host.fault(f"{name} {self.headers['Range']}", host.faults) if self.headers.get("Range") else None
        if fault == "status":
            return self._send(503, b"")
        if fault == "reset":
            self.close_connection = True
            return None
        if fault == "slow":
            time.sleep(host.slow_seconds)
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        host.watch(name, int(wanted[1]) if wanted else 0)
        with path.open("rb") as file:  # one version, whatever is put in its place meanwhile
            status = os.fstat(file.fileno())
            length, tag = status.st_size, f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"
            asked = _RANGE.fullmatch(self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            stop = min(int(asked[2]) + 1, length) if asked and asked[2] else length
            if start >= length:
                return self._send(416, b"")
            file.seek(start)
            content = file.read(stop - start)
        headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes", "Content-Type": "image/tiff"}
        headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{length}"} if asked else {}
        return self._send(206 if asked else 200, content, headers, is_short=fault == "short")

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/geo+json"})

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, *, is_short: bool = False
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if is_short:
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)
        with self.host.lock:
            self.host.bytes += len(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _matches(item: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    if asked.get("collections") and item["collection"] not in asked["collections"]:
        return False
    if asked.get("ids") and item["id"] not in asked["ids"]:
        return False
    if asked.get("bbox") and not shape(item["geometry"]).intersects(box(*asked["bbox"])):
        return False
    if asked.get("intersects") and not shape(item["geometry"]).intersects(shape(asked["intersects"])):
        return False
    properties = item["properties"]
    first, _, last = str(asked.get("datetime") or "../..").partition("/")
    moment = _moment(str(properties["datetime"]))
    if first not in ("..", "") and moment < _moment(first):
        return False
    if (last or first) not in ("..", "") and moment > _moment(last or first):
        return False
    return all(_fulfils(properties.get(name), tests) for name, tests in (asked.get("query") or {}).items())


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)


def _fulfils(value: Any, tests: Mapping[str, Any]) -> bool:
    known = {
        "eq": lambda wanted: value == wanted,
        "neq": lambda wanted: value != wanted,
        "lt": lambda bound: value is not None and value < bound,
        "lte": lambda bound: value is not None and value <= bound,
        "gt": lambda bound: value is not None and value > bound,
        "gte": lambda bound: value is not None and value >= bound,
        "in": lambda wanted: value in wanted,
    }
    return all(known[name](wanted) for name, wanted in tests.items())


class _Connections(QuietServer):
    """A server that can break the connections that stand."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        for each in list(self.open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class ArchiveListener:
    """Listens for an archive's requests: connections are refused while it does not.

    Args:
        host: host that answers them.
    """

    def __init__(self, host: ArchiveHost) -> None:
        self._host, self._port = host, 0
        self.start()
        host.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._server = _Connections(("127.0.0.1", self._port), partial(_Handler, self._host))
        self._server.daemon_threads = self._server.block_on_close = False
        self._port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections, and break those that stand."""
        self._server.end()
        self._thread.join()


@contextmanager
def listening_host(folder: Path, *, is_signed: bool = False) -> Iterator[tuple[ArchiveHost, ArchiveListener]]:
    """Serve a folder as an archive without items until the end of the block."""
    host = ArchiveHost(folder, is_signed=is_signed)
    listener = ArchiveListener(host)
    try:
        yield host, listener
    finally:
        listener.stop()


@contextmanager
def archive_host(
    data: Path, folder: Path, archive: Archive, *, collections: tuple[str, ...] = (), is_signed: bool = False
) -> Iterator[tuple[ArchiveHost, RealItems]]:
    """Serve real imagery as an archive until the end of the block.

    Args:
        data: folder of the real imagery.
        folder: for the files.
        archive: whose shape the items have.
        collections: collections of them; all if empty.
        is_signed: whether files need a token.
    """
    with listening_host(folder, is_signed=is_signed) as (host, _):
        made = make_items(data, folder, archive, f"{host.url}/files", collections=collections)
        host.items = made.items
        yield host, made
