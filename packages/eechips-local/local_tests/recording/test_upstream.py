"""Responses of a service reach the recorder whole, or not at all."""

from __future__ import annotations

import gzip

import pytest

from eechips_local.protocol.request_errors import UnavailableError
from eechips_local.recording.upstream import Upstream
from local_tests.support.function_server import serve_function

TEXT = b'{"result": [1, 2, 3]}'
EMPTY, FIRST, LAST = (gzip.compress(part, mtime=0) for part in (b"", TEXT[:9], TEXT[9:]))
PACKED = FIRST + LAST


def forward(body: bytes) -> bytes:
    """Return the content of a compressed response as a recorder receives it."""
    with serve_function(lambda *_: (200, {"Content-Encoding": "gzip"}, body)) as url:
        upstream = Upstream(url)
        try:
            return upstream.send("GET", "/v1/x", {}, b"").content
        finally:
            upstream.close()


@pytest.mark.parametrize("body", [PACKED, PACKED + bytes(512), EMPTY + PACKED], ids=["two", "zeros", "empty"])
def test_all_members_of_a_gzip_stream_are_received(body: bytes) -> None:
    assert forward(body) == TEXT == gzip.decompress(body)


@pytest.mark.parametrize(
    "body",
    [PACKED[:-3], PACKED[: len(FIRST) + 5], PACKED + b"more", TEXT, EMPTY * 1000],
    ids=["cut", "cut early", "more", "plain", "many"],
)
def test_streams_that_are_not_whole_are_refused(body: bytes) -> None:
    with pytest.raises(UnavailableError):
        forward(body)
