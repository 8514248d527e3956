"""Calls that are made at once, and answered in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.processes.parallel_map import parallel_map


@given(st.lists(st.integers(), max_size=40), st.integers(1, 5))
def test_results_come_in_the_order_of_the_items(items: list[int], threads: int) -> None:
    assert list(parallel_map(lambda item: item * 2, items, threads)) == [item * 2 for item in items]


def test_calls_are_made_at_once() -> None:
    meeting = threading.Barrier(3, timeout=60)  # breaks unless three are there at a time
    assert list(parallel_map(lambda item: meeting.wait() >= 0, range(6), 3)) == [True] * 6


def test_only_a_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    results = parallel_map(str, endless(), 2)
    assert list(islice(results, 3)) == ["0", "1", "2"]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 3 + 2 * 2 + 1


def test_the_first_error_stops_the_map() -> None:
    begun: list[int] = []

    def call(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ValueError("two")
        return item

    with pytest.raises(ValueError, match="two"):
        list(parallel_map(call, range(1000), 2))
    assert len(begun) < 20
