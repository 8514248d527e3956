"""Files with several frames of a time series, against rasterio."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from eechips.errors import ValidationError
from eechips.formats import EncodedFile, Expectation, geotiff
from eechips.training.quality.chip_pixels import decode, decode_frames

UTM, WHERE = CRS.from_epsg(32613), from_origin(500_000, 4_400_000, 10, 10)


def frame(values: Any, valid: Any) -> EncodedFile:
    data = geotiff.encode(values, valid, tuple(f"B{n}" for n in range(1, len(values) + 1)), UTM, WHERE)
    return EncodedFile(data, "tif", geotiff.validate(data, Expectation()))


@pytest.mark.parametrize(
    ("dtype", "low", "high", "nodata"),
    [
        ("uint16", 1, 60_000, 0),
        ("uint16", 0, 60_000, 65_535),
        ("uint8", 0, 255, 65_535),
        ("uint8", 1, 255, 0),
        ("int8", -128, 127, 32_767),
        ("int16", 0, 32_767, 32_766),
        ("int64", 0, 2**62, 10**15 - 1),
        ("float32", -1, 1, np.nan),
    ],
)
def test_masked_pixels_have_a_value_that_no_valid_pixel_has(dtype: str, low: int, high: int, nodata: float) -> None:
    rng = np.random.default_rng(1)
    values = np.resize(np.linspace(low, high, 500).astype(dtype), (2, 2, 40, 50))
    valid = rng.random((2, *values.shape[2:])) < 0.9
    valid[:, ::10] = True  # the least and the greatest value among them
    times = ["2020-01-01", "2020-02-01"]
    found = geotiff.stack([frame(*each) for each in zip(values, valid, strict=True)], times)
    with MemoryFile(found.data) as memory, memory.open() as file:
        assert file.nodata == nodata or (np.isnan(file.nodata) and np.isnan(nodata))
        masks = file.read_masks().reshape(len(values), 2, *values.shape[2:]) > 0
        assert file.descriptions[:4] == ("B1 2020-01-01", "B2 2020-01-01", "B1 2020-02-01", "B2 2020-02-01")
        assert np.dtype(file.dtypes[0]).itemsize == max(2, np.dtype(dtype).itemsize)
    np.testing.assert_array_equal(masks, np.broadcast_to(valid[:, None], values.shape))
    assert found.frame_fractions == pytest.approx([each.mean() for each in valid])
    for expected, mask, pixels in zip(values, valid, decode_frames(found.data, "tif", len(values)), strict=True):
        np.testing.assert_array_equal(pixels.valid, mask)
        np.testing.assert_array_equal(pixels.values, np.where(mask, expected, 0))
    np.testing.assert_array_equal(decode(found.data, "tif").valid, valid.any(axis=0))


def test_a_stack_without_masked_pixels_has_no_nodata_value() -> None:
    values = np.arange(2 * 3 * 4 * 5, dtype="uint16").reshape(2, 3, 4, 5)
    found = geotiff.stack([frame(each, np.ones((4, 5), bool)) for each in values], ["2020-01-01", "2020-02-01"])
    with MemoryFile(found.data) as memory, memory.open() as file:
        assert file.nodata is None
        np.testing.assert_array_equal(file.read(), values.reshape(6, 4, 5))
        assert (file.crs, file.transform) == (UTM, WHERE)


def test_valid_pixels_with_all_values_of_their_type_are_refused() -> None:
    values = np.arange(1 << 16, dtype="uint16").reshape(1, 256, 256)
    masked = frame(values, np.zeros((256, 256), bool))
    with pytest.raises(ValidationError, match="all values of uint16"):
        geotiff.stack([frame(values, np.ones((256, 256), bool)), masked], ["2020-01-01", "2020-02-01"])


def test_frames_of_different_size_are_refused() -> None:
    frames = [frame(np.ones((1, size, 4), "uint16"), np.ones((size, 4), bool)) for size in (4, 5)]
    with pytest.raises(ValidationError, match="differ in size or bands"):
        geotiff.stack(frames, ["2020-01-01", "2020-02-01"])
