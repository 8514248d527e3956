"""Files and headers of others are read within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.text.formatting import parse_count


@pytest.mark.parametrize("text", ["", "²", "٣", "0\x1f", " 1", "1_000", "+1", "-1", "1.0", "9" * 19, "9" * 5000])
def test_text_that_is_no_count_is_ignored(text: str) -> None:
    assert parse_count(text) is None


@given(st.integers(0, 10**18 - 1))
def test_counts_are_read(count: int) -> None:
    assert parse_count(str(count)) == count


@given(st.text(max_size=8))
def test_no_text_raises_an_error(text: str) -> None:
    assert parse_count(text) is None or int(text) == parse_count(text)
