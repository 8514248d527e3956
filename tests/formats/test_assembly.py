"""Files assembled of parts equal the file of the whole. Oracles: rasterio and numpy."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from eechips.errors import ValidationError
from eechips.formats import CHIP_FORMATS, EncodedFile, Expectation
from eechips.formats.raster import decoding, paste_parts
from eechips.geo.grid import Grid, Part, Window

GRID = Grid("EPSG:32613", (0.6, 0.0, 500_000.2, 0.0, -0.6, 4_100_000.4), 1, 1)
DTYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")


@st.composite
def tilings(draw: st.DrawFn) -> list[Window]:
    """Windows that tile a rectangle, as quarters and quarters of quarters, in any order."""
    windows = [Window(0, 0, draw(st.integers(1, 70)), draw(st.integers(1, 70)))]
    for _ in range(draw(st.integers(1, 5))):
        chosen = windows.pop(draw(st.integers(0, len(windows) - 1)))
        windows.extend(chosen.split(draw(st.integers(1, 8))))
    first = min(windows, key=lambda w: (w.row, w.column))
    return [first, *draw(st.permutations([w for w in windows if w is not first]))]


def size(windows: Sequence[Window]) -> tuple[int, int]:
    return max(w.column + w.width for w in windows), max(w.row + w.height for w in windows)


def pixels_of(seed: int, bands: int, windows: Sequence[Window], dtype: str) -> tuple[Any, Any]:
    width, height = size(windows)
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 120, (bands, height, width)).astype(dtype)
    if dtype.startswith("float"):
        pixels += random.random(pixels.shape).astype(dtype)
    # Some parts have no masked pixel, and some may have no other.
    mask = random.random((height, width)) < random.choice([0.0, 0.7, 1.0])
    mask[height // 2 :, width // 2 :] = True
    pixels[:, ~mask] = 0
    return pixels, mask


def encode(driver: str, bands: Any, **options: Any) -> bytes:
    count, height, width = bands.shape
    names, colours = options.pop("names", None), options.pop("colours", None)
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        profile = {"driver": driver, "width": width, "height": height, "count": count, "dtype": bands.dtype, **options}
        with memory.open(**profile) as target:
            target.write(bands)
            if names:
                target.descriptions = names
            if colours:
                target.colorinterp = colours
        return bytes(memory.read())


def read(data: bytes) -> Any:
    with warnings.catch_warnings(), MemoryFile(data) as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open() as source:
            return source.read()


def sent_tif(pixels: Any, mask: Any, grid: Grid) -> bytes:
    """A GeoTIFF as Earth Engine sends it."""
    bands = np.concatenate([pixels, mask[None].astype(pixels.dtype)])
    names = (*(f"b{i}" for i in range(len(pixels))), "eechips_mask")
    return encode("GTiff", bands, names=names, crs=grid.crs, transform=grid.affine, compress="lzw")


def sent_npy(pixels: Any, mask: Any) -> bytes:
    """An array as Earth Engine sends it; the last band has a type of its own."""
    fields = [(f"b{i}", "uint8" if i == len(pixels) - 1 else pixels.dtype) for i in range(len(pixels))]
    array = np.zeros(mask.shape, dtype=[*fields, ("eechips_mask", "uint8")])
    for (name, _), band in zip(fields, pixels, strict=True):
        array[name] = band
    array["eechips_mask"] = mask
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def sent_png(pixels: Any, mask: Any) -> bytes:
    """A PNG as Earth Engine sends it: transparent where masked, without alpha if nothing is."""
    if mask.all():
        return encode("PNG", pixels)
    colours = (ColorInterp.gray,) if len(pixels) == 1 else (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    bands = np.concatenate([pixels, np.where(mask, 255, 0)[None].astype("uint8")])
    return encode("PNG", bands, colours=(*colours, ColorInterp.alpha))


@pytest.mark.slow
@given(tilings(), st.integers(0, 99), st.integers(1, 3), st.sampled_from(DTYPES))
def test_a_geotiff_of_parts_equals_the_whole(windows: list[Window], seed: int, bands: int, dtype: str) -> None:
    width, height = size(windows)
    whole = replace(GRID, width=width, height=height)
    pixels, mask = pixels_of(seed, bands, windows, dtype)
    asked = Expectation(
        width=width, height=height, bands=tuple(f"b{i}" for i in range(bands)), dtype=dtype, crs=whole.crs,
        transform=whole.transform, has_mask_band=True,
    )  # fmt: skip

    def received(window: Window) -> EncodedFile:
        grid = whole.window(window.column, window.row, window.width, window.height)
        data = sent_tif(pixels[(..., *window.slices)], mask[window.slices], grid)
        part = replace(asked, width=grid.width, height=grid.height, transform=grid.transform)
        written: EncodedFile = CHIP_FORMATS.get("tif").receive(data, part)
        return written

    found = CHIP_FORMATS.get("tif").assemble([Part(window, received(window)) for window in windows], asked)
    assert found == received(Window(0, 0, width, height))
    with MemoryFile(found.data) as memory, memory.open() as source:
        assert source.read().tobytes() == pixels.tobytes()
        assert np.array_equal(source.dataset_mask() != 0, mask)
        assert source.descriptions == asked.bands
        assert source.transform == whole.affine
        assert source.crs.to_epsg() == 32613


@given(tilings(), st.integers(0, 99), st.integers(1, 3), st.sampled_from(DTYPES))
def test_an_array_of_parts_equals_the_whole(windows: list[Window], seed: int, bands: int, dtype: str) -> None:
    pixels, mask = pixels_of(seed, bands, windows, dtype)
    width, height = size(windows)
    asked = Expectation(width=width, height=height, has_mask_band=True)

    def received(window: Window) -> EncodedFile:
        data = sent_npy(pixels[(..., *window.slices)], mask[window.slices])
        part = replace(asked, width=window.width, height=window.height)
        written: EncodedFile = CHIP_FORMATS.get("npy").receive(data, part)
        return written

    found = CHIP_FORMATS.get("npy").assemble([Part(window, received(window)) for window in windows], asked)
    assert found == received(Window(0, 0, width, height))
    array = np.load(io.BytesIO(found.data))
    assert np.array_equal(array["mask"], mask)
    assert all(np.array_equal(array[f"b{i}"], band.astype(array[f"b{i}"].dtype)) for i, band in enumerate(pixels))


def pictures(windows: Sequence[Window], pixels: Any, mask: Any) -> list[Part[EncodedFile]]:
    return [
        Part(w, CHIP_FORMATS.get("png").receive(sent_png(pixels[(..., *w.slices)], mask[w.slices]), Expectation()))
        for w in windows
    ]


@given(tilings(), st.integers(0, 99), st.sampled_from([1, 3]))
def test_a_png_of_parts_has_the_pixels_of_the_whole(windows: list[Window], seed: int, bands: int) -> None:
    pixels, mask = pixels_of(seed, bands, windows, "uint8")
    width, height = size(windows)
    asked = Expectation(width=width, height=height)
    found = CHIP_FORMATS.get("png").assemble(pictures(windows, pixels, mask), asked)
    whole = CHIP_FORMATS.get("png").receive(sent_png(pixels, mask), asked)
    assert np.array_equal(read(found.data), read(whole.data))
    assert (found.suffix, found.metadata) == (whole.suffix, whole.metadata)
    with decoding(found.data, "PNG") as source:
        assert np.array_equal(source.dataset_mask() != 0, mask)
        assert (ColorInterp.alpha in source.colorinterp) == (not mask.all())


@given(tilings(), st.integers(0, 99), st.sampled_from([1, 3]))
def test_a_jpeg_of_parts_is_compressed_once(windows: list[Window], seed: int, bands: int) -> None:
    pixels, mask = pixels_of(seed, bands, windows, "uint8")
    width, height = size(windows)
    found = CHIP_FORMATS.get("jpg").assemble(pictures(windows, pixels, mask), Expectation(width=width, height=height))
    assert found.data == encode("JPEG", pixels, QUALITY=90)
    assert (found.suffix, found.metadata.width, found.metadata.height) == ("jpg", width, height)


def beside(*pngs: bytes) -> list[Part[EncodedFile]]:
    """Pictures of 2 columns and 1 row, from left to right."""
    received = [CHIP_FORMATS.get("png").receive(data, Expectation()) for data in pngs]
    return [Part(Window(2 * i, 0, 2, 1), written) for i, written in enumerate(received)]


def test_16_bits_and_palettes_and_transparent_colours_keep_their_colours() -> None:
    halves = Window(0, 0, 20, 8).split(8)
    deep = np.arange(160, dtype="uint16").reshape(1, 8, 20) * 400
    parts = [
        Part(w, CHIP_FORMATS.get("png").receive(encode("PNG", deep[(..., *w.slices)]), Expectation())) for w in halves
    ]
    assert np.array_equal(read(CHIP_FORMATS.get("png").assemble(parts, Expectation()).data), deep)
    clear = encode("PNG", np.array([[[5, 7]]], "uint8"), nodata=7)
    plain = encode("PNG", np.array([[[9, 9]]], "uint8"))
    parts = [
        Part(Window(2 * i, 0, 2, 1), CHIP_FORMATS.get("png").receive(data, Expectation()))
        for i, data in enumerate((clear, plain))
    ]
    assert read(CHIP_FORMATS.get("png").assemble(parts, Expectation()).data).tolist() == [
        [[5, 7, 9, 9]],
        [[255, 0, 255, 255]],
    ]
    with MemoryFile() as memory:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with memory.open(driver="PNG", width=2, height=1, count=1, dtype="uint8") as target:
                target.write(np.array([[[0, 1]]], "uint8"))
                target.write_colormap(1, {0: (1, 2, 3, 255), 1: (4, 5, 6, 0)})
        coloured = bytes(memory.read())
    colour = np.array([[[7, 7]], [[8, 8]], [[9, 9]]], "uint8")
    found = CHIP_FORMATS.get("png").assemble(beside(coloured, encode("PNG", colour)), Expectation())
    assert read(found.data).tolist() == [[[1, 4, 7, 7]], [[2, 5, 8, 8]], [[3, 6, 9, 9]], [[255, 0, 255, 255]]]


def test_parts_of_different_images_are_refused() -> None:
    left, right = Window(0, 0, 4, 2).split(2)
    grey, colour = np.ones((1, 2, 2), "uint8"), np.ones((3, 2, 2), "uint8")
    with pytest.raises(ValidationError, match="different types or bands"):
        paste_parts([Part(left, grey), Part(right, colour)])
    with pytest.raises(ValidationError, match="uint16"):
        paste_parts([Part(left, grey), Part(right, grey.astype("uint16"))])
    with pytest.raises(ValueError, match="do not tile"):
        paste_parts([Part(left, grey), Part(Window(3, 0, 2, 2), grey)])
    parts = pictures([left, right], np.ones((3, 2, 4), "uint8"), np.ones((2, 4), bool))
    with pytest.raises(ValidationError, match="4x2 pixels instead of 5x2"):
        CHIP_FORMATS.get("png").assemble(parts, Expectation(width=5, height=2))
