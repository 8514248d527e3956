"""Values of 811 dates of real land surface temperature at random points, against rasterio's own reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import rasterio
from pyproj import Transformer

import eechips
from eechips.manifest.run import Run
from local_tests.support.local_earth_engine import Server
from local_tests.support.real_store import LST

pytestmark = pytest.mark.slow

STACK = "lst/MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"
DATES = 811
_TOGETHER = 1_000  # points that are compared at once


def random_points(data: Path, count: int) -> pd.DataFrame:
    """Points anywhere in the raster; its rows and columns under them are the oracle's."""
    with rasterio.open(data / STACK) as file:
        left, bottom, right, top = file.bounds
        random = np.random.default_rng(2024)
        x, y = random.uniform(left, right, count), random.uniform(bottom, top, count)
        lon, lat = Transformer.from_crs(file.crs, "EPSG:4326", always_xy=True).transform(x, y)
        row, column = rasterio.transform.rowcol(file.transform, x, y)
    names = [f"plot {number:06d}" for number in range(count)]
    return pd.DataFrame({"plot": names, "lon": lon, "lat": lat, "row": row, "column": column})


def fetched(points: pd.DataFrame, server: Server, out: Path) -> tuple[Run, int]:
    """A run with a row for each date, and the requests that it took, as the server counts them."""
    before = sum(server.requests().values())
    run = eechips.points(LST, points, each_image=True, out=out, endpoint=server.url, quiet=True, executor="threads")
    assert run.failures.empty
    return run, sum(server.requests().values()) - before


def check(table: Path, points: pd.DataFrame, data: Path) -> int:
    """Compares every value with the raster; returns how many were masked."""
    with rasterio.open(data / STACK) as file:
        numbers = file.read()
        names = [str(name) for name in file.descriptions]
    row, column = points["row"].to_numpy(dtype=int), points["column"].to_numpy(dtype=int)
    first, masked = 0, 0
    columns = ["plot", "row", "image", "image_date", "LST_Day_1km"]
    for batch in pq.ParquetFile(table).iter_batches(_TOGETHER * DATES, columns=columns):
        frame = batch.to_pandas()
        assert len(frame) % DATES == 0
        some = np.arange(first, first + len(frame) // DATES)
        first += len(some)
        values = numbers[:, row[some], column[some]].T.astype(float)
        np.testing.assert_array_equal(frame["LST_Day_1km"].to_numpy(dtype=float).reshape(-1, DATES),
                                      np.where(values == 0, np.nan, values))  # fmt: skip
        assert (frame["plot"].to_numpy()[::DATES] == points["plot"].to_numpy()[some]).all()
        assert (frame["row"].to_numpy()[::DATES] == row[some]).all()
        dates = frame["image_date"].astype("int64").to_numpy().reshape(-1, DATES)
        assert (dates == dates[0]).all()
        assert (np.diff(dates[0]) > 0).all()
        masked += int((values == 0).sum())
    assert first == len(points)
    assert len(names) == DATES
    return masked


@pytest.mark.exhaustive
@pytest.mark.parametrize("count", [400, 100_000])
def test_random_points_equal_direct_reads_with_few_requests(
    count: int, real_data: Path, real_server: Server, tmp_path: Path
) -> None:
    points = random_points(real_data, count)
    run, requests = fetched(points, real_server, tmp_path / "out")
    assert check(run.assembled[0], points, real_data) > 0
    assert 50 * requests <= count or requests < 10
