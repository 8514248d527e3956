"""Export a finished run to manifest.parquet, failures.csv and layers.parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from eechips.errors import StorageError
from eechips.files.removal import LockedFolder, NamedPath, remove, replace
from eechips.files.temporary_names import new_writer, temporary_name
from eechips.manifest.extensions import EXTENSION_COLUMN, part_numbers, plan_parts
from eechips.manifest.ledger import Ledger
from eechips.manifest.ledger_queries import layer_columns, read_failures, read_unit_files
from eechips.manifest.unit_record import FAILURES, LISTS, MANIFEST, Column, names_of, schema_of
from eechips.manifest.unit_values import (
    GEO_METADATA,
    GEOMETRY,
    GEOMETRY_COLUMN,
    ValueColumns,
    unit_geometries,
    unit_values,
)
from eechips.storage import write_file
from eechips.storage.received_files import open_parquet
from eechips.text.formatting import format_spreadsheet

PARQUET_NAME = "manifest.parquet"
LAYERS_NAME = "layers.parquet"
FAILURES_NAME = "failures.csv"

COPIED = "copied"
"""In the ledger: the manifest is beside the results, in their object store."""

_COLUMNS = tuple(column.selection for column in MANIFEST)
_BATCH = 10_000  # rows that are written at a time
_FAILURE_COLUMNS = tuple(column.name for column in FAILURES if column.name != "unit")
_ADDED = ("split", "flags")
"""Columns that :func:`annotate` adds to the manifest of a finished run."""


def export_parquet(ledger: Ledger, folder: Path) -> Path:
    """Write manifest.parquet: one row per unit, in the order of the plan. It is GeoParquet.

    Columns: :data:`~eechips.manifest.unit_record.MANIFEST`; lists are lists. Then the texts and numbers of the units
    and their properties, and ``geometry``: the outline of the pixels, or the unit's own geometry, in OGC:CRS84. Of a
    run that was extended also ``extension``: see :class:`~eechips.manifest.extensions.PlanPart`.
    Written in batches: memory does not grow with the plan.

    Raises:
        StorageError: if it cannot be written.
    """
    import pyarrow

    schema = schema_of(MANIFEST)
    units = (unit for rows in ledger.batches(("unit",)) for (unit,) in rows)
    parts = plan_parts(ledger.meta())
    own = ValueColumns(units, (*schema.names, GEOMETRY, *_ADDED, *([EXTENSION_COLUMN] if parts else [])))
    whole, columns = _with_own(schema, own), _columns(ledger, schema, own)
    if parts:
        whole = whole.append(pyarrow.field(EXTENSION_COLUMN, pyarrow.int64()))
        columns = ([*batch, part_numbers(parts, batch[0].to_pylist())] for batch in columns)
    return write_table(folder / PARQUET_NAME, whole, columns)


def export_layers(ledger: Ledger, folder: Path) -> Path | None:
    """Write layers.parquet, a row per file, if units have several files; remove an old one if they have one each.

    A file with several frames has a row for each frame. The columns are those of
    :func:`~eechips.manifest.ledger_queries.layer_columns`.

    Raises:
        StorageError: if it cannot be written.
    """
    path = folder / LAYERS_NAME
    if not ledger.has_layers:
        remove(path, LockedFolder(folder))
        return None
    columns = layer_columns(ledger.database)
    return write_table(path, schema_of(columns), _layers(ledger, columns))


def annotate(folder: Path, column: str, values: Mapping[str, str | Sequence[str]]) -> None:
    """Add a column of later findings to manifest.parquet, or replace the column of that name.

    A run that is not finished has no manifest yet: nothing happens. When units change, the manifest is written anew,
    and what was known of those before is not in it.

    Args:
        values: by id of the unit, a text each, or a list of texts each; other units have none.

    Raises:
        StorageError: if it cannot be written.
    """
    import pyarrow

    path = folder / PARQUET_NAME
    if not path.is_file():
        return
    are_lists = any(not isinstance(value, str) for value in values.values())
    kind = pyarrow.list_(pyarrow.string()) if are_lists else pyarrow.string()
    with open_parquet(path) as file:
        fields = [field for field in file.schema_arrow if field.name != column]
        schema = pyarrow.schema(fields, metadata=file.schema_arrow.metadata)

        def batches() -> Iterator[list[Any]]:
            for batch in file.iter_batches(_BATCH):
                new_column = pyarrow.array(
                    [values.get(identifier) for identifier in batch["id"].to_pylist()], type=kind
                )
                yield [*(batch[name] for name in schema.names), new_column]

        write_table(path, schema.append(pyarrow.field(column, kind)), batches())


def write_table(path: Path, schema: Any, batches: Iterable[list[Any]]) -> Path:
    """Write a Parquet file in batches of columns; it gets its name once it is complete.

    Raises:
        StorageError: if it cannot be written.
    """
    import pyarrow
    import pyarrow.parquet

    temporary = path.with_name(temporary_name(path.name, str(new_writer())))
    try:
        with pyarrow.parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for columns in batches:
                writer.write_table(pyarrow.table(columns, schema=schema))
        replace(temporary, path)
    except OSError as error:
        raise StorageError.of_write(path, error) from error
    finally:
        remove(temporary, NamedPath())  # left over after an error or an interrupt
    return path


def _layers(ledger: Ledger, columns: Sequence[Column]) -> Iterator[list[Any]]:
    rows = read_unit_files(ledger.database)
    while batch := list(islice(rows, _BATCH)):
        frames = (frame for row in batch for frame in file_rows(row, columns))
        yield [list(column) for column in zip(*frames, strict=True)]


def file_rows(row: Sequence[Any], columns: Sequence[Column]) -> list[tuple[Any, ...]]:
    """Return a row of :func:`read_unit_files` with the columns of files.

    A file with several frames has a row for each of them.

    Args:
        row: the position and the other columns that are no metadata, then the metadata as JSON.
        columns: columns of :func:`~eechips.manifest.ledger_queries.layer_columns`.
    """
    own, fields = row[:-1], json.loads(row[-1])
    names = names_of(columns)[len(own) :]
    return [(*own, *((fields | frame).get(name) for name in names)) for frame in fields.get("frames") or [{}]]


def export_failures(ledger: Ledger, folder: Path) -> Path | None:
    """Write failures.csv if there are failures; remove an old one if there are none.

    Columns: :data:`~eechips.manifest.unit_record.FAILURES`, with the texts and numbers of the units and their
    properties instead of the unit as JSON. Geometries are in manifest.parquet. No cell is a formula; see
    :func:`eechips.text.formatting.format_spreadsheet`.

    Raises:
        StorageError: if it cannot be written.
    """
    path = folder / FAILURES_NAME
    rows = list(read_failures(ledger.database))
    if not rows:
        remove(path, LockedFolder(folder))
        return None
    own = ValueColumns((row[2] for row in rows), _FAILURE_COLUMNS)
    table: list[Sequence[Any]] = [(*_FAILURE_COLUMNS, *own.names.values())]
    for row in rows:
        values = unit_values(json.loads(row[2]))
        table.append((*row[:2], *row[3:], *(values.get(name) for name in own.names)))
    write_file(path, format_spreadsheet(table).encode())
    return path


def _with_own(schema: Any, own: ValueColumns) -> Any:
    import pyarrow

    fields = [
        *schema,
        *(pyarrow.field(*own_field) for own_field in own.fields()),
        pyarrow.field(GEOMETRY, GEOMETRY_COLUMN.arrow),
    ]
    return pyarrow.schema(fields, metadata=GEO_METADATA)


def _columns(ledger: Ledger, schema: Any, own: ValueColumns) -> Iterator[list[Any]]:
    import pyarrow

    places = [schema.get_field_index(name) for name in ("unit", "crs", "transform", "width", "height")]
    for rows in ledger.batches(_COLUMNS):
        raw = list(zip(*rows, strict=True))
        columns = []
        for field, values in zip(schema, raw, strict=True):
            if field.name in LISTS:
                columns.append(pyarrow.array([None if v is None else json.loads(v) for v in values], type=field.type))
            else:
                columns.append(pyarrow.array(values, type=field.type))
        texts, *grids = (raw[place] for place in places)
        units = [json.loads(text) for text in texts]
        of_units = zip(own.fields(), own.rows(units), strict=True)
        columns += [pyarrow.array(values, type=kind) for (_, kind), values in of_units]
        columns.append(pyarrow.array(unit_geometries(units, list(zip(*grids, strict=True))), type=pyarrow.binary()))
        yield columns
