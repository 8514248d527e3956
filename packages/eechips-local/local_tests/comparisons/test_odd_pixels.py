"""Pixels of unusual rasters, in native and other grids, against rasterio and GDAL's warper."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from affine import Affine
from PIL import Image as Picture
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.warp import reproject

from local_tests.comparisons.odd_rasters import ODD_RASTERS, OddRaster
from local_tests.support.parameters import slow_except


def grid(crs: str, transform: Affine, width: int, height: int) -> dict[str, Any]:
    a, b, c, d, e, f = transform[:6]
    affine = {"scaleX": a, "shearX": b, "translateX": c, "shearY": d, "scaleY": e, "translateY": f}
    return {"crsCode": crs, "affineTransform": affine, "dimensions": {"width": width, "height": height}}


def masked(ee: Any, image: Any, crs: str, transform: Affine, width: int, height: int) -> np.ma.MaskedArray:
    """Return the first band of an image on a grid, masked where the image is."""
    image = ee.Image(image).select(0).rename("value")
    both = image.unmask(0, False).addBands(image.mask().rename("mask"))
    request = {"expression": both, "fileFormat": "NUMPY_NDARRAY", "grid": grid(crs, transform, width, height)}
    found = ee.data.computePixels(request)
    return np.ma.array(found["value"], mask=found["mask"] == 0)


@pytest.mark.parametrize("name", slow_except(ODD_RASTERS, *list(ODD_RASTERS)[::4]))
def test_native_pixels_are_those_that_rasterio_reads(ee: Any, odd_folder: Path, name: str) -> None:
    image = ee.Image(f"odd/{name}")
    info = image.getInfo()["bands"]
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        assert [band["dimensions"] for band in info] == [[file.width, file.height]] * file.count
        assert [band["crs_transform"] for band in info] == [list(file.transform)[:6]] * file.count
        assert rasterio.crs.CRS.from_user_input(info[0].get("crs") or info[0]["crs_wkt"]) == file.crs
        for band in range(1, file.count + 1):
            crs = info[0].get("crs") or file.crs.to_wkt()
            found = masked(ee, image.select(band - 1), crs, file.transform, file.width, file.height)
            expected = file.read(band, masked=True)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
            np.testing.assert_array_equal(found.compressed(), expected.compressed())


def least(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


@pytest.mark.parametrize("name", slow_except(ODD_RASTERS, *list(ODD_RASTERS)[1::3]))
def test_windows_beyond_the_edges_are_masked_there(ee: Any, odd_folder: Path, name: str) -> None:
    """A GeoTIFF by getPixels has the transform of its window.

    Masked pixels, and those outside of the raster, hold the least value of the type.
    """
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        width, height = file.width // 2 + 5, file.height // 2 + 6
        column, row = file.width // 2, -4
        moved = file.transform * Affine.translation(column, row)
        crs = ee.Image(f"odd/{name}").projection().getInfo().get("crs", file.crs.to_wkt())
        request = {"assetId": f"odd/{name}", "fileFormat": "GEO_TIFF", "grid": grid(crs, moved, width, height)}
        values = file.read(masked=True)
        padded = np.ma.masked_all((file.count, file.height + 4 + height, file.width + width), values.dtype)
        padded[:, 4 : 4 + file.height, : file.width] = values
        expected = padded[:, :height, column : column + width]
        with MemoryFile(ee.data.getPixels(request)) as memory, memory.open() as found:
            assert found.transform.almost_equals(moved, 1e-6)
            assert found.crs == file.crs
            np.testing.assert_array_equal(found.read(), expected.filled(least(values.dtype)))


TARGETS = {
    "turned_int8": "EPSG:4326", "south_up_float64": "EPSG:32759", "uint32_lzw": "EPSG:32614", "nan_zstd": "EPSG:3995",
    "nodata_deflate": "EPSG:4326", "sinusoidal": "EPSG:5070", "antimeridian": "EPSG:3832", "jpeg": "EPSG:3857",
    "masked": "EPSG:4326", "sheared": "EPSG:3976", "flat_pixels": "EPSG:2056", "dem": "EPSG:3035",
}  # fmt: skip


def target(odd: OddRaster, crs: str) -> tuple[Affine, int]:
    """Return a grid of 24x24 pixels within a raster in another CRS, at about its resolution."""
    _, height, width = odd.values.shape
    to = Transformer.from_crs(odd.crs, crs, always_xy=True)
    rows, columns = np.mgrid[-8:8:9j, -8:8:9j]
    x, y = to.transform(*(odd.transform * (width / 2 + columns, height / 2 + rows)))
    west, east, south, north = x.min(), x.max(), y.min(), y.max()
    size = min(east - west, north - south) * 0.6 / 24
    return Affine(size, 0, (west + east) / 2 - 12 * size, 0, -size, (north + south) / 2 + 12 * size), 24


@pytest.mark.parametrize("name", slow_except(TARGETS, "sheared", "antimeridian", "uint32_lzw"))
def test_nearest_is_gdals(ee: Any, odd_folder: Path, name: str) -> None:
    crs = TARGETS[name]
    odd = ODD_RASTERS[name]
    transform, size = target(odd, crs)
    found = masked(ee, f"odd/{name}", crs, transform, size, size)
    back = Transformer.from_crs(crs, odd.crs, always_xy=True)
    columns, rows = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    u, v = ~odd.transform * back.transform(*(transform * (columns, rows)))
    u %= 360 / odd.transform.a if name == "antimeridian" else np.inf  # pyproj's longitudes end at 180 degrees
    clear = (np.abs(u - np.round(u)) > 1e-3) & (np.abs(v - np.round(v)) > 1e-3)
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        expected = file.read(1, masked=True)[np.floor(v).astype(int), np.floor(u).astype(int)]
    assert clear.mean() > 0.6
    np.testing.assert_array_equal(np.ma.getmaskarray(found)[clear], np.ma.getmaskarray(expected)[clear])
    np.testing.assert_array_equal(found.filled(0)[clear], expected.filled(0)[clear])


SMOOTH = ["south_up_float64", "flat_pixels", "dem", "jpeg"]


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", slow_except(SMOOTH, "south_up_float64"))
def test_interpolation_is_gdals(ee: Any, odd_folder: Path, name: str, mode: str) -> None:
    crs = TARGETS[name]
    transform, size = target(ODD_RASTERS[name], crs)
    image = ee.Image(f"odd/{name}").select(0).resample(mode)
    found = masked(ee, image, crs, transform, size, size)
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        expected = np.zeros((size, size))
        reproject(
            file.read(1).astype(np.float64), expected, src_transform=file.transform, src_crs=file.crs,
            dst_transform=transform, dst_crs=crs, tolerance=0, XSCALE=1, YSCALE=1,
            resampling={"bilinear": Resampling.bilinear, "bicubic": Resampling.cubic}[mode],
        )  # fmt: skip
        spread = np.ptp(expected)
    np.testing.assert_allclose(found.filled(np.nan), expected, atol=2e-3 * spread)


COARSER = {"uint32_lzw": 3, "dem": 4, "zones": 5, "nan_zstd": 2.5, "nodata_deflate": 3.2, "masked": 1.7}


@pytest.mark.parametrize("name", slow_except(COARSER, "nan_zstd"))
def test_means_of_coarser_pixels_are_gdals_average(ee: Any, odd_folder: Path, name: str) -> None:
    crs, factor = ODD_RASTERS[name].crs, COARSER[name]
    odd = ODD_RASTERS[name]
    transform = odd.transform * Affine.translation(3.4, 2.7) * Affine.scale(factor)
    image = ee.Image(f"odd/{name}").select(0).reduceResolution(ee.Reducer.mean(), False, 256)
    found = masked(ee, image, crs, transform, 7, 6)
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        values = file.read(1, masked=True).astype(np.float64).filled(np.nan)
        expected = np.full((6, 7), np.nan)
        reproject(
            values, expected, src_transform=file.transform, src_crs=file.crs, dst_transform=transform, dst_crs=crs,
            src_nodata=np.nan, dst_nodata=np.nan, resampling=Resampling.average, tolerance=0,
        )  # fmt: skip
    np.testing.assert_allclose(found.filled(np.nan), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "name", slow_except(["colours", "south_up_float64", "nodata_deflate", "turned_int8"], "colours")
)
def test_thumbnails_of_native_pixels_are_stretched_values(ee: Any, odd_folder: Path, name: str) -> None:
    """A PNG of one band: ``255 · (value - min) / (max - min)``, and an alpha band where pixels are masked."""
    odd = ODD_RASTERS[name]
    _, height, width = odd.values.shape
    low, high = float(np.nanmin(odd.values[0])), float(np.nanmax(odd.values[0]))
    low = -500.0 if name == "nodata_deflate" else low
    request = {
        "expression": ee.Image(f"odd/{name}").select(0).visualize(min=low, max=high), "fileFormat": "PNG",
        "grid": grid(odd.crs, odd.transform, width, height),
    }  # fmt: skip
    picture = np.asarray(Picture.open(io.BytesIO(ee.data.computePixels(request))).convert("RGBA"))
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        values = file.read(1, masked=True)
    valid = ~np.ma.getmaskarray(values)
    stretched = np.clip((values.filled(0).astype(float) - low) / (high - low), 0, 1) * 255
    np.testing.assert_array_equal(picture[..., 3] == 255, valid)
    assert np.abs(picture[..., 0].astype(float) - stretched)[valid].max() <= 1


@pytest.mark.parametrize("name", slow_except(["uint32_lzw", "masked", "antimeridian", "sinusoidal"], "antimeridian"))
def test_downloads_have_the_native_pixels(ee: Any, odd_folder: Path, name: str) -> None:
    """getDownloadURL with neither region nor scale: all pixels on the grid of the file."""
    url = ee.Image(f"odd/{name}").getDownloadURL({"format": "GEO_TIFF"})
    response = requests.get(url, timeout=60)
    assert response.status_code == 200, response.text
    path = odd_folder / f"{name}.tif"
    with MemoryFile(response.content) as memory, memory.open() as found, rasterio.open(path) as file:
        window = rasterio.windows.from_bounds(*file.bounds, found.transform).round()
        moved = file.transform * Affine.translation(-window.col_off, -window.row_off)
        assert found.transform.almost_equals(moved, 1e-6)
        np.testing.assert_array_equal(found.read(window=window), file.read(masked=True).filled(0))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2, 4])
def test_coarse_pixels_are_means_whatever_overviews_the_file_has(ee: Any, factor: int) -> None:
    """A pyramid ends where all fits into 256x256 pixels; coarser grids take the pixels around their centres."""
    odd = ODD_RASTERS["sinusoidal"]
    wkt = ee.Image("odd/sinusoidal").projection().wkt().getInfo()
    found = masked(ee, "odd/sinusoidal", wkt, odd.transform * Affine.scale(factor), 270 // factor, 330 // factor)
    means = odd.values[0].reshape(165, 2, 135, 2).mean(axis=(1, 3))
    expected = means[1::2, 1::2][: 330 // 4, : 270 // 4] if factor == 4 else means
    assert np.abs(found - expected).max() <= 0.5
