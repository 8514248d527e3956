"""Blocks are inflated only as far as they are needed, and every pixel is the one that rasterio reads."""

from __future__ import annotations

import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from isal import isal_zlib
from rasterio.io import MemoryFile
from rasterio.windows import Window

from eechips_local.archives.archive_errors import ArchiveError
from eechips_local.archives.files.inflated_blocks import InflatedBlock, UnfinishedBlockError, format_of
from eechips_local.archives.files.tiff_header import HeaderBytes, TiffDirectory, parse_directories

KINDS = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]


@dataclass(frozen=True)
class Source:
    """A file, its only image and its blocks."""

    content: bytes
    image: TiffDirectory
    dtype: str
    nodata: float | None

    def data(self, number: int) -> bytes:
        start = int(self.image.offsets[number])
        return self.content[start : start + int(self.image.counts[number])]

    def block(self, number: int, data: bytes | None = None, count: int | None = None) -> InflatedBlock:
        block_format = format_of(self.image, self.dtype, self.nodata, has_alpha=False)
        assert block_format is not None
        content = self.data(number) if data is None else data
        rows, visible = self.image.rows_of(number), self.image.visible_rows_of(number)
        return InflatedBlock(block_format, content, len(content) if count is None else count, rows, visible)

    def area(self, number: int) -> tuple[int, int, int, int]:
        """Return first column, first row, columns and rows of a block that are in the image."""
        image = self.image
        row, column = divmod(number % (image.across * image.down), image.across)
        left, top = column * image.block_width, row * image.block_height
        return left, top, min(image.block_width, image.width - left), image.visible_rows_of(number)

    def true(self, number: int, bands: list[int], rows: slice, columns: slice) -> npt.NDArray[Any]:
        left, top, _, _ = self.area(number)
        plane = number // (self.image.across * self.image.down)
        indexes = [plane + 1] if self.image.is_planar else [band + 1 for band in bands]
        window = Window(  # type: ignore[call-arg]
            left + columns.start, top + rows.start, columns.stop - columns.start, rows.stop - rows.start
        )
        with MemoryFile(self.content) as memory, memory.open() as dataset:
            found: npt.NDArray[Any] = dataset.read(indexes, window=window)
        return found


def make(width: int, height: int, count: int, dtype: str, seed: int, **options: Any) -> Source:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 9, (count, height, width)) if seed % 2 else np.zeros((count, height, width), np.int64)
    values = (np.arange(width * height).reshape(height, width) // 3 % 120 + noise).astype(dtype)
    nodata = options.get("nodata")
    profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": dtype, **options}
    with MemoryFile() as memory:
        with memory.open(transform=Affine.scale(10, -10), **profile) as dataset:
            dataset.write(values)
        content = bytes(memory.getbuffer())
    (image,) = parse_directories(HeaderBytes(len(content), {0: content}))
    return Source(content, image, dtype, nodata)


def sources() -> st.SearchStrategy[Source]:
    @st.composite
    def draw_source(draw: st.DrawFn) -> Source:
        dtype = draw(st.sampled_from(KINDS))
        options: dict[str, Any] = {"interleave": draw(st.sampled_from(["band", "pixel"]))}
        if draw(st.booleans()):
            options |= {"tiled": True, "blockxsize": draw(st.sampled_from([16, 48])), "blockysize": 32}
        else:
            options |= {"blockysize": draw(st.integers(1, 70))}
        if draw(st.integers(0, 4)):
            options |= {"compress": "deflate", "predictor": draw(st.sampled_from([1, 2]))}
        options["ENDIANNESS"] = draw(st.sampled_from(["LITTLE", "BIG"]))
        if not dtype.startswith("float"):
            options["nodata"] = draw(st.sampled_from([None, 5]))
        width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
        return make(width, height, draw(st.integers(1, 4)), dtype, draw(st.integers(0, 99)), **options)

    return draw_source()


def draw_slice(draw: st.DataObject, length: int) -> slice:
    start = draw.draw(st.integers(0, length - 1))
    return slice(start, draw.draw(st.integers(start + 1, length)))


@given(sources(), st.data())
def test_windows_of_a_block_in_any_order_are_rasterios(source: Source, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(source.image.offsets) - 1))
    block, samples = source.block(number), 1 if source.image.is_planar else source.image.samples
    _, _, width, height = source.area(number)
    for _ in range(data.draw(st.integers(1, 5))):
        rows, columns = draw_slice(data, height), draw_slice(data, width)
        bands = data.draw(st.lists(st.integers(0, samples - 1), min_size=1, max_size=4, unique=True))
        values, valid = block.read(bands, rows, columns)
        true = source.true(number, bands, rows, columns)
        np.testing.assert_array_equal(values, true)
        assert values.dtype.newbyteorder("=") == true.dtype
        if source.nodata is None:
            assert valid is None
        else:
            np.testing.assert_array_equal(valid, true != source.nodata)


@given(sources(), st.data())
def test_truncated_block_gives_true_pixels_or_an_error(source: Source, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(source.image.offsets) - 1))
    content = source.data(number)
    block = source.block(number, content[: data.draw(st.integers(0, len(content) - 1))])
    _, _, width, height = source.area(number)
    for _ in range(3):
        rows, columns = draw_slice(data, height), draw_slice(data, width)
        try:
            values, _ = block.read([0], rows, columns)
        except ArchiveError:
            continue
        np.testing.assert_array_equal(values, source.true(number, [0], rows, columns))
    with pytest.raises(ArchiveError, match="cannot be decoded"):
        block.read([0], slice(0, height), slice(0, width))


@given(sources(), st.data())
def test_beginning_of_a_block_gives_true_pixels_or_asks_for_more(source: Source, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(source.image.offsets) - 1))
    content = source.data(number)
    _, _, width, height = source.area(number)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), min_size=1, max_size=4)))
    windows = [(draw_slice(data, height), draw_slice(data, width)) for _ in range(4)]
    block = source.block(number, content[: cuts[0]], len(content))
    lengths = [*cuts[1:], len(content)]
    for rows, columns in [*windows, *[(slice(0, height), slice(0, width))] * 5]:
        try:
            values, _ = block.read([0], rows, columns)
        except UnfinishedBlockError:
            block.extend(content[: lengths.pop(0)])  # the next window may be above this one
            continue
        np.testing.assert_array_equal(values, source.true(number, [0], rows, columns))


def test_upper_rows_after_lower_ones_that_were_not_fetched() -> None:
    for compress in ("deflate", None):
        source = make(64, 64, 1, "uint16", 1, blockysize=64, compress=compress)
        content = source.data(0)
        block = source.block(0, content[: len(content) // 2], len(content))
        with pytest.raises(UnfinishedBlockError):
            block.read([0], slice(40, 60), slice(0, 64))
        block.extend(content)
        for rows in (slice(7, 8), slice(3, 30), slice(0, 64)):
            np.testing.assert_array_equal(
                block.read([0], rows, slice(0, 64))[0], source.true(0, [0], rows, slice(0, 64))
            )


def test_block_that_ends_within_what_was_fetched_is_damaged_not_unfinished() -> None:
    source = make(64, 64, 1, "uint8", 1, blockysize=64, compress="deflate")
    short = zlib.compress(zlib.decompress(source.data(0))[: 64 * 20])
    block = source.block(0, short, 2 * len(short))
    np.testing.assert_array_equal(
        block.read([0], slice(0, 20), slice(0, 64))[0], source.true(0, [0], slice(0, 20), slice(0, 64))
    )
    for _ in range(2):
        with pytest.raises(ArchiveError, match=r"damaged|too short"):
            block.read([0], slice(0, 40), slice(0, 64))


@pytest.mark.parametrize("beyond", [1, 5000, 64 * 64, 64 * 64 + 1])
def test_block_with_more_than_its_rows_is_compared_with_its_checksum(beyond: int) -> None:
    source = make(64, 64, 1, "uint8", 1, blockysize=64, compress="deflate")
    long = zlib.compress(zlib.decompress(source.data(0)) + bytes(beyond))
    everything = [0], slice(0, 64), slice(0, 64)
    if beyond <= 64 * 64:  # as libtiff, which reads them
        np.testing.assert_array_equal(source.block(0, long).read(*everything)[0], source.true(0, *everything))
    damaged = long[:-1] + bytes([long[-1] ^ 1])
    with pytest.raises(ArchiveError, match=r"damaged|too long"):
        source.block(0, damaged).read(*everything)


@given(st.data())
def test_damaged_block_is_an_error_when_it_is_read_to_its_end(data: st.DataObject) -> None:
    predictor = data.draw(st.sampled_from([1, 2]))
    source = make(60, 64, 2, "uint16", 1, tiled=True, blockxsize=64, blockysize=64, compress="deflate",
                  predictor=predictor)  # fmt: skip
    content = bytearray(source.data(0))
    place = data.draw(st.integers(2, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        zlib.decompress(content)  # bits of its header, and few others, keep the checksum
        is_accepted = True
    except zlib.error:
        is_accepted = False
    block = source.block(0, bytes(content))
    for stop in data.draw(st.lists(st.integers(1, 63), max_size=3)):
        try:
            block.read([0], slice(0, stop), slice(0, 60))
        except ArchiveError:
            break
    if is_accepted:
        block.read([0, 1], slice(0, 64), slice(0, 60))
    else:
        for _ in range(2):  # its error is the same for whoever reads it next
            with pytest.raises(ArchiveError, match="cannot be decoded"):
                block.read([0, 1], slice(0, 64), slice(0, 60))


def test_rows_below_a_window_are_not_inflated() -> None:
    source = make(256, 256, 1, "uint16", 1, tiled=True, blockxsize=256, blockysize=256, compress="deflate")
    content = source.data(0)
    half = source.block(0, content[: len(content) * 6 // 10])
    values, _ = half.read([0], slice(0, 128), slice(0, 256))
    np.testing.assert_array_equal(values, source.true(0, [0], slice(0, 128), slice(0, 256)))
    with pytest.raises(ArchiveError, match="too short"):
        half.read([0], slice(0, 256), slice(0, 256))


def test_checksum_is_compared_at_the_last_row_of_the_image() -> None:
    source = make(64, 40, 1, "uint8", 1, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    content = source.data(0)[:-4] + b"\0\0\0\0"
    with pytest.raises(ArchiveError, match="damaged"):
        source.block(0, content).read([0], slice(30, 40), slice(0, 64))
    values, _ = source.block(0, content).read([0], slice(0, 39), slice(0, 64))
    np.testing.assert_array_equal(values, source.true(0, [0], slice(0, 39), slice(0, 64)))


@pytest.mark.slow
def test_block_that_inflates_far_beyond_its_rows_is_refused() -> None:
    source = make(64, 64, 1, "uint8", 1, blockysize=64, compress="deflate")
    bomb = isal_zlib.compress(zlib.decompress(source.data(0)) + bytes(1 << 28))
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="too long"):
        source.block(0, bomb).read([0], slice(0, 64), slice(0, 64))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_threads_continue_one_block() -> None:
    source = make(256, 256, 3, "uint16", 1, blockysize=256, compress="deflate", predictor=2, interleave="pixel")
    true = source.true(0, [0, 1, 2], slice(0, 256), slice(0, 256))
    for _ in range(20):
        block = source.block(0)

        def read(row: int, block: InflatedBlock = block) -> npt.NDArray[Any]:
            return block.read([0, 1, 2], slice(row, row + 16), slice(0, 256))[0]

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(read, range(0, 256, 16)))
        np.testing.assert_array_equal(np.concatenate(found, axis=1), true)
