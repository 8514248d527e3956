"""Servers for tests of whole scenes, on loopback: one of files with the faults of real ones, and a STAC API.

The files' server is a process of its own for benchmarks (``python -m tests.support.scene_servers FOLDER --…`` prints
its address) and threads of this one for tests. It counts every byte of a body that has come to the other side's system.

The STAC API is ``rustac serve ITEMS.json --create-collections --addr 127.0.0.1:PORT`` (https://github.com/stac-utils),
which we did not write: item search with paging, by collection, time and geometry.
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import fcntl
import hashlib
import hmac
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

from local_tests.support.loopback import LoopbackServer

_CHUNK = 1 << 20
_SIOCOUTQNSD = 0x894B  # linux/sockios.h
_SEND_BUFFER = 1 << 18  # bytes on their way: what a client that is killed has not seen


@dataclass(kw_only=True)
class Faults:
    """The faults of a server.

    Attributes:
        seed: seed of what is drawn.
        cuts: share of answers that are cut somewhere, by a reset.
        has_ranges: whether it knows them.
        has_validators: whether it tells versions apart.
        lifetime: seconds that a signed address opens; None if all open without.
        replaced: names of files that become another while they are sent for the first time.
        damaged: names of files of which one byte is another, so many times.
        busy: share of requests answered with 503.
        rate: bytes a second of all answers; None for no limit.
        key: key of the signatures: servers that have the same sign for each other.
    """

    seed: int = 1
    cuts: float = 0.0
    has_ranges: bool = True
    has_validators: bool = True
    lifetime: float | None = None
    replaced: tuple[str, ...] = ()
    damaged: dict[str, int] = field(default_factory=dict)
    busy: float = 0.0
    rate: float | None = None
    key: str = "of the tests"


@dataclass(frozen=True, slots=True)
class Body:
    """A part of a file that was sent.

    Attributes:
        version: version of the file.
        begin: first byte.
        end: byte after the last that has come to the other side's system.
        how: it ended: ``whole``, ``cut`` by the server, or ``left`` by the client.
    """

    version: int
    begin: int
    end: int
    how: str


def sent_twice(bodies: Sequence[Body]) -> Counter[str]:
    """Bytes of one file that were sent although the other side had had them, by what had happened.

    Args:
        bodies: bodies of the file, in the order of time.

    Returns:
        ``replaced``: the file was, and what had come of the old one was of no use any more. ``cut``, ``left``: the
        answer before had ended like that, and this one began before its end. ``whole``: all of it, once more.
    """
    twice: Counter[str] = Counter()
    at, version, how = 0, None, "whole"
    for body in bodies:
        if version is not None and body.version != version:
            twice["replaced"] += at
        elif body.begin < at:
            # A part of a whole has come to the other side's system, and it ended before it took that.
            twice["left" if how == "whole" and body.begin else how] += at - body.begin
        at, version, how = body.end, body.version, body.how
    return twice


class FileServer(LoopbackServer):
    """Serves the files of a folder. Use it in a ``with`` block.

    Attributes:
        sent: bytes of bodies, by name.
        bodies: by name.
        requests: by name.
        statuses: how often each was answered.
        authorizations: what requests carried, by path.
        most_at_once: bodies that were sent at once.
        span: when the first and the last piece of a body were sent, in seconds.

    Args:
        folder: folder of the files.
        faults: what is wrong.
    """

    def __init__(self, folder: Path, faults: Faults | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.faults = folder, faults or Faults()
        self.sent: Counter[str] = Counter()
        self.bodies: dict[str, list[Body]] = {}
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.authorizations: dict[str, list[str | None]] = {}
        self.versions: Counter[str] = Counter()
        self.span = (0.0, 0.0)
        self.at_once = self.most_at_once = 0
        self.draws = random.Random(self.faults.seed)
        self.lock = threading.Lock()
        self._due = time.monotonic()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are nothing to be told of."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def sign(self, path: str) -> tuple[str, float]:
        """A path with a signature, and when it runs out."""
        until = time.time() + (self.faults.lifetime or 3600.0)
        return f"{path}?{urlencode({'expires': f'{until:.3f}', 'sig': self.signature(path, f'{until:.3f}')})}", until

    def signature(self, path: str, until: str) -> str:
        return hmac.new(self.faults.key.encode(), f"{path} {until}".encode(), "sha256").hexdigest()

    def pace(self, count: int) -> None:
        """Waits as long as a line of that rate takes for so many bytes."""
        if self.faults.rate is None:
            return
        with self.lock:
            now = time.monotonic()
            self._due = max(self._due, now - 0.05) + count / self.faults.rate
            wait = self._due - now
        if wait > 0:
            time.sleep(wait)

    def etag(self, name: str) -> str:
        return f'"{hashlib.sha1(f"{name} {self.versions[name]}".encode()).hexdigest()}"'

    def stats(self) -> dict[str, Any]:
        with self.lock:
            return {
                "sent": sum(self.sent.values()),
                "twice": {name: dict(sent_twice(bodies)) for name, bodies in self.bodies.items()},
                "seconds": self.span[1] - self.span[0],
                "requests": sum(self.requests.values()),
                "names": dict(self.sent),
                "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    _at = 0
    """Byte of the file that is sent next."""
    _last: str | None = None
    """The file that was sent last, if it was sent to its end."""

    def setup(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        super().setup()

    def finish(self) -> None:
        unsent = 0 if self._last is None else self._unsent
        if self._last is not None and unsent:  # the client has ended before it had the whole
            with self.server.lock:
                self.server.sent[self._last] -= unsent
                last = self.server.bodies[self._last].pop()
                self.server.bodies[self._last].append(replace(last, end=last.end - unsent, how="left"))
        super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, parts = self.server, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/stats":
            self._json(server.stats())
        elif parts.path == "/processor":
            self._json(time.process_time())
        elif parts.path == "/sign":
            wanted = urlsplit(query["href"])
            signed, until = server.sign(wanted.path)
            self._json({"href": f"{wanted.scheme}://{wanted.netloc}{signed}", "msft:expiry": _text(until)})
        else:
            with server.lock:
                server.authorizations.setdefault(parts.path, []).append(self.headers["Authorization"])
            self._file(parts.path, query)

    def _file(self, path: str, query: dict[str, str]) -> None:
        server, faults, name = self.server, self.server.faults, path.lstrip("/")
        with server.lock:
            server.requests[name] += 1
            is_first = server.requests[name] == 1
            is_cut, where = server.draws.random() < faults.cuts, server.draws.random()
            is_busy = server.draws.random() < faults.busy
            is_damaged = faults.damaged.get(name, 0) > 0
        if faults.lifetime is not None and not self._is_signed(path, query):
            return self._status(403)
        if is_busy:
            return self._status(503)
        source = server.folder / name
        if not source.is_file():
            return self._status(404)
        replacing = is_first and name in faults.replaced
        etag, size = server.etag(name), source.stat().st_size
        modified = email.utils.formatdate(source.stat().st_mtime - 3600 + server.versions[name], usegmt=True)
        begin = self._begin(etag, modified) if faults.has_ranges else 0
        if begin >= size:
            return self._status(416)
        with server.lock:
            server.statuses[206 if begin else 200] += 1
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(size - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        if faults.has_validators:
            self.send_header("ETag", etag)
            self.send_header("Last-Modified", modified)
        self.end_headers()
        end = size
        if is_cut or replacing:
            end = begin + int((size - begin) * (0.5 if replacing else where))
        with server.lock:
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        self._at = begin
        version = server.versions[name]
        try:
            with source.open("rb") as file:
                if is_damaged:
                    self._send_damaged(name, file.read()[begin:end])
                else:
                    self._send(name, file.fileno(), begin, end)
                if end < size:
                    self._drain()
        finally:  # whether or not the client was killed meanwhile
            how = "left" if sys.exc_info()[0] is not None else "whole" if end == size else "cut"
            # Whether a client gets all of the rest shows when it asks for more, or ends: see `finish`.
            unsent = self._unsent if how == "left" else 0
            with server.lock:
                server.at_once -= 1
                server.sent[name] -= unsent
                server.bodies.setdefault(name, []).append(Body(version, begin, self._at - unsent, how))
                self._last = name if how == "whole" else None
            if replacing:
                Path(f"{source}.new").replace(source)
                with server.lock:
                    server.versions[name] += 1
        with server.lock:
            faults.damaged[name] = faults.damaged.get(name, 0) - (end == size)
        if end < size:
            self._reset()
        return None

    def _is_signed(self, path: str, query: dict[str, str]) -> bool:
        until = query.get("expires", "0")
        wanted = self.server.signature(path, until)
        return hmac.compare_digest(query.get("sig", ""), wanted) and float(until) > time.time()

    def _begin(self, etag: str, modified: str) -> int:
        wanted = self.headers["Range"]
        if wanted is None or self.headers["If-Range"] not in (None, etag, modified):
            return 0
        return int(wanted.removeprefix("bytes=").split("-")[0])

    def _send(self, name: str, source: int, begin: int, end: int) -> None:
        self.wfile.flush()
        while begin < end:
            piece = min(_CHUNK if self.server.faults.rate is None else 1 << 16, end - begin)
            self.server.pace(piece)
            count = os.sendfile(self.connection.fileno(), source, begin, piece)
            begin += count
            self._at = begin
            with self.server.lock:
                self.server.sent[name] += count
                now = time.monotonic()
                self.server.span = (self.server.span[0] or now, now)

    def _send_damaged(self, name: str, data: bytes) -> None:
        middle = len(data) // 2
        self.wfile.write(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        self._at += len(data)
        with self.server.lock:
            self.server.sent[name] += len(data)

    def _drain(self) -> None:
        """Waits until all has come to the other side's system: what a reset cuts off is what was not sent."""
        end = time.monotonic() + 30.0
        while self._unsent and time.monotonic() < end:
            time.sleep(0.001)

    @property
    def _unsent(self) -> int:
        """Bytes that the system has taken and not sent: they are thrown away with the connection.

        Not those of TIOCOUTQ, of which many have come that the other side has not told of yet.
        """
        left = fcntl.ioctl(self.connection.fileno(), _SIOCOUTQNSD, b"\0" * 4)
        return int(struct.unpack("i", left)[0])

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _status(self, status: int) -> None:
        with self.server.lock:
            self.server.statuses[status] += 1
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def stac_api(items: Sequence[dict[str, Any]], folder: Path) -> Iterator[str]:
    """A STAC API that has some items, and no others; gives its address."""
    if sys.version_info < (3, 11):
        import pytest

        pytest.skip("the last rustac for Python 3.10 listens, and never answers")
    # Beside this Python, also where its environment is not on the path.
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    program = shutil.which("rustac", path=os.pathsep.join(places))
    assert program is not None, "rustac is not installed"
    path = folder / "served.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    command = [program, "serve", str(path), "--create-collections", "--addr"]
    with contextlib.ExitStack() as stack:
        while True:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{free.getsockname()[1]}"
            log = stack.enter_context((folder / "rustac.log").open("wb"))
            process = stack.enter_context(subprocess.Popen([*command, address], stdout=log, stderr=log))
            stack.callback(process.kill)
            if _answers(f"http://{address}/", process):
                break
            # It takes no port 0, and another may have taken its port meanwhile.
            assert b"in use" in (folder / "rustac.log").read_bytes(), f"nobody answers at {address}"
        yield f"http://{address}"


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Asks until an answer comes; whether it is of a process that runs."""
    end = time.monotonic() + 60.0
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return process.poll() is None
        except OSError:
            time.sleep(0.05)
    return False


def item(
    identifier: str,
    assets: dict[str, dict[str, Any]],
    *,
    collection: str = "demo",
    box: tuple[float, float, float, float] = (-105.0, 40.0, -104.9, 40.1),
    moment: str = "2020-06-01T00:00:00Z",
    **properties: Any,
) -> dict[str, Any]:
    """A STAC item."""
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": identifier,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(box),
        "properties": {"datetime": moment, **properties},
        "assets": assets,
        "links": [],
    }


def multihash(data: bytes) -> str:
    """Of sha2-256, as the file extension has it."""
    return "1220" + hashlib.sha256(data).hexdigest()


def _text(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment * 1000) % 1000:03d}Z"


def main() -> None:
    """Serves a folder until it is killed; prints its address."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faults", default="{}", help="JSON")
    given = parser.parse_args()
    with FileServer(given.folder, Faults(**json.loads(given.faults))) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
