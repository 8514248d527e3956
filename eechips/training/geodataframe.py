"""Load a run as a GeoDataFrame with a polygon for every chip: ``rows`` of units, of files, or of a table
with points.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from eechips.errors import UsageError
from eechips.extras import import_extra
from eechips.geo.crs import LAT_NAMES, LON_NAMES
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.manifest.export import planned_grid
from eechips.manifest.manifest_columns import FILE_COLUMNS, FRAME
from eechips.manifest.run import Run, open_run
from eechips.storage import LocalStore, ObjectStore, Store
from eechips.storage.untrusted_files import read_frame, rounded_columns, translate_read_errors
from eechips.training.quality import quality_table
from eechips.training.sample import Sample, SampleFile, fields_of
from eechips.training.sample_reader import read_recorded, read_samples
from eechips.training.splits import split_table

if TYPE_CHECKING:
    import geopandas

Rows = Literal["units", "files", "table"]

DATE = "date"
"""Column of times in a table."""

_TABLES = frozenset({"csv", "parquet"})
_LOOKED_AT = 20  # files, to see whether results are tables
_WGS84 = "EPSG:4326"


def load(run: Run | str | Path, *, rows: Rows | None = None) -> pd.DataFrame | geopandas.GeoDataFrame:
    """Load a run as a table, without opening chips. The run may be in progress.

    Args:
        run: the run, or its folder.
        rows: ``units``: a row for each unit of the plan, in any state. ``files``: a row for each file, several for
            units with layers. ``table``: the rows of the table of ``timeseries`` or ``points``, or of the tables of all
            units. None for ``table`` if there is one, otherwise ``units``.

    Returns:
        For units and files, a GeoDataFrame in EPSG:4326 in the order of the plan. A file with several frames of a time
        series has a row for each frame. Its geometry is the footprint of the chip, cut at the antimeridian; None
        without a grid. Its index is the position in the plan, with the layer for files. Its columns are those of the
        manifest (``id``, ``unit``, ``state``, ``file``, ``crs``, ``transform``, ``valid_fraction``, …) and:

        - ``path``, the complete path or URL of the file;
        - ``split`` and ``flags``, after :func:`eechips.split` and :func:`eechips.check`;
        - the fields of the unit, such as ``class``, ``eco_name``, ``lon``, ``lat``, or the columns of your
            file of points. Names of manifest columns get the prefix ``unit_``.

        For a table, its columns, ``date`` as dates (UTC); a GeoDataFrame of points if it has coordinates.

    Raises:
        UsageError: if the folder holds no run, it has no table, or geopandas is missing.

    Example:
        >>> chips = eechips.load("outputs/sample-naip")
        >>> chips[chips.split == "train"].plot("eco_name")
    """
    _geopandas()
    run = open_run(run)
    if rows is None:
        rows = "table" if has_tables(run) else "units"
    readers = {"units": _units, "files": _files, "table": _table}
    if rows not in readers:
        raise UsageError(f"rows must be units, files or table, not {rows!r}")
    return readers[rows](run)


def has_tables(run: Run) -> bool:
    """Return whether the results of a run are tables, not chips."""
    looked = run.assembled or run.sample_files(_LOOKED_AT)
    return bool(looked) and all(_suffix(path.name) in _TABLES for path in looked)


def _geopandas() -> Any:
    return import_extra("geopandas", "loading a run needs geopandas", "ml")


def _units(run: Run) -> geopandas.GeoDataFrame:
    frame = run.units
    _join(frame, [unit if isinstance(unit, dict) else {} for unit in frame["unit"]])
    frame.insert(1, "path", _paths(run, frame["file"]))
    if (run.path / quality_table.QUALITY_NAME).is_file():
        flags_of = quality_table.flags(run.path)
        frame.insert(1, "flags", [flags_of.get(identifier) for identifier in frame["id"]])
    _insert_splits(frame, run)
    columns = zip(*(frame[name] for name in ("unit", "crs", "transform", "width", "height")), strict=True)
    return _with_outlines(frame, [_grid(*row) for row in columns])


def _files(run: Run) -> geopandas.GeoDataFrame:
    samples = read_samples(run)
    owned = [(sample, frame_file) for sample in samples for file in sample.files for frame_file in file.each_frame()]
    has_frames = any(file.frame is not None for _, file in owned)
    columns = (*_FILE_COLUMNS, *_frame_columns(file for _, file in owned)) if has_frames else _FILE_COLUMNS
    frame = pd.DataFrame([_file_row(sample, file, columns) for sample, file in owned], columns=[*columns])
    _join(frame, [sample.unit for sample, _ in owned])
    frame.insert(3, "path", _paths(run, frame["file"]))
    if (run.path / quality_table.QUALITY_NAME).is_file():
        table = quality_table.read(run.path)
        flags_of = dict(zip(table["file"], table["flags"], strict=True))
        frame.insert(3, "flags", [None if (own := flags_of.get(name)) is None else list(own) for name in frame["file"]])
    _insert_splits(frame, run)
    grids = [_grid(None, file.crs, file.transform, file.width, file.height) for _, file in owned]
    return _with_outlines(frame.set_index(["position", "layer"]), grids)


def _frame_columns(files: Iterable[SampleFile]) -> tuple[str, ...]:
    """Return the columns of frames: all but the optional ones of which no file has a value."""
    there = {column.name for file in files for column in FRAME if getattr(file, column.name) is not None}
    return tuple(column.name for column in FRAME if not column.is_optional or column.name in there)


_FILE_COLUMNS = ("position", "layer", "id", "unit", "state", "file", "bytes", "sha256", *FILE_COLUMNS)


def _file_row(sample: Sample, file: SampleFile, columns: Sequence[str]) -> tuple[Any, ...]:
    facts = [getattr(file, name) for name in columns[6:]]
    lists = [list(value) if isinstance(value, tuple) else value for value in facts]
    return sample.position, file.layer, sample.id, sample.unit, sample.state, file.name, *lists


def _join(frame: pd.DataFrame, units: Sequence[Mapping[str, Any]]) -> None:
    """Add the fields of units after the existing columns."""
    rows = [_said(unit) for unit in units]
    said = pd.DataFrame(rows, index=frame.index)
    for name in rounded_columns(said):
        said[name] = pd.Series([row.get(name) for row in rows], frame.index, dtype=object)
    for name in said.columns:
        frame[f"unit_{name}" if name in frame.columns else name] = said[name]


def _said(unit: Mapping[str, Any]) -> dict[str, Any]:
    fields = fields_of(unit)
    place = unit.get("coordinates")
    if isinstance(place, list) and len(place) == 2:
        degrees = dict(zip(("lon", "lat"), place, strict=True))  # numbers, also where columns of a CSV file are text
        texts = {name for name in degrees if isinstance(fields.get(name), str)}
        fields = degrees | {name: value for name, value in fields.items() if name not in texts}
    return fields


def _insert_splits(frame: pd.DataFrame, run: Run) -> None:
    if (run.path / split_table.SPLITS_NAME).is_file():
        frame.insert(1 + ("layer" in frame.columns) * 2, "split", frame["id"].map(split_table.read(run.path)))


def _grid(unit: Any, crs: Any, transform: Any, width: Any, height: Any) -> Grid | None:
    """Return the grid that a file has, else the one that was planned for it."""
    if not (_is_missing(crs) or _is_missing(width)) and isinstance(transform, (list, tuple)):
        a, b, c, d, e, f = transform
        return Grid(crs, (a, b, c, d, e, f), int(width), int(height))
    return planned_grid(unit)


def _with_outlines(frame: pd.DataFrame, grids: Sequence[Grid | None]) -> geopandas.GeoDataFrame:
    geopandas = _geopandas()
    outlines = geopandas.GeoSeries(footprints(grids), index=frame.index, crs=_WGS84)
    return geopandas.GeoDataFrame(frame, geometry=outlines)


def _table(run: Run) -> pd.DataFrame | geopandas.GeoDataFrame:
    table_names = [path.relative_to(run.path).as_posix() for path in run.assembled]
    store: Store = LocalStore(run.path)
    digests: dict[str, str] = {}
    if not table_names:
        units = run.units
        table_names, store = [file for file in units["file"] if not _is_missing(file)], run.store
        digests = dict(zip(units["file"], units["sha256"], strict=True))
    table_names = [name for name in table_names if _suffix(name) in _TABLES]
    if not table_names:
        raise UsageError(f"{run.path} has no tables among its results")
    tables = {name: _read(run, store, name, digests.get(name)) for name in table_names}
    parts = {name: part for name, part in tables.items() if len(part)} or tables  # without rows, columns have no type
    # A region's own file has its id alone: digits in one, letters or leading zeros in another.
    texts = {name for part in parts.values() for name in part.columns if not pd.api.types.is_numeric_dtype(part[name])}
    for name, part in parts.items():
        if _suffix(name) == "csv" and texts.intersection(part.select_dtypes("number").columns):
            parts[name] = _read(run, store, name, digests.get(name), texts)
    table = pd.concat(parts.values(), ignore_index=True)
    parameters = run.info.get("parameters", {})
    # Of a run of points, it may be any column of the user's file.
    is_date = run.info.get("recipe") != "points" or parameters.get("date_field") == DATE
    if is_date and DATE in table.columns and not pd.api.types.is_numeric_dtype(table[DATE]):
        with translate_read_errors(run.path):
            moments = pd.to_datetime(table[DATE], utc=True, format=parameters.get("date_format") or "ISO8601")
        table[DATE] = moments.dt.tz_localize(None)
    return _with_points(table, run)


def _with_points(table: pd.DataFrame, run: Run) -> pd.DataFrame | geopandas.GeoDataFrame:
    """Add a geometry to a table that has columns of coordinates: those named in the run, if any."""
    parameters = run.info.get("parameters", {})
    columns = {str(name).lower(): name for name in reversed(table.columns)}
    lon, lat = (
        next((columns[name.lower()] for name in names if name and name.lower() in columns), None)
        for names in ((parameters.get("lon_field"), *LON_NAMES), (parameters.get("lat_field"), *LAT_NAMES))
    )
    if lon is None or lat is None or "geometry" in columns:
        return table
    geopandas = _geopandas()
    return geopandas.GeoDataFrame(table, geometry=geopandas.points_from_xy(table[lon], table[lat], crs=_WGS84))


def _read(run: Run, store: Store, name: str, digest: str | None, texts: Collection[str] = ()) -> pd.DataFrame:
    return read_frame(read_recorded(run, store, name, digest), _suffix(name), texts=texts, name=name)


def _paths(run: Run, files: Iterable[str | None]) -> list[str | None]:
    """Return the whole paths or addresses of files."""
    store = run.store
    if isinstance(store, ObjectStore):
        return [None if _is_missing(file) else f"{store.url}/{file}" for file in files]
    assert isinstance(store, LocalStore)
    return [None if file is None or _is_missing(file) else str(store.file(file)) for file in files]


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _is_missing(value: Any) -> bool:
    return value is None or value != value
