"""Whether what comes as an item is one, and what is done about what is nearly one."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.catalogs.columns import TIMES, json_writer
from eechips.catalogs.extents import union
from eechips.footprints import wrap

_NEAR = 1e-6  # degrees by which a bbox may differ from its geometry: items round their numbers
_HALF = 180.0
_TALL = 60.0  # degrees of latitude that no footprint of a scene has
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_FRACTION = re.compile(r"(\.\d{6})\d+")


@dataclass(slots=True)
class Verdict:
    """What became of what should be items.

    Attributes:
        items: that are, as they were or mended.
        numbers: of these items, among those that came.
        refused: number, kind and reason of those that are none.
        mended: how many by what was wrong.
    """

    items: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    mended: Counter[str] = field(default_factory=Counter)


def judged(values: Sequence[Any], *, collection: str | None = None, strict: bool = False) -> Verdict:
    """Checks what should be STAC items, and mends what can be.

    Mended are: geometries that are not valid, or go round the Earth where they cross the antimeridian; bboxes that are
    missing or are not the geometry's; dates that are not as RFC 3339 has them; fields without which an item is none,
    but which say nothing of the scene (``links``, ``assets``, ``stac_version``, ``collection`` if one is given).

    Args:
        values: JSON values.
        collection: id for items that name none.
        strict: whether what would have to be mended is refused.
    """
    verdict = Verdict()
    wanting: list[tuple[int, dict[str, Any], list[str]]] = []
    for number, value in enumerate(values):
        try:
            item, mended = _fields(value, collection)
        except _NoItemError as error:
            verdict.refused.append((number, error.kind, str(error)))
        else:
            wanting.append((number, item, mended))
    shapes = _shapes([item["geometry"] for _, item, _ in wanting])
    bounds, valid = shapely.bounds(shapes), shapely.is_valid(shapes)
    plain = _are_plain(shapes, bounds, valid).tolist()
    for index, (number, item, mended) in enumerate(wanting):
        try:
            if not plain[index] or not _is_same(item.get("bbox"), bounds[index].tolist()):
                _place(item, shapes[index], bounds[index], bool(valid[index]), mended)
        except _NoItemError as error:
            verdict.refused.append((number, error.kind, str(error)))
            continue
        if mended and strict:
            verdict.refused.append((number, "strict", f"to be mended: {', '.join(mended)}"))
            continue
        verdict.mended.update(mended)
        verdict.items.append(item)
        verdict.numbers.append(number)
    return verdict


class _NoItemError(Exception):
    """A value is no item."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def _fields(value: Any, collection: str | None) -> tuple[dict[str, Any], list[str]]:
    """A shallow copy with all fields that an item has, and what was mended."""
    if not isinstance(value, Mapping) or value.get("type") != "Feature":
        raise _NoItemError("no item", f"not an object of type Feature: {json.dumps(value)[:80]}")
    if not isinstance(value.get("id"), str) or not value["id"]:
        raise _NoItemError("no id", f"its id is no text: {value.get('id')!r}")
    if not isinstance(value.get("properties"), Mapping):
        raise _NoItemError("no properties", "it has no properties")
    if not isinstance(value.get("geometry"), Mapping):
        raise _NoItemError("no geometry", "it has no geometry")
    item, mended = dict(value), []
    for name, kind, empty in (("assets", Mapping, {}), ("links", list, []), ("stac_version", str, "1.1.0")):
        if not isinstance(item.get(name), kind):
            item[name] = empty
            mended.append(name)
    if item.get("collection") is None and collection is not None:
        item["collection"] = collection
        mended.append("collection")
    properties = item["properties"]
    for name in TIMES:
        text = properties.get(name)
        if text is not None and not (isinstance(text, str) and _MOMENT.fullmatch(text)):
            item["properties"] = {**item["properties"], name: _moment(name, text)}
            mended.append("date")
    properties = item["properties"]
    if properties.get("datetime") is None and not (properties.get("start_datetime") and properties.get("end_datetime")):
        raise _NoItemError("no date", "it has no datetime, nor start_datetime and end_datetime")
    return item, mended


def _moment(name: str, text: Any) -> str:
    try:
        found = datetime.fromisoformat(_FRACTION.sub(r"\1", str(text)).strip().replace("Z", "+00:00"))
    except ValueError:
        raise _NoItemError("no date", f"{name} is no date and time: {text!r}") from None
    found = found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found.astimezone(timezone.utc)
    return found.isoformat().replace("+00:00", "Z")


def _shapes(geometries: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Geometries, or None where there is none to be read."""
    dumps = json_writer()
    texts = np.array([dumps(geometry) for geometry in geometries], dtype=object)
    found: npt.NDArray[np.object_] = shapely.from_geojson(texts, on_invalid="ignore")
    return found


def _are_plain(
    shapes: npt.NDArray[np.object_], bounds: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which geometries have nothing to be mended: their bboxes are their bounds."""
    west, south, east, north = bounds.T
    inside = (west >= -_HALF) & (east <= _HALF) & (south >= -90.0) & (north <= 90.0) & (east - west <= _HALF)
    is_one = np.isin(shapely.get_type_id(shapes), (0, 1, 3))  # a point, a line, a polygon
    found: npt.NDArray[np.bool_] = is_one & inside & valid
    return found


def _place(
    item: dict[str, Any], shape: BaseGeometry | None, bounds: npt.NDArray[np.float64], is_valid: bool, mended: list[str]
) -> None:
    """Sees to it that an item's geometry and bbox are right, and those of each other."""
    if shape is None or not np.isfinite(bounds).all():
        raise _NoItemError("bad geometry", "its geometry cannot be read, or is empty")
    if bounds[1] < -90.0 or bounds[3] > 90.0:
        raise _NoItemError("bad geometry", f"its latitudes go from {bounds[1]} to {bounds[3]}")
    if bounds[0] < -_HALF or bounds[2] > _HALF or _goes_round(shape, bounds, item.get("bbox")):
        shape = _cut(shape, bounds)
        mended.append("antimeridian")
        is_valid = bool(shapely.is_valid(shape))
    if not is_valid:
        shape = _valid(shape)
        mended.append("geometry")
    if "antimeridian" in mended or "geometry" in mended:
        if shape.is_empty:
            raise _NoItemError("bad geometry", "nothing is left of its geometry when it is made valid")
        item["geometry"] = json.loads(shapely.to_geojson(shape))
        bounds = shapely.bounds(shape)
    parts = shapely.bounds(shapely.get_parts(shape)) if shape.geom_type.startswith("Multi") else bounds[None]
    own = union(parts).bbox
    if not _is_same(item.get("bbox"), own):
        item["bbox"] = own
        mended.append("bbox")


def _goes_round(shape: BaseGeometry, bounds: npt.NDArray[np.float64], bbox: Any) -> bool:
    """Whether a polygon is meant to cross the antimeridian, but goes the other way round the Earth."""
    if bounds[2] - bounds[0] <= _HALF or shape.geom_type != "Polygon":
        return False
    is_box = isinstance(bbox, list) and len(bbox) in (4, 6) and all(isinstance(n, (int, float)) for n in bbox)
    if is_box and bbox[0] > bbox[len(bbox) // 2]:
        return True
    # A footprint, no map of the world, whose steps pass from one side to the other, and of which nothing lies between.
    longitudes = shapely.get_coordinates(shape)[:, 0]
    is_apart = np.abs(np.diff(longitudes)).max() > _HALF and np.abs(longitudes).min() > _HALF / 2
    return bool(is_apart and bounds[3] - bounds[1] < _TALL and np.abs(longitudes).min() < _HALF)


def _cut(shape: BaseGeometry, bounds: npt.NDArray[np.float64]) -> BaseGeometry:
    """A geometry within -180 to 180, cut at the antimeridian."""
    if bounds[0] >= -_HALF and bounds[2] <= _HALF:  # longitudes of the west are meant to be beyond the east
        shape = shapely.transform(
            shape, lambda c: np.column_stack([np.where(c[:, 0] < 0, c[:, 0] + 360, c[:, 0]), c[:, 1]])
        )
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        return shapely.transform(shape, lambda c: np.column_stack([(c[:, 0] + _HALF) % 360 - _HALF, c[:, 1]]))
    return wrap(_valid(shape))


def _valid(shape: BaseGeometry) -> BaseGeometry:
    """The parts with area of a geometry that is made valid, if it had any."""
    made = shapely.make_valid(shape)
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        return made
    kept = [part for part in shapely.get_parts(shapely.get_parts(made)) if part.geom_type == "Polygon"]
    return shapely.union_all(kept) if kept else made


def _is_same(bbox: Any, own: Sequence[float]) -> bool:
    if not isinstance(bbox, list) or len(bbox) not in (4, 6):
        return False
    flat = bbox if len(bbox) == 4 else [*bbox[:2], *bbox[3:5]]
    if not all(type(number) in (int, float) for number in flat):
        return False
    return all(abs(number - other) <= _NEAR for number, other in zip(flat, own, strict=True))
