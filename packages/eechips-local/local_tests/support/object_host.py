"""A host on loopback whose objects have ETags, and whose answers can be faulty."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import unquote, urlsplit

from local_tests.support.loopback import QuietServer, serving

Fault = Literal[
    "reset",
    "truncate",
    "503",
    "520",
    "429",
    "407",
    "other range",
    "html",
    "redirect",
    "whole",
    "gzip",
    "late change",
    "damage",
    "403",
    "400",
]
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class ObjectHost:
    """Objects, and what was asked for.

    Attributes:
        objects: by name.
        url: URL of the host.
        faults: what is wrong with the next answers, in order; None for nothing.
        ranges: first and last byte of those that were asked for, by name.
        busy: requests in work.
        most_busy: greatest number that were in work at a time.
        has_etags: whether answers have them.
        denial: body of answers that deny access.
        headers: other headers of the next answers, one after the other.
        gate: answers wait for it.
        most_bytes: sent at once; of longer ranges, their beginning. Below 0, so many bytes less than are asked for.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    faults: list[Fault | None] = field(default_factory=list)
    ranges: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    busy: int = 0
    most_busy: int = 0
    has_etags: bool = True
    denial: bytes = b""
    headers: list[dict[str, str]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    gate: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    most_bytes: int = 1 << 40

    def requests(self) -> int:
        """Return the number of requests so far."""
        return sum(map(len, self.ranges.values()))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, host: ObjectHost, *arguments: object) -> None:
        self.host = host
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        with self.host.lock:
            self.host.busy += 1
            self.host.most_busy = max(self.host.most_busy, self.host.busy)
            fault = self.host.faults.pop(0) if self.host.faults else None
        self.is_busy = True
        try:
            self.host.gate.wait(30)
            self._answer(fault)
        finally:
            self._end()

    def _end(self) -> None:
        """Count a request as done: before its last bytes are sent, after which a client may send the next."""
        with self.host.lock:
            self.host.busy -= self.is_busy
            self.is_busy = False

    def _answer(self, fault: Fault | None) -> None:
        name = unquote(urlsplit(self.path).path).removeprefix("/")
        content = self.host.objects.get(name)
        if content is None:
            return self._send(404, b"", {})
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, stop = (0, len(content)) if asked is None else (int(asked[1]), min(int(asked[2]) + 1, len(content)))
        with self.host.lock:
            self.host.ranges.setdefault(name, []).append((start, stop - 1))
        if (most := self.host.most_bytes) > 0 or stop - start > 64_000:
            stop = min(stop, start + most) if most > 0 else stop + most
        if start >= len(content):
            return self._send(416, b"", {})
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{self.host.sizes.get(name, len(content))}"}
        headers |= {"ETag": etag} if self.host.has_etags else {}
        with self.host.lock:
            headers |= self.host.headers.pop(0) if self.host.headers else {}
        return self._send_range(fault, content, start, stop, headers)

    def _send_range(self, fault: Fault | None, content: bytes, start: int, stop: int, headers: dict[str, str]) -> None:
        part = content[start:stop]
        if fault == "reset":
            self.close_connection = True
            return self.connection.close()
        if fault in ("503", "520", "429", "407", "403", "400"):
            return self._send(int(fault), self.host.denial if fault[0] == "4" else b"", {"Retry-After": "0"})
        if fault == "html":
            return self._send(200, b"<html>who are you?</html>", {"Content-Type": "text/html; charset=utf-8"})
        if fault == "redirect":
            return self._send(302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"})
        if fault == "whole":
            return self._send(200, content, {})
        if fault == "gzip":
            return self._send(206, part, {**headers, "Content-Encoding": "gzip"})
        if fault == "damage":
            return self._send(206, bytes(len(part)), headers)
        if fault == "other range":
            shifted = content[start + 1 : stop + 1]
            return self._send(206, shifted, {**headers, "Content-Range": f"bytes {start + 1}-{stop}/{len(content)}"})
        return self._send(206, part, headers, len(part) // 2 if fault == "truncate" else None)

    def _send(self, status: int, body: bytes, headers: dict[str, str], only: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self._end()
        self.end_headers()
        self.wfile.write(body[:only])
        self.close_connection = self.close_connection or only is not None

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@contextmanager
def object_host() -> Iterator[ObjectHost]:
    """Serve objects until the end of the block."""
    host = ObjectHost()
    host.gate.set()
    with QuietServer(("127.0.0.1", 0), partial(_Handler, host)) as server, serving(server) as host.url:
        try:
            yield host
        finally:
            host.gate.set()
