"""Cache responses for three days while a plan is made, so that an interrupted plan resumes without repeating requests.

Responses have an age. Lists of images grow, and tokens of pages expire: "a good rule of thumb" is three days after they
were sent (https://google.aip.dev/158). Then a plan asks again; if the first units of the plan are others now, the
planner says so.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

from eechips.storage.databases import database_error

LONGEST_AGE = 3 * 86400.0
"""Seconds after which a response is not used any more."""


class ResponseCache:
    """Cache of the responses to computations, in a SQLite file. Threads may share it.

    A response that cannot be read is unknown.

    Args:
        path: path of the file, which is created if it does not exist.
        clock: seconds since 1970.
        source: source of the data: responses of another one are unknown. A local Earth Engine has another address in
            each run.

    Attributes:
        is_closed: whether it was closed: the plan is complete, or its run has stopped.

    Raises:
        StorageError: if it cannot be opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, source: str = "") -> None:
        self._path, self._clock = path, clock
        self._source = hashlib.sha256(source.encode()).digest()
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise database_error(path, error) from error
        try:
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS responses"
                " (request BLOB PRIMARY KEY, body BLOB, received REAL) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            self._db.close()
            advice = "; remove it, if no run uses it: planning then sends its requests again"
            raise database_error(path, error, advice) from error
        self.is_closed = False

    @property
    def is_empty(self) -> bool:
        """Whether no response can be found: none of the source was stored, or all are too old."""
        with self._lock:
            try:
                query = "SELECT 1 FROM responses WHERE substr(request, 1, 32) = ? AND abs(? - received) <= ? LIMIT 1"
                return self._db.execute(query, (self._source, self._clock(), LONGEST_AGE)).fetchone() is None
            except sqlite3.Error:
                return True

    def find(self, request: str) -> bytes | None:
        """Return the response to a request, by its path and body; None if it is unknown or too old."""
        with self._lock:
            if self.is_closed:
                return None
            try:
                query = "SELECT body, received FROM responses WHERE request = ?"
                row = self._db.execute(query, (self._key(request),)).fetchone()
                if row is None or abs(self._clock() - row[1]) > LONGEST_AGE:  # the clock may have been wrong
                    return None
                return zlib.decompress(row[0])
            except (sqlite3.Error, zlib.error, TypeError):
                return None

    def keep(self, request: str, body: bytes) -> None:
        """Store the response to a request."""
        with self._lock:
            if self.is_closed:
                return
            try:
                row = (self._key(request), zlib.compress(body), self._clock())
                self._db.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?)", row)
            except sqlite3.OperationalError as error:
                raise database_error(self._path, error) from error
            except sqlite3.DatabaseError:  # it is damaged: the plan does without
                return

    def close(self) -> None:
        """Close the file; later look-ups find nothing."""
        with self._lock:
            if not self.is_closed:
                self.is_closed = True
                self._db.close()

    def _key(self, request: str) -> bytes:
        return self._source + hashlib.sha256(request.encode()).digest()


RESPONSE_CACHE: ContextVar[ResponseCache | None] = ContextVar("response_cache", default=None)
"""Of the plan that is being made in this context."""
