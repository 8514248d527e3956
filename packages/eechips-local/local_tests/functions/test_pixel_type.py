"""Pixel types, against numpy's limits."""

from __future__ import annotations

import numpy as np
import pytest

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.pixels.types import type_text, without_range
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import call, invoke


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
def test_integers(name):
    kind = invoke(f"PixelType.{name}")
    limits = np.iinfo(name)
    assert call("PixelType.precision", pixelType=kind) == "int"
    assert call("PixelType.minValue", pixelType=kind) == limits.min
    assert call("PixelType.maxValue", pixelType=kind) == limits.max
    assert call("PixelType.dimensions", pixelType=kind) == 0


@pytest.mark.parametrize("name", ["float", "double"])
def test_floats(name):
    assert call(f"PixelType.{name}") == PixelType(name)
    assert call("PixelType.maxValue", pixelType=name) is None


def test_constructor():
    assert call("PixelType", precision="int", minValue=0, maxValue=3) == PixelType("int", 0, 3)
    assert call("PixelType", precision="double", minValue=-1.5, dimensions=2) == PixelType("double", -1.5, None, 2)
    for arguments in ({"precision": "int", "minValue": 3, "maxValue": 0}, {"precision": "half"}):
        with pytest.raises(InvalidError):
            call("PixelType", **arguments)


def test_arrays_of_a_type():
    found = call("Array", values=[300, -1, 2.5], pixelType=invoke("PixelType.uint8"))
    assert found.values.dtype == np.uint8
    assert found.values.tolist() == [255, 0, 3]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (PixelType("int", 0, 255), "Short<0, 255>"),
        (PixelType("int", 0, 2**70), "Long<0, 1180591620717411303424>"),
        (PixelType("int", 1, 3, 1), "Byte<1, 3, dimensions=1>"),
        (PixelType("double", dimensions=2), "Double<dimensions=2>"),
    ],
)
def test_messages_name_any_type(kind: PixelType, text: str) -> None:
    """Of arrays as openforis/sepal's ``assetCollectionSchema.mjs`` has it; ranges wider than a long have one, too."""
    assert type_text(kind) == text


@pytest.mark.parametrize("precision", ["int", "float", "double"])
def test_integers_without_a_range_are_those_of_64_bits(precision: str) -> None:
    kind = PixelType("int", np.iinfo(np.int64).min, np.iinfo(np.int64).max, 1)
    expected = kind if precision == "int" else PixelType(precision, dimensions=1)
    assert without_range(PixelType(precision, 0, 255, 1)) == expected
