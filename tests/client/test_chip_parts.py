"""Splitting of chips into parts, and learned sizes."""

from __future__ import annotations

import threading
from typing import Any

import ee
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.chip_parts import (
    MIN_SIDE,
    PIXEL_LIMITS,
    PixelLimits,
    RequestSizes,
    check_bands,
    check_memory,
    fits,
    part_request,
    size_class,
    split_window,
)
from eechips.client.error_classification import classify_response
from eechips.errors import TooLargeError
from eechips.geo.grid import Grid, Window
from eechips.recipe import Chip

GRID = Grid("EPSG:32613", (10.0, 0.0, 5e5, 0.0, -10.0, 4.4e6), 256, 256)
URL, PIXELS = PIXEL_LIMITS["url"], PIXEL_LIMITS["pixels"]


def chip(**options: Any) -> Chip:
    # No client is initialised, and nothing here looks at the image.
    image: ee.Image = object()
    return Chip(image, **{"grid": GRID, "format": "tif", **options})


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 10**6))
def test_parts_tile_the_window_and_fit_the_limit(width: int, height: int, most: int) -> None:
    whole = Window(0, 0, width, height)
    parts = list(split_window(whole, lambda window: window.pixels <= max(most, width * height // 200)))
    assert sum(part.pixels for part in parts) == whole.pixels
    covered = np.zeros((height, width), dtype="uint8")
    for part in parts:
        covered[part.slices] += 1
        is_least = len(part.split(MIN_SIDE)) == 1
        assert part.pixels <= max(most, width * height // 200) or is_least
        assert part.width >= min(MIN_SIDE, width)
        assert part.height >= min(MIN_SIDE, height)
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("options", "limits", "fitting", "too_large"),
    [
        # 33,554,432 bytes by URL, 50,331,648 by computePixels; values and the mask band with a byte of mask each.
        ({"bands": ("a",), "dtype": "uint8"}, URL, (4096, 2048), (4096, 2049)),
        ({"bands": ("a",), "dtype": "uint8"}, PIXELS, (4096, 3072), (4096, 3073)),
        ({"bands": ("a", "b", "c"), "dtype": "float32"}, URL, (2048, 819), (2048, 820)),
        ({"bands": ("a",), "dtype": "float64", "format": "npy"}, PIXELS, (4096, 1117), (4096, 1118)),
        ({"format": "png", "visualization": {"min": 0}}, URL, (2048, 2730), (2048, 2731)),
        ({"format": "jpg", "bands": ("a",)}, PIXELS, (8192, 3072), (8192, 3073)),
        # Bands and type that the chip does not name count as one band, of one byte.
        ({}, URL, (4096, 2048), (4096, 2049)),
        # Pixels on a side.
        ({}, URL, (10_000, 16), (10_001, 16)),
        ({}, PIXELS, (16, 32_768), (16, 32_769)),
    ],
)
def test_chips_fit_the_documented_limits(
    options: dict[str, Any], limits: PixelLimits, fitting: tuple[int, int], too_large: tuple[int, int]
) -> None:
    assert fits(chip(**options), Window(0, 0, *fitting), limits, None)
    assert not fits(chip(**options), Window(0, 0, *too_large), limits, None)


def test_chips_above_a_learned_limit_do_not_fit() -> None:
    assert fits(chip(), Window(0, 0, 100, 100), URL, 10_000)
    assert not fits(chip(), Window(0, 0, 100, 101), URL, 10_000)


def test_too_many_bands_are_refused_at_once() -> None:
    names = tuple(f"b{i}" for i in range(1024))
    check_bands(chip(bands=names[:1023]), PIXELS)
    check_bands(chip(bands=names), URL)
    with pytest.raises(TooLargeError, match=r"1025 bands.*takes 1024"):
        check_bands(chip(bands=names), PIXELS)


def test_more_than_a_worker_should_hold_is_refused() -> None:
    check_memory(chip(bands=("a",), dtype="uint8"), Window(0, 0, 32_768, 16_384))
    with pytest.raises(TooLargeError, match=r"32,768x16,385 pixels are at least 2.1 GB"):
        check_memory(chip(bands=("a",), dtype="uint8"), Window(0, 0, 32_768, 16_385))


def test_a_part_is_a_chip_on_its_own_grid() -> None:
    whole = chip(grid=None, region=object(), dimensions=(256, 256), format="jpg", bands=("a",), name="x/y")
    part = part_request(whole, GRID, Window(128, 64, 128, 192))
    assert part.grid == GRID.window(128, 64, 128, 192)
    assert (part.format, part.bands, part.name, part.region, part.dimensions) == ("png", ("a",), "x/y", None, None)
    assert part_request(chip(), GRID, Window(0, 0, 256, 256)).grid == GRID
    assert part_request(chip(), GRID, Window(0, 0, 256, 256)).format == "tif"


def test_chips_are_alike_by_format_bands_and_type() -> None:
    grid = GRID.window(9, 9, 10, 10)
    assert size_class(chip(bands=("a",))) == size_class(chip(bands=("a",), grid=grid))
    kinds = [{}, {"bands": ("a",)}, {"dtype": "uint8"}, {"format": "npy"}, {"format": "png"}]
    assert len({size_class(chip(**kind)) for kind in kinds}) == len(kinds)


def test_no_limit_is_learned_before_a_chip_is_too_large() -> None:
    sizes = RequestSizes()
    sizes.note("x", 1, 1000)
    assert sizes.most("x") is None
    sizes.note("x", 100, was_rejected=True)
    assert sizes.most("x") == 100
    assert sizes.most("y") is None


def test_larger_sizes_are_tried_ever_more_rarely() -> None:
    sizes, limit, rejections = RequestSizes(), 100, 0
    sizes.note("x", limit, was_rejected=True)
    for _ in range(10_000):
        most = sizes.most("x")
        assert most in (limit, 2 * limit)
        if most > limit:
            rejections += 1
            sizes.note("x", limit, was_rejected=True)
        else:
            sizes.note("x", 1)
    assert 5 <= rejections <= 12
    assert sizes.most("x") == limit


def test_concurrent_failures_lower_the_limit_once() -> None:
    sizes = RequestSizes()
    for _ in range(40):
        sizes.note("x", 100, was_rejected=True)
    sizes.note("x", 1, 16)
    assert sizes.most("x") == 200
    for _ in range(40):
        sizes.note("x", 100, was_rejected=True)
    sizes.note("x", 1, 31)
    assert sizes.most("x") == 100
    sizes.note("x", 1)
    assert sizes.most("x") == 200


def test_sizes_grow_back_when_they_may() -> None:
    sizes = RequestSizes()
    sizes.note("x", 100, was_rejected=True)
    for _ in range(200):
        sizes.note("x", 1)
    assert sizes.most("x") >= 100 * 2**8


def test_threads_share_sizes() -> None:
    sizes = RequestSizes()
    sizes.note("x", 1, was_rejected=True)

    def work() -> None:
        for _ in range(1600):
            sizes.note("x", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes.most("x") == 2**400


@pytest.mark.parametrize(
    ("message", "divisible"),
    [
        ("Total request size (56623104 bytes) must be less than or equal to 50331648 bytes.", True),
        ("Pixel grid dimensions (12000x12000) must be less than or equal to 10000.", True),
        ("User memory limit exceeded.", True),
        ("Computation timed out.", True),
        ("Reprojection output too large (36571x21973 pixels).", True),
        ("Object too large (129662248 bytes).", True),
        ("Response size exceeds limit of 268435456 bytes.", True),
        ("Computed value is too large.", True),
        ("Collection query aborted after accumulating over 5000 elements.", True),
        ("Request payload size exceeds the limit: 10485760 bytes.", False),
        ("Image.reduceRegion: Too many pixels in the region. Found 105000000, but maxPixels allows only 1.", False),
    ],
)
def test_only_errors_of_size_are_split(message: str, divisible: bool) -> None:
    error = classify_response(400, message)
    assert isinstance(error, TooLargeError)
    assert error.is_divisible is divisible


def test_a_grid_without_pixels_is_not_too_large() -> None:
    found = classify_response(400, "Pixel grid dimensions (0x0) must be greater than zero.")
    assert not isinstance(found, TooLargeError)
