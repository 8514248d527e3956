"""Segments of the index of ids: what is found, against a dictionary; damage is noticed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.archive.catalogs import id_segments
from eechips.archive.catalogs.id_segments import DamagedSegmentError, IndexedPartition, KeyRows, Segment, write_segment

HALVES = st.sampled_from([0, 1, 2, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1])
KEYS = st.tuples(st.one_of(HALVES, st.integers(0, (1 << 64) - 1)), HALVES)


def rows_of(keys: Sequence[tuple[int, int]], code: int) -> KeyRows:
    high, low = (np.array([key[half] for key in keys], np.uint64) for half in (0, 1))
    return KeyRows(high, low, np.full(len(keys), code, np.uint32))


def segment_of(path: Path, *parts: Sequence[tuple[int, int]]) -> Segment:
    """Write keys of several partitions, each in batches of three, and open the segment."""
    partitions = [IndexedPartition(f"{code}", 1, "ab", len(keys)) for code, keys in enumerate(parts)]

    def batches() -> Iterator[KeyRows]:
        for code, keys in enumerate(parts):
            yield from (rows_of(keys[start : start + 3], code) for start in range(0, len(keys), 3))

    write_segment(path, partitions, batches())
    data = path.read_bytes()
    return Segment(path.name, len(data), lambda start, end: data[start:end])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_segments, "_BLOCK_ROWS", 4)
    monkeypatch.setattr(id_segments, "_AT_ONCE", 10)
    monkeypatch.setattr(id_segments, "_READ", 200)
    monkeypatch.setattr(id_segments, "_GAP", 30)


@pytest.mark.usefixtures("small_blocks")
@given(st.lists(st.lists(KEYS, max_size=40), min_size=1, max_size=3), st.lists(KEYS, max_size=10))
@settings(max_examples=60, deadline=None)
def test_keys_are_found_with_their_partitions(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[tuple[int, int]]], others: list[tuple[int, int]]
) -> None:
    segment = segment_of(tmp_path_factory.mktemp("index") / "s.ids", *parts)
    wanted = sorted({*others, *(key for keys in parts for key in keys[::2])})
    high, low, _ = rows_of(wanted, 0)
    found = [pair for row, code in segment.find(high, low) for pair in zip(row.tolist(), code.tolist(), strict=True)]
    expected = [(wanted.index(key), code) for code, keys in enumerate(parts) for key in keys if key in wanted]
    assert sorted(found) == sorted(expected)
    assert len(segment) == sum(map(len, parts))


@pytest.mark.usefixtures("small_blocks")
def test_the_file_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    keys = [(number * 7919 << 44 & (1 << 64) - 1, number) for number in range(60)]
    segment_of(tmp_path / "a", keys)
    segment_of(tmp_path / "b", keys[::-1])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.usefixtures("small_blocks")
def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    keys = [(number << 58, number) for number in range(20)]
    segment_of(tmp_path / "s", keys)
    data = (tmp_path / "s").read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(DamagedSegmentError):
            list(Segment("s", len(data), lambda start, end, changed=changed: bytes(changed[start:end])).rows())


@pytest.mark.usefixtures("small_blocks")
def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    segment_of(tmp_path / "s", [(number << 58, number) for number in range(20)])
    data = (tmp_path / "s").read_bytes()
    for size in range(len(data)):
        with pytest.raises(DamagedSegmentError):
            Segment("s", size, lambda start, end, size=size: data[:size][start:end])


@pytest.mark.usefixtures("small_blocks")
def test_a_search_reads_the_blocks_that_can_have_its_keys(tmp_path: Path) -> None:
    keys = [(number << 54, number) for number in range(1024)]
    segment_of(tmp_path / "s", keys)
    data, read = (tmp_path / "s").read_bytes(), []

    def part(start: int, end: int) -> bytes:
        read.append(end - start)
        return data[start:end]

    segment = Segment("s", len(data), part)
    read.clear()
    high, low, _ = rows_of([keys[3], keys[1000]], 0)
    assert [row.tolist() for row, _ in segment.find(high, low)] == [[0], [1]]
    assert len(read) == 2
    assert sum(read) <= 2 * 4 * id_segments.ROW
