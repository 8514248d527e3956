"""Read stored tables from GeoParquet files: only the row groups and rows that may match a query."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from eechips_local.assets.asset_names import resolve_href
from eechips_local.assets.index_rows import IndexRow
from eechips_local.assets.store_files import size_of
from eechips_local.assets.stored_images import SIZE
from eechips_local.assets.table_cache import HeldTable, covering_of, hold_table
from eechips_local.assets.vectors.untrusted_parquet import BoundedParquet
from eechips_local.evaluation.asset_model import Bounds, FeatureRow, Query
from eechips_local.geometry.longitude_boxes import boxes_each_turn

INDEX_COLUMN = "system:index"
PARQUET_SUFFIXES = (".parquet", ".geoparquet", ".pq")
TIME_COLUMN = "system:time_start"
_BATCH_ROWS = 1024
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class StoredTable:
    """A feature collection in a GeoParquet file. See ``TableAsset``.

    Args:
        asset_id: the full Earth Engine id.
        root: the store's folder.
        href: the file, relative to it.
        properties: properties of the table itself.
        columns: Earth Engine type names by column.
        size: number of rows.
        version: microseconds since 1970.
    """

    def __init__(
        self,
        asset_id: str,
        root: Path,
        href: str,
        properties: Mapping[str, Any],
        columns: Mapping[str, str],
        size: int,
        version: int,
    ) -> None:
        self._id = asset_id
        self._root = root
        self._href = href
        self._properties = properties
        self._columns = columns
        self._size = size
        self._version = version

    def __len__(self) -> int:
        return self._size

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        return self._id

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the table itself."""
        return self._properties

    @property
    def version(self) -> int:
        """Microseconds since 1970, of the last change."""
        return self._version

    @property
    def columns(self) -> Mapping[str, str]:
        """Earth Engine type names of the columns."""
        return self._columns

    def rows(self, query: Query) -> Iterator[FeatureRow]:
        """Yield the rows that may match, in stored order; missing values are missing properties.

        Raises:
            UnsafeHrefError: if the file has become a symbolic link that leads outside the store.
        """
        if any(name not in self._columns for name in query.equals):
            return
        path = self._root / resolve_href(self._root, "", self._href)
        if query.bounds is not None and (held := hold_table(path)) is not None:
            yield from _held_features(held, query)
            return
        with BoundedParquet(path, _BATCH_ROWS) as file:
            geo = json.loads(file.schema_arrow.metadata[b"geo"])
            geometry = geo["primary_column"]
            covering = covering_of(geo)
            groups = [
                group
                for group in range(file.num_row_groups)
                if _may_match(file.metadata.row_group(group), query, covering)
            ]
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups):
                chosen = batch.filter(_mask(batch, query, covering)) if _narrows(query) else batch
                yield from _features(chosen, geometry, covering)


def load_table(row: IndexRow, root: Path) -> StoredTable:
    """Return the table that a row of the index describes; its file is not opened."""
    version, properties, href, size = json.loads(row.record)
    properties[SIZE] = size_of(root, [href])
    return StoredTable(row.id, root, href, properties, json.loads(row.layout), size, version)


def _held_features(held: HeldTable, query: Query) -> Iterator[FeatureRow]:
    """Yield the rows of a table in memory that may match."""
    assert query.bounds is not None
    rest = replace(query, bounds=None)
    numbers = held.find(query.bounds)
    for first in range(0, len(numbers), _BATCH_ROWS):
        for batch in held.rows.take(pa.array(numbers[first : first + _BATCH_ROWS])).combine_chunks().to_batches():
            chosen = batch.filter(_mask(batch, rest)) if _narrows(rest) else batch
            yield from _features(chosen, held.geometry)


def _narrows(query: Query) -> bool:
    return query != Query()


def _mask(batch: pa.RecordBatch, query: Query, covering: str = "") -> pa.Array:
    mask: Any = pa.scalar(True)
    for name, value in query.equals.items():
        mask = pc.and_(mask, _equal(batch.column(name), value))
    if query.indices is not None:
        mask = pc.and_(mask, pc.is_in(batch.column(INDEX_COLUMN), pa.array(sorted(query.indices), pa.string())))
    if TIME_COLUMN in batch.schema.names:
        if query.start is not None:
            mask = pc.and_(mask, pc.greater_equal(batch.column(TIME_COLUMN), query.start))
        if query.end is not None:
            mask = pc.and_(mask, pc.less(batch.column(TIME_COLUMN), query.end))
    if query.bounds is not None:
        corners = {name: batch.column(covering).field(name) for name in _CORNERS}
        mask = pc.and_(mask, _meets(corners, query.bounds))
    if isinstance(mask, pa.Scalar):
        return pa.repeat(mask, batch.num_rows)
    return pc.fill_null(mask, False)


def _equal(column: pa.Array, value: Any) -> Any:
    """Return the rows in which a column equals a value; all if the two do not compare, for the evaluator to decide."""
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if isinstance(value, str):
        return pc.equal(column, value) if text else pa.scalar(False)
    if isinstance(value, int | float) and not text:
        return pc.equal(column.cast(pa.float64(), safe=False), float(value))
    return pa.scalar(not text or not isinstance(value, int | float))


def _meets(corners: Mapping[str, pa.Array], bounds: Bounds) -> Any:
    # Rows may have longitudes past 180 degrees.
    mask: Any = None
    for west, south, east, north in boxes_each_turn(bounds):
        across = pc.and_(pc.less_equal(corners["xmin"], east), pc.greater_equal(corners["xmax"], west))
        level = pc.and_(pc.less_equal(corners["ymin"], north), pc.greater_equal(corners["ymax"], south))
        both = pc.and_(across, level)
        mask = both if mask is None else pc.or_(mask, both)
    return mask


def _may_match(group: Any, query: Query, covering: str) -> bool:
    """Return whether the statistics of a row group leave room for a match."""
    statistics = {}
    for number in range(group.num_columns):
        column = group.column(number)
        if column.is_stats_set and column.statistics.has_min_max:
            statistics[column.path_in_schema] = column.statistics
    for name, value in query.equals.items():
        known = statistics.get(name)
        if known is not None and type(known.min) is type(value) and not known.min <= value <= known.max:
            return False
    if query.bounds is not None and all(f"{covering}.{name}" in statistics for name in _CORNERS):
        corners = {name: pa.array([getattr(statistics[f"{covering}.{name}"], name[1:])]) for name in _CORNERS}
        return bool(_meets(corners, query.bounds)[0].as_py())
    return True


def _features(batch: pa.RecordBatch, geometry: str, covering: str = "") -> Iterator[FeatureRow]:
    names = [name for name in batch.schema.names if name not in (geometry, covering, INDEX_COLUMN)]
    columns = [batch.column(name).to_pylist() for name in names]
    geometries = shapely.from_wkb(batch.column(geometry).to_numpy(zero_copy_only=False))
    for position, index in enumerate(batch.column(INDEX_COLUMN).to_pylist()):
        properties = {
            name: column[position] for name, column in zip(names, columns, strict=True) if column[position] is not None
        }
        yield FeatureRow(index, geometries[position], properties)
