"""Find objects of Cloud Storage in the folder whose folders stand for buckets."""

from __future__ import annotations

import os
import re
from pathlib import Path

from eechips.emulator.request_errors import InvalidError

_URI = re.compile(r"gs://([^/]+)/(.+)", re.DOTALL)
# https://cloud.google.com/storage/docs/buckets#naming
BUCKET = re.compile(r"[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9]")
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\\]")


def find_object(buckets: Path | None, uri: str) -> Path:
    """Return the file of an object.

    Args:
        buckets: folder of folders that stand for buckets, or None.
        uri: ``gs://bucket/object``.

    Raises:
        InvalidError: if there is no such folder or file, the URI is none, or it leads out of the bucket's folder.
    """
    if buckets is None:
        raise InvalidError("This local Earth Engine has no folder for Cloud Storage: start it with --buckets DIR.")
    match = _URI.fullmatch(uri)
    if match is None or not BUCKET.fullmatch(match.group(1)):
        raise InvalidError(f"Invalid Cloud Storage URI: '{uri[:200]}'. URIs look like gs://bucket/object.")
    bucket, name = match.groups()
    parts = name.split("/")
    if _NOT_IN_NAMES.search(name) or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
        raise InvalidError(f"Invalid Cloud Storage URI: '{uri[:200]}' is not the name of a file.")
    path = buckets / bucket / name
    if not path.is_file():
        raise InvalidError(f"Cloud Storage object not found: '{uri[:200]}'.")
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(buckets / bucket)):
        raise InvalidError(f"Cloud Storage object not found: '{uri[:200]}' leads out of its bucket.")
    return path
