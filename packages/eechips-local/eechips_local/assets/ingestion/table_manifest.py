"""Ingest tables by manifests: CSV files with coordinates or geometries, and Shapefiles, also in ZIP archives.

See https://developers.google.com/earth-engine/guides/table_manifest and
https://developers.google.com/earth-engine/reference/rest/v1/TableManifest.
"""

from __future__ import annotations

import codecs
import csv
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import shapely
from pyproj.exceptions import CRSError

from eechips_local.assets.asset_errors import EmptyTableError, IngestError, UnreadableFileError
from eechips_local.assets.ingestion.image_manifest import FindObject
from eechips_local.assets.ingestion.raster_files import crs_name
from eechips_local.assets.ingestion.vector_files import Features, read_features, to_column, to_earth
from eechips_local.assets.stored_tables import INDEX_COLUMN
from eechips_local.pixels.grids.pixel_grid import parse_crs
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.date_patterns import parse_with_pattern

_SIDECARS = (".shx", ".dbf", ".prj", ".cpg", ".sbn", ".sbx", ".qix", ".fix", ".shp.xml")
_MOST_UNPACKED = 10 << 30  # bytes of an archive's files
_CHUNK = 1 << 20
_MOST_NESTED = 100  # collections in a collection
_LONGEST_FIELD = 1 << 28  # bytes of one cell of a CSV: geometries may be long
_GEOMETRY = re.compile(r"\s*(\{|(MULTI)?(POINT|LINESTRING|POLYGON)|GEOMETRYCOLLECTION|LINEARRING)", re.IGNORECASE)
_USUAL = {"xColumn": "longitude", "yColumn": "latitude"}


def read_manifest(document: Mapping[str, Any], find: FindObject, scratch: Path) -> Features:
    """Return the features of all sources of a manifest, one after the other.

    Args:
        document: checked manifest.
        find: returns the file of an object.
        scratch: empty folder for links to files, and for the files of archives.

    Raises:
        IngestError: if the manifest or its files do not suit.
        UnreadableFileError: if a file cannot be read.
        EmptyTableError: if there are no features.
    """
    prefix = str(document.get("uriPrefix") or "")
    kinds = _overrides(document)
    parts = []
    for number, source in enumerate(document.get("sources") or ()):
        paths = [find(prefix + uri) for uri in source.get("uris") or ()]
        if not paths:
            raise IngestError("A source of the manifest has no uris.")
        folder = scratch / f"source{number}"
        folder.mkdir()
        parts.append(_read_source(source, paths, kinds, folder))
    if not parts:
        raise IngestError("A manifest needs sources.")
    return parts[0] if len(parts) == 1 else _joined(parts)


def _read_source(source: Mapping[str, Any], paths: Sequence[Path], kinds: Mapping[str, str], folder: Path) -> Features:
    suffix, charset = paths[0].suffix.lower(), str(source.get("charset") or "utf-8")
    try:
        codecs.lookup(charset)
    except LookupError as error:
        raise IngestError(f"The charset '{charset}' is not known: use a name like UTF-8 or ISO-8859-1.") from error
    if suffix == ".csv":
        if len(paths) > 1:
            raise IngestError("A source of a CSV has one file.")
        return _read_csv(paths[0], source, kinds)
    if suffix == ".zip":
        shape = _unpack(paths[0], folder)
    elif suffix == ".shp":
        shape = _link(paths, folder)
    else:
        raise IngestError(f"{paths[0].name} is not a table that is ingested: use .csv, .shp or .zip.")
    features = read_features(shape, crs=source.get("crs") or None, encoding=source.get("charset") or None)
    return _overridden(features, kinds, shape)


def _link(paths: Sequence[Path], folder: Path) -> Path:
    """Link a Shapefile, with the files that belong to it, into a folder of their own."""
    main = paths[0]
    linked_paths = {path.name: path for path in paths}
    for path in main.parent.iterdir():
        rest = path.name[len(main.stem) :]
        if path.name.startswith(main.stem) and rest.lower() in _SIDECARS and path.is_file() and not path.is_symlink():
            linked_paths.setdefault(path.name, path)
    for name, path in linked_paths.items():
        (folder / name).symlink_to(path.resolve())
    return folder / main.name


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack the Shapefile of a ZIP archive; the archive's paths are not used."""
    try:
        with zipfile.ZipFile(archive) as file:
            shapes = [name for name in file.namelist() if name.lower().endswith(".shp") and "__MACOSX" not in name]
            if len(shapes) != 1:
                raise IngestError(f"{archive.name} must contain one Shapefile; it has {len(shapes)}.")
            stem = shapes[0][: -len(".shp")]
            room = _MOST_UNPACKED
            for info in file.infolist():
                rest = info.filename[len(stem) :].lower()
                if not info.filename.startswith(stem) or rest not in (".shp", *_SIDECARS):
                    continue
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise IngestError(f"{archive.name} has {info.filename} in a compression other than deflate.")
                with file.open(info) as packed, (folder / f"table{rest}").open("xb") as target:
                    while chunk := packed.read(_CHUNK):
                        room -= len(chunk)
                        if room < 0:
                            raise IngestError(f"{archive.name} unpacks to more than {_MOST_UNPACKED} bytes.")
                        target.write(chunk)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, LookupError) as error:
        raise UnreadableFileError(f"{archive.name} cannot be read as a ZIP archive: {error}") from error
    return folder / "table.shp"


def _read_csv(path: Path, source: Mapping[str, Any], kinds: Mapping[str, str]) -> Features:
    table = _cells(path, source)
    if table.num_rows == 0:
        raise EmptyTableError(f"{path.name} has no rows, so there is nothing to ingest.")
    columns = {name: _column(table.column(name), name, kinds.get(name), path) for name in table.schema.names}
    geometries = {
        name: shapes
        for name, column in columns.items()
        if pa.types.is_string(column.type) and name not in kinds and (shapes := _geometries(column)) is not None
    }
    points = _points(columns, source, path)
    if points is not None:
        geometries["_".join(points[0])] = points[1]
    primary = source.get("primaryGeometryColumn") or next(iter(geometries), None)
    if primary is not None and primary not in geometries:
        raise IngestError(f"{path.name} has no geometries in the column '{primary}'.")
    pattern = source.get("dateFormat")
    if pattern:
        columns = {name: _dated(column, pattern) for name, column in columns.items()}
    kept = {name: column for name, column in columns.items() if name not in (primary, INDEX_COLUMN)}
    shapes = geometries[primary] if primary is not None else np.full(table.num_rows, None, dtype=object)
    return _features(kept, shapes, source.get("crs") or "EPSG:4326", path)


def _cells(path: Path, source: Mapping[str, Any]) -> pa.Table:
    """Return the cells of a CSV as texts; empty ones are null."""
    charset = str(source.get("charset") or "utf-8")
    delimiter, quote = str(source.get("csvDelimiter") or ","), str(source.get("csvQualifier") or '"')
    if len(delimiter) != 1 or len(quote) != 1:
        raise IngestError("csvDelimiter and csvQualifier are single characters.")
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig" if charset.lower() in ("utf-8", "utf8") else charset, newline="") as file:
            names = next(csv.reader(file, delimiter=delimiter, quotechar=quote), [])
        if len(set(names)) < len(names) or not all(names):
            raise IngestError(f"The columns of {path.name} must have different names: {', '.join(names)}.")
        return pa_csv.read_csv(
            path,
            pa_csv.ReadOptions(encoding=charset, column_names=names, skip_rows=1),
            pa_csv.ParseOptions(delimiter=delimiter, quote_char=quote, newlines_in_values=True),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""],
                quoted_strings_can_be_null=True,
            ),
        )  # fmt: skip
    except (LookupError, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise UnreadableFileError(f"{path.name} cannot be read as CSV in {charset}: {error}") from error


def _column(column: pa.ChunkedArray, name: str, kind: str | None, path: Path) -> pa.ChunkedArray:
    """Return a column as numbers where all of its cells are some, or as it is to be."""
    if kind == "STRING" or (kind is None and column.null_count == len(column)):
        return column
    try:
        return pc.utf8_trim_whitespace(column).cast(pa.int64() if kind == "LONG" else pa.float64())
    except pa.ArrowInvalid as error:
        if kind is None:
            return column
        raise IngestError(f"The column '{name}' of {path.name} is not {kind}: {error}") from error


def _geometries(column: pa.ChunkedArray) -> npt.NDArray[np.object_] | None:
    """Return the geometries of a column whose cells all are WKT, or all GeoJSON; else None."""
    texts = column.to_numpy()
    first = next((text for text in texts if text is not None), "")
    if not _GEOMETRY.match(first):
        return None
    if any(text is not None and text.upper().count("COLLECTION") > _MOST_NESTED for text in texts):
        return None  # on which GEOS would recurse without end
    read = shapely.from_geojson if first.lstrip().startswith("{") else shapely.from_wkt
    shapes = np.asarray(read(texts, on_invalid="ignore"), dtype=object)
    is_known = all(shape is not None or text is None for shape, text in zip(shapes, texts, strict=True))
    return shapes if is_known else None


def _points(
    columns: Mapping[str, pa.ChunkedArray], source: Mapping[str, Any], path: Path
) -> tuple[tuple[str, str], npt.NDArray[np.object_]] | None:
    """Return the points of the columns of coordinates, with the names of these; None where there are none."""
    is_usual = not source.get("crs") or not _is_projected(str(source["crs"]))
    x, y = (str(source.get(key) or (usual if is_usual else "")) for key, usual in _USUAL.items())
    for key, name in (("xColumn", x), ("yColumn", y)):
        if source.get(key) and name not in columns:
            raise IngestError(f"{path.name} has no column '{name}'.")
    pair = [columns[name] for name in (x, y) if name in columns and pa.types.is_floating(columns[name].type)]
    if len(pair) < 2:
        return None
    xy = np.column_stack([column.to_numpy(zero_copy_only=False) for column in pair])
    known = np.isfinite(xy).all(axis=1)
    points = np.full(len(xy), None, dtype=object)
    points[known] = shapely.points(xy[known])
    return (x, y), points


def _is_projected(crs: str) -> bool:
    try:
        return parse_crs(crs_name(crs)).is_projected
    except CRSError as error:
        raise IngestError(f"The CRS {crs!r} is not understood: {error}") from error


def _dated(column: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """Return a column whose cells all are dates of a pattern as milliseconds since 1970; others as they are."""
    if not pa.types.is_string(column.type):
        return column
    try:
        moments = [
            None if text is None else int(parse_with_pattern(text, pattern).milliseconds) for text in column.to_pylist()
        ]
    except InvalidError:
        return column
    return pa.chunked_array([pa.array(moments, pa.int64())])


def _features(
    columns: Mapping[str, pa.ChunkedArray], geometries: npt.NDArray[np.object_], crs: str, path: Path
) -> Features:
    kinds: dict[str, str] = {}
    arrays: dict[str, Any] = {}
    for name, column in columns.items():
        arrays[name], kinds[name] = to_column(pa.field(name, column.type), column, path)
    try:
        name = crs_name(crs)
    except CRSError as error:
        raise IngestError(f"The CRS {crs!r} is not understood: {error}") from error
    return Features(pa.table(arrays), to_earth(geometries, name, path), kinds)


def _overrides(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of columns that a manifest gives: STRING, NUMERIC or LONG."""
    overrides = {
        **(document.get("csvColumnDataTypeOverrides") or {}),
        **(document.get("columnDataTypeOverrides") or {}),
    }
    column_types = {name: str(kind).rpartition("_")[2] for name, kind in overrides.items()}
    for name, kind in column_types.items():
        if kind not in ("STRING", "NUMERIC", "LONG"):
            raise IngestError(
                f"The column '{name}' has the unknown type '{overrides[name]}': use STRING, NUMERIC or LONG."
            )
    return column_types


def _overridden(features: Features, kinds: Mapping[str, str], path: Path) -> Features:
    """Return the features of a Shapefile with columns of other types."""
    types = {"STRING": pa.string(), "NUMERIC": pa.float64(), "LONG": pa.int64()}
    table, columns = features.table, dict(features.columns)
    for name, kind in kinds.items():
        if name not in columns:
            continue
        try:
            cast = table.column(name).cast(types[kind])
        except pa.ArrowInvalid as error:
            raise IngestError(f"The column '{name}' of {path.name} is not {kind}: {error}") from error
        field = pa.field(name, cast.type)
        column, columns[name] = to_column(field, cast, path)
        table = table.set_column(table.schema.get_field_index(name), field, column)
    return Features(table, features.geometries, columns)


def _joined(parts: Sequence[Features]) -> Features:
    """Return the features of several sources; a column that some lack is null there."""
    kinds: dict[str, str] = {}
    for part in parts:
        for name, kind in part.columns.items():
            if kinds.setdefault(name, kind) != kind:
                raise IngestError(f"The column '{name}' is {kinds[name]} in one source and {kind} in another.")
    tables = [
        part.table if part.columns else pa.table({"": pa.nulls(len(part.geometries))}).drop_columns([""])
        for part in parts
    ]
    columns = {
        name: pa.concat_arrays(
            [
                table.column(name).combine_chunks()
                if name in table.schema.names
                else pa.nulls(
                    len(part.geometries), next(t.schema.field(name).type for t in tables if name in t.schema.names)
                )
                for part, table in zip(parts, tables, strict=True)
            ]
        )
        for name in kinds
    }
    return Features(pa.table(columns), np.concatenate([part.geometries for part in parts]), kinds)
