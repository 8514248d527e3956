"""Merge the tables of all cells into one: the user's columns and rows, with the values."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eechips.builtin_recipes.tables.point_queries import IMAGE, IMAGE_DATE, PLACE
from eechips.formats import TableFormat
from eechips.formats.large_tables import TIMESTAMP, TableAppender, TableSpill
from eechips.planning.place_tables import Places

Rows = npt.NDArray[np.int64]

_TOGETHER = 1_000_000
"""Maximum rows sorted in memory at once: some 150 MB with a few columns."""
_MOST_PARTS = 256  # maximum open files
_ROW, _SOURCE = "row", "source"
_NOWHERE = -1  # number of the image of rows without one


@dataclass(frozen=True, slots=True)
class _Cell:
    """The file of a cell, and the place of each of the user's rows in it."""

    path: Path
    rows: Rows
    places: Rows


class PointTable:
    """Collect the files of cells and write the table.

    The table has the user's rows in the user's order; the rows of one place are sorted by time. The rows of a cell may
    be anywhere in the table, so they have to be sorted: up to some millions of rows in memory; more rows are first
    distributed to parts on the disk, beside the table, and each part is sorted separately. Memory holds the user's
    table and one part.

    Rows without coordinates, date or image appear once, without values. Rows of failed cells are omitted, since a
    missing value would mean that the dataset has none.

    Args:
        keep: the only column of the user's to keep; None for all.
        prefix: prefix of the names of added columns.
    """

    def __init__(self, places: Places, *, keep: str | None, prefix: str, format: TableFormat) -> None:
        table = places.table if format == "csv" else places.typed()
        self._table = (table if keep is None else table.select([keep])).replace_schema_metadata(None)
        self._prefix, self._format = prefix, format
        self._cells: list[_Cell] = []
        self._is_failed = np.zeros(len(places), dtype=bool)
        self._is_valueless = np.zeros(len(places), dtype=bool)

    @property
    def failed(self) -> int:
        """Rows of cells that failed."""
        return int(self._is_failed.sum())

    @property
    def has_values(self) -> bool:
        """Return whether any cell has a file."""
        return bool(self._cells)

    def add(self, rows: Sequence[int | Sequence[int]], path: Path | None) -> None:
        """Add a cell.

        Args:
            rows: for each place the index of the user's row, or of several rows.
            path: file of the cell; None if it failed.
        """
        counts = np.array([len(entry) if isinstance(entry, list) else 1 for entry in rows])
        flat = np.array(
            [row for entry in rows for row in (entry if isinstance(entry, list) else [entry])], dtype=np.int64
        )
        if path is None:
            self._is_failed[flat] = True
        else:
            self._is_valueless[flat] = True
            self._cells.append(_Cell(path, flat, np.repeat(np.arange(len(rows)), counts)))

    def write(self, path: Path, counts: Collection[str] = ()) -> int:
        """Write the table; raise OSError if it cannot be written.

        Args:
            counts: columns of values that are numbers of pixels; a row with counts only has no value.

        Returns:
            The number of the user's rows without a value. Rows that lie in no cell, or in a failed one, do not count.
        """
        images = _Images()
        schemas = [pq.read_schema(cell.path) for cell in self._cells]
        types = _types(schemas)
        is_named = IMAGE in schemas[0].names
        total = sum(_length(cell) for cell in self._cells)
        count = min(_MOST_PARTS, math.ceil(total / _TOGETHER)) or 1
        edges = np.linspace(0, len(self._table), count + 1).astype(np.int64)
        layout = pa.schema([(_ROW, pa.int64()), (_SOURCE, pa.int32()), *types.items()])
        with TableSpill(path.parent, layout, count) as parts:
            for cell in self._cells:
                for number, piece in enumerate(self._dealt(cell, edges, images, layout)):
                    for column in types.keys() - counts:
                        self._is_valueless[piece.column(_ROW).filter(piece.column(column).is_valid())] = False
                    parts.add(number, piece)
            order = images.ranks()
            with TableAppender(path, self._schema(types, is_named), self._format) as file:
                for number in range(count):
                    first, last = int(edges[number]), int(edges[number + 1])
                    file.write(self._joined(parts.take(number), first, last, images, order, types, is_named))
        return int((self._is_valueless & ~self._is_failed).sum())

    def _dealt(self, cell: _Cell, edges: Rows, images: _Images, layout: pa.Schema) -> Iterator[pa.Table]:
        """Yield a cell's values for each part of the user's rows, repeated for rows with the same place."""
        cell_table = pq.read_table(cell.path)
        cell_table = cell_table.append_column(_SOURCE, pa.array(images.numbers(cell_table), pa.int32()))
        place = cell_table.column(PLACE).to_numpy()
        counts = np.bincount(place, minlength=int(cell.places.max(initial=-1)) + 1)
        starts = np.cumsum(counts) - counts  # places are sorted
        values = cell_table.select([name for name in layout.names if name != _ROW])
        part = np.searchsorted(edges, cell.rows, side="right") - 1
        for number in range(len(edges) - 1):
            some = np.flatnonzero(part == number)
            lengths = counts[cell.places[some]]
            offsets = np.cumsum(lengths) - lengths
            index = np.repeat(starts[cell.places[some]] - offsets, lengths) + np.arange(int(lengths.sum()))
            piece = values.take(pa.array(index))
            row = pa.array(np.repeat(cell.rows[some], lengths))
            yield pa.table([row, *piece.columns], names=[_ROW, *piece.column_names]).select(layout.names).cast(layout)

    def _joined(
        self,
        cell_table: pa.Table,
        first: int,
        last: int,
        images: _Images,
        order: Rows,
        types: dict[str, pa.DataType],
        is_named: bool,
    ) -> pa.Table:
        """Return the rows of the table for the user's rows from ``first`` to before ``last``."""
        row = cell_table.column(_ROW).to_numpy()
        source = cell_table.column(_SOURCE).to_numpy()
        asked = np.zeros(last - first, dtype=bool)
        asked[row - first] = True
        without = np.flatnonzero(~asked & ~self._is_failed[first:last]) + first
        rank = order[source] if len(order) else source  # of _NOWHERE, the last
        place = np.argsort(
            np.concatenate([row * (len(order) + 1) + rank + 1, without * (len(order) + 1)]), kind="stable"
        )
        # Rows without a value have an index beyond the table's end, where a row of nulls is appended.
        nothing = pa.table({name: pa.nulls(len(without), kind) for name, kind in types.items()})
        rows = pa.array(np.concatenate([row, without])[place])
        values = pa.concat_tables([cell_table.select(list(types)), nothing]).take(pa.array(place))
        columns = dict(zip(self._table.column_names, self._table.take(rows).columns, strict=True))
        if is_named:
            sources = np.concatenate([source, np.full(len(without), _NOWHERE)])[place]
            index = pa.array(np.maximum(sources, 0), mask=sources == _NOWHERE)
            columns[self._prefix + IMAGE] = pa.array(images.names, pa.string()).take(index)
            columns[self._prefix + IMAGE_DATE] = pa.array(images.dates, TIMESTAMP).take(index)
        columns |= {self._prefix + name: values.column(name) for name in types}
        return pa.table(columns).cast(self._schema(types, is_named))

    def _schema(self, types: dict[str, pa.DataType], is_named: bool) -> pa.Schema:
        fields = [*self._table.schema]
        if is_named:
            fields += [pa.field(self._prefix + IMAGE, pa.string()), pa.field(self._prefix + IMAGE_DATE, TIMESTAMP)]
        return pa.schema([*fields, *(pa.field(self._prefix + name, kind) for name, kind in types.items())])


class _Images:
    """Number the images of all cells."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], int] = {}

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self._known]

    @property
    def dates(self) -> list[int | None]:
        """Milliseconds since 1970."""
        return [date for _, date in self._known]

    def numbers(self, cell_table: pa.Table) -> npt.NDArray[np.int32]:
        """Return for each row of a cell's file the number of its image."""
        if IMAGE not in cell_table.column_names:
            return np.full(len(cell_table), _NOWHERE, dtype=np.int32)
        names = cell_table.column(IMAGE).combine_chunks().dictionary_encode()
        dates = cell_table.column(IMAGE_DATE).cast(pa.int64())
        indices = names.indices.to_numpy()
        _, firsts = np.unique(indices, return_index=True)
        first_dates = dates.take(pa.array(firsts)).to_pylist()
        numbers = [
            self._known.setdefault((name, date), len(self._known))
            for name, date in zip(names.dictionary.to_pylist(), first_dates, strict=True)
        ]
        return np.array(numbers, dtype=np.int32)[indices] if numbers else np.zeros(0, dtype=np.int32)

    def ranks(self) -> Rows:
        """Return the rank of each image by time, images without a date first, then by name."""
        keys = list(self._known)
        order = sorted(range(len(keys)), key=lambda i: (keys[i][1] is not None, keys[i][1] or 0, keys[i][0]))
        image_ranks = np.empty(len(keys), dtype=np.int64)
        image_ranks[order] = np.arange(len(keys))
        return image_ranks


def _types(schemas: Sequence[pa.Schema]) -> dict[str, pa.DataType]:
    """Return for each value column a type that holds the values of all cells."""
    types: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            if field.name not in (PLACE, IMAGE, IMAGE_DATE) and types.get(field.name) != pa.float64():
                types[field.name] = field.type
    return types


def _length(cell: _Cell) -> int:
    """Estimate the rows of a cell in the table."""
    rows = pq.read_metadata(cell.path).num_rows
    return math.ceil(int(rows) * len(cell.rows) / (int(cell.places.max(initial=0)) + 1))
