"""Store results below a prefix of an object store.

S3, Google Cloud Storage and Azure show an object only when it is complete, so uploads go to their final name and
nothing is sent twice. Two units with the same name are detected when the second is recorded, and both fail. On other
file systems of fsspec, results are written under a temporary name and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from eechips.errors import ConfigurationError, EechipsError, StorageError, TransientError, UsageError
from eechips.files.abandoned_files import choose_abandoned
from eechips.files.temporary_names import Writer, new_writer, temporary_name
from eechips.storage.object_backends import FsspecBackend, open_backend
from eechips.storage.result_names import check_name
from eechips.storage.s3_backend import S3Backend
from eechips.storage.store import StagedFile, StoredFile
from eechips.storage.store_errors import translate_error

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.+")


def is_address(out: str) -> bool:
    """Return whether a destination of results is a URL, not a local folder."""
    return _ADDRESS.fullmatch(out) is not None


class ObjectStore:
    """A prefix of an object store. It is picklable and thread-safe; every process opens its own connections.

    Attributes:
        url: ``protocol://bucket/prefix``.
    """

    def __init__(self, url: str) -> None:
        if not is_address(url):
            raise UsageError(f"'{url}' is not a URL such as s3://bucket/folder")
        self.url = url.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    @property
    def is_overwritten(self) -> bool:
        """Return whether staging a result replaces an object with its name."""
        return self._backend.is_atomic

    def check(self) -> None:
        """Request the first object.

        Raises:
            ConfigurationError: if the request fails, with the missing package or the store's message.
        """
        with self._listing():
            next(self._backend.pages(f"{self._root}/", 1), None)

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Upload an object, under its final name if the store shows only complete objects.

        Args:
            name: below the prefix.
            token: token of the writer; see :func:`eechips.files.temporary_names.temporary_name`.

        Raises:
            TransientError: if the upload fails, but a retry may succeed.
            StorageError: if the upload fails permanently.
        """
        digest = hashlib.sha256(data)
        stored = check_name(name) if self.is_overwritten else temporary_name(check_name(name), token)
        with self._translating(f"upload {self.url}/{name}"):
            self._backend.put(self._key(stored), data)
        return StagedFile(name=name, temporary=stored, size=len(data), sha256=digest.hexdigest())

    def create(self, name: str, data: bytes) -> bool:
        """Store an object, unless one with its name exists.

        Of several processes that create it at the same time, one succeeds.

        Returns:
            Whether this call stored it.

        Raises:
            UsageError: if the store has no conditional writes.
            TransientError, StorageError: as :meth:`stage`.
        """
        with self._translating(f"create {self.url}/{name}"):
            return self._backend.create(self._key(name), data)

    def upload(self, name: str, path: Path, tell: Callable[[int], None] = lambda _: None) -> None:
        """Upload a file of any size in little memory.

        Args:
            name: below the prefix.
            tell: called with the number of bytes sent so far.

        Raises:
            TransientError, StorageError: as :meth:`stage`.
        """
        stored = check_name(name) if self.is_overwritten else temporary_name(check_name(name), str(new_writer()))
        with self._translating(f"upload {self.url}/{name}"):
            self._backend.upload(path, self._key(stored), tell)
        self._rename(stored, name)

    def commit(self, staged: StagedFile) -> None:
        """Rename a staged object to its final name, if it does not have it already.

        Raises:
            TransientError, StorageError: as :meth:`stage`.
        """
        self._rename(staged.temporary, staged.name)

    def _rename(self, stored: str, name: str) -> None:
        if stored != name:
            with self._translating(f"move {self.url}/{stored} to {name}"):
                self._backend.rename(self._key(stored), self._key(name))

    def discard(self, staged: StagedFile) -> None:
        """Remove a staged object."""
        self.remove(staged.temporary)

    def remove(self, name: str) -> None:
        """Remove an object if it exists."""
        with self._translating(f"remove {self.url}/{name}"), contextlib.suppress(FileNotFoundError):
            self._backend.remove(self._key(name))

    def flush(self) -> None:
        """Do nothing: stored objects are durable."""

    def sweep(self, asking: Writer, *, own: bool = False) -> int:
        """Remove abandoned temporary objects and return their number; see :mod:`eechips.files.temporary_names`.

        A store that shows only complete objects has none.
        """
        if self.is_overwritten:
            return 0
        left = choose_abandoned((file.name for file in self.files([""])), asking, own=own)
        for name in left:
            self.remove(name)
        return len(left)

    def files(self, folders: Iterable[str]) -> Iterator[StoredFile]:
        """Yield the objects in folders, and perhaps others, page by page.

        One listing covers the common prefix of the folders.

        Raises:
            ConfigurationError: if the store does not respond, or responds with objects that were not asked for.
        """
        keys = ["" if folder == "." else folder for folder in folders]
        if not keys:
            return
        common = posixpath.commonpath(keys)
        prefix = f"{self._root}/{common}/" if common else f"{self._root}/"
        with self._listing():
            for page in self._backend.pages(prefix):
                for stored_object in page:
                    if not stored_object.name.startswith(prefix):
                        raise StorageError(
                            f"the listing of {self.url} has {stored_object.name}, which does not lie there: check the"
                            " address of the store"
                        )
                    name = stored_object.name[len(self._root) + 1 :]
                    yield StoredFile(name, stored_object.size, stored_object.changed)

    def size(self, name: str) -> int | None:
        """Return the bytes of an object; None if it does not exist."""
        with self._translating(f"find {self.url}/{name}"), contextlib.suppress(FileNotFoundError):
            return self._backend.size(self._key(name))
        return None

    def read(self, name: str) -> bytes:
        """Read the content of an object.

        Raises:
            FileNotFoundError: if it does not exist.
            TransientError, StorageError: if it cannot be read.
        """
        with self._translating(f"read {self.url}/{name}", absent=True):
            return self._backend.read(self._key(name))

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Read the bytes of an object from a position up to another, by one request; fewer if the object ends before.

        Raises:
            FileNotFoundError: if it does not exist.
            TransientError, StorageError: if it cannot be read.
        """
        with self._translating(f"read {self.url}/{name}", absent=True):
            return self._backend.read_range(self._key(name), start, end)

    def fetch(self, name: str, path: Path) -> None:
        """Download an object to a local file.

        Raises:
            FileNotFoundError: if it does not exist.
            TransientError, StorageError: if it cannot be read.
        """
        with self._translating(f"fetch {self.url}/{name}", absent=True):
            blocks = self._backend.blocks(self._key(name))
            block = next(blocks, b"")  # no file is made if there is no object
            with path.open("wb") as file:
                while block:
                    file.write(block)
                    block = next(blocks, b"")

    def sha256(self, name: str) -> str:
        """Return the sha256 of an object, hexadecimal, read in blocks.

        Raises:
            FileNotFoundError: if it does not exist.
            TransientError, StorageError: if it cannot be read.
        """
        digest = hashlib.sha256()
        with self._translating(f"read {self.url}/{name}", absent=True):
            for block in self._backend.blocks(self._key(name)):
                digest.update(block)
        return digest.hexdigest()

    def _key(self, name: str) -> str:
        return f"{self._root}/{check_name(name)}"

    @property
    def _root(self) -> str:
        return self._opened[1]

    @property
    def _backend(self) -> S3Backend | FsspecBackend:
        return self._opened[0]

    @property
    def _opened(self) -> tuple[S3Backend | FsspecBackend, str]:
        """Return this process's backend: connections are of no use to one that is forked."""
        process = os.getpid()
        if process not in self._by_process:
            try:
                self._by_process[process] = open_backend(self.url)
            except ValueError as error:
                raise UsageError(f"'{self.url}' is not the URL of a store: {error}") from None
        return self._by_process[process]

    @cached_property
    def _by_process(self) -> dict[int, tuple[S3Backend | FsspecBackend, str]]:
        return {}

    @contextlib.contextmanager
    def _translating(self, what: str, *, absent: bool = False) -> Iterator[None]:
        """Translate exceptions inside the block; with ``absent``, FileNotFoundError is raised unchanged."""
        try:
            yield
        except EechipsError:
            raise
        except Exception as error:  # every package has exceptions of its own
            if absent and isinstance(error, FileNotFoundError):
                raise
            raise translate_error(error, what) from error

    @contextlib.contextmanager
    def _listing(self) -> Iterator[None]:
        try:
            with self._translating(f"list {self.url}"):
                yield
        except (TransientError, StorageError) as error:
            again = ". The same command tries again" if isinstance(error, TransientError) else ""
            raise ConfigurationError(f"{error}{again}") from error
