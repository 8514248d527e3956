"""Read a vector file from outside, in a process of its own (see ``untrusted_vectors.py``): refuse Shapefiles without
all their files, damaged GeoParquet, and texts that are not UTF-8.

GDAL chooses among all of its drivers, and some of them open other files or addresses. So the process has none of those
(``GDAL_SKIP``) and bounds on memory and time, and reads a file whose format it knows from its content. The request is
JSON on standard input, the answer is JSON on standard output, and the features are an Arrow stream in a folder of the
caller.

The local Earth Engine has a copy, because it shares no code with the rest; a test compares them.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips_local.assets.vectors.dbase_texts import Dbase, is_text
from eechips_local.assets.vectors.vector_formats import (
    MOST_CRS,
    READ,
    SIDECARS,
    Limits,
    RefusedFileError,
    check_beside,
    check_bytes,
    check_crs,
    check_database,
    check_json,
    check_xml,
    copy_log,
    first_line,
    identify,
    quantity,
    unpack,
)

FEATURES = "features.arrows"
"""Name of the Arrow stream in the caller's folder."""

_BATCH = 4096  # rows
_SMALL_STACK = 256 << 10  # bytes, for parsing geometries: what nests too deep for it is refused
_NESTING = {"point": 0, "linestring": 1, "multipoint": 1, "polygon": 2, "multilinestring": 2, "multipolygon": 3}
"""Depth of the lists of coordinates of GeoParquet's encodings."""
_BYTES_PER_VERTEX = 16  # of WKB, at least


@dataclass(frozen=True)
class Request:
    """A file to read.

    Attributes:
        folder: empty folder for scratch files and the result.
        layer: name of the layer; None for the first with geometries.
        encoding: encoding of the texts of a Shapefile, in place of its own; None for its own.
        needs_geometry: whether a Parquet file without geometries is refused.
        limits: bounds.
    """

    source: Path
    folder: Path
    layer: str | None
    encoding: str | None
    needs_geometry: bool
    limits: Limits


def read(request: Request) -> dict[str, Any]:
    """Write the features of a file into the caller's folder.

    Returns:
        ``crs``, ``geometry`` (name of the column, or None), ``layers`` and ``notes`` for the user.

    Raises:
        RefusedFileError: if the file is damaged, exceeds a bound, or refers to something else.
    """
    source = request.source
    check_bytes(source, request.limits)
    kind = identify(source)
    if kind == "zip":
        source = unpack(source, request.folder, request.limits)
        kind = identify(source)
        if kind == "zip":
            raise RefusedFileError("it is a zip archive within a zip archive")
    if kind == "Parquet":
        if request.layer is not None:
            raise RefusedFileError(f"it is Parquet, which has no layers: leave {request.layer!r} out")
        return _read_parquet(source, request)
    notes: list[str] = []
    place, options = _prepare(kind, source, request, notes)
    return {**_read_gdal(place, options, request), "notes": notes}


def _prepare(kind: str, source: Path, request: Request, notes: list[str]) -> tuple[Path, dict[str, str]]:
    """Check a file, and link to it in the scratch folder, so that no other file lies beside it.

    Returns:
        The link or copy, and GDAL's options.
    """
    suffix = {"GeoPackage": ".gpkg", "FlatGeobuf": ".fgb", "Shapefile": ".shp", "JSON": ".geojson"}.get(kind, "")
    options: dict[str, str] = {}
    if kind == "JSON":
        check_json(source)
        if source.suffix.lower() in (".geojsonl", ".geojsons", ".ndjson", ".topojson"):
            suffix = source.suffix.lower()
    elif kind == "XML":
        suffix = check_xml(source)
        options = {"DOWNLOAD_SCHEMA": "NO"} if suffix == ".gml" else {}
    place = request.folder / f"{source.stem if kind == 'Shapefile' and source.stem.isidentifier() else 'layer'}{suffix}"
    if kind == "GeoPackage":
        copy_log(source, place, request.limits)
        if not place.exists():
            options = {"IMMUTABLE": "YES"}
    if not place.exists():
        place.symlink_to(source.resolve())
    if kind == "GeoPackage":
        check_database(place, bool(options))
    if kind == "Shapefile":
        _link_sidecars(source, place, request, notes)
    return place, options


def _link_sidecars(source: Path, place: Path, request: Request, notes: list[str]) -> None:
    """Link to the files of a Shapefile, and write down the encoding of its texts."""
    there = {path.suffix.lower(): path for path in source.parent.iterdir()
             if path.stem == source.stem and path.suffix.lower() in SIDECARS}  # fmt: skip
    if ".shx" not in there:
        raise RefusedFileError(f"{source.with_suffix('.shx').name} is missing: copy all files of the shapefile")
    for suffix, path in there.items():
        check_beside(path, source)
        check_bytes(path, request.limits)
        if suffix == ".shx":
            _check_shapes(source, path)
        if suffix != ".cpg":
            place.with_suffix(suffix).symlink_to(path.resolve())
    if ".prj" in there:
        check_crs(there[".prj"].read_bytes()[: MOST_CRS + 1].decode("latin-1"))
    if ".dbf" in there:
        declared = request.encoding
        if declared is None and ".cpg" in there:
            declared = there[".cpg"].read_bytes()[:64].decode("ascii", "replace").strip()
        codec, note = Dbase(there[".dbf"]).check(declared)
        notes.extend([note] if note else [])
        place.with_suffix(".cpg").write_text(codec)


def _check_shapes(source: Path, index: Path) -> None:
    """Refuse a Shapefile without the shapes that its index names: GDAL reads them as features without a geometry.

    Records of the index are big-endian offsets and lengths, in words of two bytes
    (https://www.esri.com/content/dam/esrisites/sitecore-archive/Files/Pdfs/library/whitepapers/pdfs/shapefile.pdf).
    """
    import numpy as np

    data = index.read_bytes()[100:]
    records = np.frombuffer(data[: len(data) // 8 * 8], ">u4").reshape(-1, 2)
    end = 8 + 2 * int(records.sum(axis=1, dtype=np.int64).max(initial=0))
    if len(records) and end > (size := source.stat().st_size):
        raise RefusedFileError(f"{source.name} was cut off: it has {size:,} bytes, its index leads to {end:,}")


def _read_gdal(place: Path, options: Mapping[str, str], request: Request) -> dict[str, Any]:
    """Read a layer with pyogrio."""
    _leave_out("shapely")  # nothing here parses geometries
    import pyarrow as pa
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        known = pyogrio.list_layers(place)
        if not len(known):
            raise RefusedFileError("it has no layer: it is empty, or was cut off")
        layers = [str(name) for name, geometry in known if geometry is not None]
        if request.layer is not None and request.layer not in known[:, 0]:
            raise RefusedFileError(f"it has no layer {request.layer!r}: {', '.join(map(str, known[:, 0]))}")
        layer = request.layer if request.layer is not None else layers[0] if layers else None
        with pyogrio.open_arrow(place, layer=layer, use_pyarrow=True, batch_size=_BATCH, **options) as (meta, reader):
            geometry = meta["geometry_name"] or "wkb_geometry"
            if geometry not in reader.schema.names:
                raise RefusedFileError("it holds no geometries", "empty")
            crs = meta["crs"]
            check_crs(crs or "")
            _store(reader.schema, reader, geometry, request)
    except (DataSourceError, DataLayerError, pa.ArrowException, OSError, ValueError, RuntimeError) as error:
        reason = first_line(error).replace(str(place), request.source.name).replace(str(request.folder), "")
        if "OGR_GEOJSON_MAX_OBJ_SIZE" in reason:
            reason = "a feature has more than 200 MB: simplify it, or convert the file to GeoPackage"
        if "not recognized as" in reason:
            reason = f"its content is of no format that is read: {READ}"
        raise RefusedFileError(reason) from error
    return {"crs": crs, "geometry": geometry, "layers": layers}


def _read_parquet(path: Path, request: Request) -> dict[str, Any]:
    """Read GeoParquet (https://geoparquet.org/releases/v1.1.0/), or a table without geometries."""
    import pyarrow as pa

    from eechips_local.assets.vectors.untrusted_parquet import BoundedParquet

    try:
        with BoundedParquet(path, _BATCH) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
            if rows > request.limits.rows:
                raise RefusedFileError(f"it claims to have {rows:,} rows, and at most {request.limits.rows:,} are read")
            raw = (schema.metadata or {}).get(b"geo")
            if raw is None and request.needs_geometry:
                raise RefusedFileError("it is not GeoParquet: it has no 'geo' metadata", "empty")
            geometry, crs, encoding, others = (
                (None, None, "WKB", schema.names) if raw is None else _describe_geometry(raw, schema)
            )
            names = others if geometry is None else [*others, geometry]
            plain = pa.schema([schema.field(name) for name in names])
            selected = (batch.select(names) for batch in file.iter_batches(batch_size=_BATCH, columns=names))
            if encoding != "WKB":
                plain = pa.schema([*plain][:-1]).append(pa.field(geometry, pa.binary()))
                selected = (
                    pa.record_batch([*batch.columns[:-1], _to_wkb(batch.columns[-1], encoding)], schema=plain)
                    for batch in selected
                )
            _store(plain, selected, geometry, request)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RefusedFileError(f"it is damaged: {first_line(error)}") from error
    return {"crs": crs, "geometry": geometry, "layers": [], "notes": []}


def _to_wkb(column: Any, encoding: str) -> Any:
    """Return geometries as WKB, in two dimensions, of lists of coordinates that are nested as deep as their type is.

    GeoParquet's native encodings (https://geoparquet.org/releases/v1.1.0/).
    """
    import numpy as np
    import pyarrow as pa
    import shapely

    missing = column.is_null().to_numpy(zero_copy_only=False)
    offsets: list[Any] = []
    for _ in range(_NESTING[encoding]):
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            raise RefusedFileError(f"its geometries are not nested lists, as the encoding {encoding} needs")
        bounds = column.offsets.to_numpy()
        offsets.insert(0, bounds - bounds[0])
        column = column.values.slice(bounds[0], bounds[-1] - bounds[0])
    if not pa.types.is_struct(column.type) or not {"x", "y"} <= {field.name for field in column.type}:
        raise RefusedFileError("its geometries have no coordinates x and y")
    xy = np.column_stack([column.field(axis).to_numpy(zero_copy_only=False) for axis in ("x", "y")])
    try:
        shapes = shapely.from_ragged_array(shapely.GeometryType[encoding.upper()], xy, tuple(offsets) or None)
    except shapely.errors.ShapelyError as error:
        raise RefusedFileError(f"it is damaged: {first_line(error)}") from error
    texts = [b"" if is_missing else text for text, is_missing in zip(shapely.to_wkb(shapes), missing, strict=True)]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    there = np.packbits(~missing, bitorder="little").tobytes()
    # Not pa.array, which would look for pandas.
    return pa.Array.from_buffers(
        pa.binary(), len(texts), [pa.py_buffer(there), pa.py_buffer(ends.tobytes()), pa.py_buffer(b"".join(texts))]
    )


def _describe_geometry(raw: bytes, schema: Any) -> tuple[str, str | None, str, list[str]]:
    """Return the column of geometries, its CRS and encoding, and the other columns, from the metadata of GeoParquet."""
    geo = json.loads(raw)
    columns = geo.get("columns") if isinstance(geo, dict) else None
    name = geo.get("primary_column") if isinstance(columns, dict) else None
    described = columns.get(name) if isinstance(columns, dict) and isinstance(name, str) else None
    if not isinstance(columns, dict) or not isinstance(name, str) or not isinstance(described, dict):
        raise RefusedFileError("its 'geo' metadata describe no column of geometries")
    if schema.names.count(name) != 1:
        raise RefusedFileError(f"its 'geo' metadata name the column {name[:80]!r}, which it does not have")
    encoding = str(described.get("encoding"))
    if encoding != "WKB" and encoding not in _NESTING:
        raise RefusedFileError(f"it encodes geometries as {encoding[:40]}, which GeoParquet does not have")
    if encoding == "WKB" and str(schema.field(name).type) not in ("binary", "large_binary"):
        raise RefusedFileError(f"its column {name[:80]!r} has the type {schema.field(name).type}, but WKB is binary")
    crs = described.get("crs", "OGC:CRS84")
    if crs is not None and not isinstance(crs, (str, dict)):
        raise RefusedFileError("its 'geo' metadata have a CRS that is neither text nor PROJJSON")
    text = json.dumps(crs) if isinstance(crs, dict) else crs
    check_crs(text or "")
    covering = described.get("covering")
    boxes = covering.get("bbox") if isinstance(covering, dict) else None
    covers = (
        {part[0] for part in boxes.values() if isinstance(part, list) and part} if isinstance(boxes, dict) else set()
    )
    return (
        name,
        text,
        encoding,
        [column_name for column_name in schema.names if column_name not in columns and column_name not in covers],
    )


def _store(schema: Any, batches: Any, geometry: str | None, request: Request) -> None:
    """Write batches of features, within bounds, and check their texts and geometries."""
    import pyarrow as pa

    limits, rows, size, vertices = request.limits, 0, 0, 0
    target = request.folder / FEATURES
    # GDAL's JSON is text; views cannot be sorted or filtered.
    views = {"string_view": pa.string(), "binary_view": pa.binary()}
    kinds = [views.get(str(field.type), getattr(field.type, "storage_type", field.type)) for field in schema]
    plain = pa.schema([field.with_type(kind) for field, kind in zip(schema, kinds, strict=True)])
    with pa.OSFile(str(target), "wb") as file, pa.ipc.new_stream(file, plain) as writer:
        for extended in batches:
            batch = extended.cast(plain) if extended.schema != plain else extended
            _check_texts(batch, rows)
            if geometry is not None:
                column = batch.column(geometry)
                vertices += column.nbytes // _BYTES_PER_VERTEX
                if "shapely" not in sys.modules or sys.modules["shapely"] is not None:
                    _check_depth(column, rows)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            for what, count, most in (("rows", rows, limits.rows), ("vertices", vertices, limits.vertices)):
                if count > most:
                    raise RefusedFileError(f"it has more than {most:,} {what}: divide it")
            if size > limits.bytes:
                raise RefusedFileError(f"its features have more than {quantity(limits.bytes)}: divide it")
            writer.write_batch(batch)


def _check_texts(batch: Any, before: int) -> None:
    """Reject texts that are not UTF-8, with their column and row."""
    import pyarrow as pa

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                is_large = pa.types.is_large_string(column.type)
                for row, raw in enumerate(column.view(pa.large_binary() if is_large else pa.binary()).to_pylist(), 1):
                    if raw is not None and not is_text(raw, "utf-8"):
                        where = f"row {before + row}, column {name!r}"
                        raise RefusedFileError(f"{where} is not UTF-8 text: {raw[:40]!r}") from error
            raise RefusedFileError(f"column {name!r} is damaged: {first_line(error)}") from error


def _check_depth(column: Any, before: int) -> None:
    """Parse geometries of others with a small stack, on which nested ones end this process and not the caller's."""
    import shapely

    errors: list[BaseException] = []

    def parse() -> None:
        try:
            shapely.from_wkb(column.to_numpy(zero_copy_only=False))
        except (shapely.errors.GEOSException, TypeError) as error:
            errors.append(error)

    threading.stack_size(_SMALL_STACK)
    thread = threading.Thread(target=parse)
    thread.start()
    thread.join()
    if errors:
        raise RefusedFileError(f"a geometry of rows {before + 1} to {before + len(column)}: {first_line(errors[0])}")


def _set_limits(limits: Limits) -> None:
    """Limit memory and time of this process, where the system can."""
    try:
        import resource
    except ImportError:
        return
    for name, value in (("RLIMIT_AS", limits.memory), ("RLIMIT_CPU", limits.seconds), ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (OSError, ValueError):  # macOS has no limit of address space
            continue


def _leave_out(*names: str) -> None:
    """Keep pyogrio and pyarrow from importing libraries that they can do without, which takes longer than to read."""
    for name in names:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def main() -> None:
    """Answer one request."""
    _leave_out("pandas", "geopandas", "pyproj")
    fields = json.load(sys.stdin)
    limits = Limits(**fields["limits"])
    _set_limits(limits)
    request = Request(
        Path(fields["source"]),
        Path(fields["folder"]),
        fields["layer"],
        fields["encoding"],
        fields["needs_geometry"],
        limits,
    )
    try:
        answer = read(request)
    except RefusedFileError as error:
        answer = {"refused": error.kind, "reason": str(error)}
    except MemoryError:
        answer = {"refused": "unreadable", "reason": f"it needs more than {quantity(limits.memory)} of memory"}
    sys.stdout.write(json.dumps(answer))
