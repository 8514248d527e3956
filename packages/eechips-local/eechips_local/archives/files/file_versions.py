"""Tell versions of an archive's files apart by ETag, date, size and digests, whichever of a host's servers answers;
state that a file has changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from eechips_local.archives.archive_errors import ArchiveRefusedError

# Each names the bytes of a whole file: RFC 9530; x-ms-blob-content-md5 of Azure's Get Blob; hashes and generations of
# Google Cloud Storage (https://cloud.google.com/storage/docs/xml-api/reference-headers); versions of S3, which copies
# in other regions keep (https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication.html).
_MARKS = ("Repr-Digest", "x-ms-blob-content-md5", "x-goog-hash", "x-goog-generation", "x-amz-version-id")
_DIGESTS = ("Repr-Digest", "x-goog-hash")  # of one or several algorithms
_NUMBERS = ("x-goog-generation", "x-amz-version-id")  # copies of the same bytes may have others
_TEXT = re.compile(r'(?:(W/)?("[^"]*"))?(.*?)([0-9]+)((?: [A-Za-z0-9-]+=\S+)*)')
# Apache: number in the file system, size and microseconds since 1970
# (https://httpd.apache.org/docs/2.4/mod/core.html#fileetag).
_APACHE = re.compile(r'"[0-9a-f]+-([0-9a-f]+)-([0-9a-f]{12,14})"')


class ChangedFileError(ArchiveRefusedError):
    """A file is not the one whose header was read."""


@dataclass(frozen=True, slots=True)
class _Version:
    """Parts of a version's text.

    Attributes:
        is_weak: whether its ETag is weak.
        tag: its ETag in quotation marks, or "".
        time: its Last-Modified, or "".
        size: bytes of the file.
        marks: values of headers that name its bytes, by header and algorithm.
    """

    is_weak: bool
    tag: str
    time: str
    size: int
    marks: Mapping[str, str]

    @property
    def apache_stamp(self) -> str:
        """Size and time of an ETag of Apache, which are the same at all servers with one file; "" if it is another."""
        match = None if self.is_weak else _APACHE.fullmatch(self.tag)
        return match[2] if match is not None and int(match[1], 16) == self.size else ""


def describe_version(headers: Mapping[str, str], size: int) -> str:
    """Return the text of a file's version, from the headers of a response and the file's bytes."""
    values = {name: "".join(headers.get(name, "").split()) for name in _MARKS}
    marks = [f"{name}={value}" for name, value in values.items() if value not in ("", "null")]
    return " ".join(filter(None, (headers.get("ETag"), headers.get("Last-Modified"), str(size), *marks)))


def is_same_version(one: str, other: str) -> bool:
    """Return whether two versions of a file are the same bytes.

    Digests of one algorithm that differ say no, whatever else agrees. Two strong ETags that agree say yes: servers of
    one host may differ in times. A weak one does not (RFC 9110, 8.8.1): time and size must agree, too. Servers that
    give a file different ETags say that its bytes differ, unless a digest or a number of its version agrees, or the
    ETags are Apache's and differ in the file system's number only.
    """
    first, second = _parse(one), _parse(other)
    if one == other or first is None or second is None:
        return one == other
    agreements = {name: value == second.marks[name] for name, value in first.marks.items() if name in second.marks}
    is_digest_other = any(not is_equal and name not in _NUMBERS for name, is_equal in agreements.items())
    if first.size != second.size or is_digest_other:
        return False
    if any(agreements.values()):
        return True
    is_same_time = first.time == second.time
    if first.tag == second.tag:
        return is_same_time or bool(first.tag and not (first.is_weak or second.is_weak))
    return is_same_time and bool(first.apache_stamp) and first.apache_stamp == second.apache_stamp


def etag_of(version: str) -> str:
    """Return the ETag of a version, without the sign of a weak one; the version itself if it has none."""
    parsed = _parse(version)
    return version if parsed is None or not parsed.tag else parsed.tag


def changed_file(shown: str) -> ChangedFileError:
    """Return the error of a file that has changed, by the address that messages may show."""
    return ChangedFileError(
        f"{shown} has changed since it was first read: nothing of it is mixed with what was read before. Start again "
        "to read the new file. If it then fails likewise, its host's servers name its versions (ETags) differently: "
        "read it from another archive, or a copy of it from a folder."
    )


def _parse(version: str) -> _Version | None:
    match = _TEXT.fullmatch(version)
    if match is None:
        return None
    weak, tag, time, size, marks = match.groups()
    named: dict[str, str] = {}
    for name, value in (mark.split("=", 1) for mark in marks.split()):
        if name in _DIGESTS:
            parts = (part.partition("=") for part in value.split(","))
            named |= {f"{name} {algorithm.lower()}": digest for algorithm, _, digest in parts}
        else:
            named[name] = value
    return _Version(bool(weak), tag or "", time.strip(), int(size), named)
