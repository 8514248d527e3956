"""Join the tables of all cells to files of GeoParquet with one schema.

The format is that of https://geoparquet.org/releases/v1.1.0/: geometries are WKB in longitude and latitude, which is
the default CRS, OGC:CRS84.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from eechips.jobs.feature_rows import GEOMETRY, INDEX, TABLE

MOST_ROWS = 1_000_000
"""Rows of a file, about."""
_GROUP_ROWS = 50_000  # rows of a row group, about
_VERSION = "1.1.0"
_DECIMAL = ("Float", "Double")  # names of types whose values may be whole numbers in the JSON of a response
_STATED: Mapping[str, pa.DataType] = {
    **dict.fromkeys(_DECIMAL, pa.float64()),
    **dict.fromkeys(("Byte", "Short", "Integer", "Long"), pa.int64()),
    "String": pa.string(),
    "Boolean": pa.bool_(),
}
"""Types of columns without any value, by the names that the service has for them."""


@dataclass(slots=True)
class _Extent:
    """What the geometries of a file have in common."""

    kinds: set[str] = field(default_factory=set)
    bounds: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, path: Path) -> None:
        values = pq.read_table(path, columns=[GEOMETRY]).column(GEOMETRY).to_numpy()
        if len(values):
            shapes = shapely.from_wkb(values)
            self.kinds.update(shape.geom_type for shape in shapes)
            self.bounds.append(tuple(shapely.total_bounds(shapes).tolist()))

    def metadata(self) -> dict[bytes, bytes]:
        """Return the metadata of GeoParquet."""
        column: dict[str, object] = {"encoding": "WKB", "geometry_types": sorted(self.kinds)}
        if self.bounds:
            edges = np.array(self.bounds)
            column["bbox"] = [*edges[:, :2].min(axis=0).tolist(), *edges[:, 2:].max(axis=0).tolist()]
        geo = {"version": _VERSION, "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
        return {b"geo": json.dumps(geo).encode()}


class FeatureTable:
    """Collect the files of cells and write the table. Memory holds one row group, and the schema.

    Args:
        types: names of the properties' types, as the service states them, such as ``Float``.
        columns: properties in the order of their columns; None for the order of the types.
    """

    def __init__(self, types: Mapping[str, str], columns: Sequence[str] | None = None) -> None:
        self._types = types if columns is None else {name: types.get(name, "") for name in columns}
        self._files: list[tuple[Path, int]] = []
        self._found: dict[str, set[pa.DataType]] = {}

    def add(self, path: Path) -> None:
        """Add the file of a cell."""
        with pq.ParquetFile(path) as file:
            for column in file.schema_arrow:
                self._found.setdefault(column.name, set()).add(column.type)
            if file.metadata.num_rows:
                self._files.append((path, file.metadata.num_rows))

    @property
    def mixed(self) -> list[str]:
        """Columns that have values of several types, which become text."""
        return [name for name, kinds in self._found.items() if _is_mixed(kinds)]

    @property
    def schema(self) -> pa.Schema:
        """One type for each column that holds the values of all cells.

        Columns without a stated type follow those with one, and the geometry is the last.
        """
        first = [name for name in (INDEX, TABLE) if name in self._found]
        stated = [name for name, kind in self._types.items() if name in self._found or kind in _STATED]
        names = [name for name in dict.fromkeys([*first, *stated, *self._found]) if name != GEOMETRY]
        fields = [pa.field(name, _common_type(self._found.get(name, set()), self._types.get(name))) for name in names]
        return pa.schema([*fields, pa.field(GEOMETRY, pa.binary())])

    def parts(self) -> Iterator[list[Path]]:
        """Yield the files of cells that one file of the table holds."""
        chosen: list[Path] = []
        count = 0
        for path, rows in self._files:
            if chosen and count + rows > MOST_ROWS:
                yield chosen
                chosen, count = [], 0
            chosen.append(path)
            count += rows
        if chosen:
            yield chosen

    def write(self, cells: Sequence[Path], path: Path) -> None:
        """Write a file of the table.

        Args:
            cells: files of cells.
            path: path of the file.

        Raises:
            OSError: if it cannot be written.
        """
        extent = _Extent()
        for cell in cells:
            extent.add(cell)
        schema = self.schema
        with pq.ParquetWriter(path, schema.with_metadata(extent.metadata()), compression="zstd") as writer:
            waiting: list[pa.Table] = []
            for cell in cells:
                waiting.append(_fitted(pq.read_table(cell), schema))
                if sum(map(len, waiting)) >= _GROUP_ROWS:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns and types of a schema; columns that it lacks are null."""
    columns = []
    for column in schema:
        if column.name not in table.column_names:
            columns.append(pa.nulls(len(table), column.type))
        else:
            columns.append(_as_type(table.column(column.name), column.type))
    return pa.table(columns, schema=schema)


def _as_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    if pa.types.is_string(kind) and not pa.types.is_null(column.type):  # as str() of the values of one cell
        return pa.chunked_array([pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())])
    return column.cast(kind, safe=False)


def _is_mixed(kinds: set[pa.DataType]) -> bool:
    known = {kind for kind in kinds if not pa.types.is_null(kind)}
    return len(known) > 1 and known != {pa.int64(), pa.float64()}


def _common_type(kinds: set[pa.DataType], stated: str | None) -> pa.DataType:
    """Return the type of a column.

    Args:
        kinds: its types in the cells; null where it has no value.
        stated: name of the type that the service states; None if it states none.
    """
    if _is_mixed(kinds):
        return pa.string()
    known = {kind for kind in kinds if not pa.types.is_null(kind)}
    if known == {pa.int64()}:
        return pa.float64() if stated in _DECIMAL else pa.int64()
    if pa.int64() in known:
        return pa.float64()
    return known.pop() if known else _STATED.get(stated or "", pa.string())
