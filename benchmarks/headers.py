"""Chips of many small COGs whose headers were kept, beside rasterio and rasteret, in the same run.

    python benchmarks/headers.py --files 1000 --latency 0.02 --rasteret /tmp/venv/bin/python

1,000 COGs of 512 x 512 pixels (one band of uint16, deflated blocks of 256 x 256) are served on loopback by a
process that waits 20 ms before each response and counts requests. A chip of 100 x 100 pixels is read from each, with
16 threads, and compared with the file:

1. by headers that were kept: the time to read the headers is stated apart;
2. by rasterio, with GDAL's settings for COGs, each file opened once;
3. by rasteret (`pip install rasteret` into the environment of the given Python), which keeps headers as well.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.warp import transform
from rasterio.windows import Window

from eechips.archive.windows import describe, plan_chip, read_chip

EDGE, SIZE, THREADS = 512, 100, 16
CRS = "EPSG:32614"
RANGE = re.compile(r"bytes=(\d+)-(\d*)")
BEST = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif",
    "VSI_CACHE": "TRUE",
}
RASTERET = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np, pyarrow as pa, rasteret
import datetime, shapely, shapely.geometry
import obstore.store, rasteret.cloud
given = json.load(sys.stdin)
store = obstore.store.HTTPStore.from_url(given["url"], client_options={"allow_http": True})
backend = rasteret.cloud.ObstoreBackend(store, url_prefix=given["url"] + "/")
rows = given["files"]
table = pa.table({
    "id": [row["id"] for row in rows],
    "datetime": pa.array([datetime.datetime(2020, 1, 1)] * len(rows), pa.timestamp("us", "UTC")),
    "geometry": pa.array([shapely.to_wkb(shapely.box(*row["bbox"])) for row in rows], pa.binary()),
    "proj:epsg": pa.array([32614] * len(rows), pa.int32()),
    "assets": [{"B1": {"href": row["href"]}} for row in rows],
})
bands = ["B1"]
began = time.monotonic()
kept = rasteret.build_from_table(
    table, name="headers", workspace_dir=given["folder"], enrich_cog=True, band_codes=bands,
    force=True, backend=backend)
headers = time.monotonic() - began
import urllib.request
count = lambda: json.load(urllib.request.urlopen(given["url"] + "/_stats"))["requests"]
before, began = count(), time.monotonic()
def chip(row):
    found = kept.read_window(record_ids=[row["id"]], bounds=tuple(row["chip"]), res=(10.0, 10.0), bands=bands,
                             target_crs=32614, max_concurrent=16, backend=backend)
    return np.asarray(found).shape
with ThreadPoolExecutor(16) as pool:
    shapes = list(pool.map(chip, rows))
print(json.dumps({"headers": headers, "seconds": time.monotonic() - began, "requests": count() - before,
                  "chips": len(shapes), "shape": shapes[0]}))
"""


class Handler(BaseHTTPRequestHandler):
    """Ranges of files, after a while."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, folder: Path, latency: float, counts: dict[str, int], *values: Any) -> None:
        self._folder, self._latency, self._counts = folder, latency, counts
        super().__init__(*values)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path == "/_stats":
            self._send(200, json.dumps(self._counts).encode(), {})
            return
        self._counts["requests"] += 1
        time.sleep(self._latency)
        path = self._folder / self.path.strip("/")
        if not path.is_file():
            self._send(404, b"", {})
            return
        data = path.read_bytes()
        found = RANGE.fullmatch(self.headers.get("Range", ""))
        first = int(found[1]) if found else 0
        end = min(len(data), int(found[2]) + 1) if found and found[2] else len(data)
        headers = {"ETag": f'"{path.stat().st_mtime_ns:x}"', "Accept-Ranges": "bytes"}
        if found:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
        self._send(206 if found else 200, data[first:end], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


def serve(folder: Path, latency: float, pipe: Any) -> None:
    server = Server(("127.0.0.1", 0), partial(Handler, folder, latency, {"requests": 0}))
    pipe.send(server.server_port)
    server.serve_forever()


def write(path: Path, number: int) -> Affine:
    """Write a COG; the files lie beside each other."""
    location = Affine(10.0, 0.0, 3e5 + number % 40 * 6000, 0.0, -10.0, 44e5 - number // 40 * 6000)
    random = np.random.default_rng(number)
    pixels = (np.add.outer(np.arange(EDGE), np.arange(EDGE)) + random.integers(0, 60, (1, EDGE, EDGE))).astype("uint16")
    options = {"driver": "COG", "blocksize": 256, "compress": "deflate", "predictor": 2, "crs": CRS}
    with rasterio.open(
        path, "w", width=EDGE, height=EDGE, count=1, dtype="uint16", transform=location, **options
    ) as file:
        file.write(pixels)
    return location


def requests_of(url: str) -> int:
    with urllib.request.urlopen(f"{url}/_stats") as response:
        return int(json.load(response)["requests"])


def measured(name: str, url: str, step: Callable[[int], Any], count: int) -> list[Any]:
    """Carry out a step for each file by threads; print rate and requests."""
    before, began, cpu = requests_of(url), time.monotonic(), time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(step, range(count)))
    seconds, processor = time.monotonic() - began, time.process_time() - cpu
    requests = (requests_of(url) - before) / count
    print(f"{name:<36} {count / seconds:7.1f} chips/s, {requests:5.2f} requests a chip,"
          f" {processor / count * 1000:5.1f} ms of processor a chip", flush=True)  # fmt: skip
    return found


def compare(folder: Path, windows: Sequence[Window], chips: Sequence[Any]) -> None:
    for number, (window, chip) in enumerate(zip(windows, chips, strict=True)):
        with rasterio.open(folder / f"{number}.tif") as file:
            if not np.array_equal(file.read(window=window), np.ma.getdata(chip)):
                sys.exit(f"the chip of file {number} differs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=0.02, help="of the server, seconds")
    parser.add_argument("--rasteret", help="Python with rasteret")
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        places = [write(folder / f"{number}.tif", number) for number in range(given.files)]
        receiving, sending = context.Pipe(duplex=False)
        server = context.Process(target=serve, args=(folder, given.latency, sending), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{receiving.recv()}"
        random = np.random.default_rng(0)
        corners = random.integers(0, EDGE - SIZE, (given.files, 2)).tolist()
        windows = [Window(column, row, SIZE, SIZE) for column, row in corners]
        hrefs = [f"{url}/{number}.tif" for number in range(given.files)]
        rasters = measured("headers, kept", url, lambda n: describe(hrefs[n], keep_header=True), given.files)
        size = sum(len(json.dumps(raster.header.to_json())) for raster in rasters) / given.files
        print(f"{'':<36} {size:,.0f} bytes a header")
        centres = [places[n] * (column + SIZE / 2, row + SIZE / 2) for n, (column, row) in enumerate(corners)]
        longitudes, latitudes = transform(CRS, "EPSG:4326", *zip(*centres, strict=True))
        units = [plan_chip([rasters[n]], (longitudes[n], latitudes[n]), SIZE) for n in range(given.files)]
        chips = measured("chips by kept headers", url, lambda n: read_chip(units[n]), given.files)
        planned = [Window(part["col_off"], part["row_off"], SIZE, SIZE) for unit in units for part in unit["parts"]]
        compare(folder, planned, chips)

        def by_rasterio(number: int) -> Any:
            with rasterio.Env(**BEST), rasterio.open(f"/vsicurl/{hrefs[number]}") as file:
                return file.read(window=windows[number])

        compare(folder, windows, measured("rasterio", url, by_rasterio, given.files))
        if given.rasteret:
            rows = []
            for number, (column, row) in enumerate(corners):
                xs, ys = zip(*(places[number] * corner for corner in ((0, EDGE), (EDGE, 0))), strict=True)
                (west, east), (south, north) = transform(CRS, "EPSG:4326", xs, ys)
                left, top = places[number] * (column, row)
                chip = [left, top - 10.0 * SIZE, left + 10.0 * SIZE, top]
                rows.append(
                    {"id": f"{number}", "href": hrefs[number], "bbox": [west, south, east, north], "chip": chip}
                )
            value = {"files": rows, "folder": str(folder / "rasteret"), "url": url}
            done = subprocess.run([given.rasteret, "-c", RASTERET], input=json.dumps(value), text=True,
                                  capture_output=True)  # fmt: skip
            if done.returncode:
                print(done.stderr[-4000:])
                return
            rival = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{'rasteret':<36} {rival['chips'] / rival['seconds']:7.1f} chips/s,"
                f" {rival['requests'] / rival['chips']:5.2f} requests a chip; headers in {rival['headers']:.1f} s"
            )
        server.terminate()


if __name__ == "__main__":
    main()
