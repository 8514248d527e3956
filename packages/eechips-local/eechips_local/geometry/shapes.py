"""Take apart and put together shapely shapes, make them valid, unwrap their longitudes, and lead rings along poles."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from eechips_local.geometry.map_projection import Coordinates, Projection
from eechips_local.pixels.grids.pixel_grid import parse_crs

_PARTS = {"Point": "MultiPoint", "LineString": "MultiLineString", "LinearRing": "MultiLineString"}


def is_geographic(projection: Projection) -> bool:
    """Return whether coordinates of a projection are longitude and latitude in degrees."""
    return projection.transform == Affine.identity() and bool(parse_crs(projection.crs).is_geographic)


def leaves(shape: BaseGeometry) -> list[BaseGeometry]:
    """Return the points, lines and polygons of a shape, none of them empty."""
    if shape.is_empty:
        return []
    if hasattr(shape, "geoms"):
        return [leaf for part in shape.geoms for leaf in leaves(part)]
    return [shape]


def gather(shapes: Iterable[BaseGeometry]) -> BaseGeometry:
    """Return points, lines and polygons put together: one of them, a multi-geometry of one kind, or a mixed
    collection.
    """
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
    """Return the shape itself where it is simple, else what its parts cover.

    Rings that cross themselves count by the even/odd rule; polygons that overlap each other count once.
    """
    if shape.is_valid:
        return shape
    parts = [piece for leaf in leaves(shape) for piece in leaves(_simple(leaf))]
    polygons = [part for part in parts if part.geom_type == "Polygon"]
    others = [part for part in parts if part.geom_type != "Polygon"]
    return gather([*([shapely.union_all(polygons)] if polygons else []), *others])


def _simple(leaf: BaseGeometry) -> BaseGeometry:
    """Return a point, line or polygon without a fault."""
    if leaf.is_valid:
        return leaf
    if leaf.geom_type == "Polygon":
        return shapely.make_valid(leaf)
    points = shapely.get_coordinates(leaf)
    return shapely.LineString(points) if (points != points[0]).any() else shapely.Point(points[0])


def unwrapped(points: Coordinates) -> Coordinates:
    """Return a line whose longitudes never jump by more than 180 degrees: each edge takes the short way round."""
    steps = np.diff(points[:, 0])
    turns = np.where(np.abs(steps) > 180.0, np.round(steps / 360.0), 0.0)
    if not turns.any():
        return points
    run = points.copy()
    run[1:, 0] -= 360.0 * np.cumsum(turns)
    return run


def close_at_pole(ring: Coordinates) -> Coordinates:
    """Return a closed, unwrapped ring, led along the pole where it goes around one.

    Which pole: the one on the ring's side of the equator, so that the smaller area is inside.
    """
    if abs(ring[-1, 0] - ring[0, 0]) < 180.0:
        return ring
    pole = 90.0 if float(ring[:, 1].mean()) >= 0.0 else -90.0
    return np.vstack([ring, [[ring[-1, 0], pole], [ring[0, 0], pole], ring[0]]])


def open_at_pole(ring: Coordinates) -> Coordinates:
    """Return the ring without the way along the pole that ``close_at_pole`` adds."""
    at_pole = np.abs(ring[:, 1]) == 90.0
    if not at_pole.any() or np.ptp(ring[:, 0]) < 360.0:
        return ring
    kept = ring[~at_pole]
    if len(kept) < 2:
        return ring
    step = np.abs(np.diff(kept, axis=0))
    repeated = (step[:, 1] < 1e-12) & (np.abs(step[:, 0] - 360.0) < 1e-9)
    kept = kept[np.r_[True, ~repeated]]
    closed = abs(kept[0, 1] - kept[-1, 1]) < 1e-12 and abs((kept[0, 0] - kept[-1, 0]) % 360.0) < 1e-9
    return kept if closed else np.vstack([kept, kept[:1]])
