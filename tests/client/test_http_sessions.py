"""Requests that a recipe sends by itself pass the run's throttle, and it learns from their answers."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import threading
import weakref
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from eechips.client.http.connection_pool import KEEP_ALIVE_HEADER, ConnectionPool
from eechips.client.http.http_messages import HttpRequest, Timeouts
from eechips.client.http.http_sessions import open_session
from eechips.client.http.throttled_requests import throttle_requests_library
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import Permit, QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, UnreachableError
from local_tests.support.loopback import LoopbackServer


class Handler(BaseHTTPRequestHandler):
    """Answers with a body in two halves, the second when it is told to, or with a rejection."""

    first_half, second_half = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        if self.path == "/busy":
            self.send_response(429)
            self.send_header("Retry-After", "30")
            self.send_header("X-Earth-Engine-Quota-Status", "parallelism_restricted=true")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"first")
        self.wfile.flush()
        self.first_half.set()
        self.second_half.wait(60)
        self.wfile.write(b"twice")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Handler.first_half.clear()
    Handler.second_half.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Handler.second_half.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def throttle() -> Throttle:
    return Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=4, start=4), clients=2)


@contextlib.contextmanager
def throttled(throttle: Throttle, endpoint: str) -> Iterator[None]:
    """Requests of this process pass a throttle; afterwards the library is as it was."""
    before = requests.adapters.HTTPAdapter.send
    undo = throttle_requests_library(Transport(endpoint, throttle.client(1), RetryPolicy(), Timeouts()))
    try:
        yield
    finally:
        undo()
    assert requests.adapters.HTTPAdapter.send is before


def test_a_slot_is_held_until_the_body_arrives(url: str, throttle: Throttle) -> None:
    with throttled(throttle, url):
        bodies: list[bytes] = []
        thread = threading.Thread(target=lambda: bodies.append(requests.get(f"{url}/pixels", timeout=60).content))
        thread.start()
        assert Handler.first_half.wait(60)
        thread.join(0.3)  # a slot that is released with the first half would be by now
        assert throttle.in_flight == 1
        Handler.second_half.set()
        thread.join(60)
        assert bodies == [b"firsttwice"]
        assert (throttle.in_flight, throttle.sent, throttle.received) == (0, 1, 10)


def test_a_streamed_request_holds_a_slot_until_the_headers_arrive(url: str, throttle: Throttle) -> None:
    with throttled(throttle, url), requests.get(f"{url}/pixels", timeout=60, stream=True) as response:
        assert throttle.in_flight == 0
        Handler.second_half.set()
        assert response.raw.read() == b"firsttwice"


def test_a_rejection_closes_the_throttle_for_as_long_as_it_says(url: str, throttle: Throttle) -> None:
    with throttled(throttle, url):
        assert requests.get(f"{url}/busy", timeout=60).status_code == 429
        assert throttle.rejected == 1
        is_taken, wait = throttle.try_take(1, is_next=False)
        assert not is_taken
        assert 25 < wait <= 30


def test_responses_of_other_services_do_not_change_the_quota(url: str, throttle: Throttle) -> None:
    with throttled(throttle, "https://earthengine-highvolume.googleapis.com"):
        assert requests.get(f"{url}/busy", timeout=60).status_code == 429
        assert (throttle.sent, throttle.rejected) == (1, 0)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_opens_its_own_connections() -> None:
    asked: list[tuple[str, int | str, bool]] = []

    class KeptAlive(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append((self.path, self.client_address[1], KEEP_ALIVE_HEADER in self.headers))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with LoopbackServer(("127.0.0.1", 0), KeptAlive) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        connections = ConnectionPool(endpoint)

        def send(path: str) -> None:
            request = HttpRequest("GET", f"{endpoint}/{path}", None, {})
            assert connections.exchange(request, Timeouts(), Permit()).status == 200

        send("parent")
        child = os.fork()
        if child == 0:
            try:
                send("child")
                send("child")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        send("parent")
        connections.close()
        server.shutdown()
    ports = {path: {port for asked_path, port, _ in asked if asked_path == path} for path in ("/parent", "/child")}
    assert len(asked) == 4
    assert all(kept for *_, kept in asked)
    assert len(ports["/parent"]) == len(ports["/child"]) == 1
    assert ports["/parent"] != ports["/child"]


@pytest.mark.parametrize(
    "proxy",
    [
        "user:secret@127.0.0.1:1",
        "http://user:secret@",
        "http://user:secret@[::1",
        "http://user:secret@h:99999",
        "ftp://user:secret@h",
    ],
)
def test_a_proxy_that_is_no_address_is_a_wrong_variable(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was called a bug, in the doctor too."""
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="the proxy that the environment names") as caught:
        open_session("https://earthengine.googleapis.com")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy", ["127.0.0.1:3128", "http://user:pass@h", "https://[::1]:3128", "proxy.example:80", ""]
)
def test_a_proxy_that_requests_can_use_passes(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    open_session("https://earthengine.googleapis.com").close()


@pytest.mark.parametrize("is_guarded", [False, True])
def test_a_session_that_is_given_up_closes_its_connections(url: str, is_guarded: bool) -> None:
    session = open_session(url, is_guarded=is_guarded)
    assert session.get(f"{url}/busy").status_code == 429
    adapter = weakref.ref(session.get_adapter(url))
    del session
    gc.collect()
    assert adapter() is None


def test_a_proxy_that_is_away_is_a_network_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """For which a run waits: its units failed."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    endpoint = "https://earthengine.googleapis.com"
    with pytest.raises(UnreachableError, match=r"connection to the proxy failed: \w+: .*Connection refused"):
        ConnectionPool(endpoint).exchange(HttpRequest("GET", endpoint, None, {}), Timeouts(), Permit())
