"""Truncated files of unknown size are recognised by their own format."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from eechips.archive.downloads.expected_file import ExpectedFile, inspect
from eechips.archive.downloads.integrity import check_end
from eechips.errors import ValidationError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

TIFF, JP2 = "image/tiff", "image/jp2"


def raster(path: Path, driver: str = "GTiff", **changes: Any) -> Path:
    """600 by 500 pixels of noise, with overviews where the format has them beside."""
    count = changes.pop("count", 1)
    profile = {"width": 600, "height": 500, "count": count, "dtype": "uint16", "crs": "EPSG:32613"}
    values = np.random.default_rng(1).integers(0, 65536, (count, 500, 600), dtype="uint16")
    transform = from_origin(5e5, 4.4e6, 10, 10)
    with rasterio.open(path, "w", driver=driver, transform=transform, **profile, **changes) as file:
        file.write(values)
    return path


def with_overviews(path: Path, edge: int = 128, **changes: Any) -> Path:
    raster(path, tiled=True, blockxsize=edge, blockysize=edge, **changes)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.nearest)
    return path


def sparse(path: Path, edge: int = 128, column: int = 512, row: int = 384) -> Path:
    """One of its blocks is there: the last, or another."""
    profile = {"driver": "GTiff", "width": 600, "height": 500, "count": 1, "dtype": "uint16", "tiled": True}
    with rasterio.open(path, "w", sparse_ok=True, blockxsize=edge, blockysize=edge, **profile) as file:
        height, width = min(edge, 500 - row), min(edge, 600 - column)
        window = rasterio.windows.Window(column, row, width, height)
        file.write(np.full((height, width), 7, dtype="uint16"), 1, window=window)
    return path


def netcdf(path: Path) -> Path:
    rasterio.shutil.copy(str(raster(path.with_suffix(".tif"))), str(path), driver="netCDF", FORMAT="NC4")
    return path


def zipped(path: Path) -> Path:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("S2A.SAFE/GRANULE/B04.jp2", bytes(100_000))
    path.write_bytes(written.getvalue())
    return path


def table(path: Path) -> Path:
    pq.write_table(pa.table({"x": list(range(1000))}), path)
    return path


Make = Callable[[Path], Path]
LOSSLESS = {"QUALITY": "100", "REVERSIBLE": "YES"}
FILES: dict[str, tuple[Make, str, str]] = {
    "strips": (raster, TIFF, "tif"),
    "tiles": (lambda p: raster(p, tiled=True, compress="deflate"), TIFF, "tif"),
    "bands apart": (lambda p: raster(p, count=3, interleave="band"), TIFF, "tif"),
    "overviews": (with_overviews, TIFF, "tif"),
    "cog": (lambda p: raster(p, "COG"), TIFF, "tif"),
    "bigtiff": (lambda p: raster(p, BIGTIFF="YES"), TIFF, "tif"),
    "sparse": (sparse, TIFF, "tif"),
    "sparse, the first of many": (lambda p: sparse(p, 16, 0, 0), TIFF, "tif"),
    "many tiles": (lambda p: raster(p, tiled=True, blockxsize=16, blockysize=16), TIFF, "tif"),
    "many in overviews": (lambda p: with_overviews(p, 16), TIFF, "tif"),
    "many of bands apart": (lambda p: with_overviews(p, 16, count=3, interleave="band"), TIFF, "tif"),
    "many in a cog": (lambda p: raster(p, "COG", count=3, BLOCKSIZE=128, OVERVIEWS="NONE"), TIFF, "tif"),
    "jp2": (lambda p: raster(p, "JP2OpenJPEG", **LOSSLESS), JP2, "jp2"),
    "codestream": (lambda p: raster(p.with_suffix(".j2k"), "JP2OpenJPEG", CODEC="J2K", **LOSSLESS), JP2, "j2k"),
    "netcdf": (netcdf, "application/netcdf", "nc"),
    "zip": (zipped, "application/zip", "zip"),
    "parquet": (table, "application/vnd.apache.parquet", "parquet"),
}


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    made, kind, suffix = FILES[name]
    path, promise = made(tmp_path / f"x.{suffix}"), ExpectedFile(media_type=kind, suffix=suffix)
    inspect(path, promise)
    data = path.read_bytes()
    for size in (len(data) - 5, len(data) - 30, len(data) * 9 // 10, len(data) // 2, 40, 9):
        path.write_bytes(data[:size])
        with pytest.raises(ValidationError):
            inspect(path, promise)


def test_tags_that_share_bytes_are_not_copied(tmp_path: Path) -> None:
    """The values of 900 tags are the same half of a megabyte."""
    size, tags = 500_000, range(1000, 1900)
    entries = b"".join(struct.pack("<HHII", tag, 2, size, 8) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    data = struct.pack("<2sHI", b"II", 42, 8 + size) + bytes(size) + directory
    (tmp_path / "x.tif").write_bytes(data)
    tracemalloc.start()
    try:
        check_end(tmp_path / "x.tif", "tif")
        assert tracemalloc.get_traced_memory()[1] < 2 * size
    finally:
        tracemalloc.stop()
    (tmp_path / "x.tif").write_bytes(data[:8] + data[8 + size :])
    with pytest.raises(ValidationError, match="truncated"):
        check_end(tmp_path / "x.tif", "tif")


@pytest.mark.parametrize("superblock", [("earliest", "v108"), ("v110", "v110")])
def test_truncated_hdf5_of_every_version_is_refused(tmp_path: Path, superblock: tuple[str, str]) -> None:
    h5py = pytest.importorskip("h5py")
    path, promise = tmp_path / "x.h5", ExpectedFile(media_type="application/x-hdf5", suffix="h5")
    with h5py.File(path, "w", libver=superblock) as file:
        file["a"] = np.arange(10_000)
    inspect(path, promise)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(ValidationError, match=f"instead of {len(data):,}"):
        inspect(path, promise)
