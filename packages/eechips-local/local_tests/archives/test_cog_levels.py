"""Levels of rasters of an archive, and what masks them, in files that are not as GDAL writes them at once."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.io import MemoryFile

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.archives.cog_files import check, raster, tiff
from local_tests.support.object_host import ObjectHost

TILES: dict[str, Any] = {"tiled": True, "blockxsize": 64, "blockysize": 64}
WHOLE = PixelWindow(0, 0, 300, 200)


def changed(path: Path, content: bytes, **changes: Any) -> bytes:
    """Return a file with levels 2 and 4, of which full resolution alone is changed afterwards."""
    path.write_bytes(content)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
        if "nodata" in changes:
            dataset.nodata = changes["nodata"]
    if "mask" in changes:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(changes["mask"])
    return path.read_bytes()


def decimated_mask(content: bytes, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return where GDAL says that a raster is valid when it reads it whole with fewer pixels."""
    with MemoryFile(content) as memory, memory.open() as dataset:
        mask: npt.NDArray[np.bool_] = dataset.read_masks(out_shape=(dataset.count, height, width)) != 0
        return mask


@pytest.mark.parametrize("options", [{"compress": "deflate"}, {"compress": "lzw"}, {"interleave": "band", "count": 2}])
def test_nodata_of_full_resolution_holds_in_levels_that_do_not_say_it(
    options: dict[str, Any], host: ObjectHost, tmp_path: Path
) -> None:
    content = changed(tmp_path / "a.tif", tiff(dtype="uint8", **TILES, **options), nodata=17)
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as level:
        assert level.nodata is None
    host.objects["a.tif"] = content
    found = raster(host, tmp_path)
    assert found.levels == (1, 2, 4)
    bands = list(range(options.get("count", 1)))
    _, valid = found.read(bands, PixelWindow(0, 0, 150, 100), 1)
    np.testing.assert_array_equal(valid, decimated_mask(content, 150, 100))
    assert not valid.all()


def test_levels_without_the_mask_of_full_resolution_are_left_out(host: ObjectHost, tmp_path: Path) -> None:
    mask = np.arange(60_000).reshape(200, 300) % 7 > 1
    host.objects["a.tif"] = content = changed(tmp_path / "a.tif", tiff(compress="deflate", **TILES), mask=mask)
    with MemoryFile(content) as memory, memory.open() as dataset:
        assert dataset.overviews(1) == [2, 4]
    found = raster(host, tmp_path)
    assert found.levels == (1,)
    check(content, found, [0], WHOLE)


def test_levels_below_the_first_directory_are_found(host: ObjectHost, tmp_path: Path) -> None:
    content = bytearray(changed(tmp_path / "a.tif", tiff(dtype="uint8", **TILES)))
    first = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, first)[0]
    tags = [struct.unpack_from("<H", content, first + 2 + 12 * i)[0] for i in range(count)]
    end = first + 2 + 12 * count
    # SubIFDs in place of SampleFormat, whose value is the default one; no directory behind the first.
    struct.pack_into(
        "<HHII", content, first + 2 + 12 * tags.index(339), 330, 4, 1, *struct.unpack_from("<I", content, end)
    )
    struct.pack_into("<I", content, end, 0)
    host.objects["a.tif"] = whole = bytes(content)
    with MemoryFile(whole) as memory, memory.open() as dataset:
        assert dataset.overviews(1) == [2]
    found = raster(host, tmp_path)
    assert found.levels == (1, 2)
    check(whole, found, [0], PixelWindow(0, 0, 150, 100), 1)


def with_nodata_values(path: Path, **options: Any) -> bytes:
    """Return a raster of three bands, of which pixels are masked where all have their own number."""
    path.write_bytes(tiff(count=3, dtype="uint8", **TILES, **options))
    with rasterio.open(path, "r+") as dataset:
        values = dataset.read()
        values[:, 40:90, 20:130] = np.array([7, 8, 9], "uint8")[:, None, None]
        dataset.write(values)
        dataset.update_tags(NODATA_VALUES="7 8 9")
    return path.read_bytes()


@pytest.mark.parametrize("compress", ["deflate", "lzw"])
def test_pixels_are_masked_where_all_bands_have_their_nodata_values(
    compress: str, host: ObjectHost, tmp_path: Path
) -> None:
    host.objects["a.tif"] = content = with_nodata_values(tmp_path / "a.tif", compress=compress)
    found = raster(host, tmp_path)
    assert not found.read([1], PixelWindow(20, 40, 110, 50), 0)[1].any()
    check(content, found, [0, 1, 2], WHOLE)
    check(content, found, [2], PixelWindow(15, 35, 90, 60))


def test_masks_that_depend_on_bands_which_are_stored_apart_are_refused(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = with_nodata_values(tmp_path / "a.tif", interleave="band")
    with pytest.raises(ArchiveRefusedError, match="depend on several bands, which it stores apart"):
        raster(host, tmp_path).read([0], WHOLE, 0)


def test_colours_that_gdal_converts_are_refused_where_bands_are_stored_apart(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff(count=4, dtype="uint8", photometric="CMYK", interleave="band", **TILES)
    with pytest.raises(ArchiveRefusedError, match="depend on several bands, which it stores apart"):
        raster(host, tmp_path).read([0], WHOLE, 0)
    host.objects["b.tif"] = content = tiff(count=4, dtype="uint8", photometric="CMYK", **TILES)
    check(content, raster(host, tmp_path, "b.tif"), [0, 1, 2, 3], WHOLE)


@pytest.mark.parametrize("compress", ["deflate", "lzw"])
def test_nodata_that_no_float_holds_masks_as_gdal_does(compress: str, host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(dtype="uint64", compress=compress, nodata=10_000_000_000_000_000_000, **TILES)
    content = content.replace(b"10000000000000000000", str(2**64 - 1).encode())
    host.objects["a.tif"] = content
    check(content, raster(host, tmp_path), [0], WHOLE)
