"""Series of real land surface temperature: 811 dates over polygons, against exactextract and numpy on the NetCDF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rasterio.features import rasterize

import eechips
from local_tests.support.local_earth_engine import Server
from local_tests.support.real_store import LST
from local_tests.support.region_weights import zonal_statistics

pytestmark = pytest.mark.slow

NETCDF = "NETCDF:{}:LST_Day_1km"


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two polygons near Buffalo: one with a hole, one of two parts. Planar in longitude and latitude."""
    first = shapely.Polygon(
        [(-78.95, 42.75), (-78.60, 42.80), (-78.52, 43.05), (-78.85, 43.10)],
        [[(-78.80, 42.90), (-78.70, 42.90), (-78.70, 42.98), (-78.80, 42.98)]],
    )
    second = shapely.MultiPolygon([shapely.box(-79.00, 42.72, -78.96, 42.76), shapely.Point(-78.6, 42.9).buffer(0.05)])
    frame = geopandas.GeoDataFrame({"id": ["ring", "parts"]}, geometry=[first, second], crs="EPSG:4326")
    path = tmp_path_factory.mktemp("regions") / "regions.gpkg"
    frame.to_file(path)
    return path


@pytest.fixture(scope="module")
def stack(real_data: Path) -> tuple[np.ndarray, Any, Any]:
    """The NetCDF's digital numbers (dates, rows, columns), transform and crs."""
    with rasterio.open(NETCDF.format(real_data / "lst" / "MOD11A2.006_aid0001.nc")) as file:
        return file.read(), file.transform, file.crs


@pytest.fixture(scope="module")
def series(regions: Path, real_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Runs ``timeseries`` with a reducer, and reads the tables."""

    def run(reducer: str) -> dict[str, pd.DataFrame]:
        done = eechips.timeseries(
            LST, bands=["LST_Day_1km"], reducer=reducer, regions=str(regions), columns="id=id",
            multiply=0.02, add=-273.15, endpoint=real_server.url, project="local",
            out=tmp_path_factory.mktemp(reducer), executor="threads", rate=None, quiet=True,
        )  # fmt: skip
        assert set(done.units["state"]) == {"done"}
        return {path.stem: pd.read_csv(path) for path in (done.path / "series").glob("*.csv")}

    return run


def projected(regions: Path, crs: Any) -> geopandas.GeoDataFrame:
    """The polygons in the images' projection, densified first: their edges are straight in degrees."""
    frame = geopandas.read_file(regions).set_index("id", drop=False)
    return frame.set_geometry(frame.segmentize(0.0005)).to_crs(crs)


@pytest.mark.exhaustive
def test_811_dates_in_order_with_empty_cells_for_no_data(series: Callable[[str], Any], stack: Any) -> None:
    table = series("max")["ring"]
    assert list(table.columns) == ["id", "date", "LST_Day_1km", "count", "valid_fraction"]
    assert len(table) == 811
    assert table["date"].is_monotonic_increasing
    assert (table["date"].iloc[0], table["date"].iloc[-1]) == ("2000-02-18", "2017-10-16")
    assert (table["LST_Day_1km"].isna() == (table["count"] == 0)).all()
    assert table["LST_Day_1km"].isna().any()
    assert table["LST_Day_1km"].min() > -60


@pytest.mark.exhaustive
def test_max_and_count_equal_numpy_exactly(series: Callable[[str], Any], stack: Any, regions: Path) -> None:
    numbers, transform, crs = stack
    tables = series("max")
    for name, row in projected(regions, crs).iterrows():
        inside = rasterize([row.geometry], numbers.shape[1:], transform=transform).astype(bool)
        values = numbers[:, inside]
        count = (values != 0).sum(axis=1)
        expected = np.where(count > 0, values.max(axis=1) * 0.02 + -273.15, np.nan)
        assert (tables[name]["count"] == count).all()
        np.testing.assert_array_equal(tables[name]["LST_Day_1km"], expected)


@pytest.mark.exhaustive
def test_mean_equals_exactextract(series: Callable[[str], Any], stack: Any, regions: Path) -> None:
    numbers, transform, crs = stack
    tables = series("mean")
    frame = projected(regions, crs)
    height, width = numbers.shape[1:]
    left, top = transform.c, transform.f
    edges = (left, top + height * transform.e, left + width * transform.a, top)
    means = zonal_statistics(frame, np.where(numbers == 0, np.nan, numbers * 0.02 - 273.15), edges)["mean"]
    for name, expected in zip(frame.index, means, strict=True):
        table = tables[str(name)]
        np.testing.assert_allclose(table["LST_Day_1km"] + 273.15, expected + 273.15, rtol=1e-6, equal_nan=True)
