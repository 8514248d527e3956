"""Check downloaded files: that they begin as their kind does (no HTML pages), are not truncated, and match digests; put
files that fail into quarantine.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
from collections.abc import Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

from eechips.errors import ValidationError
from eechips.files.removal import ReservedName, remove, replace
from eechips.formats.tiff_layout import find_end
from eechips.storage import write_file
from eechips.storage.untrusted_files import parse_json
from eechips.text.timestamps import utc_now


def create_digest(algorithm: str) -> Any:
    """Create an empty digest.

    Args:
        algorithm: name as in hashlib; for BLAKE2 with the size of the digest in bytes, such as ``blake2b-32``.
    """
    name, _, size = algorithm.partition("-")
    if size:
        return {"blake2b": hashlib.blake2b, "blake2s": hashlib.blake2s}[name](digest_size=int(size))
    return hashlib.new(name, usedforsecurity=False)


_HDF5 = b"\x89HDF\r\n\x1a\n"
_JP2_BOX, _JP2_END = b"jP  ", b"\xff\xd9"
_SUPERBLOCK = 48  # bytes of the smallest superblock
_UNKNOWN = -1
VAGUE_TYPES = ("", "application/octet-stream", "binary/octet-stream", "application/x-binary")
"""Media types without meaning."""
_MAGIC = {
    "zip": (b"PK\x03\x04", b"PK\x05\x06"),
    "nc": (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n"),
    "h5": (b"\x89HDF\r\n\x1a\n",),
    "hdf": (b"\x89HDF\r\n\x1a\n", b"\x0e\x03\x13\x01"),
    "gz": (b"\x1f\x8b",),
    "parquet": (b"PAR1",),
    "pdf": (b"%PDF",),
    "xml": (b"<",),
    "json": (b"{", b"["),
}
"""First bytes by kind of file; https://docs.hdfgroup.org, https://docs.unidata.ucar.edu/netcdf-c."""
_KINDS = {
    "application/zip": "zip",
    "application/netcdf": "nc",
    "application/x-netcdf": "nc",
    "application/x-hdf5": "h5",
    "application/x-hdf": "hdf",
    "application/gzip": "gz",
    "application/x-gzip": "gz",
    "application/vnd.apache.parquet": "parquet",
    "application/pdf": "pdf",
    "application/xml": "xml",
    "text/xml": "xml",
    "application/json": "json",
    "application/geo+json": "json",
}
_SYNONYMS = {"nc4": "nc", "hdf5": "h5", "he5": "h5", "geojson": "json", "tgz": "gz"}
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|script)\b",
    re.I | re.S,
)
"""The beginning of an HTML page."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_HEAD = 2048  # bytes that identify the kind of a file


def check_kind(path: Path, media_type: str | None, suffix: str, *, may_be_empty: bool) -> None:
    """Check that a file begins and ends like its kind; servers may send HTML pages instead of any file.

    Args:
        media_type: media type of the file, if it is known.

    Raises:
        ValidationError: if the file is empty, an HTML page, of another kind, or truncated.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head and not may_be_empty:
        raise ValidationError("the file is empty")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _PAGE.match(head) and "html" not in normal_type(media_type) and suffix not in ("html", "htm"):
        raise ValidationError("the file is an HTML page, such as a login page: set `auth` to authenticate")
    name = kind_of(media_type, suffix)
    begins = _MAGIC.get(name)
    if head.startswith(_UTF16) and name in ("xml", "json"):
        return
    if begins and not (text if name in ("xml", "json") else head).startswith(begins):
        raise ValidationError(f"the file does not begin like {name}, but with {head[:16]!r}")
    check_end(path, name)


def kind_of(media_type: str | None, suffix: str) -> str:
    """Return the kind of a file by its media type, or by its suffix where the media type has no meaning."""
    kind = normal_type(media_type)
    return _KINDS.get(kind) or (_SYNONYMS.get(suffix, suffix) if kind in VAGUE_TYPES else "")


def is_known_suffix(suffix: str) -> bool:
    """Return whether a suffix names a kind of file whose first bytes are known."""
    return suffix in _MAGIC or suffix in _SYNONYMS


def normal_type(value: Any) -> str:
    """Return a media type in lower case without parameters; empty if there is none."""
    return str(value or "").partition(";")[0].strip().lower()


def check_end(path: Path, kind: str) -> None:
    """Check that a file is not truncated, if its format states its end.

    Args:
        kind: ``tif``, ``zip``, ``parquet``, ``h5``, ``nc``, ``hdf`` or ``jp2``; others are not checked.

    Raises:
        ValidationError: if the file is truncated.
    """
    size = path.stat().st_size
    if kind == "zip" and not zipfile.is_zipfile(path):
        raise ValidationError(
            f"the file is truncated: it has {size:,} bytes, without the directory at the end of a zip file"
        )
    with path.open("rb") as file:
        if kind == "parquet" and (size < 12 or _tail(file, 4) != b"PAR1"):
            raise ValidationError(f"the file is truncated: it has {size:,} bytes, without the end of a Parquet file")
        end = 0
        if kind in ("h5", "nc", "hdf"):
            end = _end_of_hdf5(file)
        elif kind == "tif" and size:
            with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                end = find_end(content)
        elif kind == "jp2":
            end = _end_of_jp2(file, size)
    if end == _UNKNOWN or size < end:
        should = f"instead of {end:,}" if end > 0 else "without the end of its format"
        raise ValidationError(f"the file is truncated: it has {size:,} bytes {should}")


def _end_of_hdf5(file: BinaryIO) -> int:
    """Return the size of an HDF5 file from its superblock, in bytes; 0 for other files.

    https://docs.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, II.A.
    """
    head = file.read(96)
    if not head.startswith(_HDF5):
        return 0
    if len(head) < _SUPERBLOCK:
        return _UNKNOWN
    version = head[8]
    width, first = (head[13], 24 + 4 * (version == 1)) if version < 2 else (head[9], 12)
    base, _, end = (int.from_bytes(head[first + i * width : first + (i + 1) * width], "little") for i in range(3))
    return base + end


def _end_of_jp2(file: BinaryIO, size: int) -> int:
    """Return the size of a JPEG 2000 file from its boxes, in bytes (ISO 15444-1, I.4).

    Returns:
        0 if the boxes do not state it, ``_UNKNOWN`` if the end of the codestream is missing.
    """
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        if place == 0 and head[4:8] != _JP2_BOX:  # a codestream without boxes
            return 0 if _tail(file, 2) == _JP2_END else _UNKNOWN
        if len(head) < 8:
            return _UNKNOWN
        (length,) = struct.unpack(">I", head[:4])
        if length == 0:  # the box reaches to the end of the file
            return 0 if _tail(file, 2) == _JP2_END else _UNKNOWN
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
        if length < 8:
            return _UNKNOWN
        place += length
    return place


def _tail(file: BinaryIO, count: int) -> bytes:
    """Read the last bytes of a file that has at least as many."""
    file.seek(-count, io.SEEK_END)
    return file.read(count)


QUARANTINE = "quarantine"
"""Folder of the run for files that fail their checks: ``<id>.<suffix>`` is the file, ``<id>.json`` the reason."""


def quarantine(folder: Path, identifier: str, file: Path, suffix: str, reason: Mapping[str, Any]) -> Path:
    """Move a file into quarantine with the reason; replace an earlier one of the same unit, and return its path."""
    place = folder / QUARANTINE
    place.mkdir(parents=True, exist_ok=True)
    kept = place / (f"{identifier}.{suffix}" if suffix else identifier)
    release(folder, identifier)
    note = {**reason, "file": kept.name if file.exists() else None, "quarantined": utc_now()}
    text = json.dumps(note, indent=2, ensure_ascii=False) + "\n"
    # First: a file without a note would have no owner.
    write_file(place / f"{identifier}.json", text.encode(), is_one_of_many=True)
    if file.exists():
        replace(file, kept)
    return kept


def release(folder: Path, identifier: str) -> None:
    """Remove a unit's file from quarantine, once the unit has succeeded.

    The folder stays even if it is empty: another thread may be about to use it.
    """
    note = folder / QUARANTINE / f"{identifier}.json"
    try:
        kept = parse_json(note.read_bytes())["file"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        kept = None
    if isinstance(kept, str) and kept.partition(".")[0] == identifier:
        remove(note.with_name(kept), ReservedName(QUARANTINE))
    remove(note, ReservedName(QUARANTINE))
