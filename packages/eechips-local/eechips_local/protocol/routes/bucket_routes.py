"""Let clients of Cloud Storage read the folders that stand for buckets, where exports are.

Clients find the server by the variable ``STORAGE_EMULATOR_HOST``. See https://cloud.google.com/storage/docs/json_api/v1.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from eechips_local.assets.bucket_objects import BUCKET, find_object
from eechips_local.protocol.http import json_response
from eechips_local.protocol.pages import page, window
from eechips_local.protocol.request_errors import InvalidError, NotFoundError
from eechips_local.protocol.service import Service

_MEDIA_TYPE = "application/octet-stream"
_PAGE = 1000


async def list_objects(service: Service, request: Request) -> Response:
    """Return a page of the objects of a bucket whose names begin with ``prefix``."""
    parameters = dict(request.query_params)
    if "maxResults" in parameters:
        parameters["pageSize"] = parameters["maxResults"]
    start, size = window(parameters, _PAGE, _PAGE)
    root, prefix = _bucket(service, request), parameters.get("prefix", "")
    objects = await asyncio.to_thread(_find, root, request.path_params["bucket"], prefix)
    items, rest = page(iter(objects), start, size)
    return json_response({"kind": "storage#objects", **({"items": items} if items else {}), **rest})


async def read_object(service: Service, request: Request) -> Response:
    """Return an object's content with ``alt=media``, else its metadata."""
    _bucket(service, request)
    bucket, name = request.path_params["bucket"], request.path_params["object"]
    try:
        path = await asyncio.to_thread(find_object, service.tasks.config.buckets, f"gs://{bucket}/{name}")
    except InvalidError as error:
        raise NotFoundError(str(error)) from error
    if request.query_params.get("alt") == "media":
        return FileResponse(path, media_type=_MEDIA_TYPE)
    return json_response(_describe(bucket, name, path))


def _bucket(service: Service, request: Request) -> Path:
    """Return the folder of a bucket. Exports make it, so that it may be missing.

    Raises:
        NotFoundError: if the server has no buckets.
        InvalidError: if the name is none of a bucket.
    """
    buckets, name = service.tasks.config.buckets, request.path_params["bucket"]
    if buckets is None:
        raise NotFoundError("This local Earth Engine has no folder for Cloud Storage: start it with --buckets DIR.")
    if not BUCKET.fullmatch(name):
        raise InvalidError(f"Invalid bucket name: '{name[:100]}'.")
    return Path(buckets, name)


def _find(root: Path, bucket: str, prefix: str) -> list[dict[str, Any]]:
    """Return the metadata of objects in the order of their names."""
    objects = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [subfolder for subfolder in folders if not subfolder.startswith(".")]
        for file in files:
            name = Path(folder, file).relative_to(root).as_posix()
            if name.startswith(prefix) and not file.startswith("."):
                with suppress(InvalidError, FileNotFoundError):  # links, pipes, and files that are gone are no objects
                    objects[name] = _describe(bucket, name, find_object(root.parent, f"gs://{bucket}/{name}"))
    return [objects[name] for name in sorted(objects)]


def _describe(bucket: str, name: str, path: Path) -> dict[str, Any]:
    about = path.stat()
    updated = datetime.fromtimestamp(about.st_mtime, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(about.st_size),
        "updated": updated,
        "contentType": _MEDIA_TYPE,
    }


ROUTES = (
    ("GET", "/storage/v1/b/{bucket}/o", list_objects),
    ("GET", "/storage/v1/b/{bucket}/o/{object:path}", read_object),
    ("GET", "/download/storage/v1/b/{bucket}/o/{object:path}", read_object),
)
