"""Connect to the SQLite file of a ledger, define its tables and the version of its format, and turn SQLite's errors
(full disk, damage) into errors of eechips.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from eechips.errors import StorageError
from eechips.manifest.manifest_columns import MANIFEST
from eechips.storage import resolve_inside
from eechips.storage.databases import database_error

T = TypeVar("T")

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""Begins a rollback journal, and ends one that names a super-journal: https://www.sqlite.org/fileformat.html#rollbackjournal."""


_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises; UnicodeDecodeError if the message of an error quotes damaged bytes."""


def connect(path: Path, *, readonly: bool) -> Connection:
    """Open the file of a ledger, possibly of another user.

    Raises:
        StorageError: if it cannot be opened.
        UsageError: if it is a link out of its folder, or no regular file.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        resolve_inside(path.with_name(path.name + suffix), path.parent)
    _refuse_super_journal(path)
    mode = "ro" if readonly else "rwc"
    if readonly and _is_at_rest(path):
        mode = "ro&immutable=1"
    elif readonly and has_content(_journal_of(path)):  # of a process that was killed: only a writer can roll it back
        mode = "rw"
    address = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        if not readonly and not path.exists():  # SQLite would make one that a group cannot write, whatever the umask
            path.touch()
    except OSError as error:
        raise StorageError.of_write(path, error) from error
    try:
        connection: Connection = sqlite3.connect(address, uri=True, isolation_level=None, factory=Connection)
    except _ERRORS as error:
        raise _explained(error, path) from error
    connection.path = path
    try:
        connection.execute("PRAGMA trusted_schema = OFF")  # https://www.sqlite.org/security.html
        connection.execute("PRAGMA cell_size_check = ON")
        if mode == "rw":
            connection.execute("PRAGMA query_only = ON")
    except StorageError:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def snapshot(database: Connection) -> Iterator[None]:
    """Have all queries of the block read the same state, whatever another process writes meanwhile."""
    database.execute("BEGIN")
    try:
        yield
    finally:
        database.execute("COMMIT")


def _is_at_rest(path: Path) -> bool:
    """Return whether a file claims a write-ahead log that is missing, which SQLite would create even to read."""
    try:
        with path.open("rb") as file:
            return file.read(20)[18:] == b"\2\2" and not path.with_name(f"{path.name}-wal").exists()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"cannot use {path}: {error.strerror or error}") from error


def _journal_of(path: Path) -> Path:
    """Return the path of the rollback journal of a file."""
    return path.with_name(f"{path.name}-journal")


def _refuse_super_journal(path: Path) -> None:
    """Refuse a journal that has SQLite delete another file once it is rolled back; eechips never writes one."""
    journal = _journal_of(path)
    try:
        with journal.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - len(_JOURNAL_MAGIC)))
            end = file.read()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot use {path}: {error.strerror or error}") from error
    if end == _JOURNAL_MAGIC:
        raise StorageError(f"{journal} names other files, as eechips never does: it is not rolled back")


class Cursor(sqlite3.Cursor):
    """A cursor that raises errors of eechips."""

    connection: Connection

    def _do(self, method: Callable[..., T], *arguments: Any) -> T:
        try:
            return method(*arguments)
        except _ERRORS as error:
            self.close()  # a traceback keeps the cursor, and its statement would keep the file open
            raise _explained(error, self.connection.path) from error

    def execute(self, *arguments: Any) -> Cursor:
        """Do as ``sqlite3.Cursor`` does, with errors of eechips."""
        self._do(super().execute, *arguments)
        return self

    def executemany(self, statement: str, rows: Iterable[Any]) -> Cursor:
        """Do as ``sqlite3.Cursor`` does, with errors of eechips."""
        self._do(super().executemany, statement, rows)
        return self

    def __next__(self) -> Any:
        """Do as ``sqlite3.Cursor`` does, with errors of eechips."""
        return self._do(super().__next__)

    def fetchone(self) -> Any:
        """Do as ``sqlite3.Cursor`` does, with errors of eechips."""
        return self._do(super().fetchone)

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        """Do as ``sqlite3.Cursor`` does, with errors of eechips."""
        return self._do(super().fetchmany, size)

    def fetchall(self) -> list[Any]:
        """Do as ``sqlite3.Cursor`` does, with errors of eechips."""
        return self._do(super().fetchall)


class Connection(sqlite3.Connection):
    """A connection whose cursors raise errors of eechips."""

    path: Path

    def execute(self, *arguments: Any) -> Cursor:
        """Do as ``sqlite3.Connection`` does, with errors of eechips."""
        return self.cursor(Cursor).execute(*arguments)

    def executemany(self, statement: str, rows: Iterable[Any]) -> Cursor:
        """Do as ``sqlite3.Connection`` does, with errors of eechips."""
        return self.cursor(Cursor).executemany(statement, rows)


def _explained(error: Exception, path: Path) -> StorageError:
    if isinstance(error, sqlite3.OperationalError):
        logs = [log for suffix in ("-journal", "-wal") if has_content(log := path.with_name(path.name + suffix))]
        is_denied = "readonly" in str(error) or "unable to open" in str(error)
        if logs and is_denied and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            return StorageError(
                f"cannot use {path}: a killed process has left {logs[0].name}, which can be read only where you may"
                " write. Repeat the command with a copy of the folder"
            )
        return database_error(path, error)
    reason = "" if isinstance(error, UnicodeDecodeError) else str(error)  # empty where Python 3.10 cannot decode it
    return damaged(path, reason or "its bytes are no text")


NO_CONTENT = "the file is missing or empty"


def has_content(path: Path) -> bool:
    """Return whether a file is there and not empty, as it may be after a power failure."""
    return path.is_file() and path.stat().st_size > 0


def damaged(path: Path, reason: str) -> StorageError:
    """Make the error of a ledger that cannot be read."""
    return StorageError(
        f"{path} is damaged or no ledger: {reason}. What helps: eechips verify {shlex.quote(str(path.parent))} --reopen"
    )


SCHEMA_VERSION = 5

# Of units with several files: ``further_files`` has those beyond a unit's first; ``layers`` the metadata of every file,
# also of the first. Files of scripts have the layer ''. ``exports`` has the batch tasks of units not recorded yet.
SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE units ({", ".join(column.definition for column in MANIFEST)});
CREATE TABLE further_files
 (file TEXT PRIMARY KEY, position INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL);
CREATE INDEX further_files_position ON further_files (position);
CREATE TABLE layers (file TEXT PRIMARY KEY, position INTEGER NOT NULL, layer TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE INDEX layers_position ON layers (position);
CREATE TABLE exports
 (position INTEGER NOT NULL, number INTEGER NOT NULL, operation TEXT NOT NULL, url TEXT NOT NULL,
 requests INTEGER NOT NULL, seconds REAL NOT NULL, started TEXT NOT NULL, PRIMARY KEY (position, number));
"""
TABLES = ("meta", "units", "further_files", "layers", "exports")
# Made after the plan is stored: that is faster than keeping them up to date row by row.
INDEXES = """
CREATE INDEX units_state ON units (state, position);
CREATE UNIQUE INDEX units_file ON units (file) WHERE file IS NOT NULL;
CREATE UNIQUE INDEX units_replaces ON units (replaces) WHERE replaces IS NOT NULL;
"""

PLANNED_COUNT = "units"
"""In meta: number of units that were planned, so that lost rows are noticed. Ledgers of earlier versions have none."""
COUNT_UNITS = f"INSERT OR REPLACE INTO meta SELECT '{PLANNED_COUNT}', count(*) FROM units"
ADD_TO_COUNT = f"UPDATE meta SET value = value + ? WHERE key = '{PLANNED_COUNT}'"
# One statement, as another process may be adding units.
_COUNTS = f"SELECT value, (SELECT count(*) FROM units) FROM meta WHERE key = '{PLANNED_COUNT}'"


def check_schema(database: Connection, *, has_plan: bool) -> None:
    """Refuse a database with anything but plain tables: a view may never end, and a trigger may undo writes.

    Raises:
        StorageError: if it has, or lacks what a ledger has, or units that were planned.
    """
    rows = database.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    for kind, name, sql in rows:
        if kind not in ("table", "index") or not re.match(r"(CREATE (TABLE|(UNIQUE )?INDEX) |$)", sql):
            raise StorageError(f"{database.path} is not a ledger of eechips: it has the {kind} {name!r}")
    if has_plan:
        columns = {row[1] for row in database.execute("PRAGMA table_info(units)")}
        lacking = sorted({column.name for column in MANIFEST} - columns)
        lacking += [f"the table {name}" for name in TABLES if ("table", name) not in {row[:2] for row in rows}]
        if lacking:
            raise StorageError(f"{database.path} is damaged: it lacks {', '.join(lacking)}")
        row = database.execute(_COUNTS).fetchone()
        if row is not None and str(row[0]) != str(row[1]):
            raise damaged(database.path, f"it has {row[1]} units, and {row[0]} were planned")


_ORIGIN = ("identity", "name", "parameters", "recipe", "source")  # in meta, of every plan


def check_origin(database: Connection) -> None:
    """Check that the ledger of a plan says which run it is of.

    Raises:
        StorageError: if a row that says so is missing.
    """
    known = {key for (key,) in database.execute("SELECT key FROM meta")}
    if lacking := [key for key in _ORIGIN if key not in known]:
        raise damaged(database.path, f"it lacks the {' and the '.join(lacking)} of the run")
