"""Test whether an item matches a search, or a search holds another; widen searches to whole days and cells."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from eechips_local.archives.archive_model import Item, ItemQuery
from eechips_local.archives.items.item_properties import milliseconds, number_of
from eechips_local.evaluation.asset_model import Bounds, Range
from eechips_local.geometry.longitude_boxes import boxes_touch, split_bounds

_CELL = 0.25  # degrees
_DAY = 86_400_000.0  # milliseconds


def widen(query: ItemQuery) -> ItemQuery:
    """Return a search of whole cells of 0.25 degrees and whole days (UTC) that holds another.

    Neighbouring chips of one image thereby share a search, and clients that compute bounds with other roundings, too.
    """
    bounds = query.bounds
    if bounds is not None:
        west, south, east, north = bounds
        is_crossing = west > east
        west, east = math.floor(west / _CELL) * _CELL, math.ceil(east / _CELL) * _CELL
        south, north = max(-90.0, math.floor(south / _CELL) * _CELL), min(90.0, math.ceil(north / _CELL) * _CELL)
        has_met = is_crossing and west <= east  # the cells meet again behind the antimeridian
        bounds = (-180.0, south, 180.0, north) if has_met else (west, south, east, north)
    start = None if query.start is None or query.start == -math.inf else math.floor(query.start / _DAY) * _DAY
    end = None if query.end is None or query.end == math.inf else math.ceil(query.end / _DAY) * _DAY
    return replace(query, bounds=bounds, start=start, end=end)


def holds(outer: ItemQuery, inner: ItemQuery) -> bool:
    """Return whether each item that matches ``inner`` matches ``outer``."""
    return (
        _holds_bounds(outer.bounds, inner.bounds)
        and (outer.start is None or (inner.start is not None and outer.start <= inner.start))
        and (outer.end is None or (inner.end is not None and outer.end >= inner.end))
        and all(name in inner.equals and _is_same(inner.equals[name], value) for name, value in outer.equals.items())
        and all(
            name in inner.ranges and _holds_range(value, inner.ranges[name]) for name, value in outer.ranges.items()
        )
        and (outer.ids is None or (inner.ids is not None and set(inner.ids) <= set(outer.ids)))
    )


def is_match(item: Item, query: ItemQuery) -> bool:
    """Return whether an item may match. One whose place or time is not understood does."""
    if query.ids is not None and item.get("id") not in query.ids:
        return False
    properties = item.get("properties")
    if not isinstance(properties, Mapping):
        properties = {}
    if not all(_is_equal(properties.get(name), value) for name, value in query.equals.items()):
        return False
    if not all(_is_within(properties.get(name), value) for name, value in query.ranges.items()):
        return False
    return meets_bounds(item, query.bounds) and _meets_times(properties, query)


def encode_query(query: ItemQuery) -> str:
    """Return a search as text, equal for equal searches."""
    ranges = {name: [value.least, value.greatest, value.others] for name, value in query.ranges.items()}
    ids = None if query.ids is None else sorted(query.ids)
    parts = [query.bounds, query.start, query.end, dict(query.equals), ranges, ids, query.limit]
    return json.dumps(parts, sort_keys=True)


def decode_query(text: str) -> ItemQuery:
    """Return a search of its text.

    Raises:
        ValueError: if it is none.
    """
    try:
        bounds, start, end, equals, ranges, ids, limit = json.loads(text)
        return ItemQuery(
            bounds=None if bounds is None else (bounds[0], bounds[1], bounds[2], bounds[3]),
            start=start,
            end=end,
            equals=equals,
            ranges={name: Range(*value) for name, value in ranges.items()},
            ids=None if ids is None else tuple(ids),
            limit=limit,
        )
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError("it is no search") from error


def format_interval(start: float | None, end: float | None) -> str | None:
    """Return an interval of STAC that has all items from one time in milliseconds until before another; None for any.

    STAC's intervals include both ends. Items have parts of milliseconds, and are of the one that :func:`milliseconds`
    rounds to: one that is up to half of one before the start, or less than that before the end, is within the interval.
    """
    if start is None and end is None:
        return None
    first = None if start is None else start - 1.0
    return f"{_format_time(first)}/{_format_time(None if end is None else math.ceil(end))}"


def _format_time(time: float | None) -> str:
    if time is None or not math.isfinite(time):
        return ".."
    seconds, rest = divmod(math.floor(time), 1000)
    try:
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
    except (ValueError, OverflowError, OSError):
        return ".."


def _holds_bounds(outer: Bounds | None, inner: Bounds | None) -> bool:
    if outer is None or inner is None:
        return outer is None
    boxes = split_bounds(outer)
    return all(any(_holds_box(box, part) for box in boxes) for part in split_bounds(inner))


def _holds_box(outer: Bounds, inner: Bounds) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def _holds_range(outer: Range, inner: Range) -> bool:
    return outer.least <= inner.least and outer.greatest >= inner.greatest and (outer.others or not inner.others)


def _is_same(item_value: Any, value: Any) -> bool:
    """Compare as JSON: true is not 1, and 1 is 1.0."""
    return isinstance(item_value, bool) is isinstance(value, bool) and bool(item_value == value)


def _is_equal(item_value: Any, value: Any) -> bool:
    """Compare an item's value, which may be a number as text, with that of a search."""
    is_written = isinstance(item_value, str) and not isinstance(value, (bool, str))
    return number_of(item_value) == value if is_written else _is_same(item_value, value)


def _is_within(item_value: Any, bounds: Range) -> bool:
    number = number_of(item_value)
    return bounds.others if number is None else bounds.least <= number <= bounds.greatest


def meets_bounds(item: Item, bounds: Bounds | None) -> bool:
    """Return whether the box of an item meets bounds; one without a box that can be understood may."""
    if bounds is None:
        return True
    boxes = tuple(_item_boxes(item))
    if not boxes:
        return True
    return any(boxes_touch(box, part) for part in split_bounds(bounds) for box in boxes)


def item_box(item: Item) -> Bounds | None:
    """Return the box of an item in degrees; None if it has none that can be understood.

    East is beyond 180 for a box across the antimeridian, whose west is greater (RFC 7946, 5.2).
    """
    box = item.get("bbox")
    if not isinstance(box, (list, tuple)) or len(box) not in (4, 6):
        return None
    if not all(isinstance(part, (int, float)) for part in box):
        return None
    half = len(box) // 2
    try:
        west, south, east, north = float(box[0]), float(box[1]), float(box[half]), float(box[half + 1])
    except OverflowError:
        return None
    if not all(map(math.isfinite, (west, south, east, north))):
        return None
    return west, south, east + 360.0 if west > east else east, north


def is_decisive(box: Bounds) -> bool:
    """Return whether a box tells on which side of the Earth an item lies.

    One that reaches around more than half of it may be made of the corners of an outline that crosses 180 degrees.
    """
    return box[2] - box[0] <= 180.0


def _item_boxes(item: Item) -> Iterator[Bounds]:
    box = item_box(item)
    if box is not None and box[1] <= box[3]:
        yield from split_bounds(box if is_decisive(box) else (-180.0, box[1], 180.0, box[3]))


def _meets_times(properties: Mapping[str, Any], query: ItemQuery) -> bool:
    moment = milliseconds(properties.get("datetime"))
    first, last = milliseconds(properties.get("start_datetime")), milliseconds(properties.get("end_datetime"))
    if first is None or last is None:
        first = last = moment
    elif moment is not None:  # either may be what an archive's search looks at
        first, last = min(first, moment), max(last, moment)
    if first is None or last is None:
        return True
    return (query.start is None or last >= query.start) and (query.end is None or first < query.end)
