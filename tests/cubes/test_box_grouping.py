"""Boxes that are read one after the other are fetched together, and others are not."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from eechips.cubes.boxes import Box, BoxLimits, Index, divide_box
from eechips.cubes.cube_reader import extend_box

NO_LIMITS = BoxLimits(48 << 20)
LENGTHS = st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))


def sweep(
    whole: Box, chunk: Index, limits: BoxLimits = NO_LIMITS, most: int = 1 << 30, *, is_reversed: bool = False
) -> list[Box]:
    """The boxes that are fetched while chunks are read in their order, or from the last to the first."""
    fetched: list[Box] = []
    chunks = list(divide_box(whole, chunk))
    for box in reversed(chunks) if is_reversed else chunks:
        if not any(known.contains(box) for known in fetched):
            fetched.append(extend_box(box, whole, fetched, limits, most))
    return fetched


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_requests_of_a_sweep_double(is_reversed: bool) -> None:
    whole = Box((0, 0, 0, 0), (1, 30, 64, 64))
    assert [box.shape[1] for box in sweep(whole, (1, 1, 64, 64), is_reversed=is_reversed)] == [1, 2, 4, 8, 15]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_tiles_are_joined_to_rows_and_images(is_reversed: bool) -> None:
    whole = Box((0, 0, 0, 0), (1, 30, 1024, 1024))
    found = sweep(whole, (1, 1, 256, 256), is_reversed=is_reversed)
    assert len(found) < 20  # of 480 chunks
    assert [box.shape for box in found[-3:]] == [(1, 8, 1024, 1024), (1, 9, 1024, 1024), (1, 5, 1024, 1024)]


def test_a_sweep_stays_within_the_limits_of_a_request() -> None:
    whole = Box((0, 0, 0, 0), (1, 30, 1024, 1024))
    assert [box.shape[1] for box in sweep(whole, (1, 1, 1024, 1024))] == [1, 2, 4, 8, 9, 6]
    assert {box.shape[1] for box in sweep(whole, (1, 1, 1024, 1024), BoxLimits(48 << 20, images=1))} == {1}
    assert max(box.size for box in sweep(whole, (1, 1, 1024, 1024), most=3 << 20)) == 3 << 20


def test_boxes_that_follow_no_other_are_fetched_as_they_are() -> None:
    whole, known = Box((0, 0, 0, 0), (1, 100, 100, 100)), [Box((0, 0, 10, 10), (1, 100, 11, 11))]
    for box in (
        Box((0, 0, 50, 50), (1, 100, 51, 51)),
        Box((0, 0, 11, 11), (1, 100, 12, 12)),
        Box((0, 0, 9, 8), (1, 99, 10, 10)),
    ):
        assert extend_box(box, whole, known, NO_LIMITS, 1 << 30) == box
    assert extend_box(known[0], whole, [], NO_LIMITS, 1 << 30) == known[0]


@hypothesis.given(LENGTHS, LENGTHS, st.booleans())
def test_a_sweep_fetches_each_value_once_and_never_more_ahead_than_before(
    shape: Index, chunk: Index, is_reversed: bool
) -> None:
    whole = Box((0, 0, 0, 0), shape)
    counts = np.zeros(shape, int)
    before = 0
    for box in sweep(whole, chunk, is_reversed=is_reversed):
        counts[box.slices] += 1
        first = tuple(min(a, b) for a, b in zip(chunk, box.shape, strict=True))
        assert box.size - np.prod(first) <= before
        before += box.size
    assert (counts == 1).all()


BOXES = st.tuples(st.tuples(*[st.integers(0, 4)] * 4), st.tuples(*[st.integers(1, 5)] * 4)).map(
    lambda pair: Box(pair[0], tuple(a + b for a, b in zip(*pair, strict=True)))  # type: ignore[arg-type]
)


@hypothesis.given(BOXES, st.lists(BOXES, max_size=5))
def test_a_box_is_extended_whatever_is_known(box: Box, known: list[Box]) -> None:
    whole = Box((0, 0, 0, 0), (9, 9, 9, 9))
    found = extend_box(box, whole, known, NO_LIMITS, 1 << 30)
    assert found.contains(box)
    assert whole.contains(found)
    assert found.size <= box.size + sum(other.size for other in known)
    assert not any(found.overlaps(other) for other in known if not box.overlaps(other))
