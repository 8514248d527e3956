"""A response belongs to its request, or is refused, however it is framed."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import urllib3
from urllib3.util.wait import wait_for_read

from eechips.client.http.http_messages import HttpRequest, Timeouts
from eechips.client.http.response_framing import make_strict
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.errors import EechipsError, ResponseTimeoutError, TransientError
from eechips.processes.parallel_map import parallel_map
from local_tests.support.function_server import serve_function
from local_tests.support.google_front import make_certificate
from local_tests.support.parameters import slow_except
from tests.support.framing_front import ILLEGAL, LEGAL, Answer, framing_front
from tests.support.raw_server import raw_server


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """A server whose responses repeat the body of the request, so that they show to which request they belong."""

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/octet-stream"}, body * 40

    with serve_function(answer) as url:
        yield url


def _transport(url: str, retries: int = 20, total: float = 10) -> Transport:
    throttle = Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=8, start=8), clients=1)
    policy = RetryPolicy(retries=retries, delay=0.001, max_delay=0.002)
    return Transport(url, throttle.client(0), policy, Timeouts(connect=5, read=5, total=total))


def _exchange(transport: Transport, url: str, number: int) -> bool:
    """Return whether the response to a request is its own."""
    body = b"request %d;" % number
    return transport.post(HttpRequest("POST", f"{url}/{number}", body, {}), bytes) == body * 40


def _foreign_responses(server: str, count: int, seed: int) -> int:
    with framing_front(server, seed) as front, contextlib.closing(_transport(front.url)) as transport:
        own = list(parallel_map(lambda number: _exchange(transport, front.url, number), range(count), 8))
        assert front.exchanges > count
        assert min(front.counts[name] for name in (*LEGAL, *ILLEGAL)) > 0
        return own.count(False)


@pytest.mark.slow
def test_no_request_receives_the_response_to_another(echo: str) -> None:
    assert _foreign_responses(echo, 600, seed=1) == 0


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_no_request_among_thousands_receives_the_response_to_another(echo: str, seed: int) -> None:
    assert _foreign_responses(echo, 2500, seed) == 0


_OWN, _OTHER = Answer(200, {}, b"own" * 50), Answer(200, {}, b"other" * 50)


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_framing_is_read_at_once(name: str) -> None:
    with raw_server() as server:
        server.answers["/"] = lambda number, headers: LEGAL[name](_OWN, _OTHER, random.Random(number))[0]
        with contextlib.closing(_transport(server.url, retries=0)) as transport:
            assert transport.get(f"{server.url}/", bytes) == _OWN.body
    assert len(server.asked["/"]) == 1


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_framing_is_refused(name: str) -> None:
    with raw_server() as server:
        server.answers["/"] = lambda number, headers: ILLEGAL[name](_OWN, _OTHER, random.Random(number))[0]
        with contextlib.closing(_transport(server.url, retries=0)) as transport, pytest.raises(EechipsError) as error:
            transport.get(f"{server.url}/", bytes)
    assert server.url not in str(error.value)


@pytest.mark.parametrize("kind", ["multipart/byteranges; boundary=x", "multipart/mixed", "message/http"])
def test_a_type_that_has_parts_is_no_defect_of_the_headers(kind: str) -> None:
    with raw_server() as server:
        answer = Answer(200, {"Content-Type": kind}, _OWN.body)
        server.answers["/"] = lambda number, headers: answer.plain
        with contextlib.closing(_transport(server.url, retries=0)) as transport:
            assert transport.get(f"{server.url}/", bytes) == _OWN.body
    assert len(server.asked["/"]) == 1


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_body_that_tls_does_not_end_was_cut(is_whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a body without a length, only the end of the connection tells that it is whole: here after a row."""
    context, authority = make_certificate(("localhost",), tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    rows = b"a,b\n1,2\n3,4\n"

    def serve(listener: socket.socket) -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as server:
            server.recv(65536)
            server.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + (rows if is_whole else rows[:8]))
            if is_whole:
                with contextlib.suppress(OSError):  # the client need not end it as well
                    server.unwrap()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,))
        serving.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        with contextlib.closing(_transport(url, retries=0)) as transport:
            if is_whole:
                assert transport.get(f"{url}/", bytes) == rows
            else:
                with pytest.raises(TransientError, match="EOF"):
                    transport.get(f"{url}/", bytes)
        serving.join()


def test_a_server_may_respond_before_it_has_the_body() -> None:
    """With 429, for example: on a new connection, and on one that was used before."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        connection = make_strict(urllib3.HTTPConnectionPool("127.0.0.1", port)).ConnectionCls("127.0.0.1", port)
        stack.callback(connection.close)
        accepted: list[socket.socket] = []

        def body() -> Iterator[bytes]:
            if not accepted:
                accepted.append(stack.enter_context(listener.accept()[0]))
            accepted[0].recv(65536)
            accepted[0].sendall(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
            wait_for_read(connection.sock, timeout=60.0)
            yield b"body"

        for _ in range(2):
            connection.request("POST", "/", body=body(), headers={"Content-Length": "4"})
            response = connection.getresponse()
            assert (response.status, response.data) == (429, b"")
            assert accepted[0].recv(4) == b"body"


def test_closing_a_response_that_was_not_read_raises_nothing() -> None:
    """What came back behind it belongs to no request: it is noted, so that the connection carries no further one."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        connection = make_strict(urllib3.HTTPConnectionPool("127.0.0.1", port)).ConnectionCls("127.0.0.1", port)
        stack.callback(connection.close)
        connection.connect()
        server = stack.enter_context(listener.accept()[0])
        connection.request("GET", "/", preload_content=False)
        server.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
        response = connection.getresponse()
        server.sendall(_OTHER.plain)
        wait_for_read(connection.sock, timeout=60.0)
        response.close()
        assert not connection.is_connected


@pytest.mark.parametrize("start", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\0\2\2\x16", b"\r\n"])
def test_another_protocol_is_refused_by_its_first_bytes(start: bytes) -> None:
    """Its server sends no blank line, and waits for the client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(start)
                connection.recv(1)  # until the client has closed the connection

        server = threading.Thread(target=speak)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            contextlib.closing(_transport(url, retries=0, total=30.0)) as transport,
            pytest.raises(TransientError, match="what is not HTTP came back"),
        ):
            transport.get(f"{url}/", bytes)
        server.join()


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_ENDLESS = {
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
    "interim responses": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "an extension of a chunk": (_CHUNKED + b"2;a=", b"x"),
    "a trailer": (_CHUNKED + b"2\r\nok\r\n0\r\nX: ", b"x"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("name", slow_except(_ENDLESS, "a trailer", "a body"))
def test_a_response_that_comes_byte_by_byte_has_a_deadline(name: str) -> None:
    """Each byte comes within the time-out of a read, and there is no last one."""
    start, piece = _ENDLESS[name]
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(ConnectionError):
                connection.sendall(start)
                while not is_over.wait(0.02):
                    connection.sendall(piece)

        server = threading.Thread(target=drip)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with (
                contextlib.closing(_transport(url, retries=0, total=0.2)) as transport,
                pytest.raises(ResponseTimeoutError),
            ):
                transport.get(f"{url}/", bytes)
        finally:
            is_over.set()
            server.join()
