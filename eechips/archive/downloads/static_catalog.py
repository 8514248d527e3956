"""Read static catalogues: documents that link to each other, down to items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from eechips.archive.downloads.document_reader import DocumentReader, is_web, may_link
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
    walk = _Walk(reader, frozenset(collections), {address})
    if isinstance(document, list) and document:
        yield from walk.listed(document, address)
        return
    if not _is_stac(document):
        raise PermanentError(f"{display_url(address)} is not a STAC catalogue, collection, item or list of items")
    yield from walk.below(document, address)


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk through the documents of a catalogue.

    Attributes:
        wanted: ids of collections; empty for all.
        seen: addresses of the documents that were read.
    """

    reader: DocumentReader
    wanted: frozenset[str]
    seen: set[str]

    def listed(self, document: list[Any], address: str) -> Iterator[Found]:
        """Yield the items of an array, of nested arrays, and of the documents that its URLs lead to."""
        for part in document:
            if isinstance(part, list):
                yield from _Walk(self.reader, self.wanted, {address}).listed(part, address)
                continue
            place, linked_document = address, part
            if isinstance(part, str):
                try:
                    place = joined(address, part)
                except ValueError:
                    self.reader.note_unread(address, f"not a URL: {part.partition('?')[0]:.80}")
                    continue
                if place in self.seen:
                    continue
                self.seen.add(place)
                linked_document = self._read(place, address)
                if linked_document is None:
                    continue
            if _is_stac(linked_document):
                yield from self.below(linked_document, place)
            else:
                yield linked_document, place  # the search reports malformed items

    def below(
        self, document: Mapping[str, Any], address: str, collection: str | None = None, depth: int = 0
    ) -> Iterator[Found]:
        """Yield the items of a document and below it; of a collection if they do not name theirs."""
        if depth > _MOST_DEPTH:
            self.reader.note_unread(address, f"more than {_MOST_DEPTH} catalogues within each other: it is not read")
            return
        if document.get("type") in ("Feature", "FeatureCollection"):
            is_item = document["type"] == "Feature"
            for item in [document] if is_item else self._features(document, address):
                yield _with_collection(item, collection), address
            return
        if _is_collection(document):
            collection = str(document.get("id"))
            if self.wanted and collection not in self.wanted:
                return
        links = list(self._links(document, address))
        places = [place for rel, place in links if rel == "item"]
        new = [place for place in dict.fromkeys(places) if place not in self.seen]
        self.seen.update(new)
        for place, item in self._told_apart(new, address):
            yield from self.below(item, place, collection, depth + 1)
        for rel, place in links:
            if rel == "items" and not places and is_web(place):  # a collection of an API
                yield from ((_with_collection(item, collection), place) for item in item_pages(place, self.reader))
            if rel != "child" or place in self.seen:
                continue
            self.seen.add(place)
            child = self._read(place, address)
            if child is not None:
                yield from self.below(child, place, collection, depth + 1)

    def _told_apart(self, places: Sequence[str], home: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the documents at some URLs; read two again that are one item: one may be of another request.

        An item that both URLs still have is noted: another one may be lost.
        """
        places_of: dict[tuple[Any, Any], str] = {}
        for place, document in parallel_map(lambda place: (place, self._read(place, home)), places, _AT_ONCE):
            if document is None:
                continue
            yield place, document
            key = _item_key(document, place)
            first = places_of.setdefault(key, place)
            if first == place:
                continue
            repeated = [(url, again) for url in (first, place) if (again := self._read(url, home)) is not None]
            others = [(url, again) for url, again in repeated if _item_key(again, url) != key]
            yield from others
            if repeated and not others:
                self.reader.note_unread(place, f"it has the same item as {display_url(first)}: {document['id']!s:.80}")

    def _features(self, document: Mapping[str, Any], address: str) -> Iterable[Any]:
        """Return the items of a FeatureCollection, also those of its next pages if it is a page of an API."""
        listed = document.get("features")
        if is_web(address) and isinstance(listed, list):
            return item_pages(address, self.reader, parameters={}, first=document)
        if next_of(document) is not None:
            self.reader.note_unread(address, "a page of an API: its next page is not read")
        return listed if isinstance(listed, list) else ()

    def _links(self, document: Mapping[str, Any], address: str) -> Iterator[tuple[str, str]]:
        """Yield relation and URL of each link that leads down from a document."""
        listed = document.get("links")
        for link in listed if isinstance(listed, list) else ():
            if isinstance(link, dict) and link.get("rel") in ("item", "items", "child") and link.get("href"):
                try:
                    yield link["rel"], joined(address, str(link["href"]))
                except ValueError:
                    malformed = str(link["href"]).partition("?")[0]
                    self.reader.note_unread(address, f"a malformed link: {malformed:.80}")

    def _read(self, place: str, home: str) -> dict[str, Any] | None:
        """Read a linked document; note it and return None if it cannot be read."""
        if not may_link(home, place):
            where = "a remote catalogue must link to the web or object stores only"
            self.reader.note_unread(place, f"{where}: not to local files, or by other protocols")
            return None
        try:
            document = self.reader.read(place)
        except PermanentError as error:
            self.reader.note_unread(place, error)
            return None
        if _is_stac(document):
            return document  # type: ignore[no-any-return]
        self.reader.note_unread(place, "not a STAC catalogue, collection or item")
        return None


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


def _item_key(document: Mapping[str, Any], place: str) -> tuple[Any, Any]:
    """Return what tells an item from others: collection and id; of other documents, their URL."""
    is_item = document.get("type") == "Feature" and isinstance(document.get("id"), (str, int))
    return (str(document.get("collection")), document["id"]) if is_item else (None, place)


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
