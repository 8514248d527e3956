"""Name the causes of errors of SQLite, which does not say which error of the system it had."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

from eechips.errors import FILE_LIMIT, FULL_DISK, StorageError

_OF_FILES = ("unable to open", "disk I/O")
_WRITE = "SQLITE_IOERR_WRITE"
_BLOCK = 4096
_LONGEST_PATH = 512 - len("-journal")
"""Bytes, MAX_PATHNAME of SQLite's os_unix.c: https://github.com/sqlite/sqlite/blob/master/src/os_unix.c."""


def database_error(path: Path, error: sqlite3.Error, advice: str = "") -> StorageError:
    """Make the error of a database that cannot be used.

    Args:
        path: path of the database.
        error: the error of SQLite.
        advice: what to do if the cause is unknown, with the characters before it.
    """
    text = str(error)
    is_of_files = any(part in text for part in _OF_FILES)
    if "full" in text or (is_of_files and _lacks_room(path.parent)):
        return StorageError.of_write(path, OSError(errno.ENOSPC, text))
    if "disk I/O" in text:
        advice = f": {_cause(getattr(error, 'sqlite_errorname', _WRITE))}"  # Python 3.10 has no names of errors
    if "unable to open" in text and (size := len(os.fsencode(path.absolute()))) > _LONGEST_PATH:
        advice = f": its path has {size} bytes, too many for SQLite. Name a folder with a shorter one"
    if "locked" in text:
        advice = ": another process uses it, or its file system has no locks. Wait for it, or use a local disk"
    return StorageError(f"cannot use {path}: {text}{advice}")


def _cause(name: str) -> str:
    """Return the cause of an error of the disk, by its name (https://www.sqlite.org/rescode.html#ioerr)."""
    if name == _WRITE:
        return f"the disk fails, or {FILE_LIMIT}"
    if "SHM" in name or "MEM" in name:
        return f"memory is short, or its file system cannot share any ({name}). Use a local disk, or try again later"
    return f"the disk does not work ({name}). Repeat the command when it does"


def _lacks_room(folder: Path) -> bool:
    """Return whether a folder has no room for another file; a disk may have no more files, and space left."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_BLOCK))
    except OSError as error:
        return error.errno in FULL_DISK
    return False
