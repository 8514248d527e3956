"""Search the items of an open archive, or use a kept answer: for an hour, or a week; refuse searches of more than
100,000 items.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from eechips_local.archives.archive_clock import CLOCK, Clock
from eechips_local.archives.archive_errors import (
    ArchiveAwayError,
    ArchiveError,
    ArchiveRefusedError,
    UntrustedHostError,
    unreached,
)
from eechips_local.archives.archive_model import ArchiveDescription, Item, ItemQuery, ItemSearch
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.archive_session import ArchiveSession
from eechips_local.archives.hosts.first_responses import FirstResponses
from eechips_local.archives.hosts.host_throttle import HostCounts, HostThrottles
from eechips_local.archives.items.file_items import open_file
from eechips_local.archives.items.file_table import KeptTable
from eechips_local.archives.items.item_conditions import encode_query, is_match, widen
from eechips_local.archives.items.item_search_cache import KeptSearch, KeptSearches, pack_items, unpack_items
from eechips_local.archives.items.stac_item_search import StacItemSearch
from eechips_local.assets.store_files import locked

_LOG = logging.getLogger("eechips_local.archives")
_ITEMS = 100_000  # of one search
_BYTES = 128 << 20  # of one search's pages, compressed
_IDLE_PAGES = 50  # one after the other, without a new item
_HOUR, _DAY = 3600.0, 86_400.0
_SETTLED = 60 * _DAY  # seconds after which archives rarely add items
_IMPATIENCE = 5.0  # seconds for an archive's answer where an older one is kept, or that has never answered
_FIRST_PATIENCE = 8.0  # seconds for the first answer since a server was started
_TURNS = 16  # folders whose locks let one process at a time ask the same
_COLLECTIONS = "/collections"  # name under which the list is kept; no collection has a slash at its beginning


class _Source(Protocol):
    """What items come from."""

    def pages(self, collection: str, query: ItemQuery, patience: float | None = None) -> Iterator[Sequence[Item]]: ...

    def collections(self, patience: float | None = None) -> dict[str, Mapping[str, Any]]: ...


def open_search(
    description: ArchiveDescription, cache_folder: Path | None, since: float | None = None, clock: Clock = CLOCK
) -> ItemSearch:
    """Return the search of an archive, without a request.

    Args:
        cache_folder: where results are kept between runs; None to keep them in memory only.
        since: see ``FirstResponses``.

    Raises:
        ArchiveRefusedError: if the description names no archive that can be searched.
    """
    if description.file:
        return open_file(description)
    if description.index:
        if cache_folder is None:
            raise ArchiveRefusedError(f"There is no folder to keep the table of {description.title} in.")
        return KeptTable(description, cache_folder, clock)
    return ApiSearch(description, cache_folder, since=since, clock=clock)


class ApiSearch:
    """The search of a STAC API, whose results are kept. Threads share it; it pickles.

    Args:
        cache_folder: where results are kept; None to keep them in memory only.
        patience: seconds for which an archive that does not answer is asked.
        since: see ``FirstResponses``.
    """

    def __init__(
        self,
        description: ArchiveDescription,
        cache_folder: Path | None,
        patience: float = 90.0,
        since: float | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        hosts = AllowedHosts.of_url(description.api)
        hosts.check(description.api)
        self._name, self._now, self._patience = description.name, clock.time, patience
        self._impatience, self._first_patience = min(_IMPATIENCE, patience), min(_FIRST_PATIENCE, patience)
        self._session = ArchiveSession(hosts, HostThrottles(clock=clock), patience)
        self._source: _Source = StacItemSearch(description, self._session)
        self._folder = None if cache_folder is None else cache_folder / _folder_name(description)
        self._kept = _open_kept(self._folder, clock.time)
        self._responses = FirstResponses(None if self._folder is None else self._folder / "answered", since)
        self._arguments = (description, cache_folder, patience, self._responses.since, clock)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what opens it in another process."""
        return ApiSearch, self._arguments

    def items(self, collection: str, query: ItemQuery) -> Iterator[Item]:
        """Yield the items of a collection that may match, each once.

        Raises:
            ArchiveError: if the archive does not answer, or not with items, and no answer is kept.
            ArchiveUnreachedError: if it is not reached, and was not since the server was started.
            ArchiveRefusedError: if it refuses the search, or there are too many items.
        """
        seen: set[str] = set()
        for page in self._find_pages(collection, widen(query)):
            for item in unpack_items(page):
                if item["id"] not in seen and is_match(item, query):
                    seen.add(item["id"])
                    yield item

    def collections(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the archive's collections by their ids.

        Raises:
            ArchiveError: if the archive does not answer, or not with collections, and no answer is kept.
        """
        pages = self._find_pages(_COLLECTIONS, ItemQuery())
        return {collection["id"]: collection for page in pages for collection in unpack_items(page)}

    def counts(self) -> dict[str, HostCounts]:
        """Return what this process has sent to each host."""
        return self._session.throttles.counts()

    def _find_pages(self, collection: str, query: ItemQuery) -> list[bytes]:
        """Return the pages of a search: kept ones, if they are new enough or the archive does not answer."""
        kept = self._find_kept(collection, query)
        if kept is not None and self._is_fresh(kept, query) and (pages := self._read(kept)) is not None:
            return pages
        with self._turn(collection, query):
            kept = self._find_kept(collection, query)  # another may have asked meanwhile
            if kept is not None and self._is_fresh(kept, query) and (pages := self._read(kept)) is not None:
                return pages
            patience = self._impatience
            if kept is None and not self._is_empty():
                patience = self._patience if self._responses else self._first_patience
            try:
                answer, is_whole = self._ask(collection, query, patience)
            except (ArchiveError, UntrustedHostError) as error:
                if kept is None or (pages := self._read(kept)) is None:
                    if isinstance(error, ArchiveAwayError) and not self._responses:
                        raise unreached(error) from error
                    raise
                _LOG.warning(
                    "%s does not answer (%s): the search of %s has the answer of %s ago",
                    self._name, error, collection.strip("/"), format_age(self._now() - kept.made),
                )  # fmt: skip
                return pages
            self._responses.note()
            if not answer:  # an archive that is being filled may have collections a minute later
                return answer
            try:
                self._kept.add(collection, query, answer, is_whole=is_whole)
            except sqlite3.Error as error:  # a full disk, or another process that writes for long
                _LOG.warning("The search of %s is not kept: %s", collection.strip("/"), error)
            return answer

    def _find_kept(self, collection: str, query: ItemQuery) -> KeptSearch | None:
        try:
            return self._kept.find(collection, query)
        except sqlite3.Error as error:
            _LOG.warning("Kept searches cannot be read: %s", error)
            return None

    def _read(self, kept: KeptSearch) -> list[bytes] | None:
        """Return the pages of a kept search; None if they cannot be read."""
        try:
            return self._kept.read(kept)
        except sqlite3.Error as error:
            _LOG.warning("Kept searches cannot be read: %s", error)
            return None

    def _is_empty(self) -> bool:
        try:
            return self._kept.is_empty()
        except sqlite3.Error:
            return False

    def _is_fresh(self, kept: KeptSearch, query: ItemQuery) -> bool:
        """Return whether a kept answer needs no other: for a week, if all items are older than 60 days, or an hour."""
        is_settled = query.end is not None and query.end / 1000.0 < kept.made - _SETTLED
        age = self._now() - kept.made
        is_fresh = 0 <= age < (7 * _DAY if is_settled else _HOUR)
        if is_fresh:
            _LOG.debug("%s: a search has the answer of %s ago", self._name, format_age(age))
        return is_fresh

    def _ask(self, collection: str, query: ItemQuery, patience: float | None) -> tuple[list[bytes], bool]:
        """Return the pages of the archive's answer, and whether they are all."""
        if collection == _COLLECTIONS:
            collections = list(self._source.collections(patience).values())
            return [pack_items(collections)] if collections else [], True
        seen: set[str] = set()
        pages: list[bytes] = []
        size = matched = idle = 0
        for page in self._source.pages(collection, query, patience):
            fresh = [item for item in page if item["id"] not in seen and item.get("collection") in (None, collection)]
            idle = 0 if fresh else idle + 1
            if idle > _IDLE_PAGES:
                raise ArchiveRefusedError(
                    f"{self._name} leads from page to page of a search of {collection}, of which the last {idle} had"
                    " no new item."
                )
            seen.update(item["id"] for item in fresh)
            pages.append(pack_items(fresh))
            size += len(pages[-1])
            matched += sum(is_match(item, query) for item in fresh)
            if query.limit is not None and matched >= query.limit:
                return pages, False
            if len(seen) > _ITEMS or size > _BYTES:
                raise ArchiveRefusedError(
                    f"A search of {collection} gives more than {len(seen):,} items: narrow its dates or its region."
                )
        return pages, True

    @contextmanager
    def _turn(self, collection: str, query: ItemQuery) -> Iterator[None]:
        """Wait until no other thread or process asks the same."""
        with nullcontext() if self._folder is None else self._lock(collection, query):
            yield

    @contextmanager
    def _lock(self, collection: str, query: ItemQuery) -> Iterator[None]:
        assert self._folder is not None
        digest = hashlib.sha256(f"{collection} {encode_query(query)}".encode()).digest()
        folder = self._folder / f"turn-{digest[0] % _TURNS}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = locked(folder)
        except OSError:  # a folder that cannot be written to: the archive is asked more often
            yield
            return
        with lock:
            yield


def format_age(seconds: float) -> str:
    """Return an age as people say it ("3 h")."""
    for unit, length in (("days", _DAY), ("h", _HOUR), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _folder_name(description: ArchiveDescription) -> str:
    """Return the name of an archive's folder: descriptions of other addresses have others."""
    digest = hashlib.sha256(description.api.encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9-]', '-', description.name)[:40]}-{digest}"


def _open_kept(folder: Path | None, now: Callable[[], float]) -> KeptSearches:
    path = None if folder is None else folder / "searches.sqlite"
    try:
        return KeptSearches(path, now=now)
    except (sqlite3.Error, OSError) as error:
        _LOG.warning("Searches are not kept: %s cannot be used (%s); remove it if it is damaged", path, error)
        return KeptSearches(None, now=now)
