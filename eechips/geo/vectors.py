"""Read vector files in longitude and latitude of WGS84: GeoParquet, and every format that GDAL reads."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.geo.polygons import wrap_at_antimeridian

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
_LOST_INDEX = re.compile(r"Unable to open (\S+\.shx)")

# Straight edges of another projection are curves in longitude and latitude: before it is reprojected, a geometry
# gets a vertex at least every so many parts of its file's extent.
_PARTS = 200
_HEAD = 1 << 16  # bytes in which GDAL's drivers look for their signature, and many more

_SHOWN_COLUMNS = 3

_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True)
class Vectors:
    """The features of a vector file.

    Attributes:
        path: the file.
        geometries: shapely geometries in EPSG:4326, x is longitude; none is missing, empty or invalid.
        attributes: the other columns, a row for each geometry.
        repaired: description of the repairs for the user; empty if there were none.
    """

    path: Path
    geometries: npt.NDArray[np.object_]
    attributes: pd.DataFrame
    repaired: str = ""


def read_vectors(path: Path, *, repairs: bool = False) -> Vectors:
    """Read the polygons of a vector file, and reproject them to EPSG:4326.

    Args:
        path: GeoJSON, GeoPackage, Shapefile, FlatGeobuf, KML, GeoParquet, …; its first layer.
        repairs: repair invalid polygons, see :func:`repair`; otherwise they are errors.

    Raises:
        RegionError: if the file does not exist or cannot be read, has no features, or has no or an unknown CRS, or if a
            feature is not a valid polygon.
    """
    geometries, attributes, crs = _read(path)
    repaired = ""
    if repairs:
        geometries, repaired = repair(path, geometries, lambda index: _feature(index, attributes))
    _check(path, geometries, attributes)
    found = _to_wgs84(path, geometries, crs)
    beyond = np.flatnonzero(np.abs(shapely.bounds(found)[:, (1, 3)]).max(axis=1) > 90.0)
    if len(beyond):
        raise RegionError(
            f"{path}: {_feature(int(beyond[0]), attributes)} has latitudes beyond 90 degrees: are longitude and"
            " latitude swapped?"
        )
    return Vectors(path, found, attributes.to_pandas(), repaired)


def repair(
    path: Path, geometries: npt.NDArray[np.object_], name: Callable[[int], str]
) -> tuple[npt.NDArray[np.object_], str]:
    """Repair invalid polygons with ``shapely.make_valid``, without the lines and points that it may return.

    Args:
        path: of the file, for messages.
        geometries: valid and invalid polygons, shape (n,).
        name: returns the name of a geometry in messages, given its index.

    Returns:
        The geometries, and a description of the repairs for the user; empty if there were none.

    Raises:
        RegionError: if a repaired polygon has no area.
    """
    is_polygon = np.isin(shapely.get_type_id(geometries), _POLYGONS)
    wrong = np.flatnonzero(is_polygon & ~shapely.is_valid(geometries))
    if not len(wrong):
        return geometries, ""
    found = geometries.copy()
    for index in wrong:
        parts = shapely.get_parts(shapely.make_valid(geometries[index]))
        areas = [part for part in shapely.get_parts(parts) if shapely.get_type_id(part) in _POLYGONS]
        if not areas:
            raise RegionError(f"{path}: {name(int(index))} cannot be repaired: it has no area. Remove or redraw it")
        found[index] = shapely.union_all(areas)
    before, after = (float(np.abs(shapely.area(each[wrong])).sum()) for each in (geometries, found))
    change = f"changed by {100 * (after / before - 1):+.2g}%" if before > 0 else "was 0 before"
    names = "; ".join(name(int(index)) for index in wrong[:_SHOWN_COLUMNS])
    more = f"; and {len(wrong) - _SHOWN_COLUMNS:,} more" if len(wrong) > _SHOWN_COLUMNS else ""
    count = int(is_polygon.sum())
    return found, f"{path}: repaired {len(wrong):,} of {count:,} polygons, whose area {change}: {names}{more}"


def read_features(path: Path) -> tuple[npt.NDArray[np.object_], pa.Table]:
    """Read all features of a vector file, of any geometry type, and reproject them to EPSG:4326.

    Args:
        path: as for :func:`read_vectors`.

    Returns:
        Shapely geometries, None for features without one, and the other columns, with a row for each geometry.

    Raises:
        RegionError: if the file does not exist or cannot be read, has no features, or has no or an unknown CRS.
    """
    geometries, attributes, crs = _read(path)
    return _to_wgs84(path, geometries, crs), attributes


def _read(path: Path) -> tuple[npt.NDArray[np.object_], pa.Table, str | None]:
    """Return the unprojected geometries in two dimensions, the other columns, and the CRS."""
    if not path.is_file():
        raise RegionError(f"there is no file {path}")
    from pyogrio.errors import DataLayerError, DataSourceError

    _refuse_virtual(path)
    try:
        wkb, attributes, crs = _read_parquet(path) if path.suffix == ".parquet" else _read_gdal(path)
        geometries = shapely.from_wkb(wkb)
    except RegionError:
        raise
    except (
        DataSourceError, DataLayerError, pa.ArrowException, shapely.errors.GEOSException,
        OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError,
    ) as error:  # fmt: skip
        reason = (str(error).splitlines() or [repr(error)])[0]
        if "not recognized as" in reason:
            reason = "its content is that of no format that GDAL reads here"
        elif (found := _LOST_INDEX.search(reason)) is not None:
            reason = f"{found[1]} is missing: copy all files of the shapefile"
        raise RegionError(f"{path} cannot be read as a vector file: {reason}") from error
    if len(geometries) == 0:
        raise RegionError(f"{path} holds no features")
    return shapely.force_2d(geometries), attributes, crs


def _refuse_virtual(path: Path) -> None:
    """Reject a virtual data source, which may name any file and any URL.

    Raises:
        RegionError: if the file is one (https://gdal.org/drivers/vector/vrt.html).
    """
    with path.open("rb") as file:
        if b"<OGRVRTDataSource" in file.read(_HEAD):
            raise RegionError(
                f"{path} is a virtual data source, which reads other files: convert it with ogr2ogr first"
            )


def _read_gdal(path: Path) -> tuple[npt.NDArray[np.object_], pa.Table, str | None]:
    import pyogrio

    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(layers) > 1:
        _log.warning("%s has several layers, of which %s is read: %s", path, layers[0], ", ".join(layers))
    meta, table = pyogrio.read_arrow(path, layer=layers[0] if layers else None)
    name = meta["geometry_name"] or "wkb_geometry"
    if name not in table.column_names:
        raise RegionError(f"{path} holds no geometries")
    wkb = table.column(name).to_numpy()
    return wkb, table.drop_columns([name]), meta["crs"]


def _read_parquet(path: Path) -> tuple[npt.NDArray[np.object_], pa.Table, str | None]:
    """Read GeoParquet (https://geoparquet.org/releases/v1.1.0/); the default CRS is OGC:CRS84."""
    table = pq.read_table(path)
    metadata = (table.schema.metadata or {}).get(b"geo")
    if metadata is None:
        raise RegionError(f"{path} is not GeoParquet: it has no 'geo' metadata")
    geo = json.loads(metadata)
    name = geo["primary_column"]
    column = geo["columns"][name]
    if column["encoding"] != "WKB":
        raise RegionError(f"{path} encodes geometries as {column['encoding']}, only WKB can be read")
    crs: Any = column.get("crs", "OGC:CRS84")
    others = [other for other in table.column_names if other not in geo["columns"]]
    return table.column(name).to_numpy(), table.select(others), json.dumps(crs) if isinstance(crs, dict) else crs


def _check(path: Path, geometries: npt.NDArray[np.object_], attributes: pa.Table) -> None:
    """Check that all geometries are valid polygons that are not empty.

    Raises:
        RegionError: if one is not; the message has its number and its first attributes.
    """
    for index, geometry in enumerate(geometries):
        if geometry is None or geometry.is_empty:
            raise RegionError(f"{path}: {_feature(index, attributes)} has no geometry")
        if shapely.get_type_id(geometry) not in _POLYGONS:
            raise RegionError(f"{path}: {_feature(index, attributes)} is a {geometry.geom_type}, not a polygon")
        if not geometry.is_valid:
            reason = shapely.is_valid_reason(geometry)
            raise RegionError(
                f"{path}: {_feature(index, attributes)} is not a valid polygon ({reason}): set `repair`, or"
                " repair it, for example with ogr2ogr -makevalid"
            )


def _feature(index: int, attributes: pa.Table) -> str:
    """Describe a feature for a message: its number, from 1, and the values of its first columns."""
    values = [f"{name}={attributes.column(name)[index].as_py()}" for name in attributes.column_names[:_SHOWN_COLUMNS]]
    return f"feature {index + 1}" + (f" ({', '.join(values)})" if values else "")


def _to_wgs84(path: Path, geometries: npt.NDArray[np.object_], crs: str | None) -> npt.NDArray[np.object_]:
    if crs is None:
        hint = f": {path.with_suffix('.prj').name} is missing" if path.suffix.lower() == ".shp" else ""
        raise RegionError(f"{path} does not say what coordinate reference system it is in{hint}")
    try:
        source = CRS.from_user_input(crs)
    except CRSError as error:
        raise RegionError(f"{path} is in a coordinate reference system that PROJ does not know") from error
    if source.is_geographic and source.equals(CRS("EPSG:4326"), ignore_axis_order=True):
        return geometries
    if not source.is_geographic:
        west, south, east, north = shapely.total_bounds(geometries)
        geometries = shapely.segmentize(geometries, max(east - west, north - south) / _PARTS)
    transformer = Transformer.from_crs(source, "EPSG:4326", always_xy=True)
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
    """Make the longitudes of polygons that jump at the antimeridian continuous, beyond 180.

    Raises:
        RegionError: if one goes around a pole.
    """
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


def _ring(path: Path, index: int, ring: BaseGeometry, around: BaseGeometry | None = None) -> npt.NDArray[np.float64]:
    coordinates = shapely.get_coordinates(ring)
    longitudes = np.unwrap(coordinates[:, 0], period=360.0)
    if abs(longitudes[-1] - longitudes[0]) > 180.0:
        raise RegionError(f"{path}: feature {index + 1} goes around a pole, which is no point in degrees: divide it")
    if around is not None:  # a hole begins anywhere, but lies in its shell
        shell = np.unwrap(shapely.get_coordinates(around)[:, 0], period=360.0)
        longitudes += 360.0 * np.round((shell.min() + shell.max() - longitudes.min() - longitudes.max()) / 720.0)
    return np.column_stack([longitudes, coordinates[:, 1]])
