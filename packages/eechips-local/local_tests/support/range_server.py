"""A web server on loopback that serves byte ranges of files and counts them."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from local_tests.support.loopback import LoopbackServer, serving

_CHUNK = 16 << 10
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Files:
    """Served files and received requests.

    Attributes:
        folder: whose files are served.
        url: URL of the folder.
        status: in place of an answer, by file name: an HTTP status.
        short: file names whose answers end after half of what they promise.
        signature: what must stand after the question mark, if anything: ``/sign?href=…`` puts it there, as the
            Planetary Computer does.
        bytes: number of bytes that were sent, by file name.
        queries: what stood after the question mark.
    """

    folder: Path
    url: str = ""
    status: dict[str, int] = field(default_factory=dict)
    short: set[str] = field(default_factory=set)
    signature: str = ""
    bytes: Counter[str] = field(default_factory=Counter)
    queries: set[str] = field(default_factory=set)


class _Server(LoopbackServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """GDAL hangs up when it has seen the head of an answer: that is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, files: Files, *arguments: object) -> None:
        self.files = files
        super().__init__(*arguments)  # type: ignore[arg-type]

    def setup(self) -> None:
        # So that what was written is about what was read.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _CHUNK)
        super().setup()

    def _send_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._fail(405)  # as for a signed URL, which is signed for GET

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        name = unquote(parts.path).removeprefix("/")
        self.files.queries.add(parts.query)
        path = self.files.folder / name
        if self.files.signature and name == "sign":
            return self._send_json(
                {
                    "msft:expiry": "2099-01-01T00:00:00Z",
                    "href": f"{parse_qs(parts.query)['href'][0]}?{self.files.signature}",
                }
            )
        if self.files.signature not in ("", parts.query):
            return self._fail(403)
        if name in self.files.status:
            return self._fail(self.files.status[name])
        if ".." in path.parts or not path.is_file():
            return self._fail(404)
        content = path.read_bytes()
        start, stop = 0, len(content)
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked:
            start = int(asked[1])
            stop = min(int(asked[2]) + 1, len(content)) if asked[2] else len(content)
            if start >= len(content):
                return self._fail(416)
        part = content[start:stop]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if name in self.files.short:
            part = part[: len(part) // 2]
            self.close_connection = True
        for begin in range(0, len(part), _CHUNK):
            self.files.bytes[name] += self.wfile.write(part[begin : begin + _CHUNK])
        return None

    def _fail(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@contextmanager
def range_server(folder: Path) -> Iterator[Files]:
    """Serves a folder's files until the end of the block."""
    files = Files(folder)
    with _Server(("127.0.0.1", 0), partial(_Handler, files)) as server, serving(server) as files.url:
        yield files
