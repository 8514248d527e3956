"""Parse ``gs://`` URIs, and find objects of Cloud Storage in the folder whose folders stand for buckets
(``--buckets``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from eechips_local.protocol.request_errors import InvalidError

# https://cloud.google.com/storage/docs/buckets#naming
BUCKET = re.compile(r"[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9]")
_URI = re.compile(rf"gs://({BUCKET.pattern})/(.+)", re.DOTALL)
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\\]|::")  # fsspec chains addresses by "::"


def parse_uri(uri: str) -> tuple[str, str]:
    """Return bucket and name of an object.

    Args:
        uri: ``gs://bucket/object``.

    Raises:
        InvalidError: if it is something else.
    """
    match = _URI.fullmatch(uri)
    if match is None or _NOT_IN_NAMES.search(uri):
        raise InvalidError(f"Invalid Cloud Storage URI: '{uri[:200]}'. URIs look like gs://bucket/object.")
    return match[1], match[2]


def find_object(buckets: Path | None, uri: str) -> Path:
    """Return the file of an object. Names with a dot in front are those of unfinished files.

    Args:
        buckets: folder of folders that stand for buckets, or None.
        uri: ``gs://bucket/object``.

    Raises:
        InvalidError: if there is no such folder or file, the URI is none, or it leads out of the bucket's folder.
    """
    if buckets is None:
        raise InvalidError("This local Earth Engine has no folder for Cloud Storage: start it with --buckets DIR.")
    bucket, name = parse_uri(uri)
    parts = name.split("/")
    if any(not part or part.startswith(".") or len(part.encode()) > 255 for part in parts):
        raise InvalidError(f"Invalid Cloud Storage URI: '{uri[:200]}' is not the name of a file.")
    path = buckets / bucket / name
    is_inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(buckets / bucket))
    if not is_inside or not path.is_file():
        raise not_found(uri)
    return path


def not_found(uri: str) -> InvalidError:
    """Return the error of an object that is not there."""
    return InvalidError(f"Cloud Storage object not found: '{uri[:200]}'.")
