"""``Image.visualize``: stretches, palettes and opacity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageColor

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.colors import NAMED, parse_color
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import asset, constant, evaluate, pixel, read, stored

RAMP = np.arange(48 * 64).reshape(48, 64).astype(np.uint16)


def shown(*values: Any, **options: Any) -> list[Any]:
    return pixel(invoke("Image.visualize", image=constant(*values), **options))


def names(image: Ready) -> list[str]:
    return [b.name for b in evaluate(image).bands]


def test_grey_and_colour() -> None:
    assert names(invoke("Image.visualize", image=constant(1), max=2)) == ["vis-gray"]
    assert names(invoke("Image.visualize", image=constant(1), max=2, forceRgbOutput=True)) == [
        "vis-red",
        "vis-green",
        "vis-blue",
    ]
    assert names(invoke("Image.visualize", image=constant(1, 2, 3, 4), max=2)) == ["vis-red", "vis-green", "vis-blue"]
    kinds = {b.type for b in evaluate(invoke("Image.visualize", image=constant(1, 2, 3), max=2)).bands}
    assert kinds == {PixelType("int", 0, 255)}


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        (0, {"min": 0, "max": 10}, 0),
        (10, {"min": 0, "max": 10}, 255),
        (-5, {"min": 0, "max": 10}, 0),
        (50, {"min": 0, "max": 10}, 255),
        (2, {"min": 0, "max": 10}, 51),
        # As Google's records show what is somewhere (DLR/WSF/WSF2015/v1: 255 to 255).
        (255, {"min": 255, "max": 255}, 255),
        (254, {"min": 255, "max": 255}, 0),
        (8, {"min": 10, "max": 0}, 51),
        (2.5, {"min": 0, "max": 10, "gamma": 2}, 128),
        (10, {"gain": 10, "bias": 5}, 105),
        (10, {"gain": [10]}, 100),
        (0.5, {}, 128),
    ],
)
def test_stretches(value: float, options: dict[str, Any], expected: int) -> None:
    assert shown(value, **options) == [expected]


def test_each_band_has_its_own_stretch() -> None:
    assert shown(1, 20, 300, min=[0, 10, 100], max=[2, 30, 500]) == [128, 128, 128]
    assert shown(1, 20, 300, bands=["constant_2"], min=100, max=300) == [255]
    assert shown(1, 20, 300, bands="constant_1,constant_0,constant_2", max=[40, 2, 600]) == [128, 128, 128]


def test_integers_are_stretched_over_all_their_values() -> None:
    image = evaluate(invoke("Image.visualize", image=stored()), asset(RAMP))
    (pixels,) = read(image)
    assert np.array_equal(pixels.values, np.floor(RAMP / 65535 * 255 + 0.5))


def test_bytes_are_looked_up() -> None:
    values = RAMP.astype(np.uint8)
    image = evaluate(invoke("Image.visualize", image=stored(), min=20, max=200, gamma=1.4), asset(values))
    expected = np.floor(np.clip((values - 20.0) / 180, 0, 1) ** (1 / 1.4) * 255 + 0.5)
    assert np.array_equal(read(image)[0].values, expected)


class TestPalettes:
    def test_colours_are_interpolated(self) -> None:
        options = {"min": 0, "max": 2, "palette": ["000000", "FF0000", "white"]}
        assert shown(0, **options) == [0, 0, 0]
        assert shown(0.5, **options) == [128, 0, 0]
        assert shown(1, **options) == [255, 0, 0]
        assert shown(1.5, **options) == [255, 128, 128]
        assert shown(9, **options) == [255, 255, 255]

    def test_a_string_with_commas(self) -> None:
        assert shown(1, min=0, max=1, palette="blue, #0f0") == [0, 255, 0]

    def test_one_colour(self) -> None:
        assert shown(0.3, palette=["tomato"]) == [255, 99, 71]

    def test_a_comparison_has_the_first_or_the_last_colour(self) -> None:
        """As examples of Google's catalogue draw sea and land behind their data, without a stretch."""
        for height, colour in ((-10, [95, 158, 160]), (10, [211, 211, 211])):
            land = invoke("Image.gt", image1=constant(height), image2=constant(0))
            assert pixel(invoke("Image.visualize", image=land, palette=["cadetblue", "lightgray"])) == colour

    def test_one_band_only(self) -> None:
        with pytest.raises(InvalidError, match="Cannot provide a palette when visualizing more than one band"):
            shown(1, 2, 3, palette=["red"])

    def test_unknown_colours(self) -> None:
        with pytest.raises(InvalidError, match="Invalid color"):
            shown(1, palette=["reddish"])

    def test_names_are_those_of_css(self) -> None:
        assert {name: parse_color(name.upper()) for name in NAMED} == {name: ImageColor.getrgb(name) for name in NAMED}


@given(st.floats(-1e6, 1e6), st.floats(-1e3, 1e3), st.floats(0.01, 1e3))
def test_levels_grow_with_values(value: float, low: float, width: float) -> None:
    first, second = shown(value, min=low, max=low + width)[0], shown(value + width / 7, min=low, max=low + width)[0]
    assert 0 <= first <= second <= 255


def test_opacity_scales_the_mask() -> None:
    image = evaluate(invoke("Image.visualize", image=constant(1), max=1, opacity=0.25))
    assert read(image)[0].mask[0, 0] == 0.25


def test_not_a_number_under_the_mask_does_no_harm() -> None:
    values = np.where(RAMP % 2, np.nan, 0.5)
    image = evaluate(invoke("Image.visualize", image=stored()), asset(values, valid=RAMP % 2 == 0))
    (pixels,) = read(image)
    assert set(np.unique(pixels.values[pixels.valid])) == {128}


@pytest.mark.parametrize(
    "options",
    [{"gamma": 0}, {"min": "x"}, {"min": [1, 2]}, {"gain": 1, "min": 0}, {"palette": []},
     {"bands": ["constant", "constant"]}, {"bands": ["nope"]}],
)  # fmt: skip
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        shown(5, **options)
