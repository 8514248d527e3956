"""Table files that grow: what is too large for memory is written piece by piece."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eechips.recipe import TableFormat

if TYPE_CHECKING:
    import pandas as pd

MOMENT = pa.timestamp("ms", tz="UTC")
"""Type of columns that a CSV file has in ISO 8601."""


class Appender:
    """A Parquet or CSV file to which rows are appended. Used in a ``with`` block, at whose end it is whole.

    A CSV file has a header even if it has no rows, dates in ISO 8601, no decimal point in integers, and nothing for no
    value, as :mod:`eechips.writers.csv` has it.

    Args:
        path: of the file, which is replaced.
        schema: names and types of the columns.
        format: of the file.

    Raises:
        OSError: if it cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema, format: TableFormat) -> None:
        self._stack = ExitStack()
        self._parquet = self._text = None
        if format == "parquet":
            self._parquet = self._stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
        else:
            self._text = self._stack.enter_context(path.open("w", encoding="utf-8", newline=""))
            _frame(schema.empty_table()).to_csv(self._text, index=False, lineterminator="\n")

    def __enter__(self) -> Appender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, table: pa.Table) -> None:
        """Appends rows, whose columns are those of the schema.

        Raises:
            OSError: if they cannot be written.
        """
        if self._parquet is not None:
            self._parquet.write_table(table)
        else:
            _frame(table).to_csv(self._text, index=False, header=False, lineterminator="\n")


def _frame(table: pa.Table) -> pd.DataFrame:
    """A table as it stands in a CSV file."""
    import pandas as pd

    columns = [_iso(column) if column.type == MOMENT else column for column in table.columns]
    kinds: dict[Any, Any] = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}
    found: pd.DataFrame = pa.table(columns, names=table.column_names).to_pandas(types_mapper=kinds.get)
    return found


def _iso(moments: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring(pc.strftime(moments, format="%Y-%m-%dT%H:%M:%SZ"), ".000Z", "Z")
