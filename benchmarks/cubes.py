"""Lazy cubes beside Xee: 30 images of 1024x1024 pixels, read by both in turns from one server, with equal values.

    python benchmarks/cubes.py
    python benchmarks/cubes.py --rounds 1 --reads chunks
    python benchmarks/cubes.py --reads workers

Reads:

- ``chunks``: all pixels of a band, in chunks of Dask with one image each (``chunks={"time": 1}``), by 8 threads;
- ``tiles``: the same in chunks of one image and 256x256 pixels;
- ``whole``: all pixels of a band by ``load()``, without Dask;
- ``again``: the same as ``whole`` after the program was started anew: eechips has a cache, Xee does not;
- ``workers``: ``chunks={}`` on 8 worker processes of Dask, eechips only: what was in flight at most, and rejected.

The server is the local Earth Engine with its own quota, 40 in flight and 100 a second, and a latency of pixels as
benchmarks/quota.py has it; with ``--latency "*Pixels=lognormal:0.9,0.5+0.1mb;0.1"``, each response also takes 0.1 s a
megabyte. Shown are the requests for pixels, those that were rejected, the seconds of each on the clock and of the
processor, and their ratios in the same round. If values differ, the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from harness import Server, serving

from eechips_local.assets import ingest

_ID, _CRS, _SIDE, _IMAGES = "users/bench/series", "EPSG:32613", 1024, 30
_TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_400_000)
_GRID: dict[str, Any] = {"crs": _CRS, "crs_transform": tuple(_TRANSFORM)[:6], "shape_2d": (_SIDE, _SIDE)}
_CHUNKS: dict[str, Any] = {"chunks": {"time": 1}, "tiles": {"time": 1, "x": 256, "y": 256}}
_READS = ("chunks", "tiles", "whole", "again", "workers")
_THREADS, _WORKERS = 8, 8


def fill_store(folder: Path) -> np.ndarray[Any, Any]:
    """Store images of random uint16, a corner of which is masked; return their pixels as float32."""
    random = np.random.default_rng(5)
    pixels = random.integers(1, 10_000, (_IMAGES, _SIDE, _SIDE)).astype(np.uint16)
    pixels[:, :40, :50] = 0
    for number, image in enumerate(pixels):
        path = folder / "image.tif"
        with rasterio.open(
            path, "w", driver="GTiff", width=_SIDE, height=_SIDE, count=1, dtype="uint16", crs=_CRS,
            transform=_TRANSFORM, nodata=0, tiled=True,
        ) as file:  # fmt: skip
            file.write(image, 1)
        day = f"2024-01-{number + 1:02d}"
        ingest(path, folder / "store", f"{_ID}/image_{number:02d}", time_start=day, bands=["red"])
    found = pixels.astype(np.float32)
    found[pixels == 0] = np.nan
    return found


def open_ours(server: Server, chunks: Any) -> Any:
    """Open the series by eechips."""
    import eechips

    return eechips.open_cube(_ID, **_GRID, endpoint=server.url, chunks=chunks)


def open_theirs(server: Server, chunks: Any) -> Any:
    """Open the series by Xee."""
    import xarray

    return xarray.open_dataset(_ID, engine="ee", **_GRID, chunks=chunks)


def read(name: str, opened: Callable[[Server, Any], Any], server: Server) -> np.ndarray[Any, Any]:
    """Read all pixels of the band as one of the reads does."""
    band = opened(server, _CHUNKS.get(name)).red
    if name in _CHUNKS:
        return np.asarray(band.compute(scheduler="threads", num_workers=_THREADS).values)
    return np.asarray(band.values)


def count_pixels(server: Server) -> tuple[int, int]:
    """Requests for pixels that were accepted so far, and those that were rejected."""
    stats = server.get("_stats")
    asked = stats["requests"].get("image:computePixels", 0)
    rejected = sum(stats["rejected"].values())
    return asked, rejected


@dataclass(frozen=True)
class Measured:
    """What a read took.

    Attributes:
        requests: requests for pixels.
        rejected: requests that the quota rejected.
        seconds: seconds on the clock.
        cpu: seconds of processor time of the client.
        server_cpu: seconds of processor time of the server.
        is_equal: whether the values are right.
    """

    requests: int
    rejected: int
    seconds: float
    cpu: float
    server_cpu: float
    is_equal: bool

    def __str__(self) -> str:
        return (
            f"{self.requests:4} requests {self.rejected:3} rejected {self.seconds:5.1f} s (processor: client"
            f" {self.cpu:4.1f} s, server {self.server_cpu:5.1f} s)"
        )


def measure(
    name: str, opened: Callable[[Server, Any], Any], server: Server, expected: np.ndarray[Any, Any]
) -> Measured:
    """Read once."""
    asked, rejected = count_pixels(server)
    began, cpu, server_cpu = time.monotonic(), time.process_time(), server.cpu()
    found = read(name, opened, server)
    seconds, cpu, server_cpu = time.monotonic() - began, time.process_time() - cpu, server.cpu() - server_cpu
    asked_after, rejected_after = count_pixels(server)
    is_equal = np.array_equal(found, expected, equal_nan=True)
    return Measured(asked_after - asked, rejected_after - rejected, seconds, cpu, server_cpu, is_equal)


def read_by_workers(server: Server, expected: np.ndarray[Any, Any], most: int) -> bool:
    """Read on worker processes of Dask that have a smaller quota than workers; print what was in flight at most."""
    from distributed import Client, LocalCluster

    server.post("_quota", concurrency=most)
    asked, rejected = count_pixels(server)
    with LocalCluster(n_workers=_WORKERS, threads_per_worker=2, dashboard_address=None) as cluster, Client(cluster):
        import eechips

        cube = eechips.open_cube(
            _ID, **_GRID, endpoint=server.url, chunks={}, io_chunks={"time": 4, "x": 256, "y": 256}, in_flight=most
        )
        began = time.monotonic()
        found = cube.red.compute().values
        seconds = time.monotonic() - began
    asked_after, rejected_after = count_pixels(server)
    in_flight = server.get("_stats")["in_flight"]
    is_equal = np.array_equal(found, expected, equal_nan=True)
    print(
        f"workers   {_WORKERS} processes, quota {most}: {asked_after - asked} requests for pixels in {seconds:.1f} s,"
        f" {rejected_after - rejected} rejected, in flight {json.dumps(in_flight)}, values equal: {is_equal}"
    )
    return is_equal


def main() -> None:
    """Run the reads and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reads", default=",".join(_READS))
    parser.add_argument("--latency", default="*Pixels=lognormal:0.9,0.5;0.1")
    parser.add_argument("--quota", type=int, default=10, help="of the read by workers")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    is_right = True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        expected = fill_store(Path(folder))
        store = str(Path(folder, "store"))
        with serving("emulator", "--assets", store, "--no-demo", "--latency", given.latency) as server:
            import ee
            from google.auth.credentials import AnonymousCredentials

            ee.Initialize(AnonymousCredentials(), url=server.url, project="local")
            os.environ["EECHIPS_CACHE"] = str(Path(folder, "cache"))
            for opened in (open_ours, open_theirs):  # imports, connections and workers of the server
                opened(server, None).red[0, :8, :8].load()
            for number in range(given.rounds):
                for name in given.reads.split(","):
                    if name != "again":
                        os.environ["EECHIPS_CACHE"] = str(Path(folder, f"cache-{number}-{name}"))
                    if name == "workers":
                        is_right &= read_by_workers(server, expected, given.quota)
                        server.post("_quota", concurrency=40)
                        continue
                    ours = measure(name, open_ours, server, expected)
                    theirs = measure(name, open_theirs, server, expected)
                    is_equal = ours.is_equal and theirs.is_equal
                    is_right &= is_equal
                    print(
                        f"{name:8}  eechips {ours}, Xee {theirs}: requests"
                        f" 1/{theirs.requests / max(ours.requests, 1):.1f}, speed {theirs.seconds / ours.seconds:.1f}x,"
                        f" equal: {is_equal}",
                        flush=True,
                    )
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
