"""Select the rows of a partition that can match a query: perhaps too many, never too few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eechips_local.assets.stac import is_foreign_property
from eechips_local.catalogs.catalog_schema import meets
from eechips_local.evaluation.asset_model import Bounds, Query, Range

INDEX = "system:index"
START = "system:time_start"
END = "system:time_end"

MEMBERS = frozenset(
    ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
)
"""Columns that are no properties of items."""

_SYSTEM = "system:"
_BOX = ("xmin", "ymin", "xmax", "ymax")
Mask = npt.NDArray[np.bool_]


def is_property(name: str) -> bool:
    """Return whether a column of that name, if there is one, is a property of images."""
    return name not in MEMBERS and name not in (INDEX, START, END) and is_foreign_property(name)


def columns_of(query: Query) -> list[str]:
    """Return the properties that a query looks at and that are columns, if there are any."""
    return [name for name in dict.fromkeys((*query.equals, *query.ranges)) if is_property(name)]


def boxes_of(table: pa.Table) -> npt.NDArray[np.float64]:
    """Return the boxes of rows, shape (n, 4): west, south, east, north."""
    column = table["bbox"]
    return np.column_stack([pc.struct_field(column, name).to_numpy() for name in _BOX])


def starts_of(table: pa.Table) -> npt.NDArray[np.float64]:
    """``system:time_start`` of rows in milliseconds since 1970; not a number where there is none, (n,)."""
    columns = [_microseconds(table[name]) for name in ("start_datetime", "datetime") if name in table.column_names]
    if not columns:
        return np.full(len(table), np.nan)
    starts: npt.NDArray[np.float64] = np.floor(pc.coalesce(*columns).cast(pa.float64()).to_numpy() / 1000.0)
    return starts


def stamps_of(table: pa.Table) -> npt.NDArray[np.int64]:
    """Return when items were updated, in microseconds since 1970; 0 where they do not say, (n,)."""
    if "updated" not in table.column_names or not pa.types.is_timestamp(table["updated"].type):
        return np.zeros(len(table), dtype=np.int64)
    stamps: npt.NDArray[np.int64] = pc.fill_null(_microseconds(table["updated"]), 0).to_numpy()
    return stamps


def passing(table: pa.Table, starts: npt.NDArray[np.float64], query: Query) -> Mask:
    """Return the rows that can pass, (n,).

    Args:
        table: the columns ``bbox`` and those of the query, as far as there are any.
        starts: see :func:`starts_of`.
        query: what to find.
    """
    may_pass = np.ones(len(table), dtype=bool)
    if query.bounds is not None:
        may_pass &= meets(boxes_of(table), query.bounds)
    if query.start is not None:
        may_pass &= starts >= query.start
    if query.end is not None:
        may_pass &= starts < query.end
    for name, value in query.equals.items():
        may_pass &= _equal(table, name, starts, value)
    for name, span in query.ranges.items():
        may_pass &= _within(table, name, starts, span)
    return may_pass


def can_pass(group: Any, leaves: Mapping[str, int], query: Query, *, flat: bool) -> bool:
    """Return whether a row group can have rows that pass, by its statistics.

    Args:
        group: metadata of the row group.
        leaves: positions of its columns by their paths.
        query: what to find.
        flat: whether no row's box crosses the antimeridian.
    """
    if flat and query.bounds is not None and not _can_meet(group, leaves, query.bounds):
        return False
    spans = dict(query.ranges)
    for name, value in query.equals.items():
        if isinstance(value, (int, float)) and name not in spans:
            spans[name] = Range(float(value), float(value))
    return all(_can_lie(_limits(group, leaves, name), span) for name, span in spans.items() if is_property(name))


def _can_meet(group: Any, leaves: Mapping[str, int], bounds: Bounds) -> bool:
    limits = [_limits(group, leaves, f"bbox.{name}") for name in _BOX]
    if any(limit is None for limit in limits):
        return True
    (west, _), (south, _), (_, east), (_, north) = limits  # type: ignore[misc]  # none is None
    return bool(meets(np.array([[west, south, east, north]]), bounds)[0])


def _can_lie(limits: tuple[float, float] | None, span: Range) -> bool:
    return limits is None or span.others or not (limits[1] < span.least or limits[0] > span.greatest)


def _limits(group: Any, leaves: Mapping[str, int], name: str) -> tuple[float, float] | None:
    """Return the least and greatest number of a column; None where unknown."""
    position = leaves.get(name)
    statistics = None if position is None else group.column(position).statistics
    if statistics is None or not statistics.has_min_max:
        return None
    low, high = statistics.min, statistics.max
    is_known = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (low, high))
    return (float(low), float(high)) if is_known else None


def _equal(table: pa.Table, name: str, starts: npt.NDArray[np.float64], value: Any) -> Mask:
    everything = np.ones(len(table), dtype=bool)
    if name == INDEX:
        return _mask(pc.equal(table["id"], str(value)))
    if name == START:
        return np.equal(starts, value) if isinstance(value, (int, float)) else everything
    if name.startswith(_SYSTEM):
        return everything
    if name not in table.column_names or not is_property(name):
        return ~everything
    column = _decoded(table[name])
    if _is_number(column.type):
        return _mask(pc.equal(_doubles(column), float(value))) if isinstance(value, (int, float)) else ~everything
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _mask(pc.equal(column, value)) if isinstance(value, str) else ~everything
    return everything


def _within(table: pa.Table, name: str, starts: npt.NDArray[np.float64], span: Range) -> Mask:
    everything = np.ones(len(table), dtype=bool)
    if name == START:
        return _spanned(starts, span)
    if name.startswith(_SYSTEM):
        return everything
    if name not in table.column_names or not is_property(name):
        return everything if span.others else ~everything
    column = _decoded(table[name])
    if _is_number(column.type):
        return _spanned(pc.fill_null(_doubles(column), np.nan).to_numpy(), span)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return everything if span.others else ~everything
    return everything


def _spanned(values: npt.NDArray[np.float64], span: Range) -> Mask:
    inside = (values >= span.least) & (values <= span.greatest)
    return inside | np.isnan(values) if span.others else inside


def _mask(column: pa.ChunkedArray) -> Mask:
    mask: Mask = pc.fill_null(column, False).to_numpy()
    return mask


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without the dictionary that it may be stored with."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _doubles(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.float64(), safe=False)


def _microseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
