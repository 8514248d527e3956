"""Rasters of an archive are read by ranges, and every pixel is the one that rasterio reads."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.files.range_cache import cache_folder
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.archives.cog_files import LAYOUTS, check, cog, raster, tiff
from local_tests.support.object_host import ObjectHost, object_host
from local_tests.support.parameters import slow_except


@pytest.mark.parametrize("layout", slow_except(LAYOUTS, *list(LAYOUTS)[::3]))
def test_every_layout_reads_as_rasterio_reads_it(layout: str, host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(**LAYOUTS[layout])
    host.objects["a.tif"] = content
    found = raster(host, tmp_path)
    count = LAYOUTS[layout].get("count", 1)
    with MemoryFile(content) as memory, memory.open() as dataset:
        assert found.header.dtypes == dataset.dtypes
        assert found.header.grid.transform == dataset.transform
        assert found.header.grid.crs == "EPSG:32613"
        assert found.header.grid.shape == dataset.shape
        assert found.header.nodata == pytest.approx(dataset.nodata, nan_ok=True)
    check(content, found, list(range(count)), PixelWindow(0, 0, 300, 200))
    check(content, found, [count - 1], PixelWindow(299, 199, 1, 1))
    check(content, found, [count - 1, 0], PixelWindow(37, 55, 201, 90))


@pytest.mark.parametrize("height", [161, 175])
@pytest.mark.parametrize("compress", slow_except([None, "deflate", "lzw", "zstd"], "deflate"))
def test_last_strip_may_be_filled_up(compress: str | None, height: int, host: ObjectHost, tmp_path: Path) -> None:
    filled = tiff(300, 192, compress=compress, blockysize=32)
    entry = struct.pack("<HHI", 257, 3, 1)  # ImageLength, a short
    content = filled.replace(entry + struct.pack("<I", 192), entry + struct.pack("<I", height))
    assert content != filled
    host.objects["a.tif"] = content
    for area in (PixelWindow(5, height - 1, 70, 1), PixelWindow(0, 0, 300, height)):
        check(content, raster(host, tmp_path), [0], area)


COGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "deflate": ({}, {"compress": "DEFLATE", "predictor": "YES"}),
    "mask": ({"count": 3, "dtype": "uint8", "mask": True}, {"compress": "JPEG", "quality": 80}),
    "lerc": ({"dtype": "float32"}, {"compress": "LERC", "max_z_error": 0.5}),
    "lerc of zstd": ({"dtype": "uint16"}, {"compress": "LERC_ZSTD"}),
    "webp": ({"count": 3, "dtype": "uint8"}, {"compress": "WEBP", "quality": 75}),
    "embedding": ({"count": 6, "dtype": "int8", "nodata": -128}, {"compress": "ZSTD"}),
}


@pytest.mark.parametrize("kind", slow_except(COGS, "deflate"))
def test_overviews_read_as_rasterio_reads_them(kind: str, host: ObjectHost, tmp_path: Path) -> None:
    source, options = COGS[kind]
    content = cog(tiff(700, 431, **source), blocksize=128, **options)
    host.objects["a.tif"] = content
    found = raster(host, tmp_path)
    with MemoryFile(content) as memory, memory.open() as dataset:
        assert found.levels == (1, *dataset.overviews(1)) == (1, 2, 4, 8)
    assert found.level_sizes == ((700, 431), (350, 215), (175, 107), (87, 53))  # the COG driver rounds down
    for level, (width, height) in enumerate(found.level_sizes):
        check(content, found, list(range(source.get("count", 1))), PixelWindow(0, 0, width, height), level)


@pytest.mark.exhaustive
@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_window_of_any_layout_is_rasterios(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    count = data.draw(st.integers(1, 4))
    dtype = data.draw(st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]))
    options: dict[str, Any] = {"interleave": data.draw(st.sampled_from(["band", "pixel"]))}
    if data.draw(st.booleans()):
        options |= {"tiled": True, "blockxsize": 16, "blockysize": data.draw(st.sampled_from([16, 32, 64]))}
    else:
        options |= {"blockysize": data.draw(st.integers(1, 40))}
    options["compress"] = data.draw(st.sampled_from([None, "deflate", "lzw", "zstd", "packbits"]))
    if options["compress"] in ("deflate", "lzw", "zstd"):
        options["predictor"] = data.draw(st.sampled_from([1, 3] if dtype.startswith("float") else [1, 2]))
    options["nodata"] = data.draw(st.sampled_from([None, 5]))
    options["mask"] = data.draw(st.booleans())
    content = tiff(width, height, count, dtype, **options)
    column, row = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    area = PixelWindow(column, row, data.draw(st.integers(1, width - column)), data.draw(st.integers(1, height - row)))
    bands = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True))
    with object_host() as host:
        host.objects["a.tif"] = content
        check(content, raster(host, tmp_path_factory.mktemp("kept")), bands, area)


def test_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "~nobody-has-this-name")  # stays as it is, as where passwd has no entry
    with pytest.raises(ArchiveRefusedError, match="set XDG_CACHE_HOME"):
        cache_folder()


def test_bottom_up_file_keeps_its_transform(host: ObjectHost, tmp_path: Path) -> None:
    upward = Affine(10, 0, 500_000, 0, 10, 4_300_000)
    content = tiff(tiled=True, transform=upward)
    host.objects["a.tif"] = content
    found = raster(host, tmp_path)
    assert found.header.grid.transform == upward
    check(content, found, [0], PixelWindow(3, 4, 100, 120))


def test_nothing_is_sent_before_pixels_are_needed(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff()
    raster(host, tmp_path)
    assert host.requests() == 0


def test_reader_pickles(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff()
    host.objects["a.tif"] = content
    check(content, pickle.loads(pickle.dumps(raster(host, tmp_path))), [0], PixelWindow(0, 0, 9, 9))


def test_header_at_the_end_of_a_file_is_found(host: ObjectHost, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(1501, 1500, tiled=True, compress="deflate"))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8])
    host.objects["a.tif"] = content = path.read_bytes()
    found = raster(host, tmp_path)
    assert found.levels == (1, 2, 4, 8)
    assert found.level_sizes == ((1501, 1500), (751, 750), (376, 375), (188, 188))  # GDAL's own round up
    check(content, found, [0], PixelWindow(10, 10, 700, 700), 1)


def test_compression_that_gdal_does_not_know_is_named(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(compress="deflate", blockysize=200)
    host.objects["a.tif"] = content.replace(
        struct.pack("<HHIHH", 259, 3, 1, 8, 0), struct.pack("<HHIHH", 259, 3, 1, 9999, 0)
    )
    with pytest.raises(
        ArchiveRefusedError, match=r"a\.tif cannot be read: GDAL does not read it: Cannot open TIFF file"
    ):
        assert raster(host, tmp_path).header
