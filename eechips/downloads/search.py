"""Asking a catalogue: a STAC API, a static catalogue, or STAC GeoParquet."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from eechips.downloads.cql2 import meets
from eechips.downloads.document_reader import DocumentReader, UnreadDocument
from eechips.downloads.geoparquet import is_table, table_items
from eechips.downloads.stac_api import api_items, is_api
from eechips.downloads.static_catalog import joined, static_items
from eechips.errors import ConfigurationError, PermanentError, TransientError, UsageError
from eechips.planning.image_filters import PropertyCondition
from eechips.timestamps import parse_timestamp
from eechips.urls import display_url, local_path

_TOPS = ("catalog.json", "collection.json")
"""What a folder of a static catalogue begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a catalogue is asked.

    Attributes:
        stac: address of an API or of a static catalogue, or path or address of one, or of STAC GeoParquet: a file, a
            pattern, or a folder.
        collections: ids; empty for all.
        region: in longitude and latitude; None for everywhere.
        start: first moment, aware; None for no bound.
        end: moment after the last.
        conditions: on the items' properties.
        most: so many items at most; None for all.
    """

    stac: str
    collections: tuple[str, ...] = ()
    region: BaseGeometry | None = None
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    conditions: tuple[PropertyCondition, ...] = ()
    most: int | None = None


def items(search: Search, reader: DocumentReader) -> Iterator[dict[str, Any]]:
    """The items that a catalogue has, each once, in its order. Addresses of assets are absolute.

    What the catalogue names, and what cannot be read or is no item, is noted in ``reader.unread``.

    Args:
        search: what it is asked.
        reader: of its documents.

    Raises:
        UsageError: if there is no such catalogue.
        ConfigurationError: if it does not answer, or not like a catalogue.
    """
    yield from answered(_found(search, reader), search, reader)


def answered(found: Iterable[tuple[Any, str]], search: Search, reader: DocumentReader) -> Iterator[dict[str, Any]]:
    """Those of some items that are asked for; what goes wrong meanwhile is an error of the catalogue.

    Args:
        found: items, and the address that those of their assets are relative to.
        search: what is asked for.
        reader: notes what is no item.

    Raises:
        UsageError: if there is no such catalogue.
        ConfigurationError: if it does not answer, or not like a catalogue.
    """
    try:
        yield from chosen(found, search, reader)
    except PermanentError as error:
        if error.status == 404 and local_path(search.stac) is not None:
            raise UsageError(f"there is no catalogue: {error}") from None
        raise ConfigurationError(f"the catalogue does not answer like one: {error}") from None
    except TransientError as error:
        message = f"the catalogue {display_url(search.stac)} does not answer: {error}"
        raise ConfigurationError(f"{message.rstrip('.')}. The same command asks again") from None


def chosen(found: Iterable[tuple[Any, str]], search: Search, reader: DocumentReader) -> Iterator[dict[str, Any]]:
    """Those of some items that are asked for, each once, with absolute addresses.

    Args:
        found: items, and the address that those of their assets are relative to.
        search: what is asked for.
        reader: notes what is no item.
    """
    if search.region is not None:
        shapely.prepare(search.region)
    seen: set[tuple[str, str]] = set()
    for item, home in found:
        try:
            whole = _whole(item, home)
            key = whole.get("collection") or "", whole["id"]
            if key in seen or not _fits(whole, search):
                continue
        except _MalformedError as error:
            name = f": item {item['id']!s:.80}" if isinstance(item, dict) and "id" in item else ""
            reader.unread.append(UnreadDocument(f"{display_url(home)}{name}", str(error)))
            continue
        seen.add(key)
        yield whole
        if len(seen) == search.most:
            return


class _MalformedError(Exception):
    """Something is no item, or one of which nobody knows whether it is asked for."""


def _found(search: Search, reader: DocumentReader) -> Iterator[tuple[Any, str]]:
    address = search.stac
    folder = local_path(address)
    if folder is not None and folder.is_dir():
        address = next((str(folder / name) for name in _TOPS if (folder / name).is_file()), address)
    if is_table(address):
        yield from table_items(search, reader)
        return
    document = reader.read(address)
    if is_api(document):
        for item in api_items(document, address, search, reader):
            yield item, _home_of(item, address)
    else:
        yield from static_items(document, address, search.collections, reader)


def _whole(item: Any, home: str) -> dict[str, Any]:
    """An item as JSON, whose assets' addresses do not depend on where it was.

    Raises:
        _MalformedError: if it is none.
    """
    if not isinstance(item, dict):
        raise _MalformedError("it is no JSON object")
    identifier = item.get("id")
    if not isinstance(identifier, (str, int)) or identifier == "":
        raise _MalformedError("an item without an id")
    assets, properties = item.get("assets") or {}, item.get("properties") or {}
    if not isinstance(assets, dict) or not isinstance(properties, dict):
        raise _MalformedError("its assets or properties are no JSON object")
    collection = item.get("collection")
    try:
        found = {
            str(key): {**asset, "href": _address(home, asset["href"])} for key, asset in assets.items() if _leads(asset)
        }
    except ValueError:
        raise _MalformedError("the address of an asset is none") from None
    whole = {
        **item,
        "id": str(identifier),
        "collection": None if collection is None else str(collection),
        "properties": properties,
        "assets": found,
    }
    return json.loads(json.dumps(whole, default=str))  # type: ignore[no-any-return]


def _leads(asset: Any) -> bool:
    return isinstance(asset, dict) and bool(asset.get("href"))


def _address(home: str, href: Any) -> str:
    """The address of an asset, absolute.

    Raises:
        ValueError: if it is none.
    """
    address = joined(home, str(href).strip())
    urlsplit(address)
    if "\0" in address:
        raise ValueError("a null byte")
    return address


def _fits(item: Mapping[str, Any], search: Search) -> bool:
    """Whether an item is one of those that were asked for: not every catalogue can choose.

    Raises:
        _MalformedError: if nobody can tell.
    """
    if search.collections and item.get("collection") not in search.collections:
        return False
    if not meets(item, search.conditions):
        return False
    return _is_between(item["properties"], search.start, search.end) and _is_there(item, search.region)


def _is_there(item: Mapping[str, Any], region: BaseGeometry | None) -> bool:
    """Whether an item's geometry meets a region, or its box, if that is all it has. One without both is nowhere."""
    if region is None:
        return True
    geometry = item.get("geometry")
    try:
        outline = shape(geometry) if geometry is not None else _box(item.get("bbox"))
        return bool(shapely.intersects(region, outline if outline.is_valid else shapely.make_valid(outline)))
    except (ShapelyError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _MalformedError(f"its geometry cannot be read: {error!s:.100}") from None


def _box(bounds: Any) -> BaseGeometry:
    """A box in degrees, with or without heights; nothing if there is none.

    Raises:
        ValueError: if it has another count of numbers.
    """
    if not bounds:
        return shapely.Point()
    half = len(bounds) // 2
    (west, south), (east, north) = map(float, bounds[:half][:2]), map(float, bounds[half:][:2])
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180.0, north), shapely.box(-180.0, south, east, north))


def _is_between(properties: Mapping[str, Any], start: dt.datetime | None, end: dt.datetime | None) -> bool:
    """Whether an item's time, or a part of it, lies between two moments, of which the second is excluded."""
    if start is None and end is None:
        return True
    first = properties.get("start_datetime") or properties.get("datetime")
    last = properties.get("end_datetime") or properties.get("datetime")
    if first is None and last is None:
        raise _MalformedError("it has no date, and some are asked for")
    # One of both alone: what has begun and has no end, or has ended whenever it began.
    is_before = end is None or first is None or _moment(first) < end
    return is_before and (start is None or last is None or _moment(last) >= start)


def _moment(text: Any) -> dt.datetime:
    moment = parse_timestamp(str(text))
    if moment is None:
        raise _MalformedError(f"its date {text!s:.40} is none")
    return moment


def _home_of(item: Any, api: str) -> str:
    """Where an item of an API is: at its own address, or else below the API's."""
    links = item.get("links") if isinstance(item, dict) else None
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "self" and link.get("href"):
            with contextlib.suppress(ValueError):  # no address: then it is where the API is
                return joined(api, str(link["href"]))
    return api
