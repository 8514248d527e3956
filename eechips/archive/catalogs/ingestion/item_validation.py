"""Validate STAC items, and repair frequent mistakes in their dates, ids, links and names; remove signatures and
passwords from URLs; refuse what cannot be repaired.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import shapely

from eechips.archive.catalogs.ingestion.item_geometry import (
    InvalidItemError,
    are_plain,
    ensure_geometry,
    is_bbox_of,
    parse_geometries,
    repair_geometry,
)
from eechips.archive.catalogs.item_json import json_reader
from eechips.archive.catalogs.partitions.column_types import MEMBERS
from eechips.archive.catalogs.partitions.columns import TIMES
from eechips.web.urls import PASSWORD, is_signed, strip_signature_parameters

_OF_THE_SCENE = ("datetime", "start_datetime", "end_datetime")
_OF_UNEXPECTED_SHAPES = (ValueError, TypeError, IndexError, OverflowError, shapely.errors.ShapelyError)
_LEFT_OUT, _NO_COLUMN = "members left out", "properties left out"
# The usual form of RFC 3339, without dates that need a look at the calendar.
_PLAIN = re.compile(
    r"(?!9999)[1-9]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
    r"(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)",
    re.ASCII,
)
_STRING = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?')  # of valid JSON: a name if a colon follows
_JSON_TYPES: dict[type, str] = {
    Mapping: "an object", dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number",
}  # fmt: skip
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
    objects with empty names for tuples: both are refused.

    Raises:
        ValueError: if the text is not JSON.
        InvalidItemError: if it has such a name.
    """
    text = _in_utf8(text)
    parsed = _loaded(text)
    if (b'""' in text or b"\\u0000" in text) and any(map(_is_no_name, _STRING.finditer(text))):
        raise InvalidItemError("bad names", "a name is empty, or has a NUL")
    return parsed


def _is_no_name(string: re.Match[bytes]) -> bool:
    """Return whether a string of JSON is a name that no column can have."""
    text = string[1]
    return string[2] is not None and (text == b'""' or (b"\\u0000" in text and "\0" in json.loads(text)))


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
        collection: id for items without one.
        strict: reject items that need repairs.
        mended: earlier repairs, by index.
    """
    verdict = ValidationResult()
    before = mended or {}
    wanting: list[tuple[int, dict[str, Any], list[str]]] = []
    for number, value in enumerate(values):
        try:
            item, repairs = _fields(value, collection)
        except InvalidItemError as error:
            verdict.refused.append((number, error.kind, str(error)))
        else:
            wanting.append((number, item, [*before.get(number, ()), *repairs]))
    shapes = parse_geometries([item["geometry"] for _, item, _ in wanting])
    bounds, valid = shapely.bounds(shapes), shapely.is_valid(shapes)
    plain = are_plain(shapes, bounds, valid).tolist()
    for index, (number, item, repairs) in enumerate(wanting):
        try:
            if not plain[index] or not is_bbox_of(item.get("bbox"), bounds[index].tolist()):
                repair_geometry(item, shapes[index], repairs)
        except InvalidItemError as error:
            verdict.refused.append((number, error.kind, str(error)))
            continue
        except _OF_UNEXPECTED_SHAPES as error:
            verdict.refused.append((number, "bad geometry", f"the geometry cannot be made valid: {error}"[:200]))
            continue
        if repairs and strict:
            verdict.refused.append((number, "strict", f"needs repair: {', '.join(dict.fromkeys(repairs))}"))
            continue
        verdict.mended.update(dict.fromkeys(repairs, 1))  # an item with three bad dates counts once
        verdict.items.append(item)
        verdict.numbers.append(number)
    return verdict


def _fields(value: Any, collection: str | None) -> tuple[dict[str, Any], list[str]]:
    """Return a shallow copy with all required fields, and its repairs."""
    if not isinstance(value, Mapping) or value.get("type") != "Feature":
        kind = value.get("type") if isinstance(value, Mapping) else type(value).__name__
        raise InvalidItemError("no item", f"not an object of type Feature: {str(kind)[:40]}")
    item: dict[str, Any] = dict(value)
    mended: list[str] = []
    if type(value.get("id")) is int:
        item["id"] = str(value["id"])
        mended.append("id")
    if not isinstance(item.get("id"), str) or not item["id"]:
        raise InvalidItemError("no id", f"the id is not a string: {str(value.get('id'))[:40]}")
    if not isinstance(value.get("properties"), Mapping):
        raise InvalidItemError("no properties", "the item has no properties")
    if not item.keys() <= MEMBERS:
        item = {name: part for name, part in item.items() if name in MEMBERS}
        mended.append(_LEFT_OUT)
    ensure_geometry(item, mended)
    usual: tuple[tuple[str, type, Any], ...] = (
        ("assets", Mapping, {}),
        ("links", list, []),
        ("stac_version", str, "1.1.0"),
    )
    for name, kind, content in usual:
        if not isinstance(item.get(name), kind):
            if item.get(name):
                actual_type = _JSON_TYPES.get(type(item[name]), "another value")
                raise InvalidItemError(f"bad {name}", f"must be {_JSON_TYPES[kind]} (STAC 1.1), but is {actual_type}")
            item[name] = content
            mended.append(name)
    _details(item, mended)
    _signatures(item, mended)
    _collection(item, collection, mended)
    _properties(item, mended)
    return item, mended


def _collection(item: dict[str, Any], default: str | None, mended: list[str]) -> None:
    """Ensure that the collection, if there is one, is a string that is not empty."""
    if not item.get("collection") and default is not None:
        item["collection"] = default
        mended.append("collection")
    elif item.get("collection") == "":
        del item["collection"]
        mended.append("collection")
    elif not isinstance(item.get("collection"), str | None):
        raise InvalidItemError("bad collection", f"the collection is not a string: {str(item['collection'])[:40]}")


def _properties(item: dict[str, Any], mended: list[str]) -> None:
    """Replace the properties by some without names of members, with dates of RFC 3339 in their order."""
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
        if start:  # an end that nothing states
            item["properties"] = {**properties, "datetime": start}
            mended.append("date")
            return
        raise InvalidItemError("no date", "the item has neither datetime nor start_datetime and end_datetime")
    if start and end and (start > end or not start[-1] == end[-1] == "Z") and _instant(start) > _instant(end):
        item["properties"] = {**properties, "start_datetime": end, "end_datetime": start}
        mended.append("date")


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
    """Remove signatures and passwords from all URLs of an item: readers of the catalogue must not receive secrets."""
    assets = {name: _unsigned(asset) for name, asset in item["assets"].items()}
    links = [_unsigned(link) for link in item["links"]]
    if assets != item["assets"] or links != item["links"]:
        item["assets"], item["links"] = assets, links
        mended.append("signatures")


def _unsigned(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an asset or a link without signatures and passwords in its URLs, alternatives included."""
    href, others = part.get("href"), part.get("alternate")
    if isinstance(href, str) and (is_signed(href) or PASSWORD.search(href)):
        try:
            part = {**part, "href": strip_signature_parameters(href)}
        except ValueError:  # not a URL
            part = {**part, "href": PASSWORD.sub("://", href).partition("?")[0]}
    if isinstance(others, Mapping):
        unsigned = {
            name: _unsigned(alternative) if isinstance(alternative, Mapping) else alternative
            for name, alternative in others.items()
        }
        part = {**part, "alternate": unsigned} if unsigned != others else part
    return part


def _moment(name: str, text: Any) -> str | None:
    """Return a moment as RFC 3339, unchanged if it is valid; None if it is invalid and not essential."""
    match = _MOMENT.fullmatch(text.strip()) if isinstance(text, str) else None
    try:
        moment = None if match is None else _utc(*match.groups())
    except (ValueError, OverflowError):  # 30 February, or before the year 1
        moment = None
    if moment is None:
        if name in _OF_THE_SCENE:
            raise InvalidItemError("no date", f"{name} is not a date and time: {str(text)[:40]!r}")
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
    moment = datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), 59 if seconds == 60 else seconds, micro
    )
    shift = timedelta()
    if zone and zone[0] in "+-":
        digits = zone[1:].replace(":", "")
        if int(digits[:2]) > 23 or int(digits[2:] or 0) > 59:
            raise ValueError(zone)
        shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0)) * (1 if zone[0] == "+" else -1)
    return (moment - shift).replace(tzinfo=timezone.utc)


def _instant(text: str) -> datetime:
    """Parse a text that :func:`_moment` has returned."""
    match = _MOMENT.fullmatch(text)
    assert match is not None
    return _utc(*match.groups())
