"""Azure Blob Storage, by adlfs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eechips.objects.dialect import Page

_CONCURRENCY = 2  # parts of a file that are under way


class Azure:
    """A container of Azure Blob Storage."""

    is_atomic = True

    def put(self, files: Any, key: str, data: bytes, sha256: bytes) -> None:
        """Uploads; Azure refuses what has another md5, which its client sends along."""
        files.pipe_file(key, data, validate_content=True)

    def upload(self, files: Any, path: Path, key: str, callback: Any) -> None:
        """Uploads a file, each of its parts with its md5."""
        files.put_file(str(path), key, callback=callback, max_concurrency=_CONCURRENCY, validate_content=True)

    def read(self, files: Any, key: str) -> bytes:
        """Reads an object."""
        content: bytes = files.cat_file(key)
        return content

    def pages(self, files: Any, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Blobs, 5,000 a page."""
        from azure.core.exceptions import ResourceNotFoundError
        from fsspec.asyn import sync

        container, _, start = prefix.partition("/")
        token: str | None = None
        while True:
            try:
                page, token = sync(files.loop, _page, files, container, start, size, token)
            except ResourceNotFoundError as error:
                raise FileNotFoundError(container) from error
            yield page
            if not token:
                return


async def _page(files: Any, container: str, start: str, size: int | None, token: str | None) -> tuple[Page, str | None]:
    """A page of blobs, and the token of the next."""
    async with files.service_client.get_container_client(container) as client:
        pages = client.list_blobs(name_starts_with=start, results_per_page=size).by_page(token)
        async for page in pages:
            return [(f"{container}/{blob.name}", int(blob.size)) async for blob in page], pages.continuation_token
    return [], None
