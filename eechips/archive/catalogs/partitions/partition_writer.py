"""Write the new state of partitions that a merge changes: size of row groups, extent, period and statistics of each
partition.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eechips.archive.catalogs.extents import union
from eechips.archive.catalogs.ingestion.list_readers import rows_at_once
from eechips.archive.catalogs.ingestion.sorted_runs import at_once, in_order, merged
from eechips.archive.catalogs.partitions.column_types import conformed, unified
from eechips.archive.catalogs.partitions.columns import (
    UNKNOWN,
    boxes_of,
    check_columns,
    check_values,
    ends_of,
    stamps_of,
    starts_of,
)
from eechips.archive.catalogs.partitions.layout import fields
from eechips.archive.catalogs.partitions.merge_plan import MergePlan
from eechips.archive.catalogs.partitions.partition_versions import UNREADABLE, describe_error
from eechips.archive.catalogs.partitions.schema import Partition, iso
from eechips.files.hashes import hash_file
from eechips.storage import LocalStore

ROW_GROUP = 16_384
"""Rows of a row group: the least that engines read of a file."""
_GROUP_BYTES = 64_000_000  # of a row group in memory: wide rows make smaller groups
_BATCH = 4096  # maximum rows of a partition read at a time
_BATCH_BYTES = 16_000_000  # and their approximate bytes in the file
Advance = Callable[[int], object]
"""Called with numbers of processed rows."""


@dataclass(frozen=True, slots=True)
class StagedPartition:
    """The new state of a partition.

    Attributes:
        staged: name of its new file in the scratch folder; None if it has none.
        partition: metadata; None if it becomes empty, or does not change.
        columns: names and types.
        is_changed: whether it changes.
    """

    staged: str | None = None
    partition: Partition | None = None
    columns: dict[str, str] = field(default_factory=dict)
    is_changed: bool = True


def stage_partitions(plan: MergePlan, scratch: Path, advance: Advance) -> dict[str, StagedPartition] | None:
    """Write the partitions that change.

    Returns:
        None if a partition proves unreadable, which is noted.
    """
    staged: dict[str, StagedPartition] = {}
    columns: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}  # shared: many partitions have the same columns
    for number, path in enumerate(plan.paths):
        try:
            staged_partition = _stage_partition(plan, path, scratch, f"{number:06d}.staged", advance)
        except _UnreadableError as error:
            plan.stopped[path] = str(error)
            return None
        if staged_partition.is_changed:
            staged[path] = replace(
                staged_partition,
                columns=columns.setdefault(tuple(staged_partition.columns.items()), staged_partition.columns),
            )
    return staged


class _UnreadableError(Exception):
    """A partition that cannot be read."""


def _stage_partition(plan: MergePlan, path: str, scratch: Path, name: str, advance: Advance) -> StagedPartition:
    """Write the new state of a partition, if its rows change."""
    with contextlib.ExitStack() as stack:
        there = None
        if path in plan.schema.partitions:
            with _translating_errors():
                there = stack.enter_context(pq.ParquetFile(LocalStore(plan.folder).file(path)))
                check_columns(there.schema_arrow)
        schema = unified([*([] if there is None else [there.schema_arrow]), *plan.schemas(path)], plan.types)
        if there is not None and not plan.changes(path):
            steps = _steps(plan, path, there, schema)
            if all(before is not None and before.equals(after) for before, after in steps):
                return StagedPartition(is_changed=False)
        tally = PartitionStatistics(advance)
        rows = _rebatched(tally.counted(after for _, after in _steps(plan, path, there, schema)))
        first = next(rows, None)
        if first is None:
            return StagedPartition()
        from stac_geoparquet.arrow import to_parquet

        batches = pa.RecordBatchReader.from_batches(schema, chain([first], rows))
        to_parquet(batches, scratch / name, compression="zstd")
    columns = {column.name: sys.intern(str(column.type)) for column in schema}
    return StagedPartition(name, tally.partition(path, scratch / name), columns)


def _steps(
    plan: MergePlan, path: str, there: pq.ParquetFile | None, schema: pa.Schema
) -> Iterator[tuple[pa.Table | None, pa.Table]]:
    """Yield the rows of a partition before and after the merge, stretch by stretch."""
    known = 0 if there is None else there.metadata.num_rows
    stays = plan.stays(path, known)
    sources = [iter(()) if there is None else _rows(there, schema, plan.is_cast), *plan.entering(path, schema)]
    for before, *new in [at_once(sources)] if plan.is_small(path, known) else merged(sources):
        count = 0 if before is None else len(before)
        own, stays = stays[:count], stays[count:]
        kept = before if before is None or own.all() else before.filter(pa.array(own))
        parts = [part for part in (kept, *new) if part is not None]
        yield before, in_order(pa.concat_tables(parts)) if len(parts) > 1 else parts[0]


def _rows(file: pq.ParquetFile, schema: pa.Schema, cast: bool) -> Iterator[pa.Table]:
    with _translating_errors():
        for batch in file.iter_batches(batch_size=rows_at_once(file, _BATCH, _BATCH_BYTES), use_threads=False):
            table = pa.Table.from_batches([batch])
            check_values(table)
            yield conformed(table, schema, cast=cast)


@contextlib.contextmanager
def _translating_errors() -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise _UnreadableError(describe_error(error)) from error


def _rebatched(tables: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Yield rows in batches of one row group each."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        waiting.append(table)
        size += table.nbytes
        while sum(map(len, waiting)) >= ROW_GROUP:
            whole = pa.concat_tables(waiting)
            yield _batch(whole.slice(0, ROW_GROUP))
            waiting = [whole.slice(ROW_GROUP)]
            size = waiting[0].nbytes
        if size >= _GROUP_BYTES:
            yield _batch(pa.concat_tables(waiting))
            waiting, size = [], 0
    rest = [table for table in waiting if len(table)]
    if rest:
        yield _batch(pa.concat_tables(rest))


def _batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


class PartitionStatistics:
    """Statistics of the rows of a partition, counted while they are written."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._items = 0
        self._boxes: list[npt.NDArray[np.float64]] = []
        self._starts: list[np.datetime64] = []
        self._ends: list[np.datetime64] = []
        self._stamp = UNKNOWN
        self._collection: str | None = None

    def counted(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Yield the tables unchanged."""
        for table in tables:
            if len(table):
                self._count(table)
            yield table

    def _count(self, table: pa.Table) -> None:
        if not self._items:
            self._collection = table["collection"][0].as_py()  # its name in a path may be shortened
        self._items += len(table)
        self._boxes.append(np.array([union(boxes_of(table)).bbox]))
        starts, ends = starts_of(table), ends_of(table)
        self._starts += [starts[~np.isnat(starts)].min()] if not np.isnat(starts).all() else []
        self._ends += [ends[~np.isnat(ends)].max()] if not np.isnat(ends).all() else []
        self._stamp = max(self._stamp, int(stamps_of(table).max()))
        self._advance(len(table))

    def partition(self, path: str, file: Path) -> Partition:
        """Return the metadata of a partition with these rows."""
        return Partition(
            path=path,
            collection=self._collection,
            cell=str(fields(path)["cell"]),
            items=self._items,
            bytes=file.stat().st_size,
            sha256=hash_file(file),
            extent=union(np.concatenate(self._boxes)),
            start=iso(int(min(self._starts).astype(np.int64))) if self._starts else None,
            end=iso(int(max(self._ends).astype(np.int64))) if self._ends else None,
            updated=None if self._stamp == UNKNOWN else iso(self._stamp),
        )
