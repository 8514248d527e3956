"""A bucket of S3 in memory, in a process of its own, that costs little: the clients are what is measured.

    python benchmarks/bucket.py            # prints {"url": …}; ends with its standard input

It knows what eechips asks for: PUT, GET (with Range), HEAD and DELETE of objects, and ListObjectsV2 page by page. A
body with another sha256 than its ``x-amz-checksum-sha256`` says is refused. Signatures are not looked at. ``GET
/_asked`` tells the requests so far by method, LIST for those that list; ``GET /_objects/…`` is not counted. A server
that others wrote is moto (packages/eechips-local/local_tests/support/object_server.py).
"""

from __future__ import annotations

import asyncio
import base64
import bisect
import email.utils
import hashlib
import json
import re
import sys
import threading
from collections import Counter
from datetime import datetime, timezone
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_PAGE = 1000
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 400: "Bad Request", 404: "Not Found", 416: "Range"}
_STARTED = datetime.now(timezone.utc)
_DATE, _MOMENT = email.utils.format_datetime(_STARTED, usegmt=True), _STARTED.strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Bucket:
    """Objects by path (``/bucket/key``), and what was asked for."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        """Status, further header lines and body of the answer to a request."""
        parts = urlsplit(target)
        path = unquote(parts.path)
        if path == "/_asked":
            return 200, "", json.dumps(self.asked).encode()
        if path.startswith("/_objects/"):
            return self._get(path.removeprefix("/_objects"), headers)
        key = path.partition("/")[2].partition("/")[2]
        if not key and method == "GET":
            self.asked["LIST"] += 1
            return 200, "", self._list(path, {name: each[0] for name, each in parse_qs(parts.query).items()})
        self.asked[method] += 1
        if method == "PUT":
            return self._put(path, headers, body)
        if method == "DELETE":
            self.objects.pop(path, None)
            return 204, "", b""
        return self._get(path, headers)

    def _put(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        wanted = headers.get("x-amz-checksum-sha256", "")
        if wanted and base64.b64decode(wanted) != hashlib.sha256(body).digest():
            return 400, "", _error("BadDigest", "The SHA256 did not match.")
        if path.strip("/").count("/"):
            self.objects[path] = body
        return 200, f'ETag: "{hashlib.md5(body, usedforsecurity=False).hexdigest()}"\r\n', b""

    def _get(self, path: str, headers: dict[str, str]) -> tuple[int, str, bytes]:
        content = self.objects.get(path)
        if content is None:
            return 404, "", _error("NoSuchKey", "The specified key does not exist.")
        about = f'ETag: "{hashlib.md5(content, usedforsecurity=False).hexdigest()}"\r\nLast-Modified: {_DATE}\r\n'
        asked = _RANGE.fullmatch(headers.get("range", ""))
        if asked is None:
            return 200, about, content
        first = int(asked[1])
        last = min(int(asked[2] or len(content)), len(content) - 1)
        if first > last:
            return 416, "", _error("InvalidRange", "The requested range is not satisfiable.")
        return 206, f"{about}Content-Range: bytes {first}-{last}/{len(content)}\r\n", content[first : last + 1]

    def _list(self, path: str, query: dict[str, str]) -> bytes:
        root = f"/{path.strip('/')}/"
        names = sorted(each for each in self.objects if each.startswith(root + query.get("prefix", "")))
        start = bisect.bisect_right(names, base64.b64decode(query.get("continuation-token", "")).decode())
        end = start + int(query.get("max-keys", _PAGE))
        rows = "".join(
            f"<Contents><Key>{escape(name[len(root) :])}</Key><LastModified>{_MOMENT}</LastModified>"
            f"<Size>{len(self.objects[name])}</Size></Contents>"
            for name in names[start:end]
        )
        is_cut = end < len(names)
        if is_cut:
            token = base64.b64encode(names[end - 1].encode()).decode()
            rows += f"<NextContinuationToken>{token}</NextContinuationToken>"
        return f"<ListBucketResult><IsTruncated>{str(is_cut).lower()}</IsTruncated>{rows}</ListBucketResult>".encode()


def _error(code: str, message: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


class _Connection(asyncio.Protocol):
    """One connection of HTTP/1.1 with bodies of a known length."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket, self._received = bucket, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._received[:end].decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            size = int(headers.get("content-length", 0))
            whole = end + 4 + size
            if len(self._received) < whole:
                if headers.get("expect") == "100-continue" and len(self._received) == end + 4:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body = bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            method, target, _ = first.split(" ")
            status, about, content = self._bucket.answer(method, target, headers, body)
            head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Length: {len(content)}\r\n{about}\r\n"
            self._transport.write(head.encode() + (b"" if method == "HEAD" else content))


async def _serve() -> None:
    bucket = Bucket()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(bucket), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    sys.stdout.write(json.dumps({"url": f"http://{host}:{port}"}) + "\n")
    sys.stdout.flush()
    done = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(done.set)), daemon=True).start()
    await done.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
