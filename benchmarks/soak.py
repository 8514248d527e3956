"""What memory the local Earth Engine holds while it answers mixed requests for as long as one likes.

    python benchmarks/soak.py --minutes 60
    python benchmarks/soak.py --minutes 10 --cores 1 --data ../shared/data

One server on the demo planet; with --data also on the real images and series of that folder, as assets. Threads ask at
random, by a seed, for chips by thumbnail and by computePixels, series of regions, samples at points, tables, and
listings: always other places, so that no cache answers twice. Every answer is decoded. Between requests threads pause
for as long as keeps the server's processor time at --cores.

Every five seconds the proportional set sizes of all the server's processes are added up. A line a minute, and at the
end the peak and the slope: of a straight line through all sums after the first tenth of the time. Exit status 1 if
the peak is beyond --most, or any answer was not what was asked for.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pandas as pd
import requests
from google.auth.credentials import AnonymousCredentials
from PIL import Image as Picture
from processes import cpu_of, descendants, pss

EVERY = 5.0  # seconds between samples
MINUTE = 12  # samples


@dataclass(frozen=True)
class Sample:
    """What the server's processes are at a moment: PSS in MB by process id, and their seconds of processor time."""

    moment: float
    sizes: dict[int, float]
    cpu: dict[int, float]

    @property
    def total(self) -> float:
        return sum(self.sizes.values())


def sample(root: int) -> Sample:
    """What the processes under one are at the moment."""
    pids = [root, *descendants(root)]
    return Sample(time.monotonic(), {pid: pss(pid) for pid in pids}, {pid: cpu_of(pid) for pid in pids})


@dataclass
class Load:
    """What the threads share."""

    until: float
    pause: float = 0.5
    done: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, problem: str | None) -> None:
        with self.lock:
            self.done[kind] += 1
            if problem:
                self.failures[f"{kind}: {problem}"] += 1


class Client:
    """One thread's requests.

    Args:
        url: URL of the server.
        seed: seed of its random numbers.
        real: whether the server has the real data too.
    """

    def __init__(self, url: str, seed: int, real: bool) -> None:
        self.base, self.project = f"{url}/v1", f"{url}/v1/projects/local"
        self.session = requests.Session()
        self.random = np.random.default_rng(seed)
        self.kinds: list[Callable[[], str]] = [
            self.thumbnail, self.pixels, self.composite, self.series, self.points, self.table, self.images, self.assets,
        ]  # fmt: skip
        if real:
            self.kinds += [self.real_series, self.real_series, self.real_pixels]

    def run(self, load: Load) -> None:
        while time.monotonic() < load.until:
            kind = self.kinds[self.random.integers(len(self.kinds))]
            try:
                problem = kind()
            except (requests.RequestException, ValueError, OSError) as error:
                problem = repr(error)[:200]
            load.count(kind.__name__, problem)
            # The last pauses end with the run.
            time.sleep(max(0.0, min(self.random.exponential(load.pause), load.until - time.monotonic())))

    def post(self, what: str, body: dict[str, Any], expression: Any) -> requests.Response:
        body = {**body, "expression": ee.serializer.encode(expression, for_cloud_api=True)}
        answer = self.session.post(f"{self.project}/{what}", json=body, timeout=300)
        if answer.status_code != 200:
            raise ValueError(f"HTTP {answer.status_code}: {answer.text[:150]}")
        return answer

    def place(self) -> tuple[float, float]:
        """Somewhere in Colorado, where the demo planet has all its data."""
        return float(self.random.uniform(-108.9, -102.2)), float(self.random.uniform(37.1, 40.9))

    def grid(self, scale: float) -> dict[str, Any]:
        x, y = self.place()
        affine = {"scaleX": scale, "shearX": 0, "translateX": x, "shearY": 0, "scaleY": -scale, "translateY": y}
        return {"dimensions": {"width": 256, "height": 256}, "affineTransform": affine, "crsCode": "EPSG:4326"}

    def thumbnail(self) -> str:
        region = ee.Geometry.Point(self.place()).buffer(127).bounds()
        images = ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(region).filterDate("2015-01-01", "2030-01-01")
        naip = images.mosaic().select("R", "G", "B")
        cut, _ = naip.prepare_for_export({"region": region, "dimensions": "256x256"})
        name = self.post("thumbnails", {"fileFormat": "PNG"}, cut).json()["name"]
        answer = self.session.get(f"{self.base}/{name}:getPixels", timeout=300)
        return "" if Picture.open(io.BytesIO(answer.content)).size == (256, 256) else "another size"

    def pixels(self) -> str:
        image = ee.ImageCollection("USDA/NAIP/DOQQ").filterDate("2015-01-01", "2030-01-01").mosaic()
        answer = self.post("image:computePixels", {"fileFormat": "NPY", "grid": self.grid(1e-5)}, image)
        return "" if np.load(io.BytesIO(answer.content)).shape == (256, 256) else "another shape"

    def composite(self) -> str:
        month = int(self.random.integers(1, 12))
        scenes = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterDate(
            f"2021-{month:02d}-01", f"2021-{month + 1:02d}-01"
        )
        grid = self.grid(2e-4)
        x, y = grid["affineTransform"]["translateX"], grid["affineTransform"]["translateY"]
        image = scenes.filterBounds(ee.Geometry.Point(x, y)).select("B4", "B8").median()
        answer = self.post("image:computePixels", {"fileFormat": "NPY", "grid": grid}, image)
        return "" if np.load(io.BytesIO(answer.content)).shape == (256, 256) else "another shape"

    def series(self) -> str:
        region = ee.Geometry.Point(self.place()).buffer(float(self.random.uniform(2e3, 2e4)))
        year = int(self.random.integers(2001, 2022))
        return self.rows_of("MODIS/061/MOD11A2", region, f"{year}-01-01", f"{year + 1}-01-01", 40)

    def real_series(self) -> str:
        x, y = float(self.random.uniform(-78.9, -78.6)), float(self.random.uniform(42.8, 43.0))
        return self.rows_of("soak/lst", ee.Geometry.Point(x, y).buffer(8000), "2000-01-01", "2018-01-01", 811)

    def rows_of(self, collection: str, region: Any, start: str, end: str, least: int) -> str:
        def row(image: Any) -> Any:
            image = ee.Image(image)
            found = image.select("LST_Day_1km").reduceRegion(ee.Reducer.mean(), region, maxPixels=1e13)
            return ee.Feature(None, found.set("date", image.date().format("YYYY-MM-dd")))

        images = ee.ImageCollection(collection).filterDate(start, end).filterBounds(region)
        answer = self.post("table:computeFeatures", {"pageSize": 1000}, ee.FeatureCollection(images.map(row)))
        count = len(answer.json()["features"])
        return "" if count >= least else f"{count} rows"

    def points(self) -> str:
        points = ee.FeatureCollection([ee.Feature(ee.Geometry.Point(self.place()), {"n": n}) for n in range(20)])
        image = ee.Image("USGS/SRTMGL1_003").addBands(ee.Terrain.slope(ee.Image("USGS/SRTMGL1_003")))
        found = image.reduceRegions(points, ee.Reducer.first(), 30)
        return "" if len(self.post("table:computeFeatures", {}, found).json()["features"]) == 20 else "rows missing"

    def table(self) -> str:
        near = ee.Geometry.Point(self.place()).buffer(float(self.random.uniform(1e4, 1e5)))
        found = ee.FeatureCollection("FAO/GAUL_SIMPLIFIED_500m/2015/level2").filterBounds(near)
        name = self.post("tables", {"fileFormat": "CSV"}, found).json()["name"]
        answer = self.session.get(f"{self.base}/{name}:getFeatures", timeout=300)
        return "" if len(pd.read_csv(io.BytesIO(answer.content))) else "no rows"

    def images(self) -> str:
        x, y = self.place()
        query = {"region": f"POINT({x} {y})", "pageSize": "100"}
        listed = f"{self.base}/projects/earthengine-public/assets/LANDSAT/LC08/C02/T1_L2:listImages"
        answer = self.session.get(listed, params=query, timeout=300)
        return "" if answer.json().get("images") else f"HTTP {answer.status_code}, no images"

    def assets(self) -> str:
        answer = self.session.get(f"{self.base}/projects/earthengine-public/assets:listAssets", timeout=300)
        return "" if answer.json().get("assets") else f"HTTP {answer.status_code}, no assets"

    def real_pixels(self) -> str:
        x, y = float(self.random.uniform(-99.18, -99.13)), float(self.random.uniform(47.01, 47.03))
        grid = self.grid(1e-5)
        grid["affineTransform"].update(translateX=x, translateY=y)
        image = ee.ImageCollection("soak/naip").mosaic()
        answer = self.post("image:computePixels", {"fileFormat": "GEO_TIFF", "grid": grid}, image)
        return "" if answer.content[:2] in (b"II", b"MM") else "no GeoTIFF"


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[str, int]]:
    """A server; gives its URL and process id."""
    command = [sys.executable, "-m", "eechips_local.run_server", "--exit-with-parent", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["url"], server.pid
        finally:
            server.stdin.close()


def prepare(data: Path, store: Path) -> list[str]:
    """Ingests real images and a series; returns the server's arguments."""
    from eechips_local.assets import ingest

    for path in sorted((data / "naip").glob("m_4709963_se_14_1_*.tif")):
        ingest(path, store, f"soak/naip/{path.stem}", time_start=path.stem[-8:], bands=["R", "G", "B", "N"])
    stack = data / "lst" / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"
    ingest(stack, store, "soak/lst", bands=["LST_Day_1km"], dates_from_bands=True)
    return ["--assets", str(store)]


def watch(root: int, load: Load, cores: float, began: float) -> list[Sample]:
    """Samples until the time is over, and keeps the load at what it should be."""
    samples = [sample(root)]
    used = [0.0]
    minute = 0
    while time.monotonic() < load.until:
        time.sleep(EVERY)
        samples.append(sample(root))
        before, now = samples[-2:]
        # A worker that was replaced counts what its successor has used; what it used at the last is lost.
        used.append(sum(seconds - before.cpu.get(pid, 0.0) for pid, seconds in now.cpu.items()))
        recent = samples[-MINUTE:]
        load_now = sum(used[-MINUTE:]) / (len(used[-MINUTE:]) * EVERY)
        load.pause = min(max(load.pause * (load_now / cores) ** 0.3, 0.01), 30.0)
        if int((now.moment - began) / 60) > minute:
            minute = int((now.moment - began) / 60)
            largest = max(now.sizes.values())
            state = f"{now.total:6.0f} MB in {len(now.sizes)} processes, the largest {largest:.0f}"
            most = max(s.total for s in recent)
            sent = f"{sum(load.done.values())} requests, {sum(load.failures.values())} failures"
            print(f"minute {minute:3d}: {state}; most {most:.0f}; {load_now:.2f} cores; {sent}", flush=True)
    return samples


def slope(samples: list[Sample], began: float) -> float:
    """MB an hour of a straight line through all sums after the first tenth of the time."""
    moments = np.array([s.moment - began for s in samples]) / 3600
    totals = np.array([s.total for s in samples])
    late = moments > moments[-1] / 10
    return float(np.polyfit(moments[late], totals[late], 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--cores", type=float, default=0.5, help="processor time of the server, in cores")
    parser.add_argument("--most", type=float, default=1500.0, metavar="MB", help="peak that is still good")
    parser.add_argument("--data", type=Path, help="folder of real data to serve beside the demo planet")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        assets = prepare(given.data, Path(folder) / "assets") if given.data else []
        with serving(*assets) as (url, root):
            ee.Initialize(AnonymousCredentials(), url=url, project="local")
            began = time.monotonic()
            load = Load(began + 60 * given.minutes)
            clients = [Client(url, given.seed + n, bool(given.data)) for n in range(given.threads)]
            threads = [threading.Thread(target=client.run, args=(load,)) for client in clients]
            for thread in threads:
                thread.start()
            samples = watch(root, load, given.cores, began)
            for thread in threads:
                thread.join()
    peak = max(s.total for s in samples)
    print(f"{given.minutes:g} minutes, {sum(load.done.values())} requests: {dict(sorted(load.done.items()))}")
    first, last = (np.median([s.total for s in part]) for part in (samples[:MINUTE], samples[-MINUTE:]))
    medians = f"first minute {first:.0f}, last minute {last:.0f}"
    print(f"peak {peak:.0f} MB; {medians}; slope {slope(samples, began):+.0f} MB/hour")
    for problem, count in load.failures.most_common(20):
        print(f"{count} x {problem}")
    sys.exit(1 if peak > given.most or load.failures else 0)


if __name__ == "__main__":
    main()
