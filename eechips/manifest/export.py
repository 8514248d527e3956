"""Export a finished run to manifest.parquet, which is GeoParquet, and layers.parquet: columns and types of the values
of units, outlines of their pixels.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.files.removal import LockedFolder, remove
from eechips.geo.grid import Grid
from eechips.manifest.extensions import EXTENSION_COLUMN, part_numbers, plan_parts, read_named_files
from eechips.manifest.manifest_columns import LISTS, MANIFEST, Column, names_of, schema_of
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import has_layers, layer_columns
from eechips.storage import atomic_path, unit_fields
from eechips.storage.untrusted_files import open_parquet

_MOST_COLUMNS = 200  # of units' own; what more there is stands in the column ``unit``
_LARGEST = 1 << 63
_EXACT = 1 << 53  # up to which float64 has all integers
GEOMETRY = "geometry"
GEOMETRY_COLUMN = Column(
    "WKB in OGC:CRS84 (longitude, latitude): the outline of the pixels if their grid is known, otherwise the unit's own"
    " geometry.",
    name=GEOMETRY,
    value_type=bytes,
)
GEO_METADATA = {
    b"geo": json.dumps(
        {
            "version": "1.1.0",
            "primary_column": GEOMETRY,
            "columns": {GEOMETRY: {"encoding": "WKB", "geometry_types": []}},  # in OGC:CRS84, of any type
        }
    ).encode()
}
"""Metadata of a GeoParquet file: https://geoparquet.org/releases/v1.1.0/."""


def unit_values(unit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts, numbers and truth values of a unit and its properties, without the kind of the unit."""
    fields = unit_fields(unit)
    if fields.get("kind") == unit.get("kind"):
        fields.pop("kind", None)
    return fields


class ValueColumns:
    """The columns of the units' own values: their names and types, found in a first pass over all units.

    Attributes:
        names: names of the columns, by name of the value.

    Args:
        units: as JSON.
        taken: names of the table's other columns; a value of such a name is in a column ``unit_<name>``.
    """

    def __init__(self, units: Iterable[str], taken: Collection[str]) -> None:
        self._kinds = _kinds_of_values(units)
        self.names: dict[str, str] = {}
        for name in self._kinds:
            column = name
            while column in taken or column in self.names.values():
                column = f"unit_{column}"
            self.names[name] = column

    def fields(self) -> list[Any]:
        """Return the columns, as fields of a pyarrow schema."""
        return [(column, type_of_values(self._kinds[name])) for name, column in self.names.items()]

    def rows(self, units: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        """Return the values of some units, column by column."""
        unit_rows = [unit_values(unit) for unit in units]
        return [self._column(name, [values.get(name) for values in unit_rows]) for name in self.names]

    def _column(self, name: str, values: list[Any]) -> list[Any]:
        if self._kinds[name] <= {int, float} and float in self._kinds[name]:
            return [None if v is None else float(v) for v in values]
        if len(self._kinds[name]) > 1 or str in self._kinds[name]:
            return [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
        return values


def type_of_values(kinds: Set[type]) -> Any:
    """Return the Arrow type of a column with values of some types: text unless all are numbers, or truth values."""
    import pyarrow

    if kinds == {bool}:
        return pyarrow.bool_()
    if kinds == {int}:
        return pyarrow.int64()
    return pyarrow.float64() if kinds <= {int, float} else pyarrow.string()


def _kinds_of_values(units: Iterable[str]) -> dict[str, set[type]]:
    """Return the types of the values of units, by name; with ``str`` if no type of numbers holds all of them."""
    kinds: dict[str, set[type]] = {}
    wide: set[str] = set()
    for unit in units:
        for name, value in unit_values(json.loads(unit)).items():
            is_large = isinstance(value, int) and not -_LARGEST <= value < _LARGEST
            kinds.setdefault(name, set()).add(str if is_large else type(value))
            if isinstance(value, int) and abs(value) > _EXACT:
                wide.add(name)
            if len(kinds) > _MOST_COLUMNS:
                del kinds[name]
    for name in wide & kinds.keys():
        if float in kinds[name]:  # which would lose digits of integers
            kinds[name].add(str)
    return kinds


def unit_geometries(units: Sequence[Mapping[str, Any]], grids: Sequence[tuple[Any, ...]]) -> list[bytes | None]:
    """Locate units as WKB in longitude and latitude: by the outline of their pixels, or by their own geometry.

    Args:
        grids: CRS, transform (JSON), width and height of the result of each, as far as they are known.
    """
    import shapely

    outlines = _outlines([recorded_grid(*grid_values) for grid_values in grids])
    geometries = [outline or _geometry(unit) for outline, unit in zip(outlines, units, strict=True)]
    return [None if wkb is None else bytes(wkb) for wkb in shapely.to_wkb(geometries)] if geometries else []


def _outlines(grids: Sequence[Grid | None]) -> Sequence[Any]:
    from eechips.geo.footprints import footprints  # which loads pyproj: workers of queues write no manifest

    try:
        return list(footprints(grids))
    except UsageError:  # a CRS is unknown: of one of them
        return [outline for grid in grids for outline in _outlines([grid])] if len(grids) > 1 else [None]


def recorded_grid(crs: str | None, transform: str | None, width: int | None, height: int | None) -> Grid | None:
    """Return the grid that a manifest has of a file, its transform as JSON; None if it has none that is valid."""
    if crs is None or transform is None or width is None or height is None:
        return None
    try:
        return Grid.from_json({"crs": crs, "transform": json.loads(transform), "width": width, "height": height})
    except (KeyError, TypeError, ValueError):
        return None


def planned_grid(unit: Any) -> Grid | None:
    """Return the grid that was planned for a unit, which also failed units have; None without one."""
    value = unit.get("grid") if isinstance(unit, Mapping) else None
    try:
        return Grid.from_json(value) if isinstance(value, Mapping) else None
    except (KeyError, TypeError, ValueError):  # a recipe's own, which is something else
        return None


def _geometry(unit: Mapping[str, Any]) -> Any:
    """Return the geometry that a unit has as GeoJSON, or as coordinates of a point."""
    import shapely
    import shapely.geometry

    value = unit.get("value")
    for fields in (unit, value if isinstance(value, Mapping) else {}):
        geometry, coordinates = fields.get("geometry"), fields.get("coordinates")
        try:
            if isinstance(geometry, Mapping):
                return shapely.geometry.shape(geometry)
            if isinstance(coordinates, Sequence) and len(coordinates) == 2:
                return shapely.Point(float(coordinates[0]), float(coordinates[1]))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.GEOSException):
            continue  # it is called so, and is none
    return None


PARQUET_NAME = "manifest.parquet"
LAYERS_NAME = "layers.parquet"
FAILURES_NAME = "failures.csv"

COPIED = "copied"
"""In the ledger: the manifest is beside the results, in their object store."""

_COLUMNS = tuple(column.selection for column in MANIFEST)
_BATCH = 10_000  # rows that are written at a time
_ADDED = ("split", "flags")
"""Columns that :func:`annotate` adds to the manifest of a finished run."""


def export_parquet(ledger: Ledger, folder: Path) -> Path:
    """Write manifest.parquet: one row per unit, in the order of the plan. It is GeoParquet.

    Columns: :data:`~eechips.manifest.manifest_columns.MANIFEST`; lists are lists. Then the texts and numbers of the
    units and their properties, and ``geometry``: the outline of the pixels, or the unit's own geometry, in OGC:CRS84.
    Of a run that was extended also ``extension``: see :class:`~eechips.manifest.extensions.PlanPart`. Written in
    batches: memory does not grow with the plan.

    Raises:
        StorageError: if it cannot be written.
    """
    import pyarrow

    schema = schema_of(MANIFEST)
    units = (unit for (unit,) in ledger.rows(("unit",)))
    parts = plan_parts(ledger.meta())
    own = ValueColumns(units, (*schema.names, GEOMETRY, *_ADDED, *([EXTENSION_COLUMN] if parts else [])))
    further = [*own.fields(), (GEOMETRY, GEOMETRY_COLUMN.arrow)]
    whole = pyarrow.schema([*schema, *further], metadata=GEO_METADATA)
    columns = _columns(ledger, schema, own)
    if parts:
        whole = whole.append(pyarrow.field(EXTENSION_COLUMN, pyarrow.int64()))
        columns = ([*batch, part_numbers(parts, batch[0].to_pylist())] for batch in columns)
    return write_table(folder / PARQUET_NAME, whole, columns)


def export_layers(ledger: Ledger, folder: Path) -> Path | None:
    """Write layers.parquet, a row per file, if units have several files; remove an old one if they have one each.

    A file with several frames has a row for each frame. The columns are those of
    :func:`~eechips.manifest.sqlite.ledger_queries.layer_columns`.

    Raises:
        StorageError: if it cannot be written.
    """
    path = folder / LAYERS_NAME
    if not has_layers(ledger.database):
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

    options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
    with atomic_path(path) as temporary, pyarrow.parquet.ParquetWriter(temporary, schema, **options) as writer:
        for columns in batches:
            writer.write_table(pyarrow.table(columns, schema=schema))
    return path


def _layers(ledger: Ledger, columns: Sequence[Column]) -> Iterator[list[Any]]:
    rows = read_named_files(ledger)
    while batch := list(islice(rows, _BATCH)):
        frames = (frame for row in batch for frame in file_rows(row, columns))
        yield [list(column) for column in zip(*frames, strict=True)]


def file_rows(row: Sequence[Any], columns: Sequence[Column]) -> list[tuple[Any, ...]]:
    """Return a row of :func:`read_named_files` with the columns of files.

    A file with several frames has a row for each of them.

    Args:
        row: the position and the other columns that are no metadata, then the metadata as JSON.
        columns: columns of :func:`~eechips.manifest.sqlite.ledger_queries.layer_columns`.
    """
    own, fields = row[:-1], json.loads(row[-1])
    names = names_of(columns)[len(own) :]
    return [(*own, *((fields | frame).get(name) for name in names)) for frame in fields.get("frames") or [{}]]


def _columns(ledger: Ledger, schema: Any, own: ValueColumns) -> Iterator[list[Any]]:
    import pyarrow

    places = [schema.get_field_index(name) for name in ("unit", "crs", "transform", "width", "height")]
    for rows in ledger.batches(_COLUMNS):
        raw = list(zip(*rows, strict=True))
        columns = []
        for field, values in zip(schema, raw, strict=True):
            parsed = [None if v is None else json.loads(v) for v in values] if field.name in LISTS else values
            columns.append(pyarrow.array(parsed, type=field.type))
        texts, *grids = (raw[place] for place in places)
        units = [json.loads(text) for text in texts]
        of_units = zip(own.fields(), own.rows(units), strict=True)
        columns += [pyarrow.array(values, type=kind) for (_, kind), values in of_units]
        columns.append(pyarrow.array(unit_geometries(units, list(zip(*grids, strict=True))), type=pyarrow.binary()))
        yield columns
