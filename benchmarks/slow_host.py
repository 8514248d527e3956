"""A web server of files on loopback with a latency and a bandwidth, as a distant object store has them.

python benchmarks/slow_host.py FOLDER --latency 0.05 --rate 100e6

Prints its address. It serves ranges with ETags and checks If-Match; /counts gives the requests and bytes so far.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from pathlib import Path

RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d*)", re.IGNORECASE)
MATCH = re.compile(rb"\r\nif-match: ([^\r]*)", re.IGNORECASE)
PIECE = 64 << 10


class SlowHost:
    """Serves a folder.

    Attributes:
        requests: so far.
        sent: bytes of bodies so far.
    """

    def __init__(self, folder: Path, latency: float, rate: float) -> None:
        self.folder, self.latency, self.rate = folder, latency, rate
        self.requests = self.sent = 0
        self._free = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b" ", 2)
                name = target.decode().partition("?")[0].removeprefix("/")
                if name == "counts":
                    body = json.dumps({"requests": self.requests, "bytes": self.sent}).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                else:
                    await self.answer(method, name, head, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, method: bytes, name: str, head: bytes, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
        await asyncio.sleep(self.latency)
        path = self.folder / name
        if "/" in name or not path.is_file():
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        size, etag = path.stat().st_size, b'"%x"' % path.stat().st_size
        match = MATCH.search(head)
        if match is not None and match[1] != etag:
            writer.write(b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n")
            return
        asked = RANGE.search(head)
        start, stop = 0, size
        if asked is not None:
            start, stop = int(asked[1]), min(int(asked[2] or size) + 1, size)
        status = b"200 OK" if asked is None else b"206 Partial Content"
        lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % (stop - start), b"ETag: " + etag]
        lines += [b"Accept-Ranges: bytes", b"Content-Type: image/tiff"]
        if asked is not None:
            lines.append(b"Content-Range: bytes %d-%d/%d" % (start, stop - 1, size))
        writer.write(b"\r\n".join([*lines, b"", b""]))
        if method == b"HEAD":
            return
        clock = asyncio.get_running_loop().time
        with path.open("rb") as file:
            for place in range(start, stop, PIECE):
                piece = os.pread(file.fileno(), min(PIECE, stop - place), place)
                now = clock()
                self._free = max(self._free, now) + len(piece) / self.rate
                if self._free - now > 0.002:
                    await asyncio.sleep(self._free - now)
                writer.write(piece)
                self.sent += len(piece)
                await writer.drain()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer")
    parser.add_argument("--rate", type=float, default=100e6, help="bytes a second of all answers together")
    options = parser.parse_args()
    host = SlowHost(options.folder, options.latency, options.rate)
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
