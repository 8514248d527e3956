"""Export tables: CSV, GeoJSON, KML, KMZ, Shapefile, TFRecord, or an asset; check ``maxVertices``, and what the table of
an asset may hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.type_conversion import common_type_name, full_type_name
from eechips_local.evaluation.value_requests import TABLE_WRITERS, collection_of, elements
from eechips_local.exports.asset_files import asset_task, check_free, publishing
from eechips_local.exports.process_messages import ExportedFile, ExportJob
from eechips_local.exports.shapefiles import write_shapefile
from eechips_local.exports.table_columns import column, column_names, shapes
from eechips_local.exports.tf_records import RecordFiles, Values, as_numbers, example
from eechips_local.protocol.field_checks import unwrapped_integer
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.values.value_json import Encoder
from eechips_local.values.values import Array, Feature

_GEO = ".geo"
# Of the tables of assets: https://developers.google.com/earth-engine/guides/exporting_tables#to_asset
_MOST_VERTICES = 100_000
_MOST_PROPERTIES = 1_000
_MOST_CHARACTERS = 100_000
_WHOLE = 1 << 40


def export_table(
    body: Mapping[str, Any], context: Context, job: ExportJob, report: Callable[[float], None]
) -> list[ExportedFile]:
    """``table:export``."""
    selectors = list(body.get("selectors") or ()) or None
    features = _bounded(elements(collection_of(body, "Feature", context), context), body.get("maxVertices"))
    if job.asset is not None:
        return _ingest(features, selectors, context, job, report)
    form = body["fileExportOptions"].get("fileFormat") or "CSV"
    if form == "SHP":
        files = write_shapefile(job.folder / "table.shp", features, selectors, context)
        return [ExportedFile(path.name, None, path.suffix) for path in files]
    if form == "TF_RECORD_TABLE":
        return _records(features, selectors, context, job)
    if form not in TABLE_WRITERS:
        raise InvalidError(f"Unsupported file format: {form}.")
    write, _, ending = TABLE_WRITERS[form]
    (job.folder / "table").write_bytes(write(features, selectors, context))
    return [ExportedFile("table", None, f".{ending}")]


def _bounded(features: Iterator[Feature], max_vertices: Any) -> Iterator[Feature]:
    """Yield features; raise where Earth Engine would cut the geometry of one into pieces."""
    most = unwrapped_integer(max_vertices, 0)
    for feature in features:
        if most and feature.geometry is not None and shapely.get_num_coordinates(feature.geometry.shape) > most:
            raise LimitError(
                f"A geometry has more than {most} vertices (maxVertices); the local Earth Engine does not cut it."
            )
        yield feature


def _records(
    features: Iterator[Feature], selectors: Sequence[str] | None, context: Context, job: ExportJob
) -> list[ExportedFile]:
    """Write one file, which is always compressed: https://developers.google.com/earth-engine/guides/tfrecord."""
    encoder = Encoder(context)
    with RecordFiles(job.folder, is_compressed=True, most_bytes=_WHOLE) as files:
        for feature in features:
            names = selectors or feature.properties
            properties = {name: feature.properties.get(name) for name in names if name != _GEO}
            files.write(example({k: _values(v, encoder) for k, v in properties.items() if v is not None}))
    return [ExportedFile(files.names[0], None, ".tfrecord.gz")]


def _values(value: Any, encoder: Encoder) -> Values:
    """Return a property as the values of a feature: numbers, lists of them and arrays are floats, the rest is text."""
    if isinstance(value, Array):
        return as_numbers(value.values.reshape(-1))
    if isinstance(value, (bool, int, float)):
        return as_numbers([value])
    if isinstance(value, list) and value and all(isinstance(item, (bool, int, float)) for item in value):
        return as_numbers(value)
    text = value if isinstance(value, str) else json.dumps(encoder.encode(value))
    return text.encode("utf-8", "replace")


def _ingest(
    features: Iterator[Feature],
    selectors: Sequence[str] | None,
    context: Context,
    job: ExportJob,
    report: Callable[[float], None],
) -> list[ExportedFile]:
    # Here, since it brings pandas along, which other formats have no use for.
    from eechips_local.assets.ingestion.vector_files import read_features

    assert job.asset is not None
    check_free(job.asset, context)
    rows = list(features)
    geometries = shapes(rows)
    _check_rows(rows, geometries, selectors)
    report(0.5)
    path = _parquet(job.folder / "table.parquet", rows, geometries, selectors, context)
    task = asset_task(job.asset, {}, context)
    with publishing(job.asset, context):
        task.run("table", {job.asset.id: partial(task.table, job.asset.id, partial(read_features, path), {})})
    report(1.0)
    return []


def _check_rows(rows: Sequence[Feature], geometries: npt.NDArray[np.object_], selectors: Sequence[str] | None) -> None:
    """Check what the table of an asset may hold.

    Raises:
        InvalidError: for no row, a row without a geometry (code 71654039283), or a dictionary (code 58058703884).
        LimitError: for more vertices, properties or characters than it may have.
    """
    if not rows:
        raise InvalidError("The table has no features, and an asset of it would have no columns.")
    if any(row.geometry is None for row in rows):
        raise InvalidError("Unable to export features with null geometry.")
    if int(shapely.get_num_coordinates(geometries).max()) > _MOST_VERTICES:
        raise LimitError(f"A geometry of the table has more than {_MOST_VERTICES} vertices.")
    names = set(selectors) if selectors else set().union(*(row.properties for row in rows)) - {"system:index"}
    if len(names) > _MOST_PROPERTIES:
        raise LimitError(f"The table has {len(names)} properties, and may have {_MOST_PROPERTIES}.")
    for index, row in enumerate(rows):
        for name in names:
            value = row.properties.get(name)
            if isinstance(value, Mapping):
                kind = common_type_name([full_type_name(item) for item in value.values()]) or "Object"
                raise InvalidError(
                    f"Unable to encode value '{name}' of feature {index}: invalid type Dictionary<{kind}>"
                )
            if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
                raise LimitError(f"A text of the table has more than {_MOST_CHARACTERS} characters.")


def _parquet(
    path: Path,
    rows: Sequence[Feature],
    geometries: npt.NDArray[np.object_],
    selectors: Sequence[str] | None,
    context: Context,
) -> Path:
    """Write GeoParquet (https://geoparquet.org/releases/v1.1.0), which keeps the types of columns."""
    names = column_names(rows, selectors)
    geometry = "geometry"
    while geometry in names:
        geometry = f"_{geometry}"
    arrays = [*(column(rows, name, context) for name in names), pa.array(shapely.to_wkb(geometries), pa.binary())]
    geo = {
        "version": "1.1.0",
        "primary_column": geometry,
        "columns": {geometry: {"encoding": "WKB", "geometry_types": []}},
    }
    table = pa.table(arrays, names=[*names, geometry]).replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, path)
    return path
