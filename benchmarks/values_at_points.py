"""Values of 811 dates at many points by `eechips points`, beside one request for each point.

    python benchmarks/values_at_points.py --data ../shared/data --points 100000 --alone 200

The 811 dates of MOD11A2 over Buffalo are ingested, an image for each, and served without a quota. Then, in one run,

1. `eechips points --each-image` fetches a table of random points, 811 rows for each, all of which are compared with
   rasterio's reads of the source;
2. the same for a few of them;
3. for the same few, what scripts do: `ImageCollection.getRegion` of each point, by 25 threads.

Requests are those that the server counts. With `--spread`, points are random ones of the demo planet's Colorado and the
dataset is SRTM, where nearly every point has a pixel, and a tile, of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import ee
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import rasterio
from google.auth.credentials import AnonymousCredentials
from pyproj import Transformer

from eechips_local.assets import ingest

LST, BAND = "MODIS/061/MOD11A2", "LST_Day_1km"
SRTM = "USGS/SRTMGL1_003"
STACK = "lst/MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"
DATES = 811
THREADS = 25  # of the original scripts
COLORADO = (-109.0, 37.0, -102.1, 41.0)


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """A server, and the client pointed at it; its URL."""
    command = [
        sys.executable,
        "-m",
        "eechips_local.run_server",
        "--exit-with-parent",
        "--rate",
        "none",
        "--concurrency",
        "none",
    ]
    with subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        ee.Initialize(AnonymousCredentials(), url=url, project="local")
        try:
            yield url
        finally:
            server.stdin.close()


def requests(url: str) -> int:
    """Requests that the server was sent so far."""
    with urlopen(f"{url}/_stats") as response:
        return sum(json.load(response)["requests"].values())


def by_eechips(points: pd.DataFrame, dataset: str, url: str, folder: Path, *options: str) -> tuple[Path, int, float]:
    """The table, the requests and the seconds of the command."""
    points.to_csv(folder / "points.csv", index=False)
    before, start = requests(url), time.monotonic()
    command = [sys.executable, "-m", "eechips", "points", "--dataset", dataset, "--points", str(folder / "points.csv"),
               "--out", str(folder / "out"), "--endpoint", url, "-q", *options]  # fmt: skip
    subprocess.run(command, check=True)
    return folder / "out" / "points.parquet", requests(url) - before, time.monotonic() - start


def one_by_one(points: pd.DataFrame, url: str, *, is_series: bool) -> tuple[int, float]:
    """Requests and seconds of one request for each point."""

    def ask(at: tuple[float, float]) -> None:
        point = ee.Geometry.Point(at)
        if is_series:
            ee.ImageCollection(LST).select(BAND).getRegion(point, 926.6254330558).getInfo()
        else:
            ee.Image(SRTM).reduceRegion(ee.Reducer.first(), point).getInfo()

    before, start = requests(url), time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(ask, zip(points["lon"], points["lat"], strict=True)))
    return requests(url) - before, time.monotonic() - start


def on_stack(data: Path, count: int) -> pd.DataFrame:
    """Random points on the real images."""
    with rasterio.open(data / STACK) as file:
        left, bottom, right, top = file.bounds
        random = np.random.default_rng(0)
        x, y = random.uniform(left, right, count), random.uniform(bottom, top, count)
        lon, lat = Transformer.from_crs(file.crs, "EPSG:4326", always_xy=True).transform(x, y)
        row, column = rasterio.transform.rowcol(file.transform, x, y)
    return pd.DataFrame({"plot": np.arange(count), "lon": lon, "lat": lat, "row": row, "column": column})


def differences(table: Path, points: pd.DataFrame, data: Path) -> int:
    """How many values of a table are not those of the raster."""
    with rasterio.open(data / STACK) as file:
        numbers = file.read()
    row, column = points["row"].to_numpy(dtype=int), points["column"].to_numpy(dtype=int)
    first, found = 0, 0
    for batch in pq.ParquetFile(table).iter_batches(1000 * DATES, columns=[BAND]):
        values = batch.column(0).fill_null(0).to_numpy().reshape(-1, DATES)
        some = np.arange(first, first + len(values))
        first += len(some)
        found += int((values != numbers[:, row[some], column[some]].T).sum())
    assert first == len(points)
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--alone", type=int, default=200)
    parser.add_argument("--spread", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "all").mkdir()
        (folder / "few").mkdir()
        options = () if chosen.spread else ("--each-image",)
        dataset = SRTM if chosen.spread else LST
        if chosen.spread:
            west, south, east, north = COLORADO
            random = np.random.default_rng(0)
            lon, lat = random.uniform(west, east, chosen.points), random.uniform(south, north, chosen.points)
            points, arguments = pd.DataFrame({"lon": lon, "lat": lat}), ["--demo"]
        else:
            points, store = on_stack(chosen.data, chosen.points), folder / "store"
            ingest(chosen.data / STACK, store, LST, bands=[BAND], dates_from_bands=True)
            arguments = ["--no-demo", "--assets", str(store)]
        with serving(*arguments) as url:
            table, sent, seconds = by_eechips(points, dataset, url, folder / "all", *options)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            rows = pq.read_metadata(table).num_rows
            print(f"eechips: {len(points):,} points, {rows:,} rows, {sent:,} requests ({len(points) / sent:,.0f} points"
                  f" each), {seconds:.1f} s, largest process {peak:,.0f} MB")  # fmt: skip
            if not chosen.spread:
                print(f"values that differ from rasterio's: {differences(table, points, chosen.data):,}")
            few = points.sample(chosen.alone, random_state=1)
            _, sent, seconds = by_eechips(few, dataset, url, folder / "few", *options)
            print(f"eechips: {len(few):,} points, {sent:,} requests, {seconds:.1f} s")
            sent, seconds = one_by_one(few, url, is_series=not chosen.spread)
            print(f"one by one: {len(few):,} points, {sent:,} requests, {seconds:.1f} s,"
                  f" {seconds / len(few):.3f} s a point")  # fmt: skip


if __name__ == "__main__":
    main()
