"""Many small regions by 811 dates: a request for each region beside several regions in a request.

    python benchmarks/region_batches.py --data ../shared/data --regions 1000

The dates of MOD11A2 over Buffalo are ingested, an image for each; regions are fields of a few hundred metres to a few
kilometres. The same values are asked for by `eechips timeseries` with

1. a file, and so a request, for each region;
2. `--output one --batch 1`: a request for each region, as those of batches are;
3. `--output one`: batches.

Every run has a local Earth Engine to itself, with Earth Engine's quota. The tables of (2) and (3) must be equal to the
byte, that of (1) to rounding. Seconds are of the whole run; those of the processor are the server's and its workers',
which do what Earth Engine would do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from harness import serving

import eechips
from eechips_local.assets import ingest

LST = "MODIS/061/MOD11A2"
BAND = "LST_Day_1km"
STACK = "lst/MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"


def write_regions(path: Path, count: int) -> None:
    """Fields with twelve corners, by a seed."""
    random = np.random.default_rng(0)
    x, y = random.uniform(-78.9, -78.6, count), random.uniform(42.77, 43.0, count)
    shapes = shapely.buffer(shapely.points(x, y), random.uniform(0.002, 0.02, count), quad_segs=3)
    geopandas.GeoDataFrame({"field": range(count)}, geometry=shapes, crs="EPSG:4326").to_file(path)


def measure(store: Path, options: dict[str, Any], out: Path) -> tuple[eechips.Run, dict[str, float]]:
    """A run on a server of its own, and what it took."""
    with serving("emulator", "--no-demo", "--assets", str(store)) as server:
        before, began = server.cpu(), time.perf_counter()
        run = eechips.timeseries(LST, bands=[BAND], endpoint=server.url, out=out, quiet=True, **options)
        seconds, served = time.perf_counter() - began, server.cpu() - before
        asked = sum(server.get("_stats")["requests"].values())
    assert run.is_complete
    return run, {"requests": asked, "seconds": seconds, "server": served}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--regions", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        ingest(given.data / STACK, folder / "assets", LST, bands=[BAND], dates_from_bands=True)
        write_regions(folder / "fields.gpkg", given.regions)
        options = {"regions": str(folder / "fields.gpkg"), "columns": "id=field"}
        ways = {
            "a file and a request for each region": options,
            "one table, a request for each region": {**options, "output": "one", "batch": 1},
            "one table, batches": {**options, "output": "one"},
        }
        tables = []
        for number, (name, chosen) in enumerate(ways.items()):
            run, found = measure(folder / "assets", chosen, folder / str(number))
            print(
                f"{name:38s} {len(run.units):5d} units, {found['requests']:6,.0f} requests, {found['seconds']:6.1f} s,"
                f" {found['server']:6.1f} s of the server's processors"
            )
            tables.append(run)
        alone, single, batched = tables
        assert (single.path / "series.parquet").read_bytes() == (batched.path / "series.parquet").read_bytes()
        rows = [pd.read_csv(path) for path in (alone.path / "series").glob("*.csv")]
        expected = pd.concat(rows).sort_values(["field", "date"], ignore_index=True)
        found_rows = pd.read_parquet(batched.path / "series.parquet")
        pd.testing.assert_frame_equal(found_rows, expected, check_dtype=False, rtol=1e-9)
        print(f"equal: {len(found_rows):,} rows")


if __name__ == "__main__":
    main()
