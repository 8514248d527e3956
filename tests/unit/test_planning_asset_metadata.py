"""The types of bands, from what the server says of them."""

from __future__ import annotations

from typing import Any

import pytest

from eechips.planning.asset_metadata import _dtype


@pytest.mark.parametrize(
    ("described", "dtype"),
    [
        ({"precision": "int", "min": 0, "max": 255}, "uint8"),
        ({"precision": "int", "min": -128, "max": 127}, "int8"),
        ({"precision": "int", "min": 0, "max": 65535}, "uint16"),
        ({"precision": "int", "min": -32768, "max": 32767}, "int16"),
        ({"precision": "int", "min": -1, "max": 65535}, "int32"),
        ({"precision": "int", "min": 0, "max": 4294967295}, "uint32"),
        ({"precision": "int", "min": -2147483648, "max": 2147483647}, "int32"),
        ({"precision": "int", "min": -1, "max": 4294967295}, "float64"),
        ({"precision": "int", "min": -9e18, "max": 9e18}, "float64"),
        ({"precision": "float"}, "float32"),
        ({"precision": "double"}, "float64"),
    ],
)
def test_the_smallest_type_that_holds_a_band(described: dict[str, Any], dtype: str) -> None:
    assert _dtype(described) == dtype
