"""Convert STAC items to rows of Arrow tables in the columns of stac-geoparquet 1.0, and back.

Properties are separate columns, geometries WKB, bboxes structs, times timestamps
(https://github.com/stac-utils/stac-geoparquet/blob/main/spec/stac-geoparquet-spec.md). The package of that name reads
and writes the files; it converts one item at a time and takes ten times as long, so rows are built here.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from eechips.catalogs.extents import Extent
from eechips.errors import UsageError

TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated", "expires", "published", "unpublished")
"""Properties that are timestamps."""

MOMENT = pa.timestamp("us", tz="UTC")
UNKNOWN = np.iinfo(np.int64).min
"""Replaces the update time of an item without one."""

_TOP = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
MEMBERS = frozenset((*_TOP, "properties"))
"""Members of an item. Its properties cannot have these names, since they are columns beside these."""

# Query engines read these names from partition paths; they reject columns of the same name, or ignore them.
_OF_PATHS = {name: f"property:{name}" for name in ("cell", "year", "month", "day")}
_PROPERTIES = {column: name for name, column in _OF_PATHS.items()}
_DEEPEST = 30  # levels of nested objects or arrays; Arrow's files allow 64
_MOST_NAMES = 1000  # of properties, of assets, or within one: each name is a column that all rows have
_SOME_NAMES, _SPARSE = 100, 0.05  # more properties are too many if the average item has less than this share of them
_RARE = 0.01  # share of items with a property, below which it gets no column if there are too many properties
# Columns that other writers store as JSON text; in STAC they are never text.
_STRUCTURES = frozenset((
    *("assets", "links", "stac_extensions", "bbox", "properties", "providers", "instruments", "keywords", "bands"),
    *("eo:bands", "raster:bands", "proj:bbox", "proj:centroid", "proj:projjson", "proj:shape", "proj:transform"),
))  # fmt: skip
_BOX = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
# The type that pyarrow gives to values from a partition's path; the column must have the same.
_COLLECTION = pa.dictionary(pa.int32(), pa.string())
# The type of lists and objects with nulls only; no JSON number becomes int8. pyarrow 25 writes lists of Arrow's null
# type, but cannot read them.
_NOTHING = pa.int8()
_PROJECTED = "proj:geometry"
_ASSETS = "assets"
REST = "properties"
"""Column of properties without a column, or whose values do not fit into it, as JSON."""
_SCALARS: Mapping[str | None, pa.DataType] = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}
_UNREADABLE: Mapping[str, Any] = {"type": "WKB that cannot be read"}  # not a geometry type
_WKB = {b"ARROW:extension:name": b"geoarrow.wkb", b"ARROW:extension:metadata": b'{"crs":"OGC:CRS84"}'}


def table_of(items: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Convert items to rows.

    Properties with the name of a member (``id``, ``type``, …) cannot be stored and are dropped; those named like a part
    of a partition's path (``year``) are in columns such as ``property:year``. Of too many properties, the rare
    ones, in less than 1% of the items, are together in ``properties``, as JSON. A property that is a number or boolean
    in some items and something else in others has the type of the majority; the other values are in ``properties``, so
    that numbers can be compared. Mixed text, objects and arrays become text, as JSON. So do assets, and properties with
    objects, that have more than 1,000 different names, as their columns would fill the memory with nulls; and values
    nested more than 30 levels deep, which files cannot hold.

    Args:
        items: at least one, with geometry and two-dimensional bbox.
    """
    columns: dict[str, pa.Array] = {
        "type": pa.array(["Feature"] * len(items), pa.string()),
        "stac_version": pa.array([item["stac_version"] for item in items], pa.string()),
        "stac_extensions": pa.array([item.get("stac_extensions") or [] for item in items], pa.list_(pa.string())),
        "id": pa.array([item["id"] for item in items], pa.string()),
        "geometry": pa.array(shapely.to_wkb(geometries(items), flavor="iso"), pa.binary()),
        "bbox": pa.StructArray.from_arrays(list(boxes(items).T), fields=list(_BOX)),
        "links": _array([item.get("links") or [] for item in items]),
        "assets": _asset_column([item.get("assets") or None for item in items]),
        "collection": pa.array([item.get("collection") for item in items], pa.string()).cast(_COLLECTION),
    }
    for name, column in _properties([item["properties"] for item in items]).items():
        columns.setdefault(_OF_PATHS.get(name, name), column)
    columns.setdefault("datetime", pa.nulls(len(items), MOMENT))
    columns = {
        name: _conformed(column, pa.string()) if _is_deep(column.type) else column
        for name, column in columns.items()
        if not pa.types.is_null(column.type)
    }
    fields = [
        pa.field(name, column.type, metadata=_WKB if name == "geometry" else None) for name, column in columns.items()
    ]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


_OPTIONAL = frozenset(("collection",))
"""Columns that may be null: https://github.com/radiantearth/stac-spec/blob/master/item-spec/item-spec.md."""


def check_columns(schema: pa.Schema) -> None:
    """Check that a partition still has the types of columns that this package writes.

    Raises:
        pa.ArrowInvalid: naming the column.
    """
    for name, is_right in _WRITTEN.items():
        index = schema.get_field_index(name)
        if index < 0 or not is_right(schema.field(index).type):
            found = "missing" if index < 0 else str(schema.field(index).type)
            raise pa.ArrowInvalid(f"its column {name} is {found[:60]}, as no item has it")
    for name in (*TIMES, REST):
        index = schema.get_field_index(name)
        if index >= 0 and not (_is_text if name == REST else pa.types.is_timestamp)(schema.field(index).type):
            raise pa.ArrowInvalid(f"its column {name} is {str(schema.field(index).type)[:60]}, as no item has it")


def check_values(table: pa.Table) -> None:
    """Check that no row lacks a required value.

    Raises:
        pa.ArrowInvalid: naming the column.
    """
    for name in (_WRITTEN.keys() - _OPTIONAL) & set(table.column_names):
        column = table[name]
        if column.null_count or (name == "bbox" and any(part.null_count for part in column.flatten())):
            raise pa.ArrowInvalid(f"its column {name} has rows without a value")
    if REST in table.column_names:
        try:
            for row in table[REST].to_pylist():
                if row is not None and not isinstance(json.loads(row), dict):
                    raise ValueError("no object")
        except (ValueError, RecursionError) as error:
            raise pa.ArrowInvalid(f"its column {REST} has something else than JSON objects: {error}") from None


def _is_text(type: pa.DataType) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type))


def _is_box(type: pa.DataType) -> bool:
    names = {type.field(i).name for i in range(type.num_fields)} if pa.types.is_struct(type) else set()
    return {"xmin", "ymin", "xmax", "ymax"} <= names and all(
        pa.types.is_floating(type.field(i).type) for i in range(type.num_fields)
    )


_WRITTEN: Mapping[str, Callable[[pa.DataType], bool]] = {
    "id": _is_text,
    "geometry": lambda kind: bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind)),
    "bbox": _is_box,
    "collection": lambda kind: _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind),
}


def items_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the items of rows. Nulls are dropped, except ``datetime``.

    Rows may come from other writers: with JSON as text, with all properties in one column, with boxes as lists, and
    with times without a zone, which are taken as UTC.
    """
    for row, geometry in zip(table.drop_columns(["geometry"]).to_pylist(), _geojson(table["geometry"]), strict=True):
        found = {name: _structure(row.pop(name, None)) for name in _TOP}
        properties = {
            _PROPERTIES.get(name, name): plain(_structure(value) if name in _STRUCTURES else value)
            for name, value in row.items()
            if value is not None
        }
        if isinstance(properties.get("properties"), dict):
            properties = {**properties.pop("properties"), **properties}
        yield {
            "type": "Feature",
            "stac_version": found["stac_version"],
            "stac_extensions": found["stac_extensions"] or [],
            "id": found["id"],
            "geometry": geometry,
            "bbox": _bbox(found["bbox"]),
            "properties": {"datetime": None, **{k: v for k, v in properties.items() if v is not None}},
            "links": plain(found["links"]) or [],
            "assets": plain(found["assets"]) or {},
            **({} if found["collection"] is None else {"collection": found["collection"]}),
        }


def geometries(items: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.object_]:
    """Return the geometries of items, shape (n,)."""
    dumps = json_writer()
    found: npt.NDArray[np.object_] = shapely.from_geojson(
        np.array([dumps(item["geometry"]) for item in items], dtype=object)
    )
    return found


def boxes(items: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """Return the boxes of items, shape (n, 4): west, south, east, north; without heights."""
    return np.array(
        [box if len(box) == 4 else [*box[:2], *box[3:5]] for box in (item["bbox"] for item in items)], dtype=float
    )


def boxes_of(table: pa.Table) -> npt.NDArray[np.float64]:
    """Return the boxes of rows, shape (n, 4): west, south, east, north."""
    column = table["bbox"]
    return np.column_stack([pc.struct_field(column, name).to_numpy() for name in ("xmin", "ymin", "xmax", "ymax")])


def starts_of(table: pa.Table) -> npt.NDArray[np.datetime64]:
    """Return the start times of items, ``datetime64[us]``, UTC, shape (n,); NaT where unknown."""
    return _moments(table, ("datetime", "start_datetime"), np.fmin)


def ends_of(table: pa.Table) -> npt.NDArray[np.datetime64]:
    """Return the end times of items, ``datetime64[us]``, UTC, shape (n,); NaT where unknown."""
    return _moments(table, ("datetime", "end_datetime"), np.fmax)


def meets(
    table: pa.Table, extent: Extent | None, start: datetime | None, end: datetime | None
) -> npt.NDArray[np.bool_]:
    """Return which rows meet the extent, and the interval from ``start`` to before ``end``; shape (n,)."""
    found = np.ones(len(table), dtype=bool) if extent is None else extent.meets_all(boxes_of(table))
    if start is not None:
        found &= ends_of(table) >= np.datetime64(start.replace(tzinfo=None), "us")
    if end is not None:
        found &= starts_of(table) < np.datetime64(end.replace(tzinfo=None), "us")
    return found


def stamps_of(table: pa.Table) -> npt.NDArray[np.int64]:
    """Return the update times of items, microseconds since 1970; ``UNKNOWN`` where they are unknown."""
    if "updated" not in table.column_names:
        return np.full(len(table), UNKNOWN, dtype=np.int64)
    moments = table["updated"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    found: npt.NDArray[np.int64] = pc.fill_null(moments, UNKNOWN).to_numpy()
    return found


def kind_of(type: pa.DataType) -> str | None:
    """Return the kind of values of a type; None for nulls only."""
    if pa.types.is_null(type) or type == _NOTHING:
        return None
    if _is_number(type):
        return "number"
    if pa.types.is_boolean(type):
        return "boolean"
    if pa.types.is_struct(type):
        return "object"
    if pa.types.is_list(type):
        return "array"
    return "text" if pa.types.is_string(type) or pa.types.is_dictionary(type) else str(type)


def kind_named(type: str) -> str | None:
    """Return the kind of values of a type by its name."""
    known = {"string": "text", "bool": "boolean", "double": "number", "int64": "number", "null": None, "int8": None}
    starts = {"struct": "object", "list": "array", "dictionary": "text"}
    return known.get(type, next((kind for start, kind in starts.items() if type.startswith(start)), type))


def count_kinds(table: pa.Table, names: Iterable[str]) -> dict[str, Counter[str]]:
    """Count the values of properties by column and kind.

    Args:
        table: rows of items.
        names: columns to count, beside those with values in ``properties``.
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in _rest(table):
        for name, value in row.items():
            found[_OF_PATHS.get(name, name)][_kind(value)] += 1
    for name in ({*names, *found} & set(table.column_names)) - {*_TOP, REST}:
        if (kind := kind_of(table[name].type)) is not None:
            found[name][kind] += len(table) - table[name].null_count
    return found


def fractions_apart(table: pa.Table) -> set[str]:
    """Return the columns with fractions in ``properties`` that an integer column cannot hold."""
    return {
        _OF_PATHS.get(name, name)
        for row in _rest(table)
        for name, value in row.items()
        if _kind(value) == "number" and (isinstance(value, float) or abs(value) >= 2**63)
    }


def most_frequent(counts: Mapping[str, int]) -> str:
    """Return the most frequent kind; of several, a number if possible."""
    return max(sorted(counts), key=lambda kind: (counts[kind], kind == "number", kind == "boolean"))


def is_mixed(kinds: Iterable[str]) -> bool:
    """Return whether a column of all kinds would turn numbers or booleans into text."""
    found = set(kinds)
    return len(found) > 1 and not found.isdisjoint(("number", "boolean"))


def unified(schemas: Iterable[pa.Schema], chosen: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Return a schema for rows of all schemas, after :func:`conformed`.

    Args:
        schemas: of the rows.
        chosen: types of columns that are already decided; other mixed columns become numbers or booleans.
    """
    found: dict[str, list[pa.Field]] = defaultdict(list)
    for schema in schemas:
        for field in schema:
            found[field.name].append(field)
    fields: dict[str, pa.Field] = {}
    for name, own in found.items():
        known = [field.type for field in own]
        if name not in _TOP:
            kinds = {kind for each in known if (kind := kind_of(each)) is not None}
            if chosen is not None and name in chosen:
                known = [chosen[name]]
                kinds.add(str(kind_of(chosen[name])))
            elif is_mixed(kinds):
                known = [each for each in known if kind_of(each) == most_frequent(dict.fromkeys(kinds, 1))]
            if is_mixed(kinds):
                fields.setdefault(REST, pa.field(REST, pa.string()))
        fields[name] = own[0].with_type(functools.reduce(_common, known))
    return pa.schema(
        [fields[name] for name in (*(n for n in _TOP if n in fields), *(n for n in fields if n not in _TOP))]
    )


def conformed(table: pa.Table, schema: pa.Schema, *, cast: bool = False) -> pa.Table:
    """Return rows in the columns of a schema that includes theirs; null where they have no value.

    Args:
        table: the rows.
        schema: the columns.
        cast: convert values of another kind where possible; other ones are kept unchanged in ``properties``, from where
            fitting values return.
    """
    if table.schema.equals(schema) and not (cast and REST in table.column_names):
        return table.cast(schema) if table.schema.metadata != schema.metadata else table
    replaced = _redistributed(table, schema, cast)
    columns = []
    for field in schema:
        index = table.schema.get_field_index(field.name)
        if field.name in replaced:
            columns.append(replaced[field.name])
        elif index < 0:
            column = pa.nulls(len(table), field.type)
            columns.append(_there(column) if field.name == _ASSETS else column)
        else:
            column = table.column(index)
            columns.append(column if column.type == field.type else _conformed(_whole(column), field.type))
    return pa.table(columns, schema=schema)


def _redistributed(table: pa.Table, schema: pa.Schema, cast: bool) -> dict[str, pa.Array]:
    """Return columns with values of another kind than in the schema, or with values in ``properties``."""
    if REST not in schema.names:
        return {}
    moved = [
        field.name
        for field in schema
        if field.name in table.column_names
        and field.name not in (*_TOP, REST)
        and (kind := kind_of(table[field.name].type)) is not None
        and is_mixed({kind, str(kind_of(field.type))})
    ]
    if not moved and REST not in table.column_names:
        return {}
    rows = _rest(table)
    for name in moved:
        for row, value in zip(rows, table[name].to_pylist(), strict=True):
            if value is not None:
                row[_PROPERTIES.get(name, name)] = plain(value)
    found: dict[str, pa.Array] = {}
    for name in {_OF_PATHS.get(name, name) for row in rows for name in row} & set(schema.names) | set(moved):
        wanted, own = schema.field(name).type, _PROPERTIES.get(name, name)
        kind = kind_of(wanted)
        if name in MEMBERS or (kind not in _SCALARS and name not in moved):
            continue
        values = [_fitting(row.get(own), kind, cast) if kind in _SCALARS else None for row in rows]
        if kind == "number" and pa.types.is_integer(wanted):
            values = [value if isinstance(value, int) and abs(value) < 2**63 else None for value in values]
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                del row[own]
        lifted = _conformed(pa.array(values, _SCALARS[kind] if kind != "number" else None), wanted) if any(
            value is not None for value in values
        ) else pa.nulls(len(table), wanted)  # fmt: skip
        if name in table.column_names and name not in moved:
            lifted = pc.coalesce(_conformed(_whole(table[name]), wanted), lifted)
        found[name] = lifted
    found[REST] = pa.array([json.dumps(row) if row else None for row in rows], pa.string())
    return found


def _rest(table: pa.Table) -> list[dict[str, Any]]:
    """Return the properties of each row that share one column."""
    if REST not in table.column_names:
        return [{} for _ in range(len(table))]
    return [{} if text is None else dict(json.loads(text)) for text in table[REST].to_pylist()]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number" if isinstance(value, float) or abs(value) < 2**1023 else "number without bounds"
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, Mapping) else "array" if isinstance(value, (list, tuple)) else "other"


def _fitting(value: Any, kind: str | None, cast: bool) -> Any:
    """Convert a value to a kind; None if it does not fit."""
    if value is None or _kind(value) == kind:
        return value
    if cast and kind == "text" and isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if cast and kind in ("number", "boolean") and isinstance(value, str):
        try:
            found = json_reader()(value.strip().encode())
        except ValueError:
            return None
        return found if _kind(found) == kind else None
    return None


def _asset_column(values: Sequence[Mapping[str, Any] | None]) -> pa.Array:
    """Return the column of the items' assets; None where there are none."""
    if _are_many(values):
        return _texts(values)
    found = _array([
        {name: _with_wkb(asset) for name, asset in value.items()}
        if value is not None and any(_PROJECTED in asset for asset in value.values())
        else value
        for value in values
    ])  # fmt: skip
    return _there(found)


def _there(column: pa.Array) -> pa.Array:
    """Replace null by empty objects: every item has assets, and rustac does not read null."""
    if not pa.types.is_struct(column.type) or not column.null_count:
        return column
    return pa.StructArray.from_arrays(column.flatten(), fields=list(column.type))


def _properties(values: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    counts = Counter(name for value in values for name in value)
    # Many sparse columns take minutes and gigabytes.
    is_sparse = len(counts) > _SOME_NAMES and counts.total() < _SPARSE * len(counts) * len(values)
    if is_sparse or len(counts) > _MOST_NAMES:
        values = _gathered(values, counts)
    objects: dict[str, list[Any]] = defaultdict(list)
    for value in values:
        for name, part in value.items():
            if type(part) is dict:
                objects[name].append(part)
    many = {name for name, parts in objects.items() if name != _PROJECTED and _are_many(parts)}
    found: dict[str, pa.Array] = {name: _texts([value.get(name) for value in values]) for name in many}
    rows = [
        _with_wkb({name: part for name, part in value.items() if name not in many} if many else value)
        for value in values
    ]
    found |= _scalars_apart(rows)
    for name in TIMES:
        if name in found and not pa.types.is_timestamp(found[name].type):
            try:
                found[name] = found[name].cast(MOMENT)
            except pa.ArrowInvalid as error:
                raise UsageError(f"'{name}' of an item is not a date and time as in STAC: {error}") from error
    return found


def _scalars_apart(rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """Return columns of properties; of mixed ones the rarer kinds are in ``properties``.

    Columns without any value are dropped.
    """
    try:
        whole = pa.array(rows)
        whole = _conformed(whole, _storable(whole.type))
        found = {whole.type.field(i).name: column for i, column in enumerate(whole.flatten())}
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        own = [dict(row) for row in rows]
        apart: list[dict[str, Any]] = [{} for _ in rows]
        found = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            counts = Counter(_kind(row[name]) for row in own if row.get(name) is not None)
            if name not in MEMBERS and name not in TIMES and is_mixed(counts):
                kept = most_frequent(counts)
                for row, rest in zip(own, apart, strict=True):
                    if row.get(name) is not None and _kind(row[name]) != kept:
                        rest[name] = row.pop(name)
            found[name] = _nested([row.get(name) for row in own])
        if any(apart):
            there = found[REST].to_pylist() if REST in found else [None] * len(rows)
            both = [
                {**({} if text is None else json.loads(text)), **rest} for text, rest in zip(there, apart, strict=True)
            ]
            found[REST] = pa.array([json.dumps(row) if row else None for row in both], pa.string())
    return {name: column for name, column in found.items() if column.type != _NOTHING}


def _gathered(values: Sequence[Mapping[str, Any]], counts: Counter[str]) -> list[Mapping[str, Any]]:
    """Gather rare properties in one, as JSON, under a name that no property has."""
    usual = [name for name, count in counts.most_common(_MOST_NAMES) if count >= _RARE * len(values)]
    columns = {*usual, *TIMES}
    found: list[Mapping[str, Any]] = []
    for value in values:
        rare = {name: part for name, part in value.items() if name not in columns and part is not None}
        own = {name: part for name, part in value.items() if name in columns}
        found.append({**own, REST: json.dumps(rare)} if rare else own)
    return found


def _are_many(values: Sequence[Mapping[str, Any] | None]) -> bool:
    """Return whether objects have too many different names for columns."""
    return len(set().union(*(value for value in values if value is not None))) > _MOST_NAMES


def _texts(values: Sequence[Any]) -> pa.Array:
    """Return texts unchanged, and other values as JSON."""
    return pa.array(
        [value if value is None or isinstance(value, str) else json.dumps(value) for value in values], pa.string()
    )


def _array(values: Sequence[Any]) -> pa.Array:
    """Let Arrow infer the type; mixed values become text, and empty objects null."""
    try:
        found = pa.array(values)
        return _conformed(found, _storable(found.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        if {_kind(value) for value in values if value is not None} == {"number"}:
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        return _mixed(values)


def _nested(values: Sequence[Any]) -> pa.Array:
    found = _array(values)
    return pa.nulls(len(found), _NOTHING) if pa.types.is_null(found.type) else found


def _mixed(values: Sequence[Any]) -> pa.Array:
    there = [value for value in values if value is not None]
    if all(isinstance(value, Mapping) for value in there):
        names = dict.fromkeys(name for value in there for name in value)
        children = [_nested([None if value is None else value.get(name) for value in values]) for name in names]
        mask = pa.array([value is None for value in values])
        return pa.StructArray.from_arrays(children, names=list(names), mask=mask)
    if all(isinstance(value, (list, tuple)) for value in there):
        lengths = [0 if value is None else len(value) for value in values]
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        mask = pa.array([value is None for value in values])
        return pa.ListArray.from_arrays(offsets, _nested([part for value in there for part in value]), mask=mask)
    return _texts(values)


def _moments(table: pa.Table, names: Sequence[str], pick: np.ufunc) -> npt.NDArray[np.datetime64]:
    there = (table[name] for name in names if name in table.column_names)
    plain = (column.cast(MOMENT).cast(pa.timestamp("us")).to_numpy(zero_copy_only=False) for column in there)
    found: npt.NDArray[np.datetime64] = functools.reduce(pick, plain)
    return found


def _is_deep(type: pa.DataType) -> bool:
    """Return whether a type is nested too deeply."""
    level = [type]
    for _ in range(_DEEPEST):
        level = [each.field(i).type for each in level for i in range(each.num_fields)]
        if not level:
            return False
    return True


def _storable(type: pa.DataType) -> pa.DataType:
    """Return a type without empty structs, which Parquet lacks, and without lists of nulls."""
    if pa.types.is_struct(type):
        fields = [field.with_type(_something(_storable(field.type))) for field in type]
        return pa.struct(fields) if fields else pa.null()
    return pa.list_(_something(_storable(type.value_type))) if pa.types.is_list(type) else type


def _something(type: pa.DataType) -> pa.DataType:
    return _NOTHING if pa.types.is_null(type) else type


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return a type for the values of both types."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one) or one == _NOTHING:
        return other
    if other == _NOTHING:
        return one
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = {field.name: field for field in one}
        for field in other:
            known = fields.get(field.name)
            fields[field.name] = field if known is None else known.with_type(_common(known.type, field.type))
        return pa.struct(list(fields.values()))
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_common(one.value_type, other.value_type))
    if _is_number(one) and _is_number(other):
        return pa.int64() if pa.types.is_integer(one) and pa.types.is_integer(other) else pa.float64()
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
        return MOMENT
    return pa.string()


def _conformed(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if array.type == wanted:
        return array
    if pa.types.is_null(array.type) or pa.types.is_null(wanted) or array.type == _NOTHING:
        return pa.nulls(len(array), wanted)
    if pa.types.is_struct(wanted):
        there = {array.type.field(i).name: column for i, column in enumerate(array.flatten())}
        children = [
            _conformed(there[field.name], field.type) if field.name in there else pa.nulls(len(array), field.type)
            for field in wanted
        ]
        return pa.StructArray.from_arrays(children, fields=list(wanted), mask=array.is_null())
    if pa.types.is_list(wanted):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        return pa.ListArray.from_arrays(
            offsets, _conformed(array.flatten(), wanted.value_type), type=wanted, mask=array.is_null()
        )
    if pa.types.is_string(wanted) and (pa.types.is_nested(array.type) or pa.types.is_boolean(array.type)):
        return pa.array([None if value is None else json.dumps(plain(value)) for value in array.to_pylist()], wanted)
    # Integers beside fractions become fractions, although integers beyond 2**53 lose digits.
    return array.cast(wanted, safe=not (pa.types.is_integer(array.type) and pa.types.is_floating(wanted)))


def _is_number(type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type))


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one chunk."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def plain(value: Any) -> Any:
    """Return a value as JSON: without nulls in objects, times as text, and WKB as GeoJSON."""
    if isinstance(value, dict):
        parts = ((name, plain(part)) for name, part in value.items() if part is not None)
        return {name: part for name, part in parts if part is not None}
    if isinstance(value, list):
        if value and all(isinstance(part, tuple) for part in value):  # a map
            return plain(dict(value))
        return [plain(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, (str, int)):
        return value
    return _to_json_scalar(value)


def _to_json_scalar(value: Any) -> Any:
    """Convert a value of a type that JSON lacks."""
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        shape = shapely.from_wkb(value, on_invalid="ignore")
        return None if shape is None else shapely.geometry.mapping(shape)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)  # days, times of the day, durations


def _structure(value: Any) -> Any:
    """Parse JSON in a text that stands for an object or an array."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json_reader()(value.encode())
        except ValueError:
            return value
    return value


def _bbox(value: Any) -> Any:
    """Return a box as in STAC; structs name their numbers, in any order."""
    if not isinstance(value, dict):
        return value
    names = [name for name in ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax") if value.get(name) is not None]
    return [value[name] for name in names] or None


def _geojson(column: pa.ChunkedArray) -> list[Any]:
    """Return the geometries of a column of WKB or text as GeoJSON."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = column.to_pylist()
    if values and isinstance(next((value for value in values if value is not None), b""), str):
        is_json = [value is not None and value.startswith("{") for value in values]
        wkt = np.array([None if known else value for value, known in zip(values, is_json, strict=True)], dtype=object)
        texts = shapely.to_geojson(shapely.from_wkt(wkt, on_invalid="ignore"))
        return [
            _structure(value) if known else _loaded(value, text)
            for value, known, text in zip(values, is_json, texts, strict=True)
        ]
    if pa.types.is_nested(column.type):
        raise UsageError(f"the column geometry is {column.type}: stac-geoparquet needs WKB")
    texts = shapely.to_geojson(shapely.from_wkb(np.array(values, dtype=object), on_invalid="ignore"))
    return [_loaded(value, text) for value, text in zip(values, texts, strict=True)]


def _loaded(value: Any, text: str | None) -> Any:
    """Parse GeoJSON text; return None for no value, and a placeholder for a value without text."""
    if text is not None:
        return json_reader()(text.encode())
    return None if value is None else _UNREADABLE


def _with_wkb(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return properties, or an asset, with ``proj:geometry`` as WKB: GeoJSON has no single type."""
    geometry = value.get(_PROJECTED)
    if geometry is None:
        return value
    shape = shapely.from_geojson(json.dumps(geometry), on_invalid="ignore")
    return {**value, _PROJECTED: None if shape is None else shapely.to_wkb(shape, flavor="iso")}


def json_writer() -> Callable[[Any], bytes]:
    """Return a fast function that writes JSON."""
    dumps: Callable[[Any], bytes] = _orjson().dumps
    return dumps


def json_reader() -> Callable[[bytes], Any]:
    """Return a fast function that reads JSON and raises ValueError."""
    loads: Callable[[bytes], Any] = _orjson().loads
    return loads


def _orjson() -> Any:
    try:
        import orjson
    except ImportError as error:
        raise UsageError("catalogues need stac-geoparquet and orjson: pip install 'eechips[stac]'") from error
    return orjson
