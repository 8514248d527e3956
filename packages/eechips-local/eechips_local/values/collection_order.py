"""Sort collections by a property; images by time so that a store is asked only for the times that are looked at."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from eechips_local.evaluation.asset_model import Query
from eechips_local.values.element_properties import Element, property_of
from eechips_local.values.ordering import compare_key, plain
from eechips_local.values.values import Collection, Filter

TIME_START = "system:time_start"

_FIRST_SPAN, _GROWTH = 3_600_000.0, 2.0
"""Milliseconds of the first span of time, and how many times as long as the one before each other span is."""
_FIRST_SPAN_OF_PLACE, _GROWTH_OF_PLACE = 16 * 86_400_000.0, 8.0
"""The same for the images of a place: these are few, so that each search costs more than the images that it makes."""
_EARLIEST, _LATEST = -2_208_988_800_000.0, 4_102_444_800_000.0  # the years 1900 and 2100


def sorted_by(collection: Collection, key: str, ascending: bool) -> Collection:
    """Return the elements in the order of a property; those without it come last."""
    return collection.reordered(partial(_sorted, key=key, ascending=ascending), key)


def in_order(elements: Iterable[Element], key: str, ascending: bool) -> list[Element]:
    """Return elements in the order of a property; those without it come last. Equal ones keep their order."""
    return sorted(elements, key=_position(key, ascending), reverse=not ascending)


def _position(key: str, ascending: bool) -> Callable[[Element], tuple[bool, Any]]:
    def position(element: Element) -> tuple[bool, Any]:
        value = property_of(element, key)
        return (value is None) == ascending, 0 if value is None else compare_key(value)

    return position


def _sorted(collection: Collection, key: str, ascending: bool) -> Iterator[Element]:
    if not collection.is_searchable:
        return iter(in_order(collection, key, ascending))
    if collection.is_stored and key == TIME_START:
        return _by_time(collection, ascending)
    if collection.parts and all(part.keeps(key) for part in collection.parts):
        sorted_parts = [part.transform(_sorted(part.source, key, ascending)) for part in collection.parts]
        return heapq.merge(*sorted_parts, key=_position(key, ascending), reverse=not ascending)
    return iter(in_order(collection, key, ascending))


def _by_time(collection: Collection, ascending: bool) -> Iterator[Element]:
    """Yield the images of a stored collection by time, from one span of time after the other."""
    times = collection.times()
    if times is not None:
        for time in times if ascending else reversed(times):
            yield from collection.filtered(_between(time, time + 1.0))
        return
    for start, end in time_spans(collection.query, collection.properties.get("date_range"), ascending):
        yield from in_order(collection.filtered(_between(start, end)), TIME_START, ascending)
    if collection.query.start is None and collection.query.end is None:
        timeless = [image for image in collection if not isinstance(_time(image), (int, float))]
        yield from in_order(timeless, TIME_START, ascending)


def time_spans(query: Query, known: Any, ascending: bool) -> Iterator[tuple[float, float]]:
    """Yield spans of time that cover all the time of a query in order, growing from where images begin.

    Args:
        query: query that bounds the time, or does not.
        known: first and last time of most images, milliseconds since 1970; anything else for "not known".
        ascending: whether to begin with the earliest images.
    """
    is_known = isinstance(known, (list, tuple)) and len(known) == 2 and all(isinstance(t, (int, float)) for t in known)
    first, last = known if is_known else (_EARLIEST, _LATEST)
    least = -math.inf if query.start is None else query.start
    greatest = math.inf if query.end is None else query.end
    edge = max(first, least) if ascending else min(last, greatest)
    has_place = query.bounds is not None
    length, growth = (_FIRST_SPAN_OF_PLACE, _GROWTH_OF_PLACE) if has_place else (_FIRST_SPAN, _GROWTH)
    spans = [(-math.inf, edge) if ascending else (edge, math.inf)]
    while (edge < min(last, greatest)) if ascending else (edge > max(first, least)):
        spans.append((edge, edge + length) if ascending else (edge - length, edge))
        edge, length = spans[-1][1 if ascending else 0], length * growth
    spans.append((edge, math.inf) if ascending else (-math.inf, edge))
    for start, end in spans:
        if max(start, least) < min(end, greatest):
            yield max(start, least), min(end, greatest)


def _between(start: float, end: float) -> Filter:
    def matches(image: Element) -> bool:
        time = _time(image)
        return isinstance(time, (int, float)) and start <= time < end

    def narrow(query: Query) -> Query:
        return replace(
            query, start=query.start if math.isinf(start) else start, end=query.end if math.isinf(end) else end
        )

    return Filter(matches, narrow, fields=frozenset({TIME_START}))


def _time(image: Element) -> Any:
    return plain(property_of(image, TIME_START))
