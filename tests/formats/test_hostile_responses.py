"""Responses that are made to take memory, or to break a parser, are refused before they do."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio import Affine
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile

from eechips.errors import ValidationError
from eechips.formats import CHIP_FORMATS, Expectation, inspect
from eechips.formats.png import SIGNATURE
from eechips.geo.untrusted_rasters import open_raster

ASKED = Expectation(width=24, height=24, bands=("a",), has_mask_band=True)


def image(driver: str, side: int, count: int, **options: Any) -> bytes:
    profile = {"width": side, "height": side, "count": count, "dtype": "uint8", "transform": Affine.scale(0.5)}
    with MemoryFile() as memory:
        with memory.open(driver=driver, crs="EPSG:32613", **profile, **options) as target:
            if "SPARSE_OK" not in options:
                target.write(np.ones((count, side, side), "uint8"))
        return bytes(memory.read())


def refuse(suffix: str, data: bytes, message: str, asked: Expectation = ASKED) -> int:
    """Have a response refused, and return the greatest size of the arrays and bytes meanwhile."""
    tracemalloc.start()
    try:
        with pytest.raises(ValidationError, match=message):
            CHIP_FORMATS.get(suffix).receive(data, asked)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("suffix", "driver", "count"), [("tif", "GTiff", 2), ("png", "PNG", 1), ("jpg", "JPEG", 1)])
def test_pixels_of_another_size_are_not_decoded(suffix: str, driver: str, count: int) -> None:
    data = image(driver, 4000, count, **({"compress": "deflate"} if suffix == "tif" else {}))
    assert refuse(suffix, data, "the response has 4000x4000 pixels instead of 24x24") < 4000**2 / 2


def test_bytes_that_are_no_image_are_named_by_no_file_of_the_memory() -> None:
    """The name differs in each message, and says nothing."""
    refuse("tif", b'{"a": 1}', "^does not decode as GTiff: not recognized as being in a supported")
    data = image("GTiff", 24, 2)
    refuse("tif", data[: len(data) // 2], "^does not decode as GTiff: band 1: ")


def test_complex_integers_are_refused_as_other_types_are() -> None:
    """Numpy has no such type: Earth Engine sends none, but files of others have them, as Sentinel-1's SLC."""
    pixels = {"driver": "GTiff", "width": 24, "height": 24, "count": 2, "dtype": "complex_int16"}
    with MemoryFile() as memory:
        with memory.open(crs="EPSG:32613", transform=Affine.scale(0.5), **pixels) as target:
            target.write(np.ones((2, 24, 24), "complex64"))
        refuse("tif", bytes(memory.read()), "complex64", replace(ASKED, dtype="uint8"))


def test_bands_that_were_not_asked_for_are_not_decoded() -> None:
    data = image("GTiff", 24, 5000, SPARSE_OK=True)
    assert refuse("tif", data, "the response has 4,999 bands instead of 1") < 24 * 24 * 5000 / 2


def test_a_block_much_larger_than_its_image_is_refused() -> None:
    data = image("GTiff", 24, 2, SPARSE_OK=True, tiled=True, blockxsize=8192, blockysize=8192)
    refuse("tif", data, "it has blocks of 8,192x8,192 pixels, and 24x24 pixels")


@pytest.mark.parametrize(("kind", "start"), [(b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0")])
def test_a_picture_whose_texts_become_gigabytes_is_refused(kind: bytes, start: bytes, tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def picture(texts: int) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 24, 24, 8, 6, 0, 0, 0))
        pixels = chunk(b"IDAT", zlib.compress(bytes(24 * (1 + 24 * 4))))
        return SIGNATURE + header + chunk(kind, start + packed) * texts + pixels + chunk(b"IEND", b"")

    packed = zlib.compress(bytes(b"a" * 7_000_000), 9)
    refuse("png", picture(100), "its texts have .* bytes", Expectation(width=24, height=24))
    (tmp_path / "a.png").write_bytes(picture(100))
    with pytest.raises(RasterioIOError, match="its texts have"), open_raster(tmp_path / "a.png", ["PNG"]):
        pass
    assert CHIP_FORMATS.get("png").receive(picture(1), Expectation(width=24, height=24)).metadata.width == 24


def array(header: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode()


@pytest.mark.parametrize("header", ["{'descr': (", "'''a", "{'descr': " + "1+" * 4000 + "1}", "-" * 9000 + "1"])
def test_the_header_of_an_array_that_breaks_its_parser_is_damaged(header: str) -> None:
    refuse("npy", array(header), "truncated or damaged array")


@pytest.mark.parametrize(
    ("shape", "types"),
    [
        ((2, 24, 24), ("f4", "f4")),
        ((0, 24, 24), ("f4", "f4")),
        ((24, 24), ("c8", "f4")),
        ((24, 24), ("U1", "f4")),
        ((24, 24), ("M8[s]", "f4")),
        ((24, 24), ("f4", "S4")),
        ((24, 24), ("f4", "V4")),
        ((24, 24), ("(1,)f4", "f4")),
    ],
)
def test_an_array_that_is_no_pixels_is_refused(shape: tuple[int, ...], types: tuple[str, str]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(shape, list(zip(("a", "eechips_mask"), types, strict=True))))
    refuse("npy", buffer.getvalue(), "the response is an array of .* not of pixels")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_refused_whatever_its_compression(method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a.tif", bytes(300) + bytes(range(256)))
    packed = buffer.getvalue()
    inspect(packed, "zip")
    with pytest.raises(ValidationError, match="the ZIP archive is damaged"):
        inspect(packed[:45] + b"\xff" * 20 + packed[65:], "zip")
