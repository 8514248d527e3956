"""Search a STAC API page by page, in the method and filter language that it supports; ask for large regions by their
box, and stop after pages without new items.

:mod:`.document_reader` repeats requests that fail, :mod:`.search` decides between an API, files and GeoParquet, and
:mod:`.criteria` writes the filters.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import requests
import shapely
from shapely.geometry import mapping

from eechips.archive.downloads.criteria import Search, cql2, cql2_text
from eechips.archive.downloads.document_reader import DocumentReader, is_web
from eechips.errors import PermanentError
from eechips.extras import import_extra
from eechips.processes.warning_filters import ignore_warning
from eechips.recipe import canonical_json
from eechips.web.redaction import redact
from eechips.web.urls import display_url, host_of, split_checked

_log = logging.getLogger(__name__)

_PAGE = 100  # items of a page
FIRST_PAGE: Mapping[str, Any] = {"limit": _PAGE}
"""Parameters of a request for all items."""
_MOST_VERTICES = {"POST": 2000, "GET": 100}
"""Vertices of a region in a request. Larger regions are requested by their box, and filtered locally."""
_SMALL_PAGE = 10  # items; for APIs that reject larger pages instead of shortening them
_NO_POST = (404, 405, 501)
_MISUNDERSTOOD = (400, 422)
"""Statuses of APIs for parameters they do not support, such as filters that they advertise."""
_WAYS = (("POST", "cql2-json"), ("GET", "cql2-text"), ("GET", "cql2-json"), ("POST", "cql2-text"))
"""Methods and filter languages, the most common first."""
_PAGES_WITHOUT_NEW = 20
"""Pages in a row without a new item before a search stops: some APIs always link to a next page."""


@dataclass(frozen=True, slots=True)
class _Question:
    """One form of a search request.

    Attributes:
        method: HTTP method.
        language: language of the filter; None to request all items and filter locally.
        page: items of a page.
    """

    method: str
    language: str | None
    page: int


def is_api(document: Any) -> bool:
    """Return whether a document is the landing page of an API."""
    if not isinstance(document, dict):
        return False
    classes = document.get("conformsTo")
    is_search = isinstance(classes, list) and any(str(name).endswith("/item-search") for name in classes)
    return is_search or bool(_search_links(document))


def api_items(
    document: Mapping[str, Any], address: str, search: Search, reader: DocumentReader
) -> Iterator[dict[str, Any]]:
    """Yield the items of an API; criteria that it does not support are left to the caller.

    Args:
        document: landing page of the API.
        address: address of the landing page.
        search: criteria.
        reader: reader of further documents.

    Raises:
        ConfigurationError: if pystac-client is missing.
        PermanentError: if the API rejects the search, or does not respond as STAC.
        TransientError: if the API stops responding.
    """
    client = _client(document, address)
    refused: PermanentError | None = None
    for question in _questions(document, search):
        url, parameters = _asked(client, search, question)
        items = item_pages(url, reader, method=question.method, parameters=parameters)
        try:
            first = next(items, None)
        except PermanentError as error:
            if error.status not in (_NO_POST if question.method == "POST" else ()) + _MISUNDERSTOOD:
                raise
            # The message states why the first form was rejected, not the fallbacks.
            refused = refused or error
            continue
        if search.conditions and question.language is None:
            is_refused = refused is not None and refused.status in _MISUNDERSTOOD
            message = f"rejects the filter ({refused})" if is_refused else "has no filters (CQL2)"
            message += ": all items are requested and filtered locally"
            _log.info("%s %s", display_url(search.stac), message)
        if first is not None:
            yield first
            yield from items
        return
    assert refused is not None
    raise refused


def _questions(document: Mapping[str, Any], search: Search) -> Iterator[_Question]:
    """Yield the forms of a search request, the best first: an API may not support what it advertises.

    Servers such as stac-fastapi-pgstac accept CQL2 as JSON by POST and as text by GET, and reject text by POST.
    """
    named = {str(link["method"]).upper() for link in _search_links(document) if link.get("method")}
    methods = [name for name in ("POST", "GET") if name in named] or ["POST", "GET"]
    known = _languages(document) if search.conditions else ()
    # First the advertised forms; then, if they are rejected, the others.
    ways = [way for way in _WAYS if way[0] in methods and way[1] in known]
    if known == ("cql2-text",) and "POST" in methods:
        ways.append(("POST", "cql2-json"))
    for method, language in (*ways, *((method, None) for method in methods)):
        # A search for few items needs no large pages.
        is_few = search.most is not None and (language is not None or not search.conditions)
        yield _Question(method, language, min(_PAGE, search.most or _PAGE) if is_few else _PAGE)
        if language is None:
            yield _Question(method, None, _SMALL_PAGE)


def _languages(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the filter languages that an API advertises; both if it advertises filters without a language.

    Languages before CQL2 name the same things differently (https://github.com/stac-api-extensions/filter): an API with
    only those is searched without a filter.
    """
    listed = document.get("conformsTo")
    classes = [str(name) for name in listed] if isinstance(listed, list) else []
    if not any("/item-search#filter" in name for name in classes):
        return ()
    languages = tuple(
        name for name in ("cql2-json", "cql2-text") if any(conformance.endswith(name) for conformance in classes)
    )
    if languages or any("/cql2/" in name for name in classes):
        return languages or ("cql2-json", "cql2-text")
    is_old = any(conformance.rpartition("/")[2].endswith(("cql-json", "cql-text")) for conformance in classes)
    return () if is_old else ("cql2-json", "cql2-text")


def next_of(page: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the link of a page to the next page; None for the last."""
    links = page.get("links")
    link_objects = (
        (candidate for candidate in links if isinstance(candidate, dict)) if isinstance(links, list) else iter(())
    )
    return next((link for link in link_objects if link.get("rel") == "next" and link.get("href")), None)


def _client(document: Mapping[str, Any], address: str) -> Any:
    pystac_client = import_extra("pystac_client", "a STAC search needs pystac-client", "stac")
    import pystac

    try:
        client = pystac_client.Client.from_dict(dict(document), href=address)
        client.set_self_href(address)
        client.add_conforms_to("ITEM_SEARCH")  # the link `search` proves it
    except (pystac.STACError, pystac.STACTypeError, KeyError, TypeError, ValueError, AttributeError) as error:
        text = redact(" ".join(str(error).split()))[:300]
        raise PermanentError(
            f"{display_url(address)} does not respond as a STAC API: {text or type(error).__name__}"
        ) from None
    return client


def _search_links(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    links = document.get("links")
    if not isinstance(links, list):
        return []
    return [link for link in links if isinstance(link, dict) and link.get("rel") == "search" and link.get("href")]


def _asked(client: Any, search: Search, question: _Question) -> tuple[str, dict[str, Any]]:
    """Return URL and parameters of the first page."""
    asked: dict[str, Any] = {"limit": question.page}
    if search.collections:
        asked["collections"] = list(search.collections)
    if search.start is not None or search.end is not None:
        asked["datetime"] = f"{_text(search.start)}/{_text(search.end)}"
    if search.region is not None:
        region = shapely.force_2d(search.region)
        if shapely.get_num_coordinates(region) <= _MOST_VERTICES[question.method]:
            asked["intersects"] = mapping(region)
        else:
            asked["bbox"] = list(region.bounds)
    if question.language == "cql2-json":
        asked |= {"filter": cql2(search.conditions), "filter_lang": question.language}
    elif question.language is not None:
        asked |= {"filter": cql2_text(search.conditions), "filter_lang": question.language}
    from pystac_client.warnings import PystacClientWarning

    ignore_warning(PystacClientWarning)  # of missing conformance classes: the response decides
    item_search = client.search(**asked, method=question.method)
    return urljoin(search.stac, item_search.url), dict(item_search.get_parameters())


def item_pages(
    address: str,
    reader: DocumentReader,
    *,
    method: str = "GET",
    parameters: Mapping[str, Any] = FIRST_PAGE,
    first: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the items of a page and of all following pages, as of a collection in an API (OGC API Features).

    Args:
        first: the page, if it was read; None to request it.

    Raises:
        PermanentError, TransientError: see :func:`api_items`.
    """
    url, body = (address, dict(parameters)) if method == "POST" else (_with_query(address, parameters), None)
    headers: Mapping[str, str] = {}
    seen: set[int] = set()
    known: set[int] = set()
    received = without_new = 0
    while True:
        page, first = reader.ask(method, url, body, headers) if first is None else first, None
        features = page.get("features") if isinstance(page, dict) else None
        if not isinstance(features, list):
            raise PermanentError(f"{display_url(url)} does not respond as a STAC API: no list of items")
        # A repeated request may continue after the previous page; a repeated response to it does not.
        ids = [feature.get("id") if isinstance(feature, dict) else None for feature in features]
        key = hash(canonical_json([method, url, body, [str(feature) for feature in ids]]))
        if key in seen:
            reader.note_unread(url, "it links back to a page that was already read: the search stopped there")
            return
        seen.add(key)
        yield from features
        received += len(features)
        link = next_of(page)
        if link is None:
            if missing := _describe_missing(page, received, parameters.get("limit"), is_only=len(seen) == 1):
                reader.note_unread(url, missing)
            return
        names = {
            hash((str(item.get("collection")), str(item.get("id")))) for item in features if isinstance(item, dict)
        }
        without_new = 0 if names - known else without_new + 1
        known |= names
        if without_new == _PAGES_WITHOUT_NEW:
            reader.note_unread(
                url, f"{without_new} pages in a row had no new item, and linked to another: the search stopped there"
            )
            return
        following = _next_url(url, link, address)
        method = _next_method(url, following, link, reader.moved.get(host_of(url)))
        own = link.get("headers") if host_of(following) == host_of(url) else None
        headers = {str(k): str(v) for k, v in own.items()} if isinstance(own, dict) else {}
        url = following
        body = _next_body(link, parameters) if method == "POST" else None


def _describe_missing(page: Mapping[str, Any], received: int, limit: Any, *, is_only: bool) -> str:
    """Return why the last page of a search may not be the end; empty if nothing says so.

    For days, the Planetary Computer sent no links to further pages
    (https://github.com/microsoft/planetary-computer-apis/issues/274). A stated number may be an estimate: pgstac
    estimates those beyond 10,000 (https://github.com/stac-utils/stac-fastapi/issues/349).

    Args:
        received: items of all pages.
        limit: items of a page that were asked for.
        is_only: whether there was no other page.
    """
    context = page.get("context")  # STAC API before 1.0
    stated = [page.get("numberMatched"), context.get("matched") if isinstance(context, dict) else None]
    matched = next((number for number in stated if type(number) is int), None)
    if matched is not None and matched > received:
        return f"it states {matched:,} items, sent {received:,} and no link to more: search for fewer at a time"
    if matched is None and is_only and received == limit:
        return f"it sent a full page of {received:,} items and no link to more: search for fewer if some are missing"
    return ""


def _next_url(url: str, link: Mapping[str, Any], address: str) -> str:
    """Return the URL of the next page of a search.

    Raises:
        PermanentError: if the link has none, or one that is not of the web.
    """
    try:
        following = urljoin(url, str(link["href"]))
        split_checked(following)
    except ValueError:
        raise PermanentError(f"the link to the next page of {display_url(address)} has no URL") from None
    if not is_web(following):
        raise PermanentError(
            f"the next page of {display_url(address)} is {display_url(following)}, which is not an http(s) URL"
        )
    return following


def _next_method(url: str, following: str, link: Mapping[str, Any], moved: str | None) -> str:
    """Return the method of the request for the next page.

    Requests carry the user's credentials for their host: a catalogue must not choose what they change on another one.

    Args:
        moved: host to which this one redirects requests, which then have no credentials; None for none.

    Raises:
        PermanentError: if it is neither GET nor POST, or POST to a further host.
    """
    method = str(link.get("method") or "GET").upper()
    if method not in ("GET", "POST"):
        raise PermanentError(
            f"the next page of {display_url(url)} asks for {method:.20}: pages are read by GET and POST"
        )
    if method == "POST" and host_of(following) not in (host_of(url), moved):
        raise PermanentError(
            f"the next page of {display_url(url)} is a POST to another host, {display_url(following)}: it is not sent"
        )
    return method


def _next_body(link: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of the request for the next page: the link's, with the search's parameters where it asks so."""
    body = link.get("body")
    if isinstance(body, dict) and not link.get("merge"):
        return body
    return {**parameters, **(body if isinstance(body, dict) else {})}


def _with_query(address: str, parameters: Mapping[str, Any]) -> str:
    # A list is one parameter: its elements would become separate parameters.
    url = requests.Request("GET", address, params=dict(parameters)).prepare().url
    assert url is not None
    return url


def _text(moment: dt.datetime | None) -> str:
    """Format a moment for an API, whose intervals include both ends."""
    if moment is None:
        return ".."
    utc = moment.astimezone(dt.timezone.utc)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")
