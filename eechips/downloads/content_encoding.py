"""Codings of content: files that come compressed, although they were asked for as they are; stores keep some so."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from eechips.downloads.expected_file import ExpectedFile
from eechips.errors import PermanentError, TransientError

_NONE = frozenset({"", "identity", "aws-chunked"})
"""Codings that change nothing. The last is one of requests to S3, which some stores keep, and tell."""
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})
_EITHER = zlib.MAX_WBITS | 32  # what a stream begins with says which of the two it is


def content_encodings(headers: Mapping[str, str], expected: ExpectedFile) -> tuple[str, ...]:
    """What was done to a file before it was sent (RFC 9110, 8.4), in that order.

    A file that is a gzip file is not what its coding would make of it: servers tell of both in the same way.

    Args:
        headers: of the answer.
        expected: what the file is to be.

    Raises:
        PermanentError: if nobody here can undo it.
    """
    named = (name.strip().lower() for name in headers.get("Content-Encoding", "").split(","))
    found = tuple(name for name in named if name not in _NONE)
    if expected.is_gzip and len(found) == 1 and found[0] in ("gzip", "x-gzip"):
        return ()
    for name in found:
        if name not in _KNOWN:
            raise PermanentError(f"it comes in the coding {name[:40]!r}, which nobody has asked for")
    return found


def decoded(pieces: Iterable[bytes], codings: Sequence[str], largest: int) -> Iterator[bytes]:
    """The content that was coded, piece by piece.

    Args:
        pieces: what comes.
        codings: see :func:`content_encodings`.
        largest: bytes of a piece; what is small as it comes may be large.

    Raises:
        TransientError: if it is damaged, or ends before its end, which a connection need not tell.
    """
    found = iter(pieces)
    for _ in codings:
        found = _inflated(found, largest)
    return found


def _inflated(pieces: Iterable[bytes], largest: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(_EITHER)
    try:
        for piece in pieces:
            left = piece
            while left:
                if stream.eof:  # several of gzip, one after the other, are one (RFC 1952, 2.2)
                    stream = zlib.decompressobj(_EITHER)
                if data := stream.decompress(left, largest):
                    yield data
                left = stream.unused_data if stream.eof else stream.unconsumed_tail
    except zlib.error as error:
        raise TransientError(f"what comes compressed is damaged: {error}") from None
    if not stream.eof:
        raise TransientError("truncated: what comes compressed has ended before its end")
