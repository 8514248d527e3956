"""Results that differ, and results that are equal within the tolerance."""

from __future__ import annotations

import io
import json
import math
import zipfile
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from eechips_local.recording.response_difference import RELATIVE, ValueDifference, find_difference


def differ(recorded: bytes, local: bytes, *, is_json: bool = False) -> ValueDifference | None:
    return find_difference(recorded, local, is_json=is_json, tolerance=RELATIVE)


@pytest.mark.parametrize(
    ("recorded", "local", "where"),
    [
        (1, 1.0, None),
        (1.0, 1.0 + 0.9e-6, None),
        (1.0, 1.0 + 1.1e-6, "value"),
        (0, 0.9e-9, None),
        (0, 1.1e-9, "value"),
        (1, True, "value"),
        ("1", "1.0", "value"),
        (None, 0, "value"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a[1].b"),
        ({"a": 1}, {"a": 1, "b": None}, "b"),
        ([1, 2], [1], "list"),
        ({"result": {"name": "x"}}, {"result": {"name": "y"}}, "result.name"),
        ({"name": "x", "updateTime": "2020", "v": 1}, {"name": "y", "v": 1}, None),
    ],
)
def test_values_are_equal_within_the_tolerance(recorded: Any, local: Any, where: str | None) -> None:
    found = differ(json.dumps(recorded).encode(), json.dumps(local).encode(), is_json=True)
    assert (found.where if found else None) == where


def encode_npy(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def encode_tiff(pixels: Any, corner: float = 0.0, dtype: str | None = None) -> bytes:
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=pixels.shape[1], height=pixels.shape[0], count=1, dtype=dtype or pixels.dtype,
            crs="EPSG:32613", transform=Affine(10, 0, corner, 0, -10, 0),
        ) as file:  # fmt: skip
            file.write(pixels, 1)
        return bytes(memory.read())


def encode_png(pixels: Any, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format)
    return buffer.getvalue()


def encode_zip(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("a.tif", content)
    return buffer.getvalue()


def damage(packed: bytes) -> bytes:
    """Change bytes of the compressed member of an archive."""
    start = 30 + len("a.tif")
    return packed[:start] + b"\xff" * 20 + packed[start + 20 :]


def claim_npy(count: int) -> bytes:
    """Write the header of an array that has more values than the file."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (count,)})
    return buffer.getvalue()


def sparse_tiff(side: int) -> bytes:
    """Write a GeoTIFF of a few kilobytes that claims a square of pixels."""
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=side, height=side, count=1, dtype="uint8", transform=Affine(10, 0, 0, 0, -10, 0),
            tiled=True, blockxsize=4096, blockysize=4096, sparse_ok=True,
        ):  # fmt: skip
            pass
        return bytes(memory.read())


PIXELS = np.arange(1, 13, dtype="float32").reshape(3, 4)
CHANGED = PIXELS + np.eye(3, 4, dtype="float32") * 0.5


def test_pixels_are_compared_as_arrays() -> None:
    gaps = PIXELS.copy()
    gaps[0, 0], gaps[0, 1] = math.nan, math.inf
    assert differ(encode_npy(gaps), encode_npy(gaps.copy())) is None
    assert differ(encode_npy(PIXELS), encode_npy(PIXELS * np.float32(1 + 2e-7))) is None
    found = differ(encode_npy(PIXELS), encode_npy(CHANGED))
    assert found == ValueDifference("pixels: 3 of 12 values, first at [0, 0]", "1.0", "1.5")
    assert differ(encode_npy(PIXELS), encode_npy(PIXELS.astype("float64"))) == ValueDifference(
        "pixels", "float32 (3, 4)", "float64 (3, 4)"
    )
    bands = np.zeros((2, 2), [("red", "u1"), ("nir", "u1")])
    other = bands.copy()
    other["nir"][1, 0] = 1
    found = differ(encode_npy(bands), encode_npy(other))
    assert found == ValueDifference("band nir: 1 of 4 values, first at [1, 0]", "0", "1")


def test_infinite_pixels_equal_no_finite_ones() -> None:
    endless = PIXELS.copy()
    endless[2, 3] = math.inf
    for one, other in ((PIXELS, endless), (endless, PIXELS)):
        found = differ(encode_npy(one), encode_npy(other))
        assert found is not None
        assert found.where == "pixels: 1 of 12 values, first at [2, 3]"


def test_files_are_compared_by_grid_and_pixels() -> None:
    assert differ(encode_tiff(PIXELS), encode_tiff(PIXELS)) is None
    moved = differ(encode_tiff(PIXELS), encode_tiff(PIXELS, corner=10.0))
    assert moved is not None
    assert moved.where == "grid"
    archived = differ(encode_zip(encode_tiff(PIXELS)), encode_zip(encode_tiff(CHANGED)))
    assert archived is not None
    assert archived.where == "a.tif band 1: 3 of 12 values, first at [0, 0]"
    assert differ(encode_npy(PIXELS), encode_tiff(PIXELS)) is not None


def test_pixels_of_every_type_of_gdal_are_compared() -> None:
    """Also of those that numpy lacks."""
    names = [name for name in rasterio.dtypes.dtype_fwd.values() if name is not None]
    assert "complex_int16" in names
    for dtype in names:
        held = np.dtype("complex64" if dtype == "complex_int16" else dtype)
        one, other = encode_tiff(PIXELS.astype(held), dtype=dtype), encode_tiff((PIXELS + 1).astype(held), dtype=dtype)
        assert differ(one, one) is None, dtype
        found = differ(one, other)
        assert found is not None, dtype
        assert found.where.startswith("band 1"), dtype


def test_pictures_are_equal_by_their_values_and_jpeg_within_some_levels() -> None:
    random = np.random.default_rng(0)
    shades = np.repeat(np.repeat(random.integers(0, 200, (4, 4), dtype="uint8"), 16, 0), 16, 1)
    assert differ(encode_png(shades), encode_png(shades.copy())) is None
    assert differ(encode_png(shades), encode_png(shades + np.uint8(1))) is not None
    assert differ(encode_png(shades, "JPEG"), encode_png(shades + np.uint8(1), "JPEG")) is None
    assert differ(encode_png(shades, "JPEG"), encode_png(shades + np.uint8(40), "JPEG")) is not None


def test_tables_are_compared_by_cells() -> None:
    assert differ(b"a,b\nx,1\n", b"a,b\r\nx,1.0\r\n") is None
    found = differ(b"a,b\nx,1\n", b"a,b\nx,2\n")
    assert found == ValueDifference("[1][1]", "1.0", "2.0")


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(encode_npy(PIXELS)[:-5], id="truncated npy"),
        pytest.param(b"\x93NUMPY", id="start of npy"),
        pytest.param(b"PK\x03\x04", id="start of zip"),
        pytest.param(b"\x89PNG\r\n", id="start of png"),
        pytest.param(b"II*\0nothing", id="start of tif"),
        pytest.param(b"\xff\xfe\xfd", id="no text"),
        pytest.param(b"{", id="start of json"),
        pytest.param(b"[" * 100_000, id="nested json"),
        pytest.param(damage(encode_zip(bytes(range(256)) * 9, zipfile.ZIP_DEFLATED)), id="damaged deflate"),
        pytest.param(damage(encode_zip(bytes(range(256)) * 9, zipfile.ZIP_LZMA)), id="damaged lzma"),
        pytest.param(claim_npy(1 << 60), id="huge npy"),
        pytest.param(sparse_tiff(40_000), id="huge tif"),
    ],
)
def test_results_that_cannot_be_decoded_differ(damaged: bytes) -> None:
    found = differ(damaged, encode_npy(PIXELS))
    assert found is not None
    assert found.where == "recorded response"
    found = differ(encode_npy(PIXELS), damaged)
    assert found is not None
    assert found.where == "local response"


def test_arrays_of_objects_are_not_loaded() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    found = differ(buffer.getvalue(), buffer.getvalue())
    assert found is not None
    assert "not readable: Object arrays cannot be loaded" in found.recorded


@pytest.mark.slow
def test_deep_values_are_not_followed_to_the_end_of_the_stack() -> None:
    deep = b"[" * 900 + b"]" * 900
    found = differ(deep, deep)
    assert found is None or "nested too deeply" in found.recorded
