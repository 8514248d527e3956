"""Any response head gives the content or one error; no cookie is kept, and no wait is unbounded."""

from __future__ import annotations

import gzip
import itertools
import random
import zlib

import pytest

from eechips.client.http.http_messages import Timeouts
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.errors import EechipsError, InternalError
from tests.fuzz.budget import Budget
from tests.fuzz.test_error_bodies import assert_presentable
from tests.support.raw_server import RawServer, chunked, raw_server

CONTENT = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
LENGTHS = ["-1", "+5", "abc", "1e3", "0x10", "", " ", "99999999999999999999", "5, 5", "5, 6", "\u0665", "0", "00005128"]
ENCODINGS = [
    "gzip",
    "x-gzip",
    "deflate",
    "br",
    "zstd",
    "gzip, gzip",
    "identity",
    "GZIP",
    "gzip;q=1",
    "none",
    "",
    "é",
    "\x0c",
]
STATUSES = [
    "200 OK",
    "200",
    "204 No Content",
    "206 Partial Content",
    "301 Moved",
    "302 Found",
    "304 Not Modified",
    "307 X",
]
STATUSES += [
    "100 Continue",
    "199 X",
    "400 Bad",
    "401 X",
    "403 X",
    "404 X",
    "429 X",
    "500 X",
    "503 X",
    "999 X",
    "000 X",
    "20x Y",
]
VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/2", "http/1.1", "ICY", "HTTP/1.1 ", ""]
ODD = [
    "a",
    "1",
    "-1",
    "9" * 400,
    "\x00",
    "\x1b[2J",
    "é",
    "日",
    "\udc80",
    "x" * 5000,
    ";",
    "=",
    ", ,",
    '"',
    "parallelism_restricted=true",
]
NAMES = [
    "Retry-After", "Date", "Content-Type", "Content-Range", "Connection", "Keep-Alive", "Set-Cookie",
    "WWW-Authenticate", "x-earth-engine-quota-status", "X-Content-Type-Options", "Trailer",
    "Upgrade", "Server-Timing", "Age",
    "ETag", "", "No Colon", "Bad\x01Name", "content-length ",
]  # fmt: skip
LOCATIONS = [
    "/again", "//127.0.0.1:9/x", "http://127.0.0.1:9/x", "http://[::1", "javascript:alert(1)", "file:///etc/passwd", "",
    "http://user:pw@127.0.0.1:9/", "/\x00", "/" + "a" * 9000, "?", "http://exa mple/", "HTTP://127.0.0.1:99999/", "ftp://x/",
]  # fmt: skip


def head(draw: random.Random) -> tuple[bytes, bool]:
    """An answer, and whether its head and body belong together."""
    body, fields = CONTENT[: draw.choice([0, 1, 100, len(CONTENT)])], []
    is_sound = True
    if draw.random() < 0.4:
        fields.append(("Content-Encoding", draw.choice(ENCODINGS)))
        is_sound = False
    wire = {0: lambda: gzip.compress(body), 1: lambda: zlib.compress(body), 2: lambda: body[: len(body) // 2]}
    kind = draw.randrange(8)
    sent = wire.get(kind, lambda: body)()
    is_sound = is_sound and kind > 2
    length = draw.random()
    if length < 0.6:
        fields.append(("Content-Length", str(len(sent))))
    elif length < 0.8:
        fields.append(("Content-Length", draw.choice([*LENGTHS, str(len(sent) + 10), str(len(sent) // 2)])))
        is_sound = False
    else:
        fields.append(
            ("Transfer-Encoding", draw.choice(["chunked", "Chunked", "chunked, chunked", "gzip, chunked", "x"]))
        )
        sent = (
            chunked(sent, is_whole=draw.random() < 0.7)
            if draw.random() < 0.8
            else draw.choice([b"zz\r\n", b"5\r\nab", sent])
        )
        is_sound = False
    for _ in range(draw.choice([0, 0, 1, 3, 30])):
        fields.append((draw.choice(NAMES), draw.choice(ODD)))
        is_sound = False
    status = draw.choice(STATUSES) if draw.random() < 0.4 else "200 OK"
    version = draw.choice(VERSIONS) if draw.random() < 0.1 else "HTTP/1.1"
    if status.startswith("3") or draw.random() < 0.05:
        fields.append(("Location", draw.choice(LOCATIONS)))
    draw.shuffle(fields)
    lines = "".join(f"{name}: {value}\r\n" if name != "No Colon" else f"{value}\r\n" for name, value in fields)
    answer = f"{version} {status}\r\n{lines}\r\n".encode("utf-8", "surrogateescape") + sent
    if draw.random() < 0.05:
        answer = answer[: draw.randrange(len(answer))]
        is_sound = False
    return answer, is_sound and status == "200 OK" and version == "HTTP/1.1"


@pytest.fixture
def transport() -> Transport:
    """A transport whose clock runs ahead: what it is asked to wait for is over at once."""
    ticks = itertools.count(0.0, 1e6)
    throttle = Throttle(None, QuotaLimits(in_flight=4, start=4), clients=1, clock=lambda: next(ticks))
    quota = throttle.client(0)
    quota.pause = lambda _: None  # type: ignore[method-assign]
    policy = RetryPolicy(retries=1, delay=0.0, total=600.0, longest_wait=7200.0)
    seconds = itertools.count(0.0, 100.0)
    clock = lambda: next(seconds)  # noqa: E731
    return Transport("http://127.0.0.1:9", quota, policy, Timeouts(connect=5, read=5, total=20), clock=clock)


@pytest.mark.slow
def test_any_head_of_an_answer_gives_its_content_or_one_error(budget: Budget, transport: Transport) -> None:
    with raw_server() as server:
        for number, draw in enumerate(budget.draws()):
            answer, is_sound = head(draw)
            path = f"/{number}"
            server.answers[path] = lambda *_, answer=answer: answer
            server.answers["/again"] = lambda *_: b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"
            check(server, transport, path, answer, is_sound=is_sound)


def check(server: RawServer, transport: Transport, path: str, answer: bytes, *, is_sound: bool) -> None:
    """One answer gives its content, or one error, and leaves nothing behind."""
    found, error = outcome(transport, f"{server.url}{path}")
    assert not isinstance(error, InternalError), answer[:500]
    if error is not None:
        assert_presentable(str(error))
    assert not is_sound or (error is None and found == answer.partition(b"\r\n\r\n")[2]), (error, answer[:500])
    for each in server.asked.pop(path, []) + server.asked.pop("/again", []):
        assert "cookie" not in each
        assert "authorization" not in each


def outcome(transport: Transport, url: str) -> tuple[bytes, EechipsError | None]:
    """The content of an answer, or the error."""
    try:
        return transport.get(url, bytes), None
    except EechipsError as error:
        return b"", error
