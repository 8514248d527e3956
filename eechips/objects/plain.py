"""Any other file system of fsspec: what it writes may be seen before it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eechips.errors import TransientError
from eechips.objects.dialect import Page


class Plain:
    """A file system such as sftp or hdfs, or a store of which nothing is known."""

    is_atomic = False

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Writes, and compares the size."""
        files.makedirs(files._parent(key), exist_ok=True)
        files.pipe_file(key, data)
        if files.size(key) != len(data):
            raise TransientError(f"{key} arrived incomplete")

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Copies a file, and compares the size."""
        files.makedirs(files._parent(key), exist_ok=True)
        files.put_file(str(path), key, callback=callback)
        if files.size(key) != path.stat().st_size:
            raise TransientError(f"{key} arrived incomplete")
        callback.absolute_update(path.stat().st_size)  # not every file system tells

    def read(self, files: Any, key: str) -> bytes:
        """Reads an object."""
        content: bytes = files.cat_file(key)
        return content

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """All files at once: there are no pages."""
        root = prefix.rstrip("/")
        if files.exists(root) and size is None:
            yield [(key, int(about["size"])) for key, about in files.find(root, detail=True).items()]
