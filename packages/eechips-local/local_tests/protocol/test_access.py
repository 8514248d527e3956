"""The local Earth Engine answers programs of this machine only, and shares no connection between processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPResponse
from urllib.parse import urlsplit

import pytest
import requests
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from eechips_local.evaluation.evaluation_pool import EvaluationPool
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.exports.destinations import ExportConfig
from eechips_local.exports.export_process import ExportStarter
from eechips_local.exports.task_queue import TaskQueue
from eechips_local.protocol.app import create_app
from eechips_local.protocol.http import BoundedProtocol
from eechips_local.protocol.request_body import BodyTimeoutError, read_body
from eechips_local.protocol.service import Service
from eechips_local.protocol.source_checks import ShortConnections
from eechips_local.quota.quota import Quota, QuotaConfig
from eechips_local.stores import StoreConfig
from local_tests.support.local_earth_engine import Server, start_server, stop_server, wait_until

WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
OWN = "x-eechips-keep-alive: 1\r\n"
"""Header of eechips, which no browser sends to another origin."""
JSON = "Content-Type: application/json\r\n"
CONTROLS = [
    ("_faults", {"faults": []}),
    ("_quota", {"rate": None}),
    ("_latency", {"latency": None}),
    ("_requests", {"keep": 1}),
]

FORK_POOL = """
import multiprocessing, sys
import ee
from google.auth.credentials import AnonymousCredentials

ee.Initialize(AnonymousCredentials(), url=sys.argv[1], project="local")
barrier = multiprocessing.get_context("fork").Barrier(4)

def differences(worker):
    barrier.wait()
    numbers = range(worker * 1000, worker * 1000 + 40)
    return [(n, got) for n in numbers if (got := ee.Number(n).multiply(10).getInfo()) != n * 10]

assert ee.Number(1).getInfo() == 1  # from here on the client would have a connection open
with multiprocessing.get_context("fork").Pool(4) as pool:
    print(pool.map(differences, range(4), 1))
"""


@pytest.fixture(scope="module")
def server(serve: Callable[..., Server]) -> Server:
    return serve("--no-demo", "--rate", "none", "--minute", "none")


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        yield connection


def answer(connection: socket.socket) -> HTTPResponse:
    """The next answer; its body is still to be read."""
    response = HTTPResponse(connection)
    response.begin()
    return response


def ask(server: Server, headers: str, path: str = "/_stats", body: bytes = b"", method: str = "GET") -> HTTPResponse:
    """Send a request with these headers as they are."""
    with connected(server) as connection:
        head = f"{method} {path} HTTP/1.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode("latin-1") + body)
        response = answer(connection)
        response.read()
        return response


def test_a_connection_is_closed_after_its_response(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /_stats HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        response = answer(connection)
        assert json.loads(response.read())["requests"] is not None
        assert response.getheader("connection") == "close"
        assert connection.recv(1) == b""


def test_a_connection_stays_open_for_a_client_that_asks_for_it(server: Server) -> None:
    with connected(server) as connection:
        for _ in range(3):
            connection.sendall(f"GET /_stats HTTP/1.1\r\nHost: localhost\r\n{OWN}\r\n".encode())
            response = answer(connection)
            response.read()
            assert (response.status, response.getheader("connection")) == (200, None)
        connection.sendall(b"GET /_stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer(connection).read()
        assert connection.recv(1) == b""


def test_an_answer_that_comes_before_the_body_of_its_request_is_not_lost(server: Server) -> None:
    body = b"x" * 3_000_000
    with connected(server) as connection:
        head = f"POST /_faults HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode())
        response = answer(connection)
        assert (response.status, response.getheader("connection")) == (415, "close")
        assert json.loads(response.read())["error"]["code"] == 415
        connection.sendall(body)
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "endless", [b"1;" + b"a" * 4096, b"1\r\na\r\n0\r\n" + b"X: y\r\n" * 700], ids=["extension", "trailers"]
)
def test_what_surrounds_a_body_does_not_go_on_for_ever(server: Server, endless: bytes) -> None:
    """llhttp has no limit on the extensions of chunks, and uvicorn keeps all trailers."""
    head = "POST /v1/projects/local/value:compute HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(head.encode() + endless)
        for _ in range(700):
            connection.sendall(endless[-4096:])
        assert answer(connection).status == 400


@pytest.mark.parametrize("parts", [1, 10_000_000], ids=["that stalls", "without an end"])
def test_a_connection_is_closed_although_its_answered_request_does_not_end(parts: int) -> None:
    received = 0
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal received
        if received == parts:
            await asyncio.Event().wait()
        received += 1
        return {"type": "http.request", "body": b"x" * (1 << 20), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    app = ShortConnections(Response(b"answer"), drain_seconds=0.05 if parts == 1 else 60.0)
    asyncio.run(app({"type": "http", "method": "POST", "headers": []}, receive, send))  # type: ignore[arg-type]
    assert [message.get("more_body", False) for message in sent] == [False, True, False]
    assert received in (1, 129)


@pytest.mark.slow
def test_an_answered_request_may_come_slowly_to_its_end() -> None:
    """A client that sends its whole body before it reads would else lose the answer."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        await asyncio.sleep(0.1)
        received += 1
        return {"type": "http.request", "body": b"x", "more_body": received < 25}

    async def send(message: Message) -> None:
        pass

    app = ShortConnections(Response(b"answer"), drain_seconds=2.0)
    asyncio.run(app({"type": "http", "method": "POST", "headers": []}, receive, send))  # type: ignore[arg-type]
    assert received == 25


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork")
@pytest.mark.slow
def test_forked_processes_of_any_client_get_their_own_answers(server: Server) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK_POOL, server.url]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (finished.stdout, finished.returncode) == ("[[], [], [], []]\n", 0), finished.stderr


@pytest.mark.parametrize(
    "name",
    [
        "evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example@localhost",
        "localhost@evil.example", "localhost/evil.example", "127.0.0.2", "0.0.0.0", "[::1].evil.example", "",
        "localhost:80:90", "localhost:x", "10.0.0.1", "localhost, evil.example", "\xe9vil",
    ],
)  # fmt: skip
def test_a_foreign_host_is_refused(server: Server, name: str) -> None:
    assert ask(server, f"Host: {name}\r\n").status == 403
    assert ask(server, f"Host: {name}\r\n{JSON}", "/_quota", b'{"rate": 1}', "POST").status == 403
    assert requests.get(f"{server.url}/_quota", timeout=60).json()["rate"] is None


def test_a_request_without_a_host_is_refused(server: Server) -> None:
    assert ask(server, "").status == 403


def test_two_hosts_are_refused_unless_both_are_local(server: Server) -> None:
    assert ask(server, "Host: localhost\r\nHost: evil.example\r\n").status in (400, 403)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "localhost:8765", "LocalHost:80", "[::1]:8765"])
def test_a_host_of_this_machine_is_answered(server: Server, name: str) -> None:
    assert ask(server, f"Host: {name}\r\n").status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example", "http://evil.example:8888", "null", "http://localhost.evil.example", "file://", "",
        "http://localhost@evil.example", "chrome-extension://localhost", "http://127.0.0.2",
    ],
)  # fmt: skip
def test_a_page_of_another_site_is_refused(server: Server, origin: str) -> None:
    for path, body in [("/v1/projects/local/value:compute", {}), *((f"/{name}", body) for name, body in CONTROLS)]:
        content = json.dumps(body).encode()
        assert ask(server, f"Host: localhost\r\nOrigin: {origin}\r\n{JSON}", path, content, "POST").status == 403
    assert ask(server, f"Host: localhost\r\nOrigin: {origin}\r\n").status == 403


@pytest.mark.parametrize("origin", ["http://localhost:8888", "http://127.0.0.1", "https://localhost", "http://[::1]:1"])
def test_a_page_of_this_machine_is_answered(server: Server, origin: str) -> None:
    assert ask(server, f"Host: localhost\r\nOrigin: {origin}\r\n").status == 200


SIMPLE = ["text/plain", "text/plain;application/json", "application/x-www-form-urlencoded", ""]
"""What a page sends to another server without its consent."""


@pytest.mark.parametrize("declared", SIMPLE)
@pytest.mark.parametrize(
    "path", ["/v1/projects/local/value:compute", "/v1/projects/local/image:export", "/batch", "/token"]
)
def test_a_page_of_another_port_starts_nothing(server: Server, path: str, declared: str) -> None:
    """Another user's server on this machine showed a page that computed, exported, and changed assets."""
    content = json.dumps({"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}}).encode()
    kind = f"Content-Type: {declared}\r\n" if declared else ""
    other = f"Host: localhost:8765\r\nOrigin: http://localhost:8888\r\n{kind}"
    assert ask(server, other, path, content, "POST").status == 415
    own = f"Host: localhost:8765\r\nOrigin: http://localhost:8765\r\n{kind}"
    assert ask(server, own, path, content, "POST").status != 415


@pytest.mark.parametrize("declared", SIMPLE)
@pytest.mark.parametrize(("name", "body"), CONTROLS)
def test_control_requests_are_refused_unless_they_are_json(
    server: Server, name: str, body: dict[str, object], declared: str
) -> None:
    headers = {"Content-Type": declared} if declared else {}
    refused = requests.post(f"{server.url}/{name}", json.dumps(body), headers=headers, timeout=60)
    assert (refused.status_code, refused.json()["error"]["status"]) == (415, "INVALID_ARGUMENT")
    headers = {"Content-Type": "application/JSON; charset=utf-8"}
    assert requests.post(f"{server.url}/{name}", json.dumps(body), headers=headers, timeout=60).status_code == 200


@pytest.mark.slow
def test_a_client_that_leaves_in_the_middle_of_its_body_is_not_a_fault(capfd: pytest.CaptureFixture[str]) -> None:
    running = start_server("--no-demo")
    try:
        head = b"POST /v1/projects/local/value:compute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
        with connected(running) as connection:
            connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 100"  # it knows its client, and waits for the body
            connection.sendall(b'{"expression": ')
        wait_until(lambda: running.stats()["answers"].get("value:compute", {}).get("499") == 1)
        assert running.stats()["in_flight"]["now"] == 0
    finally:
        stop_server(running)
    assert capfd.readouterr().err == ""


def test_headers_that_do_not_end_are_refused(server: Server) -> None:
    for line in (b"X: a\r\n" * 10_000, b"a" * 60_000):
        with connected(server) as connection:
            connection.sendall(b"GET /_stats HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(1000):
                    connection.sendall(line)
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                assert answer(connection).status == 400
    assert ask(server, "Host: localhost\r\nX-Long: " + "a" * 500_000 + "\r\n").status == 200


@pytest.mark.parametrize(
    "parts",
    [[], [b"GET / HTTP/1.1\r\nHost: localhost\r\n"], [WHOLE, b"\r\n"], [WHOLE, b"GET / HTTP"], [WHOLE + b"GET / HTTP"]],
    ids=["nothing", "half of the headers", "then an empty line", "then half of another", "and half of another"],
)
def test_a_connection_whose_headers_do_not_end_in_time_is_closed(parts: list[bytes]) -> None:
    class Hasty(BoundedProtocol):
        head_seconds = 0.05

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"answer")(scope, receive, send)

    async def talk() -> bytes:
        config = uvicorn.Config(app, http=Hasty, lifespan="off")
        state, loop = ServerState(), asyncio.get_running_loop()
        async with await loop.create_server(lambda: Hasty(config, state, {}), "127.0.0.1", 0) as listener:
            reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
            found = b""
            for part in parts:
                writer.write(part)
                if WHOLE in part:
                    found += await reader.readuntil(b"answer")
            found += await reader.read()  # until the server closes the connection
            writer.close()
            return found

    found = asyncio.run(talk())
    assert found.endswith(b"The headers of the request did not arrive within 0.05 seconds.")
    assert b"HTTP/1.1 408 Request Timeout" in found


@pytest.mark.slow
def test_a_body_that_does_not_arrive_ends_with_an_error() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def body() -> None:
        workers = EvaluationPool(1, StoreConfig(demo=False), ServiceLimits())
        try:
            tasks = TaskQueue(ExportConfig(), ExportStarter(StoreConfig(demo=False), ServiceLimits()), lambda *_: None)
            quota = Quota(QuotaConfig())
            service = Service(workers=workers, quota=quota, payload=100, tasks=tasks, body_seconds=0.05)
            await service.body(Request({"type": "http", "method": "POST"}, receive))
        finally:
            workers.stop()

    with pytest.raises(BodyTimeoutError, match=r"did not arrive within 0\.05 seconds"):
        asyncio.run(body())
    assert BodyTimeoutError("x").code == 408


def test_a_body_that_makes_no_progress_ends_with_an_error() -> None:
    async def body() -> None:
        parts: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True} for _ in range(3)]

        async def receive() -> Message:
            if not parts:
                await asyncio.Event().wait()
            return parts.pop()

        await read_body(Request({"type": "http", "method": "POST"}, receive), 100, 60.0, 0.05)

    with pytest.raises(BodyTimeoutError, match=r"made no progress for 0\.05 seconds"):
        asyncio.run(body())


def test_a_bug_reaches_clients_as_the_service_s_own_error(capfd: pytest.CaptureFixture[str]) -> None:
    workers = EvaluationPool(1, StoreConfig(demo=False), ServiceLimits())
    tasks = TaskQueue(ExportConfig(), ExportStarter(StoreConfig(demo=False), ServiceLimits()), lambda *_: None)
    workers.stop()  # no thread takes a request any more
    app = create_app(Service(workers=workers, quota=Quota(QuotaConfig()), payload=100, tasks=tasks))

    async def talk() -> bytes:
        config = uvicorn.Config(app, lifespan="off", log_level="critical")
        state, loop = ServerState(), asyncio.get_running_loop()
        protocol = partial(BoundedProtocol, config, state, {})
        async with await loop.create_server(protocol, "127.0.0.1", 0) as listener:
            reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
            head = b"POST /v1/projects/local/value:compute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            writer.write(head + b"Content-Length: 2\r\n\r\n{}")
            found = await reader.read()
            writer.close()
            return found

    head, body = asyncio.run(talk()).split(b"\r\n\r\n")
    # The client of JavaScript shows the message of an error that is JSON, and of others the status alone.
    assert b"HTTP/1.1 500 " in head
    assert b"application/json" in head.lower()
    assert json.loads(body) == {
        "error": {"code": 500, "message": "An internal error has occurred.", "status": "INTERNAL"}
    }
    assert capfd.readouterr().err == ""


def test_bodies_that_are_not_finished_hold_no_slot(server: Server) -> None:
    head = b"POST /v1/projects/local/value:compute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    most = requests.get(f"{server.url}/_quota", timeout=60).json()["concurrency"]
    with contextlib.ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(connected(server)).sendall(head)
        body = {"expression": {"result": "0", "values": {"0": {"constantValue": 7}}}}
        found = requests.post(f"{server.url}/v1/projects/local/value:compute", json=body, timeout=60)
        assert (found.status_code, found.json()) == (200, {"result": 7})
