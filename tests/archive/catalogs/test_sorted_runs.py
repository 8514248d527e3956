"""Merging of sorted streams."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.catalogs.ingestion.sorted_runs import in_order, keys, merged
from eechips.archive.catalogs.partitions.columns import table_of
from tests.support.catalog_items import DAYS, item

PLACES = [(0.0, 0.0), (0.0, 0.001), (10.0, 10.0), (-170.0, 60.0), (179.99, -20.0)]


def table(picks: list[tuple[int, int]], first: int) -> pa.Table:
    items = [
        item(f"{first + number:04}", (x, y, x, y), when=DAYS[day])
        for number, (place, day) in enumerate(picks)
        for x, y in [PLACES[place]]
    ]
    return in_order(table_of(items))


def pieces(whole: pa.Table, size: int) -> Iterator[pa.Table]:
    yield whole.slice(0, 0)
    for start in range(0, len(whole), size):
        yield whole.slice(start, size)


streams = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, len(PLACES) - 1), st.integers(0, len(DAYS) - 1)), min_size=1, max_size=12),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=4,
)


@given(streams)
def test_merged_streams_are_sorted_and_complete(given: list[tuple[list[tuple[int, int]], int]]) -> None:
    tables = [table(picks, 100 * number) for number, (picks, _) in enumerate(given)]
    steps = list(merged([pieces(whole, size) for whole, (_, size) in zip(tables, given, strict=True)]))
    for number, whole in enumerate(tables):
        own = pa.concat_tables([step[number] for step in steps if step[number] is not None])
        assert own["id"].to_pylist() == whole["id"].to_pylist()
    bounds = [np.concatenate([keys(part) for part in step if part is not None]) for step in steps]
    for before, after in pairwise(bounds):
        assert before.max() < after.min()  # all of one key come in one step


@pytest.mark.slow
def test_rows_of_neighbouring_places_lie_near_each_other() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform((-109, 37), (-102, 41), (4000, 2))
    rows = in_order(table_of([item(str(i), (x, y, x, y)) for i, (x, y) in enumerate(places.tolist())]))
    xmin = pa.compute.struct_field(rows["bbox"], "xmin").to_numpy().reshape(-1, 250)
    ymin = pa.compute.struct_field(rows["bbox"], "ymin").to_numpy().reshape(-1, 250)
    assert np.mean(np.ptp(xmin, axis=1) * np.ptp(ymin, axis=1)) < 0.25 * 7 * 4  # of what they cover in any order
