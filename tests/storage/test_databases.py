"""Errors of SQLite name their cause, as the system has it."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eechips.errors import StorageError
from eechips.manifest.sqlite.database import connect
from eechips.storage.databases import database_error
from tests.support.programs import run_program

OPEN = """if True:
    import sys
    from pathlib import Path
    from eechips.manifest.sqlite.database import connect
    database = connect(Path(sys.argv[1]), readonly=sys.argv[2] == "read")
    database.execute("SELECT * FROM a" if sys.argv[2] == "read" else "CREATE TABLE a (b)")
"""
_MOUNT = ["unshare", "--mount", "--map-root-user", "bash", "-c"]


def can_mount(folder: Path) -> bool:
    """Return whether this user may mount file systems that only a process of its own sees."""
    try:
        return subprocess.run([*_MOUNT, f"mount -t tmpfs none {folder}"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def test_a_disk_without_room_for_another_file_is_full(tmp_path: Path) -> None:
    """SQLite says that it is unable to open the database file."""
    if not can_mount(tmp_path):
        pytest.skip("this user may mount no file system")
    mount = f'mount -t tmpfs -o nr_inodes=2 none {tmp_path} && exec "$@"'
    path = tmp_path / "a.sqlite"
    done = run_program(*_MOUNT, mount, "mount", sys.executable, "-c", OPEN, path, "write", status=1)
    assert f"StorageError: the disk is full: could not write {path}. Make room and repeat the command" in done.stderr


def test_a_log_of_a_killed_process_is_named_where_it_cannot_be_read(tmp_path: Path) -> None:
    """Such as in a copy of a run without manifest.sqlite-shm, which SQLite would make to read the log."""
    if not can_mount(tmp_path):
        pytest.skip("this user may mount no file system")
    path = tmp_path / "a.sqlite"
    with contextlib.closing(connect(path, readonly=False)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE a (b)")
        files = [(file, file.read_bytes()) for file in (path, path.with_name("a.sqlite-wal"))]
    for file, content in files:
        file.write_bytes(content)
    mount = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} && exec "$@"'
    done = run_program(*_MOUNT, mount, "mount", sys.executable, "-c", OPEN, path, "read", status=1)
    assert f"StorageError: cannot use {path}: a killed process has left a.sqlite-wal, which can be read" in done.stderr


@pytest.mark.skipif(sys.version_info < (3, 11) or sys.platform != "linux", reason="errors have no names, or no /proc")
def test_a_disk_that_does_not_read_is_no_limit_of_the_size_of_files() -> None:
    path = Path("/proc/self/mem")  # whose first bytes give EIO
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    assert re.fullmatch(
        r"cannot use /proc/self/mem: disk I/O error: the disk does not work \(SQLITE_IOERR_\w+\)\. Repeat the command"
        " when it does",
        str(database_error(path, caught.value)),
    )


def test_a_path_that_is_too_long_for_sqlite_is_named(tmp_path: Path) -> None:
    path = tmp_path / "/".join(["d" * 200] * 3) / "a.sqlite"
    path.parent.mkdir(parents=True)
    with pytest.raises(
        StorageError, match=r"its path has \d+ bytes, too many for SQLite\. Name a folder with a shorter"
    ):
        connect(path, readonly=False)


def test_a_database_that_is_locked_says_what_to_do(tmp_path: Path) -> None:
    """As on file systems without locks, where it always is: to ENOLCK, SQLite says the same."""
    path = tmp_path / "a.sqlite"
    with contextlib.closing(connect(path, readonly=False)) as one, contextlib.closing(sqlite3.connect(path)) as other:
        one.execute("BEGIN EXCLUSIVE")
        other.execute("PRAGMA busy_timeout = 1")
        with pytest.raises(sqlite3.OperationalError) as caught:
            other.execute("CREATE TABLE a (b)")
    assert str(database_error(path, caught.value)) == (
        f"cannot use {path}: database is locked: another process uses it, or its file system has no locks. Wait for it,"
        " or use a local disk"
    )


@pytest.mark.parametrize(
    ("name", "cause"), [("SQLITE_IOERR_SHMMAP", "memory is short"), ("SQLITE_IOERR_WRITE", "ulimit")]
)
def test_a_lack_of_memory_is_no_limit_of_the_size_of_files(tmp_path: Path, name: str, cause: str) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = name
    assert cause in str(database_error(tmp_path / "a.sqlite", error))
