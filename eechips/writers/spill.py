"""Rows that are put in order: dealt into parts, each of which fits into memory where all of them may not."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from eechips.removal import Named, remove, scratch_folder


class Spill:
    """Parts of a table: a single one in memory, several in a file each. Used in a ``with`` block.

    The files are uncompressed and are gone when the block ends.

    Args:
        folder: in which the files may be, in a folder of their own; not /tmp, which may be small.
        schema: of the rows.
        count: of the parts, at least 1.

    Raises:
        OSError: if the files cannot be made.
    """

    def __init__(self, folder: Path, schema: pa.Schema, count: int) -> None:
        self._schema = schema
        self._rows: list[pa.Table] = []  # of the only part
        self._paths: list[Path] = []
        self._files: list[pa.ipc.RecordBatchStreamWriter] = []
        with ExitStack() as stack:
            if count > 1:
                scratch = stack.enter_context(scratch_folder(folder))
                self._paths = [scratch / f"{number}.arrows" for number in range(count)]
                self._files = [stack.enter_context(pa.ipc.new_stream(str(path), schema)) for path in self._paths]
            self._stack = stack.pop_all()

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, part: int, rows: pa.Table) -> None:
        """Adds rows to a part.

        Args:
            part: its number, from 0.
            rows: their columns are those of the schema.

        Raises:
            OSError: if they cannot be written.
        """
        if not self._files:
            self._rows.append(rows)
        elif len(rows):
            self._files[part].write_table(rows)

    def take(self, part: int) -> pa.Table:
        """The rows of a part, as they were added; they are then forgotten.

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
            found = stream.read_all()
        remove(path, Named())
        return found
