"""Rasters of an archive are read by ranges, and every pixel is the one that rasterio reads."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window

from eechips_local.archives.allowed_hosts import AllowedHosts
from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.checked_connections import HostTransport
from eechips_local.archives.cog_parts import CogParts
from eechips_local.archives.cog_raster import CogRaster, RangeCogReader, ReadsAhead
from eechips_local.archives.file_ranges import FileRanges
from eechips_local.archives.folder_transport import FileResponse
from eechips_local.archives.host_pauses import HostPauses
from eechips_local.archives.host_permits import HostPermits
from eechips_local.archives.range_cache import RangeCache, cache_folder
from eechips_local.archives.signing import Signer
from eechips_local.evaluation.model import PixelWindow
from local_tests.support.object_host import ObjectHost, object_host
from local_tests.support.parameters import slow_except

Array = npt.NDArray[Any]
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_400_000)


@pytest.fixture
def host() -> Iterator[ObjectHost]:
    with object_host() as host:
        yield host


def tiff(
    width: int = 300, height: int = 200, count: int = 1, dtype: str = "uint16", mask: bool = False, **options: Any
) -> bytes:
    """Return a GeoTIFF with noise on a slope."""
    rng = np.random.default_rng(width * height * count)
    slope = np.arange(width * height).reshape(height, width) % 211
    values = np.stack([(slope + rng.integers(0, 9, slope.shape) + band).astype(dtype) for band in range(count)])
    profile = {
        "driver": "GTiff", "width": width, "height": height, "count": count, "dtype": dtype, "crs": "EPSG:32613",
        "transform": TRANSFORM, **options,
    }  # fmt: skip
    with MemoryFile() as memory:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), memory.open(**profile) as dataset:
            dataset.write(values)
            if mask:
                dataset.write_mask(slope % 3 > 0)
        return bytes(memory.getbuffer())


def cog(content: bytes, **options: Any) -> bytes:
    """Return a cloud-optimised copy."""
    with MemoryFile(content) as source, MemoryFile(ext=".tif") as made:
        copy_raster(source.name, made.name, driver="COG", **options)
        return bytes(made.getbuffer())


def reader_of(host: ObjectHost, folder: Path, since: float | None = None) -> RangeCogReader:
    description = ArchiveDescription("test", "Test", hosts=(host.url.removeprefix("http://"),))
    return RangeCogReader(HostTransport(AllowedHosts.of_files(description)), Signer(description), folder, since=since)


def raster(host: ObjectHost, folder: Path, name: str = "a.tif", since: float | None = None) -> CogRaster:
    return reader_of(host, folder, since).open(f"{host.url}/{name}", collection="c")


def expected(content: bytes, bands: list[int], window: PixelWindow, level: int) -> tuple[Array, Array]:
    """Return what rasterio reads."""
    options = {} if level == 0 else {"overview_level": level - 1}
    area = Window(window.column, window.row, window.width, window.height)  # type: ignore[call-arg]
    with MemoryFile(content) as memory, memory.open(**options) as dataset:
        indexes = [band + 1 for band in bands]
        return dataset.read(indexes, window=area), dataset.read_masks(indexes, window=area) != 0


def check(content: bytes, found: CogRaster, bands: list[int], window: PixelWindow, level: int = 0) -> None:
    values, valid = found.read(bands, window, level)
    true_values, true_valid = expected(content, bands, window, level)
    np.testing.assert_array_equal(values, true_values)
    np.testing.assert_array_equal(valid, true_valid)
    assert values.dtype == true_values.dtype
    found.reader.parts.wait_until_kept()  # other readers find it on disk


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {},
    "strips of deflate": {"compress": "deflate", "blockysize": 7, "predictor": 2},
    "one strip": {"blockysize": 200},
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 48},
    "lzw": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "lzw", "predictor": 2},
    "zstd": {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "zstd", "predictor": 2, "count": 3},
    "floats": {"tiled": True, "compress": "deflate", "predictor": 3, "dtype": "float32", "nodata": 17.0},
    "differences of floats": {"tiled": True, "compress": "deflate", "predictor": 2, "dtype": "float32"},
    "differences of longs": {
        "tiled": True, "compress": "deflate", "predictor": 2, "dtype": "int64", "nodata": 17, "ENDIANNESS": "BIG",
    },
    "not a number": {"tiled": True, "dtype": "float64", "nodata": float("nan")},
    "nodata": {"tiled": True, "nodata": 17, "compress": "deflate"},
    "signed bytes": {"tiled": True, "dtype": "int8", "nodata": -128, "count": 2},
    "big endian": {"tiled": True, "ENDIANNESS": "BIG", "dtype": "int32", "compress": "deflate", "predictor": 2},
    "big tiff": {"tiled": True, "BIGTIFF": "YES", "compress": "packbits"},
    "planar": {"tiled": True, "interleave": "band", "count": 5, "compress": "deflate", "predictor": 2},
    "planar strips": {"interleave": "band", "count": 3, "blockysize": 16, "compress": "lzw"},
    "mask": {"tiled": True, "count": 3, "dtype": "uint8", "mask": True, "compress": "deflate"},
    "alpha": {"tiled": True, "count": 4, "dtype": "uint8", "photometric": "RGB", "alpha": "YES"},
    "planar alpha": {"tiled": True, "count": 4, "dtype": "uint8", "interleave": "band", "alpha": "YES"},
    "jpeg": {"tiled": True, "count": 3, "dtype": "uint8", "compress": "jpeg", "photometric": "YCBCR"},
    "jpeg of four": {"tiled": True, "count": 4, "dtype": "uint8", "compress": "jpeg"},
    "jpeg strips": {"count": 1, "dtype": "uint8", "compress": "jpeg", "blockysize": 16},
    "twelve bits": {"tiled": True, "dtype": "uint16", "NBITS": 12, "compress": "deflate"},
    "half floats": {"tiled": True, "dtype": "float32", "NBITS": 16, "nodata": 17.0, "compress": "deflate"},
    "half floats of strips": {"dtype": "float32", "NBITS": 16, "blockysize": 7, "ENDIANNESS": "BIG"},
    "one bit": {"tiled": True, "dtype": "uint8", "NBITS": 1},
    "sparse": {"tiled": True, "SPARSE_OK": "TRUE", "nodata": 0},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
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
@pytest.mark.parametrize("compress", [None, "deflate", "lzw", "zstd"])
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


@pytest.mark.parametrize("kind", slow_except(COGS, "deflate", "mask"))
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


def test_header_and_blocks_are_kept_for_other_readers(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(2000, 2000, tiled=True, blockxsize=256, blockysize=256, compress="deflate")
    host.objects["a.tif"] = content
    area, since = PixelWindow(300, 300, 400, 100), time.time()
    check(content, raster(host, tmp_path, since=since), [0], area)
    assert host.requests() == 2  # the header, and two adjacent blocks
    check(content, raster(host, tmp_path, since=since), [0], area)
    assert host.requests() == 2
    check(content, raster(host, tmp_path, since=since), [0], PixelWindow(300, 300, 400, 400))
    assert host.requests() == 3


def test_what_is_kept_is_checked_once_by_the_processes_of_a_later_server(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True)
    host.objects["a.tif"] = content
    area = PixelWindow(10, 10, 20, 20)
    check(content, raster(host, tmp_path), [0], area)
    host.ranges.clear()
    reader = reader_of(host, tmp_path)
    for each in (reader, pickle.loads(pickle.dumps(reader)), reader):
        check(content, each.open(f"{host.url}/a.tif", collection="c"), [0], area)
    assert host.ranges == {"a.tif": [(0, 0)]}


def test_host_that_sends_less_at_once_is_asked_for_the_rest(host: ObjectHost, tmp_path: Path) -> None:
    """RFC 9110, 15.3.7: a server may send only some of the requested range."""
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    host.most_bytes = 70_000
    check(content, raster(host, tmp_path), [0], PixelWindow(10, 10, 900, 900))
    assert host.requests() < 8 * len(content) / host.most_bytes


def test_host_that_sends_a_little_less_each_time_is_read_to_the_end(host: ObjectHost, tmp_path: Path) -> None:
    content = np.random.default_rng(1).bytes(1_500_000)
    host.objects["a.bin"], host.most_bytes = content, -1000
    pauses = HostPauses(tmp_path / "pauses")
    description = ArchiveDescription("test", "Test", hosts=(host.url.removeprefix("http://"),))
    transport, permits = HostTransport(AllowedHosts.of_files(description)), HostPermits(tmp_path / "permits", 1)
    ranges = FileRanges(transport, Signer(description), permits, pauses)
    fetched = ranges.read_spans(f"{host.url}/a.bin", "c", ((10, 100), (1000, 5), (200_000, 1_400_000)))
    assert [bytes(part) for part in fetched.parts] == [content[10:110], content[1000:1005], content[200_000:]]
    assert host.requests() < 1500 / 64 + 6


def test_page_type_of_the_right_part_is_no_page(host: ObjectHost, tmp_path: Path) -> None:
    """Servers without a type for rasters may have HTML as their default."""
    host.objects["a.tif"] = content = tiff(100, 100)
    host.headers = [{"Content-Type": "text/html"}] * 9
    check(content, raster(host, tmp_path), [0], PixelWindow(0, 0, 100, 100))
    assert len(host.headers) >= 7


def test_host_that_sends_tiny_parts_is_refused(
    host: ObjectHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eechips_local.archives.file_ranges._FIRST_PAUSE", 0.0)
    host.objects["a.tif"] = tiff(1000, 1000)
    host.most_bytes = 100
    with pytest.raises(ArchiveError, match="sends 100 bytes of what was asked for"):
        assert raster(host, tmp_path).header
    assert host.requests() <= 12


@pytest.mark.parametrize("has_etags", [True, False])
def test_file_that_changes_between_servers_is_read_anew(has_etags: bool, host: ObjectHost, tmp_path: Path) -> None:
    host.has_etags = has_etags
    area = PixelWindow(10, 10, 20, 20)
    host.objects["a.tif"] = tiff(1000, 1000, tiled=True)
    before = raster(host, tmp_path)
    before.read([0], area, 0)
    host.objects["a.tif"] = changed = tiff(1000, 1300, tiled=True)
    after = raster(host, tmp_path)
    check(changed, after, [0], area)
    assert after.header.version != before.header.version


def test_file_is_asked_for_its_version_again_after_an_hour(
    host: ObjectHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    area, start = PixelWindow(10, 10, 20, 20), time.time()
    monkeypatch.setattr("time.time", lambda: start)
    found = raster(host, tmp_path)
    check(content, found, [0], area)
    monkeypatch.setattr("time.time", lambda: start + 3599)
    check(content, found, [0], area)
    assert host.requests() == 2
    monkeypatch.setattr("time.time", lambda: start + 3601)
    check(content, found, [0], area)
    assert host.requests() == 3
    host.objects["a.tif"] = tiff(1000, 1300, tiled=True)
    monkeypatch.setattr("time.time", lambda: start + 7300)
    with pytest.raises(ArchiveRefusedError, match="has changed since it was first read"):
        found.read([0], area, 0)


def test_what_is_kept_is_used_without_a_network(
    host: ObjectHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    host.url = host.url.replace("127.0.0.1", "localhost")
    area = PixelWindow(10, 10, 20, 20)
    check(content, raster(host, tmp_path), [0], area)

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "no network")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    check(content, raster(host, tmp_path), [0], area)
    with pytest.raises(ArchiveError, match="is there a network"):
        raster(host, tmp_path).read([0], PixelWindow(900, 900, 10, 10), 0)
    assert host.requests() == 2


def test_window_read_ahead_of_another_version_is_not_taken(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff(1000, 1000, tiled=True)
    area = PixelWindow(10, 10, 20, 20)
    found = raster(host, tmp_path)
    found.prefetch([0], area, 0)
    while host.requests() < 2:
        time.sleep(0.01)
    host.objects["a.tif"] = changed = tiff(1000, 1300, tiled=True)
    with pytest.raises(ArchiveRefusedError, match="has changed"):
        found.read([0], PixelWindow(900, 900, 10, 10), 0)
    check(changed, raster(host, tmp_path), [0], area)


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


PASSING = slow_except(
    ["reset", "truncate", "503", "520", "429", "407", "other range", "html", "redirect", "whole", "gzip"],
    "520", "html", "redirect",
)  # fmt: skip


@pytest.mark.parametrize("fault", PASSING)
def test_passing_faults_are_repeated(fault: Any, host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True)
    host.objects["a.tif"] = content
    host.faults = [fault, None, fault, fault, None]
    check(content, raster(host, tmp_path), [0], PixelWindow(10, 10, 300, 300))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("redirect", "none of its hosts.*TOML file.*hosts = .*file = "),
        ("whole", "ignores ranges"),
        ("gzip", "compressed by its host"),
    ],
)
def test_hosts_that_are_unfit_are_refused(fault: Any, message: str, host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff(1000, 1000)
    host.faults = [fault] * 3
    with pytest.raises(ArchiveRefusedError, match=message):
        assert raster(host, tmp_path).header
    assert not host.faults


def test_a_page_of_a_proxy_is_told_of_and_asked_for_again_later(
    host: ObjectHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eechips_local.archives.file_ranges._FIRST_PAUSE", 0.0)
    host.objects["a.tif"] = tiff(1000, 1000)
    host.faults = ["html"] * 60
    with pytest.raises(ArchiveError, match="a web page comes instead, as from a proxy or a login page"):
        assert raster(host, tmp_path).header
    assert len(host.faults) >= 60 - 12  # ahead, and when it is needed
    host.faults.clear()
    assert raster(host, tmp_path).header


def test_host_that_answers_without_the_size_of_a_file_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eechips_local.archives.file_ranges._FIRST_PAUSE", 0.0)

    class Transport:
        def open(self, url: str, headers: object, connect: float, silence: float) -> FileResponse:
            return FileResponse(206, {"Content-Range": "bytes 0-9/*", "Content-Length": "10"}, bytes(10))

    pauses = HostPauses(tmp_path / "pauses")
    signer = Signer(ArchiveDescription("test", "Test", hosts=("files.example",)))
    ranges = FileRanges(Transport(), signer, HostPermits(tmp_path / "permits", 1), pauses)
    with pytest.raises(ArchiveError, match="without saying which, and of how many bytes"):
        ranges.read("https://files.example/a.tif", "c", 0, 10)
    assert not pauses.is_away("files.example")


@pytest.mark.parametrize("encoding", ["", "Identity", "aws-chunked", "aws-chunked,identity"])
def test_encodings_that_change_nothing_may_be_named(encoding: str, host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff(100, 100)
    host.headers = [{"Content-Encoding": encoding}]
    assert raster(host, tmp_path).header.grid.shape == (100, 100)
    assert host.requests() == 1


def test_unit_of_ranges_may_be_written_in_any_case(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff(100, 100)
    host.headers = [{"Content-Range": f"Bytes 0-{len(content) - 1}/{len(content)}"}]
    assert raster(host, tmp_path).header.grid.shape == (100, 100)
    assert host.requests() == 1


@pytest.mark.parametrize("has_etags", [True, False])
def test_file_that_changes_is_refused_by_all_processes_of_a_server(
    has_etags: bool, host: ObjectHost, tmp_path: Path
) -> None:
    host.has_etags = has_etags
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    found, corner, later = raster(host, tmp_path), PixelWindow(0, 0, 10, 10), PixelWindow(900, 900, 10, 10)
    found.read([0], corner, 0)
    host.objects["a.tif"] = changed = tiff(1000, 1300, tiled=True)
    for process in (found, pickle.loads(pickle.dumps(found))):
        for asked in (1, 0):  # once by each process
            before = host.requests()
            with pytest.raises(ArchiveRefusedError, match="has changed since it was first read"):
                process.read([0], later, 0)
            assert host.requests() - before == asked
            check(content, process, [0], corner)  # what was read before
    check(changed, raster(host, tmp_path), [0], later)


def test_file_that_changes_between_two_processes_that_read_its_header_is_refused(
    host: ObjectHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.objects["a.tif"] = tiff(1000, 1000, tiled=True)
    first = raster(host, tmp_path)
    second = pickle.loads(pickle.dumps(first))
    with monkeypatch.context() as patch:  # neither finds what the other keeps when it begins
        patch.setattr(CogParts, "_kept_header", lambda *_: (None, False))
        first.read([0], PixelWindow(0, 0, 10, 10), 0)
        host.objects["a.tif"] = tiff(1000, 1300, tiled=True)
        with pytest.raises(ArchiveRefusedError, match="has changed"):
            second.read([0], PixelWindow(0, 0, 10, 10), 0)


def test_window_that_could_not_be_read_ahead_is_read_when_it_is_needed() -> None:
    ahead = ReadsAhead(1000)
    ended = threading.Semaphore(0)

    def fail() -> None:
        raise ArchiveError("busy")

    def read() -> int:
        ended.release()
        return 7

    for key in "abc":
        ahead.begin(key, 500, fail)
    for key in "de":  # both have room only when the bytes of what failed are free again
        ahead.begin(key, 500, read)
    assert ended.acquire(timeout=10)
    assert ended.acquire(timeout=10)
    assert all(ahead.take(key) is None for key in "abc")
    found = ahead.take("d")
    assert found is not None
    assert found.result(10) == 7
    ahead.begin("a", 500, read)
    found = ahead.take("a")
    assert found is not None
    assert found.result(10) == 7


def test_missing_file_is_refused_without_its_signature(host: ObjectHost, tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefusedError, match="HTTP 404") as caught:
        assert raster(host, tmp_path, "b.tif?sig=secret").header.grid
    assert "secret" not in str(caught.value)


def test_file_that_ends_before_its_pixels_is_asked_for_once(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    found = raster(host, tmp_path)
    assert found.header.grid
    host.objects["a.tif"] = content[:100_000]
    with pytest.raises(ArchiveRefusedError, match=r"is damaged, or has changed: it ends before byte [0-9,]{7}"):
        found.read([0], PixelWindow(980, 980, 20, 20), 0)
    assert host.requests() == 2


def test_compression_that_gdal_does_not_know_is_named(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(compress="deflate", blockysize=200)
    host.objects["a.tif"] = content.replace(
        struct.pack("<HHIHH", 259, 3, 1, 8, 0), struct.pack("<HHIHH", 259, 3, 1, 9999, 0)
    )
    with pytest.raises(
        ArchiveRefusedError, match=r"a\.tif cannot be read: GDAL does not read it: Cannot open TIFF file"
    ):
        assert raster(host, tmp_path).header


def test_file_whose_host_goes_on_denying_access_is_refused(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff()
    host.faults = ["403"] * 3
    with pytest.raises(ArchiveRefusedError, match=r"a\.tif cannot be read: its host denies access \(HTTP 403\)\. "):
        assert raster(host, tmp_path).header
    assert not host.faults
    assert host.requests() == 3
    host.faults = ["403"]  # of a signature that has expired
    check(content, raster(host, tmp_path), [0], PixelWindow(0, 0, 9, 9))


AZURE = (
    b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code><Message>Signature not valid in the "
    b"specified time frame, see https://a.example/?sig=secret\nRequestId:1</Message></Error>"
)
EULA = (
    b'{"status_code": 403, "error_description": "EULA Acceptance Failure", '
    b'"resolution_url": "https://urs.earthdata.nasa.gov/approve_app?client_id=secret"}'
)
TOKEN = b'{"error_description": "The token eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.secret.abcDEF-123 is not valid"}'
KEYS = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
S3 = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message><Token>secret</Token></Error>"


@pytest.mark.parametrize(
    ("denial", "query", "said"),
    [
        (
            AZURE,
            "?sig=secret",
            r"AuthenticationFailed: Signature not valid .* frame, see\. Its item .* has expired: search",
        ),
        (
            S3,
            "?X-Amz-Signature=secret",
            r"AccessDenied: Request has expired\. Its item has an address with a signature",
        ),
        (S3, "", r"AccessDenied: Request has expired\. Buckets of S3"),
        (KEYS, "", r"\(HTTP 403\): ExpiredToken: The provided token has expired\. Renew the keys of AWS, or correct"),
        (EULA, "", r"\(HTTP 403\): EULA Acceptance Failure\. Accept the licence of its data: at https://urs\."),
        (b"<html>sig=secret</html>", "?sig=secret", r"\(HTTP 403\)\. Its item has .*, which may have expired: search"),
        (b"", "", r"\(HTTP 403\)\. Buckets of S3 also"),
        (TOKEN, "", r"The token is not valid\. Buckets of S3"),
    ],
)
def test_what_a_host_says_of_access_reaches_the_user_without_signatures(
    denial: bytes, query: str, said: str, host: ObjectHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eechips_local.archives.file_ranges._FIRST_PAUSE", 0.0)
    host.objects["a.tif"], host.denial, host.faults = tiff(), denial, ["403"] * 3
    with pytest.raises(ArchiveRefusedError, match=said) as caught:
        assert raster(host, tmp_path, f"a.tif{query}").header
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (KEYS, r"its host denies access \(HTTP 400\): ExpiredToken: The provided token has expired\. Renew the keys"),
        (b"<html>Bad Request</html>", r"its host answers with HTTP 400\.$"),
        (b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>", r"its host answers with HTTP 400\.$"),
    ],
)
def test_a_request_that_a_host_calls_wrong_is_denied_only_where_it_names_the_keys(
    body: bytes, said: str, host: ObjectHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 answers so to a token that has expired: https://issues.apache.org/jira/browse/HADOOP-18353."""
    monkeypatch.setattr("eechips_local.archives.file_ranges._FIRST_PAUSE", 0.0)
    host.objects["a.tif"], host.denial, host.faults = tiff(), body, ["400"] * 3
    with pytest.raises(ArchiveRefusedError, match=said):
        assert raster(host, tmp_path).header


def test_file_with_damaged_blocks_is_refused_until_it_is_mended(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True, compress="deflate")
    host.has_etags = False  # so that both files are one version
    host.objects["a.tif"] = content[:-20_000] + bytes(20_000)
    area = PixelWindow(900, 900, 100, 100)
    found = raster(host, tmp_path)
    with pytest.raises(ArchiveRefusedError, match=r"a\.tif: its pixels cannot be decoded.* fetched twice"):
        found.read([0], area, 0)
    assert host.requests() == 3  # the header, and the blocks twice
    host.objects["a.tif"] = content
    check(content, found, [0], area)


def test_blocks_that_are_damaged_on_their_way_are_fetched_again(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True, compress="deflate")
    host.faults = [None, "damage"]
    area = PixelWindow(900, 900, 100, 100)
    check(content, raster(host, tmp_path), [0], area)
    check(content, raster(host, tmp_path), [0], area)


def test_prefetched_windows_are_fetched_together(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True, compress="deflate")
    names = [f"{i}.tif" for i in range(6)]
    host.objects = dict.fromkeys(names, content)
    reader = reader_of(host, tmp_path)
    files = [reader.open(f"{host.url}/{name}", collection="c") for name in names]
    host.gate.clear()
    for file in files:
        file.prefetch_header()
    while host.busy < len(files):
        assert host.most_busy <= len(files)
    host.gate.set()
    area = PixelWindow(500, 500, 300, 300)
    for file in files:
        file.prefetch([0], area, 0)
    for file in files:
        check(content, file, [0], area)
    assert host.most_busy >= len(files)
    for ranges in host.ranges.values():
        assert len(ranges) == len(set(ranges))


def huge(width: int, height: int, side: int) -> bytes:
    """Return the header of a TIFF file that claims to be large, as a bomb does."""
    tiles = min(-(-width // side) * -(-height // side), 2**32 - 1)
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1),
        (322, 4, 1, side), (323, 4, 1, side), (324, 4, tiles, 300), (325, 4, tiles, 300),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(70_000)


def shared_values(tags: int, size: int) -> bytes:
    """Return a TIFF file with many tags whose values are the same bytes of it."""
    entries = {256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 259: (3, 1, 1), 278: (4, 1, 64), 273: (4, 1, 8)}
    entries |= {279: (4, 1, 64), **{40_000 + n: (1, size, 8) for n in range(tags)}}
    directory = b"".join(struct.pack("<HHII", tag, *entries[tag]) for tag in sorted(entries))
    content = struct.pack("<2sHI", b"II", 42, 8 + size) + bytes(size) + struct.pack("<H", len(entries))
    return content + directory + bytes(4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (shared_values(100, 500_000), "header takes more than 32 MB"),
        (huge(1 << 30, 1 << 30, 1 << 24), "claims 1073741824x1073741824"),
        (huge(1 << 20, 1 << 20, 1 << 16), "take more than 64 MB"),
        (huge(1 << 20, 1 << 20, 16), "behind its end"),
        (huge(0, 100, 16), "claims 0x100"),
        (b"II*\0" + struct.pack("<IH", 8, 0) + struct.pack("<I", 8) + bytes(100), "holds no|circles|lists|claims 0x0"),
        (b"II*\0" + struct.pack("<IH", 8, 60_000) + bytes(100), "60000 tags"),
        (b"\x89PNG" + bytes(100), "no TIFF file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "JPEG 2000, whose windows cannot be read by ranges"),
        (b"\xff\x4f\xff\x51" + bytes(100), "JPEG 2000"),
        (b"II*\0", "no TIFF file"),
    ],
)
def test_bombs_are_refused_with_few_requests(content: bytes, message: str, host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content
    with pytest.raises(ArchiveRefusedError, match=message):
        assert raster(host, tmp_path).header
    assert host.requests() <= 3


def altered(content: bytes, tag: int, *, number: int = 0, count: int = 0, value: int | None = None) -> bytes:
    """Return a TIFF file whose first directory has another number, count or first value for a tag."""
    data = bytearray(content)
    start = struct.unpack_from("<I", data, 4)[0]
    at = next(
        at
        for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12)
        if struct.unpack_from("<H", data, at)[0] == tag
    )
    _, kind, values, place = struct.unpack_from("<HHII", data, at)
    size = {3: 2, 4: 4}[kind]
    if value is not None:
        struct.pack_into({2: "<H", 4: "<I"}[size], data, at + 8 if size * values <= 4 else place, value)
    struct.pack_into("<HHI", data, at, number or tag, kind, count or values)
    return bytes(data)


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("strips of deflate", {"tag": 317, "count": 2}, "its tag 317 is not one number"),
        ("tiles", {"tag": 284, "value": 5}, "layout or compression is not supported"),
        ("strips", {"tag": 273, "value": 0}, "lists a block without its place"),
        ("one strip", {"tag": 279, "value": 0}, "lists a block without its place, or without its size"),
    ],
)
def test_header_that_libtiff_reads_in_another_way_or_not_is_refused(
    layout: str, change: dict[str, int], message: str, host: ObjectHost, tmp_path: Path
) -> None:
    host.objects["a.tif"] = altered(tiff(**LAYOUTS[layout]), **change)
    with pytest.raises(ArchiveRefusedError, match=message):
        assert raster(host, tmp_path).header


def test_first_of_two_tags_with_one_number_counts_as_for_libtiff(host: ObjectHost, tmp_path: Path) -> None:
    content = altered(tiff(compress="deflate", predictor=2), 339, number=317)
    host.objects["a.tif"] = content
    check(content, raster(host, tmp_path), [0], PixelWindow(0, 0, 300, 200))


def test_overviews_whose_samples_are_others_are_left_out(host: ObjectHost, tmp_path: Path) -> None:
    content = cog(tiff(700, 431, dtype="float32"), blocksize=128)
    host.objects["a.tif"] = altered(content, 339, value=1)  # unsigned: the bits of its overviews would be integers
    found = raster(host, tmp_path)
    assert (found.levels, found.header.dtypes) == ((1,), ("uint32",))


def test_header_of_gigabytes_is_refused_before_it_is_fetched(host: ObjectHost, tmp_path: Path) -> None:
    content = huge(1 << 21, 1 << 21, 16)  # the places of its blocks would take 32 GB
    host.objects["a.tif"] = content
    host.sizes["a.tif"] = 10 << 40
    with pytest.raises(ArchiveRefusedError, match="header takes more than 32 MB"):
        assert raster(host, tmp_path).header
    assert host.requests() == 1


def test_kept_blocks_are_bounded_and_damaged_ones_are_fetched_again(host: ObjectHost, tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "kept", 100_000)
    for number in range(40):
        cache.put(f"part {number}", bytes([number]) * 10_000)
    files = [path for path in (tmp_path / "kept").glob("*/*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 110_100
    assert cache.get("part 39") == bytes([39]) * 10_000
    assert cache.get("part 0") is None
    content = tiff(1000, 1000, tiled=True)
    host.objects["a.tif"] = content
    area = PixelWindow(10, 10, 600, 300)
    check(content, raster(host, tmp_path), [0], area)
    for path in (tmp_path / "blocks").glob("*/*"):
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
    check(content, raster(host, tmp_path), [0], area)


def test_part_under_the_name_of_another_counts_as_missing(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 100_000)
    cache.put("a", b"1" * 100)
    (first,) = tmp_path.glob("*/*")
    cache.put("b", b"2" * 100)
    (second,) = (path for path in tmp_path.glob("*/*") if path != first)
    second.write_bytes(first.read_bytes())
    assert cache.get("a") == b"1" * 100
    assert cache.get("b") is None


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (206, {"Content-Range": f"bytes {'0' * 5000}-9/100"}, ArchiveError),
        (206, {"Content-Range": f"bytes 0-9/{'9' * 5000}"}, ArchiveError),
        (200, {"Content-Length": "9" * 5000}, ArchiveRefusedError),
        (200, {"Content-Length": "ten"}, ArchiveRefusedError),
    ],
)
def test_headers_of_responses_with_wrong_numbers_are_errors_of_the_archive(
    status: int, headers: dict[str, str], error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eechips_local.archives.file_ranges._FIRST_PAUSE", 0.0)

    class Transport:
        def open(self, url: str, headers_: object, connect: float, silence: float) -> FileResponse:
            return FileResponse(status, headers, b"0123456789")

    description = ArchiveDescription("test", "Test", hosts=("archive.example",))
    ranges = FileRanges(Transport(), Signer(description), HostPermits(tmp_path, 1), HostPauses(tmp_path))
    with pytest.raises(error):
        ranges.read("https://archive.example/a.tif", "c", 0, 10)


def test_kept_blocks_are_bounded_over_short_runs(tmp_path: Path) -> None:
    for number in range(40):
        cache = RangeCache(tmp_path, 100_000)  # as in a process of its own
        cache.put(f"part {number}", bytes(4_000))
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 100_000
    assert cache.get("part 39") == bytes(4_000)


def test_threads_share_what_they_fetch(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(2000, 1000, tiled=True, compress="deflate")
    host.objects["a.tif"] = content
    area = PixelWindow(500, 500, 300, 300)
    reader_of(host, tmp_path / "alone").open(f"{host.url}/a.tif", collection="c").read([0], area, 0)
    alone = sorted(host.ranges.pop("a.tif"))
    assert len(alone) == 4  # the header, and three rows of blocks
    found, start = raster(host, tmp_path), threading.Barrier(8)

    def read(number: int) -> None:
        start.wait(30)
        check(content, found, [0], area)
        found.prefetch([0], area, 0)
        check(content, found, [0], area)

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(read, range(8)))) == 8
    assert sorted(host.ranges["a.tif"]) == alone


def test_threads_share_the_error_of_what_they_fetch(host: ObjectHost, tmp_path: Path) -> None:
    host.gate.clear()
    found = raster(host, tmp_path)
    waiting = found.reader.parts.prefetch_layout(found.address)
    others = [found.reader.parts.prefetch_layout(found.address) for _ in range(5)]
    assert all(other is waiting for other in others)
    host.gate.set()
    with pytest.raises(ArchiveRefusedError, match="HTTP 404"):
        waiting.result(30)
    host.objects["a.tif"] = content = tiff()
    check(content, found, [0], PixelWindow(0, 0, 9, 9))


def test_threads_do_not_wait_for_what_nobody_fetches(host: ObjectHost, tmp_path: Path) -> None:
    found = raster(host, tmp_path)
    host.objects["a.tif"] = tiff()
    found.prefetch_header()
    found.read([0], PixelWindow(0, 0, 9, 9), 0)
    with ThreadPoolExecutor(1) as ended:
        found.reader.parts._pool, pool = ended, found.reader.parts._pool
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shutdown"):
            found.read([0], PixelWindow(0, 190, 9, 9), 0)
    found.reader.parts._pool = pool
    found.read([0], PixelWindow(0, 190, 9, 9), 0)


def test_pixels_are_read_where_nothing_can_be_kept(host: ObjectHost, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "kept"  # no folder can be made here, by whichever user
    content = tiff(1000, 1000, tiled=True)
    host.objects = {f"{i}.tif": content for i in range(8)}
    description = ArchiveDescription("test", "Test", hosts=(host.url.removeprefix("http://"),))
    transport = HostTransport(AllowedHosts.of_files(description))
    reader = pickle.loads(pickle.dumps(RangeCogReader(transport, Signer(description), folder, connections=2)))
    files = [reader.open(f"{host.url}/{name}", collection="c") for name in host.objects]
    host.gate.clear()
    for file in files:
        file.prefetch_header()
    while host.busy < 2:
        assert host.most_busy <= 2
    host.gate.set()
    for file in files:
        check(content, file, [0], PixelWindow(10, 10, 20, 20))
    assert host.most_busy == 2


@pytest.mark.slow
def test_processes_share_the_connections_of_a_host(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True)
    host.objects = {f"{i}.tif": content for i in range(24)}
    description = ArchiveDescription("test", "Test", hosts=(host.url.removeprefix("http://"),))
    readers = [
        RangeCogReader(
            HostTransport(AllowedHosts.of_files(description)), Signer(description), tmp_path / "kept", connections=3
        )
        for _ in range(3)  # as in three processes: locks belong to opened files
    ]
    files = [readers[i % 3].open(f"{host.url}/{i}.tif", collection="c") for i in range(24)]
    host.gate.clear()
    for file in files:
        file.prefetch_header()
    while host.busy < 3:
        assert host.most_busy <= 3
    host.gate.set()
    for file in files:
        check(content, file, [0], PixelWindow(10, 10, 20, 20))
    assert host.most_busy == 3
