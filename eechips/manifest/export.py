"""What a finished run leaves for other tools: manifest.parquet, failures.csv, and layers.parquet if there are any."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from eechips.errors import StorageError
from eechips.manifest.ledger import Ledger
from eechips.manifest.record import LAYER_COLUMNS, LISTS, RECORD_COLUMNS
from eechips.staging import new_writer, temporary_name
from eechips.storage import write_file

PARQUET_NAME = "manifest.parquet"
LAYERS_NAME = "layers.parquet"
FAILURES_NAME = "failures.csv"

COPIED = "copied"
"""In the ledger: the manifest is beside the results, in their object store."""

_COLUMNS = ("position", "lower(hex(id))", "unit", "name", "replaces", *RECORD_COLUMNS)
_BATCH = 10_000  # rows that are written at a time
_FAILURE_COLUMNS = ("position", "id", "unit", "state", "error_class", "error", "traceback", "attempts")


def export_parquet(ledger: Ledger, folder: Path) -> Path:
    """Writes manifest.parquet: one row per unit, in the order of the plan.

    Columns: position, id, unit (JSON), name, replaces (the position of the empty unit that it was drawn for), and
    those of :class:`~eechips.manifest.record.Record`; lists are lists. Written in batches: memory does not grow with
    the plan.

    Raises:
        StorageError: if it cannot be written.
    """
    schema = _schema(("position", "id", "unit", "name", "replaces", *RECORD_COLUMNS))
    return _write(folder / PARQUET_NAME, schema, _columns(ledger, schema))


def export_layers(ledger: Ledger, folder: Path) -> Path | None:
    """Write layers.parquet, a row per file, if units have several files; remove an old one if they have one each.

    Columns: position and id of the unit, layer (null for files of a script), file, bytes, sha256, bands, dtype,
    width, height, crs, transform, valid_fraction, rows, sources, dates.

    Raises:
        StorageError: if it cannot be written.
    """
    path = folder / LAYERS_NAME
    if not ledger.has_layers:
        path.unlink(missing_ok=True)
        return None
    schema = _schema(("position", "id", "layer", "file", "bytes", "sha256", *LAYER_COLUMNS))
    return _write(path, schema, _layers(ledger))


def annotate(folder: Path, column: str, values: Mapping[str, str | Sequence[str]]) -> None:
    """Gives manifest.parquet a column of what was found out after the run, in the place of one of that name.

    A run that is not finished has no manifest yet: nothing happens. When units change, the manifest is written anew,
    and what was known of those before is not in it.

    Args:
        folder: of the run.
        column: its name.
        values: by id of the unit, a text each, or a list of texts each; other units have none.

    Raises:
        StorageError: if it cannot be written.
    """
    import pyarrow
    import pyarrow.parquet

    path = folder / PARQUET_NAME
    if not path.is_file():
        return
    are_lists = any(not isinstance(value, str) for value in values.values())
    kind = pyarrow.list_(pyarrow.string()) if are_lists else pyarrow.string()
    with pyarrow.parquet.ParquetFile(path) as file:
        schema = pyarrow.schema([field for field in file.schema_arrow if field.name != column])

        def batches() -> Iterator[list[Any]]:
            for batch in file.iter_batches(_BATCH):
                found = pyarrow.array([values.get(identifier) for identifier in batch["id"].to_pylist()], type=kind)
                yield [*(batch[name] for name in schema.names), found]

        _write(path, schema.append(pyarrow.field(column, kind)), batches())


def _write(path: Path, schema: Any, batches: Iterable[list[Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    temporary = path.with_name(temporary_name(path.name, str(new_writer())))
    try:
        with pyarrow.parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for columns in batches:
                writer.write_table(pyarrow.table(columns, schema=schema))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"could not write {path}: {error.strerror or error}") from error
    return path


def _layers(ledger: Ledger) -> Iterator[list[Any]]:
    rows = ledger.unit_files()
    while batch := list(islice(rows, _BATCH)):
        yield [list(column) for column in zip(*map(file_row, batch), strict=True)]


def file_row(row: Sequence[Any]) -> tuple[Any, ...]:
    """A row of :meth:`Ledger.unit_files` with its facts as columns, those of ``LAYER_COLUMNS``."""
    facts = json.loads(row[-1])
    return (*row[:-1], *(facts.get(name) for name in LAYER_COLUMNS))


def export_failures(ledger: Ledger, folder: Path) -> Path | None:
    """Writes failures.csv if there are failures; removes an old one if there are none any more.

    Raises:
        StorageError: if it cannot be written.
    """
    path = folder / FAILURES_NAME
    rows = list(ledger.failures())
    if not rows:
        path.unlink(missing_ok=True)
        return None
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_FAILURE_COLUMNS)
    writer.writerows(rows)
    write_file(path, buffer.getvalue().encode())
    return path


def _schema(names: Sequence[str]) -> Any:
    import pyarrow as pa

    text = {c: pa.string() for c in ("id", "unit", "name", "layer", *RECORD_COLUMNS)}
    counted = ("position", "replaces", "attempts", "requests", "bytes", "width", "height", "rows")
    integers = {c: pa.int64() for c in counted}
    floats = {c: pa.float64() for c in ("valid_fraction", "seconds")}
    lists = {c: pa.list_(pa.string()) for c in LISTS} | {"transform": pa.list_(pa.float64())}
    types = {**text, **integers, **floats, **lists}
    return pa.schema([(name, types[name]) for name in names])


def _columns(ledger: Ledger, schema: Any) -> Iterator[list[Any]]:
    import pyarrow

    for rows in ledger.batches(_COLUMNS):
        columns = []
        for field, values in zip(schema, zip(*rows, strict=True), strict=True):
            if field.name in LISTS:
                columns.append(pyarrow.array([None if v is None else json.loads(v) for v in values], type=field.type))
            else:
                columns.append(pyarrow.array(values, type=field.type))
        yield columns
