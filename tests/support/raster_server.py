"""S3's GET and HEAD on loopback, over files of a folder: it streams, records byte ranges, and injects faults."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import rasterio

from local_tests.support.loopback import LoopbackServer

_CHUNK = 64 << 10
_HEADER = 32 << 10  # bytes that come with the header
_CODES = {503: "SlowDown", 500: "InternalError", 400: "ExpiredToken"}
_SAID = {"ExpiredToken": "The provided token has expired."}
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Bucket:
    """Files served as ``s3://bucket/<name of a file>``, and received requests.

    Attributes:
        folder: whose files are served.
        environment: variables by which clients find it.
        ranges: name of the file, first byte, and the one after the last, of every GET that was answered.
        refusals: statuses with which the next requests are answered that ask for the middle of a file; 0 for those
            that are let through.
        headers: statuses with which the next GETs of the beginning of a file are answered; 400 says of credentials that
            they have expired, as S3 does.
        refused: how many were.
        cuts: answers that are to be cut in the middle, of the next requests for the middle of a file.
        woken: ends a silence.
        silence: seconds for which nothing comes in the middle of an answer to such a request.
        absent: requests for anything else than a file that is there, such as lists.
        seen: headers of all requests, names in lower case.
        part_status: status of the part of answers to requests for parts: 200 as `rclone serve s3` has it.
        sends_parts: whether a request for a part is answered by one.
        keeps_conditions: whether ``If-Match`` is heeded; not all servers do.
        between: called before every answer, with its number; what changes a file under a run.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    ranges: list[tuple[str, int, int]] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    headers: list[int] = field(default_factory=list)
    refused: int = 0
    cuts: int = 0
    silence: float = 0.0
    absent: int = 0
    seen: list[dict[str, str]] = field(default_factory=list)
    part_status: int = 206
    sends_parts: bool = True
    keeps_conditions: bool = True
    woken: threading.Event = field(default_factory=threading.Event)
    between: Callable[[int], None] = lambda _: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def times_asked(self, name: str, bands: Sequence[int] = (1,)) -> list[int]:
        """Count the requests of each block of some bands of a GeoTIFF, without those of its header.

        A block is asked for with its middle: GDAL rounds a range to 16 KiB at both ends, and so has some of the blocks
        beside it, and reads what it has of the first blocks with the header from there: those whose middle it has are
        left out. Blocks must be larger than that.

        Args:
            name: name of the file.
            bands: numbers from 1; any one of them where the blocks hold all.
        """
        with rasterio.open(self.folder / name) as source:
            middles = np.array([place + size // 2 for band in bands for place, size in _places(source, band)])
        middles = middles[middles >= _HEADER]
        times = np.zeros(len(middles), dtype=int)
        for file, first, end in self.ranges:
            if file == name and first:
                times += (middles >= first) & (middles < end)
        return [int(count) for count in times]


def _tag(path: Path) -> str:
    """An ETag: another one when the file is another."""
    found = path.stat()
    return f'"{found.st_size:x}-{found.st_mtime_ns:x}"'


def _places(source: rasterio.DatasetReader, band: int) -> Iterator[tuple[int, int]]:
    """First byte and length of every block of a band that is there; of a sparse file, some are not."""
    height, width = source.block_shapes[0]
    for row in range(-(-source.height // height)):
        for column in range(-(-source.width // width)):
            at = f"{column}_{row}"
            place, size = (source.get_tag_item(f"BLOCK_{what}_{at}", "TIFF", bidx=band) for what in ("OFFSET", "SIZE"))
            if place is not None:
                yield int(place), int(size)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, bucket: Bucket, *values: object) -> None:
        self._bucket = bucket
        super().__init__(*values)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        bucket, name = self._bucket, unquote(urlsplit(self.path).path).removeprefix("/bucket/")
        path = bucket.folder / name
        if not path.is_file():
            bucket.absent += 1
            self._refuse(404, "NoSuchKey")
            return
        with bucket.lock:
            bucket.seen.append({name.lower(): value for name, value in self.headers.items()})
            bucket.between(len(bucket.seen))
        size, tag = path.stat().st_size, _tag(path)
        wanted = self.headers.get("If-Match")
        if bucket.keeps_conditions and wanted not in (None, tag):
            self._refuse(412, "PreconditionFailed")
            return
        found = _RANGE.fullmatch(self.headers.get("Range", "")) if bucket.sends_parts else None
        first = int(found[1]) if found else 0
        end = min(size, int(found[2]) + 1) if found and found[2] else size
        with bucket.lock:
            status = bucket.refusals.pop(0) or None if bucket.refusals and first else None
            if bucket.headers and not first and self.command == "GET":
                status = bucket.headers.pop(0)
            bucket.refused += status is not None
            is_cut = bool(bucket.cuts and first and status is None)
            bucket.cuts -= is_cut
            if status is None and not is_cut and self.command == "GET":
                bucket.ranges.append((name, first, end))
        if status is not None:
            self._refuse(status, _CODES.get(status, "AccessDenied"))
            return
        self.send_response(bucket.part_status if found else 200)
        self.send_header("Content-Length", str(end - first))
        self.send_header("ETag", tag)
        self.send_header("Accept-Ranges", "bytes")
        if found:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        self.end_headers()
        if self.command == "GET":
            self._send(path, first, end, (end - first) // 2 if is_cut else None)

    def _send(self, path: Path, first: int, end: int, cut: int | None) -> None:
        with path.open("rb") as file:
            file.seek(first)
            left = end - first if cut is None else cut
            if cut is not None:
                self.close_connection = True
            if first and self._bucket.silence:
                self._bucket.woken.wait(self._bucket.silence)
            while left:
                part = file.read(min(_CHUNK, left))
                try:
                    self.wfile.write(part)
                except (BrokenPipeError, ConnectionResetError):  # GDAL has seen enough
                    self.close_connection = True
                    return
                left -= len(part)

    def _refuse(self, status: int, code: str) -> None:
        said = _SAID.get(code, code)
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{said}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serving_bucket(folder: Path) -> Iterator[Bucket]:
    """Serves the files of a folder as those of a bucket.

    Args:
        folder: the files.
    """
    bucket = Bucket(folder)
    server = LoopbackServer(("127.0.0.1", 0), partial(_Handler, bucket))
    bucket.environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        bucket.woken.set()
        server.shutdown()
        server.server_close()
        thread.join()
