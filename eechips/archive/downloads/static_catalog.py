"""Read static catalogues: documents that link to each other, down to items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from eechips.archive.downloads.document_reader import DocumentReader, UnreadDocument, is_web, may_link
from eechips.archive.downloads.stac_api import item_pages, next_of
from eechips.errors import PermanentError
from eechips.processes.parallel_map import parallel_map
from eechips.web.urls import display_url, local_path

_AT_ONCE = 8  # concurrent requests of items
_MOST_DEPTH = 64
"""Catalogues within each other: a server may invent ever deeper ones."""

Found = tuple[dict[str, Any], str]
"""An item, and the URL that the hrefs in it are relative to."""


def static_items(document: Any, address: str, collections: Sequence[str], reader: DocumentReader) -> Iterator[Found]:
    """Yield all items below a document, depth first, in its order; each document is read once.

    Other collections than the requested ones are skipped. Documents that cannot be read are noted in
    ``reader.unread``.

    Args:
        document: a catalogue, a collection, an item, a collection of features, or an array of these or of their URLs;
            JSON.
        collections: ids; empty for all.

    Raises:
        PermanentError: if the document is none of these.
        TransientError: if a host stops responding.
    """
    if isinstance(document, list) and document:
        yield from _listed(document, address, frozenset(collections), reader)
        return
    if not _is_stac(document):
        raise PermanentError(f"{display_url(address)} is not a STAC catalogue, collection, item or list of items")
    yield from _walk(document, address, frozenset(collections), reader, {address}, None)


def _listed(document: list[Any], address: str, wanted: frozenset[str], reader: DocumentReader) -> Iterator[Found]:
    """Yield the items of an array, of nested arrays, and of the documents that its URLs lead to."""
    seen = {address}
    for part in document:
        if isinstance(part, list):
            yield from _listed(part, address, wanted, reader)
            continue
        place, linked_document = address, part
        if isinstance(part, str):
            try:
                place = joined(address, part)
            except ValueError:
                reader.unread.append(UnreadDocument(display_url(address), f"not a URL: {part.partition('?')[0]:.80}"))
                continue
            if place in seen:
                continue
            seen.add(place)
            linked_document = _read(place, address, reader)
            if linked_document is None:
                continue
        if _is_stac(linked_document):
            yield from _walk(linked_document, place, wanted, reader, seen, None)
        else:
            yield linked_document, place  # the search reports malformed items


def joined(home: str | None, href: str) -> str:
    """Return the absolute URL of a reference.

    Args:
        home: URL of the document with the reference; None if it has none.

    Raises:
        ValueError: if the reference is malformed.
    """
    if home is None or urlsplit(href).scheme:
        return href
    parts = urlsplit(home)
    if parts.scheme in ("", "file"):
        there = local_path(home)
        assert there is not None
        try:
            plain = (there.parent / href).resolve()
            # References are URLs, but file names may contain any character.
            return str(plain if plain.exists() else (there.parent / unquote(href)).resolve())
        except OSError as error:  # a name that is too long, or a loop of links
            raise ValueError(error.strerror) from None
    # urljoin does not know s3://, and the signature of one URL is not valid for others.
    strip_signature = urlunsplit(("http", parts.netloc, parts.path, "", ""))
    return parts.scheme + urljoin(strip_signature, href)[len("http") :]


def _features(document: Mapping[str, Any], address: str, reader: DocumentReader) -> Iterable[Any]:
    """Return the items of a FeatureCollection, also those of its next pages if it is a page of an API."""
    listed = document.get("features")
    if is_web(address) and isinstance(listed, list):
        return item_pages(address, reader, parameters={}, first=document)
    if next_of(document) is not None:
        message = "a page of an API: its next page is not read"
        reader.unread.append(UnreadDocument(display_url(address), message))
    return listed if isinstance(listed, list) else ()


def _walk(
    document: Mapping[str, Any],
    address: str,
    wanted: frozenset[str],
    reader: DocumentReader,
    seen: set[str],
    collection: str | None,
    depth: int = 0,
) -> Iterator[Found]:
    if depth > _MOST_DEPTH:
        message = f"more than {_MOST_DEPTH} catalogues within each other: it is not read"
        reader.unread.append(UnreadDocument(display_url(address), message))
        return
    if document.get("type") in ("Feature", "FeatureCollection"):
        is_item = document["type"] == "Feature"
        for item in [document] if is_item else _features(document, address, reader):
            yield _with_collection(item, collection), address
        return
    if _is_collection(document):
        collection = str(document.get("id"))
        if wanted and collection not in wanted:
            return
    links = list(_links(document, address, reader))
    places = [place for rel, place in links if rel == "item"]
    new = [place for place in dict.fromkeys(places) if place not in seen]
    seen.update(new)
    for place, item in _told_apart(new, address, reader):
        yield from _walk(item, place, wanted, reader, seen, collection, depth + 1)
    for rel, place in links:
        if rel == "items" and not places and is_web(place):  # a collection of an API
            yield from ((_with_collection(item, collection), place) for item in item_pages(place, reader))
        if rel != "child" or place in seen:
            continue
        seen.add(place)
        child = _read(place, address, reader)
        if child is not None:
            yield from _walk(child, place, wanted, reader, seen, collection, depth + 1)


def _told_apart(places: Sequence[str], home: str, reader: DocumentReader) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the documents at some URLs; read two again that are one item: one may be the response to another request.

    An item that both URLs still have is noted: another one may be lost.
    """
    places_of: dict[tuple[Any, Any], str] = {}
    for place, document in parallel_map(lambda place: (place, _read(place, home, reader)), places, _AT_ONCE):
        if document is None:
            continue
        yield place, document
        key = _item_key(document, place)
        first = places_of.setdefault(key, place)
        if first == place:
            continue
        repeated = [(url, again) for url in (first, place) if (again := _read(url, home, reader)) is not None]
        others = [(url, again) for url, again in repeated if _item_key(again, url) != key]
        yield from others
        if repeated and not others:
            message = f"it has the same item as {display_url(first)}: {document['id']!s:.80}"
            reader.unread.append(UnreadDocument(display_url(place), message))


def _item_key(document: Mapping[str, Any], place: str) -> tuple[Any, Any]:
    """Return what tells an item from others: collection and id; of other documents, their URL."""
    is_item = document.get("type") == "Feature" and isinstance(document.get("id"), (str, int))
    return (str(document.get("collection")), document["id"]) if is_item else (None, place)


def _links(document: Mapping[str, Any], address: str, reader: DocumentReader) -> Iterator[tuple[str, str]]:
    """Yield relation and URL of each link that leads down from a document."""
    listed = document.get("links")
    for link in listed if isinstance(listed, list) else ():
        if isinstance(link, dict) and link.get("rel") in ("item", "items", "child") and link.get("href"):
            try:
                yield link["rel"], joined(address, str(link["href"]))
            except ValueError:
                reader.unread.append(
                    UnreadDocument(display_url(address), f"a malformed link: {str(link['href']).partition('?')[0]:.80}")
                )


def _read(place: str, home: str, reader: DocumentReader) -> dict[str, Any] | None:
    """Read a linked document; note it and return None if it cannot be read."""
    if not may_link(home, place):
        message = (
            "a remote catalogue must link to the web or object stores only: not to local files, or by other protocols"
        )
        reader.unread.append(UnreadDocument(display_url(place), message))
        return None
    try:
        document = reader.read(place)
    except PermanentError as error:
        reader.unread.append(UnreadDocument(display_url(place), str(error)))
        return None
    if _is_stac(document):
        return document  # type: ignore[no-any-return]
    reader.unread.append(UnreadDocument(display_url(place), "not a STAC catalogue, collection or item"))
    return None


def _is_stac(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    if document.get("type") in ("Feature", "FeatureCollection", "Catalog", "Collection"):
        return True
    return "stac_version" in document and isinstance(document.get("links"), list)  # before STAC 1.0


def _is_collection(document: Mapping[str, Any]) -> bool:
    return document.get("type") == "Collection" or ("extent" in document and "license" in document)


def _with_collection(item: Any, collection: str | None) -> Any:
    """Return an item with the id of its collection, if it has one; anything else as it is."""
    return {**item, "collection": item.get("collection") or collection} if isinstance(item, Mapping) else item
