"""Backends of object stores, for S3, Google, Azure and fsspec: checked uploads, paged listings and conditional writes,
for which the stores differ.

S3 is served by obstore, except in a fork of a process that uses it. The others are served by the packages of fsspec,
which compare a checksum with the store.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from eechips.errors import ConfigurationError, TransientError, UsageError, ValidationError
from eechips.storage.s3_backend import BLOCK, Page, S3Backend
from eechips.storage.store import StoredFile
from eechips.text.timestamps import parse_timestamp
from eechips.web.list_pages import follow_pages

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
"""Extras of eechips that install the package of a store, by the scheme of its URLs."""


def open_backend(url: str) -> tuple[S3Backend | FsspecBackend, str]:
    """Return the backend of a URL, and the prefix of its keys, without a slash at the end.

    Raises:
        ConfigurationError: if the store's package is not installed.
        ValueError: if no store has such URLs.
    """
    scheme, _, place = url.partition("://")
    try:
        return _open(url, scheme, place)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        how = f": pip install 'eechips[{extra}]'" if extra else ""
        raise ConfigurationError(f"{url} needs a package that is not installed{how} ({error})") from None


def _open(url: str, scheme: str, place: str) -> tuple[S3Backend | FsspecBackend, str]:
    if scheme in ("s3", "s3a") and S3Backend.process in (None, os.getpid()):
        return S3Backend(place.partition("/")[0]), place.rstrip("/")
    import fsspec

    files, root = fsspec.url_to_fs(url, use_listings_cache=False)
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    backends = ((("gs", "gcs"), GcsBackend), (("abfs", "az"), AzureBackend))
    kind = next((backend for names, backend in backends if set(names) & set(protocols)), FsspecBackend)
    return kind(files), root.rstrip("/")


class FsspecBackend:
    """Any file system of fsspec, such as sftp or hdfs. Incomplete files may be visible there.

    Keys begin with the bucket, and every operation raises the exceptions of the store's package, such as
    FileNotFoundError.

    Attributes:
        is_atomic: whether objects appear only when their upload is complete; otherwise they are renamed after it.
    """

    is_atomic = False

    def __init__(self, files: Any) -> None:
        self._files = files

    def put(self, key: str, data: bytes) -> None:
        """Write, and compare the size."""
        self._files.makedirs(self._files._parent(key), exist_ok=True)
        self._files.pipe_file(key, data)
        if self._files.size(key) != len(data):
            raise TransientError(f"{key} arrived incomplete")

    def create(self, key: str, data: bytes) -> bool:
        """Refuse: most of these file systems have no conditional writes."""
        raise UsageError(
            f"{key}: this store has no conditional writes. Choose a folder, or a bucket of S3, Google Cloud Storage or"
            " Azure"
        )

    def upload(self, path: Path, key: str, tell: Callable[[int], None]) -> None:
        """Copy a file, and compare the size."""
        self._files.makedirs(self._files._parent(key), exist_ok=True)
        self._files.put_file(str(path), key, callback=_callback(tell))
        if self._files.size(key) != path.stat().st_size:
            raise TransientError(f"{key} arrived incomplete")
        tell(path.stat().st_size)  # not every file system reports it

    def read(self, key: str) -> bytes:
        """Read an object."""
        content: bytes = self._files.cat_file(key)
        return content

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Read a range by one request."""
        content: bytes = self._files.cat_file(key, start=start, end=end)
        return content

    def blocks(self, key: str) -> Iterator[bytes]:
        """Read an object, by a request for each block."""
        with self._files.open(key, "rb", block_size=BLOCK, cache_type="readahead") as file:
            while block := file.read(BLOCK):
                yield block

    def size(self, key: str) -> int:
        """Return the bytes of an object."""
        return int(self._files.size(key))

    def remove(self, key: str) -> None:
        """Remove an object."""
        self._files.rm_file(key)

    def rename(self, key: str, other: str) -> None:
        """Rename an object."""
        self._files.mv(key, other)

    def pages(self, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Yield all files at once: there are no pages."""
        root = prefix.rstrip("/")
        if self._files.exists(root) and size is None:
            listing = self._files.find(root, detail=True).items()
            yield [StoredFile(key, int(about["size"]), _time_of(about)) for key, about in listing]


def _time_of(about: Mapping[str, Any]) -> float | None:
    """Return the time of the last change of a file, in seconds since 1970; None if its file system does not say."""
    changed = about.get("mtime")
    if isinstance(changed, datetime):
        return changed.timestamp()
    return float(changed) if isinstance(changed, (int, float)) else None


def _callback(tell: Callable[[int], None]) -> Any:
    from fsspec.callbacks import Callback

    return Callback(hooks={"tell": lambda size, value, **_: tell(value)})


class _AtomicBackend(FsspecBackend):
    """A store that has a whole object or none, and writes one on the condition that there is none."""

    is_atomic = True

    def create(self, key: str, data: bytes) -> bool:
        """Upload if there is no object with the key: Google's ``ifGenerationMatch=0``, Azure's ``If-None-Match: *``."""
        try:
            self._files.pipe_file(key, data, mode="create")
        except FileExistsError:
            return False
        return True


_GCS_SINGLE_PUT = 50_000_000
"""Bytes up to which gcsfs uploads an object in one request and compares the md5 in the response."""
_gcsfs_log = logging.getLogger("gcsfs")
_GCS_FIELDS = "kind,items(name,size,updated),nextPageToken"
_GCS_KIND = "storage#objects"
"""Kind of every listing (https://cloud.google.com/storage/docs/json_api/v1/objects/list#response): an empty one has
nothing else."""


class GcsBackend(_AtomicBackend):
    """A bucket of Google Cloud Storage. obstore sends and compares no checksum there."""

    def __init__(self, files: Any) -> None:
        super().__init__(files)
        # gcsfs logs a page for each failed request; a program can still add a handler.
        if not _gcsfs_log.handlers:
            _gcsfs_log.addHandler(logging.NullHandler())

    def put(self, key: str, data: bytes) -> None:
        """Upload, and compare the md5 that the store computed."""
        self._files.pipe_file(key, data, consistency="md5")
        if len(data) >= _GCS_SINGLE_PUT:
            wanted = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
            if self._files.info(key).get("md5Hash") != wanted:
                raise TransientError(f"{key} was stored with another content")

    def upload(self, path: Path, key: str, tell: Callable[[int], None]) -> None:
        """Upload a file in parts, and compare the md5."""
        self._files.put_file(str(path), key, callback=_callback(tell), consistency="md5")

    def pages(self, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Return an iterator of objects, 1,000 a page."""
        bucket, _, start = prefix.partition("/")
        options: dict[str, Any] = {} if size is None else {"maxResults": size}

        def request(token: str | None) -> tuple[Page, str | None]:
            parameters = {**options, **({"pageToken": token} if token else {})}
            response = self._files.call(
                "GET", "b/{}/o", bucket, prefix=start, fields=_GCS_FIELDS, json_out=True, **parameters
            )
            if not isinstance(response, dict) or response.get("kind") != _GCS_KIND:
                raise ValidationError(f"the response for bucket {bucket} is no listing")
            page = [
                StoredFile(
                    f"{bucket}/{stored_object['name']}",
                    int(stored_object["size"]),
                    _seconds(stored_object.get("updated")),
                )
                for stored_object in response.get("items", ())
            ]
            return page, response.get("nextPageToken")

        return follow_pages(request, f"bucket {bucket}")


def _seconds(text: str | None) -> float | None:
    moment = None if text is None else parse_timestamp(text)
    return None if moment is None else moment.timestamp()


_CONCURRENCY = 2  # concurrent parts of an upload


class AzureBackend(_AtomicBackend):
    """A container of Azure Blob Storage. obstore sends no checksum there."""

    def put(self, key: str, data: bytes) -> None:
        """Upload; Azure rejects content with another md5, which its client sends."""
        self._files.pipe_file(key, data, validate_content=True)

    def upload(self, path: Path, key: str, tell: Callable[[int], None]) -> None:
        """Upload a file, each part with its md5."""
        options = {"max_concurrency": _CONCURRENCY, "validate_content": True}
        self._files.put_file(str(path), key, callback=_callback(tell), **options)

    def pages(self, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Return an iterator of blobs, 5,000 a page."""
        from azure.core.exceptions import ResourceNotFoundError
        from fsspec.asyn import sync

        container, _, start = prefix.partition("/")

        def request(token: str | None) -> tuple[Page, str | None]:
            try:
                return sync(self._files.loop, _list_azure_page, self._files, container, start, size, token)  # type: ignore[no-any-return]
            except ResourceNotFoundError as error:
                raise FileNotFoundError(container) from error

        return follow_pages(request, f"container {container}")


async def _list_azure_page(
    files: Any, container: str, start: str, size: int | None, token: str | None
) -> tuple[Page, str | None]:
    """Return a page of blobs, and the token of the next page."""
    async with files.service_client.get_container_client(container) as client:
        pages = client.list_blobs(name_starts_with=start, results_per_page=size).by_page(token)
        async for page in pages:
            blobs = [
                StoredFile(f"{container}/{blob.name}", int(blob.size), blob.last_modified.timestamp())
                async for blob in page
            ]
            return blobs, pages.continuation_token
    return [], None
