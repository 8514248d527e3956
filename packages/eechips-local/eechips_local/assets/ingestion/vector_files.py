"""Ingest vector files as tables: types of columns, the CRS, repaired geometries; write GeoParquet in longitude and
latitude.
"""

from __future__ import annotations

import json
import logging
import math
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from eechips_local.assets.asset_errors import EmptyTableError, IngestError, MissingCrsError, UnreadableFileError
from eechips_local.assets.ingestion.raster_files import crs_name
from eechips_local.assets.store_files import temporary_folder
from eechips_local.assets.stored_tables import INDEX_COLUMN
from eechips_local.assets.vectors.untrusted_vectors import read_layer
from eechips_local.assets.vectors.vector_formats import RefusedFileError, identify
from eechips_local.geometry.shapes import valid
from eechips_local.pixels.grids.pixel_grid import UnknownCrsError, transformer

_LOG = logging.getLogger("eechips_local.ingestion")
_EARTH = "EPSG:4326"
_CRS_MEMBER = re.compile(rb'"crs"\s*:\s*\{[^{}]{0,99}\{\s*"name"\s*:\s*"([^"\\]{1,200})"')
_GROUP_ROWS = 1024
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True, slots=True)
class Features:
    """The contents of a vector file, as Earth Engine would hold them.

    Attributes:
        table: properties, a string, 32- or 64-bit integer or double each; no geometry.
        geometries: two-dimensional, in longitude and latitude, None where missing.
        columns: Earth Engine type names.
    """

    table: pa.Table
    geometries: npt.NDArray[np.object_]
    columns: Mapping[str, str]

    @property
    def bounds(self) -> BaseGeometry:
        """The box around all geometries; empty if there are none."""
        corners = shapely.total_bounds(self.geometries)
        return shapely.box(*corners) if np.isfinite(corners).all() else shapely.Polygon()


def is_vector(path: Path) -> bool:
    """Return whether a file has the content of a vector format that is read."""
    try:
        identify(path)
    except (RefusedFileError, OSError):
        return False
    return True


def read_features(
    path: Path, *, crs: str | None = None, layer: str | None = None, encoding: str | None = None
) -> Features:
    """Read a vector file.

    Args:
        path: see :func:`eechips_local.assets.vectors.untrusted_vectors.read_layer`.
        crs: in place of the file's own, or None.
        layer: layer of a file with several.
        encoding: encoding of its texts, in place of the file's own.

    Raises:
        UnreadableFileError: if it cannot be read.
        MissingCrsError: if nothing says where the coordinates lie.
        EmptyTableError: if it has no features.
        IngestError: if its layers or columns do not suit.
    """
    table, geometry, own_crs = _read(path, layer, encoding)
    if table.num_rows == 0:
        raise EmptyTableError(f"{path} has no features, so there is nothing to ingest.")
    if crs is None and own_crs == _EARTH and (named := _unknown_crs(path)) is not None:
        _LOG.warning("%s names a CRS that GDAL does not know (%s): it is read as %s", path, named, _EARTH)
    wkt = crs or own_crs
    if wkt is None:
        raise MissingCrsError(f"{path} has no coordinate reference system: say which, as in --crs EPSG:4326.")
    try:
        name = crs_name(wkt)
        raw = shapely.from_wkb(table.column(geometry).to_numpy())
    except CRSError as error:
        raise IngestError(f"The CRS of {path} is not understood: {error}") from error
    except shapely.errors.GEOSException as error:
        raise UnreadableFileError(f"{path} has geometries that cannot be read: {error}") from error
    columns: dict[str, str] = {}
    arrays: dict[str, pa.Array] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.name not in (geometry, INDEX_COLUMN) and not _PANDAS_INDEX.fullmatch(field.name):
            arrays[field.name], columns[field.name] = to_column(field, column, path)
    return Features(pa.table(arrays), to_earth(raw, name, path), columns)


def _unknown_crs(path: Path) -> str | None:
    """Return the name in the member ``crs`` of GeoJSON if it is another than WGS84, for which GDAL takes it."""
    if path.suffix.lower() not in (".geojson", ".json"):
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        match = _CRS_MEMBER.search(content)
        name = "CRS84" if match is None else match[1].decode(errors="replace")
    if name.upper().endswith("CRS84"):
        return None
    try:
        return None if crs_name(name) == _EARTH else name
    except CRSError:
        return name


def write_table(features: Features, target: Path) -> None:
    """Write GeoParquet 1.1 with the boxes of features as a covering column, and ``system:index``."""
    count = len(features.geometries)
    geometry = _free_name("geometry", features.columns)
    covering = _free_name("bbox", features.columns)
    boxes = shapely.bounds(features.geometries)
    corners = [pa.array(boxes[:, side], mask=np.isnan(boxes[:, side])) for side in range(4)]
    # An empty table of properties has lost its number of rows, so the index comes from the geometries.
    names = [INDEX_COLUMN, *features.columns, covering, geometry]
    arrays = [
        pa.array([f"{row:020x}" for row in range(count)]),
        *(features.table.column(name) for name in features.columns),
        pa.StructArray.from_arrays(corners, names=list(_CORNERS)),
        pa.array(shapely.to_wkb(features.geometries), pa.binary()),
    ]
    kinds = {
        shapely.geometry.base.GEOMETRY_TYPES[code] for code in shapely.get_type_id(features.geometries) if code >= 0
    }
    geo = {
        "version": "1.1.0",
        "primary_column": geometry,
        "columns": {
            geometry: {
                "encoding": "WKB",
                "geometry_types": sorted(kinds),
                "bbox": [
                    float(corner) for corner in shapely.total_bounds(features.geometries) if not math.isnan(corner)
                ],
                "covering": {"bbox": {corner: [covering, corner] for corner in _CORNERS}},
            }
        },
    }
    table = pa.table(dict(zip(names, arrays, strict=True))).replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, target, compression="zstd", row_group_size=_GROUP_ROWS)


def _read(path: Path, layer: str | None, encoding: str | None) -> tuple[pa.Table, str, str | None]:
    """Return the columns of a layer, the name of that with geometries, and the file's CRS."""
    try:
        with temporary_folder() as folder:
            layer_content = read_layer(path, folder, layer=layer, encoding=encoding)
    except RefusedFileError as error:
        raise UnreadableFileError(f"{path} cannot be read as a vector file: {error}") from error
    if layer is None and len(layer_content.layers) > 1:
        raise IngestError(f"{path} has several layers: choose one of {', '.join(layer_content.layers)} with layer=….")
    assert layer_content.geometry is not None
    for note in layer_content.notes:
        _LOG.warning("%s: %s", path, note)
    return layer_content.table, layer_content.geometry, layer_content.crs


def to_column(field: pa.Field, column: pa.ChunkedArray, path: Path) -> tuple[pa.ChunkedArray, str]:
    """Return a column in one of the types that Earth Engine has, and that type's name.

    Dates become milliseconds since 1970 and booleans 0 or 1; times of day become text, lists and structures JSON.

    Raises:
        IngestError: if tables cannot hold it.
    """
    kind = field.type
    if pa.types.is_dictionary(kind):
        return to_column(field.with_type(kind.value_type), column.cast(kind.value_type), path)
    if pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and kind.bit_width < 32) or kind == pa.int32():
        return column.cast(pa.int32()), "Integer"
    if pa.types.is_integer(kind):
        try:
            return column.cast(pa.int64()), "Long"
        except pa.ArrowInvalid as error:
            raise IngestError(f"The column {field.name!r} of {path} has numbers beyond 64 bits: {error}.") from error
    if pa.types.is_decimal(kind):  # Arrow multiplies by a power of ten: 3.30 would be 3.3000000000000003
        column = pa.chunked_array(
            [[None if value is None else float(value) for value in column.to_pylist()]], pa.float64()
        )
        return column, "Float"
    if pa.types.is_floating(kind):
        numbers = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers), "Float"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()), "Long"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return column.cast(pa.string()), "String"
    if pa.types.is_time(kind):
        times = [None if value is None else value.isoformat() for value in column.to_pylist()]
        return pa.chunked_array([pa.array(times, pa.string())]), "String"
    if pa.types.is_nested(kind):
        texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())]), "String"
    raise IngestError(f"The column {field.name!r} of {path} has the type {kind}, which tables cannot hold: drop it.")


def to_earth(geometries: npt.NDArray[np.object_], crs: str, path: Path) -> npt.NDArray[np.object_]:
    """Return valid two-dimensional geometries in longitude and latitude.

    Raises:
        IngestError: if the CRS does not cover their coordinates, or has no place on Earth.
    """
    flat = shapely.force_2d(geometries)
    flat[shapely.is_empty(flat)] = None
    if crs != _EARTH:
        try:
            turn = transformer(crs, _EARTH)
        except UnknownCrsError as error:
            raise IngestError(
                f"The CRS of {path} has no place on Earth: say another, as in --crs EPSG:4326."
            ) from error
        flat = shapely.transform(flat, lambda xy: np.column_stack(turn.transform(xy[:, 0], xy[:, 1])))
        if not np.isfinite(shapely.get_coordinates(flat)).all():
            raise IngestError(f"{path} has coordinates that its CRS does not cover: is it the right one?")
    broken = ~shapely.is_valid(flat) & ~shapely.is_missing(flat)
    flat[broken] = [valid(shape) for shape in flat[broken]]
    return np.asarray(flat, dtype=object)


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name = f"_{name}"
    return name
