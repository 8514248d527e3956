"""Convert values of columns to JSON, and parse and write JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import shapely

from eechips.errors import UsageError
from eechips.geo.geometry_depth import is_too_deep


def plain(value: Any) -> Any:
    """Return a value as JSON: without nulls in objects, times as text, and WKB as GeoJSON."""
    if isinstance(value, dict):
        parts = ((name, plain(part)) for name, part in value.items() if part is not None)
        return {name: part for name, part in parts if part is not None}
    if isinstance(value, list):
        if value and all(isinstance(part, tuple) for part in value):  # a map
            return plain(dict(value))
        return [plain(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, (str, int)):
        return value
    return _to_json_scalar(value)


def _to_json_scalar(value: Any) -> Any:
    """Convert a value of a type that JSON lacks."""
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        shape = None if is_too_deep(value) else shapely.from_wkb(value, on_invalid="ignore")
        return None if shape is None else shapely.geometry.mapping(shape)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)  # days, times of the day, durations


def json_writer() -> Callable[[Any], bytes]:
    """Return a fast function that writes JSON."""
    dumps: Callable[[Any], bytes] = _orjson().dumps
    return dumps


def json_reader() -> Callable[[bytes], Any]:
    """Return a fast function that reads JSON and raises ValueError."""
    loads: Callable[[bytes], Any] = _orjson().loads
    return loads


def _orjson() -> Any:
    try:
        import orjson
    except ImportError as error:
        raise UsageError("catalogues need stac-geoparquet and orjson: pip install 'eechips[stac]'") from error
    return orjson
