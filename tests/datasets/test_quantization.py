"""Embeddings as int8: the formula of their producers."""

from __future__ import annotations

import numpy as np
import pytest

from eechips.datasets import Quantization, find_dataset


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


def test_masked_pixels_are_nodata_and_nodata_is_masked(int8: Quantization) -> None:
    assert int8.dequantize(np.array([64, -128, -128], np.int8)).mask.tolist() == [False, True, True]
    masked = int8.dequantize(np.ma.MaskedArray(np.array([64, 64], np.int8), [True, False]))
    assert masked.mask.tolist() == [True, False]
