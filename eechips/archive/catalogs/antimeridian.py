"""Correct footprints across the antimeridian, beyond 180 degrees, or around a pole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry

from eechips.geo.polygons import list_polygons, split_at_antimeridian, wrap_at_antimeridian, wrap_longitudes

_HALF = 180.0
_TALL = 60.0  # degrees of latitude; footprints of scenes are less tall
_POLAR = 60.0  # degrees of latitude, beyond which a ring around the Earth encloses the pole
_MAP = 359.0  # degrees: a step of this length is the edge of a map
_POLE, _TINY = 90.0, 1e-9
_REACH = 1e-3  # degrees from a pole; share of an area

Box = tuple[float, float, float, float]
"""West, south, east, north."""


def is_across(shape: BaseGeometry, box: Box | None) -> bool:
    """Return whether a geometry needs :func:`within`: it exceeds 180 degrees, or means the antimeridian or a pole."""
    west, _, east, _ = shape.bounds
    if west < -_HALF or east > _HALF:
        return True
    return east - west > _HALF and any(_is_meant(part, box) for part in _simple(shape))


def within(shape: BaseGeometry, box: Box | None) -> BaseGeometry:
    """Return the geometry within -180 to 180, cut at the antimeridian, without heights.

    Polygons that overlap or touch after the cut are united.
    """
    parts = [_turned(part) if _is_meant(part, box) else part for part in _simple(shapely.force_2d(shape))]
    kinds = {part.geom_type for part in parts}
    if kinds == {"Polygon"}:
        whole = shapely.union_all([_whole(part) for part in parts])
        if not whole.is_empty:
            return wrap_at_antimeridian(whole)
        parts = [shapely.LineString(part.exterior) for part in parts]  # without an area
    pieces = [piece for part in parts for piece in _simple(_cut(part))]
    if len(pieces) == 1:
        return pieces[0]
    return shapely.MultiPoint(pieces) if kinds == {"Point"} else shapely.MultiLineString(pieces)


def _simple(shape: BaseGeometry) -> list[BaseGeometry]:
    """Return the points, lines and polygons of a geometry."""
    return list(shapely.get_parts(shapely.get_parts(shape)))


def _is_meant(part: BaseGeometry, box: Box | None) -> bool:
    """Return whether edges longer than 180 degrees stand for the short way around the Earth."""
    if part.geom_type == "Point" or part.bounds[2] - part.bounds[0] <= _HALF:
        return False
    line = part.exterior if part.geom_type == "Polygon" else part
    longitudes, latitudes = shapely.get_coordinates(line).T
    at_pole = np.abs(latitudes) >= _POLE - _TINY  # longitudes have no meaning there
    longest = np.abs(np.diff(longitudes))[~(at_pole[:-1] & at_pole[1:])].max(initial=0.0)
    if longest <= _HALF:
        return False
    is_polar = bool((latitudes > _POLAR).all() or (latitudes < -_POLAR).all())
    if part.geom_type == "Polygon" and _turn(longitudes):
        # Taken literally, a ring around the Earth would be a strip without width.
        return is_polar or (box is not None and max(-box[1], box[3]) > _POLE - _REACH)
    if box is not None and box[0] > box[2]:
        return True
    if is_polar and longest < _MAP and shapely.box(*part.bounds).area > part.area * (1 + _REACH):
        return True  # A sector of the Arctic would be drawn as a box, and fill it.
    # A footprint has vertices near 180 degrees only; a map of the world also has vertices in between.
    nearest = np.abs(longitudes).min()
    return bool(_HALF / 2 < nearest < _HALF and np.ptp(latitudes) < _TALL)


def _turn(longitudes: npt.NDArray[np.float64]) -> int:
    """Return the number of turns of a ring around the Earth: 1 eastwards, -1 westwards."""
    unwrapped = np.unwrap(longitudes, period=360.0)
    return round(float(unwrapped[-1] - unwrapped[0]) / 360.0)


def _turned(part: BaseGeometry) -> BaseGeometry:
    """Return a line or polygon whose edges go the short way around; a ring around a pole is extended to the pole."""
    if part.geom_type == "LineString":
        return shapely.LineString(_unwrapped(part))
    shell = _unwrapped(part.exterior)
    if _turn(shell[:, 0]):
        pole = _POLE if shell[:, 1].mean() > 0 else -_POLE
        shell = np.concatenate([shell, [[shell[-1, 0], pole], [shell[0, 0], pole]], shell[:1]])
    middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
    holes = []
    for ring in part.interiors:
        hole = _unwrapped(ring)
        hole[:, 0] += 360.0 * round((middle - hole[:, 0].mean()) / 360.0)
        holes.append(hole)
    return shapely.Polygon(shell, holes)


def _unwrapped(line: BaseGeometry) -> npt.NDArray[np.float64]:
    points: npt.NDArray[np.float64] = shapely.get_coordinates(line)
    points[:, 0] = np.unwrap(points[:, 0], period=360.0)
    return points


def _whole(polygon: BaseGeometry) -> BaseGeometry:
    """Return the parts of a polygon that have an area."""
    return polygon if shapely.is_valid(polygon) else shapely.union_all(list_polygons(shapely.make_valid(polygon)))


def _cut(part: BaseGeometry) -> BaseGeometry:
    """Move a point or line to -180 to 180, and cut it there."""
    west, _, east, _ = part.bounds
    if west >= -_HALF and east <= _HALF:
        return part
    if part.geom_type == "Point":
        return shapely.transform(part, lambda c: np.column_stack([wrap_longitudes(c[:, 0]), c[:, 1]]))
    return shapely.MultiLineString(split_at_antimeridian(part, "LineString"))
