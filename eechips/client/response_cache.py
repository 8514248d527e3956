"""Cache responses while a plan is made, so that an interrupted plan resumes without repeating requests."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import zlib
from contextvars import ContextVar
from pathlib import Path

from eechips.errors import StorageError


class ResponseCache:
    """Cache of the responses to computations, in a SQLite file. Threads may share it.

    Args:
        path: of the file, which is created if it does not exist.

    Raises:
        StorageError: if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS answers (request BLOB PRIMARY KEY, body BLOB) WITHOUT ROWID")
        except sqlite3.Error as error:
            raise StorageError(f"cannot use {path}: {error}") from error
        self._is_closed = False

    def find(self, request: str) -> bytes | None:
        """Return the response to a request, by its URL and body; None if it is unknown."""
        with self._lock:
            if self._is_closed:
                return None
            try:
                row = self._db.execute("SELECT body FROM answers WHERE request = ?", (_key(request),)).fetchone()
                return None if row is None else zlib.decompress(row[0])
            except (sqlite3.Error, zlib.error) as error:
                raise StorageError(f"{self._path} is damaged ({error}): remove it") from error

    def keep(self, request: str, body: bytes) -> None:
        """Store the response to a request."""
        with self._lock:
            if self._is_closed:
                return
            try:
                row = (_key(request), zlib.compress(body))
                self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", row)
            except sqlite3.Error as error:
                raise StorageError(f"could not write {self._path}: {error}") from error

    def close(self) -> None:
        """Close the file; later look-ups find nothing."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._db.close()


RESPONSE_CACHE: ContextVar[ResponseCache | None] = ContextVar("response_cache", default=None)
"""Of the plan that is being made in this context."""


def _key(request: str) -> bytes:
    return hashlib.sha256(request.encode()).digest()
