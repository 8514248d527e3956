"""Write and read segments of the index of ids: sorted keys of items, each with the number of its partition.

A segment is an immutable file, named by the digest of its content::

    blocks      for each value of the keys' first bits: halves of keys (2 × uint64), numbers of partitions (uint32)
    directory   JSON of the covered partitions, then the rows and the digest of each block
    trailer     bytes of the directory, its SHA-256, the format's name

Every block has a digest, and the directory too, so damage is noticed in what is read. All numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from eechips.archive.catalogs.key_index import KEY
from eechips.processes.parallel_map import parallel_map
from eechips.storage.received_files import parse_json

ROW = 20
"""Bytes of a row of a segment: a key of 16, and the number of a partition."""

_FORMAT = b"eechips-ids-1\n\0\0"
_TRAILER = struct.Struct(f"<Q32s{len(_FORMAT)}s")
_ALIGNMENT = 8  # of blocks, so that numpy reads them without a copy
_BLOCK_ROWS = 8192  # on average, at most: what a search for one id reads
_DIGEST = 16  # bytes of a block's SHA-256 that are kept
_ENTRY = np.dtype([("rows", "<u4"), ("digest", f"V{_DIGEST}")])  # of a block, in the directory
_MOST_BITS = 24
_AT_ONCE = 1 << 20  # rows sorted at a time
_READ = 8 << 20  # bytes read at a time
_GAP = 256 << 10  # bytes between two blocks that are read along with them
_THREADS = 4

Numbers = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.uint32]
ReadRange = Callable[[int, int], bytes]
"""Return the bytes of a file from a position up to another."""


class DamagedSegmentError(Exception):
    """A segment that is incomplete, changed, or not a segment."""


class KeyRows(NamedTuple):
    """Rows of a segment.

    Attributes:
        high: first halves of keys, shape (n,).
        low: second halves, shape (n,).
        codes: numbers of partitions, shape (n,).
    """

    high: Numbers
    low: Numbers
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


def halves_of(keys: npt.NDArray[np.bytes_]) -> tuple[Numbers, Numbers]:
    """Return both halves of keys (:func:`~eechips.archive.catalogs.key_index.keys_of`) as numbers."""
    halves = np.ascontiguousarray(keys).view("<u8").reshape(-1, KEY.itemsize // 8)
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)


def sort_keys(high: Numbers, low: Numbers) -> KeyRows:
    """Return keys sorted by their first halves, with their indices instead of numbers of partitions."""
    order = np.argsort(high)
    return KeyRows(high[order], low[order], order.astype(np.uint32))


def write_segment(path: Path, partitions: Sequence[IndexedPartition], rows: Iterable[KeyRows]) -> str:
    """Write a segment; memory does not grow with its rows.

    Args:
        path: path of the new file.
        partitions: partitions that it covers.
        rows: rows of all partitions, in any order.

    Returns:
        Name of the segment, which depends on its content only.

    Raises:
        OSError: if the file cannot be written.
    """
    expected = sum(partition.items for partition in partitions)
    bits = min(_MOST_BITS, max(0, math.ceil(math.log2(max(1, expected) / _BLOCK_ROWS))))
    directory = bytearray()
    with path.open("wb") as file:
        for part in _sorted_parts(rows, bits, expected, path.parent):
            edges = np.searchsorted(part.rows.high, _starts(part.first, part.blocks, bits)).tolist()
            for first, last in zip(edges, [*edges[1:], len(part.rows.high)], strict=True):
                block = _encode(part.rows, first, last)
                file.write(block)
                directory += struct.pack("<I", last - first) + hashlib.sha256(block).digest()[:_DIGEST]
        listed = {"bits": bits, "partitions": [[p.path, p.bytes, p.sha256, p.items] for p in partitions]}
        text = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()
        whole = struct.pack("<Q", len(text)) + text + directory
        digest = hashlib.sha256(whole).digest()
        file.write(whole)
        file.write(_TRAILER.pack(len(whole), digest, _FORMAT))
    return digest.hex()[:32]


class _Part(NamedTuple):
    """Sorted rows of some successive blocks.

    Attributes:
        first: number of the first block.
        blocks: number of blocks.
        rows: in the order of their keys.
    """

    first: int
    blocks: int
    rows: KeyRows


def _sorted_parts(rows: Iterable[KeyRows], bits: int, expected: int, scratch: Path) -> Iterator[_Part]:
    """Yield rows in the order of their keys. Many rows are sorted in runs on the disk, which are merged by parts."""
    cut = min(bits, max(0, math.ceil(math.log2(max(1, expected) / _AT_ONCE))))
    count = 1 << (bits - cut)
    if not cut:
        yield _Part(0, count, _ordered(list(rows)))
        return
    with tempfile.TemporaryFile(dir=scratch) as file:
        runs = [_write_run(file, _ordered(gathered), _starts(0, 1 << cut, cut)) for gathered in _gathered(rows)]
        for number in range(1 << cut):
            yield _Part(number * count, count, _ordered([_read_run(file, run, number) for run in runs]))


class _Run(NamedTuple):
    """A sorted run on the disk.

    Attributes:
        start: its position in the file.
        edges: first row of each part, and the number of rows.
    """

    start: int
    edges: list[int]


def _write_run(file: IO[bytes], rows: KeyRows, starts: Numbers) -> _Run:
    run = _Run(file.tell(), [*np.searchsorted(rows.high, starts).tolist(), len(rows.high)])
    file.writelines(column.tobytes() for column in rows)
    return run


def _read_run(file: IO[bytes], run: _Run, part: int) -> KeyRows:
    first, last, count = run.edges[part], run.edges[part + 1], run.edges[-1]

    def column(start: int, size: int) -> bytes:
        file.seek(run.start + start * count + first * size)
        return file.read((last - first) * size)

    high, low = (np.frombuffer(column(start, 8), np.uint64) for start in (0, 8))
    return KeyRows(high, low, np.frombuffer(column(16, 4), np.uint32))


def _gathered(rows: Iterable[KeyRows]) -> Iterator[list[KeyRows]]:
    """Yield rows in lists of about as many as are sorted at a time."""
    waiting: list[KeyRows] = []
    count = 0
    for key_rows in rows:
        waiting.append(key_rows)
        count += len(key_rows.high)
        if count >= _AT_ONCE:
            yield waiting
            waiting, count = [], 0
    if waiting:
        yield waiting


def _ordered(rows: Sequence[KeyRows]) -> KeyRows:
    """Return rows in the order of key and partition."""
    high, low = (np.concatenate([np.empty(0, np.uint64), *(part[half] for part in rows)]) for half in (0, 1))
    codes = np.concatenate([np.empty(0, np.uint32), *(part.codes for part in rows)])
    order = np.argsort(high)
    if (high[order[1:]] == high[order[:-1]]).any():  # rare: one item in two partitions
        order = np.lexsort((codes, low, high))
    return KeyRows(high[order], low[order], codes[order])


def _starts(first: int, count: int, bits: int) -> Numbers:
    """Return the smallest first halves of keys of blocks."""
    return np.arange(first, first + count, dtype=np.uint64) << np.uint64(64 - bits) if bits else np.zeros(1, np.uint64)


def _encode(rows: KeyRows, first: int, last: int) -> bytes:
    part = slice(first, last)
    columns = (rows.high[part].astype("<u8"), rows.low[part].astype("<u8"), rows.codes[part].astype("<u4"))
    content = b"".join(column.tobytes() for column in columns)
    return content + bytes(-len(content) % _ALIGNMENT)


class Segment:
    """A segment to search.

    Args:
        name: name of the file, for messages.
        size: size of the file in bytes.
        read: returns a part of the file.

    Attributes:
        partitions: partitions that it covers.

    Raises:
        DamagedSegmentError: if its directory is damaged.
    """

    def __init__(self, name: str, size: int, read: ReadRange) -> None:
        self.name, self._read = name, read
        end = size - _TRAILER.size
        length, digest, magic = _TRAILER.unpack(self._part(end, size))
        if magic != _FORMAT or not 8 <= length <= end:
            raise DamagedSegmentError(f"{name} is not a segment of an index of ids")
        whole = self._part(end - length, end)
        if hashlib.sha256(whole).digest() != digest:
            raise DamagedSegmentError(f"the directory of {name} is damaged")
        text, entries = _divided(whole)
        try:
            value = parse_json(text)
            self._bits = int(value["bits"])
            self.partitions = tuple(IndexedPartition(*record) for record in value["partitions"])
            self._rows = np.array(entries["rows"], np.int64)
            self._digests: list[bytes] = [bytes(record) for record in entries["digest"]]
            sizes = (self._rows * ROW + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
            self._edges = np.concatenate([[0], np.cumsum(sizes)])
            is_whole = (
                0 <= self._bits <= _MOST_BITS
                and len(self._rows) == 1 << self._bits
                and int(self._edges[-1]) == end - length
                and sum(record.items for record in self.partitions) == self._rows.sum()
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedSegmentError(f"the directory of {name} cannot be read: {error!r}") from error
        if not is_whole:
            raise DamagedSegmentError(f"the directory of {name} contradicts itself")

    def __len__(self) -> int:
        return int(self._rows.sum())

    def find(self, high: Numbers, low: Numbers) -> Iterator[tuple[npt.NDArray[np.int64], Codes]]:
        """Find keys.

        Args:
            high: first halves of the keys, sorted; shape (n,).
            low: second halves.

        Yields:
            Indices of the keys that the segment has, and the numbers of their partitions; shape (m,) each. A key in
            two partitions comes twice.

        Raises:
            DamagedSegmentError: if a block that may have a key is damaged.
        """
        edges = np.append(np.searchsorted(high, _starts(0, 1 << self._bits, self._bits)), len(high))
        wanted = np.flatnonzero((np.diff(edges) > 0) & (self._rows > 0))

        def found(group: list[int]) -> tuple[npt.NDArray[np.int64], Codes]:
            parts = []
            for number, block in self._blocks(group):
                first, last = edges[number], edges[number + 1]
                here, codes = match_keys(block, high[first:last], low[first:last])
                parts.append((here + first, codes))
            return np.concatenate([here for here, _ in parts]), np.concatenate([codes for _, codes in parts])

        yield from parallel_map(found, self._groups(wanted.tolist()), _THREADS)

    def rows(self) -> Iterator[KeyRows]:
        """Yield all rows, in the order of their keys.

        Raises:
            DamagedSegmentError: if a block is damaged.
        """
        for group in self._groups(np.flatnonzero(self._rows).tolist()):
            for _, block in self._blocks(group):
                yield block

    def _groups(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Divide blocks into groups that are read at once."""
        group: list[int] = []
        for number in numbers:
            start, end = int(self._edges[number]), int(self._edges[number + 1])
            if group and (start - self._edges[group[-1] + 1] > _GAP or end - self._edges[group[0]] > _READ):
                yield group
                group = []
            group.append(number)
        if group:
            yield group

    def _blocks(self, group: Sequence[int]) -> Iterator[tuple[int, KeyRows]]:
        start = int(self._edges[group[0]])
        data = memoryview(self._part(start, int(self._edges[group[-1] + 1])))
        for number in group:
            block = data[int(self._edges[number]) - start : int(self._edges[number + 1]) - start]
            if hashlib.sha256(block).digest()[:_DIGEST] != self._digests[number]:
                raise DamagedSegmentError(f"block {number} of {self.name} is damaged")
            rows = int(self._rows[number])
            high, low = (np.frombuffer(block, "<u8", rows, start) for start in (0, 8 * rows))
            block_rows = KeyRows(high, low, np.frombuffer(block, "<u4", rows, 16 * rows))
            if block_rows.codes.max(initial=0) >= len(self.partitions):
                raise DamagedSegmentError(f"block {number} of {self.name} names a partition that it does not cover")
            yield number, block_rows

    def _part(self, start: int, end: int) -> bytes:
        data = self._read(start, end) if 0 <= start < end else b""
        if len(data) != end - start:
            raise DamagedSegmentError(f"{self.name} is truncated")
        return data


def _divided(whole: bytes) -> tuple[bytes, npt.NDArray[np.void]]:
    """Divide a directory into its JSON and the entries of its blocks."""
    length = int.from_bytes(whole[:8], "little")
    rest = whole[8 + length :]
    return whole[8 : 8 + length], np.frombuffer(rest, _ENTRY, len(rest) // _ENTRY.itemsize)


def match_keys(block: KeyRows, high: Numbers, low: Numbers) -> tuple[npt.NDArray[np.int64], Codes]:
    """Return the indices of keys that sorted rows have, and the codes of those rows; shape (m,) each.

    Args:
        block: at least one row, sorted by first halves.
        high: first halves of the keys, fastest if sorted.
        low: second halves.
    """
    first = np.searchsorted(block.high, high)
    there = np.flatnonzero(block.high[np.minimum(first, len(block.high) - 1)] == high)
    first = first[there]
    counts = np.searchsorted(block.high, high[there], side="right") - first
    here = np.repeat(there, counts)
    rows = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(len(here))
    is_same = block.low[rows] == low[here]
    return here[is_same], block.codes[rows[is_same]]
