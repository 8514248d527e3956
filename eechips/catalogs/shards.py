"""Sorted runs of new rows on the disk: what is to be merged, in pieces that fit into memory."""

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
import pyarrow.ipc

from eechips.catalogs.columns import conformed, stamps_of
from eechips.catalogs.identities import KEY, Identities, keys_of
from eechips.catalogs.layout import owner
from eechips.catalogs.order import in_order

_BATCH_BYTES = 256_000  # of rows that are read at a time: one batch of every shard is in memory as they are merged
_BATCH_ROWS = 1, 1024  # at least, at most

# Columns of the partition, and of the item (see ``identities``), in characters that no property's name has.
_PATH, _KEY = "\ue000path", "\ue000key"


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of rows of one collection, no item twice: those of one partition after those of another, each in order.

    Attributes:
        file: in Arrow's IPC format.
        paths: of the partitions, below the catalogue, in the order of the rows.
        counts: rows of each.
        batch: rows of each of its batches, but for the last.
        bytes: of all rows, in memory.
    """

    file: Path
    paths: tuple[str, ...]
    counts: tuple[int, ...]
    batch: int
    bytes: int

    def __post_init__(self) -> None:
        # The same partitions come with every shard, perhaps with a row each: their names are in memory once.
        object.__setattr__(self, "paths", tuple(map(sys.intern, self.paths)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.file, self.paths, self.counts, self.batch, self.bytes)

    @property
    def count(self) -> int:
        """Rows."""
        return sum(self.counts)

    @property
    def width(self) -> float:
        """Bytes of a row, in memory, on average."""
        return self.bytes / self.count

    @property
    def schema(self) -> pa.Schema:
        """Of its rows."""
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source) as reader:
            schema: pa.Schema = reader.schema
        return schema.remove(schema.get_field_index(_KEY))

    def columns(self, names: Collection[str]) -> pa.Table:
        """Those of its columns that have one of the names, of every row; ids as well."""
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source) as whole:
            wanted = [index for index, name in enumerate(whole.schema.names) if name in {"id", *names}]
        options = pa.ipc.IpcReadOptions(included_fields=wanted)
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source, options=options) as reader:
            return reader.read_all()

    def identities(self) -> Identities:
        """Of every row, as they lie there."""
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source) as whole:
            names = whole.schema.names
        wanted = [names.index(name) for name in (_KEY, "updated") if name in names]
        with pa.OSFile(str(self.file)) as source:
            options = pa.ipc.IpcReadOptions(included_fields=wanted)
            with pa.ipc.open_file(source, options=options) as reader:
                table = reader.read_all()
        keys = np.frombuffer(table[_KEY].combine_chunks().buffers()[1], KEY, len(table))
        return Identities(keys, stamps_of(table))


class Reader:
    """Reads rows of a shard; best in the order in which they lie there, since it holds what it has read last.

    Args:
        shard: to be read.
        keep: which of its rows count, shape (n,).
        cast: see :func:`~eechips.catalogs.columns.conformed`.
    """

    def __init__(self, shard: Shard, keep: npt.NDArray[np.bool_], *, cast: bool) -> None:
        self._cast = cast
        self._file, self._size, self._keep = shard.file, shard.batch, keep
        self._number, self._table = -1, pa.table({})

    def rows(self, first: int, count: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """So many rows from one on, as far as they count, a few at a time, in the columns of a schema."""
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


class Runs:
    """Where in shards the rows of each partition lie.

    Args:
        shards: one at least.
        codes: numbers of the partitions, by their paths: from 0 on, none is left out.
    """

    def __init__(self, shards: Sequence[Shard], codes: Mapping[str, int]) -> None:
        self._codes = codes
        own = np.fromiter((codes[path] for shard in shards for path in shard.paths), np.int32)
        order = np.argsort(own, kind="stable")
        counts = [np.array(shard.counts, np.int32) for shard in shards]
        firsts = np.concatenate([np.cumsum(part, dtype=np.int32) - part for part in counts])
        numbers = np.repeat(np.arange(len(shards), dtype=np.int32), [len(part) for part in counts])
        self._runs = np.column_stack([numbers, firsts, np.concatenate(counts)])[order]
        self._bounds = np.searchsorted(own[order], np.arange(len(codes) + 1))

    def of(self, path: str) -> list[tuple[int, int, int]]:
        """Of a partition: number of the shard, number of the first row in it, rows."""
        code = self._codes[path]
        return [(n, first, count) for n, first, count in self._runs[slice(*self._bounds[code : code + 2])].tolist()]


def write_shard(file: Path, table: pa.Table, paths: Sequence[str]) -> Shard:
    """Sorts rows by partition and writes them; of several rows of an item the newest, as :func:`newest` has it.

    Args:
        file: to be written.
        table: the rows, all of one collection, one at least.
        paths: of their partitions.

    Raises:
        OSError: if it cannot be written.
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
    found, counts = np.unique(names[order].astype(str), return_counts=True)
    least, most = _BATCH_ROWS
    batch = min(most, max(least, _BATCH_BYTES * len(table) // max(1, table.nbytes)))
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=batch)
    return Shard(file, tuple(found.tolist()), tuple(counts.tolist()), batch, table.nbytes)


@dataclass(frozen=True, slots=True)
class Newest:
    """Of the rows of shards, the newest of each item.

    Attributes:
        keys: of the items, sorted; shape (n,).
        stamps: when they were updated, see :func:`~eechips.catalogs.columns.stamps_of`; shape (n,).
        paths: of the partitions of the shards, sorted.
        codes: of the rows' partitions: numbers in ``paths``; shape (n,).
        places: numbers of the rows among those of all shards, as they lie there; shape (n,).
    """

    keys: npt.NDArray[np.bytes_]
    stamps: npt.NDArray[np.int64]
    paths: tuple[str, ...]
    codes: npt.NDArray[np.int32]
    places: npt.NDArray[np.int64]


def newest(shards: Sequence[Shard]) -> Newest:
    """Of rows of one item, the newest.

    The newest is the one that was updated last; of several that were updated at the same time, the one that came last:
    later shards come later, and so do later rows of the table that a shard was made of.

    Args:
        shards: one at least.
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
    return Newest(keys[places], stamps[places], paths, np.repeat(codes, counts)[places], places)


def _last_of_each(keys: npt.NDArray[np.bytes_], stamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of rows of one key the number of the newest, in the order of the keys; of one moment, of the last."""
    order = np.lexsort((stamps, keys))
    ordered = keys[order]
    is_last = np.ones(len(keys), dtype=bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return order[is_last]
