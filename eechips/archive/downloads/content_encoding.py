"""Decode files that arrive with a content encoding although none was requested; some stores keep encoded objects."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from eechips.errors import PermanentError, TransientError

if TYPE_CHECKING:  # readers of windows have no room for what it imports
    from eechips.archive.downloads.expected_file import ExpectedFile

_NONE = frozenset({"", "identity", "aws-chunked"})
"""Encodings that change nothing. The last belongs to uploads to S3; some stores keep and repeat it."""
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})
_EITHER = zlib.MAX_WBITS | 32  # zlib detects zlib and gzip headers


def named_encodings(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the content encodings that a response names, without those that change nothing."""
    named = (name.strip().lower() for name in headers.get("Content-Encoding", "").split(","))
    return tuple(name for name in named if name not in _NONE)


def content_encodings(headers: Mapping[str, str], expected: ExpectedFile) -> tuple[str, ...]:
    """Return the content encodings of a response in the order of their application (RFC 9110, 8.4).

    The encoding of a file that itself is a gzip file is ignored: servers label both cases alike.

    Raises:
        PermanentError: if an encoding is unsupported.
    """
    codings = named_encodings(headers)
    if expected.is_gzip and len(codings) == 1 and codings[0] in ("gzip", "x-gzip"):
        return ()
    for name in codings:
        if name not in _KNOWN:
            raise PermanentError(f"the response has the unsupported content encoding {name[:40]!r}")
    return codings


def decoded(pieces: Iterable[bytes], codings: Sequence[str], largest: int) -> Iterator[bytes]:
    """Decode a body chunk by chunk.

    Args:
        largest: bytes of a decoded chunk; few encoded bytes may expand to many.

    Raises:
        TransientError: if the body is damaged or truncated, which the connection need not reveal.
    """
    chunks = iter(pieces)
    for _ in codings:
        chunks = _inflated(chunks, largest)
    return chunks


def _inflated(pieces: Iterable[bytes], largest: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(_EITHER)
    try:
        for piece in pieces:
            left = piece
            while left:
                if stream.eof:  # concatenated gzip members form one file (RFC 1952, 2.2)
                    stream = zlib.decompressobj(_EITHER)
                if data := stream.decompress(left, largest):
                    yield data
                left = stream.unused_data if stream.eof else stream.unconsumed_tail
    except zlib.error as error:
        raise TransientError(f"the compressed body is damaged: {error}") from None
    if not stream.eof:
        raise TransientError("truncated: the compressed body ends early")
