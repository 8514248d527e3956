"""Turn the features of cells into columns, and join the tables of all cells to files of GeoParquet with one schema.

The format is that of https://geoparquet.org/releases/v1.1.0/: geometries are WKB in longitude and latitude, which is
the default CRS, OGC:CRS84.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import shapely.geometry
from shapely.geometry.base import BaseGeometry

from eechips.client.table_rows import refusing_other_values
from eechips.errors import ValidationError
from eechips.formats.table import to_plain_value, unify_types
from eechips.planning.areas.feature_cells import FeatureCell, anchors

INDEX, GEOMETRY, TABLE = "system:index", "geometry", "table"
"""Columns beside the properties: id of the feature, its geometry, and of an index of tables the id of its table."""
_GEO = ".geo"
_PREFIX = "property_"  # of a property that is called as one of the columns beside them


def column_of(name: str, *, has_table: bool) -> str:
    """Return the column of a property; different properties have different columns."""
    own = (GEOMETRY, TABLE) if has_table else (GEOMETRY,)
    bare = name
    while bare.startswith(_PREFIX):
        bare = bare.removeprefix(_PREFIX)
    return f"{_PREFIX}{name}" if bare in own else name


_NEAR = 1e-3
"""Degrees around a feature that are near it: many times what the service adds when it compares geometries."""


@dataclass(frozen=True, slots=True, eq=False)
class CellRows:
    """The features that belong to a cell, as columns.

    Attributes:
        cell: the cell; features of its neighbours are dropped.
        region: polygons; features outside are dropped.
        table: id of the table, which becomes a column; None for no column.
        columns: names and order of the properties; None for all, in order of appearance.
    """

    cell: FeatureCell
    region: BaseGeometry
    table: str | None = None
    columns: tuple[str, ...] | None = None

    @refusing_other_values()
    def columns_of(self, rows: list[dict[str, Any]]) -> Mapping[str, Sequence[Any]]:
        """Return columns of the features that belong to the cell.

        Args:
            rows: properties, ``system:index`` and ``.geo`` of each feature. Parts of a cell that was divided may
                return the same feature twice.

        Raises:
            ValidationError: if there are none, though the plan has counted some, or none is near the cell.
        """
        rows = _without_repeated(rows)
        geometries = _shapes([row[_GEO] for row in rows])
        if not self._is_near(geometries):
            what = "features of another place" if rows else "no feature, though the plan has counted some"
            raise ValidationError(f"the response has {what}")
        belongs = self.cell.contains(anchors(geometries, self.region))
        kept = [row for row, own in zip(rows, belongs.tolist(), strict=True) if own]
        names = self.columns
        if names is None:
            names = tuple(name for name in dict.fromkeys(n for row in kept for n in row) if name not in (INDEX, _GEO))
        columns: dict[str, Sequence[Any]] = {INDEX: [row[INDEX] for row in kept]}
        if self.table is not None:
            columns[TABLE] = [self.table] * len(kept)
        for name in names:
            if name in (INDEX, _GEO):
                continue
            columns[column_of(name, has_table=self.table is not None)] = unify_types(
                [to_plain_value(row.get(name)) for row in kept]
            )
        columns[GEOMETRY] = shapely.to_wkb(geometries[belongs]).tolist()
        return columns

    def _is_near(self, geometries: npt.NDArray[np.object_]) -> bool:
        """Return whether a geometry may meet the cell; its edges may leave its bounds, as they are geodesic."""
        west, south, east, north = shapely.bounds(geometries).reshape(-1, 4).T
        around = np.maximum(east - west, north - south) + _NEAR
        cell = self.cell
        rows = (south - around <= cell.north) & (north + around >= cell.south)
        turns = ((west - around + turn <= cell.east) & (east + around + turn >= cell.west) for turn in (0, 360, -360))
        return any(bool((rows & columns).any()) for columns in turns)


def _without_repeated(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without those that are equal to an earlier one."""
    seen: dict[Any, list[dict[str, Any]]] = {}
    distinct_rows = []
    for row in rows:
        alike = seen.setdefault(row[INDEX], [])
        if row not in alike:
            alike.append(row)
            distinct_rows.append(row)
    return distinct_rows


def _shapes(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Return GeoJSON geometries as shapes, shape (n,); None for features without one."""
    shapes = np.full(len(values), None, dtype=object)
    is_point = np.array([value is not None and value["type"] == "Point" for value in values], dtype=bool)
    if is_point.any():
        points = [value["coordinates"][:2] for value, there in zip(values, is_point, strict=True) if there]
        shapes[is_point] = shapely.points(np.array(points, dtype=np.float64))
    for index in np.flatnonzero(~is_point).tolist():
        if values[index] is not None:
            shapes[index] = shapely.geometry.shape(values[index])
    return shapes


MOST_ROWS = 1_000_000
"""Rows of a file, about."""
_GROUP_ROWS = 50_000  # rows of a row group, about
_VERSION = "1.1.0"
_EXACT = 2**53  # the largest integer up to which float64 holds all of them
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


class FeatureFiles:
    """Collect the files of cells and write the table. Memory holds one row group, and the schema.

    Args:
        types: names of the properties' types, as the service states them, such as ``Float``.
        columns: properties in the order of their columns; None for the order of the types.
    """

    def __init__(self, types: Mapping[str, str], columns: Sequence[str] | None = None) -> None:
        self._types = types if columns is None else {name: types.get(name, "") for name in columns}
        self._files: list[tuple[Path, int]] = []
        self._found: dict[str, set[pa.DataType]] = {}
        self._wide: set[str] = set()  # columns of integers that float64 may round

    def add(self, path: Path) -> None:
        """Add the file of a cell."""
        with pq.ParquetFile(path) as file:
            for number, column in enumerate(file.schema_arrow):
                self._found.setdefault(column.name, set()).add(column.type)
                if column.type == pa.int64() and _is_wide(file.metadata, number):
                    self._wide.add(column.name)
            if file.metadata.num_rows:
                self._files.append((path, file.metadata.num_rows))

    @property
    def mixed(self) -> list[str]:
        """Columns that have values of several types, which become text."""
        return [name for name in self._found if self._is_mixed(name)]

    @property
    def schema(self) -> pa.Schema:
        """One type for each column that holds the values of all cells.

        Columns without a stated type follow those with one, and the geometry is the last.
        """
        first = [name for name in (INDEX, TABLE) if name in self._found]
        stated = [name for name, kind in self._types.items() if name in self._found or kind in _STATED]
        names = [name for name in dict.fromkeys([*first, *stated, *self._found]) if name != GEOMETRY]
        return pa.schema([*(pa.field(name, self._type(name)) for name in names), pa.field(GEOMETRY, pa.binary())])

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
        """Write a file of the table; raise OSError if it cannot be written."""
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

    def _is_mixed(self, name: str) -> bool:
        known = self._found.get(name, set()) - {pa.null()}
        if known == {pa.int64(), pa.float64()}:
            return name in self._wide and self._types.get(name) not in _DECIMAL
        return len(known) > 1

    def _type(self, name: str) -> pa.DataType:
        """Return the type of a column."""
        if self._is_mixed(name):
            return pa.string()
        known, stated = self._found.get(name, set()) - {pa.null()}, self._types.get(name)
        if pa.int64() in known and (len(known) > 1 or stated in _DECIMAL):
            return pa.float64()
        return known.pop() if known else _STATED.get(stated or "", pa.string())


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns and types of a schema; columns that it lacks are null."""
    known = set(table.column_names)
    columns = [
        _as_type(table.column(name), kind) if name in known else pa.nulls(len(table), kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.table(columns, schema=schema)


def _as_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    if pa.types.is_string(kind) and not pa.types.is_null(column.type):  # as str() of the values of one cell
        return pa.chunked_array([pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())])
    # Only integers that the service states as decimal may be beyond 2**53 here: they are digits of a float64.
    return column.cast(kind, safe=False)


def _is_wide(metadata: pq.FileMetaData, column: int) -> bool:
    """Return whether a column of integers may have some that float64 rounds, by the statistics of its row groups."""
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(column)
        values = chunk.statistics
        if values is not None and values.null_count == chunk.num_values:
            continue
        if values is None or not values.has_min_max or max(-values.min, values.max) > _EXACT:
            return True
    return False
