"""Choose the types of a catalogue's columns, and convert rows of other types to the columns of a schema.

A property may be a number in some items and text in others. Its column has the type of most values; other values are
stored as JSON in the column :data:`REST`.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eechips.archive.catalogs.item_json import json_reader, plain

MOMENT = pa.timestamp("us", tz="UTC")
"""Type of timestamps."""
ITEM_FIELDS = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
"""Members of an item, except its properties: the first columns."""
MEMBERS = frozenset((*ITEM_FIELDS, "properties"))
"""Members of an item. Its properties cannot have these names, since they are columns beside these."""
# Query engines read these names from partition paths; they reject columns of the same name, or ignore them.
PATH_COLUMNS = {name: f"property:{name}" for name in ("cell", "year", "month", "day")}
"""Columns of properties that are named like a part of a partition's path."""
PATH_PROPERTIES = {column: name for name, column in PATH_COLUMNS.items()}
"""Properties of these columns."""
# The type of lists and objects with nulls only; no JSON number becomes int8. pyarrow 25 writes lists of Arrow's null
# type, but cannot read them.
NULL_TYPE = pa.int8()
"""Stands for Arrow's null type inside lists and objects."""
_ASSETS = "assets"
REST = "properties"
"""Column of properties without a column, or whose values do not fit into it, as JSON."""
_SCALARS: Mapping[str | None, pa.DataType] = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


def kind_of(type: pa.DataType) -> str | None:
    """Return the kind of values of a type; None for nulls only."""
    if pa.types.is_null(type) or type == NULL_TYPE:
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
    """Count the values of the named columns, and of those with values in ``properties``, by column and kind."""
    kinds_by_column: dict[str, Counter[str]] = defaultdict(Counter)
    for row in _rest(table):
        for name, value in row.items():
            kinds_by_column[PATH_COLUMNS.get(name, name)][value_kind(value)] += 1
    for name in ({*names, *kinds_by_column} & set(table.column_names)) - {*ITEM_FIELDS, REST}:
        if (kind := kind_of(table[name].type)) is not None:
            kinds_by_column[name][kind] += len(table) - table[name].null_count
    return kinds_by_column


def fractions_apart(table: pa.Table) -> set[str]:
    """Return the columns with fractions in ``properties`` that an integer column cannot hold."""
    return {
        PATH_COLUMNS.get(name, name)
        for row in _rest(table)
        for name, value in row.items()
        if value_kind(value) == "number" and (isinstance(value, float) or abs(value) >= 2**63)
    }


def most_frequent(counts: Mapping[str, int]) -> str:
    """Return the most frequent kind; of several, a number if possible."""
    return max(sorted(counts), key=lambda kind: (counts[kind], kind == "number", kind == "boolean"))


def is_mixed(kinds: Iterable[str]) -> bool:
    """Return whether a column of all kinds would turn numbers or booleans into text."""
    distinct_kinds = set(kinds)
    return len(distinct_kinds) > 1 and not distinct_kinds.isdisjoint(("number", "boolean"))


def unified(schemas: Iterable[pa.Schema], chosen: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Return a schema for rows of all schemas, after :func:`conformed`.

    Args:
        chosen: types of columns that are already decided; other mixed columns become numbers or booleans.
    """
    fields_by_name: dict[str, list[pa.Field]] = defaultdict(list)
    for schema in schemas:
        for field in schema:
            fields_by_name[field.name].append(field)
    fields: dict[str, pa.Field] = {}
    for name, own in fields_by_name.items():
        known = [field.type for field in own]
        if name not in ITEM_FIELDS:
            kinds = {kind for data_type in known if (kind := kind_of(data_type)) is not None}
            if chosen is not None and name in chosen:
                known = [chosen[name]]
                kinds.add(str(kind_of(chosen[name])))
            elif is_mixed(kinds):
                known = [
                    data_type for data_type in known if kind_of(data_type) == most_frequent(dict.fromkeys(kinds, 1))
                ]
            if is_mixed(kinds):
                fields.setdefault(REST, pa.field(REST, pa.string()))
        fields[name] = own[0].with_type(functools.reduce(_common, known))
    return pa.schema(
        [
            fields[name]
            for name in (*(n for n in ITEM_FIELDS if n in fields), *(n for n in fields if n not in ITEM_FIELDS))
        ]
    )


def conformed(table: pa.Table, schema: pa.Schema, *, cast: bool = False) -> pa.Table:
    """Return rows in the columns of a schema that includes theirs; null where they have no value.

    Args:
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
            columns.append(fill_assets(column) if field.name == _ASSETS else column)
        else:
            column = table.column(index)
            columns.append(column if column.type == field.type else convert_array(_whole(column), field.type))
    return pa.table(columns, schema=schema)


def _redistributed(table: pa.Table, schema: pa.Schema, cast: bool) -> dict[str, pa.Array]:
    """Return columns with values of another kind than in the schema, or with values in ``properties``."""
    if REST not in schema.names:
        return {}
    moved = _columns_of_other_kinds(table, schema)
    if not moved and REST not in table.column_names:
        return {}
    rows = _rest(table)
    for name in moved:
        for row, value in zip(rows, table[name].to_pylist(), strict=True):
            if value is not None:
                row[PATH_PROPERTIES.get(name, name)] = plain(value)
    columns: dict[str, pa.Array] = {}
    for name in {PATH_COLUMNS.get(name, name) for row in rows for name in row} & set(schema.names) | set(moved):
        wanted, own = schema.field(name).type, PATH_PROPERTIES.get(name, name)
        kind = kind_of(wanted)
        if name in MEMBERS or (kind not in _SCALARS and name not in moved):
            continue
        values = [_fitting(row.get(own), kind, cast) if kind in _SCALARS else None for row in rows]
        if kind == "number" and pa.types.is_integer(wanted):
            values = [value if isinstance(value, int) and abs(value) < 2**63 else None for value in values]
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                del row[own]
        if all(value is None for value in values):
            lifted = pa.nulls(len(table), wanted)
        else:
            lifted = convert_array(pa.array(values, _SCALARS[kind] if kind != "number" else None), wanted)
        if name in table.column_names and name not in moved:
            lifted = pc.coalesce(convert_array(_whole(table[name]), wanted), lifted)
        columns[name] = lifted
    columns[REST] = pa.array([json.dumps(row) if row else None for row in rows], pa.string())
    return columns


def _columns_of_other_kinds(table: pa.Table, schema: pa.Schema) -> list[str]:
    """Return the names of columns whose values are of another kind than in the schema."""
    return [
        field.name
        for field in schema
        if field.name in table.column_names
        and field.name not in (*ITEM_FIELDS, REST)
        and (kind := kind_of(table[field.name].type)) is not None
        and is_mixed({kind, str(kind_of(field.type))})
    ]


def _rest(table: pa.Table) -> list[dict[str, Any]]:
    """Return the properties of each row that share one column."""
    if REST not in table.column_names:
        return [{} for _ in range(len(table))]
    return [{} if text is None else dict(json.loads(text)) for text in table[REST].to_pylist()]


def value_kind(value: Any) -> str:
    """Return the kind of a JSON value, as :func:`kind_of`; integers that no float holds are another kind."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number" if isinstance(value, float) or abs(value) < 2**1023 else "number without bounds"
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, Mapping) else "array" if isinstance(value, (list, tuple)) else "other"


def _fitting(value: Any, kind: str | None, cast: bool) -> Any:
    """Convert a value to a kind; None if it does not fit."""
    if value is None or value_kind(value) == kind:
        return value
    if cast and kind == "text" and isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if cast and kind in ("number", "boolean") and isinstance(value, str):
        try:
            parsed = json_reader()(value.strip().encode())
        except ValueError:
            return None
        return parsed if value_kind(parsed) == kind else None
    return None


def fill_assets(column: pa.Array) -> pa.Array:
    """Replace null by empty objects: every item has assets, and rustac does not read null."""
    if not pa.types.is_struct(column.type) or not column.null_count:
        return column
    return pa.StructArray.from_arrays(column.flatten(), fields=list(column.type))


def storable_type(type: pa.DataType) -> pa.DataType:
    """Return a type without empty structs, which Parquet lacks, and without lists of nulls."""
    if pa.types.is_struct(type):
        fields = [field.with_type(_something(storable_type(field.type))) for field in type]
        return pa.struct(fields) if fields else pa.null()
    return pa.list_(_something(storable_type(type.value_type))) if pa.types.is_list(type) else type


def _something(type: pa.DataType) -> pa.DataType:
    return NULL_TYPE if pa.types.is_null(type) else type


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return a type for the values of both types."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one) or one == NULL_TYPE:
        return other
    if other == NULL_TYPE:
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


def convert_array(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Convert an array to a type that holds its values."""
    if array.type == wanted:
        return array
    if pa.types.is_null(array.type) or pa.types.is_null(wanted) or array.type == NULL_TYPE:
        return pa.nulls(len(array), wanted)
    if pa.types.is_struct(wanted):
        there = {array.type.field(i).name: column for i, column in enumerate(array.flatten())}
        children = [
            convert_array(there[field.name], field.type) if field.name in there else pa.nulls(len(array), field.type)
            for field in wanted
        ]
        return pa.StructArray.from_arrays(children, fields=list(wanted), mask=array.is_null())
    if pa.types.is_list(wanted):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        return pa.ListArray.from_arrays(
            offsets, convert_array(array.flatten(), wanted.value_type), type=wanted, mask=array.is_null()
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
