"""NDVI of a raster in S3 by windows: memory of each worker, how often each block is asked for, and whether it is right.

python benchmarks/windows.py --edge 40000 --max-memory 512MB
python benchmarks/windows.py --edge 6000 --max-memory 256MB

The raster has four bands of uint16 in deflated tiles of 512 x 512 pixels, its header first, as a COG has it, and with
--overviews those as well. A small server of S3's GET and HEAD on loopback serves it, and notes every range.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from harness import Command, Repeated
from processes import adopt_orphans, pss, workers
from rasterio.enums import Resampling
from rasterio.windows import Window

import eechips

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.raster_server import Bucket, serving_bucket  # noqa: E402

BLOCK = 512
NOISY = 64  # rows of a block that do not compress; the others repeat themselves
PLACE = Affine(10.0, 0.0, 399_960.0, 0.0, -10.0, 4_200_000.0)
RECIPE = "recipes/cog_ndvi.py"


class Peaks(Repeated):
    """The greatest proportional set size of a worker of a command, and of its first process.

    Attributes:
        worker: MB.
        parent: MB.
    """

    def __init__(self, root: int, every: float = 0.2) -> None:
        super().__init__(every)
        self.worker = self.parent = 0.0
        self._root = root

    def look(self) -> None:
        self.parent = max(self.parent, pss(self._root))
        self.worker = max([self.worker, *map(pss, workers(self._root))])


def write_scene(path: Path, edge: int, *, overviews: bool) -> None:
    """Blocks that differ from each other, a row of blocks at a time."""
    random = np.random.default_rng(0)
    columns, bands = np.arange(edge), np.arange(4)
    across = (columns // BLOCK * 13 + columns % 32 * 5).astype("uint16")
    plain = np.broadcast_to(across + 300 * bands[:, None, None] + 100, (4, BLOCK, edge)).astype("uint16")
    noise = random.integers(0, 4000, (4, NOISY, edge), dtype="uint16")
    profile = {"driver": "GTiff", "width": edge, "height": edge, "count": 4, "dtype": "uint16", "crs": "EPSG:32618"}
    tiles = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "pixel", "compress": "deflate"}
    options = {"zlevel": 1, "predictor": 2, "num_threads": 2, "bigtiff": "if_safer"}
    with rasterio.open(path, "w", transform=PLACE, **profile, **tiles, **options) as target:
        for number, row in enumerate(range(0, edge, BLOCK)):
            pixels = plain + np.uint16(number * 7)
            pixels[:, :NOISY] += np.roll(noise, number * 97, axis=2)
            height = min(BLOCK, edge - row)
            target.write(pixels[:, :height], window=Window(0, row, edge, height))
    if overviews:
        with rasterio.open(path, "r+") as target:
            target.build_overviews([2, 4, 8, 16], Resampling.average)


def differing(scene: Path, made: Path) -> int:
    """Pixels whose index is not that of a direct computation; a row of blocks at a time."""
    wrong = 0
    with rasterio.open(scene) as source, rasterio.open(made) as found:
        assert (source.shape, source.transform, source.crs) == (found.shape, found.transform, found.crs)
        for row in range(0, source.height, BLOCK):
            place = Window(0, row, source.width, min(BLOCK, source.height - row))
            red, nir = source.read([1, 4], window=place).astype("float32")
            wrong += int(np.count_nonzero(found.read(1, window=place) != (nir - red) / (nir + red)))
    return wrong


def redelivered(lines: list[str], out: Path, expected: dict[str, str]) -> int:
    """Delivers some units twice, in one batch and in two; returns how many results are other than the run's."""
    wrong = 0
    words = [sys.executable, "-m", "eechips", "work", "--units", "-", "--out", str(out), "--executor", "threads", "-q"]
    for batch in (lines + lines, lines):
        done = subprocess.run(words, input="\n".join(batch), stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(told) == len(lines)
        wrong += sum(each["sha256"] != expected[each["id"]] for each in told)
    return wrong


def measure(bucket: Bucket, edge: int, memory: str, processes: int, folder: Path) -> None:
    scene, out = bucket.folder / "scene.tif", folder / "out"
    parameters = ["-p", "href=s3://bucket/scene.tif", "--max-memory", memory]
    run = [sys.executable, "-m", "eechips", "run", RECIPE, *parameters, "--executor", f"processes:{processes}"]
    command = Command([*run, "--in-flight", str(processes), "--out", out], folder / "log.txt")
    with Peaks(command.pid) as peaks:
        ended = command.wait()
    if ended.status:
        sys.exit((folder / "log.txt").read_text())
    made = eechips.open_run(out)
    print(f"{len(made.units):,} windows in {ended.seconds:.0f} s, {ended.cpu:.0f} s of processors, {processes} workers")
    print(f"greatest PSS of a worker {peaks.worker:.0f} MB, of the parent {peaks.parent:.0f} MB; asked for: {memory}")
    times = Counter(bucket.times_asked("scene.tif"))
    given = sum(end - first for _, first, end in bucket.ranges if first)
    headers = sum(not first for _, first, _ in bucket.ranges)
    size = scene.stat().st_size
    print(f"blocks by how often they were asked for: {dict(times)}; {headers:,} reads of the header")
    print(f"{len(bucket.ranges) - headers:,} other ranges, {given / 1e9:.3f} GB; the file has {size / 1e9:.3f} GB")
    began = time.process_time()
    wrong = differing(scene, out / "ndvi.tif")
    print(f"pixels that differ: {wrong:,} of {edge * edge:,}; direct computation {time.process_time() - began:.0f} s")
    plan = [sys.executable, "-m", "eechips", "plan", "run", RECIPE, *parameters]
    lines = subprocess.run(plan, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout.splitlines()
    expected = dict(zip(made.units["id"], made.units["sha256"], strict=True))
    wrong = redelivered(lines[:4], folder / "again", expected)
    print(f"of 4 units that were delivered three times, {wrong} results differ from the run's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=6000, help="of the raster, pixels")
    parser.add_argument("--max-memory", default="256MB")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--overviews", action="store_true", help="as most rasters have")
    given = parser.parse_args()
    adopt_orphans()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "bucket"
        held.mkdir()
        began = time.monotonic()
        write_scene(held / "scene.tif", given.edge, overviews=given.overviews)
        print(f"raster: {given.edge:,} x {given.edge:,} x 4, made in {time.monotonic() - began:.0f} s", flush=True)
        with serving_bucket(held) as bucket:
            os.environ.update(bucket.environment)
            measure(bucket, given.edge, given.max_memory, given.processes, Path(folder))


if __name__ == "__main__":
    main()
