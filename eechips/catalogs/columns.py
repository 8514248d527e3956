"""Items as rows of Arrow tables, in the columns of stac-geoparquet 1.0.

https://github.com/stac-utils/stac-geoparquet/blob/main/spec/stac-geoparquet-spec.md: properties are columns of their
own, geometries are WKB, bboxes are structs, times are timestamps. The library of that name reads and writes the files;
rows are made here, since it takes one item at a time, and ten times as long.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
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
"""In the place of the moment at which an item was updated, if it does not say."""

_TOP = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
_BOX = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
# A dictionary, as pyarrow makes of what it reads in a partition's path: the two must be of one type.
_COLLECTION = pa.dictionary(pa.int32(), pa.string())
_PROJECTED = "proj:geometry"
_WKB = {b"ARROW:extension:name": b"geoarrow.wkb", b"ARROW:extension:metadata": b'{"crs":"OGC:CRS84"}'}


def table_of(items: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A row for each item.

    Properties that have the name of a column that every item has (``id``, ``type``, …) cannot be stored, and are left
    out. A property that is text in one item and not in another is text in all.

    Args:
        items: one at least, as STAC has them; geometry and bbox, of two dimensions, must be there.
    """
    columns: dict[str, pa.Array] = {
        "type": pa.array(["Feature"] * len(items), pa.string()),
        "stac_version": pa.array([item["stac_version"] for item in items], pa.string()),
        "stac_extensions": pa.array([item.get("stac_extensions") or [] for item in items], pa.list_(pa.string())),
        "id": pa.array([item["id"] for item in items], pa.string()),
        "geometry": pa.array(shapely.to_wkb(geometries(items), flavor="iso"), pa.binary()),
        "bbox": pa.StructArray.from_arrays(list(boxes(items).T), fields=list(_BOX)),
        "links": _array([item.get("links") or [] for item in items]),
        "assets": _array([_assets(item.get("assets")) for item in items]),
        "collection": pa.array([item.get("collection") for item in items], pa.string()).cast(_COLLECTION),
    }
    for name, column in _properties([_with_wkb(item["properties"]) for item in items]).items():
        columns.setdefault(name, column)
    columns.setdefault("datetime", pa.nulls(len(items), MOMENT))
    columns = {name: column for name, column in columns.items() if not pa.types.is_null(column.type)}
    fields = [
        pa.field(name, column.type, metadata=_WKB if name == "geometry" else None) for name, column in columns.items()
    ]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def items_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The items of rows. What an item has no value for, it does not have, but for ``datetime``."""
    loads = json_reader()
    texts = shapely.to_geojson(shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False)))
    for row, text in zip(table.drop_columns(["geometry"]).to_pylist(), texts, strict=True):
        found = {name: row.pop(name, None) for name in _TOP}
        properties = {name: _plain(value) for name, value in row.items() if value is not None}
        yield {
            "type": "Feature",
            "stac_version": found["stac_version"],
            "stac_extensions": found["stac_extensions"] or [],
            "id": found["id"],
            "geometry": None if text is None else loads(text),
            "bbox": list(found["bbox"].values()) if isinstance(found["bbox"], dict) else found["bbox"],
            "properties": {"datetime": None, **properties},
            "links": _plain(found["links"]) or [],
            "assets": _plain(found["assets"]) or {},
            **({} if found["collection"] is None else {"collection": found["collection"]}),
        }


def geometries(items: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.object_]:
    """The geometries of items, shape (n,)."""
    dumps = json_writer()
    found: npt.NDArray[np.object_] = shapely.from_geojson(
        np.array([dumps(item["geometry"]) for item in items], dtype=object)
    )
    return found


def boxes(items: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """The boxes of items, shape (n, 4): west, south, east, north; heights are left out."""
    return np.array(
        [box if len(box) == 4 else [*box[:2], *box[3:5]] for box in (item["bbox"] for item in items)], dtype=float
    )


def boxes_of(table: pa.Table) -> npt.NDArray[np.float64]:
    """The boxes of rows, shape (n, 4): west, south, east, north."""
    column = table["bbox"]
    return np.column_stack([pc.struct_field(column, name).to_numpy() for name in ("xmin", "ymin", "xmax", "ymax")])


def starts_of(table: pa.Table) -> npt.NDArray[np.datetime64]:
    """When items begin, ``datetime64[us]``, UTC; not a time where they do not say."""
    return _moments(table, ("datetime", "start_datetime"), np.fmin)


def ends_of(table: pa.Table) -> npt.NDArray[np.datetime64]:
    """When items end, ``datetime64[us]``, UTC; not a time where they do not say."""
    return _moments(table, ("datetime", "end_datetime"), np.fmax)


def meets(
    table: pa.Table, extent: Extent | None, start: datetime | None, end: datetime | None
) -> npt.NDArray[np.bool_]:
    """Which rows' boxes meet a place, and whose times a time, from ``start`` to before ``end``; shape (n,)."""
    found = np.ones(len(table), dtype=bool) if extent is None else extent.meets_all(boxes_of(table))
    if start is not None:
        found &= ends_of(table) >= np.datetime64(start.replace(tzinfo=None), "us")
    if end is not None:
        found &= starts_of(table) < np.datetime64(end.replace(tzinfo=None), "us")
    return found


def stamps_of(table: pa.Table) -> npt.NDArray[np.int64]:
    """When items were updated, in microseconds since 1970; ``UNKNOWN`` where they do not say."""
    if "updated" not in table.column_names:
        return np.full(len(table), UNKNOWN, dtype=np.int64)
    moments = table["updated"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    found: npt.NDArray[np.int64] = pc.fill_null(moments, UNKNOWN).to_numpy()
    return found


def unified(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """A schema that rows of all the schemas fit into, after :func:`conformed`."""
    fields: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema:
            known = fields.get(field.name)
            fields[field.name] = field if known is None else known.with_type(_common(known.type, field.type))
    return pa.schema(
        [fields[name] for name in (*(n for n in _TOP if n in fields), *(n for n in fields if n not in _TOP))]
    )


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows in the columns of another schema, which has all of theirs; null where they have none."""
    if table.schema.equals(schema):
        return table.cast(schema) if table.schema.metadata != schema.metadata else table
    columns = []
    for field in schema:
        index = table.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(len(table), field.type))
        else:
            column = table.column(index)
            columns.append(column if column.type == field.type else _conformed(_whole(column), field.type))
    return pa.table(columns, schema=schema)


def _assets(value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The assets of an item as they are stored; None if it has none."""
    if not value:
        return None
    has_any = any(_PROJECTED in asset for asset in value.values() if isinstance(asset, Mapping))
    return {name: _with_wkb(asset) for name, asset in value.items()} if has_any else value


def _properties(values: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    whole = _array(values)
    found = {whole.type.field(i).name: column for i, column in enumerate(whole.flatten())}
    for name in TIMES:
        if name in found and not pa.types.is_timestamp(found[name].type):
            try:
                found[name] = found[name].cast(MOMENT)
            except pa.ArrowInvalid as error:
                raise UsageError(f"an item's '{name}' is no date and time as STAC has it: {error}") from error
    return found


def _array(values: Sequence[Any]) -> pa.Array:
    """Values as Arrow infers their type; what is not of one type becomes text, and an empty object null."""
    try:
        found = pa.array(values)
        return _conformed(found, _storable(found.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return _mixed(values)


def _mixed(values: Sequence[Any]) -> pa.Array:
    there = [value for value in values if value is not None]
    if all(isinstance(value, Mapping) for value in there):
        names = dict.fromkeys(name for value in there for name in value)
        children = [_array([None if value is None else value.get(name) for value in values]) for name in names]
        mask = pa.array([value is None for value in values])
        return pa.StructArray.from_arrays(children, names=list(names), mask=mask)
    if all(isinstance(value, (list, tuple)) for value in there):
        lengths = [0 if value is None else len(value) for value in values]
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        mask = pa.array([value is None for value in values])
        return pa.ListArray.from_arrays(offsets, _array([part for value in there for part in value]), mask=mask)
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(texts, pa.string())


def _moments(table: pa.Table, names: Sequence[str], pick: np.ufunc) -> npt.NDArray[np.datetime64]:
    there = (table[name] for name in names if name in table.column_names)
    plain = (column.cast(MOMENT).cast(pa.timestamp("us")).to_numpy(zero_copy_only=False) for column in there)
    found: npt.NDArray[np.datetime64] = functools.reduce(pick, plain)
    return found


def _storable(type: pa.DataType) -> pa.DataType:
    """The type without structs that have no fields, which Parquet does not know."""
    if pa.types.is_struct(type):
        fields = [field.with_type(_storable(field.type)) for field in type]
        return pa.struct(fields) if fields else pa.null()
    return pa.list_(_storable(type.value_type)) if pa.types.is_list(type) else type


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """A type that holds the values of both."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
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
    if pa.types.is_null(array.type) or pa.types.is_null(wanted):
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
        return pa.array(
            [None if value is None else json.dumps(value, default=str) for value in array.to_pylist()], wanted
        )
    return array.cast(wanted)


def _is_number(type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type))


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in one piece."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _plain(value: Any) -> Any:
    """A value as JSON has it: without nulls in objects, with times as texts, and WKB as GeoJSON."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return shapely.geometry.mapping(shapely.from_wkb(value))
    return value


def _with_wkb(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Properties, or an asset, whose ``proj:geometry`` is WKB: GeoJSON has no one type."""
    geometry = value.get(_PROJECTED)
    if geometry is None:
        return value
    shape = shapely.from_geojson(json.dumps(geometry), on_invalid="ignore")
    return {**value, _PROJECTED: None if shape is None else shapely.to_wkb(shape, flavor="iso")}


def json_writer() -> Callable[[Any], bytes]:
    """What writes JSON fast."""
    dumps: Callable[[Any], bytes] = _orjson().dumps
    return dumps


def json_reader() -> Callable[[bytes], Any]:
    """What reads JSON fast. It raises ValueError."""
    loads: Callable[[bytes], Any] = _orjson().loads
    return loads


def _orjson() -> Any:
    try:
        import orjson
    except ImportError as error:
        raise UsageError("catalogues need stac-geoparquet and orjson: pip install 'eechips[stac]'") from error
    return orjson
