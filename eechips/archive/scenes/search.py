"""Search scenes in a catalogue or a list, cache the result beside the run, and turn it into units; suggest options to
change when nothing matches.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eechips.archive.catalogs.ingestion.item_lists import FORMATS, MAGIC, ItemList, find_lists
from eechips.archive.catalogs.ingestion.list_readers import ListEntry, chunks
from eechips.archive.catalogs.partitions.commit import SCHEMA_NAME
from eechips.archive.downloads.assets import data_assets, make_unit, select_assets
from eechips.archive.downloads.criteria import Search
from eechips.archive.downloads.document_reader import DocumentReader, UnreadDocument, describe_unread, is_web, may_link
from eechips.archive.downloads.expected_file import ExpectedFile
from eechips.archive.downloads.presigned import AssetKey
from eechips.archive.downloads.search import answered, chosen, items
from eechips.archive.downloads.search_cache import SEARCH_CACHE_NAME, SearchCache, append_missing, record_signed_urls
from eechips.archive.downloads.static_catalog import joined
from eechips.engine.run_log import RunLog
from eechips.errors import ConfigurationError, PermanentError, UsageError
from eechips.files.scratch_folders import temporary_folder
from eechips.processes.parallel_map import parallel_map
from eechips.recipe import Unit
from eechips.storage.untrusted_files import parse_json
from eechips.text.formatting import format_bytes, format_count
from eechips.web.urls import display_url, local_path

_log = logging.getLogger(__name__)

_LINE_SECONDS = 10.0  # between two lines of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSearch:
    """A catalogue and the criteria of its search.

    Attributes:
        start: first day or moment, as the user wrote it; None for no bound.
        end: day or moment after the last, as the user wrote it; None for no bound.
        assets: keys, or names of bands, of the assets; None for those with the role data.
        prefers: selects a URL among the alternatives of an asset.
        identity: identity of the search; cached results of other searches are ignored.
        keep_query: names of query parameters to store; ``*`` for all.
        signed: URLs with a query by asset; grows.
    """

    search: Search
    start: str | None
    end: str | None
    assets: tuple[str, ...] | None
    prefers: Callable[[str], bool]
    identity: str
    keep_query: tuple[str, ...] = ()
    signed: dict[AssetKey, str] = field(default_factory=dict, repr=False)

    def kept(self, folder: Path) -> SearchCache | None:
        """Return the cached search of an earlier command, if the folder of the run has one."""
        answer = SearchCache(folder / SEARCH_CACHE_NAME, self.identity)
        return None if answer.asked is None else answer

    def answer(self, folder: Path, reader: DocumentReader, log: RunLog) -> Iterable[dict[str, Any]]:
        """Return the cached items, or search the catalogue and cache the items, if there are any."""
        kept = self.kept(folder)
        return self.ask(folder, reader, log) if kept is None else kept

    def ask(self, folder: Path, reader: DocumentReader, log: RunLog) -> Iterable[dict[str, Any]]:
        """Search the catalogue and cache the result, with the earlier items that were removed from the catalogue."""
        answer = SearchCache(folder / SEARCH_CACHE_NAME, self.identity, kept=self.keep_query)
        before = answer if answer.asked is not None else ()
        count = answer.keep(
            append_missing(record_signed_urls(self.items(reader), self.signed, self.prefers), before), reader.unread
        )
        log.write("asked", stac=display_url(self.search.stac), items=count, unread=len(reader.unread))
        for document in reader.unread:
            log.write("unread", address=document.address, error=document.reason)
        return answer if count else ()

    def sign_again(self, reader: DocumentReader, log: RunLog) -> str | None:
        """Search for URLs that have expired; return the reason of a failure, or None."""
        _log.info("the URLs of the catalogue have expired: searching again")
        again = replace(reader, unread=[])
        try:
            count = sum(1 for _ in record_signed_urls(self.items(again), self.signed, self.prefers))
        except (ConfigurationError, UsageError) as error:
            log.write("signed", stac=display_url(self.search.stac), error=str(error))
            return str(error)
        log.write("signed", stac=display_url(self.search.stac), items=count)
        return None

    def items(self, reader: DocumentReader) -> Iterator[dict[str, Any]]:
        """Yield the items of the catalogue."""
        folder = local_path(self.search.stac)
        if is_list(self.search.stac):
            return _counted(answered(listed_items(self.search.stac, reader), self.search, reader))
        if folder is None or not (folder / SCHEMA_NAME).is_file():
            return _counted(items(self.search, reader))
        from eechips.archive.catalogs.catalog import open_catalog

        region = self.search.region
        bounds = None if region is None else region.bounds
        catalog = open_catalog(folder)
        catalog_items = catalog.items(bbox=bounds, start=self.start, end=self.end, collections=self.search.collections)
        return _counted(chosen(((item, str(folder / SCHEMA_NAME)) for item in catalog_items), self.search, reader))

    def _unmatched(self) -> str:
        """Say that no item matches, and which options a user can change."""
        names = {"--collection": "collections", "--roi": "region", "--start": "start", "--end": "end"}
        narrowing = [
            option for option, name in (names | {"--where": "conditions"}).items() if getattr(self.search, name)
        ]
        return "has no matching items" + (f": change or leave out {', '.join(narrowing)}" if narrowing else "")

    def units(self, stac_items: Iterable[Mapping[str, Any]], unread: Sequence[UnreadDocument]) -> Iterator[Unit]:
        """Yield a unit for each asset of the items.

        Raises:
            UsageError: if there is no item, or none has the requested assets.
        """
        count = without = unknown = copies = 0
        available: dict[str, None] = {}
        size = 0
        for item in stac_items:
            keys = list(select_assets(item, self.assets))
            available |= dict.fromkeys(item["assets"])
            count += 1
            without += not keys
            copies += len(data_assets(item["assets"])) - len(keys) if self.assets is None else 0
            for key in keys:
                unit = make_unit(item, key, self.prefers, self.keep_query)
                expected = ExpectedFile.from_json(unit["expected"])
                size += expected.size or 0
                unknown += expected.is_checksum_unknown
                yield unit
        lost = describe_unread(unread)
        if count == 0:
            raise UsageError("; ".join(filter(None, (f"{display_url(self.search.stac)} {self._unmatched()}", lost))))
        if without == count:
            raise UsageError(f"no item has the requested assets; available: {', '.join(available) or 'none'}")
        lacking = f"; {without:,} more without the requested assets" if without else ""
        sizes = f", {format_bytes(size)}" if size else ""
        many = format_count(count - without, "item")
        _log.info("%s of %s%s%s", many, display_url(self.search.stac), sizes, lacking)
        if copies:
            text = f"{copies:,} JPEG 2000 left out: GeoTIFFs have the same pixels"
            _log.info("%s; name their assets in --assets to get both", text)
        if unknown:
            message = f"{format_count(unknown, 'checksum')} malformed or of an unsupported algorithm"
            _log.warning("%s: their files are checked by size and content only", message)
        if lost:
            _log.warning("%s", lost)


def _counted(stac_items: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the items, and log their number from time to time."""
    last = time.monotonic()
    for count, item in enumerate(stac_items):
        if time.monotonic() - last >= _LINE_SECONDS:
            last = time.monotonic()
            _log.info("%s items so far", f"{count:,}")
        yield item


_AT_ONCE = 8  # concurrent requests
_DOCUMENTS = ("json", "geojson")
"""Suffixes that lists share with catalogues."""
_HEAD = 1 << 20  # bytes that tell a file of lines from one document


def is_list(address: str) -> bool:
    """Return whether a URL leads to a list, not to a catalogue, collection, item or STAC GeoParquet."""
    known = _known(address)
    if known.format not in FORMATS:
        return False
    path = local_path(address)
    if known.format == "parquet":
        return path is not None and path.is_file() and not _has_items(path)
    if known.format not in _DOCUMENTS or known.compression is not None:
        return True
    return path is not None and path.is_file() and _is_of_lines(path)


def listed_items(address: str, reader: DocumentReader) -> Iterator[tuple[Any, str]]:
    """Yield the items of a list, with the URL that the hrefs of their assets are relative to.

    Items that cannot be read are noted in ``reader.unread``.

    Raises:
        UsageError, ConfigurationError: if there is no such list, or it cannot be read.
        PermanentError, TransientError: if its host rejects the request, or does not respond.
    """
    with _found(address, reader) as lists:
        entries = chain.from_iterable(chunks(lists, None))
        for located_item in parallel_map(lambda entry: _item(entry, address, reader), entries, _AT_ONCE):
            if located_item is not None:
                yield located_item


@contextlib.contextmanager
def _found(address: str, reader: DocumentReader) -> Iterator[list[ItemList]]:
    """Yield the lists of a URL; remote ones are copied, since they may be compressed."""
    if not is_web(address):
        path = local_path(address)
        yield find_lists([address if path is None else str(path)])
        return
    with temporary_folder() as folder:
        content, known = reader.content(address), _known(address)
        # A compressed list with a content encoding arrives decompressed.
        is_compressed = known.compression is not None and content.startswith(MAGIC[known.compression])
        copy = Path(folder) / f"list.{known.format}{f'.{known.compression}' if is_compressed else ''}"
        copy.write_bytes(content)
        yield [ItemList(str(copy), copy.stat().st_size, "", is_foreign=True, label=display_url(address))]


def _item(entry: ListEntry, home: str, reader: DocumentReader) -> tuple[Any, str] | None:
    if entry.item is not None:
        try:
            return parse_json(entry.item), home
        except ValueError as error:
            reader.unread.append(UnreadDocument(entry.place, f"not JSON: {error}"))
            return None
    try:
        place = joined(home, entry.address or "")
        if not may_link(home, place):
            message = (
                "a remote list must name files of the web or object stores only: not local files, or by other protocols"
            )
            reader.unread.append(UnreadDocument(entry.place, message))
            return None
        return reader.read(place), place
    except (PermanentError, ValueError) as error:
        reader.unread.append(UnreadDocument(entry.place, str(error)))
        return None


def _known(address: str) -> ItemList:
    return ItemList(address, None, "")


def _has_items(path: Path) -> bool:
    """Return whether a Parquet file is STAC GeoParquet; the reader explains what else it is."""
    try:
        return "assets" in pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return True


def _is_of_lines(path: Path) -> bool:
    """Return whether each of the first two lines of a file is a JSON object."""
    with path.open("rb") as file:
        lines = [line for line in file.read(_HEAD).splitlines()[:8] if line.strip()][:2]
    try:
        return len(lines) == 2 and all(isinstance(parse_json(line.decode("utf-8-sig")), dict) for line in lines)
    except ValueError:
        return False
