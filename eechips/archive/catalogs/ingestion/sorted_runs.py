"""Write, read and merge sorted runs: files of rows ordered by partition, place and time, with only the newest row of
each item.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from eechips.archive.catalogs.extents import centres
from eechips.archive.catalogs.partitions.column_types import conformed
from eechips.archive.catalogs.partitions.columns import boxes_of, stamps_of, starts_of
from eechips.archive.catalogs.partitions.id_segments import KEY, KeyIndex, keys_of
from eechips.archive.catalogs.partitions.layout import owner

_BITS = 16  # of a longitude or latitude: 0.0055 degrees


def keys(table: pa.Table) -> npt.NDArray[np.uint64]:
    """Return the sort keys of rows, shape (n,).

    The upper half is the position of a box's centre on a Morton curve, so that neighbouring rows are near each other
    and row groups cover little; the lower half is the second at which the item begins.
    """
    longitudes, latitudes = centres(boxes_of(table))
    top = (1 << _BITS) - 1
    x = _spread(np.clip((longitudes + 180.0) / 360.0 * top, 0, top))
    y = _spread(np.clip((latitudes + 90.0) / 180.0 * top, 0, top))
    seconds = starts_of(table).astype("datetime64[s]").astype(np.int64) & 0xFFFFFFFF
    return ((x | (y << np.uint64(1))) << np.uint64(32)) | seconds.astype(np.uint64)


def in_order(table: pa.Table) -> pa.Table:
    """Sort rows by key, then by id."""
    order = pc.sort_indices(
        pa.table({"key": keys(table), "id": table["id"]}), sort_keys=[("key", "ascending"), ("id", "ascending")]
    )
    return table.take(order)


def merged(sources: Sequence[Iterator[pa.Table]]) -> Iterator[list[pa.Table | None]]:
    """Merge sorted streams of rows without holding them.

    Args:
        sources: tables, each stream in the order of :func:`keys`.

    Yields:
        For each stream its rows of the next range of keys, or None. All rows of one key come together; memory holds
        these rows, and one table of each stream.
    """
    heads = [_Head(source) for source in sources]
    while sum(head.load() for head in heads):
        # Rows before the smallest last key loaded cannot be preceded by later rows of any stream.
        bounds = [head.last for head in heads if head.has_more]
        if not bounds:
            yield [head.take(None) for head in heads]
            return
        parts = [head.take(min(bounds)) for head in heads]
        if all(part is None for part in parts):
            for head in heads:  # a whole table of one key: load the next to find its end
                if head.has_more and head.last == min(bounds):
                    head.extend()
        else:
            yield parts


def at_once(sources: Sequence[Iterator[pa.Table]]) -> list[pa.Table | None]:
    """Return all rows of each stream, or None: :func:`merged` in one step, for streams that fit into memory."""
    tables_by_source = [[table for table in source if len(table)] for source in sources]
    return [pa.concat_tables(tables) if tables else None for tables in tables_by_source]


class _Head:
    """The loaded beginning of a stream."""

    def __init__(self, source: Iterator[pa.Table]) -> None:
        self._source = source
        self._table: pa.Table | None = None
        self._keys: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._next = self._read()

    @property
    def has_more(self) -> bool:
        """Return whether the stream has rows that are not loaded yet."""
        return self._next is not None

    @property
    def last(self) -> int:
        """The last loaded key."""
        return int(self._keys[-1])

    def load(self) -> bool:
        """Load rows if none are loaded; return whether there are any."""
        if not len(self._keys) and self._next is not None:
            self.extend()
        return len(self._keys) > 0

    def extend(self) -> None:
        """Load a further table."""
        assert self._next is not None
        self._table = self._next if not len(self._keys) else pa.concat_tables([self._table, self._next])
        self._keys = keys(self._table)
        self._next = self._read()

    def take(self, bound: int | None) -> pa.Table | None:
        """Remove and return the rows before a key, or all."""
        count = len(self._keys) if bound is None else int(np.searchsorted(self._keys, np.uint64(bound)))
        if not count or self._table is None:
            return None
        taken = self._table.slice(0, count)
        self._table, self._keys = self._table.slice(count), self._keys[count:]
        return taken

    def _read(self) -> pa.Table | None:
        return next((table for table in self._source if len(table)), None)


def _spread(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Insert a zero before each bit of 16-bit numbers."""
    spread_bits = values.astype(np.uint64)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        spread_bits = (spread_bits | (spread_bits << np.uint64(shift))) & np.uint64(mask)
    return spread_bits


_BATCH_BYTES = 256_000  # of rows read at a time: a merge holds one batch of every run
_BATCH_ROWS = 1, 1024  # minimum, maximum

# Columns of the partition and of the item's key (see ``identities``); no property has such a name.
_PATH, _KEY = "\ue000path", "\ue000key"


@dataclass(frozen=True, slots=True)
class SortedRun:
    """A file of rows of one collection without duplicate items, ordered by partition, then by key.

    Attributes:
        file: in Arrow's IPC format.
        paths: paths of the partitions, below the catalogue, in the order of the rows.
        counts: rows of each.
        batch: rows of each batch except the last.
        bytes: number of bytes of all rows, in memory.
    """

    file: Path
    paths: tuple[str, ...]
    counts: tuple[int, ...]
    batch: int
    bytes: int

    def __post_init__(self) -> None:
        # All runs name the same partitions, perhaps for a row each: intern the names.
        object.__setattr__(self, "paths", tuple(map(sys.intern, self.paths)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.file, self.paths, self.counts, self.batch, self.bytes)

    @property
    def count(self) -> int:
        """Number of rows."""
        return sum(self.counts)

    @property
    def width(self) -> float:
        """Average bytes of a row in memory."""
        return self.bytes / self.count

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the rows."""
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source) as reader:
            schema: pa.Schema = reader.schema
        return schema.remove(schema.get_field_index(_KEY))

    def columns(self, names: Collection[str]) -> pa.Table:
        """Read the named columns that exist, of every row."""
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source) as whole:
            wanted = [index for index, name in enumerate(whole.schema.names) if name in names]
        options = pa.ipc.IpcReadOptions(included_fields=wanted)
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source, options=options) as reader:
            return reader.read_all()

    def identities(self) -> KeyIndex:
        """Return the keys of all rows in their order."""
        table = self.columns((_KEY, "updated"))
        keys = np.frombuffer(table[_KEY].combine_chunks().buffers()[1], KEY, len(table))
        return KeyIndex(keys, stamps_of(table))


class SortedRunReader:
    """Read rows of a run, best in their order, since the last batch is cached.

    Args:
        keep: which of its rows count, shape (n,).
        cast: see :func:`~eechips.archive.catalogs.partitions.column_types.conformed`.
    """

    def __init__(self, shard: SortedRun, keep: npt.NDArray[np.bool_], *, cast: bool) -> None:
        self._cast = cast
        self._file, self._size, self._keep = shard.file, shard.batch, keep
        self._number, self._table = -1, pa.table({})

    def rows(self, first: int, count: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the rows that count of a range, a few at a time, in the columns of a schema."""
        end = first + count
        size = self._size
        for number in range(first // size, (end - 1) // size + 1):
            start = max(first, number * size)
            stop = min(end, (number + 1) * size)
            keep = self._keep[start:stop]
            table = self._batch(number).slice(start - number * size, stop - start)
            yield conformed(table if keep.all() else table.filter(pa.array(keep)), schema, cast=self._cast)

    def _batch(self, number: int) -> pa.Table:
        if number != self._number:
            with pa.OSFile(str(self._file)) as source, pa.ipc.open_file(source) as reader:
                self._table = pa.Table.from_batches([reader.get_batch(number)])
            self._number = number
        return self._table


class MergedRuns:
    """Positions of the rows of each partition in several runs.

    Args:
        codes: numbers of the partitions by path, from 0 without gaps.
    """

    def __init__(self, shards: Sequence[SortedRun], codes: Mapping[str, int]) -> None:
        self._codes = codes
        own = np.fromiter((codes[path] for shard in shards for path in shard.paths), np.int32)
        order = np.argsort(own, kind="stable")
        counts = [np.array(shard.counts, np.int32) for shard in shards]
        firsts = np.concatenate([np.cumsum(part, dtype=np.int32) - part for part in counts])
        numbers = np.repeat(np.arange(len(shards), dtype=np.int32), [len(part) for part in counts])
        self._runs = np.column_stack([numbers, firsts, np.concatenate(counts)])[order]
        self._bounds = np.searchsorted(own[order], np.arange(len(codes) + 1))

    def of(self, path: str) -> list[tuple[int, int, int]]:
        """Return for a partition: index of the run, index of the first row in it, number of rows."""
        code = self._codes[path]
        return [(n, first, count) for n, first, count in self._runs[slice(*self._bounds[code : code + 2])].tolist()]


def write_sorted_run(file: Path, table: pa.Table, paths: Sequence[str]) -> SortedRun:
    """Sort rows of one collection by partition and write them; of several rows of an item the newest.

    See :func:`find_latest`.

    Raises:
        OSError: if the file cannot be written.
    """
    keys = keys_of(table["id"], owner(paths[0]))
    table = table.append_column(_PATH, pa.array(paths, pa.string()))
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY.itemsize), len(keys), [None, pa.py_buffer(keys)])
    table = table.append_column(_KEY, column)
    best = _last_of_each(keys, stamps_of(table))
    table = in_order(table if len(best) == len(table) else table.take(best))
    names = table[_PATH].to_numpy()
    order = np.argsort(names, kind="stable")
    table = table.drop_columns([_PATH]).take(order)
    unique_paths, counts = np.unique(names[order].astype(str), return_counts=True)
    least, most = _BATCH_ROWS
    batch = min(most, max(least, _BATCH_BYTES * len(table) // max(1, table.nbytes)))
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=batch)
    return SortedRun(file, tuple(unique_paths.tolist()), tuple(counts.tolist()), batch, table.nbytes)


@dataclass(frozen=True, slots=True)
class LatestItems:
    """The newest row of each item in several runs.

    Attributes:
        keys: keys of the items, sorted; shape (n,).
        stamps: update times, see :func:`~eechips.archive.catalogs.partitions.columns.stamps_of`; shape (n,).
        paths: paths of the partitions of the runs, sorted.
        codes: codes of the rows' partitions: indices in ``paths``; shape (n,).
        places: indices of the rows in the concatenated runs; shape (n,).
    """

    keys: npt.NDArray[np.bytes_]
    stamps: npt.NDArray[np.int64]
    paths: tuple[str, ...]
    codes: npt.NDArray[np.int32]
    places: npt.NDArray[np.int64]


def find_latest(shards: Sequence[SortedRun]) -> LatestItems:
    """Find the newest row of each item.

    That is the row with the last update; of several with the same update time, the last one: in the order of the runs,
    and of the rows of the table that a run was written from.
    """
    count = sum(shard.count for shard in shards)
    keys, stamps = np.empty(count, KEY), np.empty(count, np.int64)
    first = 0
    for shard in shards:
        own = shard.identities()
        keys[first : first + len(own)], stamps[first : first + len(own)] = own.keys, own.stamps
        first += len(own)
    places = _last_of_each(keys, stamps)
    paths = tuple(sorted(set(chain.from_iterable(shard.paths for shard in shards))))
    code = {path: number for number, path in enumerate(paths)}
    codes = np.fromiter((code[path] for shard in shards for path in shard.paths), np.int32)
    counts = np.fromiter(chain.from_iterable(shard.counts for shard in shards), np.int64)
    return LatestItems(keys[places], stamps[places], paths, np.repeat(codes, counts)[places], places)


def _last_of_each(keys: npt.NDArray[np.bytes_], stamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the index of the newest row of each key, in the order of the keys; of equal times, the last."""
    order = np.lexsort((stamps, keys))
    ordered = keys[order]
    is_last = np.ones(len(keys), dtype=bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return order[is_last]
