"""What the packages of fsspec do not do alike: uploads that the store checks, and listings page by page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

Page = list[tuple[str, int]]
"""Keys (bucket included) and sizes in bytes of some objects."""


class Dialect(Protocol):
    """How to speak to a kind of store. Keys begin with the bucket."""

    is_atomic: bool
    """Whether an upload appears when it is complete, and not before. Else it gets its name afterwards."""

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Uploads a content, and has the store check what arrives.

        Args:
            files: the file system, of fsspec.
            key: of the object.
            data: its content.
            sha256: of the content.

        Raises:
            TransientError: if something else arrived.
            Exception: whatever the store's package raises.
        """

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Uploads a file, in parts if it is large; as :meth:`put`, in little memory.

        Args:
            files: the file system.
            path: of the file.
            key: of the object.
            callback: of fsspec, told how far it is.
        """

    def read(self, files: Any, key: str) -> bytes:
        """The content of an object.

        Args:
            files: the file system.
            key: of the object.

        Raises:
            FileNotFoundError: if there is none.
            Exception: whatever the store's package raises.
        """

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """All objects whose key begins so, by as many requests as there are pages.

        Args:
            files: the file system.
            prefix: that keys begin with; the bucket and a slash at least.
            size: objects of a page; None for as many as the store gives.

        Raises:
            FileNotFoundError: if there is no such bucket.
            Exception: whatever the store's package raises.
        """


def dialect_of(files: Any) -> Dialect:
    """The dialect of a file system of fsspec."""
    from eechips.objects.azure import Azure
    from eechips.objects.gcs import Gcs
    from eechips.objects.plain import Plain
    from eechips.objects.s3 import S3

    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    for names, dialect in ((("s3",), S3()), (("gs", "gcs"), Gcs()), (("abfs", "az"), Azure())):
        if set(names) & set(protocols):
            return dialect
    return Plain()
