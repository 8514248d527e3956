"""Backends of object stores: checked uploads and paged listings, for which the packages of fsspec differ."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from eechips.errors import TransientError

Page = list[tuple[str, int]]
"""Keys (bucket included) and sizes in bytes of objects."""


class Backend(Protocol):
    """Operations on a kind of store. Keys begin with the bucket."""

    is_atomic: bool
    """True if objects appear only when their upload is complete; otherwise they are renamed after the upload."""

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Upload data and verify it.

        Args:
            files: file system of fsspec.
            key: of the object.
            data: content.
            sha256: digest of the content.

        Raises:
            TransientError: if the stored content differs.
            Exception: of the store's package.
        """

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Upload a file in little memory, in parts if it is large, and verify it.

        Args:
            files: file system of fsspec.
            path: of the file.
            key: of the object.
            callback: of fsspec, for the progress.
        """

    def read(self, files: Any, key: str) -> bytes:
        """Read the content of an object.

        Args:
            files: file system of fsspec.
            key: of the object.

        Raises:
            FileNotFoundError: if it does not exist.
            Exception: of the store's package.
        """

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Yield all objects with a prefix, by one request for each page.

        Args:
            files: file system of fsspec.
            prefix: of the keys; at least the bucket and a slash.
            size: objects of a page; None for the store's maximum.

        Raises:
            FileNotFoundError: if the bucket does not exist.
            Exception: of the store's package.
        """


def select_backend(files: Any) -> Backend:
    """Return the backend of a file system of fsspec."""

    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    for names, backend in ((("s3",), S3Backend()), (("gs", "gcs"), GcsBackend()), (("abfs", "az"), AzureBackend())):
        if set(names) & set(protocols):
            return backend
    return FsspecBackend()


_S3_SINGLE_PUT = 50_000_000
"""Bytes up to which s3fs uploads an object in one request, so that S3 can compare its sha256."""
_S3_CONCURRENCY = 2
"""Concurrent parts of an upload, of 50 MB or more each: s3fs would hold ten in memory."""


class S3Backend:
    """A bucket of S3. Each part of a multipart upload has a checksum, which botocore adds."""

    is_atomic = True

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Upload; S3 rejects content with another sha256."""
        if len(data) < _S3_SINGLE_PUT:
            files.pipe_file(key, data, ChecksumSHA256=base64.b64encode(sha256).decode())
            return
        files.pipe_file(key, data, max_concurrency=_S3_CONCURRENCY)
        _check_s3_size(files, key, len(data))

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Upload a file; compare the size of large ones."""
        if path.stat().st_size < _S3_SINGLE_PUT:
            data = path.read_bytes()
            self.put(files, key, data, hashlib.sha256(data).digest())
            callback.absolute_update(len(data))
            return
        files.put_file(str(path), key, callback=callback, max_concurrency=_S3_CONCURRENCY)
        _check_s3_size(files, key, path.stat().st_size)

    def read(self, files: Any, key: str) -> bytes:
        """Read an object by one request: ``cat_file`` would request its size first, to read large ones in parts."""
        from fsspec.asyn import sync

        bucket, _, name = key.partition("/")
        answer = files.call_s3("get_object", Bucket=bucket, Key=name)
        content: bytes = sync(files.loop, _read_s3_body, answer["Body"])
        return content

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Yield objects, 1,000 a page."""
        bucket, _, start = prefix.partition("/")
        options: dict[str, Any] = {} if size is None else {"MaxKeys": size}
        while True:
            found = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=start, **options)
            yield [(f"{bucket}/{each['Key']}", int(each["Size"])) for each in found.get("Contents", ())]
            if not found.get("IsTruncated"):
                return
            options["ContinuationToken"] = found["NextContinuationToken"]


async def _read_s3_body(body: Any) -> bytes:
    async with body:
        content: bytes = await body.read()
        return content


def _check_s3_size(files: Any, key: str, size: int) -> None:
    if files.size(key) != size:
        raise TransientError(f"{key} arrived incomplete")


_GCS_SINGLE_PUT = 50_000_000
"""Bytes up to which gcsfs uploads an object in one request and compares the md5 in the response."""
_gcsfs_log = logging.getLogger("gcsfs")
_GCS_FIELDS = "items(name,size),nextPageToken"


class GcsBackend:
    """A bucket of Google Cloud Storage."""

    is_atomic = True

    def __init__(self) -> None:
        # gcsfs logs a page for each failed request; a program can still add a handler.
        if not _gcsfs_log.handlers:
            _gcsfs_log.addHandler(logging.NullHandler())

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Upload, and compare the md5 that the store computed."""
        files.pipe_file(key, data, consistency="md5")
        if len(data) >= _GCS_SINGLE_PUT:
            wanted = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
            if files.info(key).get("md5Hash") != wanted:
                raise TransientError(f"{key} was stored with another content")

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Upload a file in parts, and compare the md5."""
        files.put_file(str(path), key, callback=callback, consistency="md5")

    def read(self, files: Any, key: str) -> bytes:
        """Read an object."""
        content: bytes = files.cat_file(key)
        return content

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Yield objects, 1,000 a page."""
        bucket, _, start = prefix.partition("/")
        options: dict[str, Any] = {} if size is None else {"maxResults": size}
        while True:
            found = files.call("GET", "b/{}/o", bucket, prefix=start, fields=_GCS_FIELDS, json_out=True, **options)
            yield [(f"{bucket}/{each['name']}", int(each["size"])) for each in found.get("items", ())]
            if not found.get("nextPageToken"):
                return
            options["pageToken"] = found["nextPageToken"]


_CONCURRENCY = 2  # concurrent parts of an upload


class AzureBackend:
    """A container of Azure Blob Storage."""

    is_atomic = True

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Upload; Azure rejects content with another md5, which its client sends."""
        files.pipe_file(key, data, validate_content=True)

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Upload a file, each part with its md5."""
        files.put_file(str(path), key, callback=callback, max_concurrency=_CONCURRENCY, validate_content=True)

    def read(self, files: Any, key: str) -> bytes:
        """Read an object."""
        content: bytes = files.cat_file(key)
        return content

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Yield blobs, 5,000 a page."""
        from azure.core.exceptions import ResourceNotFoundError
        from fsspec.asyn import sync

        container, _, start = prefix.partition("/")
        token: str | None = None
        while True:
            try:
                page, token = sync(files.loop, _list_azure_page, files, container, start, size, token)
            except ResourceNotFoundError as error:
                raise FileNotFoundError(container) from error
            yield page
            if not token:
                return


async def _list_azure_page(
    files: Any, container: str, start: str, size: int | None, token: str | None
) -> tuple[Page, str | None]:
    """Return a page of blobs, and the token of the next page."""
    async with files.service_client.get_container_client(container) as client:
        pages = client.list_blobs(name_starts_with=start, results_per_list_azure_page=size).by_page(token)
        async for page in pages:
            return [(f"{container}/{blob.name}", int(blob.size)) async for blob in page], pages.continuation_token
    return [], None


class FsspecBackend:
    """Any other file system of fsspec, such as sftp or hdfs. Incomplete files may be visible there."""

    is_atomic = False

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Write, and compare the size."""
        files.makedirs(files._parent(key), exist_ok=True)
        files.pipe_file(key, data)
        if files.size(key) != len(data):
            raise TransientError(f"{key} arrived incomplete")

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Copy a file, and compare the size."""
        files.makedirs(files._parent(key), exist_ok=True)
        files.put_file(str(path), key, callback=callback)
        if files.size(key) != path.stat().st_size:
            raise TransientError(f"{key} arrived incomplete")
        callback.absolute_update(path.stat().st_size)  # not every file system reports it

    def read(self, files: Any, key: str) -> bytes:
        """Read an object."""
        content: bytes = files.cat_file(key)
        return content

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Yield all files at once: there are no pages."""
        root = prefix.rstrip("/")
        if files.exists(root) and size is None:
            yield [(key, int(about["size"])) for key, about in files.find(root, detail=True).items()]
