"""Fetching from faulty servers, and URLs that must not be fetched."""

from __future__ import annotations

import csv
import gzip
import json
import os
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import eechips
from eechips.archive.catalogs.ingestion.fetch import LARGEST, FetchConfig, FetchedItems, ItemFetcher
from eechips.archive.catalogs.ingestion.ingest import ingest
from eechips.web.network import is_metadata_address
from local_tests.support.loopback import QuietServer
from tests.support.catalog_items import contents, item
from tests.support.catalog_lists import fetch
from tests.support.commands import run_command

QUICK = FetchConfig(retries=1, first_wait=0.01, timeout=60.0)


class Server:
    """A web server whose paths are functions of a handler.

    Attributes:
        asked: requests by path.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.paths: dict[str, Callable[[BaseHTTPRequestHandler], object]] = {}
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with server._lock:
                    server.asked[self.path] += 1
                server.paths[self.path.partition("?")[0]](self)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

            def send_error(self, *_: Any, **__: Any) -> None:
                self.close_connection = True

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def send(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, *, length: int | None = -1, **headers: str
) -> None:
    """An answer; ``length`` None for none, which ends with the connection."""
    handler.send_response(status)
    if length is not None:
        handler.send_header("Content-Length", str(len(body) if length < 0 else length))
    else:
        handler.send_header("Connection", "close")
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = length is None or length > len(body)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


def got(addresses: list[str], config: FetchConfig = QUICK) -> FetchedItems:
    return fetch(addresses, config)


def kind_of(address: str, config: FetchConfig = QUICK) -> str:
    """The kind of failure that an address comes to."""
    ((_, kind, _),) = got([address], config).failures
    return kind


ITEM = json.dumps(item("a", (0, 0, 1, 1), text="x" * 5000)).encode()


@pytest.mark.slow
def test_a_host_that_rejects_many_requests_loses_no_items(server: Server) -> None:
    """It refuses what is sent beyond that, more often than anything may be tried again."""
    lock, now, refused, first = threading.Lock(), [0], [0], threading.Barrier(4)

    def busy(handler: BaseHTTPRequestHandler) -> None:
        with lock:
            now[0] += 1
            is_over = now[0] > 3
            refused[0] += is_over
            is_first = sum(server.asked.values()) <= 4
        if is_first:
            first.wait(60)  # they are all under way at once
        time.sleep(0.01)
        with lock:
            now[0] -= 1
        send(handler, b"", 429) if is_over else send(handler, ITEM)

    server.paths["/item"] = busy
    found = got([f"{server.url}/item?{n}" for n in range(150)], FetchConfig(in_flight=40, retries=1, first_wait=0.02))
    assert found.failures == []
    assert refused[0] > 5  # it has been too much for it
    assert sum(server.asked.values()) == 150 + refused[0]
    assert refused[0] < 150  # and then was not


def test_the_learned_limit_of_a_host_is_kept_for_the_next_batch(server: Server) -> None:
    """Addresses are fetched some thousand at a time: not all of them have to overrun it again."""
    lock, now, most, refusals = threading.Lock(), [0], [0], [4]

    def busy(handler: BaseHTTPRequestHandler) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            refusals[0] -= 1
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        send(handler, b"", 429, Retry_After="0") if refusals[0] >= 0 else send(handler, ITEM)

    server.paths["/item"] = busy
    config = FetchConfig(in_flight=32, per_host=32, retries=9, first_wait=0.001)
    with ItemFetcher(config) as fetcher:
        assert fetcher.fetch([f"{server.url}/item"]).failures == []  # halved four times, and one answer
        most[0] = 0
        assert fetcher.fetch([f"{server.url}/item?{n}" for n in range(12)]).failures == []
    assert 1 <= most[0] <= 6  # and not 8 or more, as at the beginning


def test_a_host_that_refuses_everything_is_given_up(server: Server) -> None:
    server.paths["/item"] = lambda handler: send(handler, b"", 429, Retry_After="0")
    found = got([f"{server.url}/item?{n}" for n in range(3)], FetchConfig(retries=2, first_wait=0.01))
    assert [kind for _, kind, _ in found.failures] == ["HTTP 429"] * 3
    assert set(server.asked.values()) == {3}


@pytest.mark.slow
@pytest.mark.parametrize("is_date", [False, True])
def test_requests_wait_until_retry_after(server: Server, is_date: bool) -> None:
    times: list[float] = []

    def closed(handler: BaseHTTPRequestHandler) -> None:
        times.append(time.monotonic())
        after = formatdate(time.time() + 2, usegmt=True) if is_date else "1"
        send(handler, b"", 503, Retry_After=after) if len(times) == 1 else send(handler, ITEM)

    server.paths["/item"] = closed
    found = got([f"{server.url}/item?{n}" for n in range(4)], FetchConfig(in_flight=1, first_wait=0.01))
    assert found.failures == []
    assert times[1] - times[0] > 0.9
    assert len(times) == 5


@pytest.mark.parametrize("text", ["soon", "²", "-5", "1e400", "Mon, 99 Foo"])
def test_unreasonable_retry_after_values_are_ignored(server: Server, text: str) -> None:
    answers = [503, 200]
    server.paths["/item"] = lambda handler: send(
        handler, ITEM, answers.pop(0), Retry_After=text.encode().decode("latin-1")
    )
    assert got([f"{server.url}/item"]).bodies == [ITEM]


def test_truncated_responses_are_retried(server: Server) -> None:
    squeezed = gzip.compress(ITEM)
    broken: dict[str, Callable[[BaseHTTPRequestHandler], object]] = {
        "/length": lambda handler: send(handler, ITEM[:-1000], length=len(ITEM)),
        "/none": lambda handler: send(handler, ITEM[:-1000], length=None),
        "/gzip": lambda handler: send(handler, squeezed[:-20], Content_Encoding="gzip"),
        "/noise": lambda handler: send(handler, b"no gzip", Content_Encoding="gzip"),
        "/reset": reset,
    }

    def second(path: str) -> Callable[[BaseHTTPRequestHandler], object]:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            if server.asked[path] == 1:
                broken[path](handler)
            else:
                send(handler, squeezed, Content_Encoding="gzip")

        return answer

    server.paths.update({path: second(path) for path in broken})
    found = got([f"{server.url}{path}" for path in broken])
    assert found.failures == []
    assert found.bodies == [ITEM] * len(broken)
    assert set(server.asked.values()) == {2}


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def test_urls_are_requested_as_spelt(server: Server) -> None:
    """Signed URLs are sent unchanged, but for hexadecimal digits, which urllib3 writes in upper case."""
    kept = ["/a%7Eb/c%2Fd.json?x=%2B+%20&y=a%3Ab~", "/a:b@c,d;e?f='(*)'&g", "/%E4%F6?q=a/b?c"]
    made = {"/ä b?z=ü": "/%C3%A4%20b?z=%C3%BC", "/a|b?c^": "/a%7Cb?c%5E"}
    server.paths = defaultdict(lambda: lambda handler: send(handler, ITEM))
    assert got([server.url + path for path in (*kept, *made)]).failures == []
    assert set(server.asked) == {*kept, *made.values()}


def test_compressed_items_are_read(server: Server, tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * (LARGEST + 1))
    server.paths["/a.json.gz"] = lambda handler: send(handler, gzip.compress(ITEM), Content_Type="application/gzip")
    server.paths["/cut"] = lambda handler: send(handler, gzip.compress(ITEM)[:-20])
    server.paths["/bomb"] = lambda handler: send(handler, bomb)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(ITEM))
    assert got([f"{server.url}/a.json.gz", str(tmp_path / "a.json.gz")]).bodies == [ITEM, ITEM]
    assert kind_of(f"{server.url}/cut") == "no JSON"
    assert kind_of(f"{server.url}/bomb") == "refused"


def test_unusual_http_is_read(server: Server) -> None:
    def old(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + ITEM)
        handler.close_connection = True

    def pieces(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(ITEM), 1000):
            piece = ITEM[start : start + 1000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    def negotiated(handler: BaseHTTPRequestHandler) -> None:
        is_asked = "json" in handler.headers["Accept"]
        send(handler, ITEM if is_asked else b"<html>", X_Policy="x" * 20_000, Set_Cookie="a=b; Domain=.[bad")

    def noise(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\x01\r\n\r\n")
        handler.close_connection = True

    server.paths.update({"/old": old, "/pieces": pieces, "/negotiated": negotiated, "/noise": noise})
    found = got([f"{server.url}/{path}" for path in ("old", "pieces", "negotiated", "noise")])
    assert found.bodies == [ITEM, ITEM, ITEM, None]
    assert [kind for _, kind, _ in found.failures] == ["connection"]


@pytest.mark.slow
def test_endless_responses_are_given_up(server: Server) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" ")
            time.sleep(0.05)

    bomb = gzip.compress(b" " * (LARGEST + 1))
    server.paths["/trickle"] = trickle
    server.paths["/large"] = lambda handler: send(handler, b" " * (LARGEST + 1))
    server.paths["/bomb"] = lambda handler: send(handler, bomb, Content_Encoding="gzip")
    config = FetchConfig(retries=1, first_wait=0.01, timeout=0.5)
    assert kind_of(f"{server.url}/trickle", config) == "connection"
    assert kind_of(f"{server.url}/large") == "refused"
    assert kind_of(f"{server.url}/bomb") == "refused"
    assert server.asked == {"/trickle": 2, "/large": 1, "/bomb": 1}


def test_redirects_are_followed_only_to_permitted_urls(server: Server, tmp_path: Path) -> None:
    (tmp_path / "item.json").write_bytes(ITEM)
    targets = {"/good": "/item", "/loop": "/loop", "/file": f"file://{tmp_path}/item.json", "/ftp": "ftp://x/y",
               "/bad": "http://[::1", "/clouds": "http://169.254.7.7/"}  # fmt: skip
    for path, target in targets.items():
        server.paths[path] = lambda handler, target=target: send(handler, b"", 302, Location=target)  # type: ignore[misc]
    server.paths["/item"] = lambda handler: send(handler, ITEM)
    assert got([f"{server.url}/good"]).bodies == [ITEM]
    assert kind_of(f"{server.url}/loop?token=s3cret") == "refused"
    assert kind_of(f"{server.url}/file") == "refused"
    assert kind_of(f"{server.url}/ftp") == "refused"
    assert kind_of(f"{server.url}/bad") == "refused"
    assert kind_of(f"{server.url}/clouds") == "refused"
    assert server.asked["/file"] == server.asked["/clouds"] == 1


@pytest.mark.parametrize(
    "address",
    ["", "http://", "http://[::1", "https:///x", "http://a..b/x", f"http://{'a' * 70}.example/x", "http://x:99999/",
     "http://x:port/", "http://exa mple/", "http:// /", "http://\x00/", "nosuch://x/y", "http://xn--/",
     "https://x/y.json?sig=***", "https://***@x/y.json"],
)  # fmt: skip
def test_an_invalid_url_fails_alone(server: Server, address: str) -> None:
    server.paths["/item"] = lambda handler: send(handler, ITEM)
    found = got([address, f"{server.url}/item"], FetchConfig(retries=0))
    assert [number for number, _, _ in found.failures] == [0]
    assert found.bodies == [None, ITEM]


def test_metadata_addresses_of_clouds_are_forbidden() -> None:
    # Where nobody is: who looked would be told of no connection, or wait for one.
    assert kind_of("http://169.254.7.7/") == "refused"


@pytest.mark.parametrize(
    ("address", "is_off"),
    [("169.254.169.254", True), ("fe80::1%eth0", True), ("::ffff:169.254.169.254", True), ("2002:a9fe:a9fe::1", True),
     ("fd00:ec2::254", True), ("100.100.100.200", True), ("127.0.0.1", False), ("::1", False), ("10.0.0.1", False),
     ("168.63.129.16", True), ("::ffff:168.63.129.16", True), ("fd20:ce::254", True), ("fd00:ec2::23", True),
     ("64:ff9b::a9fe:a9fe", True), ("64:ff9b::169.254.169.254", True), ("64:ff9b:1::a83f:8110", True),
     ("2002:a83f:8110::1", True), ("::169.254.169.254", True), ("64:ff9b::5db8:d822", False), ("fd20:ce::255", False),
     ("93.184.216.34", False), ("2606:2800:220:1::1", False)],
)  # fmt: skip
def test_forbidden_addresses_are_not_requested(address: str, is_off: bool) -> None:
    assert is_metadata_address(address) == is_off


def test_remote_lists_cannot_name_local_files(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_bytes(ITEM)
    disguised = [
        str(secret), f"file://{secret}", f"FILE://{secret}", f"local://{secret}", f"simplecache::file://{secret}",
        f"s3://x::file://{secret}", f"zip://a::file://{secret}", f"~/{secret}", f"dir://a::{secret}", "memory://x",
        f"/../{secret}", f"reference://x::{secret}",
    ]  # fmt: skip
    server.paths["/list.txt"] = lambda handler: send(handler, "\n".join([*disguised, f"{server.url}/item"]).encode())
    server.paths["/item"] = lambda handler: send(handler, ITEM)
    found = ingest(f"{server.url}/list.txt", tmp_path / "catalog", quiet=True)
    assert found.counts.failures == {"refused": len(disguised)}
    assert len(found.catalog) == 1
    (tmp_path / "list.txt").write_text("\n".join(disguised[:2]))
    assert ingest(tmp_path / "list.txt", tmp_path / "own", quiet=True).counts.items == 2  # of one's own may


def test_paths_to_other_than_files_fail(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * (LARGEST + 1))
    assert kind_of(str(tmp_path)) == "no file"
    assert kind_of(str(tmp_path / "pipe")) == "no file"
    assert kind_of("/dev/zero") == "no file"
    assert kind_of(str(tmp_path / "large")) == "refused"
    assert kind_of(str(tmp_path / "none")) == "not found"
    assert kind_of("x" * 5000) == "no file"


def test_secrets_of_urls_are_never_stored(server: Server, tmp_path: Path) -> None:
    """Neither in the catalogue's folder, which may be public, nor on the screen."""
    port = server.url.rpartition(":")[2]
    query = "sv=2022&sp=r&sig=s3cret%2Fs3cret&X-Amz-Signature=s3cret&token=s3cret&n=7"
    urls = [
        f"{server.url}/gone?{query}",
        f"{server.url}/loop?{query}",
        f"http://user:s3cret@127.0.0.1:{port}/gone",
        f"http://s3cret@127.0.0.1:{port}/page?{query}",
        f"http://[::1?{query}",
        f"http://127.0.0.1:9/x?{query}",
    ]
    server.paths["/gone"] = lambda handler: send(handler, b"", 404)
    server.paths["/loop"] = lambda handler: send(handler, b"", 302, Location=f"/loop?{query}")
    server.paths["/page"] = lambda handler: send(handler, b"<html>")
    server.paths["/list.txt"] = lambda handler: send(handler, "\n".join(urls).encode())
    out = tmp_path / "catalog"
    command = ["catalog", "ingest", f"{server.url}/list.txt?token=s3cret", "--out", str(out), "--retries", "0"]
    result = run_command(*command, status=1)
    assert "s3cret" not in result.output
    assert sorted(path.name for path in out.iterdir() if "s3cret" in path.read_text(errors="replace")) == []
    with (out / "_failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["address"] == (f"{server.url}/gone?sv=2022&sp=r&sig=***&X-Amz-Signature=***&token=***&n=7")
    assert [row["kind"] for row in rows] == ["HTTP 404", "refused", "HTTP 404", "no JSON", "no address", "connection"]
    # As a list it says what is missing; nobody is asked.
    asked = sum(server.asked.values())
    assert ingest(out / "_failures.csv", tmp_path / "again", quiet=True).counts.failures == {"no address": 6}
    assert sum(server.asked.values()) == asked


@pytest.mark.parametrize("suffix", ["txt", "csv", "parquet"])
def test_signed_addresses_that_failed_are_found_in_their_list_again(
    server: Server, tmp_path: Path, suffix: str
) -> None:
    """The same, or signed anew meanwhile; what else has come to stand there is not asked."""
    is_up = [False]

    def item_of(handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.partition("?")[0].strip("/")
        send(handler, json.dumps(item(name, (0, 0, 1, 1))).encode(), 200 if is_up[0] or name == "good" else 404)

    names = ["good", "bad", "worse", "worst", "plain"]
    server.paths.update({f"/{name}": item_of for name in (*names, "other")})
    lists = tmp_path / f"list.{suffix}"

    def write(signature: str, fourth: str) -> None:
        query = f"?sig={signature}&n=1"
        urls = [f"{server.url}/{fourth if name == 'worst' else name}{query}" for name in names[:4]]
        urls.append(f"{server.url}/plain")
        if suffix == "parquet":
            pq.write_table(pa.table({"n": range(5), "stac": urls}), lists)
        else:
            lists.write_text("\n".join((["n,stac"] if suffix == "csv" else []) + [
                f"{n},{url}" if suffix == "csv" else url for n, url in enumerate(urls)
            ]))  # fmt: skip

    write("s3cret", "worst")
    column = None if suffix == "txt" else "stac"
    out = tmp_path / "catalog"
    assert ingest(lists, out, column=column, quiet=True).counts.failures == {"HTTP 404": 4}
    assert "s3cret" not in (out / "_failures.csv").read_text()
    assert ingest(out / "_failures.csv", out, column=column, quiet=True).counts.failures == {"HTTP 404": 4}
    assert server.asked["/bad?sig=s3cret&n=1"] == 2
    is_up[0] = True
    write("s3cret2", "other")
    found = ingest(out / "_failures.csv", out, column=column, quiet=True)
    assert found.counts.failures == {"no address": 1}
    assert set(contents(found.catalog)) == {("test", name) for name in ("good", "bad", "worse", "plain")}
    assert server.asked["/bad?sig=s3cret2&n=1"] == 1
    assert server.asked["/good?sig=s3cret&n=1"] == 1  # what had not failed is not asked again
    # A list of failures of somebody else's says nothing about the files of this machine, nor one that leads to itself.
    text = (out / "_failures.csv").read_text()
    server.paths["/_failures.csv"] = lambda handler: send(handler, text.encode())
    write("s3cret3", "worst")
    assert ingest(f"{server.url}/_failures.csv", out, quiet=True).counts.failures == {"no address": 1}
    loop = tmp_path / "loop.csv"
    loop.write_text(f"place,address,kind,reason\n{loop}:2,{server.url}/bad?sig=***,x,y\n")
    assert ingest(loop, out, quiet=True).counts.failures == {"no address": 1}


def test_two_urls_of_one_item_make_one_item(server: Server, tmp_path: Path) -> None:
    server.paths["/item"] = lambda handler: send(handler, ITEM)
    (tmp_path / "list.txt").write_text(f"{server.url}/item?1\n{server.url}/item?2\n")
    found = ingest([tmp_path / "list.txt", tmp_path / "list.txt"], tmp_path / "catalog", quiet=True)
    assert (found.counts.entries, found.counts.items, found.outcome.new) == (2, 2, 1)
    assert list(contents(eechips.open_catalog(tmp_path / "catalog"))) == [("test", "a")]


@pytest.mark.slow
def test_remote_lists_are_read_in_any_encoding(server: Server, tmp_path: Path) -> None:
    """Without lengths or ranges, longer than a block, compressed by their names or by the server."""
    text = b"".join(json.dumps(item(f"{n}", (0, 0, 1, 1), text="x" * 5000)).encode() + b"\n" for n in range(1200))
    squeezed = gzip.compress(text, 1)
    server.paths["/plain.ndjson"] = lambda handler: send(handler, text)
    server.paths["/endless.ndjson"] = lambda handler: send(handler, text, length=None)
    server.paths["/a.ndjson.gz"] = lambda handler: send(handler, squeezed)
    server.paths["/b.ndjson.gz"] = lambda handler: send(handler, squeezed, Content_Encoding="gzip")
    for path in server.paths:
        found = ingest(f"{server.url}{path}?sig=x.y", tmp_path / path.strip("/"), resolution=0, quiet=True)
        assert found.counts.items == 1200, path
    server.paths["/short.ndjson"] = lambda handler: send(handler, text[:-1000], length=len(text))
    result = run_command("catalog", "ingest", f"{server.url}/short.ndjson", "--out", tmp_path / "x", status=2)
    assert "cannot be read" in result.output
