"""A front of a server that frames responses in every legal and illegal way, by a seed."""

from __future__ import annotations

import contextlib
import http.client
import random
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urlsplit

from local_tests.support.loopback import serving

# Headers of responses that the front passes on; it makes those of the framing itself.
_KEPT = frozenset({"content-type", "content-encoding", "retry-after", "x-earth-engine-quota-status"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of the server behind the front."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def head(self, *lines: str, version: str = "1.1", status: int | None = None) -> bytes:
        """Return the status line and headers with further lines."""
        kept = [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([f"HTTP/{version} {status or self.status} X", *kept, *lines, "", ""]).encode("latin-1")

    @property
    def plain(self) -> bytes:
        """The response as servers usually send it."""
        return self.head(f"Content-Length: {len(self.body)}") + self.body


Framing = Callable[[Answer, Answer, random.Random], tuple[bytes, bool]]
"""Of a response, an earlier response of another request, and random numbers: the bytes that are sent, and whether the
connection stays open."""


def _chunks(body: bytes, rng: random.Random, extension: bytes = b"") -> bytes:
    pieces, at = [], 0
    while at < len(body):
        size = rng.randint(1, max(1, len(body)))
        piece = body[at : at + size]
        pieces.append(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece))
        at += size
    return b"".join(pieces)


CHUNKED = "Transfer-Encoding: chunked"

LEGAL: Mapping[str, Framing] = {
    "plain": lambda a, _, r: (a.plain, True),
    "plain, closed": lambda a, _, r: (a.head(f"Content-Length: {len(a.body)}", "Connection: close") + a.body, False),
    "until closed": lambda a, _, r: (a.head("Connection: close") + a.body, False),
    "HTTP/1.0": lambda a, _, r: (a.head(version="1.0") + a.body, False),
    "HTTP/1.0 with a length": lambda a, _, r: (a.head(f"Content-Length: {len(a.body)}", version="1.0") + a.body, False),
    "100 before": lambda a, _, r: (b"HTTP/1.1 100 Continue\r\n\r\n" + a.plain, True),
    "102 before": lambda a, _, r: (b"HTTP/1.1 102 Processing\r\n\r\n" * r.randint(1, 3) + a.plain, True),
    "103 before": lambda a, _, r: (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + a.plain, True),
    "chunked": lambda a, _, r: (a.head(CHUNKED) + _chunks(a.body, r) + b"0\r\n\r\n", True),
    "chunk extensions": lambda a, _, r: (a.head(CHUNKED) + _chunks(a.body, r, b';a="b"') + b"0;z\r\n\r\n", True),
    "trailers": lambda a, _, r: (a.head(CHUNKED) + _chunks(a.body, r) + b"0\r\nExpires: 0\r\nA: b\r\n\r\n", True),
    "same length twice": lambda a, _, r: (a.head(*[f"Content-Length: {len(a.body)}"] * 2) + a.body, True),
}

ILLEGAL: Mapping[str, Framing] = {
    "earlier response behind": lambda a, b, r: (a.plain + b.plain, True),
    "itself behind": lambda a, b, r: (a.plain + a.plain, True),
    "blank lines behind": lambda a, b, r: (a.plain + b"\r\n\r\n", True),
    "behind the chunks": lambda a, b, r: (a.head(CHUNKED) + _chunks(a.body, r) + b"0\r\n\r\n" + b.plain, True),
    "length too small": lambda a, b, r: (a.head(f"Content-Length: {max(len(a.body) - 9, 0)}") + a.body, True),
    "length too large": lambda a, b, r: (a.head(f"Content-Length: {len(a.body) + 9}") + a.body, False),
    "lengths that differ": lambda a, b, r: (
        a.head(f"Content-Length: {len(a.body)}", f"Content-Length: {len(b.body) + 1}") + a.body + b.body,
        True,
    ),
    "list of lengths": lambda a, b, r: (a.head(f"Content-Length: {len(a.body)}, {len(a.body)}") + a.body, True),
    "signed length": lambda a, b, r: (a.head(f"Content-Length: +{len(a.body)}") + a.body, True),
    "length and chunks": lambda a, b, r: (
        a.head(f"Content-Length: {len(a.body)}", CHUNKED) + _chunks(a.body, r) + b"0\r\n\r\n",
        True,
    ),
    "unknown coding": lambda a, b, r: (a.head("Transfer-Encoding: gzip, chunked") + _chunks(a.body, r), False),
    "chunks in HTTP/1.0": lambda a, b, r: (a.head(CHUNKED, version="1.0") + _chunks(a.body, r) + b"0\r\n\r\n", False),
    "chunk size with 0x": lambda a, b, r: (a.head(CHUNKED) + b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(a.body), a.body), True),
    "chunk without its end": lambda a, b, r: (a.head(CHUNKED) + b"%x\r\n%s" % (len(a.body), a.body), False),
    "chunk too long": lambda a, b, r: (a.head(CHUNKED) + b"%x\r\n%sxx0\r\n\r\n" % (len(a.body), a.body), True),
    "no last chunk": lambda a, b, r: (a.head(CHUNKED) + _chunks(a.body, r), False),
    "trailers without end": lambda a, b, r: (a.head(CHUNKED) + _chunks(a.body, r) + b"0\r\nA: b\r\n", False),
    "102 alone": lambda a, b, r: (b"HTTP/1.1 102 Processing\r\n\r\n", False),
    "102 for ever": lambda a, b, r: (b"HTTP/1.1 102 Processing\r\n\r\n" * 500 + a.plain, False),
    "101": lambda a, b, r: (b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + a.plain, True),
    "no header": lambda a, b, r: (a.head("no header", f"Content-Length: {len(a.body)}") + a.body, False),
    "204 with a body": lambda a, b, r: (a.head(f"Content-Length: {len(a.body)}", status=204) + a.body, True),
    "half closed": lambda a, b, r: (a.plain[: r.randint(0, max(len(a.plain) - 1, 0))], False),
    "nothing": lambda a, b, r: (b"", False),
}
"""How responses are framed. After each of these, the client must not take another response for its own."""


@dataclass(slots=True)
class FramingFront:
    """A front and what it did.

    Attributes:
        url: URL of the front.
        illegal: share of the responses with an illegal framing.
        counts: exchanges by framing.
    """

    url: str = ""
    illegal: float = 0.3
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def exchanges(self) -> int:
        """How many requests the front has answered."""
        return sum(self.counts.values())


@contextlib.contextmanager
def framing_front(server: str, seed: int, illegal: float = 0.3) -> Iterator[FramingFront]:
    """Serve the responses of a server, framed at random, until the block ends.

    The first response on a connection with ``early`` in its place comes before the request is complete, as from fronts
    that refuse a request by its headers and then read its body as the next request.

    Args:
        server: address of the server behind the front.
        seed: seed of the random numbers.
        illegal: share of the responses with an illegal framing.
    """
    front = FramingFront(illegal=illegal)
    rng = random.Random(seed)
    lock = threading.Lock()
    earlier: list[Answer] = [Answer(200, {"Content-Type": "application/json"}, b"{}")]

    def choose() -> tuple[str, Framing | None, random.Random]:
        with lock:
            own = random.Random(rng.random())
        if own.random() >= illegal:
            name = own.choice(sorted(LEGAL))
            return name, LEGAL[name], own
        name = own.choice([*sorted(ILLEGAL), "early"])
        return name, ILLEGAL.get(name), own

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self._exchange():
                pass

        def _exchange(self) -> bool:
            start = self.rfile.readline()
            if not start:
                return False
            words = start.decode("latin-1").split()
            if len(words) != 3:
                self.wfile.write(b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n")
                return False
            headers = dict(_headers(self.rfile))
            name, framing, own = choose()
            with lock:
                front.counts[name] += 1
                other = own.choice(earlier)
            if framing is None:
                self.wfile.write(Answer(503, {}, b"early").plain)
                return True  # the body of the request is read as the next request
            length = int(headers.get("content-length", 0))
            answer = forward(server, words[0], words[1], headers, self.rfile.read(length))
            with lock:
                earlier.append(answer)
                del earlier[:-20]
            sent, stays = framing(answer, other, own)
            self.wfile.write(sent)
            return stays and headers.get("connection", "").lower() != "close"

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """A client that closes its connection is what the front is for."""

    with Server(("127.0.0.1", 0), Handler) as listening, serving(listening) as front.url:
        yield front


def _headers(file: BinaryIO) -> Iterator[tuple[str, str]]:
    while (line := file.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        yield name.lower(), value.strip()


def forward(server: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Return the response of a server to a request."""
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=60)
    try:
        sent = {name: value for name, value in headers.items() if name not in ("connection", "host")}
        connection.request(method, path, body or None, sent)
        response = connection.getresponse()
        kept = {name: value for name, value in response.getheaders() if name.lower() in _KEPT}
        return Answer(response.status, kept, response.read())
    finally:
        connection.close()
