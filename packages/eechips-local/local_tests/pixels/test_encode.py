"""Files against the libraries that read them: Pillow, rasterio, numpy, zipfile."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image as Picture
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import ImageBand, Pixels
from eechips_local.pixels.output import encode
from eechips_local.pixels.output.picture_files import write_png
from eechips_local.pixels.pixelwise_rasters import Empty
from eechips_local.protocol.request_errors import InvalidError

RANDOM = np.random.default_rng(1)
GRID = PixelGrid("EPSG:32613", Affine(0.6, 0, 500_000.3, 0, -0.6, 4_400_000.9), 40, 30)
ALL = np.ones(GRID.shape, dtype=bool)
HOLES = RANDOM.random(GRID.shape) > 0.3


def bands(*dtypes: Any, mask: Any = ALL) -> tuple[list[ImageBand], list[Pixels]]:
    """Bands of random values, the whole range of integers."""
    made, pixels = [], []
    for index, dtype in enumerate(map(np.dtype, dtypes)):
        if dtype.kind == "f":
            values = RANDOM.normal(size=GRID.shape).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            values = RANDOM.integers(limits.min, limits.max, GRID.shape, dtype=dtype, endpoint=True)
        made.append(ImageBand(f"B{index + 1}", PixelType.of(dtype), WGS84, Empty()))
        pixels.append(Pixels(values, mask))
    return made, pixels


def picture(data: bytes) -> Picture.Image:
    image = Picture.open(io.BytesIO(data))
    image.load()
    return image


class TestPng:
    @pytest.mark.parametrize(("count", "mode"), [(1, "L"), (3, "RGB")])
    def test_without_gaps(self, count: int, mode: str) -> None:
        made, pixels = bands(*[np.uint8] * count)
        image = picture(encode.png(made, pixels))
        assert (image.format, image.mode, image.size) == ("PNG", mode, (40, 30))
        assert np.array_equal(np.asarray(image).reshape(30, 40, -1), np.dstack([p.values for p in pixels]))

    def test_photographs_and_maps_of_classes_are_small(self) -> None:
        rows, columns = np.mgrid[0:256, 0:256]
        smooth = 90 + 40 * np.sin(rows / 40) + 40 * np.cos(columns / 30)
        photograph = [(smooth + RANDOM.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8) for _ in range(3)]
        classes = [(rows // 32 * 8 + columns // 32).astype(np.uint8)] * 3
        for channels, most in ((photograph, 0.8), (classes, 0.02)):
            data = write_png(channels)
            assert np.array_equal(np.asarray(picture(data)), np.dstack(channels))
            assert len(data) < most * 3 * 256 * 256

    @pytest.mark.parametrize(("count", "mode"), [(1, "LA"), (3, "RGBA")])
    def test_masked_pixels_are_transparent(self, count: int, mode: str) -> None:
        made, pixels = bands(*[np.uint8] * count, mask=HOLES)
        image = picture(encode.png(made, pixels))
        assert image.mode == mode
        channels = np.asarray(image)
        assert np.array_equal(channels[..., -1], np.where(HOLES, 255, 0))
        assert np.array_equal(channels[HOLES][:, 0], pixels[0].values[HOLES])
        assert (channels[~HOLES] == 0).all()

    def test_fractions_of_masks(self) -> None:
        made, pixels = bands(np.uint8, mask=np.full(GRID.shape, 0.5))
        assert (np.asarray(picture(encode.png(made, pixels)))[..., 1] == 128).all()

    def test_values_are_clipped_not_scaled(self) -> None:
        made, _ = bands(np.float64)
        values = np.linspace(-100, 400, GRID.width * GRID.height).reshape(GRID.shape)
        found = np.asarray(picture(encode.png(made, [Pixels(values, ALL)])))
        assert np.array_equal(found, np.clip(values, 0, 255).astype(np.uint8))

    @pytest.mark.parametrize("count", [2, 4, 5])
    def test_one_or_three_bands(self, count: int) -> None:
        with pytest.raises(InvalidError, match="1 or 3 bands"):
            encode.png(*bands(*[np.uint8] * count))

    def test_large_and_odd_sizes(self) -> None:
        for height, width in ((1, 1), (1, 300), (257, 3)):
            values = RANDOM.integers(0, 255, (height, width)).astype(np.uint8)
            made, _ = bands(np.uint8)
            found = picture(encode.png(made, [Pixels(values, np.ones((height, width), dtype=bool))]))
            assert np.array_equal(np.asarray(found), values)


class TestJpeg:
    @pytest.mark.parametrize(("count", "mode"), [(1, "L"), (3, "RGB")])
    def test_pictures(self, count: int, mode: str) -> None:
        made, _ = bands(*[np.uint8] * count)
        smooth = [
            Pixels(np.add.outer(np.arange(30), np.arange(40) + 20 * i).astype(np.uint8), ALL) for i in range(count)
        ]
        image = picture(encode.jpeg(made, smooth))
        assert (image.format, image.mode, image.size) == ("JPEG", mode, (40, 30))
        found = np.asarray(image).reshape(30, 40, -1).astype(int)
        assert np.abs(found - np.dstack([p.values for p in smooth])).mean() < 3

    def test_auto(self) -> None:
        """A PNG where there is any transparency (earth-engine/reference/rest/v1/ImageFileFormat)."""
        assert encode.auto(*bands(np.uint8)).startswith(b"\xff\xd8\xff")
        for mask in (HOLES, np.where(HOLES, 1, 0.5)):
            assert encode.auto(*bands(np.uint8, mask=mask)).startswith(b"\x89PNG")


class TestNpy:
    def test_a_structured_array(self) -> None:
        made, pixels = bands(np.uint8, np.int16, np.float32, np.float64, np.int64, mask=HOLES)
        data = encode.npy(made, pixels)
        found = np.load(io.BytesIO(data), allow_pickle=False)
        assert found.shape == GRID.shape
        assert found.dtype == [("B1", "u1"), ("B2", "<i2"), ("B3", "<f4"), ("B4", "<f8"), ("B5", "<i8")]
        for band, p in zip(made, pixels, strict=True):
            assert np.array_equal(found[band.name], np.where(HOLES, p.values, 0))


class TestGeoTiff:
    def test_a_fourth_band_is_no_opacity(self) -> None:
        made, pixels = bands(*[np.uint8] * 4)
        with MemoryFile(encode.geotiff(made, pixels, GRID)) as memory, memory.open() as file:
            assert ColorInterp.alpha not in file.colorinterp

    def test_place_names_and_values(self) -> None:
        made, pixels = bands(np.uint16, np.uint16)
        with MemoryFile(encode.geotiff(made, pixels, GRID)) as memory, memory.open() as file:
            assert file.driver == "GTiff"
            assert (file.width, file.height, file.count) == (40, 30, 2)
            assert file.transform == GRID.transform
            assert file.crs.to_epsg() == 32613
            assert file.descriptions == ("B1", "B2")
            assert np.array_equal(file.read(), [p.values for p in pixels])

    @pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "float32", "uint32", "int64", "float64"])
    def test_the_type_of_the_bands_and_their_nodata(self, dtype: str) -> None:
        made, pixels = bands(*[np.dtype(dtype).type] * 2, mask=HOLES)
        with MemoryFile(encode.geotiff(made, pixels, GRID)) as memory, memory.open() as file:
            assert set(file.dtypes) == {dtype}
            least = -np.inf if np.dtype(dtype).kind == "f" else 0 if dtype == "int64" else np.iinfo(dtype).min
            assert file.nodata == (None if dtype == "int64" else least)
            assert np.array_equal(file.read(), [np.where(HOLES, p.values, np.dtype(dtype).type(least)) for p in pixels])

    @pytest.mark.parametrize(
        ("dtypes", "names"),
        [
            ((np.uint8, np.uint16), "Byte and UInt16"), ((np.float64, np.float32), "Float64 and Float32"),
            ((np.int16, np.int16, np.float32), "Int16 and Float32"),
        ],
    )  # fmt: skip
    def test_bands_of_several_types(self, dtypes: tuple[Any, ...], names: str) -> None:
        """Exports are refused; a download has the type that holds all values, for which numpy is the oracle."""
        made, pixels = bands(*dtypes, mask=HOLES)
        with pytest.raises(InvalidError, match=f"compatible data types; found inconsistent types: {names}"):
            encode.common_dtype(made)
        with MemoryFile(encode.geotiff(made, pixels, GRID)) as memory, memory.open() as file:
            assert set(file.dtypes) == {np.result_type(*dtypes).name}
            assert np.array_equal(file.read()[:, HOLES], [p.values[HOLES] for p in pixels])

    @pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:5070", "SR-ORG:6974"])
    def test_crs(self, crs: str) -> None:
        made, pixels = bands(np.uint8)
        grid = PixelGrid(crs, Affine(0.01, 0, -105, 0, -0.01, 40), 40, 30)
        with MemoryFile(encode.geotiff(made, pixels, grid)) as memory, memory.open() as file:
            assert file.transform == grid.transform
            expected = rasterio.crs.CRS.from_wkt(encode.parse_crs(crs).to_wkt())
            assert file.crs == expected

    def test_rotated_and_flipped_grids_are_written(self) -> None:
        for transform in (Affine(1, 0, 0, 0, 1, 0), Affine.rotation(30) * Affine.scale(2, -2)):
            made, pixels = bands(np.uint8)
            grid = PixelGrid("EPSG:32613", transform, 40, 30)
            with MemoryFile(encode.geotiff(made, pixels, grid)) as memory, memory.open() as file:
                assert file.transform.almost_equals(transform, 1e-9)


def test_the_narrowest_type() -> None:
    for low, high, dtype in [
        (0, 1, "uint8"), (-1, 127, "int8"), (-1, 128, "int16"), (0, 65535, "uint16"), (0, 65536, "uint32"),
        (-40000, 0, "int32"), (0, 2**32, "int64"),
    ]:  # fmt: skip
        assert encode.dtype_of(PixelType("int", low, high)) == np.dtype(dtype)
    with pytest.raises(InvalidError, match="array pixels"):
        encode.dtype_of(PixelType("int", 0, 1, 1))


def test_archives_are_the_same_every_time() -> None:
    files = [("a.tif", b"one"), ("b.tif", b"two" * 100)]
    data = encode.zipped(files)
    assert data == encode.zipped(files)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == files
