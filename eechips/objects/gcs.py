"""Google Cloud Storage, by gcsfs."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eechips.errors import TransientError
from eechips.objects.dialect import Page

_CHECKED_AT_ONCE = 50_000_000
"""Bytes up to which gcsfs sends an object in one piece, and compares the md5 in the answer."""
_log = logging.getLogger("gcsfs")
_FIELDS = "items(name,size),nextPageToken"


class Gcs:
    """A bucket of Google Cloud Storage."""

    is_atomic = True

    def __init__(self) -> None:
        # Unless a program wants to see them: what gcsfs says of requests that failed is a page for each.
        if not _log.handlers:
            _log.addHandler(logging.NullHandler())

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Uploads, and compares the md5 that the store has found."""
        files.pipe_file(key, data, consistency="md5")
        if len(data) >= _CHECKED_AT_ONCE:
            wanted = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
            if files.info(key).get("md5Hash") != wanted:
                raise TransientError(f"{key} arrived with another content")

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Uploads a file, piece by piece, and compares the md5."""
        files.put_file(str(path), key, callback=callback, consistency="md5")

    def read(self, files: Any, key: str) -> bytes:
        """Reads an object."""
        content: bytes = files.cat_file(key)
        return content

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Objects, 1,000 a page."""
        bucket, _, start = prefix.partition("/")
        options: dict[str, Any] = {} if size is None else {"maxResults": size}
        while True:
            found = files.call("GET", "b/{}/o", bucket, prefix=start, fields=_FIELDS, json_out=True, **options)
            yield [(f"{bucket}/{each['name']}", int(each["size"])) for each in found.get("items", ())]
            if not found.get("nextPageToken"):
                return
            options["pageToken"] = found["nextPageToken"]
