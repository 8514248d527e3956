"""What geometries have in common: their place on the globe, their GeoJSON, the geometry of a collection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from eechips.emulator.errors import LimitError
from eechips.emulator.pixels.grid import parse_crs
from eechips.emulator.projection import WGS84, Projection
from eechips.emulator.rings import open_at_pole
from eechips.emulator.values import WHOLE_EARTH, Collection, Geometry

_MAX_EDGES = 2_000_000  # "Collection.geometry: Geometry has too many edges", as reported by users of large tables
_PARTS = {"Point": "MultiPoint", "LineString": "MultiLineString", "LinearRing": "MultiLineString"}


def is_geographic(projection: Projection) -> bool:
    """Whether coordinates of a projection are longitude and latitude in degrees."""
    return projection.transform == Affine.identity() and bool(parse_crs(projection.crs).is_geographic)


def empty_like(geometry: Geometry, shape: BaseGeometry | None = None) -> Geometry:
    """An empty geometry (``shape`` or an empty collection) in the projection of another."""
    return Geometry(shape or shapely.GeometryCollection(), geometry.projection, geometry.geodesic)


def leaves(shape: BaseGeometry) -> list[BaseGeometry]:
    """The points, lines and polygons of a shape, none of them empty."""
    if shape.is_empty:
        return []
    if hasattr(shape, "geoms"):
        return [leaf for part in shape.geoms for leaf in leaves(part)]
    return [shape]


def gather(shapes: Iterable[BaseGeometry]) -> BaseGeometry:
    """Points, lines and polygons put together: one of them, a multi-geometry of one kind, or a mixed collection."""
    parts = [leaf for shape in shapes for leaf in leaves(shape)]
    kinds = {_PARTS.get(part.geom_type, "MultiPolygon") for part in parts}
    if len(parts) == 1:
        return parts[0]
    if kinds == {"MultiPoint"}:
        return shapely.MultiPoint(parts)
    if kinds == {"MultiLineString"}:
        return shapely.MultiLineString([shapely.LineString(part) for part in parts])
    if kinds == {"MultiPolygon"}:
        return shapely.MultiPolygon(parts)
    return shapely.GeometryCollection(parts)


def valid(shape: BaseGeometry) -> BaseGeometry:
    """The shape itself where its rings are simple, else what the even/odd rule makes of it."""
    return shape if shape.is_valid else shapely.make_valid(shape)


def on_globe(shape: BaseGeometry) -> BaseGeometry:
    """A planar longitude/latitude shape cut at the antimeridian and moved to -180…180 degrees."""
    if shape.is_empty:
        return shape
    west, _, east, _ = shape.bounds
    if west >= -180.0 and east <= 180.0:
        return shape
    turns = range(int(np.floor((west + 180.0) / 360.0)), int(np.ceil((east - 180.0) / 360.0)) + 1)
    pieces = []
    for turn in turns:
        part = shapely.intersection(shape, shapely.box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0))
        pieces += leaves(shapely.transform(part, lambda xy, shift=360.0 * turn: xy - (shift, 0.0)))
    highest = max((shapely.get_dimensions(piece) for piece in pieces), default=0)
    return shapely.union_all([piece for piece in pieces if shapely.get_dimensions(piece) == highest])


def wrapped_longitude(longitude: float) -> float:
    """A longitude brought to -180 (exclusive, but for itself) … 180 degrees."""
    if -180.0 <= longitude <= 180.0:
        return longitude
    turned = longitude % 360.0
    return turned - 360.0 if turned > 180.0 else turned


def element_geometry(element: Any) -> Geometry | None:
    """The geometry of a feature, or the footprint of an image: the whole Earth where it is unbounded."""
    if hasattr(element, "footprint"):
        found: Geometry | None = element.footprint
        return found or WHOLE_EARTH
    own: Geometry | None = element.geometry
    return own


def collection_geometry(collection: Collection) -> Geometry:
    """The geometries of a collection's elements merged into one, as ``FeatureCollection.geometry()``.

    Parts that overlap are dissolved. The projection and edges are those of the first geometry.

    Raises:
        LimitError: if that has more edges than Earth Engine allows.
    """
    found: list[Geometry] = []
    edges = 0
    for element in collection:
        geometry = element_geometry(element)
        if geometry is None or geometry.shape.is_empty:
            continue
        if geometry.unbounded:
            return WHOLE_EARTH
        edges += int(shapely.get_num_coordinates(geometry.shape))
        if edges > _MAX_EDGES:
            raise LimitError("Geometry has too many edges.")
        found.append(geometry)
    if not found:
        return Geometry(shapely.GeometryCollection())
    return merged(found)


def merged(geometries: Sequence[Geometry], tolerance: float = 1.0) -> Geometry:
    """Geometries brought to the first one's projection and edges, and put together.

    Args:
        geometries: one or more.
        tolerance: metres, where edges must be bent to fit the first one's.
    """
    from eechips.emulator.frame import recast

    first = geometries[0]
    shapes = [recast(g, first.projection, first.geodesic, tolerance).shape for g in geometries]
    together = gather(shapes)
    if len(shapes) > 1 and together.geom_type == "MultiPolygon" and not together.is_valid:
        together = gather([shapely.union_all([valid(s) for s in shapes])])
    return Geometry(together, first.projection, first.geodesic)


def coordinates(geometry: Geometry) -> list[Any]:
    """Coordinates as in GeoJSON; longitudes of geodesic geometries lie in -180…180 degrees.

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
    points: list[list[float]] = array.tolist()
    if wrap:
        points = [[wrapped_longitude(x), y] for x, y in points]
    return points[0] if shape.geom_type == "Point" else points


def geometry_type(geometry: Geometry) -> str:
    """The GeoJSON type: Earth Engine's MultiGeometry is a ``GeometryCollection``."""
    return str(geometry.shape.geom_type)


def geojson(geometry: Geometry) -> dict[str, Any]:
    """GeoJSON as Earth Engine writes it.

    ``geodesic`` is written where edges are straight in the projection, ``crs`` where it is not EPSG:4326.
    """
    head: dict[str, Any] = {}
    kind = geometry_type(geometry)
    if not geometry.geodesic and kind not in ("Point", "MultiPoint"):
        head["geodesic"] = False
    head["type"] = kind
    if geometry.projection != WGS84:
        head["crs"] = {"type": "name", "properties": {"name": geometry.projection.crs}}
    if kind == "GeometryCollection":
        parts = [Geometry(part, geometry.projection, geometry.geodesic) for part in geometry.shape.geoms]
        return {**head, "geometries": [geojson(part) for part in parts]}
    return {**head, "coordinates": coordinates(geometry)}
