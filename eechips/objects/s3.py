"""S3, and what speaks its protocol, by s3fs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eechips.errors import TransientError
from eechips.objects.dialect import Page

_CHECKED_AT_ONCE = 50_000_000
"""Bytes up to which s3fs sends an object in one piece, so that S3 can compare its sha256."""
_CONCURRENCY = 2
"""Parts of a file that are under way, of 50 MB or more each: s3fs would hold ten in memory."""


class S3:
    """A bucket of S3. Of what comes in parts each has a checksum of its own, which botocore adds."""

    is_atomic = True

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Uploads; S3 refuses what has another sha256."""
        if len(data) < _CHECKED_AT_ONCE:
            files.pipe_file(key, data, ChecksumSHA256=base64.b64encode(sha256).decode())
            return
        files.pipe_file(key, data, max_concurrency=_CONCURRENCY)
        _check_size(files, key, len(data))

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Uploads a file; of a large one the size is compared."""
        if path.stat().st_size < _CHECKED_AT_ONCE:
            data = path.read_bytes()
            self.put(files, key, data, hashlib.sha256(data).digest())
            callback.absolute_update(len(data))
            return
        files.put_file(str(path), key, callback=callback, max_concurrency=_CONCURRENCY)
        _check_size(files, key, path.stat().st_size)

    def read(self, files: Any, key: str) -> bytes:
        """Reads an object by one request: ``cat_file`` would ask for its size first, to read large ones in pieces."""
        from fsspec.asyn import sync

        bucket, _, name = key.partition("/")
        answer = files.call_s3("get_object", Bucket=bucket, Key=name)
        content: bytes = sync(files.loop, _content, answer["Body"])
        return content

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Objects, 1,000 a page."""
        bucket, _, start = prefix.partition("/")
        options: dict[str, Any] = {} if size is None else {"MaxKeys": size}
        while True:
            found = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=start, **options)
            yield [(f"{bucket}/{each['Key']}", int(each["Size"])) for each in found.get("Contents", ())]
            if not found.get("IsTruncated"):
                return
            options["ContinuationToken"] = found["NextContinuationToken"]


async def _content(body: Any) -> bytes:
    async with body:
        content: bytes = await body.read()
        return content


def _check_size(files: Any, key: str, size: int) -> None:
    if files.size(key) != size:
        raise TransientError(f"{key} arrived incomplete")
