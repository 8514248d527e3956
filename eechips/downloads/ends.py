"""Whether a file has its end, as its beginning tells: who closes a connection need not say that more is to come."""

from __future__ import annotations

import io
import itertools
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from eechips.errors import ValidationError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_HDF5 = b"\x89HDF\r\n\x1a\n"
_JP2_BOX, _JP2_END = b"jP  ", b"\xff\xd9"
_SUPERBLOCK = 48  # bytes of the smallest one
_MOST_BLOCKS = 5_000  # of a file, the last ones, of which one is looked at in 10 µs
_UNKNOWN = -1


def check_end(path: Path, kind: str) -> None:
    """Sees whether a file of a kind that tells of its end has it.

    Args:
        path: of the file.
        kind: ``zip``, ``parquet``, ``h5``, ``nc``, ``hdf`` or ``jp2``; others are not looked at.

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
        elif kind == "jp2":
            end = _end_of_jp2(file, size)
    if end == _UNKNOWN or size < end:
        should = f"should have {end:,}" if end > 0 else "not the end of such a file"
        raise ValidationError(f"it is cut: it has {size:,} bytes, and {should}")


def check_blocks(path: Path, dataset: DatasetReader) -> None:
    """Sees whether the blocks of a GeoTIFF lie within it: its header stands before them, or after some.

    Of very many, those are looked at that stand at the end of most files.

    Args:
        path: of the file.
        dataset: of the file, open.

    Raises:
        ValidationError: if one does not.
    """
    size = path.stat().st_size
    end = max((offset + count for offset, count in itertools.islice(_blocks(dataset), _MOST_BLOCKS)), default=0)
    if end > size:
        raise ValidationError(f"it is cut: it has {size:,} bytes, and its pixels take {end:,}")


def _blocks(dataset: DatasetReader) -> Iterator[tuple[int, int]]:
    """First byte and bytes of the blocks that a GeoTIFF has, as GDAL tells (domain ``TIFF`` of its metadata).

    Those that are at the end of most files come first.
    """
    is_apart = dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "BAND"
    rows, columns = dataset.block_shapes[0]
    down, across = -(-dataset.height // rows), -(-dataset.width // columns)
    for band in reversed(dataset.indexes if is_apart else dataset.indexes[:1]):
        for y, x in itertools.product(reversed(range(down)), reversed(range(across))):
            if (found := _block(dataset, band, x, y, None)) is not None:  # else it has no pixels
                yield found
        for level in range(len(dataset.overviews(band))):  # whose blocks may have another shape
            for y in itertools.count():
                row = list(_row(dataset, band, y, level))
                yield from row
                if not row:
                    break


def _row(dataset: DatasetReader, band: int, y: int, level: int) -> Iterator[tuple[int, int]]:
    for x in itertools.count():
        found = _block(dataset, band, x, y, level)
        if found is None:
            return
        yield found


def _block(dataset: DatasetReader, band: int, x: int, y: int, level: int | None) -> tuple[int, int] | None:
    offset = dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", band, level)
    count = dataset.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", band, level)
    return None if offset is None or count is None else (int(offset), int(count))


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
