"""Write files atomically, remove files, lock stores, and make temporary folders: the only module of the local Earth
Engine that does.

A process that makes a workspace holds a lock of it (flock(2)) as long as it lives, on any machine. A workspace of the
same user without a lock is that of a process that was killed, and is removed by the next one that works in the same
folder. That folder may be anybody's, such as /tmp: only workspaces have names of the form ``_PLACE``.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eechips_local.assets.asset_errors import AssetWriteError, InvalidStoreError
from eechips_local.assets.asset_names import is_remote

_LOG = logging.getLogger("eechips_local.caches")
_PREFIX, _SUFFIX = ".eechips-local-", ".locked"
_PLACE = re.compile(rf"{re.escape(_PREFIX)}[a-z0-9_]{{8}}{re.escape(_SUFFIX)}")  # as tempfile chooses characters
_swept: set[str] = set()
_held: Counter[str] = Counter()  # stores that this process has locked
_turn = threading.Lock()
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone, whatever the umask is.

    What lies in a cache is private, and is believed when it is read: https://specifications.freedesktop.org/basedir-spec.

    Raises:
        OSError: if it cannot be made.
    """
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    elif (mode := folder.stat().st_mode) & stat.S_IWOTH and not mode & stat.S_ISVTX:
        _warn_of_others(folder)


@functools.cache  # once in a process
def _warn_of_others(folder: Path) -> None:
    _LOG.warning("Every user may replace the files in %s, which are trusted: chmod o-w it.", folder)


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """An empty hidden folder inside ``folder``, removed at the end with all that is left in it.

    Raises:
        AssetWriteError: in place of any ``OSError`` of making it or of its use.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder) as place:
            yield place


def private_folder(owner: object) -> Path:
    """Return a folder among the system's temporary files, for as long as an object lives, or the process.

    Raises:
        OSError: if it cannot be made.
    """
    place, remove_place = _make_place(Path(tempfile.gettempdir()))
    weakref.finalize(owner, remove_place)
    return place


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Make a temporary folder for the duration of the block, and remove those that killed processes left beside it.

    Args:
        parent: folder in which it is made; None for that of the system's temporary files.

    Raises:
        OSError: if it cannot be made.
    """
    place, remove_place = _make_place(parent or Path(tempfile.gettempdir()))
    try:
        yield place
    finally:
        remove_place()


def _remove_place(place: Path, lock: int, process: int) -> None:
    if os.getpid() == process:  # else a fork of the process whose folder it is
        shutil.rmtree(place, ignore_errors=True)
    os.close(lock)


def _make_place(folder: Path) -> tuple[Path, Callable[[], None]]:
    """Return a new folder, which is locked, and what removes it."""
    if str(folder) not in _swept:
        _swept.add(str(folder))
        _sweep(folder)
    while True:
        place = Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, folder))
        lock = None
        with suppress(FileNotFoundError, BlockingIOError):  # somebody has taken it for one that was left
            lock = os.open(place, os.O_RDONLY)
            with _without_locks():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), place.stat()):
                return place, functools.partial(_remove_place, place, lock, os.getpid())
        if lock is not None:
            os.close(lock)


def _sweep(folder: Path) -> None:
    """Remove the folders of this user's processes that were killed."""
    with os.scandir(folder) as entries:
        names = [
            entry.name for entry in entries if _PLACE.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        ]
    for name in names:
        with suppress(OSError):  # another process was quicker
            lock = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(folder / name, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def _without_locks() -> Iterator[None]:
    """Continue where folders cannot be locked (some network file systems). Nothing is swept there either."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError:
        return


def remove(root: Path, path: Path) -> None:
    """Remove a file of a store, if it is there. The caller holds the store's lock.

    Raises:
        RuntimeError: if the caller does not, or the file lies outside the store.
        OSError: if the file system refuses.
    """
    home = os.path.realpath(root)
    if not _held[home] or not Path(os.path.realpath(path.parent)).is_relative_to(home):
        raise RuntimeError(f"{path} is no file of the locked store {root}")
    path.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove a folder, if nothing is in it."""
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what the system says of a failed write into a sentence.

    Raises:
        AssetWriteError: in place of ``OSError``.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        if error.errno in _FULL:
            raise AssetWriteError(f"No space to write {target}: make room on its disk and ingest again.") from error
        raise AssetWriteError(f"Cannot write {target}: {error.strerror}.") from error


def commit(source: Path, target: Path) -> None:
    """Move a finished file to its final name, durably; both must be on one file system."""
    _sync(source)
    source.replace(target)
    _sync(target.parent)


def commit_new(moves: Sequence[tuple[Path, Path]]) -> bool:
    """Move finished files to names that nothing has, durably; all must be on one file system.

    Args:
        moves: file and new name of each.

    Returns:
        Whether they were moved; False, and none is, if something has one of the names.
    """
    for count, (source, target) in enumerate(moves):
        if not _commit_new(source, target):
            for before, after in moves[:count]:
                after.replace(before)
            return False
    return True


def _commit_new(source: Path, target: Path) -> bool:
    _sync(source)
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            return False
        source.replace(target)
    else:
        source.unlink()
    _sync(target.parent)
    return True


def duplicate(source: Path, target: Path) -> bool:
    """Give a finished file, which is never written again, a second name; copy it where it cannot have one.

    Returns:
        Whether the file is new. A file is named by its content, so that an existing file of the name is the same file.

    Raises:
        AssetWriteError: if it cannot be written.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            return False
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            with workspace(target.parent) as place:
                shutil.copyfile(source, place / target.name)
                commit(place / target.name, target)
        _sync(target.parent)
    return True


class StagedDocuments:
    """JSON files that are written first and then all put in place: a full disk leaves everything as it was.

    A context manager that removes what has not been put in place. The caller holds the store's lock.
    """

    def __init__(self) -> None:
        self._staged: deque[tuple[Path, Path]] = deque()
        self._folders: set[Path] = set()

    def stage(self, target: Path, document: Mapping[str, Any]) -> None:
        """Write a document beside its place.

        Raises:
            AssetWriteError: if it cannot be written.
        """
        temporary = target.with_name(f"{_PREFIX}{target.name}")
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._remove_left(target.parent)
            with temporary.open("w", encoding="utf-8") as file:
                self._staged.append((temporary, target))
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _remove_left(self, folder: Path) -> None:
        """Remove what a process that was killed has staged: the lock of the store was its."""
        if folder in self._folders:
            return
        self._folders.add(folder)
        for path in folder.glob(f"{_PREFIX}*"):
            if path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)

    def commit(self) -> None:
        """Put the documents in place, in the order in which they were staged."""
        while self._staged:
            temporary, target = self._staged[0]
            with writing(target):
                _make_newer(temporary, target)
                temporary.replace(target)
                _sync(target.parent)
            self._staged.popleft()

    def __enter__(self) -> StagedDocuments:
        return self

    def __exit__(self, *exception: object) -> None:
        for temporary, _ in self._staged:
            temporary.unlink(missing_ok=True)


def _make_newer(path: Path, other: Path) -> None:
    """Make a file newer than another one: two changes may fall into one tick of the file system's clock."""
    with suppress(FileNotFoundError):
        before, after = other.stat().st_mtime_ns, path.stat()
        if after.st_mtime_ns <= before:
            os.utime(path, ns=(after.st_atime_ns, before + 1))


def write_json(target: Path, document: Mapping[str, Any]) -> None:
    """Write or replace one JSON file, atomically and durably; see ``StagedDocuments``."""
    with StagedDocuments() as documents:
        documents.stage(target, document)
        documents.commit()


class Deposit:
    """Files put at their final places before anything refers to them. Each is named by what it holds.

    Args:
        root: the store's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.added: list[str] = []

    def add(self, finished_file: Path, folder: str) -> str:
        """Move a finished file into a folder of the store; return its path relative to the store."""
        digest = hashlib.sha256()
        with finished_file.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        href = f"{folder}/{digest.hexdigest()[:32]}{finished_file.suffix}"
        # What is there under this name is the same: leave it to whom it belongs to.
        if not (self._root / href).exists():
            commit(finished_file, self._root / href)
            self.added.append(href)
        return href


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the store's lock: one writer at a time among threads and processes.

    Raises:
        InvalidStoreError: if the lock file is a link, which may lead out of the store, or a folder.
    """
    path = folder / ".lock"
    if path.is_symlink() or path.is_dir():
        raise InvalidStoreError(f"{path} is a link or a folder: remove it")
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        key = os.path.realpath(folder)
        with _turn:
            _held[key] += 1
        try:
            yield
        finally:
            with _turn:
                _held[key] -= 1


def size_of(root: Path, hrefs: Sequence[str]) -> int:
    """Return the bytes of files; those on web servers, and those that are gone, count nothing.

    Args:
        root: a store's folder.
        hrefs: paths relative to it, or URLs.
    """
    size = 0
    for href in hrefs:
        if not is_remote(href):
            with suppress(FileNotFoundError):
                size += (root / href).stat().st_size
    return size


def _sync(path: Path) -> None:
    """Make the system write a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
