"""Embeddings as int8: the formula of their producers, forwards and backwards."""

from __future__ import annotations

import numpy as np
import pytest

from eechips.datasets import Quantization, find_dataset

INT16 = Quantization(dtype="int16", divisor=1000.0, power=1.0, nodata=-32768)


@pytest.fixture
def int8() -> Quantization:
    record = find_dataset("EMBEDDINGS")
    assert record is not None
    assert record.quantization is not None
    return record.quantization


def test_stored_values_become_those_of_the_producers_formula(int8: Quantization) -> None:
    """https://developers.google.com/earth-engine/guides/aef_on_gcs_readme has the expression."""
    values = np.arange(-127, 128, dtype=np.int8)
    expected = ((values / 127.5) ** 2) * np.sign(values)
    found = int8.dequantize(values, np.float64)
    assert found.dtype == np.float64
    assert np.array_equal(found.filled(), expected)
    assert np.array_equal(int8.dequantize(values).filled(), expected.astype(np.float32))


def test_all_stored_values_return_to_themselves(int8: Quantization) -> None:
    values = np.arange(-127, 128).reshape(5, 51)
    for dtype in (np.float32, np.float64):
        found = int8.quantize(int8.dequantize(values, dtype))
        assert found.dtype == np.int8
        assert np.array_equal(found, values)


def test_values_are_rounded_and_kept_within_the_limits(int8: Quantization) -> None:
    between = [(3.4 / 127.5) ** 2, -((3.6 / 127.5) ** 2)]
    assert int8.quantize([*between, 1.0, -1.0, 7.0]).tolist() == [3, -4, 127, -127, 127]
    assert INT16.quantize([0.0126, -0.0124, -99.0]).tolist() == [13, -12, -32767]


def test_masked_pixels_are_nodata_and_nodata_is_masked(int8: Quantization) -> None:
    values = np.ma.masked_equal([0.25, 9.0, np.nan], 9.0)
    stored = int8.quantize(values)
    assert stored.tolist() == [64, -128, -128]
    assert int8.dequantize(stored).mask.tolist() == [False, True, True]
    masked = int8.dequantize(np.ma.MaskedArray(np.array([64, 64], np.int8), [True, False]))
    assert masked.mask.tolist() == [True, False]
