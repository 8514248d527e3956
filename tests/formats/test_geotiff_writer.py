"""GeoTIFFs have the pixels, the mask and the tags of the files that GDAL writes by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from eechips.formats.geotiff import encode
from eechips.formats.tiff_layout import parse_layout

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64", "complex64"]
PLACES = {
    "north up": Affine(10, 0, 500_000, 0, -10, 4_400_000),
    "south up": Affine(10, 0, 500_000, 0, 10, 4_400_000),
    "rotated": Affine(10, 2, 500_000, 3, -10, 4_400_000),
    "at the origin": Affine(1, 0, 0, 0, -1, 0),
}


def write_by_gdal(pixels: Any, mask: Any, names: tuple[str, ...], crs: CRS, place: Affine, nodata: Any) -> bytes:
    """Write the same file without the writer of eechips."""
    count, height, width = pixels.shape
    is_tiled = max(width, height) > 512
    profile = {
        "driver": "GTiff", "width": width, "height": height, "count": count, "dtype": pixels.dtype, "crs": crs,
        "transform": place, "nodata": nodata, "interleave": "band", "compress": "deflate",
        "predictor": {"f": 3, "c": 1}.get(pixels.dtype.kind, 2), "tiled": is_tiled, "alpha": "NO",
        **({"blockxsize": 256, "blockysize": 256} if is_tiled else {"blockysize": height}),
    }  # fmt: skip
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(pixels)
            if mask is not None:
                target.write_mask(mask)
            target.descriptions = names
        return bytes(memory.read())


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_fourth_band_is_no_opacity(dtype: str) -> None:
    """As the infrared of NAIP: GDAL's warper would multiply colours by it (gdalwarp, -nosrcalpha)."""
    data = encode(
        np.ones((4, 8, 8), dtype), np.ones((8, 8), bool), (*"RGBN",), CRS.from_epsg(32613), PLACES["north up"]
    )
    with MemoryFile(data) as memory, memory.open() as file:
        assert ColorInterp.alpha not in file.colorinterp


def check(pixels: Any, mask: Any, names: tuple[str, ...], crs: CRS, place: Affine, nodata: Any = None) -> bytes:
    """Compare a file with GDAL's: its tags, and what GDAL reads from it."""
    data = encode(pixels, mask, names, crs, place, nodata)
    expected = write_by_gdal(pixels, mask, names, crs, place, nodata)
    own, others = (parse_layout(each, len(each)) for each in (data, expected))
    assert [image.tags for image in own.images] == [image.tags for image in others.images]
    with MemoryFile(data) as memory, memory.open() as file, MemoryFile(expected) as other, other.open() as gdal:
        np.testing.assert_array_equal(file.read(), pixels)
        assert file.profile == gdal.profile or (math.isnan(nodata) and math.isnan(file.nodata))
        assert (file.descriptions, file.colorinterp) == (gdal.descriptions, gdal.colorinterp)
        assert (file.mask_flag_enums, file.tags()) == (gdal.mask_flag_enums, gdal.tags())
        assert (file.dataset_mask() == gdal.dataset_mask()).all()
        if mask is not None:
            assert ((file.dataset_mask() != 0) == mask).all()
    return data


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of GDAL's own file at the origin
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)),
    place=st.sampled_from(sorted(PLACES)),
    has_mask=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_files_are_those_of_gdal(
    dtype: str, shape: tuple[int, int, int], place: str, has_mask: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    pixels = np.frombuffer(random.bytes(size), dtype).reshape(shape)
    pixels = np.where(np.isfinite(pixels), pixels, np.zeros(1, dtype))  # NaN is another value each time
    mask = random.random(shape[1:]) < 0.7 if has_mask else None
    names = tuple(f'B{number} <&"é>' for number in range(shape[0]))
    check(pixels, mask, names, CRS.from_epsg(32613), PLACES[place])


@pytest.mark.parametrize(("height", "width"), [(512, 512), (513, 300), (520, 1025)])
def test_large_files_have_tiles(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 60_000, (2, height, width), dtype=np.uint16)
    mask = np.arange(width)[None] % 7 != np.arange(height)[:, None] % 5
    data = check(pixels, mask, ("a", "b"), CRS.from_epsg(4326), Affine(0.1, 0, -120, 0, -0.1, 60))
    assert parse_layout(data, len(data)).images[0].is_tiled is (max(height, width) > 512)


@pytest.mark.parametrize("nodata", [0, -32768, 7])
def test_nodata_stands_in_the_header(nodata: int) -> None:
    pixels = np.arange(2 * 6 * 9, dtype=np.int16).reshape(2, 6, 9)
    check(pixels, None, ("a", "b"), CRS.from_epsg(26913), PLACES["north up"], nodata)


def test_nodata_may_be_nan_and_the_crs_may_have_no_code() -> None:
    sinusoidal = CRS.from_wkt(CRS.from_proj4("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m").to_wkt())
    pixels = np.arange(6 * 9, dtype=np.float32).reshape(1, 6, 9)
    for _ in range(2):
        check(pixels, None, ("a",), sinusoidal, PLACES["north up"], float("nan"))


def test_files_of_one_kind_differ_in_pixels_and_place_only() -> None:
    crs = CRS.from_epsg(32613)
    for number in range(3):
        pixels = np.full((3, 8, 8), number, np.uint8)
        place = PLACES["north up"] @ Affine.translation(8 * number, 16 * number)
        check(pixels, np.ones((8, 8), bool), ("r", "g", "b"), crs, place)
