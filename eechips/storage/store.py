"""Define the interface of stores of results: stage, commit, sweep, read.

A worker stages a file (writes it under a temporary name), and the parent commits it (renames it), so that a single
process assigns names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from eechips.files.temporary_names import Writer, temporary_name


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A complete file that does not have its final name yet.

    Attributes:
        name: final path below the root, with forward slashes.
        temporary: present path below the root.
        size: bytes.
        sha256: SHA-256 digest of the content, hexadecimal.
        data: the content, if the worker cannot write to the folder; None otherwise.
    """

    name: str
    temporary: str
    size: int
    sha256: str
    data: bytes | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Faster than the pickling of a dataclass with slots, which looks up its fields for every unit.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


class StoredFile(NamedTuple):
    """A file that a store lists. A tuple, as there may be a million.

    Attributes:
        name: path below the root.
        size: bytes.
        changed: time of its last change by the clock of the store, in seconds since 1970; None if that is unknown.
    """

    name: str
    size: int
    changed: float | None


class StagingArea(Protocol):
    """Place in which a worker stages results until the parent commits them. Picklable."""

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Stage a result; see :meth:`LocalStore.stage`."""

    def discard(self, staged: StagedFile) -> None:
        """Remove a staged result that will not be committed."""


class Store(StagingArea, Protocol):
    """Store of results: a local folder, or an object store."""

    @property
    def is_overwritten(self) -> bool:
        """Return whether staging a result replaces an existing one with its name."""

    def commit(self, staged: StagedFile) -> None:
        """Give a staged result its name."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file, unless one with its name exists; return whether it was written."""

    def flush(self) -> None:
        """Write pending data to the disk."""

    def sweep(self, asking: Writer, *, own: bool = False) -> int:
        """Remove abandoned temporary files (see :mod:`eechips.files.temporary_names`); return their number."""

    def sizes(self, folders: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Yield names and sizes in bytes of the results in folders, and perhaps of others."""

    def files(self, folders: Iterable[str]) -> Iterator[StoredFile]:
        """Yield the results in folders, and perhaps others."""

    def size(self, name: str) -> int | None:
        """Return the size of a result in bytes; None if it does not exist."""

    def read(self, name: str) -> bytes:
        """Return the content of a result; raise FileNotFoundError if it does not exist."""

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a result, hexadecimal; raise FileNotFoundError if it does not exist."""


class RemoteStore:
    """Proxy of a store on another machine, which receives and writes staged data."""

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Stage a result in memory, as :meth:`LocalStore.stage` does on disk."""
        return StagedFile(name, temporary_name(name, token), len(data), hashlib.sha256(data).hexdigest(), data)

    def discard(self, staged: StagedFile) -> None:
        """Do nothing: no file was written."""
