"""Windows of rasters: plans, options of GDAL, and classification of its errors."""

from __future__ import annotations

import json
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

from eechips.archive.windows import BlockLayout, MemoryBudget, tile, window_file
from eechips.archive.windows.gdal_errors import classify_gdal
from eechips.archive.windows.gdal_options import gdal_options, store_options
from eechips.archive.windows.locations import RasterLocation
from eechips.archive.windows.versions import RasterVersion
from eechips.archive.windows.window_size import min_window_pixels
from eechips.builtin_recipes.function_recipe import FunctionRecipe
from eechips.client.http.http_messages import Timeouts
from eechips.errors import ConfigurationError, PermanentError, RecipeError, TransientError, UsageError, ValidationError
from eechips.recipe import load_recipe

UNIT = {
    "kind": "window", "href": "a.tif", "col_off": 4, "row_off": 2, "width": 3, "height": 2, "bands": [1],
    "raster": {"crs": "EPSG:32613", "transform": [10.0, 0.0, 5e5, 0.0, -10.0, 44e5], "width": 9, "height": 8},
    "cache": 1,
}  # fmt: skip


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64), st.integers(1, 64), st.integers(1, 40))
def test_every_block_is_in_one_window(width: int, height: int, across: int, down: int, most: int) -> None:
    blocks = BlockLayout(width, height, across, down)
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


@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(1, 64), st.integers(1, 64), st.integers(0, 90),
    st.integers(0, 40),
)  # fmt: skip
def test_windows_and_what_lies_around_them_are_within_the_bound(
    width: int, height: int, across: int, down: int, halo: int, further: int
) -> None:
    blocks = BlockLayout(width, height, across, down)
    most = min_window_pixels(blocks, halo) + further * blocks.pixels
    seen = np.zeros((height, width), dtype=int)
    for window in tile(blocks, most, halo):
        seen[window.slices] += 1
        touched = 1
        for start, length, edge, whole in (
            (window.column, window.width, across, width),
            (window.row, window.height, down, height),
        ):
            first, end = max(0, start - halo), min(whole, start + length + halo)
            touched *= (end - 1) // edge - first // edge + 1
        assert touched * blocks.pixels <= most
    assert (seen == 1).all()


def test_memory_below_the_smallest_window_is_refused() -> None:
    blocks = BlockLayout(1000, 1000, 100, 100)
    assert min_window_pixels(blocks, 1) == 9 * 100 * 100
    with pytest.raises(ValueError, match="at least one block and its halo"):
        next(tile(blocks, min_window_pixels(blocks, 1) - 1, 1))


def test_windows_are_as_few_as_can_be() -> None:
    windows = list(tile(BlockLayout(40_000, 40_000, 512, 512), 20 * 512 * 512))
    assert len(windows) == 316  # of the 79 x 79 blocks, 20 side by side; 313 would hold them all, but not in rows
    assert {(window.width, window.height) for window in windows[:3]} == {(10_240, 512)}


def test_strips_stay_whole() -> None:
    assert {window.width for window in tile(BlockLayout(40_000, 100, 40_000, 1), 400_000)} == {40_000}


def test_more_memory_is_more_pixels() -> None:
    budget = MemoryBudget.of(stored=8, dtype="uint16", bands=2, out_dtype="float32", results=1)
    most = budget.max_pixels(256_000_000)
    assert budget.max_pixels(512_000_000) > 2 * most > 0
    assert budget.required_memory(most) <= 256_000_000
    assert budget.max_pixels(1_000_000) == 0


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


@pytest.mark.parametrize(
    ("href", "path", "scheme", "address"),
    [
        ("s3://bucket/a/b.tif", "/vsis3/bucket/a/b.tif", "s3", "bucket/a/b.tif"),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif", "gs", "bucket/a.tif"),
        ("az://container/a.tif", "/vsiaz/container/a.tif", "az", "container/a.tif"),
        ("abfs://box@account.dfs.core.windows.net/a/b.tif", "/vsiaz/box/a/b.tif", "az", "box/a/b.tif"),
        ("https://host/a.tif?x=1", "/vsicurl/https://host/a.tif?x=1", "http", "https://host/a.tif?x=1"),
        ("ftp://host/a.tif", "/vsicurl/ftp://host/a.tif", "", "ftp://host/a.tif"),
        ("file:///data/a%20b.tif", "/data/a b.tif", "file", "/data/a b.tif"),
        ("data/a.tif", "data/a.tif", "file", "data/a.tif"),
        ("/vsis3/bucket/a.tif", "/vsis3/bucket/a.tif", "s3", "bucket/a.tif"),
        ("/vsicurl/https://host/a.tif", "/vsicurl/https://host/a.tif", "http", "https://host/a.tif"),
        ("/vsizip/a.zip/a.tif", "/vsizip/a.zip/a.tif", "", "/vsizip/a.zip/a.tif"),
        ("S3://bucket/a.tif", "/vsis3/bucket/a.tif", "s3", "bucket/a.tif"),
        ("vrt://data/a.tif?bands=1", "vrt://data/a.tif?bands=1", "", None),
        ('ZARR:"/vsicurl/https://h/a.zarr":/b', 'ZARR:"/vsicurl/https://h/a.zarr":/b', "", None),
        ('NETCDF:"/vsis3/bucket/a.nc":b', 'NETCDF:"/vsis3/bucket/a.nc":b', "", None),
        ('NETCDF:"data/a.nc":b', 'NETCDF:"data/a.nc":b', "file", None),
        ("/vsizip//vsicurl/https://host/a.zip/a.tif", "/vsizip//vsicurl/https://host/a.zip/a.tif", "", None),
    ],
)
def test_an_address_is_a_place_for_gdal_and_for_others(href: str, path: str, scheme: str, address: str | None) -> None:
    location = RasterLocation.of(href)
    assert (location.path, location.scheme) == (path, scheme)
    assert location.address == (href if address is None else address)


def test_an_unknown_store_is_refused() -> None:
    with pytest.raises(UsageError, match="rasters are read from files"):
        RasterLocation.of("magnet://a/b.tif")


@pytest.mark.parametrize(
    "href",
    [
        "https://h/a.tif?X-Amz-Signature=5e",
        "https://h/a.tif?sv=1&sig=5e",
        "https://me:5e@h/a.tif",
        "/vsicurl/https://me:5e@h/a.tif",
    ],
)
def test_secrets_are_refused(href: str) -> None:
    with pytest.raises(UsageError, match="contains a signature or a password") as refused:
        RasterLocation.of(href)
    assert "5e" not in str(refused.value)


def options_of(href: str, environment: dict[str, str], condition: str | None = None) -> dict[str, Any]:
    return gdal_options(RasterLocation.of(href), 0, Timeouts(3.4, 0.2, 90.0), condition, environment)


def test_store_settings_of_other_libraries_are_passed_to_gdal() -> None:
    options = options_of("s3://a/b.tif", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"})
    told = (options["AWS_S3_ENDPOINT"], options["AWS_HTTPS"], options["AWS_VIRTUAL_HOSTING"])
    assert told == ("127.0.0.1:9000", "NO", "FALSE")
    own = {"AWS_ENDPOINT_URL": "http://a", "AWS_S3_ENDPOINT": "b"}
    assert "AWS_S3_ENDPOINT" not in options_of("s3://a/b.tif", own)
    google = options_of("gs://a/b.tif", {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9001"})
    assert google["CPL_GS_ENDPOINT"] == "http://127.0.0.1:9001/"
    azure = options_of("abfs://box@account.dfs.core.windows.net/a.tif", {"AZURE_STORAGE_ACCOUNT_KEY": "k"})
    assert (azure["AZURE_STORAGE_ACCOUNT"], azure["AZURE_STORAGE_ACCESS_KEY"]) == ("account", "k")


def test_store_settings_of_gdal_are_passed_to_other_libraries() -> None:
    def told(href: str, **environment: str) -> dict[str, Any]:
        found = store_options(RasterLocation.of(href), environment)
        return {name: value for name, value in found.items() if name != "use_listings_cache"}

    assert told("s3://a/b.tif") == {}
    assert told("s3://a/b.tif", AWS_S3_ENDPOINT="h:1") == {"endpoint_url": "https://h:1"}
    assert told("s3://a/b.tif", AWS_S3_ENDPOINT="h:1", AWS_HTTPS="NO") == {"endpoint_url": "http://h:1"}
    public = told("s3://a/b.tif", AWS_NO_SIGN_REQUEST="YES", AWS_REQUEST_PAYER="requester")
    assert public == {"anon": True, "requester_pays": True}
    assert told("gs://a/b.tif", GS_USER_PROJECT="p") == {"requester_pays": "p"}
    azure = told("az://a/b.tif", AZURE_STORAGE_ACCOUNT="n", AZURE_STORAGE_ACCESS_KEY="k")
    assert azure == {"account_name": "n", "account_key": "k"}


def test_the_bounds_of_the_run_are_gdals() -> None:
    options = options_of("s3://a/b.tif", {})
    told = [options[f"GDAL_HTTP_{name}"] for name in ("CONNECTTIMEOUT", "LOW_SPEED_TIME", "TIMEOUT", "MAX_RETRY")]
    assert told == [3, 1, 90, 0]


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        ("", ['If-Match: "a"']),
        ('X-One: 1, X-Two: "b, c"', ["X-One: 1", "X-Two: b, c", 'If-Match: "a"']),
        ("X-One: 1\r\nX-Two: b, c", ["X-One: 1", "X-Two: b, c", 'If-Match: "a"']),
    ],
)
def test_a_condition_keeps_its_quotation_marks(own: str, sent: list[str]) -> None:
    told = options_of("s3://a/b.tif", {"GDAL_HTTP_HEADERS": own}, 'If-Match: "a"')["GDAL_HTTP_HEADERS"]
    assert told == "".join(f"{line}\r\n" for line in sent)


def test_versions_differ_only_in_fields_that_both_have() -> None:
    tagged, dated = RasterVersion('"a"', 9, None), RasterVersion(None, 9, "yesterday")
    assert tagged.is_same(dated)
    assert not tagged.is_same(RasterVersion('"b"', 9))
    assert not dated.is_same(RasterVersion(None, 8, "yesterday"))
    for version in (tagged, dated):
        assert RasterVersion.from_json(json.loads(json.dumps(version.to_json()))) == version
    web, google = RasterLocation.of("https://h/a.tif"), RasterLocation.of("gs://b/a.tif")
    assert tagged.condition(web) == 'If-Match: "a"'
    assert dated.condition(web) == "If-Unmodified-Since: yesterday"
    assert tagged.condition(google) is None
    assert tagged.is_enforced(RasterLocation.of("s3://b/a.tif"))
    assert not tagged.is_enforced(web)


@pytest.mark.parametrize(
    ("message", "kind", "status"),
    [
        ("Request for 16384-32767 failed with response_code=503", TransientError, 503),
        ("HTTP response code: 429", TransientError, 429),
        ("HTTP response code: 404", PermanentError, 404),
        ("HTTP response code: 416", PermanentError, 416),
        ("HTTP response code: 412", PermanentError, 412),
        ("s3://a/b.tif: PreconditionFailed", PermanentError, 412),
        ("At least one of the pre-conditions you specified did not hold", PermanentError, 412),
        ("Request for 16384-32767 failed with response_code=412", PermanentError, 412),
        ("HTTP response code: 403", ConfigurationError, None),
        ("Access Denied", ConfigurationError, None),
        ("GS_SECRET_ACCESS_KEY or … configuration options not defined", ConfigurationError, None),
        ("InvalidAccessKeyId: the AWS Access Key Id does not exist", ConfigurationError, None),
        ("CURL error: Could not resolve host: a.b", TransientError, None),
        ("CURL error: Recv failure: Connection reset by peer", TransientError, None),
        ("CURL error: SSL certificate problem: self-signed certificate in certificate chain", ConfigurationError, None),
        ("CURL error: SSL: no alternative certificate subject name matches target host name", ConfigurationError, None),
        ("NoSuchKey", PermanentError, None),
        ("'a.tif' not recognized as being in a supported file format.", PermanentError, None),
        ("TIFFReadEncodedTile() failed.", ValidationError, None),
        ("ZIPDecode: Decoding error at scanline 0", ValidationError, None),
        ("something new", PermanentError, None),
    ],
)
def test_gdal_errors_are_classified(message: str, kind: type, status: int | None) -> None:
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


def test_nan_pixels_are_masked() -> None:
    pixels = np.array([[[1, np.nan, 3], [4, 5, 6]]] * 2, dtype="float32")
    pixels[1, 0, 1] = 7
    data, mask, _, names = opened(window_file(UNIT, pixels))
    assert mask.tolist() == [[255, 0, 255], [255, 255, 255]]
    assert data[:, 0, 1].tolist() == [0, 0]
    assert names == ("B1", "B2")


def test_nodata_is_a_value_of_the_type() -> None:
    with pytest.raises(RecipeError, match="`nodata` -9999 is no uint8, which holds whole numbers 0 to 255"):
        window_file(UNIT, np.zeros((2, 3), "uint8"), nodata=-9999)


@pytest.mark.parametrize(
    ("pixels", "bands", "said"),
    [
        (np.zeros((3, 2), "uint8"), (), "2 rows and 3 columns"),
        (np.zeros((2, 3), "float16"), (), "dtype float16"),
        (np.zeros((2, 3), "uint8"), ("a", "b"), "1 band, but 2 names"),
    ],
)
def test_invalid_windows_are_refused(pixels: Any, bands: tuple[str, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        window_file(UNIT, pixels, bands=bands)
