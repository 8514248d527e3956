"""Validation and writing of images: complete files pass, all others are refused. Oracles: rasterio and numpy."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from eechips.errors import ValidationError
from eechips.formats import CHIP_FORMATS, Expectation, npy, sniff, validate
from eechips.formats.raster import check_crs, check_transform

TRANSFORM = rasterio.Affine(0.6, 0.0, 500_000.2, 0.0, -0.6, 4_100_000.4)
GRID = tuple(TRANSFORM)[:6]
UTM = "EPSG:32613"
RNG = np.random.default_rng(5)


def encode(driver: str, pixels: Any, descriptions: tuple[str, ...] = (), **options: Any) -> bytes:
    count, height, width = pixels.shape
    profile = {"transform": TRANSFORM, **options}
    with MemoryFile() as memory:
        with memory.open(
            driver=driver, width=width, height=height, count=count, dtype=pixels.dtype, **profile
        ) as target:
            target.write(pixels)
            if descriptions:
                target.descriptions = descriptions
        return bytes(memory.read())


def read(data: bytes) -> Any:
    with MemoryFile(data) as memory, memory.open() as source:
        return source.read()


def smooth(count: int = 3, height: int = 24, width: int = 32, dtype: str = "uint8") -> Any:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([(rows * 3 + columns * (b + 1)) % 200 for b in range(count)]).astype(dtype)


def received_tif(dtype: str = "uint8", masked: bool = True) -> tuple[bytes, Any, Any]:
    """A GeoTIFF as Earth Engine sends it: data, and the mask as one more band."""
    pixels = RNG.integers(0, 120, (2, 24, 32)).astype(dtype)
    mask = np.ones((24, 32), dtype=bool)
    if masked:
        mask[3:7, 5:9] = False
        pixels[:, ~mask] = 0
    sent = np.concatenate([pixels, mask[None].astype(dtype)])
    return encode("GTiff", sent, ("R", "N", "eechips_mask"), crs=UTM, compress="lzw"), pixels, mask


ASKED = Expectation(width=32, height=24, bands=("R", "N"), crs=UTM, transform=GRID, has_mask_band=True)


@pytest.mark.parametrize(("count", "names"), [(1, ("gray",)), (3, ("red", "green", "blue"))])
def test_a_whole_png_passes_as_it_is(count: int, names: tuple[str, ...]) -> None:
    data = encode("PNG", smooth(count))
    written = CHIP_FORMATS.get("png").receive(data, Expectation(width=32, height=24))
    assert (written.data, written.suffix) == (data, "png")
    metadata = written.metadata
    assert (metadata.width, metadata.height, metadata.bands, metadata.dtype) == (32, 24, names, "uint8")
    assert metadata.valid_fraction == 1.0


def test_a_png_without_some_pixels_says_how_many() -> None:
    alpha = np.full((1, 24, 32), 255, dtype="uint8")
    alpha[0, :6] = 0
    data = encode("PNG", np.concatenate([smooth(), alpha]))
    metadata = CHIP_FORMATS.get("png").validate(data, Expectation(bands=("R", "G", "B")))
    assert metadata.valid_fraction == 0.75
    assert metadata.bands == ("R", "G", "B")
    alpha[:] = 0
    assert validate(encode("PNG", np.concatenate([smooth(1), alpha])), "png").valid_fraction == 0.0


PNG = encode("PNG", smooth())


@given(st.integers(0, len(PNG) - 1))
def test_a_png_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(ValidationError):
        CHIP_FORMATS.get("png").receive(PNG[:cut], Expectation())


@given(st.integers(0, len(PNG) - 1), st.integers(1, 255))
def test_a_damaged_png_is_refused(position: int, flip: int) -> None:
    data = bytearray(PNG)
    data[position] ^= flip
    with pytest.raises(ValidationError):
        CHIP_FORMATS.get("png").receive(bytes(data), Expectation())


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_png_whose_chunks_are_whole_but_whose_pixels_are_not_is_refused() -> None:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 8, 2, 0, 0, 0))
    full = zlib.compress(bytes(24 * (1 + 32 * 3)))
    filtered = zlib.compress(bytes(1 + 32 * 3) + b"\5" + bytes(32 * 3 + 22 * (1 + 32 * 3)))
    for pixels in (zlib.compress(bytes(23 * (1 + 32 * 3))), full[:-8], b"", zlib.compress(bytes(10**5)), filtered):
        data = b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
        with pytest.raises(ValidationError):
            CHIP_FORMATS.get("png").receive(data, Expectation())
    good = b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", full) + _chunk(b"IEND", b"")
    assert CHIP_FORMATS.get("png").receive(good, Expectation()).metadata.width == 32
    with pytest.raises(ValidationError, match="something after"):
        CHIP_FORMATS.get("png").receive(good + b"x", Expectation())


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "npy"])
@pytest.mark.parametrize("data", [b"", b"<html><body>log in</body></html>", b"{}", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_data_that_are_no_image_are_refused(suffix: str, data: bytes) -> None:
    with pytest.raises(ValidationError):
        CHIP_FORMATS.get(suffix).receive(data, Expectation())


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_image_of_another_size_is_refused(suffix: str) -> None:
    data = encode({"png": "PNG", "jpg": "JPEG"}[suffix], smooth())
    with pytest.raises(ValidationError, match="32x24 pixels instead of 32x25"):
        CHIP_FORMATS.get(suffix).receive(data, Expectation(width=32, height=25))
    with pytest.raises(ValidationError):
        CHIP_FORMATS.get(suffix).receive(
            encode({"png": "PNG", "jpg": "JPEG"}[suffix], smooth(1)), Expectation(bands=("R", "G", "B"))
        )


JPEG = encode("JPEG", smooth())


@settings(deadline=None)
@given(st.integers(0, len(JPEG) - 1))
def test_a_jpeg_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(ValidationError):
        CHIP_FORMATS.get("jpg").receive(JPEG[:cut], Expectation())


@settings(deadline=None)
@given(st.integers(300, len(JPEG) - 10))
def test_a_jpeg_that_ends_early_with_an_end_mark_is_refused(cut: int) -> None:
    with pytest.raises(ValidationError):
        CHIP_FORMATS.get("jpg").receive(JPEG[:cut] + b"\xff\xd9", Expectation(width=32, height=24))


def test_a_whole_jpeg_passes_and_claims_no_mask() -> None:
    metadata = CHIP_FORMATS.get("jpg").receive(JPEG, Expectation(width=32, height=24)).metadata
    assert (metadata.bands, metadata.valid_fraction) == (("red", "green", "blue"), None)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_a_geotiff_keeps_values_grid_names_and_mask(dtype: str) -> None:
    data, pixels, mask = received_tif(dtype)
    written = CHIP_FORMATS.get("tif").receive(data, ASKED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with MemoryFile(written.data) as memory, memory.open() as source:
            assert source.read().tobytes() == pixels.tobytes()
            assert source.dtypes == (dtype, dtype)
            assert source.transform == TRANSFORM
            assert source.crs.to_epsg() == 32613
            assert source.descriptions == ("R", "N")
            assert source.mask_flag_enums[0] == [rasterio.enums.MaskFlags.per_dataset]
            np.testing.assert_array_equal(source.dataset_mask() != 0, mask)
    metadata = written.metadata
    assert metadata.valid_fraction == mask.mean()
    assert (metadata.bands, metadata.dtype, metadata.crs, metadata.transform) == (("R", "N"), dtype, UTM, GRID)
    assert validate(written.data, "tif") == metadata


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("int16", -32768), ("float32", -np.inf)])
@pytest.mark.parametrize("is_mask_masked", [False, True])
def test_nodata_of_the_service_becomes_zero_below_the_mask(dtype: str, nodata: float, is_mask_masked: bool) -> None:
    _, pixels, mask = received_tif(dtype)
    pixels[0, 0, 0] = nodata  # which a valid pixel may have, too
    sent = np.concatenate([np.where(mask, pixels, pixels.dtype.type(nodata)), mask[None].astype(dtype)])
    if is_mask_masked:  # outside of the footprint of an image
        sent[2, ~mask] = nodata
    names = ("R", "N", "eechips_mask")
    written = CHIP_FORMATS.get("tif").receive(encode("GTiff", sent, names, crs=UTM, nodata=nodata), ASKED)
    with MemoryFile(written.data) as memory, memory.open() as source:
        np.testing.assert_array_equal(source.read(), np.where(mask, pixels, 0))
        np.testing.assert_array_equal(source.dataset_mask() != 0, mask)


def test_the_same_geotiff_becomes_the_same_bytes() -> None:
    data, _, _ = received_tif()
    assert CHIP_FORMATS.get("tif").receive(data, ASKED).data == CHIP_FORMATS.get("tif").receive(data, ASKED).data


def test_floats_that_are_not_numbers_stay() -> None:
    pixels = np.array([[[np.nan, -np.inf], [np.float32(1e-45), -0.0]]], dtype="float32")
    sent = np.concatenate([pixels, np.ones((1, 2, 2), dtype="float32")])
    written = CHIP_FORMATS.get("tif").receive(
        encode("GTiff", sent, crs=UTM), Expectation(bands=("x",), has_mask_band=True)
    )
    with MemoryFile(written.data) as memory, memory.open() as source:
        assert source.read().tobytes() == pixels.tobytes()


@pytest.mark.parametrize("pixels", [0.5, 1.0, -1.0])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_shifted_geotiff_is_refused(pixels: float, axis: str) -> None:
    data, _, _ = received_tif()
    a, b, c, d, e, f = GRID
    shifted = (a, b, c + a * pixels, d, e, f) if axis == "x" else (a, b, c, d, e, f + e * pixels)
    moved = Expectation(transform=shifted, crs=UTM, has_mask_band=True)
    with pytest.raises(ValidationError, match="the transform is"):
        CHIP_FORMATS.get("tif").receive(data, moved)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Expectation(width=31, has_mask_band=True), "pixels instead of 31x"),
        (Expectation(bands=("R",), has_mask_band=True), "bands instead of 1"),
        (Expectation(bands=("R", "G"), has_mask_band=True), "bands R, N instead of R, G"),
        (Expectation(dtype="uint16", has_mask_band=True), "type uint8 instead of uint16"),
        (Expectation(crs="EPSG:32614", has_mask_band=True), "reference system"),
    ],
)
def test_a_geotiff_that_is_not_as_asked_is_refused(asked: Expectation, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CHIP_FORMATS.get("tif").receive(received_tif()[0], asked)


TIFF = received_tif()[0]


@given(st.integers(0, len(TIFF) - 1))
@example(cut=2618)  # the transform is lost, and the pixels are there
def test_a_truncated_geotiff_never_passes_as_another(cut: int) -> None:
    """A cut may spare everything that matters (padding at the end); then the pixels are all there."""
    try:
        written = CHIP_FORMATS.get("tif").receive(TIFF[:cut], ASKED)
    except ValidationError:
        return
    np.testing.assert_array_equal(read(written.data), read(TIFF)[:-1])


def test_without_a_mask_band_nothing_is_saved() -> None:
    data = encode("GTiff", smooth(1), crs=UTM)
    with pytest.raises(ValidationError, match="mask band"):
        CHIP_FORMATS.get("tif").receive(data, Expectation(has_mask_band=True))
    with pytest.raises(ValidationError, match="no coordinate reference"):
        CHIP_FORMATS.get("tif").receive(encode("GTiff", smooth(2)), Expectation(has_mask_band=True))


def test_larger_geotiffs_are_tiled() -> None:
    data = encode("GTiff", smooth(2, 600, 700), crs=UTM)
    written = CHIP_FORMATS.get("tif").receive(data, Expectation(has_mask_band=True))
    with MemoryFile(written.data) as memory, memory.open() as source:
        assert source.block_shapes == [(256, 256)]


def structured(masked: bool = True) -> Any:
    array = np.zeros((24, 32), dtype=[("B4", "<u2"), ("ndvi", "<f4"), ("eechips_mask", "u1")])
    array["B4"] = RNG.integers(0, 10_000, (24, 32))
    array["ndvi"] = RNG.normal(size=(24, 32))
    array["eechips_mask"] = 1
    if masked:
        array["eechips_mask"][:12] = 0
    return array


def saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_an_array_keeps_its_fields_and_gains_a_mask() -> None:
    array = structured()
    asked = Expectation(width=32, height=24, bands=("B4", "ndvi"), has_mask_band=True)
    written = CHIP_FORMATS.get("npy").receive(saved(array), asked)
    found = np.load(io.BytesIO(written.data))
    assert found.dtype.names == ("B4", "ndvi", "mask")
    for name in ("B4", "ndvi"):
        assert found[name].tobytes() == array[name].tobytes()
    np.testing.assert_array_equal(found["mask"], array["eechips_mask"] == 1)
    metadata = written.metadata
    assert (metadata.bands, metadata.dtype, metadata.valid_fraction) == (("B4", "ndvi"), "uint16,float32", 0.5)
    assert validate(written.data, "npy") == metadata


def test_a_band_called_mask_keeps_its_name() -> None:
    array = structured()
    array.dtype.names = ("mask", "ndvi", "eechips_mask")
    written = CHIP_FORMATS.get("npy").receive(saved(array), Expectation(has_mask_band=True))
    assert np.load(io.BytesIO(written.data)).dtype.names == ("mask", "ndvi", "eechips_mask")


NPY = saved(structured())


@given(st.integers(0, len(NPY) - 1))
def test_an_array_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(ValidationError):
        CHIP_FORMATS.get("npy").receive(NPY[:cut], Expectation())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Expectation(width=31, has_mask_band=True), "pixels instead of 31x"),
        (Expectation(bands=("B4",), has_mask_band=True), "bands instead of 1"),
        (Expectation(bands=("B4", "B5"), has_mask_band=True), "bands B4, ndvi instead of B4, B5"),
        (Expectation(dtype="uint16", has_mask_band=True), "type float32"),
    ],
)
def test_an_array_that_is_not_as_asked_is_refused(asked: Expectation, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CHIP_FORMATS.get("npy").receive(NPY, asked)


def test_arrays_of_objects_or_with_something_after_them_are_refused() -> None:
    with pytest.raises(ValidationError, match="follow the array"):
        CHIP_FORMATS.get("npy").validate(NPY + b"x", Expectation())
    with pytest.raises(ValidationError, match="Python objects"):
        npy.encode(np.array([object()]))
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValidationError):
        CHIP_FORMATS.get("npy").validate(buffer.getvalue(), Expectation())


def test_formats_are_recognised_by_their_first_bytes() -> None:
    assert [sniff(d) for d in (PNG, JPEG, TIFF, NPY, b"PAR1x", b"text")] == [
        "png", "jpg", "tif", "npy", "parquet", "bin",
    ]  # fmt: skip
    assert validate(b"anything", "bin").width is None


@given(st.floats(0.01, 1000), st.floats(-1e7, 1e7), st.floats(-1e7, 1e7), st.integers(1, 3000), st.floats(-3, 3))
def test_transforms_agree_exactly_when_the_corners_do(edge: float, x: float, y: float, size: int, shift: float) -> None:
    grid = (edge, 0.0, x, 0.0, -edge, y)
    check_transform(grid, grid, size, size)
    moved = (edge, 0.0, x + shift * edge, 0.0, -edge, y)
    if abs(shift) > 0.01 and x + shift * edge != x:
        with pytest.raises(ValidationError):
            check_transform(grid, moved, size, size)


def test_reference_systems_are_compared_by_meaning() -> None:
    from rasterio.crs import CRS

    check_crs(UTM, CRS.from_epsg(32613))
    check_crs(CRS.from_epsg(32613).to_wkt(), CRS.from_epsg(32613))
    check_crs("EPSG:4326", CRS.from_string("OGC:CRS84"))
    check_crs("SR-ORG:6974", CRS.from_proj4("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m"))
    check_crs("SR-ORG:9999", CRS.from_epsg(32613))
    with pytest.raises(ValidationError):
        check_crs("SR-ORG:6974", CRS.from_epsg(32613))
    with pytest.raises(ValidationError, match="no coordinate reference"):
        check_crs(UTM, None)
