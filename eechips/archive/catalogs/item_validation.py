"""Validate STAC items, and repair frequent mistakes."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.archive.catalogs.antimeridian import is_across, within
from eechips.archive.catalogs.column_types import MEMBERS
from eechips.archive.catalogs.columns import TIMES
from eechips.archive.catalogs.extents import union
from eechips.archive.catalogs.item_json import json_reader, json_writer
from eechips.web.urls import is_signed, strip_signature_parameters

_NEAR = 1e-6  # degrees of rounding between a bbox and its geometry, or beyond 180 and 90
_HALF = 180.0
_POLE = 90.0
_TYPES = frozenset(
    ("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection")
)
_SIMPLE = {0, 1, 3}  # points, lines, polygons
_OF_THE_SCENE = ("datetime", "start_datetime", "end_datetime")
_LEFT_OUT, _NO_COLUMN = "members left out", "properties left out"
# The usual form of RFC 3339, without dates that need a look at the calendar.
_PLAIN = re.compile(
    r"(?!9999)[1-9]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
    r"(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)",
    re.ASCII,
)
# A fast search for bytes that may be such names, and the names.
_NO_NAMES = {
    "NUL": (b"\\u0000", re.compile(rb"\\u0000")),
    "empty names": (b'""', re.compile(rb'(?<!\\)""\s*:')),
}
_RFC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(slots=True)
class ValidationResult:
    """Result of a validation.

    Attributes:
        items: valid or repaired.
        numbers: indices of these items among the values.
        refused: index, kind and reason of invalid values.
        mended: counts by repair.
    """

    items: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    mended: Counter[str] = field(default_factory=Counter)


def parse_item(text: bytes) -> tuple[Any, tuple[str, ...]]:
    """Parse JSON, and return the value with its repairs.

    Python writes unknown numbers as ``NaN``, which is not JSON. Names with NUL cannot be columns, and DuckDB takes
    objects with empty names for tuples.

    Raises:
        ValueError: if the text is not JSON.
    """
    text = _in_utf8(text)
    value, mended = _loaded(text)
    kinds = [kind for kind, (sign, pattern) in _NO_NAMES.items() if sign in text and pattern.search(text)]
    if kinds:
        try:
            named = _named(value)
        except RecursionError:
            raise ValueError("objects are nested too deeply") from None
        if named != value:
            return named, (*mended, *kinds)
    return value, mended


def _in_utf8(text: bytes) -> bytes:
    """Decode a text in another encoding or with a byte order mark: JSON shows its encoding in the first bytes."""
    if text[:1] == b"{":
        return text
    encoding = json.detect_encoding(text)
    return text if encoding == "utf-8" else text.decode(encoding).encode()


def _loaded(text: bytes) -> tuple[Any, tuple[str, ...]]:
    loads = json_reader()
    try:
        return loads(text), ()
    except ValueError as error:
        constants: list[str] = []
        try:
            value = json.loads(text, parse_constant=constants.append)
        except (ValueError, RecursionError):
            raise error from None
        if not constants:
            raise
        return loads(json.dumps(value).encode()), ("NaN",)


def _named(value: Any) -> Any:
    """Return a value without NUL in names, and without empty names."""
    if isinstance(value, dict):
        return {name.replace("\0", "\ufffd") or "\ufffd": _named(part) for name, part in value.items()}
    return [_named(part) for part in value] if isinstance(value, list) else value


def validate_items(
    values: Sequence[Any],
    *,
    collection: str | None = None,
    strict: bool = False,
    mended: Mapping[int, Sequence[str]] | None = None,
) -> ValidationResult:
    """Validate STAC items, and repair them where possible.

    Repairs concern invalid geometries, geometries that go round the Earth instead of crossing the antimeridian or
    enclosing a pole, and missing ones where there is a bbox; bboxes that are missing or differ from the geometry; dates
    that are not RFC 3339; and missing required fields that do not describe the scene (``links``, ``assets``,
    ``stac_version``, and ``collection`` if one is given). Members unknown to STAC, and properties named like members,
    are dropped and counted.

    Args:
        values: JSON values.
        collection: id for items without one.
        strict: reject items that need repairs.
        mended: earlier repairs, by index.
    """
    verdict = ValidationResult()
    before = mended or {}
    wanting: list[tuple[int, dict[str, Any], list[str]]] = []
    for number, value in enumerate(values):
        try:
            item, found = _fields(value, collection)
        except _NoItemError as error:
            verdict.refused.append((number, error.kind, str(error)))
        else:
            wanting.append((number, item, [*before.get(number, ()), *found]))
    shapes = _shapes([item["geometry"] for _, item, _ in wanting])
    bounds, valid = shapely.bounds(shapes), shapely.is_valid(shapes)
    plain = _are_plain(shapes, bounds, valid).tolist()
    for index, (number, item, found) in enumerate(wanting):
        try:
            if not plain[index] or not _is_same(item.get("bbox"), bounds[index].tolist()):
                _place(item, shapes[index], found)
        except _NoItemError as error:
            verdict.refused.append((number, error.kind, str(error)))
            continue
        except (
            ValueError,
            TypeError,
            IndexError,
            OverflowError,
            shapely.errors.ShapelyError,
        ) as error:  # of unexpected shapes
            verdict.refused.append((number, "bad geometry", f"the geometry cannot be made valid: {error}"[:200]))
            continue
        if found and strict:
            verdict.refused.append((number, "strict", f"needs repair: {', '.join(dict.fromkeys(found))}"))
            continue
        verdict.mended.update(dict.fromkeys(found, 1))  # an item with three bad dates counts once
        verdict.items.append(item)
        verdict.numbers.append(number)
    return verdict


class _NoItemError(Exception):
    """A value is not an item."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def _fields(value: Any, collection: str | None) -> tuple[dict[str, Any], list[str]]:
    """Return a shallow copy with all required fields, and its repairs."""
    if not isinstance(value, Mapping) or value.get("type") != "Feature":
        kind = value.get("type") if isinstance(value, Mapping) else type(value).__name__
        raise _NoItemError("no item", f"not an object of type Feature: {str(kind)[:40]}")
    item: dict[str, Any] = dict(value)
    mended: list[str] = []
    if type(value.get("id")) is int:
        item["id"] = str(value["id"])
        mended.append("id")
    if not isinstance(item.get("id"), str) or not item["id"]:
        raise _NoItemError("no id", f"the id is not a string: {str(value.get('id'))[:40]}")
    if not isinstance(value.get("properties"), Mapping):
        raise _NoItemError("no properties", "the item has no properties")
    if not item.keys() <= MEMBERS:
        item = {name: part for name, part in item.items() if name in MEMBERS}
        mended.append(_LEFT_OUT)
    _geometry(item, mended)
    for name, kind, other in (("assets", Mapping, _by_name), ("links", list, _listed), ("stac_version", str, _version)):
        if not isinstance(item.get(name), kind):
            item[name] = other(item.get(name))
            mended.append(name)
    _details(item, mended)
    _signatures(item, mended)
    if not item.get("collection") and collection is not None:
        item["collection"] = collection
        mended.append("collection")
    elif item.get("collection") == "":
        del item["collection"]
        mended.append("collection")
    elif not isinstance(item.get("collection"), str | None):
        raise _NoItemError("bad collection", f"the collection is not a string: {str(item['collection'])[:40]}")
    properties = item["properties"]
    if not MEMBERS.isdisjoint(properties):
        properties = item["properties"] = {name: part for name, part in properties.items() if name not in MEMBERS}
        mended.append(_NO_COLUMN)
    for name in TIMES:
        text = properties.get(name)
        if text is not None and not (isinstance(text, str) and _PLAIN.fullmatch(text)):
            moment = _moment(name, text)
            if moment != text:
                properties = item["properties"] = {**properties, name: moment}
                mended.append("date")
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    if properties.get("datetime") is None and not (start and end):
        raise _NoItemError("no date", "the item has neither datetime nor start_datetime and end_datetime")
    if start and end and (start > end or not start[-1] == end[-1] == "Z") and _instant(start) > _instant(end):
        item["properties"] = {**properties, "start_datetime": end, "end_datetime": start}
        mended.append("date")
    return item, mended


def _by_name(assets: Any) -> dict[str, Any]:
    """Return assets by name, if they are a list: by their own names, or else by number."""
    found: dict[str, Any] = {}
    for number, asset in enumerate(assets if isinstance(assets, list) else ()):
        own = [asset.get(name) for name in ("key", "name", "id")] if isinstance(asset, Mapping) else []
        called = next((name for name in own if isinstance(name, str) and name and name not in found), str(number))
        found[called] = asset
    return found


def _listed(links: Any) -> list[Any]:
    """Return links as a list, if they are an object by relation."""
    if not isinstance(links, Mapping):
        return []
    parts = ((name, {"href": link} if isinstance(link, str) else link) for name, link in links.items())
    return [{"rel": name, **link} for name, link in parts if isinstance(link, Mapping)]


def _version(version: Any) -> str:
    """Return a version that was written as a number as text, or the present version."""
    return str(version) if type(version) in (int, float) else "1.1.0"


def _geometry(item: dict[str, Any], mended: list[str]) -> None:
    """Ensure that an item has a geometry, if need be that of its bbox."""
    geometry = item.get("geometry")
    if isinstance(geometry, Mapping):
        if not isinstance(geometry.get("type"), str) or geometry["type"] not in _TYPES:
            raise _NoItemError("bad geometry", f"unknown geometry type {str(geometry.get('type'))[:40]}")
        return
    box = _flat(item.get("bbox"))
    if geometry is not None or box is None:
        raise _NoItemError("no geometry", "the item has neither geometry nor bbox")
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


def _details(item: dict[str, Any], mended: list[str]) -> None:
    """Ensure that links have targets, assets are objects, and extensions strings."""
    links = [link for link in item["links"] if isinstance(link, Mapping) and isinstance(link.get("href"), str)]
    if len(links) < len(item["links"]):
        item["links"] = links
        mended.append("links")
    assets = item["assets"]
    if not all(isinstance(asset, Mapping) for asset in assets.values()):
        there = {name: {"href": asset} if isinstance(asset, str) else asset for name, asset in assets.items()}
        item["assets"] = {name: asset for name, asset in there.items() if isinstance(asset, Mapping)}
        mended.append("assets")
    extensions = item.get("stac_extensions")
    if extensions is not None and not (
        isinstance(extensions, list) and all(isinstance(extension, str) for extension in extensions)
    ):
        parts = extensions if isinstance(extensions, list) else [extensions]
        item["stac_extensions"] = [part for part in parts if isinstance(part, str)]
        mended.append("stac_extensions")


def _signatures(item: dict[str, Any], mended: list[str]) -> None:
    """Remove signatures from all URLs of an item: readers of the catalogue must not receive secrets."""
    assets = {name: _unsigned(asset) for name, asset in item["assets"].items()}
    links = [_unsigned(link) for link in item["links"]]
    if assets != item["assets"] or links != item["links"]:
        item["assets"], item["links"] = assets, links
        mended.append("signatures")


def _unsigned(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an asset or a link without signatures in its URLs, alternatives included."""
    href, others = part.get("href"), part.get("alternate")
    if isinstance(href, str) and "?" in href and is_signed(href):
        try:
            part = {**part, "href": strip_signature_parameters(href)}
        except ValueError:  # not a URL
            part = {**part, "href": href.partition("?")[0]}
    if isinstance(others, Mapping):
        unsigned = {name: _unsigned(each) if isinstance(each, Mapping) else each for name, each in others.items()}
        part = {**part, "alternate": unsigned} if unsigned != others else part
    return part


def _moment(name: str, text: Any) -> str | None:
    """Return a moment as RFC 3339, unchanged if it is valid; None if it is invalid and not essential."""
    found = _MOMENT.fullmatch(text.strip()) if isinstance(text, str) else None
    try:
        moment = None if found is None else _utc(*found.groups())
    except (ValueError, OverflowError):  # 30 February, or before the year 1
        moment = None
    if moment is None:
        if name in _OF_THE_SCENE:
            raise _NoItemError("no date", f"{name} is not a date and time: {str(text)[:40]!r}")
        return None
    if _RFC.fullmatch(text) and ":60" not in text:
        return str(text)
    return moment.isoformat().replace("+00:00", "Z")


def _utc(
    year: str,
    month: str,
    day: str,
    hour: str | None,
    minute: str | None,
    second: str | None,
    fraction: str | None,
    zone: str | None,
) -> datetime:
    """Return the moment of its parts; a leap second becomes the second before, nanoseconds are truncated."""
    micro = int((fraction or "")[:6].ljust(6, "0"))
    seconds = int(second or 0)
    found = datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), 59 if seconds == 60 else seconds, micro
    )
    shift = timedelta()
    if zone and zone[0] in "+-":
        digits = zone[1:].replace(":", "")
        if int(digits[:2]) > 23 or int(digits[2:] or 0) > 59:
            raise ValueError(zone)
        shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0)) * (1 if zone[0] == "+" else -1)
    return (found - shift).replace(tzinfo=timezone.utc)


def _instant(text: str) -> datetime:
    """Parse a text that :func:`_moment` has returned."""
    found = _MOMENT.fullmatch(text)
    assert found is not None
    return _utc(*found.groups())


def _shapes(geometries: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Parse geometries; None for unreadable ones."""
    texts = np.array([_text(geometry) for geometry in geometries], dtype=object)
    found: npt.NDArray[np.object_] = shapely.from_geojson(texts, on_invalid="ignore")
    return found


def _text(geometry: Any) -> bytes | None:
    try:
        return json_writer()(geometry)
    except TypeError:  # deeply nested lists
        return None


def _are_plain(
    shapes: npt.NDArray[np.object_], bounds: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return which geometries need no repair: their bboxes are their bounds."""
    west, south, east, north = bounds.T
    inside = (west >= -_HALF) & (east <= _HALF) & (south >= -_POLE) & (north <= _POLE) & (east - west <= _HALF)
    is_one = np.isin(shapely.get_type_id(shapes), (0, 1, 3))  # a point, a line, a polygon
    found: npt.NDArray[np.bool_] = is_one & inside & valid
    return found


def _place(item: dict[str, Any], shape: BaseGeometry | None, mended: list[str]) -> None:
    """Repair geometry and bbox of an item, and make them agree."""
    given = shape
    if shape is None:
        shape = shapely.from_geojson(_text(_closed(item["geometry"])), on_invalid="ignore")
    if shape is None or not np.isfinite(shapely.bounds(shape)).all():
        raise _NoItemError("bad geometry", "the geometry cannot be read, or is empty")
    _, south, _, north = shapely.bounds(shape).tolist()
    if south < -_POLE - _NEAR or north > _POLE + _NEAR:
        raise _NoItemError("bad geometry", f"latitudes range from {south} to {north}")
    shape = _rounded(_of_one_kind(shape))
    box = _flat(item.get("bbox"))
    if is_across(shape, box):
        shape = within(shape, box)
        mended.append("antimeridian")
    if not shapely.is_valid(shape):
        shape = _valid(shape)
    if shape is not given:
        if shape.is_empty:
            raise _NoItemError("bad geometry", "the geometry is empty after it was made valid")
        west, south, east, north = shapely.bounds(shape).tolist()
        if max(abs(west), abs(east)) > _HALF or max(abs(south), abs(north)) > _POLE:  # holes outside their shells
            raise _NoItemError("bad geometry", "the geometry reaches beyond 180 or 90 degrees after it was made valid")
        if "antimeridian" not in mended:
            mended.append("geometry")
        item["geometry"] = json.loads(shapely.to_geojson(shape))
    own = union(shapely.bounds(shapely.get_parts(shapely.get_parts(shape)))).bbox
    if not _is_same(item.get("bbox"), own):
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


def _of_one_kind(shape: BaseGeometry) -> BaseGeometry:
    """Turn a collection of points, of lines or of polygons into a multi-geometry, as STAC has no collections."""
    if shape.geom_type != "GeometryCollection":
        return shape
    parts = shapely.get_parts(shape)
    while not set(shapely.get_type_id(parts).tolist()) <= _SIMPLE:  # nested collections
        parts = shapely.get_parts(parts)
    kinds = set(shapely.get_type_id(parts).tolist())
    if len(kinds) > 1:
        raise _NoItemError("bad geometry", "the geometry is a collection of different types, which STAC lacks")
    return shapely.multipoints(parts) if kinds == {0} else _multiple(parts)


def _multiple(parts: Sequence[BaseGeometry]) -> BaseGeometry:
    return shapely.multilinestrings(parts) if parts[0].geom_type == "LineString" else shapely.multipolygons(parts)


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
    made = shapely.make_valid(shape)
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        return made
    parts = shapely.get_parts(shapely.get_parts(made))
    for kind in ("Polygon", "LineString"):  # parts with an area, or at least a length
        kept = [part for part in parts if part.geom_type == kind]
        if kept:
            return shapely.union_all(kept)
    return made


def _flat(bbox: Any) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of a bbox; None if it is malformed."""
    if not isinstance(bbox, list) or len(bbox) not in (4, 6):
        return None
    flat = bbox if len(bbox) == 4 else [*bbox[:2], *bbox[3:5]]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in flat):
        return None
    west, south, east, north = flat
    return (west, south, east, north) if south <= north else None


def _is_same(bbox: Any, own: Sequence[float]) -> bool:
    flat = _flat(bbox)
    return flat is not None and all(abs(number - other) <= _NEAR for number, other in zip(flat, own, strict=True))
