"""A server on loopback that responds with raw bytes, valid HTTP or not."""

from __future__ import annotations

import socketserver
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from local_tests.support.loopback import serving

RawAnswer = Callable[[int, Mapping[str, str]], bytes]
"""All that is sent before the connection is closed: of the number of the request for its path, from 1, and of its
headers, with lower-case names. A request ``HEAD`` gets the part before the body (RFC 9110, 9.3.2)."""


@dataclass(slots=True)
class RawServer:
    """Served responses and received requests.

    Attributes:
        answers: by path.
        asked: headers of the requests, by path.
        url: URL of the server.
    """

    answers: dict[str, RawAnswer] = field(default_factory=dict)
    asked: dict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    url: str = ""


@contextmanager
def raw_server() -> Iterator[RawServer]:
    """Serves until the block ends."""
    found = RawServer()
    counting = threading.Lock()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method, path = self.rfile.readline().decode("latin-1").split(" ")[:2]
            lines = iter(lambda: self.rfile.readline().strip().decode("latin-1"), "")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            with counting:
                found.asked[path].append(headers)
                number = len(found.asked[path])
            answer = found.answers[path](number, headers)
            head, blank, _ = answer.partition(b"\r\n\r\n")
            self.wfile.write(head + blank if method == "HEAD" else answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            """A client that goes away is nothing to be told of."""

    with Server(("127.0.0.1", 0), Handler) as server, serving(server) as found.url:
        yield found


def message(status: int, body: bytes = b"", **headers: str | int | None) -> bytes:
    """An answer of HTTP; of names of headers, ``_`` is ``-``.

    ``Content-Length`` is added unless it is None. So is ``Connection: close``, as the server closes after each answer
    (RFC 9112, 9.6): a client that took the connection for one that stays open might send its next request into it.
    """
    lines = {"Content_Length": len(body), "Connection": "close", **headers}
    told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"HTTP/1.1 {status} X\r\n{told}\r\n".encode() + body


def chunked(body: bytes, *, is_whole: bool = True) -> bytes:
    """A body in chunks (RFC 9112, 7.1).

    Args:
        body: the content.
        is_whole: whether the last chunk is there, which says so.
    """
    return b"%x\r\n%s\r\n" % (len(body), body) + (b"0\r\n\r\n" if is_whole else b"")
