"""Asking a catalogue: a STAC API, a static catalogue, or a STAC GeoParquet file."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import shapely
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from eechips.client.scrub import scrub
from eechips.downloads.address import shown
from eechips.downloads.conditions import cql2, meets
from eechips.downloads.signing import Signer
from eechips.errors import ConfigurationError, UsageError
from eechips.planning.conditions import Condition

_PAGE = 100  # items of one answer of an API
_RETRIES = 6
_TIMEOUT = 60.0  # seconds
_PASSING = (429, 500, 502, 503, 504)
_ROWS = 1000  # of a GeoParquet file that are read at a time
_MOST_VERTICES = 2000
"""Vertices of a region that an API is asked with; one of more is asked for by its box, and the rest is done here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a catalogue is asked.

    Attributes:
        stac: address of an API or of a static catalogue, or path or address of one, or of a GeoParquet file.
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
    conditions: tuple[Condition, ...] = ()
    most: int | None = None


def items(search: Search, signer: Signer) -> Iterator[dict[str, Any]]:
    """The items that a catalogue has, each once, in its order. Addresses of assets are absolute.

    Args:
        search: what it is asked.
        signer: says what an API wants to be shown.

    Raises:
        UsageError: if there is no such catalogue or collection.
        ConfigurationError: if it does not answer, or not like a catalogue.
    """
    found = _of_parquet(search) if _is_parquet(search.stac) else _of_catalogue(search, signer)
    seen: set[tuple[str, str]] = set()
    for item in found:
        key = (str(item.get("collection") or ""), str(item.get("id")))
        if key in seen or not _fits(item, search):
            continue
        seen.add(key)
        yield item
        if len(seen) == search.most:
            return


def _fits(item: Mapping[str, Any], search: Search) -> bool:
    """Whether an item is one of those that were asked for: not every catalogue can choose."""
    if search.collections and item.get("collection") not in search.collections:
        return False
    if not meets(item, search.conditions) or not _is_between(item, search.start, search.end):
        return False
    if search.region is None:
        return True
    return item.get("geometry") is not None and shapely.intersects(shape(item["geometry"]), search.region)


def _is_between(item: Mapping[str, Any], start: dt.datetime | None, end: dt.datetime | None) -> bool:
    """Whether an item's time, or a part of it, lies between two moments, of which the second is excluded."""
    if start is None and end is None:
        return True
    properties = item.get("properties") or {}
    first = properties.get("start_datetime") or properties.get("datetime")
    last = properties.get("end_datetime") or properties.get("datetime")
    if first is None or last is None:
        return False
    return (end is None or _moment(first) < end) and (start is None or _moment(last) >= start)


def _moment(text: str) -> dt.datetime:
    # Python 3.10 takes neither Z nor fractions of other lengths than 3 and 6.
    head, dot, fraction = text.replace("Z", "+00:00").replace("z", "+00:00").partition(".")
    if dot:
        digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
        head += f".{digits[:6]:0<6}{fraction[len(digits) :]}"
    moment = dt.datetime.fromisoformat(head)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)


def _of_catalogue(search: Search, signer: Signer) -> Iterator[dict[str, Any]]:
    try:
        import pystac_client
        from pystac_client.exceptions import APIError
        from pystac_client.stac_api_io import StacApiIO
        from urllib3 import Retry
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"a STAC search needs pystac-client: pip install 'eechips[stac]' ({error})") from None
    import pystac
    import requests

    class Io(StacApiIO):
        # For static catalogues: its own makes clients of them, which warn that they are none.
        stac_object_from_dict = pystac.StacIO.stac_object_from_dict

    def modify(request: requests.Request) -> requests.Request:
        request.headers.update(signer.headers(str(request.url)))
        return request

    retry = Retry(
        _RETRIES, backoff_factor=0.5, status_forcelist=_PASSING, allowed_methods=None, respect_retry_after_header=True
    )
    io = Io(max_retries=retry, timeout=_TIMEOUT, request_modifier=modify)
    io.session.trust_env = False  # passwords of .netrc are the signer's business
    try:
        document = io.read_json(search.stac)
        if not isinstance(document, dict):
            raise ValueError("it is JSON, but no object")
        links = [link.get("rel") for link in document.get("links") or ()]
        if "conformsTo" in document or "search" in links:
            yield from _of_api(pystac_client.Client.open(search.stac, stac_io=io), search)
        elif document.get("type") == "FeatureCollection":
            yield from (_absolute(item, search.stac) for item in document.get("features") or ())
        else:
            yield from _of_static(io.stac_object_from_dict(document, search.stac), search)
    except FileNotFoundError:
        raise UsageError(f"there is no catalogue {shown(search.stac)}") from None
    except (APIError, pystac.STACError, pystac.STACTypeError, requests.RequestException, ValueError, KeyError) as error:
        text = scrub(" ".join(str(error).split()))[:300]
        raise ConfigurationError(f"{shown(search.stac)} does not answer like a STAC catalogue: {text}") from None


def _of_api(client: Any, search: Search) -> Iterator[dict[str, Any]]:
    """Items by paging through an API's answer; what it cannot choose by is looked at here."""
    import pystac_client

    asked: dict[str, Any] = {"limit": _PAGE if search.most is None else min(_PAGE, search.most)}
    if search.collections:
        asked["collections"] = list(search.collections)
    if search.start is not None or search.end is not None:
        asked["datetime"] = f"{_text(search.start)}/{_text(search.end, before=True)}"
    if search.region is not None:
        if shapely.get_num_coordinates(search.region) <= _MOST_VERTICES:
            asked["intersects"] = mapping(search.region)
        else:
            asked["bbox"] = list(search.region.bounds)
    condition = cql2(search.conditions)
    if condition is not None and client.conforms_to(pystac_client.ConformanceClasses.FILTER):
        asked |= {"filter": condition, "filter_lang": "cql2-json"}
    for item in client.search(**asked).items_as_dicts():
        yield _absolute(item, _self_of(item))


def _of_static(top: Any, search: Search) -> Iterator[dict[str, Any]]:
    """All items that a catalogue leads to; collections that were not asked for are not entered."""
    import pystac

    if isinstance(top, pystac.Item):
        yield _absolute(top.to_dict(transform_hrefs=False), top.get_self_href())
        return
    for item in top.get_items():
        yield _absolute(item.to_dict(transform_hrefs=False), item.get_self_href())
    for child in top.get_children():
        is_other = isinstance(child, pystac.Collection) and search.collections and child.id not in search.collections
        if not is_other:
            yield from _of_static(child, search)


def _of_parquet(search: Search) -> Iterator[dict[str, Any]]:
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        from stac_geoparquet.arrow import stac_table_to_items
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"STAC GeoParquet needs stac-geoparquet: pip install 'eechips[stac]' ({error})"
        ) from None
    try:
        with fsspec.open(search.stac, "rb") as source, pq.ParquetFile(source) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                for item in stac_table_to_items(pa.Table.from_batches([batch])):
                    yield _absolute(item, None)
    except FileNotFoundError:
        raise UsageError(f"there is no file {shown(search.stac)}") from None
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise ConfigurationError(f"{shown(search.stac)} cannot be read as STAC GeoParquet: {error}") from error


def _absolute(item: dict[str, Any], home: str | None) -> dict[str, Any]:
    """An item whose assets' addresses do not depend on where it was."""
    assets = {
        key: {**asset, "href": _joined(home, str(asset.get("href") or ""))}
        for key, asset in (item.get("assets") or {}).items()
        if asset
    }
    return json.loads(json.dumps({**item, "assets": assets}, default=str))  # type: ignore[no-any-return]


def _joined(home: str | None, href: str) -> str:
    if home is None or urlsplit(href).scheme:
        return href
    if urlsplit(home).scheme in ("http", "https", "s3"):
        # urljoin knows no s3.
        scheme, colon, rest = home.partition(":")
        return scheme + colon + urljoin(f"http:{rest}", href)[len("http:") :]
    return str((Path(home).parent / href).resolve())


def _self_of(item: Mapping[str, Any]) -> str | None:
    links: Iterable[Mapping[str, Any]] = item.get("links") or ()
    return next((str(link["href"]) for link in links if link.get("rel") == "self" and link.get("href")), None)


def _is_parquet(stac: str) -> bool:
    return urlsplit(stac).path.lower().endswith((".parquet", ".geoparquet"))


def _text(moment: dt.datetime | None, *, before: bool = False) -> str:
    """A moment as an API takes it, or the last one before it: its intervals include both ends."""
    if moment is None:
        return ".."
    shifted = moment - dt.timedelta(milliseconds=1) if before else moment
    utc = shifted.astimezone(dt.timezone.utc)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")
