"""Digests by the names that checksums have."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from eechips.errors import ValidationError
from eechips.received_files import parse_json
from eechips.removal import Reserved, remove, replace
from eechips.storage import write_file
from eechips.timestamps import utc_now


def create_digest(algorithm: str) -> Any:
    """A digest of nothing as yet.

    Args:
        algorithm: of hashlib; of BLAKE2 with the bytes of the digest, as ``blake2b-32``.
    """
    name, _, size = algorithm.partition("-")
    if size:
        return {"blake2b": hashlib.blake2b, "blake2s": hashlib.blake2s}[name](digest_size=int(size))
    return hashlib.new(name, usedforsecurity=False)


_HDF5 = b"\x89HDF\r\n\x1a\n"
_JP2_BOX, _JP2_END = b"jP  ", b"\xff\xd9"
_SUPERBLOCK = 48  # bytes of the smallest one
_MOST_DIRECTORIES = 4_096  # of a TIFF file: one that has more was made to keep us busy
_DIRECTORIES = 330  # the tag of a TIFF file whose values are the places of further directories
_BLOCKS = ((273, 279), (324, 325))  # those of the places and the bytes of strips, and of tiles
_PLACES = {_DIRECTORIES, *itertools.chain(*_BLOCKS)}
_TIFF_TYPES = {
    1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u8", 6: "u1", 7: "u1", 8: "u2", 9: "u4", 10: "u8", 11: "u4", 12: "u8",
    13: "u4", 16: "u8", 17: "u8", 18: "u8",
}  # fmt: skip
"""Of its values: numbers without sign that take as many bytes."""
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class _Tiff:
    """How numbers are written in a TIFF file.

    Attributes:
        order: of their bytes, as :mod:`struct` names it.
        is_big: whether places are of eight bytes, not of four.
    """

    order: str
    is_big: bool

    def number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")


def check_end(path: Path, kind: str) -> None:
    """Sees whether a file of a kind that tells of its end has it.

    Args:
        path: of the file.
        kind: ``tif``, ``zip``, ``parquet``, ``h5``, ``nc``, ``hdf`` or ``jp2``; others are not looked at.

    Raises:
        ValidationError: if its end is missing.
    """
    size = path.stat().st_size
    if kind == "zip" and not zipfile.is_zipfile(path):
        raise ValidationError(
            f"it is cut: it has {size:,} bytes, and no list of what is in it, with which zip files end"
        )
    with path.open("rb") as file:
        if kind == "parquet" and (size < 12 or _tail(file, 4) != b"PAR1"):
            raise ValidationError(f"it is cut: it has {size:,} bytes, and not the end of a Parquet file")
        end = 0
        if kind in ("h5", "nc", "hdf"):
            end = _end_of_hdf5(file)
        elif kind == "tif":
            end = _end_of_tiff(file, size)
        elif kind == "jp2":
            end = _end_of_jp2(file, size)
    if end == _UNKNOWN or size < end:
        should = f"should have {end:,}" if end > 0 else "not the end of such a file"
        raise ValidationError(f"it is cut: it has {size:,} bytes, and {should}")


def _end_of_tiff(file: BinaryIO, size: int) -> int:
    """Where the last of a TIFF file's directories, of what they point to, and of its blocks ends.

    https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, section 2, and of BigTIFF
    https://www.awaresystems.be/imaging/tiff/bigtiff.html.
    """
    head = file.read(16)
    tiff = _Tiff("<" if head.startswith(b"II") else ">", is_big=head[2:4] in (b"+\0", b"\0+"))
    end = len(head)
    todo = [tiff.number(head[8:16] if tiff.is_big else head[4:8])]
    seen: set[int] = set()
    while todo and end <= size and len(seen) < _MOST_DIRECTORIES:
        place = todo.pop()
        if place and place not in seen:
            seen.add(place)
            end = max(end, _end_of_directory(file, size, tiff, place, todo))
    return end


def _end_of_directory(file: BinaryIO, size: int, tiff: _Tiff, place: int, further: list[int]) -> int:
    """Where a directory, what it points to, or the last of its blocks ends: as far as is known, if it is cut.

    Args:
        file: open.
        size: bytes of the file.
        tiff: how its numbers are written.
        place: of the directory.
        further: takes the places of others.
    """
    wide, width = (8, 20) if tiff.is_big else (2, 12)
    room = 8 if tiff.is_big else 4  # bytes of a value, or of its place
    file.seek(place)
    count = tiff.number(file.read(wide))
    end = place + wide + count * width + room
    if end > size:
        return end
    data = file.read(count * width + room)
    further.append(tiff.number(data[count * width :]))
    arrays: dict[int, npt.NDArray[np.uint64]] = {}
    for start in range(0, count * width, width):
        tag, kind = tiff.number(data[start : start + 2]), tiff.number(data[start + 2 : start + 4])
        length = tiff.number(data[start + 4 : start + width - room])
        value = data[start + width - room : start + width]
        form = _TIFF_TYPES.get(kind)
        if form is None:
            continue
        taken = np.dtype(form).itemsize * length
        if taken > room:
            at = tiff.number(value)
            end = max(end, at + taken)
            if end > size:
                return end
            if tag in _PLACES:
                file.seek(at)
                value = file.read(taken)
        if tag in _PLACES:
            arrays[tag] = np.frombuffer(value[:taken], tiff.order + form).astype("u8")
    further.extend(int(each) for each in arrays.get(_DIRECTORIES, ()))
    for offsets, counts in _BLOCKS:
        if offsets in arrays and counts in arrays:
            least = min(len(arrays[offsets]), len(arrays[counts]))
            starts, sizes = arrays[offsets][:least], arrays[counts][:least]
            ends = (starts + sizes)[(starts > 0) & (sizes > 0)]  # others have no pixels
            end = max(end, int(ends.max(initial=0)))
    return end


def _end_of_hdf5(file: BinaryIO) -> int:
    """Bytes of an HDF5 file, as its superblock has them; 0 for what is none.

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
    """Bytes of a JPEG 2000 file, as its boxes have them (ISO 15444-1, I.4).

    Returns:
        0 if they do not say, ``_UNKNOWN`` if it has not the end of its pixels.
    """
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        if place == 0 and head[4:8] != _JP2_BOX:  # pixels alone
            return 0 if _tail(file, 2) == _JP2_END else _UNKNOWN
        if len(head) < 8:
            return _UNKNOWN
        (length,) = struct.unpack(">I", head[:4])
        if length == 0:  # to the end of the file
            return 0 if _tail(file, 2) == _JP2_END else _UNKNOWN
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
        if length < 8:
            return _UNKNOWN
        place += length
    return place


def _tail(file: BinaryIO, count: int) -> bytes:
    """The last bytes of a file, which has as many."""
    file.seek(-count, io.SEEK_END)
    return file.read(count)


QUARANTINE = "quarantine"
"""In the folder of the run: ``<id>.<suffix>`` is the file, ``<id>.json`` says what is wrong with it."""


def quarantine(folder: Path, identifier: str, file: Path, suffix: str, reason: Mapping[str, Any]) -> Path:
    """Puts a file there, with the reason; one of the same unit is replaced.

    Args:
        folder: of the run.
        identifier: of the unit.
        file: the file.
        suffix: of its address.
        reason: JSON.

    Returns:
        Where it is now.
    """
    place = folder / QUARANTINE
    place.mkdir(parents=True, exist_ok=True)
    kept = place / (f"{identifier}.{suffix}" if suffix else identifier)
    release(folder, identifier)
    note = {**reason, "file": kept.name if file.exists() else None, "quarantined": utc_now()}
    text = json.dumps(note, indent=2, ensure_ascii=False) + "\n"
    write_file(place / f"{identifier}.json", text.encode())  # first: a file without a note would be nobody's
    if file.exists():
        replace(file, kept)
    return kept


def release(folder: Path, identifier: str) -> None:
    """Removes what is there of a unit that came right in the end.

    The quarantine itself stays, even if nothing is in it: another thread may be about to put something there.
    """
    note = folder / QUARANTINE / f"{identifier}.json"
    try:
        kept = parse_json(note.read_bytes())["file"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        kept = None
    if isinstance(kept, str) and kept.partition(".")[0] == identifier:
        remove(note.with_name(kept), Reserved(QUARANTINE))
    remove(note, Reserved(QUARANTINE))
