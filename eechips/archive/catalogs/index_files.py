"""Find and read the files of an index of ids, and compare partitions with what the index has of them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from eechips.archive.catalogs.id_segments import IndexedPartition, ReadRange
from eechips.archive.catalogs.schema import Partition
from eechips.files.hashes import hash_file
from eechips.storage import LocalStore, ObjectStore, is_inside

FOLDER = "_ids"
"""Folder of the index, below the catalogue; engines that read folders ignore names with an underscore."""

SUFFIX = ".ids"


class IndexFiles:
    """The files of a catalogue, in a folder or a store.

    Args:
        home: folder or store.
        partitions: that are searched, by path.
    """

    def __init__(self, home: Path | ObjectStore, partitions: Mapping[str, Partition]) -> None:
        self._home, self.partitions = home, partitions
        self._store = home if isinstance(home, ObjectStore) else LocalStore(home)

    @property
    def where(self) -> str:
        """Location of the catalogue."""
        return self._home.url if isinstance(self._home, ObjectStore) else str(self._home)

    def address(self, path: str) -> str:
        """Return the path or URL of a file."""
        return f"{self._home.url}/{path}" if isinstance(self._home, ObjectStore) else str(self._home / path)

    def source(self, path: str) -> Any:
        """Return a path or file for the Parquet reader."""
        return io.BytesIO(self._store.read(path)) if isinstance(self._store, ObjectStore) else self._store.file(path)

    def segments(self) -> Iterator[tuple[str, int]]:
        """Yield path and size of each segment."""
        yield from sorted((name, size) for name, size in self._store.sizes([FOLDER]) if _is_segment(name))

    def reader(self, name: str) -> ReadRange:
        """Return the function that reads parts of a file.

        Raises:
            FileNotFoundError: if a local file does not exist.
        """
        return partial(self._store.read_range, name)

    def changed(self, name: str) -> int:
        """Return the moment of the last change of a local file or its name, in nanoseconds; 0 in a store.

        Raises:
            FileNotFoundError: if it does not exist.
        """
        return self._store.file(name).stat().st_ctime_ns if isinstance(self._store, LocalStore) else 0

    def is_current(self, known: IndexedPartition, moment: int) -> bool:
        """Return whether a partition is the one that a segment covers: by the schema, and by its file.

        Args:
            known: version that the segment covers.
            moment: of the last change of the segment. Local files changed later are compared by their SHA-256.
        """
        now = self.partitions.get(known.path)
        if now is None or (now.sha256, now.bytes, now.items) != (known.sha256, known.bytes, known.items):
            return False
        if isinstance(self._home, ObjectStore):
            return self._sizes.get(known.path) == known.bytes
        try:
            status = os.stat(f"{self._home}/{known.path}")  # noqa: PTH116 - paths cost time for each of many
        except OSError:
            return False
        if status.st_size != known.bytes:
            return False
        if status.st_ctime_ns <= moment:
            return True
        path = self._home / known.path
        return is_inside(path, self._home) and hash_file(path) == known.sha256

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Sizes of all objects of a store, by name."""
        assert isinstance(self._store, ObjectStore)
        return dict(self._store.sizes(sorted({path.rpartition("/")[0] for path in self.partitions})))


def _is_segment(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return folder == FOLDER and file.endswith(SUFFIX)
