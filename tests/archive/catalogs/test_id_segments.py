"""Segments of the index of ids: what is found, against a dictionary; damage is noticed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.catalogs.partitions import id_segments
from eechips.archive.catalogs.partitions.id_segments import (
    KEY,
    DamagedSegmentError,
    IndexedPartition,
    KeyRows,
    Segment,
    found_in,
    keys_of,
    write_segment,
)

MOST = (1 << 128) - 1
KEYS = st.one_of(st.sampled_from([0, 1, 256, 1 << 64, 1 << 127, MOST - 1, MOST]), st.integers(0, MOST))


def rows_of(keys: Sequence[int], code: int) -> KeyRows:
    return KeyRows(np.array([key.to_bytes(16, "big") for key in keys], KEY), np.full(len(keys), code, np.uint32))


def write(folder: Path, *parts: Sequence[int]) -> Path:
    """Write keys of several partitions, each in batches of three; return the path of the segment."""
    partitions = [IndexedPartition(f"{code}", 1, "ab", len(keys)) for code, keys in enumerate(parts)]

    def batches() -> Iterator[KeyRows]:
        for code, keys in enumerate(parts):
            yield from (rows_of(keys[start : start + 3], code) for start in range(0, len(keys), 3))

    return (folder / "new").rename(folder / f"{write_segment(folder / 'new', partitions, batches())}.ids")


def opened(path: Path, data: bytes | None = None) -> Segment:
    content = path.read_bytes() if data is None else data
    return Segment(path.name, len(content), lambda start, end: content[start:end])


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_segments, "_GROUP_ROWS", 4)
    monkeypatch.setattr(id_segments, "_AT_ONCE", 10)
    monkeypatch.setattr(id_segments, "_READ_ROWS", 12)


@pytest.mark.usefixtures("small_groups")
@given(st.lists(st.lists(KEYS, max_size=40), min_size=1, max_size=3), st.lists(KEYS, max_size=10))
def test_keys_are_found_with_their_partitions(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], others: list[int]
) -> None:
    segment = opened(write(tmp_path_factory.mktemp("index"), *parts))
    wanted = sorted({*others, *(key for keys in parts for key in keys[::2])})
    pairs = segment.find(rows_of(wanted, 0).keys)
    found = [pair for row, code in pairs for pair in zip(row.tolist(), code.tolist(), strict=True)]
    expected = [(wanted.index(key), code) for code, keys in enumerate(parts) for key in keys if key in wanted]
    assert sorted(found) == sorted(expected)
    assert len(segment) == sum(map(len, parts))


@pytest.mark.usefixtures("small_groups")
def test_the_file_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    keys = [number * 7919 << 108 & MOST for number in range(60)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = write(tmp_path / "a", keys), write(tmp_path / "b", keys[::-1])
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("small_groups")
def test_every_changed_byte_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    """Statistics in the header of a page, for example, are not read."""
    path = write(tmp_path, [number << 122 for number in range(20)])
    data = path.read_bytes()
    content = [(keys.tobytes(), codes.tobytes()) for keys, codes in opened(path).rows()]
    noticed = 0
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        try:
            assert [(keys.tobytes(), codes.tobytes()) for keys, codes in opened(path, changed).rows()] == content
        except DamagedSegmentError:
            noticed += 1
    assert noticed >= 0.8 * len(data)


@pytest.mark.usefixtures("small_groups")
def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, [number << 122 for number in range(20)])
    data = path.read_bytes()
    for size in range(len(data)):
        with pytest.raises(DamagedSegmentError):
            opened(path, data[:size])


@pytest.mark.usefixtures("small_groups")
def test_a_search_reads_the_row_groups_that_can_have_its_keys(tmp_path: Path) -> None:
    keys = [number << 118 for number in range(1024)]
    path = write(tmp_path, keys)
    data, read = path.read_bytes(), []

    def part(start: int, end: int) -> bytes:
        read.append(end - start)
        return data[start:end]

    segment = Segment(path.name, len(data), part)
    read.clear()
    (found,) = segment.find(rows_of([keys[3], keys[1000]], 0).keys)
    assert found[0].tolist() == [0, 1]
    assert len(read) in (2, 4)  # pyarrow before 24 reads the header of a page by itself
    assert sum(read) < len(data) / 100


@given(st.lists(st.text(max_size=6), max_size=30), st.text(max_size=3), st.text(max_size=3))
def test_keys_are_those_of_owner_and_id(ids: list[str], one: str, other: str) -> None:
    column = pa.chunked_array([pa.array(ids[:5], pa.string()), pa.array(ids[5:], pa.string())])
    keys = keys_of(column, one)
    assert (keys.dtype, keys.shape) == (KEY, (len(ids),))
    assert keys.tolist() == keys_of(pa.array(ids, pa.string()), one).tolist()
    assert len(np.unique(keys)) == len(set(ids))
    assert len(np.unique(np.concatenate([keys, keys_of(column, other)]))) == len(set(ids)) * (1 if one == other else 2)


def test_keys_are_stable_across_versions() -> None:
    """Shards of a job that was killed have them."""
    assert keys_of(pa.array(["a"]), "collection=x").tobytes().hex() == "4669609b972318caac4f175004bdd937"


@given(st.sets(st.binary(min_size=16, max_size=16), max_size=20), st.lists(st.binary(min_size=16, max_size=16)))
def test_positions_of_keys_are_found(wanted: set[bytes], others: list[bytes]) -> None:
    ordered = np.sort(np.array(sorted(wanted), KEY))
    keys = np.array([*others, *sorted(wanted)[::2], *sorted(wanted)[:1]], KEY)
    here, there = found_in(ordered, keys)
    assert (keys[here] == ordered[there]).all()
    assert sorted(here.tolist()) == [number for number, key in enumerate(keys) if key in ordered]
