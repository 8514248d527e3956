"""Static catalogues: documents that lead from one to the other, down to items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from eechips.downloads.document_reader import DocumentReader, UnreadDocument, is_web
from eechips.downloads.stac_api import next_of, pages_from, pages_of_items
from eechips.errors import PermanentError
from eechips.objects.concurrency import parallel_map
from eechips.urls import display_url, local_path

_AT_ONCE = 8  # items that are asked for

Found = tuple[dict[str, Any], str]
"""An item, and the address that its own addresses are relative to."""


def static_items(document: Any, address: str, collections: Sequence[str], reader: DocumentReader) -> Iterator[Found]:
    """All items that a document leads to, depth first, in its order; each document is read once.

    Collections that were not asked for are not entered. What a document names and what cannot be read is noted in
    ``reader.unread``, and the rest goes on.

    Args:
        document: a catalogue, a collection, an item, a collection of features, or an array of these or of their
            addresses; JSON.
        address: of it.
        collections: ids; empty for all.
        reader: of further documents.

    Raises:
        PermanentError: if the document is none of these.
        TransientError: if a host does not answer any more.
    """
    if isinstance(document, list) and document:
        yield from _listed(document, address, frozenset(collections), reader)
        return
    if not _is_stac(document):
        raise PermanentError(f"{display_url(address)} is no catalogue, collection, item or list of items of STAC")
    yield from _walk(document, address, frozenset(collections), reader, {address}, None)


def _listed(document: list[Any], address: str, wanted: frozenset[str], reader: DocumentReader) -> Iterator[Found]:
    """The items of an array, of arrays in it, or that addresses in it lead to."""
    seen = {address}
    for part in document:
        if isinstance(part, list):
            yield from _listed(part, address, wanted, reader)
            continue
        place, found = address, part
        if isinstance(part, str):
            try:
                place = joined(address, part)
            except ValueError:
                reader.unread.append(
                    UnreadDocument(display_url(address), f"an address that is none: {part.partition('?')[0]:.80}")
                )
                continue
            if place in seen:
                continue
            seen.add(place)
            found = _read(place, address, reader)
            if found is None:
                continue
        if _is_stac(found):
            yield from _walk(found, place, wanted, reader, seen, None)
        else:
            yield found, place  # whoever looks at items says what is wrong


def joined(home: str | None, href: str) -> str:
    """The address that a reference is, absolute.

    Args:
        home: address of the document that it stands in; None if that is nowhere.
        href: the reference.

    Raises:
        ValueError: if it is none.
    """
    if home is None or urlsplit(href).scheme:
        return href
    parts = urlsplit(home)
    if parts.scheme in ("", "file"):
        there = local_path(home)
        assert there is not None
        try:
            plain = (there.parent / href).resolve()
            # References are URLs, names of files need not be.
            return str(plain if plain.exists() else (there.parent / unquote(href)).resolve())
        except OSError as error:  # a name that is too long, or leads in a circle
            raise ValueError(error.strerror) from None
    # urljoin knows no s3, and a signature of the home is none of its neighbours'.
    strip_signature = urlunsplit(("http", parts.netloc, parts.path, "", ""))
    return parts.scheme + urljoin(strip_signature, href)[len("http") :]


def _walk(
    document: Mapping[str, Any],
    address: str,
    wanted: frozenset[str],
    reader: DocumentReader,
    seen: set[str],
    collection: str | None,
) -> Iterator[Found]:
    if document.get("type") == "Feature":
        yield _with_collection(document, collection), address
        return
    if document.get("type") == "FeatureCollection":
        listed = document.get("features")
        features: Iterable[Any] = listed if isinstance(listed, list) else ()
        if is_web(address) and isinstance(listed, list):  # what an API answers is a page
            features = pages_from(document, address, reader)
        elif next_of(document) is not None:
            message = "it is a page of an API's answer: the next one, which it names, is not asked for"
            reader.unread.append(UnreadDocument(display_url(address), message))
        for item in features:
            yield (_with_collection(item, collection) if isinstance(item, dict) else item), address
        return
    if _is_collection(document):
        collection = str(document.get("id"))
        if wanted and collection not in wanted:
            return
    links = list(_links(document, address, reader))
    places = [place for rel, place in links if rel == "item"]
    new = [place for place in dict.fromkeys(places) if place not in seen]
    seen.update(new)
    for place, item in parallel_map(lambda place: (place, _read(place, address, reader)), new, _AT_ONCE):
        if item is not None:
            yield from _walk(item, place, wanted, reader, seen, collection)
    for rel, place in links:
        if rel == "items" and not places and is_web(place):  # of an API that serves this collection
            for item in pages_of_items(place, reader):
                yield (_with_collection(item, collection) if isinstance(item, dict) else item), place
        if rel != "child" or place in seen:
            continue
        seen.add(place)
        child = _read(place, address, reader)
        if child is not None:
            yield from _walk(child, place, wanted, reader, seen, collection)


def _links(document: Mapping[str, Any], address: str, reader: DocumentReader) -> Iterator[tuple[str, str]]:
    """Relation and address of what a document leads down to."""
    listed = document.get("links")
    for link in listed if isinstance(listed, list) else ():
        if isinstance(link, dict) and link.get("rel") in ("item", "items", "child") and link.get("href"):
            try:
                yield link["rel"], joined(address, str(link["href"]))
            except ValueError:
                reader.unread.append(
                    UnreadDocument(
                        display_url(address), f"a link that is no address: {str(link['href']).partition('?')[0]:.80}"
                    )
                )


def _read(place: str, home: str, reader: DocumentReader) -> dict[str, Any] | None:
    """A document that another leads to; None, noted, if it cannot be read."""
    if is_web(home) and local_path(place) is not None:
        reader.unread.append(
            UnreadDocument(display_url(place), "a catalogue of the web leads to no files of this machine")
        )
        return None
    try:
        found = reader.read(place)
    except PermanentError as error:
        reader.unread.append(UnreadDocument(display_url(place), str(error)))
        return None
    if _is_stac(found):
        return found  # type: ignore[no-any-return]
    reader.unread.append(UnreadDocument(display_url(place), "it is no catalogue, collection or item of STAC"))
    return None


def _is_stac(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    if document.get("type") in ("Feature", "FeatureCollection", "Catalog", "Collection"):
        return True
    return "stac_version" in document and isinstance(document.get("links"), list)  # before STAC 1.0


def _is_collection(document: Mapping[str, Any]) -> bool:
    return document.get("type") == "Collection" or ("extent" in document and "license" in document)


def _with_collection(item: Mapping[str, Any], collection: str | None) -> dict[str, Any]:
    """An item that says which collection it is of, if it is of one."""
    return {**item, "collection": item.get("collection") or collection}
