"""Of large blocks, only the bytes of their upper rows are fetched, and later ones go on from there."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.windows import Window

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.files.cog_raster import CogRaster, RangeCogReader
from eechips_local.archives.files.tiff_header import HeaderBytes, TiffDirectory, parse_directories
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.signing import Signer
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.support.object_host import ObjectHost, object_host

Array = npt.NDArray[Any]


def tiff(values: Array, **options: Any) -> bytes:
    count, height, width = values.shape
    profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": values.dtype.name}
    with MemoryFile() as memory:
        with memory.open(**profile, crs="EPSG:32613", transform=Affine.scale(10, -10), **options) as dataset:
            dataset.write(values)
        return bytes(memory.getbuffer())


def noise(height: int, width: int, count: int = 1, dtype: str = "uint8") -> Array:
    return np.random.default_rng(height * width).integers(0, 255, (count, height, width)).astype(dtype)


def image_of(content: bytes) -> TiffDirectory:
    (image,) = parse_directories(HeaderBytes(len(content), {0: content}))
    return image


def raster(host: ObjectHost, folder: Path) -> CogRaster:
    description = ArchiveDescription("test", "Test", hosts=(host.url.removeprefix("http://"),))
    reader = RangeCogReader(HostTransport(AllowedHosts.of_files(description)), Signer(description), folder)
    return reader.open(f"{host.url}/a.tif", collection="c")


def check(content: bytes, found: CogRaster, window: PixelWindow) -> None:
    area = Window(window.column, window.row, window.width, window.height)  # type: ignore[call-arg]
    with MemoryFile(content) as memory, memory.open() as dataset:
        true = dataset.read(window=area)
    values, _ = found.read(list(range(len(true))), window, 0)
    np.testing.assert_array_equal(values, true)
    found.reader.parts.wait_until_kept()


def pixel_ranges(host: ObjectHost) -> list[tuple[int, int]]:
    """Return the ranges behind that of the header, first byte and first byte behind them."""
    return [(first, last + 1) for first, last in host.ranges["a.tif"] if first]


@pytest.mark.parametrize("compress", ["deflate", None])
@pytest.mark.parametrize("keeps_reader", [True, False])
def test_lower_rows_go_on_where_upper_rows_ended(
    compress: str | None, keeps_reader: bool, host: ObjectHost, tmp_path: Path
) -> None:
    content = tiff(noise(600, 600), blockysize=600, compress=compress)
    image = image_of(content)
    start, size = int(image.offsets[0]), int(image.counts[0])
    host.objects["a.tif"] = content
    found = raster(host, tmp_path)
    for row in (0, 100, 500, 0):
        check(content, found, PixelWindow(50, row, 500, 100))
        if not keeps_reader:
            found = raster(host, tmp_path)  # which has what the other has left on disk
    ranges = pixel_ranges(host)
    assert [first for first, _ in ranges] == [start, *(stop for _, stop in ranges[:-1])]  # no byte twice
    assert ranges[0][1] - start < size // 4
    assert ranges[-1][1] == start + size


def test_rows_that_take_more_bytes_than_their_share_are_fetched_with_the_rest(host: ObjectHost, tmp_path: Path) -> None:
    values = noise(600, 600)
    values[:, 300:] = 7
    content = tiff(values, blockysize=600, compress="deflate")
    host.objects["a.tif"] = content
    found = raster(host, tmp_path)
    check(content, found, PixelWindow(0, 0, 600, 300))
    first, second = pixel_ranges(host)
    image = image_of(content)
    assert first[1] == second[0]
    assert second[1] == int(image.offsets[0] + image.counts[0])
    check(content, found, PixelWindow(0, 0, 600, 600))
    assert len(pixel_ranges(host)) == 2


@pytest.mark.parametrize("edge", [512, 1024])
def test_upper_rows_of_neighbours_take_one_request_unless_much_lies_between(
    host: ObjectHost, tmp_path: Path, edge: int
) -> None:
    """Five eighths of a block are 164 kB or 655 kB."""
    content = tiff(noise(edge, 2 * edge), tiled=True, blockxsize=edge, blockysize=edge, compress="deflate")
    host.objects["a.tif"] = content
    found, image = raster(host, tmp_path), image_of(content)
    check(content, found, PixelWindow(edge - 200, 0, 400, edge * 3 // 8))
    ranges = sorted(pixel_ranges(host))
    firsts, size = [int(offset) for offset in image.offsets], sum(stop - first for first, stop in ranges)
    assert [first for first, _ in ranges] == (firsts[:1] if edge == 512 else firsts)
    assert size < (0.71 if edge == 512 else 0.4) * image.counts.sum()
    check(content, found, PixelWindow(0, 0, 500, edge * 7 // 8))  # what lay between them is kept
    assert len(pixel_ranges(host)) == (1 if edge == 512 else 3)


def test_damaged_beginning_is_fetched_again_whole(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(noise(600, 600), blockysize=600, compress="deflate")
    host.objects["a.tif"] = content
    host.faults = [None, "damage"]
    check(content, raster(host, tmp_path), PixelWindow(0, 0, 600, 100))


def test_block_that_ends_too_early_is_refused(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(noise(600, 600), blockysize=600, compress="deflate")
    image = image_of(content)
    start, size = int(image.offsets[0]), int(image.counts[0])
    short = zlib.compress(zlib.decompress(content[start : start + size])[: 600 * 50])
    host.objects["a.tif"] = content[:start] + short + content[start + len(short) :]
    with pytest.raises(ArchiveRefusedError, match=r"cannot be decoded.* fetched twice"):
        raster(host, tmp_path).read([0], PixelWindow(0, 0, 600, 100), 0)
    assert len(pixel_ranges(host)) == 2


@pytest.mark.exhaustive
@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_windows_of_large_blocks_are_rasterios(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    dtype = data.draw(st.sampled_from(["uint8", "int16", "uint16", "float32"]))
    values = noise(700, 500, data.draw(st.sampled_from([1, 3])), dtype)
    flat = data.draw(st.integers(0, 699))
    values[:, flat : flat + data.draw(st.integers(0, 400))] = 9  # rows that take few bytes
    options: dict[str, Any] = {"interleave": data.draw(st.sampled_from(["band", "pixel"]))}
    if data.draw(st.booleans()):
        options |= {"tiled": True, "blockxsize": data.draw(st.sampled_from([256, 512])), "blockysize": 512}
    else:
        options |= {"blockysize": data.draw(st.sampled_from([300, 600, 700]))}
    options["compress"] = data.draw(st.sampled_from([None, "deflate", "deflate", "lzw", "zstd"]))
    if options["compress"]:
        options["predictor"] = data.draw(st.sampled_from([1, 2, 3] if dtype == "float32" else [1, 2]))
    content, folder = tiff(values, **options), tmp_path_factory.mktemp("kept")
    with object_host() as host:
        host.objects["a.tif"] = content
        found = raster(host, folder)
        for _ in range(data.draw(st.integers(1, 5))):
            column, row = data.draw(st.integers(0, 499)), data.draw(st.integers(0, 699))
            width, height = data.draw(st.integers(1, 500 - column)), data.draw(st.integers(1, 700 - row))
            check(content, found, PixelWindow(column, row, width, height))
            if data.draw(st.booleans()):
                found = raster(host, folder)
