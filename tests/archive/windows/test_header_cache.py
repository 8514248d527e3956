"""Chips by kept headers have the pixels that rasterio reads from the whole file, by one request."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import transform
from rasterio.windows import Window

from eechips.archive.windows import describe, plan_chip, read_chip
from eechips.archive.windows.header_cache import KeptHeader
from eechips.archive.windows.locations import RasterLocation
from eechips.archive.windows.range_requests import GAP, merge_ranges, read_range
from eechips.archive.windows.versions import RasterVersion
from eechips.client.http.http_messages import Timeouts
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, EechipsError, PermanentError, TransientError, ValidationError
from eechips.formats.tiff_layout import IncompleteHeaderError, UnsupportedTiffError, parse_layout
from eechips.geo.grid import Window as GridWindow
from local_tests.support.parameters import slow_except
from tests.archive.windows.test_rasters import elsewhere
from tests.support.raster_server import Bucket
from tests.support.raw_server import message, raw_server

CRS, EDGE = "EPSG:32614", 300
NORTH_WEST = Affine(10.0, 0.0, 6e5, 0.0, -10.0, 42e5)
ONCE = RetryPolicy(retries=0, total=60.0)
TILES = {"tiled": True, "blockxsize": 64, "blockysize": 80}
FORMATS: dict[str, dict[str, Any]] = {
    "uncompressed strips": {},
    "strips of several rows": {"blockysize": 7, "compress": "lzw", "predictor": 2},
    "one strip": {"blockysize": EDGE, "compress": "deflate"},
    "deflate, predictor": {**TILES, "compress": "deflate", "predictor": 2, "nodata": 7},
    "bands apart": {**TILES, "compress": "zstd", "interleave": "band"},
    "LZW": {**TILES, "compress": "lzw", "interleave": "pixel"},
    "LERC": {**TILES, "compress": "lerc", "dtype": "float32"},
    "float, predictor 3": {**TILES, "compress": "zstd", "predictor": 3, "dtype": "float32", "nodata": float("nan")},
    "LZMA, 64 bits": {**TILES, "compress": "lzma", "dtype": "float64"},
    "JPEG": {**TILES, "compress": "jpeg", "dtype": "uint8", "blockysize": 64},
    "JPEG, YCbCr": {**TILES, "compress": "jpeg", "photometric": "ycbcr", "dtype": "uint8", "blockysize": 64},
    "WebP": {**TILES, "compress": "webp", "webp_lossless": True, "dtype": "uint8", "interleave": "pixel"},
    "PackBits": {**TILES, "compress": "packbits", "dtype": "int16"},
    "big-endian": {**TILES, "compress": "deflate", "endianness": "big"},
    "big-endian strips": {"endianness": "big", "compress": "lzw"},
    "BigTIFF": {**TILES, "compress": "deflate", "bigtiff": "yes"},
    "some blocks missing": {**TILES, "compress": "deflate", "sparse_ok": True, "sparse": True},
    "12 bits": {**TILES, "compress": "deflate", "nbits": 12},
    "mask": {**TILES, "compress": "deflate", "mask": True},
    "alpha": {**TILES, "compress": "deflate", "alpha": True},
    "alpha apart": {**TILES, "compress": "deflate", "alpha": True, "interleave": "band"},
    "COG": {"driver": "COG", "blocksize": 128, "compress": "deflate", "overviews": "auto"},
    "COG, JPEG and mask": {"driver": "COG", "blocksize": 128, "compress": "jpeg", "dtype": "uint8", "mask": True},
    "overviews and mask": {**TILES, "compress": "deflate", "mask": True, "overviews": True},
}


def write(path: Path, seed: int = 0, **options: Any) -> Path:
    """Write a raster of smooth bands with noise; parts are masked, or missing."""
    special = {name: options.pop(name, False) for name in ("mask", "alpha", "sparse")}
    builds = options.get("overviews") is True and options.pop("overviews")
    dtype = options.pop("dtype", "uint16")
    random = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(EDGE), np.arange(EDGE)) / 3
    pixels = (ramp + random.integers(0, 40, (3, EDGE, EDGE))).astype(dtype)
    hole = np.hypot(*np.indices((EDGE, EDGE)) - EDGE / 2) > EDGE / 3
    if special["alpha"]:
        pixels = np.concatenate([pixels, np.where(hole, 255, 0)[np.newaxis].astype(dtype)])
    given = {"driver": "GTiff", "width": EDGE, "height": EDGE, "count": len(pixels), "dtype": dtype, "crs": CRS}
    given["transform"] = NORTH_WEST
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **{**given, **options}) as file:
        if special["sparse"]:
            file.write(pixels[:, :150, :150], window=Window(0, 0, 150, 150))
        else:
            file.write(pixels)
        if special["mask"]:
            file.write_mask(hole)
        if special["alpha"]:
            file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    if builds:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4], Resampling.nearest)
    return path


def place_of(column: float, row: float) -> tuple[float, float]:
    x, y = NORTH_WEST.c + NORTH_WEST.a * column, NORTH_WEST.f + NORTH_WEST.e * row
    ((longitude,), (latitude,)) = transform(CRS, "EPSG:4326", [x], [y])
    return longitude, latitude


def expected(path: Path, unit: dict[str, Any]) -> Any:
    """The chip as rasterio reads it from the file on the disk."""
    (part,) = unit["parts"]
    window = Window(part["col_off"], part["row_off"], part["width"], part["height"])
    with rasterio.open(path) as file:
        return file.read(unit["bands"], window=window, masked=True, boundless=True)


def assert_same(found: Any, wanted: Any) -> None:
    assert found.dtype == wanted.dtype
    mask = np.ma.getmaskarray(wanted)
    np.testing.assert_array_equal(np.ma.getmaskarray(found), mask)
    np.testing.assert_array_equal(found.data[~mask], wanted.data[~mask])


def url_of(bucket: Bucket, name: str) -> str:
    return f"http://{urlsplit(bucket.environment['AWS_ENDPOINT_URL']).netloc}/bucket/{name}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", slow_except(FORMATS, *list(FORMATS)[::8]))
def test_chips_equal_those_of_rasterio(bucket: Bucket, kind: str) -> None:
    path = write(bucket.folder / "a.tif", **FORMATS[kind])
    raster = describe(url_of(bucket, "a.tif"), keep_header=True, policy=ONCE)
    assert raster.header is not None
    assert replace(raster, header=None, version=None) == replace(
        describe(str(path)), href=raster.href, version=None, header=None
    )
    for column, row, size, bands in ((150, 150, 100, None), (3, 290, 40, [2]), (200, 90, (70, 1), [3, 1])):
        unit = plan_chip([raster], place_of(column, row), size, bands=bands)
        bucket.ranges.clear()
        found = read_chip(unit, policy=ONCE)
        assert len(bucket.ranges) <= 1, "one request, or none if no block exists"
        wanted = expected(path, unit)
        outside = np.ma.getmaskarray(found) & ~np.ma.getmaskarray(wanted)
        assert not outside[:, : EDGE - unit["parts"][0]["row_off"]].any()
        wanted.mask = np.ma.getmaskarray(wanted) | outside
        assert_same(found, wanted)


@pytest.mark.slow
@given(
    st.sampled_from(sorted(FORMATS)),
    st.tuples(st.integers(0, EDGE - 1), st.integers(0, EDGE - 1), st.integers(1, EDGE), st.integers(1, EDGE)),
    st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True),
)
@settings(max_examples=30, deadline=None)
def test_small_files_of_some_blocks_have_the_pixels_of_any_window(
    files: dict[str, Path], kind: str, box: tuple[int, int, int, int], bands: list[int]
) -> None:
    path = files[kind]
    data = path.read_bytes()
    layout = parse_layout(data, len(data))
    column, row, width, height = box
    window = Window(column, row, min(width, EDGE - column), min(height, EDGE - row))
    kept = parse_layout(layout.dumps(), len(data))
    ranges = kept.ranges(GridWindow(*map(int, window.flatten())), [*bands, 4] if "alpha" in kind else bands)
    small = kept.small({start: data[start:end] for start, end in ranges})
    with rasterio.open(path) as whole, rasterio.MemoryFile(small) as memory, memory.open() as part:
        assert repr(part.profile) == repr(whole.profile)  # nodata may be NaN
        assert (part.tags(), part.mask_flag_enums) == (whole.tags(), whole.mask_flag_enums)
        assert_same(part.read(bands, window=window, masked=True), whole.read(bands, window=window, masked=True))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    return {kind: write(folder / f"{number}.tif", **options) for number, (kind, options) in enumerate(FORMATS.items())}


@pytest.mark.slow
def test_blocks_that_were_not_fetched_cannot_be_read(files: dict[str, Path]) -> None:
    data = files["deflate, predictor"].read_bytes()
    small = parse_layout(data, len(data)).small({})
    with rasterio.MemoryFile(small) as memory, memory.open() as part, pytest.raises(rasterio.errors.RasterioIOError):
        part.read(1, window=Window(0, 0, 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_header_of_a_replaced_file_is_read_again(bucket: Bucket, scheme: str) -> None:
    path = write(bucket.folder / "a.tif", **FORMATS["COG"])
    raster = describe("s3://bucket/a.tif" if scheme == "s3" else url_of(bucket, "a.tif"), keep_header=True, policy=ONCE)
    unit = plan_chip([raster], place_of(150, 150), 64)
    assert_same(read_chip(unit, policy=ONCE), expected(path, unit))
    write(path, 1, **FORMATS["LZW"])
    assert_same(read_chip(unit, policy=ONCE), expected(path, unit))


def test_a_file_of_another_type_is_not_read(bucket: Bucket) -> None:
    path = write(bucket.folder / "a.tif", **FORMATS["COG"])
    unit = plan_chip([describe(url_of(bucket, "a.tif"), keep_header=True, policy=ONCE)], place_of(150, 150), 64)
    write(path, 1, **FORMATS["LERC"])
    with pytest.raises(PermanentError, match="was replaced"):
        read_chip(unit, policy=ONCE)


def test_a_server_without_conditions_is_not_believed(bucket: Bucket) -> None:
    """It sends a range of the new file: its ETag shows that."""
    path = write(bucket.folder / "a.tif", **FORMATS["COG"])
    unit = plan_chip([describe(url_of(bucket, "a.tif"), keep_header=True, policy=ONCE)], place_of(150, 150), 64)
    bucket.keeps_conditions = False
    write(path, 1, **FORMATS["COG"])
    assert_same(read_chip(unit, policy=ONCE), expected(path, unit))


def test_damaged_blocks_are_reported_as_by_gdal(bucket: Bucket) -> None:
    path = write(bucket.folder / "a.tif", **FORMATS["deflate, predictor"])
    data = path.read_bytes()
    start, _ = parse_layout(data, len(data)).ranges(*window_of(0, 0))[0]
    path.write_bytes(data[:start] + bytes(100) + data[start + 100 :])
    unit = plan_chip([describe(url_of(bucket, "a.tif"), keep_header=True, policy=ONCE)], place_of(10, 10), 8)
    with pytest.raises(ValidationError, match=r"a\.tif"):
        read_chip(unit, policy=ONCE)


def window_of(column: int, row: int) -> tuple[Any, list[int]]:
    return GridWindow(column, row, 1, 1), [1]


def chip_at(href: str) -> tuple[Any, dict[str, Any], Any]:
    """Describe a raster and read a chip of it."""
    raster = describe(href, keep_header=True, policy=ONCE)
    unit = plan_chip([raster], place_of(150, 150), 64)
    return raster, unit, read_chip(unit, policy=ONCE)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_rasters_with_files_beside_them_are_read_by_gdal(bucket: Bucket) -> None:
    path = write(bucket.folder / "a.tif", **FORMATS["LZW"])
    (bucket.folder / "a.tif.aux.xml").write_text("<PAMDataset/>")
    raster, unit, found = elsewhere(chip_at, "s3://bucket/a.tif")  # GDAL blocks the threads of this process
    assert (raster.header, raster.others) == (None, ("a.tif.aux.xml",))
    assert_same(found, expected(path, unit))


def test_other_formats_are_read_by_gdal(bucket: Bucket) -> None:
    write(bucket.folder / "a.png", driver="PNG", dtype="uint8")
    (bucket.folder / "a.png.aux.xml").unlink(missing_ok=True)
    with pytest.raises(Exception, match="no coordinate reference system"):
        describe(url_of(bucket, "a.png"), keep_header=True, policy=ONCE)


EVERY, SOME = 2, 14
"""Steps between places: the even ones, and every seventh of these, which has each part of a tag's 12 bytes in turn."""


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("big-endian strips", SOME),
        *(pytest.param(kind, EVERY, marks=pytest.mark.slow) for kind in ("COG", "big-endian strips", "BigTIFF")),
    ],
)
def test_hostile_headers_are_refused_within_bounds(files: dict[str, Path], kind: str, step: int) -> None:
    """Truncations, and large numbers in every place, give errors of a few kinds, or a layout inside the file."""
    data = files[kind].read_bytes()
    order = "<" if data[:2] == b"II" else ">"
    for place in range(0, 600, step):
        for number in (struct.pack(f"{order}I", 0xFFFFFFFF), struct.pack(f"{order}Q", 1 << 62), bytes(4)):
            changed = data[:place] + number + data[place + len(number) : 4096]
            with contextlib.suppress(UnsupportedTiffError, IncompleteHeaderError):
                for image in parse_layout(changed, len(data)).images:
                    assert (image.offsets + image.sizes <= len(data)).all()
                    assert len(image.sizes) <= len(data)
    for size in range(0, 400, 7):
        with pytest.raises((UnsupportedTiffError, IncompleteHeaderError)):
            parse_layout(data[:size], size)


def test_tags_whose_values_are_the_same_bytes_are_refused_within_bounds() -> None:
    size, tags = 1 << 20, 20
    entries = b"".join(struct.pack("<HHII", 40_000 + number, 1, size, 8) for number in range(tags))
    data = struct.pack("<2sHI", b"II", 42, 8 + size) + bytes(size) + struct.pack("<H", tags) + entries + bytes(4)
    with pytest.raises(UnsupportedTiffError, match="more than 8 MiB of values"):
        parse_layout(data, len(data))


def test_many_small_ranges_are_not_merged_to_one_that_fills_the_memory() -> None:
    ranges = [(start, start + 1) for start in range(0, 1 << 30, GAP)]
    merged = merge_ranges(ranges)
    assert max(end - start for start, end in merged) <= 32 << 20
    assert len(merged) < 40
    assert all(any(first <= start and end <= last for first, last in merged) for start, end in ranges)
    assert merge_ranges([(0, 40 << 20), (40 << 20, 41 << 20)]) == [(0, 40 << 20), (40 << 20, 41 << 20)]


@pytest.mark.parametrize(
    "span", [f"{'0' * 5000}-99/1000", f"0-99/{'9' * 5000}", "1-100/1000", "0-100/1000", "0-99/*", "", "bytes"]
)
def test_a_response_of_another_range_is_refused(span: str) -> None:
    with raw_server() as server:
        server.answers["/a.tif"] = lambda number, headers: message(206, bytes(100), Content_Range=f"bytes {span}")
        with pytest.raises(PermanentError, match="sends another range"):
            read_range(RasterLocation.of(f"{server.url}/a.tif"), 0, 100, Timeouts())


PAGE = message(200, b"<html>Please log in</html>", Content_Type="text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (message(200, bytes(1000)), "does not support range requests"),
        (message(206, bytes(100), Content_Range="bytes 1-100/1000"), "sends another range"),
        (PAGE, "a web page came back, as from a proxy or a login page"),
        (PAGE.replace(b"200", b"206", 1), "a web page came back"),
    ],
)
def test_one_wrong_answer_of_a_server_that_has_sent_ranges_is_transient(answer: bytes, said: str) -> None:
    with raw_server() as server:
        server.answers["/a.tif"] = lambda number, headers: answer
        with pytest.raises(ValidationError, match=said):
            read_range(RasterLocation.of(f"{server.url}/a.tif"), 0, 100, Timeouts(), RasterVersion('"a"', 1000))


@pytest.mark.parametrize("version", [None, RasterVersion('"a"', 1000)])
@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, ConfigurationError, "check GDAL_HTTP_BEARER"),
        (403, ConfigurationError, "check GDAL_HTTP_BEARER"),
        (404, PermanentError, "HTTP 404"),
        (410, PermanentError, "HTTP 410"),
        (429, TransientError, "HTTP 429"),
        (503, TransientError, "HTTP 503"),
    ],
)
def test_errors_of_servers_are_what_their_status_says(
    status: int, kind: type[EechipsError], said: str, version: RasterVersion | None
) -> None:
    """Servers send them as web pages: nginx's ``ngx_http_special_response.c``, Python's ``http.server``."""
    page = b"<html><head><title>An error</title></head></html>"
    with raw_server() as server:
        server.answers["/a.tif"] = lambda number, headers: message(status, page, Content_Type="text/html")
        with pytest.raises(kind, match=said) as raised:
            read_range(RasterLocation.of(f"{server.url}/a.tif"), 0, 100, Timeouts(), version)
    assert type(raised.value) is kind
    assert kind is ConfigurationError or getattr(raised.value, "status", None) == status


@pytest.mark.parametrize("named", [{"Content_Type": "text/html"}, {"Content_Encoding": "aws-chunked"}])
def test_a_range_is_data_whatever_its_media_type_and_an_encoding_that_changes_nothing(named: dict[str, str]) -> None:
    with raw_server() as server:
        server.answers["/a.tif"] = lambda number, headers: message(
            206, bytes(100), Content_Range="bytes 0-99/1000", ETag='"a"', **named
        )
        location = RasterLocation.of(f"{server.url}/a.tif")
        assert read_range(location, 0, 100, Timeouts(), RasterVersion('"a"', 1000))[0] == bytes(100)


def test_kept_headers_are_small_and_checked(files: dict[str, Path]) -> None:
    data = files["COG"].read_bytes()
    kept = KeptHeader(parse_layout(data, len(data)).dumps(), len(data), RasterVersion('"a"', len(data)))
    value = kept.to_json()
    assert KeptHeader.from_json(value) == kept
    assert len(value["layout"]) < 700
    for damaged in (value["layout"][:-5], "0" * 50, "~~~~", 5):
        with pytest.raises(ValidationError):
            KeptHeader.from_json({**value, "layout": damaged})
