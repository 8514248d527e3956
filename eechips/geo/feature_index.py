"""Find the distance from places and footprints to the features of another table, on the ellipsoid.

Features are points, lines and polygons in longitude and latitude, with edges that are straight in this plane, as in
GeoJSON. Near features are found in two steps. A search tree that can only find too many: a place within s metres of
another one has a normal that differs by s / ``LEAST_CURVE`` radians at most, so that it lies in the box of longitude
and latitude around the cap of that radius; boxes that cross the antimeridian are two. Then a measurement: the nearest
two points in a conformal plane around both, and the geodesic between them. A footprint inside a polygon has the
distance 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips.geo.ellipsoid import (
    LEAST_CURVE,
    SLACK,
    Booleans,
    Floats,
    Geometries,
    TangentPlanes,
    boxes_around,
    normals_of,
    unit_vectors,
)
from eechips.geo.polygons import split_at_antimeridian, wrap_at_antimeridian, wrap_longitudes

_STEP = 0.005  # degrees: longer edges get further vertices, as they bend in the plane
_MOST_STEPS = 2_000  # of an edge
_WIDE = 1.0  # degrees: wider lines are cut to the box of what is near
_MOST_VERTICES = 64  # of a line in the search tree
_INSET = 0.01  # metres: footprints that share an edge do not overlap
_PASSES = 2
_AT_ONCE = 2_000  # shapes whose neighbours are looked for at a time
_PAIRS_AT_ONCE = 10_000


class FeatureIndex:
    """Features with a spatial index.

    Args:
        geometries: in EPSG:4326; None and empty ones are ignored. Longitudes may exceed 180 degrees.
    """

    def __init__(self, geometries: npt.ArrayLike) -> None:
        parts = _flat_parts(np.asarray(geometries, dtype=object))
        kinds = shapely.get_dimensions(parts)
        self._areas = parts[kinds == 2]
        shapely.prepare(self._areas)
        outlines = shapely.get_parts(shapely.boundary(self._areas))
        self._pieces = np.concatenate([parts[kinds == 0], _short_lines(np.concatenate([parts[kinds == 1], outlines]))])
        self._area_tree, self._tree = shapely.STRtree(self._areas), shapely.STRtree(self._pieces)

    def __len__(self) -> int:
        """Return the number of points, lines and polygons; a collection has several."""
        return len(self._pieces)

    def distances(self, shapes: npt.ArrayLike, most: float) -> Floats:
        """Compute the distance from each shape to the nearest feature, along the geodesic.

        The error is some centimetres, or a ten-thousandth of a distance of more than 100 km.

        Args:
            shapes: points or polygons in EPSG:4326, cut at the antimeridian.
            most: metres; 0 for features that overlap a shape by more than a centimetre.

        Returns:
            Metres, shape (n,): 0 where they overlap; infinite where the distance is not less than ``most``, and for
            missing shapes.
        """
        geometries = np.asarray(shapes, dtype=object)
        metres = np.full(len(geometries), np.inf)
        known = np.flatnonzero(~shapely.is_missing(geometries) & ~shapely.is_empty(geometries))
        for start in range(0, len(known), _AT_ONCE):
            chosen = known[start : start + _AT_ONCE]
            metres[chosen] = self._nearest(geometries[chosen], most)
        return metres

    def _nearest(self, shapes: Geometries, most: float) -> Floats:
        distances = np.full(len(shapes), np.inf)
        distances[self._is_inside(shapes)] = 0.0
        outside = np.flatnonzero(distances > 0)
        parts, owners = shapely.get_parts(shapes[outside], return_index=True)
        boxes, numbers = boxes_around(shapely.bounds(parts).reshape(-1, 4), most / LEAST_CURVE + SLACK)
        owners = outside[owners[numbers]]
        number, piece = self._tree.query(boxes)
        dense = _dense(shapes)
        for first in range(0, len(number), _PAIRS_AT_ONCE):
            own, other = number[first : first + _PAIRS_AT_ONCE], piece[first : first + _PAIRS_AT_ONCE]
            lines = _clipped(self._pieces[other], boxes[own])
            is_there = ~shapely.is_empty(lines)
            asked = owners[own[is_there]]
            np.minimum.at(distances, asked, _measure(dense[asked], _dense(lines[is_there]), overlaps=most == 0.0))
        distances[(distances >= most) & (distances > 0)] = np.inf
        return distances

    def _is_inside(self, shapes: Geometries) -> Booleans:
        """Return whether a point of each shape lies in a polygon."""
        points = shapely.point_on_surface(shapes)
        inside = np.zeros(len(shapes), dtype=bool)
        own, area = self._area_tree.query(points)
        lon, lat = shapely.get_coordinates(points).T
        inside[own[shapely.contains_xy(self._areas[area], lon[own], lat[own])]] = True
        return inside


def _flat_parts(geometries: Geometries) -> Geometries:
    """Return points, lines and polygons with longitudes of -180 to 180."""
    there = geometries[~shapely.is_missing(geometries)]
    parts = shapely.get_parts(shapely.get_parts(shapely.force_2d(there)))
    parts = parts[~shapely.is_empty(parts)]
    bounds = shapely.bounds(parts).reshape(-1, 4)
    beyond = (bounds[:, 0] < -180.0) | (bounds[:, 2] > 180.0)
    moved = [part for wide_part in parts[beyond] for part in _wrapped(wide_part)]
    return np.concatenate([parts[~beyond], np.array(moved, dtype=object)])


def _wrapped(part: Any) -> Iterator[Any]:
    if part.geom_type == "Point":
        yield shapely.Point(wrap_longitudes(part.x), part.y)
    elif part.geom_type == "Polygon":
        yield from shapely.get_parts(wrap_at_antimeridian(part))
    else:
        yield from split_at_antimeridian(part, "LineString")


def _short_lines(lines: Geometries) -> Geometries:
    """Divide lines of many vertices, so that the search tree finds only what is near."""
    if not len(lines):
        return lines
    is_long = shapely.get_num_coordinates(lines) > _MOST_VERTICES
    pieces = []
    for line in lines[is_long]:
        vertices = shapely.get_coordinates(line)
        for start in range(0, len(vertices) - 1, _MOST_VERTICES - 1):
            pieces.append(shapely.LineString(vertices[start : start + _MOST_VERTICES]))
    return np.concatenate([lines[~is_long], np.array(pieces, dtype=object)])


def _clipped(lines: Geometries, boxes: Geometries) -> Geometries:
    """Cut wide lines to their boxes: a plane shows what is near, and what is far is not needed."""
    bounds = shapely.bounds(lines).reshape(-1, 4)
    is_wide = (bounds[:, 2] - bounds[:, 0] > _WIDE) | (bounds[:, 3] - bounds[:, 1] > _WIDE)
    clipped = lines.copy()
    clipped[is_wide] = shapely.intersection(lines[is_wide], boxes[is_wide])
    return clipped


def _dense(geometries: Geometries) -> Geometries:
    """Give long edges further vertices."""
    bounds = shapely.bounds(geometries).reshape(-1, 4)
    sizes = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    densified: Geometries = shapely.segmentize(geometries, np.maximum(_STEP, sizes / _MOST_STEPS))
    return densified


def _measure(shapes: Geometries, lines: Geometries, *, overlaps: bool) -> Floats:
    """Compute metres between pairs, 0 where they meet, or where they overlap by more than ``_INSET``."""
    best = np.full(len(shapes), np.inf)
    if not len(shapes):
        return best
    middles = _middles(shapes)
    for _ in range(_PASSES):
        planes = TangentPlanes(middles)
        one, other = _in_planes(shapes, planes), _in_planes(lines, planes)
        meets = shapely.intersects(one, other)
        if overlaps:
            is_area = meets & (shapely.get_dimensions(one) == 2)
            meets[is_area] = shapely.intersects(shapely.buffer(one[is_area], -_INSET), other[is_area])
        metres, middles = planes.nearest(one, other)
        best = np.minimum(best, np.where(meets, 0.0, np.maximum(metres, SLACK)))
    return best


def _middles(shapes: Geometries) -> Floats:
    """Return the unit normal in the middle of each shape's vertices."""
    vertices, owners = shapely.get_coordinates(shapes, return_index=True)
    sums = np.zeros((len(shapes), 3))
    np.add.at(sums, owners, normals_of(vertices))
    return unit_vectors(sums)


def _in_planes(geometries: Geometries, planes: TangentPlanes) -> Geometries:
    vertices, owners = shapely.get_coordinates(geometries, return_index=True)
    projected: Geometries = shapely.set_coordinates(geometries.copy(), planes.project(normals_of(vertices), owners))
    return projected
