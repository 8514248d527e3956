"""Define what a place of results does: stage, commit, sweep, read.

A worker stages a file (writes it under a temporary name), and the parent commits it (gives it its name), so that one
process alone decides what a name means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from eechips.staging import Writer, temporary_name


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that is complete on the disk but not yet under its name.

    Attributes:
        name: final path below the root, with forward slashes.
        temporary: present path below the root.
        size: bytes.
        sha256: of the content, hexadecimal.
        data: the content itself, if who staged it cannot write to the folder.
    """

    name: str
    temporary: str
    size: int
    sha256: str
    data: bytes | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # What a dataclass with slots does by itself looks its fields up again for every unit, on both sides.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


class StagingArea(Protocol):
    """Place in which a worker stages results until the parent commits them. Picklable."""

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Take a result; see :meth:`LocalStore.stage`."""

    def discard(self, staged: StagedFile) -> None:
        """Remove what will not be committed."""


class Store(StagingArea, Protocol):
    """Store of results: a local folder, or an object store."""

    @property
    def is_overwritten(self) -> bool:
        """Return whether staging a result replaces what has its name."""

    def commit(self, staged: StagedFile) -> None:
        """Give a staged result its name."""

    def flush(self) -> None:
        """Write everything that is pending."""

    def sweep(self, asking: Writer, *, own: bool = False) -> int:
        """Remove abandoned temporary files; see :func:`eechips.staging.is_abandoned`. Returns how many."""

    def sizes(self, folders: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Name and sizes in bytes of what is in the given folders, and perhaps elsewhere."""

    def size(self, name: str) -> int | None:
        """Return the size of a result in bytes; None if there is none."""

    def read(self, name: str) -> bytes:
        """Return the content of a result; FileNotFoundError if there is none."""

    def sha256(self, name: str) -> str:
        """Return sha256 of a result, hexadecimal, read piece by piece; FileNotFoundError if there is none."""


class RemoteStore:
    """Proxy of a store on another machine: staged data are sent there and written there."""

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Stage a result in memory, as :meth:`LocalStore.stage` does on disk."""
        return StagedFile(name, temporary_name(name, token), len(data), hashlib.sha256(data).hexdigest(), data)

    def discard(self, staged: StagedFile) -> None:
        """There is nothing to remove."""
