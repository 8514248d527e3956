"""Asking a STAC API: what it is asked by, page by page."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests
import shapely
from shapely.geometry import mapping

from eechips.client.redaction import redact
from eechips.downloads.cql2 import cql2, cql2_text
from eechips.downloads.document_reader import DocumentReader, UnreadDocument, is_web
from eechips.errors import ConfigurationError, PermanentError
from eechips.recipe import canonical_json
from eechips.urls import display_url
from eechips.warning_filters import ignore

if TYPE_CHECKING:
    from eechips.downloads.search import Search

_log = logging.getLogger(__name__)

_PAGE = 100  # items of one answer
_MOST_VERTICES = {"POST": 2000, "GET": 100}
"""Vertices of a region that an API is asked with; one of more is asked for by its box, and the rest is done here."""
_SMALL_PAGE = 10  # items; for an API that refuses more in place of sending fewer
_NO_POST = (404, 405, 501)
_MISUNDERSTOOD = (400, 422)
"""What APIs answer to what they do not understand, such as conditions although they say that they know them."""
_WAYS = (("POST", "cql2-json"), ("GET", "cql2-text"), ("GET", "cql2-json"), ("POST", "cql2-text"))
"""Methods and languages of conditions, the usual ones first."""
_EMPTY_PAGES = 20
"""Pages in a row without an item: some APIs always tell of a next one."""


@dataclass(frozen=True, slots=True)
class _Question:
    """One way to ask.

    Attributes:
        method: of HTTP.
        language: of the conditions; None to ask for all items, and choose here.
        page: items of an answer.
    """

    method: str
    language: str | None
    page: int


def is_api(document: Any) -> bool:
    """Whether a document is the first one of an API."""
    if not isinstance(document, dict):
        return False
    classes = document.get("conformsTo")
    is_search = isinstance(classes, list) and any(str(name).endswith("/item-search") for name in classes)
    return is_search or bool(_search_links(document))


def api_items(
    document: Mapping[str, Any], address: str, search: Search, reader: DocumentReader
) -> Iterator[dict[str, Any]]:
    """The items of an API's answer; not all that it cannot choose by is chosen.

    Args:
        document: the first one of the API.
        address: of it.
        search: what it is asked.
        reader: of further documents.

    Raises:
        ConfigurationError: if pystac-client is missing.
        PermanentError: if the API refuses, or answers like none.
        TransientError: if it does not answer any more.
    """
    client = _client(document, address)
    refused: PermanentError | None = None
    for question in _questions(document, search):
        found = _pages(*_asked(client, search, question), reader)
        try:
            first = next(found, None)
        except PermanentError as error:
            if error.status not in (_NO_POST if question.method == "POST" else ()) + _MISUNDERSTOOD:
                raise
            # What is told is why the best question was refused, not what became of the others.
            refused = refused or error
            continue
        if search.conditions and question.language is None:
            is_refused = refused is not None and refused.status in _MISUNDERSTOOD
            message = f"refuses the conditions ({refused})" if is_refused else "knows no conditions (CQL2)"
            message += ": all items are asked for, and those that meet --where are chosen here"
            _log.info("%s %s", display_url(search.stac), message)
        if first is not None:
            yield first
            yield from found
        return
    assert refused is not None
    raise refused


def _questions(document: Mapping[str, Any], search: Search) -> Iterator[_Question]:
    """Ways to ask an API, the best one first: what it says of itself need not be so.

    Servers such as stac-fastapi-pgstac take CQL2 as JSON by POST and as text by GET, and refuse text by POST.
    """
    named = {str(link["method"]).upper() for link in _search_links(document) if link.get("method")}
    methods = [name for name in ("POST", "GET") if name in named] or ["POST", "GET"]
    known = _languages(document) if search.conditions else ()
    # Those that it says it knows; then, of one that has been refused, what else it may know.
    ways = [way for way in _WAYS if way[0] in methods and way[1] in known]
    if known == ("cql2-text",) and "POST" in methods:
        ways.append(("POST", "cql2-json"))
    for method, language in (*ways, *((method, None) for method in methods)):
        # Where few of an answer's items are wanted, large pages are fewer.
        is_few = search.most is not None and (language is not None or not search.conditions)
        yield _Question(method, language, min(_PAGE, search.most or _PAGE) if is_few else _PAGE)
        if language is None:
            yield _Question(method, None, _SMALL_PAGE)


def _languages(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The languages of conditions that an API says it knows; both where it says that it knows conditions, not how.

    Those before CQL2 have other names for the same things (https://github.com/stac-api-extensions/filter): an API that
    knows these alone is asked by none.
    """
    listed = document.get("conformsTo")
    classes = [str(name) for name in listed] if isinstance(listed, list) else []
    if not any("/item-search#filter" in name for name in classes):
        return ()
    found = tuple(name for name in ("cql2-json", "cql2-text") if any(each.endswith(name) for each in classes))
    if found or any("/cql2/" in name for name in classes):
        return found or ("cql2-json", "cql2-text")
    is_old = any(each.rpartition("/")[2].endswith(("cql-json", "cql-text")) for each in classes)
    return () if is_old else ("cql2-json", "cql2-text")


def pages_of_items(address: str, reader: DocumentReader) -> Iterator[dict[str, Any]]:
    """All items of a collection that an API serves (OGC API Features).

    Raises:
        PermanentError, TransientError: see :func:`api_items`.
    """
    return _pages(address, "GET", {"limit": _PAGE}, reader)


def pages_from(page: Mapping[str, Any], address: str, reader: DocumentReader) -> Iterator[Any]:
    """The items of a list that is here, and those of all pages that it leads to.

    Args:
        page: the list.
        address: of it.
        reader: of further ones.

    Raises:
        PermanentError, TransientError: see :func:`api_items`.
    """
    return _pages(address, "GET", {}, reader, page)


def next_of(page: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The link of a list of items to the page that follows it, if there is one."""
    links = page.get("links")
    found = (each for each in links if isinstance(each, dict)) if isinstance(links, list) else iter(())
    return next((link for link in found if link.get("rel") == "next" and link.get("href")), None)


def _client(document: Mapping[str, Any], address: str) -> Any:
    try:
        import pystac_client
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"a STAC search needs pystac-client: pip install 'eechips[stac]' ({error})") from None
    import pystac

    try:
        client = pystac_client.Client.from_dict(dict(document), href=address)
        client.set_self_href(address)
        client.add_conforms_to("ITEM_SEARCH")  # it has a link for that, if nothing else
    except (pystac.STACError, pystac.STACTypeError, KeyError, TypeError, ValueError, AttributeError) as error:
        text = redact(" ".join(str(error).split()))[:300]
        raise PermanentError(
            f"{display_url(address)} answers unlike a STAC API: {text or type(error).__name__}"
        ) from None
    return client


def _search_links(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    links = document.get("links")
    if not isinstance(links, list):
        return []
    return [link for link in links if isinstance(link, dict) and link.get("rel") == "search" and link.get("href")]


def _asked(client: Any, search: Search, question: _Question) -> tuple[str, str, dict[str, Any]]:
    """Address, method and parameters of the first page."""
    method = question.method
    asked: dict[str, Any] = {"limit": question.page}
    if search.collections:
        asked["collections"] = list(search.collections)
    if search.start is not None or search.end is not None:
        asked["datetime"] = f"{_text(search.start)}/{_text(search.end, before=True)}"
    if search.region is not None:
        region = shapely.force_2d(search.region)
        if shapely.get_num_coordinates(region) <= _MOST_VERTICES[method]:
            asked["intersects"] = mapping(region)
        else:
            asked["bbox"] = list(region.bounds)
    if question.language == "cql2-json":
        asked |= {"filter": cql2(search.conditions), "filter_lang": question.language}
    elif question.language is not None:
        asked |= {"filter": cql2_text(search.conditions), "filter_lang": question.language}
    from pystac_client.warnings import PystacClientWarning

    ignore(PystacClientWarning)  # of what an API does not say that it can: what it answers is looked at
    found = client.search(**asked, method=method)
    return urljoin(search.stac, found.url), method, dict(found.get_parameters())


def _pages(
    address: str,
    method: str,
    parameters: dict[str, Any],
    reader: DocumentReader,
    first: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """The items of a page, and of all pages that follow it.

    Args:
        address: of the page.
        method: of HTTP.
        parameters: of the question.
        reader: asks.
        first: the page, if it is here.

    Raises:
        PermanentError: if an answer is no list of items, or pages lead in a circle.
        TransientError: if nobody answers any more.
    """
    url, body = (address, parameters) if method == "POST" else (_with_query(address, parameters), None)
    headers: Mapping[str, str] = {}
    seen: set[int] = set()
    empty = 0
    while True:
        page, first = reader.ask(method, url, body, headers) if first is None else first, None
        features = page.get("features") if isinstance(page, dict) else None
        if not isinstance(features, list):
            raise PermanentError(f"{display_url(url)} answers unlike a STAC API: no list of items")
        # The same question may go on where the one before has stopped; the same answer to it does not.
        ids = [each.get("id") if isinstance(each, dict) else None for each in features]
        key = hash(canonical_json([method, url, body, [str(each) for each in ids]]))
        if key in seen:
            raise PermanentError(f"{display_url(url)} leads in a circle: its next page is one that has been there")
        seen.add(key)
        yield from features
        link = next_of(page)
        if link is None:
            return
        empty = 0 if features else empty + 1
        if empty == _EMPTY_PAGES:
            message = f"{empty} pages in a row have no item, and name another: it was not asked for more"
            reader.unread.append(UnreadDocument(display_url(url), message))
            return
        try:
            url = urljoin(url, str(link["href"]))
        except ValueError:
            raise PermanentError(f"the next page of {display_url(address)} has no address") from None
        if not is_web(url):
            raise PermanentError(
                f"the next page of {display_url(address)} is {display_url(url)}, and no address of the web"
            )
        method = str(link.get("method") or "GET").upper()
        own = link.get("headers")
        headers = {str(k): str(v) for k, v in own.items()} if isinstance(own, dict) else {}
        body = None
        if method == "POST":
            body = link.get("body")
            if not isinstance(body, dict) or link.get("merge"):
                body = {**parameters, **(body if isinstance(body, dict) else {})}


def _with_query(address: str, parameters: Mapping[str, Any]) -> str:
    # As text: a list's elements would become parameters of their own.
    url = requests.Request("GET", address, params=dict(parameters)).prepare().url
    assert url is not None
    return url


def _text(moment: dt.datetime | None, *, before: bool = False) -> str:
    """A moment as an API takes it, or the last one before it: its intervals include both ends."""
    if moment is None:
        return ".."
    shifted = moment - dt.timedelta(milliseconds=1) if before else moment
    utc = shifted.astimezone(dt.timezone.utc)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")
