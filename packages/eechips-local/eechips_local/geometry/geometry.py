"""Convert geometries to GeoJSON, merge those of collections, and refuse ones with too many edges (2,000,000)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.geometry import overlay
from eechips_local.geometry.longitude_boxes import wrapped_longitude
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.geometry.planar_frame import frame_for, recast
from eechips_local.geometry.shapes import gather, is_geographic, open_at_pole
from eechips_local.geometry.shapes import leaves as leaves
from eechips_local.pixels.grids.pixel_grid import apply
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.values.number_format import json_number
from eechips_local.values.values import WHOLE_EARTH, Collection, ErrorMargin, Feature, Geometry

# "Geometry.simplify: Geometry has too many edges (9180789 > 2000000)."
# https://github.com/Blue-Ventures-Conservation/GEM/issues/36
# "Collection.geometry: Geometry has too many edges (2447944 > 2000000)", whatever the error margin: edges are counted
# before anything else. https://github.com/openforis/pysepal/issues/996
_MAX_EDGES = 2_000_000

# Functions that return a geometry, or facts of it, as it is.
_WITHOUT_OPERATION = frozenset(
    {
        "Geometry.coordinates",
        "Geometry.edgesAreGeodesics",
        "Geometry.geodesic",
        "Geometry.geometries",
        "Geometry.isUnbounded",
        "Geometry.projection",
        "Geometry.type",
        "Feature.geometry",
        "Feature.id",
        "Feature.select",
        "Feature.setGeometry",
        "Feature.toArray",
    }
)


def kept_footprint(footprint: Geometry) -> Geometry:
    """Return a footprint as the property ``system:footprint`` has it.

    That of a stored image is a geodesic ring: {"type": "LinearRing", "coordinates": [[-44.03, -21.78], …]}. That of a
    clipped one is a Polygon: code 15643366933 prints both ``{'type': 'Polygon', 'coordinates': …}`` and its grid.
    """
    shape = footprint.shape
    if footprint.geodesic_ring is None or shape.geom_type != "Polygon" or shape.interiors or shape.is_empty:
        return footprint
    return Geometry(shapely.LinearRing(shape.exterior.coords), footprint.projection, footprint.geodesic_ring)


def element_geometry(element: Any) -> Geometry | None:
    """Return the geometry of a feature, or the footprint of an image: the whole Earth where it is unbounded.

    Raises:
        InvalidError: for a collection among the elements of another, as where ``flatten()`` was forgotten. The message
            is quoted in code 41617220612.
    """
    if isinstance(element, Collection):
        raise InvalidError(
            "Unable to use a collection in an algorithm that requires a feature or image. This may happen when trying"
            " to use a collection of collections where a collection of features is expected; use flatten, or map a"
            " function to convert inner collections to clarify how inner collections should be converted to features."
        )
    if hasattr(element, "footprint"):
        footprint: Geometry | None = element.footprint
        return footprint or WHOLE_EARTH
    own: Geometry | None = element.geometry
    return own


def collection_geometry(collection: Collection) -> Geometry:
    """Return the geometries of a collection's elements merged into one, as ``FeatureCollection.geometry()``.

    Parts that overlap are dissolved. The projection and edges are those of the first geometry. Without any, the result
    is a planar MultiPoint of no points, as a published lesson prints it for sampled features (code 6633113158).

    Raises:
        LimitError: if that has more edges than Earth Engine allows.
    """
    geometries: list[Geometry] = []
    for element in collection:
        geometry = element_geometry(element)
        if geometry is None or geometry.shape.is_empty:
            continue
        if geometry.unbounded:
            return WHOLE_EARTH
        geometries.append(geometry)
    check_edges(geometries)
    if not geometries:
        return Geometry(shapely.MultiPoint())
    return merged(geometries)


def check_edges(geometries: Sequence[Geometry]) -> None:
    """Check that geometries, put together, have no more edges than Earth Engine takes.

    Raises:
        LimitError: if they have more.
    """
    shapes = [geometry.shape for geometry in geometries]
    edges = int(shapely.get_num_coordinates(shapes).sum())
    if edges > _MAX_EDGES:  # a ring has as many edges as vertices, the first of which is its last as well
        rings = shapely.get_rings(shapely.get_parts([leaf for shape in shapes for leaf in leaves(shape)]))
        edges -= len(rings)
    if edges > _MAX_EDGES:
        raise LimitError(f"Geometry has too many edges ({edges} > {_MAX_EDGES}).")


def check_operands(name: str, values: Iterable[Any]) -> None:
    """Check the arguments of a function of geometries or features: each may have so many edges.

    Args:
        name: name of the function; others than these are not checked.

    Raises:
        LimitError: if one has more.
    """
    if not name.startswith(("Geometry.", "Feature.")) or name in _WITHOUT_OPERATION:
        return
    for value in values:
        geometry = value.geometry if isinstance(value, Feature) else value
        if isinstance(geometry, Geometry):
            check_edges([geometry])


def merged(geometries: Sequence[Geometry], tolerance: float = 1.0) -> Geometry:
    """Return geometries brought to the first one's projection and edges, and put together.

    Args:
        geometries: one or more.
        tolerance: metres, where edges must be bent to fit the first one's.
    """
    first = geometries[0]
    alike = [recast(g, first.projection, first.geodesic, tolerance) for g in geometries]
    together = Geometry(gather([g.shape for g in alike]), first.projection, first.geodesic)
    if len(alike) == 1 or together.shape.geom_type != "MultiPolygon":
        return together
    frame = frame_for(*alike, margin=ErrorMargin(tolerance))
    if frame.lay(together).is_valid:
        return together
    return frame.give(overlay.union_all([frame.take(g) for g in alike]))


def coordinates(geometry: Geometry) -> list[Any]:
    """Return coordinates as in GeoJSON; longitudes of geodesic geometries lie in -180…180 degrees.

    A mixed collection gives the list of its parts' coordinates.
    """
    wrap = geometry.geodesic and is_geographic(geometry.projection)
    return _coordinates(geometry.shape, wrap)


def _coordinates(shape: BaseGeometry, wrap: bool) -> list[Any]:
    if shape.is_empty:
        return []
    if shape.geom_type == "Polygon":
        return [_coordinates(ring, wrap) for ring in (shape.exterior, *shape.interiors)]
    if hasattr(shape, "geoms"):
        return [_coordinates(part, wrap) for part in shape.geoms]
    array = shapely.get_coordinates(shape)
    if wrap and shape.geom_type == "LinearRing":
        array = open_at_pole(array)
    if wrap and np.abs(array[:, 0]).max() > 180.0:
        array = np.column_stack([[wrapped_longitude(x) for x in array[:, 0].tolist()], array[:, 1]])
    points: list[list[float]] = array.tolist()
    return points[0] if shape.geom_type == "Point" else points


def geometry_type(geometry: Geometry) -> str:
    """Return the GeoJSON type: Earth Engine's MultiGeometry is a ``GeometryCollection``."""
    return str(geometry.shape.geom_type)


def geojson(geometry: Geometry) -> dict[str, Any]:
    """Return GeoJSON as Earth Engine writes it: in ``getInfo``, in tables that are computed and in those that are
    downloaded.

    Members that the client assumes when it reads GeoJSON are left out. ``geodesic`` is false where edges are straight
    in the projection, also of points in longitude and latitude, like those that ``Image.sample`` makes, and not there
    where edges are geodesic; ``crs`` is not there for EPSG:4326. Longitudes of geodesic edges lie in -180…180 degrees.

    So ``Feature.getInfo()`` and ``.geo`` in tables are as users show them: ``{"geodesic": false, "type": "Polygon"}``,
    ``{"geodesic": false, "type": "Point"}`` of a sample, and of a point in metres ``{"crs": {"type": "name",
    "properties": {"name": "EPSG:32119"}}, "type": "Point"}``.
    """
    projection, shape = geometry.projection, geometry.shape
    if projection.transform != WGS84.transform:  # GeoJSON names a CRS, not a scale: coordinates are the CRS's own
        shape = shapely.transform(shape, lambda xy: np.column_stack(apply(projection.transform, *xy.T)))
    return _geojson(Geometry(shape, Projection(projection.crs), geometry.geodesic))


def _geojson(geometry: Geometry) -> dict[str, Any]:
    kind = geometry_type(geometry)
    edges = kind not in ("Point", "MultiPoint")
    fields: dict[str, Any] = {}
    if not geometry.geodesic and (edges or is_geographic(geometry.projection)):
        fields["geodesic"] = False
    if geometry.projection != WGS84:
        fields["crs"] = {"type": "name", "properties": {"name": geometry.projection.crs}}
    fields["type"] = kind
    if kind == "GeometryCollection":
        parts = [Geometry(part, geometry.projection, geometry.geodesic) for part in geometry.shape.geoms]
        fields["geometries"] = [_geojson(part) for part in parts]
    else:
        numbers = shapely.get_coordinates(geometry.shape)
        is_plain = np.isfinite(numbers).all() and (numbers % 1.0 != 0.0).all()  # without whole numbers
        fields["coordinates"] = coordinates(geometry) if is_plain else _whole(coordinates(geometry))
    return fields


def _whole(values: Any) -> Any:
    return [_whole(value) for value in values] if isinstance(values, list) else json_number(values)
