"""Read vector files in longitude and latitude of WGS84 (formats of GDAL, GeoParquet, CSV with WKT): repair polygons,
leave features without geometry out, refuse spreadsheets.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.files.scratch_folders import temporary_folder
from eechips.geo.crs import find_column
from eechips.geo.ellipsoid import Floats, Geometries, Indices
from eechips.geo.file_crs import SHOWN_CRS, choose_crs, crs_cure, parse_file_crs
from eechips.geo.polygons import wrap_at_antimeridian
from eechips.geo.text_tables import WKT_NAMES, is_text_table, parse_wkt, read_text_table
from eechips.geo.untrusted_vectors import read_layer
from eechips.geo.vector_formats import RefusedFileError
from eechips.geo.vector_paths import describe_missing, join_layer, split_layer
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

# Straight edges of another projection are curves in longitude and latitude: before it is reprojected, a geometry
# gets a vertex at least every so many parts of its file's extent.
_PARTS = 200

_SHOWN_COLUMNS = 3
_MOST_CHANGE = 10.0  # factor beyond which a change of area is no figure: an outline that crosses itself

_KML_DEFAULTS = {"tessellate": -1, "extrude": 0, "visibility": -1}
_KML_COLUMNS = frozenset(_KML_DEFAULTS) | {
    "description",
    "timestamp",
    "begin",
    "end",
    "altitudeMode",
    "drawOrder",
    "icon",
}
"""Columns of every KML file, and their values where the file has none: https://gdal.org/drivers/vector/libkml.html"""
_SPREADSHEETS = frozenset({".xlsx", ".xlsm", ".xls", ".ods", ".numbers"})
_GZIP = b"\x1f\x8b"  # the first bytes of a file, RFC 1952
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True)
class Vectors:
    """The features of a vector file.

    Attributes:
        geometries: shapely geometries in EPSG:4326, x is longitude; none is missing, empty or invalid.
        attributes: the other columns, a row for each geometry; None for missing integers.
        numbers: number of each feature in the file, from 1, shape (n,); those without a geometry are left out.
        repaired: description of the repairs for the user; empty if there were none.
    """

    path: Path
    geometries: Geometries
    attributes: pd.DataFrame
    numbers: Indices
    repaired: str = ""


def read_vectors(
    path: Path, *, crs: str | None = None, crs_option: str | None = "input_crs", notes: int = logging.WARNING
) -> Vectors:
    """Read the polygons of a vector file, repair them, and reproject them to EPSG:4326; see :func:`repair`.

    Features without a geometry are left out, which is logged.

    Args:
        path: GeoJSON, GeoPackage, Shapefile, FlatGeobuf, KML, GeoParquet, …, its first layer or that of
            :func:`eechips.geo.vector_paths.split_layer`; or CSV with WKT.
        crs: CRS of a file that does not say it.
        crs_option: option of the caller that gives ``crs``, for messages; None if there is none.
        notes: level at which to log what is noteworthy of the file; lower if that was logged before.

    Raises:
        RegionError: if the file does not exist or cannot be read, has no features, or has no or an unknown CRS, or if a
            feature is no polygon, or has no area.
    """
    geometries, attributes, known_crs = _read(path, crs, crs_option, notes)
    rows = _find_polygons(path, geometries, attributes, notes)
    geometries, repaired = repair(path, geometries[rows], lambda index: _feature(int(rows[index]), attributes))
    polygons = to_wgs84(path, geometries, known_crs)
    latitudes = np.abs(shapely.bounds(polygons)[:, (1, 3)]).max(axis=1)
    beyond = np.flatnonzero(latitudes > 90.0)
    if len(beyond):
        is_far = latitudes[beyond[0]] > 360.0
        why = (
            f"they look projected (metres): {crs_cure(path, crs)}" if is_far else "are longitude and latitude swapped?"
        )
        raise RegionError(
            f"{path}: {_feature(int(rows[beyond[0]]), attributes)} has latitudes beyond 90 degrees: {why}"
        )
    own = [name for name in attributes.column_names if not _PANDAS_INDEX.fullmatch(name)]
    # Integers stay integers, although some are missing: floats would make ids beyond 2**53 equal.
    columns = attributes.select(own).take(rows).to_pandas(integer_object_nulls=True)
    return Vectors(path, polygons, columns, rows + 1, repaired)


def repair(
    path: Path | str, geometries: Geometries, name: Callable[[int], str], *, needs_area: bool = True
) -> tuple[Geometries, str]:
    """Repair invalid polygons with ``shapely.make_valid``, without the lines and points that it may return.

    Rings that cross themselves count by the even-odd rule, as in Earth Engine; polygons that overlap count once.

    Args:
        path: path of the file, for messages.
        geometries: valid and invalid polygons, shape (n,).
        name: returns the name of a geometry in messages, given its index.
        needs_area: whether a polygon without area is refused; else it becomes the line or point that it covers.

    Returns:
        The geometries, and a description of the repairs for the user; empty if there were none.

    Raises:
        RegionError: if a repaired polygon has no area, but needs one.
    """
    is_polygon = np.isin(shapely.get_type_id(geometries), _POLYGONS)
    wrong = np.flatnonzero(is_polygon & ~shapely.is_valid(geometries))
    if not len(wrong):
        return geometries, ""
    repaired = geometries.copy()
    for index in wrong:
        valid = shapely.make_valid(shapely.get_parts(geometries[index]))
        areas = [part for part in shapely.get_parts(shapely.get_parts(valid)) if shapely.get_type_id(part) in _POLYGONS]
        if not areas and needs_area:
            raise RegionError(f"{path}: {name(int(index))} cannot be repaired: it has no area. Remove or redraw it")
        repaired[index] = shapely.union_all(areas or valid)
    before, after = (float(np.abs(shapely.area(shapes[wrong])).sum()) for shapes in (geometries, repaired))
    change = _describe_change(before, after)
    names = "; ".join(name(int(index)) for index in wrong[:_SHOWN_COLUMNS])
    more = f"; and {len(wrong) - _SHOWN_COLUMNS:,} more" if len(wrong) > _SHOWN_COLUMNS else ""
    count = int(is_polygon.sum())
    return repaired, f"{path}: repaired {len(wrong):,} of {count:,} polygons, whose area {change}: {names}{more}"


def _describe_change(before: float, after: float) -> str:
    """Describe what a repair did to the area of polygons."""
    if before == after:
        return "is unchanged"
    if before <= 0 or after / before > _MOST_CHANGE:
        return "was counted as almost 0 before, because their outlines cross themselves"
    percent = 100 * (after / before - 1)
    return f"changed by {float(f'{percent:.2g}'):+g}%" if abs(percent) >= 0.01 else "is unchanged"


def read_features(path: Path) -> tuple[Geometries, pa.Table]:
    """Read all features of a vector file, of any geometry type, repair polygons, and reproject them to EPSG:4326.

    Polygons without area become lines or points, which have a distance too.

    Args:
        path: as for :func:`read_vectors`.

    Returns:
        Shapely geometries, None for features without one, and the other columns, with a row for each geometry.

    Raises:
        RegionError: if the file does not exist or cannot be read, has no features, or has no or an unknown CRS.
    """
    geometries, attributes, known_crs = _read(path, None, None, logging.WARNING)
    geometries, note = repair(path, geometries, lambda index: _feature(index, attributes), needs_area=False)
    if note:
        _log.warning("%s", note)
    return to_wgs84(path, geometries, known_crs), attributes


def read_table(path: Path, *, notes: int = logging.WARNING) -> tuple[Geometries | None, pa.Table, str | None]:
    """Read the rows of a file that may have geometries, or columns of coordinates.

    Args:
        path: vector file, CSV or Parquet.
        notes: as for :func:`read_vectors`.

    Returns:
        Shapely geometries in two dimensions, or None if the file has no column of geometries; the other columns; and
        the CRS of the geometries, None if the file does not say it.

    Raises:
        RegionError: if the file does not exist, cannot be read, or is no file of places.
    """
    file, chosen = split_layer(path)
    if not file.is_file():
        raise RegionError(describe_missing(path))
    if file.suffix.lower() in _SPREADSHEETS:
        raise RegionError(f"{path} is a spreadsheet, which is not read: save it as CSV")
    if is_text_table(path):
        texts = read_text_table(path, notes=notes)
        name = find_column(texts.column_names, WKT_NAMES)
        if name is None:
            return None, texts, None
        geometries, srid = parse_wkt(path, texts, name)
        return _flat(path, geometries), texts.drop_columns([name]), srid
    try:
        with temporary_folder() as folder:
            layer = read_layer(file, folder, layer=chosen, needs_geometry=False)
    except RefusedFileError as error:
        if _is_gzip(file):
            raise RegionError(f"{path} is compressed by gzip, which is not read: decompress it first") from error
        raise RegionError(f"{path} cannot be read as a vector file: {error}") from error
    if len(layer.layers) > 1 and chosen is None:
        first, second = layer.layers[:2]
        names, other = ", ".join(layer.layers), join_layer(path, second)
        _log.log(notes, "%s has several layers, of which %s is read: %s. Another: %r", path, first, names, other)
    for note in layer.notes:
        _log.log(notes, "%s: %s", path, note)
    if layer.geometry is None:
        return None, layer.table, None
    try:
        geometries = shapely.from_wkb(layer.table.column(layer.geometry).to_numpy())
    except (shapely.errors.GEOSException, TypeError) as error:
        raise RegionError(f"{path} cannot be read as a vector file: {str(error).splitlines()[0]}") from error
    return _flat(path, geometries), _without_defaults(layer.table.drop_columns([layer.geometry])), layer.crs


def _without_defaults(attributes: pa.Table) -> pa.Table:
    """Leave out columns that GDAL adds to every KML file, if they have no value but GDAL's default."""
    names = set(attributes.column_names)
    if not names.issuperset(_KML_DEFAULTS):
        return attributes
    present = {name: set(attributes.column(name).unique().to_pylist()) for name in _KML_COLUMNS & names}
    return attributes.drop_columns([n for n, values in present.items() if values <= {None, _KML_DEFAULTS.get(n)}])


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_GZIP)) == _GZIP


def _read(path: Path, crs: str | None, crs_option: str | None, notes: int) -> tuple[Geometries, pa.Table, str]:
    """Return the unprojected geometries in two dimensions, the other columns, and the CRS.

    Raises:
        RegionError: if the file has no geometries, no features, or says another CRS than the caller.
    """
    geometries, attributes, own_crs = read_table(path, notes=notes)
    if geometries is None:
        if not is_text_table(path):
            raise RegionError(f"{path} is not GeoParquet: it has no 'geo' metadata")
        raise RegionError(
            f"{path} holds no geometries: a CSV file of polygons needs a column of WKT ({', '.join(WKT_NAMES)}); for"
            " a CSV file of points, use `eechips points`"
        )
    if len(geometries) == 0:
        raise RegionError(f"{path} holds no features")
    return geometries, attributes, choose_crs(path, own_crs, crs, crs_option)


def _flat(path: Path, geometries: Geometries) -> Geometries:
    """Return geometries in two dimensions; raise RegionError, with the row, if a coordinate is not finite."""
    flat: Geometries = np.asarray(shapely.force_2d(geometries), dtype=object)
    coordinates, rows = shapely.get_coordinates(flat, return_index=True)
    wrong = np.flatnonzero(~np.isfinite(coordinates).all(axis=1))
    if len(wrong):
        raise RegionError(f"{path}: feature {int(rows[wrong[0]]) + 1:,} has a coordinate that is not a finite number")
    return flat


def _find_polygons(path: Path, geometries: Geometries, attributes: pa.Table, notes: int) -> Indices:
    """Return the indices of the features that have a geometry; log how many have none, or an empty one.

    Raises:
        RegionError: if no feature has one, or if one is no polygon; the message has its number and attributes.
    """
    is_bare = shapely.is_missing(geometries) | shapely.is_empty(geometries)
    bare, rows = np.flatnonzero(is_bare), np.flatnonzero(~is_bare)
    if not len(rows):
        raise RegionError(f"{path}: none of its features has a geometry")
    if len(bare):
        first = _feature(int(bare[0]), attributes) + (f" and {len(bare) - 1:,} more" if len(bare) > 1 else "")
        _log.log(notes, "%s: %s without geometry left out: %s", path, format_count(len(bare), "feature"), first)
    others = rows[~np.isin(shapely.get_type_id(geometries[rows]), _POLYGONS)]
    for index in others[:1]:
        kind = geometries[index].geom_type
        count = f"; {len(others):,} of {len(geometries):,} features are none" if len(others) > 1 else ""
        raise RegionError(f"{path}: {_feature(int(index), attributes)} is a {kind}, not a polygon{count}")
    return rows


def _feature(index: int, attributes: pa.Table) -> str:
    """Describe a feature for a message: its number, from 1, and the values of its first columns."""
    values = [f"{name}={attributes.column(name)[index].as_py()}" for name in attributes.column_names[:_SHOWN_COLUMNS]]
    return f"feature {index + 1}" + (f" ({', '.join(values)})" if values else "")


def to_wgs84(path: Path, geometries: Geometries, crs: str) -> Geometries:
    """Reproject geometries to EPSG:4326, x is longitude.

    Args:
        path: file, for messages.
        geometries: shapely geometries, shape (n,); None for rows without one. Polygons are valid: GEOS leaves parts of
            others out when it adds vertices.

    Raises:
        RegionError: if PROJ does not know the CRS, if it does not cover the coordinates, or if a polygon goes around a
            pole.
    """
    source = parse_file_crs(path, crs)
    if source.is_geographic and source.equals(CRS("EPSG:4326"), ignore_axis_order=True):
        return geometries
    if not source.is_geographic:
        west, south, east, north = shapely.total_bounds(geometries)
        if (extent := max(east - west, north - south)) > 0:  # no single point
            geometries = shapely.segmentize(geometries, extent / _PARTS)
    try:
        transformer = Transformer.from_crs(source, "EPSG:4326", always_xy=True)
    except ProjError as error:
        raise RegionError(
            f"{path}: its coordinate reference system has no place on Earth: {crs[:SHOWN_CRS]}"
        ) from error
    moved = shapely.transform(geometries, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise RegionError(f"{path} has coordinates outside the area of its coordinate reference system")
    if not source.is_geographic:
        bounds = shapely.bounds(moved)
        # Edges are short now, so such a wide polygon has vertices on both sides of the antimeridian.
        for index in np.flatnonzero(bounds[:, 2] - bounds[:, 0] > 180.0):
            moved[index] = wrap_at_antimeridian(_unwrapped(path, int(index), moved[index]))
    return np.asarray(moved)


def _unwrapped(path: Path, index: int, geometry: BaseGeometry) -> BaseGeometry:
    """Continue polygons that jump at the antimeridian beyond 180; raise RegionError if one goes around a pole."""
    return shapely.union_all(
        [
            shapely.Polygon(
                _ring(path, index, part.exterior), [_ring(path, index, hole, part.exterior) for hole in part.interiors]
            )
            if part.geom_type == "Polygon"
            else part
            for part in shapely.get_parts(geometry)
        ]
    )


def _ring(path: Path, index: int, ring: BaseGeometry, around: BaseGeometry | None = None) -> Floats:
    coordinates = shapely.get_coordinates(ring)
    longitudes = np.unwrap(coordinates[:, 0], period=360.0)
    if abs(longitudes[-1] - longitudes[0]) > 180.0:
        raise RegionError(f"{path}: feature {index + 1} goes around a pole, which is not a point in degrees: divide it")
    if around is not None:  # a hole begins anywhere, but lies in its shell
        shell = np.unwrap(shapely.get_coordinates(around)[:, 0], period=360.0)
        longitudes += 360.0 * np.round((shell.min() + shell.max() - longitudes.min() - longitudes.max()) / 720.0)
    return np.column_stack([longitudes, coordinates[:, 1]])
