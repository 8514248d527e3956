"""Lists of items: a web server of their items, and the command that ingests them."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from click.testing import Result

from eechips.archive.catalogs.ingestion.fetch import FetchConfig, FetchedItems, ItemFetcher
from eechips.archive.catalogs.ingestion.item_hooks import ItemMaker
from tests.support.catalog_items import DAYS, item
from tests.support.commands import run_command


def fetch(addresses: list[str], config: FetchConfig | None = None, *, make: ItemMaker | None = None) -> FetchedItems:
    """Fetch URLs, or call a hook for each."""
    with ItemFetcher(config or FetchConfig(), make) as fetcher:
        return fetcher.fetch(addresses)


class HostLimiter:
    """A web server of items, which fails as its items' names say.

    Attributes:
        asked: requests by path.
        most: requests at once, at most.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.asked: Counter[str] = Counter()
        self.most = self._now = 0
        self.delay, self._lock = delay, threading.Lock()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with host._lock:
                    host.asked[self.path] += 1
                    times = host.asked[self.path]
                    host._now += 1
                    host.most = max(host.most, host._now)
                try:
                    time.sleep(host.delay)
                    host.answer(self, times)
                finally:
                    with host._lock:
                        host._now -= 1

            def do_HEAD(self) -> None:
                host.answer(self, 1)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        # It keeps five connections waiting, as servers do that items come from: no other class here.
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, times: int) -> None:
        """``/7.json`` is an item; ``/busy-7.json`` is one from the third request on."""
        path = handler.path.partition("?")[0]
        kind, _, number = path.strip("/").removesuffix(".json").rpartition("-")
        status, headers = {"missing": 404, "gone": 410}.get(kind, 200), {}
        if kind == "busy" and times < 3:
            status, headers = 503, {"Retry-After": "0"}
        body = b"<html>" if kind == "page" else json.dumps(scene(int(number))).encode()
        length = len(body) + (100 if kind == "cut" and times == 1 else 0)
        handler.send_response(status)
        handler.send_header("Content-Length", str(length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        handler.wfile.write(body)
        if length > len(body):
            handler.close_connection = True


def scene(number: int, **fields: Any) -> dict[str, Any]:
    lon, lat = (number * 37) % 350 - 175.0, (number * 17) % 160 - 80.0
    box = (lon, lat, lon + 1, lat + 1)
    collection = "even" if number % 2 == 0 else "odd"
    return {**item(f"scene-{number}", box, when=DAYS[number % 6], updated=DAYS[0], collection=collection), **fields}


def cli(*arguments: object, status: int | None = None) -> Result:
    return run_command("catalog", "ingest", *arguments, status=status)


def write(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def failures(folder: Path) -> list[dict[str, str]]:
    with (folder / "_failures.csv").open(newline="") as file:
        return list(csv.DictReader(file))
