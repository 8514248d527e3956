"""Keep the results of searches on disk, bounded, in a database that threads and processes share."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips_local.archives.archive_model import Item, ItemQuery
from eechips_local.archives.items.item_conditions import decode_query, encode_query, holds

_SEARCHES = 2_000
_WAIT = 30.0  # seconds for another process that writes
_LEVEL = 1  # of zlib: 60 kB of an item become 5
_SCHEMA = """
CREATE TABLE IF NOT EXISTS searches (
    number INTEGER PRIMARY KEY, collection TEXT NOT NULL, query TEXT NOT NULL, is_whole INTEGER NOT NULL,
    made REAL NOT NULL, used REAL NOT NULL, size INTEGER NOT NULL, UNIQUE (collection, query));
CREATE TABLE IF NOT EXISTS pages (
    search INTEGER NOT NULL REFERENCES searches ON DELETE CASCADE, number INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (search, number));
"""


@dataclass(frozen=True, slots=True)
class KeptSearch:
    """A search whose results are kept.

    Attributes:
        number: in the database.
        made: when the archive answered, in seconds since 1970.
    """

    number: int
    made: float


def pack_items(items: Sequence[Item]) -> bytes:
    """Return items as a page is kept."""
    return zlib.compress(json.dumps(list(items), separators=(",", ":")).encode(), _LEVEL)


def unpack_items(content: bytes) -> list[Item]:
    """Return the items of a page that was kept."""
    items: list[Item] = json.loads(zlib.decompress(content))
    return items


def _is_intact(content: bytes) -> bool:
    """Return whether the checksum of a page is that of its bytes."""
    try:
        zlib.decompress(content)
    except zlib.error:
        return False
    return True


class KeptSearches:
    """Results of searches. Threads and processes share it.

    Args:
        path: path of the database; None to keep it in memory.
        largest: bytes of all results, beyond which the ones that were not used for longest are forgotten.
        now: seconds since 1970.

    Raises:
        sqlite3.Error: if the database cannot be used.
    """

    def __init__(self, path: Path | None, largest: int = 256 << 20, now: Callable[[], float] = time.time) -> None:
        self._path, self._largest, self._now = path, largest, now
        self._lock = threading.Lock()
        self._process = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._open():
            pass

    def find(self, collection: str, query: ItemQuery) -> KeptSearch | None:
        """Return the latest search that has the results of another: the same, or a wider one that was read whole."""
        text = encode_query(query)
        with self._open() as database:
            rows = database.execute(
                # One from the future was made before the clock was set back: it comes last.
                "SELECT number, query, is_whole, made FROM searches WHERE collection = ? ORDER BY made > ?, made DESC",
                (collection, self._now()),
            ).fetchall()
            for number, kept, is_whole, search_time in rows:
                if kept == text or (is_whole and holds(decode_query(kept), query)):
                    database.execute("UPDATE searches SET used = ? WHERE number = ?", (self._now(), number))
                    return KeptSearch(number, search_time)
        return None

    def is_empty(self) -> bool:
        """Return whether no search is kept."""
        with self._open() as database:
            return database.execute("SELECT 1 FROM searches LIMIT 1").fetchone() is None

    def read(self, search: KeptSearch) -> list[bytes] | None:
        """Return all pages of a search; None if it was forgotten meanwhile, or is damaged."""
        with self._open() as database:
            # SQLite gives numbers of forgotten searches to others.
            values = search.number, search.made
            size = database.execute("SELECT size FROM searches WHERE number = ? AND made = ?", values).fetchone()
            rows = database.execute("SELECT content FROM pages WHERE search = ? ORDER BY number", (search.number,))
            pages = [row[0] for row in rows]
        is_whole = size is not None and sum(map(len, pages)) == size[0] and all(map(_is_intact, pages))
        return pages if is_whole else None

    def add(self, collection: str, query: ItemQuery, pages: Sequence[bytes], *, is_whole: bool) -> None:
        """Keep the results of a search in place of older ones.

        Args:
            collection: collection that was searched.
            pages: pages of :func:`pack_items`.
            is_whole: whether these are all results.
        """
        text, now, size = encode_query(query), self._now(), sum(map(len, pages))
        if size > self._largest:
            return
        with self._open() as database:
            database.execute("DELETE FROM searches WHERE collection = ? AND query = ?", (collection, text))
            row = database.execute(
                "INSERT INTO searches (collection, query, is_whole, made, used, size) VALUES (?, ?, ?, ?, ?, ?)",
                (collection, text, int(is_whole), now, now, size),
            )
            number = row.lastrowid
            database.executemany(
                "INSERT INTO pages (search, number, content) VALUES (?, ?, ?)",
                [(number, position, page) for position, page in enumerate(pages)],
            )
            self._forget(database)

    def size(self) -> int:
        """Return the bytes of all results."""
        with self._open() as database:
            return int(database.execute("SELECT COALESCE(SUM(size), 0) FROM searches").fetchone()[0])

    def _forget(self, database: sqlite3.Connection) -> None:
        total, kept = 0, 0
        for number, size in database.execute(
            "SELECT number, size FROM searches ORDER BY used DESC, number DESC"
        ).fetchall():
            total, kept = total + size, kept + 1
            if total > self._largest or kept > _SEARCHES:
                database.execute("DELETE FROM searches WHERE number = ?", (number,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Hold the database for a transaction. A process that was forked opens one of its own."""
        with self._lock:
            if self._process != os.getpid():
                self._database = self._connect()
                self._process = os.getpid()
                # Python 3.13 warns about a database that is not closed.
                weakref.finalize(self, self._database.close).atexit = False
            with self._database:
                yield self._database

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path or ":memory:", timeout=_WAIT, check_same_thread=False)
        try:
            connection.execute("PRAGMA auto_vacuum = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs to open the same database."""
        return {"path": self._path, "largest": self._largest, "now": self._now}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the database again."""
        self.__init__(state["path"], state["largest"], state["now"])  # type: ignore[misc]

    def close(self) -> None:
        """Close the database of this process."""
        with self._lock, closing(self._database):
            self._process = 0
