"""Check and repair the geometries and bboxes of STAC items, also those across the antimeridian or around a pole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.archive.catalogs.extents import union
from eechips.archive.catalogs.item_json import json_writer
from eechips.geo.polygons import list_polygons, split_at_antimeridian, wrap_at_antimeridian, wrap_longitudes

_NEAR = 1e-6  # degrees of rounding between a bbox and its geometry, or beyond 180 and 90
_LARGEST = 1e300  # of a bbox: JSON's integers have no limit
_HALF = 180.0
_POLE = 90.0
_TYPES = frozenset(
    ("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection")
)
_SIMPLE = {0, 1, 3}  # points, lines, polygons


class InvalidItemError(Exception):
    """A value is not an item."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def ensure_geometry(item: dict[str, Any], mended: list[str]) -> None:
    """Ensure that an item has a geometry, if need be that of its bbox."""
    geometry = item.get("geometry")
    if isinstance(geometry, Mapping):
        if not isinstance(geometry.get("type"), str) or geometry["type"] not in _TYPES:
            raise InvalidItemError("bad geometry", f"unknown geometry type {str(geometry.get('type'))[:40]}")
        return
    box = flat_bbox(item.get("bbox"))
    if geometry is not None or box is None:
        raise InvalidItemError("no geometry", "the item has neither geometry nor bbox")
    west, south, east, north = box
    if west == east and south == north:
        item["geometry"] = {"type": "Point", "coordinates": [west, south]}
    else:
        parts = [(west, east)] if west <= east else [(west, _HALF), (-_HALF, east)]
        rings = [[[a, south], [b, south], [b, north], [a, north], [a, south]] for a, b in parts]
        item["geometry"] = (
            {"type": "Polygon", "coordinates": rings}
            if len(parts) == 1
            else {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
        )
    mended.append("geometry")


def parse_geometries(geometries: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Parse geometries in GeoJSON; None for unreadable ones."""
    texts = np.array([_text(geometry) for geometry in geometries], dtype=object)
    shapes: npt.NDArray[np.object_] = shapely.from_geojson(texts, on_invalid="ignore")
    return shapes


def _text(geometry: Any) -> bytes | None:
    try:
        return json_writer()(geometry)
    except TypeError:  # deeply nested lists
        return None


def are_plain(
    shapes: npt.NDArray[np.object_], bounds: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return which geometries need no repair: their bboxes are their bounds."""
    west, south, east, north = bounds.T
    inside = (west >= -_HALF) & (east <= _HALF) & (south >= -_POLE) & (north <= _POLE) & (east - west <= _HALF)
    is_one = np.isin(shapely.get_type_id(shapes), (0, 1, 3))  # a point, a line, a polygon
    plain: npt.NDArray[np.bool_] = is_one & inside & valid
    return plain


def repair_geometry(item: dict[str, Any], shape: BaseGeometry | None, mended: list[str]) -> None:
    """Repair geometry and bbox of an item, and make them agree."""
    original = shape
    if shape is None:
        shape = shapely.from_geojson(_text(_closed(item["geometry"])), on_invalid="ignore")
    if shape is None or not np.isfinite(shapely.bounds(shape)).all():
        raise InvalidItemError("bad geometry", "the geometry cannot be read, or is empty")
    _, south, _, north = shapely.bounds(shape).tolist()
    if south < -_POLE - _NEAR or north > _POLE + _NEAR:
        raise InvalidItemError("bad geometry", f"latitudes range from {south} to {north}")
    shape = _rounded(_without_empty(_of_one_kind(_without_empty(shape))))
    box = flat_bbox(item.get("bbox"))
    if is_across(shape, box):
        shape = within(shape, box)
        mended.append("antimeridian")
    if not shapely.is_valid(shape):
        shape = _valid(shape)
    if shape is not original:
        if shape.is_empty:
            raise InvalidItemError("bad geometry", "the geometry is empty after it was made valid")
        west, south, east, north = shapely.bounds(shape).tolist()
        if max(abs(west), abs(east)) > _HALF or max(abs(south), abs(north)) > _POLE:  # holes outside their shells
            raise InvalidItemError(
                "bad geometry", "the geometry reaches beyond 180 or 90 degrees after it was made valid"
            )
        if "antimeridian" not in mended:
            mended.append("geometry")
        item["geometry"] = json.loads(shapely.to_geojson(shape))
    own = union(shapely.bounds(shapely.get_parts(shapely.get_parts(shape)))).bbox
    if not is_bbox_of(item.get("bbox"), own):
        item["bbox"] = own
        mended.append("bbox")


def _closed(geometry: Any) -> Any:
    """Close the rings of polygons."""

    def ring(points: Any) -> Any:
        return [*points, points[0]] if isinstance(points, list) and points and points[0] != points[-1] else points

    rings = geometry.get("coordinates")
    if geometry["type"] == "Polygon" and isinstance(rings, list):
        return {"type": "Polygon", "coordinates": [ring(part) for part in rings]}
    if geometry["type"] == "MultiPolygon" and isinstance(rings, list) and all(isinstance(part, list) for part in rings):
        return {"type": "MultiPolygon", "coordinates": [[ring(part) for part in polygon] for polygon in rings]}
    return geometry


def _without_empty(shape: BaseGeometry) -> BaseGeometry:
    """Return a geometry without parts that are empty, which have no bounds; one that has none is returned unchanged."""
    parts = shapely.get_parts(shape)
    is_empty = shapely.is_empty(parts)
    return type(shape)(list(parts[~is_empty])) if is_empty.any() else shape


def _of_one_kind(shape: BaseGeometry) -> BaseGeometry:
    """Turn a collection of points, of lines or of polygons into a multi-geometry, as STAC has no collections."""
    if shape.geom_type != "GeometryCollection":
        return shape
    parts = shapely.get_parts(shape)
    while not set(shapely.get_type_id(parts).tolist()) <= _SIMPLE:  # nested collections
        parts = shapely.get_parts(parts)
    kinds = set(shapely.get_type_id(parts).tolist())
    if len(kinds) > 1:
        raise InvalidItemError("bad geometry", "the geometry is a collection of different types, which STAC lacks")
    make = {"Point": shapely.multipoints, "LineString": shapely.multilinestrings}
    return make.get(parts[0].geom_type, shapely.multipolygons)(parts)


def _rounded(shape: BaseGeometry) -> BaseGeometry:
    """Clip a geometry that exceeds 180 or 90 degrees by rounding; return others unchanged."""
    west, south, east, north = shapely.bounds(shape).tolist()
    far = max(-_HALF - west, east - _HALF)
    if not (0 < far <= _NEAR or south < -_POLE or north > _POLE):
        return shape
    limits = [_HALF if far <= _NEAR else math.inf, _POLE, math.inf][: 3 if shape.has_z else 2]
    return shapely.transform(
        shape, lambda c: np.clip(c, [-limit for limit in limits], limits), include_z=bool(shape.has_z)
    )


def _valid(shape: BaseGeometry) -> BaseGeometry:
    """Make a geometry valid; of polygons keep the parts with an area, if there are any."""
    repaired = shapely.make_valid(shape)
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        return repaired
    parts = shapely.get_parts(shapely.get_parts(repaired))
    for kind in ("Polygon", "LineString"):  # parts with an area, or at least a length
        kept = [part for part in parts if part.geom_type == kind]
        if kept:
            return shapely.union_all(kept)
    return repaired


def flat_bbox(bbox: Any) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of a bbox; None if it is malformed."""
    if not isinstance(bbox, list) or len(bbox) not in (4, 6):
        return None
    flat = bbox if len(bbox) == 4 else [*bbox[:2], *bbox[3:5]]
    if not all(type(number) in (int, float) and abs(number) <= _LARGEST for number in flat):
        return None
    west, south, east, north = flat
    return (west, south, east, north) if south <= north else None


def is_bbox_of(bbox: Any, own: Sequence[float]) -> bool:
    """Return whether a bbox is that of a geometry, but for rounding."""
    flat = flat_bbox(bbox)
    return flat is not None and all(abs(number - other) <= _NEAR for number, other in zip(flat, own, strict=True))


_TALL = 60.0  # degrees of latitude; footprints of scenes are less tall
_POLAR = 60.0  # degrees of latitude, beyond which a ring around the Earth encloses the pole
_MAP = 359.0  # degrees: a step of this length is the edge of a map
_TINY = 1e-9
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
