"""Write tables that do not fit into memory: append rows to a file, and sort rows by spilling them to the disk."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eechips.files.removal import NamedPath, remove
from eechips.files.scratch_folders import scratch_folder
from eechips.formats.csv import LINE_END, CsvFile
from eechips.formats.format_detection import TableFormat
from eechips.formats.table import json_text

if TYPE_CHECKING:
    import pandas as pd

TIMESTAMP = pa.timestamp("ms", tz="UTC")
"""Type of columns that a CSV file holds in ISO 8601."""


class TableAppender(ExitStack):
    """Append rows to a Parquet or CSV file. Use it in a ``with`` block; the file is complete when the block ends.

    A CSV file has a header even without rows, dates in ISO 8601, ``true`` and ``false``, integers without decimal
    point, lists as JSON, and empty cells for missing values, as in :mod:`eechips.formats.csv`.

    Args:
        path: path of the file, which is replaced.

    Raises:
        OSError: if it cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema, format: TableFormat) -> None:
        super().__init__()
        self._parquet = self._text = None
        if format == "parquet":
            self._parquet = self.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
        else:
            self._text = self.enter_context(CsvFile(self.enter_context(path.open("wb"))))
            _frame(schema.empty_table()).to_csv(self._text, index=False, lineterminator=LINE_END)

    def write(self, table: pa.Table) -> None:
        """Append rows with the columns of the schema; raise OSError if they cannot be written."""
        if self._parquet is not None:
            self._parquet.write_table(table)
        else:
            _frame(table).to_csv(self._text, index=False, header=False, lineterminator=LINE_END)


class TableSpill(ExitStack):
    """Hold the parts of a table: a single part in memory, several parts in one file each. Use it in a ``with`` block.

    The files are uncompressed. They are removed when the block ends.

    Args:
        folder: in which a scratch folder for the files is made; not /tmp, which may be small.
        count: number of the parts, at least 1.

    Raises:
        OSError: if the files cannot be created.
    """

    def __init__(self, folder: Path, schema: pa.Schema, count: int) -> None:
        super().__init__()
        self._schema = schema
        self._rows: list[pa.Table] = []  # of the only part
        self._paths: list[Path] = []
        self._files: list[pa.ipc.RecordBatchStreamWriter] = []
        with ExitStack() as stack:
            if count > 1:
                scratch = stack.enter_context(scratch_folder(folder))
                self._paths = [scratch / f"{number}.arrows" for number in range(count)]
                self._files = [stack.enter_context(pa.ipc.new_stream(str(path), schema)) for path in self._paths]
            self.enter_context(stack.pop_all())

    def add(self, part: int, rows: pa.Table) -> None:
        """Add rows to a part.

        Args:
            part: its number, from 0.

        Raises:
            OSError: if they cannot be written.
        """
        if not self._files:
            self._rows.append(rows)
        elif len(rows):
            self._files[part].write_table(rows)

    def take(self, part: int) -> pa.Table:
        """Remove and return the rows of a part, in the order in which they were added.

        Args:
            part: its number, from 0.

        Raises:
            OSError: if they cannot be read.
        """
        if not self._files:
            rows, self._rows = self._rows, []
            return pa.concat_tables(rows or [self._schema.empty_table()])
        self._files[part].close()
        path = self._paths[part]
        with pa.ipc.open_stream(str(path)) as stream:
            table = stream.read_all()
        remove(path, NamedPath())
        return table


def _frame(table: pa.Table) -> pd.DataFrame:
    """Convert a table to the values of a CSV file."""
    import pandas as pd

    def text(column: pa.ChunkedArray) -> pa.ChunkedArray:
        if pa.types.is_boolean(column.type):
            return column.cast(pa.string())
        if pa.types.is_nested(column.type):
            texts = [None if v is None else json_text(v) for v in column.to_pylist()]
            return pa.chunked_array([texts], pa.string())
        return _iso(column) if column.type == TIMESTAMP else column

    def nullable(kind: pa.DataType) -> Any:
        if not pa.types.is_integer(kind):
            return None
        return pd.api.types.pandas_dtype(str(kind).replace("u", "U").replace("int", "Int"))  # such as UInt16

    columns = [text(column) for column in table.columns]

    frame: pd.DataFrame = pa.table(columns, names=table.column_names).to_pandas(types_mapper=nullable)
    return frame


def _iso(moments: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring(pc.strftime(moments, format="%Y-%m-%dT%H:%M:%SZ"), ".000Z", "Z")
