"""Convert STAC items to rows of Arrow tables in the columns of stac-geoparquet 1.0, and back; gather rare properties in
one column; check the columns of a partition.

Properties are separate columns, geometries WKB, bboxes structs, times timestamps
(https://github.com/stac-utils/stac-geoparquet/blob/main/spec/stac-geoparquet-spec.md). The package of that name reads
and writes the files; it converts one item at a time and takes ten times as long, so rows are built here.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from eechips.archive.catalogs.extents import Extent
from eechips.archive.catalogs.item_json import from_text, json_reader, json_writer, plain
from eechips.archive.catalogs.partitions.column_types import (
    ITEM_FIELDS,
    MEMBERS,
    MOMENT,
    NULL_TYPE,
    PATH_COLUMNS,
    PATH_PROPERTIES,
    REST,
    convert_array,
    fill_assets,
    is_mixed,
    most_frequent,
    storable_type,
    value_kind,
)
from eechips.errors import UsageError
from eechips.geo.geometry_depth import is_too_deep

TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated", "expires", "published", "unpublished")
"""Properties that are timestamps."""
UNKNOWN = np.iinfo(np.int64).min
"""Replaces the update time of an item without one."""
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
_PROJECTED = "proj:geometry"
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
        columns.setdefault(PATH_COLUMNS.get(name, name), column)
    columns.setdefault("datetime", pa.nulls(len(items), MOMENT))
    columns = {
        name: convert_array(column, pa.string()) if _is_deep(column.type) else column
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
    for name, is_right in (_WRITTEN | dict.fromkeys(TIMES, pa.types.is_timestamp) | {REST: _is_text}).items():
        index = schema.get_field_index(name)
        if index < 0 and name not in _WRITTEN:
            continue
        actual_type = "missing" if index < 0 else schema.field(index).type
        if index < 0 or not is_right(actual_type):
            raise pa.ArrowInvalid(f"its column {name} is {str(actual_type)[:60]}, as no item has it")


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


_WRITTEN: dict[str, Callable[[pa.DataType], bool]] = {
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
        fields = {name: _structure(row.pop(name, None)) for name in ITEM_FIELDS}
        properties = {
            PATH_PROPERTIES.get(name, name): plain(_structure(value) if name in _STRUCTURES else value)
            for name, value in row.items()
            if value is not None
        }
        if isinstance(properties.get("properties"), dict):
            properties = {**properties.pop("properties"), **properties}
        yield {
            "type": "Feature",
            "stac_version": fields["stac_version"],
            "stac_extensions": fields["stac_extensions"] or [],
            "id": fields["id"],
            "geometry": geometry,
            "bbox": _bbox(fields["bbox"]),
            "properties": {"datetime": None, **{k: v for k, v in properties.items() if v is not None}},
            "links": plain(fields["links"]) or [],
            "assets": from_text(plain(fields["assets"])) or {},
            **({} if fields["collection"] is None else {"collection": fields["collection"]}),
        }


def geometries(items: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.object_]:
    """Return the geometries of items, shape (n,)."""
    dumps = json_writer()
    shapes: npt.NDArray[np.object_] = shapely.from_geojson(
        np.array([dumps(item["geometry"]) for item in items], dtype=object)
    )
    return shapes


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
    matches = np.ones(len(table), dtype=bool) if extent is None else extent.meets_all(boxes_of(table))
    if start is not None:
        matches &= ends_of(table) >= np.datetime64(start.replace(tzinfo=None), "us")
    if end is not None:
        matches &= starts_of(table) < np.datetime64(end.replace(tzinfo=None), "us")
    return matches


def stamps_of(table: pa.Table) -> npt.NDArray[np.int64]:
    """Return the update times of items, microseconds since 1970; ``UNKNOWN`` where they are unknown."""
    if "updated" not in table.column_names:
        return np.full(len(table), UNKNOWN, dtype=np.int64)
    moments = table["updated"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    stamps: npt.NDArray[np.int64] = pc.fill_null(moments, UNKNOWN).to_numpy()
    return stamps


def _asset_column(values: Sequence[Mapping[str, Any] | None]) -> pa.Array:
    """Return the column of the items' assets; None where there are none."""
    if _are_many(values):
        return _texts(values)
    column = _array([
        {name: _with_wkb(asset) for name, asset in value.items()}
        if value is not None and any(_PROJECTED in asset for asset in value.values())
        else value
        for value in values
    ])  # fmt: skip
    return fill_assets(column)


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
    columns: dict[str, pa.Array] = {name: _texts([value.get(name) for value in values]) for name in many}
    rows = [
        _with_wkb({name: part for name, part in value.items() if name not in many} if many else value)
        for value in values
    ]
    columns |= _scalars_apart(rows)
    for name in TIMES:
        if name in columns and not pa.types.is_timestamp(columns[name].type):
            try:
                columns[name] = columns[name].cast(MOMENT)
            except pa.ArrowInvalid as error:
                raise UsageError(f"'{name}' of an item is not a date and time as in STAC: {error}") from error
    return columns


def _scalars_apart(rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """Return columns of properties; of mixed ones the rarer kinds are in ``properties``.

    Columns without any value are dropped.
    """
    try:
        whole = pa.array(rows)
        whole = convert_array(whole, storable_type(whole.type))
        columns = {whole.type.field(i).name: column for i, column in enumerate(whole.flatten())}
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        own = [dict(row) for row in rows]
        apart: list[dict[str, Any]] = [{} for _ in rows]
        columns = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            counts = Counter(value_kind(row[name]) for row in own if row.get(name) is not None)
            if name not in MEMBERS and name not in TIMES and is_mixed(counts):
                kept = most_frequent(counts)
                for row, rest in zip(own, apart, strict=True):
                    if row.get(name) is not None and value_kind(row[name]) != kept:
                        rest[name] = row.pop(name)
            columns[name] = _nested([row.get(name) for row in own])
        if any(apart):
            there = columns[REST].to_pylist() if REST in columns else [None] * len(rows)
            both = [
                {**({} if text is None else json.loads(text)), **rest} for text, rest in zip(there, apart, strict=True)
            ]
            columns[REST] = pa.array([json.dumps(row) if row else None for row in both], pa.string())
    return {name: column for name, column in columns.items() if column.type != NULL_TYPE}


def _gathered(values: Sequence[Mapping[str, Any]], counts: Counter[str]) -> list[Mapping[str, Any]]:
    """Gather rare properties in one, as JSON, under a name that no property has."""
    usual = [name for name, count in counts.most_common(_MOST_NAMES) if count >= _RARE * len(values)]
    columns = {*usual, *TIMES}
    gathered: list[Mapping[str, Any]] = []
    for value in values:
        rare = {name: part for name, part in value.items() if name not in columns and part is not None}
        own = {name: part for name, part in value.items() if name in columns}
        gathered.append({**own, REST: json.dumps(rare)} if rare else own)
    return gathered


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
        array = pa.array(values)
        return convert_array(array, storable_type(array.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        if {value_kind(value) for value in values if value is not None} == {"number"}:
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        return _mixed(values)


def _nested(values: Sequence[Any]) -> pa.Array:
    column = _array(values)
    return pa.nulls(len(column), NULL_TYPE) if pa.types.is_null(column.type) else column


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
    return functools.reduce(pick, plain)


def _is_deep(type: pa.DataType) -> bool:
    """Return whether a type is nested too deeply."""
    level = [type]
    for _ in range(_DEEPEST):
        level = [nested_type.field(i).type for nested_type in level for i in range(nested_type.num_fields)]
        if not level:
            return False
    return True


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
        plain = [None if known else value for value, known in zip(values, is_json, strict=True)]
        wkt = np.array([None if value is None or is_too_deep(value) else value for value in plain], dtype=object)
        texts = shapely.to_geojson(shapely.from_wkt(wkt, on_invalid="ignore"))
        return [
            _structure(value) if known else _loaded(value, text)
            for value, known, text in zip(values, is_json, texts, strict=True)
        ]
    if pa.types.is_nested(column.type):
        raise UsageError(f"the column geometry is {column.type}: stac-geoparquet needs WKB")
    wkb = np.array([None if value is None or is_too_deep(value) else value for value in values], dtype=object)
    texts = shapely.to_geojson(shapely.from_wkb(wkb, on_invalid="ignore"))
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
