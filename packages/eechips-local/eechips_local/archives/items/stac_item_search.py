"""Search the items of a STAC API: pages, POST or GET, CQL2 or "query", halved searches; warn of items that may be
missing.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode, urljoin

from pystac_client import ItemSearch as ClientSearch
from pystac_client.stac_api_io import StacApiIO

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError, ArchiveStatusError
from eechips_local.archives.archive_model import ArchiveDescription, Item, ItemQuery
from eechips_local.archives.hosts.archive_session import ArchiveRequest, ArchiveSession
from eechips_local.archives.hosts.transient_failures import is_transient
from eechips_local.archives.items.asset_addresses import with_remote_addresses
from eechips_local.archives.items.item_conditions import format_interval
from eechips_local.assets.asset_names import shown_url
from eechips_local.evaluation.asset_model import Bounds, Range
from eechips_local.geometry.longitude_boxes import split_bounds

_LOG = logging.getLogger("eechips_local.archives")
_PAGES = 2_000  # of one search
_REPEATS = 3  # of a search whose items become fewer while its pages are read
_PAGE_ITEMS = 10_000  # the most that the STAC API's specification lets a client ask for
_CONTAINERS = 1_000_000  # objects and lists of a response, each of which takes a hundred bytes of memory
_LARGE_LIMIT = 20  # items of a page of a search that needs a few
_DEEPEST = 10_000  # items of a search: OpenSearch, behind LandsatLook and Earth Search, follows no pages beyond them
_LEAST_ESTIMATE = 10_000  # items of a search whose count may be an estimate
_LEAST_SPAN = 86_400_000.0  # milliseconds of a half of a search
_IDS = 100  # of one request
_NO_POST = (404, 405)  # of hosts that know an address by GET only (RFC 9110, 15.5.6)
_QUERY = "item-search#query"
_FILTER = ("item-search#filter", "cql2-json")


class StacItemSearch:
    """The items of a STAC API. Threads share it.

    Args:
        session: session that sends its requests.
    """

    def __init__(self, description: ArchiveDescription, session: ArchiveSession) -> None:
        self._description, self._session = description, session
        self._api = description.api.rstrip("/")
        self._language = "filter" if description.has_cql2 else ""
        # STAC API 1.0 (Item Search) demands GET, whose addresses have limits of length, and recommends POST.
        self._method = "POST"

    def pages(self, collection: str, query: ItemQuery, patience: float | None = None) -> Iterator[Sequence[Item]]:
        """Yield items of a collection, page by page. Some may come twice, or not match.

        Raises:
            ArchiveError: if the archive does not answer, or not with items.
            ArchiveRefusedError: if it refuses the search, or its answers are no pages.
        """
        for boxes in [None] if query.bounds is None else split_bounds(query.bounds):
            for ids in _chunks(query.ids):
                yield from self._pages(collection, query, boxes, ids, patience)

    def collections(self, patience: float | None = None) -> dict[str, Mapping[str, Any]]:
        """Return the collections by their ids.

        Raises:
            ArchiveError: if the archive does not answer, or not with collections.
            ArchiveRefusedError: if it refuses the list, or its answers are no pages.
        """
        collections_by_id: dict[str, Mapping[str, Any]] = {}
        with _refusing("the list of its collections"):
            for page in self._read_pages(f"{self._api}/collections", "GET", {}, patience):
                for one in _objects(page, "collections", self._api):
                    collections_by_id[one["id"]] = one
        return collections_by_id

    def _pages(
        self, collection: str, query: ItemQuery, box: Bounds | None, ids: list[str] | None, patience: float | None
    ) -> Iterator[Sequence[Item]]:
        """Yield the pages of one search; smaller ones, or unfiltered, where the archive cannot otherwise.

        Where items are removed meanwhile, others may shift to a page that was read already: all is read again.
        """
        size = self._description.page_items
        if query.limit is not None:
            size = min(size, max(query.limit, _LARGE_LIMIT))
        conditions = self._conditions(query, patience) if ids is None else {}
        seen: set[str] = set()
        repeats = 0
        while True:
            method = self._method
            search = self._search(collection, query, box, ids, method=method, limit=size, **conditions)
            began = False
            totals: list[int] = []
            lengths: list[int] = []
            try:
                for page in self._read_pages(search.url, method, search.get_parameters(), patience):
                    halves = () if began or ids is not None else _halve(query, page)
                    for half in halves:
                        yield from self._pages(collection, half, box, ids, patience)
                    if halves:
                        return
                    began = True
                    totals += _matched(page)
                    items = _objects(page, "features", self._api)
                    lengths.append(len(items))
                    if not repeats or any(item["id"] not in seen for item in items):
                        seen.update(item["id"] for item in items)
                        yield items
                is_steady = all(before <= after for before, after in pairwise(totals))
                if not is_steady and repeats < _REPEATS:
                    repeats += 1
                    continue
                if totals and (not is_steady or _is_cut(totals[-1], lengths)):
                    self._warn_of_missing(collection, totals[0], sum(lengths), is_steady=is_steady)
                return
            except ArchiveStatusError as error:
                # Earth Search answers 500, gateways 413, to a page of more bytes than they pass on.
                if error.http_status in (413, 500) and size > 1:
                    size = max(1, size // 4)
                elif error.http_status in (400, 422) and conditions and not began:
                    conditions = {}  # the caller filters, too
                elif error.http_status in _NO_POST and method == "POST":
                    self._method, conditions = "GET", {}
                else:
                    with _refusing(f"the search of {collection}"):
                        raise

    def _search(
        self, collection: str, query: ItemQuery, box: Bounds | None, ids: list[str] | None, /, **options: Any
    ) -> ClientSearch:
        return ClientSearch(
            f"{self._api}/search",
            stac_io=StacApiIO(),  # pages are read by another, which knows the search's patience
            collections=[collection],
            ids=ids,
            bbox=None if box is None or ids is not None else list(box),
            datetime=None if ids is not None else format_interval(query.start, query.end),
            **options,
        )

    def _warn_of_missing(self, collection: str, counted: int, received: int, *, is_steady: bool) -> None:
        _LOG.warning(
            "%s counts %d items of a search of %s, and gives %d%s: some may be missing; narrow its dates or its region",
            shown_url(self._api), counted, collection, received,
            "" if is_steady else ", of which some are removed meanwhile",
        )  # fmt: skip

    def _conditions(self, query: ItemQuery, patience: float | None) -> dict[str, Any]:
        """Return what filters by properties, as arguments of a search: nothing for GET, where the caller filters."""
        if self._method == "GET":
            return {}
        ranges = {name: value for name, value in query.ranges.items() if not value.others and _is_bounded(value)}
        if not (query.equals or ranges):
            return {}
        language = self._language or self._find_language(patience)
        if language == "filter":
            return {"filter": _make_cql2(query.equals, ranges), "filter_lang": "cql2-json"}
        return {"query": _make_query(query.equals, ranges)} if language == "query" else {}

    def _find_language(self, patience: float | None) -> str:
        """Return how the API filters by properties, of its landing page."""
        with _refusing("its landing page"):
            landing = self._fetch(ArchiveRequest("GET", self._api), patience)
        classes = landing.get("conformsTo")
        texts = [text for text in classes if isinstance(text, str)] if isinstance(classes, list) else []
        if any(text.endswith(_QUERY) for text in texts):
            self._language = "query"
        elif all(any(text.endswith(end) for text in texts) for end in _FILTER):
            self._language = "filter"
        else:
            self._language = "none"
        return self._language

    def _read_pages(
        self, url: str, method: str, parameters: Mapping[str, Any], patience: float | None
    ) -> Iterator[Mapping[str, Any]]:
        io = _SessionIO(self, patience)
        try:
            yield from io.get_pages(url, method, dict(parameters))
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ArchiveRefusedError(
                f"{shown_url(url)} answers with something that is no page of a STAC API ({type(error).__name__})."
            ) from error

    def _fetch(self, request: ArchiveRequest, patience: float | None) -> dict[str, Any]:
        page: dict[str, Any] = self._session.fetch(request, _parse_page, patience)
        return page


class _SessionIO(StacApiIO):
    """Reads the pages of one search for pystac-client: over the archive's session, and no page twice."""

    def __init__(self, api: StacItemSearch, patience: float | None) -> None:
        super().__init__(max_retries=None)
        self._items, self._patience = api, patience
        self._seen: set[str] = set()

    def read_json(self, source: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Return a page. What pystac-client gives is an address, or a link to the next page."""
        self._page: dict[str, Any] = {}
        self.read_text(source, *arguments, **options)
        return self._page

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Send a request of pystac-client; headers that a link wants are not sent."""
        method = (method or "GET").upper()
        if method not in ("GET", "POST"):
            raise ArchiveRefusedError(f"{shown_url(href)}: the next page is to be had by {method[:20]!r}.")
        key = json.dumps([method, href, parameters], sort_keys=True)
        if key in self._seen or len(self._seen) >= _PAGES:
            raise ArchiveRefusedError(
                f"{shown_url(href)} leads from page to page without end, of which {len(self._seen)} were read: narrow "
                "the dates or the region."
            )
        self._seen.add(key)
        body = parameters if method == "POST" else None
        if method == "GET" and parameters:
            href = f"{href}?{urlencode(parameters)}"
        self._page = self._items._fetch(ArchiveRequest(method, href, body=body), self._patience)
        for link in (
            self._page.get("links") or ()
        ):  # servers behind a proxy, and smaller ones, write less than addresses
            if link.get("rel") == "next" and isinstance(link.get("href"), str):
                link["href"] = urljoin(href, link["href"])
                link["method"] = str(link.get("method") or "GET").upper()
        items = self._page.get("features")
        if isinstance(items, list):
            self._page["features"] = [
                with_remote_addresses(item, href) if isinstance(item, dict) else item for item in items
            ]
        return ""


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Raise ArchiveRefusedError where the archive answers what was asked for with an error that is final."""
    try:
        yield
    except ArchiveStatusError as error:
        if is_transient(error):
            raise
        raise ArchiveRefusedError(f"The archive refuses {what}: {error}") from error


def _parse_page(body: bytes) -> dict[str, Any]:
    """Return the object of a response.

    Raises:
        ValueError: if it is not whole.
        ArchiveRefusedError: if it is too large, or none.
    """
    if body.count(b"{") + body.count(b"[") > _CONTAINERS:
        raise ArchiveRefusedError(f"A page has more than {_CONTAINERS:,} objects: nothing of it is used.")
    try:
        page = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise ArchiveRefusedError("A page is nested too deeply: nothing of it is used.") from None
    if not isinstance(page, dict):
        raise ArchiveRefusedError("A page is no JSON object.")
    listed, returned = page.get("features"), page.get("numberReturned")
    if isinstance(listed, list) and isinstance(returned, int) and len(listed) < returned:
        raise ValueError("the page has fewer items than it says")
    return page


def _refuse_constant(name: str) -> float:
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[name]


def _objects(page: Mapping[str, Any], name: str, url: str) -> list[Any]:
    """Return the items or collections of a page."""
    objects = page.get(name)
    if not isinstance(objects, list) or not all(
        isinstance(one, dict) and isinstance(one.get("id"), str) for one in objects
    ):
        raise ArchiveError(f"{shown_url(url)} answers with a page that has no {name}.")
    if len(objects) > _PAGE_ITEMS:
        raise ArchiveRefusedError(f"{shown_url(url)} answers with a page of {len(objects):,} {name}.")
    return objects


def _halve(query: ItemQuery, page: Mapping[str, Any]) -> tuple[ItemQuery, ...]:
    """Return the two halves of the time of a search whose pages would lead deeper than archives follow, or nothing."""
    is_deep = any(matched > _DEEPEST for matched in _matched(page)) and query.limit is None
    if not is_deep or query.start is None or query.end is None or query.end - query.start < 2 * _LEAST_SPAN:
        return ()
    middle = math.floor((query.start + query.end) / 2.0)
    return replace(query, end=middle), replace(query, start=middle)


def _matched(page: Mapping[str, Any]) -> list[int]:
    """Return the number of items that a search has, if its page tells it."""
    context = page.get("context")
    matched = page.get("numberMatched", context.get("matched") if isinstance(context, dict) else None)
    return [matched] if isinstance(matched, int) else []


def _is_cut(matched: int, lengths: Sequence[int]) -> bool:
    """Return whether a search gave so few items, page by page, that its end is not their end.

    pgstac estimates counts of 10,000 and more only, later ones of 100,000 (https://github.com/stac-utils/pgstac/pull/38,
    ``where_stats``); OpenSearch's are exact, or too low. With an estimate, a last page with fewer items than others is
    the end, unless as many again are missing.
    """
    received = sum(lengths)
    is_short = lengths[-1:] != [max(lengths, default=0)]
    return received < matched and not (is_short and matched >= _LEAST_ESTIMATE and 2 * received >= matched)


def _chunks(ids: tuple[str, ...] | None) -> Iterator[list[str] | None]:
    if ids is None:
        yield None
    else:
        for start in range(0, len(ids), _IDS):
            yield list(ids[start : start + _IDS])


def _is_bounded(bounds: Range) -> bool:
    return math.isfinite(bounds.least) or math.isfinite(bounds.greatest)


def _make_cql2(equals: Mapping[str, Any], ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Return conditions as CQL2 JSON (OGC 21-065r2), of the class Basic CQL2."""
    parts: list[dict[str, Any]] = [
        {"op": "=", "args": [{"property": name}, value]} for name, value in sorted(equals.items())
    ]
    for name, bounds in sorted(ranges.items()):
        for sign, value in ((">=", bounds.least), ("<=", bounds.greatest)):
            if math.isfinite(value):
                parts.append({"op": sign, "args": [{"property": name}, value]})
    return parts[0] if len(parts) == 1 else {"op": "and", "args": parts}


def _make_query(equals: Mapping[str, Any], ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Return conditions as the extension "query" has them: https://github.com/stac-api-extensions/query."""
    conditions: dict[str, dict[str, Any]] = {name: {"eq": value} for name, value in equals.items()}
    for name, bounds in ranges.items():
        for sign, value in (("gte", bounds.least), ("lte", bounds.greatest)):
            if math.isfinite(value):
                conditions.setdefault(name, {})[sign] = value
    return conditions
