"""Describe the files of stores of results, and stage them in memory.

A worker stages a file (writes it under a temporary name), and the parent commits it (renames it), so that a single
process assigns names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from eechips.files.temporary_names import temporary_name


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


class RemoteStore:
    """Proxy of a store on another machine, which receives and writes staged data."""

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Stage a result in memory, as :meth:`LocalStore.stage` does on disk."""
        return StagedFile(name, temporary_name(name, token), len(data), hashlib.sha256(data).hexdigest(), data)

    def discard(self, staged: StagedFile) -> None:
        """Do nothing: no file was written."""
