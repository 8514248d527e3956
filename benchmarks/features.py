"""Millions of features of a table by `eechips features`, compared row by row with the file that the table was made of.

    python benchmarks/features.py --features 2000000
    python benchmarks/features.py --features 100000 --rival PYTHON
    python benchmarks/features.py --features 20000 --size 0.01 --rival PYTHON

A table of random points or squares, of which half lie in a twentieth of the region, is ingested into a local Earth
Engine without a quota. The command fetches all of it. With `--rival PYTHON`, geefetch, which that interpreter has
installed, downloads the same table: the region in squares of half a degree, its usual way of squares of a fixed size,
one after the other, joined to one file of GeoParquet by its own functions.

Requests are those that the server counts. Memory is the maximum over time of the proportional set size of all processes
of the command.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from harness import Server, serving
from processes import descendants, pss

from eechips_local.assets import ingest

ASSET = "projects/local/assets/shots"
WEST, SOUTH, EAST, NORTH = -109.0, 37.0, -102.0, 41.0
_RIVAL = """
import sys
import types
from pathlib import Path

import ee

sys.modules["osgeo"] = types.ModuleType("osgeo")  # GDAL, which it imports for rasters, and pip does not install
sys.modules["osgeo"].gdal = types.SimpleNamespace()
from geefetch.data.downloadables.collection import DownloadableGEECollection
from geefetch.utils.enums import Format
from geefetch.utils.geopandas import merge_parquet
from geefetch.utils.rasterio import WGS84
from geobbox import GeoBoundingBox
from google.auth.credentials import AnonymousCredentials

url, asset, folder, west, south, east, north, *columns = sys.argv[1:]
ee.Initialize(AnonymousCredentials(), url=url, project="local")
table, paths = DownloadableGEECollection(ee.FeatureCollection(asset)), []
across, up = round((float(east) - float(west)) / 0.5), round((float(north) - float(south)) / 0.5)
for column in range(across):
    for row in range(up):
        x, y = float(west) + column / 2, float(south) + row / 2
        path = Path(folder) / f"{column}_{row}.parquet"
        table.download(path, GeoBoundingBox(x, y, x + 0.5, y + 0.5, crs=WGS84), WGS84, columns, Format.PARQUET)
        paths.append(path)
merge_parquet(paths).to_parquet(Path(folder) / "all.parquet")
"""
"""What ``geefetch.data.get`` does for GEDI, without the index of granules: it has no option for another table."""


def generate(count: int, size: float) -> geopandas.GeoDataFrame:
    """Return features like laser shots: numbers, flags, texts, missing values and a time.

    Args:
        count: how many.
        size: edge of a square in degrees; 0 for points.
    """
    random = np.random.default_rng(1)
    dense = random.uniform((-106, 39), (-104.5, 40), (count // 2, 2))
    spread = random.uniform((WEST, SOUTH), (EAST, NORTH), (count - len(dense), 2))
    places = np.concatenate([dense, spread])
    random.shuffle(places)
    number = np.arange(count)
    x, y = places.T
    return geopandas.GeoDataFrame(
        {
            "shot": number,
            "rh98": random.uniform(0, 60, count),
            "sensitivity": np.where(number % 10, random.uniform(0.8, 1, count), np.nan),
            "beam": random.choice(["BEAM0101", "BEAM0110", "BEAM1000", "BEAM1011"], count),
            "quality_flag": random.integers(0, 2, count),
            "system:time_start": 1_577_836_800_000 + number * 1000,
        },
        geometry=shapely.box(x, y, x + size, y + size) if size else shapely.points(x, y),
        crs="EPSG:4326",
    )


def count_requests(server: Server) -> int:
    """Return the requests that the server was sent so far."""
    return sum(server.get("_stats")["requests"].values())


class PeakMemory:
    """Measure the maximum memory of a process and its descendants, in MB, in a ``with`` block."""

    def __init__(self, pid: int) -> None:
        self._pid, self._end = pid, threading.Event()
        self._thread = threading.Thread(target=self._measure)
        self.peak = 0.0

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _measure(self) -> None:
        while not self._end.wait(0.5):
            self.peak = max(self.peak, sum(map(pss, (self._pid, *descendants(self._pid)))))


def measure(server: Server, command: list[str]) -> dict[str, Any]:
    """Run a command, and return what it took."""
    before, cpu, began = count_requests(server), server.cpu(), time.monotonic()
    with subprocess.Popen(command) as process, PeakMemory(process.pid) as memory:
        status = process.wait()
    return {
        "status": status,
        "seconds": round(time.monotonic() - began, 1),
        "requests": count_requests(server) - before,
        "peak MB": round(memory.peak),
        "server CPU": round(server.cpu() - cpu, 1),
    }


def compare(found: pd.DataFrame, source: pd.DataFrame) -> dict[str, Any]:
    """Return how many rows there are, how often one is there again, and in how many a value differs."""
    found = found.set_index("shot").sort_index()
    expected = source.set_index("shot").sort_index()
    twice = int(found.index.duplicated().sum())
    if twice or len(found) != len(expected):
        return {"rows": len(found), "duplicates": twice, "expected": len(expected)}
    columns = [name for name in expected.columns if name != "geometry"]
    differs = np.zeros(len(found), dtype=bool)
    for name in columns:
        differs |= ~((found[name] == expected[name]) | (found[name].isna() & expected[name].isna())).to_numpy()
    differs |= ~shapely.equals(found.geometry.to_numpy(), expected.geometry.to_numpy())
    same = all(found[name].dtype.kind == expected[name].dtype.kind for name in columns)
    return {"rows": len(found), "duplicates": 0, "differences": int(differs.sum()), "types are equal": same}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=2_000_000)
    parser.add_argument("--size", type=float, default=0.0, help="edge of square features in degrees; 0 for points")
    parser.add_argument("--rival", metavar="PYTHON", help="interpreter that has geefetch")
    parser.add_argument("--folder", type=Path, help="folder that is kept; else a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        source = generate(arguments.features, arguments.size)
        source.to_parquet(folder / "shots.parquet")
        began = time.monotonic()
        ingest(folder / "shots.parquet", folder / "assets", ASSET)
        print(f"ingested in {time.monotonic() - began:.0f} s", file=sys.stderr)
        options = ("--assets", str(folder / "assets"), "--no-demo", "--rate", "none", "--concurrency", "none")
        with serving("emulator", *options) as server:
            words = ["features", "--dataset", ASSET, "--endpoint", server.url, f"--roi={WEST},{SOUTH},{EAST},{NORTH}"]
            taken = measure(server, [sys.executable, "-m", "eechips", *words, "--out", str(folder / "out"), "-q"])
            print(json.dumps({"eechips": taken}), flush=True)
            if arguments.rival:
                (folder / "rival").mkdir()
                place = [str(edge) for edge in (WEST, SOUTH, EAST, NORTH)]
                words = [server.url, ASSET, str(folder / "rival"), *place, *source.columns.drop("geometry")]
                taken = measure(server, [arguments.rival, "-c", _RIVAL, *words])
                print(json.dumps({"geefetch": taken}), flush=True)
        files = list((folder / "out" / "features").iterdir())
        found = geopandas.read_parquet(folder / "out" / "features")
        print(json.dumps({"eechips": compare(found, source), "files": len(files)}))
        if (rival := folder / "rival" / "all.parquet").exists():
            print(json.dumps({"geefetch": compare(geopandas.read_parquet(rival), source)}))


if __name__ == "__main__":
    main()
