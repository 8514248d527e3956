"""Parse the ``filter`` of ``listAssets``, ``listImages`` and ``listFeatures``: the part of https://google.aip.dev/160
that Earth Engine supports.

Fields are ``startTime``, ``endTime`` and members of ``properties``; ``intersects("…")`` takes GeoJSON or WKT:
https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/listAssets. ``earthengine ls --help`` names
``start_time``, ``end_time`` and ``update_time``.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely.geometry import shape as shape_of
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.asset_model import Query, Range
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.calendar import parse_timestamp, to_milliseconds
from eechips_local.values.formula import unquoted

_TOKEN = re.compile(
    r"""\s*(?: (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*') | (?P<sign>!=|<=|>=|[=<>():,])
         | (?P<word>[^\s"'=<>!(),]+) )""",
    re.VERBOSE,
)
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TIMES = {
    "startTime": "startTime", "endTime": "endTime", "updateTime": "updateTime",
    "start_time": "startTime", "end_time": "endTime", "update_time": "updateTime",
}  # fmt: skip
_DEEPEST = 50


class Subject(NamedTuple):
    """Image or feature to which a filter is applied.

    Attributes:
        properties: by name.
        geometry: in longitude and latitude, or None.
        version: when an image was last changed, in microseconds since 1970; None for a feature.
    """

    properties: Mapping[str, Any]
    geometry: BaseGeometry | None
    version: int | None = None


Predicate = Callable[[Subject], bool]


@dataclass(frozen=True)
class ListFilter:
    """A filter.

    Attributes:
        query: to narrow what a store reads; it never excludes elements that pass.
        passes: the exact test.
    """

    query: Query
    passes: Predicate


def everything(subject: Subject) -> bool:
    """Pass all."""
    return True


def parse(text: str, *, of_features: bool = False) -> ListFilter:
    """Return a filter from its text; nothing at all passes everything.

    Args:
        text: conditions, such as ``properties.cloud < 10``.
        of_features: whether a name without ``properties.`` is that of a property as well, as in
            ``ee.data.listFeatures({…, 'filter': 'ORDER >= 3'})`` of Google's tutorial
            (google/earthengine-community, tutorials/data-converters).

    Raises:
        InvalidError: if it is malformed.
    """
    if not text.strip():
        return ListFilter(Query(), everything)
    return _ListFilterParser(text, of_features=of_features).parse()


def both(first: ListFilter, second: ListFilter) -> ListFilter:
    """Return the filter that both filters together make."""
    a, b = first.query, second.query
    start = max((v for v in (a.start, b.start) if v is not None), default=None)
    end = min((v for v in (a.end, b.end) if v is not None), default=None)
    ranges = dict(a.ranges)
    for name, span in b.ranges.items():
        ranges[name] = span.within(ranges[name]) if name in ranges else span
    query = Query(bounds=a.bounds or b.bounds, start=start, end=end, ranges=ranges)
    return ListFilter(query, lambda subject: first.passes(subject) and second.passes(subject))


def since(milliseconds: float) -> ListFilter:
    """Pass what starts at or after a moment."""
    return _time("startTime", ">=", milliseconds)


def before(milliseconds: float) -> ListFilter:
    """Pass what starts before a moment."""
    return _time("startTime", "<", milliseconds)


def within(region: BaseGeometry) -> ListFilter:
    """Pass what meets a region."""
    shapely.prepare(region)
    west, south, east, north = region.bounds
    return ListFilter(
        Query(bounds=(west, south, east, north)),
        lambda s: s.geometry is not None and bool(region.intersects(s.geometry)),
    )


def moment(text: str) -> int:
    """Return milliseconds since 1970 of an RFC 3339 timestamp.

    Raises:
        InvalidError: if it is none.
    """
    try:
        return to_milliseconds(parse_timestamp(text))
    except (ValueError, OverflowError) as error:
        raise InvalidError(f"Invalid time: {text[:50]!r}.") from error


def region(text: str) -> BaseGeometry:
    """Return a geometry from GeoJSON, also as Python writes a dictionary, or from WKT.

    Raises:
        InvalidError: if it is neither.
    """
    try:
        if text.lstrip().startswith("{"):
            shape = shape_of(json.loads(text if '"' in text else _json_of(text)))
        else:
            shape = shapely.from_wkt(text)
        good = not shape.is_empty and bool(np.isfinite(shapely.get_coordinates(shape)).all())
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError, shapely.errors.ShapelyError):
        good = False
    if not good:
        raise InvalidError("Invalid region: a GeoJSON or WKT geometry is expected.")
    return shape


def _json_of(text: str) -> str:
    """Return the JSON of a dictionary that Google's client has sent as Python writes it."""
    for python, json_text in (("'", '"'), ("False", "false"), ("True", "true"), ("None", "null")):
        text = text.replace(python, json_text)
    return text


def _time(field: str, sign: str, bound: float) -> ListFilter:
    compare = _COMPARISONS[sign]

    def passes(subject: Subject) -> bool:
        value = _time_of(subject, field)
        return isinstance(value, (int, float)) and compare(value, bound)

    query = Query()
    if field == "updateTime":
        return ListFilter(query, passes)
    if field == "startTime" and sign in (">=", ">", "="):
        query = replace(query, start=bound)
    if sign in ("<", "<=", "="):  # what ends before a moment starts before it too
        query = replace(query, end=bound if sign == "<" else math.nextafter(bound, math.inf))
    return ListFilter(query, passes)


def _time_of(subject: Subject, field: str) -> Any:
    """Return a time of an image or feature in milliseconds, or None."""
    if field == "updateTime":
        return None if subject.version is None else subject.version / 1000
    start = subject.properties.get("system:time_start")
    return start if field == "startTime" else subject.properties.get("system:time_end", start)


def _property(name: str, sign: str, wanted: str | float) -> ListFilter:
    compare = _COMPARISONS[sign]

    def passes(subject: Subject) -> bool:
        value = subject.properties.get(name)
        if isinstance(value, bool):
            value = str(value).lower()
        if isinstance(value, (int, float)) and isinstance(wanted, str):
            return sign == "!="
        if isinstance(value, str):
            return compare(value, str(wanted) if isinstance(wanted, str) else f"{wanted:g}")
        return isinstance(value, (int, float)) and compare(value, wanted)

    if isinstance(wanted, str) or sign == "!=":
        return ListFilter(Query(), passes)
    # Texts are compared with the number's own.
    least, greatest = -math.inf if "<" in sign else wanted, math.inf if ">" in sign else wanted
    return ListFilter(Query(ranges={name: Range(least, greatest, others=True)}), passes)


class _ListFilterParser:
    """Reads a filter's text. As AIP-160 has it, OR binds more strongly than AND."""

    def __init__(self, text: str, *, of_features: bool) -> None:
        self._of_features = of_features
        self._tokens: list[tuple[str, str]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._malformed(text[position : position + 20])
            kind = str(match.lastgroup)
            self._tokens.append((kind, match.group(kind)))
            position = match.end()
        self._position = 0
        self._depth = 0

    def parse(self) -> ListFilter:
        parsed_filter = self._conjunction()
        if self._position < len(self._tokens):
            raise self._malformed(self._tokens[self._position][1])
        return parsed_filter

    @staticmethod
    def _malformed(near: str) -> InvalidError:
        return InvalidError(f"Invalid filter: cannot be understood near {near[:50]!r}.")

    def _take(self) -> tuple[str, str]:
        if self._position == len(self._tokens):
            raise InvalidError("Invalid filter: it ends too early.")
        self._position += 1
        return self._tokens[self._position - 1]

    def _next_is(self, word: str) -> bool:
        if self._position < len(self._tokens) and self._tokens[self._position][1] == word:
            self._position += 1
            return True
        return False

    def _conjunction(self) -> ListFilter:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise InvalidError("Invalid filter: it is too deeply nested.")
        conjunction = self._disjunction()
        while self._next_is("AND"):
            conjunction = both(conjunction, self._disjunction())
        self._depth -= 1
        return conjunction

    def _disjunction(self) -> ListFilter:
        parts = [self._term()]
        while self._next_is("OR"):
            parts.append(self._term())
        if len(parts) == 1:
            return parts[0]
        return ListFilter(Query(), lambda subject: any(part.passes(subject) for part in parts))

    def _term(self) -> ListFilter:
        if self._next_is("NOT"):
            inner = self._simple()
            return ListFilter(Query(), lambda subject: not inner.passes(subject))
        return self._simple()

    def _simple(self) -> ListFilter:
        if self._next_is("("):
            inner_filter = self._conjunction()
            if not self._next_is(")"):
                raise InvalidError("Invalid filter: a parenthesis is not closed.")
            return inner_filter
        kind, name = self._take()
        if kind != "word":
            raise self._malformed(name)
        if name == "intersects":
            return within(region(self._argument()))
        sign = self._take()[1]
        if sign not in _COMPARISONS:
            raise self._malformed(sign)
        value = self._value()
        if name in _TIMES:
            return _time(_TIMES[name], sign, moment(str(value)))
        if not name.startswith("properties.") and not self._of_features:
            raise InvalidError(f"Invalid filter: unknown field '{name[:50]}'.")
        return _property(name.removeprefix("properties."), sign, value)

    def _argument(self) -> str:
        if not self._next_is("("):
            raise self._malformed("intersects")
        kind, text = self._take()
        if kind != "text" or not self._next_is(")"):
            raise self._malformed("intersects")
        return unquoted(text)

    def _value(self) -> str | float:
        kind, text = self._take()
        if kind == "text":
            return unquoted(text)
        if kind != "word":
            raise self._malformed(text)
        try:
            number = float(text)
        except ValueError:
            return text
        return number if math.isfinite(number) else text
