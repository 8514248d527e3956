"""Sorted runs of new rows on the disk: what is to be merged, in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from eechips.catalogs.columns import conformed, stamps_of
from eechips.catalogs.order import in_order

_BATCH_BYTES = 256_000  # of rows that are read at a time: one batch of every shard is in memory as they are merged
_BATCH_ROWS = 16, 1024  # at least, at most

_PATH, _NUMBER = "_path", "_number"  # of the partition; of the row before it was sorted


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of a shard's rows, all of one partition, in order.

    Attributes:
        path: of the partition, below the catalogue.
        first: number of the first row.
        count: rows.
    """

    path: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of rows: those of one partition after those of another.

    Attributes:
        file: in Arrow's IPC format.
        runs: in the order of the rows.
        batch: rows of each of its batches, but for the last.
    """

    file: Path
    runs: tuple[Run, ...]
    batch: int

    @property
    def count(self) -> int:
        """Rows."""
        return sum(run.count for run in self.runs)

    @property
    def schema(self) -> pa.Schema:
        """Of its rows."""
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source) as reader:
            schema: pa.Schema = reader.schema
        return schema.remove(schema.get_field_index(_NUMBER))

    def identities(self) -> pa.Table:
        """Of every row: id, stamp (see :func:`.columns.stamps_of`), and number before it was sorted."""
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source) as whole:
            names = whole.schema.names
        wanted = [names.index(name) for name in ("id", "updated", _NUMBER) if name in names]
        with pa.OSFile(str(self.file)) as source:
            options = pa.ipc.IpcReadOptions(included_fields=wanted)
            with pa.ipc.open_file(source, options=options) as reader:
                table = reader.read_all()
        return pa.table({"id": table["id"], "stamp": stamps_of(table), "number": table[_NUMBER]})


class Reader:
    """Reads runs of a shard; best in the order of the rows, since it holds what it has read last.

    Args:
        shard: to be read.
        keep: which of its rows count, shape (n,).
    """

    def __init__(self, shard: Shard, keep: npt.NDArray[np.bool_]) -> None:
        self._file, self._size, self._keep = shard.file, shard.batch, keep
        self._number, self._table = -1, pa.table({})

    def rows(self, run: Run, schema: pa.Schema) -> Iterator[pa.Table]:
        """The rows of a run that count, a few at a time, in the columns of a schema."""
        end = run.first + run.count
        size = self._size
        for number in range(run.first // size, (end - 1) // size + 1):
            start = max(run.first, number * size)
            stop = min(end, (number + 1) * size)
            keep = self._keep[start:stop]
            table = self._batch(number).slice(start - number * size, stop - start)
            yield conformed(table if keep.all() else table.filter(pa.array(keep)), schema)

    def _batch(self, number: int) -> pa.Table:
        if number != self._number:
            with pa.OSFile(str(self._file)) as source, pa.ipc.open_file(source) as reader:
                self._table = pa.Table.from_batches([reader.get_batch(number)])
            self._number = number
        return self._table


def write_shard(file: Path, table: pa.Table, paths: Sequence[str]) -> Shard:
    """Sorts rows by partition and writes them.

    Args:
        file: to be written.
        table: the rows, all of one collection.
        paths: of their partitions.

    Raises:
        OSError: if it cannot be written.
    """
    numbered = table.append_column(_PATH, pa.array(paths, pa.string())).append_column(
        _NUMBER, pa.array(np.arange(len(table), dtype=np.int64))
    )
    table = in_order(numbered)
    names = table[_PATH].to_numpy()
    order = np.argsort(names, kind="stable")
    table = table.drop_columns([_PATH]).take(order)
    found, firsts, counts = np.unique(names[order].astype(str), return_index=True, return_counts=True)
    least, most = _BATCH_ROWS
    batch = min(most, max(least, _BATCH_BYTES * len(table) // max(1, table.nbytes)))
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=batch)
    runs = (Run(str(p), int(f), int(n)) for p, f, n in zip(found, firsts, counts, strict=True))
    return Shard(file, tuple(runs), batch)


@dataclass(frozen=True, slots=True)
class Newest:
    """Of the rows of shards, the newest of each collection and id.

    Attributes:
        ids: of the rows.
        stamps: when they were updated, see :func:`~eechips.catalogs.columns.stamps_of`; shape (n,).
        paths: of the partitions of the shards, sorted.
        codes: of the rows' partitions: numbers in ``paths``; shape (n,).
        places: numbers of the rows among those of all shards, as they lie there; shape (n,).
    """

    ids: pa.Array
    stamps: npt.NDArray[np.int64]
    paths: tuple[str, ...]
    codes: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


def newest(shards: Sequence[Shard]) -> Newest:
    """Of rows of one collection and id, the newest.

    The newest is the one that was updated last; of several that were updated at the same time, the one that came last:
    later shards come later, and so do later rows of the table that a shard was made of.

    Args:
        shards: one at least.
    """
    runs = [run for shard in shards for run in shard.runs]
    counts = [run.count for run in runs]
    paths = sorted({run.path for run in runs})
    code = {path: number for number, path in enumerate(paths)}
    codes = np.repeat(np.array([code[run.path] for run in runs]), counts)
    folders = [path.partition("/")[0] for path in paths]
    collections = np.unique(folders, return_inverse=True)[1][codes]
    parts = [shard.identities() for shard in shards]
    every = pa.concat_tables(parts)
    stamps, numbers = every["stamp"].to_numpy(), every["number"].to_numpy()
    order = np.lexsort([numbers, np.repeat(np.arange(len(parts)), [len(part) for part in parts]), stamps])
    rank = np.empty(len(every), dtype=np.int64)
    rank[order] = np.arange(len(every))
    ranked = pa.table({"id": every["id"], "collection": collections, "rank": rank})
    best = ranked.group_by(["collection", "id"]).aggregate([("rank", "max")])["rank_max"].to_numpy()
    places = np.sort(order[best])
    ids = every["id"].take(pa.array(places)).combine_chunks()
    return Newest(ids, stamps[places], tuple(paths), codes[places], places)
