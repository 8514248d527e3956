"""Boxes tile what they divide, and each fits a request."""

from __future__ import annotations

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from eechips.cubes.boxes import Box, BoxLimits, Index, divide_box, request_shape, spread_shape

LIMIT = 48 << 20
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 60), st.integers(1, 40), st.integers(1, 50))
STARTS = st.tuples(*[st.integers(0, 5)] * 4)


@hypothesis.given(SHAPES, STARTS, st.integers(7, 20_000), st.tuples(*[st.none() | st.integers(1, 30)] * 3))
def test_parts_tile_a_box_and_fit_the_limits(
    shape: Index, start: Index, most: int, own: tuple[int | None, int | None, int | None]
) -> None:
    limits = BoxLimits(most, *own)
    box = Box(start, tuple(a + b for a, b in zip(start, shape, strict=True)))  # type: ignore[arg-type]
    counts = np.zeros(box.stop, int)
    for part in divide_box(box, request_shape(shape, limits)):
        assert limits.accepts(part.shape)
        assert box.contains(part)
        counts[part.slices] += 1
    assert (counts[box.slices] == 1).all()
    assert counts.sum() == box.size


@pytest.mark.parametrize(
    ("shape", "requests"),
    [
        ((1, 30, 1024, 1024), 4),  # 157 MB, of which 50 fit a request
        ((1, 1, 1024, 1024), 1),
        ((1, 1000, 1, 1), 1),  # the series of a pixel
        ((1, 1001, 1, 1), 21),  # 1,000 bands are the most, and then 48 images
        ((1, 9, 1024, 1024), 1),
        ((2, 1, 32768, 1), 1),
    ],
)
def test_requests_are_as_few_as_the_limits_allow(shape: Index, requests: int) -> None:
    part = request_shape(shape, BoxLimits(LIMIT))
    assert math.prod(math.ceil(a / b) for a, b in zip(shape, part, strict=True)) == requests


@pytest.mark.parametrize(
    ("shape", "slots", "requests"),
    [
        ((1, 30, 512, 512), 40, 8),  # 39 MB: ranges of four images
        ((1, 30, 512, 512), 3, 3),
        ((1, 9, 1024, 1024), 40, 9),
        ((1, 1, 3000, 3000), 40, 10),  # 45 MB
        ((1, 1, 1024, 1024), 40, 1),  # less than twice 4 MB
        ((1, 1000, 1, 1), 40, 1),
        ((1, 2, 1024, 1024), 1, 1),
    ],
)
def test_a_large_box_is_spread_over_the_quota_in_requests_that_are_not_small(
    shape: Index, slots: int, requests: int
) -> None:
    limits, box = BoxLimits(LIMIT), Box((0, 0, 0, 0), shape)
    parts = list(divide_box(box, spread_shape(shape, slots)))
    assert len(parts) == requests
    assert sum(part.size for part in parts) == box.size
    assert all(limits.accepts(part.shape) for part in parts)


@hypothesis.given(SHAPES, STARTS)
def test_the_name_of_a_box_is_read_back(shape: Index, start: Index) -> None:
    box = Box(start, tuple(a + b for a, b in zip(start, shape, strict=True)))  # type: ignore[arg-type]
    assert Box.parse(box.name) == box


@pytest.mark.parametrize("name", ["", "b0-1", "b0-1_t0-1_y0-1_x0-1.box", "../b0-1_t0-1_y0-1_x0-1"])
def test_other_names_are_no_boxes(name: str) -> None:
    assert Box.parse(name) is None
