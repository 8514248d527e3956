"""Find objects of Cloud Storage: in the folder that stands for buckets, or in Cloud Storage itself."""

from __future__ import annotations

from pathlib import Path

from eechips.emulator.context import Context
from eechips.emulator.request_errors import InvalidError

SCHEME = "gs://"


def check_url(url: str) -> tuple[str, str]:
    """Return bucket and key of an object's URL.

    Raises:
        InvalidError: if it is none.
    """
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or not bucket or not key or "::" in url:  # fsspec chains addresses by "::"
        raise InvalidError(f"Invalid Cloud Storage URL '{url[:200]}'. Must be 'gs://bucket/object'.")
    return bucket, key


def local_object(context: Context, url: str) -> Path | None:
    """Return the file that stands for an object; None if the object is in Cloud Storage itself.

    Objects of a server with a folder of buckets are in that folder only, links to elsewhere excluded.

    Args:
        context: of the request.
        url: of the object.

    Raises:
        InvalidError: if the URL is invalid, the object is not there, or this server reads no remote files.
    """
    bucket, key = check_url(url)
    if context.buckets is None:
        if not context.remote:
            raise InvalidError(
                f"{url[:200]} is not on this machine, and this server reads no remote files: start it with "
                "--buckets DIR, where DIR/bucket/object stands for it, or with --allow-remote (a run: --local-remote)."
            )
        return None
    root = (context.buckets / bucket).resolve()
    path = (root / key).resolve()
    inside = root.parent == context.buckets.resolve() and path.is_relative_to(root)
    if "\x00" in url or not inside or not path.is_file():
        raise InvalidError(f"{url[:200]} was not found.")
    return path
