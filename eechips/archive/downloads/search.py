"""Search a catalogue, whether a STAC API, a static catalogue or STAC GeoParquet; filter its items by collection,
region, dates and conditions, and skip malformed ones.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from eechips.archive.catalogs.ingestion.item_geometry import flat_bbox, is_across, within
from eechips.archive.downloads.criteria import Search, meets
from eechips.archive.downloads.document_reader import DocumentReader, UnreadDocument
from eechips.archive.downloads.geoparquet import is_table, table_items
from eechips.archive.downloads.stac_api import api_items, is_api
from eechips.archive.downloads.static_catalog import joined, static_items
from eechips.errors import ConfigurationError, PermanentError, TransientError, UsageError
from eechips.text.timestamps import parse_timestamp
from eechips.web.urls import display_url, local_path, split_checked

_TOPS = ("catalog.json", "collection.json")
"""Names of the root document in the folder of a static catalogue."""


def items(search: Search, reader: DocumentReader) -> Iterator[dict[str, Any]]:
    """Yield the matching items of a catalogue, each once, in its order, with absolute URLs of the assets.

    Documents that cannot be read, and items that are malformed, are noted in ``reader.unread``.

    Raises:
        UsageError: if there is no such catalogue.
        ConfigurationError: if the catalogue does not respond, or not as STAC.
    """
    yield from answered(_found(search, reader), search, reader)


def answered(candidates: Iterable[tuple[Any, str]], search: Search, reader: DocumentReader) -> Iterator[dict[str, Any]]:
    """Yield the matching items of candidates, and report failures as errors of the catalogue.

    A candidate comes with the URL that the hrefs of its assets are relative to. Malformed items are noted in
    ``reader.unread``.

    Raises:
        UsageError: if there is no such catalogue.
        ConfigurationError: if the catalogue does not respond, or not as STAC.
    """
    try:
        yield from chosen(candidates, search, reader)
    except PermanentError as error:
        if error.status == 404 and local_path(search.stac) is not None:
            raise UsageError(f"there is no catalogue: {error}") from None
        raise ConfigurationError(f"this is not a STAC catalogue: {error}") from None
    except TransientError as error:
        message = f"the catalogue {display_url(search.stac)} does not respond: {error}"
        raise ConfigurationError(f"{message.rstrip('.')}. Run the command again later") from None


def chosen(candidates: Iterable[tuple[Any, str]], search: Search, reader: DocumentReader) -> Iterator[dict[str, Any]]:
    """Yield the matching items, each once, with absolute URLs; malformed items are noted in ``reader.unread``."""
    if search.region is not None:
        shapely.prepare(search.region)
    seen: set[tuple[str, str]] = set()
    for item, home in candidates:
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
    """A value is not an item, or lacks what a criterion needs."""


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
    """Return an item as JSON, with absolute hrefs of the assets."""
    if not isinstance(item, dict):
        raise _MalformedError("not a JSON object")
    identifier = item.get("id")
    if not isinstance(identifier, (str, int)) or identifier == "":
        raise _MalformedError("an item without an id")
    assets, properties = item.get("assets") or {}, item.get("properties") or {}
    if not isinstance(assets, dict) or not isinstance(properties, dict):
        raise _MalformedError("assets or properties are not a JSON object")
    collection = item.get("collection")
    try:
        absolute_assets = {
            str(key): {**asset, "href": _address(home, asset["href"])}
            for key, asset in assets.items()
            if isinstance(asset, dict) and asset.get("href")
        }
    except ValueError:
        raise _MalformedError("the href of an asset is not a URL") from None
    whole = {
        **item,
        "id": str(identifier),
        "collection": None if collection is None else str(collection),
        "properties": properties,
        "assets": absolute_assets,
    }
    return json.loads(json.dumps(whole, default=str))  # type: ignore[no-any-return]


def _address(home: str, href: Any) -> str:
    """Return the absolute URL of an asset."""
    address = joined(home, str(href).strip())
    split_checked(address)
    if "\0" in address:
        raise ValueError("a null byte")
    return address


def _fits(item: Mapping[str, Any], search: Search) -> bool:
    """Return whether an item matches: not every catalogue can filter."""
    if search.collections and item.get("collection") not in search.collections:
        return False
    if not meets(item, search.conditions):
        return False
    return _is_between(item["properties"], search.start, search.end) and _is_there(item, search.region)


def _is_there(item: Mapping[str, Any], region: BaseGeometry | None) -> bool:
    """Return whether an item's geometry, or else its box, meets a region. An item without either does not.

    Outlines across the antimeridian or around a pole are understood as catalogues ingest them.
    """
    if region is None:
        return True
    geometry = item.get("geometry")
    try:
        outline = shape(geometry) if geometry is not None else _box(item.get("bbox"))
        if not np.isfinite(shapely.get_coordinates(outline)).all():
            raise ValueError("a coordinate is not a finite number")
        box = flat_bbox(item.get("bbox"))
        if is_across(outline, box):
            outline = shapely.union_all([within(part, box) for part in shapely.get_parts(outline)])
        return bool(shapely.intersects(region, outline if outline.is_valid else shapely.make_valid(outline)))
    except (ShapelyError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _MalformedError(f"the geometry cannot be read: {error!s:.100}") from None


def _box(bounds: Any) -> BaseGeometry:
    """Return a box in degrees, with or without heights, as a polygon; empty if there is none."""
    if not bounds:
        return shapely.Point()
    half = len(bounds) // 2
    (west, south), (east, north) = map(float, bounds[:half][:2]), map(float, bounds[half:][:2])
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180.0, north), shapely.box(-180.0, south, east, north))


def _is_between(properties: Mapping[str, Any], start: dt.datetime | None, end: dt.datetime | None) -> bool:
    """Return whether an item's time overlaps the interval; ``end`` is excluded."""
    if start is None and end is None:
        return True
    first = properties.get("start_datetime") or properties.get("datetime")
    last = properties.get("end_datetime") or properties.get("datetime")
    if first is None and last is None:
        raise _MalformedError("the item has no date, which the search needs")
    # An interval with one bound is open on the other side.
    is_before = end is None or first is None or _moment(first) < end
    return is_before and (start is None or last is None or _moment(last) >= start)


def _moment(text: Any) -> dt.datetime:
    moment = parse_timestamp(str(text))
    if moment is None:
        raise _MalformedError(f"the date {text!s:.40} is malformed")
    return moment


def _home_of(item: Any, api: str) -> str:
    """Return the URL of an item of an API: its link `self`, or else the URL of the API."""
    links = item.get("links") if isinstance(item, dict) else None
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "self" and link.get("href"):
            with contextlib.suppress(ValueError):  # a malformed link
                return joined(api, str(link["href"]))
    return api
