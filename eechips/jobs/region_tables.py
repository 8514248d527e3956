"""Merge the time series of all regions to one table, sorted by id."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eechips.engine.result_assembly import Results
from eechips.formats import TableFormat
from eechips.formats.large_tables import TableAppender, TableSpill
from eechips.recipe import Unit
from eechips.text.formatting import format_count

MOST_ROWS = 1_000_000
"""Maximum rows sorted in memory at once: some 250 MB with ids as text."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """Columns and files of a table.

    Attributes:
        id_column: name of the column with the region's id.
        values: names of the numeric columns.
        counts: names of the integer columns among them.
        format: format of the files.
        by_year: whether there is a file for each year, in Hive-style folders (``series/year=2019/…``); else one file.
    """

    id_column: str
    values: tuple[str, ...]
    counts: frozenset[str]
    format: TableFormat
    by_year: bool = False

    def schema(self, ids: pa.DataType) -> pa.Schema:
        """Return the schema: ids of the given type, dates as text (YYYY-MM-DD), numbers float64, counts int64."""
        numbers = [(name, pa.int64() if name in self.counts else pa.float64()) for name in self.values]
        return pa.schema([(self.id_column, ids), ("date", pa.string()), *numbers])


def merge_tables(results: Results, layout_for: Callable[[Unit], TableLayout], most_rows: int = MOST_ROWS) -> None:
    """Merge the parts of a run, Parquet files of several regions each, to one table.

    Rows are sorted by region id; rows of one region keep the order of their part. If the rows do not fit in memory,
    they are first distributed to files by ranges of ids, on the disk of the results, which take about as much space as
    the uncompressed parts.

    Args:
        results: results of units with ``"regions"``, a list of ``{"region": id, …}``.
        layout_for: returns the layout of the table for any unit.
        most_rows: maximum rows sorted at once.
    """
    parts: list[Path] = []
    missing = rows = 0
    layout: TableLayout | None = None
    for settled in results:
        layout = layout or layout_for(settled.unit)
        if settled.path is None:
            missing += len(settled.unit["regions"])
        else:
            parts.append(settled.path)
            rows += settled.record.rows or 0
    assert layout is not None, "a plan has units"
    schema = layout.schema(_id_type(layout.id_column, parts))
    count = max(1, math.ceil(rows / most_rows))
    with TableSpill(results.folder, schema, count) as ranges, _Files(results, layout, schema) as files:
        _deal(parts, schema, ranges, count)
        for number in range(count):
            files.write(_in_order(ranges.take(number)))
    if missing:
        results.say(f"{format_count(missing, 'region')} missing in the table: requests failed")


def _id_type(column: str, parts: Sequence[Path]) -> pa.DataType:
    """Return the common type of the ids: float64 for integers and fractions, text for other mixtures."""
    types = {pq.read_schema(path).field(column).type for path in parts} - {pa.null()}
    if len(types) <= 1:
        return next(iter(types), pa.string())
    return pa.float64() if types == {pa.int64(), pa.float64()} else pa.string()


def _deal(parts: Sequence[Path], schema: pa.Schema, ranges: TableSpill, count: int) -> None:
    """Distribute the rows of all parts to ``count`` ranges of ids."""
    if count == 1:
        for path in parts:
            ranges.add(0, _read(path, schema))
        return
    ids = np.unique(np.concatenate([_read(path, schema, 1).column(0).unique().to_pandas() for path in parts]))
    limits = ids[[len(ids) * number // count for number in range(1, count)]]
    for path in parts:
        table = _read(path, schema)
        which = np.searchsorted(limits, table.column(0).to_pandas().to_numpy(), side="right")
        for number in np.unique(which).tolist():
            ranges.add(number, table.filter(pa.array(which == number)))


def _read(path: Path, schema: pa.Schema, columns: int | None = None) -> pa.Table:
    """Read the first columns of a part in the types of the schema: columns of empty parts may have no type."""
    wanted = pa.schema(list(schema)[:columns])
    return pq.read_table(path, columns=wanted.names).cast(wanted)


def _in_order(table: pa.Table) -> pa.Table:
    """Sort a table by its first column; the sort is stable."""
    keys = table.column(0).to_pandas().to_numpy()
    return table.take(pa.array(np.argsort(keys, kind="stable")))


class _Files:
    """Write the files of a table. At the end of a ``with`` block they receive their final names, in order.

    Args:
        results: results of the run.
        layout: layout of the table.
        schema: schema of the rows.
    """

    def __init__(self, results: Results, layout: TableLayout, schema: pa.Schema) -> None:
        self._results, self._layout, self._schema = results, layout, schema
        self._open: dict[str, tuple[ExitStack, TableAppender]] = {}

    def __enter__(self) -> _Files:
        if not self._layout.by_year:
            self._file("series")  # even without rows
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, (stack, _) in sorted(self._open.items()):
            stack.__exit__(kind, error, trace)

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if not self._layout.by_year:
            self._file("series").write(table)
            return
        years = pc.utf8_slice_codeunits(table.column("date"), 0, 4)
        for year in sorted(pc.unique(years).to_pylist()):
            self._file(f"series/year={year}/series").write(table.filter(pc.equal(years, year)))

    def _file(self, stem: str) -> TableAppender:
        if stem not in self._open:
            stack = ExitStack()
            path = stack.enter_context(self._results.make(f"{stem}.{self._layout.format}"))
            self._open[stem] = stack, stack.enter_context(TableAppender(path, self._schema, self._layout.format))
        return self._open[stem][1]
