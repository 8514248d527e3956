"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eechips.emulator.assets.errors import AssetWriteError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """An empty hidden folder inside ``folder``, removed at the end with all that is left in it.

    Raises:
        AssetWriteError: in place of any ``OSError`` of making it or of its use.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turns what the system says of a failed write into a sentence.

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
    """Moves a finished file to its final name, durably; both must be on one file system."""
    _sync(source)
    source.replace(target)
    _sync(target.parent)


class Documents:
    """JSON files that are written first and then all put in place: a full disk leaves everything as it was.

    A context manager that removes what has not been put in place. The caller holds the store's lock.
    """

    def __init__(self) -> None:
        self._staged: deque[tuple[Path, Path]] = deque()

    def stage(self, target: Path, document: Mapping[str, Any]) -> None:
        """Writes a document beside its place.

        Raises:
            AssetWriteError: if it cannot be written.
        """
        temporary = target.with_name(f".tmp-{target.name}")
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                self._staged.append((temporary, target))
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())

    def commit(self) -> None:
        """Puts the documents in place, in the order in which they were staged."""
        while self._staged:
            temporary, target = self._staged[0]
            with writing(target):
                temporary.replace(target)
                _sync(target.parent)
            self._staged.popleft()

    def __enter__(self) -> Documents:
        return self

    def __exit__(self, *exception: object) -> None:
        for temporary, _ in self._staged:
            temporary.unlink(missing_ok=True)


def write_json(target: Path, document: Mapping[str, Any]) -> None:
    """Writes or replaces one JSON file, atomically and durably; see ``Documents``."""
    with Documents() as documents:
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

    def add(self, made: Path, folder: str) -> str:
        """Moves a finished file into a folder of the store; returns its path relative to the store."""
        digest = hashlib.sha256()
        with made.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        href = f"{folder}/{digest.hexdigest()[:32]}{made.suffix}"
        # What is there under this name is the same: leave it to whom it belongs to.
        if not (self._root / href).exists():
            commit(made, self._root / href)
            self.added.append(href)
        return href


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the store's lock: one writer at a time among threads and processes."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync(path: Path) -> None:
    """Makes the system write a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
