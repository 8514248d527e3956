"""A 17-year series of land surface temperature per region, beside rivals that read the same files themselves.

    python benchmarks/series.py --data ../shared/data --regions 20

The 811 dates of MOD11A2 over Buffalo are ingested, an image for each. Then for each region, a polygon of some hundred
pixels somewhere on them, the mean and the number of pixels of every date are

1. asked of the local Earth Engine, one client, by the very expression of `eechips timeseries`, as a table;
2. the same with all regions at once;
3. read with rasterio, one file for each date as they are served, and reduced by exactextract;
4. likewise by rasterstats, whose means are not weighted;
5. read with rasterio and reduced by numpy with the weights of exactextract, which are computed once for a region: the
   least that anybody could do who has a file for each date.

One run measures all, after it has seen that (1) and (3) agree. Rivals open each file for each region, as a script would
do that makes one table after the other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ee
import exactextract
import geopandas
import numpy as np
import rasterio
import rasterstats
import shapely
from google.auth.credentials import AnonymousCredentials
from rasterio.windows import Window

from eechips.builtin_recipes.tables.timeseries import TimeSeries
from eechips_local.assets import FolderStore, ingest
from eechips_local.evaluation.asset_model import Query

LST = "MODIS/061/MOD11A2"
BAND = "LST_Day_1km"
STACK = "lst/MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"
DATES = 811


def regions(data: Path, count: int) -> geopandas.GeoDataFrame:
    """Stars on the images, from 5 to 15 km across, by a seed."""
    random = np.random.default_rng(0)
    with rasterio.open(data / STACK) as file:
        crs, bounds = file.crs, file.bounds
    shapes = []
    for _ in range(count):
        x = random.uniform(bounds.left + 8000, bounds.right - 8000)
        y = random.uniform(bounds.bottom + 8000, bounds.top - 8000)
        radii = random.uniform(2500, 7500, 12)
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        shapes.append(shapely.Polygon(np.column_stack([x + radii * np.cos(angles), y + radii * np.sin(angles)])))
    metric = geopandas.GeoDataFrame({"region": range(count)}, geometry=shapes, crs=crs)
    return metric.to_crs("EPSG:4326")


@contextmanager
def serving(store: Path) -> Iterator[None]:
    """A server of the store, and the client pointed at it."""
    command = [sys.executable, "-m", "eechips_local.run_server", "--exit-with-parent", "--no-demo", "--rate", "none",
               "--concurrency", "none", "--assets", str(store)]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        ee.Initialize(AnonymousCredentials(), url=json.loads(server.stdout.readline())["url"], project="local")
        try:
            yield
        finally:
            server.stdin.close()


class Rivals:
    """What scripts do that have a file for each date.

    Args:
        store: whose files they read.
        frame: the regions, in longitude and latitude.
    """

    def __init__(self, store: Path, frame: geopandas.GeoDataFrame) -> None:
        with FolderStore(store) as opened:
            collection: Any = opened.get(LST)
            self.files = [image.bands[0].source.path for image in collection.images(Query())]
        with rasterio.open(self.files[0]) as file:
            self.transform, self.crs = file.transform, file.crs
        # Their edges are straight in degrees: points along them, before they are bent.
        self.frame = frame.set_geometry(frame.segmentize(0.0005)).to_crs(self.crs)

    def exactextract(self, region: int) -> list[float]:
        """Means and counts of all dates by exactextract."""
        one = self.frame.iloc[[region]].reset_index(drop=True)
        found = []
        for path in self.files:
            (feature,) = exactextract.exact_extract(path, one, ["mean", "count"])
            found.append(feature["properties"]["mean"])
        return found

    def rasterstats(self, region: int) -> list[float]:
        """Means and counts of all dates by rasterstats."""
        shape = self.frame.geometry.iloc[region]
        return [
            rasterstats.zonal_stats(shape, path, stats=["mean", "count"], nodata=0)[0]["mean"] for path in self.files
        ]

    def numpy(self, region: int) -> list[float]:
        """Means of all dates, with weights that are computed once."""
        left, bottom, right, top = self.frame.geometry.iloc[region].bounds
        columns, rows = ~self.transform @ (left, top), ~self.transform @ (right, bottom)
        first_column, first_row = int(columns[0]), int(columns[1])
        window = Window(first_column, first_row, int(rows[0]) + 1 - first_column, int(rows[1]) + 1 - first_row)
        x, y = self.transform @ (first_column, first_row)
        ones = exactextract.raster.NumPyRasterSource(
            np.ones((window.height, window.width)), x, y + window.height * self.transform.e,
            x + window.width * self.transform.a, y, srs_wkt=self.crs.to_wkt(),
        )  # fmt: skip
        one = self.frame.iloc[[region]].reset_index(drop=True)
        (feature,) = exactextract.exact_extract(ones, one, ["cell_id", "coverage"])
        weights = np.zeros(window.height * window.width)
        weights[feature["properties"]["cell_id"]] = feature["properties"]["coverage"]
        weights = weights.reshape(window.height, window.width)
        found = []
        for path in self.files:
            with rasterio.open(path) as file:
                values = file.read(1, window=window)
            valid = weights * (values != 0)
            total = valid.sum()
            found.append(float((values * valid).sum() / total) if total else float("nan"))
        return found


def series(recipe: TimeSeries, unit: Any) -> list[dict[str, Any]]:
    """A region's rows, as `eechips timeseries` asks for them."""
    source: Any = recipe.get_result(0, unit).source
    found = ee.data.computeFeatures({"expression": source.rows(), "pageSize": 1000})
    return [feature["properties"] for feature in found["features"]]


def timed(work: Callable[[Any], Any], items: list[Any], threads: int = 1) -> float:
    """Regions a second."""
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))
    return len(items) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--regions", type=int, default=20)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    frame = regions(given.data, given.regions)
    with tempfile.TemporaryDirectory() as folder:
        store, path = Path(folder) / "assets", Path(folder) / "regions.gpkg"
        frame.to_file(path)
        ingest(given.data / STACK, store, LST, bands=[BAND], dates_from_bands=True)
        rivals = Rivals(store, frame)
        with serving(store):
            recipe = TimeSeries(dataset=LST, regions=str(path), columns="id=region", bands=[BAND], reducer="mean")
            units = list(recipe.get_requests())
            rows = series(recipe, units[0])
            assert len(rows) == DATES
            ours = np.array([row.get(BAND, np.nan) for row in rows], dtype=float)
            for truth in (rivals.exactextract(0), rivals.numpy(0)):
                np.testing.assert_allclose(ours, np.array(truth, dtype=float), rtol=1e-5, equal_nan=True)
            for unit in units[:4]:  # every worker has opened the store
                series(recipe, unit)
            few = list(range(min(3, given.regions)))
            rates = {
                "the local Earth Engine, one region after the other": timed(lambda unit: series(recipe, unit), units),
                "the local Earth Engine, all regions at once": timed(
                    lambda unit: series(recipe, unit), units, given.regions
                ),
                "rasterio and exactextract": timed(rivals.exactextract, few),
                "rasterstats": timed(rivals.rasterstats, few),
                "rasterio and numpy with ready weights": timed(rivals.numpy, few),
            }
        first = rates["the local Earth Engine, one region after the other"]
        for name, rate in rates.items():
            print(f"{name:52s} {rate:6.2f} regions/s, {rate * DATES:7.0f} dates/s, {rate / first:5.2f} of the first")


if __name__ == "__main__":
    main()
