"""``ee.Blob``: files in Google Cloud Storage, read as text: encodings, the greatest size."""

from __future__ import annotations

import codecs

from eechips_local.assets.bucket_objects import not_found, parse_uri
from eechips_local.assets.cloud_storage import local_object
from eechips_local.evaluation.context import Context
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.values import Blob


@function("Blob")
def blob(url: str) -> Blob:
    """Return a file in a bucket; it is read when its contents are used."""
    parse_uri(url)
    return Blob(url)


@function("Blob.url")
def url(blob: Blob) -> str:
    """Return the address of a file."""
    return blob.url


@function("Blob.string")
def string(context: Context, blob: Blob, encoding: str | None) -> str:
    """Return the contents of a file. Bytes that the encoding does not have become U+FFFD, as in Java."""
    try:
        codec = codecs.lookup(encoding or "UTF-8")
        if not codec._is_text_encoding:
            raise LookupError
    except (LookupError, ValueError):
        raise InvalidError(f"Unknown encoding '{str(encoding)[:100]}'.") from None
    return codec.decode(_read(context, blob.url), "replace")[0]


def _read(context: Context, url: str) -> bytes:
    """Return a file's bytes.

    Raises:
        InvalidError: if this server reads no remote files, has no client for them, or the file is not there.
        LimitError: if it has more bytes than a response may have.
    """
    import fsspec

    most = context.limits.response
    path = local_object(context, url)
    try:
        with fsspec.open(url, "rb") if path is None else path.open("rb") as file:
            content: bytes = file.read(most + 1)
    except ImportError:
        raise InvalidError("Files in Cloud Storage need gcsfs: pip install 'eechips-local[gcs]'.") from None
    except FileNotFoundError:
        raise not_found(url) from None
    except OSError as error:
        raise InvalidError(f"{url[:200]} cannot be read: {str(error)[:200]}") from error
    if len(content) > most:
        raise MemoryLimitError()
    return content
