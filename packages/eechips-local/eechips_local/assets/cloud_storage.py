"""Decide whether an object of Cloud Storage is read from the folder that stands for buckets (``--buckets``), from Cloud
Storage itself (``--allow-remote``), or not.
"""

from __future__ import annotations

from pathlib import Path

from eechips_local.assets.bucket_objects import find_object, parse_uri
from eechips_local.evaluation.context import Context
from eechips_local.protocol.request_errors import InvalidError


def local_object(context: Context, uri: str) -> Path | None:
    """Return the file that stands for an object; None if the object is in Cloud Storage itself.

    Objects of a server with a folder of buckets are in that folder only.

    Args:
        context: context of the request.
        uri: ``gs://bucket/object``.

    Raises:
        InvalidError: if the URI is invalid, the object is not there, or this server reads no remote files.
    """
    parse_uri(uri)
    if context.buckets is not None:
        return find_object(context.buckets, uri)
    if not context.remote:
        raise InvalidError(
            f"{uri[:200]} is not on this machine, and this server reads no remote files: start it with "
            "--buckets DIR, where DIR/bucket/object stands for it, or with --allow-remote."
        )
    return None
