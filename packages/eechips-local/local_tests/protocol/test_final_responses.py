"""Interim responses before final ones, and second responses: each request is answered with what was asked for."""

from __future__ import annotations

import json
import select
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.archive_session import ArchiveRequest, ArchiveSession
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.host_throttle import HostThrottles
from eechips_local.recording.upstream import Upstream
from local_tests.support.function_server import serve_function
from local_tests.support.loopback import serving

Ask = Callable[[str], bytes]
"""Of a path: the body of the response."""

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@contextmanager
def echoing(interim: bytes, responses: int = 1) -> Iterator[str]:
    """Answer each request with its path, after interim responses: when the client sends another, or after a while.

    Further responses are sent when the client sends its next request.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while start := self.rfile.readline():
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(interim)
                select.select([self.connection], [], [], 0.05)
                body = json.dumps(start.decode().split()[1]).encode()
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                self.wfile.write(answer)
                for _ in range(responses - 1):
                    select.select([self.connection], [], [])
                    self.wfile.write(answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that leaves is expected."""

    with Server(("127.0.0.1", 0), Handler) as server, serving(server) as url:
        yield url


def ask_as_recorder(url: str) -> Ask:
    upstream = Upstream(url)
    return lambda path: upstream.send("GET", path, {}, b"").content


def ask_as_search(url: str) -> Ask:
    session = ArchiveSession(AllowedHosts.of_url(url), HostThrottles(4, 100.0), patience=0.0)
    return lambda path: bytes(session.fetch(ArchiveRequest("GET", url + path)))


def ask_as_reader(url: str) -> Ask:
    hosts = AllowedHosts.of_files(ArchiveDescription("test", "A test", hosts=(url.removeprefix("http://"),)))
    transport = HostTransport(hosts)

    def ask(path: str) -> bytes:
        response = transport.open(url + path, {}, 5.0, 5.0)
        content = response.read()
        response.release_conn()
        return content

    return ask


@pytest.mark.parametrize("is_by_proxy", [False, True])
@pytest.mark.parametrize("client", [ask_as_recorder, ask_as_search, ask_as_reader])
def test_each_request_has_its_own_final_response(
    client: Callable[[str], Ask], is_by_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with echoing(INTERIM) as url:
        if is_by_proxy and client is not ask_as_recorder:
            monkeypatch.setenv("http_proxy", url)
        ask = client(url)
        for path in ("/first", "/second"):
            assert json.loads(ask(path)).removeprefix(url) == path


@pytest.mark.parametrize("client", [ask_as_recorder, ask_as_search])
def test_a_second_response_is_not_that_to_the_next_request(client: Callable[[str], Ask]) -> None:
    with echoing(b"", responses=2) as url:
        ask = client(url)
        for path in ("/first", "/second", "/third"):
            assert json.loads(ask(path)) == path


def test_a_recorder_has_a_place_for_each_of_many_connections(caplog: pytest.LogCaptureFixture) -> None:
    """Or ``urllib3`` warns of each that it closes."""
    together = threading.Barrier(24)
    with serve_function(lambda *_: (200, {}, str(together.wait(60) >= 0).encode())) as url:
        ask = ask_as_recorder(url)
        with ThreadPoolExecutor(24) as pool:
            assert list(pool.map(ask, ["/"] * 24)) == [b"True"] * 24
    assert "pool is full" not in caplog.text


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n" * 200, b"HTTP/1.1 101 X\r\n\r\n"])
def test_interim_responses_without_end_or_of_another_protocol_are_errors(interim: bytes) -> None:
    with echoing(interim) as url, pytest.raises(Exception, match="did not respond completely"):
        ask_as_recorder(url)("/first")
