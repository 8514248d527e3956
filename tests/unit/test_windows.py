"""Windows of rasters: what is planned, how GDAL is told to read, and what its reports mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile

from eechips.errors import ConfigurationError, PermanentError, RecipeError, TransientError, UsageError, ValidationError
from eechips.jobs.functions import FunctionRecipe
from eechips.recipe import load_recipe
from eechips.windows import Blocks, Budget, parse_memory, tile, window_file
from eechips.windows.faults import classify_gdal
from eechips.windows.raster import gdal_options, gdal_path

UNIT = {
    "kind": "window", "href": "a.tif", "col_off": 4, "row_off": 2, "width": 3, "height": 2, "bands": [1],
    "raster": {"crs": "EPSG:32613", "transform": [10.0, 0.0, 5e5, 0.0, -10.0, 44e5], "width": 9, "height": 8},
    "cache": 1,
}  # fmt: skip


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64), st.integers(1, 64), st.integers(1, 40))
def test_every_block_is_in_one_window(width: int, height: int, across: int, down: int, most: int) -> None:
    blocks = Blocks(width, height, across, down)
    count = np.zeros((height, width), dtype=int)
    windows = list(tile(blocks, most * blocks.pixels))
    for window in windows:
        count[window.row : window.row + window.height, window.column : window.column + window.width] += 1
        assert window.column % across == window.row % down == 0
        for start, length, edge, whole in (
            (window.column, window.width, across, width),
            (window.row, window.height, down, height),
        ):
            assert length % edge == 0 or start + length == whole
        assert -(-window.width // across) * -(-window.height // down) <= most
    assert (count == 1).all()
    assert [(w.row, w.column) for w in windows] == sorted((w.row, w.column) for w in windows)


def test_windows_are_as_few_as_can_be() -> None:
    windows = list(tile(Blocks(40_000, 40_000, 512, 512), 20 * 512 * 512))
    assert len(windows) == 316  # of the 79 x 79 blocks, 20 side by side; 313 would hold them all, but not in rows
    assert {(window.width, window.height) for window in windows[:3]} == {(10_240, 512)}


def test_strips_stay_whole() -> None:
    assert {window.width for window in tile(Blocks(40_000, 100, 40_000, 1), 400_000)} == {40_000}


def test_more_memory_is_more_pixels() -> None:
    budget = Budget.of(stored=4, dtype="uint16", bands=2, made="float32", results=1)
    most = budget.most(256_000_000)
    assert budget.most(512_000_000) > 2 * most > 0
    assert budget.least(most) <= 256_000_000
    assert budget.most(1_000_000) == 0


@pytest.mark.parametrize(
    ("text", "size"), [("256MB", 256 * 10**6), ("1.5 GiB", 3 << 29), ("512kb", 512_000), (4096, 4096)]
)
def test_memory_is_read(text: str | int, size: int) -> None:
    assert parse_memory(text) == size


def test_a_recipe_says_whether_it_needs_the_service(tmp_path: Path) -> None:
    functions = "def get_requests(): return [1]\ndef get_result(index, unit): return b''\n"
    for number, (said, needs) in enumerate(
        (("", True), ("NEEDS_SERVICE = False\n", False), ("NEEDS_SERVICE = 0\n", True))
    ):
        path = tmp_path / f"{number}.py"
        path.write_text(said + functions)
        assert load_recipe(path).needs_service is needs
    namespace: dict[str, Any] = {}
    exec("NEEDS_SERVICE = False\n" + functions, namespace)
    assert not FunctionRecipe(namespace["get_requests"], namespace["get_result"], {}).needs_service


def test_what_is_no_memory_is_refused() -> None:
    with pytest.raises(UsageError, match="'lots' is no amount of memory"):
        parse_memory("lots")


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("s3://bucket/a/b.tif", "/vsis3/bucket/a/b.tif"),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif"),
        ("az://container/a.tif", "/vsiaz/container/a.tif"),
        ("https://host/a.tif?sig=1", "/vsicurl/https://host/a.tif?sig=1"),
        ("file:///data/a.tif", "/data/a.tif"),
        ("data/a.tif", "data/a.tif"),
        ("/vsizip/a.zip/a.tif", "/vsizip/a.zip/a.tif"),
    ],
)
def test_addresses_are_paths_of_gdal(href: str, path: str) -> None:
    assert gdal_path(href) == path


def test_an_unknown_store_is_refused() -> None:
    with pytest.raises(UsageError, match="rasters are read from files"):
        gdal_path("magnet://a/b.tif")


def test_gdal_is_told_of_the_store_that_others_are_told_of() -> None:
    options = gdal_options("/vsis3/a/b.tif", 0, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"})
    told = (options["AWS_S3_ENDPOINT"], options["AWS_HTTPS"], options["AWS_VIRTUAL_HOSTING"])
    assert told == ("127.0.0.1:9000", "NO", "FALSE")
    own = {"AWS_ENDPOINT_URL": "http://a", "AWS_S3_ENDPOINT": "b"}
    assert "AWS_S3_ENDPOINT" not in gdal_options("/vsis3/a/b.tif", 0, own)
    google = gdal_options("/vsigs/a/b.tif", 0, {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9001"})
    assert google["CPL_GS_ENDPOINT"] == "http://127.0.0.1:9001/"


@pytest.mark.parametrize(
    ("message", "kind", "status"),
    [
        ("Request for 16384-32767 failed with response_code=503", TransientError, 503),
        ("HTTP response code: 429", TransientError, 429),
        ("HTTP response code: 404", PermanentError, 404),
        ("HTTP response code: 416", PermanentError, 416),
        ("HTTP response code: 403", ConfigurationError, None),
        ("Access Denied", ConfigurationError, None),
        ("GS_SECRET_ACCESS_KEY or … configuration options not defined", ConfigurationError, None),
        ("InvalidAccessKeyId: the AWS Access Key Id does not exist", ConfigurationError, None),
        ("CURL error: Could not resolve host: a.b", TransientError, None),
        ("CURL error: Recv failure: Connection reset by peer", TransientError, None),
        ("NoSuchKey", PermanentError, None),
        ("'a.tif' not recognized as being in a supported file format.", PermanentError, None),
        ("TIFFReadEncodedTile() failed.", ValidationError, None),
        ("ZIPDecode: Decoding error at scanline 0", ValidationError, None),
        ("something new", PermanentError, None),
    ],
)
def test_what_gdal_reports(message: str, kind: type, status: int | None) -> None:
    outer = RasterioIOError("Read failed. See previous exception for details.")
    outer.__cause__ = CPLE_BaseError(3, 1, message)
    for error in (outer, RasterioIOError(message)):
        if error is outer and kind is PermanentError and message == "something new":
            continue  # a reading that failed: it may be the network
        found = classify_gdal(error, "s3://a/b.tif")
        assert type(found) is kind
        assert getattr(found, "status", None) == status
        assert "s3://a/b.tif" in str(found)


def opened(data: bytes) -> tuple[Any, Any, rasterio.profiles.Profile, tuple[str, ...]]:
    with MemoryFile(data) as memory, memory.open() as source:
        return source.read(), source.dataset_mask(), source.profile, source.descriptions


def test_a_window_lies_where_it_was() -> None:
    pixels = np.ma.masked_equal(np.array([[1, 2, 3], [4, 5, 6]], dtype="int16"), 5)
    data, mask, profile, names = opened(window_file(UNIT, pixels, bands=["x"], nodata=6))
    assert data.tolist() == [[[1, 2, 3], [4, 0, 0]]]
    assert mask.tolist() == [[255, 255, 255], [255, 0, 0]]
    assert tuple(profile["transform"])[:6] == (10.0, 0.0, 5e5 + 40, 0.0, -10.0, 44e5 - 20)
    assert names == ("x",)


def test_what_is_not_a_number_has_no_data() -> None:
    pixels = np.array([[[1, np.nan, 3], [4, 5, 6]]] * 2, dtype="float32")
    pixels[1, 0, 1] = 7
    data, mask, _, names = opened(window_file(UNIT, pixels))
    assert mask.tolist() == [[255, 0, 255], [255, 255, 255]]
    assert data[:, 0, 1].tolist() == [0, 0]
    assert names == ("B1", "B2")


@pytest.mark.parametrize(
    ("pixels", "bands", "said"),
    [
        (np.zeros((3, 2), "uint8"), (), "2 rows and 3 columns"),
        (np.zeros((2, 3), "complex64"), (), "type complex64"),
        (np.zeros((2, 3), "uint8"), ("a", "b"), "1 bands were made of a window, and 2 are named"),
    ],
)
def test_what_is_no_window_is_refused(pixels: Any, bands: tuple[str, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        window_file(UNIT, pixels, bands=bands)
