"""Write and read segments of the index of ids: sorted keys of items, each with the number of its partition.

A segment is an immutable Parquet file. Its footer has the covered partitions as JSON, and the first and last key of
each row group. The file is named by the digest of the footer, and every page has a checksum, so damage is noticed in
what is read. A key has 16 bytes instead of an id, so that many millions fit into memory.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eechips.processes.parallel_map import parallel_map
from eechips.storage.range_file import RangeFile, ReadRange
from eechips.storage.untrusted_files import parse_json

KEY = np.dtype("S16")
"""Dtype of keys: bytes that are compared as a whole."""

_DIGITS = 16  # of the key of a hash


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """Keys and update times of rows.

    Attributes:
        keys: see :func:`keys_of`; shape (n,).
        stamps: update times, see :func:`~eechips.archive.catalogs.partitions.columns.stamps_of`; shape (n,).
    """

    keys: npt.NDArray[np.bytes_]
    stamps: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)


def keys_of(ids: pa.ChunkedArray | pa.Array, owner: str) -> npt.NDArray[np.bytes_]:
    """Return the keys of items; shape (n,), dtype ``S16``.

    A key is two SipHashes of the id, 64 bits each (https://131002.net/siphash/), keyed by the owner: two of a billion
    items collide in one of 7e20 catalogues.

    Args:
        owner: folder of the collection, in which an id is unique.
    """
    from pandas.util import hash_array

    secret = hashlib.sha256(owner.encode()).hexdigest()
    texts = ids.to_numpy(zero_copy_only=False) if isinstance(ids, pa.Array) else ids.to_numpy()
    hashes = np.empty((len(texts), 2), np.uint64)
    for half in range(2):
        key = secret[half * _DIGITS : (half + 1) * _DIGITS]
        hashes[:, half] = hash_array(texts.astype(object), hash_key=key, categorize=False)
    return hashes.view(KEY).ravel()


def found_in(
    wanted: npt.NDArray[np.bytes_], keys: npt.NDArray[np.bytes_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find keys among others.

    Args:
        wanted: sorted and unique.
        keys: in any order.

    Returns:
        Indices in ``keys`` and in ``wanted`` of the common keys.
    """
    if not len(wanted):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(keys, kind="stable")  # lookups of neighbours in turn are ten times as fast
    places = np.minimum(np.searchsorted(wanted, keys[order]), len(wanted) - 1)
    is_there = wanted[places] == keys[order]
    return order[is_there], places[is_there]


_PARTITIONS = b"eechips:partitions"  # key of the JSON in the footer
_SCHEMA = pa.schema([("key", pa.binary(KEY.itemsize)), ("partition", pa.uint32())])
_RUN = np.dtype([("key", KEY), ("code", "<u4")])  # of rows on the disk while they are sorted
_TAIL = 8  # bytes after the footer: its length, and the format's name
_GROUP_ROWS = 8192  # what a search for one id reads
_AT_ONCE = 1 << 20  # rows sorted at a time
_READ_ROWS = 400_000  # rows read at a time
_THREADS = 4

Keys = npt.NDArray[np.bytes_]
"""Keys, see :func:`~eechips.archive.catalogs.partitions.id_segments.keys_of`."""

Codes = npt.NDArray[np.uint32]


class DamagedSegmentError(Exception):
    """A segment that is incomplete, changed, or not a segment."""


class KeyRows(NamedTuple):
    """Rows of a segment: keys of items, and numbers of their partitions; shape (n,) each."""

    keys: Keys
    codes: Codes


@dataclass(frozen=True, slots=True)
class IndexedPartition:
    """A version of a partition whose ids a segment has.

    Attributes:
        path: below the catalogue.
        bytes: size of the file.
        sha256: SHA-256 digest of the file, hexadecimal.
        items: number of its rows.
    """

    path: str
    bytes: int
    sha256: str
    items: int


def sort_keys(keys: Keys) -> KeyRows:
    """Return keys in their order, with their indices instead of numbers of partitions."""
    order = np.argsort(keys)
    return KeyRows(keys[order], order.astype(np.uint32))


def write_segment(path: Path, partitions: Sequence[IndexedPartition], rows: Iterable[KeyRows]) -> str:
    """Write a segment of partitions, whose rows come in any order; memory does not grow with them.

    Returns:
        Name of the segment, which depends on its content only.

    Raises:
        OSError: if the file cannot be written.
    """
    listed = json.dumps([[p.path, p.bytes, p.sha256, p.items] for p in partitions], ensure_ascii=False)
    with pq.ParquetWriter(
        path, _SCHEMA, compression="none", use_dictionary=False, write_page_checksum=True, store_schema=False
    ) as writer:
        writer.add_key_value_metadata({_PARTITIONS: listed})
        for keys, codes in _sorted_parts(rows, sum(partition.items for partition in partitions), path.parent):
            if not len(keys):
                continue  # an empty row group has no first key
            column = pa.FixedSizeBinaryArray.from_buffers(_SCHEMA.types[0], len(keys), [None, pa.py_buffer(keys)])
            writer.write_table(pa.Table.from_arrays([column, pa.array(codes)], schema=_SCHEMA), _GROUP_ROWS)
    with path.open("rb") as file:
        return _name_of(_read_footer(path.stat().st_size, partial(_read_at, file)))


def _read_at(file: IO[bytes], start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _read_footer(size: int, read_range: ReadRange) -> bytes:
    """Return the footer of a Parquet file with what follows it; what is there if the file is damaged."""
    end = max(0, size - _TAIL)
    return read_range(max(0, end - int.from_bytes(read_range(end, size)[:4], "little")), size)


def _name_of(footer: bytes) -> str:
    return hashlib.sha256(footer).hexdigest()[:32]


def _sorted_parts(rows: Iterable[KeyRows], expected: int, scratch: Path) -> Iterator[KeyRows]:
    """Yield rows in the order of their keys. Many rows are sorted in runs on the disk, which are merged by parts."""
    count = -(-expected // _AT_ONCE)
    if count <= 1:
        yield _ordered(list(rows))
        return
    # Keys are hashes: equal ranges of them have about as many rows.
    starts = np.array([(number * (1 << 128) // count).to_bytes(16, "big") for number in range(1, count)], KEY)
    with tempfile.TemporaryFile(dir=scratch) as file:
        runs = []  # for each: offsets of its parts
        for gathered in _gathered(rows):
            run = _ordered(gathered)
            edges = [0, *np.searchsorted(run.keys, starts).tolist(), len(run.keys)]
            runs.append([file.tell() + edge * _RUN.itemsize for edge in edges])
            packed = np.empty(len(run.keys), _RUN)
            packed["key"], packed["code"] = run
            file.write(packed.tobytes())
        for part in range(count):
            blocks = [np.frombuffer(_read_at(file, edges[part], edges[part + 1]), _RUN) for edges in runs]
            yield _ordered([KeyRows(block["key"], block["code"]) for block in blocks])


def _gathered(rows: Iterable[KeyRows]) -> Iterator[list[KeyRows]]:
    """Yield rows in lists of about as many as are sorted at a time."""
    waiting: list[KeyRows] = []
    count = 0
    for key_rows in rows:
        waiting.append(key_rows)
        count += len(key_rows.keys)
        if count >= _AT_ONCE:
            yield waiting
            waiting, count = [], 0
    if waiting:
        yield waiting


def _ordered(rows: Sequence[KeyRows]) -> KeyRows:
    """Return rows in the order of key and partition."""
    keys = np.concatenate([np.empty(0, KEY), *(part.keys for part in rows)])
    codes = np.concatenate([np.empty(0, np.uint32), *(part.codes for part in rows)])
    order = np.argsort(keys)
    if (keys[order[1:]] == keys[order[:-1]]).any():  # rare: one item in two partitions
        order = np.lexsort((codes, keys))
    return KeyRows(keys[order], codes[order])


class Segment:
    """A segment to search.

    Args:
        name: path of the file; its stem is the name that :func:`write_segment` returned.

    Attributes:
        partitions: partitions that it covers.

    Raises:
        DamagedSegmentError: if its footer is damaged.
    """

    def __init__(self, name: str, size: int, read_range: ReadRange) -> None:
        self.name, self._size, self._read_range = name, size, read_range
        footer = _read_footer(size, read_range)
        if _name_of(footer) != PurePosixPath(name).stem:
            raise DamagedSegmentError(f"{name} is damaged, or no segment of an index of ids")
        try:
            self._metadata = pq.read_metadata(pa.BufferReader(footer))
            listed = parse_json(self._metadata.metadata[_PARTITIONS])
            self.partitions = tuple(IndexedPartition(*record) for record in listed)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedSegmentError(f"the footer of {name} cannot be read: {error!r}") from error
        groups = [self._metadata.row_group(number) for number in range(self._metadata.num_row_groups)]
        keys = [group.column(0).statistics for group in groups]
        self._first, self._last = np.array([key.min for key in keys], KEY), np.array([key.max for key in keys], KEY)

    def __len__(self) -> int:
        return int(self._metadata.num_rows)

    def find(self, keys: Keys) -> Iterator[tuple[npt.NDArray[np.int64], Codes]]:
        """Find keys.

        Args:
            keys: keys in their order, shape (n,).

        Yields:
            Indices of the keys that the segment has, and the numbers of their partitions; shape (m,) each. A key in
            two partitions comes twice.

        Raises:
            DamagedSegmentError: if a row group that may have a key is damaged.
        """
        starts, ends = np.searchsorted(keys, self._first), np.searchsorted(keys, self._last, side="right")

        def find_in(groups: list[int]) -> tuple[npt.NDArray[np.int64], Codes]:
            start = starts[groups[0]]
            here, codes = match_keys(self._read(groups), keys[start : ends[groups[-1]]])
            return here + start, codes

        yield from parallel_map(find_in, _batches(np.flatnonzero(starts < ends).tolist()), _THREADS)

    def rows(self) -> Iterator[KeyRows]:
        """Yield all rows, in the order of their keys.

        Raises:
            DamagedSegmentError: if a row group is damaged.
        """
        yield from map(self._read, _batches(range(len(self._first))))

    def _read(self, groups: list[int]) -> KeyRows:
        file = RangeFile(self._size, self._read_range)
        try:
            with pq.ParquetFile(file, metadata=self._metadata, page_checksum_verification=True) as parquet:
                table = parquet.read_row_groups(groups, use_threads=False).combine_chunks()
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise DamagedSegmentError(f"{self.name} is damaged: {error}") from error
        keys = np.frombuffer(table["key"].chunk(0).buffers()[1], KEY, len(table))
        return KeyRows(keys, table["partition"].to_numpy())


def _batches(groups: Iterable[int]) -> Iterator[list[int]]:
    """Divide row groups into lists that are read at once."""
    rest = iter(groups)
    while batch := list(itertools.islice(rest, max(1, _READ_ROWS // _GROUP_ROWS))):
        yield batch


def match_keys(rows: KeyRows, keys: Keys) -> tuple[npt.NDArray[np.int64], Codes]:
    """Return the indices of keys that rows have, and the codes of those rows; shape (m,) each.

    Args:
        rows: in the order of their keys.
        keys: fastest in their order.
    """
    first = np.searchsorted(rows.keys, keys)
    counts = np.searchsorted(rows.keys, keys, side="right") - first
    here = np.repeat(np.arange(len(keys)), counts)
    return here, rows.codes[np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(len(here))]
